"""Is the biexciton analysis honest? Blind series over cold films drawn at random.

python benchmarks/blind_biexciton.py [--samples 24] [--seed 1] [--processes 2]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from blind_report import Found, study
from blind_stripe import PRESET, bench_text, results_of

from sim_drivers.sample import resolve
from sim_drivers.sample.results import true_results

EV_NM = 1239.841984


def draw(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parameters of a film, and the drift of its laser."""
    peak_nm = rng.uniform(460.0, 640.0)
    sample = {
        "spontaneous_peak_nm": peak_nm,
        "ase_peak_nm": peak_nm + 8.0,
        "exciton_peak_eV": EV_NM / peak_nm - rng.uniform(0.02, 0.05),
        "binding_energy_meV": rng.uniform(35.0, 65.0),
        "exciton_fwhm_10K_meV": rng.uniform(20.0, 45.0),
        "biexciton_fwhm_10K_meV": rng.uniform(20.0, 45.0),
        "biexciton_crossover_mJ_cm2": rng.uniform(20.0, 100.0),
    }
    return sample, {"drift_per_hour": rng.uniform(0.0, 0.02)}


def one(number: int, keep: Path | None = None) -> Found:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    sample, bench = draw(np.random.default_rng(number))
    results = results_of("biexciton", number, bench_text(number, sample, bench), {}, keep)
    true = true_results("biexciton", resolve(PRESET, sample, "cold"))
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 24)
