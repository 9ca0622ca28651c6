"""Figures of the time-resolved measurements: decays, late light, spectrograms with their gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter, uniform_filter1d

from procedures.analysis.results import Result, format_result
from procedures.analysis.streak_image import SAMPLE, StreakData
from procedures.figures import _STYLE, BLUE, GREEN, GREY, ORANGE, VERMILION, heading, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

Curves = dict[str, npt.NDArray[np.float64]]
_SHOWN = 6
_NOTHING = "no usable record"


def _figure(evaluation: Evaluation, path: Path, draw: Any, rows: int, columns: int) -> None:
    """Make a figure with its title, let `draw` fill its axes (rows, columns), and write it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4 if rows == 1 else 4.0 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        draw(evaluation, figure.subplots(rows, columns, squeeze=False))
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _told(evaluation: Evaluation, name: str, label: str) -> str:
    result = evaluation.analysis.results[name]
    if isinstance(result.value, float) and isinstance(result.stderr, float) and result.value < 1e-3:
        power = math.floor(math.log10(result.value))
        value, error = result.value / 10.0**power, result.stderr / 10.0**power
        text = rf"({value:.2f} ± {error:.2f}) $\times\,10^{{{power}}}$ {result.unit}"
    else:
        text = format_result(result)
    return f"{label} {text}".replace("+-", "±").replace("cm^2", "cm²")


def _empty(axes: Any) -> None:
    axes.text(0.5, 0.5, _NOTHING, ha="center", transform=axes.transAxes)


def lifetime_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw the decay with fit and response, and the residuals."""
    _figure(evaluation, path, _draw_lifetime, 1, 2)


def _draw_lifetime(evaluation: Evaluation, grid: Any) -> None:
    left, right = grid[0]
    curves = evaluation.analysis.curves
    left.set_xlabel("time after the pulse (ns)")
    left.set_ylabel("events per shot and ns")
    right.set_xlabel("time after the pulse (ns)")
    right.set_ylabel("data less fit (standard errors)")
    if "time_ps" not in curves:
        _empty(left)
        return
    time = 1e-3 * curves["time_ps"]
    base = float(curves["baseline_per_shot_ns"][0])
    rate, fit = curves["events_per_shot_ns"] - base, curves["fit_per_shot_ns"] - base
    top = float(rate.max())
    shown = rate > 0.0
    left.semilogy(time[shown], rate[shown], ".", color=BLUE, markersize=4, label="emission")
    response = curves["response_per_ns"]
    response = response * top / max(float(response.max()), 1e-12)
    seen = response > 3e-4 * top
    left.semilogy(time[seen], response[seen], color=GREY, label="response of the camera")
    lit = fit > 1e-3 * top
    label = _told(evaluation, "lifetime_ns", "lifetime")
    left.semilogy(time[lit], fit[lit], color=VERMILION, label=label)
    if len(curves["lifetimes_ps"]) > 1:
        fast = f"beside {curves['lifetimes_ps'][1]:.0f} ps"
        left.plot([], [], " ", label=fast)
    left.set_ylim(2e-3 * top, 3.0 * top)
    left.legend(loc="upper right")
    left.set_title("Decay")
    right.axhline(0.0, color=GREY)
    right.plot(time, curves["residual_sigma"], ".", color=BLUE, markersize=4)
    after = time > 0.0
    reach = float(np.quantile(np.abs(curves["residual_sigma"][after]), 0.98)) * 1.6 + 1.0
    right.set_ylim(-reach, reach)
    right.set_title("Residuals (the rise is not fitted)")


def auger_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw decays scaled to one tail, and what is left without the tail."""
    _figure(evaluation, path, _draw_auger, 1, 2)


