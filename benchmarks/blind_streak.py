"""What the blind studies of time-resolved measurements share: samples drawn, runs, truths.

For `blind_lifetime`, `blind_auger`, `blind_cross_section` and `blind_streak_series`. Not run alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from blind_report import Found
from blind_stripe import draw_film

from instruments import config
from procedures.evaluation import evaluate
from procedures.session import Description, measure

PHOTON_UJ = 4.966e-13


def draw_solution(rng: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of dots in solution that can exist."""
    peak_nm = rng.uniform(460.0, 640.0)
    threshold = rng.uniform(8.0, 60.0)
    found = {
        "spontaneous_peak_nm": peak_nm,
        "spontaneous_fwhm_nm": rng.uniform(18.0, 30.0),
        "cross_section_cm2": rng.uniform(0.8, 1.6) * PHOTON_UJ / threshold,
        "exciton_lifetime_ns": rng.uniform(2.0, 8.0),
        "auger_lifetime_ps": rng.uniform(50.0, 200.0),
        "biexciton_radiative_factor": rng.uniform(2.0, 4.0),
        "binding_energy_meV": rng.uniform(35.0, 65.0),
    }
    radiative_ps = 1e3 * found["exciton_lifetime_ns"] / found["biexciton_radiative_factor"]
    found["auger_lifetime_ps"] = min(found["auger_lifetime_ps"], 0.8 * radiative_ps)
    return {key: float(value) for key, value in found.items()}


def draw_stripe(rng: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a film under the stripe that can exist."""
    found = {key: float(value) for key, value in draw_film(rng).items()}
    found["binding_energy_meV"] = float(rng.uniform(35.0, 65.0))
    radiative_ps = 1e3 * found["exciton_lifetime_ns"] / found["biexciton_radiative_factor"]
    found["auger_lifetime_ps"] = min(found["auger_lifetime_ps"], 0.8 * radiative_ps)
    return found


def excitons_per_uJ_cm2(sample: Mapping[str, Any]) -> float:
    """Return the mean excitons of a dot per fluence."""
    return float(sample["cross_section_cm2"]) / PHOTON_UJ


def results_of(
    measurement: str, seed: int, sample: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure and analyse on the simulated bench; return the results by name."""
    lines = [
        f"{key} = {value!r}" if isinstance(value, str) else f"{key} = {float(value)!r}"
        for key, value in sample.items()
    ]
    text = f"[simulation]\nseed = {seed}\n[simulation.sample]\n" + "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(
            measurement,
            dict(settings),
            config.parse(text),
            Description("blind"),
            Path(folder),
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        return dict(evaluate(outcome.path).analysis.results)


def compared(results: Mapping[str, Any], true: Mapping[str, Any]) -> Found:
    """Return (value, stderr, truth) of each result."""
    return {name: (results[name].value, results[name].stderr, true[name]) for name in true}
