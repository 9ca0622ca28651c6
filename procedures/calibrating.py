"""From calibration runs to numbers, and from numbers to dated calibration files.

Gathers the records of `calibrate-pump` and `calibrate-wavelength` for their analysis, and makes the
calibration that `gainbench analyze FILE --calibration WHERE` writes. Nothing is written from a run
that does not support every value of it. Stops at the file: `instruments.calibration` knows its
form, the bench file decides whether it is used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instruments.calibration import Calibration, MadeWith, write_calibration
from instruments.errors import BenchError
from procedures.analysis.lamp_spectra import WavelengthCalibrationData
from procedures.analysis.pump_calibration import PumpCalibrationData, analyze_pump_calibration
from procedures.analysis.results import Analysis, Result
from procedures.analysis.wavelength_calibration import analyze_wavelength_calibration
from procedures.evaluation import Evaluation
from procedures.registry import measurement
from procedures.running.runfile import RunFile

_LENGTHS = ("stripe_width", "stripe_length", "spot_diameter")


class NoCalibration(BenchError):
    """A run file does not give a calibration."""

    exit_code = 1
    code = "calibration"


def write_from(evaluation: Evaluation, where: Path) -> Path:
    """Write the calibration that a run gives, into a folder or as a .toml file; return its path.

    Raises:
        NoCalibration: the run is of another kind, or does not support it.
        ConfigError: the file exists, or cannot be written.
    """
    entry = measurement(evaluation.measurement)
    if not entry.calibration:
        raise NoCalibration(f"{evaluation.file}: a {evaluation.measurement} run calibrates nothing")
    with RunFile(str(evaluation.file)) as run:
        made: Calibration = entry.load("calibration")(evaluation.analysis, run)
    return write_calibration(made, where, time.time())


def role_of(evaluation: Evaluation) -> str:
    """Return the role whose table in the bench file is to name the calibration."""
    return {
        "calibrate-pump": "attenuator",
        "calibrate-wavelength": "monochromator",
        "stripe-length": "stripe",
    }.get(evaluation.measurement, "")


# ---- the pump -----------------------------------------------------------------------------------


def evaluate_pump(run: RunFile) -> tuple[Analysis, PumpCalibrationData]:
    """Gather an angle series and analyse it."""
    given, asked = run.decisions, run.parameters

    def length(name: str) -> tuple[float, float]:
        value = float(given.get(f"{name}_mm", 0.0))
        return value, float(asked.get(f"{name}_unc_mm", 0.0))

    data = PumpCalibrationData(
        time_s=_floats(run, "time"),
        angle_deg=_floats(run, "attenuator_angle"),
        energy_J=_floats(run, "pulse_energy"),
        energy_errors_J=_floats(run, "pulse_energy_errors"),
        reference=np.asarray(run.records("reference"), dtype=bool),
        angle_resolution_deg=float(given["angle_resolution_deg"]),
        energy_rel_unc=float(given["meter_rel_unc"]),
        meter_ratio=float(given["meter_ratio"]),
        transmission_max=float(asked["transmission_max"]),
        transmission_max_unc=float(asked["transmission_max_unc"]),
        width_mm=length("stripe_width"),
        length_mm=length("stripe_length"),
        diameter_mm=length("spot_diameter"),
        area_rel_unc=float(given.get("area_rel_unc", 0.0)),
    )
    return analyze_pump_calibration(data), data


def pump_calibration(analysis: Analysis, run: RunFile) -> Calibration:
    """Return the attenuator's calibration, with full pulse energy and area."""
    _refuse_unfinished(run)
    wanted = {
        "theta0_deg": "theta0_deg",
        "t_min": "transmission_min",
        "t_max": "transmission_max",
        "full_pulse_energy_J": "full_pulse_energy_J",
        "area_cm2": "area_cm2",
    }
    values, stderr = _supported(analysis, wanted, run)
    for name in _LENGTHS:
        value = float(run.decisions.get(f"{name}_mm", 0.0))
        if value > 0.0:
            values[f"{name}_mm"] = value
            unc = float(run.parameters.get(f"{name}_unc_mm", 0.0))
            if unc > 0.0:
                stderr[f"{name}_mm"] = unc
    return Calibration(
        "attenuator", values, stderr, _made_with(run, ("attenuator",)), source=run.path.name
    )


