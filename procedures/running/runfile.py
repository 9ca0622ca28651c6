"""The run file: one run, one HDF5 file. Create, start, append, close; and read.

`RunWriter` keeps records in memory for a moment; a thread of its own appends them in blocks, in
SWMR mode, after they are in the journal. What `append` took is on disk within 0.2 s (at once at
slow rates); a failed write makes the next `append` or `check` raise WriteFailed. `RunFile` reads.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError
from procedures.columns import Column, Quantity
from procedures.running import layout, lock, room
from procedures.running.header import INTERRUPTED, RunHeader, RunStart
from procedures.running.journal import LOG, ROWS, STATE, Journal
from procedures.running.names import place_exclusively
from procedures.running.packing import Packed, Packer
from procedures.running.rewrite import copy_file, rewriting, sync_folder
from procedures.running.superblock import Mended

T = TypeVar("T")
GROUP_S = 0.2
"""Records are written together at most this long after the first of them was handed over."""
LARGEST_PENDING_BYTES = 512 * 2**20
RESERVE_BYTES = 2 * 2**20
"""Kept free: HDF5 does not survive a disk that is full to the last byte, its close needs room."""
_LOG_CHUNK = 230
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class WriteFailed(BenchError):
    """Records could not be written; what was acknowledged before is in the file."""

    code = "write-failed"


class DiskFull(WriteFailed):
    """There is no room for more records; noticed while there still is for closing the file."""

    code = "disk-full"


def need_space(path: Path, size: int) -> None:
    """Raise DiskFull if the disk has no room for `size` bytes and for closing the file after."""
    free = shutil.disk_usage(path.parent).free
    if free < size + RESERVE_BYTES:
        raise DiskFull(
            f"{path}: the disk is full: {free / 1e6:.1f} MB are free, "
            f"{(size + RESERVE_BYTES) / 1e6:.1f} MB are needed; make room, then resume the run"
        )


class NotARunFile(BenchError):
    """A file is not a run file, or beyond reading."""

    exit_code = 2
    code = "run-file"

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path}: is not a readable run file: {why}")
        self.file = str(path)


class NotResumable(BenchError):
    """A run that cannot go on: it is finished, or has not started."""

    exit_code = 2
    code = "resume"


def create_queued(folder: Path, header: RunHeader) -> Path:
    """Create the file of a run that waits, exclusively; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    need_space(folder / "run", 2**17)
    number, name = tempfile.mkstemp(suffix=".tmp", prefix=".queued-", dir=folder)
    os.close(number)
    temporary = Path(name)
    try:
        with h5py.File(temporary, "w", libver=layout.LIBVER) as file:
            layout.write_queued(file, header)
        with open(temporary, "r+b") as written:
            os.fsync(written.fileno())
        path = place_exclusively(
            temporary, folder, header.measurement, header.sample, header.created_s
        )
        sync_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def mark_status(path: Path, status: str, lines: Iterable[tuple[float, str, str]] = ()) -> None:
    """Rewrite a file that is not being recorded with another status and more log lines."""
    with lock.held(path), rewriting(path) as temporary:
        copy_file(path, temporary)
        with h5py.File(temporary, "r+", libver=layout.LIBVER) as file:
            file[f"{layout.ACQUISITION}/run_status"][()] = status.encode()
            _append_log(file, list(lines))


