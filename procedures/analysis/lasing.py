"""Light against pump of a laser's modes: threshold and coupling by the rate equations.

For the capillary laser. In the steady state a mode of coupling beta holds
n = [x - 1 + sqrt((x - 1)^2 + 4 beta x)] / 2 photons, in units of what one threshold more of pump
adds, at x = pump over threshold (Bjork & Yamamoto 1991). All modes are fitted together: each has a
threshold and an efficiency of its own; coupling and the error of each record's fluence are common.
Records average over pulses that scatter, which rounds the kink: the average is in the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from procedures.analysis.results import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_BETA = (1e-9, 0.5)
_BETAS = (3e-5, 1e-6)
_GROWN = 0.15  # of a mode's brightest light
_LEAST_GROWN = 3  # records with more than that, from which a mode's start is taken
_MODEL_FLOOR = 0.003  # relative: no aperture holds the same share of a line at every record
_OUTLIER = 6.0
_FARTHEST = 50.0  # of a logarithm


@dataclass(frozen=True)
class LightCurves:
    """Light of M modes at N fluences.

    fluence: (N,), with relative independent errors `fluence_sigma`, (N,); light and variance,
    (N, M); shots: pulses in each record, (N,); spread: relative scatter of single pulses.
    """

    fluence: FloatArray
    fluence_sigma: FloatArray
    light: FloatArray
    variance: FloatArray
    shots: FloatArray
    spread: float

    def upto(self, fluence: float) -> LightCurves:
        """Return the records up to a fluence."""
        keep = self.fluence <= fluence
        return LightCurves(
            self.fluence[keep],
            self.fluence_sigma[keep],
            self.light[keep],
            self.variance[keep],
            self.shots[keep],
            self.spread,
        )

    def modes(self, keep: NDArray[np.bool_]) -> LightCurves:
        """Return some of the modes, by a mask, (M,)."""
        return replace(self, light=self.light[:, keep], variance=self.variance[:, keep])


@dataclass(frozen=True)
class LaserFit:
    """What was fitted.

    threshold: of each mode, (M,), with covariance of its logarithm, (M, M); efficiency: light for
    one threshold more of pump, (M,); beta; shift: of each record's ln fluence, (N,); chi2, dof;
    outliers: points left out.
    """

    threshold: FloatArray
    ln_covariance: FloatArray
    efficiency: FloatArray
    beta: float
    shift: FloatArray
    chi2: float
    dof: int
    outliers: int
    spread: float

    def light(self, fluence: FloatArray) -> FloatArray:
        """Return the light of each mode at fluences, (N, M)."""
        x = fluence[:, np.newaxis] / self.threshold
        return np.asarray(self.efficiency * averaged(x, self.beta, self.spread)[0])


def photons(x: FloatArray, beta: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return n, dn/dx and dn/dbeta at x, same shape; without cancellation below threshold."""
    root = np.sqrt((x - 1.0) ** 2 + 4.0 * beta * x)
    below = 2.0 * beta * x / np.where(x < 1.0, root + 1.0 - x, 1.0)
    value = np.where(x < 1.0, below, 0.5 * (root + x - 1.0))
    slope = 0.5 * (1.0 + (x - 1.0 + 2.0 * beta) / root)
    return np.asarray(value), np.asarray(slope), np.asarray(x / root)


