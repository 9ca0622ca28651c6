"""The dry run of a night: every step against the limits of the bench, and what all will take.

Opens the bench (which identifies the instruments) and moves nothing. For the command before it
begins a night, and for `--dry-run`. Waiting, cooling and further tries are not foreseen.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from instruments.bench import Bench, open_bench
from instruments.config import BenchConfig
from instruments.errors import BenchError, ConfigError, LimitError
from instruments.roles import Limits
from procedures.measurement import Forecast, Measurement
from procedures.nights.clock import NightClock
from procedures.nights.doses import PlannedDoses, SpotDose
from procedures.nights.expanding import Step
from procedures.nights.plan import BudgetTable, PlanError, PlanFile
from procedures.running.room import RESERVE_BYTES
from procedures.running.runfile import RunFile

_STREAK_AXES = {"wavelength": 672, "sweep_time": 512}
_OTHER_AXIS = 64
_FILE_BYTES = 800_000  # of a run without a record: its layout, its log, its bench file
_COPIES = 2.0  # the journal beside the file holds every record once more, until it is closed


@dataclass(frozen=True)
class StepForecast:
    """What a step asks at most; begins_s: when it begins at the earliest (seconds since 1970).

    to_come_J_cm2: the dose without what a step that was begun has given.
    """

    step: Step
    points: int
    seconds: float
    shots: int
    dose_J_cm2: float
    size_bytes: float
    begins_s: float = 0.0
    to_come_J_cm2: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what the dry run prints of it."""
        return {
            "step": self.step.number,
            "name": self.step.name,
            "measurement": self.step.measurement,
            "parameters": dict(self.step.parameters),
            "sample": self.step.sample,
            "spot": self.step.spot,
            "points": self.points,
            "seconds": self.seconds,
            "shots": self.shots,
            "dose_J_cm2": self.dose_J_cm2,
            "bytes": self.size_bytes,
            "begins_s": self.begins_s,
        }


@dataclass(frozen=True)
class NightForecast:
    """What a night asks: its steps, the total time from now, and the clock that it runs on.

    waits_s: for its start, of that time; the budget counts from there.
    """

    steps: list[StepForecast]
    seconds: float
    clock: NightClock
    free_bytes: float
    spots: tuple[SpotDose, ...] = ()
    waits_s: float = 0.0

    @property
    def shots(self) -> int:
        """Laser shots on all samples, at most."""
        return sum(one.shots for one in self.steps)

    @property
    def dose_J_cm2(self) -> float:
        """Dose on all spots together, at most."""
        return math.fsum(one.dose_J_cm2 for one in self.steps)

    @property
    def size_bytes(self) -> float:
        """Room that the run files need."""
        return math.fsum(one.size_bytes for one in self.steps)

    def dose_of_spots(self) -> dict[str, float]:
        """Return the dose of each spot, by "sample, spot"."""
        found: dict[str, float] = {}
        for one in self.steps:
            spot = ", ".join(part for part in (one.step.sample, one.step.spot) if part) or "unnamed"
            found[spot] = found.get(spot, 0.0) + one.dose_J_cm2
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what `gainbench night --dry-run --json` prints."""
        return {
            "steps": [one.to_json() for one in self.steps],
            "seconds": self.seconds,
            "shots": self.shots,
            "dose_J_cm2": self.dose_J_cm2,
            "dose_J_cm2_of_spots": self.dose_of_spots(),
            "spots": [one.to_json() for one in self.spots],
            "bytes": self.size_bytes,
            "free_bytes": self.free_bytes,
        }


def check_night(
    plan: PlanFile,
    steps: list[Step],
    config: BenchConfig,
    folder: Path,
    report: Callable[[str], None],
    files: Mapping[int, Path] | None = None,
) -> NightForecast:
    """Check every step against the bench's limits, and all against budget, ledger and disk.

    Args:
        plan: the plan. steps: those that are to be carried out. config: the bench file.
        folder: where the night's folder will be. report: told what instruments there are.
        files: run files of steps that were begun, by their numbers: what they hold is done.

    Raises:
        PlanError: a step asks for what the bench does not allow or have, or all for more than the
            budget, or than the disk holds; it names step and key.
        InstrumentError: an instrument does not answer or is another one.
    """
    found: dict[int, StepForecast] = {}
    clock: NightClock | None = None
    for (roles, measurement, medium), alike in _alike(steps).items():
        opened = open_bench(
            config,
            roles,
            measurement=measurement,
            medium=medium,
            clock=clock.for_bench() if clock is not None else None,
            report=lambda _line: None,
        )
        try:
            with opened as bench:
                clock = clock or NightClock.of(bench)
                for role in roles:
                    report(f"{role}: {bench.instruments[role].identity}")
                for step in alike:
                    begun = (files or {}).get(step.number)
                    found[step.number] = _check_step(plan, step, bench, begun)
        except ConfigError as error:
            if isinstance(error, PlanError):
                raise
            raise _refused(plan, alike[0], error) from error
    assert clock is not None
    doses = PlannedDoses(config, folder)
    for step in steps:
        try:
            doses.add(step, found[step.number].to_come_J_cm2)
        except LimitError as error:
            raise _refused(plan, step, error) from error
    forecast = _timed(plan, [found[step.number] for step in steps], clock, _free(folder))
    forecast = replace(forecast, spots=doses.spots())
    _check_totals(plan, forecast, folder)
    return forecast


def roles_of(step: Step, measurement: Measurement) -> tuple[str, ...]:
    """Return the roles that a step needs: its measurement's, and those it waits for."""
    waits = [one.role for one in step.when] + (["cryostat"] if step.cryostat_K else [])
    return tuple(dict.fromkeys([*measurement.roles(), *waits]))


