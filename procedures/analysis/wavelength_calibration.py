"""From spectra of a lamp to the geometry of the spectrograph.

Lines are found in each spectrum (`line_peaks`), recognised (`line_recognition`), and a
Czerny-Turner's dispersion (`lamp_spectra`) is fitted to all of them together: focal length and tilt
of the detector shared, an offset for each place of the grating. What the offsets scatter by is how
well the drive comes back. For `calibrate-wavelength`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import t as student

from procedures.analysis.lamp_lines import Lines
from procedures.analysis.lamp_spectra import (
    FOCAL_RANGE,
    WavelengthCalibrationData,
    axis,
    expected_lines,
    width_nm,
)
from procedures.analysis.line_peaks import Peaks, find_peaks
from procedures.analysis.line_recognition import LEAST_LINES, Pairs, pair, recognise
from procedures.analysis.results import Analysis, FloatArray, Result

_CLIP_SIGMA = 5.0
_TILT_PRIOR_DEG = 2.0
_TILT_KNOWN_DEG = 0.7
_UNKNOWN_REPEATABILITY_NM = 0.05


@dataclass(frozen=True)
class _Fit:
    """values: focal length (mm), tilt (degrees), then the offset of each place (nm)."""

    values: FloatArray
    covariance: FloatArray
    residual_nm: FloatArray
    tilt_free: bool


def analyze_wavelength_calibration(data: WavelengthCalibrationData) -> Analysis:
    """Return offset_nm, focal_length_mm, tilt_deg, their errors, and the error of the axis.

    All null, with a warning, where the lines cannot be recognised beyond doubt.
    """
    warnings: list[str] = []
    results = _nothing()
    peaks = [
        find_peaks(frames, data.saturation_counts, data.gain_e_per_count) for frames in data.frames
    ]
    curves = _spectra(data, peaks)
    middle = np.median(np.asarray(data.frames, dtype=np.float64), axis=1)
    clipped = (middle >= data.saturation_counts).sum(axis=1)
    if clipped.any():
        shown = ", ".join(f"{centre:.0f}" for centre in data.centre_nm[clipped > 0])
        warnings.append(f"saturated lines around {shown} nm are left out: expose shorter")
    count = sum(len(one.position) for one in peaks)
    if count < LEAST_LINES:
        warnings.append(
            f"{count} lines stand out of the noise and are not saturated, {LEAST_LINES} are "
            "needed: is the lamp on and in front of the slit? Expose longer, or shorter"
        )
        return Analysis(results, warnings, curves)
    lines = expected_lines(data, peaks)
    start, doubt = recognise(data, peaks, lines)
    if doubt:
        warnings.append(doubt)
        turned = [one.mirrored(data.pixels) for one in peaks]
        if not recognise(data, turned, lines)[1]:
            warnings.append(
                "the spectrum fits if it is turned round: set `mirrored` of the camera in the "
                "bench file to its other value"
            )
        return Analysis(results, warnings, curves)
    fit, pairs = _fit_clipped(data, peaks, lines, start, warnings)
    if fit is None or pairs is None:
        return Analysis(results, warnings, curves)
    _fill(results, data, fit, pairs, peaks, warnings)
    curves |= {
        "line_nm": pairs.line_nm,
        "line_place": pairs.place,
        "line_pixel": pairs.pixel,
        "residual_nm": fit.residual_nm,
        "residual_error_nm": pairs.error_nm,
        "place_offset_nm": fit.values[2:],
        "place_nm": data.centre_nm,
    }
    return Analysis(results, warnings, curves)


def _nothing() -> dict[str, Result]:
    units = {
        "offset_nm": "nm",
        "focal_length_mm": "mm",
        "tilt_deg": "deg",
        "axis_error_nm": "nm",
        "residual_rms_nm": "nm",
        "repeatability_nm": "nm",
        "line_fwhm_nm": "nm",
        "lines": "1",
    }
    return {name: Result.nothing(unit) for name, unit in units.items()}


def _spectra(data: WavelengthCalibrationData, peaks: list[Peaks]) -> dict[str, NDArray[np.generic]]:
    return {
        "spectra_counts": np.median(np.asarray(data.frames, dtype=np.float64), axis=1),
        "nominal_nm": np.array(
            [
                axis(data, centre, data.focal_length_mm, data.tilt_deg, np.arange(data.pixels))
                for centre in data.centre_nm
            ]
        ),
        "peaks": np.array([len(one.position) for one in peaks]),
    }


# ---- the fit ------------------------------------------------------------------------------------


def _fit_clipped(
    data: WavelengthCalibrationData,
    peaks: list[Peaks],
    lines: Lines,
    start: tuple[float, float],
    warnings: list[str],
) -> tuple[_Fit | None, Pairs | None]:
    """Pair and fit in turns, each time with a closer look; leave out lines that do not fit."""
    offset, focal = start
    places = len(data.centre_nm)
    values = np.array([focal * data.focal_length_mm, data.tilt_deg, *np.full(places, offset)])
    reach = max(0.8 * width_nm(data, peaks), 0.15)
    pairs = pair(data, peaks, lines, values, reach)
    for _ in range(4):
        if len(pairs.pixel) < LEAST_LINES:
            break
        values = _least_squares(data, pairs, values, tilt_free=False).values
        reach = max(0.6 * reach, 0.3 * width_nm(data, peaks))
        pairs = pair(data, peaks, lines, values, reach)
    lost = 0
    fit: _Fit | None = None
    while len(pairs.pixel) >= LEAST_LINES:
        fit = _least_squares(data, pairs, values, tilt_free=True)
        if fit.covariance[1, 1] > _TILT_KNOWN_DEG**2:
            fit = _least_squares(data, pairs, values, tilt_free=False)
        pulls = np.abs(fit.residual_nm) / pairs.error_nm
        bound = _CLIP_SIGMA * max(1.0, 1.4826 * float(np.median(pulls)))
        if pulls.max() <= bound:
            break
        pairs = pairs.only(np.arange(len(pulls)) != int(np.argmax(pulls)))
        lost += 1
    if fit is None or len(pairs.pixel) < LEAST_LINES:
        warnings.append(
            f"{len(pairs.pixel)} lines fit the dispersion of a spectrograph, {LEAST_LINES} are "
            "needed: take more centre wavelengths"
        )
        return None, None
    if lost:
        warnings.append(f"{lost} lines left out: they are not where the others say")
    empty = sorted(set(range(places)) - set(pairs.place.tolist()))
    if empty:
        shown = ", ".join(f"{data.centre_nm[place]:.0f}" for place in empty)
        warnings.append(f"no line was recognised around {shown} nm")
    return fit, pairs


def _least_squares(
    data: WavelengthCalibrationData, pairs: Pairs, values: FloatArray, tilt_free: bool
) -> _Fit:
    places = len(data.centre_nm)

    def residuals(p: FloatArray) -> FloatArray:
        tilt = p[1] if tilt_free else data.tilt_deg
        at = np.empty(len(pairs.pixel))
        for place in range(places):
            here = pairs.place == place
            at[here] = axis(data, data.centre_nm[place], p[0], tilt, pairs.pixel[here])
        at += p[2 + pairs.place]
        return np.asarray(at - pairs.line_nm)

    def weighted(p: FloatArray) -> FloatArray:
        # Weak knowledge keeps what the lines do not tell from running away.
        prior = [
            (p[0] / data.focal_length_mm - 1.0) / (2.0 * FOCAL_RANGE),
            (p[1] - data.tilt_deg) / _TILT_PRIOR_DEG,
            *(p[2:] / (10.0 * data.search_nm)),
        ]
        return np.concatenate([residuals(p) / pairs.error_nm, prior])

    begin = values.copy()
    if not tilt_free:
        begin[1] = data.tilt_deg
    done = least_squares(weighted, begin, x_scale=np.array([0.1, 0.1, *np.full(places, 0.01)]))
    left = residuals(done.x)
    seen = len(set(pairs.place.tolist()))
    freedom = max(len(pairs.pixel) - seen - (2 if tilt_free else 1), 1)
    excess = max(float(np.sum((left / pairs.error_nm) ** 2)) / freedom, 1.0)
    covariance = np.linalg.pinv(done.jac.T @ done.jac) * excess
    return _Fit(done.x, covariance, left, tilt_free)


# ---- what comes out -----------------------------------------------------------------------------


def _fill(
    results: dict[str, Result],
    data: WavelengthCalibrationData,
    fit: _Fit,
    pairs: Pairs,
    peaks: list[Peaks],
    warnings: list[str],
) -> None:
    seen = np.unique(pairs.place)
    offset = _common_offset(fit, seen)
    results["offset_nm"] = Result(offset.value, offset.error, "nm")
    results["focal_length_mm"] = Result(
        float(fit.values[0]), math.sqrt(float(fit.covariance[0, 0])), "mm"
    )
    if fit.tilt_free:
        results["tilt_deg"] = Result(
            float(fit.values[1]), math.sqrt(float(fit.covariance[1, 1])), "deg"
        )
    else:
        warnings.append("the lines do not tell the tilt of the detector: it is left as it was")
    rms = float(np.sqrt(np.mean(fit.residual_nm**2)))
    results["residual_rms_nm"] = Result(rms, rms / math.sqrt(2.0 * len(pairs.pixel)), "nm")
    results["line_fwhm_nm"] = Result(width_nm(data, peaks), None, "nm")
    results["lines"] = Result(float(len(pairs.pixel)), None, "1")
    again = _UNKNOWN_REPEATABILITY_NM
    if len(seen) > 1:
        known = offset.error * math.sqrt(len(seen)) / math.sqrt(2.0 * (len(seen) - 1))
        results["repeatability_nm"] = Result(offset.scatter, known, "nm")
        again = offset.scatter
    else:
        warnings.append(
            "one centre wavelength does not tell how well the grating comes back; "
            f"{again:g} nm is assumed in axis_error_nm"
        )
    misfit = max(rms**2 - float(np.mean(pairs.error_nm**2)), 0.0)
    shape = _shape_variance(data, fit, offset.shares)
    axis_error = math.sqrt(offset.error**2 + again**2 + misfit + shape)
    results["axis_error_nm"] = Result(axis_error, None, "nm")


@dataclass(frozen=True)
class _Offset:
    """The offset of all places: nm, one sigma, scatter of the places (nm), share of each place."""

    value: float
    error: float
    scatter: float
    shares: FloatArray


def _common_offset(fit: _Fit, seen: NDArray[np.intp]) -> _Offset:
    """Join the offsets of the places; they scatter by their own errors and the drive's.

    Of few places the scatter is not well known: Student's factor makes the error a 68 % one
    (Hartung and Knapp), never below what the lines' own errors give.
    """
    own = fit.values[2 + seen]
    covariance = fit.covariance[np.ix_(2 + seen, 2 + seen)]
    count = len(seen)
    spread = float(own.var(ddof=1)) if count > 1 else 0.0
    between = max(spread - float(np.mean(np.diag(covariance))), 0.0)
    shares = 1.0 / (np.diag(covariance) + between)
    shares /= shares.sum()
    value = float(shares @ own)
    variance = float(shares @ (covariance + between * np.eye(count)) @ shares)
    if count > 1:
        few = float(student.ppf(0.8413, count - 1)) ** 2
        variance = max(variance, few * float(shares @ (own - value) ** 2) / (count - 1))
    every = np.zeros(len(fit.values) - 2)
    every[seen] = shares
    return _Offset(value, math.sqrt(variance), math.sqrt(between), every)


def _shape_variance(data: WavelengthCalibrationData, fit: _Fit, shares: FloatArray) -> float:
    """Return the variance (nm^2) that focal length and tilt leave in the axis, mean of pixels."""
    pixel = np.linspace(0.0, data.pixels - 1.0, 41)
    centre = float(np.median(data.centre_nm))
    here = axis(data, centre, fit.values[0], fit.values[1], pixel)
    by_focal = axis(data, centre, fit.values[0] + 0.01, fit.values[1], pixel) - here
    by_tilt = axis(data, centre, fit.values[0], fit.values[1] + 0.01, pixel) - here
    table = np.column_stack([by_focal / 0.01, by_tilt / 0.01, np.tile(shares, (len(pixel), 1))])
    total = np.einsum("ij,jk,ik->i", table, fit.covariance, table)
    offset = float(shares @ fit.covariance[2:, 2:] @ shares)
    return max(float(np.mean(total)) - offset, 0.0)
