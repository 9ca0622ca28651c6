"""The figure of several films side by side: spontaneous and stimulated emission of each.

For the report beside the paper, whose Figures 6a to 6c it stands for; drawn from the records of
power sweeps and from what their analyses found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import FloatArray, Result
from procedures.figures import _STYLE, BLUE, GREY, VERMILION, _clean, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_BELOW, _ABOVE, _STEP = 3, 4, 0.6
_SMOOTH = 5


def films_figure(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Draw spectra below and above the threshold of each film, one panel a film."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(15.0, 6.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(evaluations), sharey=True, squeeze=False)[0]
        for axes, evaluation in zip(panels, evaluations, strict=True):
            _draw(axes, evaluation)
        panels[0].set_ylabel("emission per shot (normalised, offset)")
        save(figure, path)


def _draw(axes: Any, evaluation: Evaluation) -> None:
    results = evaluation.analysis.results
    axes.set_title(str(evaluation.about.get("sample") or "sample"))
    axes.set_xlabel("wavelength (nm)")
    axes.set_yticks([])
    data, spectra, order = _clean(evaluation)
    if not len(order):
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    fluence = data.fluence_uJ_cm2[order]
    threshold = _number(results["threshold_uJ_cm2"])
    window = np.ones(_SMOOTH) / _SMOOTH
    for step, place in enumerate(_picked(fluence, threshold)):
        spectrum = np.convolve(spectra[order[place]], window, mode="same")
        top = float(np.max(spectrum)) or 1.0
        above = threshold is not None and fluence[place] > threshold
        axes.plot(
            data.wavelength_nm,
            spectrum / top + _STEP * step,
            color=VERMILION if above else BLUE,
            linewidth=1.6,
        )
        axes.annotate(
            f"{fluence[place]:.3g} µJ/cm²", (0.98, _STEP * step + 0.08),
            xycoords=("axes fraction", "data"), ha="right", fontsize=11,
        )  # fmt: skip
    notes: list[tuple[str, str]] = []
    for name, colour, label in (
        ("spontaneous_peak_nm", BLUE, "spontaneous"),
        ("ase_peak_nm", VERMILION, "stimulated"),
    ):
        peak = _number(results[name])
        if peak is not None:
            axes.axvline(peak, ymax=0.8, color=colour, linestyle=":", linewidth=1.4)
            notes.append((f"{label} {peak:.1f} nm", colour))
    if threshold is not None:
        notes.append((f"threshold {threshold:.1f} µJ/cm²", GREY))
    for line, (text, colour) in enumerate(notes):
        axes.text(
            0.03, 0.975 - 0.052 * line, text, transform=axes.transAxes, va="top", fontsize=12,
            color=colour, fontweight="bold",
        )  # fmt: skip
    axes.set_ylim(-0.1, _STEP * (_BELOW + _ABOVE - 1) + 2.2)
    middle = _number(results["spontaneous_peak_nm"]) or float(np.mean(data.wavelength_nm))
    width = _number(results["spontaneous_fwhm_nm"]) or 25.0
    axes.set_xlim(middle - 1.3 * width, middle + 2.3 * width)


def _picked(fluence: FloatArray, threshold: float | None) -> list[int]:
    """Return places of some spectra below and some above the threshold, evenly taken."""
    if threshold is None:
        return [int(n) for n in np.linspace(0, len(fluence) - 1, _BELOW + _ABOVE)]
    below, above = np.flatnonzero(fluence <= threshold), np.flatnonzero(fluence > threshold)
    found: list[int] = []
    for places, most in ((below, _BELOW), (above, _ABOVE)):
        if len(places):
            found += places[np.unique(np.linspace(0, len(places) - 1, most).astype(int))].tolist()
    return found


def _number(result: Result) -> float | None:
    return result.value if isinstance(result.value, float) else None
