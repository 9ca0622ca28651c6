"""The figure of a run file, by its analysis; for notices and the report."""

from __future__ import annotations

from pathlib import Path

from procedures.evaluation import Evaluation, evaluate
from procedures.nights.live import DRAWING
from procedures.registry import has_analysis, measurement
from procedures.running.runfile import RunFile


def draw_run(file: Path, path: Path) -> bool:
    """Draw the figure of a run; return whether it has one. Raises what the analysis raises."""
    with RunFile(file) as run:
        name = run.measurement
    if not has_analysis(name) or not measurement(name).figure:
        return False
    draw_evaluation(evaluate(file), path)
    return True


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Draw an evaluation, alone: matplotlib's settings are one for the whole process."""
    with DRAWING:
        measurement(evaluation.measurement).load("figure")(evaluation, path)
