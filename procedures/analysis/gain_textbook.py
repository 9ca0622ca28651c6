"""The textbook's variable-stripe-length fit: one wavelength, an exponential, saturation cut off.

    I(x) = A (exp(g x) - 1) / g

For the figure alone, labelled as what it is: saturation and unguided light make it come out tens of
percent low. The range is the longest run of neighbouring lengths that chi-squared does not refuse,
of equally long ones the shortest stripes. Source: Shaklee, Nahory and Leheny, J. Lumin. 7, 284
(1973).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import growth

_FEWEST = 5
_REFUSED = 1.5  # chi-squared per degree


@dataclass(frozen=True)
class Textbook:
    """Gain and its error in 1/cm, and the curve over the range it was fitted in."""

    gain_per_cm: float
    sigma_per_cm: float
    length_cm: FloatArray
    intensity: FloatArray


def unsaturated_fit(
    length_cm: FloatArray, intensity: FloatArray, rel_sigma: FloatArray
) -> Textbook | None:
    """Fit rising lengths (N,), in true cm; None if no five neighbours can be described."""
    good = (length_cm > 0.0) & (intensity > 0.0)
    x, y, sigma = length_cm[good], np.log(intensity[good]), rel_sigma[good]

    def model(at: FloatArray, ln_seed: float, gain: float) -> FloatArray:
        return np.asarray(ln_seed + np.log(at * growth(np.clip(gain * at, -50.0, 200.0))))

    for count in range(len(x), _FEWEST - 1, -1):
        for first in range(len(x) - count + 1):
            part = slice(first, first + count)
            start = (float(y[first] - np.log(x[first])), 30.0)
            try:
                found, covariance = curve_fit(
                    model, x[part], y[part], start, sigma[part], absolute_sigma=True
                )
            except RuntimeError:
                continue
            chi2 = float(np.sum(((y[part] - model(x[part], *found)) / sigma[part]) ** 2))
            if chi2 < _REFUSED * (count - 2):
                grid = np.geomspace(x[first], x[first + count - 1], 60)
                error = float(np.sqrt(covariance[1, 1]))
                return Textbook(float(found[1]), error, grid, np.exp(model(grid, *found)))
    return None
