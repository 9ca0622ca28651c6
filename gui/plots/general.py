"""Any measurement: the last spectrum, and any column against any other."""

from __future__ import annotations

from typing import Any

import numpy as np
from PyQt5 import QtWidgets

from gui.fields import label
from gui.plots.plot import Plot
from gui.plots.series import Decimated, SeriesPlot
from gui.plots.view import MeasurementView
from gui.rundata import RunData
from gui.words import unit


class GeneralView(MeasurementView):
    """Columns chosen by the operator, and the newest array of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = SeriesPlot("Records", "record", "")
        self.array = Plot("Newest record", "", "")
        self.add([self.columns], [self.array], stretch=(1, 1))
        self._line_of = self.columns.curve(0, width=1.0)
        self._points = self.columns.curve(0, symbol="o", size=5, line=False)
        self._line = self.array.curve(0)
        self.array.follow(self._line)
        self.along, self.up = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for box, name in ((self.up, "up"), (self.along, "along")):
            box.setAccessibleName(f"column {name}")
            box.currentIndexChanged.connect(lambda _index: self._redraw())
            self.columns.tools.insertWidget(1, box)
            self.columns.tools.insertWidget(1, label(name, "muted"))
        self._data: RunData | None = None
        self._pair: _Pair | None = None
        self._has_arrays = True

    @property
    def without(self) -> tuple[Plot, ...]:
        """See MeasurementView."""
        return () if self._has_arrays else (self.array,)

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        names = [name for name, column in data.table.items() if not column.axes]
        if (
            self._data is None
            or [self.along.itemText(i) for i in range(self.along.count())] != names
        ):
            for box, chosen in ((self.along, _guess(data, 0)), (self.up, _guess(data, 1))):
                box.blockSignals(True)
                box.clear()
                box.addItems(names)
                box.setCurrentText(chosen)
                box.blockSignals(False)
        self._data = data
        self._redraw()
        arrays = [name for name, column in data.table.items() if len(column.axes) == 1]
        if arrays and (newest := data.last(arrays[0])) is not None:
            column = data.table[arrays[0]]
            self.array.set_title(f"Newest {column.long_name or arrays[0]}")
            self.array.set_labels(column.axes[0], unit(column.unit))
            self._line.setData(data.axis(column.axes[0]), np.asarray(newest, dtype=np.float64))
        if bool(arrays) != self._has_arrays:
            self._has_arrays = bool(arrays)
            self.array.setVisible(self._has_arrays)

    def _redraw(self) -> None:
        data = self._data
        if data is None or not self.along.currentText():
            return
        names = (self.along.currentText(), self.up.currentText())
        pair = self._pair
        if pair is None or pair.data is not data or pair.names != names:
            pair = self._pair = _Pair(data, names)
        pair.look()
        self._line_of.setVisible(pair.rising)
        if pair.rising:
            self.columns.show_series(self._line_of, pair.series)
        dense = pair.rising and len(pair.series) > _MOST_SYMBOLS
        self._points.setVisible(not dense)
        if not dense:
            self._points.setData(*pair.some(_MOST_SYMBOLS))
        self.columns.set_labels(_words(data, names[0]), _words(data, names[1], pair.unit))

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        names = (self.along.currentText(), self.up.currentText())
        if not all(name in data.table for name in names):
            return None
        pair = _Pair(data, names)
        pair.look()
        return self.columns, *pair.some(_MOST_SYMBOLS)


class _Pair:
    """Two columns, one against the other, looked at as they grow."""

    def __init__(self, data: RunData, names: tuple[str, str]) -> None:
        self.data, self.names = data, names
        self.rising = True
        self.series = Decimated(np.zeros(0), np.zeros(0))
        self.factor, self.unit = 1.0, unit(self._unit_of(names[1]))
        self._seen = 0
        self._origin = 0.0

    def _unit_of(self, name: str) -> str:
        column = self.data.table.get(name)
        return column.unit if column is not None else ""

    def look(self) -> None:
        """Take what the run has now."""
        count = self.data.rows_complete
        x, y = (self.data.records(name)[:count] for name in self.names)
        if self.names[1] == "time" and count:
            y = y - y[0]
        if self._seen == 0 and count:
            self._origin = float(x[0]) if self.names[0] == "time" else 0.0
            self.factor, self.unit = _readable(self.data, self.names[1], y)
            self.series = Decimated(x, y, origin=self._origin, factor=self.factor)
        new = x[max(self._seen - 1, 0) :]  # NaN rises nowhere: such a run is shown as points
        self.rising = self.rising and bool((new[1:] >= new[:-1]).all())
        self._seen = count
        self.series.grow(x, y)

    def some(self, most: int) -> tuple[Any, Any]:
        """Return at most so many of the points, evenly, the newest among them."""
        count = len(self.series)
        rows = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
        x = self.series.x_at(rows)
        y = self.factor * np.asarray(self.series.y[rows], dtype=np.float64)
        good = np.isfinite(x) & np.isfinite(y)
        return x[good], y[good]


def _readable(data: RunData, name: str, values: Any) -> tuple[float, str]:
    """Return factor and unit by which a column's values are read without powers of ten."""
    column = data.table.get(name)
    printed = unit(column.unit) if column is not None else ""
    high = float(np.nanmax(np.abs(values))) if len(values) else 0.0
    if printed not in ("J", "W") or not 0.0 < high < 0.1:
        return 1.0, printed
    for factor, prefix in ((1e3, "m"), (1e6, "µ"), (1e9, "n")):
        if high * factor >= 0.1:
            return factor, prefix + printed
    return 1e9, f"n{printed}"


def _words(data: RunData, name: str, printed: str | None = None) -> str:
    column = data.table.get(name)
    if name == "time":
        return "time since the first record (s)"
    if column is None:
        return name
    printed = unit(column.unit) if printed is None else printed
    return f"{name.replace('_', ' ')} ({printed})" if printed else name.replace("_", " ")


_MOST_SYMBOLS = 1000
"""More points than that are no longer told apart, and cost the frame."""
_ALONG = ("attenuator_angle", "angle", "exposed_shots", "stripe_length", "fluence", "day", "time")
_UP = ("energy", "pulse_energy", "band_counts", "transmission", "fluence")


def _guess(data: RunData, which: int) -> str:
    names = [name for name, column in data.table.items() if not column.axes]
    wanted = _ALONG if which == 0 else _UP
    found = [name for name in wanted if name in names]
    if found:
        return found[0]
    return names[min(which, len(names) - 1)] if names else ""
