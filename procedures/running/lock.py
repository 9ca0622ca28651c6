"""Who writes a run file: a lock beside it, that names host, process and when it was started.

A lock of a process that is gone is no lock; one of another host, or one that this user may not
read, is believed for as long as it is there. While a run is carried out its lock also says how the
run can be spoken to (`contact`); so only its user may read it, where the system allows that.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from instruments.errors import BenchError
from procedures.running.names import rename_exclusively


class FileInUse(BenchError):
    """Another process writes this file; the message says which."""

    exit_code = 1
    code = "in-use"


@dataclass(frozen=True)
class Owner:
    """A process: host, process id, start time (seconds since 1970).

    mark: the start as the Linux kernel counts it, with the boot it belongs to; unlike `started_s`
    it stays the same when the clock is set. "" elsewhere.
    """

    host: str
    pid: int
    started_s: float
    mark: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process still runs (on another host: assumed)."""
        if self.host != socket.gethostname():
            return True
        if self.mark:
            return _mark(self.pid) == self.mark
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started_s) < 2.0)
        except psutil.Error:
            return False

    def __str__(self) -> str:
        if not self.pid:
            return "another user"
        return f"process {self.pid} on {self.host}"


_UNKNOWN = Owner("", 0, 0.0)
"""Who holds a lock that this user may not read: taken to be alive."""
_reserved: dict[Path, bool] = {}
"""Files that a run of this process holds; whether their writer has the lock meanwhile."""
_guard = threading.Lock()


def me() -> Owner:
    """Return this process."""
    return _process(os.getpid())


@lru_cache(maxsize=2)
def _process(number: int) -> Owner:
    return Owner(socket.gethostname(), number, psutil.Process(number).create_time(), _mark(number))


def _mark(pid: int) -> str:
    """Return what tells process `pid` from any other, ever; "" if it is gone or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat.rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in (b"Z", b"X") else f"{boot}:{int(fields[19])}"


def lock_path(path: Path) -> Path:
    """Return where the lock of a run file is."""
    return path.with_name(path.name + ".lock")


def owner(path: Path) -> Owner | None:
    """Return who holds the lock of a run file; None if nobody does."""
    try:
        found = contact(path)
        return Owner(
            str(found["host"]),
            int(found["pid"]),
            float(found["started_s"]),
            str(found.get("mark", "")),
        )
    except FileNotFoundError:
        return None
    except PermissionError:
        return _UNKNOWN
    except (OSError, ValueError, KeyError, TypeError):
        return None  # written by a process that died while writing it


def contact(path: Path) -> Mapping[str, Any]:
    """Return all that the lock of a run file says; OSError or ValueError if it cannot be read."""
    found = json.loads(lock_path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("a lock is a table")
    return found


def left_behind(path: Path) -> bool:
    """Whether there is a lock of a process that is gone."""
    return lock_path(path).exists() and owner(path) != me()


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
    lock = lock_path(path)
    written = lock.with_name(f"{lock.name}.{os.getpid()}-{threading.get_ident()}")
    number = os.open(written, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with open(number, "w", encoding="utf-8") as file:
        file.write(json.dumps({**asdict(me()), **more}))
    try:
        for _ in range(2):
            try:
                rename_exclusively(written, lock)  # whole from the moment it is seen
            except FileExistsError:
                found = owner(path)
                if found is not None and found.alive:
                    raise FileInUse(
                        f"{path} is being written by {found}"
                        + ("" if found.pid else f"; if that is long over, remove {lock.name}")
                    ) from None
                lock.unlink(missing_ok=True)
                continue
            return
    finally:
        written.unlink(missing_ok=True)
    raise FileInUse(f"{path}: its lock {lock.name} cannot be taken")


def release(path: Path) -> None:
    """Give the lock back."""
    key = _key(path)
    with _guard:
        if key in _reserved:
            _reserved[key] = False
            return
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
    return Path(os.path.abspath(path))
