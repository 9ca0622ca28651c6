"""`gainbench runs`: what is in a folder of run files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from procedures.commands.terminal import BenchOption, JsonOption, put, say


def runs(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of run files; none: the bench's data_dir.")
    ] = None,
    bench: BenchOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a folder, the latest first."""
    from dataclasses import asdict

    from instruments.errors import ConfigError
    from procedures.running.index import index

    if folder is None:
        from instruments.config import default, load

        folder = (load(bench) if bench is not None else default()).data_dir
    if not folder.is_dir():
        raise ConfigError("there is no such folder; name the one of the runs", file=str(folder))
    found = index(folder, lambda done, of: say(f"reading {of} files: {done}") if done else None)
    if as_json:
        put({"folder": str(folder), "runs": [asdict(one) for one in found]})
        return
    say(f"{folder}: {len(found)} runs")
    for one in found:
        print(_line(one))


def _line(one: Any) -> str:
    name = Path(one.file).name
    if one.error:
        return f"{'?':20}{one.run_status:13}{name}  ({one.error.partition(chr(10))[0]})"
    moment = (one.start_time or one.queued_time)[:19].replace("T", " ")
    records = f"{one.records}/{one.points}"
    what = ", ".join(filter(None, (one.sample, one.spot and f"spot {one.spot}")))
    mark = "*" if one.evaluated else " "
    return f"{moment:20}{one.run_status:13}{records:>15}{mark} {one.measurement:22}{what}  {name}"
