"""`gainbench gui`: the operator's window. It is loaded by name: this room knows no window."""

from __future__ import annotations

import importlib
import os
import sys

import typer

from instruments.errors import BenchError
from procedures.commands.terminal import BenchOption


class NoWindow(BenchError):
    """There is no screen to open a window on."""

    exit_code = 2
    code = "no-screen"


def gui(bench: BenchOption = None) -> None:
    """Open the operator's window; without a bench file on the simulated bench, in real time."""
    from instruments.config import load

    if (
        sys.platform.startswith("linux")
        and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        and "QT_QPA_PLATFORM" not in os.environ
    ):
        raise NoWindow(
            "there is no screen (DISPLAY is not set): log in at a desktop, or use ssh -X; the "
            "commands `gainbench run` and `gainbench queue` need none"
        )
    config = load(bench) if bench is not None else None
    raise typer.Exit(importlib.import_module("gui.app").main(config))
