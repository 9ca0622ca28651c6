"""Fit of the stripe's light to all spectra of a stripe-length run at once.

For `stripe_length.py`. Every channel of every record takes part. What is common to the channels of
a record (its fluence, its length) is no independent noise: it enters the covariance of the record
along the direction in which it moves the spectrum. The start comes from the data.

Source: least squares after Gauss, Newton and Marquardt, the covariance of each record D + U U^T.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.gain_model import INDEX, NAMES, Scan, guided_power, seen
from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import Channels
from procedures.analysis.stripe_parameters import solved

LENGTH_SIGMA_CM = 1.5e-5
"""How well a slit comes to a length, one sigma: what its readout does not tell.

Half of the 0.3 um within which the makers of such stages let them repeat.
"""
SATURATES = ("lasting_loss",)
"""What stays as it is (none) where the whole net gain is taken to saturate."""
_SMALLEST_FLUENCE_SIGMA = 2e-4

# What is known of any film before it is measured: wide, and met only where the data are silent.
_PRIOR = {
    "gain_skew": (0.0, 0.4),
    "gain_bulge": (0.0, 0.4),
    "ln_loss": (3.8, 1.0),
    "seed_tilt": (0.0, 0.15),
    "seed_bend": (0.0, 0.15),
    "ln_direct_ratio": (0.3, 1.5),
    "zero_cm": (0.0, 0.02),
    "ln_blur": (-6.2, 0.7),
    "gain_growth": (1.0, 0.5),
    "seed_growth": (0.6, 0.4),
    "low_exponent": (1.5, 0.4),
    "lasting_loss": (0.0, 10.0),
}
_BOUNDS = {
    "ln_gross": (0.0, 7.5),
    "ln_gain_fwhm": (0.5, 5.5),
    "gain_skew": (-1.5, 1.5),
    "gain_bulge": (-1.5, 1.5),
    "ln_loss": (0.0, 6.5),
    "seed_tilt": (-0.7, 0.7),
    "seed_bend": (-0.5, 0.5),
    "ln_direct_ratio": (-6.0, 6.0),
    "zero_cm": (-0.1, 0.1),
    "ln_blur": (-9.0, -4.0),
    "gain_growth": (-0.5, 4.0),
    "seed_growth": (-0.5, 2.0),
    "low_exponent": (0.7, 2.5),
    "lasting_loss": (0.0, 60.0),
}
_STEP = {
    "gain_peak_nm": (0.01, 3.0),
    "zero_cm": (2e-5, 2e-3),
    "ln_blur": (0.02, 0.5),
    "band_peak_nm": (0.01, 2.0),
    "lasting_loss": (0.01, 3.0),
}
_DIFFERENCE = np.array([_STEP.get(name, (1e-3, 0.4))[0] for name in NAMES])
_LARGEST_STEP = np.array([_STEP.get(name, (1e-3, 0.4))[1] for name in NAMES])
_IDLE_GAIN = 0.03  # of chi-squared
_DAMPED_TRIALS = 8


@dataclass(frozen=True)
class GainData:
    """What is fitted: N records, C channels.

    Attributes:
        scan: where each was taken.
        signal, variance: counts per shot and nm, (N, C); variance independent between channels.
        fluence_sigma: relative, independent part, (N,).
        channels: wavelengths.
    """

    scan: Scan
    signal: FloatArray
    variance: FloatArray
    fluence_sigma: FloatArray
    channels: Channels

    def only(self, keep: NDArray[np.bool_]) -> GainData:
        """Return the records of a mask, (N,)."""
        scan = replace(
            self.scan,
            length_cm=self.scan.length_cm[keep],
            ln_fluence=self.scan.ln_fluence[keep],
            low=self.scan.low[keep],
        )
        return replace(
            self,
            scan=scan,
            signal=self.signal[keep],
            variance=self.variance[keep],
            fluence_sigma=self.fluence_sigma[keep],
        )


@dataclass(frozen=True)
class GainFit:
    """One fit: parameters (20,), absolute covariance (20, 20), chi-squared and its degrees.

    `pulls` (N,) is the mean square of each record's whitened residuals; one where all is well.
    `floor` is the relative error that was granted to the model.
    """

    theta: FloatArray
    covariance: FloatArray
    chi2: float
    degrees: int
    pulls: FloatArray
    floor: float

    @property
    def reduced(self) -> float:
        """Chi-squared per degree of freedom."""
        return self.chi2 / max(self.degrees, 1)

    def value(self, name: str) -> float:
        """Return a parameter."""
        return float(self.theta[INDEX[name]])

    def sigma(self, name: str) -> float:
        """Return the standard error of a parameter."""
        return float(np.sqrt(self.covariance[INDEX[name], INDEX[name]]))


def fit_gain(
    data: GainData,
    start: FloatArray,
    *,
    floor: float,
    iterations: int = 40,
    fixed: tuple[str, ...] = SATURATES,
) -> GainFit:
    """Fit from a start, (20,); `floor` is the relative error granted to the model per channel.

    `fixed` names parameters that stay as they start.
    """
    if not data.scan.low.any():
        fixed = (*fixed, "ln_low_seed", "low_exponent")
    free = np.array([i for i, name in enumerate(NAMES) if name not in fixed])
    theta = _bounded(start.copy()[None])[0]
    damping, idle = 1e-3, 0
    for _ in range(iterations):
        model, jacobian, along = _slopes(data, theta, free)
        whiten = _whitening(data, model, jacobian, free, along, floor)
        residual = _whitened(whiten, data.signal - model)
        slopes = np.einsum("ncd,pnd->pnc", whiten, jacobian)
        cost = float(np.sum(residual**2)) + _prior_cost(theta, free)
        flat = slopes.reshape(len(free), -1)
        normal, gradient = flat @ flat.T, flat @ residual.ravel()
        _add_priors(normal, gradient, theta, free)
        gained = 0.0
        for _trial in range(_DAMPED_TRIALS):
            step = solved(normal + damping * np.diag(np.diag(normal)), gradient)
            step = np.clip(step, -_LARGEST_STEP[free], _LARGEST_STEP[free])
            moved = theta.copy()
            moved[free] += step
            moved = _bounded(moved[None])[0]
            with np.errstate(over="ignore", invalid="ignore"):
                light = seen(moved[None], data.scan, data.channels).seen[0]
                there = float(np.sum(_whitened(whiten, data.signal - light) ** 2))
            there += _prior_cost(moved, free)
            if np.isfinite(there) and there < cost:
                gained, theta = cost - there, moved
                damping = max(damping / 8.0, 1e-9)
                break
            damping = min(damping * 6.0, 1e8)
        idle = idle + 1 if gained < _IDLE_GAIN + 1e-5 * cost else 0
        if gained == 0.0 or idle == 2:
            break
    return _finished(data, theta, free, floor)


def asked_floor(
    data: GainData, fit: GainFit, floors: FloatArray, fixed: tuple[str, ...] = SATURATES
) -> float:
    """Return the least of `floors` (F,) at which residuals are no larger than errors, or the most.

    At the parameters of a fit, whose `fixed` ones do not count.
    """
    free = np.array([i for i, name in enumerate(NAMES) if name not in fixed])
    model, jacobian, along = _slopes(data, fit.theta, free)
    for floor in np.sort(floors):
        whiten = _whitening(data, model, jacobian, free, along, float(floor))
        if np.sum(_whitened(whiten, data.signal - model) ** 2) <= fit.degrees:
            return float(floor)
    return float(np.max(floors))


def _finished(data: GainData, theta: FloatArray, free: NDArray[np.intp], floor: float) -> GainFit:
    model, jacobian, along = _slopes(data, theta, free)
    whiten = _whitening(data, model, jacobian, free, along, floor)
    residual = _whitened(whiten, data.signal - model)
    flat = np.einsum("ncd,pnd->pnc", whiten, jacobian).reshape(len(free), -1)
    normal = flat @ flat.T
    _add_priors(normal, np.zeros(len(free)), theta, free)
    chi2, degrees = float(np.sum(residual**2)), residual.size - len(free)
    covariance = np.zeros((len(NAMES), len(NAMES)))
    inside = np.linalg.pinv(normal, hermitian=True)
    covariance[np.ix_(free, free)] = inside * max(1.0, chi2 / max(degrees, 1))
    return GainFit(theta, covariance, chi2, degrees, np.mean(residual**2, axis=1), floor)


def _slopes(
    data: GainData, theta: FloatArray, free: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return model (N, C), its slopes by the free parameters (p, N, C), and by ln F (N, C)."""
    moves = np.zeros((len(free), len(NAMES)))
    moves[np.arange(len(free)), free] = _DIFFERENCE[free]
    light = seen(np.concatenate([theta[None], theta + moves]), data.scan, data.channels)
    model = light.seen[0]
    jacobian = (light.seen[1:] - model) / _DIFFERENCE[free][:, None, None]
    return model, jacobian, light.along


