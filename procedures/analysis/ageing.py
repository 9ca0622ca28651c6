"""Analysis of power sweeps over days: the threshold of each day, and how fast it rises.

For the command and the figure. Arrays in, numbers with uncertainties out: no file, no instrument.
All days are fitted jointly with their shape shared (`joint_fit.py`): what a gain law gets wrong, it
gets wrong alike every day, and the rise is known far better than any one threshold. The rise is
that of F_th = F_0 (1 + r t), fitted to the days' thresholds with their whole covariance.

Fluences are those reported; the uncertainty of their scale is in the thresholds, not in the rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from procedures.analysis.joint_fit import JointFit, fit_jointly
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.stripe_fit import FitData
from procedures.analysis.stripe_model import emitted
from procedures.analysis.stripe_parameters import model_law
from procedures.analysis.sweep_bands import FirstLook, band_intensity, first_look, fit_data
from procedures.analysis.sweep_records import PowerSweepData, Records, usable_records
from procedures.analysis.threshold import HOPELESS, MODEL_TERM, Threshold, find_threshold

__all__ = ["AgeingData", "analyze_ageing"]

REACH, START = 1.3, 0.8
"""A sweep must reach the one, and begin with two records below the other, times the threshold."""
UNITS = {"threshold_rise_per_day": "1/day", "threshold_uJ_cm2": "uJ/cm^2", "day": "d"}
_LEAST_RECORDS = 8
_NARROWED = 0.85
_FLOOR_SHARES = (0.25, 0.5, 1.0)  # of the relative error that one sweep grants the model
_LEAST_WEIGHT = 0.03  # of a gain law that is fitted to all days
_LEAST_DAYS = 0.02  # apart, for a rise
_WORST = 0.25  # relative sigma beyond which no threshold is stated


@dataclass(frozen=True)
class AgeingData:
    """The sweeps and when each was begun.

    Attributes:
        sweeps: one a day, any order.
        days: when each was begun, since the first one or since the film was made.
    """

    sweeps: Sequence[PowerSweepData]
    days: Sequence[float]

    def __post_init__(self) -> None:
        """Check that there is a day for each sweep."""
        if len(self.sweeps) != len(self.days):
            raise ValueError(f"{len(self.sweeps)} sweeps, but {len(self.days)} days were given")
        if not np.isfinite(np.asarray(self.days, dtype=np.float64)).all():
            raise ValueError(f"days: {list(self.days)} were given, all must be numbers")


@dataclass(frozen=True)
class _Day:
    """A sweep that can be fitted."""

    place: int
    day: float
    records: Records
    data: FitData


def analyze_ageing(data: AgeingData) -> Analysis:
    """Return the rise per day and the threshold of each day, with warnings and curves."""
    order = np.argsort(np.asarray(data.days, dtype=np.float64), kind="stable")
    days = [float(data.days[place]) for place in order]
    sweeps = [data.sweeps[place] for place in order]
    results = {name: Result.nothing(unit) for name, unit in UNITS.items()}
    warnings: list[str] = []
    curves: dict[str, FloatArray] = {}
    results["day"] = Result([round(day, 3) for day in days], [0.0] * len(days), "d")
    results["threshold_uJ_cm2"] = Result([None] * len(days), [None] * len(days), "uJ/cm^2")
    analysis = Analysis(results, warnings, curves)
    found, look = _fit_sets(sweeps, days, warnings)
    if not found or look is None:
        warnings.append("no sweep shows a threshold: nothing can be compared")
        return analysis
    first = find_threshold(found[0].data, look.guess)
    found = _supported(found, first, warnings)
    if not found:
        return analysis
    start = find_threshold(found[0].data, look.guess) if found[0].place else first
    fits, weights = _joint(found, start)
    least = min(fit.reduced for fit in fits)
    if least > HOPELESS:
        warnings.append(
            f"no stripe whose threshold alone moves gives such spectra (chi-squared per degree "
            f"{least:.0f}): nothing is stated; look at the frames (clipped? another spot?)"
        )
        return analysis
    mean, covariance, between = _together(fits, weights)
    scale = max(sweep.fluence_rel_unc for sweep in sweeps)
    common = float(np.linalg.norm([scale, MODEL_TERM, start.cut]))
    values: list[float | None] = [None] * len(days)
    errors: list[float | None] = [None] * len(days)
    for row, one in enumerate(found):
        relative = float(np.sqrt(covariance[row, row] + between[row, row] + common**2))
        values[one.place] = float(np.exp(mean[row]))
        errors[one.place] = float(np.exp(mean[row])) * relative
    results["threshold_uJ_cm2"] = Result(values, errors, "uJ/cm^2")
    when = np.array([one.day for one in found])
    _draw(curves, found, when, mean, covariance, fits[int(np.argmax(weights))])
    if len(found) < 2 or np.ptp(when) < _LEAST_DAYS:
        warnings.append(
            "threshold_rise_per_day: needs sweeps of two days or more; "
            f"{len(found)} usable within {24.0 * np.ptp(when):.1f} h were found"
        )
        return analysis
    rates = [_rise(when, fit.ln_threshold, fit.covariance) for fit in fits]
    rate, sigma, start_value, reduced = _rise(when, mean, covariance)
    spread = float(np.sqrt(np.dot(weights, [(one[0] - rate) ** 2 for one in rates])))
    results["threshold_rise_per_day"] = Result(rate, float(np.hypot(sigma, spread)), "1/day")
    curves["rise_day"] = np.array([when.min(), when.max()])
    curves["rise_uJ_cm2"] = start_value * (1.0 + rate * curves["rise_day"])
    if reduced > 4.0:
        warnings.append(
            f"the thresholds do not rise evenly (chi-squared per degree {reduced:.1f}): the error "
            "of threshold_rise_per_day is enlarged accordingly"
        )
    return analysis


def _fit_sets(
    sweeps: Sequence[PowerSweepData], days: Sequence[float], warnings: list[str]
) -> tuple[list[_Day], FirstLook | None]:
    """Return the sweeps that can be fitted, all in the channels of the first of them."""
    found: list[_Day] = []
    look: FirstLook | None = None
    for place, (sweep, day) in enumerate(zip(sweeps, days, strict=True)):
        records, told = usable_records(sweep)
        warnings += [f"day {_said(day)}: {line}" for line in told]
        main = records.only(records.full)
        if len(main.fluence) < _LEAST_RECORDS:
            warnings.append(
                f"day {_said(day)}: {len(main.fluence)} usable records at the full stripe, "
                f"{_LEAST_RECORDS} are needed; left out"
            )
            continue
        spread = float(main.fluence.max() / main.fluence.min())
        if spread < 2.0:
            warnings.append(
                f"day {_said(day)}: the fluence spans a factor {spread:.2f} only, 2 or more is "
                "needed; left out"
            )
            continue
        own = first_look(main)
        if own is None or own.narrowing > _NARROWED:
            warnings.append(
                f"day {_said(day)}: the spectrum narrows nowhere, so the sweep lies below 1.3 "
                "threshold or wholly above it; left out"
            )
            continue
        look = look or own
        found.append(_Day(place, day, main, fit_data(main, look, sweep.pulse_spread)))
    return found, look


def _said(day: float) -> str:
    return f"{round(day, 3):g}"


def _supported(found: list[_Day], first: Threshold, warnings: list[str]) -> list[_Day]:
    """Leave out the days whose sweeps do not carry a threshold, judged by the first one's."""
    kept = []
    for one in found:
        fluence = one.records.fluence
        if fluence.max() < REACH * first.value:
            why = f"ends at {fluence.max():.3g}, below {REACH:g} threshold"
        elif int(np.sum(fluence < START * first.value)) < 2:
            why = f"has fewer than two records below {START:g} threshold"
        else:
            kept.append(one)
            continue
        warnings.append(
            f"day {_said(one.day)}: the sweep {why} (near {first.value:.3g} uJ/cm^2); left out"
        )
    if kept and not first.rel_sigma < _WORST:
        warnings.append(
            f"the records leave the threshold open within {100.0 * first.rel_sigma:.0f} %: take "
            f"more of them around {first.value:.3g} uJ/cm^2"
        )
        return []
    return kept


