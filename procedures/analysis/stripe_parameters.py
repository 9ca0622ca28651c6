"""The parameters of the stripe equation that are fitted, law by law: priors, bounds, steps, ties.

For `stripe_fit.py` and `joint_fit.py`. Vectors are as `stripe_model.NAMES`. No records here.
"""

from __future__ import annotations

import numpy as np

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import INDEX, NAMES

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
# Of one iteration, and of the differences that slopes are taken from, as `NAMES`.
LARGEST_STEP = np.array([0.1, 0.3, 0.4, 0.5, 0.7, 0.7, 2.0, 0.2, 1.0, 0.1, 0.2, 0.5, 1.0])
DIFFERENCE = np.array(
    [1e-4, 1e-4, 1e-3, 1e-3, 1e-3, 1e-3, 2e-3, 1e-4, 2e-3, 1e-4, 1e-3, 1e-3, 1e-2]
)


def model_law(law: str) -> str:
    """Return the name that `stripe_model.inversion` knows a law by."""
    return "poisson" if law == "free poisson" else law


def solved(normal: FloatArray, gradient: FloatArray) -> FloatArray:
    """Return the solution of normal equations, scaled so that units do not matter."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(normal), 1e-30))
    scaled = normal * np.outer(scale, scale)
    return np.asarray(scale * np.linalg.lstsq(scaled, gradient * scale, rcond=1e-12)[0])


def free_parameters(law: str) -> tuple[int, ...]:
    """Return the indices of the parameters that a law leaves free."""
    fixed = {INDEX["ln_law_shape"]} if law in ("poisson", "linear") else set()
    return tuple(index for index in range(len(NAMES)) if index not in fixed)


def tied(law: str, thetas: FloatArray) -> FloatArray:
    """Return parameter sets, (B, 13), with what a law ties together tied, in place."""
    if law == "poisson":
        thetas[:, INDEX["ln_law_shape"]] = thetas[:, INDEX["ln_excitons"]]
    return thetas


def bounded(thetas: FloatArray) -> FloatArray:
    """Return parameter sets, (B, 13), within their bounds, in place."""
    for name, (low, high) in _BOUNDS.items():
        np.clip(thetas[:, INDEX[name]], low, high, out=thetas[:, INDEX[name]])
    return thetas


def limits() -> tuple[FloatArray, FloatArray]:
    """Return the lower and the upper bounds, (13,) each, infinite where there is none."""
    low, high = np.full(len(NAMES), -np.inf), np.full(len(NAMES), np.inf)
    for name, bounds in _BOUNDS.items():
        low[INDEX[name]], high[INDEX[name]] = bounds
    return low, high


def priors(law: str) -> list[tuple[int, float, float]]:
    """Return (index, mean, sigma) of each prior that a law needs."""
    free = set(free_parameters(law))
    return [(INDEX[k], m, s) for k, (m, s) in _PRIOR.items() if INDEX[k] in free]


def prior_cost(law: str, theta: FloatArray) -> float:
    """Return what the priors add to chi-squared for parameters, (13,)."""
    return float(sum(((theta[i] - m) / s) ** 2 for i, m, s in priors(law)))
