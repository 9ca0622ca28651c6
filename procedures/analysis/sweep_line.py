"""The stimulated line of a power sweep, at the fluence at which it is quoted.

For `power_sweep.py`. The line of every record is that of the guided light; a curve through those
around gives the line where it is wanted. Where the sweep ends before that, the fit of the stripe
takes the last line on, with an error for what it may not know; a line that is not developed yet is
not stated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procedures.analysis.lineshape import refined
from procedures.analysis.results import FloatArray, Result
from procedures.analysis.stripe_fit import FitData
from procedures.analysis.stripe_model import Channels, emitted
from procedures.analysis.stripe_parameters import model_law
from procedures.analysis.sweep_bands import FirstLook, guided_lines, line_at
from procedures.analysis.sweep_records import PowerSweepData, Records
from procedures.analysis.threshold import Threshold

REACH = 1.3
"""A sweep must reach this multiple of the threshold for the threshold to be stated."""
QUOTE_AT = 2.6
"""Without a reference fluence the stimulated line is quoted at this multiple of the threshold."""
QUOTE_RANGE = (1.8, 3.5)
"""Where films are customarily quoted: the line's variation over it enters if none is named."""

_WIDTH_TERM = 0.0011  # relative: pixels, and focal lengths to a part in a thousand, tell no better
_PAST_END = 1.03  # of the brightest record: a line wanted up to there counts as measured
_DEVELOPED = 0.2  # relative change still to come, up to which the fit may take the line on
_LEAST_SAY = 0.02  # weight of a law that is asked
_TAIL_DRAWS = 16
_TAIL_TERM = 0.06  # of what the fit adds beyond the last record


def put_stimulated(
    results: dict[str, Result],
    warnings: list[str],
    curves: dict[str, FloatArray],
    data: PowerSweepData,
    pool: Records,
    look: FirstLook,
    threshold: Threshold,
    fitted: FitData,
) -> None:
    """Put peak and width of the stimulated line where it is quoted, and the lines for a figure."""
    fluence, lines = guided_lines(pool, look, threshold, 1.1 * threshold.value)
    curves["line_fluence_uJ_cm2"] = fluence
    curves["line_peak_nm"] = np.array([line.peak_nm for line in lines])
    curves["line_fwhm_nm"] = np.array([line.fwhm_nm for line in lines])
    if len(lines) < 2:
        warnings.append("stimulated line: fewer than two records show it apart from the band")
        return
    highest = float(pool.fluence.max())
    named = data.reference_fluence_uJ_cm2
    stated = named is not None and named >= REACH * threshold.value
    wanted = named if named is not None and stated else QUOTE_AT * threshold.value
    if named is not None and not stated:
        warnings.append(
            f"the reference fluence {named:.3g} uJ/cm^2 lies below 1.3 threshold: the stimulated "
            f"line is quoted at {QUOTE_AT} threshold"
        )
    at, beyond = wanted, _Tail(0.0, 0.0, 0.0, 0.0)
    if wanted > _PAST_END * highest:
        at, beyond = highest, _narrowing(threshold, look, fitted, highest, wanted)
        developed = abs(beyond.width) + beyond.width_sigma < _DEVELOPED
        warnings.append(
            f"the sweep ends at {highest / threshold.value:.2f} threshold, the stimulated line is "
            f"wanted at {wanted:.3g} uJ/cm^2: "
            + (
                f"what it may still narrow ({100.0 * beyond.width:+.1f} %) is taken from the fit"
                if developed
                else "not developed yet"
            )
        )
        if not developed:
            return
    line = line_at(fluence, lines, at)
    if line is None:
        warnings.append(f"stimulated line: no records that show it around {at:.3g} uJ/cm^2")
        return
    # The scale of the fluences moves the place on the curve; so does not knowing the place.
    lever = data.fluence_rel_unc
    tail_nm, tail = beyond.shift_nm, beyond.width * line.fwhm_nm
    peak = [
        line.peak_sigma_nm,
        lever * line.peak_slope_nm,
        data.wavelength_unc_nm,
        beyond.shift_sigma_nm,
    ]
    width = [
        line.fwhm_sigma_nm,
        lever * line.fwhm_slope_nm,
        beyond.width_sigma * line.fwhm_nm,
        _WIDTH_TERM * line.fwhm_nm,
    ]
    if not stated:
        low, high = (multiple * threshold.value for multiple in QUOTE_RANGE)
        around = [line_at(fluence, lines, place) for place in (low, min(high, highest))]
        for other in around:
            if other is not None:
                peak.append(0.6 * (other.peak_nm - line.peak_nm))
                width.append(0.6 * (other.fwhm_nm - line.fwhm_nm))
    results["ase_peak_nm"] = Result(line.peak_nm + tail_nm, float(np.linalg.norm(peak)), "nm")
    results["ase_fwhm_nm"] = Result(line.fwhm_nm + tail, float(np.linalg.norm(width)), "nm")
    curves["line_quoted_at_uJ_cm2"] = np.array([at])


@dataclass(frozen=True)
class _Tail:
    """What the line still does beyond the last record: shift in nm, relative change in width."""

    shift_nm: float
    shift_sigma_nm: float
    width: float
    width_sigma: float


def _narrowing(
    threshold: Threshold, look: FirstLook, fitted: FitData, highest: float, wanted: float
) -> _Tail:
    """Ask all laws that have a say, parameters within their errors: saturation is ahead."""
    x = fitted.channels.centre_nm
    fine = np.linspace(x[0], x[-1], 1200)
    pixels = Channels(fine, np.gradient(fine), look.low.factor(fine))
    found, weights = [], []
    for fit, weight in zip(threshold.fits, threshold.weights, strict=True):
        if weight < _LEAST_SAY and fit is not threshold.best:
            continue
        sets = np.concatenate([fit.theta[None], fit.draws(_TAIL_DRAWS)])
        guided, _ = emitted(model_law(fit.law), sets, np.array([highest, wanted]), pixels)
        for one in guided:
            (peak, width), (later_peak, later_width) = (refined(fine, row) for row in one)
            found.append((later_peak - peak, later_width / width - 1.0))
            weights.append(max(weight, _LEAST_SAY))
    changes = np.array(found)
    mean = np.average(changes, axis=0, weights=weights)
    spread = np.sqrt(np.average((changes - mean) ** 2, axis=0, weights=weights))
    sigma = np.hypot(spread, _TAIL_TERM * mean)
    return _Tail(float(mean[0]), float(sigma[0]), float(mean[1]), float(sigma[1]))
