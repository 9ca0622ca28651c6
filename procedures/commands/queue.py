"""`gainbench queue`: runs that wait in the data folder; the window sees the same queue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from procedures.commands.terminal import BenchOption, JsonOption, put, say

app = typer.Typer(
    help="Runs that wait: add, list, remove, move, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OutOption = Annotated[
    Path | None, typer.Option("--out", help="Another folder than the bench file's data_dir.")
]
WhichArgument = Annotated[str, typer.Argument(help="Its place in the queue, or its file's name.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A measurement; or a queued run file.")],
    bench: BenchOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter: key=value.")
    ] = None,
    sample: Annotated[str, typer.Option("--sample", help="What is measured.")] = "",
    spot: Annotated[str, typer.Option("--spot", help="Where on the sample.")] = "",
    operator: Annotated[str, typer.Option("--operator", help="Who measures.")] = "",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a run; nothing is opened, nothing moves."""
    import time

    from procedures.running.describe import Description, describe_queued
    from procedures.session import build, parse_settings

    config, queue = _queue(bench, out)
    if name.endswith(".h5"):
        path = queue.adopt(name)
    else:
        measurement = build(name, parse_settings(settings or []))
        about = Description(sample, spot, operator)
        path = queue.add(describe_queued(measurement, config, about, time.time()))
    place = [run.name for run in queue.runs()].index(path.name) + 1
    say(f"queued at place {place}: {path}")
    if as_json:
        put({"file": str(path), "run_status": "queued", "position": place})


@app.command("list")
def list_command(
    bench: BenchOption = None, out: OutOption = None, as_json: JsonOption = False
) -> None:
    """Show what waits, in its order."""
    _, queue = _queue(bench, out)
    runs, strays = queue.runs(), queue.strays()
    if as_json:
        put(
            {
                "folder": str(queue.folder),
                "runs": [run.to_json() for run in runs],
                "strays": [str(path) for path in strays],
            }
        )
        return
    from rich.console import Console
    from rich.table import Table

    if not runs:
        say(f"nothing waits in {queue.folder}")
    else:
        table = Table(box=None, header_style="bold")
        for title in ("", "measurement", "points", "sample", "spot", "state", "file"):
            table.add_column(title, overflow="fold")
        for place, run in enumerate(runs, start=1):
            state = f"{run.status} ({run.taken_by})" if run.taken_by else run.problem or run.status
            table.add_row(
                *(str(place), run.measurement, str(run.points or ""), run.sample, run.spot),
                *(state, run.name),
            )
        Console(stderr=True, markup=False, highlight=False).print(table)
    for path in strays:
        say(f"not in the queue, though it waits: {path}; `gainbench queue add {path}` takes it in")


@app.command()
def remove(
    which: WhichArgument,
    bench: BenchOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a run out of the queue; its file, which holds nothing yet, is deleted."""
    _, queue = _queue(bench, out)
    run = queue.remove(which)
    say(f"removed: {run.path}")
    if as_json:
        put({"removed": str(run.path)})


@app.command()
def move(
    which: WhichArgument,
    position: Annotated[int, typer.Argument(help="Its new place, from 1.")],
    bench: BenchOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a run to another place in the queue."""
    _, queue = _queue(bench, out)
    queue.move(which, position)
    order = [run.name for run in queue.runs()]
    for place, name in enumerate(order, start=1):
        say(f"{place:4} {name}")
    if as_json:
        put({"order": order})


@app.command()
def run(
    bench: Annotated[
        Path | None,
        typer.Option(
            "--bench",
            help="Whose data_dir; taken as it is now by the runs that were queued with it.",
        ),
    ] = None,
    out: OutOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on after a run that failed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Carry out what waits, one run after the other."""
    from procedures.nights.queue_run import run_queue
    from procedures.running.compressing import compress_all

    config, queue = _queue(bench, out)
    done = run_queue(
        queue, say, bench_file=bench, notify=config.notify, keep_going=keep_going, quiet=as_json
    )
    ended: dict[str, int] = {}
    for one in done.outcomes:
        ended[one.status] = ended.get(one.status, 0) + 1
    say(", ".join(f"{count} {status}" for status, count in ended.items()) or "nothing waited")
    if done.waiting:
        say(f"{done.waiting} still wait in {queue.folder}")
    if as_json:
        put(done.to_json())
    compress_all([one.path for one in done.outcomes if one.status == "finished"], say)
    raise typer.Exit(done.exit_code)


def _queue(bench: Path | None, out: Path | None) -> tuple[Any, Any]:
    """Return the bench file in use and the queue of its data folder (or of another)."""
    from instruments.config import default, load
    from procedures.running.queue import Queue

    config = load(bench) if bench is not None else default()
    return config, Queue(out if out is not None else config.data_dir)