def _joint(found: list[_Day], start: Threshold) -> tuple[list[JointFit], FloatArray]:
    """Fit every gain law that has a say to all days; return the fits and their weights.

    What one sweep grants the model is common to all days in part: it is granted no more of it here
    than the residuals ask for.
    """
    sets = [one.data for one in found]
    for share in _FLOOR_SHARES:
        fits = [
            fit_jointly(sets, fit.law, fit.theta, floor=share * start.floor)
            for fit, weight in zip(start.fits, start.weights, strict=True)
            if weight >= _LEAST_WEIGHT
        ]
        if min(fit.reduced for fit in fits) <= 1.0:
            break
    criteria = np.array([fit.criterion for fit in fits])
    # Where even the best law misses the noise, differences count less by the same factor.
    scale = max(1.0, fits[int(np.argmin(criteria))].reduced)
    weights = np.exp(-0.5 * (criteria - criteria.min()) / scale)
    return fits, np.asarray(weights / weights.sum())


def _together(
    fits: list[JointFit], weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean ln thresholds, (D,), covariance within and between the laws, (D, D)."""
    mean = np.sum([w * fit.ln_threshold for fit, w in zip(fits, weights, strict=True)], axis=0)
    within = np.sum([w * fit.covariance for fit, w in zip(fits, weights, strict=True)], axis=0)
    off = [fit.ln_threshold - mean for fit in fits]
    between = np.sum([w * np.outer(o, o) for o, w in zip(off, weights, strict=True)], axis=0)
    return np.asarray(mean), np.asarray(within), np.asarray(between)


def _rise(
    days: FloatArray, ln_threshold: FloatArray, covariance: FloatArray
) -> tuple[float, float, float, float]:
    """Fit ln F = ln F_0 + ln(1 + r t); return (r, sigma, F_0, chi-squared per degree)."""
    weight = np.linalg.pinv(covariance, hermitian=True)
    theta = np.array([ln_threshold[0], 0.0])
    for _ in range(20):
        risen = np.maximum(1.0 + theta[1] * days, 1e-3)
        design = np.column_stack([np.ones_like(days), days / risen])
        normal = np.linalg.pinv(design.T @ weight @ design)
        step = normal @ design.T @ weight @ (ln_threshold - theta[0] - np.log(risen))
        theta = theta + step
        if np.abs(step).max() < 1e-12:
            break
    off = ln_threshold - theta[0] - np.log(np.maximum(1.0 + theta[1] * days, 1e-3))
    reduced = float(off @ weight @ off) / max(len(days) - 2, 1)
    sigma = float(np.sqrt(normal[1, 1] * max(1.0, reduced)))
    return float(theta[1]), sigma, float(np.exp(theta[0])), reduced


def _draw(
    curves: dict[str, FloatArray],
    found: list[_Day],
    when: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    best: JointFit,
) -> None:
    """Add what a figure draws: growth of each day with its fit, thresholds without the scale."""
    curves["day"] = when
    curves["threshold_uJ_cm2"] = np.exp(mean)
    # Of each day against the others: what all share is taken off.
    share = np.ones(len(mean)) / len(mean)
    apart = np.eye(len(mean)) - share[None, :]
    own = np.sqrt(np.maximum(np.diag(apart @ covariance @ apart.T), 0.0))
    curves["threshold_own_errors_uJ_cm2"] = np.exp(mean) * own
    for row, one in enumerate(found):
        key = f"sweep_{one.place}"
        intensity, _ = band_intensity(one.records)
        scale = float(np.exp(-best.ln_scale[row]))
        curves[f"{key}_fluence_uJ_cm2"] = one.records.fluence
        curves[f"{key}_band_counts_per_shot"] = intensity * scale
        grid = np.geomspace(one.records.fluence.min(), one.records.fluence.max(), 80)
        channels = one.data.channels
        guided, direct = emitted(model_law(best.law), best.thetas[row][None], grid, channels)
        curves[f"{key}_fit_fluence_uJ_cm2"] = grid
        curves[f"{key}_fit_counts_per_shot"] = (guided + direct)[0] @ channels.width_nm * scale
