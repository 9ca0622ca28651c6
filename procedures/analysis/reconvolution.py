"""Decays seen through the response of the camera: exponentials convolved with what was measured.

For the analyses of time-resolved light. Decays are fitted by the Poisson likelihood of all time
bins, several records together: lifetimes in common; amplitudes, baseline and arrival their own.
Which exponentials are fitted, and what their lifetimes mean, is asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from procedures.analysis.camera_response import Response
from procedures.analysis.results import FloatArray
from procedures.analysis.streak_image import Curve

EDGE_ROWS = 4
Lifetimes = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From shared parameters, (X,), to lifetimes, (K,) in ps, and their derivatives, (K, X)."""

_STEPS, _TRIALS = 100, 12
_ENOUGH = 1e-5  # gain of a step in twice the logarithm of the likelihood
_BLOCK = 8  # rows, in which the quality of a fit is judged: the blur of the phosphor is narrower
_ZERO = 1e-7
_LEAST_VARIANCE = 0.25


@dataclass(frozen=True)
class DecayFit:
    """What was fitted.

    Attributes:
        shared: (X,) parameters in common, covariance: (X, X) of them. lifetimes_ps: (K,).
        amplitudes: (C, K') events of each term (the prompt light last) in each curve.
            amplitude_covariance: (C, K', K'). parameters, full_covariance: of everything, shared
            first, then shift, baseline and amplitudes of each curve. baselines, shifts_ps: (C,).
        model: per curve, (T,) events expected. deviance: of all bins, twice minus ln likelihood.
        excess: chi-squared over degrees of freedom in blocks of rows: above one, the model or the
            noise is not all there is; the covariances have been raised by it.
    """

    shared: FloatArray
    covariance: FloatArray
    lifetimes_ps: FloatArray
    amplitudes: FloatArray
    amplitude_covariance: FloatArray
    baselines: FloatArray
    shifts_ps: FloatArray
    model: list[FloatArray] = field(repr=False)
    deviance: float
    excess: float
    free: int
    parameters: FloatArray = field(repr=False)
    full_covariance: FloatArray = field(repr=False)


