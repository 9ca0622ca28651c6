"""streak-series: early and late spectra of each fluence, what lies between them, and the decay.

Gates count from the arrival of the pump, which the record of the response tells. The decay time is
what the camera shows: from the highest point of the light of all wavelengths to 1/e of it, read off
a fit of exponentials and a prompt pulse through the measured response. Where that is hardly longer
than the response's own, the light is faster than the camera: it is an upper bound then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d
from scipy.optimize import brentq

from procedures.analysis.decay import Courses, first_lifetime_ps, gather, span_ps
from procedures.analysis.lineshape import Line, fit_line
from procedures.analysis.reconvolution import DecayFit, Response, fit_decays, free_lifetimes
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.streak_image import (
    SAMPLE,
    Curve,
    GatedSpectrum,
    StreakData,
    gated_spectrum,
    time_course,
)

EV_NM = 1239.841984
"""Photon energy (eV) times wavelength (nm), CODATA 2018."""

_LIKE_THE_RESPONSE = 1.5  # times its fall to 1/e
_SMALL_STEP = 0.02  # of the logarithm of a lifetime
_TOP = 0.75  # of the highest channel
_ELSEWHERE = 3.5  # standard errors
_WORTH = 5.0  # what each parameter must gain in twice the logarithm of the likelihood
# Light of another colour than the pump's comes a little later, and is a little less blurred.
_ARRIVAL_UNC, _WIDTH_UNC = 0.06, 0.05  # of the response's width
_UNITS = {
    "early_peak_nm": "nm",
    "late_peak_nm": "nm",
    "redshift_meV": "meV",
    "decay_time_ps": "ps",
}


@dataclass(frozen=True)
class SpectralResponse:
    """How the camera's response changes with the wavelength, relative, per nm, and how sure."""

    tilt_per_nm: float = 0.0
    tilt_unc_per_nm: float = 0.0

    def over(self, wavelength_nm: FloatArray, about_nm: float) -> FloatArray:
        """Return the response, one at `about_nm`."""
        return np.asarray(np.exp(self.tilt_per_nm * (wavelength_nm - about_nm)))


Number = tuple[float | None, float | None]


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
        places = np.searchsorted(sample, courses.records)
        for record, place in zip(courses.records, places, strict=True):
            label = f"{fluence[place]:.3g} uJ/cm^2"
            spectra = _spectra(data, int(record), courses, gates_ps, camera)
            found = _with_models(data, int(record), courses, gates_ps, camera)
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
    results = {"fluence_uJ_cm2": Result(fluence.tolist(), scale.tolist(), "uJ/cm^2")}
    for name, unit in _UNITS.items():
        mark = "upper" if name == "decay_time_ps" and bounds else None
        results[name] = Result(values[name], errors[name], unit, mark)
    if bounds:
        warnings.append("of decay_time_ps, values without a standard error are the upper bounds")
    return Analysis(results, warnings, curves)


def _with_models(
    data: StreakData,
    record: int,
    courses: Courses,
    gates_ps: tuple[float, float],
    camera: SpectralResponse,
) -> dict[str, Number]:
    """Return the results of a record; their errors hold tilt, time zero and width of response."""
    found = _results(data, record, courses, gates_ps, camera)
    tilted = replace(camera, tilt_per_nm=camera.tilt_per_nm + camera.tilt_unc_per_nm)
    response = courses.response
    arrival = response.arrival_ps + _ARRIVAL_UNC * response.fwhm_ps
    late = replace(courses, response=replace(response, arrival_ps=arrival))
    broader = replace(response, offsets_ps=(1.0 + _WIDTH_UNC) * response.offsets_ps)
    others = [
        _results(data, record, courses, gates_ps, tilted),
        _results(data, record, late, gates_ps, camera),
        _results(data, record, replace(courses, response=broader), gates_ps, camera),
    ]
    whole: dict[str, Number] = {}
    for name, (value, error) in found.items():
        whole[name] = (value, error)
        if value is None or error is None:
            continue
        total = error**2
        for other in others:
            changed = other[name][0]
            total += (changed - value) ** 2 if changed is not None else 0.0
        if name.endswith("_nm"):
            total += data.wavelength_unc_nm**2
        whole[name] = (value, float(np.sqrt(total)))
    return whole


