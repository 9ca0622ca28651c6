"""Fit of the stripe equation to all spectra of a power sweep at once.

For `threshold.py`. Every channel of every record takes part; each record has a fluence of its own,
known within its error, which is found along with the parameters (its error is common to all
channels of the record and must not be averaged away as if it were not). The start comes from the
data: a scan over what they do not tell at a glance, and the best few are refined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import brentq

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import INDEX, NAMES, STEPS, Channels, emitted
from procedures.analysis.stripe_parameters import (
    DIFFERENCE,
    LARGEST_STEP,
    bounded,
    free_parameters,
    limits,
    model_law,
    prior_cost,
    priors,
    solved,
    tied,
)

_SMALLEST_FLUENCE_SIGMA = 1e-4
_IDLE_GAIN = 0.02  # of chi-squared
_NODE = float(np.sqrt(3.0))  # Gauss-Hermite: pulses about their mean


@dataclass(frozen=True)
class FitData:
    """What is fitted.

    Attributes:
        fluence: (N,), any unit.
        fluence_sigma: relative, independent part, (N,).
        pulse_spread: relative, of single pulses, (N,); 0 where unknown.
        signal: counts per shot and nm, means over the channels, (N, C).
        variance: of signal, (N, C), independent between channels.
        channels: wavelengths.
        length: in full stripes, (N,).
        steps: along the stripe; fewer do where the tolerance is wide.
    """

    fluence: FloatArray
    fluence_sigma: FloatArray
    pulse_spread: FloatArray
    signal: FloatArray
    variance: FloatArray
    channels: Channels
    length: FloatArray
    steps: int = STEPS

    def only(self, keep: np.ndarray) -> FitData:
        """Return the records of a mask or index, (N,)."""
        return replace(
            self,
            fluence=self.fluence[keep],
            fluence_sigma=self.fluence_sigma[keep],
            pulse_spread=self.pulse_spread[keep],
            signal=self.signal[keep],
            variance=self.variance[keep],
            length=self.length[keep],
        )


@dataclass(frozen=True)
class StripeFit:
    """One fit.

    Attributes:
        law: gain law supposed.
        theta: (13,), as `stripe_model.NAMES`.
        covariance: (13, 13), absolute, times chi-squared per degree where that exceeds one.
        chi2: of data and fluences.
        degrees: of freedom.
        shift: ln of found over recorded fluence, (N,).
        free: indices of the parameters that were fitted.
    """

    law: str
    theta: FloatArray
    covariance: FloatArray
    chi2: float
    degrees: int
    shift: FloatArray
    free: tuple[int, ...] = field(default=())

    @property
    def threshold(self) -> float:
        """Fluence of zero net gain, unit of the fluences."""
        return float(np.exp(self.theta[0]))

    @property
    def threshold_rel_sigma(self) -> float:
        """Relative standard error of the threshold from the fit's covariance."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def reduced(self) -> float:
        """Chi-squared per degree of freedom."""
        return self.chi2 / max(self.degrees, 1)

    def spectra(
        self, fluence: FloatArray, channels: Channels, length: FloatArray | float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """Return (guided, direct) of the fit, (N, C) each, counts per shot and nm."""
        guided, direct = emitted(
            model_law(self.law), self.theta[None], np.asarray(fluence), channels, length
        )
        return guided[0], direct[0]

    def axes(self, share: float) -> FloatArray:
        """Return parameter sets, (13, 13), a share of one sigma off along the covariance's axes."""
        values, vectors = np.linalg.eigh(self.covariance)
        steps = share * np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return bounded(tied(self.law, self.theta + steps))

    def draws(self, count: int, seed: int = 1) -> FloatArray:
        """Return parameter sets, (count, 13), spread as the covariance; always the same ones."""
        normal = np.random.default_rng(seed).standard_normal((count, len(self.theta)))
        values, vectors = np.linalg.eigh(self.covariance)
        sets = self.theta + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return bounded(tied(self.law, sets))


def fit_stripe(
    data: FitData, law: str, start: FloatArray, *, floor: float, iterations: int = 60
) -> StripeFit:
    """Fit from a start, (13,); `floor` is the relative error granted to the model per channel."""
    free = free_parameters(law)
    theta = tied(law, start.copy()[None])[0]
    shift = np.zeros(len(data.fluence))
    sigma = np.sqrt(data.variance + (floor * np.maximum(data.signal, 0.0)) ** 2)
    damping = 1e-3
    idle = 0
    state = _evaluate(data, law, theta, shift, sigma, free)
    for _ in range(iterations):
        normal, gradient, shift_step = _normal_equations(state, data, law, theta, shift)
        improved = False
        for _trial in range(10):
            damped = normal + damping * np.diag(np.diag(normal))
            step = _step(damped, gradient, theta, free)
            limit = LARGEST_STEP[list(free)]
            # One by one: a parameter the data leave open must not hold up the others.
            step = np.clip(step, -limit, limit)
            moved = theta.copy()
            moved[list(free)] += step
            moved = bounded(tied(law, moved[None]))[0]
            new_shift = np.clip(shift + shift_step(step), -0.3, 0.3)
            candidate_cost = _cost(data, law, moved, new_shift, sigma, state.pulses)
            if np.isfinite(candidate_cost) and candidate_cost < state.cost:
                improved = True
                break
            damping = min(damping * 5.0, 1e8)
        if not improved:
            break
        gained = state.cost - candidate_cost
        theta, shift = moved, new_shift
        damping = max(damping / 8.0, 1e-9)
        state = _evaluate(data, law, theta, shift, sigma, free)
        idle = idle + 1 if gained < _IDLE_GAIN + 1e-5 * state.cost else 0
        if idle == 2:  # once may be a long step cut short
            break
    normal, _, _ = _normal_equations(state, data, law, theta, shift)
    covariance = np.zeros((len(NAMES), len(NAMES)))
    degrees = data.signal.size - len(free)
    inside = np.linalg.pinv(normal, hermitian=True)
    covariance[np.ix_(free, free)] = inside * max(1.0, state.chi2 / max(degrees, 1))
    if law == "poisson":
        shape, excitons = INDEX["ln_law_shape"], INDEX["ln_excitons"]
        covariance[shape] = covariance[excitons]
        covariance[:, shape] = covariance[:, excitons]
    return StripeFit(law, theta, covariance, state.chi2, degrees, shift, free)


def floor_needed(data: FitData, fit: StripeFit, *, least: float, most: float) -> float:
    """Return the relative error of the model that the residuals of a fit ask for.

    That with which chi-squared of the channels equals their degrees of freedom, within the limits.
    """
    light = seen(data, fit.law, fit.theta[None], fit.shift).light[0]
    square = (data.signal - light) ** 2
    scale = np.maximum(data.signal, 0.0) ** 2
    degrees = max(data.signal.size - len(fit.free) - len(data.fluence), 1)

    def excess(floor: float) -> float:
        return float(np.sum(square / (data.variance + floor**2 * scale))) - degrees

    if excess(least) <= 0.0:
        return least
    if excess(most) >= 0.0:
        return most
    return float(brentq(excess, least, most, rtol=0.02))


@dataclass(frozen=True)
class _State:
    cost: float
    chi2: float
    residual: FloatArray  # (N, C)
    jacobian: FloatArray  # (n, N, C), over sigma
    along: FloatArray  # (N, C), by ln fluence, over sigma
    pulses: FloatArray  # (N, C)


@dataclass(frozen=True)
class Seen:
    """What the model says of the records.

    Attributes:
        light: of each parameter set, (B, N, C), the scatter of single pulses included.
        along: of the first set, by ln F, (N, C).
        pulses: what that scatter makes of the light, a factor, (N, C).
    """

    light: FloatArray
    along: FloatArray
    pulses: FloatArray


def seen(data: FitData, law: str, thetas: FloatArray, shift: FloatArray) -> Seen:
    """Return the light of parameter sets, (B, 13), with the fluences shifted, (N,)."""
    spread = np.where(data.pulse_spread > 0.0, data.pulse_spread, 5e-3)
    node = _NODE * spread
    fluence = data.fluence * np.exp(shift)
    sides = np.stack([fluence * (1.0 - node), fluence * (1.0 + node)])
    rows = np.concatenate([np.broadcast_to(fluence, (len(thetas), len(fluence))), sides])
    sets = np.concatenate([thetas, thetas[:1], thetas[:1]])
    light = _light(data, law, sets, rows)
    low, high, middle = light[-2], light[-1], light[0]
    along = (high - low) / (2.0 * node[:, None])
    scattered = (data.pulse_spread > 0.0)[:, None] & (middle > 0.0)
    safe = np.where(middle > 0.0, middle, 1.0)
    pulses = np.where(scattered, (4.0 * middle + low + high) / (6.0 * safe), 1.0)
    return Seen(light[:-2] * pulses, along, pulses)


def seen_alike(
    data: FitData, law: str, theta: FloatArray, shift: FloatArray, pulses: FloatArray
) -> FloatArray:
    """Return the light of one set, (N, C), with the factor of pulses that was found nearby."""
    fluence = data.fluence * np.exp(shift)
    return np.asarray(_light(data, law, theta[None], fluence)[0] * pulses)


def _light(data: FitData, law: str, sets: FloatArray, fluence: FloatArray) -> FloatArray:
    guided, direct = emitted(model_law(law), sets, fluence, data.channels, data.length, data.steps)
    return guided + direct


def _evaluate(
    data: FitData,
    law: str,
    theta: FloatArray,
    shift: FloatArray,
    sigma: FloatArray,
    free: tuple[int, ...],
) -> _State:
    moves = np.zeros((len(free), len(NAMES)))
    moves[np.arange(len(free)), list(free)] = DIFFERENCE[list(free)]
    sets = np.concatenate([theta[None], tied(law, theta + moves)])
    found = seen(data, law, sets, shift)
    light = found.light
    residual = (data.signal - light[0]) / sigma
    steps = DIFFERENCE[list(free)][:, None, None]
    jacobian = (light[1:] - light[0]) / (steps * sigma)
    chi2 = float(np.sum(residual**2)) + shift_cost(data, shift)
    return _State(
        chi2 + prior_cost(law, theta), chi2, residual, jacobian, found.along / sigma, found.pulses
    )


def _cost(
    data: FitData,
    law: str,
    theta: FloatArray,
    shift: FloatArray,
    sigma: FloatArray,
    pulses: FloatArray,
) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        light = seen_alike(data, law, theta, shift, pulses)
        chi2 = float(np.sum(((data.signal - light) / sigma) ** 2))
    return chi2 + shift_cost(data, shift) + prior_cost(law, theta)


def fluence_sigma(data: FitData) -> FloatArray:
    """Return the relative error of each record's fluence, never quite zero, (N,)."""
    return np.maximum(data.fluence_sigma, _SMALLEST_FLUENCE_SIGMA)


def shift_cost(data: FitData, shift: FloatArray) -> float:
    """Return what the shifts of the fluences, (N,), add to chi-squared."""
    return float(np.sum((shift / fluence_sigma(data)) ** 2))


def _normal_equations(
    state: _State, data: FitData, law: str, theta: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray, Callable[[FloatArray], FloatArray]]:
    """Return (normal matrix, gradient, shifts' step), the shifts eliminated record by record."""
    free = free_parameters(law)
    weight = 1.0 / fluence_sigma(data) ** 2
    curvature = np.einsum("nc,nc->n", state.along, state.along) + weight
    pull = np.einsum("nc,nc->n", state.along, state.residual) - shift * weight
    cross = np.einsum("pnc,nc->pn", state.jacobian, state.along)
    flat = state.jacobian.reshape(len(free), -1)
    normal = flat @ flat.T - (cross / curvature) @ cross.T
    gradient = flat @ state.residual.ravel() - (cross / curvature) @ pull
    for index, mean, sigma in priors(law):
        place = free.index(index)
        normal[place, place] += 1.0 / sigma**2
        gradient[place] -= (theta[index] - mean) / sigma**2
    return normal, gradient, lambda step: (pull - step @ cross) / curvature


def _step(
    normal: FloatArray, gradient: FloatArray, theta: FloatArray, free: tuple[int, ...]
) -> FloatArray:
    """Solve for the step; parameters that would leave their bounds stay and are solved without."""
    low, high = limits()
    place = theta[list(free)]
    move = np.ones(len(free), dtype=np.bool_)
    step = np.zeros(len(free))
    for _ in range(3):
        step[:] = 0.0
        step[move] = solved(normal[np.ix_(move, move)], gradient[move])
        out = (step < 0.0) & (place <= low[list(free)] + 1e-9)
        out |= (step > 0.0) & (place >= high[list(free)] - 1e-9)
        if not (out & move).any():
            break
        move &= ~out
    return step
