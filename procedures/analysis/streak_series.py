"""streak-series: early and late spectra of each fluence, what lies between them, and the decay.

Gates count from the arrival of the pump, as light of the sample's colour shows it. The decay time
is what the camera shows: from the highest point of the light of all wavelengths to 1/e of it, read
off a fit of exponentials and a prompt pulse through the measured response. Where that is hardly
longer than the response's own, the light is faster than the camera: it is an upper bound then.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from procedures.analysis.decay import Courses, gather, span_ps
from procedures.analysis.decay_time import DecayTime, shown_time
from procedures.analysis.gated_peaks import Number, SpectralResponse, gated_spectra, peaks_of
from procedures.analysis.own_colour import OwnColour, own_colour
from procedures.analysis.results import Analysis, Result
from procedures.analysis.streak_image import SAMPLE, Curve, GatedSpectrum, StreakData, time_course

_LIKE_THE_RESPONSE = 1.5  # times its fall to 1/e
_SHAPE_UNC = 0.01  # of the response's own fall, as rows of a third of its width tell it
_REACH_SIGMA = 2.0
_UNITS = {
    "early_peak_nm": "nm",
    "late_peak_nm": "nm",
    "redshift_meV": "meV",
    "decay_time_ps": "ps",
}


def analyze_streak_series(
    data: StreakData, gates_ps: tuple[float, float], camera: SpectralResponse
) -> Analysis:
    """Return the results of each fluence, lists in the order of the records.

    gates_ps: where the early gate ends (it begins with the pulse), and where the late one does.
    """
    warnings: list[str] = []
    sample = np.flatnonzero(data.kind == SAMPLE)
    fluence = data.fluence_uJ_cm2[sample]
    scale = np.hypot(data.fluence_errors_uJ_cm2[sample], data.fluence_rel_unc * fluence)
    values: dict[str, list[float | None]] = {name: [None] * len(sample) for name in _UNITS}
    errors: dict[str, list[float | None]] = {name: [None] * len(sample) for name in _UNITS}
    curves: dict[str, npt.NDArray[np.float64]] = {"fluence_uJ_cm2": fluence}
    bounds = False
    courses = gather(data, warnings)
    if courses is not None:
        _gates_fit(courses, gates_ps, warnings)
        colour = own_colour(courses, data.fluence_uJ_cm2[courses.records])
        courses = replace(courses, response=colour.response)
        places = np.searchsorted(sample, courses.records)
        for record, place in zip(courses.records, places, strict=True):
            label = f"{fluence[place]:.3g} uJ/cm^2"
            spectra = gated_spectra(data, int(record), courses, gates_ps, camera)
            found = peaks_of(data, int(record), courses, gates_ps, camera, colour)
            found["decay_time_ps"] = _decay(data, int(record), courses, camera, colour)
            for name, (value, error) in found.items():
                values[name][place], errors[name][place] = value, error
                if value is None:
                    warnings.append(f"{label}: {name} is not told by these records")
            if found["decay_time_ps"][0] is not None and found["decay_time_ps"][1] is None:
                bounds = True
                warnings.append(
                    f"{label}: the light decays faster than the camera's response "
                    f"({courses.response.fwhm_ps:.0f} ps): its decay time is an upper bound"
                )
            curves |= _drawn(data, int(record), courses, int(place), spectra)
        curves["places"] = places.astype(np.float64)
        curves["gates_ps"] = np.array([0.0, *gates_ps])
        about = np.linspace(-2.0, 2.0, 161) * courses.response.fwhm_ps
        curves |= {"response_time_ps": about, "response_per_ps": courses.response.density(about)}
    results = {"fluence_uJ_cm2": Result(fluence.tolist(), scale.tolist(), "uJ/cm^2")}
    for name, unit in _UNITS.items():
        mark = "upper" if name == "decay_time_ps" and bounds else None
        results[name] = Result(values[name], errors[name], unit, mark)
    if bounds:
        warnings.append("of decay_time_ps, values without a standard error are the upper bounds")
    return Analysis(results, warnings, curves)


def _gates_fit(courses: Courses, gates_ps: tuple[float, float], warnings: list[str]) -> None:
    end = span_ps(courses)
    if end < gates_ps[1]:
        warnings.append(
            f"the sweep ends {end:.0f} ps after the pulse: the late gate is shorter than asked"
        )


def _decay(
    data: StreakData, record: int, courses: Courses, camera: SpectralResponse, colour: OwnColour
) -> Number:
    """Return the decay time shown with its error; with no error where it is an upper bound.

    The error holds the noise, the tilt of the camera's response and its width.
    """
    response = courses.response

    def curve(used: SpectralResponse) -> Curve:
        weights = 1.0 / used.over(data.wavelength_nm, data.centre_nm)
        return time_course(data, record, courses.columns, response.dark_until_ps, weights)

    reach = _REACH_SIGMA * colour.arrival_sigma_ps
    found = shown_time(curve(camera), response, reach)
    # What a pulse far shorter than the response would show.
    own = DecayTime(response).read(np.array([1.0]), np.empty(0))
    if found is None or own is None:
        return None, None
    time, total = found.time_ps, found.sigma_ps**2
    tilted = replace(camera, tilt_per_nm=camera.tilt_per_nm + camera.tilt_unc_per_nm)
    for used, through in ((tilted, response), (camera, colour.neighbours()[1])):
        other = shown_time(curve(used), through, reach, found)
        total += (other.time_ps - time) ** 2 if other is not None else 0.0
    error = float(np.sqrt(total))
    if time < _LIKE_THE_RESPONSE * own:
        shape = float(np.hypot(colour.width_sigma, _SHAPE_UNC)) * own
        unsure = float(np.hypot(min(error, 0.5 * own), shape))
        return max(time, own) + 2.0 * unsure, None
    return (time, error) if error < 0.5 * time else (None, None)


def _drawn(
    data: StreakData, record: int, courses: Courses, place: int, spectra: list[GatedSpectrum]
) -> dict[str, npt.NDArray[np.float64]]:
    response = courses.response
    curve = time_course(data, record, courses.columns, response.dark_until_ps)
    rate = curve.events / np.diff(curve.edges_ps)
    found = {
        f"decay_{place}": rate / max(float(rate.max()), 1e-12),
        f"time_ps_{place}": curve.middle_ps - response.arrival_ps,
    }
    for name, spectrum in zip(("early", "late"), spectra, strict=True):
        found[f"{name}_{place}"] = spectrum.events_per_nm
        found[f"{name}_nm_{place}"] = spectrum.wavelength_nm
    return found


__all__ = ["SpectralResponse", "analyze_streak_series"]
