"""What a stripe of variable length sends to the spectrograph, as the gain analysis supposes it.

    dI/dx = [(g + l) / (1 + P) - l] I + e,    P = integral of I over wavelength / saturation power,
    seen  = I(x) + kappa e x,       x = length - zero of the slit, its edge blurred,
    g     = G b(lambda) exp(m t) - loss,    e = E s(lambda) d(lambda) exp(n t),   t = ln F / F0.

l the part of the loss that does not saturate, none unless the data insist; b a band of unit peak
(a Gaussian, bent), so that G - loss is the gain at its peak and at F0; s the
spontaneous band as it is measured at low fluence, d what it has changed at F0 (near one). At the
low fluence g = G b (F / F0)^q - loss and nothing saturates. The growth with fluence is local: no
gain law is supposed. For `gain_fit.py`. Batches of parameter sets, plain numpy; no records here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from procedures.analysis.lineshape import FWHM_PER_SIGMA
from procedures.analysis.results import FloatArray
from procedures.analysis.stripe_model import Channels, averaged, growth, mean_openness

NAMES = (
    "ln_gross",  # G, 1/cm
    "gain_peak_nm",
    "ln_gain_fwhm",
    "gain_skew",  # bends of ln b, cubic and quartic, bounded far out
    "gain_bulge",
    "ln_loss",  # 1/cm
    "ln_seed",  # E: counts per shot, nm and cm at the peak of s, guided
    "seed_tilt",  # ln d: linear and square over the band's width
    "seed_bend",
    "ln_direct_ratio",  # kappa
    "ln_saturation",  # saturation power, counts per shot
    "zero_cm",
    "ln_blur",  # cm
    "gain_growth",  # m
    "seed_growth",  # n
    "ln_low_seed",  # E at the low fluence
    "low_exponent",  # q
    "band_peak_nm",
    "ln_band_fwhm",
    "lasting_loss",  # l, 1/cm
)
INDEX = {name: index for index, name in enumerate(NAMES)}

NODES = 4
"""Fluences at which the stripe is computed; what lies between is a cubic of the logarithms."""
LOW_GROWTH = 0.97
"""d ln E / d ln F of the spontaneous light far below threshold."""
_LARGEST_EXPONENT = 200.0


@dataclass(frozen=True)
class Scan:
    """Where records were taken: N of them, (N,) each.

    Attributes:
        length_cm: of the stripe by the slit's calibration.
        ln_fluence: ln of F / F0 of each record.
        low: which belong to the scan at low fluence.
        ln_low: ln of the low fluence over F0.
        pulse_spread: relative, of single pulses; 0 if not known.
        steps: along the stripe, that the longest is cut into at least.
        full_cm: of the stripe that is pumped; a slit opened further pumps no more.
    """

    length_cm: FloatArray
    ln_fluence: FloatArray
    low: NDArray[np.bool_]
    ln_low: float
    pulse_spread: float
    steps: int = 90
    full_cm: float = np.inf

    @property
    def reach(self) -> float:
        """How far to either side of a record's fluence its pulses are followed."""
        return float(np.sqrt(3.0) * max(self.pulse_spread, 0.005))


@dataclass(frozen=True)
class Light:
    """The model's light: B parameter sets, N records, C channels; counts per shot and nm.

    `seen` (B, N, C); `along` d seen / d ln F, of the first set, (N, C).
    """

    seen: FloatArray
    along: FloatArray


def named(theta: FloatArray) -> dict[str, FloatArray]:
    """Return parameter name -> (B,) of sets (B, 20)."""
    return {name: theta[:, index] for name, index in INDEX.items()}


def gain_band(theta: FloatArray, wavelength_nm: FloatArray) -> FloatArray:
    """Return b, (B, C), one at the gain peak."""
    p = named(theta)
    v = (wavelength_nm - p["gain_peak_nm"][:, None]) / np.exp(p["ln_gain_fwhm"])[:, None]
    w = v / np.sqrt(1.0 + v**2)
    bend = p["gain_skew"][:, None] * w**3 + p["gain_bulge"][:, None] * w**4
    return np.asarray(np.exp(-0.5 * (FWHM_PER_SIGMA * v) ** 2 + bend))


