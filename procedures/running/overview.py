"""A long column at a glance: its lowest and highest value in each of some hundred buckets.

For whoever draws a series of millions of records. The column is read block by block, never as a
whole, and what was found is kept in memory while the file stays as it is: the next look at the same
column, at whatever zoom, reads little or nothing.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from procedures.running.reading import RunFile

Floats: TypeAlias = npt.NDArray[np.float64]

FINE_ROWS = 512
"""Rows behind one lowest and one highest value of what is kept in memory."""
_BLOCK_ROWS = FINE_ROWS * 512
_KEPT_COLUMNS = 64
_kept: OrderedDict[tuple[Any, ...], tuple[Floats, Floats]] = OrderedDict()
_lock = threading.Lock()


def overview(
    run: RunFile | str | Path,
    column: str,
    first: int = 0,
    last: int | None = None,
    buckets: int = 2000,
    *,
    against: str = "",
) -> tuple[Floats, Floats, Floats]:
    """Return (x, lowest, highest) of the rows `first` to `last` (excluded; None: the end).

    Three arrays of the same length, at most `buckets`; where there are no more rows than that, the
    values themselves, twice. NaN is left out of a bucket unless it holds nothing else. x is the row
    in the middle of each bucket, or the value there of the column `against`. Rows outside the run
    are left out; of long ranges the ends are moved out to the next multiple of FINE_ROWS.

    Raises:
        NotARunFile: there is no such column, or the file cannot be read.
        ValueError: the column holds an array a record, or text; or `buckets` is below 1.
    """
    if buckets < 1:
        raise ValueError(f"{buckets} buckets were asked for, at least 1 is wanted")
    if not isinstance(run, RunFile):
        with RunFile(run) as opened:
            return overview(opened, column, first, last, buckets, against=against)
    for name in filter(None, (column, against)):
        _refuse(run, name)
    end = run.rows_complete if last is None else min(last, run.rows_complete)
    first = max(first, 0)
    rows = max(end - first, 0)
    if rows <= buckets:
        values = run.rows(column, first, end).astype(np.float64)
        x = run.rows(against, first, end) if against else np.arange(first, first + rows)
        return x.astype(np.float64), values, values.copy()
    width = -(-rows // buckets)
    if width >= 4 * FINE_ROWS:
        begin, stop = first // FINE_ROWS, -(-end // FINE_ROWS)
        first = begin * FINE_ROWS
        wide = -(-(stop - begin) // buckets)
        width = wide * FINE_ROWS
        lowest, highest = (
            _reduce(kept[begin:stop], wide, how)
            for kept, how in zip(_fine(run, column), (np.fmin, np.fmax), strict=True)
        )
    else:
        block = run.rows(column, first, end)
        lowest, highest = (_reduce(block, width, how) for how in (np.fmin, np.fmax))
    middles = np.minimum(first + width // 2 + width * np.arange(len(lowest)), end - 1)
    if not against:
        return middles.astype(np.float64), lowest, highest
    step = run.rows(against, int(middles[0]), end, width)
    x = np.append(step, run.rows(against, end - 1, end)) if len(step) < len(middles) else step
    return x.astype(np.float64), lowest, highest


def _refuse(run: RunFile, column: str) -> None:
    """Raise ValueError for what has no lowest and highest value."""
    shape, dtype = run.shape(column)
    if shape:
        raise ValueError(f"{column}: a record holds {shape} values; an overview takes one")
    if dtype.kind not in "fiub":
        raise ValueError(f"{column}: it holds text, which has no lowest and highest value")


def _reduce(values: npt.NDArray[Any], width: int, how: np.ufunc) -> Floats:
    """Return the lowest (fmin) or highest (fmax) of every `width` values, the rest in the last."""
    whole = len(values) // width * width
    found = how.reduce(values[:whole].reshape(-1, width), axis=1)
    if whole < len(values):
        found = np.append(found, how.reduce(values[whole:]))
    return np.asarray(found, dtype=np.float64)


def _fine(run: RunFile, column: str) -> tuple[Floats, Floats]:
    """Return lowest and highest of every FINE_ROWS rows of the whole column."""
    about = os.stat(run.path)
    stamp = (about.st_ino, about.st_size, about.st_mtime_ns)
    key = (run.path.resolve(), *stamp, run.rows_complete, column)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    low: list[Floats] = []
    high: list[Floats] = []
    for begin in range(0, run.rows_complete, _BLOCK_ROWS):
        block = run.rows(column, begin, min(begin + _BLOCK_ROWS, run.rows_complete))
        low.append(_reduce(block, FINE_ROWS, np.fmin))
        high.append(_reduce(block, FINE_ROWS, np.fmax))
    found = (np.concatenate(low), np.concatenate(high))
    with _lock:
        _kept[key] = found
        while len(_kept) > _KEPT_COLUMNS:
            _kept.popitem(last=False)
    return found
