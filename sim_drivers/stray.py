"""Light in a streak image that is not the sample's: scattered pump, and stray light.

For the World. Scattered pump light is as short as the pulse, at its wavelength and as wide as a
pulse of that length must be: from it the response of the camera is measured. (In front of the CCD
stands a long-pass filter.) Stray light and the cathode's own electrons come all the time, with the
shutter closed too. Levels are assumed.
"""

from __future__ import annotations

import numpy as np

from sim_drivers.beam import Pump
from sim_drivers.noise import FloatArray
from sim_drivers.sample.occupancy import photon_energy_J
from sim_drivers.sample.slow import following_the_pump, gaussian_bins

SCATTERED_SHARE = 2e-9
"""Photons of the pump that reach the slit of the streak camera over those of the pulse."""
STRAY_PER_S_NM_NS = 0.3
"""Photo-electrons of stray light and of the cathode itself."""

_LEAST_WIDTH_NM = 0.1
_BANDWIDTH = 0.441  # width in time x width in frequency of a Gaussian pulse
_LIGHT_NM_PER_S = 2.99792458e17
_NONE = 1e-12


def stray_electrons(
    time_edges_ps: FloatArray, edges_nm: FloatArray, exposure_s: float
) -> FloatArray:
    """Return the photo-electrons of stray light in each bin, (m, n)."""
    stray = 1e-3 * STRAY_PER_S_NM_NS * exposure_s
    return np.multiply.outer(stray * np.diff(time_edges_ps), np.diff(edges_nm))


def add_scattered_pump(
    light: FloatArray,
    time_edges_ps: FloatArray,
    edges_nm: FloatArray,
    pump: Pump,
    energy_J: float,
) -> None:
    """Add the scattered photons of pulses of that energy together to `light`, (m, n)."""
    photons = SCATTERED_SHARE * energy_J / photon_energy_J(pump.wavelength_nm)
    width_nm = _BANDWIDTH * pump.wavelength_nm**2 / (_LIGHT_NM_PER_S * pump.pulse_width_s)
    course = following_the_pump(time_edges_ps, 1e12 * pump.pulse_width_s)
    spectrum = gaussian_bins(edges_nm, pump.wavelength_nm, max(width_nm, _LEAST_WIDTH_NM))
    when, where = np.flatnonzero(course > _NONE), np.flatnonzero(spectrum > _NONE)
    light[np.ix_(when, where)] += photons * np.multiply.outer(course[when], spectrum[where])
