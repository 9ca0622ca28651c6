"""When and how sharply a streak camera sees light of the sample's colour, not of the pump's.

For the gates and decays of a streak series. The response is recorded with pump light; light of
another colour takes another time through the glass before the tube and frees electrons that spread
less. The rise of the faintest decay tells both: excitons emit as soon as the pump was there. Where
there is no slow decay to ask, response and arrival are those of the pump, with an error as cameras
differ. Stops at the response: what is seen through it is asked elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from procedures.analysis.camera_response import Response
from procedures.analysis.decay import Courses, first_lifetime_ps
from procedures.analysis.reconvolution import DecayFit, fit_decays, free_lifetimes
from procedures.analysis.results import FloatArray
from procedures.analysis.streak_image import Curve

# What is known of a camera that was not measured, in units of the response's width.
_ARRIVAL_UNC, _WIDTH_UNC = 0.06, 0.05
_SLOW = 5.0  # widths of the response, at least, the decay lasts whose rise is asked
_STEP, _REACH = 0.03, 0.15  # of the width


@dataclass(frozen=True)
class OwnColour:
    """The response to the sample's light, and how well its arrival (ps) and width (relative) are
    known.
    """

    response: Response
    arrival_sigma_ps: float
    width_sigma: float

    def neighbours(self) -> list[Response]:
        """Return the response moved and widened by one standard error."""
        later = replace(self.response, arrival_ps=self.response.arrival_ps + self.arrival_sigma_ps)
        return [later, widened(self.response, 1.0 + self.width_sigma)]


def widened(response: Response, factor: float) -> Response:
    """Return a response as much broader."""
    return replace(
        response, offsets_ps=factor * response.offsets_ps, fwhm_ps=factor * response.fwhm_ps
    )


def own_colour(courses: Courses, fluence_uJ_cm2: FloatArray) -> OwnColour:
    """Return the response to the sample's colour; fluences (C,) are those of the curves."""
    response = courses.response
    known = OwnColour(response, _ARRIVAL_UNC * response.fwhm_ps, _WIDTH_UNC)
    curve = courses.curves[int(np.argmin(fluence_uJ_cm2))]
    if first_lifetime_ps(curve, response) < _SLOW * response.fwhm_ps:
        return known
    excess = max(_fit(curve, response).excess, 1.0)

    def loss(factor: float) -> float:
        fit = _fit(curve, widened(response, factor))
        return fit.deviance / excess + ((factor - 1.0) / _WIDTH_UNC) ** 2

    reach = (1.0 - _REACH, 1.0 + _REACH)
    factor = float(minimize_scalar(loss, bounds=reach, options={"xatol": 1e-3}).x)
    factors = factor + np.array([-_STEP, 0.0, _STEP])
    bend = float(np.array([1.0, -2.0, 1.0]) @ [loss(float(one)) for one in factors]) / _STEP**2
    if not bend > 0.0:
        return known
    width_sigma = float(np.sqrt(2.0 / bend + 0.5 / response.events))
    best = widened(response, factor)
    fit = _fit(curve, best)
    sigma = float(np.sqrt(fit.full_covariance[len(fit.shared), len(fit.shared)]))
    sigma = float(np.hypot(sigma, width_sigma * _slope(curve, response, factors)))
    sigma = float(np.hypot(sigma, best.fwhm_ps / 2.3548 / np.sqrt(response.events)))
    shift, prior = float(fit.shifts_ps[0]), known.arrival_sigma_ps
    weight = prior**2 / (prior**2 + sigma**2)
    arrival = best.arrival_ps + weight * shift
    return OwnColour(replace(best, arrival_ps=arrival), float(np.sqrt(weight)) * sigma, width_sigma)


def _fit(curve: Curve, response: Response) -> DecayFit:
    """Fit a slow and a faster exponential, the arrival free."""
    slow = first_lifetime_ps(curve, response)
    width, end = response.fwhm_ps, 30.0 * float(curve.edges_ps[-1])
    bounds = (np.log([0.3 * slow, 0.3 * width]), np.log([end, 0.25 * slow]))
    start = np.log([slow, np.sqrt(0.3 * width * 0.25 * slow)])
    return fit_decays([curve], response, free_lifetimes, start, bounds)


def _slope(curve: Curve, response: Response, factors: FloatArray) -> float:
    """Return how the arrival moves with the width (ps)."""
    first, last = (_fit(curve, widened(response, float(one))) for one in factors[[0, -1]])
    return float(last.shifts_ps[0] - first.shifts_ps[0]) / float(factors[-1] - factors[0])
