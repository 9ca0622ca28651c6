"""The runner: carries a measurement through its states into its run file.

Small, and without Qt. One run is: open the bench, check the whole plan, prepare, start the file,
take the records (again, after a fault that passes: recovering.py), leave the bench safe, close the
file. Every way out ends in a status in the file (finished, aborted, failed), a closed shutter and a
line in the log that says why. Who starts it (command, night, window) listens through `Listener`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.bench import Bench, open_bench
from instruments.clock import Clock, VirtualClock
from instruments.config import BenchConfig
from instruments.errors import BenchError, ConfigError, InstrumentError, InterlockTripped
from procedures.measurement import Measurement
from procedures.running import lock
from procedures.running.control_server import ControlServer
from procedures.running.describe import Description, describe_start
from procedures.running.followers import Followers, Listener, RecordedFile
from procedures.running.guard import guarding
from procedures.running.header import RunStart
from procedures.running.interlock import Interlock
from procedures.running.ledger import Ledger, RunDose
from procedures.running.planned_room import PlannedRoom
from procedures.running.recovering import AT_START, WAITS_S, Recovery
from procedures.running.remote import announced
from procedures.running.rewrite import clear_away
from procedures.running.runfile import RunFile, RunWriter, WriteFailed, mark_status, resume_writer
from procedures.running.signals import Signals, Stopped
from procedures.running.view import RunView

log = logging.getLogger(__name__)

ABORTED = 130
_NOBODY = Description()
_LOOK_S = 0.1  # dose and room are looked at no oftener


@dataclass(frozen=True)
class Outcome:
    """How a run ended: status of the file, records in it, what went wrong, exit code."""

    path: Path
    status: str
    records: int
    error: BaseException | None
    exit_code: int


def carry_out(
    path: Path,
    measurement: Measurement,
    config: BenchConfig,
    *,
    listener: Listener | None = None,
    report: Callable[[str], None] = log.info,
    resume_from: Mapping[str, Any] | None = None,
    bench: Bench | None = None,
    about: Description = _NOBODY,
    ledger: Ledger | None = None,
) -> Outcome:
    """Run a measurement into its queued (or not finished) file.

    From whatever thread; signals are heeded in the main one. `measurement.control` pauses and
    aborts it, and so do other processes over the socket that the lock beside the file names.

    Args:
        path: the run file, queued; or to be resumed, if `resume_from` is given.
        measurement: configured.
        config: the bench file.
        listener: follows the run. report: told what happens, a line at a time.
        resume_from: "records" (already in the file), "decisions" and "state" of the bench.
        bench: open already; it is left open, and safe.
        about: the sample and its spot, as the file has them.
        ledger: where its dose is counted, and what limits it there; None: in its file alone.

    Raises:
        FileInUse: somebody carries out this file already; it is left alone.
        WriteFailed: nothing can be written beside the file.
    """
    total = len(measurement.plan())
    view = RunView(path, measurement, total, about.sample, about.spot)
    if resume_from is not None:
        view.records = int(resume_from["records"])
    followers = Followers(view, listener)
    with contextlib.ExitStack() as held:
        server = _served(view, measurement)
        more: dict[str, Any] = {}
        if server is not None:
            held.callback(server.close)
            more = {"port": server.port, "token": server.token}
        try:
            held.enter_context(lock.reserved(path, more))
        except OSError as error:
            raise WriteFailed(f"{path} cannot be written ({error})") from error
        clear_away(path)
        held.enter_context(announced(path, config.data_dir))
        followers.server = server
        file = RecordedFile(path, report, followers)
        file.draw = about.draw
        outcome = _carry_out(
            file,
            measurement,
            _opened(config, measurement, file, bench, resume_from),
            resume_from,
            total,
            ledger,
        )
        view.records = outcome.records
        view.error = str(outcome.error or "")
        followers.state(outcome.status)
    return outcome


def _served(view: RunView, measurement: Measurement) -> ControlServer | None:
    """Open the run's socket; a run does not fail for want of one."""
    try:
        return ControlServer(view, measurement.control)
    except OSError as error:
        log.warning("this run cannot be spoken to from other programs (%s)", error)
        return None


