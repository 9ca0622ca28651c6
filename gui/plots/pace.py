"""How often to draw: as often as the eye sees, less where drawing takes long."""

from __future__ import annotations

import time

TICK_MS = 9
"""How often the window looks whether there is something to draw."""
_LEAST_S = 3 * TICK_MS / 1000.0
"""Between two drawings; other threads want to work, too."""
_SHARE = 0.6
"""Of the window's time at most, for drawing."""


class Pace:
    """When the next drawing may be."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._begun_s = 0.0

    def due(self) -> bool:
        """Return whether to draw now; the drawing counts from here."""
        self._begun_s = time.monotonic()
        return self._begun_s >= self._next_s - TICK_MS / 2000.0

    def drew(self, painting_s: float = 0.0) -> None:
        """Take note that a drawing is made; painting_s: what painting it takes, later."""
        took_s = time.monotonic() - self._begun_s + painting_s
        self._next_s = self._begun_s + max(took_s / _SHARE, _LEAST_S)

    def at_once(self) -> None:
        """Let the next drawing be made without waiting."""
        self._next_s = 0.0
