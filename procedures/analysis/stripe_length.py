"""Analysis of a stripe-length run: modal gain, saturation, depletion time, zero of the slit.

For the command and the figure. Arrays in, numbers with uncertainties out: no file, no instrument.
The gain is that of a fit to all spectra in wavelength and length together (`gain_fit.py`), in which
the measured band power saturates the gain of every wavelength alike. The textbook fit of one
wavelength's exponential (`gain_textbook.py`) stands beside it for the eye: tens of percent low.

Fluences are those reported; the uncertainty of their scale is in the standard errors of what
depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.gain_curves import gain_curves
from procedures.analysis.gain_fit import (
    SATURATES,
    GainData,
    GainFit,
    asked_floor,
    fit_gain,
    saturation_cm,
    starts,
)
from procedures.analysis.gain_model import INDEX, Scan, seen
from procedures.analysis.lineshape import Band, channel_edges, fit_band, half_width, rebin, smooth
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.stripe_model import Channels
from procedures.analysis.sweep_records import PowerSweepData, Records, usable_records

__all__ = ["LOW", "StripeLengthData", "analyze_stripe_length"]

LOW, MAIN, BESIDE, AGAIN = 0, 1, 2, 3
"""Which scan a record belongs to: far below threshold, the fluence asked for, beside it, again."""

_SCANS = {"low": (LOW,), "main": (MAIN, AGAIN), "beside": (BESIDE,)}

MODEL_FLOOR = 0.004
"""Relative error granted to the model in each channel at most: no film is that of a model."""
LEAST_FLOOR = 0.001
"""And at least. Between them it is what the residuals ask for."""
LIGHT_SPEED_CM_PS = 0.0299792458
HOME_SIGMA_CM = 1.5e-5
"""How well a stage finds its home again, one sigma: the zero holds for the next run, too."""
_LEAST_RECORDS = 8
_LEAST_LOW = 4
_COARSE = (0.3, 0.06, 0.015)
_STARTS = 4
_GOOD_COARSE = 0.3
_WORST = 0.25  # relative standard error beyond which a result is not stated
_WORST_GAIN_PER_CM = 10.0  # or this, where gain is near zero
_POOR = 3.0
_HOPELESS = 30.0  # chi-squared per degree of a fit that says nothing
_INSISTS = 10.0  # of chi-squared: a loss that does not saturate is supposed from there on
_LOSS_START = 2.0  # 1/cm
_FAR_FLUENCE = 0.25  # of ln: a fluence that was missed by more is another
_CHANGED = (0.03, 4.0)  # smallest change and its significance that is reported
_UNITS = {
    "gain_per_cm": "1/cm",
    "saturation_length_cm": "cm",
    "depletion_time_ps": "ps",
    "slit_zero_um": "um",
}


@dataclass(frozen=True)
class StripeLengthData:
    """Everything that a stripe-length run recorded.

    Attributes:
        records: of all scans; `direction` says which scan each belongs to.
        fluence_uJ_cm2: at which the gain is wanted.
        group_index: of the guided mode.
        slit_zero_cm: where the slit's calibration has its zero, by the stage.
        slit_direction: +1 or -1, which way of the stage opens the slit.
    """

    records: PowerSweepData
    fluence_uJ_cm2: float
    group_index: float
    slit_zero_cm: float = 0.0
    slit_direction: float = 1.0


def analyze_stripe_length(data: StripeLengthData) -> Analysis:
    """Return gain, saturation length, depletion time and slit zero, with warnings and curves."""
    records, warnings = usable_records(data.records)
    results = {name: Result.nothing(unit) for name, unit in _UNITS.items()}
    curves: dict[str, FloatArray] = {}
    analysis = Analysis(results, warnings, curves)
    main = np.isin(records.direction, (MAIN, AGAIN))
    low = records.direction == LOW
    if not _enough(records, main, low, warnings):
        return analysis
    look = _look(records, low, main)
    if look is None:
        warnings.append("no band stands out in the weakest records: nothing can be measured on it")
        return analysis
    fitted = _fit_data(records, data, look, warnings)
    if fitted is None:
        return analysis
    fit = _best_fit(fitted, look)
    if fit.reduced > _HOPELESS:
        warnings.append(
            f"no stripe gives such spectra (chi-squared per degree {fit.reduced:.0f}): nothing is "
            "stated; look at the frames (clipped? stray light?) and at the lengths"
        )
        return analysis
    _state(analysis, data, fitted, fit, bool(low.sum() >= _LEAST_LOW))
    _unchanged(warnings, fitted, records, fit)
    curves.update(gain_curves(fitted, fit, records, _SCANS))
    return analysis


def _enough(
    records: Records, main: NDArray[np.bool_], low: NDArray[np.bool_], warnings: list[str]
) -> bool:
    if main.sum() < _LEAST_RECORDS:
        warnings.append(
            f"{int(main.sum())} usable records at the fluence asked for: {_LEAST_RECORDS} or more "
            "stripe lengths are needed"
        )
        return False
    lengths = records.length[main]
    if lengths.max() < 3.0 * lengths.min():
        warnings.append(
            f"stripe lengths span a factor {lengths.max() / lengths.min():.2f}: 3 or more is needed"
        )
        return False
    if low.sum() < _LEAST_LOW:
        warnings.append(
            f"{int(low.sum())} usable records at low fluence: the zero of the slit is not measured "
            "and taken from its calibration; give low_points = 12"
        )
    return True


@dataclass(frozen=True)
class _Look:
    """What spectra tell before any fit: the spontaneous band, and the line at its narrowest."""

    band: Band
    line_peak_nm: float
    line_fwhm_nm: float


def _look(records: Records, low: NDArray[np.bool_], main: NDArray[np.bool_]) -> _Look | None:
    weak = np.flatnonzero(low)
    if len(weak) < _LEAST_LOW:  # the shortest stripes amplify least
        order = np.flatnonzero(main)
        weak = order[np.argsort(records.length[order])[:3]]
    wavelength = records.wavelength_nm
    band = fit_band(wavelength, records.per_shot[weak], np.sqrt(records.variance[weak]))
    if band is None:
        return None
    longest = np.flatnonzero(main)[np.argmax(records.length[main])]
    step = float(np.median(np.diff(wavelength)))
    smoothed = smooth(records.per_shot[longest], round(0.06 * band.line.fwhm_nm / step))
    peak, width = half_width(wavelength, smoothed)
    return _Look(band, peak, min(width, band.line.fwhm_nm))


def _fit_data(
    records: Records, data: StripeLengthData, look: _Look, warnings: list[str]
) -> GainData | None:
    x, band = records.wavelength_nm, look.band
    # Wider than the line at its narrowest: it is twice as wide where it begins to saturate.
    edges = channel_edges(
        x, band.line.peak_nm, band.line.fwhm_nm, look.line_peak_nm, 1.6 * look.line_fwhm_nm
    )
    signal, variance = rebin(records.per_shot, records.variance, edges)
    border = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], 0.5 * (x[1:] + x[:-1])])
    border = np.append(border, 1.5 * x[-1] - 0.5 * x[-2])[edges]
    centre = 0.5 * (border[1:] + border[:-1])
    # Without spectra from far below threshold the band's finer shape is not known: a Gaussian.
    known = np.sum(records.direction == LOW) >= _LEAST_LOW
    channels = Channels(centre, np.diff(border), band.factor(centre) if known else None)
    ln_fluence = np.log(records.fluence / data.fluence_uJ_cm2)
    low = records.direction == LOW
    main = np.isin(records.direction, (MAIN, AGAIN))
    off = float(np.median(ln_fluence[main]))
    if abs(off) > _FAR_FLUENCE:
        warnings.append(
            f"the fluence was {np.exp(off):.2f} times the {data.fluence_uJ_cm2:g} uJ/cm^2 asked "
            "for: too far to say what the gain is there; calibrate the attenuator"
        )
        return None
    scan = Scan(
        length_cm=records.length * data.records.full_stripe_length_cm,
        ln_fluence=ln_fluence,
        low=low,
        ln_low=float(np.mean(ln_fluence[low])) if low.any() else -3.0,
        pulse_spread=data.records.pulse_spread,
        full_cm=data.records.full_stripe_length_cm,
    )
    return GainData(scan, signal, variance, records.fluence_sigma, channels)


def _best_fit(data: GainData, look: _Look) -> GainFit:
    """Refine the best starts with a wide tolerance, the best of them with the final one."""
    line = look.band.line
    places = starts(
        data,
        line_peak_nm=look.line_peak_nm,
        band_peak_nm=line.peak_nm,
        band_fwhm_nm=line.fwhm_nm,
    )
    best = _refined(data, places[:_STARTS])
    if best.reduced > _POOR:  # caught in a side valley, or a film of another kind
        others = [_refined(data, places[_STARTS : 3 * _STARTS]), _with_loss(data, best)]
        best = min([best, *others], key=lambda one: one.chi2)
    if best.value("lasting_loss") == 0.0:
        lossy = _with_loss(data, best)
        if best.chi2 - lossy.chi2 > _INSISTS * max(lossy.reduced, 1.0):
            best = lossy
    fixed = _fixed(best)
    floor = asked_floor(data, best, np.geomspace(LEAST_FLOOR, MODEL_FLOOR, 7), fixed)
    return fit_gain(data, best.theta, floor=floor, iterations=20, fixed=fixed)


def _fixed(fit: GainFit) -> tuple[str, ...]:
    return () if fit.value("lasting_loss") > 0.0 else SATURATES


def _refined(data: GainData, places: list[FloatArray]) -> GainFit:
    refined: list[GainFit] = []
    for start in places:
        fit = fit_gain(data, start, floor=_COARSE[0], iterations=12)
        fit = fit_gain(data, fit.theta, floor=_COARSE[1], iterations=8)
        refined.append(fit)
        if fit.reduced < _GOOD_COARSE:
            break
    best = min(refined, key=lambda one: one.chi2)
    best = fit_gain(data, best.theta, floor=_COARSE[2], iterations=10)
    return fit_gain(data, best.theta, floor=MODEL_FLOOR)


def _with_loss(data: GainData, fit: GainFit) -> GainFit:
    """Fit again with a part of the loss that does not saturate."""
    start = fit.theta.copy()
    start[INDEX["lasting_loss"]] = _LOSS_START
    begun = fit_gain(data, start, floor=_COARSE[2], iterations=10, fixed=())
    return fit_gain(data, begun.theta, floor=MODEL_FLOOR, iterations=20, fixed=())


def _state(
    analysis: Analysis, data: StripeLengthData, fitted: GainData, fit: GainFit, zero_known: bool
) -> None:
    """Put the results, with what of the fluence's scale and of the choice of range is in them."""
    results, warnings = analysis.results, analysis.warnings
    if fit.reduced > _POOR:
        warnings.append(
            f"the fit does not describe the spectra (chi-squared per degree {fit.reduced:.1f}): "
            "errors are enlarged accordingly; is the light collected evenly along the stripe?"
        )
    scale = data.records.fluence_rel_unc
    short = _shorter(fitted, fit)
    gross = float(np.exp(fit.value("ln_gross")))
    loss = float(np.exp(fit.value("ln_loss")))
    gain = gross - loss
    noise = _net_sigma(fit)
    lever = gross * fit.value("gain_growth") * scale
    cut = 0.0 if short is None else _unexplained(noise, _net(short) - gain, _net_sigma(short))
    sigma = float(np.linalg.norm([noise, lever, cut]))
    if sigma < max(_WORST * abs(gain), _WORST_GAIN_PER_CM):
        results["gain_per_cm"] = Result(gain, sigma, "1/cm")
    else:
        warnings.append(f"the gain is left open: {gain:.0f} +- {sigma:.0f} /cm; more records")
    _state_saturation(results, warnings, data, fitted, fit, short)
    if zero_known:
        zero = data.slit_zero_cm + data.slit_direction * fit.value("zero_cm")
        sigma = float(np.hypot(fit.sigma("zero_cm"), HOME_SIGMA_CM))
        results["slit_zero_um"] = Result(1e4 * zero, 1e4 * sigma, "um")


