"""How a driver reaches a simulated device.

`WireDevice` is what every simulated device with a wire derives from: bytes in, bytes out, on the
bench's clock. `InProcessAdapter` mounts it under a driver without threads: a read that finds no
byte lets the clock run to the moment at which the device answers. `serve_tcp` puts the same device
on a TCP socket (and `serve_pty`, on POSIX systems, on a pseudo-terminal) for real PyVISA and for
independent clients.
"""

from __future__ import annotations

import abc
import contextlib
import os
import socket
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from pymeasure.adapters import Adapter

from instruments.clock import Clock
from instruments.errors import NoReply


class WireDevice(abc.ABC):
    """A simulated device: override `receive`, answer with `send`.

    Bytes arrive as the host wrote them, in pieces of any size; framing is the device's own.
    State that moves is a function of the clock, worked out when somebody asks.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.device_lock = threading.RLock()
        self._outgoing: deque[tuple[float, bytes]] = deque()

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

    def _write_bytes(self, content: bytes, **_kwargs: Any) -> None:
        with self.device.device_lock:
            self.device.receive(content)

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
            self._buffer += self.device.take()

    def _wait(self, deadline: float) -> None:
        """Let time pass until the device has something, or raise NoReply at the deadline."""
        with self.device.device_lock:
            due = self.device.due()
        if due is None or due > deadline:
            self.device.clock.sleep_until(deadline)
            self._fill()
            if due is None or due > self.device.clock.now():
                raise NoReply(f"no answer within {float(self.connection.timeout) / 1000:g} s")
            return
        self.device.clock.sleep_until(due)
        self._fill()

    def flush_read_buffer(self) -> None:
        """Discard what has arrived."""
        self._fill()
        self._buffer.clear()

    def __repr__(self) -> str:
        """Name the device behind."""
        return f"<InProcessAdapter({type(self.device).__name__})>"


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
                with contextlib.suppress(OSError):
                    while not served._closing.is_set():
                        client.settimeout(_patience_s(device))
                        try:
                            data = client.recv(4096)
                        except TimeoutError:
                            data = None
                        if data == b"":
                            break
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

    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    path = os.ttyname(slave)
    served = Served(f"ASRL{path}::INSTR", {"path": path})
    served._cleanup.callback(os.close, slave)

    def run() -> None:
        while not served._closing.is_set():
            readable, _, _ = select.select([master], [], [], _patience_s(device))
            try:
                data = os.read(master, 4096) if readable else None
                answer = _exchange(device, data)
                while answer:
                    answer = answer[os.write(master, answer) :]
            except OSError:
                if served._closing.wait(0.05):
                    break
        os.close(master)

    threading.Thread(target=run, name=f"pty:{path}", daemon=True).start()
    return served


def _patience_s(device: WireDevice) -> float:
    """Return how long to wait for the host: until the device has something to say."""
    with device.device_lock:
        due = device.due()
    if due is None:
        return 0.02
    return min(max(due - device.clock.now(), 2e-4), 0.02)


def _exchange(device: WireDevice, data: bytes | None) -> bytes:
    with device.device_lock:
        if data:
            device.receive(data)
        return device.take()
