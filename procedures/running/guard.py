"""The guard: a small process that closes the shutter when the process that opened it is gone.

For benches with real instruments. It holds a pipe to its master; as long as that is open nothing
happens, and after a goodbye it leaves. If the pipe breaks without one (kill -9, a crashed
interpreter), it closes every shutter and pulse gate through links of its own, again and again until
each is closed: a port may still be held for an instant. Nothing else is touched.

`python -m procedures.running.guard` reads one line of JSON (the bench file's text and path, the
roles to close), then waits for "goodbye".
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.clock import WallClock
from instruments.config import BenchConfig, parse
from instruments.errors import BenchError
from instruments.opening import open_role

log = logging.getLogger(__name__)

ROLES = ("shutter", "pulse_gate")
GOODBYE = b"goodbye\n"
_PAUSE_S = 0.1
_LIMIT_S = 600.0  # after that nobody can be helped by trying on


class GuardFailed(BenchError):
    """The guard could not be started; without it no light is let on a real sample."""

    code = "guard"


def guarded_roles(config: BenchConfig) -> tuple[str, ...]:
    """Return the roles of a bench that a guard can close: real ones that let light through."""
    tables = config.instruments
    return tuple(
        role
        for role in ROLES
        if role in tables and not tables[role].simulated  # type: ignore[index]
    )


class Guard:
    """A guard process for one bench; it starts at once and works after `goodbye` no more."""

    def __init__(self, config: BenchConfig, roles: Sequence[str]) -> None:
        apart: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        order = {"text": config.text, "file": config.file, "roles": list(roles)}
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "procedures.running.guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                cwd=Path(config.file).resolve().parent if config.file else None,
                **apart,
            )
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise GuardFailed(
                f"the guard process cannot be started ({error}); without it a crash would leave "
                "light on the sample"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether it watches."""
        return self._process.poll() is None

    def goodbye(self) -> None:
        """Send it away: the bench is safe."""
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.closed:
            return
        with contextlib.suppress(OSError, ValueError):
            stdin.write(GOODBYE)
            stdin.flush()
        with contextlib.suppress(OSError, ValueError):
            stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_needed(self, unsafe: Sequence[str]) -> bool:
        """Whether what could not be made safe lets light through."""
        return any(line.startswith(ROLES) for line in unsafe)

    def leave_to_it(self) -> None:
        """Let go of it without a goodbye: it closes what could not be closed from here."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.close()


@contextlib.contextmanager
def guarding(config: BenchConfig) -> Iterator[Guard | None]:
    """Have a bench guarded inside the block; None where it has nothing real to close.

    Open and close the bench inside the block: who leaves it by an exception has closed the bench.
    """
    roles = guarded_roles(config)
    if not roles:
        yield None
        return
    guard = Guard(config, roles)
    try:
        yield guard
    finally:
        guard.goodbye()


def close_all(config: BenchConfig, roles: Sequence[str], limit_s: float = _LIMIT_S) -> list[str]:
    """Close every one of `roles` through links of their own; return those that are not closed."""
    left = list(roles)
    end = time.monotonic() + limit_s
    while left and time.monotonic() < end:
        for role in list(left):
            bench = Bench(config, WallClock(), None)
            bench.hold = lambda resource: None  # type: ignore[method-assign]  # its owner is dead
            try:
                instrument = open_role(bench, role)
                instrument.make_safe()
                left.remove(role)
            except Exception as error:
                log.info("%s: %s", role, error)
            finally:
                for link in bench.links.values():
                    with contextlib.suppress(Exception):
                        link.close()
        if left:
            time.sleep(_PAUSE_S)
    return left


def main() -> int:
    """Guard until goodbye; 0 if there was one, or everything could be closed."""
    pipe = sys.stdin.buffer
    try:
        order = json.loads(pipe.readline())
        config = parse(order["text"], order["file"])
        roles = [str(role) for role in order["roles"]]
        for role in roles:  # loaded now: when it matters there is no time for it
            from instruments.registry import driver

            driver(config.instruments[role].driver, role).load(role)  # type: ignore[index]
        import pyvisa_py  # noqa: F401
    except (ValueError, KeyError, TypeError, BenchError):
        return 2
    if pipe.readline() == GOODBYE:
        return 0
    return 1 if close_all(config, roles) else 0


if __name__ == "__main__":
    sys.exit(main())
