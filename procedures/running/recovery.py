"""Brings a run file back that its writer left open, losing nothing that was acknowledged.

If the journal is there, the file is built again from it (its first entry is the file as it was at
the start; arrays are read from the file itself, where the journal says that they are); otherwise,
or if the file itself holds more, its superblock is mended. All on a copy, which takes the file's
place only when it opens and reads. Repeating it changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np

from procedures.running import layout, lock
from procedures.running.journal import (
    INLINE_ROWS,
    LOG,
    ROWS,
    SKELETON,
    STATE,
    entries,
    journal_path,
)
from procedures.running.logbook import append_log
from procedures.running.problems import NotARunFile
from procedures.running.replay import Replay
from procedures.running.rewrite import clear_away, rewriting
from procedures.running.room import need_space, trim
from procedures.running.superblock import mend

_UNFINISHED = (b"running", b"paused")


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
            if acquisition["run_status"][()] not in _UNFINISHED:
                acquisition["run_status"][()] = b"running"
            lines: list[tuple[float, str, str]] = []
            with Replay(file, path) as replay:
                for kind, block in content:
                    if kind in (ROWS, INLINE_ROWS):
                        try:
                            replay.add(block, inline=kind == INLINE_ROWS)
                        except EOFError:
                            break  # as if the journal ended here
                    elif kind == LOG:
                        lines += [tuple(line) for line in json.loads(block)]
                    elif kind == STATE:
                        status, end_time = json.loads(block)
                        acquisition["run_status"][()] = status.encode()
                        file["entry/end_time"][()] = end_time.encode()
            append_log(file, lines)
            acquisition["rows_complete"][()] = replay.rows
        return replay.rows
    except Exception:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        return -1
