"""The threshold of a stripe: the fluence at which the net modal gain at the gain peak is zero.

For `power_sweep.py`. The number comes from a fit of the stripe equation (`stripe_fit.py`) under
several gain laws, weighed by how well each describes the spectra; two stripe lengths give a check
that needs no model of the gain. The crossing of two straight lines in log-log axes is drawn for
the eye and is not the threshold: it is a kink, tens of percent away where gain is weak.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_fit import FitData, StripeFit, fit_stripe, floor_needed
from procedures.analysis.stripe_model import INDEX, NAMES, emitted, growth
from procedures.analysis.stripe_parameters import LAWS

MODEL_FLOOR = (0.001, 0.004)
"""Least and most relative error granted to the model in each channel, as the residuals ask for.

No film is a Gaussian to the last digit; how far it is from one, its own spectra tell.
"""
MODEL_TERM = 0.005
"""Relative standard error of the threshold for what no gain law tried here describes."""
_COARSE_FLOORS = (0.3, 0.06, 0.015)
_COARSE_STEPS = (12, 24)  # along the stripe, for the first two of these and for the third
_WINDOW = (0.7, 0.3)  # of ln fluence, below and above: records of the two-length ratio
_REFINED_STARTS = 3
_HOPELESS = 1.3
_GOOD_COARSE = 0.2  # chi-squared per degree at the wide tolerance that needs no other start
_FAR_OFF = 2.0  # times that of the best, or of the good: a law that is dropped at once
_NEARLY_LINEAR = -1.5  # ln c of ln(1 + c F / F_th)
_NO_SAY = 20.0  # of the criterion: a law that is this far off at the widest floor
_SETTLED = 12  # iterations, from where the widest floor led
HOPELESS = 30.0
"""Chi-squared per degree, at the widest floor, of spectra that are those of no stripe."""
_POOR = 3.0  # chi-squared per degree of a fit that is not trusted to be the best there is


@dataclass(frozen=True)
class BandGuess:
    """Where the bands are, from a look at the spectra; all in nm, or the sweep's fluence unit."""

    spontaneous_peak_nm: float
    spontaneous_fwhm_nm: float
    line_peak_nm: float
    narrowing_fluence: float


@dataclass(frozen=True)
class Threshold:
    """The threshold with the parts of its relative standard error.

    Attributes:
        value: in the unit of the fluences.
        fit, law, cut, model: relative sigma from the fit's covariance (fluence noise included),
            from the choice among gain laws, from the choice of records, from what none of the
            models describes.
        best: the best fit.
        fits: one for each law tried.
        weights: of the laws, adding to one.
        floor: relative error granted to the model in each channel.
    """

    value: float
    fit: float
    law: float
    cut: float
    model: float
    best: StripeFit
    fits: tuple[StripeFit, ...]
    weights: tuple[float, ...]
    floor: float

    @property
    def rel_sigma(self) -> float:
        """Relative standard error without the common scale of the fluences."""
        return float(np.sqrt(self.fit**2 + self.law**2 + self.cut**2 + self.model**2))


def find_threshold(data: FitData, guess: BandGuess) -> Threshold:
    """Fit the stripe equation under each gain law and weigh the laws.

    Raises:
        ValueError: fewer records or channels than parameters can be found from.
    """
    if len(data.fluence) < 6 or data.signal.shape[1] < 8:
        raise ValueError("six records of eight channels are the least a stripe fit can use")
    starts = _starts(data, guess)
    fits = _fits_from(data, LAWS[0], starts[:_REFINED_STARTS])
    if min(fit.reduced for fit in fits) > _POOR:
        # Caught in a side valley, or a law far from the first: begin again elsewhere.
        for law in ("logarithmic", "linear"):
            fits += _fits_from(data, law, starts[_REFINED_STARTS : 3 * _REFINED_STARTS])
        kept = {fit.law: fit for fit in sorted(fits, key=_criterion, reverse=True)}
        fits = list(kept.values())
    best = min(fits, key=_criterion)
    floor = floor_needed(data, best, least=MODEL_FLOOR[0], most=MODEL_FLOOR[1])
    fits = [
        fit_stripe(data, fit.law, fit.theta, floor=floor, iterations=_SETTLED)
        for fit in fits
        if _criterion(fit) < _criterion(best) + _NO_SAY * max(1.0, best.reduced)
    ]
    best = min(fits, key=_criterion)
    # Where even the best law misses the noise, differences count less by the same factor.
    scale = max(1.0, best.reduced)
    excess = np.array([(_criterion(fit) - _criterion(best)) / scale for fit in fits])
    weights = np.exp(-0.5 * excess)
    weights /= weights.sum()
    logs = np.array([fit.theta[0] for fit in fits])
    mean = float(weights @ logs)
    within = float(np.sqrt(weights @ np.array([fit.covariance[0, 0] for fit in fits])))
    between = float(np.sqrt(weights @ (logs - mean) ** 2))
    return Threshold(
        value=float(np.exp(mean)),
        fit=within,
        law=between,
        cut=_cut_term(data, best, floor),
        model=MODEL_TERM,
        best=best,
        fits=tuple(fits),
        weights=tuple(float(weight) for weight in weights),
        floor=floor,
    )