def _state_saturation(
    results: dict[str, Result],
    warnings: list[str],
    data: StripeLengthData,
    fitted: GainData,
    fit: GainFit,
    short: GainFit | None,
) -> None:
    longest = float(np.max(fitted.scan.length_cm)) - fit.value("zero_cm")
    found = _Saturation.of(fit, fitted, longest)
    if _net(fit) <= 0.0:
        warnings.append("there is no net gain at this fluence, so nothing that saturates")
        return
    if found is None or found.length_cm > longest:
        warnings.append(
            f"the gain is not halved within the longest stripe of {longest:.3g} cm: no saturation "
            "length is stated; longer stripes or a higher fluence are needed"
        )
        return
    length, lever = found.length_cm, found.slope_cm * data.records.fluence_rel_unc
    other = None if short is None else _Saturation.of(short, fitted, longest)
    cut = 0.0
    if other is not None:
        cut = _unexplained(found.sigma_cm, other.length_cm - length, other.sigma_cm)
    sigma = float(np.linalg.norm([found.sigma_cm, lever, cut]))
    if not sigma < _WORST * length:
        warnings.append(
            f"the saturation length is left open: {length:.3g} +- {sigma:.2g} cm; take records at "
            "more and longer stripes"
        )
        return
    results["saturation_length_cm"] = Result(length, sigma, "cm")
    per_cm = data.group_index / LIGHT_SPEED_CM_PS
    results["depletion_time_ps"] = Result(per_cm * length, per_cm * sigma, "ps")