# ---- the spectrograph ---------------------------------------------------------------------------


def evaluate_wavelength(run: RunFile) -> tuple[Analysis, WavelengthCalibrationData]:
    """Gather lamp spectra and analyse them."""
    given, asked = run.decisions, run.parameters
    settings = run.instruments.get("camera", {}).get("settings", {})
    data = WavelengthCalibrationData(
        lamp=str(asked["lamp"]),
        frames=np.asarray(run.records("frames")),
        centre_nm=_floats(run, "centre_wavelength"),
        saturation_counts=float(given["saturation_counts"]),
        grooves_per_mm=float(given["grooves_per_mm"]),
        pitch_um=float(given["pixel_pitch_um"]),
        focal_length_mm=float(given["focal_length_mm"]),
        half_angle_deg=float(given["half_angle_deg"]),
        tilt_deg=float(given["tilt_deg"]),
        search_nm=float(asked["search_nm"]),
        gain_e_per_count=_setting(settings, "electrons_per_count"),
    )
    return analyze_wavelength_calibration(data), data


def wavelength_calibration(analysis: Analysis, run: RunFile) -> Calibration:
    """Return the spectrograph's calibration: geometry, and the error of its whole axis."""
    _refuse_unfinished(run)
    wanted = {name: name for name in ("offset_nm", "focal_length_mm", "residual_rms_nm")}
    values, stderr = _supported(analysis, {**wanted, "offset_error_nm": "axis_error_nm"}, run)
    stderr.pop("residual_rms_nm", None)
    if analysis.results["tilt_deg"].value is not None:
        tilt, tilt_error = _supported(analysis, {"tilt_deg": "tilt_deg"}, run)
        values, stderr = values | tilt, stderr | tilt_error
    repeat = analysis.results["repeatability_nm"].value
    if isinstance(repeat, float):
        values["repeatability_nm"] = repeat
    values["half_angle_deg"] = float(run.decisions["half_angle_deg"])
    values["scale"] = 1.0
    values["calibrated_grooves_per_mm"] = float(run.decisions["grooves_per_mm"])
    made_with = _made_with(run, ("monochromator", "camera"))
    return Calibration("spectrograph", values, stderr, made_with, source=run.path.name)


# ---- shared -------------------------------------------------------------------------------------


def _floats(run: RunFile, name: str) -> Any:
    return np.asarray(run.records(name), dtype=np.float64)


def _setting(settings: Mapping[str, Any], name: str) -> float | None:
    found = settings.get(name)
    value = float(getattr(found, "value", found)) if found is not None else 0.0
    return value if np.isfinite(value) and value > 0.0 else None


def _refuse_unfinished(run: RunFile) -> None:
    if run.status != "finished":
        raise NoCalibration(
            f"{run.path}: the run is {run.status}; a calibration is made of a finished one: "
            "resume it first"
        )


def _supported(
    analysis: Analysis, wanted: Mapping[str, str], run: RunFile
) -> tuple[dict[str, float], dict[str, float]]:
    """Return values and errors of results that must all be there; NoCalibration otherwise."""
    values, stderr = {}, {}
    for name, result_name in wanted.items():
        result = analysis.results.get(result_name, Result.nothing(""))
        if result.value is None or isinstance(result.value, Sequence):
            why = "; ".join(analysis.warnings) or "no reason is known"
            raise NoCalibration(
                f"{run.path}: {result_name} is not supported by the records, so no calibration is "
                f"written ({why})"
            )
        values[name] = float(result.value)
        if isinstance(result.stderr, float | int):
            stderr[name] = float(result.stderr)
    return values, stderr


def _made_with(run: RunFile, roles: Sequence[str]) -> dict[str, MadeWith]:
    found = {}
    for role in roles:
        about = run.instruments.get(role, {})
        identity, settings = about.get("identity"), about.get("settings", {})
        if identity is not None:
            driver = settings.get("driver")
            found[role] = MadeWith(
                str(getattr(driver, "value", driver or "")),
                str(identity.get("model", "")),
                str(identity.get("serial_number", "")),
            )
    return found
