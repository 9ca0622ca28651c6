"""How many excitons a pulse leaves in a dot, and what follows for gain and spontaneous light.

Poisson statistics of photon absorption, for the film and its later kinetics. Stops at the dot:
propagation along the stripe is in `stripe.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import constants
from scipy.special import gammainc

FloatArray = NDArray[np.float64]

PUMP_WAVELENGTH_NM = 400.0
SATURATED_EXCITONS = 40.0
"""Mean excitons beyond which both Q and 1 - exp(-N) are 1 to double precision."""


def photon_energy_J(wavelength_nm: float = PUMP_WAVELENGTH_NM) -> float:
    """Return the energy of a photon in J (4.966e-19 J at 400 nm)."""
    return float(constants.h * constants.c / (wavelength_nm * 1e-9))


def mean_excitons(
    fluence_uJ_cm2: ArrayLike,
    cross_section_cm2: float,
    pump_wavelength_nm: float = PUMP_WAVELENGTH_NM,
) -> FloatArray:
    """Return the mean number of excitons per dot, N = sigma F / hv, shape of the fluence."""
    energy_uJ = 1e6 * photon_energy_J(pump_wavelength_nm)
    return np.asarray(fluence_uJ_cm2, dtype=np.float64) * (cross_section_cm2 / energy_uJ)


def multi_exciton_share(excitons: ArrayLike) -> FloatArray:
    """Return Q = 1 - exp(-N) (1 + N), the share of dots with two or more excitons."""
    # The regularised gamma function is the same sum without its cancellation at small N.
    return np.asarray(gammainc(2.0, np.asarray(excitons, dtype=np.float64)), dtype=np.float64)


def spontaneous_strength(excitons: ArrayLike, biexciton_yield: float) -> FloatArray:
    """Return S = 1 - exp(-N) + q Q, time-integrated spontaneous light per dot.

    In units of the light of one exciton; q = r_XX tau_2 / tau_x is what two excitons emit
    before they are one.
    """
    number = np.asarray(excitons, dtype=np.float64)
    return np.asarray(-np.expm1(-number) + biexciton_yield * multi_exciton_share(number))


@dataclass(frozen=True)
class GainLaw:
    """The inversion as a function of the mean number of excitons, by name.

    `poisson`: Q(N). `linear`: N. `logarithmic`: ln(1 + N), which keeps the absorption of the
    unpumped film finite. All are zero without pump and rise steadily; the gain coefficient made
    of them, K [law(N) b - law(N_th)] with K fixed by the gain at `gain_fluence`, is zero at the
    threshold and `gain_per_cm` at `gain_fluence` for each.
    """

    name: str

    def value(self, excitons: ArrayLike) -> FloatArray:
        """Return the inversion for mean excitons >= 0, same shape."""
        number = np.asarray(excitons, dtype=np.float64)
        if self.name == "linear":
            return number
        if self.name == "logarithmic":
            return np.asarray(np.log1p(number))
        return multi_exciton_share(number)

    def slope(self, excitons: ArrayLike) -> FloatArray:
        """Return d law / d ln N."""
        number = np.asarray(excitons, dtype=np.float64)
        if self.name == "linear":
            return number
        if self.name == "logarithmic":
            return np.asarray(number / (1.0 + number))
        return np.asarray(number**2 * np.exp(-number))

    def inverse(self, inversion: ArrayLike) -> FloatArray:
        """Return the mean excitons of an inversion > 0 (relative error below 1e-6).

        For `poisson` at most `SATURATED_EXCITONS`.
        """
        value = np.asarray(inversion, dtype=np.float64)
        if self.name == "linear":
            return value
        if self.name == "logarithmic":
            return np.asarray(np.expm1(value))
        log_number, log_share = _share_table()
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(np.interp(np.log(value), log_share, log_number)))


@lru_cache(maxsize=1)
def _share_table() -> tuple[FloatArray, FloatArray]:
    log_number = np.linspace(np.log(1e-12), np.log(SATURATED_EXCITONS), 40_001)
    return log_number, np.log(multi_exciton_share(np.exp(log_number)))