@dataclass(frozen=True)
class _Saturation:
    """Saturation length, its sigma by the fit's covariance, and d length / d ln F; all cm."""

    length_cm: float
    sigma_cm: float
    slope_cm: float

    @staticmethod
    def of(fit: GainFit, data: GainData, longest_cm: float) -> _Saturation | None:
        """Find it up to twice the longest stripe; None if it is nowhere."""
        reach, steps = 2.0 * longest_cm, 2 * data.scan.steps
        names = np.flatnonzero(np.diag(fit.covariance) > 0.0)
        size = 0.1 * np.sqrt(np.diag(fit.covariance)[names])
        moves = np.zeros((len(names), len(fit.theta)))
        moves[np.arange(len(names)), names] = size
        sets = np.concatenate([fit.theta[None], fit.theta + moves])
        found = saturation_cm(sets, 0.0, data.channels, reach, steps)
        here = fit.theta[None]
        less, more = (
            saturation_cm(here, at, data.channels, reach, steps)[0] for at in (-0.02, 0.02)
        )
        if not (np.isfinite(found).all() and np.isfinite([less, more]).all()):
            return None
        slope = np.zeros(len(fit.theta))
        slope[names] = (found[1:] - found[0]) / size
        sigma = float(np.sqrt(slope @ fit.covariance @ slope))
        return _Saturation(float(found[0]), sigma, float(more - less) / 0.04)