@contextlib.contextmanager
def _opened(
    config: BenchConfig,
    measurement: Measurement,
    file: RecordedFile,
    bench: Bench | None,
    resume_from: Mapping[str, Any] | None,
) -> Iterator[Bench]:
    if resume_from is not None and resume_from["state"]:
        file.moment = resume_from.get("until_s")  # a virtual clock is set there later
    if bench is not None:
        for role in measurement.roles():
            bench.need(role)
        yield bench
        return
    with guarding(config) as guard:
        opened: Bench | None = None
        try:
            with open_bench(
                config,
                measurement.roles(),
                measurement=measurement.MEASUREMENT,
                medium=getattr(measurement, "medium", None),
                report=file.report,
                again=_Opening(file, measurement).again,
                state=resume_from["state"] if resume_from is not None else None,
            ) as opened:
                yield opened
        finally:
            if guard is not None and opened is not None and guard.is_needed(opened.unsafe):
                guard.leave_to_it()


def _carry_out(
    file: RecordedFile,
    measurement: Measurement,
    opened: contextlib.AbstractContextManager[Bench],
    resume_from: Mapping[str, Any] | None,
    total: int,
    ledger: Ledger | None,
) -> Outcome:
    error: BaseException | None = None
    records = int(resume_from["records"]) if resume_from else 0
    clock_now: Callable[[], float] | None = None
    with Signals() as signals:
        try:
            with opened as bench:
                clock_now = now = bench.clock.now
                with _watched(bench, lambda level, text: file.log(level, text, now())) as watch:
                    dose = _dose(file, measurement, bench, ledger)
                    asked = _Asked(measurement, signals, watch, dose)
                    try:
                        with bench.clock.guarded(asked.check):
                            records = _measure(
                                file, measurement, bench, signals, asked, resume_from, records
                            )
                    except Exception:
                        watch.check()  # whatever came of it, it was the interlock
                        raise
                    finally:
                        asked.finish()
                        signals.finish()
                        file.log("info", "making the bench safe", clock_now())
                        try:
                            measurement.shutdown()
                        finally:
                            dose.close()
                        for line in bench.unsafe:
                            file.log("error", line, clock_now())
        except (Stopped, KeyboardInterrupt) as stop:
            error = stop
        except Exception as problem:
            error = problem
            if not isinstance(problem, BenchError):
                log.exception("the run failed")
        signals.finish()
        # A failed write surfaces in the records that came after it: count what the file holds.
        status = _status(error, records, total)
        if error is None and status == "aborted":
            error = Stopped()
        moment = clock_now() if clock_now is not None else None
        moment = file.moment if file.moment is not None else moment
        text = _explain(error, status)
        records, failure = _close(file, status, text, moment, records)
        if failure is not None and error is None:
            error, status = failure, "failed"
    return Outcome(file.path, status, records, _plain(error), _exit_code(error))


@contextlib.contextmanager
def _watched(bench: Bench, tell: Callable[[str, str], None]) -> Iterator[Interlock]:
    """Have the bench watched: by who does already, or for the time of the run."""
    watch: Interlock | None = bench.interlock
    if watch is not None:
        with watch.telling(tell):
            yield watch
        return
    with Interlock(bench, tell) as made:
        yield made


def _dose(
    file: RecordedFile, measurement: Measurement, bench: Bench, ledger: Ledger | None
) -> RunDose:
    """Return what counts the dose of this run, and knows its budget."""
    view, now = file.followers.view, bench.clock.now
    run = ""
    if ledger is not None:
        with RunFile(file.path) as stored:
            run = stored.uuid
    return RunDose(
        ledger,
        run,
        file.path,
        view.sample,
        view.spot,
        measurement.MEASUREMENT,
        bench.config.limits.dose_max_J_cm2,
        lambda level, text: file.log(level, text, now()),
    )


