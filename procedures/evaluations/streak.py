"""lifetime, auger, cross-section, streak-series: from the records of a run to their analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from procedures.analysis.auger import analyze_auger
from procedures.analysis.cross_section import Illumination, analyze_cross_section
from procedures.analysis.decay import analyze_lifetime
from procedures.analysis.results import Analysis, FloatArray
from procedures.analysis.streak_image import StreakData
from procedures.analysis.streak_series import SpectralResponse, analyze_streak_series
from procedures.running.runfile import RunFile

# A calibration of the spectral axis by lamp lines, read to a quarter of a column.
WAVELENGTH_UNC_NM = 0.05


_NUMBERS = ("kind", "shots", "saturated", "fluence", "fluence_errors")
_IMAGES = ("frames", "background")


def gather(run: RunFile, wanted: Sequence[str] = ()) -> StreakData:
    """Return the records of a run as the analyses want them.

    What is missing, or no number, is told in `problems`, and what it spoils is left out.
    `wanted`: parameters of the run without which nothing can be said.
    """
    missing = [name for name in (*_NUMBERS, *_IMAGES) if name not in run.columns]
    missing += [name for name in wanted if name not in run.parameters]
    event = float(run.decisions.get("event_counts", np.nan))
    centre = float(run.decisions.get("centre_wavelength_nm", np.nan))
    problems = _unfinished(run)
    if missing:
        problems.append(
            f"{', '.join(missing)} is missing in the file: it is not a complete run of this "
            "measurement"
        )
        return _nothing(problems)
    if not event > 0.0 or not np.isfinite(centre):
        problems.append(
            "what a photo-electron is in counts, or where the window stands, was not measured: the "
            "run ended before its first record"
        )
        return _nothing(problems)
    frames = run.records("frames").astype(np.float32)
    background = run.records("background").astype(np.float32)
    numbers = {name: np.asarray(run.records(name), dtype=np.float64) for name in _NUMBERS}
    bad = _bad_records(numbers, frames, background, problems)
    if run.parameters.get("mode") != "counting":
        empty = ~bad & ~background.any(axis=(1, 2))
        if empty.any():
            problems.append(
                f"{_records(empty)}: there is no background; left out, for what is the sample's "
                "light cannot be told"
            )
        bad |= empty
    facts = run.facts
    return StreakData(
        time_ps=np.asarray(run.axis("sweep_time")),
        wavelength_nm=np.asarray(run.axis("wavelength")),
        net=frames - background,
        kind=np.nan_to_num(numbers["kind"], nan=-1.0).astype(np.intp),
        shots=np.maximum(np.nan_to_num(numbers["shots"]), 1.0),
        saturated=np.nan_to_num(numbers["saturated"]).astype(bool),
        fluence_uJ_cm2=numbers["fluence"],
        fluence_errors_uJ_cm2=numbers["fluence_errors"],
        fluence_rel_unc=float(facts.get("fluence_rel_unc", 0.0)),
        event_counts=event,
        centre_nm=centre,
        event_counts_rel_unc=float(run.decisions.get("event_counts_errors", 0.0)) / event,
        wavelength_unc_nm=WAVELENGTH_UNC_NM,
        pump_wavelength_nm=float(facts.get("pump_wavelength_nm", 400.0)),
        bad=bad,
        problems=tuple(problems),
    )


def _bad_records(
    numbers: Mapping[str, FloatArray],
    frames: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    problems: list[str],
) -> npt.NDArray[np.bool_]:
    """Return which records hold what is no number, or a fluence that none can be."""
    bad = np.zeros(len(frames), dtype=np.bool_)
    for name, values in numbers.items():
        wrong = ~np.isfinite(values)
        if name in ("fluence", "shots"):
            wrong |= ~(values > 0.0)
        if wrong.any():
            problems.append(f"{_records(wrong)}: {name} is NaN or not above zero; left out")
        bad |= wrong
    for name, images in (("frames", frames), ("background", background)):
        wrong = ~np.isfinite(images.sum(axis=(1, 2), dtype=np.float64))
        if wrong.any():
            problems.append(f"{_records(wrong)}: NaN in {name}; left out")
        bad |= wrong
    return bad


def _records(which: npt.NDArray[np.bool_]) -> str:
    places = np.flatnonzero(which)
    return f"record{'s' if len(places) > 1 else ''} {', '.join(str(one) for one in places)}"


def _unfinished(run: RunFile) -> list[str]:
    planned = max((len(values) for values in run.plan.values()), default=0)
    if run.status == "finished" or run.rows_complete >= planned:
        return []
    return [f"the run is {run.status}: {run.rows_complete} of {planned} records were taken"]


def _nothing(problems: list[str]) -> StreakData:
    """Return what holds no record."""
    none = np.empty(0)
    return StreakData(
        time_ps=none,
        wavelength_nm=none,
        net=np.empty((0, 0, 0), dtype=np.float32),
        kind=np.empty(0, dtype=np.intp),
        shots=none,
        saturated=np.empty(0, dtype=np.bool_),
        fluence_uJ_cm2=none,
        fluence_errors_uJ_cm2=none,
        fluence_rel_unc=0.0,
        event_counts=1.0,
        centre_nm=0.0,
        bad=np.empty(0, dtype=np.bool_),
        problems=tuple(problems),
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
    data = gather(run, ("optical_density", "spot_profile", "gate_ps"))
    given = run.parameters
    light = Illumination(
        float(given.get("optical_density", 0.0)), str(given.get("spot_profile", "tophat"))
    )
    return analyze_cross_section(data, light, float(given.get("gate_ps", 400.0))), data


def evaluate_streak_series(run: RunFile) -> tuple[Analysis, StreakData]:
    """Gather and analyse a series of spectrograms."""
    names = ("early_gate_ps", "late_gate_ps", "response_tilt_per_nm", "response_tilt_unc_per_nm")
    data = gather(run, names)
    early, late, tilt, tilt_unc = (float(run.parameters.get(name, 0.0)) for name in names)
    return analyze_streak_series(data, (early, late), SpectralResponse(tilt, tilt_unc)), data
