"""What a pumped stripe sends to the spectrograph, as an analysis supposes it: the stripe equation.

    dI/dz = [(g + l) / (1 + P) - l] I + e,     P = integral of I / saturation power,
    g     = A [u(F) b(lambda) - 1],            e = (C / kappa) s(lambda) S(F) / S(F_th),
    seen  = I(1) + kappa e,

z in units of the stripe; A the loss of the unpumped stripe, of which l does not saturate; u the
gain law, one at the threshold F_th, where the net gain at the peak of b is zero; b and s Gaussians
of unit peak (s times what it is measured to be over its Gaussian); S = 1 - exp(-N) + q Q(N),
N = N_th F / F_th, Q = 1 - exp(-N) (1 + N). For `stripe_fit.py`. Batches of parameter sets, plain
numpy. Stops at the model: no records here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procedures.analysis.results import FloatArray

FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))

NAMES = (
    "ln_threshold",  # F_th, in the unit of the fluences
    "ln_absorption",  # A
    "ln_excitons",  # N_th
    "ln_direct",  # C: direct light at the peak of s at threshold, per nm
    "ln_direct_ratio",  # kappa
    "ln_saturation",  # saturation power in the unit of the band-integrated signal
    "gain_peak_nm",
    "ln_gain_fwhm",
    "spontaneous_peak_nm",
    "ln_spontaneous_fwhm",
    "biexciton_yield",  # q
    "ln_law_shape",  # poisson: excitons at threshold in Q; logarithmic: c in ln(1 + c F / F_th)
    "loss",  # l
)
INDEX = {name: index for index, name in enumerate(NAMES)}

STEPS = 40
"""Along the stripe: within 0.3 % of fine integration up to a gain of 40, 0.7 % up to 80."""
_UNSATURATED = 3e-4  # band power over saturation power up to which the closed form serves
_LARGEST_EXPONENT = 200.0
_LARGEST_RATE = 5.0  # of ln P in a step


@dataclass(frozen=True)
class Channels:
    """Wavelength channels: centres and widths in nm, (C,) each, adjoining and rising.

    `band_factor` (C,) is what a measured spontaneous band is over its Gaussian; None for one.
    """

    centre_nm: FloatArray
    width_nm: FloatArray
    band_factor: FloatArray | None = None


def inversion(law: str, ratio: FloatArray, shape: FloatArray) -> FloatArray:
    """Return u, one at ratio F / F_th = 1; `shape` is the law's parameter, broadcast."""
    if law == "linear":
        return ratio
    if law == "logarithmic":
        return np.asarray(np.log1p(shape * ratio) / np.log1p(shape))
    return pair_share(shape * ratio) / pair_share(shape)


def pair_share(excitons: FloatArray) -> FloatArray:
    """Return Q = 1 - exp(-N) (1 + N), the share of dots with two excitons or more."""
    n = np.asarray(excitons, dtype=np.float64)
    exact = -np.expm1(-n) - n * np.exp(-n)
    series = n**2 * (0.5 - n / 3.0 + n**2 / 8.0)
    return np.where(n < 1e-3, series, exact)


def emitted(
    law: str,
    theta: FloatArray,
    fluence: FloatArray,
    channels: Channels,
    length: FloatArray | float = 1.0,
    steps: int = STEPS,
) -> tuple[FloatArray, FloatArray]:
    """Return (guided, direct) light per nm, (B, N, C) each, averaged over each channel.

    `theta` (B, 13) as `NAMES`, `fluence` (N,) or (B, N), `length` in full stripes, (N,) or one.
    The error of the integration goes with the inverse square of `steps`.
    """
    p = {name: theta[:, index][:, None, None] for name, index in INDEX.items()}
    ratio = np.broadcast_to(fluence, (len(theta), np.shape(fluence)[-1]))[:, :, None]
    ratio = ratio / np.exp(p["ln_threshold"])
    wavelength = channels.centre_nm
    band = _gaussian(wavelength, p["gain_peak_nm"], p["ln_gain_fwhm"])
    shape = _gaussian(wavelength, p["spontaneous_peak_nm"], p["ln_spontaneous_fwhm"])
    if channels.band_factor is not None:
        shape = shape * channels.band_factor
    threshold_excitons = np.exp(p["ln_excitons"])
    strength = _light(threshold_excitons * ratio, p["biexciton_yield"])
    strength = strength / _light(threshold_excitons, p["biexciton_yield"])
    direct = np.exp(p["ln_direct"]) * strength * shape
    seed = direct / np.exp(p["ln_direct_ratio"])
    pumped = np.reshape(np.broadcast_to(length, ratio.shape[1:2]), (1, -1, 1))
    rise = inversion(law, ratio, np.exp(p["ln_law_shape"]))
    gain = np.exp(p["ln_absorption"]) * (rise * band - 1.0) * pumped
    seed = seed * pumped
    saturation = np.exp(p["ln_saturation"])[:, :, 0]
    guided = propagate(gain, seed, channels.width_nm, saturation, p["loss"] * pumped, steps)
    return averaged(guided, channels), averaged(direct * pumped, channels)


