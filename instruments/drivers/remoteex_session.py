"""A session with HPD-TA over RemoteEx: calls that are repeated, parameters verified, images whole.

For `instruments.drivers.hamamatsu_remoteex`. A reply repeats the command's name but not what was
asked, and nothing guards a number on its way: so a value counts when two consecutive replies agree,
a setting when it reads back, an image when its reply, its description, its tables and the bytes
that came all tell of one size. Only questions and settings of absolute values are ever repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from instruments.drivers import remoteex_values as values
from instruments.drivers.remoteex_link import BUSY, TIMEOUT_S, Refused, RemoteExClient, refusal
from instruments.errors import BadReply, DeviceFault, InstrumentError, NoReply

log = logging.getLogger(__name__)
T = TypeVar("T")

TUBE, DELAY, SPEC = ("Dev", "TD"), ("Dev", "Del"), ("Dev", "Spec")
"""Places of parameters: streak unit, delay unit, spectrograph."""
_TRIES = 3
_BUSY_STEP_S = 0.2
_BUSY_S = 5.0
_BLOCK_S = 10.0


@dataclass(frozen=True)
class Block:
    """An image as it came: (rows, columns), bytes a pixel, and the scaling table of each side."""

    counts: npt.NDArray[np.float32]
    pixel_bytes: int
    vertical: values.FloatArray
    horizontal: values.FloatArray


class RemoteExSession:
    """Calls to one server; see the module."""

    def __init__(self, link: Any, clock: Clock, name: str) -> None:
        self.client = RemoteExClient(link, clock, name)
        self.clock = clock
        self.name = name

    def call(
        self,
        command: str,
        *args: str,
        patience_s: float = TIMEOUT_S,
        busy_s: float = _BUSY_S,
        tries: int = _TRIES,
        lines: bool = False,
    ) -> tuple[str, ...]:
        """Send a command that may be repeated; return the values of its reply.

        busy_s: how long to go on asking while the program answers that it is busy.

        Raises:
            Refused: the program does not do it. NoReply, BadReply: after `tries` times.
        """
        give_up = self.clock.now() + busy_s
        failures = 0
        while True:
            try:
                reply = self.client.ask(command, *args, patience_s=patience_s, lines=lines)
            except (NoReply, BadReply):
                failures += 1
                if failures >= tries:
                    raise
                self.client.quieten()
                continue
            if reply.code == 0:
                return reply.values
            if reply.code not in BUSY or self.clock.now() >= give_up:
                raise refusal(self.name, f"{command}({','.join(args)})", reply)
            self.clock.sleep(_BUSY_STEP_S)

    def agreed(self, ask: Callable[[], T]) -> T:
        """Ask until two consecutive answers are the same; BadReply if they never are."""
        before: list[T] = []
        problem: InstrumentError | None = None
        failures = 0
        for _ in range(2 * _TRIES):
            try:
                answer = ask()
            except BadReply as error:
                problem, failures, before = error, failures + 1, []
                if failures >= _TRIES:
                    break
                self.client.quieten()
                continue
            if before and before[0] == answer:
                return answer
            before = [answer]
        raise problem or BadReply(f"{self.name}: the replies do not agree with each other")

    # ---- parameters ----------------------------------------------------------------------------

    def get(self, place: tuple[str, str], name: str) -> str:
        """Return a parameter's value. place: ("Dev", "TD"), ("Cam", "AI") ..."""
        family, location = place
        answer = self.agreed(lambda: self.call(f"{family}ParamGet", location, name))
        if len(answer) != 1:
            raise BadReply(f"{self.name}: {name} is not one value but {answer!r}")
        return answer[0].strip()

    def describe(self, place: tuple[str, str], name: str) -> values.Description:
        """Return a parameter's description."""
        family, location = place

        def ask() -> values.Description:
            told = self.call(f"{family}ParamInfoEx", location, name)
            return values.description(told, device=family == "Dev")

        return self.agreed(ask)

    def names(self, place: tuple[str, str]) -> tuple[str, ...]:
        """Return the names of a location's parameters; empty where there is no such device."""
        family, location = place

        def ask() -> tuple[str, ...]:
            try:
                told = self.call(f"{family}ParamsList", location)
            except Refused as error:
                if error.reply_code in (2, *BUSY):
                    return ()
                raise
            if not told or values.whole(told[0]) != len(told) - 1:
                raise BadReply(f"{self.name}: the list of parameters is not as long as it says")
            return told[1:]

        return self.agreed(ask)

    def set(
        self,
        place: tuple[str, str],
        name: str,
        text: str,
        *,
        patience_s: float = 3.0,
        busy_s: float = _BUSY_S,
        tries: int = _TRIES,
        tolerance: float | None = None,
    ) -> str:
        """Set a parameter and return what reads back.

        tolerance: what may lie between a number and its read-back; None: the text must be the same.

        Raises:
            Refused: it was not taken. DeviceFault: something else reads back.
        """
        family, location = place
        problem: InstrumentError | None = None
        try:
            self.call(
                f"{family}ParamSet",
                *(location, name, text),
                patience_s=patience_s,
                busy_s=busy_s,
                tries=tries,
            )
        except (NoReply, BadReply) as error:  # what counts is what it is now
            problem = error
        now = self.get(place, name)
        if tolerance is None:
            same = now.lower() == text.strip().lower()
        else:
            same = abs(values.number(now) - values.number(text)) <= tolerance
        if not same:
            raise DeviceFault(
                f"{self.name}: {name} {text} was asked, it stays at {now}"
                + (f" ({problem})" if problem else "")
            )
        return now

    def offer(self, command: str, *args: str) -> bool:
        """Set an option that not every version has; return whether this one does."""
        try:
            self.call(command, *args, busy_s=0.0)
        except Refused as error:
            log.info("%s", error)
            return False
        return True

    # ---- acquisition ---------------------------------------------------------------------------

    def acquiring(self) -> str:
        """Return the mode of the acquisition that is going on, "" if there is none."""

        def ask() -> str:
            told = self.call("AcqStatus")
            word = told[0].strip().lower() if told else ""
            if word == "idle":
                return ""
            if word == "busy" and len(told) > 1:
                return told[1].strip()
            raise BadReply(f"{self.name}: {','.join(told)!r} is no state of an acquisition")

        return self.agreed(ask)

    def start(self, mode: str) -> None:
        """Start an acquisition: sent once, for twice would be another one."""
        reply = self.client.ask("AcqStart", mode, patience_s=TIMEOUT_S)
        if reply.code:
            raise refusal(self.name, f"AcqStart({mode})", reply)

    def stop(self, patience_s: float) -> None:
        """Stop whatever is being acquired, at the end of its frame.

        Raises DeviceFault if it goes on after `patience_s`.
        """
        wait_ms = str(round(1000.0 * min(max(patience_s, 0.5), 60.0)))
        try:
            self.call("AcqStop", wait_ms, patience_s=patience_s + TIMEOUT_S, busy_s=0.0, tries=1)
        except InstrumentError as error:
            log.info("%s", error)
        going = self.acquiring()
        if going:
            raise DeviceFault(f"{self.name}: the acquisition ({going}) cannot be stopped")

    # ---- images --------------------------------------------------------------------------------

    def image(self) -> Block:
        """Return the current image with its scaling tables.

        Raises:
            BadReply: reply, description, tables and bytes do not tell of one image.
        """
        told, content = self._fetch(
            ("current", "Data"), lambda answer: values.image_size(answer).byte_count
        )
        size = values.image_size(told)
        described = self.agreed(lambda: self.call("ImgDataInfo", "current", "Size"))
        if not values.agrees(size, described):
            raise BadReply(
                f"{self.name}: an image of {size.columns} x {size.rows} came, ImgDataInfo says "
                f"{','.join(described)}"
            )
        vertical, horizontal = self._table("Ver", "time"), self._table("Hor", "wavelength")
        if len(vertical) != size.rows or len(horizontal) != size.columns:
            raise BadReply(
                f"{self.name}: the scaling tables have {len(vertical)} and {len(horizontal)} "
                f"values, the image {size.rows} rows and {size.columns} columns"
            )
        return Block(values.pixels(content, size), size.pixel_bytes, vertical, horizontal)

    def _table(self, direction: str, what: str) -> values.FloatArray:
        def ask() -> bytes:
            _, content = self._fetch(
                ("current", "ScalingTable", direction),
                lambda answer: 4 * values.table_count(answer),
            )
            return content

        return values.table(self.agreed(ask), what)

    def _fetch(
        self, what: tuple[str, ...], size: Callable[[tuple[str, ...]], int]
    ) -> tuple[tuple[str, ...], bytes]:
        failures = 0
        while True:
            try:
                return self.client.transfer(*what, size=size, patience_s=_BLOCK_S)
            except (NoReply, BadReply):
                failures += 1
                if failures >= _TRIES:
                    raise
                self.client.quieten()
