"""Early and late spectra of a record, where each is highest, and the red shift between them.

For the streak series. Gates count from the arrival of the light. The errors of the peaks hold the
noise, the tilt of the camera's response and the arrival. Stops at one record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from procedures.analysis.decay import Courses
from procedures.analysis.highest_point import Part, fitted, highest_point, rivals, smoothed_like
from procedures.analysis.lineshape import half_width
from procedures.analysis.own_colour import OwnColour
from procedures.analysis.results import FloatArray
from procedures.analysis.streak_image import CHANNEL_NM, GatedSpectrum, StreakData, gated_spectrum

EV_NM = 1239.841984
"""Photon energy (eV) times wavelength (nm), CODATA 2018."""

Number = tuple[float | None, float | None]
"""A value and its standard error, None where it is not told."""

_BRIGHT = 15.0  # a channel over its noise
_LEAST_IN_LINE = 12.0  # channels


@dataclass(frozen=True)
class SpectralResponse:
    """How the camera's response changes with the wavelength, relative, per nm, and how sure."""

    tilt_per_nm: float = 0.0
    tilt_unc_per_nm: float = 0.0

    def over(self, wavelength_nm: FloatArray, about_nm: float) -> FloatArray:
        """Return the response, one at `about_nm`."""
        return np.asarray(np.exp(self.tilt_per_nm * (wavelength_nm - about_nm)))


def gated_spectra(
    data: StreakData,
    record: int,
    courses: Courses,
    gates_ps: tuple[float, float],
    camera: SpectralResponse,
    channels_nm: tuple[float, float] = (CHANNEL_NM, CHANNEL_NM),
) -> list[GatedSpectrum]:
    """Return the early and the late spectrum, on channels of these widths."""
    response, (early, late) = courses.response, gates_ps
    over = camera.over(data.wavelength_nm, data.centre_nm)
    gates = ((0.0, early), (early, late))
    return [
        gated_spectrum(
            data,
            record,
            (response.arrival_ps + begun, response.arrival_ps + ended),
            response.dark_until_ps,
            over,
            channel_nm,
        )
        for (begun, ended), channel_nm in zip(gates, channels_nm, strict=True)
    ]


def peaks_of(
    data: StreakData,
    record: int,
    courses: Courses,
    gates_ps: tuple[float, float],
    camera: SpectralResponse,
    colour: OwnColour,
) -> dict[str, Number]:
    """Return early peak, late peak and red shift.

    Their errors hold the noise, the tilt of the camera's response and the arrival of the light.
    """
    coarse = gated_spectra(data, record, courses, gates_ps, camera)
    channels = (_channel_nm(coarse[0]), _channel_nm(coarse[1]))
    spectra = gated_spectra(data, record, courses, gates_ps, camera, channels)
    tilted = replace(camera, tilt_per_nm=camera.tilt_per_nm + camera.tilt_unc_per_nm)
    later = replace(courses, response=colour.neighbours()[0])
    others = [
        gated_spectra(data, record, courses, gates_ps, tilted, channels),
        gated_spectra(data, record, later, gates_ps, camera, channels),
    ]
    parts, moved = [], []
    for number, spectrum in enumerate(spectra):
        part, places = _peak(spectrum, [other[number] for other in others])
        parts.append(part)
        moved.append(places)
    names = ("early_peak_nm", "late_peak_nm")
    found: dict[str, Number] = dict.fromkeys((*names, "redshift_meV"), (None, None))
    for name, part, places in zip(names, parts, moved, strict=True):
        if part is not None:
            model = float(np.linalg.norm(places - part.peak_nm))
            noise = float(np.hypot(part.sigma_nm, data.wavelength_unc_nm))
            found[name] = (part.peak_nm, float(np.hypot(noise, model)))
    early, late = parts
    if early is not None and late is not None:
        shift = 1e3 * EV_NM * (1.0 / late.peak_nm - 1.0 / early.peak_nm)
        noise = 1e3 * EV_NM / early.peak_nm**2 * float(np.hypot(early.sigma_nm, late.sigma_nm))
        model = float(np.linalg.norm(1e3 * EV_NM * (1.0 / moved[1] - 1.0 / moved[0]) - shift))
        found["redshift_meV"] = (shift, float(np.hypot(noise, model)))
    return found


def _channel_nm(spectrum: GatedSpectrum) -> float:
    """Return the width of channels that are bright enough for a logarithm, and not too wide."""
    smooth = uniform_filter1d(spectrum.events_per_nm, 5, mode="nearest")
    top = int(np.argmax(smooth))
    bright = float(smooth[top] / spectrum.sigma[top])
    _, width_nm = half_width(spectrum.wavelength_nm, smooth)
    wanted = CHANNEL_NM * (_BRIGHT / max(bright, 1e-3)) ** 2
    return float(min(wanted, width_nm / _LEAST_IN_LINE))


def _peak(spectrum: GatedSpectrum, others: list[GatedSpectrum]) -> tuple[Part | None, FloatArray]:
    """Return the highest point, and where it would be in the other spectra; None if it is not told.

    It is not, where two maxima are as high as each other.
    """
    wavelength, light, sigma = spectrum.wavelength_nm, spectrum.events_per_nm, spectrum.sigma
    found = highest_point(wavelength, light, sigma)
    if found is None:
        return None, np.empty(0)
    part, smooth = found
    if rivals(smooth, sigma, part, [smoothed_like(other.events_per_nm, sigma) for other in others]):
        return None, np.empty(0)
    places = []
    for other in others:
        moved = fitted(wavelength, other.events_per_nm, other.sigma, part.channels)
        # Gone from the part that told it: it may be anywhere in there.
        width = float(np.ptp(wavelength[part.channels]))
        places.append(part.peak_nm + 0.5 * width if moved is None else moved.peak_nm)
    return part, np.array(places)
