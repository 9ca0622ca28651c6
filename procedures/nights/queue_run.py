"""Carries out a queue, run after run, until nothing waits or something stops it.

For the command; the window takes runs itself. What is stopped by an interlock or by a person stops
the queue, whatever else was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.bench_tables import NotifyTable
from instruments.errors import BenchError
from procedures.nights.notices import Notices
from procedures.running.litter import sweep
from procedures.running.queue import Queue, QueuedRun
from procedures.running.runner import ABORTED, Outcome
from procedures.session import run_queued

INTERLOCK = 3


@dataclass(frozen=True)
class Emptied:
    """What became of the queue: how each run ended, the exit code, how many still wait."""

    outcomes: list[Outcome]
    exit_code: int
    waiting: int

    def to_json(self) -> dict[str, Any]:
        """Return what `gainbench queue run --json` prints."""
        return {"runs": [_told(one) for one in self.outcomes], "waiting": self.waiting}


def run_queue(
    queue: Queue,
    report: Callable[[str], None],
    *,
    bench_file: Path | None = None,
    notify: NotifyTable | None = None,
    keep_going: bool = False,
    quiet: bool = False,
) -> Emptied:
    """Carry out what waits, in its order, with what is added meanwhile.

    Args:
        queue: the queue. report: told what happens, a line at a time.
        bench_file: taken as it is now by the runs that were queued with it; the others keep the one
            that they were queued with.
        notify: who hears of it.
        keep_going: go on after a run that failed; otherwise the rest waits.
        quiet: no progress on the terminal.
    """
    outcomes: list[Outcome] = []
    sweep(queue.folder)
    notices = Notices(notify or NotifyTable(), lambda _level, text: report(text))
    try:
        notices.tell("start", "gainbench: the queue begins", f"{_waiting(queue)} runs wait")
        while (outcome := _next(queue, report, bench_file, quiet)) is not None:
            _forget_where(outcome.error)
            outcomes.append(outcome)
            if outcome.error is not None:
                report(f"gainbench: {outcome.error}")
            report(f"{outcome.path}: {outcome.status}, {outcome.records} records")
            if outcome.exit_code:
                event = "interlock" if outcome.exit_code == INTERLOCK else "failure"
                title = f"gainbench: {outcome.path.name} is {outcome.status}"
                notices.tell(event, title, str(outcome.error), _figure(outcome))
            if outcome.exit_code and (outcome.exit_code in (ABORTED, INTERLOCK) or not keep_going):
                break
            if any(one.path == outcome.path for one in queue.runs()):
                report(f"{outcome.path} could not be started and still waits: the queue stops")
                break
        emptied = Emptied(outcomes, _exit_code(outcomes), _waiting(queue))
        well = sum(one.exit_code == 0 for one in outcomes)
        title = f"gainbench: the queue is over: {well} of {len(outcomes)} runs finished"
        body = "\n".join(f"{one.path.name}: {one.status}" for one in outcomes)
        figure = _figure(outcomes[-1]) if outcomes else None
        notices.tell("finish", title, body, figure, good=emptied.exit_code == 0)
    finally:
        notices.close()
    return emptied


def _next(
    queue: Queue, report: Callable[[str], None], bench_file: Path | None, quiet: bool
) -> Outcome | None:
    """Carry out the next run; None if none waits."""
    with queue.taken() as run:
        if run is None:
            return None
        report(f"{run.name}: {run.measurement}, {run.points} points")
        try:
            return run_queued(run.path, report, bench_file=_bench_of(run, bench_file), quiet=quiet)
        except BenchError as error:  # it could not even begin
            _set_aside(queue, run.path, error, report)
            return Outcome(run.path, "failed", 0, error, error.exit_code)


def _bench_of(run: QueuedRun, bench_file: Path | None) -> Path | None:
    """Return the bench file if the run was queued with it: as it is now, it counts."""
    if bench_file is None or not run.bench_file:
        return None
    same = Path(run.bench_file).resolve() == bench_file.resolve()
    return bench_file if same else None


def _forget_where(error: BaseException | None) -> None:
    """Let go of the frames that an error came through: they hold a whole bench in memory."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _waiting(queue: Queue) -> int:
    return sum(run.waits for run in queue.runs())


def _figure(outcome: Outcome) -> Callable[[Path], bool] | None:
    if not outcome.records:
        return None

    def draw(path: Path) -> bool:
        from procedures.nights.figure import draw_run

        return draw_run(outcome.path, path)

    return draw


def _set_aside(queue: Queue, path: Path, error: BenchError, report: Callable[[str], None]) -> None:
    """Mark a run that cannot begin as failed, or the queue would try it for ever."""
    from procedures.running.runfile import mark_status

    try:
        mark_status(path, "failed", [(time.time(), "error", f"failed: {error}")])
    except Exception as problem:
        report(f"{path} could not be marked failed: {problem}")
        queue.drop(path)


def _exit_code(outcomes: list[Outcome]) -> int:
    """The last one's where it stopped the queue; else the first that is not 0."""
    if outcomes and outcomes[-1].exit_code in (ABORTED, INTERLOCK):
        return outcomes[-1].exit_code
    return next((one.exit_code for one in outcomes if one.exit_code), 0)


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "file": str(outcome.path),
        "run_status": outcome.status,
        "records": outcome.records,
        "exit_code": outcome.exit_code,
        "error": str(outcome.error) if outcome.error is not None else None,
    }
