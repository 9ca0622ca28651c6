"""From frames to the camera's own numbers, by photon transfer: noise against signal.

The variance of a pixel from frame to frame is, in counts, signal / gain + (read noise / gain)^2:
the slope gives the electrons per count, the intercept the read noise. Before that, what all pixels
share is taken out of each frame (the laser's pulses differ), and what only one frame shows (cosmic
rays). Arrays in, numbers with uncertainties out; `evaluate_noise_floor` reads them from a run file.

Source: Janesick, Photon Transfer (SPIE 2007), chapters 5 and 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from procedures.analysis.results import Analysis, Result
from procedures.running.runfile import RunFile

FloatArray = npt.NDArray[np.float64]

_BINS = 12  # of signal, in each lit record
_SPIKE = 6.0  # standard deviations from which a frame's pixel is a cosmic ray's
_QUANTISATION = 1.0 / 12.0  # variance of rounding to whole counts
_NEAR_SATURATION = 0.95


@dataclass(frozen=True)
class NoiseData:
    """Frames of some records.

    frames: (records, frames, pixels) counts; exposure_s, lit: (records,). stated_gain is what the
    camera says of itself (electrons per count), None if it says nothing.
    """

    frames: npt.NDArray[Any]
    exposure_s: FloatArray
    lit: npt.NDArray[np.bool_]
    saturation_counts: float
    stated_gain: float | None = None


@dataclass(frozen=True)
class _Line:
    """variance = intercept + slope signal; errors: of the points; chi2: a degree of freedom."""

    intercept: float
    slope: float
    covariance: FloatArray
    errors: FloatArray
    chi2: float


def evaluate_noise_floor(run: RunFile) -> tuple[Analysis, NoiseData]:
    """Gather the frames of a run file and analyse them."""
    settings = run.instruments.get("camera", {}).get("settings", {})
    stated = settings.get("electrons_per_count")
    value = float(getattr(stated, "value", stated)) if stated is not None else math.nan
    data = NoiseData(
        frames=np.asarray(run.records("frames")),
        exposure_s=np.asarray(run.records("exposure"), dtype=np.float64),
        lit=np.asarray(run.records("lit"), dtype=bool),
        saturation_counts=float(run.decisions["saturation_counts"]),
        stated_gain=value if math.isfinite(value) and value > 0.0 else None,
    )
    return analyze_noise_floor(data), data


def analyze_noise_floor(data: NoiseData) -> Analysis:
    """Return gain, read noise and dark signal, with one standard deviation each."""
    results = {
        "gain_e_per_count": Result.nothing("e-"),
        "read_noise_e": Result.nothing("e-"),
        "dark_signal_e_per_s": Result.nothing("e-/s"),
        "bias_counts": Result.nothing("counts"),
    }
    if data.lit.all():
        return Analysis(results, ["there are no frames in the dark to start from"])
    warnings: list[str] = []
    bias, per_s, per_s_error = _dark_level(data)
    signal, variance, samples, spikes = _points(data, bias)
    if spikes:
        warnings.append(f"{spikes} pixels of single records were left out: cosmic rays")
    results["bias_counts"] = Result(bias, None, "counts")
    curves = {"signal_counts": signal, "variance_counts2": variance}
    line = _fit(signal, variance, samples)
    if line is None:
        warnings.append("the noise does not grow with the light: take more levels, or more light")
        return Analysis(results, warnings, curves)
    curves["variance_errors_counts2"] = line.errors
    curves["fit_variance_counts2"] = line.intercept + line.slope * signal
    gain = 1.0 / line.slope
    gain_error = math.sqrt(line.covariance[1, 1]) * gain**2
    results["gain_e_per_count"] = Result(gain, gain_error, "e-")
    if math.isfinite(per_s_error):
        dark_error = math.hypot(per_s_error * gain, per_s * gain_error)
        results["dark_signal_e_per_s"] = Result(per_s * gain, dark_error, "e-/s")
    read_variance = line.intercept - _QUANTISATION
    if read_variance > 0.0:
        noise = math.sqrt(read_variance) * gain
        by = np.array([0.5 * noise / read_variance, -noise * gain])  # by intercept, by slope
        error = math.sqrt(float(by @ line.covariance @ by))
        results["read_noise_e"] = Result(noise, error, "e-")
    else:
        warnings.append("the read noise is below the rounding to whole counts")
    results["chi2_per_point"] = Result(line.chi2, None, "1")
    if line.chi2 > 3.0:
        warnings.append(
            f"the noise is not that of light and readout alone (chi2 {line.chi2:.1f} a point): "
            "something flickers, or the sensor is not linear"
        )
    stated = data.stated_gain
    if stated is not None and abs(gain - stated) > max(3.0 * gain_error, 0.02 * stated):
        warnings.append(
            f"the camera states {stated:.3g} electrons per count, measured are {gain:.3g}"
        )
    return Analysis(results, warnings, curves)


def _dark_level(data: NoiseData) -> tuple[float, float, float]:
    """Return the level without light and exposure (counts), its rise per second and its error."""
    dark = np.flatnonzero(~data.lit)
    found = np.array([_level(np.mean(data.frames[record], axis=0)) for record in dark])
    level, errors = found[:, 0], found[:, 1]
    if np.ptp(data.exposure_s[dark]) == 0.0:
        return float(level.mean()), 0.0, math.inf
    design = np.stack([np.ones(len(dark)), data.exposure_s[dark]], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    bias, per_s = covariance @ design.T @ (level / errors)
    return float(bias), float(per_s), math.sqrt(covariance[1, 1])


def _level(pixels: FloatArray) -> tuple[float, float]:
    """Return the mean of pixels that are all alike but for cosmic rays, and its error."""
    middle = float(np.median(pixels))
    width = 1.4826 * float(np.median(np.abs(pixels - middle)))
    clean = pixels[np.abs(pixels - middle) <= _SPIKE * max(width, 1e-6)]
    return float(clean.mean()), max(float(clean.std()), 1e-6) / math.sqrt(len(clean))


def _points(data: NoiseData, bias: float) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return signal and variance of groups of pixels, the samples in each, and pixels left out."""
    signals: list[float] = []
    variances: list[float] = []
    samples: list[float] = []
    spikes = 0
    for frames, lit in zip(data.frames.astype(np.float64), data.lit, strict=True):
        clean = np.ones(frames.shape[1], dtype=bool)
        for _ in range(2):  # a cosmic ray draws on what the first pass takes for shared
            rest, mean = _own_noise(frames, clean, bias, bool(lit))
            variance = (rest**2).sum(axis=0) / (len(frames) - 1)
            sigma = np.sqrt(np.maximum(_smooth(variance, mean), 1e-12))
            clean = np.asarray((np.abs(rest) < _SPIKE * sigma).all(axis=0))
        dim = mean < _NEAR_SATURATION * data.saturation_counts
        spikes += int((~clean & dim).sum())
        order = np.flatnonzero(clean & dim)
        order = order[np.argsort(mean[order])]
        for group in np.array_split(order, _BINS if lit else 1):
            if len(group) >= 8:
                signals.append(float(mean[group].mean()) - bias)
                variances.append(float(variance[group].mean()))
                samples.append(float(len(group) * (len(frames) - 1)))
    return np.array(signals), np.array(variances), np.array(samples), spikes


