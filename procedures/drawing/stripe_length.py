"""The figure of stripe-length: light against stripe length, and gain against wavelength.

Drawn from what the analysis found. The textbook's fit of one wavelength stands beside the result,
labelled as what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import Result, format_result
from procedures.figures import (
    _STYLE,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    _plain_decades,
    heading,
    save,
)

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_MM = 10.0  # per cm
_LOSS_SHOWN = 0.35  # of the gain, or of the loss where there is no gain


def stripe_length_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw growth along the stripe and the gain spectrum."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_growth(left, evaluation)
        _draw_gain(right, evaluation)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("stripe length by the slit (mm)")
    axes.set_ylabel("light at the gain peak (counts per shot and nm)")
    axes.set_title("Growth along the stripe")
    if "main_length_cm" not in curves:
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    asked = evaluation.data.fluence_uJ_cm2
    for name, marker, colour, label in (
        ("main", "o", VERMILION, f"{asked:.3g} µJ/cm²"),
        ("beside", "^", ORANGE, "beside it"),
        ("low", "s", BLUE, "low fluence"),
    ):
        x, y = curves[f"{name}_length_cm"], curves[f"{name}_peak_counts_per_shot_nm"]
        if len(x):
            axes.loglog(_MM * x, y, marker, color=colour, markersize=7, label=label)
    for name in ("main", "low"):
        if f"fit_{name}_length_cm" in curves:
            axes.loglog(
                _MM * curves[f"fit_{name}_length_cm"],
                curves[f"fit_{name}_peak_counts_per_shot_nm"],
                "-",
                color="k",
                linewidth=1.4,
                label="fit of all spectra" if name == "main" else None,
            )
    if "textbook_length_cm" in curves:
        gain = curves["textbook_gain_per_cm"][0]
        axes.loglog(
            _MM * curves["textbook_length_cm"],
            curves["textbook_peak_counts_per_shot_nm"],
            "--",
            color=GREY,
            linewidth=4.0,
            alpha=0.8,
            label=f"textbook, unsaturated: {gain:.0f} /cm (not the result)",
        )
    zero = results["slit_zero_um"].value
    offset = 1e-4 * zero if isinstance(zero, float) else 0.0
    _mark(axes, results["saturation_length_cm"], offset)
    seen = np.concatenate(
        [curves[f"{name}_peak_counts_per_shot_nm"] for name in ("main", "beside", "low")]
    )
    seen = seen[seen > 0.0]
    axes.set_ylim(0.4 * float(seen.min()), 12.0 * float(seen.max()))
    _plain_decades(axes.xaxis)
    axes.legend(loc="upper left", framealpha=0.9)
    if isinstance(zero, float):
        axes.text(
            0.97,
            0.04,
            f"zero of the slit {_pretty(results['slit_zero_um'])}",
            ha="right",
            transform=axes.transAxes,
            fontsize=12,
        )


def _mark(axes: Any, result: Result, offset_cm: float) -> None:
    """Mark the saturation length where the slit showed it."""
    if not isinstance(result.value, float) or not isinstance(result.stderr, float):
        return
    low, high = result.value - result.stderr, result.value + result.stderr
    axes.axvspan(
        _MM * (low + offset_cm), _MM * (high + offset_cm), color=GREEN, alpha=0.35, linewidth=0
    )
    axes.axvline(
        _MM * (result.value + offset_cm),
        color=GREEN,
        label=f"gain halved after {_pretty(result)}",
    )


def _draw_gain(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("wavelength (nm)")
    axes.set_ylabel("small-signal net modal gain (1/cm)")
    axes.set_title("Gain spectrum")
    if "gain_wavelength_nm" not in curves:
        return
    x, y = curves["gain_wavelength_nm"], curves["gain_spectrum_per_cm"]
    error = curves["gain_spectrum_per_cm_errors"]
    axes.fill_between(x, y - error, y + error, color=VERMILION, alpha=0.3, linewidth=0)
    axes.plot(x, y, color=VERMILION)
    axes.axhline(0.0, color="k", linewidth=1.0)
    peak = int(np.argmax(y))
    gain = results["gain_per_cm"]
    if isinstance(gain.value, float) and isinstance(gain.stderr, float):
        axes.errorbar(
            x[peak],
            gain.value,
            gain.stderr,
            fmt="o",
            color="k",
            capsize=5,
            markersize=8,
            label=f"at the peak {_pretty(gain)}, the fluence's error included",
        )
    if "textbook_gain_per_cm" in curves:
        value, sigma = curves["textbook_gain_per_cm"]
        axes.errorbar(
            x[peak],
            value,
            sigma,
            fmt="D",
            color=GREY,
            fillstyle="none",
            capsize=5,
            markersize=9,
            label=f"textbook, unsaturated: {value:.0f} /cm (not the result)",
        )
    above = float(np.max(y)) - float(np.min(y))
    axes.set_ylim(float(np.min(y)) - 0.06 * above, float(np.max(y)) + _LOSS_SHOWN * above)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.legend(loc="upper right", framealpha=0.9)


def _pretty(result: Result) -> str:
    """Set a result as it is printed."""
    text = format_result(result).replace("+-", "±").replace(" um", " µm")
    return text.replace("uJ/cm^2", "µJ/cm²").replace("1/cm", "/cm")
