"""cross-section: how much late light there is against fluence, and the absorption of a dot.

Long after the pulse a dot that had any excitons has one: late light counts such dots, 1 - exp(-N)
of them with N = sigma F / photon energy (Poisson; Klimov, J. Phys. Chem. B 104, 6112 (2000)). What
that leaves out is in the model here: the time that several excitons take on their way down, what is
left of two in the gate, and how the pump is shared out over the dots by the cuvette's optical
density and the profile of the spot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import constants
from scipy.optimize import least_squares
from scipy.special import gammaln

from procedures.analysis.auger import Cascade, cascade_of_run
from procedures.analysis.decay import Courses, gather, span_ps
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.streak_image import StreakData

_MOST = 15  # excitons told apart; more of them change nothing that can be seen
_GATE_LIFETIMES = 6.0  # of two excitons, after which the late gate begins at the earliest
_LARGEST_ERROR = 0.3
_LEAST_POINTS = 4
_FAR_ENOUGH = 1.5
_TWO_EXCITON_LIGHT, _ITS_ERROR = 3.0, 1.0  # of one exciton's, where the decays do not tell
_REACH = 30.0


@dataclass(frozen=True)
class Illumination:
    """How the pump is shared out over the dots.

    optical_density: of the cuvette at the pump wavelength (absorbed light, decadic).
    spot_profile: "tophat", or "gaussian": the fluence told is pulse energy over the circle of the
    full 1/e^2 diameter, so that the middle has twice as much.
    """

    optical_density: float = 0.0
    spot_profile: str = "tophat"

    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Return local fluences over the one told, and the share of dots at each, (M,) both."""
        relative, share = np.ones(1), np.ones(1)
        if self.optical_density > 0.0:
            depth, weight = _nodes(10)
            relative, share = np.power(10.0, -self.optical_density * depth), weight
        if self.spot_profile == "gaussian":
            # Out to where a dot gets a billionth; ln(F_peak / F) grows with the area.
            ring, weight = _nodes(60)
            local = 2.0 * np.exp(-_REACH * ring**2)
            area = 0.5 * weight * _REACH * 2.0 * ring
            relative = np.outer(relative, local).ravel()
            share = np.outer(share, area).ravel()
        return relative, share


def late_light(
    excitons: FloatArray, cascade: Cascade, gate_ps: tuple[float, float], light: Illumination
) -> FloatArray:
    """Return the light in a late gate for mean excitons by the fluence told, (M,).

    In units of what one exciton in every dot of a flat spot would give.
    """
    relative, share = light.shares()
    mean = np.outer(np.atleast_1d(excitons), relative)
    number = np.arange(1.0, _MOST)
    with np.errstate(divide="ignore"):
        each = np.exp(
            np.multiply.outer(np.log(mean), number) - mean[..., None] - gammaln(number + 1)
        )
    rest = np.maximum(-np.expm1(-mean) - each.sum(axis=-1), 0.0)
    brightness = _late_brightness(cascade, gate_ps)
    return np.asarray((each @ brightness + rest * brightness[-1]) @ share)


def _late_brightness(cascade: Cascade, gate_ps: tuple[float, float]) -> FloatArray:
    """Return the light in the gate of a dot that began with 1, 2 ... excitons, (n,), one's is 1."""
    number = np.arange(2.0, _MOST)
    two, one = 1.0 / cascade.two_ps, 1.0 / cascade.one_ps
    rates = cascade.rates(number)
    reaches_one = np.concatenate([[1.0], np.cumprod(rates / (rates - one))])
    reaches_two = np.concatenate([[0.0, 1.0], np.cumprod(rates[1:] / (rates[1:] - two))])
    begun, ended = gate_ps
    left = _inside(begun, ended, two) / _inside(begun, ended, one)
    return np.asarray(reaches_one + reaches_two * left * (cascade.light_of_two - two / (two - one)))


