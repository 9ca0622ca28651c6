"""Makes the file of a finished run small: a compressed copy is compared and takes its place.

For the commands, when everything else is done; while a run is recorded nothing is compressed. The
file itself is only read: what goes wrong, a full disk or Ctrl-C, leaves it as it was. Whoever has
it open goes on reading it as it was (on Windows it is left alone then). So is a run that is not
finished: it may be gone on with.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from procedures.running import layout, lock, room
from procedures.running.opening import open_hdf5
from procedures.running.problems import DiskFull
from procedures.running.rewrite import clear_away, sync_folder
from procedures.running.storing import copy_compressed, worth_compressing

_BLOCK_BYTES = 8 * 2**20
_TAKES_TIME_BYTES = 10**8  # some seconds


@dataclass(frozen=True)
class Compressed:
    """What became of a file: its size (bytes) before and after, and why it was left, if it was."""

    path: Path
    before: int
    after: int
    reason: str = ""


class _Different(Exception):
    """The copy does not hold what the file holds."""


def compress_all(paths: Iterable[Path], report: Callable[[str], None]) -> list[Compressed]:
    """Compress run files one after the other, telling what it brought; Ctrl-C leaves the rest."""
    done: list[Compressed] = []
    try:
        for path in paths:
            if path.exists() and path.stat().st_size > _TAKES_TIME_BYTES:
                report(f"{path.name}: being compressed; Ctrl-C leaves it as it is")
            done.append(compress(path))
            one = done[-1]
            if one.after < one.before:
                report(f"{path.name}: {one.before / 1e6:.1f} MB made {one.after / 1e6:.1f} MB")
            elif one.reason:
                report(f"{path.name}: not compressed: {one.reason}")
    except KeyboardInterrupt:
        report("what is not compressed yet stays as it is; `gainbench compress` does it later")
    return done


def compress(path: Path) -> Compressed:
    """Compress the arrays of a finished run; say what was done, or why nothing was.

    What cannot be read or written, or is no run file, is left, with the reason.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.small.tmp")
    size = 0
    try:
        before = os.stat(path)
        size = before.st_size
        reason = _unfit(path)
        if reason is not None:
            return Compressed(path, size, size, reason)
        room.need_space(path, size + size // 4)
        _copy(path, temporary)
        _compare(path, temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
            after = os.fstat(file.fileno()).st_size
        if after >= size:
            return Compressed(path, size, size)
        with lock.held(path):
            now = os.stat(path)
            if (now.st_mtime_ns, now.st_size, now.st_ino) != (
                before.st_mtime_ns, before.st_size, before.st_ino,
            ):  # fmt: skip
                return Compressed(path, size, size, "it was changed meanwhile")
            os.replace(temporary, path)
            sync_folder(path.parent)
            clear_away(path)
        return Compressed(path, size, after)
    except lock.FileInUse as error:
        return Compressed(path, size, size, str(error))
    except (OSError, RuntimeError, DiskFull, _Different) as error:  # h5py: RuntimeError, too
        return Compressed(path, size, size, str(error))
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _unfit(path: Path) -> str | None:
    """Return why a file is left alone ("": there is nothing to gain), None if it is not."""
    if lock.owner(path) is not None:
        return f"it is in use by {lock.owner(path)}"
    with open_hdf5(path, "r", libver=layout.LIBVER, locking=False) as file:
        acquisition = file.get(layout.ACQUISITION)
        if acquisition is None or "run_status" not in acquisition:
            return "it is no run file"
        if acquisition["run_status"][()] != b"finished":
            return "the run is not finished"
        return None if worth_compressing(file) else ""


def _copy(path: Path, temporary: Path) -> None:
    with (
        open_hdf5(path, "r", libver=layout.LIBVER, locking=False) as source,
        h5py.File(temporary, "w", libver=layout.LIBVER) as target,
    ):
        try:
            copy_compressed(source, target)
            target.flush()
        except (OSError, RuntimeError):
            room.turn_away(target)  # its close would end the process, see 0003
            raise


def _compare(path: Path, temporary: Path) -> None:
    """Raise _Different unless both files hold the same objects, attributes and values."""
    with (
        open_hdf5(path, "r", libver=layout.LIBVER, locking=False) as one,
        h5py.File(temporary, "r", libver=layout.LIBVER, locking=False) as other,
    ):
        _compare_groups(one, other, set())


def _compare_groups(one: h5py.Group, other: h5py.Group, seen: set[int]) -> None:
    if set(one) != set(other):
        raise _Different(f"{one.name} of the copy has other members")
    _compare_attributes(one, other)
    for name in one:
        first, second = one[name], other[name]
        address = h5py.h5o.get_info(first.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(first, h5py.Group):
            _compare_groups(first, second, seen)
        else:
            _compare_attributes(first, second)
            _compare_values(first, second)


def _compare_attributes(one: Any, other: Any) -> None:
    if set(one.attrs) != set(other.attrs) or any(
        not np.array_equal(np.asarray(value), np.asarray(other.attrs[name]))
        for name, value in one.attrs.items()
        if not isinstance(value, h5py.Empty)
    ):
        raise _Different(f"{one.name} of the copy has other attributes")


def _compare_values(one: h5py.Dataset, other: h5py.Dataset) -> None:
    wrong = _Different(f"{one.name} of the copy has other values")
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        raise wrong
    if not one.shape:  # a single value, or none
        first, second = one[()], other[()]
        same = first == second or (first != first and second != second)
        if not (isinstance(first, h5py.Empty) or same):
            raise wrong
        return
    rows = max(_BLOCK_BYTES // max(one[:1].nbytes, 1), 1) if len(one) else 1
    for first_row in range(0, len(one), rows):
        part, copy = one[first_row : first_row + rows], other[first_row : first_row + rows]
        if one.dtype.hasobject:
            if not np.array_equal(part, copy):
                raise wrong
        elif part.tobytes() != copy.tobytes():
            raise wrong