class _Opening:
    """Has an instrument opened again that does not answer yet, as a record is taken again."""

    def __init__(self, file: RecordedFile, measurement: Measurement) -> None:
        self._file, self._measurement = file, measurement

    def again(self, role: str, error: InstrumentError, tries: int, clock: Clock) -> bool:
        """Wait, and return whether to try once more; Stopped if the run is to end."""
        if not isinstance(error, AT_START) or tries >= len(WAITS_S):
            return False
        self._file.log(
            "warning",
            f"{error}; retry {tries + 1} of {len(WAITS_S)} in {WAITS_S[tries]:g} s",
            clock.now(),
        )
        end = clock.now() + WAITS_S[tries]
        while (left := end - clock.now()) > 0.0:
            if self._measurement.control.aborted:
                raise Stopped
            clock.sleep(min(left, 0.2))
        return True


class _Asked:
    """What ends a run in the middle of a point: `check` raises it, once."""

    def __init__(
        self, measurement: Measurement, signals: Signals, watch: Interlock, dose: RunDose
    ) -> None:
        self._measurement, self._signals = measurement, signals
        self.watch, self.dose = watch, dose
        self._done = False

    def check(self) -> None:
        """Raise Stopped if the run is to end, as the first signal would, or InterlockTripped."""
        if self._done:
            return
        if self._measurement.control.aborted_now:
            self._done = True
            self._signals.stop()
            return
        try:
            self.insist()
        except BenchError:
            self._done = True
            raise

    def insist(self) -> None:
        """Raise InterlockTripped, also when it was raised before, if no light may be any more."""
        self.watch.check()
        self.dose.check()

    def finish(self) -> None:
        """Raise nothing any more: the clean-up is under way."""
        self._done = True


def _measure(
    file: RecordedFile,
    measurement: Measurement,
    bench: Bench,
    signals: Signals,
    asked: _Asked,
    resume_from: Mapping[str, Any] | None,
    records: int,
) -> int:
    count = records
    followers = file.followers
    followers.view.bench = bench
    bench.begin_run(file.draw)
    measurement.bench = bench
    measurement.first_point = records
    if measurement.control.aborted:
        raise Stopped
    asked.insist()
    measurement.check_sink = asked.insist
    bench.pump.shots, bench.pump.dose_J_cm2 = 0, 0.0  # a bench that was open may have had others
    if resume_from is not None:
        measurement.decisions.update(resume_from["decisions"])
        _refuse_other_calibrations(bench, resume_from.get("calibrations"))
        if not isinstance(bench.clock, VirtualClock):
            file.moment = None
        asked.dose.reconcile(
            int(resume_from.get("shots_on_sample", 0)), float(resume_from.get("dose", 0.0))
        )
    measurement.check_dose = asked.dose.check_plan
    forecast = measurement.check_limits()
    asked.dose.start(bench)
    file.log(
        "info",
        f"{forecast.points} points, about {forecast.seconds:.0f} s, at most "
        f"{forecast.shots:.3g} shots on the sample",
        bench.clock.now(),
    )
    recovery = Recovery(
        measurement,
        bench,
        lambda level, text: file.log(level, text, bench.clock.now()),
        last_record=resume_from["last_record"] if resume_from is not None else None,
    )

    def get_ready() -> RunStart | None:
        measurement.startup()
        # A run cut off before its first record asks again, too: asking takes time, and the first
        # record is then the one that it would have been.
        start = describe_start(measurement, bench) if not records else None
        if resume_from is None:
            return start
        measurement.resumed(resume_from["last_record"])
        return None

    start = recovery.startup(get_ready)
    if resume_from is not None:
        bench.restore(dict(resume_from["state"]))
        asked.watch.restored(resume_from["state"])
        file.moment = None
        bench.pump.shots = int(resume_from.get("shots_on_sample", 0))
        bench.pump.dose_J_cm2 = float(resume_from.get("dose", 0.0))
    room = PlannedRoom(
        file.path,
        measurement.COLUMNS,
        measurement.axes(),
        measurement.plan(),
        lambda level, text: file.log(level, text, bench.clock.now()),
    )
    room.check(records)
    with signals.deferred():
        if start is not None:
            file.start(RunWriter.start(file.path, start))
        else:
            file.start(resume_writer(file.path))
    writer = file.writer
    assert writer is not None
    followers.started(measurement, forecast)

    append, state, monotonic, look_s = writer.append, bench.state, time.monotonic, 0.0

    def emit(topic: str, content: Any) -> None:
        nonlocal count, look_s
        if topic == "results":
            signals.defer()
            try:
                append(content, state())
                count += 1
            finally:
                signals.heed()
            if monotonic() >= look_s:
                asked.dose.recorded()
                room.watch(count)
                look_s = monotonic() + _LOOK_S
            followers.recorded(count, content)
        elif topic == "progress":
            followers.progress(float(content))

    watch, dose = asked.watch, asked.dose

    def check() -> None:
        writer.check()
        watch.check()
        dose.check()

    def paused(is_paused: bool) -> None:
        writer.set_status("paused" if is_paused else "running")
        followers.state("paused" if is_paused else "running")
        file.log("info", "paused" if is_paused else "going on", bench.clock.now())

    recovery.begin()
    measurement.take = recovery.take
    measurement.emit = emit
    measurement.should_stop = measurement.control.stopped
    measurement.check_sink = check
    measurement.on_pause = paused
    try:
        measurement.execute()
    except BaseException as problem:
        problem.records = count  # type: ignore[attr-defined]
        raise
    return count