def size_of(measurement: Measurement, bench: Bench, points: int) -> float:
    """Return about how many bytes the records of a run take, its journal included."""
    camera: Any = bench.instruments.get("camera")
    lengths = {"wavelength": camera.pixels} if camera is not None else _STREAK_AXES
    row = 0.0
    for column in measurement.COLUMNS:
        shape = [lengths.get(axis, _OTHER_AXIS) for axis in column.axes]
        row += np.dtype(column.dtype).itemsize * float(np.prod(shape, initial=1.0))
    return _FILE_BYTES + _COPIES * points * row


def _alike(steps: list[Step]) -> dict[tuple[tuple[str, ...], str, str | None], list[Step]]:
    """Return the steps by the bench that they need, so that each is opened once."""
    found: dict[tuple[tuple[str, ...], str, str | None], list[Step]] = {}
    for step in steps:
        measurement = step.build()
        medium = getattr(measurement, "medium", None)
        key = (roles_of(step, measurement), step.measurement, medium)
        found.setdefault(key, []).append(step)
    return found


def _check_step(plan: PlanFile, step: Step, bench: Bench, begun: Path | None) -> StepForecast:
    measurement = step.build()
    measurement.bench = bench
    to_come: list[float] = []
    measurement.check_dose = to_come.append  # all steps together are held against the ledger
    if begun is not None:
        with contextlib.suppress(BenchError, OSError), RunFile(begun) as run:
            measurement.first_point = run.rows_complete
    try:
        if step.cryostat_K is not None:
            allowed = bench.config.limits
            low, high = allowed.temperature_min_K, allowed.temperature_max_K
            Limits(low, high, "K").check("cryostat_K", step.cryostat_K)
        asked: Forecast = measurement.check_limits()
    except (LimitError, ConfigError) as error:
        raise _refused(plan, step, error) from error
    size = size_of(measurement, bench, asked.points)
    dose = asked.dose_J_cm2
    return StepForecast(
        step, asked.points, asked.seconds, asked.shots, dose, size, to_come_J_cm2=sum(to_come)
    )


def _refused(plan: PlanFile, step: Step, error: LimitError | ConfigError) -> PlanError:
    """Return what was refused, with the step and (if it is the plan's) the key."""
    key = f"{step.place}: {error.key}" if error.key else step.place
    looped = f" ({step.name})" if step.looped else ""
    return PlanError(f"{error}{looped}", file=plan.file, key=key)


def _timed(
    plan: PlanFile, steps: list[StepForecast], clock: NightClock, free: float
) -> NightForecast:
    """Lay the steps one behind the other, each not before its own time."""
    begun = now = clock.now()
    if plan.night.start is not None:
        now = max(now, plan.night.start.resolve(begun))
    waits_s = now - begun
    timed = []
    for one in steps:
        if one.step.start is not None:
            now = max(now, one.step.start.resolve(begun))
        timed.append(StepForecast(**{**one.__dict__, "begins_s": now}))
        now += one.seconds
    return NightForecast(timed, now - begun, clock, free, waits_s=waits_s)


def _check_totals(plan: PlanFile, night: NightForecast, folder: Path) -> None:
    budget: BudgetTable = plan.budget
    for key, needs, unit, scale in (
        ("time_h", night.seconds - night.waits_s, "hours", 3600.0),
        ("shots", float(night.shots), "shots", 1.0),
        ("dose_J_cm2", night.dose_J_cm2, "J/cm2", 1.0),
    ):
        allowed = getattr(budget, key)
        if allowed is not None and needs / scale > allowed:
            raise PlanError(
                f"the plan needs up to {needs / scale:.4g} {unit}, allowed are {allowed:g}; take "
                "steps out, or allow more",
                file=plan.file,
                key=f"budget.{key}",
            )
    needed = night.size_bytes + RESERVE_BYTES
    if needed > night.free_bytes:
        raise PlanError(
            f"the run files need up to {needed / 1e6:.1f} MB, "
            f"{night.free_bytes / 1e6:.1f} MB are free in {folder}; make room, or choose another "
            "folder with --out",
            file=plan.file,
            key="step",
        )


def _free(folder: Path) -> float:
    """Return the free bytes where a folder is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def used_of(record: Mapping[str, Any]) -> tuple[int, float]:
    """Return shots and dose (J/cm2) on the sample so far, as a record tells."""
    return int(record.get("shots_on_sample", 0) or 0), float(record.get("dose", 0.0) or 0.0)
