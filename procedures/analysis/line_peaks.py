"""Narrow lines in a spectrum: where they are, in pixels, and how well that is known.

For the calibration of the wavelength axis. Finds peaks above the noise of a spectrum that is dark
between its lines, and fits each with a Gaussian as pixels see it. Stops at pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter, percentile_filter
from scipy.optimize import least_squares
from scipy.special import erf

from procedures.analysis.results import FloatArray

_LEAST_SIGMA = 8.0
_CLEAR_SIGMA = 25.0
_LEAST_FWHM, _MOST_FWHM = 1.2, 30.0
_BASE_WINDOW = 151
_FLOOR_PIXELS = 0.01  # what shape of the line and unequal pixels leave open
_PER_SIGMA = 2.3548  # full width at half maximum of a unit Gaussian
_MOST_PEAKS = 200


@dataclass(frozen=True)
class Peaks:
    """The lines of one spectrum; K of them, from left to right.

    Attributes:
        position: of each centre, in pixels, the centre of the first pixel being 0, (K,).
        error: one sigma, (K,). height: counts above the base, (K,).
        fwhm: full width at half maximum of each, in pixels, (K,).
    """

    position: FloatArray
    error: FloatArray
    height: FloatArray
    fwhm: FloatArray

    def mirrored(self, pixels: int) -> Peaks:
        """Return them as a camera that is turned round would have them."""
        order = slice(None, None, -1)
        return Peaks(
            (pixels - 1 - self.position)[order],
            self.error[order],
            self.height[order],
            self.fwhm[order],
        )


def find_peaks(frames: ArrayLike, saturation: float, gain_e_per_count: float | None) -> Peaks:
    """Return the lines in repeated spectra, (F, P) counts; those that are saturated are left out.

    Of three frames or more the median is used, which leaves no cosmic ray.
    """
    counts = np.atleast_2d(np.asarray(frames, dtype=np.float64))
    spectrum = np.median(counts, axis=0)
    hot = counts.max(axis=0) >= saturation if len(counts) < 3 else spectrum >= saturation
    window = min(_BASE_WINDOW, len(spectrum) // 2 * 2 - 1)
    base = median_filter(percentile_filter(spectrum, 30, size=window, mode="nearest"), window)
    signal = spectrum - base
    gain = gain_e_per_count or 1.0
    # Neighbours differ by noise; counts are whole numbers, so that a quiet camera may show none.
    read = 1.4826 / np.sqrt(2.0) * float(np.median(np.abs(np.diff(signal))))
    sigma = np.sqrt(max(read, 0.7) ** 2 + np.maximum(signal, 0.0) / gain / len(counts))
    tops = _tops(signal, sigma)
    whole = [top for top in tops if not hot[max(top - 3, 0) : top + 4].any()]
    clear = [top for top in whole if signal[top] > _CLEAR_SIGMA * sigma[top]]
    width = _typical_fwhm(signal, clear or whole)
    rows = []
    for top in tops:
        reach = max(round(1.5 * width), 3)
        here = slice(max(top - reach, 0), min(top + reach + 1, len(signal)))
        if top - reach < 0 or top + reach >= len(signal) or hot[here].any():
            continue
        row = _fit(np.arange(here.start, here.stop), signal[here], sigma[here], top, width)
        if row is not None:
            rows.append(row)
    found = np.array(rows).reshape(-1, 4)
    return Peaks(*found[np.argsort(found[:, 0])].T)


def _tops(signal: FloatArray, sigma: FloatArray) -> list[int]:
    """Return the pixels of local maxima that stand out, the highest first at most `_MOST_PEAKS`."""
    inner = signal[1:-1]
    top = (inner >= signal[:-2]) & (inner > signal[2:]) & (inner > _LEAST_SIGMA * sigma[1:-1])
    found = np.flatnonzero(top) + 1
    kept: list[int] = []
    for pixel in found[np.argsort(-signal[found])]:
        # A bump on the flank of a line is noise of that line.
        beside = [one for one in kept if abs(one - pixel) < _MOST_FWHM]
        if all(_stands_alone(signal, sigma, int(pixel), one) for one in beside):
            kept.append(int(pixel))
        if len(kept) == _MOST_PEAKS:
            break
    return kept


def _stands_alone(signal: FloatArray, sigma: FloatArray, pixel: int, higher: int) -> bool:
    low, high = sorted((pixel, higher))
    valley = low + int(np.argmin(signal[low : high + 1]))
    return bool(signal[pixel] - signal[valley] > 4.0 * np.hypot(sigma[pixel], sigma[valley]))


def _typical_fwhm(signal: FloatArray, tops: list[int]) -> float:
    widths = []
    for top in tops[:15]:
        half = 0.5 * signal[top]
        left, right = top, top
        while left > 0 and signal[left] > half:
            left -= 1
        while right < len(signal) - 1 and signal[right] > half:
            right += 1
        if signal[left] <= half and signal[right] <= half:
            start = left + (half - signal[left]) / (signal[left + 1] - signal[left])
            end = right - (half - signal[right]) / (signal[right - 1] - signal[right])
            widths.append(end - start)
    return float(np.clip(np.median(widths), _LEAST_FWHM, _MOST_FWHM)) if widths else 3.0


def _profile(
    pixel: FloatArray, centre: float, height: float, fwhm: float, base: float
) -> FloatArray:
    """Return a Gaussian averaged over each pixel."""
    scale = np.sqrt(2.0) * max(abs(fwhm), 0.1) / _PER_SIGMA
    edges = erf((pixel - centre + 0.5) / scale) - erf((pixel - centre - 0.5) / scale)
    return np.asarray(base + 0.5 * height * np.sqrt(np.pi) * scale * edges)


def _fit(
    pixel: NDArray[np.intp], signal: FloatArray, sigma: FloatArray, top: int, width: float
) -> tuple[float, float, float, float] | None:
    height = float(signal.max())
    # Where the profile is not quite a Gaussian, a bright line's noise must not rule alone.
    weight = np.hypot(sigma, 0.01 * height)
    place = pixel.astype(np.float64)

    def residuals(p: FloatArray) -> FloatArray:
        return np.asarray((_profile(place, *p) - signal) / weight)

    try:
        done = least_squares(residuals, (float(top), height, width, 0.0), method="lm", max_nfev=200)
        covariance = np.linalg.inv(done.jac.T @ done.jac)
    except (ValueError, np.linalg.LinAlgError):
        return None
    centre, found_height, fwhm, _ = (float(one) for one in done.x)
    if not 0.5 * width < fwhm < 1.6 * width or abs(centre - top) > width:
        return None  # a cosmic ray, or several lines
    if not 0.3 * height < found_height < 4.0 * height or not np.isfinite(covariance[0, 0]):
        return None
    error = float(np.hypot(np.sqrt(max(covariance[0, 0], 0.0)), _FLOOR_PIXELS))
    return centre, error, found_height, fwhm
