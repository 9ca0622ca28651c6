"""How a driver reaches a simulated device.

`WireDevice` is what every simulated device with a wire derives from: bytes in, bytes out, on the
bench's clock. `InProcessAdapter` mounts it under a driver without threads: a read that finds no
byte lets the clock run to the moment at which the device answers. `serve_tcp` puts the same device
on a TCP socket (and `serve_pty`, on POSIX systems, on a pseudo-terminal) for real PyVISA and for
independent clients. All three reach the device by its `wire`, where faults step in between.
"""

from __future__ import annotations

import abc
import contextlib
import os
import socket
import sys
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pymeasure.adapters import Adapter

from instruments.clock import Clock
from instruments.errors import NoReply


class Wire(Protocol):
    """What the host has of a device; OSError from any of them means that the link is dead."""

    def opened(self) -> None:
        """The host has opened the link (again); OSError if it cannot."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the host."""

    def due(self) -> float | None:
        """Return when the next bytes will be ready, None if nothing is on its way."""

    def take(self) -> bytes:
        """Return the bytes that are ready by now."""


class WireDevice(abc.ABC):
    """A simulated device: override `receive`, answer with `send`.

    Bytes arrive as the host wrote them, in pieces of any size; framing is the device's own.
    State that moves is a function of the clock, worked out when somebody asks.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset()
    """The kinds of faults that the device plays itself, by `fault`; its wire plays others."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.device_lock = threading.RLock()
        self.wire: Wire = self
        self._outgoing: deque[tuple[float, bytes]] = deque()

    def fault(self, kind: str, active: bool) -> None:
        """Begin or end a fault of FAULTS."""
        raise ValueError(f"{type(self).__name__} does not play the fault {kind!r}")

    def opened(self) -> None:
        """See Wire; what was on its way to an earlier host is lost."""
        self._outgoing.clear()

    @abc.abstractmethod
    def receive(self, data: bytes) -> None:
        """Take bytes from the host."""

    def send(self, data: bytes, after_s: float = 0.0) -> None:
        """Have `data` reach the host `after_s` seconds from now (in the order of sending)."""
        moment = self.clock.now() + after_s
        if self._outgoing:
            moment = max(moment, self._outgoing[-1][0])
        self._outgoing.append((moment, data))

    def due(self) -> float | None:
        """Return when the next bytes will be ready, None if nothing is on its way."""
        return self._outgoing[0][0] if self._outgoing else None

    def take(self) -> bytes:
        """Return the bytes that are ready by now."""
        now = self.clock.now()
        ready = b""
        while self._outgoing and self._outgoing[0][0] <= now:
            ready += self._outgoing.popleft()[1]
        return ready

    def link(self, driver: Any) -> Any:
        """Return an in-process link for an instance of the class `driver`."""
        _open(self)
        return InProcessAdapter(self, timeout_s=driver.TIMEOUT_S, **driver.VISA)

    def serve(self, host: str, on_tcp: bool) -> Served:
        """Serve this device to other processes, until `close` of what is returned."""
        return serve_tcp(self, host) if on_tcp else serve_pty(self)

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again (counters that key the noise)."""
        return {}

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned; nothing where nothing keys the noise."""
        del state


@dataclass
class _Connection:
    """What pymeasure calls an adapter's connection; the time-out is in milliseconds, as VISA's."""

    timeout: float

    def close(self) -> None:
        """Nothing is held open in process."""


class InProcessAdapter(Adapter):  # type: ignore[misc]
    """A pymeasure adapter straight onto a simulated device."""

    def __init__(
        self,
        device: WireDevice,
        *,
        write_termination: str = "",
        read_termination: str = "",
        timeout_s: float = 1.0,
        **_visa_only: Any,
    ) -> None:
        super().__init__()
        self.device = device
        self.connection = _Connection(timeout_s * 1000.0)
        self.link_lock = device.device_lock
        self._write_termination = write_termination.encode("latin-1")
        self._read_termination = read_termination.encode("latin-1")
        self._buffer = bytearray()

    def _write(self, command: str, **_kwargs: Any) -> None:
        self._write_bytes(command.encode("latin-1") + self._write_termination)

    def reopen(self) -> None:
        """Close and open the link; NoReply if the device is gone."""
        self._buffer.clear()
        _open(self.device)

    def _write_bytes(self, content: bytes, **_kwargs: Any) -> None:
        with self.device.device_lock:
            self.device.wire.receive(content)

    def _read(self, **_kwargs: Any) -> str:
        data = self._until(self._read_termination)
        return data[: len(data) - len(self._read_termination)].decode()

    def _read_bytes(self, count: int, break_on_termchar: bool, **_kwargs: Any) -> bytes:
        if count < 0:
            if break_on_termchar and self._read_termination:
                return self._until(self._read_termination)
            self._fill()
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        deadline = self._deadline()
        while len(self._buffer) < count:
            self._wait(deadline)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _until(self, termination: bytes) -> bytes:
        deadline = self._deadline()
        while True:
            self._fill()
            end = self._buffer.find(termination) if termination else len(self._buffer) - 1
            if end >= 0 and self._buffer:
                size = end + len(termination) if termination else len(self._buffer)
                data = bytes(self._buffer[:size])
                del self._buffer[:size]
                return data
            self._wait(deadline)

    def _deadline(self) -> float:
        return self.device.clock.now() + float(self.connection.timeout) / 1000.0

    def _fill(self) -> None:
        with self.device.device_lock:
            self._buffer += self.device.wire.take()

    def _wait(self, deadline: float) -> None:
        """Let time pass until the device has something, or raise NoReply at the deadline."""
        with self.device.device_lock:
            due = self.device.wire.due()
        if due is None or due > deadline:
            self.device.clock.sleep_until(deadline)
            self._fill()
            if due is None or due > self.device.clock.now():
                raise NoReply(f"no answer within {float(self.connection.timeout) / 1000:g} s")
            return
        had = len(self._buffer)
        self.device.clock.sleep_until(due)
        self._fill()
        if len(self._buffer) == had:  # it was due and did not come: time must not stand still
            if self.device.clock.now() >= deadline:
                raise NoReply(f"no answer within {float(self.connection.timeout) / 1000:g} s")
            self.device.clock.sleep(1e-3)

    def flush_read_buffer(self) -> None:
        """Discard what has arrived."""
        self._fill()
        self._buffer.clear()

    def __repr__(self) -> str:
        """Name the device behind."""
        return f"<InProcessAdapter({type(self.device).__name__})>"