def _refuse_other_calibrations(bench: Bench, recorded: Mapping[str, Any] | None) -> None:
    """Refuse to go on with calibrations that are not those of the records so far.

    Raises ConfigError: half a run on another scale would be neither.
    """
    if recorded is None:
        return
    now = {role: made.sha256 for role, made in bench.calibrations.items()}
    for role in sorted({*recorded, *now}):
        then = recorded.get(role, {})
        if then.get("sha256", "") != now.get(role, ""):
            made = bench.calibrations.get(role)
            name = made.path if made is not None else then.get("name", "")
            raise ConfigError(
                f"the calibration {name} is not the one that this run began with"
                f"{' of ' + str(then.get('date')) if then.get('date') else ''}: put that one back "
                "(the run file holds its values), or begin a new run",
                file=bench.config.file,
                key=f"instruments.{role}.calibration",
            )


def _status(error: BaseException | None, records: int, total: int) -> str:
    if error is None:
        return "finished" if records >= total else "aborted"
    if isinstance(error, Stopped | KeyboardInterrupt | InterlockTripped):
        return "aborted"
    return "failed"


def _explain(error: BaseException | None, status: str) -> str:
    if error is None:
        return status
    if isinstance(error, Stopped | KeyboardInterrupt):
        return "aborted by the operator"
    return f"{status}: {error}"


def _close(
    file: RecordedFile, status: str, text: str, moment: float | None, records: int
) -> tuple[int, BaseException | None]:
    """Write the end into the file; return the records that it holds, and what went wrong."""
    level = "info" if status == "finished" else "error"
    if file.writer is None:
        try:
            mark_status(file.path, status, [*file.waiting, (moment or time.time(), level, text)])
        except Exception as problem:
            file.report(f"the run file could not be marked {status}: {problem}")
        return records, None
    try:
        file.writer.log(level, text, moment or 0.0)
        file.writer.close(status, moment)
        return file.writer.rows_complete, None
    except Exception as problem:
        file.report(f"the run file could not be closed: {problem}")
        return file.writer.rows_complete, problem


def _plain(error: BaseException | None) -> BaseException | None:
    return BenchError("aborted") if isinstance(error, Stopped | KeyboardInterrupt) else error


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, Stopped | KeyboardInterrupt):
        return ABORTED
    return int(getattr(error, "exit_code", 1))
