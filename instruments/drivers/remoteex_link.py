"""The two sockets of a RemoteEx server (HPD-TA, HiPic), and which reply belongs to which command.

For `instruments.drivers.hamamatsu_remoteex`. A command is `Name(arguments)` CR on the first
socket; its reply is `code,Name,values` CR, perhaps of several lines (CR LF inside), perhaps after
lines that nobody asked for (codes 4 and 5). Pixels and tables come over the second socket, bare.
Here replies are told apart by code and name, and binary blocks are read to the byte; what the
commands mean is the driver's.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from instruments.clock import Clock
from instruments.errors import BadReply, DeviceFault, NoReply
from instruments.wire import WireInstrument, open_visa

TIMEOUT_S = 1.0
CODES = {
    1: "invalid syntax",
    2: "unknown command or parameter",
    3: "not possible now",
    6: "a parameter is missing",
    7: "cannot be executed",
    8: "an error occurred during execution",
    9: "data cannot be sent over TCP",
    10: "a value is out of range",
}
BUSY = (3, 7)

_MESSAGES = (4, 5)
_MAY_LACK_NAME = (1, 2)
_REPLY = re.compile(r"(\d{1,2})(?:,([^,]*)(?:,(.*))?)?", re.DOTALL)
_RESOURCE = re.compile(r"(?:remoteex://)?([A-Za-z0-9_.:\[\]-]+):(\d{1,5})")
_CONTINUED_S = 0.05  # how soon the next line of one reply follows
_SURPLUS_S = 0.02  # how soon bytes follow that should not be there
_QUIET_S = 0.1
_PIECE_S = 0.5  # of waiting, after which it is seen that another call came in
_MOST_LINES = 200


@dataclass(frozen=True)
class Reply:
    """A line of the command socket: result code, name, and the values behind it."""

    code: int
    name: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """The values as they came."""
        return ",".join(self.values)


class Refused(DeviceFault):
    """RemoteEx answered with a code other than 0."""

    def __init__(self, message: str, code: int = 8) -> None:
        super().__init__(message)
        self.reply_code = code


class Overtaken(DeviceFault):
    """Another call came in while a reply was waited for, and has taken it."""


class CommandPort(WireInstrument):
    """The socket of the commands."""

    VISA: ClassVar[Mapping[str, Any]] = {
        "write_termination": "\r",
        "read_termination": "\r",
        "encoding": "latin-1",
    }
    TIMEOUT_S: ClassVar[float] = TIMEOUT_S


class DataPort(WireInstrument):
    """The socket of pixels and tables: bytes without a header."""

    VISA: ClassVar[Mapping[str, Any]] = {}
    TIMEOUT_S: ClassVar[float] = TIMEOUT_S

    def read_block(self, count: int) -> bytes:
        """Read exactly `count` bytes; NoReply if fewer come in time."""
        with self._plain_errors("reading", f"{count} bytes"):
            return bytes(self.adapter.read_bytes(count))


class TwoSockets:
    """Open connections to both sockets: pymeasure adapters `command` and `data`."""

    def __init__(self, resource: str) -> None:
        found = _RESOURCE.fullmatch(resource.strip())
        port = int(found.group(2)) if found else 0
        if found is None or not 0 < port < 65535:
            raise NoReply(
                f"{resource!r} is not the address of a RemoteEx server; write host:port, the port "
                "of the commands (1001 if nobody has changed it)"
            )
        host = found.group(1)
        self.link_lock = threading.RLock()
        self.command = open_visa(f"TCPIP0::{host}::{port}::SOCKET", CommandPort)
        try:
            self.data = open_visa(f"TCPIP0::{host}::{port + 1}::SOCKET", DataPort)
        except NoReply:
            self.command.close()
            raise

    def close(self) -> None:
        """Close both; callable more than once."""
        for adapter in (self.command, self.data):
            with contextlib.suppress(Exception):
                adapter.close()


class RemoteExClient:
    """Commands and their replies.

    Args:
        link: what has the adapters `command` and `data`. clock: the bench's clock.
        name: for errors.
    """

    def __init__(self, link: Any, clock: Clock, name: str) -> None:
        self.link = link
        self.clock = clock
        self.name = name
        self.command = CommandPort(link.command, clock, name)
        self.data = DataPort(link.data, clock, f"{name} data socket")
        self.messages: deque[str] = deque(maxlen=16)
        """The latest lines that nobody asked for, as text."""
        self._ahead: deque[str] = deque()
        self._asked = 0

    def reopen(self) -> None:
        """Connect both sockets again; NoReply if there is nothing to connect to."""
        for port in (self.command, self.data):
            reopen = getattr(port.adapter, "reopen", None)
            if reopen is None:
                raise NoReply(f"{self.name}: a link of this kind cannot be opened again")
            try:
                reopen()
            except Exception as error:
                raise NoReply(f"{self.name}: cannot be reached again ({error})") from error
        self.discard()

    def discard(self) -> None:
        """Throw away what the command socket has brought so far."""
        self._ahead.clear()
        self.command.discard_input()

    def quieten(self) -> None:
        """After something went wrong: wait a little, and throw away what comes meanwhile."""
        self.clock.sleep(_QUIET_S)
        self.discard()
        self.data.discard_input()

    # ---- commands ------------------------------------------------------------------------------

    def ask(self, name: str, *args: str, patience_s: float, lines: bool = False) -> Reply:
        """Send a command once and return its reply, whatever the code.

        lines: the reply may have several lines.

        Raises:
            NoReply: nothing came in time. BadReply: something came, but no reply to this.
        Overtaken: the watch of a virtual clock has asked something else meanwhile.
        """
        self._asked += 1
        asked = self._asked
        self.discard()
        self.command.write(f"{name}({','.join(args)})")
        ends = self.clock.now() + patience_s
        stray = ""
        for _ in range(_MOST_LINES):
            text = self._line(ends)
            if asked != self._asked:
                raise Overtaken(f"{self.name}: {name} was overtaken by another call")
            if text is None:
                break
            reply = parse(text)
            if reply is None:
                stray = text
            elif reply.code in _MESSAGES:
                self.messages.append(reply.text if not reply.name else f"{reply.name} {reply.text}")
            elif reply.name.lower() == name.lower():
                return parse(text + self._continuation()) or reply if lines else reply
            elif reply.code in _MAY_LACK_NAME and not reply.name:
                return reply
        if stray:
            raise BadReply(f"{self.name}: {stray[:60]!r} is no reply to {name}")
        raise NoReply(
            f"{self.name}: no reply to {name} within {patience_s:g} s; does the program hang, or "
            "wait for somebody to answer a dialogue on its screen?"
        )

    def listen(self, seconds: float) -> Reply | None:
        """Return the next line that comes by itself, None if there is none within `seconds`."""
        ends = self.clock.now() + seconds
        while True:
            text = self._line(ends)
            if text is None:
                return None
            reply = parse(text)
            if reply is not None and reply.code in _MESSAGES:
                self.messages.append(f"{reply.name} {reply.text}")
                return reply

    def _line(self, ends: float) -> str | None:
        """Return the next line; None when the time is over, NoReply if the link is dead."""
        asked = self._asked
        while True:
            if self._ahead:
                return self._ahead.popleft()
            left = ends - self.clock.now()
            if left <= 0.0 or asked != self._asked:
                return None
            piece = min(left, _PIECE_S)
            began = self.clock.now()
            try:
                with self.command.patience(piece):
                    text = self.command.read()
            except BadReply:  # not text at all
                return "?"
            except NoReply:
                if self.clock.now() - began < 0.5 * piece:  # that was no time-out
                    raise
                continue
            if not text.startswith("\n"):  # otherwise the rest of a line that is not wanted
                return text

    def _continuation(self) -> str:
        """Return the lines that belong to the reply just read, each beginning with CR LF."""
        found = ""
        for _ in range(_MOST_LINES):
            try:
                with self.command.patience(_CONTINUED_S):
                    text = self.command.read()
            except (NoReply, BadReply):
                break
            if not text.startswith("\n"):
                self._ahead.append(text)
                break
            found += "\r" + text
        return found

    # ---- binary blocks -------------------------------------------------------------------------

    def transfer(
        self, *args: str, size: Callable[[tuple[str, ...]], int], patience_s: float
    ) -> tuple[tuple[str, ...], bytes]:
        """Send ImgDataGet once; return the values of its reply and exactly the bytes they announce.

        size: returns the number of bytes from the values, or raises BadReply.

        Raises:
            Refused: the server has no such data. NoReply: too few bytes came. BadReply: too many.
        """
        self.data.discard_input()
        reply = self.ask("ImgDataGet", *args, patience_s=patience_s)
        if reply.code:
            raise refusal(self.name, f"ImgDataGet({','.join(args)})", reply)
        count = size(reply.values)
        with self.data.patience(patience_s):
            content = self.data.read_block(count)
        if len(content) != count or self._surplus():
            raise BadReply(f"{self.name}: more or less than the {count} bytes announced came")
        return reply.values, content

    def _surplus(self) -> bool:
        try:
            with self.data.patience(_SURPLUS_S):
                return bool(self.data.read_block(1))
        except NoReply:
            return False


def parse(text: str) -> Reply | None:
    """Return a line as code, name and values; None if it is no line of this protocol."""
    found = _REPLY.fullmatch(text)
    if found is None:
        return None
    code, name = int(found.group(1)), (found.group(2) or "").strip()
    known = code == 0 or code in CODES or code in _MESSAGES
    if not known or (not name and code not in _MAY_LACK_NAME):
        return None
    values = found.group(3)
    return Reply(code, name, () if values is None else tuple(values.split(",")))


def refusal(name: str, command: str, reply: Reply) -> Refused:
    """Return the error for a reply with a code other than 0."""
    why = CODES.get(reply.code, "")
    said = f": {reply.text}" if reply.text.strip(", ") else ""
    return Refused(f"{name}: {command} was refused, code {reply.code} ({why}){said}", reply.code)
