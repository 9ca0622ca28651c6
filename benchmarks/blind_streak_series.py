"""Are early and late spectra and decay times honest? Blind streak series of films drawn at random.

Four fluences, from a twentieth of the threshold to above it. Near the threshold everything depends
steeply on the fluence, which results state with an error of its own: so the truth is asked at the
fluence that was there. The tilt of the camera's response is told as a lamp would, to 5e-4 per nm.
Decay times that are bounds are scored apart.

    python benchmarks/blind_streak_series.py [--samples 20] [--seed 1] [--processes 2]
"""

from __future__ import annotations

import math

import numpy as np
from blind_report import Found, study
from blind_streak import compared, draw_stripe, results_of

from instruments.bench import open_bench
from instruments.config import parse
from sim_drivers.optics import Response
from sim_drivers.sample import resolve
from sim_drivers.sample.results import Circumstances, true_results

RESPONSE_PS, JITTER_PS, FWHM = 50.0, 10.0, 2.3548
SPEED = 1.0 + 0.03 * (1.0 - 0.2)  # of the sweep where the pulse comes, over its mean
LAMP_UNC = 5e-4
NAMES = ("early_peak_nm", "late_peak_nm", "redshift_meV", "decay_time_ps")


def true_scale(seed: int) -> float:
    """Return the true fluence over the one that the bench of a seed reports."""
    with open_bench(
        parse(f"[simulation]\nseed = {seed}"), (), measurement="streak-series", extras=False
    ) as bench:
        world = bench.simulation.world
        return float(world.energy_scale / world.area_scale)


def one(number: int) -> Found:
    """Measure and analyse one film."""
    rng = np.random.default_rng(number)
    sample = draw_stripe(rng)
    threshold = sample["threshold_uJ_cm2"]
    fluences = [share * threshold for share in (0.05, 0.4, 0.7, 1.3)]
    about = sample["spontaneous_peak_nm"] + np.array([-10.0, 10.0])
    tilt = float(np.diff(np.log(Response.drawn(number).photocathode(about)))[0] / 20.0)
    settings = {
        "fluences_uJ_cm2": fluences,
        "response_tilt_per_nm": tilt + LAMP_UNC * float(rng.standard_normal()),
        "response_tilt_unc_per_nm": LAMP_UNC,
    }
    results = results_of("streak-series", number, sample, settings)
    scale = true_scale(number)
    circumstances = Circumstances(
        response_fwhm_ps=SPEED * math.hypot(RESPONSE_PS, FWHM * JITTER_PS),
        fluences_uJ_cm2=[scale * f for f in results["fluence_uJ_cm2"].value],
    )
    true = true_results("streak-series", resolve("CsPbBr3-9nm", sample), circumstances)
    return compared(results, {name: true[name] for name in NAMES})


if __name__ == "__main__":
    study(one, str(__doc__).split("\n")[0], 20)
