"""Bands and lines in a spectrum: peak and width with uncertainties, and the channels of a fit.

For the analyses of spectra. The broad spontaneous band is fitted by a model over all of it; the
narrow stimulated line by a curve through the logarithm of its upper part, which supposes no shape.
Stops at one spectrum: which spectra are asked is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import least_squares

from procedures.analysis.results import FloatArray

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
_LN_LOWEST = 1.1  # the line is fitted down to exp(-1.1), a third of its peak
_LINE_DEGREE = 6
_PIXEL_SHARE = 0.01  # of a pixel: how well peak and width are ever placed between pixels


@dataclass(frozen=True)
class Line:
    """Peak and full width at half maximum in nm with standard errors, and the height."""

    peak_nm: float
    peak_sigma_nm: float
    fwhm_nm: float
    fwhm_sigma_nm: float
    height: float


def channel_edges(
    wavelength_nm: FloatArray,
    band_peak_nm: float,
    band_fwhm_nm: float,
    line_peak_nm: float,
    line_fwhm_nm: float,
) -> NDArray[np.intp]:
    """Return pixel edges, (C + 1,), of channels fine at the line and coarse over the band.

    Eighths of the line's width within two and a half widths of it, ninths of the band's width
    elsewhere, to 1.7 band widths from the band's peak; at least one pixel each.
    """
    fine, coarse = line_fwhm_nm / 8.0, band_fwhm_nm / 9.0
    low = min(band_peak_nm - 1.7 * band_fwhm_nm, line_peak_nm - 2.5 * line_fwhm_nm)
    high = max(band_peak_nm + 1.7 * band_fwhm_nm, line_peak_nm + 2.5 * line_fwhm_nm)
    edges = [max(low, float(wavelength_nm[0]))]
    while edges[-1] < min(high, float(wavelength_nm[-1])):
        off = min(abs(edges[-1] - line_peak_nm), abs(edges[-1] + fine - line_peak_nm))
        # The change is gradual: the curvature correction needs neighbours of like width.
        edges.append(edges[-1] + float(np.clip(0.45 * (off - 1.6 * line_fwhm_nm), fine, coarse)))
    pixels = np.unique(np.searchsorted(wavelength_nm, edges))
    return np.asarray(pixels, dtype=np.intp)


def rebin(
    spectra: FloatArray, variance: FloatArray, edges: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Return means over channels and their variances, (N, C); pixels are independent."""
    count = np.diff(edges)
    first, last = int(edges[0]), int(edges[-1])
    starts = (edges[:-1] - first).astype(np.intp)
    total = np.add.reduceat(spectra[:, first:last], starts, axis=1)
    spread = np.add.reduceat(variance[:, first:last], starts, axis=1)
    return total / count, spread / count**2


def smooth(spectrum: FloatArray, pixels: int) -> FloatArray:
    """Return running means along the last axis over an odd number of pixels."""
    return np.asarray(uniform_filter1d(spectrum, max(1, pixels | 1), axis=-1, mode="nearest"))


def half_width(wavelength_nm: FloatArray, spectrum: FloatArray) -> tuple[float, float]:
    """Return peak position and full width at half maximum, read off a smooth spectrum.

    For a first look: no uncertainty. The width counts to the end of the axis where a side does
    not fall to half.
    """
    top = int(np.argmax(spectrum))
    half = 0.5 * spectrum[top]
    below = np.flatnonzero(spectrum[:top] < half)
    above = np.flatnonzero(spectrum[top:] < half)
    left, right = float(wavelength_nm[0]), float(wavelength_nm[-1])
    if len(below):
        left = _crossing(wavelength_nm, spectrum, int(below[-1]), half)
    if len(above):
        right = _crossing(wavelength_nm, spectrum, top + int(above[0]) - 1, half)
    return float(wavelength_nm[top]), right - left