class RunWriter:
    """Appends the records of one run; made by `start` or `resume_writer`.

    `broken` is set once HDF5 failed to write and could not be turned away from the file: its
    clean-up when the process ends may then crash, and a command had better leave without it.
    """

    broken = False

    def __init__(self, path: Path, *, started_rows: int = 0) -> None:
        self.path = path
        self.rows_complete = started_rows
        self._rows = started_rows
        self._failure: BaseException | None = None
        self._condition = threading.Condition()
        self._records: list[Packed] = []
        self._turned_away = False
        self._urgent = False
        self._pending_bytes = 0
        self._log: list[tuple[float, str, str]] = []
        self._status: str | None = None
        self._closing = False
        self._durable = started_rows
        skeleton = path.read_bytes()
        self._journal = Journal(path, skeleton)
        # Our own lock keeps others out; a SWMR reader must not lock out the writer (Windows).
        self._file = h5py.File(path, "r+", libver=layout.LIBVER, locking=False)
        try:
            with self._hdf5():
                self._open_series()
        except BaseException:
            with contextlib.suppress(Exception):
                self._file.close()
            self._journal.close(remove=False)
            raise
        self._thread = threading.Thread(target=self._work, name="run file", daemon=True)
        self._thread.start()

    def _open_series(self) -> None:
        """Find what will be written, and from here on write as SWMR."""
        columns = [
            Column(one["name"], one["unit"], one["long_name"], one["dtype"], tuple(one["axes"]))
            for one in json.loads(self._text("columns"))
        ]
        records = self._file[layout.RECORDS]
        self._datasets = {column.name: records[column.name] for column in columns}
        self._row_bytes = sum(
            int(np.prod(ds.shape[1:], dtype=np.int64)) * ds.dtype.itemsize
            for ds in self._datasets.values()
        )
        acquisition = self._file[layout.ACQUISITION]
        self._state = acquisition["bench_state"]
        self._packer = Packer(
            [(name, ds.dtype, ds.shape[1:]) for name, ds in self._datasets.items()],
            json.loads(self._state.attrs["names"]),
        )
        self._counter = acquisition["rows_complete"]
        self._status_field = acquisition["run_status"]
        self._end_field = self._file["entry/end_time"]
        self._status_field[()] = b"running"
        self._room = room.Room(self._file)
        self._room.ask(0)
        self._file.swmr_mode = True

    @classmethod
    def start(cls, path: Path, start: RunStart) -> RunWriter:
        """Start a queued file: everything known now is written by a rewrite, then it is open.

        Raises:
            FileInUse: another process writes it.
            WriteFailed: it cannot be written.
        """
        need_space(path, 4 * path.stat().st_size)
        lock.acquire(path)
        try:
            with rewriting(path) as temporary:
                copy_file(path, temporary)
                with h5py.File(temporary, "r+", libver=layout.LIBVER) as file:
                    layout.write_started(file, path.name, start)
            return cls(path)
        except (OSError, RuntimeError) as error:  # h5py: RuntimeError where a flush failed
            lock.release(path)
            raise WriteFailed(f"{path} cannot be started: {error}") from error
        except BaseException:
            lock.release(path)
            raise

    def _text(self, name: str) -> str:
        return str(self._file[layout.ACQUISITION][name].asstr()[()])

    # ---- what the runner calls --------------------------------------------------------------

    def append(self, record: Mapping[str, Any], state: Mapping[str, float] | None = None) -> None:
        """Take a record: a value for each column, and the bench's state after it.

        Cheap; the write happens in another thread, of a copy. Raises WriteFailed if an earlier one
        failed, or if more is waiting than memory is meant to hold; ValueError, and nothing is
        taken, if the record does not fit the columns.
        """
        packed = self._packer.pack(record, state)
        with self._condition:
            self._raise_failure()
            if self._pending_bytes > LARGEST_PENDING_BYTES:
                raise WriteFailed(
                    f"{self.path}: records come faster than the disk takes them; "
                    f"{len(self._records)} are waiting"
                )
            self._records.append(packed)
            self._pending_bytes += self._row_bytes
            if len(self._records) == 1:
                self._condition.notify_all()

    def check(self) -> None:
        """Raise WriteFailed if records could not be written."""
        with self._condition:
            self._raise_failure()

    def wait_durable(self, timeout_s: float = 10.0) -> None:
        """Wait until everything appended is on disk; WriteFailed if it is not in time."""
        with self._condition:
            target = self._rows + len(self._records)
            if self._durable < target:
                self._urgent = True
                self._condition.notify_all()
            done = self._condition.wait_for(
                lambda: self._failure is not None or self._durable >= target, timeout_s
            )
            self._raise_failure()
            if not done:
                raise WriteFailed(f"{self.path}: not on disk after {timeout_s:g} s")

    def log(self, level: str, text: str, moment: float) -> None:
        """Add a line to the run's log (long ones are folded)."""
        with self._condition:
            self._log.append((moment, level, text))
            self._condition.notify_all()

    def set_status(self, status: str) -> None:
        """Write another status (running, paused)."""
        with self._condition:
            self._status = status
            self._condition.notify_all()

    def close(self, status: str, moment: float | None = None) -> None:
        """Write what is waiting, the end, and close.

        After a failed write the status becomes "failed" where it can still be written, and
        WriteFailed is raised; the journal stays beside the file if the file needs it.
        """
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()
        ended = False
        try:
            end_time = layout.isoformat(time.time() if moment is None else moment)
            if self._failure is not None:
                status = "failed"
                with contextlib.suppress(OSError):
                    self._journal_end(status, end_time)
            else:
                self._write_log()
                self._journal_end(status, end_time)
            if not self._turned_away:
                self._end(status, end_time)
                ended = True  # whatever failed: the file itself is whole and says so
        except Exception as error:
            self._failure = self._failure or error
        finally:
            with contextlib.suppress(Exception):
                self._file.close()
            try:
                if not self._turned_away:
                    room.trim(self.path)  # on disk before the journal goes
            except OSError as error:
                self._failure, ended = self._failure or error, False
            with contextlib.suppress(Exception):
                self._journal.close(remove=ended)
            lock.release(self.path)
        self._raise_failure()

    def _journal_end(self, status: str, end_time: str) -> None:
        self._journal.add(STATE, json.dumps([status, end_time]).encode())
        self._journal.sync()

    def _end(self, status: str, end_time: str) -> None:
        """Write status and end; both are in place already, so that a full disk has room for it."""
        with self._hdf5():
            self._status_field[()] = status.encode()
            self._end_field[()] = end_time.encode()
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())

    @contextlib.contextmanager
    def _hdf5(self) -> Iterator[None]:
        """Write by HDF5; if that fails, HDF5 is turned away from the file before it harms us."""
        try:
            yield
        except Exception:
            self._turned_away = True
            if not room.turn_away(self._file):
                RunWriter.broken = True
            raise

    def _raise_failure(self) -> None:
        if self._failure is not None:
            if isinstance(self._failure, WriteFailed):
                raise self._failure
            raise WriteFailed(
                f"{self.path}: records could not be written ({self._failure}); "
                f"{self.rows_complete} are in the file"
            ) from self._failure

    # ---- the writer thread --------------------------------------------------------------------

    def _work(self) -> None:
        last = 0.0
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._records or self._log or self._status or self._closing
                )
                if self._closing and not (self._records or self._status):
                    return
                wait_s = GROUP_S - (time.monotonic() - last)
                if wait_s > 0 and not self._closing:
                    self._condition.wait_for(lambda: self._closing or self._urgent, wait_s)
                self._urgent = False
                records, self._records = self._records, []
                self._pending_bytes = 0
                status, self._status = self._status, None
                self._rows += len(records)
            last = time.monotonic()
            try:
                if records:
                    self._write_rows(records)
                self._write_log()
                with self._hdf5():
                    if status is not None:
                        self._status_field[()] = status.encode()
                    self._file.flush()
                    if records:
                        self._counter[()] = self._rows
                        self._file.flush()
                    if self._journal.full:
                        os.fsync(self._file.id.get_vfd_handle())
                self.rows_complete = self._rows
            except Exception as error:
                with self._condition:
                    self._failure = error
                    self._records = []
                    self._condition.notify_all()
                return
            with self._condition:
                self._durable = self._rows
                self._condition.notify_all()

    def _write_rows(self, records: list[Packed]) -> None:
        first = self._rows - len(records)
        need_space(self.path, 2 * len(records) * self._row_bytes)
        blocks, states = self._packer.blocks(records)
        series = [*self._datasets.values(), self._state]
        self._room.ask(sum(_growth(ds, self._rows) for ds in series))
        if not self._journal.full:
            place = np.array([first, len(records)], dtype="<u8")
            self._journal.add(ROWS, place, *blocks.values(), states.reshape(-1))
            self._journal.sync()
        with self._hdf5():
            for ds, block in zip(series, [*blocks.values(), states], strict=True):
                ds.resize(self._rows, axis=0)
                ds[first:] = block

    def _write_log(self) -> None:
        with self._condition:
            lines, self._log = self._log, []
        if not lines:
            return
        if not self._journal.full:
            self._journal.add(LOG, json.dumps(lines).encode())
            self._journal.sync()
        log = self._file[f"{layout.ACQUISITION}/log"]
        added = sum(len(_fold(text)) for _, _, text in lines)
        rows = len(log["time"]) + added
        self._room.ask(sum(_growth(log[name], rows) for name in log))
        with self._hdf5():
            _append_log(self._file, lines)


