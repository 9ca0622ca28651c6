"""What the commands share: options that several have, and the two ways to speak.

What a person reads goes to standard error; standard output carries one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

BenchOption = Annotated[
    Path | None, typer.Option("--bench", help="Bench file (bench.toml); none: simulated bench.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the run file.")]


def say(text: str) -> None:
    """Tell the person at the terminal."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # the terminal was closed; what is done goes on without it
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def put(data: Any) -> None:
    """Print the JSON object."""
    print(json.dumps(data, allow_nan=False), flush=True)