def fit_gaussian(
    wavelength_nm: FloatArray,
    spectra: FloatArray,
    sigma: FloatArray,
    shape: FloatArray | None = None,
) -> Line | None:
    """Fit one Gaussian of common peak and width to the spectra, (N, P), heights free.

    `shape` (N, P) multiplies the Gaussian: what the way out does to the band. Absolute sigmas,
    enlarged if chi-squared exceeds its degrees of freedom. None if no band stands out.
    """
    factor = np.ones_like(spectra) if shape is None else shape
    mean = spectra.sum(axis=0)
    window = max(3, len(wavelength_nm) // 80)
    peak, width = half_width(wavelength_nm, smooth(mean, window))
    span = float(wavelength_nm[-1] - wavelength_nm[0])
    if mean.max() <= 0.0 or not 0.0 < width < 0.95 * span:
        return None

    def profile(theta: FloatArray) -> FloatArray:
        offset = (wavelength_nm - theta[0]) * (FWHM_PER_SIGMA / theta[1])
        return np.asarray(np.exp(-0.5 * offset**2) * factor)

    def residual(theta: FloatArray) -> FloatArray:
        model = profile(theta)
        weight = 1.0 / sigma**2
        height = np.sum(model * spectra * weight, axis=1) / np.sum(model**2 * weight, axis=1)
        return np.asarray(((spectra - height[:, None] * model) / sigma).ravel())

    bounds = (
        [wavelength_nm[0], 0.02 * width],
        [wavelength_nm[-1], 2.0 * span],
    )
    fit = least_squares(residual, [peak, width], bounds=bounds, x_scale=[width, width])
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    degrees = max(spectra.size - len(spectra) - 2, 1)
    covariance *= max(1.0, 2.0 * fit.cost / degrees)
    # Heights carry no common error into peak and width, but hits and pixels do, a little.
    pixel = _PIXEL_SHARE * float(np.median(np.diff(wavelength_nm)))
    errors = np.sqrt(np.diag(covariance) + pixel**2)
    height = float(np.max(mean) / len(spectra))
    return Line(float(fit.x[0]), float(errors[0]), float(fit.x[1]), float(errors[1]), height)


def fit_line(wavelength_nm: FloatArray, spectrum: FloatArray, sigma: FloatArray) -> Line | None:
    """Return peak and width of the highest line, shape free; broad light must be off already.

    A polynomial of degree six through the logarithm of the part above a third of the peak,
    centred on it; uncertainties from absolute sigmas. None if the line has fewer than ten
    pixels, does not fall to half on both sides, or is lost in noise.
    """
    step = float(np.median(np.diff(wavelength_nm)))
    rough, width = half_width(wavelength_nm, smooth(spectrum, 3))
    rough, width = half_width(wavelength_nm, smooth(spectrum, round(0.15 * width / step)))
    top = int(np.argmin(np.abs(wavelength_nm - rough)))
    height = float(smooth(spectrum, round(0.15 * width / step))[top])
    if height <= 0.0:
        return None
    smoothed = smooth(spectrum, round(0.2 * width / step))
    inside = _around(smoothed > np.exp(-_LN_LOWEST) * height, top)
    if inside.sum() < 10 or inside[0] or inside[-1] or np.any(spectrum[inside] <= 0.0):
        return None
    if height < 5.0 * float(np.median(sigma[inside])):
        return None
    degree = _LINE_DEGREE if inside.sum() >= 25 else 4
    x = (wavelength_nm[inside] - rough) / width
    weight = smoothed[inside] / sigma[inside]
    # ln of a noisy number is low by half its relative variance.
    logarithm = np.log(spectrum[inside]) + 0.5 / weight**2
    design = np.vander(x, degree + 1) * weight[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    poly = covariance @ design.T @ (logarithm * weight)
    scatter = np.sum((logarithm * weight - design @ poly) ** 2)
    covariance *= max(1.0, scatter / max(inside.sum() - degree - 1, 1))
    found = _peak_and_width(poly, float(x[0]), float(x[-1]))
    if found is None:
        return None
    peak, fwhm = found
    values, vectors = np.linalg.eigh(covariance)
    slopes = np.zeros((2, len(poly)))
    for index, (value, vector) in enumerate(zip(values, vectors.T, strict=True)):
        scale = np.sqrt(max(value, 0.0))
        moved = _peak_and_width(poly + scale * vector, float(x[0]), float(x[-1]))
        slopes[:, index] = 0.0 if moved is None else np.subtract(moved, found)
    errors = np.sqrt((slopes**2).sum(axis=1)) * width
    errors = np.hypot(errors, _PIXEL_SHARE * step)
    return Line(
        rough + peak * width,
        float(errors[0]),
        fwhm * width,
        float(errors[1]),
        float(np.exp(np.polyval(poly, peak))),
    )


def _crossing(x: FloatArray, y: FloatArray, left: int, level: float) -> float:
    share = (level - y[left]) / (y[left + 1] - y[left])
    return float(x[left] + share * (x[left + 1] - x[left]))


def _around(mask: NDArray[np.bool_], place: int) -> NDArray[np.bool_]:
    """Return the unbroken stretch of `mask` that contains `place`."""
    inside = np.zeros_like(mask)
    left = place - int(np.argmin(np.append(mask[place::-1], False))) + 1
    right = place + int(np.argmin(np.append(mask[place:], False)))
    inside[left:right] = True
    return inside


def _peak_and_width(poly: FloatArray, low: float, high: float) -> tuple[float, float] | None:
    """Return peak and full width at half maximum of exp(poly) between `low` and `high`."""
    flat = _real_roots(np.polyder(poly), low, high)
    if not len(flat):
        return None
    peak = float(flat[np.argmax(np.polyval(poly, flat))])
    shifted = poly.copy()
    shifted[-1] -= np.polyval(poly, peak) - np.log(2.0)
    half = _real_roots(shifted, low - 0.1, high + 0.1)
    left, right = half[half < peak], half[half > peak]
    if not len(left) or not len(right):
        return None
    return peak, float(right.min() - left.max())


def _real_roots(poly: FloatArray, low: float, high: float) -> FloatArray:
    roots = np.roots(poly)
    real = np.real(roots[np.abs(np.imag(roots)) < 1e-9])
    return np.asarray(real[(real >= low) & (real <= high)])
