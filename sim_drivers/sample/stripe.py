"""The film under the stripe as the guide sees it: gain, seed, and what calibrates them.

g(lambda, F) = K [law(N) b(lambda) - law(N_th)], b a Gaussian of unit peak; seed a s S(F) /
S(F_ref), s of unit area. `calibrate` finds a and b such that saturation length, emitted width and
peak are those of the sample's parameters. For `film.py`, which tabulates, and for whoever checks
it. Stops at the end of the guide: direct light, photons and wear are the film's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from sim_drivers.sample.occupancy import (
    PUMP_WAVELENGTH_NM,
    FloatArray,
    GainLaw,
    mean_excitons,
    spontaneous_strength,
)
from sim_drivers.sample.parameters import SampleError, SampleParameters
from sim_drivers.sample.propagation import propagate

POINTS_PER_LINE = 10.0
"""Model wavelengths per width of the stimulated line."""
BAND_HALF_WIDTHS = 2.75
"""Model wavelengths reach this many spontaneous widths to either side (1e-9 of the peak)."""

_FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
_TOLERANCE = np.array([1e-4, 1e-4, 2e-4])  # of ln P, ln width, peak in units of the width
_LARGEST_MOVE = np.array([2.0, 0.4, 1.0])  # of ln a, ln band width, centre in line widths
_DIFFERENCE = 1e-4
_ITERATIONS = 40


def gaussian(wavelength_nm: ArrayLike, centre_nm: float, fwhm_nm: float) -> FloatArray:
    """Return a Gaussian of unit peak and the given full width at half maximum."""
    offset = (np.asarray(wavelength_nm, dtype=np.float64) - centre_nm) / fwhm_nm
    return np.asarray(np.exp(-0.5 * (_FWHM_PER_SIGMA * offset) ** 2))


def line(wavelength_nm: FloatArray, spectrum: FloatArray) -> tuple[float, float]:
    """Return peak and full width at half maximum, both nm, of the highest line of a spectrum.

    Noise-free spectra only, (P,) on a rising axis, with the half maximum reached on both sides;
    a side that does not reach it counts to the end of the axis.
    """
    highest = int(np.argmax(spectrum))
    floor = 1e-9 * float(spectrum[highest])
    above = spectrum > 0.3 * spectrum[highest]
    left = highest - int(np.argmin(np.append(above[highest::-1], False)))
    right = highest + int(np.argmin(np.append(above[highest:], False)))
    window = slice(max(left - 3, 0), min(right + 4, len(spectrum)))
    logarithm = np.log(np.maximum(spectrum[window], floor))
    curve = CubicSpline(wavelength_nm[window], logarithm)
    flat = curve.derivative().roots(extrapolate=False)
    peak = float(flat[np.argmax(curve(flat))]) if len(flat) else float(wavelength_nm[highest])
    half = curve.solve(float(curve(peak)) - np.log(2.0), extrapolate=False)
    below, beyond = half[half < peak], half[half > peak]
    first = float(below[-1]) if len(below) else float(wavelength_nm[0])
    last = float(beyond[0]) if len(beyond) else float(wavelength_nm[-1])
    return peak, last - first


@dataclass(frozen=True)
class Stripe:
    """A calibrated film under the stripe.

    Attributes:
        parameters: the sample asked for.
        stripe_length_cm: full stripe for which the emitted line is that of the parameters.
        pump_wavelength_nm: turns fluence into excitons.
        seed_per_cm: a, band-summed seed at gain_fluence in saturation powers per cm.
        gain_peak_nm, gain_fwhm_nm: centre and width of the Gaussian gain band b.
    """

    parameters: SampleParameters
    stripe_length_cm: float
    pump_wavelength_nm: float
    seed_per_cm: float
    gain_peak_nm: float
    gain_fwhm_nm: float

    @property
    def law(self) -> GainLaw:
        """The gain law of the sample."""
        return GainLaw(self.parameters.gain_law)

    @property
    def gain_scale_per_cm(self) -> float:
        """K, gain per inversion: fixed by gain_per_cm at gain_fluence, the same at any age."""
        p = self.parameters
        rise = self.law.value(self.excitons([p.gain_fluence_uJ_cm2, p.threshold_uJ_cm2]))
        return float(p.gain_per_cm / (rise[0] - rise[1]))

    def threshold_inversion(self, rise: float = 0.0) -> float:
        """Return the inversion of zero net gain at the gain peak, threshold raised by `rise`."""
        threshold = self.parameters.threshold_uJ_cm2 * (1.0 + rise)
        return float(self.law.value(self.excitons(threshold)))

    def excitons(self, fluence_uJ_cm2: ArrayLike) -> FloatArray:
        """Return the mean excitons per dot at a fluence, same shape."""
        sigma = self.parameters.cross_section_cm2
        return mean_excitons(fluence_uJ_cm2, sigma, self.pump_wavelength_nm)

    def spontaneous(self, fluence_uJ_cm2: ArrayLike) -> FloatArray:
        """Return S(F) / S(gain_fluence), same shape."""
        p = self.parameters
        biexciton_yield = p.biexciton_radiative_factor * p.auger_lifetime_ps
        biexciton_yield /= 1e3 * p.exciton_lifetime_ns
        reference = spontaneous_strength(self.excitons(p.gain_fluence_uJ_cm2), biexciton_yield)
        strength = spontaneous_strength(self.excitons(fluence_uJ_cm2), biexciton_yield)
        return np.asarray(strength / reference)

    def spontaneous_shape(self, wavelength_nm: ArrayLike) -> FloatArray:
        """Return s(lambda) per nm, of unit area."""
        width = self.parameters.spontaneous_fwhm_nm
        height = _FWHM_PER_SIGMA / (np.sqrt(2.0 * np.pi) * width)
        return np.asarray(
            height * gaussian(wavelength_nm, self.parameters.spontaneous_peak_nm, width)
        )

    def wavelengths_nm(self) -> FloatArray:
        """Return the uniform axis, (P,), on which guided light is computed."""
        p = self.parameters
        step_nm = p.ase_fwhm_nm / POINTS_PER_LINE
        half = int(np.ceil(BAND_HALF_WIDTHS * p.spontaneous_fwhm_nm / step_nm))
        return np.asarray(p.spontaneous_peak_nm + step_nm * np.arange(-half, half + 1.0))

    def gain(self, wavelength_nm: FloatArray, inversion: ArrayLike, rise: float) -> FloatArray:
        """Return the small-signal net modal gain in 1/cm, (R, P) for R inversions."""
        band = gaussian(wavelength_nm, self.gain_peak_nm, self.gain_fwhm_nm)
        excited = np.multiply.outer(np.asarray(inversion, dtype=np.float64), band)
        return np.asarray(self.gain_scale_per_cm * (excited - self.threshold_inversion(rise)))

    def guided(
        self,
        fluence_uJ_cm2: ArrayLike,
        length_cm: float,
        *,
        intact: ArrayLike = 1.0,
        threshold_rise: float = 0.0,
    ) -> FloatArray:
        """Return the guided power per nm at the end of the guide, (R, P), on `wavelengths_nm`.

        Computed directly, without the film's tables. `fluence_uJ_cm2` and `intact`, the share of
        dots not bleached, are scalars or (R,); `threshold_rise` is the fraction by age.
        """
        wavelength_nm = self.wavelengths_nm()
        fluence, unbleached = np.broadcast_arrays(
            np.atleast_1d(np.asarray(fluence_uJ_cm2, dtype=np.float64)),
            np.atleast_1d(np.asarray(intact, dtype=np.float64)),
        )
        inversion = self.law.value(self.excitons(fluence))
        gain = unbleached[:, None] * self.gain(wavelength_nm, inversion, threshold_rise)
        strength = self.seed_per_cm * unbleached * self.spontaneous(fluence)
        seed = np.multiply.outer(strength, self.spontaneous_shape(wavelength_nm))
        step_nm = float(wavelength_nm[1] - wavelength_nm[0])
        return propagate(gain, seed, length_cm, self.parameters.waveguide_loss_per_cm, step_nm)


@lru_cache(maxsize=16)
def calibrate(
    parameters: SampleParameters,
    stripe_length_cm: float,
    pump_wavelength_nm: float = PUMP_WAVELENGTH_NM,
) -> Stripe:
    """Find seed and gain band that make the parameters true.

    At gain_fluence the band power is 1 (half the net gain) at the saturation length, and the
    light at the end of the full stripe has the stimulated peak and width.

    Raises:
        SampleError: no seed and gain band do that, or the loss exceeds what it is part of.
    """
    stripe = _first_guess(parameters, stripe_length_cm, pump_wavelength_nm)
    _check_loss(stripe)
    residual, jacobian = _residuals(stripe)
    for _ in range(_ITERATIONS):
        if np.all(np.abs(residual) < _TOLERANCE):
            return stripe
        try:
            step: FloatArray = np.linalg.solve(jacobian, -residual).astype(np.float64)
        except np.linalg.LinAlgError:
            break
        step *= min(1.0, float(np.min(_LARGEST_MOVE / np.maximum(np.abs(step), 1e-12))))
        for _halving in range(5):
            candidate = _moved(stripe, step)
            there, slopes = _residuals(candidate)
            if np.linalg.norm(there) < np.linalg.norm(residual):
                break
            step *= 0.5
        else:
            break
        stripe, residual, jacobian = candidate, there, slopes
        ratio = stripe.gain_fwhm_nm / parameters.spontaneous_fwhm_nm
        if not 0.01 < ratio < 30.0:
            break
    raise _impossible(stripe, residual)


def _first_guess(p: SampleParameters, length_cm: float, pump_wavelength_nm: float) -> Stripe:
    """Take the growth for a small-signal exponential up to the saturation length."""
    blank = Stripe(p, length_cm, pump_wavelength_nm, 1.0, p.ase_peak_nm, p.ase_fwhm_nm)
    growth = p.gain_per_cm * p.saturation_length_cm
    beyond = max(length_cm / p.saturation_length_cm - 1.0, 0.0)
    absorbed = blank.gain_scale_per_cm * blank.threshold_inversion() / p.gain_per_cm
    exponent = (1.0 + absorbed) * (growth + np.log1p(growth * beyond))
    gain_fwhm_nm = 0.9 * p.ase_fwhm_nm * np.sqrt(max(float(exponent), 1.5))
    coupled = blank.spontaneous_shape(p.ase_peak_nm) * p.ase_fwhm_nm
    seed = 1.5 * p.gain_per_cm / (np.expm1(growth) * float(coupled))
    return replace(blank, seed_per_cm=float(seed), gain_fwhm_nm=float(gain_fwhm_nm))


def _moved(stripe: Stripe, by: FloatArray) -> Stripe:
    """Return the stripe moved in (ln a, ln width of b, centre of b in stimulated widths)."""
    return replace(
        stripe,
        seed_per_cm=float(stripe.seed_per_cm * np.exp(by[0])),
        gain_fwhm_nm=float(stripe.gain_fwhm_nm * np.exp(by[1])),
        gain_peak_nm=float(stripe.gain_peak_nm + by[2] * stripe.parameters.ase_fwhm_nm),
    )


def _residuals(stripe: Stripe) -> tuple[FloatArray, FloatArray]:
    """Return (ln P at saturation length, ln width, peak in widths) off the mark, and slopes."""
    p = stripe.parameters
    wavelength_nm = stripe.wavelengths_nm()
    step_nm = float(wavelength_nm[1] - wavelength_nm[0])
    moves: FloatArray = np.diag(np.full(3, _DIFFERENCE))
    variants = [stripe, *(_moved(stripe, move) for move in moves)]
    inversion = stripe.law.value(stripe.excitons(p.gain_fluence_uJ_cm2))
    gain = np.array([one.gain(wavelength_nm, inversion, 0.0) for one in variants])
    shape = stripe.spontaneous_shape(wavelength_nm)
    seed = np.array([one.seed_per_cm * shape for one in variants])
    loss = p.waveguide_loss_per_cm
    nearer, farther = sorted((p.saturation_length_cm, stripe.stripe_length_cm))
    light = propagate(gain, seed, nearer, loss, step_nm)
    at = {nearer: light}
    if farther > nearer:
        at[farther] = propagate(gain, seed, farther - nearer, loss, step_nm, light)
    power = step_nm * at[p.saturation_length_cm].sum(axis=1)
    found = [line(wavelength_nm, spectrum) for spectrum in at[stripe.stripe_length_cm]]
    peaks, widths = np.array(found).T
    off = np.column_stack(
        [
            np.log(power),
            np.log(widths / p.ase_fwhm_nm),
            (peaks - p.ase_peak_nm) / p.ase_fwhm_nm,
        ]
    )
    return off[0], (off[1:] - off[0]).T / _DIFFERENCE


def _check_loss(stripe: Stripe) -> None:
    p = stripe.parameters
    largest = min(stripe.gain_scale_per_cm * stripe.threshold_inversion(), p.gain_per_cm)
    if p.waveguide_loss_per_cm >= largest:
        raise SampleError(
            "waveguide_loss_per_cm",
            p.waveguide_loss_per_cm,
            f"below {largest:.4g} 1/cm: it is a part of the loss that balances the gain at "
            "threshold, and the net gain at gain_fluence must outgrow it",
        )


def _impossible(stripe: Stripe, residual: FloatArray) -> SampleError:
    """Name the key that the stripe came least close to."""
    p = stripe.parameters
    missed = int(np.argmax(np.abs(residual)))
    together = (
        f"for gain_per_cm {p.gain_per_cm:g}, saturation_length_cm {p.saturation_length_cm:g}, a "
        f"stripe of {stripe.stripe_length_cm:g} cm and a spontaneous band of "
        f"{p.spontaneous_fwhm_nm:g} nm at {p.spontaneous_peak_nm:g} nm"
    )
    if missed == 0:
        allowed = f"a length at which light can grow to saturation {together}"
        return SampleError("saturation_length_cm", p.saturation_length_cm, allowed)
    if missed == 1:
        nearest = p.ase_fwhm_nm * float(np.exp(residual[1]))
        allowed = (
            f"a width that a gain band can produce (nearest found {nearest:.3g} nm) {together}"
        )
        return SampleError("ase_fwhm_nm", p.ase_fwhm_nm, allowed)
    nearest = p.ase_peak_nm + p.ase_fwhm_nm * float(residual[2])
    allowed = f"a peak that a gain band can produce (nearest found {nearest:.5g} nm) {together}"
    return SampleError("ase_peak_nm", p.ase_peak_nm, allowed)