def _whitening(
    data: GainData,
    model: FloatArray,
    jacobian: FloatArray,
    free: NDArray[np.intp],
    along: FloatArray,
    floor: float,
) -> FloatArray:
    """Return the inverse Cholesky factor of each record's covariance, (N, C, C)."""
    own = data.variance + (floor * model) ** 2
    zero = np.flatnonzero(free == INDEX["zero_cm"])
    sigma = np.maximum(data.fluence_sigma, _SMALLEST_FLUENCE_SIGMA)[:, None]
    common = [along * sigma, 0.5 * floor * model]
    if len(zero):
        common.append(jacobian[zero[0]] * LENGTH_SIGMA_CM)
    covariance = np.zeros((*model.shape, model.shape[1]))
    span = np.arange(model.shape[1])
    covariance[:, span, span] = own
    for direction in common:
        covariance += direction[:, :, None] * direction[:, None, :]
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))


def _whitened(whiten: FloatArray, residual: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ncd,nd->nc", whiten, residual))


def _prior_cost(theta: FloatArray, free: NDArray[np.intp]) -> float:
    return float(
        sum(((theta[INDEX[k]] - m) / s) ** 2 for k, (m, s) in _PRIOR.items() if INDEX[k] in free)
    )


def _add_priors(
    normal: FloatArray, gradient: FloatArray, theta: FloatArray, free: NDArray[np.intp]
) -> None:
    for name, (mean, sigma) in _PRIOR.items():
        place = np.flatnonzero(free == INDEX[name])
        if len(place):
            normal[place[0], place[0]] += 1.0 / sigma**2
            gradient[place[0]] -= (theta[INDEX[name]] - mean) / sigma**2


def _bounded(thetas: FloatArray) -> FloatArray:
    for name, (low, high) in _BOUNDS.items():
        np.clip(thetas[:, INDEX[name]], low, high, out=thetas[:, INDEX[name]])
    return thetas


def starts(
    data: GainData,
    *,
    line_peak_nm: float,
    band_peak_nm: float,
    band_fwhm_nm: float,
) -> list[FloatArray]:
    """Return starting points, best first, judged by logarithms so that decades do not decide."""
    scan, channels = data.scan, data.channels
    main = np.flatnonzero(~scan.low)
    main = main[np.abs(scan.ln_fluence[main] - np.median(scan.ln_fluence[main])) < 0.05]
    length, first = np.unique(np.round(scan.length_cm[main], 5), return_index=True)
    order = main[first]
    band = data.signal[order] @ channels.width_nm
    line = int(np.argmin(np.abs(channels.centre_nm - line_peak_nm)))
    peak = int(np.argmin(np.abs(channels.centre_nm - band_peak_nm)))
    steepness = np.gradient(np.log(np.maximum(data.signal[order, line], 1e-300)), length)
    net = float(np.clip(np.quantile(steepness[: max(3, 2 * len(order) // 3)], 0.7), 5.0, 400.0))
    low = np.flatnonzero(scan.low)
    grid = [
        (zero, gross, loss, kappa, width, bend)
        for zero in (0.0, 0.004)
        for gross in (0.8, 1.1, 1.5)
        for loss in (25.0, 60.0, 120.0)
        for kappa in (0.7, 2.5)
        for width in (0.5, 0.9, 1.5)
        for bend in (0.3, 0.5, 0.7)
    ]
    thetas = np.zeros((len(grid), len(NAMES)))
    some = order[np.unique(np.linspace(0, len(order) - 1, 10).astype(int))]
    for theta, (zero, gross, loss, kappa, width, bend) in zip(thetas, grid, strict=True):
        true = np.maximum(length - zero, 2e-4)
        shortest = int(np.argmax(length - zero > 3e-3))
        seed = data.signal[order[shortest], peak] / true[shortest] / (1.0 + kappa)
        theta[:] = [
            np.log(net * gross + loss),
            line_peak_nm,
            np.log(width * band_fwhm_nm),
            0.0,
            0.0,
            np.log(loss),
            np.log(max(seed, 1e-12)),
            0.0,
            0.0,
            np.log(kappa),
            np.log(max(float(np.exp(np.interp(bend, np.linspace(0.0, 1.0, len(band)),
                                              np.log(np.maximum(band, 1e-12))))), 1e-12)),
            zero,
            -6.2,
            1.0,
            0.6,
            np.log(max(_low_seed(data, low, peak, loss, kappa, zero), 1e-12)),
            1.5,
            band_peak_nm,
            np.log(band_fwhm_nm),
            0.0,
        ]  # fmt: skip
    keep = np.zeros(len(scan.low), dtype=np.bool_)
    keep[some] = True
    keep[low] = True
    part = data.only(keep)
    part = replace(part, scan=replace(part.scan, steps=40))
    with np.errstate(over="ignore", invalid="ignore"):
        light = seen(thetas, part.scan, channels).seen
    noise = np.sqrt(part.variance) + 0.003 * part.signal.max(axis=1, keepdims=True)
    measured = np.log(np.maximum(part.signal, noise))
    apart = np.abs(np.log(np.maximum(np.nan_to_num(light, posinf=1e300), noise)) - measured)
    return [thetas[index] for index in np.argsort(apart.mean(axis=(1, 2)))]


def _low_seed(
    data: GainData, low: NDArray[np.intp], peak: int, loss: float, kappa: float, zero: float
) -> float:
    if not len(low):
        return 1.0
    true = np.maximum(data.scan.length_cm[low] - zero, 2e-4)
    collected = -np.expm1(-loss * true) / loss + kappa * true
    return float(np.median(data.signal[low, peak] / collected))


def saturation_cm(
    thetas: FloatArray, ln_fluence: float, channels: Channels, longest_cm: float, steps: int
) -> FloatArray:
    """Return where the band-summed guided power is the saturation power, (B,), nan if nowhere."""
    length = np.linspace(0.0, longest_cm, 240)[1:]
    power = np.log(guided_power(thetas, length, ln_fluence, channels, steps))
    found = np.full(len(thetas), np.nan)
    for row, one in enumerate(power):
        past = np.flatnonzero(one > 0.0)
        if not len(past):
            continue
        place = int(past[0])
        if place == 0:
            found[row] = length[0]
            continue
        share = -one[place - 1] / (one[place] - one[place - 1])
        found[row] = length[place - 1] + share * (length[place] - length[place - 1])
    return found
