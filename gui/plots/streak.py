"""Streak measurements: the spectrogram with two movable gates, decay and spectrum beside it.

As in the camera's own program: one gate in time, one in wavelength; the decay is what lies in the
wavelength gate, the spectrum what lies in the time gate. The newest record is shown, or the one
chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.plots.plot import Floats, Plot
from gui.plots.view import MeasurementView
from gui.rundata import RunData
from gui.words import significant

_MAIN = {
    "lifetime": "lifetime_ns",
    "auger": "auger_lifetime_ps",
    "cross-section": "cross_section_cm2",
    "streak-series": "redshift_meV",
}


class Spectrogram(Plot):
    """Time upwards from the pulse, wavelength along, and two gates."""

    gated = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__("Spectrogram", "wavelength (nm)", "time (ps)", hold=False)
        self.image = pg.ImageItem()
        self.image.setLookupTable(pg.colormap.get("viridis").getLookupTable(nPts=256))
        self.image.setZValue(-5)
        self.item.addItem(self.image)
        self.time_gate = self._gate("horizontal")
        self.wavelength_gate = self._gate("vertical")
        self._placed = False
        self._shown: tuple[Floats, Floats, Floats] | None = None
        self.restyle()

    def _gate(self, orientation: str) -> Any:
        made = pg.LinearRegionItem(orientation=orientation)
        made.setZValue(10)
        self.item.addItem(made, ignoreBounds=True)
        made.sigRegionChanged.connect(lambda: self.gated.emit())
        return made

    def restyle(self) -> None:
        """See Plot."""
        super().restyle()
        self.item.showGrid(x=False, y=False)
        if hasattr(self, "time_gate"):
            for gate, series in ((self.time_gate, 1), (self.wavelength_gate, 0)):
                colour = QtGui.QColor(theme.current().palette.series[series])
                fill = QtGui.QColor(colour)
                fill.setAlpha(38)
                gate.setBrush(fill)
                gate.setHoverBrush(fill)
                for edge in gate.lines:
                    edge.setPen(pg.mkPen(colour, width=2))
                    edge.setHoverPen(pg.mkPen(theme.current().palette.text, width=3))

    def show_image(
        self, time_ps: Floats, wavelength_nm: Floats, counts: Floats, *, place: bool
    ) -> None:
        """Show counts (times, wavelengths); `place`: put the gates on it, if they are nowhere."""
        self._shown = (time_ps, wavelength_nm, counts)
        low, high = np.quantile(counts, (0.02, 0.9995))
        span = max(float(high - low), 1e-9)
        scaled = np.clip((counts - low) / span, 0.0, 1.0) ** 0.4
        self.image.setImage((255.0 * scaled).astype(np.uint8), autoLevels=False, levels=(0, 255))
        self.image.setRect(
            float(wavelength_nm[0]),
            float(time_ps[0]),
            float(wavelength_nm[-1] - wavelength_nm[0]),
            float(time_ps[-1] - time_ps[0]),
        )
        if place and not self._placed:
            self._placed = True
            decay = counts.sum(axis=1)
            start = float(time_ps[int(np.argmax(decay))])
            whole = float(time_ps[-1] - time_ps[0])
            self.time_gate.setRegion((start - 0.01 * whole, start + 0.1 * whole))
            spectrum = counts.sum(axis=0)
            soft = np.convolve(spectrum, np.ones(9) / 9.0, mode="same")
            inside = np.flatnonzero(soft > soft.min() + 0.5 * (soft.max() - soft.min()))
            self.wavelength_gate.setRegion(
                (float(wavelength_nm[inside[0]]), float(wavelength_nm[inside[-1]]))
            )

    def projected(self) -> tuple[Floats, Floats, Floats, Floats] | None:
        """Return time, decay in the wavelength gate, wavelength, spectrum in the time gate."""
        if self._shown is None:
            return None
        time_ps, wavelength_nm, counts = self._shown
        columns = _inside(wavelength_nm, self.wavelength_gate.getRegion())
        rows = _inside(time_ps, self.time_gate.getRegion())
        decay = counts[:, columns].sum(axis=1)
        return time_ps, decay, wavelength_nm, counts[rows].sum(axis=0)

    def read(self, x: float, y: float) -> str:
        """See Plot."""
        if self._shown is None:
            return ""
        time_ps, wavelength_nm, counts = self._shown
        value = counts[
            int(np.argmin(np.abs(time_ps - y))), int(np.argmin(np.abs(wavelength_nm - x)))
        ]
        return f"{x:.1f} nm   {y:.0f} ps   {significant(float(value))} counts"


def _inside(axis: Floats, region: tuple[float, float]) -> Any:
    low, high = sorted(region)
    found = (axis >= low) & (axis <= high)
    if not found.any():
        found[int(np.argmin(np.abs(axis - 0.5 * (low + high))))] = True
    return found


class Frames:
    """Frames and backgrounds of a run, put together by the record they belong to (`rows`)."""

    def __init__(self, data: RunData) -> None:
        self._frames, lit = data.both("frames")
        self._background, dark = data.both("background")
        self.rows, self._lit, self._dark = np.intersect1d(
            lit, dark, assume_unique=True, return_indices=True
        )

    def net(self, row: int) -> Floats | None:
        """Return the frame of a record without its background; None if it is not in memory."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return None
        light = self._frames[self._lit[place]].astype(np.float64)
        return np.asarray(light - self._background[self._dark[place]])


