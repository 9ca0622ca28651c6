"""The bands of a power sweep and their growth: first look, both bands, slopes.

For `power_sweep.py`. Each function takes usable records, and where light has to be told apart
by its way through the stripe, the threshold with its fits. Stops short of deciding what is stated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procedures.analysis.lineshape import (
    Band,
    Line,
    channel_edges,
    fit_band,
    fit_line,
    half_width,
    rebin,
    smooth,
)
from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_fit import FitData, StripeFit
from procedures.analysis.stripe_model import Channels, emitted
from procedures.analysis.stripe_parameters import model_law
from procedures.analysis.sweep_records import Records
from procedures.analysis.threshold import BandGuess, Threshold
from procedures.analysis.unmeasured_response import FLAT, UnmeasuredResponse

FAR_BELOW = 0.45
"""Records below this multiple of the threshold show the spontaneous band."""
_NEARBY = 0.35  # of ln fluence: records that take part in quoting the line
_AXIS_SHARE = 0.3  # of one sigma: small enough for slopes to follow in proportion
_SLOPE_POINTS = 32


@dataclass(frozen=True)
class FirstLook:
    """What spectra tell before any fit of the stripe.

    Attributes:
        guess: where bands are, and where the spectrum narrows.
        line_fwhm_nm: width of the spectrum at its narrowest.
        low: the band of the weakest records.
        width_nm: band integral over peak, each record, (R,).
        narrowing: smallest over low-fluence width.
    """

    guess: BandGuess
    line_fwhm_nm: float
    low: Band
    width_nm: FloatArray
    narrowing: float


def band_intensity(records: Records) -> tuple[FloatArray, FloatArray]:
    """Return counts per shot over the band, and sigma, (R,) each."""
    per_nm = np.gradient(records.wavelength_nm)
    return records.per_shot @ per_nm, np.sqrt(records.variance @ per_nm**2)


def first_look(records: Records) -> FirstLook | None:
    """Return where the bands are; None if the weak records show no band."""
    order = np.argsort(records.fluence)
    weakest = order[: max(3, len(order) // 8)]
    sigma = np.sqrt(records.variance[weakest])
    band = fit_band(records.wavelength_nm, records.per_shot[weakest], sigma)
    if band is None:
        return None
    low = band.line
    step = float(np.median(np.diff(records.wavelength_nm)))
    smoothed = smooth(records.per_shot, round(0.06 * low.fwhm_nm / step))
    intensity, _ = band_intensity(records)
    width = intensity / np.maximum(smoothed.max(axis=1), 1e-300)
    base = float(np.median(width[weakest]))
    top = int(order[-3:][np.argmin(width[order[-3:]])])
    line_peak, line_fwhm = half_width(records.wavelength_nm, smoothed[top])
    least = float(width[order][-3:].min())
    turn = np.sqrt(base * least)
    narrow = np.flatnonzero(width[order] < turn)
    place = int(narrow[0]) if len(narrow) else len(order) - 1
    guess = BandGuess(low.peak_nm, low.fwhm_nm, line_peak, float(records.fluence[order][place]))
    return FirstLook(guess, line_fwhm, band, width, least / base)


def fit_data(records: Records, look: FirstLook, pulse_spread: float) -> FitData:
    """Return the records in channels, for the stripe fit."""
    x, guess = records.wavelength_nm, look.guess
    edges = channel_edges(
        x, guess.spontaneous_peak_nm, guess.spontaneous_fwhm_nm, guess.line_peak_nm,
        look.line_fwhm_nm,
    )  # fmt: skip
    signal, variance = rebin(records.per_shot, records.variance, edges)
    # Borders of pixels: half-way between centres.
    border = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], 0.5 * (x[1:] + x[:-1])])
    border = np.append(border, 1.5 * x[-1] - 0.5 * x[-2])[edges]
    centre = 0.5 * (border[1:] + border[:-1])
    channels = Channels(centre, np.diff(border), look.low.factor(centre))
    return FitData(
        records.fluence,
        records.fluence_sigma,
        np.full(len(records.fluence), pulse_spread),
        signal,
        variance,
        channels,
        records.length,
    )


def pixels(records: Records, look: FirstLook) -> Channels:
    """Return the pixels of the records as channels."""
    x = records.wavelength_nm
    return Channels(x, np.gradient(x), look.low.factor(x))


def spontaneous_band(
    records: Records, look: FirstLook, fit: StripeFit | None, upto: float
) -> Line | None:
    """Fit the band of the records below a fluence; the little that the guide adds is taken off."""
    weak = records.fluence < upto
    if weak.sum() < 2:
        return None
    chosen = records.only(weak)
    shape = None
    if fit is not None:
        guided, direct = fit.spectra(chosen.fluence, pixels(records, look), chosen.length)
        shape = 1.0 + guided / np.maximum(direct, 1e-9 * direct.max())
        wings = direct < 1e-6 * direct.max()
        shape = np.where(wings, 1.0, shape / np.median(shape))
    band = fit_band(records.wavelength_nm, chosen.per_shot, np.sqrt(chosen.variance), shape)
    return None if band is None else band.line


@dataclass(frozen=True)
class StimulatedLine:
    """The line of guided light at one fluence; sigmas without the scales of the axes.

    `peak_slope_nm`, `fwhm_slope_nm`: change per unit of ln fluence. `fluence`, `peaks_nm`,
    `widths_nm`: the records it rests on.
    """

    peak_nm: float
    peak_sigma_nm: float
    fwhm_nm: float
    fwhm_sigma_nm: float
    peak_slope_nm: float
    fwhm_slope_nm: float
    fluence: FloatArray
    peaks_nm: FloatArray
    widths_nm: FloatArray


def guided_lines(
    records: Records, look: FirstLook, threshold: Threshold, above: float
) -> tuple[FloatArray, list[Line]]:
    """Return (fluences, lines) of the guided light of all records above a fluence.

    Direct light is taken off as the best fit has it.
    """
    chosen = records.only(records.fluence > above)
    found: list[Line] = []
    fluence: list[float] = []
    if not len(chosen.fluence):
        return np.zeros(0), found
    _, direct = threshold.best.spectra(chosen.fluence, pixels(records, look), chosen.length)
    for row in range(len(chosen.fluence)):
        sigma = np.sqrt(chosen.variance[row])
        line = fit_line(records.wavelength_nm, chosen.per_shot[row] - direct[row], sigma)
        if line is not None:
            found.append(line)
            fluence.append(float(chosen.fluence[row]))
    return np.array(fluence), found


def line_at(fluence: FloatArray, lines: list[Line], at: float) -> StimulatedLine | None:
    """Return the line at a fluence by a smooth curve through the records around it.

    None if fewer than two records lie near, or if all lie on one side and none within 3 %.
    """
    x = np.log(fluence / at)
    near = np.abs(x) < _NEARBY
    if near.sum() < 3:
        near = np.isin(np.arange(len(x)), np.argsort(np.abs(x))[:3]) & (np.abs(x) < 3 * _NEARBY)
    if near.sum() < 2 or (
        np.abs(x[near]).min() > 0.03 and (x[near].min() > 0 or x[near].max() < 0)
    ):
        return None
    x = x[near]
    some = [line for line, take in zip(lines, near, strict=True) if take]
    degree = 2 if len(x) >= 6 else 1
    peaks = np.array([line.peak_nm for line in some])
    widths = np.array([line.fwhm_nm for line in some])
    peak = _curve_at_zero(x, peaks, np.array([line.peak_sigma_nm for line in some]), degree)
    fwhm = _curve_at_zero(x, widths, np.array([line.fwhm_sigma_nm for line in some]), degree)
    return StimulatedLine(
        peak[0], peak[1], fwhm[0], fwhm[1], peak[2], fwhm[2], at * np.exp(x), peaks, widths
    )


def _curve_at_zero(
    x: FloatArray, y: FloatArray, sigma: FloatArray, degree: int
) -> tuple[float, float, float]:
    """Return (value, sigma, slope) at x = 0 of a polynomial through y, sigma made to match."""
    degree = min(degree, len(x) - 1)
    # Records differ by more than their own noise: half the weight is shared alike.
    sigma = np.hypot(sigma, np.median(sigma))
    design = np.vander(x, degree + 1)
    weighted = design / sigma[:, None]
    covariance = np.linalg.pinv(weighted.T @ weighted)
    poly = covariance @ weighted.T @ (y / sigma)
    scatter = float(np.sum(((y - design @ poly) / sigma) ** 2))
    covariance *= max(1.0, scatter / max(len(x) - degree - 1, 1))
    slope = float(poly[-2]) if degree else 0.0
    return float(poly[-1]), float(np.sqrt(covariance[-1, -1])), slope


def log_slope(x: FloatArray, y: FloatArray, sigma_x: FloatArray, sigma_y: FloatArray) -> tuple[
    float, float
]:  # fmt: skip
    """Return slope and sigma of the plain straight line through ln-ln points, (M,) each.

    Unweighted, so that a curved stretch has one slope whatever the counts; errors propagated.
    """
    offset = x - x.mean()
    weight = offset / np.sum(offset**2)
    slope = float(weight @ y)
    sigma = np.hypot(sigma_y, slope * sigma_x)
    return slope, float(np.sqrt(np.sum((weight * sigma) ** 2)))


def model_slope(
    threshold: Threshold,
    channels: Channels,
    low: float,
    high: float,
    response: UnmeasuredResponse = FLAT,
) -> tuple[float, float]:
    """Return slope and sigma of the fits' band intensity between two multiples of threshold.

    Seen through the expected response, and as without. Sigma from the covariance of each law's
    fit, the spread between laws, and a response that tilts: the line grows at one end of the band,
    and is weighted as that end is.
    """
    grid = np.geomspace(low, high, _SLOPE_POINTS)
    means, variances, weights = [], [], []
    middle_nm = float(channels.centre_nm.mean())
    true_width = channels.width_nm / response.over(channels.centre_nm, middle_nm)
    tilted = true_width * np.exp(response.tilt_unc_per_nm * (channels.centre_nm - middle_nm))
    tilt = 0.0
    for fit, weight in zip(threshold.fits, threshold.weights, strict=True):
        if weight < 0.01:
            continue
        sets = np.concatenate([fit.theta[None], fit.axes(_AXIS_SHARE)])
        fluence = np.exp(sets[:, :1]) * grid
        guided, direct = emitted(model_law(fit.law), sets, fluence, channels)
        y = np.log((guided + direct) @ true_width)
        x = np.log(grid) - np.log(grid).mean()
        slopes = y @ x / np.sum(x**2)
        seen_tilted = np.log((guided[0] + direct[0]) @ tilted)
        tilt += weight * float(seen_tilted @ x / np.sum(x**2) - slopes[0])
        means.append(slopes[0])
        variances.append(float(np.sum(((slopes[1:] - slopes[0]) / _AXIS_SHARE) ** 2)))
        weights.append(weight)
    share = np.array(weights) / np.sum(weights)
    mean = float(share @ np.array(means))
    variance = float(share @ (np.array(variances) + (np.array(means) - mean) ** 2))
    return mean, float(np.sqrt(variance + (tilt / np.sum(weights)) ** 2))
