"""lifetime, auger, cross-section, streak-series: from the records of a run to their analyses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from procedures.analysis.auger import analyze_auger
from procedures.analysis.cross_section import Illumination, analyze_cross_section
from procedures.analysis.decay import analyze_lifetime
from procedures.analysis.results import Analysis
from procedures.analysis.streak_image import StreakData
from procedures.analysis.streak_series import SpectralResponse, analyze_streak_series
from procedures.running.runfile import RunFile

# A calibration of the spectral axis by lamp lines, read to a quarter of a column.
WAVELENGTH_UNC_NM = 0.05


def gather(run: RunFile) -> tuple[StreakData, list[str]]:
    """Return the records of a run as the analyses want them, and what was wrong with others."""
    decisions, facts = run.decisions, run.facts
    background = run.records("background")
    net = run.records("frames").astype(np.float32) - background
    event = float(decisions["event_counts"])
    sound, warnings = _sound(run, background)
    data = StreakData(
        time_ps=np.asarray(run.axis("sweep_time")),
        wavelength_nm=np.asarray(run.axis("wavelength")),
        net=net[sound],
        kind=run.records("kind").astype(np.intp)[sound],
        shots=run.records("shots").astype(np.float64)[sound],
        saturated=run.records("saturated").astype(bool)[sound],
        fluence_uJ_cm2=run.records("fluence")[sound],
        fluence_errors_uJ_cm2=run.records("fluence_errors")[sound],
        fluence_rel_unc=float(facts.get("fluence_rel_unc", 0.0)),
        event_counts=event,
        centre_nm=float(decisions["centre_wavelength_nm"]),
        event_counts_rel_unc=float(decisions.get("event_counts_errors", 0.0)) / event,
        wavelength_unc_nm=WAVELENGTH_UNC_NM,
        pump_wavelength_nm=float(facts.get("pump_wavelength_nm", 400.0)),
    )
    return data, warnings


def _sound(
    run: RunFile, background: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Return the records that can be analysed, and a warning for each reason that others cannot."""
    fluence, error = run.records("fluence"), run.records("fluence_errors")
    reasons = {
        "the fluence or its error is missing (NaN), or not above zero": ~(
            np.isfinite(fluence) & (fluence > 0.0) & np.isfinite(error)
        ),
        "no shots": run.records("shots") == 0,
    }
    if run.parameters.get("mode") == "analog":  # a camera that reads out has an offset
        reasons["there is no background frame (all zero)"] = ~background.any(axis=(1, 2))
    bad = np.zeros(len(fluence), dtype=np.bool_)
    warnings = []
    for reason, those in reasons.items():
        found = np.flatnonzero(those & ~bad)
        if len(found):
            names = ", ".join(map(str, found[:6])) + (", ..." if len(found) > 6 else "")
            warnings.append(f"records {names} left out: {reason}")
        bad |= those
    return np.flatnonzero(~bad), warnings


def _with(warnings: list[str], analysis: Analysis) -> Analysis:
    return replace(analysis, warnings=[*warnings, *analysis.warnings])


def evaluate_lifetime(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a lifetime run."""
    data, warnings = gather(run)
    return _with(warnings, analyze_lifetime(data)), data


def evaluate_auger(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse an Auger run."""
    data, warnings = gather(run)
    return _with(warnings, analyze_auger(data)), data


def evaluate_cross_section(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a cross-section run."""
    (data, warnings), given = gather(run), run.parameters
    light = Illumination(float(given["optical_density"]), str(given["spot_profile"]))
    analysis = analyze_cross_section(data, light, float(given["gate_ps"]))
    return _with(warnings, analysis), data


def evaluate_streak_series(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a series of spectrograms."""
    (data, warnings), given = gather(run), run.parameters
    gates = (float(given["early_gate_ps"]), float(given["late_gate_ps"]))
    camera = SpectralResponse(
        float(given["response_tilt_per_nm"]), float(given["response_tilt_unc_per_nm"])
    )
    return _with(warnings, analyze_streak_series(data, gates, camera)), data
