"""`gainbench export`: a run file as csv or npz, for programs that cannot read HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from procedures.commands.terminal import JsonOption, put, say


def export(
    file: Annotated[Path, typer.Argument(help="A run file.")],
    to: Annotated[str, typer.Option("--to", help="csv or npz.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File or folder; none: beside the run file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run as csv or npz; existing files are left alone."""
    from procedures.running.export import export as write

    written = write(file, to, out)
    for path in written:
        say(str(path))
    if as_json:
        put({"file": str(file), "written": [str(path) for path in written]})
