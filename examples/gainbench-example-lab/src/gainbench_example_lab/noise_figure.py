"""The figure of noise-floor: the variance against the signal, with the line that was fitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from procedures.analysis.results import format_result
from procedures.figures import BLUE, GREY, ORANGE, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation


def noise_floor_figure(evaluation: Evaluation, path: Path) -> None:
    """Draw photon transfer, and what is left over; PNG, SVG or PDF by the ending of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves, results = evaluation.analysis.curves, evaluation.analysis.results
    figure = Figure(figsize=(8.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.0, 1.0))
    signal, variance = curves["signal_counts"], curves["variance_counts2"]
    above.set_ylabel("variance (counts²)")
    below.set_ylabel("residual (std. dev.)")
    below.set_xlabel("signal above the bias (counts)")
    below.set_xscale("symlog", linthresh=10.0)
    above.set_yscale("log")
    above.plot(signal, variance, "o", color=BLUE, label="groups of pixels")
    if "fit_variance_counts2" in curves:
        order = np.argsort(signal)
        above.plot(signal[order], curves["fit_variance_counts2"][order], "-", color=ORANGE)
        left = (variance - curves["fit_variance_counts2"]) / curves["variance_errors_counts2"]
        below.plot(signal, left, "o", color=BLUE)
        below.axhspan(-1.0, 1.0, color=GREY, alpha=0.2, linewidth=0)
    lines = [
        f"{text}: {format_result(results[name]).replace('+-', '±')}"
        for name, text in (
            ("gain_e_per_count", "electrons per count"),
            ("read_noise_e", "read noise"),
            ("dark_signal_e_per_s", "dark signal"),
        )
    ]
    above.text(0.03, 0.97, "\n".join(lines), va="top", transform=above.transAxes)
    above.set_title(f"{evaluation.about.get('sample') or 'noise floor'}")
    save(figure, path)
