"""Fits off the window's thread: the analysis that the run file will get, of the records so far."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gui.rundata import RunData

Made = TypeVar("Made")

_LARGE_BYTES = 32 * 2**20  # an analysis wants some ten times as much


def fit(data: RunData, keep: npt.NDArray[np.bool_] | None = None) -> Any:
    """Return the Evaluation of a run's records (of those in `keep`); None if it has no analysis.

    Of a large file the whole file is analysed, where no part was asked for, in a process of its
    own.
    """
    from procedures.evaluation import Evaluation
    from procedures.registry import measurement

    entry = measurement(data.measurement)
    if not entry.evaluate or not data.rows_complete:
        return None
    large = data.path is not None and keep is None and _bytes(data) > _LARGE_BYTES
    if large or not data.complete:
        return apart(_of_file, data.path) if data.path is not None and keep is None else None
    part = data.frozen(keep)
    if not part.rows_complete:
        return None
    analysis, found = entry.load("evaluate")(part)
    about = {"sample": data.sample, "start_time": data.start_time, "spot": data.spot}
    return Evaluation(str(data.path or ""), data.measurement, data.status, analysis, found, about)


def _bytes(data: RunData) -> int:
    return sum(int(data.records(name).nbytes) for name in data.table)


def apart(function: Callable[..., Made], *given: Any) -> Made:
    """Return what a function makes in a process of its own: the window's memory stays small."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def _of_file(path: Path) -> Any:
    """Return the Evaluation of a run file, without the records that it was made from."""
    from procedures.evaluation import evaluate

    return replace(evaluate(path), data=None)


def inside(data: RunData, column: str, low: float, high: float) -> npt.NDArray[np.bool_]:
    """Return which records have a value of a column in a range."""
    values = np.asarray(data.records(column)[: data.rows_complete], dtype=np.float64)
    return np.asarray((values >= low) & (values <= high))
