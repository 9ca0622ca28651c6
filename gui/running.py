"""Carries a run out beside the window: in a thread of its own, with the bench that is open here.

The runner is that of the commands; this follows it for the window. Records go from the runner into
the file and into `data`; the window looks at `data` when it has time, and misses none.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt5 import QtCore

from gui.hold import Hold, guarded, take_again
from gui.rundata import RunData
from instruments.errors import BenchError

if TYPE_CHECKING:
    from procedures.measurement import Forecast, Measurement

log = logging.getLogger(__name__)

IDLE, STARTING, RUNNING, PAUSING, PAUSED, ABORTING = (
    "idle",
    "starting",
    "running",
    "pausing",
    "paused",
    "aborting",
)


def _watched_control() -> Any:
    """Return a Control that tells when the run has really come to its pause."""
    from procedures.measurement import Control  # late: the window is shown before

    class WatchedControl(Control):
        def __init__(self) -> None:
            super().__init__()
            self.waiting = False

        def wait(self, timeout_s: float) -> bool:
            self.waiting = True
            ended = super().wait(timeout_s)
            if ended:
                self.waiting = False
            return ended

    return WatchedControl()


class RunningRun(QtCore.QObject):
    """One run at a time; made once, used for every run of the window."""

    began = QtCore.pyqtSignal()
    """The plan is checked and records are about to come: `data` is there."""
    ended = QtCore.pyqtSignal(object)
    """An Outcome, or the BenchError for which it could not begin."""
    told = QtCore.pyqtSignal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        self.name = ""
        self.data: RunData | None = None
        self.forecast: Forecast | None = None
        self.hold = Hold()
        self.percent = 0.0
        self._control: Any = None
        self._thread: threading.Thread | None = None
        self._began_s = 0.0
        self._first = 0
        self._speed = 1.0
        self._paused_s = 0.0
        self._pause_began_s: float | None = None
        self._bench: Any = None
        self._about: dict[str, str] = {}
        self.bench: Any = None
        """The bench that the run has, from its first record on."""

    # ---- for the window -------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether a run is going on."""
        return self._thread is not None

    @property
    def state(self) -> str:
        """idle, starting, running, pausing, paused or aborting."""
        if self._thread is None:
            return IDLE
        if self._control.aborted:
            return ABORTING
        if self._control.paused or self.hold.held:
            return PAUSED if self._control.waiting or self.hold.held else PAUSING
        return RUNNING if self.data is not None else STARTING

    def start(
        self, path: Path, name: str, bench: Any, about: Mapping[str, str] | None = None
    ) -> None:
        """Carry out the run of a file that is not finished; with `bench`, or one of its own.

        about: sample, spot and operator, as the window shows them.
        """
        if self._thread is not None:
            raise BenchError("a run is going on already")
        self.path, self.name, self.data, self.forecast = path, name, None, None
        self.percent = 0.0
        self._paused_s, self._pause_began_s = 0.0, None
        self.hold.release()
        self._control = _watched_control()
        self._bench = bench
        self._about = dict(about or {})
        self._thread = threading.Thread(target=self._work, name="run", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Wait before the next point, shutter closed."""
        self._control.pause()
        self._pause_began_s = self._pause_began_s or time.monotonic()

    def go_on(self) -> None:
        """End a pause, and let the shutter be opened again."""
        if self._pause_began_s is not None:
            self._paused_s += time.monotonic() - self._pause_began_s
            self._pause_began_s = None
        self.hold.release()
        self._control.go_on()

    def abort(self) -> None:
        """End the run, safe; what is recorded stays."""
        self._control.abort()
        self.hold.release()

    def shutter_closed(self) -> None:
        """The operator closes the shutter: it stays closed, and the run waits."""
        if self.active:
            self.hold.hold()
            self.pause()

    def left_s(self) -> float | None:
        """Return how long the rest will take (s), None if that is not known yet.

        By the forecast of each point, and by how long those took that are done.
        """
        data, forecast = self.data, self.forecast
        if self._thread is None or data is None or forecast is None:
            return None
        points = forecast.point_seconds
        done = sum(points[self._first : data.rows_complete])
        rest = sum(points[data.rows_complete :])
        now = self._pause_began_s or time.monotonic()
        spent = now - self._began_s - self._paused_s
        if data.rows_complete - self._first < 2 or done <= 0.0:
            return rest / self._speed
        return rest * spent / done

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the run; return whether it has ended."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    # ---- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        from procedures.session import run_queued

        assert self.path is not None
        found: Any
        try:
            with self._guarded():
                found = run_queued(
                    self.path,
                    self._report,
                    bench=self._bench,
                    control=self._control,
                    listener=self,
                )
        except Exception as error:
            if not isinstance(error, BenchError):
                log.exception("the run could not be carried out")
            found = error
        self._bench = self.bench = None
        self._thread = None
        self.ended.emit(found)

    def _guarded(self) -> contextlib.AbstractContextManager[None]:
        if self._bench is None:
            return contextlib.nullcontext()
        return guarded(self._bench, self.hold)

    def _report(self, line: str) -> None:
        bad = "could not be" in line or line.startswith(("failed", "aborted:"))
        level = "error" if bad else ("warning" if "retry" in line else "info")
        self.told.emit(level, line)

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """See Listener."""
        take_again(measurement, self.hold)
        self.forecast = forecast
        first = measurement.first_point
        self.percent = 100.0 * first / max(forecast.points, 1)
        self._first = first
        self._speed = float(getattr(measurement.bench.clock, "speed", 1e3))
        self.bench = measurement.bench
        data = described(measurement, self.path, forecast.points, self._about)
        if first and self.path is not None:
            _take_earlier(data, self.path)
        self._began_s = time.monotonic()
        self.data = data
        self.began.emit()

    def recorded(self, record: Mapping[str, Any]) -> None:
        """See Listener."""
        if self.data is not None:
            self.data.append(record)

    def progress(self, percent: float) -> None:
        """See Listener."""
        self.percent = percent


def described(
    measurement: Measurement, path: Path | None, points: int, named: Mapping[str, str]
) -> RunData:
    """Return the place for the records of a run that is about to begin."""
    from procedures.running.describe import describe_start

    about: dict[str, Any] = {
        **named,
        "path": path,
        "points": points,
        "plan": _columns(measurement.plan()),
        "parameters": {name: one.value for name, one in measurement.quantities().items()},
        "parameter_units": {name: one.unit for name, one in measurement.quantities().items()},
    }
    try:
        start = describe_start(measurement, measurement.bench)
        about |= {
            "start_time": measurement.bench.clock.isoformat(start.start_s),
            "facts": start.facts,
            "instruments": start.instruments,
            "calibrations": start.calibrations,
        }
    except BenchError as error:  # the run's own affair: it will meet it, too
        log.warning("the live fit does without the description of the bench: %s", error)
    about["decisions"] = measurement.decisions
    data = RunData(measurement.MEASUREMENT, measurement.COLUMNS, measurement.axes(), about)
    data.decisions = measurement.decisions  # it may decide more on the way
    return data


def _columns(plan: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return a plan by name, as a run file has it: (points,) each, NaN where a point has none."""
    names = dict.fromkeys(name for point in plan for name in point)
    return {name: np.array([point.get(name, np.nan) for point in plan]) for name in names}


def _take_earlier(data: RunData, path: Path) -> None:
    """Put the records of an earlier part before those to come."""
    from procedures.running.runfile import RunFile

    with contextlib.suppress(BenchError), RunFile(path) as run:
        columns = {name: (run.records(name), run.rows_of(name)) for name in run.columns}
        for row in range(run.rows_complete):
            record = {}
            for name, (values, rows) in columns.items():
                place = row if len(rows) == run.rows_complete else int(rows.searchsorted(row))
                has = place < len(rows) and rows[place] == row
                record[name] = values[place] if has else None
            data.append(record)
