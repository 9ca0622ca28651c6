"""Is the cross-section analysis honest? Blind fluence series of dots drawn at random, in solution.

Every third cuvette absorbs (optical density up to 0.5), every third spot is a Gaussian; both are
told to the analysis. The highest fluence is where N is 2 to 4, as far as the laser goes.

    python benchmarks/blind_cross_section.py [--samples 30] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import numpy as np
from blind_report import Found, study
from blind_streak import compared, draw_solution, excitons_per_uJ_cm2, results_of

MOST_UJ_CM2 = 185.0


def one(number: int) -> Found:
    """Measure and analyse one solution."""
    rng = np.random.default_rng(number)
    sample = draw_solution(rng)
    if number % 3 == 1:
        sample["optical_density"] = float(rng.uniform(0.05, 0.5))
    if number % 3 == 2:
        sample["spot_profile"] = "gaussian"
    highest = min(rng.uniform(2.0, 4.0) / excitons_per_uJ_cm2(sample), MOST_UJ_CM2)
    settings = {
        "fluence_min_uJ_cm2": 0.03 * highest,
        "fluence_max_uJ_cm2": highest,
        "optical_density": sample.get("optical_density", 0.0),
        "spot_profile": sample.get("spot_profile", "tophat"),
    }
    results = results_of("cross-section", number, sample, settings)
    return compared(results, {"cross_section_cm2": sample["cross_section_cm2"]})


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 30)
