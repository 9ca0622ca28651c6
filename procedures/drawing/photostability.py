"""The figure of photostability: what is left against shots, the pump meanwhile, its local sweeps.

Drawn from what the analysis found. The raw intensity and the textbook's division by the energy to
the first power stand beside the result, labelled as what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.photostability import NINETY
from procedures.analysis.results import FloatArray, format_result
from procedures.figures import _STYLE, BLUE, GREEN, GREY, ORANGE, VERMILION, heading, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_MILLION = 1e6


def photostability_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw the fraction left, the fluence, and the local power law."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.8), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1.0))
        left = figure.add_subplot(grid[:, 0])
        _draw_decay(left, evaluation)
        _draw_pump(figure.add_subplot(grid[0, 1]), evaluation)
        _draw_sweeps(figure.add_subplot(grid[1, 1]), evaluation)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _unit(shots: float) -> tuple[float, str]:
    """Return what shots are divided by on an axis, and its label."""
    if shots >= _MILLION:
        return _MILLION, "laser shots (millions)"
    return (1e3, "laser shots (thousands)") if shots >= 1e4 else (1.0, "laser shots")


def _shots(value: float, stderr: float, unit: float) -> str:
    """Return shots with their error in words."""
    of = {_MILLION: " million", 1e3: " thousand"}.get(unit, "")
    digits = max(0, 1 - int(np.floor(np.log10(stderr / unit))))
    return f"{value / unit:.{digits}f} ± {stderr / unit:.{digits}f}{of} shots"


def _draw_decay(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_ylabel("stimulated emission over its first value")
    axes.set_title("Photostability")
    if "shots" not in curves:
        axes.set_xlabel("laser shots")
        axes.text(0.5, 0.5, "no usable exposure", ha="center", transform=axes.transAxes)
        return
    end = float(curves["fit_shots"][-1])
    unit, label = _unit(end)
    axes.set_xlabel(label)
    x = curves["shots"] / unit
    axes.plot(x, curves["raw_fraction"], ".", color=GREY, markersize=4, label="as recorded")
    axes.plot(
        x,
        curves["divided_by_energy_fraction"],
        ".",
        color=ORANGE,
        markersize=4,
        label="divided by the energy (textbook, not the result)",
    )
    exponent = results["intensity_exponent"]
    power = f"{exponent.value:.2f}" if isinstance(exponent.value, float) else "s"
    axes.errorbar(
        x,
        curves["retained_fraction"],
        curves["retained_fraction_errors"],
        fmt="o",
        color=BLUE,
        markersize=4,
        elinewidth=0.8,
        label=f"at constant energy (local power law, energy$^{{{power}}}$)",
    )
    axes.plot(curves["fit_shots"] / unit, curves["fit_fraction"], "-", color="k", label="fit")
    left = results["retained_fraction"]
    if isinstance(left.value, float) and isinstance(left.stderr, float):
        axes.errorbar(
            [end / unit],
            [left.value],
            [left.stderr],
            fmt="D",
            color=VERMILION,
            capsize=6,
            elinewidth=2.0,
            zorder=5,
            label=f"left {format_result(left).replace('+-', '±')} (with the fluence scale)",
        )
    axes.axhline(NINETY, color=GREEN, linestyle="--", linewidth=1.4)
    ninety = results["shots_to_90_percent"]
    if isinstance(ninety.value, float) and isinstance(ninety.stderr, float):
        beyond = ", extrapolated" if ninety.extrapolated else ""
        axes.axvspan(
            (ninety.value - ninety.stderr) / unit,
            (ninety.value + ninety.stderr) / unit,
            color=GREEN,
            alpha=0.3,
            linewidth=0,
            label=f"90 % after {_shots(ninety.value, ninety.stderr, unit)}{beyond}",
        )
    seen = np.concatenate([curves["raw_fraction"], curves["retained_fraction"]])
    low, high = np.quantile(seen, (0.002, 0.998))
    margin = 0.12 * max(high - low, 0.02)
    shown = "first_spectrum" in curves
    beneath = 5.0 * margin if shown else margin
    axes.set_ylim(min(low, NINETY) - beneath, max(high, 1.0) + 3.6 * margin)
    axes.legend(loc="upper right", framealpha=0.9, fontsize=11)
    if shown:
        _draw_spectrum(axes.inset_axes((0.07, 0.13, 0.36, 0.3)), curves)


def _draw_spectrum(axes: Any, curves: Mapping[str, FloatArray]) -> None:
    axes.plot(curves["first_spectrum_wavelength_nm"], curves["first_spectrum"], color=BLUE)
    axes.set_title("emission at the beginning", fontsize=12)
    axes.set_xlabel("wavelength (nm)", fontsize=12)
    axes.set_yticks([])
    axes.tick_params(labelsize=11)
    axes.margins(x=0.0)


def _draw_pump(axes: Any, evaluation: Evaluation) -> None:
    curves = evaluation.analysis.curves
    axes.set_ylabel("fluence (µJ/cm²)")
    axes.set_title("The pump meanwhile")
    if "shots" not in curves:
        axes.set_xlabel("laser shots")
        return
    unit, label = _unit(float(curves["fit_shots"][-1]))
    axes.set_xlabel(label)
    axes.plot(curves["shots"] / unit, curves["fluence_uJ_cm2"], ".", color=BLUE, markersize=4)
    axes.axhline(evaluation.data.nominal_fluence_uJ_cm2, color=GREY, linestyle="--", linewidth=1.2)


def _draw_sweeps(axes: Any, evaluation: Evaluation) -> None:
    curves = evaluation.analysis.curves
    axes.set_xlabel("fluence (µJ/cm²)")
    axes.set_ylabel("over that at the nominal one")
    axes.set_title("Local sweeps before and after")
    drawn = False
    for name, marker, colour in (("before", "o", BLUE), ("after", "s", VERMILION)):
        if len(curves.get(f"{name}_fluence_uJ_cm2", ())):
            x, y = curves[f"{name}_fluence_uJ_cm2"], curves[f"{name}_fraction"]
            axes.plot(x, y, marker, color=colour, markersize=7, fillstyle="none", label=name)
            drawn = True
    if drawn:
        exponent = evaluation.analysis.results["intensity_exponent"]
        if isinstance(exponent.value, float):
            nominal = evaluation.data.nominal_fluence_uJ_cm2
            low, high = axes.get_xlim()
            grid = np.linspace(low, high, 50)
            axes.plot(grid, (grid / nominal) ** exponent.value, "-", color="k", linewidth=1.2)
            text = format_result(exponent).replace("+-", "±")
            axes.text(0.05, 0.82, f"d ln I / d ln F = {text}", transform=axes.transAxes)
        axes.legend(loc="lower right")
