"""What the blind studies of the pumped stripe share: films drawn, benches, runs that are kept.

For `blind_power_sweep`, `blind_stripe_length`, `blind_ageing` and others. Not run alone.
Calibration errors are drawn by the bench; its energy meter answers many pulses in one message,
which saves half the time and changes no record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from instruments import config
from procedures.analysis.results import Result
from procedures.evaluation import evaluate
from procedures.session import Description, measure

STRIPE_CM, PHOTON_J = 0.3, 4.966e-19
PRESET = "CsPbBr3-9nm"
_METER = '[instruments.energy_meter]\ndriver = "thorlabs-pm100"\npulses_per_message = 50\n'


def draw_film(rng: np.random.Generator) -> dict[str, Any]:
    """Return the parameters of a film that can exist and has a visible threshold."""
    while True:
        threshold = rng.uniform(8.0, 60.0)
        fluence = threshold * rng.uniform(1.8, 3.5)
        if fluence > 190.0:
            continue
        gain = rng.uniform(60.0, 200.0)
        peak, width = rng.uniform(460.0, 640.0), rng.uniform(18.0, 34.0)
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


def _growth(p: Mapping[str, Any]) -> float:
    """Return stripe length x dg / d ln F at threshold: weak films have no visible threshold."""

    def pairs(fluence: float) -> float:
        n = p["cross_section_cm2"] * fluence * 1e-6 / PHOTON_J
        return float(1.0 - np.exp(-n) * (1.0 + n))

    rise = pairs(p["gain_fluence_uJ_cm2"]) - pairs(p["threshold_uJ_cm2"])
    if rise < 0.05:
        return 0.0
    slope = pairs(1.01 * p["threshold_uJ_cm2"]) - pairs(0.99 * p["threshold_uJ_cm2"])
    return float(STRIPE_CM * p["gain_per_cm"] / rise * slope / 0.02)


def bench_text(
    seed: int, sample: Mapping[str, Any], imperfections: Mapping[str, float] | None = None
) -> str:
    """Return the bench file of a film."""
    tables = {"simulation.bench": imperfections or {}, "simulation.sample": sample}
    parts = [_METER + f"[simulation]\nseed = {seed}"]
    for name, values in tables.items():
        parts.append(f"[{name}]")
        parts += [
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {float(value)!r}"
            for key, value in values.items()
        ]
    return "\n".join(parts)


def results_of(
    measurement: str, number: int, text: str, settings: dict[str, Any], keep: Path | None
) -> dict[str, Result]:
    """Measure and analyse; return the results by name. `keep`: see `run_of`."""
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            return results_of(measurement, number, text, settings, Path(folder))
    return dict(evaluate(run_of(measurement, number, text, settings, keep)).analysis.results)


def run_of(measurement: str, number: int, text: str, settings: dict[str, Any], keep: Path) -> Path:
    """Measure; return the run file. The run of this number is taken from `keep` if it is there."""
    place = keep / str(number)
    there = sorted(place.glob("*.h5"))
    if not there:
        place.mkdir(parents=True, exist_ok=True)
        outcome = measure(
            measurement,
            settings,
            config.parse(text),
            Description(f"blind {number}"),
            place,
            lambda _line: None,
            quiet=True,
        )
        if outcome.error is not None:
            raise outcome.error
        there = [outcome.path]
    return there[0]
