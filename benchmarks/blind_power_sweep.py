"""Is the analysis honest? Blind power sweeps over samples drawn at random.

Draws samples (ranges and correlations of dots that amplify light) and sweeps (long ones, short ones
of 15 records, and some that end soon after threshold), takes each on the simulated bench, analyses
the run file, and prints for each result: median bias in units of its standard error, coverage of
one and two standard errors, and how many had none.

    python benchmarks/blind_power_sweep.py [--samples 40] [--seed 1] [--processes 2]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blind_report import Found, study
from blind_stripe import PRESET, STRIPE_CM, bench_text, results_of
from blind_stripe import draw_film as draw

from sim_drivers.sample import Film, resolve, truth
from sim_drivers.sample.results import true_results

__all__ = ["STRIPE_CM", "draw", "one", "sweep_of"]

FloatArray = npt.NDArray[np.float64]


def sweep_of(rng: np.random.Generator, sample: dict[str, Any]) -> FloatArray:
    """Return the fluences of a sweep: half of them long ones, the others few records or short."""
    threshold, reference = sample["threshold_uJ_cm2"], sample["gain_fluence_uJ_cm2"]
    points, highest = 40, min(1.4 * reference, 195.0)
    kind = rng.integers(4)
    if kind == 0:
        points = 15
    elif kind == 1:
        points, highest = int(rng.integers(15, 30)), threshold * rng.uniform(1.4, 1.9)
    return np.geomspace(0.1 * threshold, highest, points)


def one(number: int, keep: Path | None = None) -> Found:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    rng = np.random.default_rng(number)
    sample = draw(rng)
    sweep = sweep_of(rng, sample)
    settings = {
        "fluence_min_uJ_cm2": float(sweep[0]),
        "fluence_max_uJ_cm2": float(sweep[-1]),
        "points": len(sweep),
        "reference_fluence_uJ_cm2": float(sample["gain_fluence_uJ_cm2"]),
    }
    results = results_of("power-sweep", number, bench_text(number, sample), settings, keep)
    parameters = resolve(PRESET, sample)
    true = true_results("power-sweep", parameters)
    # The stretch below is curved: its slope is that of the records; above, the fit's own grid.
    true["slope_below"] = truth.slope_below(Film(parameters, STRIPE_CM), sweep)
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


if __name__ == "__main__":
    study(one, "blind power sweeps: bias and coverage", 40)
