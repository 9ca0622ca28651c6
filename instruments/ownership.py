"""Who owns something that only one process may have: a lock file that names host and process.

For run files (a lock beside each) and for real instruments (holding.py). The lock of a process that
is gone is no lock; one of another host, or one that this user may not read, is believed for as long
as it is there. Of several that find the lock of a dead process at once, one takes it over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

_CLAIM_S = 10.0  # a claim to a dead lock that is older was made by one who died over it
_PATIENCE_S = 2.0


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
    end = time.monotonic() + _PATIENCE_S
    try:
        while True:
            try:
                rename_exclusively(written, lock)  # whole from the moment it is seen
                return
            except FileExistsError:
                found = owner_of(lock)
                if found is not None and found.alive:
                    raise Taken(found) from None
                _bury(lock)
                if time.monotonic() > end:
                    raise OSError(f"the lock {lock} cannot be taken") from None
    finally:
        written.unlink(missing_ok=True)


def _bury(lock: Path) -> None:
    """Remove the lock of a dead process, unless another does or it is dead no longer.

    Whoever wants to must first make a file named after what the dead lock says: so none removes the
    lock of one who was quicker.
    """
    try:
        content = lock.read_bytes()
    except OSError:
        return
    claim = lock.with_name(f"{lock.name}.claim-{hashlib.sha256(content).hexdigest()[:16]}")
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        with contextlib.suppress(OSError):
            if time.time() - claim.stat().st_mtime > _CLAIM_S:
                claim.unlink()
        time.sleep(0.01)
        return
    try:
        if lock.read_bytes() == content:
            lock.unlink()
    except FileNotFoundError:
        pass
    finally:
        claim.unlink(missing_ok=True)


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
