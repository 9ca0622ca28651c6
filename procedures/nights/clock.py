"""The night's clock: the bench's, from one open bench to the next.

A virtual clock that a bench leaves behind still calls that bench's devices; so each bench gets a
new one, which begins when the last one ended. The wall clock is one for the whole night.
"""

from __future__ import annotations

from instruments.bench import Bench
from instruments.clock import Clock, VirtualClock


class NightClock:
    """Time and waiting for the night; `bench` is for the next bench to be opened with."""

    def __init__(self, first: Clock) -> None:
        self._now: Clock = VirtualClock(first.now()) if isinstance(first, VirtualClock) else first

    @classmethod
    def of(cls, bench: Bench) -> NightClock:
        """Return a clock of the kind that this bench runs on."""
        return cls(bench.clock)

    @property
    def virtual(self) -> bool:
        """Whether waiting costs nothing."""
        return isinstance(self._now, VirtualClock)

    @property
    def bench(self) -> Clock:
        """A clock for a bench: opened by it, the bench goes on where the last one ended."""
        if isinstance(self._now, VirtualClock):
            self._now = VirtualClock(self._now.now())
        return self._now

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self._now.now()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._now.sleep(seconds)

    def not_before(self, moment: float) -> None:
        """Take up the time of a virtual night that is gone on with."""
        if isinstance(self._now, VirtualClock):
            self._now.sleep(moment - self._now.now())
