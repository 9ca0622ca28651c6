"""Narrow lines told from cosmic rays: spectra whose light was kept in parts, one after the other.

For the capillary laser, whose modes are as narrow as a cosmic ray's trace: what is in one part only
is no mode. Beside `cleaning.py`, which takes every narrow spike for a hit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from procedures.analysis.cleaning import bridge, camera_noise, spikes
from procedures.analysis.results import FloatArray
from procedures.analysis.spot_records import SpotData

_HIT_SIGMA = 6.0
_EDGE_SIGMA = 3.5
_HIT_SHARE = 0.5
"""Of the pixel's own light: near threshold a laser's light itself changes from part to part."""


def clean_parts(data: SpotData) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return counts without background, their variance, and which pixels were hit, all (N, P).

    Without parts hits are not looked for, but on the background, where they show as negative.
    """
    counts = np.asarray(data.counts, dtype=np.float64)
    background = np.asarray(data.background, dtype=np.float64)
    reads = np.asarray(data.accumulations, dtype=np.float64)[:, np.newaxis]
    difference = counts - background
    noise = camera_noise(difference, reads, data.gain_e_per_count, data.read_noise_e)
    hits = np.zeros(counts.shape, dtype=np.bool_)
    if data.parts is not None and data.parts.shape[1] >= 3:
        parts = np.asarray(data.parts, dtype=np.float64)
        many = parts.shape[1]
        light = parts - background[:, np.newaxis] / many
        usual = np.median(light, axis=1, keepdims=True)
        variance = noise.variance(usual[:, 0], reads / many)[:, np.newaxis]
        excess = light - usual - _HIT_SHARE * np.maximum(usual, 0.0)
        certain = excess > _HIT_SIGMA * np.sqrt(variance)
        beside = binary_dilation(certain, np.ones((1, 1, 3), dtype=np.bool_))
        hit = certain | (beside & (excess > _EDGE_SIGMA * np.sqrt(variance)))
        whole = np.where(hit, 0.0, light).sum(axis=1) * many / np.maximum((~hit).sum(axis=1), 1)
        hits = hit.any(axis=1)
        difference = np.where(hits, whole, difference)
    variance = noise.variance(difference, reads)
    dark_hits = spikes(-difference, np.sqrt(variance))
    difference = bridge(difference, dark_hits)
    variance = np.where(hits | dark_hits, 2.0 * variance, variance)
    return difference, variance, hits | dark_hits
