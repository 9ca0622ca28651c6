"""Who owns something that only one process may have: a lock file that names host and process.

For run files (a lock beside each) and for real instruments (holding.py). The lock of a process that
is gone is no lock; one of another host, or one that this user may not read, is believed for as long
as it is there. Of several that find the lock of a dead process at once, one takes it over.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

_PATIENCE_S = 2.0
_HALF_WRITTEN_S = 0.5  # a lock that says nothing for so long is one of a process that died over it
_PAUSE_S = 0.02


class Taken(Exception):
    """Somebody has it already: `owner`, who may be this process."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(str(owner))
        self.owner = owner


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
            return mark(self.pid) == self.mark
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


def me() -> Owner:
    """Return this process."""
    return _process(os.getpid())


@lru_cache(maxsize=2)
def _process(number: int) -> Owner:
    return Owner(socket.gethostname(), number, psutil.Process(number).create_time(), mark(number))


def mark(pid: int) -> str:
    """Return what tells process `pid` from any other, ever; "" if it is gone or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat.rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in (b"Z", b"X") else f"{boot}:{int(fields[19])}"


def told(lock: Path) -> Mapping[str, Any]:
    """Return all that a lock says; OSError or ValueError if it cannot be read."""
    found = json.loads(lock.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("a lock is a table")
    return found


def owner_of(lock: Path) -> Owner | None:
    """Return who holds a lock; None if nobody does."""
    try:
        found = told(lock)
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


def take(lock: Path, more: Mapping[str, Any]) -> None:
    """Take a lock and say `more` in it; only this user can read it, where the system allows that.

    Raises Taken if a living process (this one, too) holds it; OSError.
    """
    written = lock.with_name(f"{lock.name}.{os.getpid()}-{threading.get_ident()}")
    number = os.open(written, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with open(number, "w", encoding="utf-8") as file:
        file.write(json.dumps({**asdict(me()), **more}))
    try:
        end = time.monotonic() + _HALF_WRITTEN_S
        while not _taken(written, lock, wait=time.monotonic() < end):
            time.sleep(_PAUSE_S)
    finally:
        written.unlink(missing_ok=True)


def _taken(written: Path, lock: Path, *, wait: bool) -> bool:
    """Put a lock that is written in its place, once that of a dead process is out of the way.

    Nobody else on this computer takes a lock meanwhile, and those of others are believed: so it is
    never the lock of a living process that goes. wait: leave one that says nothing, which may be
    half written; it counts as dead later.
    """
    with alone():
        try:
            rename_exclusively(written, lock)  # whole from the moment it is seen
            return True
        except FileExistsError:
            found = owner_of(lock)
        if found is not None and found.alive:
            raise Taken(found)
        if found is None and wait:
            return False
        lock.unlink(missing_ok=True)
        try:
            rename_exclusively(written, lock)
            return True
        except FileExistsError:  # by somebody on another computer
            return False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Have the block to oneself among all processes of this computer; the system ends it at death.

    Where that is not to be had, or somebody else has it for too long, the block goes on all the
    same: what it is for is a matter of microseconds.
    """
    with _in_turn, contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            _hold_turn(held)
        yield


_in_turn = threading.Lock()

if sys.platform == "win32":

    def _hold_turn(held: contextlib.ExitStack) -> None:
        import ctypes

        system = ctypes.WinDLL("kernel32", use_last_error=True)
        system.CreateMutexW.restype = ctypes.c_void_p
        mutex = ctypes.c_void_p(system.CreateMutexW(None, False, "Global\\gainbench-lock"))
        if not mutex:
            raise OSError(ctypes.get_last_error(), "no mutex")
        held.callback(system.CloseHandle, mutex)
        found = system.WaitForSingleObject(mutex, int(1000 * _PATIENCE_S))
        if found in (0x00, 0x80):  # ours, or left behind by one who died
            held.callback(system.ReleaseMutex, mutex)

else:

    def _hold_turn(held: contextlib.ExitStack) -> None:
        import fcntl

        number = os.open("/", os.O_RDONLY)  # there for everybody, and never removed
        held.callback(os.close, number)
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)


def rename_exclusively(source: Path, target: Path) -> None:
    """Rename a file; FileExistsError, and nothing is touched, if `target` exists."""
    if os.name == "nt":
        os.rename(source, target)  # refuses an existing target there
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        os.replace(source, target)
        return
    os.unlink(source)
