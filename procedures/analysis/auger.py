"""auger: the decay of two excitons, from decays at fluences at which few dots have more than two.

A dot that begins with n excitons ends as one with one: its light is a sum of exponentials with the
lifetimes of n, n - 1 ... 1 excitons. Records with N <= 0.5 are fitted together through the measured
response, from a little after the rise: one lifetime for one exciton, one for two, and the small
share of three and four, whose lifetimes follow from that of two (statistical scaling, n^2 (n - 1);
Klimov et al., Science 287, 1011 (2000)) and whose share from Poisson's statistics. What another
scaling would give is in the standard error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from procedures.analysis.decay import (
    AFTER_RISE,
    BEYOND,
    Courses,
    first_lifetime_ps,
    gather,
    span_ps,
)
from procedures.analysis.reconvolution import DecayFit, Lifetimes, exponential, fit_decays
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.streak_image import Curve, StreakData

MOST_EXCITONS_A_DOT = 0.5
"""Mean number up to which records are used."""

_STILL_USABLE = 1.0
_LEAST_EXCITONS = 0.02
_LIGHT_OF_TWO = 3.0  # of one exciton's; only the small share of three depends on it, a little
_MODEL_SHARE = 0.5  # of what the other scaling, n (n - 1), would change
_ROUNDS = 2
_LEAST_RATIO = 4.0  # of the two lifetimes
_SIGNIFICANT = 5.0
_EARLY_EXCESS = 0.15  # of one exciton's light in the rise
_LARGEST_ERROR = 0.3


@dataclass(frozen=True)
class Cascade:
    """Lifetimes (ps) of one and of two excitons, and what two emit over what one does."""

    one_ps: float
    two_ps: float
    light_of_two: float = 3.0
    one_error_ps: float = 0.0
    two_error_ps: float = 0.0
    light_error: float = 1.0

    def rates(self, excitons: FloatArray) -> FloatArray:
        """Return how fast so many excitons (two or more) become one fewer, per ps."""
        return np.asarray(excitons**2 * (excitons - 1.0) / (4.0 * self.two_ps))

    def neighbours(self) -> list[Cascade]:
        """Return this with each number moved by its error."""
        return [
            replace(self, one_ps=self.one_ps + self.one_error_ps),
            replace(self, two_ps=self.two_ps + self.two_error_ps),
            replace(self, light_of_two=self.light_of_two + self.light_error),
        ]


def cascade_lifetimes(power: int) -> Lifetimes:
    """Return lifetimes of one to four excitons from the logarithms of the first two.

    power: 2 for n^2 (n - 1), 1 for n (n - 1).
    """
    factor = 2.0**power / (np.array([2.0, 3.0, 4.0]) ** power * np.array([1.0, 2.0, 3.0]))

    def lifetimes(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        one, two = np.exp(x)
        by = np.zeros((4, 2))
        by[0, 0], by[1:, 1] = one, two * factor
        return np.array([one, *(two * factor)]), by

    return lifetimes


def mixture(excitons: float, lifetimes_ps: FloatArray, light_of_two: float) -> FloatArray:
    """Return how light is mixed, (2, 4), of exponentials: one exciton's own; and of several.

    The second row: light with the lifetimes of two, three and four excitons at a mean number, over
    that with two's. While n last, a dot gives n^2 / 4 of what it gives with two.
    """
    rates = 1.0 / lifetimes_ps
    number = np.arange(1.0, 5.0)
    gives = rates[0] * light_of_two * number**2 / 4.0
    gives[0] = rates[0]
    area = np.zeros(4)
    chance = np.exp(-excitons) * excitons**number / np.array([1.0, 2.0, 6.0, 24.0])
    for first in range(1, 4):  # begins with first + 1 excitons
        for state in range(first + 1):
            into = float(np.prod(rates[state + 1 : first + 1]))
            for j in range(state, first + 1):
                others = [rates[i] - rates[j] for i in range(state, first + 1) if i != j]
                share = into / float(np.prod(others)) if others else 1.0
                area[j] += chance[first] * gives[state] * share / rates[j]
    mixed = np.zeros((2, 4))
    mixed[0, 0], mixed[1, 1:] = 1.0, area[1:] / area[1]
    return mixed


def mean_excitons(courses: Courses, fluence_uJ_cm2: FloatArray) -> FloatArray:
    """Return the mean excitons of a dot by the bend of the late light, 1 - exp(-N), (C,).

    To a tenth or so: only for the choice of records.
    """
    arrival, span = courses.response.arrival_ps, span_ps(courses)
    late = []
    for curve in courses.curves:
        dark = curve.edges_ps[1:] < courses.response.dark_until_ps
        after = curve.middle_ps - arrival > min(1000.0, 0.4 * span)
        base = float(curve.events[dark].mean()) if dark.any() else 0.0
        late.append(float((curve.events[after] - base).sum()) / curve.shots)
    light = np.maximum(np.array(late), 1e-12)

    def residual(theta: FloatArray) -> FloatArray:
        model = theta[0] + np.log(-np.expm1(-np.exp(theta[1]) * fluence_uJ_cm2))
        return np.asarray(np.log(light) - model)

    best = None
    for highest in (0.05, 0.5, 2.0, 8.0):
        slope = highest / float(fluence_uJ_cm2.max())
        scale = float(np.mean(np.log(light) - np.log(-np.expm1(-slope * fluence_uJ_cm2))))
        found = least_squares(residual, [scale, np.log(slope)], loss="soft_l1", f_scale=0.02)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return np.asarray(np.exp(best.x[1]) * fluence_uJ_cm2)


def fit_cascade(
    curves: list[Curve], excitons: FloatArray, courses: Courses, power: int = 2
) -> DecayFit:
    """Fit curves with the decays of one and of several excitons (`mixture`)."""
    response, span = courses.response, span_ps(courses)
    lifetimes = cascade_lifetimes(power)
    one = max(first_lifetime_ps(curves[0], response), 4.0 * response.fwhm_ps)
    two = 0.04 * one
    bounds = (
        np.log([0.3 * one, 0.05 * response.fwhm_ps]),
        np.log([50.0 * span, 1.5 * one / _LEAST_RATIO]),
    )
    for _ in range(_ROUNDS):
        told = lifetimes(np.log([one, two]))[0]
        mix = [mixture(float(n), told, _LIGHT_OF_TWO) for n in excitons]
        fit = fit_decays(
            curves,
            response,
            lifetimes,
            np.log([one, two]),
            bounds,
            mix=mix,
            from_ps=AFTER_RISE * response.fwhm_ps,
        )
        one, two = (float(tau) for tau in fit.lifetimes_ps[:2])
    return fit


def usable(excitons: FloatArray) -> npt.NDArray[np.intp]:
    """Return the records whose mean excitons let two be told from more, at least two of them."""
    order = np.argsort(excitons)
    good = [i for i in order if _LEAST_EXCITONS <= excitons[i] <= MOST_EXCITONS_A_DOT]
    if len(good) < 2:
        good = [i for i in order if _LEAST_EXCITONS <= excitons[i] <= _STILL_USABLE][:2]
    return np.array(sorted(good), dtype=np.intp)


def cascade_of_run(courses: Courses, fluence_uJ_cm2: FloatArray) -> Cascade | None:
    """Return the lifetimes that a fluence series tells, None if it does not."""
    excitons = mean_excitons(courses, fluence_uJ_cm2)
    picked = usable(excitons)
    if not len(picked):
        return None
    fit = fit_cascade([courses.curves[i] for i in picked], excitons[picked], courses)
    one, two = fit.lifetimes_ps[:2]
    errors = fit.lifetimes_ps[:2] * np.sqrt(np.diag(fit.covariance))
    # At a bound a lifetime has no error: nothing tells it.
    told = 0.0 < errors[1] < _LARGEST_ERROR * two and 0.0 < errors[0] < _LARGEST_ERROR * one
    if not told or not _fast_seen(fit):
        return None
    return Cascade(
        float(one), float(two), one_error_ps=float(errors[0]), two_error_ps=float(errors[1])
    )


def analyze_auger(data: StreakData) -> Analysis:
    """Return auger_lifetime_ps and exciton_lifetime_ns, with the curves of the figure."""
    warnings: list[str] = []
    nothing = {
        "auger_lifetime_ps": Result.nothing("ps"),
        "exciton_lifetime_ns": Result.nothing("ns"),
    }
    courses = gather(data, warnings)
    if courses is None:
        return Analysis(nothing, warnings)
    fluence = data.fluence_uJ_cm2[courses.records]
    if len(fluence) < 2:
        warnings.append("at least two fluences are needed")
        return Analysis(nothing, warnings)
    excitons = mean_excitons(courses, fluence)
    picked = usable(excitons)
    if not len(picked):
        warnings.append(
            f"N is {excitons.min():.2g} to {excitons.max():.2g}: records between "
            f"{_LEAST_EXCITONS:g} and {MOST_EXCITONS_A_DOT:g} are needed; change the fluences"
        )
        return Analysis(nothing, warnings)
    if excitons[picked].max() > MOST_EXCITONS_A_DOT:
        warnings.append(
            f"too few records have N below {MOST_EXCITONS_A_DOT:g}: more than two excitons take "
            "part; go to lower fluences"
        )
    curves = [courses.curves[i] for i in picked]
    fit = fit_cascade(curves, excitons[picked], courses)
    other = fit_cascade(curves, excitons[picked], courses, power=1)
    one, two = (float(tau) for tau in fit.lifetimes_ps[:2])
    one_error, two_error = (
        float(e) for e in fit.lifetimes_ps[:2] * np.sqrt(np.diag(fit.covariance))
    )
    shift = _MODEL_SHARE * (other.lifetimes_ps[:2] - fit.lifetimes_ps[:2])
    one_error, two_error = (
        float(np.hypot(one_error, shift[0])),
        float(np.hypot(two_error, shift[1])),
    )
    results = dict(nothing)
    if one_error < _LARGEST_ERROR * one and one < BEYOND * span_ps(courses):
        results["exciton_lifetime_ns"] = Result(1e-3 * one, 1e-3 * one_error, "ns")
    else:
        warnings.append("the exciton's decay is not told by the window: choose a longer time range")
    results["auger_lifetime_ps"] = _auger_result(fit, two, two_error, courses, warnings)
    if fit.excess > 2.0:
        warnings.append(
            f"the decays are not those of one, two and more excitons (chi-squared {fit.excess:.1f} "
            "times what noise makes): standard errors have been raised by its root"
        )
    return Analysis(results, warnings, _drawn(courses, fluence, excitons, picked, fit))


def _auger_result(
    fit: DecayFit, two: float, error: float, courses: Courses, warnings: list[str]
) -> Result:
    """Return the lifetime of two excitons, an upper bound of it, or nothing."""
    seen = _fast_seen(fit)
    width = courses.response.fwhm_ps
    if seen and 0.0 < error < _LARGEST_ERROR * two:
        return Result(two, error, "ps")
    if _early_excess(fit, courses) > _EARLY_EXCESS and (not seen or two < width):
        warnings.append(
            f"light beyond that of one exciton is gone within the camera's response "
            f"({width:.0f} ps): the lifetime of two excitons is an upper bound"
        )
        return Result(min(two + 2.0 * error, width) if seen else width, None, "ps", "upper")
    if seen:
        warnings.append("the decay of two excitons is too faint to be told: integrate longer")
    else:
        warnings.append("no decay of two excitons is seen: go to a higher fluence")
    return Result.nothing("ps")


def _fast_seen(fit: DecayFit) -> bool:
    """Return whether the light of two excitons is clearly more than its error."""
    sigma = np.sqrt(np.sum(fit.amplitude_covariance[:, 1, 1]))
    return float(fit.amplitudes[:, 1].sum() / max(float(sigma), 1e-12)) > _SIGNIFICANT


def _early_excess(fit: DecayFit, courses: Courses) -> float:
    """Return the light of the rise beyond what one exciton's decay gives there, relative to it.

    Of all records of the run, those with more excitons included.
    """
    response = courses.response
    one = fit.lifetimes_ps[0]
    largest = 0.0
    for curve in courses.curves:
        after = curve.middle_ps - response.arrival_ps
        dark = curve.edges_ps[1:] <= response.dark_until_ps
        rate = curve.events - curve.events[dark].mean()
        tail = (after > 10.0 * response.fwhm_ps) & (after < 20.0 * response.fwhm_ps)
        rise = np.abs(after) < AFTER_RISE * response.fwhm_ps
        share, _, _ = exponential(curve.edges_ps, response, 0.0, float(one))
        scale = float(rate[tail].sum() / max(share[tail].sum(), 1e-12))
        expected = scale * float(share[rise].sum())
        largest = max(largest, float(rate[rise].sum()) / max(expected, 1e-12) - 1.0)
    return largest


def _drawn(
    courses: Courses,
    fluence: FloatArray,
    excitons: FloatArray,
    picked: npt.NDArray[np.intp],
    fit: DecayFit,
) -> dict[str, npt.NDArray[np.float64]]:
    """Return all decays scaled to one late level, and the fits of those used."""
    arrival = courses.response.arrival_ps
    first = courses.curves[0]
    width = np.diff(first.edges_ps)
    time = first.middle_ps - arrival
    late = time > min(1000.0, 0.4 * span_ps(courses))
    dark = first.edges_ps[1:] < courses.response.dark_until_ps
    rows = []
    for curve in courses.curves:
        rate = (curve.events - curve.events[dark].mean()) / width
        rows.append(rate / max(float(rate[late].mean()), 1e-12))
    models = []
    for number, i in enumerate(picked):
        curve = courses.curves[i]
        dim = curve.events[dark].mean()
        level = max(float(((curve.events - dim) / width)[late].mean()), 1e-12)
        models.append((fit.model[number] / width - fit.baselines[number]) / level)
    return {
        "time_ps": time,
        "decays": np.array(rows),
        "fits": np.array(models),
        "used": picked.astype(np.float64),
        "fluence_uJ_cm2": fluence,
        "excitons": excitons,
        "lifetimes_ps": fit.lifetimes_ps,
    }
