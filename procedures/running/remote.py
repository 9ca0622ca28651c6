"""Speaking to runs that go on, from another process: find them, ask, pause, abort, follow.

The other end of `control_server.py`. A run is found by the lock beside its file; only its user can
read the token there. For the commands, the window and whoever shows a run elsewhere; cheap to
import.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from instruments.errors import BenchError
from instruments.holding import state_folder
from procedures.running import lock

NIGHT = "night.jsonl"
"""The journal of a night; the lock beside it says how the night can be spoken to."""

_PATIENCE_S = 5.0


class NotRunning(BenchError):
    """There is no run to speak to, or it does not answer."""

    exit_code = 2
    code = "not-running"


@dataclass(frozen=True)
class RemoteRun:
    """A run that a living process carries out: its file, and how it is spoken to."""

    path: Path
    owner: lock.Owner
    port: int
    token: str = field(repr=False)

    def ask(self, command: str, **more: Any) -> dict[str, Any]:
        """Send a command and return the answer; NotRunning if there is none, or a refusal."""
        with self._connected() as stream:
            return self._exchange(stream, command, more)

    def status(self) -> dict[str, Any]:
        """Ask how the run is: state, records, percent, left_s, shutter, log ..."""
        return self.ask("status")

    def pause(self) -> dict[str, Any]:
        """Have it wait before the next point, shutter closed."""
        return self.ask("pause")

    def go_on(self) -> dict[str, Any]:
        """End its pause."""
        return self.ask("go_on")

    def abort(self) -> dict[str, Any]:
        """Have it end now, safe; what is recorded stays and can be gone on with."""
        return self.ask("abort")

    def follow(self, *, arrays: bool = False) -> Iterator[dict[str, Any]]:
        """Yield what happens, until the run has ended: first how it is now, then its events.

        With `arrays`, those of a record are numpy arrays under "arrays"; a slow reader gets fewer
        records ("event": "dropped" says how many it missed).

        Raises NotRunning if the connection breaks before the run has ended.
        """
        with self._connected() as stream:
            yield {"event": "status", **self._exchange(stream, "subscribe", {"arrays": arrays})}
            stream.settimeout(None)
            while True:
                event = self._line(stream)
                if "arrays" in event:
                    event["arrays"] = {k: _decoded(v) for k, v in event["arrays"].items()}
                yield event
                if event.get("event") == "ended":
                    return

    def _connected(self) -> _Stream:
        try:
            return _Stream(socket.create_connection(("127.0.0.1", self.port), _PATIENCE_S))
        except OSError as error:
            raise NotRunning(f"{self.path}: its process does not answer ({error})") from None

    def _exchange(self, stream: _Stream, command: str, more: dict[str, Any]) -> dict[str, Any]:
        asked = {**more, "token": self.token, "command": command}
        try:
            stream.send(json.dumps(asked).encode() + b"\n")
        except OSError as error:
            raise NotRunning(f"{self.path}: its process does not answer ({error})") from None
        answer = self._line(stream)
        if not answer.pop("ok", False):
            raise NotRunning(f"{self.path}: {command} was refused: {answer.get('error')}")
        return answer

    def _line(self, stream: _Stream) -> dict[str, Any]:
        try:
            found = json.loads(stream.line() or b"null")
        except (OSError, ValueError) as error:
            raise NotRunning(f"{self.path}: its process does not answer ({error})") from None
        if not isinstance(found, dict):
            raise NotRunning(f"{self.path}: the run has ended, or its process has")
        return found


class _Stream:
    """A connection, line by line."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def settimeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def line(self) -> bytes:
        return self._file.readline()


def remote(path: Path) -> RemoteRun:
    """Return the run that is carried out into a file; NotRunning if none is."""
    held = lock.owner(path)
    if held is None or not held.alive:
        raise NotRunning(f"{path}: no run is going on there")
    if held.host != lock.me().host:
        raise NotRunning(f"{path}: it is carried out by {held}; ask there")
    try:
        found = lock.contact(path)
        return RemoteRun(path, held, int(found["port"]), str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise NotRunning(f"{path}: {held} writes it, but cannot be spoken to") from None


def find(data_dir: Path) -> list[RemoteRun]:
    """Return the runs that go on in a folder and its nights, or have it as theirs from elsewhere.

    Those of other users and hosts are left out.
    """
    return _found(data_dir, ("*.h5.lock", "*_night_*/*.h5.lock"), lambda path: path.name != NIGHT)


def find_nights(data_dir: Path) -> list[RemoteRun]:
    """Return the nights that go on in a folder, or have it as theirs, by their journals.

    They answer `status`, `pause`, `go_on` and `abort` as runs do.
    """
    return _found(data_dir, (f"*_night_*/{NIGHT}.lock",), lambda path: path.name == NIGHT)


def _found(
    data_dir: Path, patterns: tuple[str, ...], wanted: Callable[[Path], bool]
) -> list[RemoteRun]:
    locks = [one for pattern in patterns for one in data_dir.glob(pattern)]
    paths = [one.with_name(one.name.removesuffix(".lock")) for one in locks]
    for note in _notes().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(note.read_text(encoding="utf-8"))
            if Path(told["data_dir"]) == data_dir.resolve():
                paths += [path] if wanted(path := Path(told["file"])) else []
    found = {}
    for path in sorted(paths):
        if path.resolve() not in found:
            with contextlib.suppress(NotRunning):
                found[path.resolve()] = remote(path)
    return list(found.values())


@contextlib.contextmanager
def announced(path: Path, data_dir: Path, within: Path | None = None) -> Iterator[None]:
    """Leave a note of a run whose file is not in its data folder, so that `find` finds it.

    within: the folder that it is in, if that is not the file's own (a night's folder is in one).
    """
    note: Path | None = None
    if (within if within is not None else path.parent).resolve() != data_dir.resolve():
        kind = "night" if path.name == NIGHT else "run"
        note = _notes() / f"{os.getpid()}-{threading.get_ident()}-{kind}.json"
        told = {"file": str(path.resolve()), "data_dir": str(data_dir.resolve())}
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(told), encoding="utf-8")
    try:
        yield
    finally:
        if note is not None:
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)


def _notes() -> Path:
    return state_folder() / "running"


def _decoded(sent: dict[str, Any]) -> Any:
    kind = "<u4" if sent["dtype"] == "uint32" else "<f4"
    return np.frombuffer(base64.b64decode(sent["base64"]), kind).reshape(sent["shape"])
