"""Talking to a device that answers one line to one query, with nothing to tell right from wrong.

For drivers of SCPI-like devices (no checksum, no echo, errors kept in a queue): a reply is believed
when two in a row are alike, a setting when it is read back, and after a reply that was late, lost
or senseless the device is asked who it is and all that comes before that answer is thrown away,
because numbers that come late cannot be told by their looks. Stops at what the replies mean.
"""

from __future__ import annotations

import abc
import contextlib
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from instruments.agreeing import until_alike
from instruments.errors import BadReply, DeviceFault, InstrumentError, NoReply
from instruments.wire import WireInstrument

T = TypeVar("T")

TRIES = 3
_MOST_ERRORS = 30
_MOST_STRAYS = 50
_NUMBER = re.compile(r"[+-]?\d{1,10}(?:\.\d*)?(?:E[+-]?\d{1,3})?", re.I)


class CarefulInstrument(WireInstrument):
    """Base of such drivers: `agreed`, `set_checked`, `errors`, and keeping in step.

    A driver sets `_idn` once it knows what its device answers to *IDN?, and says by `_next_error`
    how the queue of errors is read.
    """

    IDENTITY_QUERY: ClassVar[str] = "*IDN?"

    _idn = ""
    _out_of_step = False

    @abc.abstractmethod
    def _next_error(self) -> str:
        """Take one error out of the device's queue, "" if there is none; BadReply if garbled."""

    # ---- asking ---------------------------------------------------------------------------------

    def agreed(self, query: str, parse: Callable[[str], T]) -> T:
        """Ask until two consecutive replies are alike; raises the last error, or BadReply."""

        def read() -> tuple[str, T]:
            text = self.ask(query)
            return text, parse(text.strip())

        with self.lock:
            return until_alike(
                read,
                f"{self.name}: the replies to {query}",
                same=lambda a, b: a[0] == b[0],  # to the last blank: a cut line leaves no trace
                readings=2 * TRIES,
                failures=TRIES,
                doubt=self._doubt,
            )[1]

    def number(self, query: str) -> float:
        """Ask for one number; believed when two consecutive replies agree."""
        return self.agreed(query, self.parse_number)

    def values(self, command: str, *_args: Any, **_kwargs: Any) -> list[float]:
        """See `number`; what pymeasure's properties ask through."""
        return [self.number(command)]

    def parse_number(self, reply: str) -> float:
        """Return a plain decimal number; BadReply if the reply is anything else."""
        if _NUMBER.fullmatch(reply) is None:
            raise BadReply(f"{self.name}: {reply[:60]!r} is not a number")
        return float(reply)

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Ask once, with nothing old in the buffer."""
        with self.lock:
            self.discard_input()
            self.write(command)
            return self.read()

    # ---- setting --------------------------------------------------------------------------------

    def set_checked(
        self,
        command: str,
        query: str = "",
        wanted: float = 0.0,
        tolerance: float = 0.0,
        tolerance_above: float | None = None,
        parse: Callable[[str], float] | None = None,
    ) -> float:
        """Set (what may be set twice), look for errors, read back; return what the device took.

        Raises DeviceFault if it took something else or has an error to tell.
        """
        above = tolerance if tolerance_above is None else tolerance_above
        problem: InstrumentError | None = None
        with self.lock:
            for _ in range(TRIES):
                self.write(command)
                try:
                    errors = self.errors()
                    taken = self.agreed(query, parse or self.parse_number) if query else wanted
                except BadReply as error:
                    problem = error
                    continue
                if not errors and wanted - tolerance <= taken <= wanted + above:
                    return taken
                problem = DeviceFault(
                    f"{self.name}: {command} was sent, it has {taken:.12g}"
                    + (f" and says {'; '.join(errors)}" if errors else "")
                )
        assert problem is not None
        raise problem

    def errors(self) -> list[str]:
        """Empty the device's queue of errors."""
        found: list[str] = []
        garbled = 0
        while len(found) < _MOST_ERRORS:
            try:
                error = self._next_error()
            except (BadReply, NoReply):
                self._doubt()
                garbled += 1
                if garbled == TRIES:
                    raise
                continue
            if not error:
                break
            found.append(error)
        return found

    # ---- keeping in step ------------------------------------------------------------------------

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command, in step with the replies."""
        if self._out_of_step:
            self._resynchronise()
        super().write(command, **kwargs)

    def write_blind(self, command: str) -> None:
        """Write a command whatever the replies do: for what must be tried on every way out."""
        super().write(command)

    def read(self, **kwargs: Any) -> str:
        """Read a reply; one that does not come may come later, which is remembered."""
        try:
            return super().read(**kwargs)
        except NoReply:
            self._out_of_step = True
            raise

    def discard_input(self) -> None:
        """Throw away late replies; not over USB, where reading without a query is an error."""
        name = str(getattr(self.adapter.connection, "resource_name", "")).upper()
        if not name.startswith("USB"):
            super().discard_input()

    def _doubt(self) -> None:
        self._out_of_step = True

    def _resynchronise(self) -> None:
        """Read until the answer to *IDN?."""
        self.discard_input()
        if not self._idn:
            self._out_of_step = False
            return
        for _ in range(TRIES):
            super().write(self.IDENTITY_QUERY)
            with contextlib.suppress(NoReply, BadReply):
                for _ in range(_MOST_STRAYS):
                    if super().read().strip() == self._idn:
                        self._out_of_step = False
                        return
        raise NoReply(f"{self.name}: the device does not answer; is it switched on and connected?")
