"""y = c x^s through points with errors in both: the slope on log-log axes, without logarithms.

Orthogonal distance regression (Boggs, Byrd & Schnabel 1987) for points whose y errors are
correlated: each point's x is free within its error, and integrating that out leaves the effective
variance of York. In y itself, not in its logarithm, so that a weak point may come out below zero.
A scale that all x share changes c alone, and is no error of the slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi_squared

from procedures.analysis.results import FloatArray

_LEAST_POINTS = 4
_ROUNDS = 12
_SETTLED = 1e-6
_ODD = 0.01  # a scatter as large as this by chance this often is no chance


@dataclass(frozen=True)
class PowerLaw:
    """y = exp(ln_scale) x^slope.

    slope_sigma holds noise, x errors, and scatter beyond both; chi2 over dof tells of that.
    """

    ln_scale: float
    slope: float
    slope_sigma: float
    chi2: float
    dof: int

    def at(self, x: FloatArray) -> FloatArray:
        """Return y at x, same shape."""
        return np.asarray(np.exp(self.ln_scale + self.slope * np.log(x)))

    @property
    def scatters(self) -> bool:
        """Whether the points scatter more than their errors allow."""
        return bool(chi_squared.sf(self.chi2, self.dof) < _ODD)


def fit_power_law(
    x: FloatArray, x_rel_sigma: FloatArray, y: FloatArray, y_covariance: FloatArray
) -> PowerLaw | None:
    """Fit points x > 0 with independent relative errors, y with covariance, (N,), (N,), (N, N).

    None with fewer than four points, or where y is not above zero as a whole.
    """
    if len(x) < _LEAST_POINTS:
        return None
    weight = 1.0 / np.maximum(np.diag(y_covariance), 1e-300)
    positive = y > 0.0
    if positive.sum() < _LEAST_POINTS or float(weight @ y) <= 0.0:
        return None
    centre = float(np.mean(np.log(x)))
    u = np.log(x) - centre
    log_weight = weight[positive] * y[positive] ** 2
    slope, scale = np.polyfit(u[positive], np.log(y[positive]), 1, w=np.sqrt(log_weight))
    theta: FloatArray = np.array([scale, slope], dtype=np.float64)
    factor: FloatArray = np.asarray(np.linalg.cholesky(_regular(y_covariance)), dtype=np.float64)
    for _ in range(_ROUNDS):
        # The effective variance depends on the slope: fit, renew, until it stays.
        model = np.exp(theta[0] + theta[1] * u)
        spread = np.diag((theta[1] * model * x_rel_sigma) ** 2)
        factor = np.asarray(np.linalg.cholesky(_regular(y_covariance + spread)), dtype=np.float64)
        found = least_squares(
            _residuals, theta, jac=_jacobian, x_scale="jac", args=(u, y, factor), xtol=1e-12
        )
        moved = float(np.abs(found.x - theta).max())
        theta = found.x
        if moved < _SETTLED:
            break
    jacobian = _jacobian(theta, u, y, factor)
    information = jacobian.T @ jacobian
    if not np.isfinite(information).all() or np.linalg.matrix_rank(information) < 2:
        return None
    covariance = np.linalg.inv(information)
    chi2, dof = float(np.sum(_residuals(theta, u, y, factor) ** 2)), len(x) - 2
    law = PowerLaw(
        float(theta[0] - theta[1] * centre),
        float(theta[1]),
        float(np.sqrt(covariance[1, 1])),
        chi2,
        dof,
    )
    if law.scatters:
        sigma = law.slope_sigma * float(np.sqrt(chi2 / dof))
        law = PowerLaw(law.ln_scale, law.slope, sigma, chi2, dof)
    return law


def _regular(covariance: FloatArray) -> FloatArray:
    """Return a covariance that can be factorised: a touch of its own diagonal on top."""
    diagonal = np.diag(covariance)
    floor = 1e-12 * float(diagonal.max()) if len(diagonal) else 0.0
    return np.asarray(covariance + np.diag(1e-10 * diagonal + floor))


def _residuals(theta: FloatArray, u: FloatArray, y: FloatArray, factor: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.solve(factor, y - np.exp(theta[0] + theta[1] * u)))


def _jacobian(theta: FloatArray, u: FloatArray, y: FloatArray, factor: FloatArray) -> FloatArray:
    del y
    model = np.exp(theta[0] + theta[1] * u)
    return np.asarray(-np.linalg.solve(factor, np.stack([model, model * u], axis=1)))
