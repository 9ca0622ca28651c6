"""`gainbench status`, `pause` and `abort`: what runs now, and how to stop it, from elsewhere.

Runs are found by the locks beside their files (procedures/running/remote.py); imports stay light.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procedures.commands.terminal import BenchOption, JsonOption, put, say

if TYPE_CHECKING:
    from procedures.running.remote import RemoteRun

FileArgument = Annotated[
    Path | None,
    typer.Argument(help="The run file; needed only if more than one run goes on."),
]


def _data_dir(bench: Path | None) -> Path:
    from instruments.config import default, load

    return (load(bench) if bench is not None else default()).data_dir


def _the_run(file: Path | None, bench: Path | None) -> RemoteRun:
    from procedures.running.remote import NotRunning, find, remote

    if file is not None:
        return remote(file)
    folder = _data_dir(bench)
    found = find(folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotRunning(f"{folder}: no run is going on there; name its file, or --bench")
    names = ", ".join(str(one.path) for one in found)
    raise NotRunning(f"more than one run is going on, name one of them: {names}")


def pause(
    file: FileArgument = None,
    bench: BenchOption = None,
    on: Annotated[bool, typer.Option("--end", help="End the pause instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have the run wait before its next point, shutter closed; --end lets it go on."""
    run = _the_run(file, bench)
    answer = run.go_on() if on else run.pause()
    word = "goes on" if on else "pauses before its next point"
    say(f"{run.path}: {word}")
    if as_json:
        put({"file": str(run.path), **answer})


def abort(
    file: FileArgument = None, bench: BenchOption = None, as_json: JsonOption = False
) -> None:
    """Have the run end now, safe; `gainbench resume` can complete it later."""
    run = _the_run(file, bench)
    answer = run.abort()
    say(f"{run.path}: ends; `gainbench resume {run.path.name}` would complete it")
    if as_json:
        put({"file": str(run.path), **answer})


def status(bench: BenchOption = None, as_json: JsonOption = False) -> None:
    """Say what runs now: how far it is, the time left, the shutter, the last log lines."""
    from procedures.running.remote import NotRunning, find

    folder = _data_dir(bench)
    running: list[dict[str, Any]] = []
    for run in find(folder):
        try:
            running.append(run.status())
        except NotRunning:
            continue  # it has just ended
    waiting = _waiting(folder)
    found = {"data_dir": str(folder), "running": running, "queue_length": waiting}
    if as_json:
        put(found)
        return
    if not running:
        say(f"{folder}: nothing runs")
    for one in running:
        for line in _lines(one):
            say(line)
    if waiting:
        say(f"{waiting} more {'wait' if waiting > 1 else 'waits'} in the queue")


def _waiting(folder: Path) -> int:
    """Return how many runs wait in the queue of a folder."""
    if not (folder / "queue.sqlite").exists():
        return 0
    from procedures.running.queue import Queue

    return sum(run.waits for run in Queue(folder).runs())


def _lines(told: dict[str, Any]) -> list[str]:
    left = told["left_s"]
    where = " ".join(part for part in (told.get("sample"), told.get("spot")) if part)
    lines = [
        f"{told['measurement']} {where}: {told['state']}, {told['records']} of {told['points']} "
        f"points ({told['percent']:.0f} %)" + (f", {_span(left)} left" if left else ""),
        f"  {told['file']}, process {told['pid']}",
        f"  shutter {told['shutter']}"
        + (f", {told['fluence_uJ_cm2']:.3g} uJ/cm2" if told["fluence_uJ_cm2"] else "")
        + (f", {told['shots_on_sample']:.3g} shots so far" if told["shots_on_sample"] else ""),
    ]
    return lines + [f"  {one['time'][:19]}  {one['text']}" for one in told["log"][-5:]]


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
