"""The film in the cryostat under nanosecond pulses, seen in backscattering.

For the biexciton series. Two Voigt bands: the exciton's grows as c F, the biexciton's as
c F^2 / F_x, equal at `biexciton_crossover_mJ_cm2` (the low-occupancy limit, assumed at any
fluence). Position and width follow the temperature, brightness does not. In vacuum nothing
bleaches. A Gaussian spot changes nothing: mean fluence and mean square are those of the flat one.
"""

from __future__ import annotations

import numpy as np

from sim_drivers.sample.bands import Band, biexciton_band, bin_points, exciton_band, in_bins
from sim_drivers.sample.conditions import NO_LINES, Conditions, Lines
from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.parameters import SampleParameters
from sim_drivers.sample.slow import following_the_pump

PHOTONS_PER_MJ_CM2 = 2e5
"""c: photons of the exciton's band at the slit, per shot and mJ/cm^2; assumed."""


class ColdFilm:
    """A film in backscattering; stateless."""

    def __init__(self, parameters: SampleParameters) -> None:
        self.parameters = parameters

    def bands(self, temperature_K: float) -> tuple[Band, Band]:
        """Return the bands of exciton and biexciton."""
        return (
            exciton_band(self.parameters, temperature_K),
            biexciton_band(self.parameters, temperature_K),
        )

    def band_photons(self, fluence_uJ_cm2: FloatArray, weights: FloatArray) -> tuple[float, float]:
        """Return the photons of exciton and biexciton band, summed over shots."""
        fluence = 1e-3 * fluence_uJ_cm2
        excitons = float(weights @ fluence)
        biexcitons = float(weights @ fluence**2) / self.parameters.biexciton_crossover_mJ_cm2
        return PHOTONS_PER_MJ_CM2 * excitons, PHOTONS_PER_MJ_CM2 * biexcitons

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.emission."""
        exciton, biexciton = self.bands(conditions.temperature_K)
        first, second = self.band_photons(fluence_uJ_cm2, weights)
        return first * exciton.per_nm(wavelength_nm) + second * biexciton.per_nm(wavelength_nm)

    def lines(
        self, fluence_uJ_cm2: FloatArray, weights: FloatArray, conditions: Conditions
    ) -> Lines:
        """See Sample.lines: none."""
        del fluence_uJ_cm2, weights, conditions
        return NO_LINES

    def transient(
        self,
        time_edges_ps: FloatArray,
        wavelength_edges_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.transient: the light follows the pulse."""
        points = bin_points(wavelength_edges_nm)
        spectrum = self.emission(points, fluence_uJ_cm2, weights, conditions)
        course = following_the_pump(time_edges_ps, conditions.pulse_width_ps)
        return np.multiply.outer(course, in_bins(wavelength_edges_nm, spectrum))
