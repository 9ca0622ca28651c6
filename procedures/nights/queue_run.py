"""Carries out a queue, run after run, until nothing waits or something stops it.

For the command; the window takes runs itself. What is stopped by an interlock or by a person stops
the queue, whatever else was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.errors import BenchError
from procedures.running.litter import sweep
from procedures.running.queue import Queue
from procedures.running.runner import ABORTED, Outcome
from procedures.session import go_on

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
    keep_going: bool = False,
    quiet: bool = False,
) -> Emptied:
    """Carry out what waits, in its order, with what is added meanwhile.

    Args:
        queue: the queue. report: told what happens, a line at a time.
        bench_file: instead of the one that each run was queued with.
        keep_going: go on after a run that failed; otherwise the rest waits.
        quiet: no progress on the terminal.
    """
    outcomes: list[Outcome] = []
    sweep(queue.folder)
    while True:
        with queue.taken() as run:
            if run is None:
                break
            report(f"{run.name}: {run.measurement}, {run.points} points")
            try:
                outcome = go_on(run.path, bench_file, report, quiet=quiet)
            except BenchError as error:  # it could not even begin
                outcome = Outcome(run.path, run.status, 0, error, error.exit_code)
                _set_aside(queue, run.path, error, report)
        outcomes.append(outcome)
        if outcome.error is not None:
            report(f"gainbench: {outcome.error}")
        report(f"{outcome.path}: {outcome.status}, {outcome.records} records")
        if outcome.exit_code in (ABORTED, INTERLOCK) or (outcome.exit_code and not keep_going):
            break
        if any(one.path == outcome.path for one in queue.runs()):
            report(f"{outcome.path} could not be started and still waits: the queue stops")
            break
    return Emptied(outcomes, _exit_code(outcomes), sum(run.waits for run in queue.runs()))


def _set_aside(queue: Queue, path: Path, error: BenchError, report: Callable[[str], None]) -> None:
    """Mark a run that cannot begin as failed, or the queue would try it for ever."""
    from procedures.running.runfile import mark_status

    try:
        mark_status(path, "failed", [(0.0, "error", f"failed: {error}")])
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
