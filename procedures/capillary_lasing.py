"""capillary-lasing: spectra of a filled capillary against fluence, through the lasing threshold.

Nanosecond pulses; the modes of the cavity are lines as narrow as the spectrograph's slit, which no
single spectrum tells from cosmic rays. So each record keeps its light in a few parts, one after the
other: a mode is in all of them. The cavity's diameter is not measured here: it is a parameter.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from instruments.pump import Fluence
from instruments.roles import Exposure
from procedures.columns import Axis, Column
from procedures.measurement import Point, Record
from procedures.parameters import Count, Number
from procedures.spectrum_series import SPECTRUM_COLUMNS
from procedures.spot_series import SPOT_COLUMNS, SpotSeries

PARTS = 4
"""Into how many parts in time a record's light is divided."""


class CapillaryLasing(SpotSeries):
    """Spectra against fluence, for modes and threshold of a whispering-gallery laser."""

    MEASUREMENT: ClassVar[str] = "capillary-lasing"
    TITLE: ClassVar[str] = "Emission spectra of the capillary against pump fluence"
    WINDOW_NM: ClassVar[float] = 22.0
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *SPOT_COLUMNS,
        *SPECTRUM_COLUMNS,
        Column(
            "parts",
            "counts",
            "The same emission, in parts in time",
            "uint32",
            ("part", "wavelength"),
        ),
    )

    fluence_min_mJ_cm2 = Number(
        "fluence from", units="mJ/cm^2", minimum=1e-4, maximum=1e4, default=0.5
    )
    fluence_max_mJ_cm2 = Number(
        "fluence to", units="mJ/cm^2", minimum=1e-4, maximum=1e4, default=8.0
    )
    points = Count("points", minimum=1, maximum=10_000, default=28)
    cavity_diameter_um = Number(
        "cavity diameter",
        units="um",
        minimum=1.0,
        maximum=2000.0,
        default=50.0,
        description="inner diameter, round which the light runs: the group index rests on it",
    )
    cavity_diameter_rel_unc = Number(
        "its uncertainty",
        units="1",
        minimum=0.0,
        maximum=0.5,
        default=0.0,
        description="one standard deviation, relative; 0: the group index is that for the diameter",
    )

    def survey_fluence_uJ_cm2(self) -> float:
        """The highest: the modes are to be in the middle of the window, not the broad band."""
        return 1e3 * float(self.fluence_max_mJ_cm2)

    def axes(self) -> tuple[Axis, ...]:
        """The wavelength of each pixel, and the number of each part."""
        return (*super().axes(), Axis("part", np.arange(PARTS, dtype=np.float64), "", "Part"))

    def _accumulations(self, exposure_s: float) -> int:
        """Return a number of frames that can be divided into the parts."""
        return PARTS * math.ceil(super()._accumulations(exposure_s) / PARTS)

    def _row(
        self,
        point: Point,
        fluence: Fluence,
        exposure: Exposure,
        background: npt.NDArray[np.uint32],
        length_mm: float,
    ) -> Record:
        row = super()._row(point, fluence, exposure, background, length_mm)
        frames = exposure.frames.reshape(PARTS, len(exposure.frames) // PARTS, -1)
        row["parts"] = frames.sum(axis=1, dtype=np.uint32)
        return row
