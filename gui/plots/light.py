"""What a record's light is, for drawing: net counts per shot, band sums, widths. No uncertainty.

Numbers that are stated come from the analyses; these only place points on a screen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gui.rundata import RunData

Floats = npt.NDArray[np.float64]


class NetSpectra:
    """Net spectra of a run, counts per shot and pixel, and their sums, computed once for each.

    Spectrum and background are put together by the record they belong to: not every record has
    both, and of a long run not all are in memory.
    """

    def __init__(self) -> None:
        self._run: RunData | None = None
        self._clear(0)

    def _clear(self, pixels: int) -> None:
        self.rows: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        self._net: Floats = np.zeros((0, pixels))
        self._sums: Floats = np.zeros(0)

    def of(self, data: RunData) -> Floats:
        """Return (n, pixels) for the records that have both; `rows` and `sums` are then theirs."""
        spectra, lit = data.both("spectra")
        background, dark = data.both("background")
        rows, place, base = np.intersect1d(lit, dark, assume_unique=True, return_indices=True)
        known = len(self.rows)
        if (
            data is not self._run
            or len(rows) < known
            or (known and rows[known - 1] != self.rows[-1])
            or self._net.shape[1] != spectra.shape[1]
        ):
            self._run, known = data, 0
            self._clear(spectra.shape[1])
        if len(rows) > known:
            shots = np.maximum(data.records("shots")[rows[known:]].astype(np.float64), 1.0)
            new = spectra[place[known:]].astype(np.float64) - background[base[known:]]
            new /= shots[:, None]
            self._net = np.concatenate([self._net[:known], new])
            self._sums = np.concatenate([self._sums[:known], band_sum(new)])
            self.rows = rows
        return self._net

    def sums(self) -> Floats:
        """Return the sum over the band of each spectrum of the last `of`."""
        return self._sums


def band_sum(net: Floats) -> Floats:
    """Return the sum over the band of each spectrum, its base line taken off."""
    if not len(net):
        return np.zeros(0)
    base = np.median(net, axis=1, keepdims=True)
    quiet = 1.4826 * np.median(np.abs(net - base), axis=1, keepdims=True)
    return np.asarray(np.where(net > -4.0 * quiet - 1e-9, net, 0.0).sum(axis=1))


def smooth(spectrum: Floats, pixels: int = 5) -> Floats:
    """Return a spectrum smoothed by a running mean."""
    window = np.ones(pixels) / pixels
    return np.convolve(spectrum, window, mode="same")


def peak_and_width(wavelength_nm: Floats, spectrum: Floats) -> tuple[float, float, float] | None:
    """Return peak (nm), width at half maximum (nm) and height above the base; None without a peak.

    The base is the spectrum's lower quartile; half-height crossings are interpolated.
    """
    if len(spectrum) < 16:
        return None
    soft = smooth(spectrum, 5)
    base = float(np.quantile(soft, 0.25))
    top = int(np.argmax(soft[3:-3])) + 3
    height = float(soft[top]) - base
    noise = 1.4826 * float(np.median(np.abs(np.diff(spectrum)))) / 1.414
    if height <= 4.0 * max(noise, 1e-12) / np.sqrt(5.0):
        return None
    half = base + 0.5 * height
    below = np.flatnonzero(soft <= half)
    left, right = below[below < top], below[below > top]
    if not len(left) or not len(right):
        return float(wavelength_nm[top]), float("nan"), height
    ends = []
    for low, high in ((left[-1], left[-1] + 1), (right[0], right[0] - 1)):
        share = (half - soft[low]) / (soft[high] - soft[low]) if soft[high] != soft[low] else 0.0
        ends.append(wavelength_nm[low] + share * (wavelength_nm[high] - wavelength_nm[low]))
    around = slice(max(top - 3, 0), top + 4)
    weight = np.maximum(soft[around] - half, 0.0)
    peak = (
        float(np.average(wavelength_nm[around], weights=weight))
        if weight.sum()
        else (float(wavelength_nm[top]))
    )
    return peak, float(abs(ends[1] - ends[0])), height