def _net(fit: GainFit) -> float:
    return float(np.exp(fit.value("ln_gross")) - np.exp(fit.value("ln_loss")))


def _net_sigma(fit: GainFit) -> float:
    slope = np.zeros(len(fit.theta))
    slope[INDEX["ln_gross"]] = np.exp(fit.value("ln_gross"))
    slope[INDEX["ln_loss"]] = -np.exp(fit.value("ln_loss"))
    return float(np.sqrt(slope @ fit.covariance @ slope))


def _shorter(data: GainData, fit: GainFit) -> GainFit | None:
    """Fit again without the most saturated records; None if too few are left."""
    length = data.scan.length_cm
    end = saturation_cm(fit.theta[None], 0.0, data.channels, float(length.max()), 120)[0]
    if not np.isfinite(end):
        return None
    keep = data.scan.low | (length < 2.2 * end + fit.value("zero_cm"))
    if keep.all() or np.sum(keep & ~data.scan.low) < _LEAST_RECORDS:
        return None
    return fit_gain(data.only(keep), fit.theta, floor=fit.floor, iterations=12, fixed=_fixed(fit))


def _unexplained(noise: float, apart: float, noise_there: float) -> float:
    """Return by how much leaving out records shifts a value beyond what their number explains."""
    return float(np.sqrt(max(apart**2 - max(noise_there**2 - noise**2, 0.0), 0.0)))


def _unchanged(warnings: list[str], data: GainData, records: Records, fit: GainFit) -> None:
    """Warn if the last record, a repeated one, differs from the first of its kind."""
    again = np.flatnonzero(records.direction == AGAIN)
    first = np.flatnonzero(records.direction == MAIN)
    if not len(again) or not len(first):
        return
    light = seen(fit.theta[None], data.scan, data.channels)
    width = data.channels.width_nm
    seen_band, model = data.signal @ width, light.seen[0] @ width
    slope = (light.along @ width) / model
    for one in again:
        same = first[np.argmin(np.abs(records.length[first] - records.length[one]))]
        apart = float(np.log(seen_band[one] / model[one]) - np.log(seen_band[same] / model[same]))
        both = np.array([one, same])
        sigma = float(np.linalg.norm(slope[both] * records.fluence_sigma[both]))
        if abs(apart) > max(_CHANGED[0], _CHANGED[1] * sigma):
            warnings.append(
                f"the stripe of {10.0 * data.scan.length_cm[one]:.3g} mm gave "
                f"{100.0 * np.expm1(apart):+.1f} +- {100.0 * sigma:.1f} % when it was taken again: "
                "damage or drift"
            )
