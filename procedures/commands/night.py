"""`gainbench night`: a plan carried out unattended, checked before, gone on with after any end."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from procedures.commands.terminal import JsonOption, put, say

DEFAULT_PORT = 8765


def night(
    plan: Annotated[
        Path | None, typer.Argument(help="The plan (PLAN.toml); see docs/nights.md.")
    ] = None,
    bench: Annotated[
        Path | None, typer.Option("--bench", help="Bench file; instead of the one the plan names.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on with a night: its folder.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="With --resume: also take up what failed or was left out."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the night's folder goes, not data_dir.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the whole plan, move nothing.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the night on a read-only page on loopback.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help=f"The page's port, not {DEFAULT_PORT}; 0: any."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Carry out the plan of a night, or go on with one."""
    from procedures.nights.night import Night

    if (plan is None) == (resume is None):
        raise typer.BadParameter("give a plan (PLAN.toml), or --resume with a night's folder")
    if again and resume is None:
        raise typer.BadParameter("--again needs --resume")
    if resume is not None:
        found = Night.found(resume, bench, again=again)
    else:
        assert plan is not None
        found = Night.planned(plan, bench, out)
    if not found.waiting():
        say("every step of this night has ended; --again takes up what failed or was left out")
        if as_json:
            put({"night": str(resume), "reason": "nothing to do", "steps": []})
        return
    instruments: dict[str, None] = {}
    forecast = found.check(lambda line: instruments.setdefault(line))
    for line in instruments:
        say(line)
    if not as_json or dry_run:
        _show(forecast)
    if dry_run:
        if as_json:
            put(forecast.to_json())
        return
    watch: Any = None
    if serve or port is not None:
        from procedures.nights.page import served

        def watch(view: Any) -> contextlib.AbstractContextManager[Any]:
            return served(view, DEFAULT_PORT if port is None else port, say)

    from procedures.running.compressing import compress_all

    outcome = found.carry_out(forecast, quiet=as_json, watch=watch)
    say(f"{outcome.folder}: `gainbench report {outcome.folder}` shows what it brought")
    if as_json:
        put(outcome.to_json())
    compress_all([outcome.folder / one.file for one in outcome.states.values() if one.file], say)
    raise typer.Exit(outcome.exit_code)


def _show(forecast: Any) -> None:
    """Print what the night asks, step by step."""
    from rich.console import Console
    from rich.table import Table

    from procedures.nights.telling import duration
    from procedures.running.layout import isoformat

    table = Table(box=None, header_style="bold")
    for title in ("", "step", "from", "takes", "points", "shots", "J/cm2"):
        table.add_column(title, justify="left" if title in ("step", "from") else "right")
    for one in forecast.steps:
        table.add_row(
            str(one.step.number),
            one.step.name,
            isoformat(one.begins_s)[5:16].replace("T", " "),
            duration(one.seconds),
            str(one.points),
            f"{one.shots:.3g}",
            f"{one.dose_J_cm2:.3g}",
        )
    Console(stderr=True, markup=False, highlight=False).print(table)
    say(
        f"{len(forecast.steps)} steps, about {duration(forecast.seconds)}, at most "
        f"{forecast.shots:.3g} shots and {forecast.dose_J_cm2:.3g} J/cm2, "
        f"{forecast.size_bytes / 1e6:.0f} MB ({forecast.free_bytes / 1e6:.0f} MB are free); all "
        "within the limits; nothing has moved"
    )
    for spot in forecast.spots:
        say(f"  {spot}")
