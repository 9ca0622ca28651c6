"""What the window does with runs: begin, queue, go on, follow; the bench lent and taken back.

Between the widgets and the threads. Holds no widget; everything here is called in the window's
thread and returns at once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PyQt5 import QtCore

from gui.closer import ShutterCloser
from gui.doses import DoseWatch
from gui.jobs import Jobs
from gui.running import RunningRun
from gui.shrinking import Shrinker
from gui.whose_bench import OtherBench, check_bench
from gui.worker import BenchWorker
from instruments.config import BenchConfig
from instruments.errors import BenchError

_LOOK_S = 1.0
_FOLDER_S = 4.0
_LEAST_FIT_S = 0.4
_NIGHTS = "*_night_*"
"""Folders of nights, inside the data folder."""


@dataclass(frozen=True)
class _Header:
    """What a run file tells before its run begins."""

    measurement: str
    medium: str | None
    bench_text: str
    bench_file: str
    sample: str
    spot: str
    operator: str


class Conductor(QtCore.QObject):
    """Knows what goes on. Signals are all in the window's thread."""

    told = QtCore.pyqtSignal(str, str)
    queue_seen = QtCore.pyqtSignal(list)
    folder_seen = QtCore.pyqtSignal(list)
    remote_seen = QtCore.pyqtSignal(list)
    run_begins = QtCore.pyqtSignal(str)
    run_ended = QtCore.pyqtSignal(str, str, str)
    """path, status, text."""
    fitted = QtCore.pyqtSignal(object, object)
    queue_stopped = QtCore.pyqtSignal()

    def __init__(self, config: BenchConfig) -> None:
        super().__init__()
        self.config = config
        self.files = Jobs("files")
        self.looks = Jobs("folder")
        self.fits = Jobs("fits")
        self.worker = BenchWorker(config)
        self.dose = DoseWatch(self.looks, config.data_dir, config.limits.dose_max_J_cm2)
        self.run = RunningRun()
        self.closer = ShutterCloser(lambda: self.worker.bench or self.run.bench)
        self.queue_on = False
        self.shrinker = Shrinker(lambda: self.busy or self.queue_on)
        self._queue: Any = None
        self._taken: Path | None = None
        self._starting = False
        self._fit_data: Any = None
        self._fit_busy = False
        self._fit_next = 0.0
        self._fit_failure = ""
        self.worker.told.connect(self.told)
        self.worker.lit.connect(self.dose.by_hand)
        self.dose.told.connect(self.told)
        self.shrinker.told.connect(self.told)
        self.run.told.connect(self.told)
        self.run.ended.connect(self._ended)
        self.closer.closed.connect(self._closed)
        self._timer = QtCore.QTimer(self)
        self._timer.setInterval(round(1000 * _LOOK_S))
        self._timer.timeout.connect(self._look)
        self._folder_due = 0.0
        self._fit_timer = QtCore.QTimer(self)
        self._fit_timer.setInterval(150)
        self._fit_timer.timeout.connect(self._fit_now)

    def begin(self) -> None:
        """Open the bench and look at the folder."""
        self.worker.start()
        self._timer.start()
        self._fit_timer.start()
        self._look()

    def end(self) -> None:
        """Stop what looks; the bench is the worker's to leave."""
        self._timer.stop()
        self._fit_timer.stop()
        self.shrinker.end()
        for jobs in (self.files, self.looks, self.fits):
            jobs.end()
        self.closer.end()

    # ---- the shutter ----------------------------------------------------------------------------

    def close_shutter(self) -> None:
        """Close the shutter now; a run waits."""
        self.run.shutter_closed()
        self.closer.close()

    def _closed(self, done: bool, text: str) -> None:
        if done and self.run.active:
            text += "; the run waits, and takes its record again when it goes on"
        self.told.emit("info" if done else "error", text)
        self.worker.look_now("shutter")

    # ---- beginning runs -------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a run goes on or is about to."""
        return self.run.active or self._starting

    def forecast(
        self,
        name: str,
        values: dict[str, Any],
        about: Any,
        then: Callable[[Any], None],
        otherwise: Callable[[BaseException], None],
    ) -> None:
        """Check a run against the limits of the bench and the budget of its spot, moving nothing.

        about: sample and spot (a Description).
        """

        def act(bench: Any) -> Any:
            from procedures.running.ledger import Ledger, plan_check
            from procedures.session import build

            measurement = build(name, values)
            for role in measurement.roles():
                bench.need(role)
            measurement.bench = bench
            measurement.check_dose = plan_check(
                Ledger(self.config.data_dir), about.sample, about.spot, name,
                self.config.limits.dose_max_J_cm2, self.told.emit,
            )  # fmt: skip
            return measurement.check_limits()

        medium = values.get("medium")
        if not self.busy:
            self.worker.open_for(name, medium)
        self.worker.ask(f"forecast of {name}", act, then, otherwise, harmless=True)

    def add(self, name: str, values: dict[str, Any], about: Any, *, start: bool) -> None:
        """Put a run at the end of the queue; or at its head, and begin it."""

        def act() -> Path:
            from procedures.running.describe import describe_queued
            from procedures.session import build

            header = describe_queued(build(name, values), self.config, about, time.time())
            queue = self._folder_queue()
            path: Path = queue.add(header)
            if start:
                queue.move(path, 1)
            return path

        def then(path: Path) -> None:
            self.told.emit("info", f"queued: {path.name}")
            self._look()
            if start:
                self._starting = False
                self.run_next()

        if start:
            if self.busy:
                self.told.emit("warning", "a run is going on; queue this one")
                return
            self._starting = True
        self.files.do(act, then, self._not_begun)

    def run_queue(self, on: bool) -> None:
        """Carry out what waits, one after the other; or stop after this run."""
        self.queue_on = on
        if on and not self.busy:
            self.run_next()

    def run_next(self) -> None:
        """Begin the first run that waits."""
        if self.busy:
            return
        self._starting = True
        self.files.do(lambda: self._folder_queue().take(), self._took, self._not_begun)

    def resume(self, path: Path) -> None:
        """Go on with a run that is not finished."""
        if self.busy:
            self.told.emit("warning", "a run is going on; resume this one afterwards")
            return
        self._starting = True
        self.files.do(lambda: _header(path), lambda found: self._lend(path, found), self._not_begun)

    def _took(self, run: Any) -> None:
        if run is None:
            self._starting = False
            self.queue_on = False
            self.queue_stopped.emit()
            return
        self._taken = run.path
        self.files.do(
            lambda: _header(run.path), lambda found: self._lend(run.path, found), self._not_begun
        )

    def _lend(self, path: Path, header: _Header) -> None:
        try:
            remark = check_bench(path.name, header.bench_text, header.bench_file, self.config)
        except OtherBench as error:
            self._not_begun(error)
            return
        if remark:
            self.told.emit("warning", remark)
        name, words = header.measurement, header.measurement.replace("-", " ")
        self.run_begins.emit(name)
        self.dose.look_at(header.sample, header.spot)
        self.worker.open_for(name, header.medium)
        about = {"sample": header.sample, "spot": header.spot, "operator": header.operator}
        self.worker.lend(words, lambda bench: self._start(path, words, bench, about))

    def _start(self, path: Path, words: str, bench: Any, about: dict[str, str]) -> None:
        self._starting = False
        try:
            self.run.start(path, words, bench, about)
        except BenchError as error:
            self._not_begun(error)

    def _not_begun(self, error: BaseException) -> None:
        self._starting = False
        self.queue_on = False
        self.queue_stopped.emit()
        self.worker.hold("")
        self._release()
        self.told.emit("error", f"the run could not begin: {error}")

    def _ended(self, outcome: Any) -> None:
        path = self.run.path
        self.worker.hold("")
        self._release()
        if isinstance(outcome, BaseException):
            status, text = "failed", str(outcome)
        else:
            status = outcome.status
            text = str(outcome.error) if outcome.error is not None else ""
        name = path.name if path is not None else "run"
        level = {"finished": "info", "aborted": "warning"}.get(status, "error")
        self.told.emit(level, f"{name}: {status}" + (f": {text}" if text else ""))
        if path is not None and status == "finished":
            self.shrinker.add(path)
        self.run_ended.emit(str(path), status, text)
        self._folder_due = 0.0
        self._look()
        self.dose.look()
        if self.queue_on:
            if status == "finished":
                self.run_next()
            else:
                self.queue_on = False
                self.queue_stopped.emit()
                self.told.emit("warning", "the queue has stopped; press Run queue to go on")

    def _release(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            self.files.do(lambda: self._folder_queue().release(taken), lambda _none: self._look())

    # ---- the folder -----------------------------------------------------------------------------

    def _folder_queue(self) -> Any:
        if self._queue is None:
            from procedures.running.queue import Queue

            self._queue = Queue(self.config.data_dir)
        return self._queue

    def move(self, name: str, position: int) -> None:
        """Move a waiting run."""
        self.files.do(
            lambda: self._folder_queue().move(name, position),
            lambda _none: self._look(),
            self._say_error,
        )

    def remove(self, name: str) -> None:
        """Take a waiting run out of the queue."""
        self.files.do(
            lambda: self._folder_queue().remove(name), lambda _run: self._look(), self._say_error
        )

    def _say_error(self, error: BaseException) -> None:
        self.told.emit("error", str(error))

    def look_at_folder(self) -> None:
        """Have the list of runs read again soon."""
        self._folder_due = 0.0
        self._look()

    def _look(self) -> None:
        self.shrinker.look()
        if self.run.active:
            self.dose.look()
        self.looks.do(self._see_queue, self.queue_seen.emit, self._say_error, name="queue")
        if time.monotonic() >= self._folder_due:
            self._folder_due = time.monotonic() + _FOLDER_S
            self.looks.do(self._see_folder, self.folder_seen.emit, self._say_error, name="index")
            self.looks.do(self._see_remote, self.remote_seen.emit, self._say_error, name="remote")

    def _see_queue(self) -> list[Any]:
        return list(self._folder_queue().runs()) if self.config.data_dir.is_dir() else []

    def _see_folder(self) -> list[Any]:
        from procedures.running.index import index

        folder = self.config.data_dir
        if not folder.is_dir():
            return []
        found = list(index(folder))
        for night in folder.glob(_NIGHTS):
            with contextlib.suppress(OSError):  # gone meanwhile
                found += index(night) if night.is_dir() else []
        return sorted(found, key=lambda one: (one.start_time or one.queued_time, one.file))[::-1]

    def _see_remote(self) -> list[Any]:
        from procedures.running import lock
        from procedures.running.remote import find

        if not self.config.data_dir.is_dir():
            return []
        return [one for one in find(self.config.data_dir) if one.owner != lock.me()]

    # ---- fits -----------------------------------------------------------------------------------

    def want_fit(self, data: Any) -> None:
        """Have the records so far fitted, when there is time."""
        self._fit_data = data

    def _fit_now(self) -> None:
        data = self._fit_data
        if data is None or self._fit_busy or time.monotonic() < self._fit_next:
            return
        from gui.fits import fit

        self._fit_data = None
        self._fit_busy = True
        begun = time.monotonic()

        def done(evaluation: Any) -> None:
            self._fit_busy = False
            took = time.monotonic() - begun
            self._fit_next = time.monotonic() + max(took, _LEAST_FIT_S)
            self.fitted.emit(data, evaluation)

        def failed(error: BaseException) -> None:
            if not isinstance(error, BenchError) and repr(error) != self._fit_failure:
                self._fit_failure = repr(error)  # once: it is a fault of ours, not of the data
                self.told.emit("error", f"the fit failed ({error!r}); the run is not concerned")
            done(None)  # too few records, most often: the next fit will tell

        self.fits.do(lambda: fit(data), done, failed)


def _header(path: Path) -> _Header:
    """Return what the run file of a run that begins tells."""
    from procedures.running.runfile import RunFile

    with RunFile(path) as run:
        return _Header(
            run.measurement,
            run.parameters.get("medium"),
            run.bench_toml,
            run.bench_file,
            run.sample,
            run.spot,
            run.operator,
        )
