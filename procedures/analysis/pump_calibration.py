"""From an angle series of the wave plate to the attenuator's curve and the full pulse energy.

    E(theta, t) = [Emin + (Emax - Emin) cos^2(2 (theta - theta0))] (1 + d(t))

with d(t) the drift of the laser, a chain of straight lines between the visits to a reference angle,
of mean zero over the run. For `calibrate-pump`. A pulse energy behind the polariser tells the
product of full energy and transmission only: the transmission at the brightest angle is an input
(data sheet, or measured before and behind), and so is the area.

Errors: pulse noise of each record; the mount's angle and the laser's unsteadiness from one record
to the next, as scatters found from the residuals of this very run (the slopes tell one, the top the
other); and in full energy and transmissions the scale of the meter and of the given transmission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

from procedures.analysis.results import Analysis, FloatArray, Result

_LEAST_RECORDS = 8
_LEAST_SPAN_DEG = 40.0
_WORST_ANGLE_DEG = 1.0
_WORST_RELATIVE = 0.3
_OUTLIER_SIGMA = 6.0
_MOST_OUTLIERS = 0.1  # of the records
_SUSPICIOUS = 3.0  # times the resolution that the mount is said to have
_LEAST_SHARE = 0.1  # of that resolution: no mount is better by chance alone
_MEAN_ZERO = 1e-7


@dataclass(frozen=True)
class PumpCalibrationData:
    """An angle series; N records.

    Attributes:
        time_s: when each was taken, (N,). angle_deg: as the mount read back, (N,).
        energy_J: mean pulse energy shown by the meter, NaN where there was none, (N,).
        energy_errors_J: independent one-sigma error of each, (N,).
        reference: which were taken at the reference angle, (N,).
        angle_resolution_deg: that the mount is said to have.
        energy_rel_unc: one sigma of the meter's scale.
        meter_ratio: energy at the meter over energy at the sample.
        transmission_max, transmission_max_unc: at the brightest angle, given.
        width_mm, length_mm (a stripe), or diameter_mm (a spot), with one sigma each; 0: not given.
        area_rel_unc: one sigma of the area, where its lengths have none.
    """

    time_s: FloatArray
    angle_deg: FloatArray
    energy_J: FloatArray
    energy_errors_J: FloatArray
    reference: NDArray[np.bool_]
    angle_resolution_deg: float = 0.03
    energy_rel_unc: float = 0.0
    meter_ratio: float = 1.0
    transmission_max: float = 0.995
    transmission_max_unc: float = 0.0
    width_mm: tuple[float, float] = (0.0, 0.0)
    length_mm: tuple[float, float] = (0.0, 0.0)
    diameter_mm: tuple[float, float] = (0.0, 0.0)
    area_rel_unc: float = 0.0

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        number = np.shape(self.time_s)
        for one in fields(self)[:5]:
            if np.shape(getattr(self, one.name)) != number or len(number) != 1:
                raise ValueError(f"{one.name} must have one value for each record, as time_s")
        if not 0.0 < self.transmission_max <= 1.0 or not self.meter_ratio > 0.0:
            raise ValueError("transmission_max must be in 0 to 1, meter_ratio above 0")


@dataclass(frozen=True)
class _Scatter:
    """One sigma, from record to record, of the angle (degrees) and of the energy (relative)."""

    angle_deg: float
    relative: float = 0.0


@dataclass(frozen=True)
class _Fit:
    """theta0 (degrees), Emax, Emin (J), drift at its nodes; and their covariance."""

    values: FloatArray
    covariance: FloatArray
    scatter: _Scatter
    excess: float  # chi-squared per degree of freedom that no scatter of the angle explains
    freedom: int

    def error(self, index: int) -> float:
        return math.sqrt(max(float(self.covariance[index, index]), 0.0))


def analyze_pump_calibration(data: PumpCalibrationData) -> Analysis:
    """Return theta0_deg, transmission_min, transmission_max, full_pulse_energy_J, and the area.

    What the records do not support is null, with a warning.
    """
    warnings: list[str] = []
    results = _nothing()
    area, area_error = _area_cm2(data)
    if area > 0.0:
        results["area_cm2"] = Result(area, area_error, "cm^2")
    keep = np.isfinite(data.energy_J) & np.isfinite(data.angle_deg) & np.isfinite(data.time_s)
    keep &= np.isfinite(data.energy_errors_J) & (data.energy_errors_J > 0.0)
    if not keep.all():
        warnings.append(
            f"{int((~keep).sum())} of {len(keep)} records left out: the meter saw no pulses there"
        )
    curves = {"angle_deg": data.angle_deg, "energy_J": data.energy_J, "used": keep}
    span = float(np.ptp(data.angle_deg[keep])) if keep.any() else 0.0
    if keep.sum() < _LEAST_RECORDS or span < _LEAST_SPAN_DEG:
        warnings.append(
            f"{int(keep.sum())} records over {span:.0f} degrees are too few for the curve: "
            f"{_LEAST_RECORDS} over {_LEAST_SPAN_DEG:g} degrees at least, better a period of 90"
        )
        return Analysis(results, warnings, curves)
    fit, keep = _fit_robustly(data, keep, warnings)
    curves["used"] = keep
    theta0 = _on_the_branch(float(fit.values[0]), data.angle_deg[keep])
    if fit.error(0) > _WORST_ANGLE_DEG or not fit.values[1] > fit.values[2]:
        warnings.append("the energies do not follow the curve of a wave plate: is it in the beam?")
        return Analysis(results, warnings, curves)
    _fill(results, data, fit, theta0, area, area_error, warnings)
    _add_curves(curves, data, fit)
    return Analysis(results, warnings, curves)


def _nothing() -> dict[str, Result]:
    units = {
        "theta0_deg": "deg",
        "transmission_min": "1",
        "transmission_max": "1",
        "full_pulse_energy_J": "J",
        "area_cm2": "cm^2",
        "fluence_full_uJ_cm2": "uJ/cm^2",
        "angle_scatter_deg": "deg",
        "unsteadiness": "1",
        "drift_per_hour": "1/h",
    }
    return {name: Result.nothing(unit) for name, unit in units.items()}


def _area_cm2(data: PumpCalibrationData) -> tuple[float, float]:
    """Return the area and its error (cm2), (0, 0) if it is not given."""
    (width, width_error), (length, length_error) = data.width_mm, data.length_mm
    diameter, diameter_error = data.diameter_mm
    if diameter > 0.0:
        area, relative = math.pi * (0.05 * diameter) ** 2, 2.0 * diameter_error / diameter
    elif width > 0.0 and length > 0.0:
        area = 0.01 * width * length
        relative = math.hypot(width_error / width, length_error / length)
    else:
        return 0.0, 0.0
    return area, area * (relative if relative > 0.0 else data.area_rel_unc)


# ---- the fit ------------------------------------------------------------------------------------


def _curve(angle_deg: FloatArray, theta0_deg: float, high: float, low: float) -> FloatArray:
    phase = np.radians(2.0 * (angle_deg - theta0_deg))
    return np.asarray(low + (high - low) * np.cos(phase) ** 2)


def _slopes(
    angle_deg: FloatArray, theta0_deg: float, high: float, low: float
) -> tuple[FloatArray, FloatArray]:
    """Return first and second derivative by the angle (J/deg, J/deg^2)."""
    phase = np.radians(4.0 * (angle_deg - theta0_deg))
    step = math.radians(1.0)
    span = high - low
    return -2.0 * span * np.sin(phase) * step, -8.0 * span * np.cos(phase) * step**2


def _first_guess(angle_deg: FloatArray, energy: FloatArray) -> tuple[float, float, float]:
    phase = np.radians(4.0 * angle_deg)
    table = np.column_stack([np.ones_like(phase), np.cos(phase), np.sin(phase)])
    mean, even, odd = np.linalg.lstsq(table, energy, rcond=None)[0]
    size = math.hypot(even, odd)
    return math.degrees(math.atan2(odd, even)) / 4.0, mean + size, max(mean - size, 0.0)


def _fit_robustly(
    data: PumpCalibrationData, keep: NDArray[np.bool_], warnings: list[str]
) -> tuple[_Fit, NDArray[np.bool_]]:
    """Fit; leave out the few records that no noise explains, and fit again."""
    keep = keep.copy()
    most = int(_MOST_OUTLIERS * keep.sum())
    fit, pulls = _fit(data, keep, robust=True)
    wild = np.flatnonzero(np.abs(pulls) > _OUTLIER_SIGMA)
    wild = wild[np.argsort(-np.abs(pulls[wild]))][:most]
    if len(wild):
        places = np.flatnonzero(keep)[wild]
        keep[places] = False
        shown = ", ".join(f"{data.angle_deg[place]:.1f}" for place in np.sort(places))
        warnings.append(f"{len(places)} records far off the curve left out, at {shown} degrees")
    fit, _ = _fit(data, keep, robust=False)
    return fit, keep


def _fit(
    data: PumpCalibrationData, keep: NDArray[np.bool_], robust: bool
) -> tuple[_Fit, FloatArray]:
    """Fit the curve; the scatter of the angle is found too, or, if `robust`, as the mount's."""
    angle, time = data.angle_deg[keep], data.time_s[keep]
    scale = float(np.max(data.energy_J[keep]))
    energy, noise = data.energy_J[keep] / scale, data.energy_errors_J[keep] / scale
    chain = _chain(time, np.unique(data.time_s[keep & data.reference]))
    nodes = chain.shape[1]
    values = np.concatenate([_first_guess(angle, energy), np.zeros(nodes)])
    scatter = _Scatter(data.angle_resolution_deg)
    freedom = max(len(energy) - 3 - max(nodes - 1, 0), 1)
    pulls = np.zeros(len(energy))
    for _ in range(6):
        before = scatter
        sigma = _sigma(angle, values, noise, scatter)

        def residuals(p: FloatArray, sigma: FloatArray = sigma) -> FloatArray:
            drift = chain @ p[3:] if nodes else np.zeros(len(energy))
            model = _curve(angle, p[0], p[1], p[2]) * (1.0 + drift)
            rows = (energy - model) / sigma
            return np.append(rows, drift.mean() / _MEAN_ZERO) if nodes else rows

        done = least_squares(
            residuals,
            values,
            x_scale=np.concatenate([[0.1, 1.0, 1e-3], np.full(nodes, 1e-2)]),
            loss="soft_l1" if robust else "linear",
            f_scale=2.0,
            xtol=1e-12,
            ftol=1e-12,
        )
        values = done.x
        pulls = residuals(values)[: len(energy)]
        if robust:
            relative = pulls * sigma / _curve(angle, values[0], values[1], values[2])
            usual = 1.4826 * float(np.median(np.abs(relative)))
            scatter = _Scatter(data.angle_resolution_deg, usual)
        else:
            scatter = _likeliest(angle, values, noise, pulls * sigma, freedom)
            least = _LEAST_SHARE * data.angle_resolution_deg
            scatter = _Scatter(max(scatter.angle_deg, least), scatter.relative)
        if abs(scatter.angle_deg - before.angle_deg) < 0.01 * scatter.angle_deg and (
            abs(scatter.relative - before.relative) < 1e-5
        ):
            break
    excess = max(float(np.sum(pulls**2)) / freedom, 1.0)
    covariance = np.linalg.pinv(done.jac.T @ done.jac) * excess
    size = np.concatenate([[1.0, scale, scale], np.ones(nodes)])
    return _Fit(values * size, covariance * np.outer(size, size), scatter, excess, freedom), pulls


