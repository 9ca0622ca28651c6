"""Analysis of a pump power sweep: threshold, spontaneous and stimulated band, slopes.

For the command, the figure and the ageing analysis. Arrays in, numbers with uncertainties out: no
file, no instrument. What the records do not support is None, with a warning that says what lacks.

Fluences are those reported; the uncertainty of their scale is in the standard errors of what
depends on it.
"""

from __future__ import annotations

import numpy as np

from procedures.analysis.lineshape import Line
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.stripe_fit import FitData
from procedures.analysis.sweep_bands import (
    FAR_BELOW,
    FirstLook,
    band_intensity,
    first_look,
    fit_data,
    log_slope,
    model_slope,
    spontaneous_band,
)
from procedures.analysis.sweep_line import REACH, put_stimulated
from procedures.analysis.sweep_records import PowerSweepData, Records, usable_records
from procedures.analysis.threshold import (
    HOPELESS,
    Threshold,
    TwoLength,
    find_threshold,
    log_log_intersection,
    two_length_threshold,
)

__all__ = ["PowerSweepData", "analyze_power_sweep"]

START = 0.8
"""Two records must lie below this multiple of the threshold for it to be stated."""
BELOW = 0.6
"""slope_below is taken below this multiple of the threshold."""
ABOVE = (1.05, 1.3)
"""slope_above is taken between these multiples of the threshold."""

_UNITS = {
    "threshold_uJ_cm2": "uJ/cm^2",
    "spontaneous_peak_nm": "nm",
    "spontaneous_fwhm_nm": "nm",
    "ase_peak_nm": "nm",
    "ase_fwhm_nm": "nm",
    "slope_below": "1",
    "slope_above": "1",
}
_LEAST_RECORDS = 8
_NARROWED = 0.85  # of the low-fluence width: less says that a line has grown
_SPONTANEOUS_GROWTH = 1.1  # log-log: spontaneous light grows as the fluence or slower
_WORST_THRESHOLD = 0.25  # relative sigma beyond which no threshold is stated
_DISPERSION_TERM = 0.001  # relative: how well the scale of the wavelength axis is known
_HYSTERESIS = (0.02, 4.0)  # smallest difference and its significance that is reported


def analyze_power_sweep(data: PowerSweepData) -> Analysis:
    """Return threshold, both bands and both slopes of a sweep, with warnings and curves."""
    records, warnings = usable_records(data)
    results = {name: Result.nothing(unit) for name, unit in _UNITS.items()}
    curves: dict[str, FloatArray] = {}
    analysis = Analysis(results, warnings, curves)
    main = _main_records(data, records, warnings)
    if main is None:
        return analysis
    intensity, intensity_sigma = band_intensity(main)
    curves["fluence_uJ_cm2"] = main.fluence
    curves["band_counts_per_shot"] = intensity
    curves["band_counts_per_shot_errors"] = intensity_sigma
    look = first_look(main)
    if look is None:
        warnings.append("no band stands out in the weakest records: nothing can be measured on it")
        return analysis
    curves["band_width_nm"] = look.width_nm
    if look.narrowing > _NARROWED:
        warnings.append(
            "no stimulated line: the spectrum narrows nowhere, so the sweep lies below 1.3 "
            "threshold (or wholly above it); threshold, line and slopes need a wider sweep"
        )
        growth = np.polyfit(np.log(main.fluence), np.log(np.maximum(intensity, 1e-300)), 1)[0]
        if growth < _SPONTANEOUS_GROWTH:
            upto = float(np.quantile(main.fluence, 0.5))
            _put_spontaneous(results, spontaneous_band(main, look, None, upto), data)
        else:
            warnings.append(
                f"the intensity grows as fluence to the power {growth:.1f}: not the spontaneous "
                "band alone, which is not stated"
            )
        return analysis
    pool = _without_hysteresis(main, warnings)
    fitted = fit_data(pool, look, data.pulse_spread)
    threshold = find_threshold(fitted, look.guess)
    supported = _supported(threshold, pool, warnings)
    upto = FAR_BELOW * threshold.value
    if supported or threshold.value > main.fluence.max() / REACH:
        _put_spontaneous(results, spontaneous_band(pool, look, threshold.best, upto), data)
        if results["spontaneous_peak_nm"].value is None:
            warnings.append("spontaneous band: fewer than two records lie far below threshold")
    if not supported:
        return analysis
    sigma = float(np.hypot(threshold.rel_sigma, data.fluence_rel_unc))
    value = threshold.value
    results["threshold_uJ_cm2"] = Result(value, value * sigma, "uJ/cm^2")
    _slopes(results, warnings, data, pool, threshold, fitted)
    put_stimulated(results, warnings, curves, data, pool, look, threshold, fitted)
    _two_lengths(results, warnings, curves, data, records, look, threshold)
    _draw(curves, pool, threshold, fitted)
    return analysis


