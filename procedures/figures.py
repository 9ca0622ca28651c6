"""The figure of each measurement, from what the analysis found: for paper, screen and report.

Colour-blind-safe colours, labels with units, readable from two metres. Nothing is computed here
that is not drawn; matplotlib is loaded when a figure is wanted, and draws without a screen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from instruments.errors import ConfigError
from procedures.analysis.cleaning import counts_per_shot
from procedures.analysis.results import format_result

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

FloatArray = npt.NDArray[np.float64]
# Okabe and Ito's colours, told apart by everybody.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
_STYLE: dict[Any, Any] = {
    "font.size": 13,
    "axes.labelsize": 15,
    "axes.titlesize": 15,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 12,
    "axes.linewidth": 1.2,
    "lines.linewidth": 1.8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
UNNAMED = "unknown"
"""What a run file calls a sample, or an operator, that was not named."""
_FORMATS = (".png", ".svg", ".pdf")


_text_as_paths: ContextVar[bool] = ContextVar("text_as_paths", default=False)


@contextlib.contextmanager
def text_as_paths() -> Iterator[None]:
    """Let the SVG figures of the block bring their letters along, for pages that travel alone."""
    before = _text_as_paths.set(True)
    try:
        yield
    finally:
        _text_as_paths.reset(before)


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by its ending; ConfigError for another."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(
            f"{path.suffix or 'no ending'} was given, allowed are {', '.join(_FORMATS)}",
            file=str(path),
            key="--figure",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    import matplotlib

    letters = "path" if _text_as_paths.get() else "none"
    with matplotlib.rc_context({"svg.fonttype": letters}):
        figure.savefig(path, dpi=110)


def heading(evaluation: Evaluation) -> str:
    """Return what stands over a figure: the sample if it has a name, else the measurement."""
    about = evaluation.about
    spot = f", spot {about['spot']}" if about.get("spot") else ""
    started = str(about.get("start_time") or "")[:16].replace("T", " ")
    return ", ".join(part for part in (f"{_named(evaluation)}{spot}", started) if part)


def _named(evaluation: Evaluation) -> str:
    name = str(evaluation.about.get("sample") or "")
    return name if name not in ("", UNNAMED) else evaluation.measurement.replace("-", " ")


def power_sweep_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw spectra against fluence, and intensity and width against fluence with the threshold."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_spectra(left, evaluation)
        _draw_growth(right, evaluation)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def _clean(evaluation: Evaluation) -> tuple[Any, FloatArray, npt.NDArray[np.intp]]:
    """Return data, spectra in counts per shot and nm, and the order by fluence of full stripes."""
    data = evaluation.data
    if not len(data.counts):
        return data, np.zeros((0, len(data.wavelength_nm))), np.zeros(0, dtype=np.intp)
    clean = counts_per_shot(
        np.asarray(data.counts),
        np.asarray(data.background),
        np.maximum(data.shots, 1),
        np.maximum(data.accumulations, 1),
        gain_e_per_count=data.gain_e_per_count,
        read_noise_e=data.read_noise_e,
    )
    per_nm = clean.per_shot / np.abs(np.gradient(data.wavelength_nm))
    full = np.abs(data.stripe_length_cm - data.full_stripe_length_cm) < 0.02
    good = np.flatnonzero(full & np.isfinite(data.fluence_uJ_cm2) & (data.fluence_uJ_cm2 > 0))
    return data, per_nm, good[np.argsort(data.fluence_uJ_cm2[good])]


def _draw_spectra(axes: Any, evaluation: Evaluation) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    data, spectra, order = _clean(evaluation)
    axes.set_xlabel("wavelength (nm)")
    axes.set_ylabel("emission per shot (normalised, offset)")
    if not len(order):
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(12, len(order))).astype(int))]
    fluence = data.fluence_uJ_cm2
    norm = LogNorm(fluence[order].min() * 0.999, fluence[order].max() * 1.001)
    colours = colormaps["viridis"]
    window = np.ones(5) / 5.0
    for step, index in enumerate(shown):
        smooth = np.convolve(spectra[index], window, mode="same")
        top = float(np.max(smooth)) or 1.0
        axes.plot(
            data.wavelength_nm,
            spectra[index] / top + 0.55 * step,
            color=colours(0.92 * norm(fluence[index])),
            linewidth=1.3,
        )
    axes.set_ylim(-0.2, 0.55 * (len(shown) - 1) + 1.3)
    axes.set_yticks([])
    bright = np.sum(np.maximum(spectra[order], 0), axis=0)
    inside = data.wavelength_nm[bright > 0.01 * bright.max()]
    if len(inside):
        axes.set_xlim(inside.min() - 15.0, inside.max() + 15.0)
    bar = axes.figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02)
    bar.set_label("pump fluence (µJ/cm²)")
    _plain_decades(bar.ax.yaxis)
    axes.set_title("Emission spectra")


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    data, spectra, order = _clean(evaluation)
    results, curves = evaluation.analysis.results, evaluation.analysis.curves
    axes.set_xlabel("pump fluence (µJ/cm²)")
    axes.set_ylabel("intensity (counts per shot)")
    if not len(order):
        return
    fluence = data.fluence_uJ_cm2[order]
    band, width = _measures(data.wavelength_nm, spectra[order])
    axes.loglog(fluence, band, "s", color=BLUE, label="whole band", markersize=7)
    saturated = np.asarray(data.saturated)[order]
    if saturated.any():
        axes.loglog(fluence[saturated], band[saturated], "kx", markersize=10, label="saturated")
    if "separated_fluence_uJ_cm2" in curves:
        where = curves["separated_fluence_uJ_cm2"]
        narrow, broad = (
            curves["stimulated_counts_per_shot"],
            curves["spontaneous_counts_per_shot"],
        )
        axes.loglog(where, broad, "s", color=GREY, fillstyle="none", label="spontaneous")
        seen = narrow > 0.02 * (narrow + broad)
        axes.loglog(where[seen], narrow[seen], "o", color=VERMILION, label="stimulated")
    if "fit_fluence_uJ_cm2" in curves:
        axes.loglog(
            curves["fit_fluence_uJ_cm2"],
            curves["fit_band_counts_per_shot"],
            "-",
            color=ORANGE,
            label="fit of the stripe equation",
        )
    threshold = results["threshold_uJ_cm2"]
    if isinstance(threshold.value, float) and isinstance(threshold.stderr, float):
        value, error = threshold.value, threshold.stderr
        axes.axvspan(value - error, value + error, color=GREEN, alpha=0.35, linewidth=0)
        axes.axvline(value, color=GREEN, label=f"threshold {_pretty(format_result(threshold))}")
    axes.set_ylim(0.5 * float(band.min()), 8.0 * float(band.max()))
    _plain_decades(axes.xaxis)
    twin = axes.twinx()
    twin.plot(fluence, width, "^", color="k", fillstyle="none", markersize=7)
    twin.set_ylabel("width at half maximum (nm), triangles")
    twin.set_ylim(0.0, 1.5 * max(float(np.nan_to_num(width).max()), 1.0))
    axes.legend(loc="upper left", framealpha=0.9)
    axes.set_title("Growth and narrowing")


def _plain_decades(axis: Any) -> None:
    """Label a logarithmic axis 1, 2, 5, 10 ... as a person would."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _pretty(text: str) -> str:
    """Set a result as it is printed."""
    return text.replace("+-", "±").replace("uJ/cm^2", "µJ/cm²")


def _measures(wavelength_nm: FloatArray, spectra: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return band sum and width at half maximum of each spectrum, noise smoothed over 9 pixels."""
    step = np.abs(np.gradient(wavelength_nm))
    band = np.maximum((spectra * step).sum(axis=1), 1e-12)
    window = np.ones(9) / 9.0
    width = np.full(len(spectra), np.nan)
    for index, spectrum in enumerate(spectra):
        smooth = np.convolve(spectrum, window, mode="same")
        above = np.flatnonzero(smooth > 0.5 * smooth.max())
        if smooth.max() <= 0.0:
            continue  # dark
        width[index] = float(np.sum(step[above[0] : above[-1] + 1]))
    return band, width
