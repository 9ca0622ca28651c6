"""Bands and lines in a spectrum: peak and width with uncertainties, and the channels of a fit.

For the analyses of spectra. The broad spontaneous band is fitted by a model over all of it; the
narrow stimulated line by a curve through the logarithm of its upper part, which supposes no shape.
Stops at one spectrum: which spectra are asked is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.optimize import least_squares

from procedures.analysis.results import FloatArray

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
_LN_LOWEST = 1.1  # the line is fitted down to exp(-1.1), a third of its peak
_LINE_DEGREE = 6
_LEAST_PIXELS = 7
_BAND_REACH = 1.5  # widths to either side of the band that are fitted
_BENT = 1.12  # reduced chi-squared from which a band is no Gaussian
_PIXEL_SHARE = 0.01  # of a pixel: how well peak and width are ever placed between pixels


@dataclass(frozen=True)
class Line:
    """Peak and full width at half maximum in nm with standard errors, and the height."""

    peak_nm: float
    peak_sigma_nm: float
    fwhm_nm: float
    fwhm_sigma_nm: float
    height: float


@dataclass(frozen=True)
class Band:
    """A broad band: its line, and the logarithm of its shape where a Gaussian does not do.

    `bend`: coefficients in u = (wavelength - origin) / unit of ln(band / Gaussian), highest
    first, valid for |u| up to 1.5; none for a Gaussian.
    """

    line: Line
    origin_nm: float
    unit_nm: float
    bend: tuple[float, ...] = ()

    def factor(self, wavelength_nm: FloatArray) -> FloatArray | None:
        """Return band over Gaussian, (P,); None where a Gaussian does."""
        if not self.bend:
            return None
        u = np.clip((wavelength_nm - self.origin_nm) / self.unit_nm, -_BAND_REACH, _BAND_REACH)
        return np.asarray(np.exp(np.polyval(self.bend, u)))


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


def fit_band(
    wavelength_nm: FloatArray,
    spectra: FloatArray,
    sigma: FloatArray,
    shape: FloatArray | None = None,
) -> Band | None:
    """Fit one band of common peak and width to the spectra, (N, P), heights free.

    A Gaussian; where chi-squared says that it is none, a Gaussian bent by a polynomial. `shape`
    (N, P) multiplies the band: what the way out does to it. Absolute sigmas, enlarged if
    chi-squared exceeds its degrees of freedom. None if no band stands out.
    """
    factor = np.ones_like(spectra) if shape is None else shape
    mean = spectra.sum(axis=0)
    window = max(3, len(wavelength_nm) // 80)
    calm = median_filter(mean, window | 1, mode="mirror")  # a leftover spike is no band
    peak, width = half_width(wavelength_nm, smooth(calm, window))
    span = float(wavelength_nm[-1] - wavelength_nm[0])
    if mean.max() <= 0.0 or not 0.0 < width < 0.95 * span:
        return None
    inside = np.abs(wavelength_nm - peak) < _BAND_REACH * width
    x, y, noise, way = (
        wavelength_nm[inside],
        spectra[:, inside],
        sigma[:, inside],
        factor[:, inside],
    )
    start = np.array([0.0, 1.0])
    gaussian, covariance, chi2 = _fit_shape(x, y, noise, way, peak, width, start)
    pixel = _PIXEL_SHARE * float(np.median(np.diff(wavelength_nm)))
    height = float(np.max(mean) / len(spectra))
    place, size = peak + width * gaussian[0], width * gaussian[1]
    if chi2 < _BENT:
        errors = np.sqrt(np.diag(covariance) * width**2 + pixel**2)
        line = Line(place, float(errors[0]), size, float(errors[1]), height)
        return Band(line, place, size)
    start = np.zeros(6)
    start[:2] = gaussian
    bent, covariance, _ = _fit_shape(x, y, noise, way, peak, width, start)
    grid = np.linspace(-_BAND_REACH, _BAND_REACH, 801)

    found = refined(grid, np.exp(_ln_shape(grid, bent)))
    moves = [refined(grid, np.exp(_ln_shape(grid, one))) for one in _axes_of(bent, covariance)]
    errors = np.sqrt(sum(np.subtract(move, found) ** 2 for move in moves)) * width
    errors = np.hypot(errors, pixel)
    line = Line(
        peak + width * found[0], float(errors[0]), width * found[1], float(errors[1]), height
    )
    # ln(band / Gaussian) as one polynomial about the middle of the Gaussian, in its widths.
    u = np.linspace(-_BAND_REACH, _BAND_REACH, 101)
    v = (place + size * u - peak) / width
    plain = np.zeros(6)
    plain[:2] = gaussian
    bend = np.polyfit(u, _ln_shape(v, bent) - _ln_shape(v, plain), 6)
    return Band(line, place, size, tuple(float(one) for one in bend))


def _fit_shape(
    x: FloatArray,
    spectra: FloatArray,
    sigma: FloatArray,
    way: FloatArray,
    peak: float,
    width: float,
    start: FloatArray,
) -> tuple[FloatArray, FloatArray, float]:
    """Return (parameters, covariance, reduced chi-squared) of `_ln_shape`, heights free."""
    u = (x - peak) / width
    weight = 1.0 / sigma**2

    def residual(theta: FloatArray) -> FloatArray:
        model = np.exp(np.clip(_ln_shape(u, theta), -60.0, 60.0)) * way
        height = np.sum(model * spectra * weight, axis=1) / np.sum(model**2 * weight, axis=1)
        return np.asarray(((spectra - height[:, None] * model) / sigma).ravel())

    low, high = np.full(len(start), -3.0), np.full(len(start), 3.0)
    low[1] = 0.05
    fit = least_squares(residual, start, bounds=(low, high))
    reduced = 2.0 * fit.cost / max(spectra.size - len(spectra) - len(start), 1)
    return fit.x, np.linalg.pinv(fit.jac.T @ fit.jac) * max(1.0, reduced), float(reduced)


def _ln_shape(u: FloatArray, theta: FloatArray) -> FloatArray:
    """Return ln of a Gaussian of centre and FWHM theta[:2], bent by powers three to six of u."""
    v = (u - theta[0]) / theta[1]
    bend = sum((c * v ** (3 + k) for k, c in enumerate(theta[2:])), np.zeros_like(u))
    return np.asarray(-0.5 * (FWHM_PER_SIGMA * v) ** 2 + bend)


def _axes_of(theta: FloatArray, covariance: FloatArray) -> list[FloatArray]:
    """Return theta moved by one sigma along each axis of the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return [
        np.asarray(theta + np.sqrt(max(value, 0.0)) * vector, dtype=np.float64)
        for value, vector in zip(values, vectors.T, strict=True)
    ]


