"""From a run file of spectra under a spot to the arrays that its analyses share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from procedures.analysis.spot_records import SpotData
from procedures.analysis.unmeasured_response import GRATING_AND_SILICON
from procedures.evaluations.spectra import pulse_spread
from procedures.running.runfile import RunFile

DISPERSION_REL_UNC = 0.001
"""Of wavelength differences: focal lengths are made to a part in a thousand."""
CALIBRATED_REL_UNC = 0.0002
"""The same once lamp lines have told the focal length."""


def gather_spot(run: RunFile) -> SpotData:
    """Return the records of a run under a spot; fluences in mJ/cm^2."""
    settings = run.instruments.get("camera", {}).get("settings", {})
    columns = run.columns
    calibrated = "monochromator" in run.calibrations
    direction = np.asarray(run.records("direction"))
    return SpotData(
        wavelength_nm=np.asarray(run.axis("wavelength")),
        counts=np.asarray(run.records("spectra")),
        background=np.asarray(run.records("background")),
        gain_e_per_count=_positive(settings, "electrons_per_count"),
        read_noise_e=_positive(settings, "read_noise_e"),
        accumulations=np.asarray(run.records("accumulations")),
        shots=np.asarray(run.records("shots")),
        fluence_mJ_cm2=1e-3 * np.asarray(run.records("fluence")),
        fluence_errors_mJ_cm2=1e-3 * np.asarray(run.records("fluence_errors")),
        fluence_rel_unc=float(run.facts.get("fluence_rel_unc", 0.0)),
        saturated=np.asarray(run.records("saturated")).astype(bool),
        direction=direction,
        pulse_spread=pulse_spread(run, np.zeros(len(direction))),
        wavelength_unc_nm=float(run.facts.get("wavelength_unc_nm", 0.0)),
        dispersion_rel_unc=CALIBRATED_REL_UNC if calibrated else DISPERSION_REL_UNC,
        response=GRATING_AND_SILICON,
        temperature_K=np.asarray(run.records("temperature")) if "temperature" in columns else None,
        parts=np.asarray(run.records("parts")) if "parts" in columns else None,
    )


def _positive(settings: Mapping[str, Any], name: str) -> float | None:
    found = settings.get(name)
    if found is None:
        return None
    value = float(getattr(found, "value", found))
    return value if np.isfinite(value) and value > 0 else None