def _criterion(fit: StripeFit) -> float:
    return fit.chi2 + 2.0 * len(fit.free)


def _fits_from(data: FitData, law: str, starts: list[FloatArray]) -> list[StripeFit]:
    """Refine starts with wide tolerance under one law, then fit every law from the best."""
    order = np.argsort(data.fluence)
    thinned = data.only(order[np.unique(np.linspace(0, len(order) - 1, 20).astype(int))])
    thinned = replace(thinned, steps=_COARSE_STEPS[0])
    refined: list[StripeFit] = []
    for start in starts:
        fit = fit_stripe(thinned, law, start, floor=_COARSE_FLOORS[0], iterations=12)
        fit = fit_stripe(thinned, law, fit.theta, floor=_COARSE_FLOORS[1], iterations=8)
        refined.append(fit)
        if fit.reduced < _GOOD_COARSE:
            break
    coarse = min(refined, key=lambda fit: fit.reduced)
    # The wider laws contain poisson and linear, and start from them: they cannot do worse.
    poisson = _narrowed(data, "poisson", coarse)
    linear = _narrowed(data, "linear", coarse)
    found = [
        poisson,
        _narrowed(data, "free poisson", coarse if poisson is None else poisson),
        linear,
        _narrowed(data, "logarithmic", coarse if linear is None else linear),
    ]
    trials = [trial for trial in found if trial is not None]
    least = min((trial.chi2 for trial in trials), default=0.0)
    # Laws that are far off at a wide tolerance have no say, and take long to settle.
    chosen = [trial for trial in trials if trial.chi2 < _HOPELESS * least + 60.0]
    fits = {one.law: fit_stripe(data, one.law, one.theta, floor=MODEL_FLOOR[1]) for one in chosen}
    for wide, narrow in (("logarithmic", "linear"), ("free poisson", "poisson")):
        if narrow in fits and (wide not in fits or fits[wide].chi2 > fits[narrow].chi2 + 1.0):
            start = fits[narrow].theta.copy()
            if wide == "logarithmic":
                start[INDEX["ln_law_shape"]] = 2.0 * _NEARLY_LINEAR
            fits[wide] = fit_stripe(data, wide, start, floor=MODEL_FLOOR[1])
    return list(fits.values())


def _narrowed(data: FitData, law: str, before: StripeFit) -> StripeFit | None:
    """Fit under a law from where another fit ended, the tolerance drawn in; None if far off."""
    start = before.theta.copy()
    if law == "logarithmic" and before.law != law:
        start[INDEX["ln_law_shape"]] = _NEARLY_LINEAR if before.law == "linear" else 0.0
    if law != before.law:
        rough = replace(data, steps=_COARSE_STEPS[0])
        trial = fit_stripe(rough, law, start, floor=_COARSE_FLOORS[1], iterations=12)
        if trial.reduced > _FAR_OFF * max(before.reduced, _GOOD_COARSE):
            return None
        start = trial.theta
    fine = replace(data, steps=_COARSE_STEPS[1])
    return fit_stripe(fine, law, start, floor=_COARSE_FLOORS[2], iterations=15)