def gain_per_cm(theta: FloatArray, wavelength_nm: FloatArray) -> FloatArray:
    """Return the small-signal net gain at F0, (B, C)."""
    p = named(theta)
    gross = np.exp(p["ln_gross"])[:, None] * gain_band(theta, wavelength_nm)
    return np.asarray(gross - np.exp(p["ln_loss"])[:, None])


def true_length(theta: FloatArray, scan: Scan) -> FloatArray:
    """Return the pumped length, (B, N): past the zero of the slit, its edge a blurred one."""
    p = named(theta)
    open_, blur = scan.length_cm - p["zero_cm"][:, None], np.exp(p["ln_blur"])[:, None]
    share = open_ / blur
    closed = blur * np.exp(-0.5 * share**2) / np.sqrt(2.0 * np.pi)
    found = open_ * 0.5 * erfc(-share / np.sqrt(2.0)) + closed
    return np.asarray(np.clip(found, 1e-7, scan.full_cm))


def seen(theta: FloatArray, scan: Scan, channels: Channels) -> Light:
    """Return what every record holds."""
    count, size = len(theta), len(channels.centre_nm)
    light = np.zeros((count, len(scan.length_cm), size))
    along = np.zeros((len(scan.length_cm), size))
    shape = _spontaneous(theta, channels)
    length = true_length(theta, scan)
    if scan.low.any():
        dark = _low(theta, scan, channels, shape, length[:, scan.low])
        light[:, scan.low] = dark
        along[scan.low] = LOW_GROWTH * dark[0]
    if not scan.low.all():
        bright = ~scan.low
        light[:, bright], along[bright] = _amplified(theta, scan, channels, shape, length, bright)
    return Light(averaged(light, channels), averaged(along, channels))


def guided_power(
    theta: FloatArray, length_cm: FloatArray, ln_fluence: float, channels: Channels, steps: int
) -> FloatArray:
    """Return P over the saturation power at true lengths (M,), rising, at a fluence; (B, M)."""
    gain, seed = _rates(theta, np.array([ln_fluence]), channels, _spontaneous(theta, channels))
    way = np.broadcast_to(length_cm, (len(theta), len(length_cm)))
    saturation, loss = np.exp(theta[:, INDEX["ln_saturation"]]), theta[:, INDEX["lasting_loss"]]
    guided = _march(gain, seed, way, channels, saturation, loss, steps)
    power = guided[:, 0] @ channels.width_nm
    return np.asarray(power / saturation[:, None])


def _spontaneous(theta: FloatArray, channels: Channels) -> FloatArray:
    p = named(theta)
    u = (channels.centre_nm - p["band_peak_nm"][:, None]) / np.exp(p["ln_band_fwhm"])[:, None]
    shape = np.exp(-0.5 * (FWHM_PER_SIGMA * u) ** 2)
    return np.asarray(shape if channels.band_factor is None else shape * channels.band_factor)


def _low(
    theta: FloatArray, scan: Scan, channels: Channels, shape: FloatArray, length: FloatArray
) -> FloatArray:
    """Return the light far below threshold, (B, N, C), N the records of that scan."""
    p = {name: value[:, None] for name, value in named(theta).items()}
    excited = np.exp(p["ln_gross"] + p["low_exponent"] * scan.ln_low)
    gain = excited * gain_band(theta, channels.centre_nm) - np.exp(p["ln_loss"])
    weight = np.exp(p["ln_low_seed"] + LOW_GROWTH * (scan.ln_fluence[scan.low] - scan.ln_low))
    x = length[:, :, None]
    collected = x * (growth(gain[:, None] * x) + np.exp(p["ln_direct_ratio"])[:, :, None])
    return np.asarray(weight[:, :, None] * shape[:, None] * collected)


