"""Blind stripe-length runs: films drawn at random, measured on the simulated bench, analysed.

For the table of blind studies. `draw` makes sample and settings, `truth` says what a perfect bench
would have found, `one` measures and analyses one film. Run alone it prints bias and coverage.

    python benchmarks/blind_stripe_length.py [--samples 24] [--seed 1] [--processes 1]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from blind_report import Found, study
from blind_stripe import PRESET, bench_text, draw_film, results_of

from sim_drivers.sample import resolve
from sim_drivers.sample.results import Circumstances, true_results

MEASUREMENT = "stripe-length"


def draw(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return (sample overrides, measurement settings, bench imperfections) of a possible film."""
    sample = draw_film(rng)
    sample["group_index"] = float(rng.uniform(1.6, 2.6))
    settings = {
        "fluence_uJ_cm2": sample["gain_fluence_uJ_cm2"],
        "low_fluence_uJ_cm2": 0.09 * sample["threshold_uJ_cm2"],
        "group_index": sample["group_index"],
    }
    bench = {
        "slit_zero_um": float(rng.uniform(-40.0, 80.0)),
        "slit_blur_um": float(rng.uniform(5.0, 30.0)),
    }
    return sample, settings, bench


def truth(sample: dict[str, Any], bench: dict[str, Any]) -> dict[str, float]:
    """Return result name -> true value."""
    circumstances = Circumstances(slit_zero_um=bench["slit_zero_um"])
    return true_results(MEASUREMENT, resolve(PRESET, sample), circumstances)  # type: ignore[return-value]


def one(number: int, keep: Path | None = None) -> Found:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    sample, settings, bench = draw(np.random.default_rng(number))
    given = {key: float(value) for key, value in settings.items()}
    results = results_of(MEASUREMENT, number, bench_text(number, sample, bench), given, keep)
    true = truth(sample, bench)
    return {name: (results[name].value, results[name].stderr, float(true[name])) for name in true}


if __name__ == "__main__":
    study(one, "blind stripe-length runs: bias and coverage", 24)