def exponential(
    edges_ps: FloatArray, response: Response, shift_ps: float, lifetime_ps: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the share of an exponential decay's light in each bin, (T,), through the response.

    With its derivatives by the lifetime and by the shift (both per ps).
    """
    offsets, weights = response.offsets_ps, response.weights
    since = edges_ps - response.arrival_ps - shift_ps
    seen, by_lifetime, by_shift = (np.zeros(len(edges_ps)) for _ in range(3))
    # Beyond the response every part of it has begun: one exponential tells them all.
    rising = (since > offsets[0]) & (since <= offsets[-1])
    beyond = since > offsets[-1]
    part = since[rising][:, None] - offsets
    lit = part > 0.0
    part = np.where(lit, part, 0.0) / lifetime_ps
    left = np.exp(-part)
    seen[rising] = (1.0 - left) @ weights
    by_lifetime[rising] = -(part * left) @ weights / lifetime_ps
    by_shift[rising] = -np.where(lit, left, 0.0) @ weights / lifetime_ps
    before = (offsets[-1] - offsets) / lifetime_ps
    total, moment = weights @ np.exp(-before), weights @ (before * np.exp(-before))
    after = (since[beyond] - offsets[-1]) / lifetime_ps
    left = np.exp(-after)
    seen[beyond] = weights.sum() - left * total
    by_lifetime[beyond] = -left * (after * total + moment) / lifetime_ps
    by_shift[beyond] = -left * total / lifetime_ps
    return np.diff(seen), np.diff(by_lifetime), np.diff(by_shift)


def prompt(
    edges_ps: FloatArray, response: Response, shift_ps: float
) -> tuple[FloatArray, FloatArray]:
    """Return the share of a prompt pulse's light in each bin, (T,), and its derivative by shift."""
    about = edges_ps - response.arrival_ps - shift_ps
    step = 0.05 * response.fwhm_ps
    ahead, behind = response.cumulative(about - step), response.cumulative(about + step)
    return np.diff(response.cumulative(about)), np.diff(ahead - behind) / (2.0 * step)


class _Model:
    """Curves, and how they follow from the parameters: shared, then (shift, base, amplitudes)."""

    def __init__(
        self,
        curves: Sequence[Curve],
        response: Response,
        lifetimes: Lifetimes,
        size: int,
        with_prompt: bool,
        mix: Sequence[FloatArray] | None,
        used: npt.NDArray[np.bool_],
        with_rise: bool,
    ) -> None:
        self.curves, self.response, self.lifetimes = curves, response, lifetimes
        self.size, self.with_prompt = size, with_prompt
        self.mix, self.used, self.with_rise = mix, used, with_rise
        self.widths = [np.diff(curve.edges_ps) for curve in curves]

    def basis(self, curve: int, x: FloatArray, shift: float) -> tuple[FloatArray, ...]:
        """Return shares (K', T), derivatives by shared parameters (X, K', T) and by shift (K', T).

        K' terms: each a mixture of exponentials, the prompt light last.
        """
        edges = self.curves[curve].edges_ps
        taus, by_x = self.lifetimes(x)
        found = [exponential(edges, self.response, shift, float(tau)) for tau in taus]
        shares, slopes, moves = (np.array([one[i] for one in found]) for i in range(3))
        mix = np.eye(len(taus)) if self.mix is None else self.mix[curve]
        shares, moves = mix @ shares, mix @ moves
        slopes = np.einsum("mk,kx,kt->xmt", mix, by_x, slopes)
        if self.with_prompt:
            share, move = prompt(edges, self.response, shift)
            shares, moves = np.vstack([shares, share]), np.vstack([moves, move])
            slopes = np.concatenate([slopes, np.zeros((len(slopes), 1, len(share)))], axis=1)
        return shares, slopes, moves

    def split(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        own = theta[self.size :].reshape(len(self.curves), -1)
        return theta[: self.size], own

    def expected(self, theta: FloatArray) -> list[FloatArray]:
        x, own = self.split(theta)
        found = []
        for number, (shift, base, *amplitudes) in enumerate(own):
            shares, _, _ = self.basis(number, x, float(shift))
            found.append(np.asarray(amplitudes) @ shares + base * self.widths[number])
        return found

    def both(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the events expected in all used bins, (B,), and their Jacobian, (B, P)."""
        x, own = self.split(theta)
        values, slopes = [], []
        for number, (shift, base, *amplitudes) in enumerate(own):
            shares, by_x, by_shift = self.basis(number, x, float(shift))
            a = np.asarray(amplitudes)
            values.append((a @ shares + base * self.widths[number])[self.used])
            jacobian = np.zeros((len(shares[0]), len(theta)))
            jacobian[:, : self.size] = np.einsum("k,xkt->tx", a, by_x)
            first = self.size + number * own.shape[1]
            jacobian[:, first] = a @ by_shift
            jacobian[:, first + 1] = self.widths[number]
            jacobian[:, first + 2 : first + own.shape[1]] = shares.T
            slopes.append(jacobian[self.used])
        return np.concatenate(values), np.vstack(slopes)


def fit_decays(
    curves: Sequence[Curve],
    response: Response,
    lifetimes: Lifetimes,
    start: FloatArray,
    bounds: tuple[FloatArray, FloatArray],
    *,
    with_prompt: bool = False,
    mix: Sequence[FloatArray] | None = None,
    from_ps: float | None = None,
    shift_reach_ps: float | None = None,
) -> DecayFit:
    """Fit curves with exponentials of common lifetimes through the response.

    Args:
        curves: on the same time bins. response: of their sweep.
        lifetimes: from shared parameters to lifetimes. start, bounds: of the shared parameters.
        with_prompt: whether there is light as short as the pulse besides.
        mix: for each curve, (terms, K): how the terms that have amplitudes are mixed of the K
            exponentials' light; each exponential is a term of its own, if left out.
        from_ps: the rise, up to this long after the arrival, is left out, and the arrival taken as
            the response's: so that light of another colour than the pump's, to which the camera
            responds a little differently, does no harm.
        shift_reach_ps: how far the arrival may be from the response's; 1.5 of its width, if left
            out.
    """
    used = np.ones(len(curves[0].events), dtype=np.bool_)
    if from_ps is not None:
        edges = curves[0].edges_ps
        used = edges[:-1] >= response.arrival_ps + from_ps
        used |= edges[1:] <= response.dark_until_ps
    # At the edges of the image a part of each blob is not seen.
    used[:EDGE_ROWS], used[-EDGE_ROWS:] = False, False
    model = _Model(curves, response, lifetimes, len(start), with_prompt, mix, used, from_ps is None)
    reach = 1.5 * response.fwhm_ps if shift_reach_ps is None else shift_reach_ps
    # Without the rise nothing tells the arrival.
    theta, low, high = _start(model, start, bounds, 1e-6 if from_ps is not None else reach)
    data = np.concatenate([curve.events[used] for curve in curves])
    floor = np.concatenate([np.full(int(used.sum()), curve.floor) for curve in curves])
    theta = _climb(model, theta, low, high, data, floor)
    return _gather(model, theta, low, high, data, floor)


def _climb(
    model: _Model,
    theta: FloatArray,
    low: FloatArray,
    high: FloatArray,
    data: FloatArray,
    floor: FloatArray,
) -> FloatArray:
    """Return the parameters of the highest Poisson likelihood within bounds.

    Fisher's scoring, damped as Levenberg and Marquardt do; parameters whose bound stops them wait.
    """
    expected, jacobian = model.both(theta)
    here, damping = _deviance(expected, data, floor), 1e-3
    for _ in range(_STEPS):
        weight = 1.0 / np.maximum(np.maximum(expected, 0.0) + floor, _LEAST_VARIANCE)
        slope = jacobian.T @ (weight * (data - expected))
        information = (jacobian * weight[:, None]).T @ jacobian
        diagonal = np.maximum(np.diag(information), 1e-30)
        held = ((theta <= low) & (slope < 0.0)) | ((theta >= high) & (slope > 0.0))
        free = np.flatnonzero(~held)
        scale = 1.0 / np.sqrt(diagonal[free])
        scaled = information[np.ix_(free, free)] * np.outer(scale, scale)
        gained = 0.0
        for _ in range(_TRIALS):
            damped = scaled + damping * np.eye(len(free))
            step = scale * np.linalg.solve(damped, scale * slope[free])
            trial = theta.copy()
            trial[free] = np.clip(theta[free] + step, low[free], high[free])
            value, derivative = model.both(trial)
            there = _deviance(value, data, floor)
            if there <= here:
                gained = here - there
                theta, expected, jacobian, here = trial, value, derivative, there
                damping = max(0.1 * damping, 1e-9)
                break
            damping *= 10.0
        else:
            break
        if gained < _ENOUGH:
            break
    return theta


def _deviance(expected: FloatArray, data: FloatArray, floor: FloatArray) -> float:
    """Return minus twice the logarithm of the likelihood, up to a constant of the data.

    Of events on a floor that is as wide as Poisson noise of that mean.
    """
    level = np.maximum(expected + floor, 1e-9)
    shifted = np.maximum(data + floor, 1e-9)
    return 2.0 * float(np.sum(level - shifted + shifted * np.log(shifted / level)))


def _start(
    model: _Model, start: FloatArray, bounds: tuple[FloatArray, FloatArray], reach: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return first parameters with their bounds: amplitudes by linear least squares."""
    low, high = np.asarray(bounds[0], float), np.asarray(bounds[1], float)
    x = np.clip(np.asarray(start, float), low + 1e-9, high - 1e-9)
    theta, lows, highs = [*x], [*low], [*high]
    for number, curve in enumerate(model.curves):
        shares, _, _ = model.basis(number, x, 0.0)
        weight = 1.0 / np.sqrt(np.maximum(curve.events, 0.0) + curve.floor + 1.0)
        matrix = (np.vstack([shares, model.widths[number]]) * weight)[:, model.used].T
        found, _ = nnls(matrix, (curve.events * weight)[model.used])
        total = max(float(curve.events.sum()), 1.0)
        amplitudes = np.maximum(found[:-1], 1e-3 * total)
        theta += [0.0, float(found[-1]), *amplitudes]
        lows += [-reach, -np.inf, *np.zeros(len(amplitudes))]
        highs += [reach, np.inf, *np.full(len(amplitudes), np.inf)]
    return np.array(theta), np.array(lows), np.array(highs)


def _gather(
    model: _Model,
    theta: FloatArray,
    low: FloatArray,
    high: FloatArray,
    data: FloatArray,
    floor: FloatArray,
) -> DecayFit:
    expected, jacobian = model.both(theta)
    variance = np.maximum(np.maximum(expected, 0.0) + floor, _LEAST_VARIANCE)
    scale = np.maximum(np.abs(theta), 1e-12)
    free = np.ones(len(theta), dtype=np.bool_)
    per_curve = (len(theta) - model.size) // len(model.curves)
    for number, curve in enumerate(model.curves):
        first = model.size + number * per_curve + 2
        total = max(float(curve.events.sum()), 1.0)
        free[first : first + per_curve - 2] = theta[first : first + per_curve - 2] > _ZERO * total
        if not model.with_rise:
            free[first - 2] = False
    at_bound = (theta - low < 1e-6) | (high - theta < 1e-6)
    free[: model.size] &= ~at_bound[: model.size]
    scaled = jacobian * np.where(free, scale, 0.0) / np.sqrt(variance)[:, None]
    information = scaled.T @ scaled
    covariance = np.zeros_like(information)
    index = np.ix_(free, free)
    covariance[index] = np.linalg.pinv(information[index], hermitian=True, rcond=1e-14)
    covariance *= np.outer(scale, scale)
    excess = _excess(model, data, expected, variance, int(free.sum()))
    covariance *= max(excess, 1.0)
    x, own = model.split(theta)
    blocks = [
        covariance[np.ix_(part, part)]
        for part in (
            np.arange(model.size + n * per_curve + 2, model.size + (n + 1) * per_curve)
            for n in range(len(model.curves))
        )
    ]
    return DecayFit(
        shared=x,
        covariance=covariance[: model.size, : model.size],
        lifetimes_ps=model.lifetimes(x)[0],
        amplitudes=own[:, 2:].copy(),
        amplitude_covariance=np.array(blocks),
        baselines=own[:, 1].copy(),
        shifts_ps=own[:, 0].copy(),
        model=model.expected(theta),
        deviance=_deviance(expected, data, floor),
        excess=excess,
        free=int(free.sum()),
        parameters=theta,
        full_covariance=covariance,
    )


def _excess(
    model: _Model, data: FloatArray, expected: FloatArray, variance: FloatArray, parameters: int
) -> float:
    rows = int(model.used.sum())
    starts = np.arange(0, rows, _BLOCK)
    total, blocks = 0.0, 0
    for number in range(len(model.curves)):
        part = slice(number * rows, (number + 1) * rows)
        off = np.add.reduceat((data - expected)[part], starts)
        allowed = np.add.reduceat(variance[part], starts)
        total += float(np.sum(off**2 / allowed))
        blocks += len(starts)
    return total / max(blocks - parameters, 1)


def free_lifetimes(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return lifetimes whose logarithms are the shared parameters."""
    taus = np.exp(x)
    return taus, np.diag(taus)
