"""stripe-length: spectra against the length of the pumped stripe, from which the modal gain comes.

Three scans of the slit. At a low fluence, where nothing is amplified and light grows in proportion
to the length, it tells where the slit is really closed and what of the light is guided. At the
fluence asked for it tells the gain and its saturation. A short one a little beside that fluence
tells how gain and light follow the fluence, so that neither the fluence's error nor the scatter of
the pulses is mistaken for gain. The last record repeats the longest stripe: what has changed
meanwhile shows there.
"""

from __future__ import annotations

import math
from typing import ClassVar

from procedures.columns import Column
from procedures.measurement import Point, Record, spacing
from procedures.parameters import Choice, Count, Number, ParameterError
from procedures.spectrum_series import BEAM_COLUMNS, SPECTRUM_COLUMNS, SpectrumSeries

LOW, MAIN, BESIDE, AGAIN = 0, 1, 2, 3
"""What a record belongs to: column `scan`."""


class StripeLength(SpectrumSeries):
    """Spectra against stripe length, at constant fluence."""

    MEASUREMENT: ClassVar[str] = "stripe-length"
    TITLE: ClassVar[str] = "Emission spectra against stripe length"
    ROLES: ClassVar[tuple[str, ...]] = (*SpectrumSeries.ROLES, "stripe")
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("stripe_length", "wavelength")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *BEAM_COLUMNS,
        Column("scan", "", "0 low fluence, 1 fluence asked for, 2 beside it, 3 again", "int8"),
        *SPECTRUM_COLUMNS,
    )

    fluence_uJ_cm2 = Number("fluence", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=57.0)
    length_min_mm = Number("length from", units="mm", minimum=0.01, maximum=100.0, default=0.1)
    length_max_mm = Number("length to", units="mm", minimum=0.01, maximum=100.0, default=3.0)
    points = Count("points", minimum=1, maximum=10_000, default=30)
    spacing = Choice("spacing", choices=["log", "linear"], default="log")
    group_index = Number(
        "group index",
        units="1",
        minimum=1.0,
        maximum=10.0,
        default=2.1,
        description="of the guided mode: depletion time = group index x saturation length / c",
    )
    low_fluence_uJ_cm2 = Number(
        "low fluence",
        units="uJ/cm^2",
        minimum=1e-3,
        maximum=1e5,
        default=2.0,
        description="far below threshold, for the zero of the slit",
    )
    low_points = Count(
        "points at low fluence",
        minimum=0,
        maximum=10_000,
        default=12,
        description="0 leaves the scan out: the zero of the slit is then not measured",
    )
    beside_ratio = Number(
        "fluence beside",
        units="1",
        minimum=0.5,
        maximum=2.0,
        default=0.9,
        description="over the fluence: where the gain's growth with fluence is taken from",
    )
    beside_points = Count("points beside", minimum=0, maximum=10_000, default=8)

    def check(self) -> None:
        """Refuse an empty range, and a low fluence that is not low."""
        if self.points > 1 and not self.length_min_mm < self.length_max_mm:
            raise ParameterError(
                f"must be below length_max_mm = {self.length_max_mm:g}, "
                f"{self.length_min_mm:g} was given",
                key="length_min_mm",
            )
        if self.low_points and not self.low_fluence_uJ_cm2 < self.fluence_uJ_cm2:
            raise ParameterError(
                f"must be below fluence_uJ_cm2 = {self.fluence_uJ_cm2:g}, "
                f"{self.low_fluence_uJ_cm2:g} was given (low_points = 0 leaves the scan out)",
                key="low_fluence_uJ_cm2",
            )
        super().check()

    def plan(self) -> list[Point]:
        """The low fluence first, then the scan itself, the one beside it, and the last again."""
        full, low = float(self.fluence_uJ_cm2), float(self.low_fluence_uJ_cm2)
        scans = [
            (LOW, low, self.low_points),
            (MAIN, full, self.points),
            (BESIDE, full * float(self.beside_ratio), self.beside_points),
            (AGAIN, full, 1 if self.points > 1 else 0),
        ]
        return [
            {"fluence_uJ_cm2": fluence, "length_mm": length, "scan": float(scan)}
            for scan, fluence, points in scans
            for length in self._lengths(points)
        ]

    def _lengths(self, points: int) -> list[float]:
        if points == 1:
            return [float(self.length_max_mm)]
        low, high = float(self.length_min_mm), float(self.length_max_mm)
        return [float(one) for one in spacing(low, high, points, self.spacing)] if points else []

    def lit_share(self, point: Point) -> float:
        """Light grows with the length and the fluence at least."""
        brighter = self.low_fluence_uJ_cm2 / point["fluence_uJ_cm2"]
        return float(min(brighter * self.length_min_mm / point["length_mm"], 1.0))

    def survey_fluence_uJ_cm2(self) -> float:
        """Between the low fluence and the one asked for."""
        return math.sqrt(min(self.low_fluence_uJ_cm2, self.fluence_uJ_cm2) * self.fluence_uJ_cm2)

    def own_columns(self, point: Point) -> Record:
        """The scan that the record belongs to."""
        return {"scan": int(point["scan"])}
