"""`gainbench report`: what a night brought, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from procedures.commands.terminal import JsonOption, put, say


def report(
    night: Annotated[Path, typer.Argument(help="The night's folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; report.html in the folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page: what ran, what did not and why, figures, numbers, doses, drifts."""
    from procedures.nights.report import write_report

    written = write_report(night, out)
    say(f"report: {written}")
    if as_json:
        put({"report": str(written)})