def _growth(series: h5py.Dataset, rows: int) -> int:
    """Return how many bytes a series takes at most to reach so many rows: whole chunks, index."""
    tall, *wide = series.chunks
    per_chunk = series.dtype.itemsize * tall * int(np.prod(wide, dtype=np.int64))
    chunks = -(-rows // tall) - series.shape[0] // tall
    return int(chunks * (per_chunk + 64))


def _append_log(file: h5py.File, lines: list[tuple[float, str, str]]) -> None:
    folded = [(moment, level, part) for moment, level, text in lines for part in _fold(text)]
    log = file[f"{layout.ACQUISITION}/log"]
    first = log["time"].shape[0]
    if not folded:
        return
    for name, values in zip(("time", "level", "text"), zip(*folded, strict=True), strict=False):
        encoded = [v.encode(errors="replace") if isinstance(v, str) else v for v in values]
        log[name].resize(first + len(folded), axis=0)
        log[name][first:] = np.array(encoded, dtype=log[name].dtype)


def _fold(text: str) -> list[str]:
    """Cut a text into pieces that fit the log's fixed length in UTF-8."""
    pieces, piece = [], ""
    for letter in text.replace("\n", " | "):
        if len((piece + letter).encode(errors="replace")) > _LOG_CHUNK:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]


