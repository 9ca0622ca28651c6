"""Is the analysis honest? Blind power sweeps over samples drawn at random.

Draws samples (ranges and correlations of dots that amplify light) and sweeps (long ones, short ones
of 15 records, and some that end soon after threshold), takes each on the simulated bench, analyses
the run file, and prints for each result: median bias in units of its standard error, coverage of
one and two standard errors, and how many had none.

    python benchmarks/blind_power_sweep.py [--samples 40] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from blind_report import study
from blind_report import table as report

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure
from sim_drivers.sample import Film, resolve, truth
from sim_drivers.sample.results import true_results

STRIPE_CM, PHOTON_J = 0.3, 4.966e-19

FloatArray = npt.NDArray[np.float64]
Row = dict[str, tuple[Any, Any, Any]]


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a film that can exist."""
    while True:
        threshold = rng.uniform(8.0, 60.0)
        fluence = threshold * rng.uniform(1.8, 3.5)
        if fluence > 190.0:
            continue
        gain = rng.uniform(60.0, 200.0)
        peak, width = rng.uniform(460.0, 640.0), rng.uniform(18.0, 34.0)
        found: dict[str, Any] = {
            "threshold_uJ_cm2": threshold,
            "gain_fluence_uJ_cm2": fluence,
            "cross_section_cm2": rng.uniform(0.8, 1.6) * PHOTON_J / (threshold * 1e-6),
            "gain_per_cm": gain,
            "saturation_length_cm": rng.uniform(4.5, 8.5) / gain,
            "spontaneous_peak_nm": peak,
            "spontaneous_fwhm_nm": width,
            "ase_peak_nm": peak + rng.uniform(0.0, 0.6) * width,
            "ase_fwhm_nm": rng.uniform(0.16, 0.27) * width,
            "direct_light_ratio": rng.uniform(0.5, 5.0),
            "exciton_lifetime_ns": rng.uniform(2.0, 8.0),
            "auger_lifetime_ps": rng.uniform(50.0, 200.0),
            "biexciton_radiative_factor": rng.uniform(2.0, 4.0),
        }
        if _growth(found) >= 12.0:
            return found


def _growth(p: dict[str, Any]) -> float:
    """Return stripe length x dg / d ln F at threshold: weak films have no visible threshold."""

    def pairs(fluence: float) -> float:
        n = p["cross_section_cm2"] * fluence * 1e-6 / PHOTON_J
        return float(1.0 - np.exp(-n) * (1.0 + n))

    rise = pairs(p["gain_fluence_uJ_cm2"]) - pairs(p["threshold_uJ_cm2"])
    if rise < 0.05:
        return 0.0
    slope = pairs(1.01 * p["threshold_uJ_cm2"]) - pairs(0.99 * p["threshold_uJ_cm2"])
    return float(STRIPE_CM * p["gain_per_cm"] / rise * slope / 0.02)


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


def one(number: int) -> Row:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    rng = np.random.default_rng(number)
    sample = draw(rng)
    sweep = sweep_of(rng, sample)
    lines = [f"{key} = {float(value)!r}" for key, value in sample.items()]
    text = f"[simulation]\nseed = {number}\n[simulation.sample]\n" + "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            "power-sweep",
            {
                "fluence_min_uJ_cm2": float(sweep[0]),
                "fluence_max_uJ_cm2": float(sweep[-1]),
                "points": len(sweep),
                "reference_fluence_uJ_cm2": float(sample["gain_fluence_uJ_cm2"]),
            },
            config.parse(text),
            Description("blind"),
            Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        results = evaluate(outcome.path).analysis.results
    parameters = resolve("CsPbBr3-9nm", sample)
    true = true_results("power-sweep", parameters)
    true["slope_below"] = truth.slope_below(Film(parameters, STRIPE_CM), sweep)
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


def table(rows: list[Row]) -> list[str]:
    """Return the lines of the report."""
    return report(rows).splitlines()


if __name__ == "__main__":
    study(one, "blind power sweeps: bias and coverage", 40)
