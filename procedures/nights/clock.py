"""The night's clock: the bench's, from one open bench to the next.

A virtual clock that a bench leaves behind still calls that bench's devices; so each bench gets a
new one, which begins when the last one ended. A simulated run that is gone on with is measured at
its own earlier time, on a clock that begins before that; the night's time goes on meanwhile. The
wall clock is one for the whole night.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from instruments.bench import Bench, early
from instruments.clock import Clock, VirtualClock


class NightClock:
    """Time and waiting for the night; `for_bench` is for the next bench to be opened with."""

    def __init__(self, first: Clock) -> None:
        self._now: Clock = VirtualClock(first.now()) if isinstance(first, VirtualClock) else first
        self._ahead_s = 0.0  # of the bench's clock

    @classmethod
    def of(cls, bench: Bench) -> NightClock:
        """Return a clock of the kind that this bench runs on."""
        return cls(bench.clock)

    @property
    def virtual(self) -> bool:
        """Whether waiting costs nothing."""
        return isinstance(self._now, VirtualClock)

    def for_bench(self, state: Mapping[str, float] | None = None) -> Clock:
        """Return a clock for a bench: it goes on where the last one ended.

        state: of a simulated run that will be gone on with on that bench, see `open_bench`.
        """
        if isinstance(self._now, VirtualClock):
            now, begins = self.now(), early(state)
            self._now = VirtualClock(now if begins is None else begins)
            self._ahead_s = now - self._now.now()
        return self._now

    def now(self) -> float:
        """Return the time, in seconds since 1970; goes on where a bench is set to another time."""
        if isinstance(self._now, VirtualClock):
            return self._now.now() - self._now.jumped_s + self._ahead_s
        return self._now.now()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._now.sleep(seconds)

    def guarded(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """See Clock.guarded; holds for the clock as it is now."""
        return self._now.guarded(check)

    def not_before(self, moment: float) -> None:
        """Take up the time of a virtual night that is gone on with."""
        if self.virtual:
            self.sleep(moment - self.now())