def propagate(
    gain: FloatArray,
    seed: FloatArray,
    width_nm: FloatArray,
    saturation: FloatArray,
    loss: FloatArray,
    steps: int = STEPS,
) -> FloatArray:
    """Return the guided light per nm at the end of the stripe, (B, N, C).

    `gain` (B, N, C) small-signal over the whole stripe, `seed` (B, N, C) per nm and stripe,
    `saturation` (B, 1), `loss` (B, N, 1) that does not saturate, contained in the gain.
    """
    light = seed * growth(np.minimum(gain, _LARGEST_EXPONENT))
    power = (light @ width_nm) / saturation
    records = np.flatnonzero((power > _UNSATURATED).any(axis=0))
    if len(records):
        part = np.broadcast_to(loss, (*gain.shape[:2], 1))[:, records]
        light[:, records] = _march(
            gain[:, records], seed[:, records], width_nm, saturation, part, steps
        )
    return np.asarray(light)


def _march(
    gain: FloatArray,
    seed: FloatArray,
    width_nm: FloatArray,
    saturation: FloatArray,
    loss: FloatArray,
    steps: int,
) -> FloatArray:
    """Step along the stripe; within a step all wavelengths share one saturation, 1 / (1 + P).

    Its mean over the step is that of a P which grows by a constant rate: the rate at the middle
    of the step, by those at its beginning and at the beginning of the one before.
    """
    step = 1.0 / steps
    slope, source, lost = (gain + loss) * step, seed * step, loss * step
    fed = (source @ width_nm) / saturation
    light = _advanced(np.zeros_like(gain), slope, source, lost, np.ones(gain.shape[:2]))
    power = (light @ width_nm) / saturation
    before = None
    for _ in range(1, steps):
        pushed = ((slope * light) @ width_nm) / saturation / (1.0 + power)
        rate = (pushed + fed) / power - lost[:, :, 0]
        middle = rate if before is None else 1.5 * rate - 0.5 * before
        before = rate
        open_ = mean_openness(power, power * np.exp(np.minimum(middle, _LARGEST_RATE)))
        light = _advanced(light, slope, source, lost, open_)
        power = (light @ width_nm) / saturation
    return light


def _advanced(
    light: FloatArray, slope: FloatArray, source: FloatArray, lost: FloatArray, open_: FloatArray
) -> FloatArray:
    """Return the light one step on: I + (exp(x) - 1) (I + e / x), x the saturated gain."""
    exponent = slope * open_[:, :, None]
    # A gain of exactly zero would be divided by; off by 1e-9 it does no harm.
    exponent -= lost - 1e-9
    pushed = source / exponent
    pushed += light
    np.exp(exponent, out=exponent)
    exponent -= 1.0
    pushed *= exponent
    pushed += light
    return pushed


def mean_openness(before: FloatArray, after: FloatArray) -> FloatArray:
    """Return the mean of 1 / (1 + P) for P growing exponentially from `before` to `after`."""
    low = np.maximum(before, 1e-12)
    high = np.maximum(after, 1e-12)
    growth = np.log(high / low)
    flat = np.abs(growth) < 1e-3
    safe = np.where(flat, 1.0, growth)
    exact = 1.0 - (np.log1p(high) - np.log1p(low)) / safe
    return np.where(flat, 1.0 / (1.0 + 0.5 * (low + high)), exact)


def growth(exponent: FloatArray) -> FloatArray:
    """Return (exp(x) - 1) / x."""
    small = np.abs(exponent) < 1e-6
    safe = np.where(small, 1.0, exponent)
    return np.where(small, 1.0 + 0.5 * exponent, np.expm1(exponent) / safe)


def _light(excitons: FloatArray, biexciton_yield: FloatArray) -> FloatArray:
    return np.asarray(-np.expm1(-excitons) + biexciton_yield * pair_share(excitons))


def _gaussian(wavelength: FloatArray, centre: FloatArray, ln_fwhm: FloatArray) -> FloatArray:
    offset = (wavelength - centre) * (FWHM_PER_SIGMA * np.exp(-ln_fwhm))
    return np.asarray(np.exp(-0.5 * offset**2))


def averaged(spectra: FloatArray, channels: Channels) -> FloatArray:
    """Turn values at the centres into means over the channels: w^2 / 24 times the curvature."""
    x, width = channels.centre_nm, channels.width_nm
    if len(x) < 3:
        return spectra
    left, right = np.diff(x)[:-1], np.diff(x)[1:]
    rise = np.diff(spectra, axis=-1)
    curvature = 2.0 * (rise[..., 1:] / right - rise[..., :-1] / left) / (left + right)
    mean = spectra.copy()
    mean[..., 1:-1] += curvature * width[1:-1] ** 2 / 24.0
    return mean