def _rates(
    theta: FloatArray, ln_fluence: FloatArray, channels: Channels, shape: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return gain (1/cm) and seed (per cm), (B, K, C) each, at K fluences."""
    p = {name: value[:, None, None] for name, value in named(theta).items()}
    t = ln_fluence[None, :, None]
    band = gain_band(theta, channels.centre_nm)[:, None]
    gain = np.exp(p["ln_gross"] + p["gain_growth"] * t) * band - np.exp(p["ln_loss"])
    u = (channels.centre_nm - p["band_peak_nm"]) / np.exp(p["ln_band_fwhm"])
    u = np.clip(u, -1.5, 1.5)
    change = p["seed_tilt"] * u + p["seed_bend"] * u**2
    seed = np.exp(p["ln_seed"] + p["seed_growth"] * t + change) * shape[:, None]
    return gain, seed


def _amplified(
    theta: FloatArray,
    scan: Scan,
    channels: Channels,
    shape: FloatArray,
    length: FloatArray,
    bright: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    at, reach = scan.ln_fluence[bright], scan.reach
    node = np.linspace(at.min() - reach, at.max() + reach, NODES)
    gain, seed = _rates(theta, node, channels, shape)
    order = np.argsort(scan.length_cm[bright], kind="stable")
    way = length[:, bright][:, order]
    saturation = np.exp(theta[:, INDEX["ln_saturation"]])
    loss = theta[:, INDEX["lasting_loss"]]
    guided = _march(gain, seed, way, channels, saturation, loss, scan.steps)  # (B, K, N, C)
    direct = np.exp(theta[:, INDEX["ln_direct_ratio"]])[:, None, None, None] * seed[:, :, None]
    logs = np.log(guided + direct * way[:, None, :, None])
    back = np.argsort(order)
    logs = logs[:, :, back]

    def at_fluence(shift: float) -> FloatArray:
        weight = _lagrange(node, at + shift)  # (K, N)
        return np.asarray(np.exp(np.einsum("bknc,kn->bnc", logs, weight)))

    middle, low, high = at_fluence(0.0), at_fluence(-reach), at_fluence(reach)
    along = (high[0] - low[0]) / (2.0 * reach)
    if scan.pulse_spread > 0.0:  # Gauss and Hermite: pulses about their mean
        middle = (4.0 * middle + low + high) / 6.0
    return middle, along


def _lagrange(node: FloatArray, at: FloatArray) -> FloatArray:
    weight = np.ones((len(node), len(at)))
    for k, one in enumerate(node):
        for j, other in enumerate(node):
            if j != k:
                weight[k] *= (at - other) / (one - other)
    return weight


def _march(
    gain: FloatArray,
    seed: FloatArray,
    way: FloatArray,
    channels: Channels,
    saturation: FloatArray,
    lasting_loss: FloatArray,
    steps: int,
) -> FloatArray:
    """Return the guided light, (B, K, M, C), at true lengths `way`, (B, M), rising in each row.

    Steps as in `stripe_model`: all wavelengths of a step share one saturation, its mean over the
    step that of a power which grows by a constant rate, found by a trial step.
    """
    batch, fluences, size = gain.shape
    lossy = bool(lasting_loss.any())
    lost = lasting_loss[:, None, None]
    rate = gain + lost + 1e-9  # a gain of exactly zero would be divided by
    light = np.zeros_like(gain)
    power = np.zeros((batch, fluences))
    found = np.empty((batch, fluences, way.shape[1], size))
    before = np.zeros(batch)
    longest = float(way[0, -1])
    sat = saturation[:, None]

    def advanced(open_: FloatArray, step: FloatArray) -> FloatArray:
        net = rate * open_[:, :, None]
        if lossy:
            net -= lost
        factor = np.expm1(np.minimum(net * step, _LARGEST_EXPONENT))
        return np.asarray(light + factor * (light + seed / net))

    for place in range(way.shape[1]):
        distance = way[:, place] - before
        pieces = max(1, int(np.ceil(steps * float(distance[0]) / longest)))
        step = (distance / pieces)[:, None, None]
        for _ in range(pieces):
            trial = advanced(1.0 / (1.0 + power), step)
            open_ = mean_openness(power, (trial @ channels.width_nm) / sat)
            light = advanced(open_, step)
            power = (light @ channels.width_nm) / sat
        found[:, :, place] = light
        before = way[:, place]
    return found
