"""From an ageing run, or from several power sweeps of one film, to the rise of the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from procedures.analysis.ageing import AgeingData, analyze_ageing
from procedures.analysis.results import Analysis
from procedures.analysis.sweep_records import PowerSweepData
from procedures.evaluations.spectra import gather_spectra, pulse_spread
from procedures.running.runfile import RunFile

DAY_S = 86_400.0


def evaluate_ageing(run: RunFile) -> tuple[Analysis, AgeingData]:
    """Gather the sweeps of an ageing run and analyse them together."""
    data = AgeingData(*_sweeps(run))
    return analyze_ageing(data), data


def evaluate_sweeps(runs: Sequence[RunFile]) -> tuple[Analysis, AgeingData]:
    """Analyse several runs together: power sweeps, ageing runs, or both, of one film.

    The days are those between their beginnings; what an ageing run counts as its first day is
    kept if it is the earliest.
    """
    begun = [datetime.fromisoformat(run.start_time).timestamp() for run in runs]
    order = np.argsort(begun, kind="stable")
    sweeps: list[PowerSweepData] = []
    days: list[float] = []
    base = 0.0
    for number, place in enumerate(order):
        parts, own = _sweeps(runs[place])
        if number == 0:
            base = own[0] if own else 0.0
        since = (begun[place] - begun[order[0]]) / DAY_S
        sweeps += parts
        days += [base + since + day - own[0] for day in own]
    data = AgeingData(sweeps, days)
    analysis = analyze_ageing(data)
    names = sorted({f"{run.sample}, spot {run.spot or '?'}" for run in runs})
    if len(names) > 1:
        analysis.warnings.insert(
            0, f"the files name different samples or spots: {'; '.join(names)}; are they one film?"
        )
    return analysis, data


def _sweeps(run: RunFile) -> tuple[list[PowerSweepData], list[float]]:
    """Return the sweeps of a run and the day of each."""
    if not run.rows_complete:
        return [], []
    every = run.columns
    if "sweep" in every:
        number = np.asarray(run.records("sweep"))
        day = np.asarray(run.records("day"))
    else:
        number = np.zeros(run.rows_complete, dtype=np.intp)
        day = np.zeros(run.rows_complete)
    direction = np.asarray(run.records("direction"))
    whole = gather_spectra(run, direction, pulse_spread(run, direction))
    parts, days = [], []
    for one in np.unique(number):
        rows = number == one
        parts.append(_only(whole, rows))
        days.append(float(day[rows][0]))
    return parts, days


def _only(data: PowerSweepData, rows: npt.NDArray[np.bool_]) -> PowerSweepData:
    """Return some records of a sweep."""
    changed = {
        one.name: getattr(data, one.name)[rows]
        for one in fields(data)
        if isinstance(getattr(data, one.name), np.ndarray) and one.name != "wavelength_nm"
    }
    return replace(data, **changed)
