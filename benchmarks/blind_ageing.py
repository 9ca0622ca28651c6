"""Is the ageing analysis honest? Blind series of power sweeps over films drawn at random.

Films as in the blind power sweeps, with a threshold that rises by up to 1 % a day, swept on
three to five days within a month.

    python benchmarks/blind_ageing.py [--samples 16] [--seed 1] [--processes 2]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from blind_report import Found, study
from blind_stripe import bench_text, draw_film, results_of


def draw_aged(rng: np.random.Generator) -> tuple[dict[str, Any], list[float]]:
    """Return the parameters of a film that ages, and the days of its sweeps."""
    found = {key: float(value) for key, value in draw_film(rng).items()}
    found["ageing_per_day"] = float(rng.uniform(0.0, 0.01))
    days = np.cumsum(rng.uniform(2.0, 8.0, rng.integers(2, 5)))
    return found, [0.0, *(round(float(day), 1) for day in days)]


def one(number: int, keep: Path | None = None) -> Found:
    """Sweep and analyse one film over days."""
    parameters, days = draw_aged(np.random.default_rng(number))
    threshold, reference = parameters["threshold_uJ_cm2"], parameters["gain_fluence_uJ_cm2"]
    settings = {
        "fluence_min_uJ_cm2": 0.1 * threshold,
        "fluence_max_uJ_cm2": min(1.4 * reference, 195.0),
        "reference_fluence_uJ_cm2": reference,
        "days": days,
    }
    results = results_of("ageing", number, bench_text(number, parameters), settings, keep)
    rate = parameters["ageing_per_day"]
    true: dict[str, Any] = {
        "threshold_rise_per_day": rate,
        "threshold_uJ_cm2": [threshold * (1.0 + rate * day) for day in days],
    }
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 16)
