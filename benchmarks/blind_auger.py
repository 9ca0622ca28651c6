"""Is the Auger analysis honest? Blind fluence series of dots drawn at random, in solution.

python benchmarks/blind_auger.py [--samples 30] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import numpy as np
from blind_report import Found, study
from blind_streak import compared, draw_solution, results_of


def one(number: int) -> Found:
    """Measure and analyse one solution."""
    sample = draw_solution(np.random.default_rng(number))
    results = results_of("auger", number, sample, {})
    names = ("auger_lifetime_ps", "exciton_lifetime_ns")
    return compared(results, {name: sample[name] for name in names})


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 30)
