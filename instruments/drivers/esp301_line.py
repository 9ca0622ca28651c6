"""The serial line of a Newport ESP300 or ESP301: questions whose answers cannot be mistaken.

The controller answers with a bare number: nothing in `5.000` says to what question, of when. But
it takes several commands on a line and answers them in their order, so each question travels
between others whose answers are known texts (firmware and stage), in an arrangement that changes
from line to line, and is asked twice. What is late, lost, doubled, cut or stray then shows. Here
are the line and the controller's error queue; what an axis does with them is in `newport_esp301`.

Source: Newport ESP300/ESP301 command set.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from pymeasure.adapters import Adapter
from pyvisa.constants import ControlFlow

from instruments.clock import Clock
from instruments.errors import BadReply, InstrumentError, NoReply, NotReady, WrongIdentity
from instruments.wire import WireInstrument

log = logging.getLogger(__name__)

QUICK_S = (0.2, 0.5, 0.5)  # patience with a question, then with its repetitions
# After a limit switch was hit the controller is silent for 2 to 5 s.
PATIENT_S = (0.2, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)
_QUIET_S = 0.3  # what a previous user's last question may still bring
_MOST_LINES = 400
# Serial settings of an ESP301, of an ESP300, and of an ESP301 wired without handshake lines.
_LINKS = (
    (921600, ControlFlow.rts_cts),
    (19200, ControlFlow.rts_cts),
    (921600, ControlFlow.xon_xoff),
)
_ERROR = re.compile(r"(\d{1,4})\s*,\s*(\d{1,12})\s*,\s*([A-Za-z][ -~]*)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(E[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)

Same = Callable[[list[str], list[str]], bool]


def is_number(text: str) -> bool:
    """Return whether a reply is a number as the controller writes them."""
    return _NUMBER.fullmatch(text) is not None


@dataclass(frozen=True)
class Fault:
    """An entry of the controller's error queue."""

    code: int
    text: str

    @property
    def axis(self) -> int:
        """The axis it belongs to, 0 for the controller itself."""
        return self.code // 100

    @property
    def kind(self) -> int:
        """What it is, the same number on every axis."""
        return self.code % 100

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.text.lower()} (error {self.code})"


@dataclass
class _Controller:
    """What the drivers of several axes must share, as they share the link."""

    numbers: itertools.cycle[int] = field(default_factory=lambda: itertools.cycle(range(16)))
    faults: dict[int, list[Fault]] = field(default_factory=dict)


_controllers: WeakKeyDictionary[Any, _Controller] = WeakKeyDictionary()
_controllers_lock = threading.Lock()


