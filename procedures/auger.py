"""auger: spectrograms against fluence, from which the decay of two excitons comes."""

from __future__ import annotations

from typing import ClassVar

from procedures.measurement import spacing
from procedures.parameters import Choice, Count, Number, ParameterError
from procedures.streak_measurement import StreakMeasurement


class FluenceSeries(StreakMeasurement):
    """Spectrograms from a low fluence to a high one."""

    fluence_min_uJ_cm2 = Number(
        "fluence from", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=1.0
    )
    fluence_max_uJ_cm2 = Number(
        "fluence to", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=40.0
    )
    points = Count("points", minimum=1, maximum=1000, default=10)
    spacing = Choice("spacing", choices=["log", "linear"], default="log")

    def check(self) -> None:
        """Refuse an empty range."""
        super().check()
        if self.points > 1 and not self.fluence_min_uJ_cm2 < self.fluence_max_uJ_cm2:
            raise ParameterError(
                f"must be below fluence_max_uJ_cm2 = {self.fluence_max_uJ_cm2:g}, "
                f"{self.fluence_min_uJ_cm2:g} was given",
                key="fluence_min_uJ_cm2",
            )

    def fluences(self) -> list[float]:
        """From the lowest to the highest."""
        low, high = self.fluence_min_uJ_cm2, self.fluence_max_uJ_cm2
        return [float(one) for one in spacing(low, high, self.points, self.spacing)]


class Auger(FluenceSeries):
    """Decays against fluence: beside the slow decay of one exciton the fast one of two."""

    MEASUREMENT: ClassVar[str] = "auger"
    TITLE: ClassVar[str] = "Decay of the emission against pump fluence"
