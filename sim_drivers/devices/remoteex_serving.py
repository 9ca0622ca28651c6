"""The two TCP sockets of a simulated RemoteEx server.

For `sim_drivers.devices.hamamatsu_remoteex`: each greets its client when it connects, the data
socket has the port above that of the commands. One client at a time, as the devices of the bench
all do. Stops at the bytes.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from sim_drivers.link import Served, WireDevice

_QUIET_S = 0.02
_SEND_S = 10.0


def serve_two(command: WireDevice, data: WireDevice, host: str) -> Served:
    """Serve two devices on neighbouring ports until `close`; the resource is `host:port`."""
    first, second = _neighbours(host)
    port = int(first.getsockname()[1])
    served = Served(f"{host}:{port}", {"host": host, "port": port})
    for device, listener in ((command, first), (data, second)):
        served._cleanup.callback(listener.close)
        listener.settimeout(0.2)
        threading.Thread(
            target=_accept, args=(device, listener, served._closing), daemon=True
        ).start()
    return served


def _neighbours(host: str) -> tuple[socket.socket, socket.socket]:
    """Return listeners on a free port and on the one above it."""
    for _ in range(50):
        first = socket.create_server((host, 0))
        try:
            return first, socket.create_server((host, first.getsockname()[1] + 1))
        except (OSError, OverflowError):
            first.close()
    raise OSError("no two neighbouring ports are free")


def _accept(device: WireDevice, listener: socket.socket, closing: threading.Event) -> None:
    while not closing.is_set():
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with device.device_lock:
                device.wire.opened()
            _talk(device, client, closing)


def _talk(device: WireDevice, client: socket.socket, closing: threading.Event) -> None:
    while not closing.is_set():
        with device.device_lock:
            due = device.wire.due()
        quiet_s = _QUIET_S if due is None else due - device.clock.now()
        client.settimeout(min(max(quiet_s, 2e-4), _QUIET_S))
        try:
            received: bytes | None = client.recv(4096)
        except TimeoutError:
            received = None
        if received == b"":
            return
        with device.device_lock:
            if received:
                device.wire.receive(received)
            answer = device.wire.take()
        if answer:
            client.settimeout(_SEND_S)
            client.sendall(answer)
