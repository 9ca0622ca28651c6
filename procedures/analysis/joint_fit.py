"""Fit of the stripe equation to the power sweeps of several days at once, their shape shared.

For `ageing.py`. All days have one film: gain, seed, bands, saturation, and the constant of the gain
curve are common. What a day has of its own is its threshold and the scale of its counts (light is
not collected alike every day). With the gain curve's constant K kept, the loss that a higher
threshold means rises with it: K law(F_th). Each record keeps a fluence of its own within its error,
as in `stripe_fit.py`, whose parameters and priors these are. Stops at the logarithms of the
thresholds and their covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_fit import FitData, fluence_sigma, seen, seen_alike, shift_cost
from procedures.analysis.stripe_model import INDEX, inversion, pair_share
from procedures.analysis.stripe_parameters import (
    DIFFERENCE,
    LARGEST_STEP,
    bounded,
    free_parameters,
    model_law,
    prior_cost,
    priors,
    solved,
    tied,
)

_ITERATIONS = 40
_FINE_ITERATIONS = 6
_IDLE_GAIN = 0.02
_OWN_STEP = 1e-4  # of ln threshold and ln scale
_LARGEST_OWN_STEP = 0.1
_SPREAD_SIGMA = 0.05
"""How well the scatter of single pulses is measured, relative: the meter's own noise is in it."""


@dataclass(frozen=True)
class JointFit:
    """One law fitted to all days.

    Attributes:
        law: gain law supposed.
        ln_threshold: of each day, (D,); covariance: of these, (D, D), times chi-squared per
            degree where that exceeds one.
        ln_scale: of the counts of each day over the first, (D,).
        chi2, degrees: of data and fluences.
        thetas: the parameters of each day as `stripe_fit` has them, (D, 13).
        parameters: how many were fitted.
    """

    law: str
    ln_threshold: FloatArray
    covariance: FloatArray
    ln_scale: FloatArray
    chi2: float
    degrees: int
    thetas: FloatArray
    parameters: int

    @property
    def reduced(self) -> float:
        """Chi-squared per degree of freedom."""
        return self.chi2 / max(self.degrees, 1)

    @property
    def criterion(self) -> float:
        """Akaike's, lower is better."""
        return self.chi2 + 2.0 * self.parameters


@dataclass
class _State:
    """Where a fit stands: shared parameters, each day's own, each record's shift."""

    theta: FloatArray
    own: FloatArray  # (D, 2): ln threshold and ln scale over the first day's; first row zero
    shifts: list[FloatArray]
    pulses: list[FloatArray]  # factor of each day's pulses, (N, C), as last computed
    spread: float = 0.0  # ln of the scatter of single pulses over what was measured of it
    cost: float = np.inf


def fit_jointly(days: list[FitData], law: str, start: FloatArray, *, floor: float) -> JointFit:
    """Fit all days from the parameters of the first, (13,).

    `floor` is the relative error granted to the model in each channel.
    """
    free = free_parameters(law)
    sigmas = [np.sqrt(d.variance + (floor * np.maximum(d.signal, 0.0)) ** 2) for d in days]
    state = _State(
        tied(law, start.copy()[None])[0],
        np.zeros((len(days), 2)),
        [np.zeros(len(d.fluence)) for d in days],
        [np.ones_like(d.signal) for d in days],
    )
    _guess_own(days, law, state)
    _settle(days, law, state, sigmas, free, _ITERATIONS)
    # What the steps along the stripe get wrong is small beside one day's errors, not beside those
    # of one day against the others.
    fine = [replace(data, steps=2 * data.steps) for data in days]
    _settle(fine, law, state, sigmas, free, _FINE_ITERATIONS)
    return _found(fine, law, state, sigmas, free)


