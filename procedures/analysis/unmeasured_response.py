"""What is known of a spectrograph's response that nobody measured.

For sweeps and series of spectra. A grating and a silicon detector are humps, some 400 nm from the
top to where 1/e is left, as makers' efficiency curves show; tops lie within the visible. Stops at
expectation and uncertainty: what a response does to a result is that result's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procedures.analysis.results import FloatArray


@dataclass(frozen=True)
class UnmeasuredResponse:
    """The logarithm of a response as a parabola, and how far it may be from that.

    Attributes:
        top_nm: where it is expected to be highest.
        bend_per_nm2: second derivative of the logarithm, below zero for a hump.
        tilt_unc_per_nm, bend_unc_per_nm2: one sigma of first and second derivative.
    """

    top_nm: float = 0.0
    bend_per_nm2: float = 0.0
    tilt_unc_per_nm: float = 0.0
    bend_unc_per_nm2: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for uncertainties that are none."""
        for name in ("tilt_unc_per_nm", "bend_unc_per_nm2"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}, must be a number, zero or more")

    def tilt_per_nm(self, wavelength_nm: float) -> float:
        """Return the expected first derivative of the logarithm at a wavelength."""
        return self.bend_per_nm2 * (wavelength_nm - self.top_nm)

    def over(self, wavelength_nm: FloatArray, about_nm: float) -> FloatArray:
        """Return the expected response, one at `about_nm`."""
        away, there = wavelength_nm - self.top_nm, about_nm - self.top_nm
        return np.asarray(np.exp(0.5 * self.bend_per_nm2 * (away**2 - there**2)))


FLAT = UnmeasuredResponse()

# Two humps, each with -2 / (400 nm)^2 for its bend. Makers coat and blaze for the middle of the
# visible, 550 nm, and each top lies within some 85 nm of it: 2 x 85 / 400^2 per nm, twice and
# independent. Widths are known to a quarter, bends to half of themselves.
GRATING_AND_SILICON = UnmeasuredResponse(
    top_nm=550.0, bend_per_nm2=-2.5e-5, tilt_unc_per_nm=0.0015, bend_unc_per_nm2=1e-5
)
