"""Modes of a whispering-gallery resonator: found in spectra, numbered, their spacing.

For the capillary laser. A mode obeys m lambda = pi D n (Garrett, Kaiser & Bond 1961); neighbours
are hc / (pi D n_g) apart in photon energy, with the group index n_g = n - lambda dn/dlambda. Modes
are lines as narrow as the instrument's slit. Only differences of the numbers m are found: the
number itself would need the index n. Stops at positions, numbers and light of each mode.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.signal import find_peaks

from procedures.analysis.results import FloatArray
from procedures.analysis.voigt import EV_NM

LEAST_MODES = 3
"""Two lines have a distance, three show that they are evenly spaced."""

_SIGNIFICANT = 8.0  # of a line's height, in sigma
_VISIBLE = 0.004  # of the highest line: less may be a neighbour's foot
_POSITION_PIXELS = 0.02  # how well a line three pixels wide can be placed at all
_WIDEST_PIXELS = 25.0
_OFF_COMB = 0.12  # of a spacing, beyond which a line is no member
_COHERENT = 0.9  # of the best coherence: the widest comb that reaches it is the one
_CURVED = 5.0  # significance of a change of the spacing over the modes
_APERTURE = 1.5  # half of it, in widths of the line
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Modes:
    """Lines found: pixel, position and its sigma (nm), width (pixels), height (counts), (M,)."""

    pixel: FloatArray
    wavelength_nm: FloatArray
    sigma_nm: FloatArray
    fwhm_pixels: float
    height: FloatArray

    def only(self, keep: NDArray[np.bool_]) -> Modes:
        """Return the modes of a mask, (M,)."""
        return Modes(
            self.pixel[keep],
            self.wavelength_nm[keep],
            self.sigma_nm[keep],
            self.fwhm_pixels,
            self.height[keep],
        )


@dataclass(frozen=True)
class Comb:
    """Numbered modes and their spacing in photon energy.

    Attributes:
        number: of each mode, relative: 0 for the lowest energy, (M,).
        member: which of the lines belong, (M,); number is -1 for the others.
        spacing_eV, spacing_sigma_eV: at `at_eV`, without the error of the axis.
        at_eV: the energy about which the modes were taken.
        rms_eV: of the members about the comb.
        curved: whether the spacing changes over the modes.
    """

    number: NDArray[np.intp]
    member: NDArray[np.bool_]
    spacing_eV: float
    spacing_sigma_eV: float
    at_eV: float
    rms_eV: float
    curved: bool


def find_modes(wavelength_nm: FloatArray, counts: FloatArray, variance: FloatArray) -> Modes | None:
    """Return the narrow lines of a spectrum, all (P,); None if there are none.

    `counts` without background, of all bright records together.
    """
    sigma = np.sqrt(variance)
    peaks, found = find_peaks(counts, prominence=_SIGNIFICANT * sigma, width=(1.0, _WIDEST_PIXELS))
    if not len(peaks):
        return None
    tall = found["prominences"] > _VISIBLE * found["prominences"].max()
    peaks, rough = peaks[tall], float(np.median(found["widths"][tall]))
    reach = max(round(1.2 * rough), 3)
    fits = [_fit_line(counts, sigma, int(peak), rough, reach) for peak in peaks]
    good = [fit for fit in fits if fit is not None]
    if not good:
        return None
    pixel, pixel_sigma, width, height = (np.array(column) for column in zip(*good, strict=True))
    fwhm = float(np.median(width[height > 0.1 * height.max()]))
    lines = (height > 0.0) & (width < 3.0 * fwhm) & (width > 0.3 * fwhm)
    scale = np.gradient(wavelength_nm)
    pixels = np.arange(len(wavelength_nm), dtype=np.float64)
    place = np.interp(pixel, pixels, wavelength_nm)
    error = np.hypot(pixel_sigma, _POSITION_PIXELS) * np.interp(pixel, pixels, np.abs(scale))
    return Modes(pixel, place, error, fwhm, height).only(lines) if lines.any() else None


def _fit_line(
    counts: FloatArray, sigma: FloatArray, peak: int, fwhm: float, reach: int
) -> tuple[float, float, float, float] | None:
    """Return place, its sigma, width and height of a Gaussian line on a level ground (pixels)."""
    low, high = max(peak - reach, 0), min(peak + reach + 1, len(counts))
    if high - low < 5:
        return None
    x, y = np.arange(low, high, dtype=np.float64), counts[low:high]
    ground = float(y.min())
    start = (float(peak), fwhm / _FWHM, float(y.max() - ground), ground)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)  # no covariance: no line either
            theta, covariance = curve_fit(_line, x, y, start, sigma[low:high], absolute_sigma=True)
    except (RuntimeError, ValueError, OptimizeWarning):
        return None
    error = float(np.sqrt(max(covariance[0, 0], 0.0)))
    if not (low <= theta[0] <= high - 1 and np.isfinite(error)):
        return None
    return float(theta[0]), error, float(abs(theta[1]) * _FWHM), float(theta[2])


def _line(x: FloatArray, centre: float, width: float, height: float, ground: float) -> FloatArray:
    return np.asarray(ground + height * np.exp(-0.5 * ((x - centre) / width) ** 2))


# ---- numbering ----------------------------------------------------------------------------------


def number_modes(modes: Modes) -> Comb | None:
    """Number the modes; None if they are too few or not evenly spaced in energy."""
    order = np.argsort(-modes.wavelength_nm)  # energy rising
    energy = EV_NM / modes.wavelength_nm[order]
    error = energy / modes.wavelength_nm[order] * modes.sigma_nm[order]
    if len(energy) < LEAST_MODES:
        return None
    guess = _spacing_guess(energy, modes.height[order])
    if guess is None:
        return None
    fitted = _fit_comb(energy, error, modes.height[order], guess)
    if fitted is None:
        return None
    number, member, line, covariance, rms, curved = fitted
    back = np.empty(len(order), dtype=np.intp)
    back[order] = np.arange(len(order))
    middle = float(np.sum(energy * modes.height[order]) / np.sum(modes.height[order]))
    return Comb(
        number[back],
        member[back],
        float(line[1]),
        float(np.sqrt(covariance[1, 1])),
        middle,
        rms,
        curved,
    )


def _spacing_guess(energy: FloatArray, height: FloatArray) -> float | None:
    """Return the widest spacing of a comb that the lines fall on (eV)."""
    strong = height > 0.03 * height.max()
    if strong.sum() < LEAST_MODES:
        strong = np.ones(len(energy), dtype=np.bool_)
    places = energy[strong]
    steps = np.diff(places)
    span, least = float(places[-1] - places[0]), float(steps.min())
    if least <= 0.0 or span <= 0.0:
        return None
    # Frequencies of the comb, finer than two lines at the ends can tell apart.
    most = 1.0 / (0.45 * float(np.median(steps)))
    frequency = np.arange(1.2 / span, most, 0.02 / span)
    weight = np.sqrt(height[strong])
    phase = np.exp(2j * np.pi * np.multiply.outer(frequency, places - places[0]))
    coherence = np.abs(phase @ weight) / weight.sum()
    tops, _ = find_peaks(coherence, height=_COHERENT * float(coherence.max()))
    if not len(tops):
        return None
    return float(1.0 / frequency[tops[0]])


def _fit_comb(
    energy: FloatArray, error: FloatArray, height: FloatArray, spacing: float
) -> (
    tuple[NDArray[np.intp], NDArray[np.bool_], FloatArray, FloatArray, float, bool] | None
):  # fmt: skip
    """Number lines from the strongest outwards, refining the spacing; reject what is off."""
    origin = int(np.argmax(height))
    away = np.abs(energy - energy[origin])
    number = np.zeros(len(energy), dtype=np.intp)
    base = float(energy[origin])
    for reach in (1.5, 3.5, 7.5, 1e9):
        near = away <= reach * spacing
        number[near] = np.rint((energy[near] - base) / spacing).astype(np.intp)
        off = np.abs(energy - base - number * spacing) / spacing
        inside = near & (off < _OFF_COMB)
        if len(np.unique(number[inside])) >= 2:
            weight = 1.0 / error[inside]
            spacing, base = np.polyfit(number[inside], energy[inside], 1, w=weight)
    member = np.abs(energy - base - number * spacing) < _OFF_COMB * spacing
    for value in np.unique(number[member]):  # two lines of one number: the stronger one
        same = np.flatnonzero(member & (number == value))
        member[same[height[same] < height[same].max()]] = False
    if member.sum() < LEAST_MODES or member.sum() < 0.5 * len(energy):
        return None
    middle = float(np.sum(number[member] * height[member]) / np.sum(height[member]))
    k: FloatArray = np.asarray(number[member] - middle)
    e, w = energy[member], 1.0 / error[member]
    line, covariance, rms = _polynomial(k, e, w, 1)
    curved = False
    if member.sum() >= 6:
        bent, bent_covariance, bent_rms = _polynomial(k, e, w, 2)
        if abs(bent[2]) > _CURVED * np.sqrt(bent_covariance[2, 2]):
            line, covariance, rms, curved = bent, bent_covariance, bent_rms, True
    number = np.where(member, number - number[member].min(), -1)
    return number, member, line, covariance, rms, curved


def _polynomial(
    x: FloatArray, y: FloatArray, weight: FloatArray, degree: int
) -> tuple[FloatArray, FloatArray, float]:
    """Return coefficients (constant first), covariance (enlarged by scatter), rms."""
    design = np.vander(x, degree + 1, increasing=True)
    information = (design * weight[:, np.newaxis] ** 2).T @ design
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    theta = covariance @ (design.T @ (weight**2 * y))
    rest = y - design @ theta
    dof = len(x) - degree - 1
    excess = float(np.sum((rest * weight) ** 2) / dof) if dof > 0 else 1.0
    return theta, np.asarray(covariance * max(excess, 1.0)), float(np.sqrt(np.mean(rest**2)))


# ---- the light of each mode ---------------------------------------------------------------------


def mode_light(
    counts: FloatArray, variance: FloatArray, modes: Modes
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return light and variance of each mode, and light and variance between the modes.

    Of spectra (N, P): sums over the line less the ground beside it, both (N, M), unweighted so that
    no fluctuation weighs for itself; and the mean ground per pixel over all modes, both (N,).
    """
    records, pixels = counts.shape
    half = max(round(_APERTURE * modes.fwhm_pixels), 2)
    centre = np.rint(modes.pixel).astype(int)
    taken = np.zeros(pixels, dtype=np.bool_)
    for place in centre:
        taken[max(place - half, 0) : place + half + 1] = True
    light = np.zeros((records, len(centre)))
    noise = np.zeros_like(light)
    grounds, ground_noise = [], []
    for index, place in enumerate(centre):
        low, high = max(place - half, 0), min(place + half + 1, pixels)
        beside = _beside(taken, low, high, half)
        inside = counts[:, low:high].sum(axis=1)
        if len(beside) < 2:
            ground = np.minimum(counts[:, low], counts[:, high - 1])
            spread = variance[:, low]
        else:
            ground = counts[:, beside].mean(axis=1)
            spread = variance[:, beside].sum(axis=1) / len(beside) ** 2
        width = high - low
        light[:, index] = inside - width * ground
        noise[:, index] = variance[:, low:high].sum(axis=1) + width**2 * spread
        grounds.append(ground)
        ground_noise.append(spread)
    ground = np.mean(grounds, axis=0)
    return light, noise, ground, np.sum(ground_noise, axis=0) / len(centre) ** 2


def _beside(taken: NDArray[np.bool_], low: int, high: int, half: int) -> NDArray[np.intp]:
    """Return pixels left and right of a line that no line takes, equally many of each."""
    left = [place for place in range(low - 1, max(low - 1 - 2 * half, -1), -1) if not taken[place]]
    right = [place for place in range(high, min(high + 2 * half, len(taken))) if not taken[place]]
    many = min(len(left), len(right))
    return np.array(left[:many] + right[:many], dtype=np.intp)