def _settle(
    days: list[FitData],
    law: str,
    state: _State,
    sigmas: list[FloatArray],
    free: tuple[int, ...],
    iterations: int,
) -> None:
    """Take a state to where chi-squared is least, after Gauss, Newton and Marquardt."""
    damping, idle = 1e-3, 0
    for _ in range(iterations):
        normal, gradient, back = _equations(days, law, state, sigmas, free)
        state.cost = _cost(days, law, state, sigmas)  # with the pulses as they are there
        better = None
        for _trial in range(10):
            step = solved(normal + damping * np.diag(np.diag(normal)), gradient)
            candidate = _moved(law, state, free, step, back)
            candidate.cost = _cost(days, law, candidate, sigmas)
            if np.isfinite(candidate.cost) and candidate.cost < state.cost:
                better = candidate
                break
            damping = min(damping * 5.0, 1e8)
        if better is None:
            return
        gained = state.cost - better.cost
        vars(state).update(vars(better))
        damping = max(damping / 8.0, 1e-9)
        idle = idle + 1 if gained < _IDLE_GAIN + 1e-5 * state.cost else 0
        if idle == 2:
            return


def day_theta(law: str, theta: FloatArray, own: FloatArray) -> FloatArray:
    """Return the parameters of a day, (13,), from those of the first and (ln threshold, ln scale).

    The dots absorb as before, so all that is told at threshold moves along with it.
    """
    risen, scale = float(own[0]), float(own[1])
    found = theta.copy()
    ratio = np.array([np.exp(risen)])
    shape = np.exp(theta[INDEX["ln_law_shape"] : INDEX["ln_law_shape"] + 1])
    model = model_law(law)
    loss = float(np.log(inversion(model, ratio, shape)[0]))
    excitons = np.exp(theta[INDEX["ln_excitons"]]) * np.array([1.0, ratio[0]])
    light = -np.expm1(-excitons) + theta[INDEX["biexciton_yield"]] * pair_share(excitons)
    found[INDEX["ln_threshold"]] += risen
    found[INDEX["ln_absorption"]] += loss
    found[INDEX["ln_excitons"]] += risen
    found[INDEX["ln_direct"]] += float(np.log(light[1] / light[0])) + scale
    found[INDEX["ln_saturation"]] += scale
    if model != "linear":
        found[INDEX["ln_law_shape"]] += risen
    return found


def _scattered(pulses: FloatArray, spread: float) -> FloatArray:
    """Return the factor of pulses that scatter by exp(spread) times what was supposed."""
    return np.asarray(1.0 + np.exp(2.0 * spread) * (pulses - 1.0))


def _guess_own(days: list[FitData], law: str, state: _State) -> None:
    """Start each day's scale from its weakest records and its threshold from a coarse scan."""
    for number, data in enumerate(days[1:], start=1):
        best = (np.inf, 0.0, 0.0)
        for risen in np.linspace(-0.15, 0.3, 19):
            theta = day_theta(law, state.theta, np.array([risen, 0.0]))
            light = seen(data, law, theta[None], np.zeros(len(data.fluence))).light[0]
            model = np.maximum(light @ data.channels.width_nm, 1e-300)
            apart = np.log(np.maximum(data.signal @ data.channels.width_nm, 1e-300) / model)
            scale = float(np.median(apart))
            spread = float(np.mean(np.abs(apart - scale)))
            if spread < best[0]:
                best = (spread, float(risen), scale)
        state.own[number] = best[1:]


def _cost(days: list[FitData], law: str, state: _State, sigmas: list[FloatArray]) -> float:
    total = prior_cost(law, state.theta) + (state.spread / _SPREAD_SIGMA) ** 2
    with np.errstate(over="ignore", invalid="ignore"):
        rows = zip(days, state.own, state.shifts, state.pulses, sigmas, strict=True)
        for data, own, shift, pulses, sigma in rows:
            theta = day_theta(law, state.theta, own)
            light = seen_alike(data, law, theta, shift, _scattered(pulses, state.spread))
            total += float(np.sum(((data.signal - light) / sigma) ** 2))
            total += shift_cost(data, shift)
    return total


Back = list[tuple[FloatArray, FloatArray, FloatArray]]
"""Of each day: pull and curvature of its records' shifts, (N,), and their coupling, (n, N)."""


