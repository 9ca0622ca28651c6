"""Bad lines for the tests of drivers: wire devices that stand between a host and a unit.

`Between` passes everything on, both ways; derive from it to interfere. `Mangler` does to each reply
in turn what its plan says, `plans` makes such plans for hypothesis, and `Deaf` loses commands. What
a driver must make of it is said by the test: the truth, or an InstrumentError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from sim_drivers.link import WireDevice

Step = tuple[str, int] | None
"""What happens to a reply, and where in it; None: it passes."""

KINDS = (
    "cut",  # the end is lost
    "cut line",  # the end is lost, but for the line's
    "behead",  # the beginning is lost
    "shorten",  # a character is lost
    "lost",  # all of it
    "double",  # it comes twice
    "garble",  # one byte becomes another one
    "digit",  # one digit becomes another one
    "flip",  # every digit of a kind becomes another one
    "stray",  # another line comes before it
    "late",  # it comes after the driver's time-out
)
CREDIBLE = frozenset({"cut", "cut line", "behead", "shorten", "garble", "digit", "flip"})
"""Kinds that may look like another reply of the unit."""


def plans(
    kinds: Sequence[str] = KINDS, most: int = 14, quiet: int = 0
) -> st.SearchStrategy[list[Step]]:
    """Return plans of at most `most` steps, after up to `quiet` replies that pass."""
    step = st.none() | st.tuples(st.sampled_from(kinds), st.integers(0, 4999))
    spoilt: st.SearchStrategy[list[Step]] = st.lists(step, max_size=most)
    if not quiet:
        return spoilt
    return st.builds(lambda first, rest: [None] * first + rest, st.integers(0, quiet), spoilt)


class Between(WireDevice):
    """Stands between host and unit, and passes on what either says."""

    def __init__(self, unit: WireDevice) -> None:
        super().__init__(unit.clock)
        self.unit = unit
        self.device_lock = unit.device_lock

    def opened(self) -> None:
        """See Wire."""
        super().opened()
        self.unit.opened()

    def receive(self, data: bytes) -> None:
        """See Wire."""
        self.unit.receive(data)

    def due(self) -> float | None:
        """See Wire; the unit's next bytes, or what is held back here."""
        moments = [moment for moment in (self.unit.due(), super().due()) if moment is not None]
        return min(moments, default=None)

    def take(self) -> bytes:
        """See Wire."""
        data = self.unit.take()
        if data:
            self.send(data)
        return super().take()


