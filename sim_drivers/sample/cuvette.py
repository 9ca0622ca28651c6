"""Quantum dots in a cuvette under a round spot: what streak camera and spectrograph see of them.

For lifetime, Auger and cross-section. The pump is weakened on its way through the cuvette
(Beer-Lambert, `optical_density`), and is flat over the spot or a Gaussian; every dot emits by its
own local fluence. The fluence told is pulse energy over pi (d / 2)^2: for a Gaussian spot d is the
full 1/e^2 diameter, so that the middle has twice that fluence. Emission of all depths and of the
whole spot is collected alike. No stimulated light, and no bleaching: the solution is stirred.
"""

from __future__ import annotations

import numpy as np

from sim_drivers.sample.bands import RoomBands, bin_points, in_bins
from sim_drivers.sample.conditions import NO_LINES, Conditions, Lines, grouped
from sim_drivers.sample.kinetics import Cascade, occupancy
from sim_drivers.sample.occupancy import PUMP_WAVELENGTH_NM, FloatArray, mean_excitons
from sim_drivers.sample.parameters import SampleParameters

PHOTONS_PER_EXCITON = 6e4
"""Photons at the slit, per shot, of one exciton in every dot under a flat spot; assumed."""

_DEPTHS, _RADII, _GROUPS = 8, 32, 9


class Cuvette:
    """A solution; stateless, as the film is."""

    def __init__(
        self, parameters: SampleParameters, *, pump_wavelength_nm: float = PUMP_WAVELENGTH_NM
    ) -> None:
        self.parameters = parameters
        self.cascade = Cascade.of(parameters)
        self._per_fluence = float(
            mean_excitons(1.0, parameters.cross_section_cm2, pump_wavelength_nm)
        )
        self._relative, self._share = self._local_fluences()

    def _local_fluences(self) -> tuple[FloatArray, FloatArray]:
        """Return fluences over the one told, and how many dots of the flat spot have each."""
        p = self.parameters
        relative, share = np.ones(1), np.ones(1)
        if p.optical_density > 0.0:
            depth, weight = _gauss_legendre(_DEPTHS)
            relative, share = 10.0 ** (-p.optical_density * depth), weight
        if p.spot_profile == "gaussian":
            # Rings of y = exp(-2 r^2 / w^2) have the area (pi w^2 / 2) dy / y, the peak twice the
            # fluence told; what they emit falls at least as y, so that the integrand is smooth.
            y, weight = _gauss_legendre(_RADII)
            relative = np.multiply.outer(relative, 2.0 * y).ravel()
            share = np.multiply.outer(share, 0.5 * weight / y).ravel()
        return relative, share

    def occupied(self, fluence_uJ_cm2: FloatArray, weights: FloatArray) -> FloatArray:
        """Return how many dots hold 1, 2 ... excitons, of those under a flat spot, over shots."""
        fluence, shots = grouped(fluence_uJ_cm2, weights, _GROUPS)
        excitons = self._per_fluence * np.multiply.outer(fluence, self._relative)
        return occupancy(excitons.ravel(), np.multiply.outer(shots, self._share).ravel())

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.emission."""
        bands = RoomBands.of(self.parameters, conditions.temperature_K).per_nm(wavelength_nm)
        totals = self.cascade.totals(self.occupied(fluence_uJ_cm2, weights))
        return np.asarray(PHOTONS_PER_EXCITON * (totals @ bands))

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
        """See Sample.transient."""
        bands = RoomBands.of(self.parameters, conditions.temperature_K)
        spectra = in_bins(wavelength_edges_nm, bands.per_nm(bin_points(wavelength_edges_nm)))
        occupied = self.occupied(fluence_uJ_cm2, weights)
        courses = self.cascade.courses(occupied, time_edges_ps)
        return np.asarray(PHOTONS_PER_EXCITON * (courses.T @ spectra))


def _gauss_legendre(points: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights on 0 to 1."""
    node, weight = np.polynomial.legendre.leggauss(points)
    return np.asarray(0.5 * (node + 1.0)), np.asarray(0.5 * weight)
