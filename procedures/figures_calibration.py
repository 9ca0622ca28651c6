"""The figures of the calibrations: what was measured, what was fitted, what is left over.

As `figures`, whose style they share: colour-blind-safe, labels with units, nothing computed that is
not drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import Result, format_result
from procedures.figures import _STYLE, BLUE, GREEN, GREY, ORANGE, VERMILION, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_PLACES = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "osD^vP*X"


def pump_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw energy against angle with the fitted curve, its residuals, and the laser's drift."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1.0))
        _draw_curve(figure.add_subplot(grid[:, 0]), evaluation)
        _draw_pulls(figure.add_subplot(grid[0, 1]), evaluation)
        _draw_drift(figure.add_subplot(grid[1, 1]), evaluation)
        figure.suptitle(_title("Pump calibration", evaluation))
        save(figure, path)


def _title(what: str, evaluation: Evaluation) -> str:
    return f"{what}, {str(evaluation.about.get('start_time', ''))[:19]}"


def _text(result: Result) -> str:
    return format_result(result).replace("+-", "±").replace(" deg", "°")


def _draw_curve(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    angle, energy = curves["angle_deg"], curves.get("corrected_J", curves["energy_J"])
    used = np.asarray(curves["used"], dtype=bool)
    axes.set_xlabel("angle of the wave plate (°)")
    axes.set_ylabel("pulse energy at the meter (nJ)")
    axes.semilogy(angle[used], 1e9 * energy[used], "o", color=BLUE, label="measured, drift removed")
    left_out = ~used & np.isfinite(energy)
    if left_out.any():
        axes.semilogy(
            angle[left_out], 1e9 * energy[left_out], "x", color=VERMILION, ms=10, label="left out"
        )
    if "fit_angle_deg" in curves:
        axes.semilogy(
            curves["fit_angle_deg"], 1e9 * curves["fit_energy_J"], "-", color=ORANGE, label="fit"
        )
    theta0 = results["theta0_deg"]
    if isinstance(theta0.value, float):
        label = f"brightest at {_text(theta0)}"
        axes.axvline(theta0.value, color=GREEN, ls="--", label=label)
    full, dark = results["full_pulse_energy_J"], results["transmission_min"]
    if isinstance(full.value, float) and isinstance(full.stderr, float):
        micro = _text(Result(1e6 * full.value, 1e6 * full.stderr, "µJ"))
        axes.set_title(f"full pulse energy {micro}")
    if isinstance(dark.value, float) and isinstance(dark.stderr, float):
        share = _text(Result(1e3 * dark.value, 1e3 * dark.stderr, "1"))
        axes.plot([], [], " ", label=f"darkest: transmission ({share}) x 1/1000")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)
    axes.legend(loc="upper center", framealpha=0.9)


def _draw_pulls(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("angle of the wave plate (°)")
    axes.set_ylabel("residual (std. dev.)")
    if "residual_sigma" not in curves:
        return
    used = np.asarray(curves["used"], dtype=bool)
    axes.axhspan(-1.0, 1.0, color=GREY, alpha=0.2, linewidth=0)
    axes.plot(curves["angle_deg"][used], curves["residual_sigma"][used], "o", color=BLUE)
    reach = max(3.0, 1.1 * float(np.nanmax(np.abs(curves["residual_sigma"][used]))))
    axes.set_ylim(-reach, reach)
    axes.set_title(f"scatter of the angle {_text(results['angle_scatter_deg'])}")


def _draw_drift(axes: Any, evaluation: Evaluation) -> None:
    curves = evaluation.analysis.curves
    axes.set_xlabel("time (min)")
    axes.set_ylabel("drift of the laser (%)")
    if "drift" not in curves or "visit_s" not in curves:
        axes.set_title("reference angle not visited twice: drift not known")
        return
    start_s = float(np.nanmin(curves["time_s"]))
    axes.plot((curves["time_s"] - start_s) / 60.0, 100.0 * curves["drift"], "-", color=GREY, lw=1.2)
    axes.errorbar(
        (curves["visit_s"] - start_s) / 60.0,
        100.0 * curves["visit_drift"],
        100.0 * curves["visit_drift_errors"],
        fmt="D",
        color=VERMILION,
        label="at the reference angle",
    )
    reach = max(0.5, 150.0 * float(np.max(np.abs(curves["visit_drift"]))))
    axes.set_ylim(-reach, reach)
    axes.legend(loc="best", framealpha=0.9)
    axes.set_title("drift, taken out")


def wavelength_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw the spectra with the lines recognised, their residuals, and each place's offset."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1.0))
        _draw_lamp(figure.add_subplot(grid[:, 0]), evaluation)
        _draw_residuals(figure.add_subplot(grid[0, 1]), evaluation)
        _draw_offsets(figure.add_subplot(grid[1, 1]), evaluation)
        lamp = getattr(evaluation.data, "lamp", "")
        figure.suptitle(_title(f"Wavelength calibration, {lamp} lamp", evaluation))
        save(figure, path)


def _draw_lamp(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    spectra, nominal = curves["spectra_counts"], curves["nominal_nm"]
    offset = results["offset_nm"].value
    shift = offset if isinstance(offset, float) else 0.0
    for place, (wavelength, counts) in enumerate(zip(nominal, spectra, strict=True)):
        signal = np.maximum(counts - np.median(counts), 0.0)
        # The square root shows faint lines beside bright ones.
        shown = np.sqrt(signal / max(float(signal.max()), 1.0))
        axes.plot(
            wavelength + shift,
            shown + 1.25 * place,
            color=_PLACES[place % len(_PLACES)],
            linewidth=1.0,
        )
        if "line_nm" in curves:
            lines = curves["line_nm"][curves["line_place"] == place]
            axes.plot(lines, np.full(len(lines), 1.25 * place - 0.07), "|", color="k", markersize=9)
    axes.set_yticks([])
    axes.set_ylim(-0.2, 1.25 * len(spectra) + 0.1)
    axes.set_xlabel("wavelength in air (nm)")
    axes.set_ylabel("√ signal (normalised, offset)")
    number = results["lines"].value
    axes.set_title(
        f"{number:.0f} lines recognised (ticks)"
        if isinstance(number, float)
        else "lines not recognised"
    )


def _draw_residuals(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("wavelength in air (nm)")
    axes.set_ylabel("fit - line (pm)")
    if "residual_nm" not in curves:
        return
    axes.axhline(0.0, color=GREY, linewidth=1.0)
    for place in range(len(curves["place_nm"])):
        here = curves["line_place"] == place
        axes.errorbar(
            curves["line_nm"][here],
            1e3 * curves["residual_nm"][here],
            1e3 * curves["residual_error_nm"][here],
            fmt=_MARKERS[place % len(_MARKERS)],
            color=_PLACES[place % len(_PLACES)],
            markersize=5,
            linewidth=1.0,
        )
    rms = results["residual_rms_nm"].value
    if isinstance(rms, float):
        focal = results["focal_length_mm"]
        length = f"{focal.value:.2f}" if isinstance(focal.value, float) else "?"
        axes.set_title(f"rms {1e3 * rms:.1f} pm, focal length {length} mm")


def _draw_offsets(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("centre wavelength (nm)")
    axes.set_ylabel("offset of the axis (pm)")
    offset = results["offset_nm"]
    if not isinstance(offset.value, float) or not isinstance(offset.stderr, float):
        return
    axes.axhspan(
        1e3 * (offset.value - offset.stderr),
        1e3 * (offset.value + offset.stderr),
        color=GREEN,
        alpha=0.35,
        linewidth=0,
    )
    axes.axhline(1e3 * offset.value, color=GREEN)
    for place, (centre, value) in enumerate(
        zip(curves["place_nm"], curves["place_offset_nm"], strict=True)
    ):
        if (curves["line_place"] == place).any():
            axes.plot(
                centre,
                1e3 * value,
                _MARKERS[place % len(_MARKERS)],
                color=_PLACES[place % len(_PLACES)],
                markersize=9,
            )
    axes.set_title(f"offset {_text(offset)}")
