"""What a perfect streak camera would report: noise-free gated spectra, red shift, decay.

For tests and for reports that set a result beside the truth; the analysis never imports it. A
camera is perfect but for a Gaussian response; gates and decays are what it shows, its time zero
being the arrival of the pump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from sim_drivers.sample.bands import EV_NM, RoomBands
from sim_drivers.sample.conditions import Conditions, Sample
from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.stripe import line

EARLY_PS = (0.0, 50.0)
LATE_PS = (50.0, 6000.0)
"""The gates of the published spectrograms."""

_FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
_LONGEST_PS = 20_000.0
_STEP_NM = 0.2
_FASTEST_PS = 1.0  # response: below, the bins would show


@dataclass(frozen=True)
class StreakTruth:
    """Of one fluence: peaks (nm) of the early and the late spectrum, what lies between (meV).

    decay_time_ps: from the highest point of the light of all wavelengths to 1 / e of it.
    """

    early_peak_nm: float
    late_peak_nm: float
    redshift_meV: float
    decay_time_ps: float


def gated_spectrum(
    sample: Sample,
    fluence_uJ_cm2: float,
    gate_ps: tuple[float, float],
    *,
    response_fwhm_ps: float = 0.0,
    conditions: Conditions | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return wavelengths (nm) and photons per nm and shot that fall into a gate, (P,) each."""
    edges_nm, edges_ps, light = _spectrogram(sample, fluence_uJ_cm2, conditions)
    time = 0.5 * (edges_ps[1:] + edges_ps[:-1])
    if response_fwhm_ps > 0.0:
        sigma = response_fwhm_ps / _FWHM_PER_SIGMA
        inside = ndtr((gate_ps[1] - time) / sigma) - ndtr((gate_ps[0] - time) / sigma)
    else:
        begun, ended = np.clip(edges_ps, *gate_ps)[:-1], np.clip(edges_ps, *gate_ps)[1:]
        inside = (ended - begun) / np.diff(edges_ps)
    return 0.5 * (edges_nm[1:] + edges_nm[:-1]), inside @ light / np.diff(edges_nm)


def decay_curve(
    sample: Sample,
    fluence_uJ_cm2: float,
    time_ps: FloatArray,
    *,
    response_fwhm_ps: float,
    conditions: Conditions | None = None,
) -> FloatArray:
    """Return photons per ps and shot of all wavelengths at times, as the response shows them.

    Responses faster than 1 ps count as 1 ps.
    """
    _, edges_ps, light = _spectrogram(sample, fluence_uJ_cm2, conditions)
    return _shown(edges_ps, light.sum(axis=1), time_ps, response_fwhm_ps)


def _shown(
    edges_ps: FloatArray, course: FloatArray, time_ps: FloatArray, response_fwhm_ps: float
) -> FloatArray:
    sigma = max(response_fwhm_ps, _FASTEST_PS) / _FWHM_PER_SIGMA
    middle = 0.5 * (edges_ps[1:] + edges_ps[:-1])
    offset = (np.asarray(time_ps, dtype=np.float64)[:, None] - middle) / sigma
    return np.asarray(np.exp(-0.5 * offset**2) @ course / (np.sqrt(2.0 * np.pi) * sigma))


def streak_truth(
    sample: Sample,
    fluence_uJ_cm2: float,
    *,
    response_fwhm_ps: float = 50.0,
    conditions: Conditions | None = None,
) -> StreakTruth:
    """Return what the published gates show at a fluence."""
    peaks = []
    for gate in (EARLY_PS, LATE_PS):
        wavelength, spectrum = gated_spectrum(
            sample,
            fluence_uJ_cm2,
            gate,
            response_fwhm_ps=response_fwhm_ps,
            conditions=conditions,
        )
        peaks.append(line(wavelength, spectrum)[0])
    return StreakTruth(
        peaks[0],
        peaks[1],
        1e3 * (EV_NM / peaks[1] - EV_NM / peaks[0]),
        _decay_time_ps(sample, fluence_uJ_cm2, response_fwhm_ps, conditions),
    )


def _decay_time_ps(
    sample: Sample, fluence: float, response_ps: float, conditions: Conditions | None
) -> float:
    _, edges_ps, light = _spectrogram(sample, fluence, conditions)
    course = light.sum(axis=1)
    response_ps = max(response_ps, _FASTEST_PS)
    rise = np.linspace(-response_ps, 4.0 * response_ps, 501)
    curve = _shown(edges_ps, course, rise, response_ps)
    highest = int(np.argmax(curve))
    level = float(curve[highest]) / np.e

    def above(time: float) -> float:
        return float(_shown(edges_ps, course, np.array([time]), response_ps)[0]) - level

    if above(_LONGEST_PS) > 0.0:
        return float("inf")
    return float(brentq(above, rise[highest], _LONGEST_PS, xtol=1e-3)) - float(rise[highest])


def _spectrogram(
    sample: Sample, fluence: float, conditions: Conditions | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return edges (nm), edges (ps) and photons of one shot, on bins fine enough not to matter."""
    bands = RoomBands.of(sample.parameters)
    low = bands.one_nm - 2.0 * bands.one_fwhm_nm
    high = bands.several_nm + 2.0 * bands.several_fwhm_nm
    edges_nm = np.arange(low, high, _STEP_NM)
    edges_ps = np.concatenate(
        [np.arange(0.0, 300.0, 0.25), np.geomspace(300.0, 1.5 * _LONGEST_PS, 1500)]
    )
    light = sample.transient(
        edges_ps, edges_nm, np.array([fluence]), np.ones(1), conditions or Conditions()
    )
    return edges_nm, edges_ps, light
