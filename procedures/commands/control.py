"""`gainbench status`, `pause` and `abort`: what runs now, and how to stop it, from elsewhere.

Runs are found by the locks beside their files (procedures/running/remote.py); imports stay light.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procedures.commands.terminal import BenchOption, JsonOption, put, say

if TYPE_CHECKING:
    from procedures.running.remote import RemoteRun

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The run file, or the folder of a night; needed only if more than one goes on."
    ),
]


def _data_dir(bench: Path | None) -> Path:
    from instruments.config import default, load

    return (load(bench) if bench is not None else default()).data_dir


def _the_run(file: Path | None, bench: Path | None) -> RemoteRun:
    from procedures.running.remote import NIGHT, NotRunning, find, find_nights, remote

    if file is not None:
        return remote(file / NIGHT if file.is_dir() else file)
    folder = _data_dir(bench)
    nights = find_nights(folder)
    inside = {night.path.parent.resolve() for night in nights}
    runs = [run for run in find(folder) if run.path.parent.resolve() not in inside]
    found = nights + runs
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotRunning(f"{folder}: no run is going on there; name its file, or --bench")
    names = ", ".join(str(_name(one)) for one in found)
    raise NotRunning(f"more than one run is going on, name one of them: {names}")


def _name(run: RemoteRun) -> Path:
    """Return what a run is called by: its file, or its folder if it is a night."""
    from procedures.running.remote import NIGHT

    return run.path.parent if run.path.name == NIGHT else run.path


def pause(
    file: FileArgument = None,
    bench: BenchOption = None,
    on: Annotated[bool, typer.Option("--end", help="End the pause instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have the run or the night wait before its next point, shutter closed; --end lets it go on."""
    run = _the_run(file, bench)
    answer = run.go_on() if on else run.pause()
    word = "goes on" if on else "pauses before its next point"
    say(f"{_name(run)}: {word}")
    if as_json:
        put({"file": str(_name(run)), **answer})


def abort(
    file: FileArgument = None, bench: BenchOption = None, as_json: JsonOption = False
) -> None:
    """Have the run or the night end now, safe; `gainbench resume` can complete a run later."""
    run = _the_run(file, bench)
    answer = run.abort()
    name = _name(run)
    how = f"resume {name.name}" if name == run.path else f"night --resume {name}"
    say(f"{name}: ends; `gainbench {how}` would complete it")
    if as_json:
        put({"file": str(name), **answer})


def status(bench: BenchOption = None, as_json: JsonOption = False) -> None:
    """Say what runs now: how far it is, the time left, the shutter, the last log lines."""
    from procedures.running.remote import find, find_nights

    folder = _data_dir(bench)
    nights, running = _told(find_nights(folder)), _told(find(folder))
    waiting = _waiting(folder)
    found = {
        "data_dir": str(folder),
        "running": running,
        "nights": nights,
        "queue_length": waiting,
    }
    if as_json:
        put(found)
        return
    if not running and not nights:
        say(f"{folder}: nothing runs")
    for one in nights:
        for line in _night_lines(one, alone=not running):
            say(line)
    for one in running:
        for line in _lines(one):
            say(line)
    if waiting:
        say(f"{waiting} more {'wait' if waiting > 1 else 'waits'} in the queue")


def _told(runs: list[RemoteRun]) -> list[dict[str, Any]]:
    """Return what runs or nights tell, without those that have just ended."""
    from procedures.running.remote import NotRunning

    found = []
    for run in runs:
        with contextlib.suppress(NotRunning):
            found.append(run.status())
    return found


def _night_lines(told: dict[str, Any], *, alone: bool) -> list[str]:
    """Return a night in lines; alone: no run goes on whose own lines would follow."""
    if "name" not in told:
        return [f"night: {told['state']}, process {told['pid']}"]
    doing = f"{told['current']}: {told['doing']}" if told["current"] else told["doing"]
    state = doing if told["state"] == "running" else f"{told['state']}, {doing}"
    lines = [
        f"night {told['name']}: {state}",
        f"  {100.0 * told['share']:.0f} % done, about {_span(told['left_s'])} to come; "
        f"{told['summary']}",
        f"  {told['night']}, process {told['pid']}",
    ]
    log = told["log"][-5:] if alone else []
    return lines + [f"  {one['time'][:19]}  {one['text']}" for one in log]


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
