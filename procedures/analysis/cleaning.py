"""From camera counts to counts per shot: background, cosmic rays, and the noise of each pixel.

For every analysis of CCD spectra. Stops before any band or line is looked for.

A cosmic ray is a spike of one to a few pixels that the spectrum on both sides does not predict.
It is looked for in counts minus background, so that a hot pixel, present in both, is none, and a
hit on the background frame shows as a negative spike. The prediction is made from the pixels on
both sides by a curve, not by a median, so that a stimulated line of ten pixels or more stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter, uniform_filter1d

from procedures.analysis.results import FloatArray

BoolArray = NDArray[np.bool_]

SPIKE_SIGMA = 6.0
"""A pixel this many sigma above what its neighbours predict is a hit."""
EDGE_SIGMA = 3.5
"""A neighbour of a hit is taken along from this on: a hit seldom stops at a pixel's border."""
_SHAPE_TOLERANCE = {1: 0.005, 2: 0.02, 3: 0.06}  # what a line of 10 pixels may stand above
_EDGE_TOLERANCE = 0.1
_LONGEST_HIT = 4  # pixels, fewer than half of the nine of the median
_MEDIAN_SQUARE = 0.455  # median of the square of a unit normal


@dataclass(frozen=True)
class CameraNoise:
    """What is known, or was found, of the camera's noise.

    Attributes:
        gain_e_per_count: electrons per count.
        read_noise_e: electrons per pixel and readout.
        measured: True if found from the spectra themselves.
    """

    gain_e_per_count: float
    read_noise_e: float
    measured: bool

    def variance(self, signal: FloatArray, reads: FloatArray) -> FloatArray:
        """Return the variance in counts^2 of counts minus background, shape of `signal`.

        `signal` in counts, `reads` accumulations of each record, (N, 1); the background frame
        was read as often.
        """
        read = (self.read_noise_e / self.gain_e_per_count) ** 2
        return np.asarray(np.maximum(signal, 0.0) / self.gain_e_per_count + 2.0 * reads * read)


@dataclass(frozen=True)
class CleanSpectra:
    """Spectra fit for analysis.

    Attributes:
        per_shot: counts per laser shot, (N, P).
        variance: of per_shot, (N, P).
        hits: pixels replaced because of a cosmic ray in light or background, (N, P).
        noise: camera noise used.
    """

    per_shot: FloatArray
    variance: FloatArray
    hits: BoolArray
    noise: CameraNoise


def counts_per_shot(
    counts: ArrayLike,
    background: ArrayLike,
    shots: ArrayLike,
    accumulations: ArrayLike,
    *,
    gain_e_per_count: float | None = None,
    read_noise_e: float | None = None,
) -> CleanSpectra:
    """Return background-free, spike-free spectra in counts per laser shot with their variance.

    `counts` and `background` (N, P), same exposure and accumulations; `shots` and
    `accumulations` (N,), above zero. Where gain or read noise is not given it is found from the
    scatter of neighbouring pixels.

    Raises:
        ValueError: shapes that do not belong together, or no shots.
    """
    light = np.asarray(counts, dtype=np.float64)
    dark = np.asarray(background, dtype=np.float64)
    number = np.asarray(shots, dtype=np.float64)
    reads = np.asarray(accumulations, dtype=np.float64)
    if light.ndim != 2 or dark.shape != light.shape:
        raise ValueError(
            f"counts {light.shape} and background {dark.shape} must be of one shape, (N, pixels)"
        )
    if number.shape != light.shape[:1] or reads.shape != light.shape[:1]:
        raise ValueError(f"shots and accumulations must have one value for each of {len(light)}")
    if np.any(~(number > 0)) or np.any(~(reads > 0)):
        raise ValueError("every record needs at least one shot and one accumulation")
    difference = light - dark
    reads = reads[:, np.newaxis]
    noise = camera_noise(difference, reads, gain_e_per_count, read_noise_e)
    level = _level(difference)
    sigma = np.sqrt(noise.variance(level, reads) + _excess(difference, level, reads, noise))
    hits = spikes(difference, sigma) | spikes(-difference, sigma)
    mended = bridge(difference, hits)
    # Smoothed well beyond a pixel: a pixel that is high by chance must not weigh less for it.
    expected = uniform_filter1d(_level(mended), min(9, light.shape[1]), axis=1, mode="nearest")
    variance = noise.variance(expected, reads) + _excess(mended, expected, reads, noise)
    variance = np.where(hits, 4.0 * variance, variance)
    per = number[:, np.newaxis]
    return CleanSpectra(mended / per, variance / per**2, hits, noise)