def _main_records(data: PowerSweepData, records: Records, warnings: list[str]) -> Records | None:
    """Return the records at the full stripe, or None with a warning if they are too few."""
    main = records.only(records.full)
    if len(main.fluence) < _LEAST_RECORDS:
        other = len(records.fluence) - len(main.fluence)
        more = f" ({other} more at other stripe lengths)" if other else ""
        warnings.append(
            f"{len(main.fluence)} usable records at the full stripe of "
            f"{data.full_stripe_length_cm:g} cm{more}: a sweep needs {_LEAST_RECORDS} or more"
        )
        return None
    spread = float(main.fluence.max() / main.fluence.min())
    if spread < 2.0:
        warnings.append(
            f"the fluence spans a factor {spread:.2f} only: a sweep needs 2 or more, from well "
            "below to 1.3 threshold"
        )
        return None
    return main


def _without_hysteresis(main: Records, warnings: list[str]) -> Records:
    """Return the way up alone if the way down differs from it, and say so; else all records."""
    up, down = main.only(main.direction >= 0), main.only(main.direction < 0)
    if len(up.fluence) < 5 or len(down.fluence) < 3:
        return main
    order = np.argsort(up.fluence)
    x = np.log(up.fluence[order])
    intensity, noise = band_intensity(up)
    y = np.log(np.maximum(intensity[order], 1e-300))
    inside = (down.fluence >= up.fluence.min()) & (down.fluence <= up.fluence.max())
    if inside.sum() < 3 or len(np.unique(x)) < 4:
        return main
    down = down.only(inside)
    there, there_noise = band_intensity(down)
    at = np.log(down.fluence)
    slope = np.abs(np.interp(at, x, np.gradient(y, x)))
    own = np.interp(at, x, noise[order] / intensity[order])
    fluence = slope * np.hypot(down.fluence_sigma, np.interp(at, x, up.fluence_sigma[order]))
    sigma = np.sqrt((there_noise / there) ** 2 + own**2 + fluence**2 + 0.003**2)
    # A straight line between two records of a curve is not the curve; allow for the difference.
    sigma = np.hypot(sigma, 0.02 * slope)
    apart = np.log(there) - np.interp(at, x, y)
    weight = 1.0 / sigma**2
    mean, error = float(weight @ apart / weight.sum()), float(weight.sum() ** -0.5)
    if abs(mean) < max(_HYSTERESIS[0], _HYSTERESIS[1] * error):
        return main
    warnings.append(
        f"the way down is {100.0 * np.expm1(mean):+.1f} +- {100.0 * error:.1f} % off the way up: "
        "damage, hysteresis or drift; the way up alone was used"
    )
    return main.only(main.direction >= 0)


