"""`gainbench compress`: makes the files of finished runs small, of a folder or those named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from procedures.commands.terminal import JsonOption, put, say


def compress(
    files: Annotated[list[Path], typer.Argument(help="Run files, or folders of them.")],
    as_json: JsonOption = False,
) -> None:
    """Compress the files of finished runs, each compared before it takes its place."""
    from instruments.errors import ConfigError
    from procedures.running.compressing import compress_all

    paths: list[Path] = []
    for one in files:
        if not one.exists():
            raise ConfigError("there is no such file or folder", file=str(one))
        paths += sorted(one.glob("*.h5")) if one.is_dir() else [one]
    done = compress_all(paths, say)
    if as_json:
        put(
            {
                "files": [
                    {
                        "file": str(one.path),
                        "bytes_before": one.before,
                        "bytes": one.after,
                        "left_because": one.reason or None,
                    }
                    for one in done
                ]
            }
        )
