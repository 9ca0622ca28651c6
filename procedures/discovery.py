"""What is plugged in, and who it is: for `gainbench check`.

Lists the VISA resources of this computer with what is known of each port without sending anything,
and tries a driver at a resource: nothing but that driver's own identification is sent, and only
where the bench file leaves something to be found. Stops at names: what is wrong is `checking`'s.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import warnings
from dataclasses import dataclass
from typing import Any

from instruments.clock import Clock, Ticket, WallClock
from instruments.errors import BenchError
from instruments.holding import serial_port
from instruments.roles import Identity
from instruments.wire import WireInstrument

LIST_S = 5.0
"""How long the computer may take to list its resources."""
CONNECT_S = 1.0
_PATIENCE_S = 0.3  # with an instrument that has not said anything yet
_PAUSE_S = 0.1
# Makers by their number on the USB.
_MAKERS = {0x1313: "Thorlabs", 0x104D: "Newport", 0x0403: "FTDI serial adapter"}
_USB = re.compile(r"USB\d*::(0x[0-9a-f]+|\d+)::(0x[0-9a-f]+|\d+)::([^:]+)::", re.I)
_SOCKET = re.compile(r"TCPIP\d*::([^:]+)::(\d+)::SOCKET", re.I)
_HOST_AND_PORT = re.compile(r"(?:wss?://)?([\w.\-]+):(\d+)/?", re.I)


@dataclass(frozen=True)
class Resource:
    """A VISA resource of this computer, and what is known of its port without asking."""

    name: str
    description: str = ""

    @property
    def serial(self) -> bool:
        """Whether it is a serial port."""
        return self.name.upper().startswith("ASRL")


def resources() -> list[Resource]:
    """Return the VISA resources that this computer sees, within `LIST_S` seconds."""
    found: list[str] = []

    def look() -> None:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about discovery of what is not installed
            import pyvisa

            manager = pyvisa.ResourceManager()
            try:
                found.extend(str(name) for name in manager.list_resources("?*::INSTR"))
            finally:
                manager.close()

    # A vendor's VISA may search the network for as long as it likes.
    worker = threading.Thread(target=look, name="list resources", daemon=True)
    worker.start()
    worker.join(LIST_S)
    ports = _ports()
    return [Resource(name, _describe(name, ports)) for name in found]


def _ports() -> dict[str, str]:
    """Return what the computer knows of its serial ports, by name of the port."""
    with contextlib.suppress(Exception):
        from serial.tools.list_ports import comports

        return {
            port.device: " ".join(
                part
                for part in (port.manufacturer, port.product or port.description)
                if part and part != "n/a"
            )
            for port in comports()
        }
    return {}


def _describe(name: str, ports: dict[str, str]) -> str:
    usb = _USB.match(name)
    if usb is not None:
        maker = _MAKERS.get(int(usb[1], 0), f"maker {usb[1]}")
        return f"{maker}, product {usb[2]}, serial {usb[3]}"
    port = serial_port(name)
    return ports.get(port, ports.get(f"COM{port}", "")) if port else ""


def unreachable(resource: str) -> str:
    """Return why nothing can be at a resource, "" if something may be; sends nothing."""
    port = serial_port(resource)
    if port.startswith("/") and sys.platform != "win32":
        if not os.path.exists(port):
            return f"there is no port {port} on this computer"
        if not os.access(port, os.R_OK | os.W_OK):
            return (
                f"this user may not use {port}: add the user to the group that owns it "
                "(often dialout), then log in again"
            )
    match = _SOCKET.fullmatch(resource.strip()) or _HOST_AND_PORT.fullmatch(resource.strip())
    if match is None:
        return ""
    try:
        with socket.create_connection((match[1], int(match[2])), timeout=CONNECT_S):
            return ""
    except (OSError, OverflowError) as error:
        return f"nothing listens at {match[1]} port {match[2]} ({error})"


def identify(kind: type, options: dict[str, Any], resource: str) -> Identity | None:
    """Return who answers a driver at a resource, None if it is not that driver's instrument.

    Sends what the driver sends to find out, and, if it is the right one, what the driver needs to
    connect; nothing moves but a shutter, which closes.
    """
    if not issubclass(kind, WireInstrument) or unreachable(resource):
        return None
    link = None
    try:
        link = kind.open_link(resource)
        instrument: Any = impatient(kind)(link, clock=WallClock(), **options)
        instrument.connect()
        found: Identity = instrument.identity
        return found
    except (BenchError, OSError, ValueError):
        return None
    finally:
        if link is not None:
            with contextlib.suppress(Exception):
                link.close()


def impatient(kind: type) -> type:
    """Return a driver that gives up soon, as long as nothing at all has answered.

    A driver waits longer and longer for a slow instrument; for one that is not there, a check
    need not. From the first reply on it is as patient as ever.
    """
    if not issubclass(kind, WireInstrument):
        return kind
    parent: Any = kind

    class Impatient(parent):  # type: ignore[misc]
        _heard = False

        def __init__(self, adapter: Any, clock: Clock | None = None, **options: Any) -> None:
            super().__init__(adapter, clock=_Hurried(self, clock or WallClock()), **options)
            self._usual_ms = 0.0
            connection = getattr(adapter, "connection", None)
            if connection is not None:
                self._usual_ms = float(connection.timeout or 1000.0 * self.TIMEOUT_S)
                connection.timeout = min(self._usual_ms, 1000.0 * _PATIENCE_S)

        @contextlib.contextmanager
        def patience(self, seconds: float) -> Any:
            with super().patience(seconds if self._heard else min(seconds, _PATIENCE_S)):
                yield
            self._be_patient()

        def read(self, **kwargs: Any) -> str:
            text = str(super().read(**kwargs))
            self._has_answered()
            return text

        def read_bytes(self, count: int, break_on_termchar: bool = False, **kwargs: Any) -> bytes:
            data = bytes(super().read_bytes(count, break_on_termchar, **kwargs))
            if data:
                self._has_answered()
            return data

        def _has_answered(self) -> None:
            if not self._heard:
                self._heard = True
                self._be_patient()

        def _be_patient(self) -> None:
            if self._heard and self._usual_ms:
                connection = self.adapter.connection
                connection.timeout = max(float(connection.timeout), self._usual_ms)

    Impatient.__name__ = Impatient.__qualname__ = kind.__name__  # messages name the driver
    return Impatient


class _Hurried(Clock):
    """A clock whose pauses are short until an instrument has answered."""

    def __init__(self, instrument: Any, clock: Clock) -> None:
        super().__init__()
        self._instrument, self._clock = instrument, clock

    def now(self) -> float:
        """See Clock."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        self._clock.sleep(seconds if self._instrument._heard else min(seconds, _PAUSE_S))

    def every(self, period_s: float, function: Any) -> Ticket:
        """See Clock."""
        return self._clock.every(period_s, function)