def _own_noise(
    frames: FloatArray, clean: npt.NDArray[np.bool_], bias: float, lit: bool
) -> tuple[FloatArray, FloatArray]:
    """Return what is each frame's own, (frames, pixels), and the mean of all, (pixels,).

    A frame is the mean spectrum times a number (the laser) plus a number (the electronics): both
    are fitted to the clean pixels and taken out, and the variance that went with them is given
    back.
    """
    mean = frames.mean(axis=0)
    shared = [np.ones_like(mean)]
    if lit:
        shared.append(mean - bias)
    design = np.stack(shared, axis=1)
    weights = clean / np.sqrt(np.maximum(mean - bias, 0.0) + 10.0)  # about the noise
    weighted = design * weights[:, None] ** 2
    found = np.linalg.lstsq(weighted.T @ design, weighted.T @ (frames - mean).T, rcond=None)[0]
    rest = frames - mean - (design @ found).T
    return rest * math.sqrt(len(mean) / (len(mean) - len(shared))), mean


def _smooth(variance: FloatArray, mean: FloatArray) -> FloatArray:
    """Return the variance that pixels of a like signal have, blind to a few outliers."""
    order = np.argsort(mean)
    smooth = np.empty_like(variance)
    for group in np.array_split(order, max(len(order) // 40, 1)):
        smooth[group] = np.median(variance[group])
    return smooth


def _fit(signal: FloatArray, variance: FloatArray, samples: FloatArray) -> _Line | None:
    """Fit variance = a + b signal, each point weighted by the error that the line gives it.

    A variance of so many samples is known to sqrt(2 / samples) of itself. None if b is not above
    zero.
    """
    if len(signal) < 3 or np.ptp(signal) <= 0.0:
        return None
    design = np.stack([np.ones_like(signal), signal], axis=1)
    expected = variance
    for _ in range(5):
        errors = np.maximum(expected, 1e-9) * np.sqrt(2.0 / samples)
        weighted = design / errors[:, None]
        covariance = np.linalg.inv(weighted.T @ weighted)
        found = covariance @ weighted.T @ (variance / errors)
        expected = design @ found
    intercept, slope = float(found[0]), float(found[1])
    if slope <= 2.0 * math.sqrt(covariance[1, 1]):
        return None
    chi2 = float((((variance - expected) / errors) ** 2).sum() / (len(signal) - 2))
    return _Line(intercept, slope, covariance, errors, chi2)
