"""The decay time that a streak camera shows: from the highest point of the light to 1/e of it.

For the streak series: exponentials and prompt light are fitted, and the time is read off what of
them is seen through the response, smooth, and not in rows. Stops at one curve: whether the light is
faster than the camera is asked elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from procedures.analysis.camera_response import Response
from procedures.analysis.decay import first_lifetime_ps
from procedures.analysis.reconvolution import DecayFit, fit_decays, free_lifetimes
from procedures.analysis.results import FloatArray
from procedures.analysis.streak_image import Curve

_SMALL_STEP = 0.02  # of the logarithm of a lifetime
_LARGEST_ERROR = 0.5
_NEGLIGIBLE = 1e-3  # of the weight of all fits
_FASTEST = 0.15  # of the response's width: faster exponentials are as good as prompt light
_BEFORE, _STEP = 0.5, 0.025  # widths of the response
_LONGEST = 30.0  # lifetimes


class DecayTime:
    """Reads decay times off fits through one response."""

    def __init__(self, response: Response) -> None:
        fine = response.finer()
        self._width = response.fwhm_ps
        self._weights = fine.weights
        self._offsets = fine.offsets_ps
        # Up to where the response has passed; from there on exponentials are all there is.
        self._end = float(fine.offsets_ps[-1])
        self._time = np.arange(-_BEFORE * self._width, self._end, _STEP * self._width)
        since = self._time[:, None] - fine.offsets_ps
        self._lit = since > 0.0
        self._since = np.where(self._lit, since, 0.0)
        self._prompt = response.density(self._time)

    def read(self, amplitudes: FloatArray, lifetimes_ps: FloatArray) -> float | None:
        """Return the time (ps); None if the light does not fall so far.

        An amplitude more than there are lifetimes is prompt light's.
        """
        rates = amplitudes[: len(lifetimes_ps)] / lifetimes_ps
        curve = np.zeros(len(self._time))
        for rate, tau in zip(rates, lifetimes_ps, strict=True):
            curve += rate * (np.where(self._lit, np.exp(-self._since / tau), 0.0) @ self._weights)
        if len(amplitudes) > len(lifetimes_ps):
            curve += amplitudes[-1] * self._prompt
        top = int(np.clip(np.argmax(curve), 1, len(curve) - 2))
        below, at, above = curve[top - 1 : top + 2]
        bend = float(below - 2.0 * at + above)
        share = 0.5 * float(below - above) / bend if bend < 0.0 else 0.0
        level = float(at - 0.25 * (below - above) * share) / np.e
        highest = float(self._time[top]) + share * float(self._time[1] - self._time[0])
        if level <= 0.0:
            return None
        fallen = np.flatnonzero(curve[top:] < level)
        if len(fallen):
            last = top + int(fallen[0])
            part = (curve[last - 1] - level) / (curve[last - 1] - curve[last])
            step = float(self._time[1] - self._time[0])
            return float(self._time[last - 1] + part * step - highest)
        if not len(lifetimes_ps):
            return None
        seen = np.array(
            [self._weights @ np.exp((self._offsets - self._end) / tau) for tau in lifetimes_ps]
        )

        def above_level(time: float) -> float:
            left = np.exp(-(time - self._end) / lifetimes_ps)
            return float((rates * seen) @ left) - level

        longest = self._end + _LONGEST * float(max(self._width, lifetimes_ps.max()))
        if above_level(longest) > 0.0 or above_level(self._end) < 0.0:
            return None
        return float(brentq(above_level, self._end, longest, xtol=1e-6)) - highest


@dataclass(frozen=True)
class Candidate:
    """What is tried: first lifetimes and their bounds (ps), and whether there is prompt light."""

    start_ps: FloatArray
    low_ps: FloatArray
    high_ps: FloatArray
    with_prompt: bool


@dataclass(frozen=True)
class Shown:
    """A decay time with its error, and which of the candidates counted."""

    time_ps: float
    sigma_ps: float
    counted: tuple[Candidate, ...]


def shown_time(
    curve: Curve, response: Response, reach_ps: float, like: Shown | None = None
) -> Shown | None:
    """Return the decay time shown and its error by noise and by what is fitted.

    One to three exponentials, with prompt light or without, weighed by Akaike's criterion: what
    the camera's response hides is told differently by each. None if the light does not fall to 1/e.

    Args:
        curve: of one record. response: to light of its colour.
        reach_ps: how far the arrival may be from the response's.
        like: of nearly the same curve: only what counted there is tried, and no error is told.
    """
    tried = _candidates(curve, response) if like is None else like.counted
    fits = [
        fit_decays(
            [curve],
            response,
            free_lifetimes,
            np.log(one.start_ps),
            (np.log(one.low_ps), np.log(one.high_ps)),
            with_prompt=one.with_prompt,
            shift_reach_ps=reach_ps,
        )
        for one in tried
    ]
    excess = max(min(fit.excess for fit in fits), 1.0)
    criteria = np.array([fit.deviance / excess + 2.0 * fit.free for fit in fits])
    weights = np.exp(-0.5 * (criteria - criteria.min()))
    reader, told, counted = DecayTime(response), [], []
    for one, weight, fit in zip(tried, weights / weights.sum(), fits, strict=True):
        if weight < _NEGLIGIBLE:
            continue
        time = reader.read(fit.amplitudes[0], fit.lifetimes_ps)
        if time is None:
            continue
        error = _error_of_time(fit, reader, time) if like is None else 0.0
        told.append((float(weight), time, error))
        counted.append(one)
    if not told:
        return None
    share, times, errors = np.array(told).T
    # Prompt light beside nothing prompt is told by nothing: its fit's error is boundless.
    told_well = errors < _LARGEST_ERROR * times
    if told_well.any():
        share = np.where(told_well, share, 0.0)
        counted = [one for one, well in zip(counted, told_well, strict=True) if well]
    mean = float(share @ times / share.sum())
    variance = float(share @ (errors**2 + (times - mean) ** 2) / share.sum())
    return Shown(mean, float(np.sqrt(variance)), tuple(counted))


def _candidates(curve: Curve, response: Response) -> tuple[Candidate, ...]:
    """Return what is worth trying: each lifetime kept from another's place."""
    slow, width = first_lifetime_ps(curve, response), response.fwhm_ps
    end, fastest = 30.0 * float(curve.edges_ps[-1]), _FASTEST * width
    if slow < 6.0 * width:  # all is fast
        ranges = [[(slow, fastest, end)], [(1.5 * slow, slow, end), (0.5 * slow, fastest, slow)]]
    else:
        one, split = (slow, 0.5 * slow, end), 0.35 * slow
        faster = (min(1.5 * width, 0.8 * split), fastest, split)
        middle = (np.sqrt(width * split), width, split)
        ranges = [
            [one],
            [(1.2 * slow, 0.8 * slow, end), (0.3 * slow, 0.1 * slow, 0.8 * slow)],
            [one, faster],
            [one, middle, (0.4 * width, fastest, width)],
        ]
    found = [np.array(one).T for one in ranges]
    return tuple(
        Candidate(one[0], one[1], one[2], with_prompt)
        for one in found
        for with_prompt in (False, True)
    )


def _error_of_time(fit: DecayFit, reader: DecayTime, shown: float) -> float:
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
        time = reader.read(theta[shared + 2 :], np.exp(theta[:shared]))
        if time is not None:
            total += ((time - shown) / share) ** 2
    return float(np.sqrt(total))
