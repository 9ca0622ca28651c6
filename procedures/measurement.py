"""The base of every measurement: a pymeasure Procedure whose scan is data, not a loop.

`plan()` returns the ordered points, from the parameters alone; `needs(point)` says what a point
asks of the bench, moving nothing; `prepare()` readies the bench; `record(point)` takes one record.
`execute()` is written once, here: from it come dry runs, progress, pause, abort and resume. A
measurement knows roles; files, signals and figures are others' business.
"""

from __future__ import annotations

import difflib
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.bench import Bench
from instruments.errors import LimitError
from procedures.columns import Axis, Column, Quantity
from procedures.experiment import Procedure
from procedures.parameters import ParameterError

log = logging.getLogger(__name__)

Point = Mapping[str, float]
Record = dict[str, Any]


@dataclass(frozen=True)
class Needs:
    """What a point asks of the bench.

    seconds: about how long it takes; shots: laser shots on the sample, at most; dose_J_cm2: their
    fluence summed;
    fluence_uJ_cm2, stripe_length_mm ...: set points, checked against the limits (None: no change).
    """

    seconds: float
    shots: int = 0
    dose_J_cm2: float = 0.0
    setpoints: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Needs) -> Needs:
        """Return what both ask, one after the other; set points are left out."""
        return Needs(
            self.seconds + other.seconds,
            self.shots + other.shots,
            self.dose_J_cm2 + other.dose_J_cm2,
        )


@dataclass(frozen=True)
class Forecast:
    """What a whole plan asks: points, seconds (about), shots and dose (J/cm2) at most.

    point_seconds: of each point, (n,).
    """

    points: int
    seconds: float
    shots: int
    dose_J_cm2: float
    point_seconds: tuple[float, ...] = field(default=(), repr=False, compare=False)


class Control:
    """Pause and abort, from whatever thread."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        self._abort = threading.Event()
        self._at_once = threading.Event()
        self.asked = False
        """Whether anything was ever asked: all that is looked at before most points."""
        self.stopped = self._abort.is_set

    def pause(self) -> None:
        """Stop before the next point."""
        self.asked = True
        self._running.clear()

    def go_on(self) -> None:
        """End a pause."""
        self._running.set()

    def abort(self) -> None:
        """End the run before the next point."""
        self.asked = True
        self._abort.set()
        self._running.set()

    def abort_now(self) -> None:
        """End the run in the middle of a point, which is then not recorded."""
        self._at_once.set()
        self.abort()

    @property
    def aborted_now(self) -> bool:
        """Whether the run is to end without waiting for its point."""
        return self._at_once.is_set()

    @property
    def paused(self) -> bool:
        """Whether the run is to wait."""
        return not self._running.is_set()

    @property
    def aborted(self) -> bool:
        """Whether the run is to end."""
        return self._abort.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of a pause; return whether it has ended."""
        return self._running.wait(timeout_s)


