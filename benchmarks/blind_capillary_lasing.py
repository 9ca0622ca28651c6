"""Is the analysis of the capillary laser honest? Blind series over cavities drawn at random.

python benchmarks/blind_capillary_lasing.py [--samples 24] [--seed 1] [--processes 2]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from blind_report import Found, study
from blind_stripe import bench_text, results_of

from sim_drivers.sample import resolve
from sim_drivers.sample.results import true_results

PRESET = "CsPbBr3-capillary"


def draw(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parameters of a cavity, and the settings of a series through its threshold."""
    peak_nm, width_nm = rng.uniform(460.0, 640.0), rng.uniform(18.0, 30.0)
    threshold = rng.uniform(1.0, 5.0)
    diameter = float(rng.uniform(30.0, 100.0))
    sample = {
        "spontaneous_peak_nm": peak_nm,
        "spontaneous_fwhm_nm": width_nm,
        "ase_peak_nm": peak_nm + rng.uniform(0.0, 0.6) * width_nm,
        "ase_fwhm_nm": rng.uniform(0.16, 0.27) * width_nm,
        "cavity_diameter_um": diameter,
        "cavity_group_index": rng.uniform(1.5, 2.2),
        "cavity_threshold_mJ_cm2": threshold,
        "cavity_beta": 10.0 ** rng.uniform(-5.0, -3.0),
    }
    settings = {
        "fluence_min_mJ_cm2": float(0.25 * threshold),
        "fluence_max_mJ_cm2": float(threshold * rng.uniform(2.5, 4.5)),
        "cavity_diameter_um": diameter,
    }
    return sample, settings


def one(number: int, keep: Path | None = None) -> Found:
    """Measure and analyse one capillary; return (value, stderr, truth) of each result."""
    sample, settings = draw(np.random.default_rng(number))
    results = results_of("capillary-lasing", number, bench_text(number, sample), settings, keep)
    true = true_results("capillary-lasing", resolve(PRESET, sample, "capillary"))
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 24)
