"""The figure of a run file, by its analysis; for notices and the report.

While a night goes on it is drawn by a process of its own: fits and figures take memory that they do
not give back, and time that the run's threads would miss.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instruments.errors import BenchError
from procedures.nights.live import DRAWING
from procedures.registry import has_analysis, measurement
from procedures.running.runfile import RunFile

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_PATIENCE_S = 180.0


def draw_run(file: Path, path: Path) -> bool:
    """Draw the figure of a run, by `gainbench analyze`; return whether it has one.

    Raises BenchError with what the analysis said, or if it takes too long.
    """
    with RunFile(file) as run:
        name = run.measurement
    if not has_analysis(name) or not measurement(name).figure:
        return False
    words = [sys.executable, "-m", "procedures.cli", "analyze", str(file), "--figure", str(path)]
    apart: dict[str, Any] = (
        {"creationflags": subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
        if sys.platform == "win32"
        else {"start_new_session": True}  # a Ctrl-C is for the night
    )
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
            **apart,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"its analysis took longer than {_PATIENCE_S:g} s") from None
    if done.returncode:
        raise BenchError((done.stderr.strip() or "its analysis failed").splitlines()[-1])
    return path.exists()


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Draw an evaluation, alone: matplotlib's settings are one for the whole process."""
    with DRAWING:
        measurement(evaluation.measurement).load("figure")(evaluation, path)
