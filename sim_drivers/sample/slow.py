"""Time courses of what lasts as long as the pump pulse does.

For the samples under nanosecond pulses, which follow the pump, and for scattered pump light.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from sim_drivers.sample.occupancy import FloatArray

_FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))


def following_the_pump(time_edges_ps: FloatArray, pulse_width_ps: float) -> FloatArray:
    """Return the share of a Gaussian pulse about 0 ps (FWHM > 0) in each time bin, (m,)."""
    return gaussian_bins(time_edges_ps, 0.0, pulse_width_ps)


def gaussian_bins(edges: FloatArray, centre: float, fwhm: float) -> FloatArray:
    """Return the share of a Gaussian in each bin, (len(edges) - 1,), exactly."""
    return np.asarray(np.diff(ndtr((np.asarray(edges) - centre) * (_FWHM_PER_SIGMA / fwhm))))
