"""lifetime: the decay of one exciton, through the camera's response; what decays begin with.

Records at one low fluence, fitted together. Where some dots had two excitons, or a part of them
decays faster, there is a second, faster exponential: whether it is, the data decide, and what the
choice may change is in the standard error. Also the gathering of response and time courses for the
other time-resolved analyses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from procedures.analysis.camera_response import Response, measure_response
from procedures.analysis.reconvolution import DecayFit, fit_decays, free_lifetimes
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.streak_image import (
    RESPONSE,
    SAMPLE,
    Curve,
    StreakData,
    lit_columns,
    time_course,
)

_LEAST_EVENTS = 1000.0
_PUMP_REACH_NM = 8.0
_MARGIN = 0.4  # of the band's width
_LARGEST_ERROR = 0.3
_MANY_FAST = 0.1
_BAD_FIT = 2.0
_FAST_SHARE = 0.15  # of the slow lifetime
_CLEARLY = 12.0  # in twice the logarithm of the likelihood
BEYOND = 10.0
"""Lifetimes over the window, from which the window tells nothing of them."""
AFTER_RISE = 1.3
"""Widths of the response after the arrival from which decays are fitted."""


@dataclass(frozen=True)
class Courses:
    """What the analyses of decays start from.

    response: of the sweep. columns: of the emission. records: indices of the curves' records.
    """

    response: Response
    columns: slice
    curves: list[Curve]
    records: npt.NDArray[np.intp]


def gather(data: StreakData, warnings: list[str]) -> Courses | None:
    """Return response and time courses of a run; None, with a warning, if there are none."""
    warnings += data.problems
    if not len(data.kind):
        warnings.append("there are no records")
        return None
    lit = data.of_kind(SAMPLE)
    saturated = int(np.sum((data.kind == SAMPLE) & data.saturated))
    if saturated:
        warnings.append(f"{saturated} saturated records were left out: lower mcp_gain for them")
    shown = data.of_kind(RESPONSE)
    if not len(shown):
        warnings.append(
            "there is no record of the camera's response: without it a decay cannot be told from "
            "the camera's own"
        )
        return None
    # Beside the pump's wavelength there may be the sample's own light.
    near = np.abs(data.wavelength_nm - data.centre_nm) < _PUMP_REACH_NM
    net = data.net[shown].sum(axis=0)[:, near]
    response = measure_response(data.time_ps, net, data.event_counts)
    if response is None:
        warnings.append(
            "the record of the camera's response is too faint: scatter more pump light into the "
            "slit, or raise response_fluence_uJ_cm2"
        )
        return None
    if not len(lit):
        warnings.append("there is no record of the sample that can be used")
        return None
    if np.sum(data.time_ps < response.dark_until_ps) < 4:
        warnings.append("the pulse comes before the sweep is dark: lower delay_ps")
        return None
    columns = _widened(lit_columns(data.net[lit].sum(axis=0)), len(data.wavelength_nm))
    curves = [time_course(data, int(one), columns, response.dark_until_ps) for one in lit]
    bright = [i for i, curve in enumerate(curves) if curve.events.sum() > _LEAST_EVENTS]
    if not bright:
        warnings.append("the sample's records are too faint: integrate longer")
        return None
    if len(bright) < len(lit):
        warnings.append(f"{len(lit) - len(bright)} records are too faint and were left out")
    return Courses(response, columns, [curves[i] for i in bright], lit[bright])


def _widened(columns: slice, count: int) -> slice:
    """Return the band with a margin: short-lived light, faint in the sum, is redder."""
    more = round(_MARGIN * (columns.stop - columns.start))
    return slice(max(columns.start - more, 0), min(columns.stop + more, count))


def span_ps(courses: Courses) -> float:
    """Return how long after the arrival of the pulse the sweep ends."""
    return float(courses.curves[0].edges_ps[-1] - courses.response.arrival_ps)


def first_lifetime_ps(curve: Curve, response: Response) -> float:
    """Return a first guess of a decay: the mean delay of its light, corrected for the window."""
    after = curve.middle_ps > response.arrival_ps
    light = np.maximum(curve.events[after], 0.0)
    delay = curve.middle_ps[after] - response.arrival_ps
    return float(max((light @ delay) / max(light.sum(), 1.0), response.fwhm_ps))


def analyze_lifetime(data: StreakData) -> Analysis:
    """Return lifetime_ns, with the curves of the figure."""
    warnings: list[str] = []
    nothing = Analysis({"lifetime_ns": Result.nothing("ns")}, warnings)
    courses = gather(data, warnings)
    if courses is None:
        return nothing
    span = span_ps(courses)
    best, error = _slow_decay(courses)
    value = float(best.lifetimes_ps[0])
    if best.excess > _BAD_FIT:
        warnings.append(
            f"the decay is neither one exponential nor two (chi-squared {best.excess:.1f} times "
            "what noise makes): the standard error has been raised by its root"
        )
    share = float(best.amplitudes[:, 1:].sum() / max(best.amplitudes.sum(), 1e-30))
    if share > _MANY_FAST:
        warnings.append(
            f"{100 * share:.0f} % of the light decays with {best.lifetimes_ps[1]:.0f} ps: the "
            "fluence may not be low, or not all dots are alike"
        )
    curves_found = _drawn(courses, best)
    if not error < _LARGEST_ERROR * value:
        warnings.append(
            f"the decay ({1e-3 * value:.1f} ns) is not told by a window of {1e-3 * span:.1f} ns: "
            "choose a longer time range, or integrate longer"
        )
        return Analysis(nothing.results, warnings, curves_found)
    return Analysis(
        {"lifetime_ns": Result(1e-3 * value, 1e-3 * error, "ns")}, warnings, curves_found
    )


def _slow_decay(courses: Courses) -> tuple[DecayFit, float]:
    """Return the fit whose slowest lifetime is the exciton's, and that one's standard error (ps).

    One exponential; two, where a much faster one is more than its error (few dots with two
    excitons are enough to shorten a single exponential); two of similar lifetimes, where the
    likelihood is clearly higher. What one more exponential would change is in the error.
    """
    response, curves = courses.response, courses.curves
    guess = first_lifetime_ps(curves[0], response)
    slowest, fastest = 50.0 * span_ps(courses), 0.2 * response.fwhm_ps
    after = AFTER_RISE * response.fwhm_ps

    def fit(taus: list[float], low: list[float], high: list[float]) -> DecayFit:
        bounds = (np.log(low), np.log(high))
        return fit_decays(curves, response, free_lifetimes, np.log(taus), bounds, from_ps=after)

    one = fit([guess], [fastest], [slowest])
    tau = float(one.lifetimes_ps[0])
    border = max(_FAST_SHARE * tau, 2.0 * fastest)
    two = fit([tau, 0.4 * border], [0.5 * tau, fastest], [slowest, border])
    alike = fit([1.1 * tau, 2.0 * border], [0.7 * tau, border], [slowest, 0.65 * tau])
    fast = float(two.amplitudes[:, 1].sum())
    sigma = float(np.sqrt(two.amplitude_covariance[:, 1, 1].sum()))
    best = two if fast > sigma else one
    gain = (min(one.deviance, two.deviance) - alike.deviance) / max(alike.excess, 1.0)
    if gain > _CLEARLY:
        best = alike
    error = float(best.lifetimes_ps[0] * np.sqrt(best.covariance[0, 0]))
    if best.lifetimes_ps[0] > BEYOND * span_ps(courses):
        error = float("inf")
    elif best is one:
        error = float(np.hypot(error, two.lifetimes_ps[0] - one.lifetimes_ps[0]))
    return best, error


def _drawn(courses: Courses, fit: DecayFit) -> dict[str, npt.NDArray[np.float64]]:
    """Return what the figure draws: the sum of the records, the fit and the response."""
    curve = courses.curves[0]
    width = np.diff(curve.edges_ps)
    arrival = courses.response.arrival_ps
    shots = sum(one.shots for one in courses.curves)
    shown = np.interp(curve.edges_ps - arrival, *_cumulated(courses.response))
    return {
        "time_ps": curve.middle_ps - arrival,
        "events_per_shot_ns": 1e3 * sum(one.events for one in courses.curves) / width / shots,
        "fit_per_shot_ns": 1e3 * sum(fit.model) / width / shots,
        "baseline_per_shot_ns": np.array([1e3 * float(fit.baselines.sum()) / shots]),
        "residual_sigma": np.asarray(
            sum(one.events - model for one, model in zip(courses.curves, fit.model, strict=True))
            / np.sqrt(
                np.maximum(
                    sum(
                        np.maximum(model, 0.0) + one.floor
                        for one, model in zip(courses.curves, fit.model, strict=True)
                    ),
                    1e-9,
                )
            )
        ),
        "response_per_ns": 1e3 * np.diff(shown) / width,
        "lifetimes_ps": fit.lifetimes_ps,
    }


def _cumulated(response: Response) -> tuple[FloatArray, FloatArray]:
    step = float(response.offsets_ps[1] - response.offsets_ps[0])
    edges = np.append(response.offsets_ps - 0.5 * step, response.offsets_ps[-1] + 0.5 * step)
    return edges, np.concatenate([[0.0], np.cumsum(response.weights)])
