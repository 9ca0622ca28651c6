"""One process owns a real instrument at a time: a lock for each resource, in a user's folder.

For whoever opens a link (Bench, check); the second is told who holds it and what for. Simulated
instruments in process are free. A lock goes with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path

from instruments.errors import BenchError
from instruments.ownership import Owner, Taken, me, owner_of, take, told

_SERIAL = re.compile(r"ASRL(.+?)(?:::INSTR)?", re.I)
_USB = re.compile(r"USB\d*::(0x[0-9a-f]+|\d+)::(0x[0-9a-f]+|\d+)::([^:]+)", re.I)


class ResourceInUse(BenchError):
    """Another process holds the instrument; the message says which."""

    exit_code = 1
    code = "in-use"


def state_folder() -> Path:
    """Return the folder for what outlives no process: GAINBENCH_STATE, or the system's own."""
    given = os.environ.get("GAINBENCH_STATE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return Path(base or Path.home() / "AppData" / "Local") / "gainbench"
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base or Path.home() / ".local" / "state") / "gainbench"


def serial_port(resource: str) -> str:
    """Return the port of a serial resource ("/dev/ttyUSB0", "COM3", "3"), "" of another."""
    match = _SERIAL.fullmatch(resource.strip())
    return match[1] if match is not None else ""


def canonical(resource: str) -> str:
    """Return a resource in one spelling, so that two names of one port are equal."""
    port = serial_port(resource)
    if port:
        port = re.sub(r"^(?:\\\\.\\)?COM", "", port, flags=re.I) or port
        return f"ASRL{os.path.realpath(port) if port.startswith('/') else port.upper()}"
    usb = _USB.match(resource)
    if usb is not None:
        return f"USB::{int(usb[1], 0)}::{int(usb[2], 0)}::{usb[3]}"
    return resource.strip().upper().rstrip("/")


def _lock(resource: str) -> Path:
    name = hashlib.sha256(canonical(resource).encode()).hexdigest()[:24]
    return state_folder() / "instruments" / f"{name}.lock"


def holder(resource: str) -> Owner | None:
    """Return the living process, other than this one, that holds a resource."""
    found = owner_of(_lock(resource))
    return found if found is not None and found != me() and found.alive else None


def hold(resource: str, what_for: str) -> None:
    """Take a resource; ResourceInUse if a living process (this one, too) has it."""
    lock = _lock(resource)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        take(lock, {"resource": resource, "for": what_for})
    except Taken as taken:
        purpose = ""
        with contextlib.suppress(OSError, ValueError):
            purpose = f" ({told(lock).get('for')})"
        who = f"this process ({taken.owner.pid})" if taken.owner == me() else str(taken.owner)
        raise ResourceInUse(
            f"{resource} is held by {who}{purpose}; an instrument has one owner at a time: wait "
            "until that has ended, or end it"
        ) from None
    except OSError as error:
        raise ResourceInUse(f"{resource} cannot be locked ({error}); see {lock.parent}") from error


def let_go(resource: str) -> None:
    """Give a resource back."""
    with contextlib.suppress(OSError):
        _lock(resource).unlink(missing_ok=True)
