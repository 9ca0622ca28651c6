"""What a film of another gain law does to the threshold: blind power sweeps of such films.

The analysis weighs several laws, the linear and the logarithmic one among them, but tells by light
alone which the film has. Films and sweeps as in `blind_power_sweep`, gain linear in the fluence
(odd numbers) or in its logarithm (even ones); only what does not hang on the fluence's scale is of
interest: the pull is that of the threshold at the true scale, beside its error without the scale's.

    python benchmarks/blind_gain_laws.py [--samples 60] [--seed 1] [--processes 2]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from blind_power_sweep import sweep_of
from blind_report import Found, study
from blind_stripe import bench_text, draw_film, results_of

from instruments import config
from instruments.bench import open_bench
from sim_drivers.sample import SampleError, resolve

LAWS = ("logarithmic", "linear")


def draw(number: int) -> tuple[dict[str, Any], np.random.Generator]:
    """Return the parameters of a film that can exist under its law, and the generator."""
    rng = np.random.default_rng(number)
    while True:
        sample = {**draw_film(rng), "gain_law": LAWS[number % 2]}
        try:
            resolve("CsPbBr3-9nm", sample)
        except SampleError:
            continue
        return sample, rng


def true_scale(text: str) -> tuple[float, float]:
    """Return the true fluence over what the bench reports, and its relative uncertainty."""
    with open_bench(config.parse(text), (), measurement="power-sweep", extras=False) as bench:
        world = bench.simulation.world
        return float(world.energy_scale / world.area_scale), bench.pump.fluence_rel_unc


def one(number: int, keep: Path | None = None) -> Found:
    """Measure and analyse one film; return the threshold freed of the scale of the fluences."""
    sample, rng = draw(number)
    sweep = sweep_of(rng, sample)
    settings = {
        "fluence_min_uJ_cm2": float(sweep[0]),
        "fluence_max_uJ_cm2": float(sweep[-1]),
        "points": len(sweep),
        "reference_fluence_uJ_cm2": float(sample["gain_fluence_uJ_cm2"]),
    }
    text = bench_text(number, sample)
    found = results_of("power-sweep", number, text, settings, keep)["threshold_uJ_cm2"]
    law, true = sample["gain_law"], sample["threshold_uJ_cm2"]
    if not isinstance(found.value, float) or not isinstance(found.stderr, float):
        return {f"threshold, {law}": (None, None, true)}
    scale, unc = true_scale(text)
    own = np.sqrt(max((found.stderr / found.value) ** 2 - unc**2, 0.0))
    value = scale * found.value
    return {
        f"threshold, {law}": (value, value * own, true),
        f"with its scale, {law}": (found.value, found.stderr, true),
    }


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 60)
