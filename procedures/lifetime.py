"""lifetime: spectrograms at one low fluence, from which the exciton's lifetime comes."""

from __future__ import annotations

from typing import ClassVar

from procedures.parameters import Choice, Count, Number
from procedures.streak_measurement import StreakMeasurement


class Lifetime(StreakMeasurement):
    """The decay at a fluence so low that hardly any dot holds two excitons."""

    MEASUREMENT: ClassVar[str] = "lifetime"
    TITLE: ClassVar[str] = "Decay of the emission at low pump fluence"

    fluence_uJ_cm2 = Number("fluence", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=0.5)
    medium = Choice(
        "medium",
        choices=["solution", "film"],
        default="solution",
        description="what is measured: a solution in a cuvette, or a film",
    )
    repeats = Count("records", minimum=1, maximum=1000, default=2)

    def fluences(self) -> list[float]:
        """The same fluence, as often as asked."""
        return [float(self.fluence_uJ_cm2)] * int(self.repeats)