def _results(
    data: StreakData,
    record: int,
    courses: Courses,
    gates_ps: tuple[float, float],
    camera: SpectralResponse,
) -> dict[str, Number]:
    found = _peaks(_spectra(data, record, courses, gates_ps, camera))
    weights = 1.0 / camera.over(data.wavelength_nm, data.centre_nm)
    dark = courses.response.dark_until_ps
    curve = time_course(data, record, courses.columns, dark, weights)
    found["decay_time_ps"] = _decay(curve, courses.response)
    return found


def _gates_fit(courses: Courses, gates_ps: tuple[float, float], warnings: list[str]) -> None:
    end = span_ps(courses)
    if end < gates_ps[1]:
        warnings.append(
            f"the sweep ends {end:.0f} ps after the pulse: the late gate is shorter than asked"
        )


def _spectra(
    data: StreakData,
    record: int,
    courses: Courses,
    gates_ps: tuple[float, float],
    camera: SpectralResponse,
) -> list[GatedSpectrum]:
    response, (early, late) = courses.response, gates_ps
    over = camera.over(data.wavelength_nm, data.centre_nm)
    return [
        gated_spectrum(
            data,
            record,
            (response.arrival_ps + begun, response.arrival_ps + ended),
            response.dark_until_ps,
            over,
        )
        for begun, ended in ((0.0, early), (early, late))
    ]


def _peaks(spectra: list[GatedSpectrum]) -> dict[str, Number]:
    """Return early peak, late peak and red shift, with the errors of their noise."""
    lines = [_line(spectrum) for spectrum in spectra]
    nothing: Number = (None, None)
    early, late = lines
    found = {
        name: (line.peak_nm, line.peak_sigma_nm) if line is not None else nothing
        for name, line in (("early_peak_nm", early), ("late_peak_nm", late))
    }
    found["redshift_meV"] = nothing
    if early is not None and late is not None:
        shift = 1e3 * EV_NM * (1.0 / late.peak_nm - 1.0 / early.peak_nm)
        noise = float(np.hypot(early.peak_sigma_nm, late.peak_sigma_nm))
        found["redshift_meV"] = (shift, 1e3 * EV_NM / early.peak_nm**2 * noise)
    return found


def _line(spectrum: GatedSpectrum) -> Line | None:
    """Return the highest line of a spectrum, None if it is not told.

    Its upper two thirds tell it best, where they are one line; where the top of the spectrum is
    elsewhere (stimulated light on top of spontaneous), the top alone does.
    """
    wavelength, light, sigma = spectrum.wavelength_nm, spectrum.events_per_nm, spectrum.sigma
    if not light.max() > 0.0:
        return None
    line = fit_line(wavelength, light, sigma)
    if line is None:
        return None
    smooth = uniform_filter1d(light, 3)
    start = int(np.argmax(smooth))
    above = smooth > _TOP * smooth[start]
    below, beyond = np.flatnonzero(~above[:start]), np.flatnonzero(~above[start:])
    first = int(below[-1]) + 1 if len(below) else 0
    last = start + int(beyond[0]) if len(beyond) else len(light)
    if last - first < 8:
        return line
    part = slice(first, last)
    middle = 0.5 * (wavelength[first] + wavelength[last - 1])
    half = 0.5 * (wavelength[last - 1] - wavelength[first])
    u = (wavelength[part] - middle) / half
    weight = light[part] / sigma[part]
    if float(weight.min()) < 3.0:
        return line
    # ln of a noisy number is low by half its relative variance.
    logarithm = np.log(light[part]) + 0.5 / weight**2
    poly, covariance = np.polyfit(u, logarithm, 4, w=weight, cov="unscaled")
    grid = np.linspace(-1.0, 1.0, 801)
    peak = float(grid[int(np.argmax(np.polyval(poly, grid)))])
    bend = float(np.polyval(np.polyder(poly, 2), peak))
    slope = np.array([4.0 * peak**3, 3.0 * peak**2, 2.0 * peak, 1.0, 0.0])
    if abs(peak) > 0.95 or bend >= 0.0:
        return line
    top_sigma = float(half) * float(np.sqrt(slope @ covariance @ slope)) / abs(bend)
    top = float(middle + half * peak)
    if abs(top - line.peak_nm) < _ELSEWHERE * top_sigma:
        return line
    return replace(line, peak_nm=top, peak_sigma_nm=top_sigma)


