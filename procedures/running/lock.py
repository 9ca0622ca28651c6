"""Who writes a run file: a lock beside it, that names host, process and when it was started.

A lock of a process that is gone is no lock; one of another host, or one that this user may not
read, is believed for as long as it is there. While a run is carried out its lock also says how the
run can be spoken to (`contact`); so only its user may read it, where the system allows that.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instruments.errors import BenchError
from instruments.ownership import Owner, Taken, me, owner_of, take, told

__all__ = ["FileInUse", "Owner", "acquire", "contact", "held", "me", "owner", "release", "reserved"]


class FileInUse(BenchError):
    """Another process writes this file; the message says which."""

    exit_code = 1
    code = "in-use"


_reserved: dict[Path, bool] = {}
"""Files that a run of this process holds; whether their writer has the lock meanwhile."""
_mine: set[Path] = set()
"""Files whose lock this process has; one it could not remove, its folder being gone, is none."""
_guard = threading.Lock()


def lock_path(path: Path) -> Path:
    """Return where the lock of a run file is."""
    return path.with_name(path.name + ".lock")


def owner(path: Path) -> Owner | None:
    """Return who holds the lock of a run file; None if nobody does."""
    found = owner_of(lock_path(path))
    return None if found == me() and _key(path) not in _mine else found


def contact(path: Path) -> Mapping[str, Any]:
    """Return all that the lock of a run file says; OSError or ValueError if it cannot be read."""
    return told(lock_path(path))


def left_behind(path: Path) -> bool:
    """Whether there is a lock of a process that is gone."""
    found = owner(path)
    return lock_path(path).exists() and (found is None or found != me())


def is_being_written(path: Path) -> bool:
    """Whether a living process other than this one holds the file."""
    found = owner(path)
    return found is not None and found != me() and found.alive


def acquire(path: Path) -> None:
    """Take the lock; FileInUse if a living process (this one, too) holds it.

    Inside `reserved`, the run's own writer takes and gives back what the run holds.
    """
    key = _key(path)
    with _guard:
        if key in _reserved:
            if _reserved[key]:
                raise FileInUse(f"{path} is being written by {me()}")
            _reserved[key] = True
            return
    _take(path, {})


def _take(path: Path, more: Mapping[str, Any]) -> None:
    lock, key = lock_path(path), _key(path)
    if owner_of(lock) == me() and key not in _mine:
        lock.unlink(missing_ok=True)
    had = key in _mine
    _mine.add(key)  # before it can be seen
    try:
        take(lock, more)
    except BaseException as error:
        if not had:
            _mine.discard(key)
        if not isinstance(error, Taken):
            raise
        taken = error
        over = "" if taken.owner.pid else f"; if that is long over, remove {lock.name}"
        raise FileInUse(f"{path} is being written by {taken.owner}{over}") from None


def release(path: Path) -> None:
    """Give the lock back."""
    key = _key(path)
    with _guard:
        if key in _reserved:
            _reserved[key] = False
            return
    _mine.discard(key)
    with contextlib.suppress(OSError):
        lock_path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock inside the block."""
    acquire(path)
    try:
        yield
    finally:
        release(path)


@contextlib.contextmanager
def reserved(path: Path, more: Mapping[str, Any]) -> Iterator[None]:
    """Hold the lock for a whole run, from before its bench is opened; `more` is told in it."""
    key = _key(path)
    _take(path, more)
    with _guard:
        _reserved[key] = False
    try:
        yield
    finally:
        with _guard:
            _reserved.pop(key, None)
        release(path)


def _key(path: Path) -> Path:
    return Path(os.path.realpath(path))
