"""The figure of a biexciton series: spectra with two bands, and both bands against fluence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.analysis.results import Result
from procedures.drawing.spot import amount, page, waterfall
from procedures.figures import BLUE, GREY, ORANGE, VERMILION, _plain_decades

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_SHOWN, _STEP = 6, 0.62


def biexciton_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw spectra over photon energy with the bands fitted, and the bands' growth."""
    with page(evaluation, path) as (left, right):
        _draw_spectra(left, evaluation)
        _draw_growth(right, evaluation)


def _draw_spectra(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("photon energy (eV)")
    axes.set_ylabel("emission per shot and eV (normalised, offset)")
    axes.set_title("Emission spectra and Voigt bands")
    if "spectra_per_shot_eV" not in curves:
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    energy, spectra = curves["energy_eV"], curves["spectra_per_shot_eV"]
    shown, tops = waterfall(
        axes, energy, spectra, curves["fluence_mJ_cm2"], most=_SHOWN, step=_STEP, room=1.3
    )
    for step, (index, top) in enumerate(zip(shown, tops, strict=True)):
        total = np.zeros(len(energy))
        for name, colour, label in (
            ("exciton", BLUE, "A, exciton"),
            ("biexciton", VERMILION, "B, biexciton"),
        ):
            if f"{name}_area" not in curves:
                continue
            band = curves[f"{name}_area"][index] * curves[f"{name}_shape_per_eV"] / top
            total += band
            axes.fill_between(
                energy, _STEP * step, band + _STEP * step, color=colour, alpha=0.28, linewidth=0,
                label=label if step == 0 else None,
            )  # fmt: skip
        axes.plot(
            energy, total + _STEP * step, "--", color="k", linewidth=1.2,
            label="fit to all spectra together" if step == 0 else None,
        )  # fmt: skip
    lines = [
        amount("A", results["exciton_peak_eV"]),
        amount("B", results["biexciton_peak_eV"]),
        amount("binding energy", results["binding_energy_meV"]),
    ]
    text = "\n".join(line for line in lines if line)
    axes.text(0.02, 0.985, text, transform=axes.transAxes, va="top", fontsize=12)
    axes.legend(loc="upper right", framealpha=0.9)


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("pump fluence (mJ/cm²)")
    axes.set_ylabel("band area (counts per shot)")
    axes.set_title("Growth of both bands")
    if "exciton_area" not in curves:
        return
    fluence = curves["fluence_mJ_cm2"]
    lowest = np.inf
    for name, colour, marker, label in (
        ("exciton", BLUE, "s", "A, exciton"),
        ("biexciton", VERMILION, "o", "B, biexciton"),
    ):
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
