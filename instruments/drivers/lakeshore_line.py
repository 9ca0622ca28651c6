"""How a Lake Shore temperature controller is talked to: pauses, line ends, replies worth believing.

For the driver in lakeshore_335. A reply neither repeats its question nor carries a checksum, so a
line counts only in the shape that its question allows, settings count when two replies in a row are
alike, and nothing is sent while something late may still arrive. Stops at text.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pymeasure.adapters import Adapter
from pyvisa.constants import Parity

from instruments.agreeing import until_alike
from instruments.clock import Clock
from instruments.errors import BadReply, InstrumentError, NoReply
from instruments.wire import WireInstrument, open_visa

_SPACING_S = 0.05  # from the end of one message to the next; the manual's 20 a second
_ATTEMPT_S = (0.2, 0.5, 0.5)  # patience with a query, then with its repetitions
_QUIET_S = 0.3  # what is late by more than this after a bad exchange is not waited for
_MOST_LINES = 32  # of stray lines before one reply
_MOST_TURNS = 8  # so often may somebody else come between a question and its reply

_PLAIN = r"\d{1,4}\.?\d{0,6}(E[+-]\d{1,2})?"
_SIGNED = f"[+-]{_PLAIN}"  # readings always have a sign: one that has none has lost its beginning
_NUMBER = f"[+-]?{_PLAIN}"
_SHAPES = {
    "*IDN?": r"[ -+\--~]+(,[ -+\--~]*){2,3}",
    "KRDG?": _SIGNED,
    "SETP?": _SIGNED,
    "HTR?": _SIGNED,
    "TLIMIT?": _NUMBER,
    "RDGST?": r"\d{1,3}",
    "RANGE?": r"\d",
    "HTRST?": r"\d{1,2}",
    "RAMPST?": "[01]",
    "RAMP?": f"[01],{_NUMBER}",
    "PID?": f"({_SIGNED}(,{_SIGNED}){{2}})|({_PLAIN}(,{_PLAIN}){{2}})",
    "OUTMODE?": r"\d,\d,[01]",
    "INTYPE?": r"\d(,\d{1,2}){3},[123]",
    "CSET?": r"[AB],[123],[01](,[12])?",
    "CMODE?": "[1-6]",
}
_VALID = {name: re.compile(shape, re.ASCII) for name, shape in _SHAPES.items()}


class LakeShoreLine(WireInstrument):
    """The line to a controller; commands name what differs between models in braces.

    `{output}` and `{sensor}` are the ones in use; `{asked}` and `{told}` stand where a query and a
    command name the output of the heater, which a 331 leaves out.
    """

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 57600, "data_bits": 7, "parity": Parity.odd},
        "write_termination": "",
        "read_termination": "\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.2

    def __init__(self, adapter: Adapter, clock: Clock | None = None) -> None:
        super().__init__(adapter, clock)
        self._names: dict[str, Any] = {}
        self._end = "\n"
        self._quiet_s = 0.0  # for so long something late or broken may still arrive
        self._free_s = 0.0  # when the next message may be sent
        self._turn = 0  # counts messages: the interlock may come in between on the virtual clock
        self._awaiting = False

    @classmethod
    def open_link(cls, resource: str) -> Any:
        """Open the link; a port that knows no parity (a pseudo-terminal) is opened without."""
        try:
            return open_visa(resource, cls)
        except NoReply as error:
            if getattr(error.__cause__, "args", ())[:1] != (errno.EINVAL,):
                raise
            return open_visa(resource, _Unframed)

    def _name_outputs(self, output: int, sensor: str, *, numbered: bool) -> None:
        self._names = {
            "output": output,
            "sensor": sensor,
            "asked": f" {output}" if numbered else "",
            "told": f"{output}," if numbered else "",
        }

    def as_sent(self, command: str) -> str:
        """Return a command as this model gets it, without its line end."""
        return command.format(**self._names)

    def end_lines_with(self, end: str) -> None:
        """Choose the line end; an unfinished line in the controller is ended by it."""
        with self.lock:
            self._end = end
            self.expect_trouble()
            self.write("")
            self.expect_trouble()

    def expect_trouble(self) -> None:
        """Let the line come to rest before the next message: something may still arrive."""
        self._quiet_s = _QUIET_S

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a line, no sooner than the controller takes it, with nothing left in the input."""
        with self.lock:
            if self._awaiting:  # somebody else's reply is on its way, and must not pass for ours
                self.expect_trouble()
            begun_s = self.clock.now()
            for _ in range(_MOST_TURNS):  # others may send, too, while we wait
                free_s = max(self._free_s, begun_s + self._quiet_s)
                if not 0.0 < free_s - self.clock.now() <= _QUIET_S + _SPACING_S:
                    break  # free, or the clock was set back (a resumed run)
                self.clock.sleep_until(free_s)
            self._quiet_s = 0.0
            self.discard_input()
            self._turn += 1
            super().write(self.as_sent(command) + self._end, **kwargs)
            self._free_s = self.clock.now() + _SPACING_S

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Ask until two replies in a row are alike (what the properties ask through)."""
        with self.lock:
            return until_alike(
                lambda: self.ask_once(command),
                f"{self.name}: the replies to {self.as_sent(command)!r}",
            )

    def ask_once(self, command: str) -> str:
        """Ask and return a reply of the right shape, once more at most twice."""
        with self.lock:
            trouble: InstrumentError = NoReply(f"{self.name}: no answer to {command!r}")
            attempts = list(_ATTEMPT_S)
            for _ in range(len(attempts) + _MOST_TURNS):
                self.write(command)
                turn, text = self._turn, ""
                self._awaiting = True
                try:
                    text = self._reply(command, attempts[0])
                except InstrumentError as error:
                    trouble = error
                finally:
                    self._awaiting = False
                    self._free_s = self.clock.now() + _SPACING_S
                if self._turn != turn:  # ours was thrown away, or is another's
                    self.expect_trouble()
                    continue
                if text:
                    if len(attempts) < len(_ATTEMPT_S):
                        self.expect_trouble()  # the reply to an earlier attempt may still come
                    return text
                self.expect_trouble()
                attempts.pop(0)
                if not attempts:
                    break
            raise trouble

    def _reply(self, command: str, seconds: float) -> str:
        """Return the first line that has the shape of a reply to the command."""
        valid = _VALID[command.split("?")[0] + "?"]
        deadline = self.clock.now() + seconds
        strays: list[str] = []
        for _ in range(_MOST_LINES):
            left = deadline - self.clock.now()
            if left <= 0:
                break
            try:
                with self.patience(left):
                    line = self.read().strip()
            except BadReply:
                line = "(not text)"
            except NoReply:
                break
            if valid.fullmatch(line):
                return line
            strays += [line] if line else []
        if strays:
            raise BadReply(f"{self.name}: {self.as_sent(command)!r} was answered by {strays[:3]!r}")
        raise NoReply(f"{self.name}: no answer to {self.as_sent(command)!r} within {seconds:g} s")


class _Unframed(LakeShoreLine):
    VISA: ClassVar[Mapping[str, Any]] = {**LakeShoreLine.VISA, "asrl": {"baud_rate": 57600}}
