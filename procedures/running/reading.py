"""Reads a run file: finished, interrupted (after its recovery), or alive beside its writer."""

from __future__ import annotations

import errno
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError
from procedures.columns import Column, Quantity
from procedures.running import layout, lock
from procedures.running.header import INTERRUPTED
from procedures.running.opening import open_hdf5
from procedures.running.problems import DiskFull, NotARunFile
from procedures.running.superblock import Mended

T = TypeVar("T")
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def _guarded(read: Callable[..., T]) -> Callable[..., T]:
    """Say NotARunFile where a damaged file makes a reading method fail in some way of HDF5's."""

    @functools.wraps(read)
    def guarded(self: RunFile, *args: Any) -> T:
        try:
            return read(self, *args)
        except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise NotARunFile(self.path, f"{read.__name__} cannot be read ({error})") from error

    return guarded


class RunFile:
    """A run file, to read. Recovers an interrupted one first; reads a living one beside its writer.

    Raises NotARunFile if it is something else or beyond reading.
    """

    def __init__(self, path: str | Path) -> None:
        from procedures.running.recovery import recover

        self.path = Path(path)
        if not self.path.is_file():
            raise NotARunFile(path, "there is no such file")
        self._alive = lock.is_being_written(self.path)
        try:
            written = self._alive or lock.owner(self.path) == lock.me()
            where: Any = self.path
            if not written:
                where = self._recovered(recover)
            # As SWMR only beside a writer: a damaged file opened so can hang for ever.
            self._file = open_hdf5(
                where,
                "r",
                libver=layout.LIBVER,
                **({"swmr": True, "locking": False} if written else {"locking": False}),
            )
        except BenchError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise NotARunFile(path, str(error)) from None
        try:
            self._acquisition = self._file[layout.ACQUISITION]
            self.measurement = self._string("measurement")
            self.rows_complete = int(self._acquisition["rows_complete"][()])
        except Exception as error:
            self._file.close()
            raise NotARunFile(path, f"it is another HDF5 file ({error})") from None

    def _recovered(self, recover: Callable[[Path], bool]) -> Any:
        """Return the file to open: recovered; or mended in memory where nothing can be written."""
        try:
            recover(self.path)
        except (OSError, DiskFull) as error:
            if isinstance(error, OSError) and error.errno not in _CANNOT_WRITE:
                raise
            return Mended(self.path)
        return self.path

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _string(self, name: str, parent: Any = None) -> str:
        field = (self._acquisition if parent is None else parent)[name]
        value = field[()]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    @property
    def being_written(self) -> bool:
        """Whether a living process (this one, too) carries it out or writes it now."""
        return self._alive or lock.owner(self.path) is not None

    @property
    @_guarded
    def stored_status(self) -> str:
        """The status as written."""
        return self._string("run_status")

    @property
    @_guarded
    def status(self) -> str:
        """The run's state; "interrupted" if it was being recorded and its process is gone."""
        stored = self.stored_status
        if stored in ("running", "paused") and not self._alive and lock.owner(self.path) is None:
            return INTERRUPTED
        return stored

    @property
    @_guarded
    def sample(self) -> str:
        """What was measured."""
        return self._string("name", self._file["entry/sample"])

    @property
    @_guarded
    def spot(self) -> str:
        """Where on it."""
        return self._string("spot", self._file["entry/sample"])

    @property
    @_guarded
    def uuid(self) -> str:
        """What identifies the run, whatever its file is called."""
        return self._string("entry_identifier_uuid", self._file["entry"])

    @property
    @_guarded
    def draw(self) -> int:
        """What tells its noise on a simulated bench from that of other runs."""
        stored = self._acquisition.get("noise_draw")
        return int(stored[()]) if stored is not None else 0

    @property
    @_guarded
    def operator(self) -> str:
        """Who measured."""
        return self._string("name", self._file["entry/user"])

    @property
    @_guarded
    def queued_time(self) -> str:
        """When it was queued, ISO 8601."""
        return self._string("queued_time")

    @property
    @_guarded
    def start_time(self) -> str:
        """When it started, ISO 8601 ("" if it has not)."""
        return self._string("start_time", self._file["entry"])

    @property
    @_guarded
    def end_time(self) -> str:
        """When it ended, ISO 8601 ("" if it has not)."""
        return self._string("end_time", self._file["entry"])

    @property
    @_guarded
    def bench_toml(self) -> str:
        """The text of the bench file, and with `bench_file` where it was: to resume the run."""
        return self._string("bench_toml")

    @property
    @_guarded
    def bench_file(self) -> str:
        """The path of the bench file ("" for the simulated bench)."""
        return self._string("bench_file")

    @property
    @_guarded
    def parameters(self) -> dict[str, Any]:
        """The measurement's parameters."""
        return _values(self._acquisition["parameters"])

    @property
    @_guarded
    def parameter_units(self) -> dict[str, str]:
        """The unit of each parameter ("" for none)."""
        fields = self._acquisition["parameters"].items()
        return {name: str(field.attrs.get("units", "")) for name, field in fields}

    @property
    @_guarded
    def results(self) -> dict[str, dict[str, Any]]:
        """Stored results, as `store_results` was given them ({} before any analysis)."""
        process = self._file.get("entry/results")
        found: dict[str, dict[str, Any]] = {}
        for name, field in process.items() if process is not None else ():
            if f"{name}_errors" not in process:
                continue
            one = {
                "value": _numbers(field[()]),
                "stderr": _numbers(process[f"{name}_errors"][()]),
                "unit": str(field.attrs.get("units", "")),
            }
            found[name] = one | ({"bound": str(b)} if (b := field.attrs.get("bound")) else {})
        return found

    @property
    @_guarded
    def decisions(self) -> dict[str, Any]:
        """What the measurement found out and decided before its first record."""
        return _values(self._acquisition.get("decisions", {}))

    @property
    @_guarded
    def facts(self) -> dict[str, Any]:
        """Numbers and words about pump and bench."""
        return _values(self._acquisition.get("facts", {}))

    @property
    @_guarded
    def calibrations(self) -> dict[str, dict[str, Any]]:
        """Role -> name, date, sha256 and values of the calibration file that was in use."""
        stored = self._acquisition.get("calibrations", {})
        return {role: _values(about) for role, about in stored.items()}

    @property
    @_guarded
    def plan(self) -> dict[str, npt.NDArray[Any]]:
        """The plan, an array for each key of its points."""
        return {name: field[()] for name, field in self._acquisition["plan"].items()}

    @property
    @_guarded
    def columns(self) -> list[str]:
        """Names of the record columns ([] if it has not started)."""
        return list(self._file[layout.RECORDS]) if layout.RECORDS in self._file else []

    @property
    @_guarded
    def described_columns(self) -> list[Column]:
        """What each column holds and along which axes, in the order of the file ([] if queued)."""
        return layout.stored_columns(self._acquisition) if self.columns else []

    @_guarded
    def records(self, name: str) -> npt.NDArray[Any]:
        """Return a column, (rows, ...), cut at the rows that are complete.

        Of a column that not every record has a value of, those that there are: see `rows_of`.
        """
        stored = self._column(name)
        where = stored.attrs.get("where")
        end = self.rows_complete if where is None else len(self.rows_of(name))
        return np.asarray(stored[:end])

    @_guarded
    def rows_of(self, name: str) -> npt.NDArray[np.intp]:
        """Return which records the values of a column belong to, (values,)."""
        where = self._column(name).attrs.get("where")
        if where is None:
            return np.arange(self.rows_complete)
        return np.flatnonzero(self._file[layout.RECORDS][where][: self.rows_complete])

    @_guarded
    def last_record(self) -> dict[str, Any]:
        """Return the last complete record, {} if there is none; None for what it has not."""
        last, found = self.rows_complete - 1, {}
        for name in self.columns if last >= 0 else ():
            rows = self.rows_of(name) if "where" in self._column(name).attrs else None
            if rows is None:
                found[name] = self._column(name)[last]
            else:
                has = len(rows) and rows[-1] == last
                found[name] = self._column(name)[len(rows) - 1] if has else None
        return found

    def _column(self, name: str) -> Any:
        if name not in self.columns:
            raise NotARunFile(self.path, f"it has no column {name!r}")
        return self._file[layout.RECORDS][name]

    @_guarded
    def rows(self, name: str, first: int, last: int, step: int = 1) -> npt.NDArray[Any]:
        """Return the rows `first` to `last` (excluded) of a column, every `step`-th; no others."""
        if name not in self.columns:
            raise NotARunFile(self.path, f"it has no column {name!r}")
        end = max(first, min(last, self.rows_complete))
        return np.asarray(self._file[layout.RECORDS][name][first:end:step])

    @_guarded
    def shape(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return what one record holds in a column: its shape (() for a number) and type."""
        if name not in self.columns:
            raise NotARunFile(self.path, f"it has no column {name!r}")
        column = self._file[layout.RECORDS][name]
        return tuple(column.shape[1:]), column.dtype

    @_guarded
    def unit(self, name: str) -> str:
        """Return the unit of a column."""
        return str(self._file[layout.RECORDS][name].attrs.get("units", ""))

    @_guarded
    def axis(self, name: str) -> npt.NDArray[np.float64]:
        """Return the values of an axis."""
        values = np.asarray(self._file[layout.DATA][name][()])
        if not np.isfinite(values).all():
            raise ValueError(f"the axis {name!r} holds values that are not numbers")
        return values

    @_guarded
    def axis_unit(self, name: str) -> str:
        """Return the unit of an axis."""
        return str(self._file[layout.DATA][name].attrs.get("units", ""))

    @property
    @_guarded
    def instruments(self) -> dict[str, dict[str, Any]]:
        """Settings and identity of each instrument, by role."""
        found: dict[str, dict[str, Any]] = {}
        roles = {stored: role for role, (stored, _) in layout._GROUPS.items()}
        for stored, group in self._file.get("entry/instrument", {}).items():
            if isinstance(group, h5py.Group) and "settings" in group:
                found[roles.get(stored, stored)] = {
                    "identity": _values(group["device_information"]),
                    "settings": {
                        name: Quantity(value, str(group["settings"][name].attrs.get("units", "")))
                        for name, value in _values(group["settings"]).items()
                    },
                }
        return found

    @property
    @_guarded
    def state(self) -> dict[str, float]:
        """The bench's state after the last complete record ({} on a real bench)."""
        stored = self._acquisition.get("bench_state")
        if stored is None or not self.rows_complete:
            return {}
        names = json.loads(stored.attrs["names"])
        if not names:
            return {}
        return dict(zip(names, map(float, stored[self.rows_complete - 1]), strict=True))

    @property
    @_guarded
    def log(self) -> list[tuple[float, str, str]]:
        """The log: (seconds since 1970, level, text)."""
        log = self._acquisition["log"]
        lines = zip(log["time"][()], log["level"][()], log["text"][()], strict=False)
        return [(float(t), lv.decode(), tx.decode(errors="replace")) for t, lv, tx in lines]


def _numbers(value: Any) -> Any:
    """Return a number or list with None for NaN: what the data did not support."""
    if np.ndim(value):
        return [_numbers(one) for one in value]
    return None if np.isnan(value) else float(value)


def _values(group: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in group.items():
        if not isinstance(field, h5py.Dataset):
            continue
        value = field[()]
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, h5py.Empty):
            value = None
        elif isinstance(value, np.ndarray):
            value = [v.decode() if isinstance(v, bytes) else v for v in value.tolist()]
        elif isinstance(value, np.generic):
            value = value.item()
        found[name] = value
    return found
