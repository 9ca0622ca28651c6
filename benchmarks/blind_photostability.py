"""Is the photostability analysis honest? Blind runs over films drawn at random.

Films as in the blind power sweeps, with a retained fraction of 0.70 to 0.97 after 1.6e7 shots and a
laser that drifts by up to 2 % an hour. To save time the exposure is recorded in 400 blocks, and the
sweeps beside it are short ones; that makes the records noisier, and the run no other.

Where 90 % lies beyond the end, the analysis is to say null, and a second look asks it to
extrapolate. `shots` is a count: checked in each sample, and not scored.

    python benchmarks/blind_photostability.py [--samples 24] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from blind_report import Found, study
from blind_stripe import PRESET, STRIPE_CM, bench_text, draw_film, run_of

from procedures.evaluation import evaluate
from sim_drivers.sample import Film, resolve, truth

SHOTS = 1.6e7
MOST_UJ_CM2 = 175.0  # the sweeps beside the exposure go a tenth beyond it, the bench to 199
SETTINGS = {"shots": SHOTS, "shots_per_record": 40_000, "shots_min": 100}


def draw(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parameters of a film that bleaches, and the drift of its laser."""
    while True:
        found = {key: float(value) for key, value in draw_film(rng).items()}
        if found["gain_fluence_uJ_cm2"] < MOST_UJ_CM2:
            break
    found["retained_fraction"] = float(rng.uniform(0.70, 0.97))
    found["retained_shots"] = SHOTS
    return found, {"drift_per_hour": float(rng.uniform(0.0, 0.02))}


def one(number: int, keep: Path | None = None) -> Found:
    """Expose and analyse one film; return (value, stderr, truth) of each result."""
    sample, bench = draw(np.random.default_rng(number))
    settings: dict[str, Any] = {"fluence_uJ_cm2": sample["gain_fluence_uJ_cm2"], **SETTINGS}
    text = bench_text(number, sample, bench)
    with tempfile.TemporaryDirectory() as folder:
        path = run_of("photostability", number, text, settings, keep or Path(folder))
        results = evaluate(path).analysis.results
        further = evaluate(path, extrapolate=True).analysis.results["shots_to_90_percent"]
    shots = results["shots"]
    if not abs(float(shots.value) - SHOTS) <= float(shots.stderr):  # type: ignore[arg-type]
        raise AssertionError(f"{shots.value} shots counted of {SHOTS:g}")
    ninety = truth.shots_to_fraction(Film(resolve(PRESET, sample), STRIPE_CM), 0.9)
    left, stated = results["retained_fraction"], results["shots_to_90_percent"]
    found: Found = {"retained_fraction": (left.value, left.stderr, sample["retained_fraction"])}
    rightful = stated.value is None and ninety > SHOTS
    found["shots_to_90_percent"] = (stated.value, stated.stderr, None if rightful else ninety)
    if further.extrapolated:
        found["shots_to_90_percent, extrapolated"] = (further.value, further.stderr, ninety)
    return found


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 24)