def _draw_auger(evaluation: Evaluation, grid: Any) -> None:
    from matplotlib import colormaps

    left, right = grid[0]
    curves = evaluation.analysis.curves
    left.set_xlabel("time after the pulse (ns)")
    left.set_ylabel("emission (equal tails)")
    right.set_xlabel("time after the pulse (ps)")
    right.set_ylabel("emission without the tail")
    if "time_ps" not in curves:
        _empty(left)
        return
    time, fluence = curves["time_ps"], curves["fluence_uJ_cm2"]
    used = curves["used"].astype(int)
    one, two = curves["lifetimes_ps"][:2]
    order = np.argsort(fluence)
    picked = order[np.unique(np.linspace(0, len(order) - 1, _SHOWN).astype(int))]
    colours = colormaps["viridis"]
    for step, index in enumerate(picked):
        colour = colours(0.9 * step / max(len(picked) - 1, 1))
        label = f"{fluence[index]:.3g} µJ/cm², N = {curves['excitons'][index]:.2g}"
        smooth = np.maximum(curves["decays"][index], 1e-3)
        left.semilogy(1e-3 * time, smooth, color=colour, linewidth=1.3, label=label)
    tail = float(np.median(curves["decays"][used][:, time > 1000.0]))
    left.set_ylim(0.3 * tail, 3.0 * float(curves["decays"][picked].max()))
    left.legend(loc="upper right", fontsize=11)
    left.set_title("Decays")
    late = (time > 4.0 * two) & (time < 4.0 * two + one)
    near = (time > -100.0) & (time < 8.0 * two)
    for step, (index, fit) in enumerate(zip(used, curves["fits"], strict=True)):
        shape = np.exp(-time / one)
        level = float((curves["decays"][index][late] / shape[late]).mean())
        rest = curves["decays"][index] - level * shape
        colour = colours(0.9 * step / max(len(used) - 1, 1))
        right.semilogy(time[near], np.maximum(rest[near], 1e-4), ".", color=colour, markersize=5)
        right.semilogy(
            time[near], np.maximum((fit - level * shape)[near], 1e-4), color=colour, linewidth=1.4
        )
    top = float((curves["decays"][used] - 1.0)[:, near].max())
    right.set_ylim(2e-3 * top, 2.0 * top)
    right.plot([], [], " ", label=_told(evaluation, "auger_lifetime_ps", "two excitons"))
    right.plot([], [], " ", label=_told(evaluation, "exciton_lifetime_ns", "one exciton"))
    right.legend(loc="upper right")
    right.set_title("Without one exciton's decay, fits as lines")


def cross_section_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw late light against fluence with the fit and the textbook's curve."""
    _figure(evaluation, path, _draw_cross_section, 1, 2)


def _draw_cross_section(evaluation: Evaluation, grid: Any) -> None:
    left, right = grid[0]
    curves = evaluation.analysis.curves
    for axes in (left, right):
        axes.set_xlabel("pump fluence (µJ/cm²)")
    left.set_ylabel("late events per shot")
    right.set_ylabel("late events over fit")
    if "late_events_per_shot" not in curves:
        _empty(left)
        return
    fluence, light = curves["fluence_uJ_cm2"], curves["late_events_per_shot"]
    sigma, x = curves["late_events_sigma"], curves["fit_fluence_uJ_cm2"]
    fit, plain = curves["fit_events_per_shot"], curves["textbook_events_per_shot"]
    begun, _ = curves["gate_ps"]
    slope, bare = curves["excitons_per_uJ_cm2"]
    left.plot(x, plain, "--", color=ORANGE, label="textbook: 1 - exp(-N), all dots alike")
    label = _told(evaluation, "cross_section_cm2", "fit:")
    left.plot(x, fit, color=VERMILION, label=label)
    left.errorbar(fluence, light, sigma, fmt="s", color=BLUE, label=f"light after {begun:.0f} ps")
    left.set_ylim(0.0, 1.45 * float(light.max()))
    left.legend(loc="upper left")
    twin = left.secondary_xaxis("top", functions=(lambda f: f * slope, lambda n: n / slope))
    twin.set_xlabel("mean excitons N")
    expected = np.interp(fluence, x, fit)
    right.axhline(1.0, color=VERMILION)
    right.plot(x, plain / fit, "--", color=ORANGE, label=f"textbook ({bare / slope - 1.0:+.0%})")
    right.errorbar(fluence, light / expected, sigma / expected, fmt="s", color=BLUE)
    right.set_xscale("log")
    reach = 1.5 * float(np.abs(light / expected - 1.0).max()) + 0.005
    right.set_ylim(1.0 - reach, 1.0 + reach)
    right.legend(loc="best")
    right.set_title("Residuals")