class Measurement(Procedure):  # type: ignore[misc]
    """Base class of the measurements.

    Class attributes:
        MEASUREMENT: the name in commands and files. TITLE: one line. ROLES: roles it needs.
        COLUMNS: what a record holds. SIGNAL, PLOT_AXES: the default plot of the run file.
    """

    MEASUREMENT: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    ROLES: ClassVar[tuple[str, ...]] = ()
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    SIGNAL: ClassVar[str] = ""
    PLOT_AXES: ClassVar[tuple[str, ...]] = ()
    SPECTROSCOPY: ClassVar[str | None] = None

    bench: Bench
    control: Control
    first_point: int
    decisions: dict[str, float | str]
    take: Callable[[Point], Record]
    check_sink: Callable[[], None]
    check_dose: Callable[[float], None]
    on_pause: Callable[[bool], None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Derive pymeasure's DATA_COLUMNS from the column table."""
        super().__init_subclass__(**kwargs)
        cls.DATA_COLUMNS = [column.name for column in cls.COLUMNS]

    def __init__(self, **parameters: Any) -> None:
        unknown = [name for name in parameters if not hasattr(type(self), name)]
        super().__init__()
        self.control = Control()
        self.first_point = 0
        self.decisions = {}
        self.take = lambda point: self.record(point)  # the runner's takes it again after a fault
        self.check_sink = lambda: None
        self.check_dose = self._check_dose  # the runner's knows what the spot has had before
        self.on_pause = lambda _paused: None
        self.configure({**dict.fromkeys(unknown), **parameters})

    # ---- what a measurement writes for itself ----------------------------------------------

    def plan(self) -> Sequence[Point]:
        """Return the ordered points, from the parameters alone."""
        raise NotImplementedError

    def needs(self, point: Point) -> Needs:
        """Say what a point asks of the bench, from parameters and calibration."""
        raise NotImplementedError

    def readying(self) -> Needs:
        """Say what readying the bench asks of it before the first point, as far as it is light."""
        return Needs(0.0)

    def light(self, seconds: float, fluence_uJ_cm2: float) -> Needs:
        """Return what so much light asks, as long again without it included."""
        shots = math.ceil(seconds * self.bench.pump.source.repetition_rate_Hz)
        return Needs(2.0 * seconds, shots, shots * fluence_uJ_cm2 * 1e-6)

    def prepare(self) -> None:
        """Ready the bench; what is found out here goes into `self.decisions`."""

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Take up what the last record of an earlier part tells (called after `prepare`)."""

    def record(self, point: Point) -> Record:
        """Take one record: a value for each column."""
        raise NotImplementedError

    def axes(self) -> tuple[Axis, ...]:
        """Return the axes that columns name, known after `prepare`."""
        return ()

    def roles(self) -> tuple[str, ...]:
        """Return the roles that these parameters need."""
        return self.ROLES

    # ---- parameters -------------------------------------------------------------------------

    def configure(self, values: Mapping[str, Any]) -> None:
        """Set parameters by name.

        Raises:
            ParameterError: a name is unknown, or a value is not allowed.
        """
        for name, value in values.items():
            parameter = self._parameters.get(name)
            if parameter is None:
                near = difflib.get_close_matches(name, self._parameters, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ParameterError(
                    f"{self.MEASUREMENT} has no such parameter{hint} It has: "
                    f"{', '.join(sorted(self._parameters))}",
                    key=name,
                )
            try:
                parameter.value = value
            except ParameterError as error:
                raise ParameterError(str(error).partition(": ")[2], key=name) from None
            except ValueError as error:
                raise ParameterError(str(error), key=name) from None
            setattr(self, name, parameter.value)
        self.check()

    def check(self) -> None:
        """Check the parameters against each other; raise ParameterError."""

    def quantities(self) -> dict[str, Quantity]:
        """Return every parameter with its unit, for the run file."""
        return {
            name: Quantity(getattr(self, name), getattr(parameter, "units", None) or "")
            for name, parameter in self._parameters.items()
        }

    # ---- what follows from the plan ---------------------------------------------------------

    def check_limits(self) -> Forecast:
        """Check every point against the limits of the bench, moving nothing.

        Raises:
            LimitError: a point asks for what the bench does not allow; it names the point.
        """
        seconds = []
        points = self.plan()
        before = self.readying()
        shots, dose = before.shots, before.dose_J_cm2
        to_come = 0.0 if self.first_point else dose
        for number, point in enumerate(points, start=1):
            needs = self.needs(point)
            try:
                self._check_setpoints(needs.setpoints)
            except LimitError as error:
                raise LimitError(
                    f"point {number} of {len(points)}: {error}", key=error.key
                ) from None
            seconds.append(needs.seconds)
            shots += needs.shots
            dose += needs.dose_J_cm2
            if number > self.first_point:
                to_come += needs.dose_J_cm2
        self.check_dose(to_come)
        return Forecast(len(points), before.seconds + sum(seconds), shots, dose, tuple(seconds))

    def _check_dose(self, dose_J_cm2: float) -> None:
        allowed = self.bench.config.limits.dose_max_J_cm2
        if allowed is not None and dose_J_cm2 > allowed:
            raise LimitError(
                f"dose: the plan needs {dose_J_cm2:.3g} J/cm2, allowed per spot are {allowed:g}; "
                "take fewer points or a lower fluence",
                key="limits.dose_max_J_cm2",
            )

    def _check_setpoints(self, setpoints: Mapping[str, float]) -> None:
        if "fluence_uJ_cm2" in setpoints:
            self.bench.pump.limits.check("fluence", setpoints["fluence_uJ_cm2"])
        if setpoints.get("stripe_length_mm"):
            stripe = self.bench.need("stripe")
            stripe.limits["length_mm"].check("stripe length", setpoints["stripe_length_mm"])
        if "exposure_s" in setpoints:
            spectrograph = self.bench.need_spectrograph()
            spectrograph.exposure_limits.check("exposure", setpoints["exposure_s"])

    def get_estimates(self) -> list[tuple[str, str]]:
        """Return what pymeasure's estimator shows."""
        forecast = self.check_limits()
        return [
            ("Points", str(forecast.points)),
            ("Duration", f"{forecast.seconds:.0f} s"),
            ("Shots on the sample", f"{forecast.shots:.3g}"),
            ("Dose", f"{forecast.dose_J_cm2:.3g} J/cm2"),
        ]

    # ---- pymeasure's three ---------------------------------------------------------------------

    def startup(self) -> None:
        """Check the whole plan, then ready the bench."""
        self.check_limits()
        self.prepare()

    def execute(self) -> None:
        """Take the records of the plan, from `first_point` on."""
        points = self.plan()
        total = len(points)
        take, emit, check_sink, control = self.take, self.emit, self.check_sink, self.control
        told_to_stop = self._told_to_stop()
        tell_at = 0.0
        for number in range(self.first_point, total):
            if (control.asked or told_to_stop()) and not self._may_go_on():
                return
            emit("results", take(points[number]))
            check_sink()
            if number >= tell_at:
                emit("progress", 100.0 * (number + 1) / total)
                tell_at = number + total / 1000

    def shutdown(self) -> None:
        """Leave the bench safe."""
        bench = getattr(self, "bench", None)
        if bench is not None:
            bench.make_safe()

    def _may_go_on(self) -> bool:
        if self.control.paused and not self._stopped():
            self.bench.make_safe_for_pause()
            self.on_pause(True)
            while not self.control.wait(0.1):
                self.check_sink()
                if self._stopped():
                    break
            self.on_pause(False)
        return not self._stopped()

    def _stopped(self) -> bool:
        return self.control.aborted or self._told_to_stop()()

    def _told_to_stop(self) -> Callable[[], Any]:
        """Return what asks whoever carries it out whether it is to stop."""
        try:
            self.should_stop()
        except NotImplementedError:  # outside a worker, nobody else can stop it
            return lambda: False
        return self.should_stop  # type: ignore[no-any-return]


def spacing(low: float, high: float, points: int, kind: str) -> npt.NDArray[np.float64]:
    """Return `points` values from low to high, both included, "log" or "linear"."""
    if points == 1:
        return np.array([low])
    if kind == "log":
        return np.geomspace(low, high, points)
    return np.linspace(low, high, points)
