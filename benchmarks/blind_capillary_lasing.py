"""Blind capillary lasers: cavities drawn at random, measured on the simulated bench, analysed.

For the table of blind studies. `draw` makes sample and settings, `truth` says what a perfect bench
would have found, `one` measures and analyses one capillary. Run alone it prints bias and coverage.

    python benchmarks/blind_capillary_lasing.py [--samples 24] [--seed 1] [--processes 1]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from blind_biexciton import Row, bench_text, measured, study

from sim_drivers.sample import resolve
from sim_drivers.sample.results import true_results

MEASUREMENT = "capillary-lasing"
PRESET = "CsPbBr3-capillary"


def draw(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return (sample overrides, measurement settings, bench imperfections) of a possible cavity."""
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
        "fluence_min_mJ_cm2": 0.25 * threshold,
        "fluence_max_mJ_cm2": threshold * rng.uniform(2.5, 4.5),
        "cavity_diameter_um": diameter,
    }
    return sample, settings, {}


def truth(sample: dict[str, Any], bench: dict[str, Any]) -> dict[str, float]:
    """Return result name -> true value."""
    del bench
    return true_results(MEASUREMENT, resolve(PRESET, sample, "capillary"))  # type: ignore[return-value]


def one(number: int, keep: Path | None = None) -> Row:
    """Measure and analyse one capillary; return (value, stderr, truth) of each result."""
    sample, settings, bench = draw(np.random.default_rng(number))
    text = bench_text(number, sample, bench)
    results = measured(MEASUREMENT, text, settings, keep, f"blind {number}")
    return {
        name: (results[name].value, results[name].stderr, float(true))
        for name, true in truth(sample, bench).items()
    }


if __name__ == "__main__":
    study(one, __doc__.split("\n")[0], samples=24)  # type: ignore[union-attr]
