"""Blind biexciton series: cold films drawn at random, measured on the simulated bench, analysed.

For the table of blind studies. `draw` makes sample and settings, `truth` says what a perfect bench
would have found, `one` measures and analyses one film. Run alone it prints bias and coverage.

    python benchmarks/blind_biexciton.py [--samples 24] [--seed 1] [--processes 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from blind_report import table

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure
from sim_drivers.sample import resolve
from sim_drivers.sample.results import true_results

MEASUREMENT = "biexciton"
PRESET = "CsPbBr3-9nm"
EV_NM = 1239.841984

Row = dict[str, tuple[float | None, float | None, float]]


def draw(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return (sample overrides, measurement settings, bench imperfections) of a possible film."""
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
    return sample, {}, {"drift_per_hour": rng.uniform(0.0, 0.02)}


def truth(sample: dict[str, Any], bench: dict[str, Any]) -> dict[str, float]:
    """Return result name -> true value."""
    del bench
    return true_results(MEASUREMENT, resolve(PRESET, sample, "cold"))  # type: ignore[return-value]


def bench_text(seed: int, sample: dict[str, Any], bench: dict[str, Any]) -> str:
    """Return the bench file of a film."""
    tables = {"simulation.bench": bench, "simulation.sample": sample}
    parts = [f"[simulation]\nseed = {seed}"]
    for table_name, values in tables.items():
        parts.append(f"[{table_name}]")
        parts += [f"{key} = {float(value)!r}" for key, value in values.items()]
    return "\n".join(parts)


def measured(
    measurement: str, text: str, settings: dict[str, Any], keep: Path | None, name: str
) -> dict[str, Any]:
    """Run a measurement on the bench of a file's text; return the results by name."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            measurement,
            {key: float(value) for key, value in settings.items()},
            config.parse(text),
            Description(name),
            keep or Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        return dict(evaluate(outcome.path).analysis.results)


def one(number: int, keep: Path | None = None) -> Row:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    sample, settings, bench = draw(np.random.default_rng(number))
    text = bench_text(number, sample, bench)
    results = measured(MEASUREMENT, text, settings, keep, f"blind {number}")
    return {
        name: (results[name].value, results[name].stderr, float(true))
        for name, true in truth(sample, bench).items()
    }


def study(one: Callable[[int], Row], about: str, samples: int) -> None:
    """Run a study as its command line says, and print its table."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    start = time.perf_counter()
    numbers = range(1000 * given.seed, 1000 * given.seed + given.samples)
    with ProcessPoolExecutor(given.processes) as pool:
        rows = list(pool.map(one, numbers))
    print(f"{given.samples} samples, {time.perf_counter() - start:.0f} s")
    print(table(rows))


if __name__ == "__main__":
    study(one, __doc__.split("\n")[0], samples=24)  # type: ignore[union-attr]
