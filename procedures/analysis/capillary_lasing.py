"""Analysis of the capillary laser: threshold, mode spacing and group index.

For the command and the figure. Modes are found where they are brightest, numbered, and their light
followed through all records; the rate equations fitted to it give the threshold of each mode. The
threshold stated is that of the best mode, read off all modes together: gain is a smooth function of
wavelength. The diameter of the cavity is an input, not a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.lasing import LaserFit, LightCurves, fit_laser, grown
from procedures.analysis.parted import clean_parts
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.spot_records import SpotData, compare_first_and_last, nothing, usable
from procedures.analysis.voigt import EV_NM
from procedures.analysis.wgm import Comb, Modes, find_modes, mode_light, number_modes

UNITS = {"threshold_mJ_cm2": "mJ/cm^2", "mode_spacing_nm": "nm", "group_index": "1"}
REACH = 1.2
"""The series must reach this multiple of the threshold for the threshold to be stated."""
BELOW = 0.95
"""And begin below this one."""
MODEL_RANGE = 2.0
"""Fits up to this multiple of the threshold and over all of it differ by a model's error."""

_LEAST_RECORDS = 8
_LEAST_ABOVE, _LEAST_BELOW = 3, 2
_STRONG = 0.02  # of the brightest mode's light at the top: the others follow the laser's law badly
_BRIGHT = 0.5  # of the highest fluence: records in which modes are looked for
_WORST = 0.25
_FAR = 3.0  # beyond the series by this factor a fitted threshold is none
_MISFIT = 3.0
_EYE = (0.1, 0.6)


@dataclass(frozen=True)
class Gain:
    """The gain's place: where the threshold is lowest (nm), sigma, and that lowest threshold."""

    peak_nm: float
    peak_sigma_nm: float
    ln_threshold: float
    ln_sigma: float


def analyze_capillary_lasing(
    given: SpotData, cavity_diameter_um: float, cavity_diameter_rel_unc: float = 0.0
) -> Analysis:
    """Return threshold, mode spacing and group index, with warnings and curves.

    Raises:
        ValueError: the diameter is not above zero.
    """
    if not cavity_diameter_um > 0.0:
        raise ValueError(f"cavity_diameter_um is {cavity_diameter_um}, must be above zero")
    data, warnings = usable(given)
    results = nothing(UNITS)
    curves: dict[str, FloatArray] = {}
    analysis = Analysis(results, warnings, curves)
    if len(data.counts) < _LEAST_RECORDS:
        warnings.append(
            f"{len(data.counts)} usable records: a series needs {_LEAST_RECORDS} or more"
        )
        return analysis
    counts, variance, hits = clean_parts(data)
    if data.parts is None:
        warnings.append("the records were not kept in parts: cosmic rays may pass for light")
    shots = np.asarray(data.shots, dtype=np.float64)[:, np.newaxis]
    curves["wavelength_nm"], curves["fluence_mJ_cm2"] = data.wavelength_nm, data.fluence_mJ_cm2
    curves["spectra_per_shot"] = counts / shots
    if hits.mean() > 0.005:
        warnings.append(f"{int(hits.sum())} pixels replaced as cosmic rays: look at the detector")
    bright = data.fluence_mJ_cm2 > _BRIGHT * data.fluence_mJ_cm2.max()
    modes = find_modes(data.wavelength_nm, counts[bright].sum(axis=0), variance[bright].sum(axis=0))
    comb = number_modes(modes) if modes is not None else None
    if modes is None or comb is None:
        found = 0 if modes is None else len(modes.pixel)
        warnings.append(
            f"{found} narrow lines that are evenly spaced in energy, three are needed: no lasing "
            "in this range, or modes closer than the spectrograph tells apart; go to higher "
            "fluences, or choose a finer grating"
        )
        return analysis
    if not comb.member.all():
        off = modes.wavelength_nm[~comb.member]
        listed = ", ".join(f"{one:.2f}" for one in off[:6])
        warnings.append(f"{len(off)} lines are no members of the comb of modes: {listed} nm")
    modes, number = modes.only(comb.member), comb.number[comb.member]
    light, noise, ground, ground_noise = mode_light(counts / shots, variance / shots**2, modes)
    _check_sample(warnings, data, ground, ground_noise)
    gain, fit = _threshold(results, warnings, data, modes, light, noise)
    if gain is None:
        gain = _brightest(modes, light)
    _cavity(results, data, comb, gain, cavity_diameter_um, cavity_diameter_rel_unc)
    _draw(curves, data, modes, number, light, noise, fit)
    return analysis