class ESP301Line(WireInstrument):
    """One axis' view of the line.

    Args:
        adapter: an open pymeasure adapter, shared by the axes of a controller.
        clock: the bench's clock.
        axis: 1 to 3, put before the commands of this axis.
    """

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": _LINKS[0][0], "flow_control": _LINKS[0][1]},
        "write_termination": "\r",
        "read_termination": "\r\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.2

    def __init__(self, adapter: Adapter, clock: Clock | None, axis: int) -> None:
        super().__init__(adapter, clock)
        self._axis = axis
        self._version = ""
        self._stage_id = ""
        with _controllers_lock:
            self._controller = _controllers.setdefault(self.lock, _Controller())

    # ---- who is there -----------------------------------------------------------------------

    def identify(self, wanted: str) -> None:
        """Learn the texts of firmware and stage.

        Raises:
            NoReply: nothing answers. WrongIdentity: it is not what was wanted.
            NotReady: the axis has no stage that the controller knows.
        """
        with self.lock:
            self._version = self._find_version()
            if wanted.lower() not in self._version.lower():
                raise WrongIdentity(
                    f"{self.name}: it calls itself {self._version!r}, which does not contain "
                    f"{wanted!r}; is this the port of the ESP301?"
                )
            own = f"{self._axis}ID?"
            try:
                version, stage = self._twice(["VE?", own])
            except InstrumentError as error:
                raise NotReady(
                    f"{self.name}: the controller ({self._version}) names no stage on axis "
                    f"{self._axis}; is it plugged in, and is the option 'axis' right? ({error})"
                ) from error
            if version != self._version or is_number(stage) or stage == version:
                raise BadReply(f"{self.name}: {own!r} was answered by {stage!r}")
            self._stage_id = stage

    def _find_version(self) -> str:
        """Ask for the firmware, at each speed that a controller of the family may have."""
        connection: Any = getattr(self.adapter, "connection", None)
        serial = "ASRL" in str(getattr(connection, "resource_name", ""))
        trouble: InstrumentError | None = None
        for speed, flow in _LINKS if serial else _LINKS[:1]:
            if trouble is not None:
                with contextlib.suppress(Exception):
                    connection.baud_rate, connection.flow_control = speed, flow
            try:
                return self._twice(["VE?"], QUICK_S[:2] if trouble is None else QUICK_S[1:2])[0]
            except InstrumentError as error:
                trouble = error
        assert trouble is not None
        raise type(trouble)(
            f"{trouble}; is the controller on, and is nothing waiting for it (WS, WT)?"
        ) from trouble

    def _twice(self, queries: list[str], patience: Sequence[float] = QUICK_S) -> list[str]:
        """Ask while the known texts are not known: on a quiet line, two rounds alike."""
        strays: list[str] = []
        for seconds in patience:
            self.clock.sleep(_QUIET_S)
            self.discard_input()
            self._send_line(";".join(queries * 2))
            lines = self._lines(self.clock.now() + seconds, 2 * len(queries))
            half = len(lines) // 2
            if (
                half == len(queries)
                and lines[:half] == lines[half:]
                and all(line.isprintable() for line in lines)
            ):
                return lines[:half]
            strays += lines
        if strays:
            raise BadReply(f"{self.name}: {queries[-1]!r} was answered by {strays[:4]!r}")
        raise NoReply(f"{self.name}: no answer to {queries[-1]!r} within {patience[-1]:g} s")

    def _lines(self, deadline: float, count: int) -> list[str]:
        lines: list[str] = []
        while len(lines) < count and (line := self._next_line(deadline)) is not None:
            lines += [line] if line else []
        return lines

    # ---- questions --------------------------------------------------------------------------

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Ask this axis one thing (what the properties ask through)."""
        return self.ask_together([command])[1][0]

    def ask_together(
        self,
        commands: Sequence[str],
        same: Same = list.__eq__,
        patience: Sequence[float] = QUICK_S,
    ) -> tuple[list[str], list[str]]:
        """Ask this axis for some numbers at one moment; return the answers, asked for twice.

        Asks again until `same` holds of the two. Raises NoReply, or BadReply if the answers are
        no numbers or will not agree.
        """
        queries = [f"{self._axis}{command}" for command in commands]
        with self.lock:
            for _ in range(4):
                found, _ = self._exchange(queries * 2, patience, wait_for_last=False)
                first, second = found[0][: len(queries)], found[0][len(queries) :]
                if all(map(is_number, found[0])) and same(first, second):
                    return first, second
        raise BadReply(
            f"{self.name}: the answers to {commands[0]!r} do not agree ({first!r}, {second!r}); "
            "is the stage moving? check the cable"
        )

    def faults(self, patience: Sequence[float] = QUICK_S) -> tuple[list[Fault], bool]:
        """Empty the error queue; return what concerns this axis or all, and whether that is all.

        Reading an entry removes it, so that with a lost answer an error may be lost; the second
        value is then false. What belongs to another axis is kept for its driver.
        """
        sure = True
        with self.lock:
            shared = self._controller.faults
            for _ in range(12):  # the queue holds ten
                answers, asked = self._exchange(["TB?"], patience, wait_for_last=True)
                sure = sure and len(answers) == asked
                empty = False
                for (line,) in answers:
                    match = _ERROR.fullmatch(line)
                    if match is None or (match[1] == "0") != ("NO ERROR" in match[3].upper()):
                        sure = False
                        continue
                    empty = match[1] == "0"
                    if not empty:
                        fault = Fault(int(match[1]), match[3].strip())
                        owner = fault.axis if fault.axis in (1, 2, 3) else 0
                        shared.setdefault(owner, []).append(fault)
                if empty:
                    break
            else:
                sure = False
            return shared.pop(0, []) + shared.pop(self._axis, []), sure

    def _exchange(
        self, queries: list[str], patience: Sequence[float], wait_for_last: bool
    ) -> tuple[list[list[str]], int]:
        """Send a line between known texts until answered; return the answers and times sent.

        An answer to an earlier sending of the same questions counts; with `wait_for_last` all
        sendings are waited for.
        """
        if not self._stage_id:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        known = {"VE?": self._version, f"{self._axis}ID?": self._stage_id}
        markers = tuple(known)
        sent: list[list[str]] = []
        answers: list[list[str]] = []
        lines: list[str] = []
        seen = 0
        for seconds in patience:
            number = next(self._controller.numbers)
            marks = [markers[number >> bit & 1] for bit in (3, 2, 1, 0)]
            sent.append([known[mark] for mark in marks])
            self._send_line(";".join([*marks[:2], *queries, *marks[2:]]))
            deadline = self.clock.now() + seconds
            while seen < _MOST_LINES and (line := self._next_line(deadline)) is not None:
                seen += bool(line)
                if line.startswith("E") and line != self._version:
                    log.warning("%s: the controller says %r", self.name, line)
                    continue
                lines += [line] if line else []
                frame = lines[-len(queries) - 4 :]
                around = frame[:2] + frame[-2:]
                shifted = any(line in known.values() for line in frame[2:-2])
                if len(frame) == len(queries) + 4 and around in sent and not shifted:
                    answers.append(frame[2:-2])
                    lines = []
                    if around == sent[-1] or not wait_for_last:
                        return answers, len(sent)
        asked = ";".join(queries[: max(len(queries) // 2, 1)])
        if seen:
            raise BadReply(f"{self.name}: {asked!r} was answered by {lines[:4]!r}")
        raise NoReply(
            f"{self.name}: no answer to {asked!r} within {sum(patience):g} s (after hitting a "
            "limit switch it is silent for up to 5 s)"
        )

    def _next_line(self, deadline: float) -> str | None:
        """Return the next line, None if there is none in time."""
        left = deadline - self.clock.now()
        if left <= 0:
            return None
        try:
            with self.patience(left):
                return self.read().strip()
        except BadReply:
            return "(not text)"
        except NoReply:
            return None

    # ---- commands ---------------------------------------------------------------------------

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command of this axis (what the properties write through)."""
        with self.lock:
            super().write(f"{self._axis}{command}", **kwargs)

    def _send_line(self, line: str) -> None:
        super().write(line)
