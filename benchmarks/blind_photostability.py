"""Is the photostability analysis honest? Blind runs over films drawn at random.

Films as in the blind power sweeps, with a retained fraction of 0.70 to 0.97 after 1.6e7 shots and a
laser that drifts by up to 2 % an hour; the exposure is recorded in coarser blocks to save time.

    python benchmarks/blind_photostability.py [--samples 24] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from blind_report import Found, study
from blind_stripe import STRIPE_CM
from blind_stripe import draw_film as draw

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure
from sim_drivers.sample import Film, resolve, truth

SHOTS = 1.6e7
BLOCK = 40_000


def draw_film(rng: np.random.Generator) -> tuple[dict[str, Any], float]:
    """Return the parameters of a film that bleaches, and the drift of the laser per hour."""
    found = {key: float(value) for key, value in draw(rng).items()}
    found["retained_fraction"] = float(rng.uniform(0.70, 0.97))
    found["retained_shots"] = SHOTS
    return found, float(rng.uniform(0.0, 0.02))


def one(number: int) -> Found:
    """Expose and analyse one film."""
    parameters, drift = draw_film(np.random.default_rng(number))
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    text = (
        f"[simulation]\nseed = {number}\n[simulation.bench]\ndrift_per_hour = {drift!r}\n"
        "[simulation.sample]\n" + "\n".join(lines)
    )
    settings = {
        "fluence_uJ_cm2": parameters["gain_fluence_uJ_cm2"],
        "shots": SHOTS,
        "shots_per_record": BLOCK,
    }
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            "photostability",
            settings,
            config.parse(text),
            Description("blind"),
            Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        results = evaluate(outcome.path).analysis.results
    film = Film(resolve("CsPbBr3-9nm", parameters), STRIPE_CM)
    true = {
        "retained_fraction": parameters["retained_fraction"],
        "shots": SHOTS,
        "shots_to_90_percent": truth.shots_to_fraction(film, 0.9),
    }
    beyond = true["shots_to_90_percent"] > SHOTS
    if beyond and results["shots_to_90_percent"].value is None:  # as it should be
        del true["shots_to_90_percent"]
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 24)