def camera_noise(
    difference: FloatArray,
    reads: FloatArray,
    gain_e_per_count: float | None,
    read_noise_e: float | None,
) -> CameraNoise:
    """Return the noise model, completed from the spectra where a number is not given.

    Neighbouring pixels differ by noise once a smooth curve is taken off: the variance of the
    fourth differences against signal is a line with slope 1 / gain and the read noise as
    intercept (photon transfer). `difference` is counts minus background, (N, P), reads (N, 1).
    """
    gain, read = gain_e_per_count, read_noise_e
    if gain is not None and read is not None:
        return CameraNoise(gain, read, measured=False)
    if difference.shape[1] < 16:
        known = gain if gain is not None else 1.0
        return CameraNoise(known, read if read is not None else 0.0, measured=True)
    square = _roughness(difference)
    signal = np.maximum(_level(difference)[:, 2:-2], 0.0)
    readouts = np.broadcast_to(reads, signal.shape)
    floor = signal <= np.quantile(signal, 0.1)  # many are zero where the light ends
    # A median of squares is deaf to spikes.
    quiet = float(np.median(square[floor] / readouts[floor])) / _MEDIAN_SQUARE
    if read is None and gain is not None:
        excess = quiet - float(np.median(signal[floor] / readouts[floor])) / gain
        return CameraNoise(gain, gain * float(np.sqrt(max(excess, 0.0) / 2.0)), measured=True)
    bright = signal > np.quantile(signal, 0.7)
    slope = (np.median(square[bright] / signal[bright]) / _MEDIAN_SQUARE) if np.any(bright) else 1.0
    if read is not None:
        reading = 2.0 * float(np.median(readouts[bright] / signal[bright])) if bright.any() else 0.0
        # slope = 1 / G + reading (read / G)^2, solved for 1 / G.
        curve = reading * read**2
        inverse = (
            (np.sqrt(1.0 + 4.0 * curve * slope) - 1.0) / (2.0 * curve) if curve > 0.0 else slope
        )
    else:
        per_signal = float(np.median(readouts[bright] / signal[bright])) if bright.any() else 0.0
        inverse = slope - quiet * per_signal
    gain = 1.0 / max(float(inverse), 1e-6)
    if read is None:
        read = gain * float(np.sqrt(quiet / 2.0))
    return CameraNoise(gain, read, measured=True)


def _roughness(difference: FloatArray) -> FloatArray:
    """Return squared fourth differences, (N, P - 4), in units of the variance of a pixel."""
    taps = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
    rough = np.apply_along_axis(np.convolve, 1, difference, taps, "valid")
    return np.asarray(rough**2 / float(taps @ taps))


def _excess(
    difference: FloatArray, level: FloatArray, reads: FloatArray, noise: CameraNoise
) -> FloatArray:
    """Return the variance, (N, 1), by which dark pixels scatter beyond the model: dark current.

    Taken only where it is a fifth or more of the model: less is chance.
    """
    if difference.shape[1] < 64:
        return np.zeros((len(difference), 1))
    square, inner = _roughness(difference), level[:, 2:-2]
    dark = inner <= np.quantile(inner, 0.3, axis=1, keepdims=True)
    found = np.nanmedian(np.where(dark, square, np.nan), axis=1, keepdims=True) / _MEDIAN_SQUARE
    model = noise.variance(inner, reads)
    known = np.nanmedian(np.where(dark, model, np.nan), axis=1, keepdims=True)
    return np.where(found > 1.2 * known, found - known, 0.0)


