"""What a night may still use of its budget: time, shots, dose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from procedures.measurement import Forecast
from procedures.nights.events import StepState
from procedures.nights.plan import BudgetTable


class Used:
    """The budget of a night and what is used of it.

    Args:
        table: [budget]. begun_s: when the night began first, or its start if that is later (bench
            time). now: the night's clock.
        states: what its steps have used so far; asked anew each time.
    """

    def __init__(
        self,
        table: BudgetTable,
        begun_s: float,
        now: Callable[[], float],
        states: Callable[[], Iterable[StepState]],
    ) -> None:
        self._table, self._begun_s, self._now, self._states = table, begun_s, now, states

    def refuse(self, forecast: Forecast) -> str:
        """Return why a run is not to begin, "" if there is enough left for it."""
        return self._over(forecast.seconds, forecast.shots, forecast.dose_J_cm2, "would exceed")

    def exceeded(self, shots: int, dose_J_cm2: float) -> str:
        """Return why a run with so many shots until now is to end, "" if it may go on."""
        return self._over(0.0, shots, dose_J_cm2, "has used up")

    def _over(self, seconds: float, shots: float, dose_J_cm2: float, what: str) -> str:
        table = self._table
        states = list(self._states())
        hours = (self._now() - self._begun_s + seconds) / 3600.0
        shots += sum(state.shots for state in states)
        dose_J_cm2 += math.fsum(state.dose_J_cm2 for state in states)
        for key, value, unit in (
            ("time_h", hours, "h"),
            ("shots", shots, "shots"),
            ("dose_J_cm2", dose_J_cm2, "J/cm2"),
        ):
            allowed = getattr(table, key)
            if allowed is not None and value > allowed:
                return f"it {what} the night's budget: {value:.4g} of {allowed:g} {unit} ({key})"
        return ""