def _chain(time: FloatArray, visits: FloatArray) -> FloatArray:
    """Return the weights of the drift at the visits in each record's drift, (N, visits)."""
    if len(visits) < 2:
        return np.zeros((len(time), 0))
    return np.column_stack([np.interp(time, visits, row) for row in np.eye(len(visits))])


def _sigma(
    angle: FloatArray, values: FloatArray, noise: FloatArray, scatter: _Scatter
) -> FloatArray:
    slope, bend = _slopes(angle, values[0], values[1], values[2])
    relative = scatter.relative * _curve(angle, values[0], values[1], values[2])
    by_angle = (slope * scatter.angle_deg) ** 2 + 0.5 * (bend * scatter.angle_deg**2) ** 2
    return np.asarray(np.sqrt(noise**2 + relative**2 + by_angle))


def _likeliest(
    angle: FloatArray,
    values: FloatArray,
    noise: FloatArray,
    residuals: FloatArray,
    freedom: int,
) -> _Scatter:
    """Return the scatters that make these residuals most likely."""
    square = residuals**2 * len(residuals) / freedom

    def unlikeliness(roots: FloatArray) -> float:
        variance = _sigma(angle, values, noise, _Scatter(*(float(r) ** 2 for r in roots))) ** 2
        return float(np.sum(np.log(variance) + square / variance))

    done = minimize(
        unlikeliness,
        (0.1, 0.03),
        method="Nelder-Mead",
        bounds=((0.0, math.sqrt(_WORST_ANGLE_DEG)), (0.0, math.sqrt(_WORST_RELATIVE))),
        options={"xatol": 1e-4, "fatol": 1e-3, "maxiter": 200},
    )
    return _Scatter(float(done.x[0]) ** 2, float(done.x[1]) ** 2)


