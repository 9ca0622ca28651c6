"""How a driver talks over a wire: the base of every driver that speaks bytes.

A driver is a pymeasure Instrument on a pymeasure Adapter: VISA in the lab, in process on the
simulated bench, `expected_protocol` in a protocol test. Here are only the lock of a link that
several instruments may share, patience for slow actions, errors in the bench's own words, and how
a link that died is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from pymeasure.adapters import Adapter, VISAAdapter
from pymeasure.instruments import Instrument

from instruments.clock import Clock, WallClock
from instruments.errors import BadReply, InstrumentError, NoReply
from instruments.roles import refuse_unknown


class WireInstrument(Instrument):  # type: ignore[misc]
    """Base of the drivers.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock; the wall clock if left out.
    """

    VISA: ClassVar[Mapping[str, Any]] = {}
    """Keyword arguments of pymeasure's VISAAdapter for a real link of this device."""
    TIMEOUT_S: ClassVar[float] = 1.0
    """How long an ordinary reply may take."""

    _sealed = False

    def __init__(self, adapter: Adapter, clock: Clock | None = None, name: str = "") -> None:
        super().__init__(adapter, name or type(self).__name__, includeSCPI=False)
        _keep_one_handler(getattr(adapter, "log", None))
        self.clock: Clock = clock if clock is not None else WallClock()
        lock = getattr(adapter, "link_lock", None)
        self.lock: threading.RLock = lock if lock is not None else threading.RLock()  # type: ignore[valid-type]

    @classmethod
    def open_link(cls, resource: str) -> Any:
        """Open the link to a resource of the bench file; NoReply if there is none."""
        return open_visa(resource, cls)

    def seal(self) -> None:
        """From now on refuse to set attributes that the class does not have."""
        super().__setattr__("_sealed", True)

    __getattribute__ = object.__getattribute__
    """pymeasure's own only forbids reading what changes a dynamic property; there is none here, and
    it takes a fifth of the time of every exchange."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse a misspelt setting."""
        if self._sealed:
            refuse_unknown(self, name)
        super().__setattr__(name, value)

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command; raises NoReply if the link is gone."""
        with self._plain_errors("writing", command):
            super().write(command, **kwargs)

    def read(self, **kwargs: Any) -> str:
        """Read a reply; raises NoReply after the time-out, BadReply if it is not text."""
        with self._plain_errors("reading", ""):
            return str(super().read(**kwargs))

    def write_bytes(self, content: bytes, **kwargs: Any) -> None:
        """Write bytes; raises NoReply if the link is gone."""
        with self._plain_errors("writing", repr(content)):
            super().write_bytes(content, **kwargs)

    def read_bytes(self, count: int, break_on_termchar: bool = False, **kwargs: Any) -> bytes:
        """Read bytes; raises NoReply after the time-out."""
        with self._plain_errors("reading", ""):
            return bytes(super().read_bytes(count, break_on_termchar=break_on_termchar, **kwargs))

    def discard_input(self) -> None:
        """Throw away what is in the input buffer (a late or stray reply)."""
        with contextlib.suppress(Exception):
            if not _drain_socket(self.adapter):
                self.adapter.flush_read_buffer()

    def reopen(self) -> None:
        """Replace the connection by a fresh one, for all who share this link.

        Raises NoReply if there is nothing to connect to.
        """
        with self.lock:
            reopen = getattr(self.adapter, "reopen", None)
            if reopen is None:
                raise NoReply(f"{self.name}: a link of this kind cannot be opened again")
            with self._plain_errors("opening", "the link again"):
                reopen()
            self.discard_input()

    def recover(self) -> None:
        """Reopen the link, identify the instrument again and bring it what it may have lost.

        As `connect`, it moves nothing but a shutter, which it closes. A driver whose device can
        lose its reference, and would not tell, overrides this so that it counts as not homed.

        Raises:
            NoReply, BadReply, DeviceFault, NotReady: the instrument is not back.
            WrongIdentity: another instrument answers.
        """
        with self.lock:
            self.reopen()
            connect: Callable[[], None] = getattr(self, "connect", lambda: None)
            connect()

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait up to `seconds` for a reply inside the block (a move, a homing).

        Raises NoReply if the link is gone.
        """
        with self._plain_errors("waiting", ""):
            connection = self.adapter.connection
            before = connection.timeout
            connection.timeout = seconds * 1000.0
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # on a dead link: what the block raised counts
                connection.timeout = before

    def close(self) -> None:
        """Close the link; callable more than once."""
        with contextlib.suppress(Exception):
            self.adapter.close()

    @contextlib.contextmanager
    def _plain_errors(self, doing: str, what: str) -> Iterator[None]:
        try:
            yield
        except InstrumentError as error:
            if error.args and not str(error).startswith(self.name):
                raise type(error)(f"{self.name}: {error}") from None
            raise
        except UnicodeDecodeError as error:
            raise BadReply(
                f"{self.name}: the reply is not text ({error.object[:40]!r}); "
                "check baud rate and parity"
            ) from None
        except (OSError, EOFError) as error:  # VisaIOError and SerialException are OSErrors
            raise NoReply(f"{self.name}: {doing} {what}: {error}") from error
        except Exception as error:
            if type(error).__module__.startswith("pyvisa"):
                raise NoReply(f"{self.name}: {doing} {what}: {error}") from error
            raise


def _keep_one_handler(adapters: Any) -> None:
    """Take away what pymeasure adds to this logger with each new adapter, and never removes."""
    if isinstance(adapters, logging.Logger):
        idle = [one for one in adapters.handlers if isinstance(one, logging.NullHandler)]
        for one in idle[1:]:
            adapters.removeHandler(one)


def _drain_socket(adapter: Any) -> bool:
    """Empty the buffer of a pyvisa-py TCP socket at once; return whether it was one.

    Its own flush waits 0.1 s for more, which every exchange of a driver that drains first would
    pay. Anything unexpected about the session leaves the work to that flush.
    """
    connection: Any = getattr(adapter, "connection", None)
    sessions = getattr(getattr(connection, "visalib", None), "sessions", None)
    if sessions is None:
        return False
    session = sessions[connection.session]
    pending = getattr(session, "_pending_buffer", None)
    if not isinstance(session.interface, socket.socket) or not isinstance(pending, bytearray):
        return False
    pending.clear()
    while select.select([session.interface], [], [], 0.0)[0]:
        if not session.interface.recv(4096):
            break
    return True


class VisaLink(VISAAdapter):  # type: ignore[misc]
    """A VISA link that can be opened again and stays the same object, as others may share it."""

    def __init__(self, resource: str, **options: Any) -> None:
        self.link_lock = threading.RLock()
        self._given = (resource, options)
        super().__init__(resource, **options)

    def reopen(self) -> None:
        """Close the connection, in whatever state it is, and make a new one."""
        resource, options = self._given
        with contextlib.suppress(Exception):
            self.connection.close()
        super().__init__(resource, **options)


def open_visa(resource: str, driver: type[WireInstrument], timeout_s: float | None = None) -> Any:
    """Open a VISA resource as the driver's device wants it.

    Raises:
        NoReply: the resource does not exist or is held by another program.
    """
    try:
        return VisaLink(
            resource,
            timeout=1000.0 * (timeout_s if timeout_s is not None else driver.TIMEOUT_S),
            **driver.VISA,
        )
    except Exception as error:
        raise NoReply(
            f"{resource}: cannot be opened ({error}); is it plugged in, "
            "and does no other program hold it?"
        ) from error
