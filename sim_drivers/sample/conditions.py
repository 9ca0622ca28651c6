"""What the World asks of any sample, and under which conditions.

The one face of film, cuvette, cold film and capillary: `Sample`. Light is in photons at the slit
of the spectrograph, summed over the shots of an exposure that are told with their fluences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim_drivers.sample.bands import ROOM_K
from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.parameters import SampleParameters


@dataclass(frozen=True)
class Conditions:
    """How the sample is when the shots come.

    length_cm: pumped stripe that ends at the film's edge. dose_J_cm2: what the spot has received.
    age_days: time in air. temperature_K: of the sample. pulse_width_ps: of the pump.
    """

    length_cm: float = 0.3
    dose_J_cm2: float = 0.0
    age_days: float = 0.0
    temperature_K: float = ROOM_K
    pulse_width_ps: float = 0.1


@dataclass(frozen=True)
class Lines:
    """Lines narrower than a pixel: where (nm), photons in each, width (nm, FWHM), (L,) each."""

    wavelength_nm: FloatArray
    photons: FloatArray
    fwhm_nm: FloatArray


NO_LINES = Lines(np.empty(0), np.empty(0), np.empty(0))


class Sample(Protocol):
    """A sample under the pump."""

    parameters: SampleParameters

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """Return photons per nm, (P,), summed over shots of these fluences and weights, (M,)."""

    def lines(
        self, fluence_uJ_cm2: FloatArray, weights: FloatArray, conditions: Conditions
    ) -> Lines:
        """Return what is emitted besides in lines too narrow for `emission`."""

    def transient(
        self,
        time_edges_ps: FloatArray,
        wavelength_edges_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """Return the photons in each bin of time and wavelength, (m, n), pump arriving at 0 ps."""


def grouped(
    fluence_uJ_cm2: FloatArray, weights: FloatArray, groups: int
) -> tuple[FloatArray, FloatArray]:
    """Bring shots down to at most `groups` fluences: equal numbers of neighbours, their means.

    Dark shots are dropped. For light that is smooth over the scatter of a laser's pulses.
    """
    lit = fluence_uJ_cm2 > 0.0
    fluence, shots = fluence_uJ_cm2[lit], weights[lit]
    if len(fluence) <= groups:
        return fluence, shots
    order = np.argsort(fluence)
    fluence, shots = fluence[order], shots[order]
    starts = (np.arange(groups) * len(fluence)) // groups
    together = np.add.reduceat(shots, starts)
    mean = np.add.reduceat(fluence * shots, starts) / np.maximum(together, 1e-300)
    return mean[together > 0.0], together[together > 0.0]
