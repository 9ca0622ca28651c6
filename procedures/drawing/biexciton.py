"""The figure of a biexciton series: spectra with two bands, and both bands against fluence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import FloatArray, Result
from procedures.drawing.spot import amount, page, waterfall
from procedures.figures import BLUE, GREY, ORANGE, VERMILION, _plain_decades

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_SHOWN, _STEP = 6, 0.62


_BANDS = (("exciton", BLUE, "A, exciton"), ("biexciton", VERMILION, "B, biexciton"))


def biexciton_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw spectra over photon energy, the brightest one with both bands, and their growth."""
    with page(evaluation, path, (1.15, 1.0, 1.0)) as (left, middle, right):
        _draw_spectra(left, evaluation)
        _draw_bands(middle, evaluation)
        _draw_growth(right, evaluation)


def _draw_spectra(axes: Any, evaluation: Evaluation) -> None:
    curves = evaluation.analysis.curves
    axes.set_xlabel("photon energy (eV)")
    axes.set_ylabel("emission per shot and eV (normalised, offset)")
    axes.set_title("Emission spectra")
    if "spectra_per_shot_eV" not in curves:
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    energy, spectra = curves["energy_eV"], curves["spectra_per_shot_eV"]
    shown, tops = waterfall(
        axes, energy, spectra, curves["fluence_mJ_cm2"], most=_SHOWN, step=_STEP, room=0.35
    )
    if "exciton_area" not in curves:
        return
    for step, (index, top) in enumerate(zip(shown, tops, strict=True)):
        total = np.sum(_bands(curves, int(index)), axis=0) / top
        axes.plot(
            energy, total + _STEP * step, "--", color="k", linewidth=1.2,
            label="fit to all together" if step == 0 else None,
        )  # fmt: skip
    axes.legend(loc="upper right", framealpha=0.9)


def _bands(curves: Mapping[str, FloatArray], record: int) -> list[FloatArray]:
    """Return the light per eV of each band that was fitted in a record, (P,) each."""
    return [
        curves[f"{name}_area"][record] * curves[f"{name}_shape_per_eV"]
        for name, _, _ in _BANDS
        if f"{name}_area" in curves
    ]


def _draw_bands(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("photon energy (eV)")
    axes.set_ylabel("emission per shot and eV (normalised)")
    axes.set_title("Separation of the bands")
    if "exciton_area" not in curves:
        return
    brightest = int(np.argmax(curves["fluence_mJ_cm2"]))
    energy, spectrum = curves["energy_eV"], curves["spectra_per_shot_eV"][brightest]
    top = float(np.max(spectrum)) or 1.0
    every = max(1, len(energy) // 120)
    axes.plot(
        energy[::every], spectrum[::every] / top, "o", color=GREY, markersize=4, fillstyle="none",
        label=f"at {curves['fluence_mJ_cm2'][brightest]:.3g} mJ/cm²",
    )  # fmt: skip
    bands = _bands(curves, brightest)
    for band, (_, colour, label) in zip(bands, _BANDS, strict=False):
        axes.fill_between(
            energy, 0.0, band / top, color=colour, alpha=0.3, linewidth=0, label=label
        )
    both = np.sum(bands, axis=0) / top
    axes.plot(energy, both, color="k", linewidth=1.4, label="both, Voigt")
    places = [results[f"{name}_peak_eV"].value for name, _, _ in _BANDS]
    lines = [
        amount("A", results["exciton_peak_eV"]),
        amount("B", results["biexciton_peak_eV"]),
        amount("apart by", results["binding_energy_meV"]),
    ]
    for place, name in zip(places, "AB", strict=True):
        if isinstance(place, float):
            height = float(both[np.argmin(np.abs(energy - place))])
            axes.text(place, height + 0.04, name, ha="center", va="bottom")
    text = "\n".join(line for line in lines if line)
    axes.text(0.03, 0.985, text, transform=axes.transAxes, va="top", fontsize=11)
    axes.set_xlim(float(energy.min()), float(energy.max()))
    axes.set_ylim(-0.03, 1.75)
    axes.set_yticks([])
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.87), framealpha=0.9, fontsize=11)


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("pump fluence (mJ/cm²)")
    axes.set_ylabel("band area (counts per shot)")
    axes.set_title("Growth of both bands")
    if "exciton_area" not in curves:
        return
    fluence = curves["fluence_mJ_cm2"]
    lowest = np.inf
    for (name, colour, label), marker in zip(_BANDS, "so", strict=True):
        if f"{name}_area" not in curves:
            continue
        area, error = curves[f"{name}_area"], curves[f"{name}_area_errors"]
        seen = area > 0.0
        slope = results[f"{name}_slope"]
        axes.errorbar(
            fluence[seen], area[seen], error[seen], fmt=marker, color=colour, markersize=7,
            label=_slope_text(label, slope),
        )  # fmt: skip
        lowest = min(lowest, float(area[seen].min()))
        if f"{name}_law_area" in curves:
            axes.plot(curves["law_fluence_mJ_cm2"], curves[f"{name}_law_area"], "-", color=ORANGE)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([], [], "-", color=ORANGE, label="orthogonal distance regression")
    axes.set_ylim(0.5 * lowest, 6.0 * float(curves["exciton_area"].max()))
    _plain_decades(axes.xaxis)
    axes.grid(visible=True, which="major", color=GREY, alpha=0.25)
    axes.legend(loc="upper left", framealpha=0.9)


def _slope_text(label: str, slope: Result) -> str:
    text = amount("slope", slope)
    return f"{label}: {text}" if text else label