def _inside(begun: float, ended: float, rate: float) -> float:
    return float((np.exp(-rate * begun) - np.exp(-rate * ended)) / rate)


def photon_energy_uJ(wavelength_nm: float) -> float:
    """Return the energy of a photon (uJ)."""
    return float(constants.h * constants.c / (wavelength_nm * 1e-9) * 1e6)


def gated_light(courses: Courses, gate_ps: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return events per shot between two times after the arrival, and their variance, (C,)."""
    arrival = courses.response.arrival_ps
    light, variance = [], []
    for curve in courses.curves:
        edges = curve.edges_ps - arrival
        share = np.diff(np.clip(edges, *gate_ps)) / np.diff(edges)
        dark = curve.edges_ps[1:] < courses.response.dark_until_ps
        # Stray light comes evenly in time.
        widths = np.diff(edges)
        base = float(curve.events[dark].sum() / widths[dark].sum())
        stray = float(share @ widths)
        light.append(float(share @ curve.events) - base * stray)
        noise = max(float(share @ curve.events), 0.0) + curve.floor * float(share.sum())
        noise += curve.floor * float(dark.sum()) * (stray / float(widths[dark].sum())) ** 2
        variance.append(noise)
    shots = np.array([curve.shots for curve in courses.curves])
    return np.array(light) / shots, np.array(variance) / shots**2


def analyze_cross_section(data: StreakData, light: Illumination, gate_ps: float) -> Analysis:
    """Return cross_section_cm2, with the curves of the figure. gate_ps: where the gate begins."""
    warnings: list[str] = []
    nothing = {"cross_section_cm2": Result.nothing("cm^2")}
    courses = gather(data, warnings)
    if courses is None:
        return Analysis(nothing, warnings)
    fluence = data.fluence_uJ_cm2[courses.records]
    error = data.fluence_errors_uJ_cm2[courses.records]
    if len(np.unique(np.round(fluence, 6))) < _LEAST_POINTS:
        warnings.append(f"at least {_LEAST_POINTS} fluences are needed, {len(fluence)} can be used")
        return Analysis(nothing, warnings)
    cascade = cascade_of_run(courses, fluence)
    if cascade is None:
        warnings.append(
            "the lifetimes of one and two excitons are not told by these records: two excitons are "
            "taken to be gone in the gate"
        )
        gone = gate_ps / 20.0
        cascade = Cascade(0.2 * span_ps(courses), gone, two_error_ps=gone)
    begin = max(gate_ps, _GATE_LIFETIMES * cascade.two_ps)
    if begin > gate_ps:
        warnings.append(
            f"two excitons live {cascade.two_ps:.0f} ps: the late gate begins at {begin:.0f} ps"
        )
    gate = (begin, span_ps(courses))
    if gate[0] > 0.6 * gate[1]:
        warnings.append("the sweep ends before the light is late: choose a longer time range")
        return Analysis(nothing, warnings)
    events, variance = gated_light(courses, gate)
    per_fluence = 1.0 / photon_energy_uJ(data.pump_wavelength_nm)

    def fit(used: Cascade) -> _Fit:
        return _fit(fluence, error, events, variance, used, gate, light)

    best = fit(cascade)
    moved = [fit(other).slope - best.slope for other in cascade.neighbours()]
    model = float(np.sqrt(np.sum(np.square(moved))))
    own = float(np.hypot(best.stderr, model))
    highest = best.slope * float(fluence.max())
    drawn = _drawn(fluence, events, variance, best, cascade, gate, light)
    if not own < _LARGEST_ERROR * best.slope:
        warnings.append(
            f"the late light hardly bends (N up to {highest:.2g}): go to a higher fluence"
        )
        return Analysis(nothing, warnings, drawn)
    if highest < _FAR_ENOUGH:
        warnings.append(
            f"N reaches {highest:.2g} only: up to 2 or more tells the cross-section better"
        )
    if light == Illumination():
        warnings.append(
            "optical density 0 and a flat spot were given: a density of 0.3 unsaid would make the "
            "result 27 % too small, a Gaussian spot up to 59 %"
        )
    value = best.slope / per_fluence
    stderr = value * float(np.hypot(own / best.slope, data.fluence_rel_unc))
    return Analysis({"cross_section_cm2": Result(value, stderr, "cm^2")}, warnings, drawn)


@dataclass(frozen=True)
class _Fit:
    slope: float  # mean excitons per uJ/cm2
    stderr: float
    scale: float


def _fit(
    fluence: FloatArray,
    fluence_error: FloatArray,
    events: FloatArray,
    variance: FloatArray,
    cascade: Cascade,
    gate: tuple[float, float],
    light: Illumination,
) -> _Fit:
    """Fit scale x late_light(slope x fluence); errors in both coordinates (effective variance)."""

    def shape(slope: float) -> FloatArray:
        return late_light(slope * fluence, cascade, gate, light)

    def expected(theta: FloatArray) -> FloatArray:
        return np.asarray(np.exp(theta[0]) * shape(float(np.exp(theta[1]))))

    trial = np.geomspace(0.02, 20.0, 25) / float(fluence.max())
    fits = []
    for slope in trial:
        h = shape(float(slope))
        scale = float((events / h).mean())
        fits.append((float(np.sum((events / (scale * h) - 1.0) ** 2)), slope, scale))
    _, slope, scale = min(fits)
    theta = np.log([max(scale, 1e-12), slope])
    for _ in range(4):
        here = expected(theta)
        step = 1e-4
        up = np.exp(theta[0]) * late_light(
            np.exp(theta[1]) * fluence * (1.0 + step), cascade, gate, light
        )
        # Poisson noise of what is expected, not of what was seen by chance.
        noise = variance * np.maximum(here, 1e-12) / np.maximum(events, 1e-12)
        sigma = np.sqrt(noise + ((up - here) / step * fluence_error / fluence) ** 2)
        found = least_squares(
            lambda t, sigma=sigma: (expected(t) - events) / sigma, theta, x_scale=[0.1, 0.1]
        )
        theta = found.x
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    excess = 2.0 * float(found.cost) / max(len(fluence) - 2, 1)
    slope = float(np.exp(theta[1]))
    stderr = slope * float(np.sqrt(covariance[1, 1] * max(excess, 1.0)))
    return _Fit(slope, stderr, float(np.exp(theta[0])))


def _drawn(
    fluence: FloatArray,
    events: FloatArray,
    variance: FloatArray,
    best: _Fit,
    cascade: Cascade,
    gate: tuple[float, float],
    light: Illumination,
) -> dict[str, npt.NDArray[np.float64]]:
    grid = np.geomspace(0.7 * fluence.min(), 1.3 * fluence.max(), 200)
    # The textbook's: whoever is late has one exciton, and all dots get the same.
    bare = _fit(
        fluence, 0.0 * fluence, events, variance, Cascade(1e12, 1e-6), (1.0, 2.0), Illumination()
    )
    return {
        "fluence_uJ_cm2": fluence,
        "late_events_per_shot": events,
        "late_events_sigma": np.sqrt(variance),
        "fit_fluence_uJ_cm2": grid,
        "fit_events_per_shot": best.scale * late_light(best.slope * grid, cascade, gate, light),
        "textbook_events_per_shot": bare.scale * -np.expm1(-bare.slope * grid),
        "excitons_per_uJ_cm2": np.array([best.slope, bare.slope]),
        "gate_ps": np.array(gate),
    }


def _nodes(points: int) -> tuple[FloatArray, FloatArray]:
    """Return Gauss's nodes and weights on 0 to 1."""
    node, weight = np.polynomial.legendre.leggauss(points)
    return np.asarray(0.5 * (node + 1.0)), np.asarray(0.5 * weight)
