"""What a perfect bench would report of a film: noise-free, error-free results for comparison.

For tests and for reports that set a result beside the truth; the analysis never imports it.
Propagates directly, past the film's tables. Results that are parameters of the sample (threshold,
gain, the stimulated line of guided light ...) are in `SampleParameters`; here is the rest, but for
what a streak camera shows (`truth_transient.py`). All results by name: `results.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from sim_drivers.sample.film import PHOTONS_PER_SATURATION_POWER, Film
from sim_drivers.sample.occupancy import FloatArray
from sim_drivers.sample.stripe import line

BELOW_THRESHOLD = (0.036, 0.6)
"""Fluences over threshold between which `slope_below` is taken; 0.036: 0.8 of 22 uJ/cm^2."""
ABOVE_THRESHOLD = (1.05, 1.3)
"""Fluences over threshold between which `slope_above` is taken."""

_FAR_BELOW = 1e-3  # of the threshold
_POINTS = 32


def detected_spectra(
    film: Film,
    fluence_uJ_cm2: ArrayLike,
    wavelength_nm: FloatArray | None = None,
    *,
    length_cm: float | None = None,
    dose_J_cm2: float = 0.0,
    age_days: float = 0.0,
) -> FloatArray:
    """Return photons per nm and shot at the slit, guided and direct, (M, P) for M fluences.

    On `wavelength_nm`, by default the stripe's own (`film.stripe.wavelengths_nm()`); at the full
    stripe if no length is given. Guided light outside the stripe's band counts as none.
    """
    stripe = film.stripe
    length = stripe.stripe_length_cm if length_cm is None else length_cm
    fluence = np.atleast_1d(np.asarray(fluence_uJ_cm2, dtype=np.float64))
    intact = film.bleach(dose_J_cm2)
    rise = film.threshold_rise(age_days)
    spectra = stripe.guided(fluence, length, intact=intact, threshold_rise=rise)
    model_nm = stripe.wavelengths_nm()
    if wavelength_nm is None:
        wavelength_nm = model_nm
    else:
        outside = (wavelength_nm < model_nm[0]) | (wavelength_nm > model_nm[-1])
        spectra = np.where(outside, 0.0, CubicSpline(model_nm, spectra, axis=1)(wavelength_nm))
    direct = film.parameters.direct_light_ratio * stripe.seed_per_cm * intact * length
    shape = stripe.spontaneous_shape(wavelength_nm)
    spectra = spectra + direct * np.multiply.outer(stripe.spontaneous(fluence), shape)
    return np.asarray(PHOTONS_PER_SATURATION_POWER * spectra)


def detected_lines(film: Film, fluence_uJ_cm2: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return peak and FWHM in nm of the detected light, (M,) each: full stripe, fresh film."""
    wavelength_nm = film.stripe.wavelengths_nm()
    found = [line(wavelength_nm, one) for one in detected_spectra(film, fluence_uJ_cm2)]
    peaks, widths = np.array(found).T
    return peaks, widths


def guided_lines(film: Film, fluence_uJ_cm2: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return peak and FWHM in nm of the guided light alone, (M,) each: full stripe, fresh film."""
    stripe = film.stripe
    wavelength_nm = stripe.wavelengths_nm()
    spectra = stripe.guided(fluence_uJ_cm2, stripe.stripe_length_cm)
    peaks, widths = np.array([line(wavelength_nm, one) for one in spectra]).T
    return peaks, widths


def spontaneous_line(film: Film) -> tuple[float, float]:
    """Return peak and FWHM in nm of the detected light far below threshold."""
    peaks, widths = detected_lines(film, _FAR_BELOW * film.parameters.threshold_uJ_cm2)
    return float(peaks[0]), float(widths[0])


def band_intensity(film: Film, fluence_uJ_cm2: ArrayLike) -> FloatArray:
    """Return the photons per shot over the whole band, guided and direct, (M,), full stripe."""
    wavelength_nm = film.stripe.wavelengths_nm()
    step_nm = float(wavelength_nm[1] - wavelength_nm[0])
    return np.asarray(step_nm * detected_spectra(film, fluence_uJ_cm2).sum(axis=1))


def slope_below(film: Film, fluence_uJ_cm2: ArrayLike | None = None) -> float:
    """Return the log-log slope of the band intensity below 0.6 threshold.

    A straight line through the given fluences that lie in that range (the sweep's, to compare
    with its result), or through evenly spaced ones of `BELOW_THRESHOLD`.

    Raises:
        ValueError: fewer than two of the fluences lie there.
    """
    return _slope(film, fluence_uJ_cm2, BELOW_THRESHOLD, lowest=0.0)


def slope_above(film: Film, fluence_uJ_cm2: ArrayLike | None = None) -> float:
    """Return the same between 1.05 and 1.3 threshold."""
    return _slope(film, fluence_uJ_cm2, ABOVE_THRESHOLD, lowest=ABOVE_THRESHOLD[0])


def _slope(
    film: Film, given: ArrayLike | None, span: tuple[float, float], *, lowest: float
) -> float:
    threshold = film.parameters.threshold_uJ_cm2
    if given is None:
        fluence = threshold * np.geomspace(*span, _POINTS)
    else:
        fluence = np.asarray(given, dtype=np.float64)
        relative = fluence / threshold
        fluence = fluence[(relative > 0.0) & (relative >= lowest) & (relative <= span[1])]
    if len(np.unique(fluence)) < 2:
        raise ValueError(
            f"two fluences are needed between {lowest * threshold:g} and "
            f"{span[1] * threshold:g} uJ/cm^2"
        )
    logarithm = np.log(band_intensity(film, fluence))
    return float(np.polyfit(np.log(fluence), logarithm, 1)[0])


def stimulated_fraction(film: Film, shots: ArrayLike) -> FloatArray:
    """Return the guided band power after shots at gain_fluence over the fresh film's, (M,)."""
    stripe = film.stripe
    fluence = film.parameters.gain_fluence_uJ_cm2
    doses = np.atleast_1d(np.asarray(shots, dtype=np.float64)) * fluence * 1e-6
    intact = np.array([1.0, *(film.bleach(float(dose)) for dose in doses)])
    power = stripe.guided(fluence, stripe.stripe_length_cm, intact=intact).sum(axis=1)
    return np.asarray(power[1:] / power[0])


def shots_to_fraction(film: Film, fraction: float) -> float:
    """Return after how many shots at gain_fluence that fraction, 0.001 to 1, is left.

    Infinite for a film that does not bleach.
    """
    if not 1e-3 <= fraction <= 1.0:
        raise ValueError(f"fraction: {fraction} given, allowed is 0.001 to 1")
    if fraction == 1.0:
        return 0.0
    if not np.isfinite(film.bleaching_dose_J_cm2):
        return float("inf")

    def excess(shots: float) -> float:
        return float(stimulated_fraction(film, shots)[0]) - fraction

    most = film.parameters.retained_shots
    while excess(most) > 0.0:
        most *= 2.0
    return float(brentq(excess, 0.0, most, rtol=1e-9))


def threshold_uJ_cm2(film: Film, age_days: float) -> float:
    """Return the fluence of zero net modal gain after days in air."""
    return film.parameters.threshold_uJ_cm2 * (1.0 + film.threshold_rise(age_days))