def _starts(data: FitData, guess: BandGuess) -> list[FloatArray]:
    """Return starting points, best first, judged by logarithms so that decades do not decide."""
    width = data.channels.width_nm
    band = data.signal @ width
    low = np.argsort(data.fluence)[: max(3, len(band) // 5)]
    grid = [
        (ratio, absorption, kappa, gain_width, top)
        for ratio in (0.8, 0.92, 1.05)
        for absorption in (8.0, 16.0, 32.0)
        for kappa in (0.7, 2.5)
        for gain_width in (0.45, 0.75, 1.2)
        for top in (0.5, 2.0)
    ]
    thetas = np.zeros((len(grid), len(NAMES)))
    peak = int(np.argmin(np.abs(data.channels.centre_nm - guess.spontaneous_peak_nm)))
    for theta, (ratio, absorption, kappa, gain_width, top) in zip(thetas, grid, strict=True):
        threshold = ratio * guess.narrowing_fluence
        light = -np.expm1(-1.1 * data.fluence[low] / threshold) / -np.expm1(-1.1)
        direct = np.median(data.signal[low, peak] / light) / (1.0 + 1.0 / (kappa * absorption))
        rise = min(float(data.fluence.max()) / threshold, 3.0)
        saturation = top * band.max() / (absorption * max(rise - 1.0, 0.3))
        theta[:] = (
            np.log(threshold),
            np.log(absorption),
            np.log(1.1),
            np.log(max(direct, 1e-12)),
            np.log(kappa),
            np.log(max(saturation, 1e-12)),
            guess.line_peak_nm,
            np.log(gain_width * guess.spontaneous_fwhm_nm),
            guess.spontaneous_peak_nm,
            np.log(guess.spontaneous_fwhm_nm),
            0.15,
            np.log(1.1),
            0.5,
        )
    some = np.unique(np.linspace(0, len(data.fluence) - 1, 16).astype(int))
    order = np.argsort(data.fluence)[some]
    guided, direct_light = emitted(
        "poisson", thetas, data.fluence[order], data.channels, steps=_COARSE_STEPS[0]
    )
    noise = np.sqrt(data.variance[order]) + 0.003 * data.signal[order].max(axis=1, keepdims=True)
    measured = np.log(np.maximum(data.signal[order], noise))
    apart = np.log(np.maximum(guided + direct_light, noise)) - measured
    judged = np.abs(apart).mean(axis=(1, 2))
    return [thetas[index] for index in np.argsort(judged)]


def _cut_term(data: FitData, best: StripeFit, floor: float) -> float:
    """Return the relative sigma for the choice of records: what leaving out the brightest shifts.

    Of the shift only the part counts that the smaller number of records does not explain.
    """
    keep = data.fluence < max(2.0 * best.threshold, float(np.quantile(data.fluence, 0.6)))
    if keep.all() or keep.sum() < 8 or data.fluence[keep].max() < 1.25 * best.threshold:
        return 0.0
    part = fit_stripe(data.only(keep), best.law, best.theta, floor=floor, iterations=15)
    shift = part.theta[0] - best.theta[0]
    expected = max(part.covariance[0, 0] - best.covariance[0, 0], 0.0)
    return float(min(np.sqrt(max(shift**2 - expected, 0.0)), 0.1))


@dataclass(frozen=True)
class TwoLength:
    """Threshold from two stripe lengths: value and relative sigma, fluence unit of the sweep.

    `fluence`, `ratio`, `ratio_sigma`: the measured ratio of intensities, (M,), for a figure.
    """

    value: float
    rel_sigma: float
    fluence: FloatArray
    ratio: FloatArray
    ratio_sigma: FloatArray


def two_length_threshold(
    long_fluence: FloatArray,
    long_intensity: FloatArray,
    long_rel_sigma: FloatArray,
    short_fluence: FloatArray,
    short_intensity: FloatArray,
    short_rel_sigma: FloatArray,
    length_ratio: float,
    *,
    length_ratio_sigma: float = 0.0,
) -> TwoLength | None:
    """Return where the intensity at the gain peak grows as the length: no gain and no loss.

    Intensities per shot at the gain peak, background-free; relative sigmas include fluence noise.
    At zero net gain light is in proportion to length, direct light too, so that the ratio is
    `length_ratio` whatever the gain law. Needs uniform collection along the stripe. None if the
    ratio does not cross in the range measured.
    """
    if length_ratio <= 1.0:
        raise ValueError(f"length_ratio is {length_ratio:g}: long over short must exceed 1")
    long_order, short_order = np.argsort(long_fluence), np.argsort(short_fluence)
    x_long, x_short = np.log(long_fluence[long_order]), np.log(short_fluence[short_order])
    inside = (x_long >= x_short[0]) & (x_long <= x_short[-1])
    if inside.sum() < 4:
        return None
    x = x_long[inside]
    y_short = np.interp(x, x_short, np.log(short_intensity[short_order]))
    sigma_short = np.interp(x, x_short, short_rel_sigma[short_order])
    ratio = np.log(long_intensity[long_order][inside]) - y_short
    sigma = np.hypot(long_rel_sigma[long_order][inside], sigma_short)
    guess = _surely_above(x, ratio, float(np.log(length_ratio)))
    if guess is None:
        return None
    for _ in range(2):
        near = (x > guess - _WINDOW[0]) & (x < guess + _WINDOW[1])
        if near.sum() < 4 or not (x[near].min() < guess < x[near].max()):
            return None
        found = _fit_ratio(x[near], ratio[near], sigma[near], length_ratio, guess)
        guess = found[0]
    root, error, steepness = found
    if not x[near].min() < root < x[near].max():
        return None
    # A wrong length shifts the level that is crossed.
    spread = float(np.hypot(error, length_ratio_sigma / length_ratio / steepness))
    return TwoLength(float(np.exp(root)), spread, np.exp(x), np.exp(ratio), sigma)


def _surely_above(x: FloatArray, ratio: FloatArray, target: float) -> float | None:
    """Return ln of the fluence from which the ratio stays above its value at threshold."""
    above = ratio > target
    high = np.flatnonzero(ratio > target + np.log(1.3))
    if not len(high) or above.all():
        return None
    below = np.flatnonzero(~above[: high[0]])
    if not len(below):
        return None
    return float(0.5 * (x[below[-1]] + x[below[-1] + 1]))


def _fit_ratio(
    x: FloatArray, ratio: FloatArray, sigma: FloatArray, length_ratio: float, guess: float
) -> tuple[float, float, float]:
    """Return (ln threshold, its sigma, d ln ratio / d ln F there) from ln ratios around it.

    Unsaturated light of a stripe whose gain rises smoothly through zero, direct light included:
    ratio = r (phi(y) + kappa) / (phi(y / r) + kappa), phi(y) = (exp(y) - 1) / y,
    y = G t (1 + h t), t = ln F - ln F_th. The gain law is left open but for its bend h.
    """

    def model(theta: FloatArray) -> FloatArray:
        t = x - theta[0]
        y = np.clip(np.exp(theta[1]) * t * (1.0 + theta[3] * t), -50.0, 50.0)
        kappa = np.exp(theta[2])
        upper, lower = growth(y) + kappa, growth(y / length_ratio) + kappa
        return np.asarray(np.log(length_ratio * upper / lower))

    def residual(theta: FloatArray) -> FloatArray:
        prior = [(theta[1] - 3.2) / 0.8, (theta[2] - 0.3) / 1.5, theta[3] / 0.5]
        return np.concatenate([(ratio - model(theta)) / sigma, prior])

    fits = [
        least_squares(residual, [start, 3.2, 0.3, 0.0]) for start in (guess - 0.06, guess + 0.06)
    ]
    fit = min(fits, key=lambda one: one.cost)
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    covariance *= max(1.0, 2.0 * fit.cost / max(len(x) - 1, 1))
    steepness = np.exp(fit.x[1]) * 0.5 * (1.0 - 1.0 / length_ratio) / (1.0 + np.exp(fit.x[2]))
    return float(fit.x[0]), float(np.sqrt(covariance[0, 0])), float(steepness)


def log_log_intersection(
    fluence: FloatArray, intensity: FloatArray, threshold: float
) -> tuple[float, FloatArray, FloatArray] | None:
    """Return (kink, fluences, intensities) of the two straight lines drawn for the eye.

    Lines below 0.6 and between 1.05 and 1.6 `threshold`; the corner is their crossing. Never the
    threshold: depending on the gain it lies up to 60 % above. None if a line lacks records.
    """
    x, y = np.log(fluence), np.log(np.maximum(intensity, 1e-300))
    below = fluence < 0.6 * threshold
    above = (fluence > 1.05 * threshold) & (fluence < 1.6 * threshold)
    if below.sum() < 2 or above.sum() < 2:
        return None
    low = np.polyfit(x[below], y[below], 1)
    high = np.polyfit(x[above], y[above], 1)
    if high[0] - low[0] < 0.2:
        return None
    corner = float((low[1] - high[1]) / (high[0] - low[0]))
    ends = np.array([x.min(), corner, x[above].max()])
    lines = np.append(np.polyval(low, ends[:2]), np.polyval(high, ends[2]))
    return float(np.exp(corner)), np.exp(ends), np.exp(lines)