def _check_sample(
    warnings: list[str], data: SpotData, ground: FloatArray, noise: FloatArray
) -> None:
    """Compare the broad band, which grows about as the fluence below threshold."""
    compare_first_and_last(data, ground, np.sqrt(noise), warnings, lambda _fluence: 1.0)


def _threshold(
    results: dict[str, Result],
    warnings: list[str],
    data: SpotData,
    modes: Modes,
    light: FloatArray,
    noise: FloatArray,
) -> tuple[Gain | None, LaserFit | None]:
    """Fit the rate equations and state the threshold, if the series supports one."""
    top = np.argsort(data.fluence_mJ_cm2)[-3:]
    strong = light[top].mean(axis=0) > _STRONG * light[top].mean(axis=0).max()
    curves = LightCurves(
        data.fluence_mJ_cm2,
        np.maximum(data.fluence_sigma, 1e-4),
        light,
        noise,
        np.asarray(data.shots, dtype=np.float64),
        data.pulse_spread,
    )
    strong &= grown(curves)
    place, curves = modes.wavelength_nm[strong], curves.modes(strong)
    wide = fit_laser(curves)
    if wide is None:
        warnings.append("no mode grows as a laser does above threshold: no threshold is stated")
        return None, None
    gain = _gain(place, wide)
    lowest = float(np.exp(gain.ln_threshold))
    fluence = data.fluence_mJ_cm2
    above, below = fluence > REACH * lowest, fluence < BELOW * lowest
    if not fluence.min() / _FAR < lowest < fluence.max() * _FAR:
        warnings.append(
            f"the modes grow without a kink from {fluence.min():.3g} to {fluence.max():.3g} "
            "mJ/cm^2: all of the series is below the threshold, or all of it above; no threshold "
            "is stated"
        )
        return None, wide
    if above.sum() < _LEAST_ABOVE or below.sum() < _LEAST_BELOW:
        warnings.append(
            f"the threshold seems to lie near {lowest:.3g} mJ/cm^2: {int(below.sum())} records are "
            f"below {BELOW:g} and {int(above.sum())} above {REACH:g} times that, "
            f"{_LEAST_BELOW} and {_LEAST_ABOVE} are needed to state it; the series must reach "
            "further on both sides"
        )
        return None, wide
    model = 0.0
    narrow = curves.upto(MODEL_RANGE * lowest)
    if len(narrow.fluence) < len(fluence) and np.sum(narrow.fluence > lowest) >= _LEAST_ABOVE:
        seen = grown(narrow) & (narrow.light.max(axis=0) > 0.05 * narrow.light.max())
        fit = fit_laser(narrow.modes(seen))
        if fit is not None:
            model = abs(_gain(place[seen], fit).ln_threshold - gain.ln_threshold)
    if wide.chi2 > _MISFIT**2 * max(wide.dof, 1):
        warnings.append(
            f"the modes differ from the rate equations by {np.sqrt(wide.chi2 / wide.dof):.1f} "
            "times their errors; the threshold's error is enlarged by that"
        )
    if wide.outliers > 0.03 * curves.light.size:
        warnings.append(f"{wide.outliers} points of {curves.light.size} are off the curves by far")
    sigma = float(np.sqrt(gain.ln_sigma**2 + model**2 + data.fluence_rel_unc**2))
    if sigma > _WORST:
        warnings.append(f"the threshold is uncertain by {100 * sigma:.0f} %, and is not stated")
        return gain, wide
    results["threshold_mJ_cm2"] = Result(lowest, lowest * sigma, "mJ/cm^2")
    return gain, wide


