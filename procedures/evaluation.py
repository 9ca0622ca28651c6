"""From a run file to numbers: reads the records, hands arrays to the analysis.

The one place where files and analysis meet. What analysis gets are records and parameters of the
file, never the bench file that is stored beside them.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError, ConfigError
from procedures.analysis.power_sweep import PowerSweepData, analyze_power_sweep
from procedures.analysis.results import Analysis
from procedures.analysis.unmeasured_response import GRATING_AND_SILICON
from procedures.registry import MeasurementEntry, measurement, own_measurements
from procedures.running.runfile import RunFile


@dataclass(frozen=True)
class Evaluation:
    """What came out of a run file (or of several)."""

    file: str | list[str]
    measurement: str
    run_status: str
    analysis: Analysis
    data: Any = field(repr=False, default=None)
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `gainbench analyze --json` prints."""
        return {
            "file": self.file,
            "measurement": self.measurement,
            "run_status": self.run_status,
            **self.analysis.to_json(),
        }


class NothingToAnalyze(BenchError):
    """A file's measurement has no analysis here."""

    exit_code = 2
    code = "run-file"


# Measurements whose runs belong together, and what several files of them are.
_SERIES = {
    frozenset({"power-sweep", "ageing"}): (
        "ageing",
        "procedures.evaluations.ageing:evaluate_sweeps",
    )
}


def evaluate(path: str | Path, *, extrapolate: bool = False) -> Evaluation:
    """Analyse a run file by the measurement that it names.

    With `extrapolate`, an analysis that can states what lies beyond the records, and marks it.
    """
    with RunFile(path) as run:
        if not run.columns:
            raise NothingToAnalyze(
                f"{path}: there is nothing to analyse: the run is {run.status} and has not started"
            )
        try:
            entry = measurement(run.measurement)
        except ConfigError as error:
            raise NothingToAnalyze(f"{path}: {error}") from error
        if not entry.evaluate:
            raise NothingToAnalyze(f"{path}: no analysis is known for {run.measurement!r}")
        _refuse_foreign(path, run)
        function = entry.load("evaluate")
        more = {"extrapolate": True} if extrapolate and _extrapolates(function) else {}
        analysis, data = function(run, **more)
        about = {"sample": run.sample, "start_time": run.start_time, "spot": run.spot}
        return Evaluation(str(path), run.measurement, run.status, analysis, data, about)


def _refuse_foreign(path: str | Path, run: RunFile) -> None:
    """Refuse a run whose parameters are those of another measurement than it names.

    Columns alone do not tell: several measurements have the same. A parameter that is missing or
    unknown may be younger or older than this program.
    """
    given = set(run.parameters)
    if given <= _parameters(measurement(run.measurement)):
        return
    for entry in own_measurements():
        if entry.name != run.measurement and given <= _parameters(entry):
            raise NothingToAnalyze(
                f"{path}: it names {run.measurement!r} and holds the parameters of "
                f"{entry.name!r}: numbers would mean nothing"
            )


def _parameters(entry: MeasurementEntry) -> set[str]:
    return set(entry.load()().quantities())


def evaluate_series(paths: Sequence[str | Path]) -> Evaluation:
    """Analyse several run files together, where their measurements make a series.

    Raises:
        NothingToAnalyze: they do not belong together, or a file is named twice.
    """
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise NothingToAnalyze("a run file is named twice; name each one once")
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(RunFile(path)) for path in paths]
        names = {run.measurement for run in runs}
        series = next((made for of, made in _SERIES.items() if names <= of), None)
        if series is None:
            raise NothingToAnalyze(
                f"{', '.join(sorted(names))}: these runs make no series; several files are taken "
                "for power sweeps of one film on several days, all others one at a time"
            )
        for path, run in zip(paths, runs, strict=True):
            _refuse_foreign(path, run)
            if not run.start_time:
                raise NothingToAnalyze(f"{path}: the run has not started")
        name, target = series
        module, _, function = target.partition(":")
        analysis, data = getattr(importlib.import_module(module), function)(runs)
        statuses = [run.status for run in runs]
        status = next((one for one in statuses if one != "finished"), "finished")
        first = min(runs, key=lambda run: datetime.fromisoformat(run.start_time))
        about = {"sample": first.sample, "start_time": first.start_time, "spot": first.spot}
        return Evaluation([str(path) for path in paths], name, status, analysis, data, about)


def _extrapolates(function: Any) -> bool:
    return "extrapolate" in inspect.signature(function).parameters


def evaluate_power_sweep(run: RunFile) -> tuple[Analysis, PowerSweepData]:
    """Gather a power sweep's records and analyse them."""
    records = {
        name: np.asarray(run.records(name))
        for name in (
            "fluence",
            "fluence_errors",
            "pulse_energy",
            "pulse_energy_spread",
            "exposure",
            "accumulations",
            "shots",
            "stripe_length",
            "direction",
            "saturated",
            "spectra",
            "background",
        )
    }
    settings = run.instruments.get("camera", {}).get("settings", {})
    gain = _value(settings, "electrons_per_count")
    read_noise = _value(settings, "read_noise_e")
    data = PowerSweepData(
        wavelength_nm=np.asarray(run.axis("wavelength")),
        counts=records["spectra"],
        background=records["background"],
        gain_e_per_count=gain,
        read_noise_e=read_noise,
        exposure_s=records["exposure"],
        accumulations=records["accumulations"],
        shots=records["shots"],
        fluence_uJ_cm2=records["fluence"],
        fluence_errors_uJ_cm2=records["fluence_errors"],
        fluence_rel_unc=float(run.facts.get("fluence_rel_unc", 0.0)),
        stripe_length_cm=0.1 * records["stripe_length"],
        full_stripe_length_cm=0.1 * float(run.facts.get("full_stripe_length_mm", 3.0)),
        saturated=records["saturated"].astype(bool),
        direction=records["direction"],
        reference_fluence_uJ_cm2=float(run.parameters["reference_fluence_uJ_cm2"]),
        pulse_spread=_spread(records["pulse_energy"], records["pulse_energy_spread"]),
        response=GRATING_AND_SILICON,
        wavelength_unc_nm=float(run.facts.get("wavelength_unc_nm", 0.0)),
    )
    return analyze_power_sweep(data), data


def _value(settings: Mapping[str, Any], name: str) -> float | None:
    found = settings.get(name)
    if found is None:
        return None
    value = float(getattr(found, "value", found))
    return value if np.isfinite(value) and value > 0 else None


def _spread(energy: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]) -> float:
    """Return the relative scatter of single pulses, 0 where it was not measured.

    Of the calmest quarter of records: an energy meter in a coarse range adds noise of its own.
    """
    good = np.isfinite(energy) & np.isfinite(spread) & (energy > 0)
    return float(np.quantile(spread[good] / energy[good], 0.25)) if good.any() else 0.0