def refined(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return peak and width of a smooth curve, the peak by a parabola through its top."""
    top = int(np.clip(np.argmax(y), 1, len(x) - 2))
    below, at, above = y[top - 1 : top + 2]
    shift = 0.5 * (below - above) / (below - 2.0 * at + above)
    return float(x[top] + shift * (x[1] - x[0])), half_width(x, y)[1]


def fit_line(wavelength_nm: FloatArray, spectrum: FloatArray, sigma: FloatArray) -> Line | None:
    """Return peak and width of the highest line, shape free; broad light must be off already.

    A polynomial of degree six through the logarithm of the part above a third of the peak,
    centred on it; uncertainties from absolute sigmas. None if the line has fewer than seven
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
    if inside.sum() < _LEAST_PIXELS or inside[0] or inside[-1] or np.any(spectrum[inside] <= 0.0):
        return None
    if height < 5.0 * float(np.median(sigma[inside])):
        return None
    degree = _LINE_DEGREE if inside.sum() >= 25 else 4
    x = (wavelength_nm[inside] - rough) / width
    weight = smoothed[inside] / sigma[inside]
    # ln of a noisy number is low by half its relative variance.
    logarithm = np.log(spectrum[inside]) + 0.5 / weight**2
    design = np.vander(x, degree + 1) * weight[:, None]
    covariance = np.asarray(np.linalg.pinv(design.T @ design), dtype=np.float64)
    poly = np.asarray(covariance @ design.T @ (logarithm * weight), dtype=np.float64)
    scatter = np.sum((logarithm * weight - design @ poly) ** 2)
    covariance *= max(1.0, scatter / max(inside.sum() - degree - 1, 1))
    found = _peak_and_width(poly, float(x[0]), float(x[-1]))
    if found is None:
        return None
    peak, fwhm = found
    slopes = np.zeros((2, len(poly)))
    for index, near in enumerate(_axes_of(poly, covariance)):
        moved = _peak_and_width(near, float(x[0]), float(x[-1]))
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
    flat = _real_roots(np.asarray(np.polyder(poly), dtype=np.float64), low, high)
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
