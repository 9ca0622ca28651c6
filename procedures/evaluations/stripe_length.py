"""From a stripe-length run file to its numbers, and to the calibration of the slit.

Gathers records and parameters for the analysis. The zero of the slit is a result like the gain; a
calibration file made of it lets the next runs set true lengths.
"""

from __future__ import annotations

import numpy as np

from instruments.calibration import Calibration
from procedures.analysis.results import Analysis
from procedures.analysis.stripe_length import StripeLengthData, analyze_stripe_length
from procedures.calibrating import _made_with, _refuse_unfinished, _supported
from procedures.evaluations.spectra import gather_spectra, pulse_spread
from procedures.running.runfile import RunFile


def evaluate_stripe_length(run: RunFile) -> tuple[Analysis, StripeLengthData]:
    """Gather the records and analyse them."""
    scan = np.asarray(run.records("scan"))
    slit = run.instruments.get("stripe", {}).get("settings", {})
    data = StripeLengthData(
        records=gather_spectra(run, scan, pulse_spread(run, scan)),
        fluence_uJ_cm2=float(run.parameters["fluence_uJ_cm2"]),
        group_index=float(run.parameters["group_index"]),
        slit_zero_cm=0.1 * _number(slit.get("zero_mm"), 0.0),
        slit_direction=_number(slit.get("direction"), 1.0),
    )
    return analyze_stripe_length(data), data


def slit_calibration(analysis: Analysis, run: RunFile) -> Calibration:
    """Return the slit's calibration: the stage's place (mm) at which it is closed."""
    _refuse_unfinished(run)
    values, stderr = _supported(analysis, {"zero": "slit_zero_um"}, run)
    slit = run.instruments.get("stripe", {}).get("settings", {})
    found = {"zero_mm": 1e-3 * values["zero"], "direction": _number(slit.get("direction"), 1.0)}
    errors = {"zero_mm": 1e-3 * stderr["zero"]} if "zero" in stderr else {}
    return Calibration("slit", found, errors, _made_with(run, ("stripe",)), source=run.path.name)


def _number(found: object, otherwise: float) -> float:
    return float(getattr(found, "value", found)) if found is not None else otherwise  # type: ignore[arg-type]
