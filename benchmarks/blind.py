"""Is the analysis honest? Blind power sweeps over samples drawn at random.

Draws samples (ranges and correlations of dots that amplify light), takes the whole power sweep of
each on the simulated bench, analyses the run file, and prints for each result: median bias in units
of its standard error, coverage of one and two standard errors, and how many had none.

    python benchmarks/blind.py [--samples 40] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure
from sim_drivers.sample import Film, resolve, truth

STRIPE_CM, PHOTON_J = 0.3, 4.966e-19


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a film that can exist."""
    while True:
        threshold = rng.uniform(8.0, 60.0)
        fluence = threshold * rng.uniform(1.8, 3.5)
        if fluence > 190.0:
            continue
        gain = rng.uniform(60.0, 200.0)
        peak, width = rng.uniform(460.0, 640.0), rng.uniform(18.0, 30.0)
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
        return 1.0 - np.exp(-n) * (1.0 + n)

    rise = pairs(p["gain_fluence_uJ_cm2"]) - pairs(p["threshold_uJ_cm2"])
    if rise < 0.05:
        return 0.0
    slope = pairs(1.01 * p["threshold_uJ_cm2"]) - pairs(0.99 * p["threshold_uJ_cm2"])
    return float(STRIPE_CM * p["gain_per_cm"] / rise * slope / 0.02)


def one(number: int) -> dict[str, tuple[float | None, float | None, float]]:
    """Measure and analyse one film; return (value, stderr, truth) of each result."""
    parameters = draw(np.random.default_rng(number))
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    text = f"[simulation]\nseed = {number}\n[simulation.sample]\n" + "\n".join(lines)
    threshold, reference = parameters["threshold_uJ_cm2"], parameters["gain_fluence_uJ_cm2"]
    sweep = np.geomspace(0.1 * threshold, min(1.4 * reference, 195.0), 40)
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            "power-sweep",
            {
                "fluence_min_uJ_cm2": float(sweep[0]),
                "fluence_max_uJ_cm2": float(sweep[-1]),
                "reference_fluence_uJ_cm2": reference,
            },
            config.parse(text.replace("np.float64(", "").replace(")", "")),
            Description("blind"),
            Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        results = evaluate(outcome.path).analysis.results
    film = Film(resolve("CsPbBr3-9nm", parameters), STRIPE_CM)
    true = {name: parameters[name] for name in results if name in parameters}
    true["slope_below"] = truth.slope_below(film, sweep)
    true["slope_above"] = truth.slope_above(film)
    return {
        name: (results[name].value, results[name].stderr, float(true[name]))  # type: ignore[misc]
        for name in results
        if name in true
    }


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    start = time.perf_counter()
    numbers = range(1000 * given.seed, 1000 * given.seed + given.samples)
    with ProcessPoolExecutor(given.processes) as pool:
        rows = list(pool.map(one, numbers))
    print(f"{given.samples} samples, {time.perf_counter() - start:.0f} s")
    heads = ("bias/stderr", "within 1", "within 2", "rel. error", "null")
    print(f"{'result':24}" + "".join(f"{head:>12}" for head in heads))
    for name in sorted({key for row in rows for key in row}):
        found = [row[name] for row in rows if name in row]
        good = [(v, s, t) for v, s, t in found if v is not None and s]
        pulls = np.array([(v - t) / s for v, s, t in good])
        error = np.median([abs(v / t - 1.0) for v, s, t in good]) if good else np.nan
        within = [float(np.mean(np.abs(pulls) < k)) if good else np.nan for k in (1, 2)]
        bias = float(np.median(pulls)) if good else np.nan
        print(
            f"{name:24}{bias:12.2f}{within[0]:12.2f}{within[1]:12.2f}{error:12.4f}"
            f"{len(found) - len(good):12d}"
        )


if __name__ == "__main__":
    main()
