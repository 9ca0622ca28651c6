"""A long series drawn fast: lowest and highest of each pixel's worth of points, at every zoom.

1.6e7 points are 128 MB and no screen shows them; what is drawn is at most some 2,400 points, whose
envelope is the data's, found anew when the operator zooms or moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt5 import QtCore

from gui.plots.plot import Floats, Plot

MOST_POINTS = 2400
_FINE = 512


class Decimated:
    """A series with rising x, and its lowest and highest in blocks of 512, kept.

    Args:
        x: of each value, None: 1, 2, 3 ... times `step`. y: the values, drawn times `factor`.
            origin: taken off x.
    """

    def __init__(
        self,
        x: npt.NDArray[Any] | None,
        y: npt.NDArray[Any],
        step: float = 1.0,
        origin: float = 0.0,
        factor: float = 1.0,
    ) -> None:
        self.y = y
        self._x = x
        self._step, self._origin, self._factor = step, origin, factor
        self._low = self._high = np.zeros(0)
        self.grow(x, y)

    def grow(self, x: npt.NDArray[Any] | None, y: npt.NDArray[Any]) -> None:
        """Take the series as it is now, longer than before; only what is new is looked at."""
        self._x, self.y = x, y
        known, whole = len(self._low), len(y) // _FINE
        if whole > known:
            blocks = y[known * _FINE : whole * _FINE].reshape(-1, _FINE)
            self._low = np.append(self._low, np.fmin.reduce(blocks, axis=1))
            self._high = np.append(self._high, np.fmax.reduce(blocks, axis=1))

    def __len__(self) -> int:
        return len(self.y)

    def x_at(self, rows: Any) -> Floats:
        """Return x of rows."""
        if self._x is None:
            return np.asarray((rows + 1) * self._step, dtype=np.float64)
        return np.asarray(self._x[rows], dtype=np.float64) - self._origin

    def rows_between(self, low: float, high: float) -> tuple[int, int]:
        """Return the rows inside a range of x, one more at each side."""
        if self._x is None:
            first, last = int(low / self._step) - 2, int(high / self._step) + 2
        else:
            first = int(np.searchsorted(self._x, low + self._origin)) - 1
            last = int(np.searchsorted(self._x, high + self._origin)) + 1
        return max(first, 0), min(last, len(self.y))

    def envelope(self, first: int, last: int) -> tuple[Floats, Floats]:
        """Return x and y, at most MOST_POINTS, of the rows `first` to `last` (excluded)."""
        count = last - first
        if count <= MOST_POINTS:
            rows = np.arange(first, last)
            y = np.asarray(self.y[first:last], dtype=np.float64) * self._factor
            return self.x_at(rows), y
        buckets = MOST_POINTS // 2
        if count > 4 * _FINE * buckets:
            begin, end = first // _FINE, min(-(-last // _FINE), len(self._low))
            width = max(-(-(end - begin) // buckets), 1)
            low, high = (
                _reduce(one[begin:end], width, how)
                for one, how in ((self._low, np.fmin), (self._high, np.fmax))
            )
            rows = (begin + width * np.arange(len(low))) * _FINE + width * _FINE // 2
        else:
            width = -(-count // buckets)
            part = self.y[first:last]
            low, high = (_reduce(part, width, how) for how in (np.fmin, np.fmax))
            rows = first + width * np.arange(len(low)) + width // 2
        rows = np.minimum(rows, len(self.y) - 1)
        x = np.repeat(self.x_at(rows), 2)
        y = np.empty(2 * len(low))
        y[0::2], y[1::2] = low, high
        return x, y * self._factor


def _reduce(values: npt.NDArray[Any], width: int, how: np.ufunc) -> Floats:
    whole = len(values) // width * width
    found = how.reduce(values[:whole].reshape(-1, width), axis=1)
    if whole < len(values):
        found = np.append(found, how.reduce(values[whole:]))
    return np.asarray(found, dtype=np.float64)


class SeriesPlot(Plot):
    """A plot of long series; each shows its envelope for the part that is in view."""

    def __init__(self, title: str, x: str, y: str) -> None:
        super().__init__(title, x, y)
        self._series: dict[Any, Decimated] = {}
        self._pending = QtCore.QTimer(self)
        self._pending.setSingleShot(True)
        self._pending.setInterval(15)
        self._pending.timeout.connect(self._refresh)
        self.item.getViewBox().sigXRangeChanged.connect(lambda *_: self._schedule())

    def show_series(self, curve: Any, series: Decimated) -> None:
        """Draw a series in a curve of this plot."""
        self._series[curve] = series
        if len(series):
            curve.setData(*series.envelope(*self._visible(series)))
        else:
            curve.setData([], [])

    @property
    def refreshing(self) -> bool:
        """Whether the envelope is about to be drawn anew."""
        return bool(self._pending.isActive())

    def _schedule(self) -> None:
        if not self._pending.isActive():
            self._pending.start()

    def _visible(self, series: Decimated) -> tuple[int, int]:
        view = self.item.getViewBox()
        if view.autoRangeEnabled()[0]:
            return 0, len(series)
        (low, high), _ = view.viewRange()
        margin = 0.25 * (high - low)
        return series.rows_between(low - margin, high + margin)

    def _refresh(self) -> None:
        if self.item.getViewBox().autoRangeEnabled()[0]:
            return
        for curve, series in self._series.items():
            if len(series) > MOST_POINTS:
                first, last = self._visible(series)
                if last > first:
                    curve.setData(*series.envelope(first, last))
