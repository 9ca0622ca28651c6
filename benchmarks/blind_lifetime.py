"""Is the lifetime analysis honest? Blind decays of dots drawn at random, in solution and as films.

python benchmarks/blind_lifetime.py [--samples 30] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import numpy as np
from blind_report import Found, study
from blind_streak import compared, draw_solution, draw_stripe, results_of


def one(number: int) -> Found:
    """Measure and analyse one sample: every third is a film."""
    rng = np.random.default_rng(number)
    film = number % 3 == 2
    sample = draw_stripe(rng) if film else draw_solution(rng)
    medium = "film" if film else "solution"
    settings = {"medium": medium, "time_range_ps": 10_000.0}
    if sample["exciton_lifetime_ns"] > 5.0:
        settings["time_range_ps"] = 20_000.0
    results = results_of("lifetime", number, sample, settings)
    return compared(results, {"lifetime_ns": sample["exciton_lifetime_ns"]})


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 30)
