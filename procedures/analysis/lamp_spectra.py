"""Spectra of a lamp, and what is said of the spectrograph that took them.

For the calibration of the wavelength axis: the data that it works on, the dispersion of a
Czerny-Turner with a fixed angle between its arms, and the lines that a lamp may show there.

    lambda(x) = d [sin(phi - delta) + sin(phi + delta + atan(x cos t / (f + x sin t)))]
    sin(phi) = centre / (2 d cos(delta)), first order, x from the middle of the detector
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.lamp_lines import LAMPS, Lines, lamp_lines
from procedures.analysis.line_peaks import Peaks
from procedures.analysis.results import FloatArray

FOCAL_RANGE = 0.015
"""How far the focal length may be off, relative, either way."""


@dataclass(frozen=True)
class WavelengthCalibrationData:
    """Spectra of a lamp, one a place of the grating; N places, F frames each, P pixels.

    Attributes:
        lamp: a key of `lamp_lines.LAMPS`. frames: counts, (N, F, P).
        centre_nm: where the monochromator said it stood, (N,).
        saturation_counts: from which a pixel is saturated. grooves_per_mm, pitch_um: of grating
            and detector. focal_length_mm, half_angle_deg, tilt_deg: where to start.
        search_nm: how far the axis may be off. gain_e_per_count: of the camera, None if not known.
    """

    lamp: str
    frames: NDArray[np.generic] = field(repr=False)
    centre_nm: FloatArray
    saturation_counts: float
    grooves_per_mm: float
    pitch_um: float
    focal_length_mm: float
    half_angle_deg: float
    tilt_deg: float
    search_nm: float = 5.0
    gain_e_per_count: float | None = None

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        shape = np.shape(self.frames)
        if len(shape) != 3 or shape[:1] != np.shape(self.centre_nm):
            raise ValueError(f"frames has shape {shape}, must be (places, frames, pixels)")
        if self.lamp not in LAMPS:
            raise ValueError(f"lamp {self.lamp!r} is not known: {', '.join(LAMPS)}")

    @property
    def pixels(self) -> int:
        """Pixels of a spectrum."""
        return int(np.shape(self.frames)[2])


def axis(
    data: WavelengthCalibrationData,
    centre_nm: float,
    focal_length_mm: float,
    tilt_deg: float,
    pixel: NDArray[np.generic],
) -> FloatArray:
    """Return the wavelength at pixel positions (nm), without offset."""
    spacing_nm = 1e6 / data.grooves_per_mm
    half, tilt = math.radians(data.half_angle_deg), math.radians(tilt_deg)
    turn = math.asin(min(centre_nm / (2.0 * spacing_nm * math.cos(half)), 1.0))
    x_mm = (np.asarray(pixel, dtype=np.float64) - 0.5 * (data.pixels - 1)) * data.pitch_um * 1e-3
    bend = np.arctan2(x_mm * math.cos(tilt), focal_length_mm + x_mm * math.sin(tilt))
    return np.asarray(spacing_nm * (math.sin(turn - half) + np.sin(turn + half + bend)))


def nm_per_pixel(data: WavelengthCalibrationData, centre_nm: float) -> float:
    """Return the mean step of a pixel at a centre wavelength (nm)."""
    ends = np.array([0, data.pixels - 1])
    first, last = axis(data, centre_nm, data.focal_length_mm, data.tilt_deg, ends)
    return float(last - first) / (data.pixels - 1)


def width_nm(data: WavelengthCalibrationData, peaks: list[Peaks]) -> float:
    """Return the usual full width at half maximum of the lines (nm)."""
    widths = [
        one.fwhm * nm_per_pixel(data, centre)
        for one, centre in zip(peaks, data.centre_nm, strict=True)
    ]
    return float(np.median(np.concatenate(widths)))


def expected_lines(data: WavelengthCalibrationData, peaks: list[Peaks]) -> Lines:
    """Return the lines that may be seen, however far the axis is off within its search."""
    ends = np.array([0, data.pixels - 1])
    axes = [
        axis(data, centre, data.focal_length_mm, data.tilt_deg, ends) for centre in data.centre_nm
    ]
    margin = data.search_nm + FOCAL_RANGE * float(np.ptp(axes[0]))
    low, high = float(np.min(axes)) - margin, float(np.max(axes)) + margin
    return lamp_lines(data.lamp, low, high, width_nm(data, peaks))
