"""Emission spectra against the fluence of a round spot, in mJ/cm2: nanosecond pumping.

The base of biexciton and capillary-lasing, on top of `spectrum_series.py`: fluences from low to
high, down again if asked, the first once more at the end, and the finest grating whose window holds
what is to be seen. Stops at the record.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from instruments.errors import LimitError
from instruments.pump import Fluence
from instruments.roles import Exposure, Grating
from procedures.columns import Column
from procedures.measurement import Point, Record, spacing
from procedures.parameters import Choice, Count, Flag, Number, ParameterError
from procedures.spectrum_series import BEAM_COLUMNS, SpectrumSeries

UP, DOWN, AGAIN = 1, -1, 0
"""Column `direction`."""

SPOT_COLUMNS = (
    *(column for column in BEAM_COLUMNS if column.name != "stripe_length"),
    Column("direction", "", "1 on the way up, -1 on the way down, 0 the first again", "int8"),
)


class SpotSeries(SpectrumSeries):
    """Spectra against fluence under a round spot.

    WINDOW_NM: what the window of the spectrograph must hold at least, around its middle.
    """

    PLOT_AXES: ClassVar[tuple[str, ...]] = ("fluence", "wavelength")
    WINDOW_NM: ClassVar[float] = 30.0

    fluence_min_mJ_cm2 = Number(
        "fluence from", units="mJ/cm^2", minimum=1e-4, maximum=1e4, default=1.2
    )
    fluence_max_mJ_cm2 = Number(
        "fluence to", units="mJ/cm^2", minimum=1e-4, maximum=1e4, default=17.2
    )
    points = Count("points", minimum=1, maximum=10_000, default=16)
    spacing = Choice("spacing", choices=["log", "linear"], default="log")
    down = Flag("down again", default=False)
    again = Flag(
        "first point again",
        default=True,
        description="return to the first fluence at the end: a change is damage or drift",
    )
    grooves_per_mm = Number(
        "grating",
        units="1/mm",
        minimum=0.0,
        maximum=10_000.0,
        default=0.0,
        description="0: the finest whose window holds all that is to be seen",
    )

    def check(self) -> None:
        """Refuse an empty range."""
        super().check()
        if self.points > 1 and not self.fluence_min_mJ_cm2 < self.fluence_max_mJ_cm2:
            raise ParameterError(
                f"must be below fluence_max_mJ_cm2 = {self.fluence_max_mJ_cm2:g}, "
                f"{self.fluence_min_mJ_cm2:g} was given",
                key="fluence_min_mJ_cm2",
            )

    def plan(self) -> list[Point]:
        """Up, then down if asked, then the first once more if asked."""
        up = spacing(self.fluence_min_mJ_cm2, self.fluence_max_mJ_cm2, self.points, self.spacing)
        legs = [(value, UP) for value in up]
        if self.down:
            legs += [(value, DOWN) for value in up[::-1]]
        if self.again and len(up) > 1:
            legs.append((up[0], AGAIN))
        return [
            {"fluence_uJ_cm2": 1e3 * float(value), "direction": float(way), "length_mm": 0.0}
            for value, way in legs
        ]

    def lit_share(self, point: Point) -> float:
        """Light grows with the fluence at least."""
        return min(1e3 * self.fluence_min_mJ_cm2 / point["fluence_uJ_cm2"], 1.0)

    def prepare(self) -> None:
        """Choose the grating, then as every series of spectra."""
        self.bench.pump.shut()
        spectrograph = self.bench.need_spectrograph()
        chosen = self._choose_grating()
        if spectrograph.monochromator.grating.slot != chosen.slot:
            spectrograph.select_grating(chosen.slot)
        self.decisions["grooves_per_mm"] = chosen.grooves_per_mm
        super().prepare()

    def _choose_grating(self) -> Grating:
        """Return the grating asked for, or the finest with a window that is wide enough.

        Raises:
            ParameterError: no grating has the grooves asked for.
        """
        spectrograph = self.bench.need_spectrograph()
        camera, ruled = spectrograph.camera, []
        for grating in spectrograph.monochromator.gratings:
            if grating.grooves_per_mm > 0.0:  # 0: a mirror
                ruled.append(grating)
        wanted = float(self.decisions.get("grooves_per_mm", self.grooves_per_mm))
        if wanted:
            for grating in ruled:
                if abs(grating.grooves_per_mm - wanted) < 0.5:
                    return grating
            have = ", ".join(f"{grating.grooves_per_mm:g}" for grating in ruled)
            raise ParameterError(
                f"{wanted:g} /mm was given, installed are {have} /mm", key="grooves_per_mm"
            )
        middle = self.centre_wavelength_nm or 0.5 * (self.survey_min_nm + self.survey_max_nm)
        best = min(ruled, key=lambda grating: grating.grooves_per_mm)
        for grating in sorted(ruled, key=lambda one: one.grooves_per_mm):
            try:
                axis = spectrograph.geometry.wavelengths_nm(
                    middle, grating.grooves_per_mm, camera.pixels, camera.pixel_pitch_um
                )
            except LimitError:  # too fine to be turned that far
                continue
            if float(axis[-1] - axis[0]) >= self.WINDOW_NM:
                best = grating
        return best

    def own_columns(self, point: Point) -> Record:
        """On which leg of the series the record lies."""
        return {"direction": int(point["direction"])}

    def _row(
        self,
        point: Point,
        fluence: Fluence,
        exposure: Exposure,
        background: npt.NDArray[np.uint32],
        length_mm: float,
    ) -> Record:
        row = super()._row(point, fluence, exposure, background, length_mm)
        del row["stripe_length"]  # a spot has none
        return row


def rounded_nm(wavelength_nm: float) -> float:
    """Return a centre wavelength as an operator would set it: to 0.1 nm."""
    return math.floor(10.0 * wavelength_nm + 0.5) / 10.0
