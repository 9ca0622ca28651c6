"""Whether a quantity has stayed where it should for long enough, known from single readings.

For drivers whose devices settle (a cryostat). One reading inside the band is never enough: it must
hold for the dwell time, without a gap in the readings. Stops at bookkeeping: it reads nothing.
"""

from __future__ import annotations


class Dwell:
    """A band around a target, and since when the readings have been inside it.

    Args:
        band: largest distance from the target (in the unit of the readings).
        dwell_s: how long the readings must have been inside (above 0).
        gap_s: two readings further apart than this prove nothing about the time between them.
    """

    def __init__(self, band: float, dwell_s: float, gap_s: float = 2.0) -> None:
        self.band = band
        self.dwell_s = dwell_s
        self.gap_s = gap_s
        self.target: float | None = None
        self._since_s: float | None = None
        self._last_s: float | None = None

    def restart(self, target: float | None) -> None:
        """Begin anew, at a target; None: there is none, and nothing is stable."""
        self.target = target
        self._since_s = self._last_s = None

    def note(self, value: float, now_s: float, *, moving: bool = False) -> None:
        """Take a reading of the time `now_s`; `moving`: the target is not reached yet (a ramp)."""
        if self._last_s is not None and not 0.0 <= now_s - self._last_s <= self.gap_s:
            self._since_s = None
        self._last_s = now_s
        inside = self.target is not None and not moving and abs(value - self.target) <= self.band
        if not inside:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s

    def held_s(self, now_s: float) -> float:
        """Return for how long the readings have been inside the band, 0 if the last is old (s)."""
        if self._since_s is None or self._last_s is None:
            return 0.0
        fresh = 0.0 <= now_s - self._last_s <= self.gap_s
        return self._last_s - self._since_s if fresh else 0.0

    def stable(self, now_s: float) -> bool:
        """Return whether they have been inside for the dwell time, up to now."""
        return self.held_s(now_s) >= self.dwell_s