def _on_the_branch(theta0_deg: float, angle_deg: FloatArray) -> float:
    """Return the brightest angle whose 45 degrees were scanned, of those the nearest to zero."""
    candidates = theta0_deg + 90.0 * np.arange(-8, 9)
    low, high = angle_deg.min() - 1.0, angle_deg.max() + 1.0
    inside = candidates[(candidates >= low) & (candidates + 45.0 <= high)]
    best = inside if len(inside) else candidates
    return float(best[np.argmin(np.abs(best))])


# ---- what comes out -----------------------------------------------------------------------------


def _fill(
    results: dict[str, Result],
    data: PumpCalibrationData,
    fit: _Fit,
    theta0_deg: float,
    area: float,
    area_error: float,
    warnings: list[str],
) -> None:
    high, low = float(fit.values[1]), float(fit.values[2])
    given, given_error = data.transmission_max, data.transmission_max_unc
    results["theta0_deg"] = Result(theta0_deg, fit.error(0), "deg")
    results["transmission_max"] = Result(given, given_error, "1")
    ratio = low / high
    gradient = np.array([-ratio / high, 1.0 / high])
    ratio_error = math.sqrt(max(float(gradient @ fit.covariance[1:3, 1:3] @ gradient), 0.0))
    results["transmission_min"] = Result(
        max(given * ratio, 0.0),
        math.hypot(given * ratio_error, ratio * given_error),
        "1",
    )
    full = high / given / data.meter_ratio
    relative = math.hypot(fit.error(1) / high, data.energy_rel_unc, given_error / given)
    results["full_pulse_energy_J"] = Result(full, full * relative, "J")
    if area > 0.0:
        fluence = full * 1e6 / area
        results["fluence_full_uJ_cm2"] = Result(
            fluence, fluence * math.hypot(relative, area_error / area), "uJ/cm^2"
        )
    scatter, share = fit.scatter, 1.0 / math.sqrt(2.0 * fit.freedom)
    results["angle_scatter_deg"] = Result(scatter.angle_deg, share * scatter.angle_deg, "deg")
    # Of a steady laser it is not known better than the pulse noise of a record lets it be.
    noise = float(np.nanmedian(data.energy_errors_J / data.energy_J))
    unsure = share * math.hypot(scatter.relative, noise)
    results["unsteadiness"] = Result(scatter.relative, unsure, "1")
    _drift(results, data, fit, warnings)
    if scatter.angle_deg > _SUSPICIOUS * data.angle_resolution_deg:
        warnings.append(
            f"the energies scatter as if the angle were off by {scatter.angle_deg:.2f} degrees, "
            f"where the mount is said to settle within {data.angle_resolution_deg:.2f}: look for "
            "backlash, a clipped beam or an unsteady laser"
        )
    if low < 2.0 * fit.error(2):
        warnings.append("the darkest energy cannot be told from zero: transmission_min is a guess")


