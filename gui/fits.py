"""Fits off the window's thread: the analysis that the run file will get, of the records so far."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gui.rundata import RunData


def fit(data: RunData, keep: npt.NDArray[np.bool_] | None = None) -> Any:
    """Return the Evaluation of a run's records (of those in `keep`); None if it has no analysis.

    Of a file too large for memory the whole file is analysed, where no part was asked for.
    """
    from procedures.evaluation import Evaluation, evaluate
    from procedures.registry import measurement

    entry = measurement(data.measurement)
    if not entry.evaluate or not data.rows_complete:
        return None
    if not data.complete:
        return evaluate(data.path) if data.path is not None and keep is None else None
    part = data.frozen(keep)
    if not part.rows_complete:
        return None
    analysis, found = entry.load("evaluate")(part)
    about = {"sample": data.sample, "start_time": data.start_time, "spot": data.spot}
    return Evaluation(str(data.path or ""), data.measurement, data.status, analysis, found, about)


def inside(data: RunData, column: str, low: float, high: float) -> npt.NDArray[np.bool_]:
    """Return which records have a value of a column in a range."""
    values = np.asarray(data.records(column)[: data.rows_complete], dtype=np.float64)
    return np.asarray((values >= low) & (values <= high))
