"""Which peak of a lamp's spectra is which line: recognised by their pattern, or not at all.

For the calibration of the wavelength axis. Several nm of offset and a percent of focal length are
searched; too few matches, or a second way that is nearly as good, and the lines count as not
recognised. Stops at pairs of pixel and wavelength.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.lamp_lines import Lines
from procedures.analysis.lamp_spectra import (
    FOCAL_RANGE,
    WavelengthCalibrationData,
    axis,
    nm_per_pixel,
    width_nm,
)
from procedures.analysis.line_peaks import Peaks
from procedures.analysis.results import FloatArray

LEAST_LINES = 4
_LEAST_SHARE = 0.5  # of the brightness of peaks, and of the lines expected, that must match
_CLEARLY_BETTER = 1.25


@dataclass(frozen=True)
class Pairs:
    """Recognised lines, M of them: place, pixel, wavelength (nm) and its error (nm)."""

    place: NDArray[np.intp]
    pixel: FloatArray
    line_nm: FloatArray
    error_nm: FloatArray

    def only(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return those of a mask, (M,)."""
        return Pairs(self.place[keep], self.pixel[keep], self.line_nm[keep], self.error_nm[keep])


def recognise(
    data: WavelengthCalibrationData, peaks: list[Peaks], lines: Lines
) -> tuple[tuple[float, float], str]:
    """Return (offset in nm, focal length over nominal), and why they are not sure ("" if they are).

    Every offset and focal length of a grid is scored by the brightness of the peaks that meet a
    line, times the brightness of the lines that meet a peak.
    """
    width = width_nm(data, peaks)
    reach = max(0.5 * width, 0.1)
    if len(lines.wavelength_nm) < LEAST_LINES:
        return (0.0, 1.0), (
            f"the {data.lamp} lamp has {len(lines.wavelength_nm)} lines in reach, {LEAST_LINES} "
            "are needed: choose other centre wavelengths or another lamp"
        )
    offsets = np.arange(-data.search_nm, data.search_nm + 1e-9, 0.5 * reach)
    span = max(
        float(np.ptp(axis(data, c, data.focal_length_mm, 0.0, np.array([0, data.pixels - 1]))))
        for c in data.centre_nm
    )
    steps = max(math.ceil(FOCAL_RANGE * 0.5 * span / (0.5 * reach)), 1)
    focals = 1.0 + FOCAL_RANGE * np.linspace(-1.0, 1.0, 2 * steps + 1)
    scores = np.array([_score(data, peaks, lines, focal, offsets, reach) for focal in focals])
    best = np.unravel_index(int(np.argmax(scores[:, :, 0])), scores.shape[:2])
    product, of_peaks, of_lines, met = scores[best]
    offset, focal = float(offsets[best[1]]), float(focals[best[0]])
    far = np.abs(offsets - offset) > 4.0 * reach
    rival = float(scores[:, far, 0].max()) if far.any() else 0.0
    if met < LEAST_LINES or min(of_peaks, of_lines) < _LEAST_SHARE:
        return (offset, focal), (
            f"the lines cannot be recognised: at best {met:.0f} of them fit the {data.lamp} lamp "
            f"({100 * of_peaks:.0f} % of what is seen, {100 * of_lines:.0f} % of what is expected "
            f"within {data.search_nm:g} nm): is it this lamp, is the grating the one in the list?"
        )
    if product < _CLEARLY_BETTER * rival:
        other = float(offsets[far][int(np.argmax(scores[:, far, 0].max(axis=0)))])
        return (offset, focal), (
            f"the lines can be recognised in two ways, the axis being off by {offset:.1f} or by "
            f"{other:.1f} nm: take more centre wavelengths, or a smaller search_nm"
        )
    return (offset, focal), ""


def _score(
    data: WavelengthCalibrationData,
    peaks: list[Peaks],
    lines: Lines,
    focal: float,
    offsets: FloatArray,
    reach_nm: float,
) -> FloatArray:
    """Return product, share of peaks, share of lines and lines met, for each offset, (n, 4)."""
    seen = np.zeros(len(offsets))
    shown = np.zeros(len(offsets))
    seen_all = shown_all = np.zeros(len(offsets))
    met = np.zeros((len(offsets), len(lines.wavelength_nm)), dtype=np.bool_)
    ends = np.array([0, data.pixels - 1])
    for one, centre in zip(peaks, data.centre_nm, strict=True):
        if not len(one.position):
            continue
        length = focal * data.focal_length_mm
        at = axis(data, centre, length, data.tilt_deg, one.position)[None, :] + offsets[:, None]
        edge = axis(data, centre, length, data.tilt_deg, ends)[None, :] + offsets[:, None]
        gap = np.abs(at[:, :, None] - lines.wavelength_nm[None, None, :])
        close = np.exp(-0.5 * (gap / reach_nm) ** 2)
        # The square root: neither the one bright line nor the many faint ones decide alone.
        weight = np.sqrt(one.height)
        seen = seen + close.max(axis=2) @ weight
        seen_all = seen_all + weight.sum()
        inside = (lines.wavelength_nm > edge[:, :1] + reach_nm) & (
            lines.wavelength_nm < edge[:, 1:] - reach_nm
        )
        brightest = np.where(inside, lines.brightness, 0.0).max(axis=1, keepdims=True)
        due = inside & (lines.brightness > 0.1 * brightest)
        share = np.sqrt(lines.brightness) * due
        shown = shown + (close.max(axis=1) * share).sum(axis=1)
        shown_all = shown_all + share.sum(axis=1)
        met |= (gap < reach_nm).any(axis=1)
    of_peaks = seen / np.maximum(seen_all, 1e-12)
    of_lines = shown / np.maximum(shown_all, 1e-12)
    return np.column_stack([of_peaks * of_lines, of_peaks, of_lines, met.sum(axis=1)])


def pair(
    data: WavelengthCalibrationData,
    peaks: list[Peaks],
    lines: Lines,
    values: FloatArray,
    reach_nm: float,
) -> Pairs:
    """Pair each peak with the clean line that it meets, where each is the other's nearest."""
    rows = []
    for place, (one, centre) in enumerate(zip(peaks, data.centre_nm, strict=True)):
        if not len(one.position) or not len(lines.wavelength_nm):
            continue
        at = axis(data, centre, values[0], values[1], one.position) + values[2 + place]
        gap = np.abs(at[:, None] - lines.wavelength_nm[None, :])
        nearest = gap.argmin(axis=1)
        per_pixel = nm_per_pixel(data, centre)
        for index, line in enumerate(nearest):
            if gap[index, line] > reach_nm or gap[:, line].argmin() != index:
                continue
            if lines.clean[line]:
                error = math.hypot(one.error[index] * per_pixel, lines.unc_nm[line])
                rows.append((place, one.position[index], lines.wavelength_nm[line], error))
    table = np.array(rows).reshape(-1, 4)
    return Pairs(table[:, 0].astype(np.intp), table[:, 1], table[:, 2], table[:, 3])
