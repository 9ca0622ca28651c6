"""lifetime, auger, cross-section, streak-series: from the records of a run to their analyses."""

from __future__ import annotations

import numpy as np

from procedures.analysis.auger import analyze_auger
from procedures.analysis.cross_section import Illumination, analyze_cross_section
from procedures.analysis.decay import analyze_lifetime
from procedures.analysis.results import Analysis
from procedures.analysis.streak_image import StreakData
from procedures.analysis.streak_series import SpectralResponse, analyze_streak_series
from procedures.running.runfile import RunFile

# A calibration of the spectral axis by lamp lines, read to a quarter of a column.
WAVELENGTH_UNC_NM = 0.05


def gather(run: RunFile) -> StreakData:
    """Return the records of a run as the analyses want them."""
    decisions, facts = run.decisions, run.facts
    net = run.records("frames").astype(np.float32) - run.records("background")
    event = float(decisions["event_counts"])
    return StreakData(
        time_ps=np.asarray(run.axis("sweep_time")),
        wavelength_nm=np.asarray(run.axis("wavelength")),
        net=net,
        kind=run.records("kind").astype(np.intp),
        shots=np.maximum(run.records("shots").astype(np.float64), 1.0),
        saturated=run.records("saturated").astype(bool),
        fluence_uJ_cm2=run.records("fluence"),
        fluence_errors_uJ_cm2=run.records("fluence_errors"),
        fluence_rel_unc=float(facts.get("fluence_rel_unc", 0.0)),
        event_counts=event,
        centre_nm=float(decisions["centre_wavelength_nm"]),
        event_counts_rel_unc=float(decisions.get("event_counts_errors", 0.0)) / event,
        wavelength_unc_nm=WAVELENGTH_UNC_NM,
        pump_wavelength_nm=float(facts.get("pump_wavelength_nm", 400.0)),
    )


def evaluate_lifetime(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a lifetime run."""
    data = gather(run)
    return analyze_lifetime(data), data


def evaluate_auger(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse an Auger run."""
    data = gather(run)
    return analyze_auger(data), data


def evaluate_cross_section(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a cross-section run."""
    data, given = gather(run), run.parameters
    light = Illumination(float(given["optical_density"]), str(given["spot_profile"]))
    return analyze_cross_section(data, light, float(given["gate_ps"])), data


def evaluate_streak_series(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a series of spectrograms."""
    data, given = gather(run), run.parameters
    gates = (float(given["early_gate_ps"]), float(given["late_gate_ps"]))
    camera = SpectralResponse(
        float(given["response_tilt_per_nm"]), float(given["response_tilt_unc_per_nm"])
    )
    return analyze_streak_series(data, gates, camera), data
