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

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import INDEX, NAMES, Channels, emitted

LAWS = ("poisson", "free poisson", "linear", "logarithmic")
"""Gain laws that can be supposed; "free poisson" has an occupancy apart from that of the light."""

# What is known of any film before it is measured: wide, and met only where the data are silent.
_PRIOR = {
    "ln_excitons": (0.1, 0.7),
    "ln_absorption": (3.0, 1.0),
    "ln_direct_ratio": (0.3, 1.5),
    "biexciton_yield": (0.15, 0.2),
    "ln_law_shape": (0.1, 1.0),
    "loss": (0.0, 4.0),
}
_BOUNDS = {
    "ln_excitons": (-4.0, 2.5),
    "ln_absorption": (-1.0, 5.5),
    "ln_direct_ratio": (-6.0, 6.0),
    "biexciton_yield": (0.0, 1.5),
    "ln_law_shape": (-5.0, 3.5),
    "loss": (0.0, 30.0),
}
_LARGEST_STEP = np.array([0.1, 0.3, 0.4, 0.5, 0.7, 0.7, 2.0, 0.2, 1.0, 0.1, 0.2, 0.5, 1.0])
_DIFFERENCE = np.array(
    [1e-4, 1e-4, 1e-3, 1e-3, 1e-3, 1e-3, 2e-3, 1e-4, 2e-3, 1e-4, 1e-3, 1e-3, 1e-2]
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
    """

    fluence: FloatArray
    fluence_sigma: FloatArray
    pulse_spread: FloatArray
    signal: FloatArray
    variance: FloatArray
    channels: Channels
    length: FloatArray

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

    def draws(self, count: int, seed: int = 1) -> FloatArray:
        """Return parameter sets, (count, 13), spread as the covariance; always the same ones."""
        normal = np.random.default_rng(seed).standard_normal((count, len(self.theta)))
        values, vectors = np.linalg.eigh(self.covariance)
        sets = self.theta + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return _bounded(_tied(self.law, sets))


def model_law(law: str) -> str:
    """Return the name that `stripe_model.inversion` knows a law by."""
    return "poisson" if law == "free poisson" else law


def fit_stripe(
    data: FitData, law: str, start: FloatArray, *, floor: float, iterations: int = 60
) -> StripeFit:
    """Fit from a start, (13,); `floor` is the relative error granted to the model per channel."""
    free = _free(law)
    theta = _tied(law, start.copy()[None])[0]
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
            limit = _LARGEST_STEP[list(free)]
            # One by one: a parameter the data leave open must not hold up the others.
            step = np.clip(step, -limit, limit)
            moved = theta.copy()
            moved[list(free)] += step
            moved = _bounded(_tied(law, moved[None]))[0]
            new_shift = np.clip(shift + shift_step(step), -0.3, 0.3)
            candidate_cost = _cost(data, law, moved, new_shift, sigma)
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


@dataclass(frozen=True)
class _State:
    cost: float
    chi2: float
    residual: FloatArray  # (N, C)
    jacobian: FloatArray  # (n, N, C), over sigma
    along: FloatArray  # (N, C), by ln fluence, over sigma


def _seen(
    data: FitData, law: str, thetas: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the light of each parameter set, (B, N, C), and of the first d / d ln F, (N, C)."""
    spread = np.where(data.pulse_spread > 0.0, data.pulse_spread, 5e-3)
    node = _NODE * spread
    fluence = data.fluence * np.exp(shift)
    sides = np.stack([fluence * (1.0 - node), fluence * (1.0 + node)])
    rows = np.concatenate([np.broadcast_to(fluence, (len(thetas), len(fluence))), sides])
    sets = np.concatenate([thetas, thetas[:1], thetas[:1]])
    guided, direct = emitted(model_law(law), sets, rows, data.channels, data.length)
    light = guided + direct
    low, high, middle = light[-2], light[-1], light[0]
    along = (high - low) / (2.0 * node[:, None])
    pulses = (data.pulse_spread > 0.0)[:, None]
    safe = np.where(middle > 0.0, middle, 1.0)
    mean = np.where(pulses, (4.0 * middle + low + high) / (6.0 * safe), 1.0)
    return light[:-2] * np.where(middle > 0.0, mean, 1.0), along


def _evaluate(
    data: FitData,
    law: str,
    theta: FloatArray,
    shift: FloatArray,
    sigma: FloatArray,
    free: tuple[int, ...],
) -> _State:
    moves = np.zeros((len(free), len(NAMES)))
    moves[np.arange(len(free)), list(free)] = _DIFFERENCE[list(free)]
    sets = np.concatenate([theta[None], _tied(law, theta + moves)])
    light, along = _seen(data, law, sets, shift)
    residual = (data.signal - light[0]) / sigma
    steps = _DIFFERENCE[list(free)][:, None, None]
    jacobian = (light[1:] - light[0]) / (steps * sigma)
    chi2 = float(np.sum(residual**2)) + _shift_cost(data, shift)
    return _State(chi2 + _prior_cost(law, theta), chi2, residual, jacobian, along / sigma)


def _cost(
    data: FitData, law: str, theta: FloatArray, shift: FloatArray, sigma: FloatArray
) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        light, _ = _seen(data, law, theta[None], shift)
        chi2 = float(np.sum(((data.signal - light[0]) / sigma) ** 2))
    return chi2 + _shift_cost(data, shift) + _prior_cost(law, theta)


def _fluence_sigma(data: FitData) -> FloatArray:
    return np.maximum(data.fluence_sigma, _SMALLEST_FLUENCE_SIGMA)


def _shift_cost(data: FitData, shift: FloatArray) -> float:
    return float(np.sum((shift / _fluence_sigma(data)) ** 2))


def _priors(law: str) -> list[tuple[int, float, float]]:
    free = set(_free(law))
    return [(INDEX[k], m, s) for k, (m, s) in _PRIOR.items() if INDEX[k] in free]


def _prior_cost(law: str, theta: FloatArray) -> float:
    return float(sum(((theta[i] - m) / s) ** 2 for i, m, s in _priors(law)))


def _normal_equations(
    state: _State, data: FitData, law: str, theta: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray, Callable[[FloatArray], FloatArray]]:
    """Return (normal matrix, gradient, shifts' step), the shifts eliminated record by record."""
    free = _free(law)
    weight = 1.0 / _fluence_sigma(data) ** 2
    curvature = np.einsum("nc,nc->n", state.along, state.along) + weight
    pull = np.einsum("nc,nc->n", state.along, state.residual) - shift * weight
    cross = np.einsum("pnc,nc->pn", state.jacobian, state.along)
    flat = state.jacobian.reshape(len(free), -1)
    normal = flat @ flat.T - (cross / curvature) @ cross.T
    gradient = flat @ state.residual.ravel() - (cross / curvature) @ pull
    for index, mean, sigma in _priors(law):
        place = free.index(index)
        normal[place, place] += 1.0 / sigma**2
        gradient[place] -= (theta[index] - mean) / sigma**2
    return normal, gradient, lambda step: (pull - step @ cross) / curvature


def _step(
    normal: FloatArray, gradient: FloatArray, theta: FloatArray, free: tuple[int, ...]
) -> FloatArray:
    """Solve for the step; parameters that would leave their bounds stay and are solved without."""
    low, high = _limits()
    place = theta[list(free)]
    move = np.ones(len(free), dtype=np.bool_)
    step = np.zeros(len(free))
    for _ in range(3):
        step[:] = 0.0
        step[move] = _solve(normal[np.ix_(move, move)], gradient[move])
        out = (step < 0.0) & (place <= low[list(free)] + 1e-9)
        out |= (step > 0.0) & (place >= high[list(free)] - 1e-9)
        if not (out & move).any():
            break
        move &= ~out
    return step


def _limits() -> tuple[FloatArray, FloatArray]:
    low, high = np.full(len(NAMES), -np.inf), np.full(len(NAMES), np.inf)
    for name, bounds in _BOUNDS.items():
        low[INDEX[name]], high[INDEX[name]] = bounds
    return low, high


def _solve(normal: FloatArray, gradient: FloatArray) -> FloatArray:
    scale = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-30))
    scaled = normal * np.outer(scale, scale)
    return np.asarray(scale * np.linalg.lstsq(scaled, gradient * scale, rcond=1e-12)[0])


def _free(law: str) -> tuple[int, ...]:
    fixed = {INDEX["ln_law_shape"]} if law in ("poisson", "linear") else set()
    return tuple(index for index in range(len(NAMES)) if index not in fixed)


def _tied(law: str, thetas: FloatArray) -> FloatArray:
    if law == "poisson":
        thetas[:, INDEX["ln_law_shape"]] = thetas[:, INDEX["ln_excitons"]]
    return thetas


def _bounded(thetas: FloatArray) -> FloatArray:
    for name, (low, high) in _BOUNDS.items():
        np.clip(thetas[:, INDEX[name]], low, high, out=thetas[:, INDEX[name]])
    return thetas