def _supported(threshold: Threshold, pool: Records, warnings: list[str]) -> bool:
    """Tell whether the records carry the threshold, with a warning if not."""
    value, highest = threshold.value, float(pool.fluence.max())
    if highest < REACH * value:
        warnings.append(
            f"the sweep ends at {highest:.3g} uJ/cm^2 and does not reach 1.3 threshold (a fit "
            f"puts it near {value:.3g}): threshold, line and slopes need a sweep to "
            f"{1.4 * value:.3g} or more"
        )
        return False
    if int(np.sum(pool.fluence < START * value)) < 2:
        warnings.append(
            f"fewer than two records lie below 0.8 threshold (a fit puts it near {value:.3g} "
            "uJ/cm^2): the sweep must begin lower"
        )
        return False
    if not threshold.rel_sigma < _WORST_THRESHOLD:
        warnings.append(
            f"the records leave the threshold open within {100.0 * threshold.rel_sigma:.0f} %: "
            "take more of them, and less noisy ones, around "
            f"{value:.3g} uJ/cm^2"
        )
        return False
    if threshold.best.reduced > HOPELESS:
        warnings.append(
            f"no stripe gives such spectra (chi-squared per degree {threshold.best.reduced:.0f}): "
            "neither threshold nor line nor slopes are stated; look at the frames (clipped? stray "
            "light?)"
        )
        return False
    if threshold.best.reduced > 4.0:
        warnings.append(
            f"no gain law tried describes the spectra (chi-squared per degree "
            f"{threshold.best.reduced:.1f}): errors are enlarged accordingly"
        )
    return True


def _put_spontaneous(results: dict[str, Result], band: Line | None, data: PowerSweepData) -> None:
    if band is None:
        return
    # A response that tilts by t per nm moves a Gaussian band by t sigma^2; one that bends by c per
    # nm^2 changes its width by c sigma^2 / 2 of itself.
    response, square = data.response, (band.fwhm_nm / 2.3548) ** 2
    tilted = response.tilt_unc_per_nm * square
    sigma = float(np.linalg.norm([band.peak_sigma_nm, data.wavelength_unc_nm, tilted]))
    peak = band.peak_nm - response.tilt_per_nm(band.peak_nm) * square
    results["spontaneous_peak_nm"] = Result(peak, sigma, "nm")
    bent = 0.5 * response.bend_unc_per_nm2 * square * band.fwhm_nm
    width = band.fwhm_nm * (1.0 - 0.5 * response.bend_per_nm2 * square)
    sigma = float(np.linalg.norm([band.fwhm_sigma_nm, bent, _DISPERSION_TERM * width]))
    results["spontaneous_fwhm_nm"] = Result(width, sigma, "nm")


def _slopes(
    results: dict[str, Result],
    warnings: list[str],
    data: PowerSweepData,
    pool: Records,
    threshold: Threshold,
    fitted: FitData,
) -> None:
    intensity, sigma = band_intensity(pool)
    x, y = np.log(pool.fluence), np.log(np.maximum(intensity, 1e-300))
    noise = sigma / np.maximum(intensity, 1e-300)

    def line(limit: float) -> tuple[float, float] | None:
        below = pool.fluence < limit
        if below.sum() < 3 or np.ptp(x[below]) < 0.3:
            return None
        return log_slope(x[below], y[below], pool.fluence_sigma[below], noise[below])

    limit = BELOW * threshold.value
    found = line(limit)
    if found is not None:
        slope, error = found
        below = pool.fluence < limit
        bend = float(np.polyfit(x[below], y[below], 2)[0]) if below.sum() > 3 else 0.0

        def reach(by: float) -> float:
            ends = [line(limit * (1.0 + one)) for one in (-by, by)]
            return 0.5 * float(np.ptp([slope, *(end[0] for end in ends if end is not None)]))

        # The stretch is curved: a record at its end, that may or may not belong to it, matters. A
        # scale that is off moves all records along the curve, and now and then that end.
        own = reach(float(np.hypot(threshold.rel_sigma, np.median(pool.fluence_sigma))))
        scale = max(reach(data.fluence_rel_unc), abs(2.0 * bend) * data.fluence_rel_unc)
        error = float(np.linalg.norm([error, own, scale]))
        results["slope_below"] = Result(slope, error, "1")
    else:
        warnings.append("slope_below: fewer than three records, or too close, below 0.6 threshold")
    slope, error = model_slope(threshold, fitted.channels, *ABOVE, data.response)
    results["slope_above"] = Result(slope, error, "1")


