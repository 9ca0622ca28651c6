"""What the figures of spectra under a spot share: the page, the waterfall of spectra, a result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from procedures.analysis.results import FloatArray, Result, format_result
from procedures.figures import _STYLE, _plain_decades, _pretty, heading, save

if TYPE_CHECKING:
    from procedures.evaluation import Evaluation


@contextlib.contextmanager
def page(
    evaluation: Evaluation, path: Path, widths: tuple[float, ...] = (1.0, 1.0)
) -> Iterator[Any]:
    """Hand out the axes of a page, side by side; write it to `path` at the end."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(14.0, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.subplots(1, len(widths), width_ratios=widths)
        figure.suptitle(heading(evaluation))
        save(figure, path)


def waterfall(
    axes: Any,
    place: FloatArray,
    spectra: FloatArray,
    fluence: FloatArray,
    *,
    most: int,
    step: float,
    room: float,
) -> tuple[npt.NDArray[np.intp], list[float]]:
    """Draw some of the spectra (N, P), each over its height, above each other.

    At most `most`, `step` apart, with `room` above them for what is written there. Returns which,
    and their heights.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    order = np.argsort(fluence, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).astype(int))]
    norm = LogNorm(fluence.min() * 0.999, fluence.max() * 1.001)
    colours = colormaps["viridis"]
    tops = []
    for number, index in enumerate(shown):
        top = float(np.max(spectra[index])) or 1.0
        tops.append(top)
        axes.plot(
            place,
            spectra[index] / top + step * number,
            color=colours(0.92 * norm(fluence[index])),
            linewidth=1.3,
        )
    axes.set_yticks([])
    axes.set_xlim(float(np.min(place)), float(np.max(place)))
    axes.set_ylim(-0.1, step * (len(shown) - 1) + 1.0 + room)
    bar = axes.figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.02)
    bar.set_label("pump fluence (mJ/cm²)")
    _plain_decades(bar.ax.yaxis)
    return shown, tops


def amount(label: str, result: Result) -> str:
    """Return a result with its label as it is printed, "" where there is none."""
    if result.value is None:
        return ""
    return f"{label} {_pretty(format_result(result)).replace('mJ/cm^2', 'mJ/cm²')}"
