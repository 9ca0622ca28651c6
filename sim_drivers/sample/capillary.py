"""The whispering-gallery laser in a capillary under nanosecond pulses.

For the capillary measurement. m lambda = pi D n: n falls with wavelength such that the group index
n - lambda dn/dlambda is `cavity_group_index` throughout, and modes are even in energy. Each mode
holds n = [x - 1 + sqrt((x - 1)^2 + 4 beta x)] / 2 photons (in units of those that a pump of one
threshold more adds) at x = pump over threshold, times the gain envelope at the mode, 1 for the
best. What is not in modes is the spontaneous band, which stops growing at threshold: its excitons
are n / (n + beta), the exact companion of n. A bleached share of dots takes its share of the pump
away; age raises the threshold. Only the diameter is from a publication, the rest is assumed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sim_drivers.sample.bands import RoomBands, bin_points, in_bins
from sim_drivers.sample.conditions import Conditions, Lines, grouped
from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.parameters import CAVITY_ENVELOPE_WIDTHS, SampleParameters
from sim_drivers.sample.slow import following_the_pump, gaussian_bins

PHOTONS_AT_THRESHOLD = 5e4
"""Spontaneous photons at the slit, per shot, at threshold and above; assumed."""
LASER_COLLECTION = 8.0
"""How much better laser light is collected than spontaneous light; assumed."""
PHASE_INDEX_SHARE = 0.94
"""Index over group index at the gain peak; assumed."""
MODE_FWHM_NM = 0.05
"""Width of a mode: a quality factor of 10 000; assumed."""

_SIGHT = 3.0  # modes are counted this many envelope widths to either side
_GROUPS = 64


class Capillary:
    """A capillary with its modes; stateless."""

    def __init__(self, parameters: SampleParameters) -> None:
        p = self.parameters = parameters
        self.envelope_nm = CAVITY_ENVELOPE_WIDTHS * p.ase_fwhm_nm
        self.mode_number, self.mode_nm = self._modes()
        offset = (self.mode_nm - p.ase_peak_nm) / self.envelope_nm
        gain = np.exp(-4.0 * np.log(2.0) * offset**2)
        self.relative_gain = gain / gain.max()
        # The modes share the excitation: of them all, about this many have the gain of the best.
        self.sharing = float(self.relative_gain.sum())
        self.bleaching_dose_J_cm2 = np.inf
        if p.retained_fraction < 1.0:
            dose = p.retained_shots * p.gain_fluence_uJ_cm2 * 1e-6
            self.bleaching_dose_J_cm2 = -dose / np.log(p.retained_fraction)

    def index(self, wavelength_nm: ArrayLike) -> FloatArray:
        """Return the refractive index that the modes feel."""
        group, peak = self.parameters.cavity_group_index, self.parameters.ase_peak_nm
        slope = (PHASE_INDEX_SHARE - 1.0) * group / peak
        return np.asarray(group + slope * np.asarray(wavelength_nm, dtype=np.float64))

    def spacing_nm(self, wavelength_nm: float) -> float:
        """Return the mode spacing lambda^2 / (pi D n_g)."""
        p = self.parameters
        return wavelength_nm**2 / (np.pi * 1e3 * p.cavity_diameter_um * p.cavity_group_index)

    def _modes(self) -> tuple[FloatArray, FloatArray]:
        p = self.parameters
        around_nm = np.pi * 1e3 * p.cavity_diameter_um
        reach = _SIGHT * self.envelope_nm
        ends = np.array([p.ase_peak_nm + reach, p.ase_peak_nm - reach])
        order = around_nm * self.index(ends) / ends
        number = np.arange(np.ceil(order[0]), np.floor(order[1]) + 1.0)
        group = p.cavity_group_index
        slope = (PHASE_INDEX_SHARE - 1.0) * group / p.ase_peak_nm
        return number, group / (number / around_nm - slope)

    def pump(self, fluence_uJ_cm2: FloatArray, conditions: Conditions) -> FloatArray:
        """Return x, the pump over the threshold of the best mode, same shape."""
        p = self.parameters
        rise = 1.0 + p.ageing_per_day * conditions.age_days
        return np.asarray(1e-3 * fluence_uJ_cm2 / (p.cavity_threshold_mJ_cm2 * rise))

    def intact(self, conditions: Conditions) -> float:
        """Return the share of dots that the dose has left."""
        return float(np.exp(-conditions.dose_J_cm2 / self.bleaching_dose_J_cm2))

    def photons(self, pump: ArrayLike) -> FloatArray:
        """Return n of a mode at x, same shape, without the cancellation below threshold."""
        x = np.asarray(pump, dtype=np.float64)
        beta = self.parameters.cavity_beta
        root = np.sqrt((x - 1.0) ** 2 + 4.0 * beta * x)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = 2.0 * beta * x / (root + 1.0 - x)
        return np.asarray(np.where(x < 1.0, below, 0.5 * (root + x - 1.0)))

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.emission: the spontaneous band."""
        fluence, shots = grouped(fluence_uJ_cm2, weights, _GROUPS)
        photons = self.photons(self.intact(conditions) * self.pump(fluence, conditions))
        excitons = photons / (photons + self.parameters.cavity_beta)
        light = PHOTONS_AT_THRESHOLD * float(shots @ excitons)
        band = RoomBands.of(self.parameters, conditions.temperature_K).per_nm(wavelength_nm)
        return np.asarray(light * band[0])

    def lines(
        self, fluence_uJ_cm2: FloatArray, weights: FloatArray, conditions: Conditions
    ) -> Lines:
        """See Sample.lines: the modes."""
        fluence, shots = grouped(fluence_uJ_cm2, weights, _GROUPS)
        pump = self.intact(conditions) * self.pump(fluence, conditions)
        photons = shots @ self.photons(np.multiply.outer(pump, self.relative_gain))
        photons *= PHOTONS_AT_THRESHOLD * LASER_COLLECTION / self.sharing
        return Lines(self.mode_nm, photons, np.full(len(photons), MODE_FWHM_NM))

    def transient(
        self,
        time_edges_ps: FloatArray,
        wavelength_edges_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.transient: the light follows the pulse."""
        edges = wavelength_edges_nm
        band = self.emission(bin_points(edges), fluence_uJ_cm2, weights, conditions)
        spectrum = in_bins(edges, band)
        modes = self.lines(fluence_uJ_cm2, weights, conditions)
        for centre, photons in zip(modes.wavelength_nm, modes.photons, strict=True):
            spectrum += photons * gaussian_bins(edges, float(centre), MODE_FWHM_NM)
        course = following_the_pump(time_edges_ps, conditions.pulse_width_ps)
        return np.multiply.outer(course, spectrum)
