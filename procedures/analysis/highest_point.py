"""Where a spectrum is highest, of whatever shape it is, and how well that is told.

For gated spectra, which may be a band, a line, or a line on a band. A polynomial through the
logarithm of the part above some share of the top; the wider that part, the smaller the noise and
the larger the error of the shape. The widest is taken that agrees with all narrower ones within
their noise (Lepski's rule). Stops at one spectrum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from procedures.analysis.results import FloatArray

_FIRST = (0.62, 0.45, 0.3)
_LEVELS = (0.72, 0.8, 0.88, 0.94, 0.97, 0.985, 0.993)
_LEAST_CHANNELS = 7
_DEGREES = ((6, 30), (4, 14), (2, _LEAST_CHANNELS))  # of the polynomial, from so many channels
_AGREE = 2.5  # standard errors of the difference
_LEAST_WEIGHT = 3.0  # a channel over its noise
_CALM = 0.01  # noise of the smoothed top, relative, that picks no wrong channel
_INSIDE = 0.97
_STEADY = 0.005  # noise of a channel, relative
_SIGNIFICANT = 5.0
_RIVAL_SIGMA, _VALLEY_SIGMA = 2.0, 3.0
_ALIKE = 0.005  # of the top: what pulses, gate and response do to two heights beyond their noise


@dataclass(frozen=True)
class Part:
    """The channels that tell the peak: a slice, the peak (nm) with its error, the curve on them."""

    channels: slice
    peak_nm: float
    sigma_nm: float
    curve: FloatArray = field(repr=False)


def highest_point(
    wavelength_nm: FloatArray, light: FloatArray, sigma: FloatArray
) -> tuple[Part, FloatArray] | None:
    """Return the part that tells the highest point, and the smoothed spectrum it was chosen on.

    (P,) each; sigma of each channel. None if no peak stands out of the noise, or it is cut off.
    """
    smooth = _calm(light, sigma)
    top = int(np.argmax(smooth))
    if not smooth[top] > _SIGNIFICANT * sigma[top]:
        return None
    # A line of few channels is told by more of its flanks.
    wide_enough = [level for level in _FIRST if _count(smooth, level, top) >= _LEAST_CHANNELS]
    if not wide_enough:
        return None
    # Where noise cannot move the top, the spectrum itself says what is high; else the last fit.
    steady = float(sigma[top]) < _STEADY * float(smooth[top])
    found: list[Part] = []  # the widest first
    for level in (wide_enough[0], *_LEVELS):
        if found and not steady:
            last = found[-1]
            inside = last.curve > level * float(last.curve.max())
            near = _around(inside, int(np.argmax(last.curve)))
            start = last.channels.start
            channels = slice(start + near.start, start + near.stop)
        else:
            channels = _around(smooth > level * smooth[top], top)
        if found and channels == found[-1].channels:
            continue
        if channels.start == 0 or channels.stop == len(light):
            continue
        part = fitted(wavelength_nm, light, sigma, channels)
        if part is None and found:
            break
        if part is not None and found:
            # A simpler curve through fewer channels seems to know better: it does not.
            part = replace(part, sigma_nm=max(part.sigma_nm, found[-1].sigma_nm))
        if part is not None:
            found.append(part)
    for wide in range(len(found)):
        if all(_agree(found[wide], narrow) for narrow in found[wide + 1 :]):
            return _with_shape(found, wide, wavelength_nm), smooth
    return None


def _with_shape(found: Sequence[Part], chosen: int, wavelength_nm: FloatArray) -> Part:
    """Return a part whose error holds that of its shape, as the wider parts tell it."""
    part = found[chosen]
    if chosen:  # the last that does not agree with narrower ones, and the one before it
        shape = max(abs(one.peak_nm - part.peak_nm) for one in found[max(chosen - 2, 0) : chosen])
        # Of two humps the wider part may tell the other: the peak is inside the chosen one.
        shape = min(shape, float(np.ptp(wavelength_nm[part.channels])))
        part = replace(part, sigma_nm=float(np.hypot(part.sigma_nm, shape)))
    return part


def fitted(
    wavelength_nm: FloatArray, light: FloatArray, sigma: FloatArray, channels: slice
) -> Part | None:
    """Return the peak that some channels tell; None if they do not hold one."""
    x, y, noise = wavelength_nm[channels], light[channels], sigma[channels]
    if len(x) < _LEAST_CHANNELS or float((y / noise).min()) < _LEAST_WEIGHT:
        return None
    middle, half = 0.5 * (x[0] + x[-1]), 0.5 * (x[-1] - x[0])
    u, weight = (x - middle) / half, y / noise
    # ln of a noisy number is low by half its relative variance.
    logarithm = np.log(y) + 0.5 / weight**2
    degree = next(d for d, least in _DEGREES if len(x) >= least)
    design = np.vander(u, degree + 1) * weight[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    poly = covariance @ design.T @ (logarithm * weight)
    grid = np.linspace(-1.0, 1.0, 801)
    place = float(grid[int(np.argmax(np.polyval(poly, grid)))])
    for _ in range(3):
        bend = float(np.polyval(np.polyder(poly, 2), place))
        if bend >= 0.0:
            return None
        place -= float(np.polyval(np.polyder(poly), place)) / bend
    if abs(place) > _INSIDE:
        return None
    power = np.arange(degree, -1, -1)
    slope = power * place ** np.maximum(power - 1, 0)
    error = half * float(np.sqrt(slope @ covariance @ slope)) / abs(bend)
    return Part(channels, float(middle + half * place), error, np.exp(np.polyval(poly, u)))


def rivals(smooth: FloatArray, sigma: FloatArray, part: Part, others: Sequence[FloatArray]) -> bool:
    """Return whether another maximum may be the higher one.

    One inside the part counts, too: what tells two humps together does not tell the higher one.
    others: spectra as they might be as well, (P,) each, smoothed alike: their difference adds to
    the noise.
    """
    model = np.sqrt(sum((other - smooth) ** 2 for other in others)) if others else 0.0 * smooth
    inside = part.channels
    top = inside.start + int(np.argmax(smooth[inside]))
    maxima = 1 + np.flatnonzero((smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:]))
    for place in maxima[np.abs(maxima - top) > 2]:
        between = smooth[min(place, top) : max(place, top) + 1]
        valley = smooth[place] - float(between.min())
        if valley < _VALLEY_SIGMA * sigma[place]:
            continue
        apart = float(np.hypot(model[place] - model[top], _ALIKE * smooth[top]))
        unsure = float(np.hypot(sigma[place], apart))
        if smooth[place] + _RIVAL_SIGMA * unsure > smooth[top]:
            return True
    return False


def smoothed_like(light: FloatArray, sigma: FloatArray) -> FloatArray:
    """Return a spectrum smoothed as `highest_point` does."""
    return _calm(light, sigma)


def _calm(light: FloatArray, sigma: FloatArray) -> FloatArray:
    """Return running means over as many channels as make the top's noise small."""
    rough = uniform_filter1d(light, 9, mode="nearest")
    top = int(np.argmax(rough))
    width = int(np.sum(rough > 0.5 * rough[top]))
    noise = float(sigma[top]) / max(float(rough[top]), 1e-12)
    wanted = int(np.ceil((noise / _CALM) ** 2))
    channels = int(np.clip(wanted, 3, max(width // 3, 3))) | 1
    return np.asarray(uniform_filter1d(light, channels, mode="nearest"))


def _agree(wide: Part, narrow: Part) -> bool:
    apart = float(np.sqrt(max(narrow.sigma_nm**2 - wide.sigma_nm**2, 0.0)))
    return abs(wide.peak_nm - narrow.peak_nm) <= _AGREE * apart + 1e-3


def _count(smooth: FloatArray, level: float, top: int) -> int:
    channels = _around(smooth > level * smooth[top], top)
    return int(channels.stop - channels.start)


def _around(mask: np.ndarray, place: int) -> slice:
    below, beyond = np.flatnonzero(~mask[:place]), np.flatnonzero(~mask[place:])
    first = int(below[-1]) + 1 if len(below) else 0
    last = place + int(beyond[0]) if len(beyond) else len(mask)
    return slice(first, last)