def spikes(spectra: FloatArray, sigma: FloatArray) -> BoolArray:
    """Return which pixels of (N, P) `spectra` are hits, upward only; `sigma` as the spectra.

    What is wider than four pixels is structure and left alone. Spectra of fewer than 16 pixels
    are not searched.
    """
    flags = np.zeros(spectra.shape, dtype=np.bool_)
    if spectra.shape[1] < 16:
        return flags
    level = np.maximum(_level(spectra), 0.0)
    sigma = np.maximum(sigma, 1e-150)  # no light, no noise: no hit either
    # A pixel beside a hit of the other sign exceeds its prediction, but not its surroundings.
    around = median_filter(spectra, size=(1, 9), mode="mirror")
    stands_out = spectra - around > SPIKE_SIGMA * sigma
    # Predictions from rising distance: the nearest pixels judge a single-pixel spike on a steep
    # flank best, the farther ones a spike of several pixels.
    for gap, tolerance in _SHAPE_TOLERANCE.items():
        predicted, inflation = _predicted(spectra, gap)
        excess = (spectra - predicted - tolerance * level) / np.maximum(inflation * sigma, 1e-30)
        flags |= (excess > SPIKE_SIGMA) & stands_out & (spectra >= _highest(spectra, gap))
    for row in np.flatnonzero(flags.any(axis=1)):
        for pixel in np.flatnonzero(flags[row]):
            _grow(flags[row], spectra[row], sigma[row], int(pixel))
    return flags


def bridge(spectra: FloatArray, flags: BoolArray) -> FloatArray:
    """Return spectra with flagged pixels replaced by a line through the good ones around."""
    mended = spectra.copy()
    pixels = np.arange(spectra.shape[1], dtype=np.float64)
    for row in np.flatnonzero(flags.any(axis=1)):
        good = ~flags[row]
        if good.sum() >= 2:
            mended[row, ~good] = np.interp(pixels[~good], pixels[good], spectra[row, good])
    return mended


def _level(spectra: FloatArray) -> FloatArray:
    width = min(5, spectra.shape[1])
    return np.asarray(median_filter(spectra, size=(1, width), mode="mirror"), dtype=np.float64)


def _shifted(spectra: FloatArray, by: int) -> FloatArray:
    """Return the pixels `by` further on; past the border mirrored, so that none meets itself."""
    last = spectra.shape[1] - 1
    pixels = np.abs(np.arange(spectra.shape[1]) + by)
    return spectra[:, last - np.abs(last - pixels)]


def _predicted(spectra: FloatArray, gap: int) -> tuple[FloatArray, float]:
    """Return what the pixels `gap` and `gap` + 1 away predict, and the sigma of the difference.

    The larger of the cubic through two pixels on each side and of the straight line: on top of a
    line the cubic is right, at its foot the straight line is the safe side.
    """
    near = 0.5 * (_shifted(spectra, -gap) + _shifted(spectra, gap))
    far = 0.5 * (_shifted(spectra, -gap - 1) + _shifted(spectra, gap + 1))
    inner, outer = float(gap) ** 2, float(gap + 1) ** 2
    cubic = (outer * near - inner * far) / (outer - inner)
    inflation = np.sqrt(1.0 + 0.5 * (outer**2 + inner**2) / (outer - inner) ** 2)
    return np.maximum(cubic, near), float(inflation)


def _highest(spectra: FloatArray, reach: int) -> FloatArray:
    best = spectra
    for by in range(1, reach + 1):
        best = np.maximum(best, np.maximum(_shifted(spectra, -by), _shifted(spectra, by)))
    return best


def _grow(flags: BoolArray, spectrum: FloatArray, sigma: FloatArray, pixel: int) -> None:
    """Take along neighbours that stand out of the line between the pixels three further on."""
    first = last = pixel
    end = len(spectrum) - 1
    while last - first < _LONGEST_HIT:
        left, right = max(first - 3, 0), min(last + 3, end)
        here = np.array([max(first - 1, 0), min(last + 1, end)])
        base = np.interp(here, [left, right], [spectrum[left], spectrum[right]])
        tolerance = EDGE_SIGMA * sigma[here] + _EDGE_TOLERANCE * np.abs(base)
        before, after = spectrum[here] - base > tolerance
        before, after = bool(before) and first > 0, bool(after) and last < end
        if not before and not after:
            break
        first -= int(before)
        last += int(after)
    flags[first : last + 1] = last - first < _LONGEST_HIT
