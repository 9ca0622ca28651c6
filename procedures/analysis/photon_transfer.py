"""What a detected electron is in counts, from two images of the same light.

For streak cameras in analog integration. The difference of two images has no structure but noise;
its variance over the mean is the counts that an electron of plain Poisson noise would have: gain
times the excess noise of the plate's pulse heights. An electron's light is blurred over several
pixels, which share its noise: the covariances of neighbours are summed (mean-variance method with
correlation, after Downing et al., Proc. SPIE 6276, 2006).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

_REACH_PX = 4  # a blob's covariance is within this many pixels
_TILE_PX = 32
_LIT = 0.05  # of the brightest surroundings
_SMOOTH_PX = 15
_LEAST_PIXELS = 500


def event_counts(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    dark: npt.NDArray[np.float32],
) -> tuple[float, float] | None:
    """Return counts per event and its standard error; None if there is too little light.

    first, second, dark: (T, W) images of the same exposure, dark with the pump shut.
    """
    a, b = (np.asarray(one, dtype=np.float64) - dark for one in (first, second))
    mean = 0.5 * (a + b)
    bright = uniform_filter(mean, _SMOOTH_PX)
    lit = bright > _LIT * bright.max()
    unlit = bright < 0.2 * _LIT * bright.max()
    if lit.sum() < _LEAST_PIXELS or bright.max() <= 0.0:
        return None
    # The light of both may differ by the pulses' energy: scaled, so that no structure is left.
    difference = a - b * (float(a[lit].sum()) / max(float(b[lit].sum()), 1e-12))
    # Each lit pixel times all pixels that a blob joins it with.
    side = 2 * _REACH_PX + 1
    around = side**2 * uniform_filter(difference, side, mode="constant")
    power = np.where(lit, difference * around - _floor(difference, unlit), 0.0)
    light = np.where(lit, 2.0 * mean, 0.0)
    noise, brightness = _tiles(power), _tiles(light)
    if brightness.sum() <= 0.0:
        return None
    found = float(noise.sum() / brightness.sum())
    error = float(np.sqrt(np.sum((noise - found * brightness) ** 2)) / brightness.sum())
    return (found, error) if found > 3.0 * error else None


def _tiles(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return sums over tiles, whose scatter tells the error; what is over at the edges is left."""
    rows, columns = (length // _TILE_PX for length in image.shape)
    cut = image[: rows * _TILE_PX, : columns * _TILE_PX]
    return np.asarray(cut.reshape(rows, _TILE_PX, columns, _TILE_PX).sum(axis=(1, 3)))


def _floor(difference: npt.NDArray[np.float64], unlit: npt.NDArray[np.bool_]) -> float:
    """Return the variance of unlit pixels, which is the sensor's own."""
    if unlit.sum() < _LEAST_PIXELS:
        return 0.0
    return float(np.mean(difference[unlit] ** 2))
