"""The figure of two lifetimes in one panel: solution and film, with fits and camera response.

For the report beside the paper, whose Figure 4a it is; drawn from what the analyses found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import format_result
from procedures.figures import _STYLE, BLUE, GREY, VERMILION, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_MARKS = ((BLUE, "o"), (VERMILION, "s"))
_FLOOR = 0.03


def lifetimes_figure(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Draw the decays of several samples, each over its height at time zero."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_xlabel("time after the pulse (ns)")
        axes.set_ylabel("emission (normalised)")
        response_drawn = False
        for evaluation, (colour, marker) in zip(evaluations, _MARKS, strict=False):
            response_drawn = _draw(axes, evaluation, colour, marker, not response_drawn)
        axes.set_yscale("log")
        axes.set_ylim(_FLOOR, 1.6)
        axes.legend(loc="upper right")
        save(figure, path)


def _draw(axes: Any, evaluation: Evaluation, colour: str, marker: str, with_response: bool) -> bool:
    curves = evaluation.analysis.curves
    name = str(evaluation.about.get("sample") or evaluation.measurement)
    if "time_ps" not in curves:
        axes.plot([], [], " ", label=f"{name}: no usable record")
        return False
    time = 1e-3 * curves["time_ps"]
    base = float(curves["baseline_per_shot_ns"][0])
    rate, fit = curves["events_per_shot_ns"] - base, curves["fit_per_shot_ns"] - base
    top = float(fit.max())
    shown = rate > 0.0
    label = f"{name}: {format_result(evaluation.analysis.results['lifetime_ns'])}"
    axes.plot(
        time[shown], rate[shown] / top, marker, color=colour, markersize=4, fillstyle="none",
        label=label.replace("+-", "±"),
    )  # fmt: skip
    lit = (fit > _FLOOR * top) & (time > 0.0)
    axes.plot(time[lit], fit[lit] / top, color="k", linewidth=1.4)
    if with_response:
        response = curves["response_per_ns"] / float(np.max(curves["response_per_ns"]))
        seen = response > _FLOOR
        axes.plot(time[seen], response[seen], color=GREY, label="response of the camera")
    axes.set_xlim(-0.5, float(time[-1]))
    return True
