"""How other processes speak to a run: a socket on loopback that answers lines of JSON.

The lock beside the run file names port and token; whoever has no token is refused. A line is one
object: {"token": ..., "command": "status" | "pause" | "go_on" | "abort" | "subscribe"}; subscribe
takes "arrays": true. Each is answered by an object with "ok"; after subscribe, events follow, one a
line ("event": started, progress, record, state, log, dropped, ended). Rubbish, lines too long or
never ended, and peers that do not read cost the run nothing: one thread of its own serves all of
them, what waits for a peer is bounded, and records that do not fit are dropped and counted.
`remote.py` beside this is the other end.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import logging
import secrets
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from procedures.measurement import Control
from procedures.running.view import plain_record

log = logging.getLogger(__name__)

LONGEST_LINE = 16 * 1024
MOST_CLIENTS = 16
MOST_EVENTS, MOST_EVENT_BYTES = 64, 8 * 2**20  # waiting for one subscriber
_OUT_BYTES = 256 * 1024  # a peer that reads no more than this is not written to
_BATCH_S = 0.05  # events are written together; a run of 100,000 records a second stays one
_BREATH_S = 0.002  # a peer that floods the socket costs no more than that allows
_SILENT_S = 30.0  # after that a peer that has asked nothing is let go
_FAREWELL_S = 0.5  # how long the end of the run waits for peers to hear of it


class _Client:
    """One peer: what it has sent, what it is to get, what waits for it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.incoming = bytearray()
        self.out = bytearray()
        self.leaving = False
        self.moved_s = time.monotonic()
        self.subscribed = False
        self.arrays = False
        self.waiting: deque[Callable[[], dict[str, Any]]] = deque()
        self.sizes: deque[int] = deque()
        self.size = 0
        self.dropped = 0

    def offer(self, event: Callable[[], dict[str, Any]], size: int, *, droppable: bool) -> None:
        """Put an event in the queue, or count it as dropped."""
        full = len(self.waiting) >= MOST_EVENTS or self.size + size > MOST_EVENT_BYTES
        if full and (droppable or len(self.waiting) >= 2 * MOST_EVENTS):
            self.dropped += 1
            return
        self.waiting.append(event)
        self.sizes.append(size)
        self.size += size

    def take(self) -> None:
        """Move waiting events to what is sent, as long as the peer reads."""
        while self.waiting and len(self.out) < _OUT_BYTES:
            event = self.waiting.popleft()
            self.size -= self.sizes.popleft()
            self.put(event())
        if self.dropped and not self.waiting and len(self.out) < _OUT_BYTES:
            self.put({"event": "dropped", "records": self.dropped})
            self.dropped = 0

    def put(self, what: Mapping[str, Any]) -> None:
        """Send an object."""
        self.out += json.dumps(what).encode() + b"\n"


class Told(Protocol):
    """What is known of a run, or of whatever else is served."""

    @property
    def state(self) -> str:
        """Return one word for how it is."""

    @property
    def left_s(self) -> float | None:
        """Return how long it will take still (s), None if that is not known."""

    def status(self) -> dict[str, Any]:
        """Return all of it as plain types."""

    def shape(self) -> dict[str, Any]:
        """Return what its records hold."""


