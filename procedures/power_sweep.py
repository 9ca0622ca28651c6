"""power-sweep: emission spectra against pump fluence, up and if asked down again.

Where the bench has a slit stage, further stripe lengths give the cross-check of the threshold. How
a spectrum is taken is the business of `spectrum_series.py`.
"""

from __future__ import annotations

import math
from typing import ClassVar

from procedures.columns import Column
from procedures.measurement import Point, Record, spacing
from procedures.parameters import Choice, Count, Flag, Number, Numbers, ParameterError
from procedures.spectrum_series import BEAM_COLUMNS, SPECTRUM_COLUMNS, SpectrumSeries


class PowerSweep(SpectrumSeries):
    """Spectra against fluence, from which the threshold is found."""

    MEASUREMENT: ClassVar[str] = "power-sweep"
    TITLE: ClassVar[str] = "Emission spectra against pump fluence"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("fluence", "wavelength")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *BEAM_COLUMNS,
        Column("direction", "", "1 on the way up, -1 on the way down", "int8"),
        *SPECTRUM_COLUMNS,
    )

    fluence_min_uJ_cm2 = Number(
        "fluence from", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=2.0
    )
    fluence_max_uJ_cm2 = Number(
        "fluence to", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=80.0
    )
    points = Count("points", minimum=1, maximum=10_000, default=40)
    spacing = Choice("spacing", choices=["log", "linear"], default="log")
    down = Flag("down again", default=False)
    lengths_mm = Numbers(
        "further stripe lengths",
        units="mm",
        minimum=0.0,
        maximum=100.0,
        default=[],
        description="sweeps at these stripe lengths too: the cross-check of the threshold",
    )
    reference_fluence_uJ_cm2 = Number(
        "reference fluence",
        units="uJ/cm^2",
        minimum=1e-3,
        maximum=1e5,
        default=57.0,
        description="at which the stimulated band's peak and width are quoted",
    )

    def check(self) -> None:
        """Refuse an empty range."""
        if self.points > 1 and not self.fluence_min_uJ_cm2 < self.fluence_max_uJ_cm2:
            raise ParameterError(
                f"must be below fluence_max_uJ_cm2 = {self.fluence_max_uJ_cm2:g}, "
                f"{self.fluence_min_uJ_cm2:g} was given",
                key="fluence_min_uJ_cm2",
            )
        super().check()

    def roles(self) -> tuple[str, ...]:
        """A slit stage is needed for further lengths only."""
        return (*self.ROLES, "stripe") if self.lengths_mm else self.ROLES

    def plan(self) -> list[Point]:
        """Up, then down if asked, for the full stripe and then for each further length."""
        up = spacing(self.fluence_min_uJ_cm2, self.fluence_max_uJ_cm2, self.points, self.spacing)
        legs = [(value, 1.0) for value in up]
        if self.down:
            legs += [(value, -1.0) for value in up[::-1]]
        return [
            {"fluence_uJ_cm2": float(value), "direction": way, "length_mm": length}
            for length in (0.0, *self.lengths_mm)  # 0 stands for the full stripe
            for value, way in legs
        ]

    def lit_share(self, point: Point) -> float:
        """Light grows with the fluence at least."""
        return float(self.fluence_min_uJ_cm2 / point["fluence_uJ_cm2"])

    def survey_fluence_uJ_cm2(self) -> float:
        """The geometric middle of the sweep."""
        return math.sqrt(self.fluence_min_uJ_cm2 * self.fluence_max_uJ_cm2)

    def own_columns(self, point: Point) -> Record:
        """The way of the sweep."""
        return {"direction": int(point["direction"])}
