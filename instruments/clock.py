"""The bench's clock: all waiting goes through it.

`WallClock` is the real one (or a faster one, for simulations shown in real time); on
`VirtualClock` sleeping costs nothing, so that a night of photostability passes in seconds and is
still a night in the file's time stamps. What must happen regularly is `every(period, function)`:
a thread on the wall clock, called in line on the virtual one.
"""

from __future__ import annotations

import abc
import contextlib
import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

log = logging.getLogger(__name__)


class Ticket:
    """Something that happens regularly until it is cancelled."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether it has been cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop it; a call already under way is finished."""
        self._cancelled.set()


_ROUNDING = 1e-4  # of a period: a moment this close to its end counts as past it
_SLICE_S = 0.05  # of real time: so soon a guarded sleep is seen to be over


class Clock(abc.ABC):
    """Time in seconds since 1970 (UTC), and waiting for it."""

    def __init__(self) -> None:
        self._checks: dict[int, Callable[[], None]] = {}

    @contextlib.contextmanager
    def guarded(self, check: Callable[[], None]) -> Iterator[None]:
        """Have `check` called while this thread sleeps inside the block; what it raises ends it.

        So a run that is aborted, or darkened by its interlock, does not wait out its exposure.
        """
        me = threading.get_ident()
        before = self._checks.get(me)
        self._checks[me] = check
        try:
            yield
        finally:
            if before is None:
                self._checks.pop(me, None)
            else:
                self._checks[me] = before

    def _check(self) -> Callable[[], None] | None:
        return self._checks.get(threading.get_ident()) if self._checks else None

    @abc.abstractmethod
    def now(self) -> float:
        """Return the time, in seconds since 1970-01-01 UTC; never goes backwards."""

    @abc.abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass (none if negative)."""

    @abc.abstractmethod
    def every(self, period_s: float, function: Callable[[], object]) -> Ticket:
        """Call `function` every `period_s` seconds until the ticket is cancelled.

        An exception in `function` is logged and the calls go on. On the virtual clock the calls
        come at multiples of the period after its origin, so that a resumed run has them where the
        first one had.
        """

    def sleep_until(self, moment: float) -> None:
        """Let time pass until `moment` (seconds since 1970)."""
        self.sleep(moment - self.now())

    def isoformat(self, moment: float | None = None) -> str:
        """Return `moment` (now, if not given) in ISO 8601 with the local offset."""
        stamp = self.now() if moment is None else moment
        return datetime.fromtimestamp(stamp, UTC).astimezone().isoformat()


class WallClock(Clock):
    """The real clock; `speed` > 1 makes bench time pass faster than real time."""

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"the clock's speed must be positive, not {speed}")
        super().__init__()
        self.speed = speed
        self._start = time.time()
        self._monotonic = time.monotonic()

    def now(self) -> float:
        """See Clock.now; monotonic even when the computer's clock is set."""
        return self._start + (time.monotonic() - self._monotonic) * self.speed

    def sleep(self, seconds: float) -> None:
        """See Clock.sleep."""
        if not seconds > 0:
            return
        check = self._check()
        if check is None:
            time.sleep(seconds / self.speed)
            return
        end = time.monotonic() + seconds / self.speed
        while True:
            check()
            left = end - time.monotonic()
            if left <= 0.0:
                return
            time.sleep(min(left, _SLICE_S))

    def every(self, period_s: float, function: Callable[[], object]) -> Ticket:
        """See Clock.every; runs on a daemon thread of its own."""
        ticket = Ticket()

        def run() -> None:
            while not ticket._cancelled.wait(period_s / self.speed):
                _call(function)

        threading.Thread(target=run, name="clock.every", daemon=True).start()
        return ticket


class VirtualClock(Clock):
    """A clock that only sleeping moves; as deterministic as its user."""

    def __init__(self, start: float | None = None) -> None:
        super().__init__()
        self._now = self._origin = time.time() if start is None else start
        self.jumped_s = 0.0  # by how much `jump` has set it forward, all told
        self._due: list[tuple[float, int, float, Callable[[], object], Ticket]] = []
        self._order = itertools.count()
        self._lock = threading.RLock()
        self._in_call = False

    def now(self) -> float:
        """See Clock.now."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See Clock.sleep; what is due in between is called in line, in order."""
        if not seconds > 0:
            return
        with self._lock:
            end = self._now + seconds
            while not self._in_call and self._due and self._due[0][0] <= end:
                moment, _, period, function, ticket = heapq.heappop(self._due)
                if ticket.cancelled:
                    continue
                self._now = max(self._now, moment)
                self._in_call = True
                try:
                    _call(function)
                finally:
                    self._in_call = False
                self._push(self._next(period), period, function, ticket)
            self._now = max(self._now, end)
            check = self._check() if not self._in_call else None
        if check is not None:
            check()

    def every(self, period_s: float, function: Callable[[], object]) -> Ticket:
        """See Clock.every."""
        if not period_s > 0:
            raise ValueError(f"a period must be positive, not {period_s}")
        ticket = Ticket()
        with self._lock:
            self._push(self._next(period_s), period_s, function, ticket)
        return ticket

    def jump(self, moment: float, origin: float | None = None) -> None:
        """Set the clock to `moment` (a resumed run goes on at the time its file ends).

        origin: when the first part of that run began, which regular calls are counted from.
        """
        with self._lock:
            self._origin = self._origin if origin is None else origin
            self.jumped_s += moment - self._now
            self._now = moment
            waiting = sorted(self._due)
            self._due = []
            for _, _, period, function, ticket in waiting:
                self._push(self._next(period), period, function, ticket)

    def _next(self, period: float) -> float:
        """Return when the next whole period since the origin ends."""
        passed = math.floor((self._now - self._origin) / period + _ROUNDING)
        found = self._origin + (passed + 1) * period
        return found if found > self._now else found + period

    def _push(
        self, moment: float, period: float, function: Callable[[], object], ticket: Ticket
    ) -> None:
        heapq.heappush(self._due, (moment, next(self._order), period, function, ticket))


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:
        log.exception("a regular call failed; it goes on")