def _drift(
    results: dict[str, Result], data: PumpCalibrationData, fit: _Fit, warnings: list[str]
) -> None:
    """Fill in the drift, a straight line through its nodes."""
    nodes = len(fit.values) - 3
    if nodes < 2:
        warnings.append(
            "the reference angle was not visited twice: a drift of the laser is in here"
        )
        return
    good = data.reference & np.isfinite(data.energy_J) & (data.energy_errors_J > 0.0)
    hours = np.unique(data.time_s[good])[:nodes] / 3600.0
    if len(hours) != nodes:
        return
    about = hours - hours.mean()
    weights = about / float(about @ about)
    error = math.sqrt(max(float(weights @ fit.covariance[3:, 3:] @ weights), 0.0))
    results["drift_per_hour"] = Result(float(weights @ fit.values[3:]), error, "1/h")


def _add_curves(
    curves: dict[str, NDArray[np.generic]], data: PumpCalibrationData, fit: _Fit
) -> None:
    """Add the curve, the residuals, and the drift at the times of the records."""
    theta0, high, low = (float(one) for one in fit.values[:3])
    angle = np.linspace(np.nanmin(data.angle_deg), np.nanmax(data.angle_deg), 721)
    curves["fit_angle_deg"] = angle
    curves["fit_energy_J"] = _curve(angle, theta0, high, low)
    good = np.asarray(curves["used"], dtype=bool)
    visits = np.unique(data.time_s[good & data.reference])
    chain = _chain(data.time_s, visits)
    drift = chain @ fit.values[3:] if chain.shape[1] else np.zeros(len(data.time_s))
    curves["drift"] = drift
    curves["time_s"] = data.time_s
    corrected = data.energy_J / (1.0 + drift)
    curves["corrected_J"] = corrected
    model = _curve(data.angle_deg, theta0, high, low)
    sigma = _sigma(data.angle_deg, fit.values[:3], data.energy_errors_J, fit.scatter)
    curves["residual_sigma"] = (corrected - model) / sigma
    if len(visits) >= 2:
        curves["visit_s"] = visits
        curves["visit_drift"] = fit.values[3:]
        curves["visit_drift_errors"] = np.sqrt(np.maximum(np.diag(fit.covariance)[3:], 0.0))
