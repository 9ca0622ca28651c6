"""Brings a run file back that its writer left open, losing nothing that was acknowledged.

If the journal is there, the file is built again from it (its first entry is the file as it was at
the start); otherwise, or if the file itself holds more, its superblock is mended. All on a copy,
which takes the file's place only when it opens and reads. Repeating it changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from procedures.running import layout, lock
from procedures.running.journal import LOG, ROWS, SKELETON, STATE, entries, journal_path
from procedures.running.logbook import append_log
from procedures.running.problems import NotARunFile
from procedures.running.rewrite import clear_away, rewriting
from procedures.running.room import need_space, trim
from procedures.running.superblock import mend

_UNFINISHED = (b"running", b"paused")
_BLOCK_BYTES = 16 * 2**20


def recover(path: Path) -> bool:
    """Recover a file whose writer is dead; return whether there was anything to do.

    Raises:
        FileInUse: its writer lives.
        NotARunFile: neither file nor journal can be read.
        DiskFull, OSError: there is no room, or the folder takes no writes; nothing is changed.
    """
    if lock.is_being_written(path):
        raise lock.FileInUse(f"{path} is being written by {lock.owner(path)}")
    left_over = lock.left_behind(path) or journal_path(path).exists()
    if not left_over and _opens(path):
        return False
    lock.acquire(path)
    try:
        clear_away(path)
        journal = journal_path(path)
        sizes = [one.stat().st_size for one in (path, journal) if one.exists()]
        need_space(path, 3 * sum(sizes))
        mended = path.with_name(f"{path.name}.mended.tmp")
        rebuilt = path.with_name(f"{path.name}.rebuilt.tmp")
        try:
            rows_mended = _mended_copy(path, mended)
            rows_rebuilt = _rebuilt_copy(path, rebuilt)
            if rows_mended < 0 and rows_rebuilt < 0:
                need_space(path, 3 * path.stat().st_size)
                raise NotARunFile(path, "neither it nor its journal can be read")
            best = rebuilt if rows_rebuilt >= rows_mended else mended
            if best == rebuilt and rows_mended >= 0:
                _carry_end(mended, rebuilt)
            with rewriting(path) as temporary:
                shutil.move(best, temporary)
            journal.unlink(missing_ok=True)
        finally:
            for leftover in (mended, rebuilt):
                leftover.unlink(missing_ok=True)
    finally:
        lock.release(path)
    return True


def _opens(path: Path) -> bool:
    try:
        with h5py.File(path, "r", libver=layout.LIBVER, locking=False):
            return True
    except OSError:
        return False


def _mended_copy(path: Path, target: Path) -> int:
    """Mend a copy of the file itself; return its complete rows, -1 if it cannot be read."""
    if not path.exists():
        return -1
    shutil.copyfile(path, target)
    try:
        mend(target)
        with h5py.File(target, "r+", libver=layout.LIBVER) as file:
            acquisition = file[layout.ACQUISITION]
            rows = int(acquisition["rows_complete"][()])
            if layout.RECORDS not in file:
                return rows
            records, state = file[layout.RECORDS], acquisition["bench_state"]
            columns = layout.stored_columns(acquisition)
            whole = [records[column.name] for column in columns if not column.where]
            rows = min([rows, len(state), *(len(ds) for ds in whole)])
            for column in columns:
                if column.where:  # as many records as their arrays suffice for
                    seen = np.cumsum(records[column.where][:rows] != 0)
                    rows = int(np.searchsorted(seen, len(records[column.name]), side="right"))
            ends = [(column, layout.length(records, column, rows)) for column in columns]
            for ds, end in [(state, rows), *((records[c.name], n) for c, n in ends)]:
                if end:
                    ds[end - 1]  # the last complete row must be readable
                ds.resize(end, axis=0)
            acquisition["rows_complete"][()] = rows
        trim(target)
        return rows
    except Exception:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        return -1


def _carry_end(mended: Path, rebuilt: Path) -> None:
    """Take over how the run ended, which is written only when every row is in the journal."""
    with (
        h5py.File(mended, "r", libver=layout.LIBVER) as old,
        h5py.File(rebuilt, "r+", libver=layout.LIBVER) as new,
    ):
        status = f"{layout.ACQUISITION}/run_status"
        if old[status][()] in (b"finished", b"aborted", b"failed"):
            for name in (status, "entry/end_time"):
                new[name][()] = old[name][()]


def _rebuilt_copy(path: Path, target: Path) -> int:
    """Build the file again from its journal; return its rows, -1 if there is no journal."""
    content = entries(path)
    kind, skeleton = next(content, (b"", b""))
    if kind != SKELETON:
        return -1
    target.write_bytes(skeleton)
    try:
        with h5py.File(target, "r+", libver=layout.LIBVER) as file:
            acquisition = file[layout.ACQUISITION]
            rows = int(acquisition["rows_complete"][()])
            if acquisition["run_status"][()] not in _UNFINISHED:
                acquisition["run_status"][()] = b"running"
            waiting: list[bytes] = []
            size = 0
            lines: list[tuple[float, str, str]] = []
            for kind, block in content:
                if kind == ROWS:
                    waiting.append(block)
                    size += len(block)
                    if size > _BLOCK_BYTES:
                        rows, waiting, size = _replay(file, waiting, rows), [], 0
                elif kind == LOG:
                    lines += [tuple(line) for line in json.loads(block)]
                elif kind == STATE:
                    status, end_time = json.loads(block)
                    acquisition["run_status"][()] = status.encode()
                    file["entry/end_time"][()] = end_time.encode()
            rows = _replay(file, waiting, rows)
            append_log(file, lines)
            acquisition["rows_complete"][()] = rows
        return rows
    except Exception:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        return -1


def _replay(file: h5py.File, blocks: list[bytes], rows: int) -> int:
    """Append blocks of the journal; return the rows there are then."""
    columns = layout.stored_columns(file[layout.ACQUISITION])
    series = [(file[layout.RECORDS][column.name], column.where) for column in columns]
    series.append((file[f"{layout.ACQUISITION}/bench_state"], ""))
    parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in series]
    end = rows
    for block in blocks:
        first, count = (int(value) for value in np.frombuffer(block, "<u8", 2))
        if first != end:
            raise ValueError(f"the journal goes on at row {first}, the file ends at {end}")
        offset = 16
        flags: dict[str, int] = {}
        for (ds, where), part in zip(series, parts, strict=True):
            shape = (flags[where] if where else count, *ds.shape[1:])
            items = int(np.prod(shape, dtype=np.int64))
            values = np.frombuffer(block, ds.dtype, items, offset).reshape(shape)
            part.append(values)
            offset += items * ds.dtype.itemsize
            flags[ds.name.rpartition("/")[2]] = int(np.count_nonzero(values))
        end += count
    for (ds, _), part in zip(series, parts, strict=True):
        if sum(map(len, part)):
            values = np.concatenate(part)
            begun = len(ds)
            ds.resize(begun + len(values), axis=0)
            ds[begun:] = values
    return end
