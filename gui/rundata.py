"""The records of a run in memory: of one that goes on here, of one in another process, of a file.

Plots draw from it, and the analyses take it in a run file's place: it answers what they ask of one
(`records`, `axis`, `facts`, ...), so that a live fit is the very analysis that the file will get.
Written by one thread, read by others: what was returned is never changed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from procedures.columns import Axis, Column

MOST_COLUMN_BYTES = 64 * 2**20
"""Of a column of arrays kept in memory; beyond it every other one is let go, for drawing alone."""


class _Series:
    """A column that grows: values, and which records they belong to (None: one after the other).

    Args:
        expected: how many values will come, as far as is known: their place is reserved (not yet
            used), because copying what is there to a larger place keeps the window waiting.
    """

    def __init__(self, dtype: Any, shape: tuple[int, ...], expected: int = 0) -> None:
        one = np.dtype(dtype).itemsize * int(np.prod(shape))
        space = max(min(expected, MOST_COLUMN_BYTES // max(one, 1) + 1), 64)
        self.values = np.empty((space, *shape), dtype)
        self.rows: npt.NDArray[np.intp] | None = np.empty(space, np.intp) if shape else None
        self.length = 0
        self.stride = 1

    def append(self, value: Any, row: int) -> None:
        if self.length == len(self.values):
            more = max(len(self.values), 64)
            space = np.empty((more, *self.values.shape[1:]), self.values.dtype)
            self.values = np.concatenate([self.values, space])
            if self.rows is not None:
                self.rows = np.concatenate([self.rows, np.empty(more, np.intp)])
        self.values[self.length] = value
        if self.rows is not None:
            self.rows[self.length] = row
        self.length += 1

    def thin(self) -> None:
        """Keep every other value, and take every other one only from now on."""
        self.stride *= 2
        self.values = self.values[: self.length : 2].copy()
        if self.rows is not None:
            self.rows = self.rows[: self.length : 2].copy()
        self.length = len(self.values)

    def belongs_to(self) -> npt.NDArray[np.intp]:
        """Return the records of the values."""
        return np.arange(self.length) if self.rows is None else self.rows[: self.length]


class RunData:
    """Records and description of a run.

    Args:
        measurement: its name. columns: of its records. axes: of its array columns.
        about: sample, spot, operator, start_time, parameters, parameter_units, facts, instruments,
            calibrations, decisions, plan, points (of the plan), path.
    """

    def __init__(
        self,
        measurement: str,
        columns: Sequence[Column],
        axes: Sequence[Axis],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        known = dict(about or {})
        self.measurement = measurement
        self.path: Path | None = known.get("path")
        self.sample = str(known.get("sample", ""))
        self.spot = str(known.get("spot", ""))
        self.operator = str(known.get("operator", ""))
        self.start_time = str(known.get("start_time", ""))
        self.end_time = str(known.get("end_time", ""))
        self.status = str(known.get("status", "running"))
        self.points = int(known.get("points", 0))
        self.plan: dict[str, npt.NDArray[Any]] = dict(known.get("plan", {}))
        self.parameters: dict[str, Any] = dict(known.get("parameters", {}))
        self.parameter_units: dict[str, str] = dict(known.get("parameter_units", {}))
        self.facts: dict[str, Any] = dict(known.get("facts", {}))
        self.instruments: dict[str, Any] = dict(known.get("instruments", {}))
        self.calibrations: dict[str, Any] = dict(known.get("calibrations", {}))
        self.decisions: dict[str, Any] = dict(known.get("decisions", {}))
        self.table = {column.name: column for column in columns}
        self.axes = {axis.name: axis for axis in axes}
        self.rows_complete = 0
        self.complete = True
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}
        for column in columns:
            shape = tuple(len(self.axes[name].values) for name in column.axes)
            self._series[column.name] = _Series(np.dtype(column.dtype), shape, self.points)

    # ---- writing --------------------------------------------------------------------------------

    def append(self, record: Mapping[str, Any]) -> None:
        """Take a record; an array of None is one that it has not."""
        with self._lock:
            row = self.rows_complete
            for name, series in self._series.items():
                value = record.get(name)
                if self.table[name].axes:
                    if value is None or row % series.stride:
                        continue
                    if (series.length + 1) * int(np.size(value)) * series.values.itemsize > (
                        MOST_COLUMN_BYTES
                    ):
                        series.thin()
                        self.complete = False
                elif value is None:
                    value = np.nan if series.values.dtype.kind == "f" else 0
                series.append(value, row)
            self.rows_complete = row + 1

    def extend(
        self, name: str, values: npt.NDArray[Any], rows: npt.NDArray[np.intp] | None, step: int = 1
    ) -> None:
        """Take a column of a file at once, every `step`-th value; rows None: one a record."""
        with self._lock:
            series = self._series[name]
            series.values, series.rows, series.length = values, rows, len(values)
            series.stride = step

    # ---- what an analysis asks of a run file ----------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.table)

    def records(self, name: str) -> npt.NDArray[Any]:
        """Return a column's values, (rows, ...); of some records only, see `rows_of`."""
        with self._lock:
            series = self._series[name]
            return series.values[: series.length]

    def rows_of(self, name: str) -> npt.NDArray[np.intp]:
        """Return which records the values of a column belong to."""
        with self._lock:
            return self._series[name].belongs_to()

    def both(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
        """Return a column's values and their records, of one moment: another thread may append."""
        with self._lock:
            series = self._series[name]
            return series.values[: series.length], series.belongs_to()

    def last(self, name: str) -> Any:
        """Return the newest value of a column, None if there is none."""
        with self._lock:
            series = self._series.get(name)
            return series.values[series.length - 1] if series and series.length else None

    def axis(self, name: str) -> npt.NDArray[np.float64]:
        """Return the values of an axis."""
        return np.asarray(self.axes[name].values, dtype=np.float64)

    def unit(self, name: str) -> str:
        """Return the unit of a column."""
        return self.table[name].unit

    # ---- parts ----------------------------------------------------------------------------------

    def frozen(self, keep: npt.NDArray[np.bool_] | None = None) -> RunData:
        """Return it as it is now (of the records `keep` only), for a fit in another thread."""
        with self._lock:
            made = copy.copy(self)
            made._lock = threading.Lock()
            count = self.rows_complete
            made._series = {}
            wanted = keep[:count] if keep is not None else None
            place = np.cumsum(wanted) - 1 if wanted is not None else None
            for name, series in self._series.items():
                part = _Series.__new__(_Series)
                values, rows = series.values[: series.length], series.rows
                rows = rows[: series.length] if rows is not None else None
                if wanted is not None and place is not None:
                    inside = wanted if rows is None else wanted[rows]
                    values = values[inside[: len(values)]]
                    rows = place[rows[inside]] if rows is not None else None
                part.values, part.rows, part.length = values, rows, len(values)
                made._series[name] = part
            made.rows_complete = int(wanted.sum()) if wanted is not None else count
            made.decisions = dict(self.decisions)
            return made


def from_file(path: Path | str) -> RunData:
    """Read a run file, finished or alive.

    Of a column of arrays beyond MOST_COLUMN_BYTES a part is read, evenly, for drawing.
    """
    from procedures.running.runfile import RunFile

    with RunFile(path) as run:
        about = {
            "path": Path(path),
            "sample": run.sample,
            "spot": run.spot,
            "operator": run.operator,
            "start_time": run.start_time,
            "end_time": run.end_time,
            "status": run.status,
            "parameters": run.parameters,
            "parameter_units": run.parameter_units,
            "facts": run.facts,
            "instruments": run.instruments,
            "calibrations": run.calibrations,
            "decisions": run.decisions,
        }
        columns, axes = _described(run)
        made = RunData(run.measurement, columns, axes, about)
        made.plan = run.plan
        made.points = max((len(one) for one in made.plan.values()), default=0)
        made.rows_complete = run.rows_complete
        for column in columns:
            made.extend(column.name, *_part(run, column, made))
    return made


def _part(
    run: Any, column: Column, made: RunData
) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp] | None, int]:
    """Return the values of a column that are kept in memory, which records have them, the step."""
    name = column.name
    if not column.axes:
        return run.records(name), None, 1
    rows = np.asarray(run.rows_of(name), dtype=np.intp)
    shape, dtype = run.shape(name)
    step = max(-(-len(rows) * int(np.prod(shape)) * dtype.itemsize // MOST_COLUMN_BYTES), 1)
    if step > 1:
        made.complete = False
        values = np.empty((len(rows[::step]), *shape), dtype)
        for place, row in enumerate(range(0, len(rows), step)):  # HDF5 is slow at every n-th
            values[place] = run.rows(name, row, row + 1)[0]
        return values, rows[::step], step
    return run.records(name), rows, 1


def _described(run: Any) -> tuple[list[Column], list[Axis]]:
    """Return the columns and axes of a run file, as it stored them."""
    from procedures.running import layout

    if not run.columns:
        return [], []
    columns = layout.stored_columns(run._acquisition)
    names = dict.fromkeys(name for column in columns for name in column.axes)
    return columns, [Axis(name, run.axis(name), "", name) for name in names]