def _decay(curve: Curve, response: Response) -> Number:
    """Return the decay time shown with its error; with no error where it is an upper bound."""
    fit = _fit(curve, response)
    shown = _time_to_1_over_e(fit.amplitudes[0], fit.lifetimes_ps, response)
    # What a pulse far shorter than the response would show.
    own = _time_to_1_over_e(np.array([1.0]), np.empty(0), response)
    if shown is None or own is None:
        return None, None
    error = _error_of_time(fit, response, shown)
    if shown < _LIKE_THE_RESPONSE * own:
        return max(shown, own) + 2.0 * min(error, 0.5 * own), None
    return (shown, error) if error < 0.5 * shown else (None, None)


def _fit(curve: Curve, response: Response) -> DecayFit:
    """Fit one to three exponentials, with prompt light or without, as the data ask for."""
    guess = first_lifetime_ps(curve, response)
    slowest, fastest = 30.0 * float(curve.edges_ps[-1]), 0.3 * response.fwhm_ps
    fits = []
    for shares in ((1.0,), (1.2, 0.1), (1.2, 0.2, 0.03)):
        start = np.clip(np.array(shares) * guess, 1.5 * fastest, 0.5 * slowest)
        limits = (np.log(np.full(len(start), fastest)), np.log(np.full(len(start), slowest)))
        for with_prompt in (False, True):
            fits.append(
                fit_decays(
                    [curve],
                    response,
                    free_lifetimes,
                    np.log(start),
                    limits,
                    with_prompt=with_prompt,
                )
            )
    return min(fits, key=lambda fit: fit.deviance + _WORTH * len(fit.parameters))


def _time_to_1_over_e(
    amplitudes: FloatArray, lifetimes_ps: FloatArray, response: Response
) -> float | None:
    """Return the time from the highest point to 1/e of it.

    An amplitude more than there are lifetimes is prompt light's.
    """
    offsets, weights = response.offsets_ps, response.weights

    def shown(time: FloatArray) -> FloatArray:
        since = time[:, None] - offsets
        lit = since > 0.0
        prompt = amplitudes[-1] if len(amplitudes) > len(lifetimes_ps) else 0.0
        total = prompt * response.density(time)
        for amplitude, tau in zip(amplitudes, lifetimes_ps, strict=False):
            decay = np.where(lit, np.exp(-np.where(lit, since, 0.0) / tau), 0.0)
            total = total + amplitude * (decay @ weights) / tau
        return np.asarray(total)

    width = response.fwhm_ps
    rise = np.linspace(-width, 4.0 * width, 1001)
    curve = shown(rise)
    top = int(np.argmax(curve))
    level = float(curve[top]) / np.e
    if level <= 0.0:
        return None
    longest = float(30.0 * max([width, *lifetimes_ps]))
    if float(shown(np.array([longest]))[0]) > level:
        return None
    found = brentq(lambda t: float(shown(np.array([t]))[0]) - level, rise[top], longest, xtol=1e-6)
    return float(found) - float(rise[top])


def _error_of_time(fit: DecayFit, response: Response, shown: float) -> float:
    """Return the standard error of a decay time, along the axes of the fit's covariance.

    Where two exponentials are alike, their parameters are told badly and the time they show well:
    so steps are small, and what they change is taken in proportion.
    """
    shared = len(fit.shared)
    scale = np.sqrt(np.maximum(np.diag(fit.full_covariance), 0.0))
    scale[scale == 0.0] = 1.0
    values, axes = np.linalg.eigh(fit.full_covariance / np.outer(scale, scale))
    total = 0.0
    for value, axis in zip(values, axes.T, strict=True):
        step = np.sqrt(max(float(value), 0.0)) * axis * scale
        largest = float(np.abs(step[:shared]).max(initial=0.0))
        step *= min(1.0, 1.0 / max(largest, 1e-12))  # nobody knows it worse than that
        share = min(0.2, _SMALL_STEP / max(min(largest, 1.0), 1e-12))
        theta = fit.parameters + share * step
        time = _time_to_1_over_e(theta[shared + 2 :], np.exp(theta[:shared]), response)
        if time is not None:
            total += ((time - shown) / share) ** 2
    return float(np.sqrt(total))


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