class ControlServer:
    """Serves one run until `close`.

    Args:
        view: what is known of the run. control: what pauses and aborts it.
    """

    def __init__(self, view: Told, control: Control) -> None:
        self._view, self._control = view, control
        self.token = secrets.token_urlsafe(24)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._guard = threading.Lock()
        self._clients: dict[socket.socket, _Client] = {}
        self.subscribers = 0
        self._closing_s: float | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="run control", daemon=True)
        self._thread.start()

    # ---- called in the runner's thread ----------------------------------------------------------

    def started(self) -> None:
        """Tell that records begin."""
        self._tell(lambda: {"event": "started", **self._view.status()})

    def recorded(self, number: int, record: Mapping[str, Any]) -> None:
        """Tell `subscribers` of a record; arrays are copied, and only if they are asked for."""
        arrays: dict[str, Any] | None = None
        size = 0
        with self._guard:
            clients = [client for client in self._clients.values() if client.subscribed]
            if any(c.arrays and len(c.waiting) < MOST_EVENTS for c in clients):
                arrays = {k: _sendable(v) for k, v in record.items() if np.ndim(v)}
                size = sum(one.nbytes for one in arrays.values())
            scalars = {k: v for k, v in record.items() if not np.ndim(v)}

            def event(with_arrays: bool) -> dict[str, Any]:
                found: dict[str, Any] = {
                    "event": "record",
                    "number": number,
                    "values": plain_record(scalars),
                }
                if with_arrays and arrays is not None:
                    found["arrays"] = {name: _encoded(one) for name, one in arrays.items()}
                return found

            for client in clients:
                if client.arrays:
                    client.offer(lambda: event(True), size, droppable=True)
                else:
                    client.offer(lambda: event(False), 0, droppable=True)

    def progress(self, percent: float) -> None:
        """Tell how far the run is; one of many will do."""
        if self.subscribers:
            self._tell(
                lambda: {"event": "progress", "percent": percent, "left_s": self._view.left_s},
                droppable=True,
            )

    def logged(self, moment: float, level: str, text: str) -> None:
        """Tell of a line of the log."""
        if self.subscribers:
            self._tell(
                lambda: {"event": "log", "time": moment, "level": level, "text": text},
            )

    def state(self, state: str) -> None:
        """Tell that the run pauses or goes on."""
        self._tell(lambda: {"event": "state", "state": state})

    def close(self) -> None:
        """Tell the end to those who listen (for a moment), and stop."""
        self._tell(lambda: {"event": "ended", **self._view.status()})
        self._closing_s = time.monotonic() + _FAREWELL_S
        self._wake()
        self._thread.join(_FAREWELL_S + 1.0)

    def _tell(self, event: Callable[[], dict[str, Any]], *, droppable: bool = False) -> None:
        if not self.subscribers:
            return
        with self._guard:
            for client in self._clients.values():
                if client.subscribed:
                    client.offer(event, 0, droppable=droppable)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.send(b"!")

    # ---- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._done():
                busy = self.subscribers or self._closing_s is not None
                for key, _ in self._selector.select(_BATCH_S if busy else 1.0):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._wake_out:
                        with contextlib.suppress(OSError):
                            self._wake_out.recv(4096)
                    else:
                        self._attend(key.data)
                self._look_after_all()
                time.sleep(_BREATH_S)
        except Exception:
            log.exception("the run's socket is no longer served; the run goes on")
        finally:
            for client in [*self._clients.values()]:
                self._drop(client)
            self._selector.close()
            for one in (self._listener, self._wake_in, self._wake_out):
                one.close()

    def _done(self) -> bool:
        if self._closing_s is None:
            return False
        with self._guard:
            owed = any(c.out or c.waiting for c in self._clients.values() if c.subscribed)
        return not owed or time.monotonic() > self._closing_s

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            if len(self._clients) >= MOST_CLIENTS:
                connection.close()
                return
            connection.setblocking(False)
            client = _Client(connection)
            with self._guard:
                self._clients[connection] = client
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _drop(self, client: _Client) -> None:
        with self._guard:
            self._clients.pop(client.socket, None)
            self.subscribers -= client.subscribed
            client.subscribed = False
        with contextlib.suppress(Exception):
            self._selector.unregister(client.socket)
        client.socket.close()

    def _attend(self, client: _Client) -> None:
        """Read what a peer has sent and answer its whole lines."""
        try:
            if not client.leaving and len(client.out) < _OUT_BYTES:
                data = client.socket.recv(4096)
                if not data:
                    self._drop(client)
                    return
                client.moved_s = time.monotonic()
                client.incoming += data
                self._answer_lines(client)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._drop(client)

    def _answer_lines(self, client: _Client) -> None:
        while not client.leaving and b"\n" in client.incoming:
            line, _, rest = bytes(client.incoming).partition(b"\n")
            client.incoming[:] = rest
            self._answer(client, line)
        if len(client.incoming) > LONGEST_LINE:
            self._refuse(client, f"a line is longer than {LONGEST_LINE} bytes")

    def _refuse(self, client: _Client, why: str) -> None:
        client.put({"ok": False, "error": why})
        client.leaving = True
        client.incoming.clear()

    def _answer(self, client: _Client, line: bytes) -> None:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            self._refuse(client, "a line is one JSON object")
            return
        token = asked.get("token")
        if not isinstance(token, str) or not hmac.compare_digest(
            token.encode(errors="replace"), self.token.encode()
        ):
            self._refuse(client, "the token is not that of this run; its lock file names it")
            return
        command = asked.get("command")
        if command == "status":
            client.put({"ok": True, **self._view.status()})
        elif command == "subscribe":
            self._subscribe(client, bool(asked.get("arrays", False)))
        elif command in ("pause", "go_on", "abort"):
            {
                "pause": self._control.pause,
                "go_on": self._control.go_on,
                "abort": self._control.abort_now,
            }[command]()
            log.info("%s was asked for over the run's socket", command)
            client.put({"ok": True, "command": command, "state": self._view.state})
        else:
            client.put(
                {
                    "ok": False,
                    "error": f"unknown command {str(command)[:40]!r}; there are status, pause, "
                    "go_on, abort, subscribe",
                }
            )

    def _subscribe(self, client: _Client, arrays: bool) -> None:
        client.put({"ok": True, **self._view.status(), **self._view.shape()})
        with self._guard:
            self.subscribers += not client.subscribed
            client.subscribed, client.arrays = True, arrays

    def _look_after_all(self) -> None:
        """Write to every peer what it will take; let go of those that are silent or stuck."""
        now = time.monotonic()
        for client in [*self._clients.values()]:
            with self._guard:
                if not client.leaving:
                    client.take()
            try:
                if client.out:
                    sent = client.socket.send(memoryview(client.out)[:65536])
                    del client.out[:sent]
                    client.moved_s = now
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._drop(client)
                continue
            stuck = now - client.moved_s > _SILENT_S and (client.out or not client.subscribed)
            if (client.leaving and not client.out) or stuck:
                self._drop(client)
                continue
            reads = not client.leaving and len(client.out) < _OUT_BYTES
            wanted = selectors.EVENT_READ if reads else 0
            wanted |= selectors.EVENT_WRITE if client.out else 0
            with contextlib.suppress(KeyError, ValueError):
                self._selector.modify(client.socket, wanted or selectors.EVENT_WRITE, client)


def _sendable(value: Any) -> Any:
    """Return a copy of an array as float32, or as uint32 where it holds counts."""
    found = np.asarray(value)
    counts = found.dtype.kind == "u" or found.dtype.kind == "b"
    return np.array(found, dtype="<u4" if counts else "<f4")


def _encoded(array: Any) -> dict[str, Any]:
    return {
        "dtype": "uint32" if array.dtype.kind == "u" else "float32",
        "shape": list(array.shape),
        "base64": base64.b64encode(array.tobytes()).decode(),
    }
