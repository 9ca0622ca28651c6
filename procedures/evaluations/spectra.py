"""From a run file of spectra of a stripe to the arrays that their analyses share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from procedures.analysis.sweep_records import PowerSweepData
from procedures.running.runfile import RunFile


def gather_spectra(run: RunFile, part: npt.NDArray[np.generic], spread: float) -> PowerSweepData:
    """Return the records; `part` says of each which part of the run it belongs to."""
    settings = run.instruments.get("camera", {}).get("settings", {})
    return PowerSweepData(
        wavelength_nm=np.asarray(run.axis("wavelength")),
        counts=np.asarray(run.records("spectra")),
        background=np.asarray(run.records("background")),
        gain_e_per_count=_positive(settings, "electrons_per_count"),
        read_noise_e=_positive(settings, "read_noise_e"),
        exposure_s=np.asarray(run.records("exposure")),
        accumulations=np.asarray(run.records("accumulations")),
        shots=np.asarray(run.records("shots")),
        fluence_uJ_cm2=np.asarray(run.records("fluence")),
        fluence_errors_uJ_cm2=np.asarray(run.records("fluence_errors")),
        fluence_rel_unc=float(run.facts.get("fluence_rel_unc", 0.0)),
        stripe_length_cm=0.1 * np.asarray(run.records("stripe_length")),
        full_stripe_length_cm=0.1 * float(run.facts.get("full_stripe_length_mm", 3.0)),
        saturated=np.asarray(run.records("saturated")).astype(bool),
        direction=part,
        pulse_spread=spread,
        wavelength_unc_nm=float(run.facts.get("wavelength_unc_nm", 0.0)),
    )


def pulse_spread(run: RunFile, part: npt.NDArray[np.generic]) -> float:
    """Return the relative scatter of single pulses, 0 where it was not measured.

    The smallest of the parts' lower quartiles: an energy meter in a coarse range adds noise of its
    own.
    """
    energy = np.asarray(run.records("pulse_energy"))
    spread = np.asarray(run.records("pulse_energy_spread"))
    measured = np.asarray(run.records("fluence_measured")).astype(bool)
    good = np.isfinite(energy) & np.isfinite(spread) & (energy > 0) & (spread > 0) & measured
    found = [
        float(np.quantile((spread / energy)[good & (part == one)], 0.25))
        for one in np.unique(part[good])
        if np.sum(good & (part == one)) >= 3
    ]
    return min(found, default=0.0)


def _positive(settings: Mapping[str, Any], name: str) -> float | None:
    found = settings.get(name)
    if found is None:
        return None
    value = float(getattr(found, "value", found))
    return value if np.isfinite(value) and value > 0 else None
