"""Figure and table of a run: the figure as the command draws it, a table as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from gui.fits import apart
from gui.rundata import RunData
from procedures.analysis.results import format_result


def write_figure(evaluation: Any, path: Path) -> Path:
    """Draw the measurement's figure (PNG, SVG or PDF, by the ending)."""
    if evaluation.data is None:  # fitted in another process: its records are not here
        return apart(_figure_of_file, Path(evaluation.file), path)
    from procedures.registry import measurement

    measurement(evaluation.measurement).load("figure")(evaluation, path)
    return path


def _figure_of_file(file: Path, path: Path) -> Path:
    from procedures.evaluation import evaluate

    return write_figure(evaluate(file), path)


def write_table(data: RunData, evaluation: Any, path: Path) -> Path:
    """Write results as comment lines, then every column of single values, one record a line."""
    names = [name for name, column in data.table.items() if not column.axes]
    count = data.rows_complete
    columns = [np.asarray(data.records(name)[:count]) for name in names]
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"# {data.measurement}, {data.sample}, {data.start_time}, {data.path}\n")
        if evaluation is not None:
            for name, result in evaluation.analysis.results.items():
                file.write(f"# {name}: {format_result(result)}\n")
        writer = csv.writer(file)
        writer.writerow([_head(data, name) for name in names])
        for row in range(count):
            writer.writerow([_text(column[row]) for column in columns])
    return path


def _head(data: RunData, name: str) -> str:
    return f"{name} ({data.unit(name)})" if data.unit(name) else name


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return repr(value.item()) if isinstance(value, np.generic) else str(value)