class StreakView(MeasurementView):
    """Spectrogram large; decay and spectrum beside and below."""

    def __init__(self) -> None:
        super().__init__()
        self.image = Spectrogram()
        self.decay = Plot("Decay in the blue gate", "time (ps)", "counts", log="y")
        self.spectrum = Plot("Spectrum in the orange gate", "wavelength (nm)", "counts",
                             energy=True)  # fmt: skip
        self.add([self.image, self.decay], [self.spectrum], stretch=(5, 3))
        self._decay = self.decay.curve(0, width=1.4)
        self._spectrum = self.spectrum.curve(1, width=1.4)
        self.decay.follow(self._decay)
        self.spectrum.follow(self._spectrum)
        self.image.gated.connect(self._project)
        self.choice = QtWidgets.QComboBox()
        self.choice.setAccessibleName("record shown")
        self.choice.currentIndexChanged.connect(lambda _index: self._show_chosen())
        self.image.tools.insertWidget(1, self.choice)
        self._data: RunData | None = None
        self._frames: Frames | None = None
        self._shown = (-2, -2)

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        self.MAIN = _MAIN.get(data.measurement, "")
        self._frames = Frames(data)
        if data is not self._data or len(self._frames.rows) < self.choice.count() - 1:
            self.choice.blockSignals(True)
            self.choice.clear()
            self.choice.addItem("newest", -1)
            self.choice.blockSignals(False)
        self._data = data
        kinds, fluences = data.records("kind"), data.records("fluence")
        for row in self._frames.rows[self.choice.count() - 1 :]:
            kind = "response" if int(kinds[row]) else "sample"
            text = f"{row + 1}: {significant(float(fluences[row]))} µJ/cm², {kind}"
            self.choice.addItem(text, int(row))
        self._show_chosen()

    def _show_chosen(self) -> None:
        data, frames = self._data, self._frames
        if data is None or frames is None or not len(frames.rows):
            return
        chosen = self.choice.currentData()
        row = int(frames.rows[-1]) if chosen is None or chosen < 0 else int(chosen)
        net = frames.net(row) if self._shown != (id(data), row) else None
        if net is None:
            return
        self._shown = (id(data), row)
        fluence = float(data.records("fluence")[row])
        self.image.set_title(f"{row + 1}: {significant(fluence)} µJ/cm²")
        sample = not int(data.records("kind")[row])
        self.image.show_image(data.axis("sweep_time"), data.axis("wavelength"), net, place=sample)
        self._project()

    def _project(self) -> None:
        found = self.image.projected()
        if found is None:
            return
        time_ps, decay, wavelength, spectrum = found
        self._decay.setData(time_ps, np.maximum(decay, max(float(decay.max()), 1.0) * 1e-4))
        self._spectrum.setData(wavelength, spectrum)

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView: the decay of the newest record in the gate."""
        frames = Frames(data)
        net = frames.net(int(frames.rows[-1])) if len(frames.rows) else None
        if net is None:
            return None
        columns = _inside(data.axis("wavelength"), self.image.wavelength_gate.getRegion())
        decay = net[:, columns].sum(axis=1)
        floor = max(float(decay.max()), 1.0) * 1e-4
        return self.decay, data.axis("sweep_time"), np.maximum(decay, floor)
