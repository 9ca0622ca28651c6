"""Blind stripe-length runs: films drawn at random, measured on the simulated bench, analysed.

For the table of blind studies. `draw` makes sample and settings, `truth` says what a perfect bench
would have found, `one` measures and analyses one film. Run alone it prints bias and coverage.

    python benchmarks/blind_stripe_length.py [--samples 24] [--seed 1] [--processes 1]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from blind_power_sweep import Row, table
from blind_power_sweep import draw as draw_film
from blind_report import study

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure
from sim_drivers.sample import resolve
from sim_drivers.sample.results import Circumstances, true_results

__all__ = ["bench_text", "draw", "one", "table", "truth"]

MEASUREMENT = "stripe-length"
PRESET = "CsPbBr3-9nm"


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


def bench_text(seed: int, sample: dict[str, Any], bench: dict[str, Any]) -> str:
    """Return the bench file of a film."""
    tables = {"simulation.bench": bench, "simulation.sample": sample}
    parts = [f"[simulation]\nseed = {seed}"]
    for name, values in tables.items():
        parts.append(f"[{name}]")
        parts += [f"{key} = {float(value)!r}" for key, value in values.items()]
    return "\n".join(parts)


def one(number: int, keep: Path | None = None) -> Row:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    sample, settings, bench = draw(np.random.default_rng(number))
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            MEASUREMENT,
            {key: float(value) for key, value in settings.items()},
            config.parse(bench_text(number, sample, bench)),
            Description(f"blind {number}"),
            keep or Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        results = evaluate(outcome.path).analysis.results
    true = truth(sample, bench)
    return {name: (results[name].value, results[name].stderr, float(true[name])) for name in true}


if __name__ == "__main__":
    study(one, "blind stripe-length runs: bias and coverage", 24)
