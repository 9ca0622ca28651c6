"""Writes a run file: `RunWriter` appends the records of one run.

It keeps records in memory for a moment; a thread of its own appends them in blocks, in SWMR mode,
after they are in the journal. What `append` took is on disk within 0.2 s (at once at slow rates); a
failed write makes the next `append` or `check` raise WriteFailed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from procedures.columns import Column
from procedures.running import layout, lock, room
from procedures.running.header import RunStart
from procedures.running.journal import LOG, ROWS, STATE, Journal
from procedures.running.logbook import fold_lines
from procedures.running.opening import open_hdf5
from procedures.running.packing import Block, Packer
from procedures.running.problems import NotResumable, WriteFailed
from procedures.running.rewrite import copy_file, rewriting
from procedures.running.room import need_space
from procedures.running.series import PlacedSeries, Series
from procedures.running.storing import skeleton

GROUP_S = 0.2
"""Records are made durable together, at most this long after the first of them was handed over.
Arrays are written earlier, as soon as they fill a piece of memory (see packing)."""
META_BLOCK_BYTES = 2**14
"""HDF5 puts its index between the arrays in blocks of this size."""
COMMIT_BYTES = 16 * 2**20
"""So much is made durable at once, however fast it came."""
LARGEST_PENDING_BYTES = 256 * 2**20
"""What may wait for the disk; beyond it, `append` does, for PATIENCE_S at most."""
PATIENCE_S = 10.0

_open: weakref.WeakSet[RunWriter] = weakref.WeakSet()


@atexit.register
def _let_go() -> None:
    """Let the threads of writers that nobody closed end before the interpreter takes HDF5 away.

    Such a file is left as a crash leaves it, but nothing of what it took is lost, and no thread
    dies inside HDF5, for which the end of the process would wait for ever.
    """
    for writer in list(_open):
        writer._stop(timeout_s=30.0)


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
        self._guard = threading.Lock()
        self._condition = threading.Condition(self._guard)
        self._turned_away = False
        self._urgent = False
        self._log: list[tuple[float, str, str]] = []
        self._status: str | None = None
        self._closing = False
        self._durable = started_rows
        self._journal = Journal(path, skeleton(path) if started_rows else path.read_bytes())
        # Our own lock keeps others out; a SWMR reader must not lock out the writer (Windows).
        self._file = open_hdf5(
            path, "r+", libver=layout.LIBVER, locking=False, meta_block_size=META_BLOCK_BYTES
        )
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
        _open.add(self)

    def _open_series(self) -> None:
        """Find what will be written, and from here on write as SWMR."""
        acquisition = self._file[layout.ACQUISITION]
        columns = layout.stored_columns(acquisition)
        records = self._file[layout.RECORDS]
        for column in columns:  # a write that failed half-way may have left more of it
            rows = layout.length(records, column, self._rows)
            if len(records[column.name]) > rows:
                records[column.name].resize(rows, axis=0)
        self._order = [column.name for column in columns]
        self._array_names = [column.name for column in columns if column.axes]
        self._arrays = [PlacedSeries(records, name) for name in self._array_names]
        self._numbers = [Series(records[column.name]) for column in columns if not column.axes]
        state = acquisition["bench_state"]
        self._state = Series(state)
        self._number_bytes = sum(one.row_bytes for one in (*self._numbers, self._state))
        self._row_bytes = self._number_bytes + sum(one.row_bytes for one in self._arrays)
        self._most_pending = max(LARGEST_PENDING_BYTES // max(self._row_bytes, 1), 1)
        self._most_in_group = max(COMMIT_BYTES // max(self._row_bytes, 1), 2)
        self._packer = Packer(
            [(name, records[name].dtype, records[name].shape[1:]) for name in self._order],
            json.loads(state.attrs["names"]),
            {column.name: column.where for column in columns if column.where},
        )
        self._pack = self._packer.pack
        self._records, self._spare = self._packer.block(), self._packer.block()
        self._log_series = {name: Series(one) for name, one in acquisition["log"].items()}
        self._journal_earlier(columns)
        self._counter = acquisition["rows_complete"]
        self._status_field = acquisition["run_status"]
        self._end_field = self._file["entry/end_time"]
        self._status_field[()] = b"running"
        self._room = room.Room(self._file)
        self._room.ask(0)
        self._file.swmr_mode = True

    def _journal_earlier(self, columns: Sequence[Column]) -> None:
        """Put the rows that are in the file already into the journal: arrays by their places."""
        if not self._rows:
            return
        records, state = self._file[layout.RECORDS], self._file[layout.ACQUISITION]["bench_state"]
        step = self._most_in_group
        edges = [*range(0, self._rows, step), self._rows]
        arrays = [column for column in columns if column.axes]
        pieces = [
            series.earlier(layout.lengths(records, column, edges))
            for series, column in zip(self._arrays, arrays, strict=True)
        ]
        for first, last in pairwise(edges):
            numbers = {c.name: records[c.name][first:last] for c in columns if not c.axes}
            places = [next(one) for one in pieces]
            self._journal_rows(first, last - first, numbers, places, state[first:last])
            if self._journal.full:
                break
        self._journal.sync()

    def _journal_rows(
        self, first: int, count: int, numbers: Mapping[str, Any], places: list[Any], states: Any
    ) -> None:
        """Add an entry of rows to the journal; `places` are those of their arrays."""
        entry: list[Any] = [np.array([first, count], dtype="<u8")]
        where = iter(places)
        for name in self._order:
            if name in numbers:
                entry.append(numbers[name])
            else:
                place = next(where)
                entry += [np.array([len(place)], dtype="<u8"), place.reshape(-1)]
        self._journal.add(ROWS, *entry, states)

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

    # ---- what the runner calls --------------------------------------------------------------

    def append(self, record: Mapping[str, Any], state: Mapping[str, float] | None = None) -> None:
        """Take a record: a value for each column, and the bench's state after it.

        Cheap: a copy is kept, arrays go to the system when there are some of them, and the rest is
        done by another thread. If more is waiting than memory is
        meant to hold, it waits for the disk, and the log says so. Raises WriteFailed if an earlier
        write failed, or the disk does not catch up; ValueError, and nothing is taken, if the record
        does not fit the columns.
        """
        with self._guard:
            if self._failure is not None:
                self._raise_failure()
            records = self._records
            waiting = len(records.rows) + 1
            if waiting > self._most_pending:
                self._wait_for_room()
                records = self._records
                waiting = len(records.rows) + 1
            self._pack(record, state, records)
            if records.heavy:
                try:
                    self._take(records)
                except Exception as error:
                    self._failed(error)
                    self._raise_failure()
            if waiting == 1 or waiting == self._most_in_group:
                self._urgent |= waiting > 1
                self._condition.notify_all()

    def _wait_for_room(self) -> None:
        """Let the disk catch up; WriteFailed if it does not in time. The lock is held."""
        waiting, begun = len(self._records), time.monotonic()
        self._urgent = True
        self._condition.notify_all()
        self._condition.wait_for(
            lambda: self._failure is not None or len(self._records) < self._most_pending,
            PATIENCE_S,
        )
        if self._failure is not None:
            self._raise_failure()
        if len(self._records) >= self._most_pending:
            raise WriteFailed(
                f"{self.path}: records come faster than the disk takes them; {waiting} are "
                f"waiting, and none could be written for {PATIENCE_S:g} s"
            )
        waited_s = time.monotonic() - begun
        text = f"the disk is behind: {waiting} records waited for it, the run for {waited_s:.2f} s"
        self._log.append((time.time(), "warning", text))

    def check(self) -> None:
        """Raise WriteFailed if records could not be written."""
        if self._failure is not None:
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
        self._stop()
        _open.discard(self)
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

    def _stop(self, timeout_s: float | None = None) -> None:
        """Let the thread write what is waiting, and end."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join(timeout_s)

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
        due = 0.0
        while True:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._records or self._log or self._status or self._closing
                )
                if self._closing and not (self._records or self._status):
                    return
                self._condition.wait_for(
                    lambda: self._closing or self._urgent, max(due - time.monotonic(), 0.0)
                )
                due = time.monotonic() + GROUP_S
                self._urgent = False
                records = self._records
                try:
                    self._take(records)
                    places = [series.places() for series in self._arrays]
                except Exception as error:
                    self._failed(error)
                    return
                self._records = self._spare
                self._rows += len(records)
                status, self._status = self._status, None
            try:
                self._commit(records.rows, places, status)
            except Exception as error:
                with self._condition:
                    self._failed(error)
                return
            records.empty()
            self._spare = records
            with self._condition:
                self._durable = self.rows_complete
                self._condition.notify_all()

    def _failed(self, error: BaseException) -> None:
        """Note why nothing can be written any more; the lock is held."""
        self._failure = self._failure or error
        self._records = self._packer.block()
        self._condition.notify_all()

    def _take(self, records: Block) -> None:
        """Write the arrays of a block that are in memory; their numbers wait for `_commit`.

        By whoever holds the lock: HDF5 keeps other threads of Python waiting in any case, and so
        the memory is used again while it is warm.
        """
        new = [column.filled() for column in records.arrays]
        sizes = [sum(map(len, parts)) for parts in new]
        if any(sizes):
            growth = sum(map(Series.growth, self._arrays, sizes))
            need_space(self.path, growth)
            self._room.ask(growth)
            with self._hdf5():
                for series, parts in zip(self._arrays, new, strict=True):
                    series.append(parts)
            records.forget_arrays()

    def _commit(self, rows: list[bytes], places: list[Any], status: str | None) -> None:
        """Make a group of rows durable, then show it to readers."""
        if rows:
            need_space(self.path, 2 * len(rows) * self._number_bytes)  # arrays are there
            self._write_rows(rows, places)
        self._write_log()
        with self._hdf5():
            if status is not None:
                self._status_field[()] = status.encode()
            self._file.flush()
            if rows:
                self._counter[()] = self.rows_complete + len(rows)
                self._file.flush()
            if self._journal.full:
                os.fsync(self._file.id.get_vfd_handle())
        self.rows_complete += len(rows)

    def _write_rows(self, rows: list[bytes], places: list[Any]) -> None:
        """Write rows whose arrays are in the file, at `places`: journal first, then numbers."""
        numbers, states = self._packer.numbers(rows)
        self._room.ask(sum(one.growth(len(rows)) for one in (*self._numbers, self._state)))
        if any(map(len, places)):
            self._sync_arrays()
        if not self._journal.full:
            self._journal_rows(self.rows_complete, len(rows), numbers, places, states)
            self._journal.sync()
        with self._hdf5():
            for name, series in zip(numbers, self._numbers, strict=True):
                series.append([numbers[name]])
            self._state.append([states])

    def _sync_arrays(self) -> None:
        """Force arrays to disk: what the journal says is there must be there."""
        with self._hdf5():
            for series in self._arrays:
                series.flush()
        os.fsync(self._file.id.get_vfd_handle())
        if self._turned_away:  # meanwhile, by the thread that hands over records
            raise WriteFailed(f"{self.path}: arrays could not be written")

    def _write_log(self) -> None:
        with self._condition:
            lines, self._log = self._log, []
        if not lines:
            return
        if not self._journal.full:
            self._journal.add(LOG, json.dumps(lines).encode())
            self._journal.sync()
        folded = fold_lines(lines)
        self._room.ask(sum(one.growth(len(folded[name])) for name, one in self._log_series.items()))
        with self._hdf5():
            for name, one in self._log_series.items():
                one.append([folded[name]])


def resume_writer(path: Path) -> RunWriter:
    """Open a file that is not finished for more records (after `recover`).

    Raises NotResumable if the run is finished or has not started; FileInUse; WriteFailed.
    """
    from procedures.running.recovery import recover
    from procedures.running.storing import rewrite_for_records

    recover(path)
    lock.acquire(path)
    try:
        with open_hdf5(path, "r", libver=layout.LIBVER) as file:
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