def _two_lengths(
    results: dict[str, Result],
    warnings: list[str],
    curves: dict[str, FloatArray],
    data: PowerSweepData,
    records: Records,
    look: FirstLook,
    threshold: Threshold,
) -> None:
    """Add the check by two stripe lengths, where a second length was taken."""
    shorter = np.unique(np.round(records.length[~records.full & (records.length < 1.0)], 4))
    if not len(shorter):
        return
    short_length = float(shorter[np.argmin(np.abs(shorter - 0.5))])
    near = np.abs(records.wavelength_nm - threshold.best.theta[6]) < 0.15 * look.line_fwhm_nm
    parts = []
    for part in (records.full, np.abs(records.length - short_length) < 0.01):
        some = records.only(part)
        peak = some.per_shot[:, near].mean(axis=1)
        noise = np.sqrt(some.variance[:, near].sum(axis=1)) / near.sum()
        order = np.argsort(some.fluence)
        x, y = np.log(some.fluence[order]), np.log(np.maximum(peak[order], 1e-300))
        slope = np.empty_like(x)
        slope[order] = np.gradient(y, x) if len(x) > 1 else 1.0
        parts.append((some.fluence, peak, np.hypot(noise / peak, slope * some.fluence_sigma)))
    found: TwoLength | None = two_length_threshold(
        *parts[0],
        *parts[1],
        1.0 / short_length,
        length_ratio_sigma=data.stripe_length_unc_cm
        / (data.full_stripe_length_cm * short_length**2),
    )
    if found is None:
        warnings.append("two stripe lengths: their ratio does not cross in the common range")
        return
    sigma = float(np.hypot(found.rel_sigma, data.fluence_rel_unc))
    results["threshold_two_length_uJ_cm2"] = Result(found.value, found.value * sigma, "uJ/cm^2")
    curves["two_length_fluence_uJ_cm2"] = found.fluence
    curves["two_length_ratio"] = found.ratio
    curves["two_length_ratio_errors"] = found.ratio * found.ratio_sigma
    apart = float(np.log(found.value / threshold.value))
    combined = float(np.hypot(found.rel_sigma, threshold.rel_sigma))
    if abs(apart) > 3.0 * combined:
        warnings.append(
            f"two stripe lengths put the threshold at {found.value:.3g} uJ/cm^2, the fit at "
            f"{threshold.value:.3g}: {abs(apart) / combined:.1f} standard errors apart; is the "
            "light collected evenly along the stripe?"
        )


def _draw(
    curves: dict[str, FloatArray], pool: Records, threshold: Threshold, fitted: FitData
) -> None:
    """Add what a figure draws: the fit, the two kinds of light, lines for the eye."""
    fit, channels = threshold.best, fitted.channels
    fluence = np.geomspace(pool.fluence.min(), pool.fluence.max(), 120)
    guided, direct = fit.spectra(fluence, channels)
    curves["fit_fluence_uJ_cm2"] = fluence
    curves["fit_band_counts_per_shot"] = (guided + direct) @ channels.width_nm
    curves["fit_guided_counts_per_shot"] = guided @ channels.width_nm
    curves["fit_direct_counts_per_shot"] = direct @ channels.width_nm
    seen = fitted.signal @ channels.width_nm
    _, direct = fit.spectra(pool.fluence * np.exp(fit.shift), channels)
    curves["separated_fluence_uJ_cm2"] = pool.fluence
    curves["spontaneous_counts_per_shot"] = direct @ channels.width_nm
    curves["stimulated_counts_per_shot"] = seen - direct @ channels.width_nm
    peak = int(np.argmin(np.abs(channels.centre_nm - fit.theta[6])))
    curves["gain_peak_counts_per_shot_nm"] = fitted.signal[:, peak]
    eye = log_log_intersection(pool.fluence, seen, threshold.value)
    if eye is not None:
        curves["for_the_eye_kink_uJ_cm2"] = np.array([eye[0]])
        curves["for_the_eye_fluence_uJ_cm2"], curves["for_the_eye_counts_per_shot"] = eye[1:]