def resume_writer(path: Path) -> RunWriter:
    """Open a file that is not finished for more records (after `recover`).

    Raises NotResumable if the run is finished or has not started; FileInUse; WriteFailed.
    """
    from procedures.running.recovery import recover
    from procedures.running.storing import rewrite_for_records

    recover(path)
    lock.acquire(path)
    try:
        with h5py.File(path, "r", libver=layout.LIBVER) as file:
            rows = int(file[f"{layout.ACQUISITION}/rows_complete"][()])
            status = file[f"{layout.ACQUISITION}/run_status"][()].decode()
            if status == "finished":
                raise NotResumable(f"{path}: the run is finished, there is nothing to go on with")
            if layout.RECORDS not in file:
                raise NotResumable(f"{path}: the run has not started; start it")
        rewrite_for_records(path)
        return RunWriter(path, started_rows=rows)
    except (OSError, RuntimeError) as error:
        lock.release(path)
        raise WriteFailed(f"{path} cannot be resumed: {error}") from error
    except BaseException:
        lock.release(path)
        raise


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
            self._file = h5py.File(
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
    def operator(self) -> str:
        """Who measured."""
        return self._string("name", self._file["entry/user"])

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
    def plan(self) -> dict[str, npt.NDArray[Any]]:
        """The plan, an array for each key of its points."""
        return {name: field[()] for name, field in self._acquisition["plan"].items()}

    @property
    @_guarded
    def columns(self) -> list[str]:
        """Names of the record columns ([] if it has not started)."""
        return list(self._file[layout.RECORDS]) if layout.RECORDS in self._file else []

    @_guarded
    def records(self, name: str) -> npt.NDArray[Any]:
        """Return a column, (rows, ...), cut at the rows that are complete."""
        if name not in self.columns:
            raise NotARunFile(self.path, f"it has no column {name!r}")
        return np.asarray(self._file[layout.RECORDS][name][: self.rows_complete])

    @_guarded
    def unit(self, name: str) -> str:
        """Return the unit of a column."""
        return str(self._file[layout.RECORDS][name].attrs.get("units", ""))

    @_guarded
    def axis(self, name: str) -> npt.NDArray[np.float64]:
        """Return the values of an axis."""
        return np.asarray(self._file[layout.DATA][name][()])

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


def store_results(path: Path, results: Mapping[str, Any], method: str = "") -> None:
    """Put results into a file by a rewrite, compressing its arrays on the way."""
    from procedures.running.storing import rewrite_with_results

    with RunFile(path) as run:
        if run._alive:
            raise lock.FileInUse(f"{path} is being written by {lock.owner(Path(path))}")
    with lock.held(Path(path)):
        rewrite_with_results(Path(path), results, method)


__all__ = [
    "NotARunFile",
    "NotResumable",
    "RunFile",
    "RunWriter",
    "WriteFailed",
    "create_queued",
    "mark_status",
    "resume_writer",
    "store_results",
    "sync_folder",
]