class Mangler(Between):
    """Does to each reply in turn what the plan says; then lets them pass.

    Without a checksum nobody can tell a wrong reply from a right one if it comes twice alike. So a
    credible harm never makes the same wrong text a second time, and passes over the `rest` replies
    that follow another credible one.

    Args:
        unit: the simulated device.
        plan: may be replaced at any time by `wire.plan = [...]`.
        lines: a reply is a line, instead of all that comes at once.
        strays: what a stray line is ("%d" in it becomes a number).
        late_s: how late "late" is; later_s: added once or twice, by the place.
        digits: among which "digit" chooses; garbage: among which "garble" does.
        flips: what "flip" makes of what.
        rest: see above.
        credible: the kinds that may look like another reply of the unit.
    """

    def __init__(
        self,
        unit: WireDevice,
        plan: Iterable[Step] = (),
        *,
        lines: bool = True,
        strays: Sequence[bytes] = (b"\r\n", b"boot\r\n", b"\xff\xfe\r\n"),
        late_s: float = 0.25,
        later_s: float = 0.0,
        digits: bytes = b"0123456789",
        garbage: bytes = bytes(range(256)),
        flips: tuple[bytes, bytes] = (b"01", b"10"),
        rest: int = 0,
        credible: frozenset[str] = CREDIBLE,
    ) -> None:
        super().__init__(unit)
        self.plan: list[Step] = list(plan)
        self.late_s, self.later_s = late_s, later_s
        self._lines, self._strays = lines, strays
        self._digits, self._garbage = digits, garbage
        self._flips = bytes.maketrans(*flips)
        self._rest, self._credible = rest, credible
        self._since = rest
        self._wrong: set[bytes] = set()

    def forget(self) -> None:
        """Begin anew: no harm has been done yet."""
        self._since = self._rest
        self._wrong.clear()

    def take(self) -> bytes:
        """See Wire; spoils what the unit has ready."""
        data = self.unit.take()
        for reply in data.splitlines(keepends=True) if self._lines else [data]:
            if reply.strip():
                self._pass(reply)
            elif reply:  # the blank of a prompt, an empty line: no reply of its own
                self.send(reply)
        return WireDevice.take(self)

    def _pass(self, reply: bytes) -> None:
        kind, place = (self.plan.pop(0) if self.plan else None) or ("pass", 0)
        wrong = self.spoil(reply, kind, place)
        self._since += bool(wrong)  # what is lost is no reply that passes
        if kind in self._credible and wrong != reply:
            if self._since <= self._rest or wrong in self._wrong:
                wrong = reply
            else:
                self._since = 0
                self._wrong.add(wrong)
        if wrong:
            late = kind == "late"
            self.send(wrong, self.late_s + self.later_s * (place % 3) if late else 0.0)

    def spoil(self, reply: bytes, kind: str, place: int) -> bytes:
        """Return the reply with one harm done to it."""
        at = place % len(reply)
        body = reply.rstrip(b"\r\n")
        match kind:
            case "cut":
                return reply[:at]
            case "cut line":
                return body[:at] + reply[len(body) :]
            case "behead":
                return reply[at:]
            case "shorten":
                at = place % len(body)
                return reply[:at] + reply[at + 1 :]
            case "lost":
                return b""
            case "double":
                return reply + reply
            case "garble":
                new = place // len(reply) % len(self._garbage)
                return reply[:at] + self._garbage[new : new + 1] + reply[at + 1 :]
            case "digit":
                return self._other_digit(reply, place)
            case "flip":
                return reply.translate(self._flips)
            case "stray":
                stray = self._strays[place % len(self._strays)]
                return (stray % place if b"%d" in stray else stray) + reply
            case "pass" | "late":
                return reply
        raise ValueError(f"{kind!r} is no harm that is known here: {', '.join(KINDS)}")

    def _other_digit(self, reply: bytes, place: int) -> bytes:
        found = [index for index, byte in enumerate(reply) if byte in self._digits]
        if not found:
            return reply
        turn, which = divmod(place, len(found))
        at = found[which]
        old = self._digits.index(reply[at])
        new = self._digits[(old + 1 + turn % (len(self._digits) - 1)) % len(self._digits)]
        return reply[:at] + bytes([new]) + reply[at + 1 :]


class Deaf(Between):
    """Does not hear what begins with certain words, or says nothing to it.

    Attributes:
        lost: word -> how many times what begins with it is not heard.
        instead: what the unit hears in the place of such a word; nothing at all if empty.
        unanswered: to what begins with one of these words the answer is lost.
        told: everything that the host has said, with its bench time.

    Args:
        unit: the simulated device.
        at: where the word begins in what the host says (behind an address).
    """

    def __init__(self, unit: WireDevice, at: int = 0) -> None:
        super().__init__(unit)
        self.at = at
        self.lost: dict[bytes, float] = {}
        self.instead = b""
        self.unanswered: tuple[bytes, ...] = ()
        self.told: list[tuple[float, bytes]] = []

    def receive(self, data: bytes) -> None:
        """See Wire."""
        self.told.append((self.clock.now(), data))
        for word, times in self.lost.items():
            if times > 0 and data.startswith(word, self.at):
                self.lost[word] = times - 1
                if self.instead:
                    self.unit.receive(data.replace(word, self.instead, 1))
                return
        self.unit.receive(data)
        if self.unanswered and data.startswith(self.unanswered, self.at):
            self.unit._outgoing.clear()

    def times_told(self, data: bytes) -> int:
        """Return how often the host has said just this."""
        return [said for _, said in self.told].count(data)