def averaged(
    x: FloatArray, beta: float, spread: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return means over pulses of n, x dn/dx and dn/dbeta, and the variance of n, same shape.

    The variance is what is left when the mean pulse of the record is known: shape, not scale.
    """
    if spread <= 0.0:
        value, slope, by_beta = photons(x, beta)
        return value, x * slope, by_beta, np.zeros_like(value)
    pulses = x[..., np.newaxis] * np.maximum(1.0 + spread * _NODES, 0.0)
    value, slope, by_beta = photons(pulses, beta)
    mean, rise = value @ _WEIGHTS, (pulses * slope) @ _WEIGHTS
    scatter = (value - mean[..., np.newaxis]) ** 2 @ _WEIGHTS
    along = value @ (_WEIGHTS * _NODES)  # what goes with the mean pulse
    return mean, rise, by_beta @ _WEIGHTS, np.maximum(scatter - along**2, 0.0)


def fit_laser(curves: LightCurves) -> LaserFit | None:
    """Fit all modes; None if one of them does not grow as a laser does (see `grown`)."""
    if not curves.light.shape[1] or not grown(curves).all():
        return None
    theta, good = _start(curves), np.isfinite(curves.light)
    chi2, free, first = 0.0, 1, True
    for _ in range(3):
        sigma = _sigma(theta, curves)
        found = _solve(theta, curves, sigma, good, _BETAS if first else ())
        first = False
        rest = _model_residuals(found, curves, sigma)
        settled = bool(np.max(np.abs(found - theta)) < 1e-4)
        theta = found
        shift = _split(theta, curves)[3]
        chi2 = float(np.sum(rest[good] ** 2) + np.sum((shift / curves.fluence_sigma) ** 2))
        free = int(good.sum()) - 2 * curves.light.shape[1] - 1
        excess = np.sqrt(max(chi2 / max(free, 1), 1.0))
        kept = np.abs(rest) < _OUTLIER * excess
        if settled and bool(np.all(kept == good)):
            break
        good = kept
    sigma = _sigma(theta, curves)
    jacobian = _jacobian(theta, curves, sigma, good)
    scale = 1.0 / np.maximum(np.sqrt(np.sum(jacobian**2, axis=0)), 1e-300)
    covariance = np.linalg.pinv((jacobian * scale).T @ (jacobian * scale), rcond=1e-12)
    covariance = covariance * np.outer(scale, scale) * max(chi2 / max(free, 1), 1.0)
    modes = curves.light.shape[1]
    _, efficiency, threshold, shift = _split(theta, curves)
    place = slice(1 + modes, 1 + 2 * modes)
    return LaserFit(
        threshold,
        covariance[place, place],
        efficiency,
        float(np.exp(theta[0])),
        shift,
        chi2,
        free,
        int((~good).sum()),
        curves.spread,
    )


def grown(curves: LightCurves) -> NDArray[np.bool_]:
    """Return which modes grow in a straight line over three records at least, (M,)."""
    found = np.zeros(curves.light.shape[1], dtype=np.bool_)
    for mode in range(len(found)):
        light = curves.light[:, mode]
        top = light > _GROWN * light.max()
        if top.sum() >= _LEAST_GROWN and float(np.ptp(curves.fluence[top])) > 0.0:
            slope, _ = np.polyfit(curves.fluence[top], light[top], 1)
            found[mode] = slope > 0.0
    return found


def _start(curves: LightCurves) -> FloatArray:
    """Return ln beta, ln efficiencies, ln thresholds and shifts from straight lines."""
    efficiency, threshold = [], []
    low, high = float(curves.fluence.min()), float(curves.fluence.max())
    for light in curves.light.T:
        top = light > _GROWN * light.max()
        slope, ground = np.polyfit(curves.fluence[top], light[top], 1)
        cut = float(np.clip(-ground / slope, 0.3 * low, 0.95 * high))
        threshold.append(cut)
        efficiency.append(slope * cut)
    shift = np.zeros(len(curves.fluence))
    return np.concatenate([[np.log(1e-3)], np.log(efficiency), np.log(threshold), shift])


def _split(
    theta: FloatArray, curves: LightCurves
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    modes = curves.light.shape[1]
    inside = np.clip(theta, -_FARTHEST, _FARTHEST)  # a step of the search may go anywhere
    return (
        float(np.exp(np.clip(theta[0], *np.log(_BETA)))),
        np.exp(inside[1 : 1 + modes]),
        np.exp(inside[1 + modes : 1 + 2 * modes]),
        inside[1 + 2 * modes :],
    )


def _pump(theta: FloatArray, curves: LightCurves) -> FloatArray:
    _, _, threshold, shift = _split(theta, curves)
    return np.asarray((curves.fluence * np.exp(shift))[:, np.newaxis] / threshold)


def _sigma(theta: FloatArray, curves: LightCurves) -> FloatArray:
    """Return the error of each point: photons, the pulses' shape, the aperture."""
    beta, efficiency, _, _ = _split(theta, curves)
    mean, _, _, scatter = averaged(_pump(theta, curves), beta, curves.spread)
    pulses = efficiency**2 * scatter / np.maximum(curves.shots, 1.0)[:, np.newaxis]
    floor = _MODEL_FLOOR * efficiency * mean
    return np.asarray(np.sqrt(curves.variance + pulses + floor**2))


def _model_residuals(theta: FloatArray, curves: LightCurves, sigma: FloatArray) -> FloatArray:
    beta, efficiency, _, _ = _split(theta, curves)
    mean = averaged(_pump(theta, curves), beta, curves.spread)[0]
    return np.asarray((curves.light - efficiency * mean) / sigma)


def _residuals(
    theta: FloatArray, curves: LightCurves, sigma: FloatArray, good: NDArray[np.bool_]
) -> FloatArray:
    rest = np.where(good, _model_residuals(theta, curves, sigma), 0.0)
    return np.concatenate([rest.ravel(), _split(theta, curves)[3] / curves.fluence_sigma])


def _jacobian(
    theta: FloatArray, curves: LightCurves, sigma: FloatArray, good: NDArray[np.bool_]
) -> FloatArray:
    records, modes = curves.light.shape
    beta, efficiency, _, _ = _split(theta, curves)
    mean, rise, by_beta, _ = averaged(_pump(theta, curves), beta, curves.spread)
    scale = np.where(good, efficiency / sigma, 0.0)
    jacobian = np.zeros((records * modes + records, len(theta)))
    jacobian[: records * modes, 0] = (-scale * beta * by_beta).ravel()
    row, mode = np.divmod(np.arange(records * modes), modes)
    place = np.arange(records * modes)
    jacobian[place, 1 + mode] = (-scale * mean).ravel()
    jacobian[place, 1 + modes + mode] = (scale * rise).ravel()
    jacobian[place, 1 + 2 * modes + row] = (-scale * rise).ravel()
    prior = np.arange(records)
    jacobian[records * modes + prior, 1 + 2 * modes + prior] = 1.0 / curves.fluence_sigma
    return jacobian


def _solve(
    theta: FloatArray,
    curves: LightCurves,
    sigma: FloatArray,
    good: NDArray[np.bool_],
    betas: tuple[float, ...],
) -> FloatArray:
    """Return the best fit from `theta`, and with other couplings to start from."""
    low, high = np.log(_BETA)
    best = None
    for beta in (float(np.exp(theta[0])), *betas):
        begin = theta.copy()
        begin[0] = np.clip(np.log(beta), low + 1e-6, high - 1e-6)
        # Without bounds, which would cost a singular value decomposition a step.
        found = least_squares(
            _residuals, begin, _jacobian, method="lm", x_scale="jac", max_nfev=60,
            args=(curves, sigma, good),
        )  # fmt: skip
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    theta = np.asarray(best.x, dtype=np.float64)
    theta[0] = np.clip(theta[0], low, high)
    return theta
