"""A run file as tables of text or as plain arrays, for programs that cannot read HDF5.

Everything is named as in the run file, with units. What is not a table (log, bench file,
instruments) stays in the run file, which remains the record. Existing files are never touched.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError
from procedures.columns import Column
from procedures.running.reading import RunFile

FORMATS = ("csv", "npz")


class CannotExport(BenchError):
    """A run file cannot be exported as asked."""

    exit_code = 2
    code = "export"


def export(path: Path, kind: str, out: Path | None = None) -> list[Path]:
    """Write a run as "csv" or "npz"; return the files.

    out: the file, or a folder; none: beside the run file, under its name. As csv, numbers go to
    that file, and each column of arrays (spectra, frames) to one of its own, `NAME_spectra.csv`.

    Raises:
        CannotExport: no record, a file is there already, or it cannot be written.
        NotARunFile: it is none.
    """
    if kind not in FORMATS:
        raise CannotExport(f"{kind!r} was given, allowed are {', '.join(FORMATS)}")
    with RunFile(path) as run:
        columns = run.described_columns
        if not columns:
            raise CannotExport(
                f"{path}: there is nothing to export: the run is {run.status} and has not started"
            )
        if not run.rows_complete:
            raise CannotExport(
                f"{path}: there is nothing to export: the run is {run.status} and has no record"
            )
        target = _target(path, kind, out)
        tables = [column for column in columns if column.axes] if kind == "csv" else []
        files = [target, *(_table_file(target, column) for column in tables)]
        with _created(files):
            if kind == "npz":
                _write_npz(run, columns, target)
            else:
                _write_numbers(run, [one for one in columns if not one.axes], target)
                for column, file in zip(tables, files[1:], strict=True):
                    _write_arrays(run, column, file)
        return files


def _target(path: Path, kind: str, out: Path | None) -> Path:
    if out is None:
        return path.with_suffix(f".{kind}")
    if out.is_dir():
        return out / f"{path.stem}.{kind}"
    if out.suffix.lower() != f".{kind}":
        raise CannotExport(
            f"{out}: the name of a .{kind} file, or a folder that exists, is wanted with --out"
        )
    return out


def _table_file(target: Path, column: Column) -> Path:
    return target.with_name(f"{target.stem}_{column.name}{target.suffix}")


@contextlib.contextmanager
def _created(files: list[Path]) -> Iterator[None]:
    """Refuse files that exist; take away what was begun if anything fails."""
    for file in files:
        if file.exists():
            raise CannotExport(
                f"{file}: there is such a file already, and it stays as it is; move it away, or "
                "choose another name with --out"
            )
    begun: list[Path] = []
    try:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb"):
                begun.append(file)
        yield
    except BaseException as error:
        for file in begun:
            with contextlib.suppress(OSError):
                file.unlink()
        if isinstance(error, FileExistsError):
            raise CannotExport(f"{error.filename}: there is such a file already") from error
        if isinstance(error, OSError):
            raise CannotExport(
                f"{error.filename or files[0]}: it cannot be written "
                f"({error.strerror or error}); choose another place with --out"
            ) from error
        raise


def _write_numbers(run: RunFile, columns: list[Column], file: Path) -> None:
    """Write a row a record; an empty cell is a value that the record has not."""
    cells = [_cells(run, column) for column in columns]
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([_headed(column.name, column.unit) for column in columns])
        writer.writerows(zip(*cells, strict=True))


def _cells(run: RunFile, column: Column) -> list[str]:
    values = _text(run.records(column.name))
    if not column.where:
        return values
    cells = [""] * run.rows_complete
    for row, value in zip(run.rows_of(column.name).tolist(), values, strict=True):
        cells[row] = value
    return cells


def _write_arrays(run: RunFile, column: Column, file: Path) -> None:
    """Write one array column: a row a value of its axis and a column a record.

    Arrays of two axes: a row a record and value of the first, a column a value of the second.
    """
    values, rows = run.records(column.name), run.rows_of(column.name)
    *firsts, last = column.axes
    along = _text(run.axis(last))
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        if not firsts:
            names = [f"{column.name} of record {row} ({column.unit})" for row in rows.tolist()]
            writer.writerow([_headed(last, run.axis_unit(last)), *names])
            texts = [_text(one) for one in values]
            writer.writerows([place, *line] for place, *line in zip(along, *texts, strict=True))
            return
        heads = [_headed(name, run.axis_unit(name)) for name in firsts]
        unit = run.axis_unit(last)
        writer.writerow(["record", *heads, *(f"{last} {place} {unit}" for place in along)])
        places = [run.axis(name) for name in firsts]
        for row, one in zip(rows.tolist(), values, strict=True):
            for index in np.ndindex(*one.shape[:-1]):
                where = [float(axis[n]) for axis, n in zip(places, index, strict=True)]
                writer.writerow([row, *where, *_text(one[index])])


def _write_npz(run: RunFile, columns: list[Column], file: Path) -> None:
    """Write every column and axis by its name; `about` is JSON: what they are, and the run."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for column in columns:
        values = run.records(column.name)
        arrays[column.name] = (
            np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        )
        if column.where:
            arrays[f"{column.name}_records"] = run.rows_of(column.name)
    axes = dict.fromkeys(name for column in columns for name in column.axes)
    arrays |= {f"axis_{name}": run.axis(name) for name in axes}
    about = {
        "file": run.path.name,
        "measurement": run.measurement,
        "run_status": run.status,
        "sample": run.sample,
        "spot": run.spot,
        "operator": run.operator,
        "start_time": run.start_time,
        "parameters": run.parameters,
        "columns": {
            column.name: {
                "unit": column.unit,
                "long_name": column.long_name,
                "axes": [f"axis_{name}" for name in column.axes],
            }
            for column in columns
        },
        "axes": {f"axis_{name}": {"unit": run.axis_unit(name)} for name in axes},
        "results": run.results,
    }
    arrays["about"] = np.array(json.dumps(about, default=_plain))
    with file.open("wb") as opened:
        np.savez_compressed(opened, allow_pickle=False, **arrays)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _headed(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit and unit != "1" else name


def _text(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as the shortest text that gives them back exactly."""
    if values.dtype.kind == "S":
        return [one.decode("utf-8", "replace") for one in values.tolist()]
    if values.dtype == np.float64 or values.dtype.kind != "f":
        return [str(one) for one in values.tolist()]
    return [str(one) for one in values.astype(str).tolist()]
