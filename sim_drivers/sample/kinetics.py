"""What becomes of the excitons after the pulse: a cascade down to one exciton, and its light.

For the time-resolved and the time-integrated light of film and cuvette. A pulse leaves a Poisson
number of excitons in each dot; n of them become n - 1 at k_n = n^2 (n - 1) / (4 tau_2), two live
tau_2 (Auger and radiative together, as observed) and one tau_x. While n excitons last, a dot emits
r_XX n^2 / 4 times what it emits with one. Light of one exciton and of several are kept apart: they
have bands of their own (`bands.py`). Dots only: depth, spot and guide are others' business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammainc, gammaln

from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.parameters import SampleParameters

MOST_EXCITONS = 20
"""A dot with more is counted as this many: the surplus is gone within a thousandth of tau_2."""

_FAINTEST = 1e-60


def occupancy(excitons: ArrayLike, weights: ArrayLike) -> FloatArray:
    """Return how many dots hold 1, 2 ... `MOST_EXCITONS` excitons just after the pulse.

    A weighted sum over mean exciton numbers >= 0, both (M,); the last entry holds all above.
    """
    mean = np.atleast_1d(np.asarray(excitons, dtype=np.float64))
    share = np.atleast_1d(np.asarray(weights, dtype=np.float64))
    number = np.arange(1.0, MOST_EXCITONS)
    with np.errstate(divide="ignore"):
        logarithm = np.multiply.outer(np.log(mean), number)
    exactly = np.exp(logarithm - mean[:, None] - gammaln(number + 1.0))
    return np.append(share @ exactly, share @ gammainc(float(MOST_EXCITONS), mean))


@dataclass(frozen=True)
class Cascade:
    """The decay of a dot's excitons, solved in closed form.

    Light is in photons per dot, in units of the photons that one exciton emits in its life.
    """

    exciton_lifetime_ps: float
    biexciton_lifetime_ps: float
    radiative_factor: float
    _rates: FloatArray = field(init=False, repr=False, compare=False)  # (n,) per ps
    _one: FloatArray = field(init=False, repr=False, compare=False)  # (from n0, exponential j)
    _several: FloatArray = field(init=False, repr=False, compare=False)

    @classmethod
    def of(cls, p: SampleParameters) -> Cascade:
        """Return the cascade of a sample."""
        return cls(1e3 * p.exciton_lifetime_ns, p.auger_lifetime_ps, p.biexciton_radiative_factor)

    def __post_init__(self) -> None:
        """Solve the chain: eigenvectors of a matrix with rates on and beside its diagonal."""
        number = np.arange(1.0, MOST_EXCITONS + 1.0)
        rates = number**2 * (number - 1.0) / (4.0 * self.biexciton_lifetime_ps)
        rates[0] = 1.0 / self.exciton_lifetime_ps
        light = self.radiative_factor * number**2 / 4.0 / self.exciton_lifetime_ps
        light[0] = 1.0 / self.exciton_lifetime_ps
        size = len(rates)
        into = np.eye(size)  # into[n, j]: share of exponential j in the population of n
        start = np.eye(size)  # start[j, n0]: how much of exponential j a dot with n0 sets off
        for j in range(size):
            for n in range(j - 1, -1, -1):
                into[n, j] = into[n + 1, j] * rates[n + 1] / (rates[n] - rates[j])
            for n in range(j + 1, size):
                start[j, n] = start[j, n - 1] * rates[n] / (rates[n] - rates[j])
        object.__setattr__(self, "_rates", rates)
        object.__setattr__(self, "_one", (light[0] * into[0])[:, None].T * start.T)
        object.__setattr__(self, "_several", (light[1:] @ into[1:]) * start.T)

    def courses(self, occupied: FloatArray, edges_ps: FloatArray) -> FloatArray:
        """Return the photons of one and of several excitons in each time bin, (..., 2, m).

        `occupied` from `occupancy`, (..., n0); `edges_ps` (m + 1,), rising, the pulse being at 0.
        """
        time = np.maximum(np.asarray(edges_ps, dtype=np.float64), 0.0)
        begin, span = time[:-1], np.diff(time)
        decay = self._rates[:, None]
        inside = _without_denormals(np.exp(-decay * begin) * -np.expm1(-decay * span) / decay)
        amplitude = np.stack([occupied @ self._one, occupied @ self._several], axis=-2)
        return np.asarray(amplitude @ inside)

    def totals(self, occupied: FloatArray) -> FloatArray:
        """Return the photons of one and of several excitons over all time, (2,).

        Those of several: r tau_2 / tau_x times the sum over n >= 2 of P(at least n) / (n - 1).
        """
        several = np.cumsum(occupied[::-1])[::-1][1:] / np.arange(1.0, MOST_EXCITONS)
        ratio = self.radiative_factor * self.biexciton_lifetime_ps / self.exciton_lifetime_ps
        return np.array([occupied.sum(), ratio * several.sum()])


def pulse_course(edges_ps: FloatArray, decay_ps: float) -> FloatArray:
    """Return the share of a pulse exp(-t / decay), begun at 0, in each time bin, (m,)."""
    time = np.maximum(np.asarray(edges_ps, dtype=np.float64), 0.0)
    return _without_denormals(-np.diff(np.exp(-time / decay_ps)))


def _without_denormals(values: FloatArray) -> FloatArray:
    """Return values >= 0 with those set to zero that arithmetic would take a hundred times for."""
    values[values < _FAINTEST] = 0.0
    return values
