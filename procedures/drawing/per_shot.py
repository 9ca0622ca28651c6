"""The figure of a per-shot run: light at constant energy over the shots, light against energy,
how both scatter, and Allan's deviation. Drawn from what the analysis found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import format_result
from procedures.drawing.photostability import _unit
from procedures.figures import _STYLE, BLUE, GREY, ORANGE, VERMILION, heading, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation


def per_shot_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw the four panels."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 9.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 2)
        for axes, draw in zip(panels.flat, (_course, _cloud, _scatter, _allan), strict=True):
            draw(axes, evaluation)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _empty(axes: Any, wanted: str, evaluation: Evaluation) -> bool:
    if wanted in evaluation.analysis.curves:
        return False
    axes.text(0.5, 0.5, "not supported by the data", ha="center", transform=axes.transAxes)
    return True


def _said(evaluation: Evaluation, name: str) -> str:
    return format_result(evaluation.analysis.results[name]).replace("+-", "±")


def _course(axes: Any, evaluation: Evaluation) -> None:
    axes.set_title("In the course of the shots")
    axes.set_ylabel("over the mean")
    if _empty(axes, "part_shots", evaluation):
        return
    curves = evaluation.analysis.curves
    unit, label = _unit(float(curves["part_shots"][-1]))
    axes.set_xlabel(label)
    x = curves["part_shots"] / unit
    axes.plot(x, curves["part_energy"], ".", color=ORANGE, label="pulse energy")
    axes.errorbar(
        x,
        curves["part_normalised"],
        curves["part_normalised_errors"],
        fmt="o",
        color=BLUE,
        markersize=4,
        elinewidth=0.8,
        label="light at constant energy",
    )
    drift = _said(evaluation, "drift_per_million_shots")
    axes.plot(x, curves["part_line"], "-", color="k", label=f"{drift} in a million shots")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    axes.legend(loc="upper right")


def _cloud(axes: Any, evaluation: Evaluation) -> None:
    axes.set_title("Light against energy, shot by shot")
    axes.set_xlabel("pulse energy over its mean")
    axes.set_ylabel("light over its mean")
    if _empty(axes, "cloud_energy", evaluation):
        return
    curves, exponent = evaluation.analysis.curves, evaluation.analysis.results["intensity_exponent"]
    x = curves["cloud_energy"]
    axes.plot(x, curves["cloud_light"], ".", color=BLUE, markersize=2, alpha=0.4)
    if isinstance(exponent.value, float):
        grid = np.linspace(x.min(), x.max(), 50)
        label = (
            f"energy to the power {_said(evaluation, 'intensity_exponent')}\n"
            f"correlation {_said(evaluation, 'correlation')}"
        )
        axes.plot(grid, grid**exponent.value, "-", color="k", label=label)
        axes.legend(loc="upper left")


def _scatter(axes: Any, evaluation: Evaluation) -> None:
    axes.set_title("How single shots scatter")
    axes.set_xlabel("over the mean")
    axes.set_ylabel("share of shots")
    axes.set_yticks([])
    if _empty(axes, "histogram_energy", evaluation):
        return
    for name, scatter, colour, what in (
        ("energy", "energy_scatter", ORANGE, "pulse energy"),
        ("light", "intensity_scatter", GREY, "light"),
        ("normalised", "normalised_scatter", BLUE, "light at constant energy"),
    ):
        axes.stairs(
            evaluation.analysis.curves[f"histogram_{name}"],
            evaluation.analysis.curves[f"histogram_{name}_edges"],
            color=colour,
            linewidth=1.8,
            label=f"{what}: {_said(evaluation, scatter)} from shot to shot",
        )
    axes.set_ylim(top=1.5 * axes.get_ylim()[1])
    axes.legend(loc="upper left", fontsize=11)


def _allan(axes: Any, evaluation: Evaluation) -> None:
    axes.set_title("Allan's deviation")
    axes.set_xlabel("shots averaged")
    axes.set_ylabel("relative deviation of neighbours")
    if _empty(axes, "allan_shots", evaluation):
        return
    curves = evaluation.analysis.curves
    for name, colour, what in (
        ("energy", ORANGE, "pulse energy"),
        ("light", GREY, "light"),
        ("normalised", BLUE, "light at constant energy"),
    ):
        axes.errorbar(
            curves["allan_shots"],
            curves[f"allan_{name}"],
            curves[f"allan_{name}_errors"],
            fmt=".-",
            color=colour,
            label=what,
        )
    first = curves["allan_normalised"][0]
    axes.plot(
        curves["allan_shots"],
        first / np.sqrt(curves["allan_shots"]),
        ":",
        color=VERMILION,
        label="if shots knew nothing of each other",
    )
    axes.set_xscale("log")
    if first > 0.0:
        axes.set_yscale("log")
    axes.legend(loc="lower left", fontsize=11)
