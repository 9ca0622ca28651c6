"""Ctrl-C and SIGTERM as an orderly end.

The first signal raises `Stopped` in the main thread, so that even a long exposure ends at once and
every `with` on the way out closes the shutter; the clean-up itself is not interrupted, and inside
`deferred()` (a record being handed over) the signal waits until the block ends. One that falls
into a callback of the interpreter (a weak reference that dies), which swallows what is raised, is
given once more.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_AGAIN_S, _TIMES = 0.05, 100  # a swallowed signal is given so often, until it is heard
_DEAF_S = 0.02  # so long the interpreter may take to come out of what swallows it


class Stopped(BaseException):
    """The operator, or the system, asked the run to end."""


class Signals:
    """Turns SIGINT, SIGTERM (and SIGBREAK, SIGHUP where they exist) into `Stopped`, once."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._depth = 0
        self._pending = False
        self._done = False
        self._unraisable: Any = None
        self._deaf_until_s = 0.0

    def __enter__(self) -> Signals:
        """Take the handlers (in the main thread only)."""
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None:
                    self._previous[number] = signal.signal(number, self._handle)
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallowed
        return self

    def __exit__(self, *_: object) -> None:
        """Give the handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._unraisable is not None:
            sys.unraisablehook, self._unraisable = self._unraisable, None

    def _swallowed(self, told: Any) -> None:
        """Give a signal again whose `Stopped` went nowhere; not from here: that went there, too."""
        if isinstance(told.exc_value, Stopped) and self._done:
            self._deaf_until_s = math.inf
            self._done = False
            threading.Thread(target=self._again, name="signal again", daemon=True).start()
            self._deaf_until_s = time.monotonic() + _DEAF_S
        elif self._unraisable is not None:
            self._unraisable(told)

    def _again(self) -> None:
        for _ in range(_TIMES):
            time.sleep(_AGAIN_S)
            if self._done or not self._previous:
                return
            signal.raise_signal(signal.SIGINT)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if time.monotonic() >= self._deaf_until_s:
            self.stop()

    def stop(self) -> None:
        """Do as a signal does, in whatever thread: raise Stopped, once, not while deferred."""
        if self._done:
            return
        if self._depth:
            self._pending = True
            return
        self._done = True
        raise Stopped

    def finish(self) -> None:
        """From now on ignore signals: the clean-up is under way."""
        self._done = True

    def defer(self) -> None:
        """Hold signals back until `heed`, which is to be called whatever comes in between."""
        self._depth += 1

    def heed(self) -> None:
        """Let signals through again, and one that came since `defer`."""
        self._depth -= 1
        if self._pending and not self._depth and not self._done:
            self._pending = False
            self._done = True
            raise Stopped

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold a signal back until the block has ended."""
        self.defer()
        try:
            yield
        finally:
            self.heed()