def streak_series_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw for each fluence the spectrogram with its gates, the gated spectra and the decay."""
    rows = max(int(np.sum(evaluation.data.kind == SAMPLE)), 1)
    _figure(evaluation, path, _draw_series, min(rows, _SHOWN), 3)


def _draw_series(evaluation: Evaluation, grid: Any) -> None:
    data, curves = evaluation.data, evaluation.analysis.curves
    sample = np.flatnonzero(data.kind == SAMPLE)
    for place, (row, record) in enumerate(zip(grid, sample, strict=False)):
        image, spectra, decay = row
        image.set_title(f"{data.fluence_uJ_cm2[record]:.3g} µJ/cm²")
        if f"early_{place}" not in curves:
            for axes in row:
                _empty(axes)
            continue
        _draw_spectrogram(image, data, int(record), curves, place)
        _draw_gated(spectra, evaluation, place)
        spectra.set_xlim(image.get_xlim())
        _draw_decay(decay, evaluation, place)
    for axes, label in zip(
        grid[-1], ("wavelength (nm)", "wavelength (nm)", "time after the pulse (ns)"), strict=True
    ):
        axes.set_xlabel(label)


def _gate_words(curves: Curves) -> tuple[str, str]:
    begun, early, late = curves["gates_ps"]
    return f"{begun:.0f} to {early:.0f} ps", f"{early:.0f} ps to {1e-3 * late:.3g} ns"


def _draw_spectrogram(axes: Any, data: StreakData, record: int, curves: Curves, place: int) -> None:
    """Draw light against time and wavelength with both gates; early times are drawn larger."""
    from matplotlib.colors import PowerNorm

    time = 1e-3 * curves[f"time_ps_{place}"]
    net = np.maximum(data.net[record], 0.0)
    per_column = uniform_filter1d(net.sum(axis=0), 9)
    lit = data.wavelength_nm[per_column > 0.02 * per_column.max()]
    light = uniform_filter(net, (1, 5))[:, ::4]
    axes.pcolormesh(
        data.wavelength_nm[::4],
        time,
        light,
        cmap="magma",
        norm=PowerNorm(0.4, 0.0, float(light.max())),
        shading="nearest",
        rasterized=True,
    )
    axes.set_xlim(lit.min() - 5.0, lit.max() + 5.0)
    axes.set_yscale("symlog", linthresh=0.1, linscale=1.0)
    axes.set_ylim(-0.1, time[-1])
    ticks = [tick for tick in (-0.1, 0.0, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0) if tick <= time[-1]]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel("time (ns)")
    begun, early, late = 1e-3 * curves["gates_ps"]
    late = min(float(late), float(time[-1]))
    for low, high, colour, words in zip(
        (begun, early), (early, late), (VERMILION, BLUE), _gate_words(curves), strict=True
    ):
        # At the right, in axes' widths: the gate's bar; its edges across the image.
        bar = axes.get_yaxis_transform()
        axes.plot([0.97, 0.97], [low, high], transform=bar, color=colour, linewidth=6, label=words)
    for edge in (begun, early, late):
        axes.axhline(edge, color="white", linestyle="--", linewidth=1.0)
    axes.legend(loc="upper left", fontsize=10, framealpha=0.85)


def _draw_gated(axes: Any, evaluation: Evaluation, place: int) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    words = _gate_words(curves)
    for name, colour, label in zip(("early", "late"), (VERMILION, BLUE), words, strict=True):
        y = np.convolve(curves[f"{name}_{place}"], np.ones(3) / 3.0, mode="same")
        value, error = _entry(results[f"{name}_peak_nm"], place)
        if value is not None:
            axes.axvline(value, color=colour, linestyle=":")
            label += f": {value:.1f} ± {error:.1f} nm"
        axes.plot(curves[f"{name}_nm_{place}"], y / y.max(), color=colour, label=label)
    shift, error = _entry(results["redshift_meV"], place)
    if shift is not None:
        axes.plot([], [], " ", label=f"red shift {shift:.1f} ± {error:.1f} meV")
    axes.set_ylim(-0.05, 1.6)
    axes.set_ylabel("normalised")
    axes.legend(loc="upper right", fontsize=10)


def _draw_decay(axes: Any, evaluation: Evaluation, place: int) -> None:
    curves = evaluation.analysis.curves
    time, shown = 1e-3 * curves[f"time_ps_{place}"], curves[f"decay_{place}"]
    response = curves["response_per_ps"] / curves["response_per_ps"].max()
    seen = response > 1e-3
    axes.semilogy(
        1e-3 * curves["response_time_ps"][seen], response[seen], color=GREY, label="response"
    )
    value, error = _entry(evaluation.analysis.results["decay_time_ps"], place)
    label = "all wavelengths"
    if value is not None:
        label += (
            f", 1/e: < {value:.0f} ps" if error is None else f", 1/e: {value:.0f} ± {error:.0f} ps"
        )
    axes.semilogy(time[shown > 0], shown[shown > 0], color=GREEN, label=label)
    axes.set_ylim(2e-3, 4.0)
    axes.set_ylabel("normalised")
    axes.legend(loc="upper right", fontsize=10)


def _entry(result: Result, place: int) -> tuple[float | None, float | None]:
    """Return value and standard error of one record."""
    values, errors = result.value, result.stderr
    if not isinstance(values, Sequence) or not isinstance(errors, Sequence):
        return None, None
    return values[place], errors[place]