def _equations(
    days: list[FitData],
    law: str,
    state: _State,
    sigmas: list[FloatArray],
    free: tuple[int, ...],
) -> tuple[FloatArray, FloatArray, Back]:
    """Return (normal matrix, gradient, what the shifts need), the shifts eliminated.

    Order: shared parameters, scatter of the pulses, then (ln threshold, ln scale) of every day but
    the first.
    """
    shared = len(free)
    size = shared + 1 + 2 * (len(days) - 1)
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    back: Back = []
    moves = np.zeros((shared, len(state.theta)))
    moves[np.arange(shared), list(free)] = DIFFERENCE[list(free)]
    moved = tied(law, state.theta + moves)
    steps = list(DIFFERENCE[list(free)])
    for number, (data, sigma) in enumerate(zip(days, sigmas, strict=True)):
        own, shift = state.own[number], state.shifts[number]
        sets = [day_theta(law, one, own) for one in (state.theta, *moved)]
        places, widths = list(range(shared)), list(steps)
        if number:
            for which in range(2):
                nudge = own.copy()
                nudge[which] += _OWN_STEP
                sets.append(day_theta(law, state.theta, nudge))
                places.append(shared + 1 + 2 * (number - 1) + which)
                widths.append(_OWN_STEP)
        found = seen(data, law, np.array(sets), shift)
        state.pulses[number] = found.pulses
        pulses = _scattered(found.pulses, state.spread)
        light = found.light * (pulses / found.pulses)
        residual, along = (data.signal - light[0]) / sigma, found.along / sigma
        jacobian = (light[1:] - light[0]) / (np.array(widths)[:, None, None] * sigma)
        wider = 2.0 * (pulses - 1.0) / pulses * light[0] / sigma
        jacobian = np.concatenate([jacobian, wider[None]])
        places.append(shared)
        weight = 1.0 / fluence_sigma(data) ** 2
        curvature = np.einsum("nc,nc->n", along, along) + weight
        pull = np.einsum("nc,nc->n", along, residual) - shift * weight
        cross = np.einsum("pnc,nc->pn", jacobian, along)
        flat = jacobian.reshape(len(places), -1)
        normal[np.ix_(places, places)] += flat @ flat.T - (cross / curvature) @ cross.T
        gradient[places] += flat @ residual.ravel() - (cross / curvature) @ pull
        every = np.zeros((size, len(shift)))
        every[places] = cross
        back.append((pull, curvature, every))
    for index, mean, spread in priors(law):
        place = free.index(index)
        normal[place, place] += 1.0 / spread**2
        gradient[place] -= (state.theta[index] - mean) / spread**2
    normal[shared, shared] += 1.0 / _SPREAD_SIGMA**2
    gradient[shared] -= state.spread / _SPREAD_SIGMA**2
    return normal, gradient, back


def _moved(law: str, state: _State, free: tuple[int, ...], step: FloatArray, back: Back) -> _State:
    shared = len(free)
    limit = LARGEST_STEP[list(free)]
    step = step.copy()
    step[:shared] = np.clip(step[:shared], -limit, limit)
    step[shared:] = np.clip(step[shared:], -_LARGEST_OWN_STEP, _LARGEST_OWN_STEP)
    theta = state.theta.copy()
    theta[list(free)] += step[:shared]
    theta = bounded(tied(law, theta[None]))[0]
    own = state.own.copy()
    own[1:] += step[shared + 1 :].reshape(-1, 2)
    shifts = [
        np.clip(shift + (pull - step @ cross) / curvature, -0.3, 0.3)
        for shift, (pull, curvature, cross) in zip(state.shifts, back, strict=True)
    ]
    return _State(theta, own, shifts, list(state.pulses), state.spread + float(step[shared]))


def _found(
    days: list[FitData],
    law: str,
    state: _State,
    sigmas: list[FloatArray],
    free: tuple[int, ...],
) -> JointFit:
    normal, _, _ = _equations(days, law, state, sigmas, free)
    covariance = np.linalg.pinv(normal, hermitian=True)
    chi2 = state.cost - prior_cost(law, state.theta) - (state.spread / _SPREAD_SIGMA) ** 2
    degrees = sum(data.signal.size for data in days) - len(normal)
    covariance *= max(1.0, chi2 / max(degrees, 1))
    threshold = free.index(INDEX["ln_threshold"])
    rows = np.zeros((len(days), len(normal)))
    rows[:, threshold] = 1.0
    for number in range(1, len(days)):
        rows[number, len(free) + 1 + 2 * (number - 1)] = 1.0
    return JointFit(
        law,
        state.theta[INDEX["ln_threshold"]] + state.own[:, 0],
        rows @ covariance @ rows.T,
        state.own[:, 1].copy(),
        chi2,
        degrees,
        np.array([day_theta(law, state.theta, own) for own in state.own]),
        len(normal),
    )
