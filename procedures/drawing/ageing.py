"""The figure of ageing: growth of each day's sweep, and the threshold against the day.

Drawn from what the analysis found. Error bars against the day are those of one day against the
others; the scale of the fluences, common to all, is told beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.figures import _STYLE, BLUE, GREY, VERMILION, _plain_decades, heading, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_MARKERS = "os^Dv<>pP*X"


def ageing_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw the sweeps of all days and the rise of the threshold."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_growth(left, evaluation)
        _draw_rise(right, evaluation)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    from matplotlib import colormaps

    curves = evaluation.analysis.curves
    days = evaluation.analysis.results["day"].value
    axes.set_xlabel("pump fluence (µJ/cm²)")
    axes.set_ylabel("band intensity (counts per shot, scaled to the first day)")
    axes.set_title("Growth, day after day")
    places = [n for n in range(len(days)) if f"sweep_{n}_fluence_uJ_cm2" in curves]  # type: ignore[arg-type]
    if not places:
        axes.text(0.5, 0.5, "no usable sweep", ha="center", transform=axes.transAxes)
        return
    colours = colormaps["viridis"](np.linspace(0.0, 0.85, len(places)))
    for number, place in enumerate(places):
        key, marker = f"sweep_{place}", _MARKERS[number % len(_MARKERS)]
        axes.loglog(
            curves[f"{key}_fluence_uJ_cm2"],
            curves[f"{key}_band_counts_per_shot"],
            marker,
            color=colours[number],
            markersize=6,
            fillstyle="none",
            label=f"day {days[place]:g}",  # type: ignore[index]
        )
        axes.loglog(
            curves[f"{key}_fit_fluence_uJ_cm2"],
            curves[f"{key}_fit_counts_per_shot"],
            "-",
            color=colours[number],
            linewidth=1.4,
        )
    _plain_decades(axes.xaxis)
    axes.legend(loc="upper left", title="lines: joint fit")


def _draw_rise(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("days in air")
    axes.set_ylabel("threshold (µJ/cm²)")
    axes.set_title("Threshold")
    if "day" not in curves:
        axes.text(0.5, 0.5, "no threshold", ha="center", transform=axes.transAxes)
        return
    day, value = curves["day"], curves["threshold_uJ_cm2"]
    errors = curves["threshold_own_errors_uJ_cm2"]
    axes.errorbar(
        day, value, errors, fmt="o", color=BLUE, markersize=9, capsize=6, label="of each day"
    )
    rise = results["threshold_rise_per_day"]
    if "rise_day" in curves and isinstance(rise.value, float) and isinstance(rise.stderr, float):
        axes.plot(
            curves["rise_day"],
            curves["rise_uJ_cm2"],
            "-",
            color=VERMILION,
            label=f"rise {100 * rise.value:.3f} ± {100 * rise.stderr:.3f} % a day",
        )
    low, high = float((value - errors).min()), float((value + errors).max())
    # A rise of next to nothing is to look like it.
    middle, half = 0.5 * (low + high), max(0.65 * (high - low), 0.03 * high)
    axes.set_ylim(middle - half, middle + 1.5 * half)
    first = results["threshold_uJ_cm2"]
    if isinstance(first.stderr, list) and any(one is not None for one in first.stderr):
        share = max(
            e / v
            for v, e in zip(first.value, first.stderr, strict=True)  # type: ignore[arg-type]
            if v and e
        )
        axes.text(
            0.03,
            0.04,
            f"scale and model, common to all days: ±{100 * share:.1f} %",
            transform=axes.transAxes,
            color=GREY,
        )
    axes.legend(loc="upper left")
