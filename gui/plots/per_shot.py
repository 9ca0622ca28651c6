"""per-shot: every single shot, its light and its energy, and the last spectra that were kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.plot import Plot
from gui.plots.series import Decimated, SeriesPlot
from gui.plots.view import MeasurementView
from gui.rundata import RunData

_EXPOSURE = 1
_SERIES = (("band_counts", 1.0), ("pulse_energies", 1e9))


class PerShotView(MeasurementView):
    """Light of each shot above; energy of each shot and the mean spectrum of a block below."""

    def __init__(self) -> None:
        super().__init__()
        self.light = SeriesPlot("Every shot", "laser shot", "band (counts)")
        self.energy = SeriesPlot("Pulse energy", "laser shot", "energy (nJ)")
        self.spectrum = Plot("Mean spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.add([self.light], [self.energy, self.spectrum], stretch=(5, 4))
        self._curves = {
            "band_counts": (self.light, self.light.curve(0, width=1.0)),
            "pulse_energies": (self.energy, self.energy.curve(1, width=1.0)),
        }
        self._line = self.spectrum.curve(0)
        self.spectrum.follow(self._line)
        self._data: RunData | None = None
        self._series: dict[str, Decimated] = {}
        self._kept = 0

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        if data is not self._data:
            self._data, self._series, self._kept = data, {}, 0
        legs = data.records("leg")
        for name, factor in _SERIES:
            shots, values = _shots(data, name, legs)
            series = self._series.get(name)
            if series is None or len(series) > len(values):
                series = self._series[name] = Decimated(shots, values, factor=factor)
            else:
                series.grow(shots, values)
            plot, curve = self._curves[name]
            plot.show_series(curve, series)
        kept, rows = data.both("spectra")
        if len(kept) != self._kept:
            self._kept = len(kept)
            self._line.setData(data.axis("wavelength"), kept[-1].mean(axis=0))
            dark = legs[rows[-1]] != _EXPOSURE
            self.spectrum.set_title("Mean spectrum" + (", dark" if dark else " of a block"))

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        series = Decimated(*_shots(data, "band_counts", data.records("leg")))
        return self.light, *series.envelope(0, len(series))


def _shots(data: RunData, name: str, legs: Any) -> tuple[Any, Any]:
    """Return shot numbers (None: 1, 2, 3 ...) and values of the exposure, one each shot."""
    blocks, rows = data.both(name)
    lit = legs[rows] == _EXPOSURE
    first = int(np.argmax(lit)) if lit.any() else len(lit)
    if lit[first:].all():  # the dark block comes first: nothing is copied
        blocks, rows = blocks[first:], rows[first:]
    else:
        blocks, rows = blocks[lit], rows[lit]
    if len(rows) < 2 or rows[-1] - rows[0] == len(rows) - 1:
        return None, blocks.reshape(-1)
    start = data.records("first_shot")[rows].astype(np.int64)  # of a long run, a part
    return (start[:, None] + np.arange(blocks.shape[1])).reshape(-1), blocks.reshape(-1)
