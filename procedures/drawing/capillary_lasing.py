"""The figure of a capillary laser: spectra with their modes, the numbered modes, light and pump."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from procedures.drawing.spot import amount, page, waterfall
from procedures.figures import BLUE, GREEN, GREY, ORANGE, VERMILION, _plain_decades

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation

_SHOWN, _STEP = 7, 0.75


def capillary_lasing_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw spectra, mode energies against their numbers, and intensity against fluence."""
    with page(evaluation, path, (1.25, 0.8, 1.0)) as (left, middle, right):
        _draw_spectra(left, evaluation)
        _draw_comb(middle, evaluation)
        _draw_growth(right, evaluation)


def _draw_spectra(axes: Any, evaluation: Evaluation) -> None:
    curves = evaluation.analysis.curves
    axes.set_xlabel("wavelength (nm)")
    axes.set_ylabel("emission per shot (normalised, offset)")
    axes.set_title("Emission spectra")
    if "spectra_per_shot" not in curves:
        axes.text(0.5, 0.5, "no usable record", ha="center", transform=axes.transAxes)
        return
    fluence = curves["fluence_mJ_cm2"]
    place, spectra = curves["wavelength_nm"], curves["spectra_per_shot"]
    shown, _ = waterfall(axes, place, spectra, fluence, most=_SHOWN, step=_STEP, room=0.6)
    modes = curves.get("mode_wavelength_nm")
    if modes is None or not len(modes):
        return
    height = _STEP * (len(shown) - 1) + 1.12
    axes.plot(modes, np.full(len(modes), height), "|", color=VERMILION, markersize=12)
    axes.annotate(
        f"{len(modes)} modes", (float(modes.mean()), height + 0.12), ha="center", color=VERMILION
    )
    reach = max(0.12 * float(np.ptp(modes)), 1.0)
    axes.set_xlim(float(modes.min()) - reach, float(modes.max()) + reach)


def _draw_comb(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("mode, from the first seen")
    axes.set_ylabel("photon energy (eV)")
    axes.set_title("Modes")
    if "mode_energy_eV" not in curves:
        axes.text(0.5, 0.5, "no modes", ha="center", transform=axes.transAxes)
        return
    number = curves["mode_number"]
    axes.plot(number, curves["mode_energy_line_eV"], "-", color=ORANGE)
    axes.plot(number, curves["mode_energy_eV"], "o", color=BLUE, markersize=6)
    lines = [
        amount("spacing", results["mode_spacing_nm"]),
        amount("group index", results["group_index"]),
    ]
    axes.text(
        0.04, 0.97, "\n".join(line for line in lines if line), va="top", transform=axes.transAxes,
        fontsize=12,
    )  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.18 * (high - low))


def _draw_growth(axes: Any, evaluation: Evaluation) -> None:
    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    axes.set_xlabel("pump fluence (mJ/cm²)")
    axes.set_ylabel("light in all modes (counts per shot)")
    axes.set_title("Lasing")
    if "modes_counts_per_shot" not in curves:
        axes.text(0.5, 0.5, "no modes", ha="center", transform=axes.transAxes)
        return
    fluence, light = curves["fluence_mJ_cm2"], curves["modes_counts_per_shot"]
    error = curves["modes_counts_per_shot_errors"]
    seen = light > 2.0 * error
    axes.errorbar(
        fluence[seen], light[seen], error[seen], fmt="o", color=VERMILION, markersize=7,
        label="modes",
    )  # fmt: skip
    if "fit_fluence_mJ_cm2" in curves:
        axes.plot(
            curves["fit_fluence_mJ_cm2"], curves["fit_counts_per_shot"], "-", color=ORANGE,
            label="fit of the rate equations",
        )  # fmt: skip
    threshold = results["threshold_mJ_cm2"]
    if isinstance(threshold.value, float) and isinstance(threshold.stderr, float):
        low, high = threshold.value - threshold.stderr, threshold.value + threshold.stderr
        axes.axvspan(low, high, color=GREEN, alpha=0.35, linewidth=0)
        axes.axvline(threshold.value, color=GREEN, label=amount("threshold", threshold))
    if "for_the_eye_fluence_mJ_cm2" in curves:
        ends = np.asarray(curves["for_the_eye_fluence_mJ_cm2"])
        fine = np.linspace(ends[0], ends[1], 80)[1:]
        line = np.interp(fine, ends, curves["for_the_eye_counts_per_shot"])
        axes.plot(fine, line, ":", color=GREY, linewidth=2.4, label="straight line, for the eye")
    axes.set_xscale("log")
    axes.set_yscale("log")
    if seen.any():
        axes.set_ylim(0.4 * float(light[seen].min()), 60.0 * float(light.max()))
    _plain_decades(axes.xaxis)
    axes.grid(visible=True, which="major", color=GREY, alpha=0.25)
    axes.legend(loc="upper left", framealpha=0.9)
