"""What `gainbench check` found, for a person: a table on a terminal, plain lines elsewhere.

Written to standard error, as everything that a person reads.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def show(found: Mapping[str, Any]) -> None:
    """Print what `checking.check_bench` returned, with the next thing to do for each problem."""
    if sys.stderr.isatty():
        _table(found)
    else:
        _plain(found)
    unnamed = [one for one in found["discovered"] if not one["role"]]
    if unnamed:
        _say("resources of this computer that no role names:")
        for one in unnamed:
            _say(f"  {one['resource']}  {one['description']}".rstrip())
    bad = [row["role"] for row in found["instruments"] if not row["ok"]]
    if found["ok"]:
        _say("the bench is ready")
    elif bad:
        _say(f"the bench is not ready: {', '.join(bad)}")
    else:
        _say("the bench file names no instrument, and has no [simulation] table")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _details(row: Mapping[str, Any]) -> list[str]:
    lines = [row["text"]] if row["text"] else []
    made = row["calibration"]
    if made:
        age = f", {made['age_days']:.0f} days old" if "age_days" in made else ""
        lines.append(f"calibration {made['name']}{age}")
    if row["moved"]:
        lines.append(f"moved: {'; '.join(row['moved'])}")
    return lines


def _plain(found: Mapping[str, Any]) -> None:
    for row in found["instruments"]:
        mark = "ok " if row["ok"] else "BAD"
        who = row["identity"] or "-"
        _say(f"{mark} {row['role']:14}{row['driver']:20}{row['resource']:28} {who}")
        for line in _details(row):
            _say(f"      {line}")
        if row["remedy"]:
            _say(f"   -> {row['remedy']}")


def _table(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for title in ("", "role", "driver and resource", "instrument", "what to do"):
        table.add_column(title, overflow="fold")
    for row in found["instruments"]:
        mark = Text("ok", style="green") if row["ok"] else Text("BAD", style="bold red")
        about = "\n".join([row["identity"] or "-", *_details(row)])
        # As Text: what an instrument says of itself is no markup.
        table.add_row(
            mark,
            Text(row["role"]),
            Text(f"{row['driver']}\n{row['resource']}"),
            Text(about),
            Text(row["remedy"]),
        )
    Console(stderr=True).print(table)
