"""The run that goes on, as its records tell: kept small in memory, drawn when somebody looks.

For the status page and the notices. Records come in on the run's thread and cost it microseconds;
drawing is the business of whoever wants the picture, in a thread of its own.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from procedures.columns import Column
from procedures.measurement import Forecast, Measurement

DRAWING = threading.Lock()
"""Held by whoever draws: matplotlib's settings are one for the whole process."""
_MOST_POINTS = 4000
_MOST_CELLS = 200_000


class LiveRun:
    """What is known of a run's records: the signal of the last one, and its sum over all."""

    def __init__(self, measurement: Measurement, forecast: Forecast) -> None:
        columns = {column.name: column for column in measurement.COLUMNS}
        self.title = measurement.TITLE
        self.name = measurement.MEASUREMENT
        self.points = forecast.points
        self.signal: Column | None = columns.get(measurement.SIGNAL)
        along = measurement.PLOT_AXES[0] if measurement.PLOT_AXES else ""
        self.along: Column | None = columns.get(along)
        self.count = measurement.first_point
        self._axes: dict[str, tuple[npt.NDArray[np.float64], str]] = {}
        self._made_axes = measurement.axes
        self._sums: list[tuple[float, float]] = []
        self._step = 1
        self._last: npt.NDArray[np.float64] | None = None
        self._guard = threading.Lock()

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in a record; every second one is kept when there are many."""
        self.count += 1
        if self.signal is None:
            return
        value = record.get(self.signal.name)
        x = record.get(self.along.name, self.count) if self.along is not None else self.count
        if value is None or self.count % self._step:
            return
        array = np.asarray(value)
        background = record.get("background")
        if array.ndim and background is not None and np.shape(background) == array.shape:
            array = array.astype(float) - np.asarray(background, dtype=float)
        shots = float(record.get("shots", 0) or 0)
        with self._guard:
            self._last = array if array.ndim else None
            self._sums.append((float(x), float(array.sum()) / max(shots, 1.0)))
            if len(self._sums) >= _MOST_POINTS:
                self._sums = self._sums[::2]
                self._step *= 2
        if not self._axes and array.ndim:
            self._axes = {axis.name: (axis.values, axis.unit) for axis in self._made_axes()}

    def png(self) -> bytes:
        """Return a picture, 720 pixels wide: the last record's signal, and the sum of each."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with self._guard:
            last, sums = self._last, list(self._sums)
        with (
            DRAWING,
            matplotlib.rc_context({"font.size": 13, "axes.grid": True, "grid.alpha": 0.3}),
        ):
            figure = Figure(figsize=(7.2, 7.2), layout="constrained")
            FigureCanvasAgg(figure)
            figure.suptitle(f"{self.title}: record {self.count} of {self.points}", fontsize=13)
            if not sums:
                figure.text(0.5, 0.5, "no record yet", ha="center", va="center")
            else:
                upper, lower = figure.subplots(2, 1)
                self._draw_last(upper, last, sums)
                self._draw_sums(lower, sums)
            out = io.BytesIO()
            figure.savefig(out, format="png", dpi=100)
        return out.getvalue()

    def _draw_last(
        self, axes: Any, last: npt.NDArray[np.float64] | None, sums: list[tuple[float, float]]
    ) -> None:
        axes.set_title("last record", fontsize=13)
        signal = self.signal
        assert signal is not None
        if last is None:
            axes.text(0.5, 0.5, f"{sums[-1][1]:.4g} {signal.unit}", ha="center")
            return
        names = signal.axes
        if last.ndim >= 2:
            image = last.reshape(last.shape[-2:]) if last.ndim == 2 else last[0]
            step = max(int(np.sqrt(image.size / _MOST_CELLS)), 1)
            axes.imshow(
                image[::step, ::step], aspect="auto", origin="lower", cmap="viridis",
                extent=(*self._ends(names[-1]), *self._ends(names[-2])),
            )  # fmt: skip
            axes.set_xlabel(self._label(names[-1]))
            axes.set_ylabel(self._label(names[-2]))
            axes.grid(False)
            return
        values = self._axes.get(names[-1], (np.arange(last.size, dtype=float), ""))[0]
        axes.plot(values[: last.size], last, color="#0072B2", linewidth=1.2)
        axes.set_xlabel(self._label(names[-1]))
        axes.set_ylabel(signal.unit or signal.name)

    def _draw_sums(self, axes: Any, sums: list[tuple[float, float]]) -> None:
        table = np.array(sums)
        x, y = table[:, 0], table[:, 1]
        axes.set_title("each record, summed", fontsize=13)
        axes.plot(x, y, "s", color="#D55E00", markersize=4 if len(x) < 200 else 1.5)
        if len(x) > 2 and (x > 0).all() and (y > 0).all() and x.max() > 5 * x.min():
            axes.set_xscale("log")
            axes.set_yscale("log")
        along = self.along
        axes.set_xlabel(_with_unit(along.long_name, along.unit) if along else "record")
        axes.set_ylabel(f"{self.signal.unit if self.signal is not None else ''} per shot")

    def _ends(self, axis: str) -> tuple[float, float]:
        values = self._axes.get(axis, (np.array([0.0, 1.0]), ""))[0]
        return float(values[0]), float(values[-1])

    def _label(self, axis: str) -> str:
        return _with_unit(axis.replace("_", " "), self._axes.get(axis, (None, ""))[1])


def _with_unit(name: str, unit: str) -> str:
    return f"{name} ({unit.replace('uJ', 'µJ').replace('^2', '²')})" if unit else name
