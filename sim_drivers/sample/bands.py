"""Where the sample emits and how broadly: bands of one and of two excitons, from 10 K to 295 K.

For everything of the sample that makes a spectrum. At 295 K the exciton's band is the spontaneous
band of the parameters, at 10 K it is `exciton_peak_eV` and `exciton_fwhm_10K_meV`; two excitons
emit the binding energy lower. Between the two temperatures the position moves in proportion to the
temperature and the width with the number of optical phonons (assumed: 16 meV). Shapes are per nm,
of unit area; how much light there is stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import constants
from scipy.special import voigt_profile

from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.parameters import SampleParameters

EV_NM = float(constants.h * constants.c / constants.e * 1e9)
"""Photon energy in eV times wavelength in nm."""
ROOM_K, COLD_K = 295.0, 10.0
LORENTZIAN_SHARE = 0.4
"""Lorentzian width over whole width of a band at 10 K; assumed."""

_FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
_PHONON_K = 0.016 * constants.e / constants.k


@dataclass(frozen=True)
class Band:
    """An emission band: centre (eV), full width at half maximum (eV), its Lorentzian part (eV)."""

    centre_eV: float
    fwhm_eV: float
    lorentzian_fwhm_eV: float = 0.0

    @property
    def centre_nm(self) -> float:
        """Wavelength of the centre."""
        return EV_NM / self.centre_eV

    def per_eV(self, energy_eV: ArrayLike) -> FloatArray:
        """Return the Voigt profile, unit area over energy; widths good to 0.02 %."""
        lorentzian = self.lorentzian_fwhm_eV
        # Olivero and Longbothum's relation of the three widths, solved for the Gaussian one.
        gaussian = (self.fwhm_eV - 0.5346 * lorentzian) ** 2 - 0.2166 * lorentzian**2
        sigma = np.sqrt(gaussian) / _FWHM_PER_SIGMA
        offset = np.asarray(energy_eV, dtype=np.float64) - self.centre_eV
        return np.asarray(voigt_profile(offset, sigma, 0.5 * lorentzian))

    def per_nm(self, wavelength_nm: ArrayLike) -> FloatArray:
        """Return the same per nm: between two wavelengths the photons between their energies."""
        wavelength = np.asarray(wavelength_nm, dtype=np.float64)
        return np.asarray(self.per_eV(EV_NM / wavelength) * EV_NM / wavelength**2)


def exciton_shift_eV(p: SampleParameters, temperature_K: float) -> float:
    """Return how far the exciton's band lies from where it is at 295 K."""
    return (_warmth(temperature_K) - 1.0) * (EV_NM / p.spontaneous_peak_nm - p.exciton_peak_eV)


def exciton_band(p: SampleParameters, temperature_K: float) -> Band:
    """Return the band of one exciton, a Voigt band as seen in backscattering."""
    centre = EV_NM / p.spontaneous_peak_nm + exciton_shift_eV(p, temperature_K)
    return _voigt(p, centre, 1e-3 * p.exciton_fwhm_10K_meV, temperature_K)


def biexciton_band(p: SampleParameters, temperature_K: float) -> Band:
    """Return the band of two excitons."""
    centre = EV_NM / p.spontaneous_peak_nm + exciton_shift_eV(p, temperature_K)
    centre -= 1e-3 * p.binding_energy_meV
    return _voigt(p, centre, 1e-3 * p.biexciton_fwhm_10K_meV, temperature_K)


@dataclass(frozen=True)
class RoomBands:
    """The two Gaussian bands of film and solution near room temperature, unit area per nm."""

    one_nm: float
    one_fwhm_nm: float
    several_nm: float
    several_fwhm_nm: float

    @classmethod
    def of(cls, p: SampleParameters, temperature_K: float = ROOM_K) -> RoomBands:
        """Return the spontaneous band, moved by temperature, and that of several excitons.

        The latter lies the binding energy lower and has the same width in energy.
        """
        one = EV_NM / (EV_NM / p.spontaneous_peak_nm + exciton_shift_eV(p, temperature_K))
        several = EV_NM / (EV_NM / one - 1e-3 * p.binding_energy_meV)
        width = p.spontaneous_fwhm_nm * (one / p.spontaneous_peak_nm) ** 2
        return cls(one, width, several, width * (several / one) ** 2)

    def per_nm(self, wavelength_nm: ArrayLike) -> FloatArray:
        """Return the bands of one and of several excitons, (2, P)."""
        wavelength = np.asarray(wavelength_nm, dtype=np.float64)
        return np.stack(
            [
                _gaussian(wavelength, self.one_nm, self.one_fwhm_nm),
                _gaussian(wavelength, self.several_nm, self.several_fwhm_nm),
            ]
        )


def _gaussian(wavelength_nm: FloatArray, centre_nm: float, fwhm_nm: float) -> FloatArray:
    sigma = fwhm_nm / _FWHM_PER_SIGMA
    height = 1.0 / (np.sqrt(2.0 * np.pi) * sigma)
    return np.asarray(height * np.exp(-0.5 * ((wavelength_nm - centre_nm) / sigma) ** 2))


def _voigt(p: SampleParameters, centre_eV: float, cold_eV: float, temperature_K: float) -> Band:
    room_eV = EV_NM * p.spontaneous_fwhm_nm / p.spontaneous_peak_nm**2
    width = cold_eV + (max(room_eV, cold_eV) - cold_eV) * _phonons(temperature_K)
    return Band(centre_eV, width, LORENTZIAN_SHARE * cold_eV)


def _warmth(temperature_K: float) -> float:
    """Return 0 at 10 K and 1 at 295 K."""
    return (temperature_K - COLD_K) / (ROOM_K - COLD_K)


def _phonons(temperature_K: float) -> float:
    """Return the optical phonons over those at 10 K, in units of those at 295 K."""

    def number(kelvin: float) -> float:
        return 1.0 / float(np.expm1(_PHONON_K / max(kelvin, 1.0)))

    return max((number(temperature_K) - number(COLD_K)) / (number(ROOM_K) - number(COLD_K)), 0.0)


def in_bins(edges_nm: FloatArray, per_nm: FloatArray) -> FloatArray:
    """Return the light in each wavelength bin, (..., n), from densities on `bin_points(edges)`."""
    shape = (*per_nm.shape[:-1], len(edges_nm) - 1, 3)
    points = per_nm.reshape(shape)
    return np.asarray((points @ np.array([1.0, 4.0, 1.0])) * np.diff(edges_nm) / 6.0)


def bin_points(edges_nm: FloatArray) -> FloatArray:
    """Return beginning, middle and end of each bin, (3 n,): Simpson's rule for `in_bins`."""
    low, high = edges_nm[:-1], edges_nm[1:]
    return np.stack([low, 0.5 * (low + high), high], axis=1).ravel()