def _open(device: WireDevice) -> None:
    try:
        with device.device_lock:
            device.wire.opened()
    except OSError as error:
        raise NoReply(f"the link cannot be opened ({error})") from error


class Served:
    """A simulated device on a TCP port or a pseudo-terminal, until `close`."""

    def __init__(self, resource: str, address: dict[str, Any]) -> None:
        self.resource = resource
        self.address = address
        self._closing = threading.Event()
        self._cleanup = contextlib.ExitStack()

    def close(self) -> None:
        """Stop serving."""
        self._closing.set()
        self._cleanup.close()


def serve_tcp(device: WireDevice, host: str = "127.0.0.1", port: int = 0) -> Served:
    """Serve a device on a TCP port (0: a free one), one client at a time."""
    listener = socket.create_server((host, port))
    port = listener.getsockname()[1]
    served = Served(
        f"TCPIP0::{host}::{port}::SOCKET",
        {"host": host, "port": port},
    )
    served._cleanup.callback(listener.close)
    listener.settimeout(0.2)

    def run() -> None:
        while not served._closing.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(OSError):  # the client has gone, or the link is dead
                    device.wire.opened()
                    while not served._closing.is_set():
                        client.settimeout(_patience_s(device))
                        try:
                            data = client.recv(4096)
                        except TimeoutError:
                            data = None
                        if data == b"":
                            break
                        client.settimeout(10.0)
                        client.sendall(_exchange(device, data))

    threading.Thread(target=run, name=f"tcp:{port}", daemon=True).start()
    return served


def serve_pty(device: WireDevice) -> Served:
    """Serve a device on a raw pseudo-terminal (POSIX systems only)."""
    if sys.platform == "win32":
        raise OSError("pseudo-terminals exist on POSIX systems only; serve the device on TCP")
    import pty
    import select
    import tty

    node = _Node(device.wire is not device)

    def pair() -> int:
        master, slave = pty.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        node.put(slave)
        return master

    master = pair()
    served = Served(f"ASRL{node.path}::INSTR", {"path": node.path})

    def run() -> None:
        nonlocal master
        while not served._closing.is_set():
            readable, _, _ = select.select([master], [], [], _patience_s(device))
            try:
                data = os.read(master, 4096) if readable else None
                answer = _exchange(device, data)
            except ConnectionError:  # unplugged: the host's handle dies, the node goes
                os.close(master)
                node.take_away()
                while not served._closing.wait(0.05):
                    with contextlib.suppress(ConnectionError):
                        device.wire.opened()
                        break
                master = pair()
                continue
            except OSError:
                if served._closing.wait(0.05):
                    break
                continue
            with contextlib.suppress(OSError):
                while answer:
                    answer = answer[os.write(master, answer) :]
        os.close(master)
        node.close()

    threading.Thread(target=run, name=f"pty:{node.path}", daemon=True).start()
    return served


class _Node:
    """The name of a pseudo-terminal: its own, or a link that can follow it to another one."""

    def __init__(self, movable: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gainbench-tty-") if movable else None
        self.path = str(Path(self._folder.name) / "tty") if self._folder else ""
        self._slave = -1

    def put(self, slave: int) -> None:
        """Name a terminal; its host's end is kept open, so that a host may come and go."""
        self._slave = slave
        if self._folder is None:
            self.path = os.ttyname(slave)
        else:
            os.symlink(os.ttyname(slave), self.path)

    def take_away(self) -> None:
        """Take the name away, as the node of an adapter that is unplugged."""
        os.close(self._slave)
        self._slave = -1
        if self._folder is not None:
            os.unlink(self.path)

    def close(self) -> None:
        """Forget everything."""
        if self._slave >= 0:
            os.close(self._slave)
        if self._folder is not None:
            self._folder.cleanup()


def _patience_s(device: WireDevice) -> float:
    """Return how long to wait for the host: until the device has something to say."""
    with device.device_lock:
        due = device.wire.due()
    if due is None:
        return 0.02
    return min(max(due - device.clock.now(), 2e-4), 0.02)


def _exchange(device: WireDevice, data: bytes | None) -> bytes:
    with device.device_lock:
        if data:
            device.wire.receive(data)
        return device.wire.take()