def _gain(place_nm: FloatArray, fit: LaserFit) -> Gain:
    """Return where the threshold is lowest, from all modes: ln threshold is a parabola there.

    A mode's threshold is the fluence at which its gain equals the losses, and gain near its peak
    is a parabola, or a Gaussian, of wavelength.
    """
    value, covariance = np.log(fit.threshold), fit.ln_covariance
    best = int(np.argmin(value + np.sqrt(np.diag(covariance))))
    single = Gain(
        float(place_nm[best]),
        0.5 * float(np.median(np.abs(np.diff(np.sort(place_nm))))) if len(place_nm) > 1 else 0.0,
        float(value[best]),
        float(np.sqrt(covariance[best, best])),
    )
    near = value - value[best] < 0.7
    if near.sum() < 4:
        return single
    x = place_nm[near] - place_nm[best]
    inside = covariance[np.ix_(near, near)] + 1e-6 * np.eye(int(near.sum()))
    weight = np.linalg.inv(inside)
    design = np.vander(x, 3, increasing=True)
    normal = np.linalg.inv(design.T @ weight @ design)
    theta = normal @ (design.T @ weight @ value[near])
    rest = value[near] - design @ theta
    dof = len(x) - 3
    normal = normal * max(float(rest @ weight @ rest) / max(dof, 1), 1.0)
    if theta[2] <= 2.0 * np.sqrt(normal[2, 2]):
        return single
    peak = -0.5 * theta[1] / theta[2]
    if not x.min() <= peak <= x.max():
        return single
    slope = np.array([0.0, -0.5 / theta[2], 0.5 * theta[1] / theta[2] ** 2])
    # The best mode, not the peak between two: the curve where that mode is.
    at = int(np.argmin(np.abs(x - peak)))
    row = design[at]
    return Gain(
        float(place_nm[best] + peak),
        float(np.sqrt(slope @ normal @ slope)),
        float(row @ theta),
        float(np.sqrt(row @ normal @ row)),
    )


def _brightest(modes: Modes, light: FloatArray) -> Gain:
    """Return the middle of the light where no threshold tells it."""
    weight = np.maximum(light.max(axis=0), 0.0)
    weight = weight / weight.sum()
    middle = float(weight @ modes.wavelength_nm)
    spread = float(np.sqrt(weight @ (modes.wavelength_nm - middle) ** 2))
    return Gain(middle, 0.2 * spread, np.nan, np.nan)


def _cavity(
    results: dict[str, Result],
    data: SpotData,
    comb: Comb,
    gain: Gain,
    diameter_um: float,
    diameter_rel_unc: float,
) -> None:
    """State spacing at the gain's peak, and group index."""
    relative = float(np.hypot(comb.spacing_sigma_eV / comb.spacing_eV, data.dispersion_rel_unc))
    spacing = gain.peak_nm**2 * comb.spacing_eV / EV_NM
    place = 2.0 * np.hypot(gain.peak_sigma_nm, data.wavelength_unc_nm) / gain.peak_nm
    results["mode_spacing_nm"] = Result(spacing, spacing * float(np.hypot(relative, place)), "nm")
    index = EV_NM / (np.pi * 1e3 * diameter_um * comb.spacing_eV)
    results["group_index"] = Result(index, index * float(np.hypot(relative, diameter_rel_unc)), "1")


def _draw(
    curves: dict[str, FloatArray],
    data: SpotData,
    modes: Modes,
    number: NDArray[np.intp],
    light: FloatArray,
    noise: FloatArray,
    fit: LaserFit | None,
) -> None:
    """Add what a figure draws: modes and numbers, their light together, the fit, lines."""
    order = np.argsort(number)
    curves["mode_number"] = np.asarray(number, dtype=np.float64)[order]
    curves["mode_wavelength_nm"] = modes.wavelength_nm[order]
    energy = EV_NM / modes.wavelength_nm[order]
    line = np.polyfit(curves["mode_number"], energy, 1)
    curves["mode_energy_eV"] = energy
    curves["mode_energy_line_eV"] = np.asarray(line[0] * curves["mode_number"] + line[1])
    total = light.sum(axis=1)
    curves["modes_counts_per_shot"] = total
    curves["modes_counts_per_shot_errors"] = np.sqrt(noise.sum(axis=1))
    if fit is not None:
        fine = np.geomspace(data.fluence_mJ_cm2.min(), data.fluence_mJ_cm2.max(), 200)
        curves["fit_fluence_mJ_cm2"] = fine
        curves["fit_counts_per_shot"] = fit.light(fine).sum(axis=1)
    eye = _straight(data.fluence_mJ_cm2, total)
    if eye is not None:
        curves["for_the_eye_fluence_mJ_cm2"], curves["for_the_eye_counts_per_shot"] = eye


def _straight(fluence: FloatArray, light: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Return the textbook's straight line through 10 to 60 % of the light, from zero upwards."""
    part = (light > _EYE[0] * light.max()) & (light < _EYE[1] * light.max())
    if part.sum() < 3 or not np.ptp(fluence[part]) > 0.0:
        return None
    slope, ground = np.polyfit(fluence[part], light[part], 1)
    if slope <= 0.0 or -ground / slope <= 0.0:
        return None
    ends = np.array([-ground / slope, float(fluence[part].max())])
    return ends, slope * ends + ground
