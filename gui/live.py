"""The live view: what the camera sees now, not saved.

Keys: F5 live on and off, F6 one exposure, F7 take a background. Saturated pixels are red in the
spectrum itself.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
import pyqtgraph as pg
from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.fields import Chip, TickBox, button, label
from gui.plots.light import peak_and_width
from gui.plots.plot import Floats, Plot
from gui.snapshot import Frame
from gui.words import ev, significant


class LiveView(QtWidgets.QWidget):
    """`live`, `single`, `background` ask for what the bench's thread does."""

    live = QtCore.pyqtSignal(bool)
    single = QtCore.pyqtSignal()
    background = QtCore.pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        size = theme.current().px
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(6), size(6), size(6), size(4))
        box.setSpacing(size(4))
        tools = QtWidgets.QHBoxLayout()
        tools.setSpacing(size(6))
        self.live_button = button("Live F5", "spectra as fast as the camera gives them", "")
        self.live_button.setCheckable(True)
        self.live_button.toggled.connect(lambda on: self.live.emit(on))
        self.single_button = button("Single F6", "one exposure")
        self.single_button.clicked.connect(lambda: self.single.emit())
        self.background_button = button(
            "Background F7", "closes the shutter, averages five exposures, opens it again"
        )
        self.background_button.clicked.connect(lambda: self.background.emit())
        self.subtract = TickBox("Subtract")
        self.subtract.setEnabled(False)
        self.subtract.toggled.connect(lambda _on: self._redraw())
        self.region_on = TickBox("Region")
        self.region_on.setToolTip("sums the counts between two edges that can be dragged")
        self.region_on.toggled.connect(self._toggle_region)
        for widget in (self.live_button, self.single_button, self.background_button,
                       self.subtract, self.region_on):  # fmt: skip
            tools.addWidget(widget)
        tools.addStretch(1)
        self.rate = label("", "muted")
        tools.addWidget(self.rate)
        self.saturation = Chip("NOT SATURATED", "ok")
        self.saturation.hide()
        tools.addWidget(self.saturation)
        box.addLayout(tools)
        self.notice = label("", "warn", wrap=True)
        self.notice.hide()
        box.addWidget(self.notice)
        self.plot = Plot("Spectrum, not saved", "wavelength (nm)", "counts", energy=True)
        box.addWidget(self.plot, 1)
        self._line = self.plot.curve(0, width=1.4)
        self._red = self.plot.curve(colour="bad", line=False, symbol="s", size=5.0)
        self.plot.follow(self._line)
        self._peak = pg.InfiniteLine(angle=90, movable=False)
        self._peak.hide()
        self.plot.item.addItem(self._peak, ignoreBounds=True)
        self.region = pg.LinearRegionItem()
        self.region.hide()
        self.region.sigRegionChanged.connect(lambda: self._measure())
        self.plot.item.addItem(self.region, ignoreBounds=True)
        values = QtWidgets.QHBoxLayout()
        values.setSpacing(size(22))
        self.values: dict[str, QtWidgets.QLabel] = {}
        titles = {"peak": "PEAK", "width": "WIDTH (FWHM)", "top": "BRIGHTEST", "sum": "REGION"}
        for key, title in titles.items():
            block = QtWidgets.QVBoxLayout()
            block.setSpacing(0)
            caption = label(title, "title")
            shown = label("–", "head")
            block.addWidget(caption)
            block.addWidget(shown)
            values.addLayout(block)
            self.values[key] = shown
            if key == "sum":
                self._sum_caption = caption
        values.addStretch(1)
        box.addLayout(values)
        self._sum_caption.hide()
        self.values["sum"].hide()
        self._frame: Frame | None = None
        self._net: Floats | None = None
        self._background: Frame | None = None
        self._times: deque[float] = deque(maxlen=30)
        self._measured = 0.0
        self.drawn = 0
        self.restyle()

    # ---- frames ---------------------------------------------------------------------------------

    def show_frame(self, frame: Frame) -> None:
        """Draw the newest spectrum."""
        first = self._frame is None
        self._frame = frame
        self._times.append(time.monotonic())
        self.drawn += 1
        self._redraw()
        if first:
            self.plot.reset()

    def show_background(self, frame: Frame) -> None:
        """Take a background."""
        self._background = frame
        self.subtract.setEnabled(True)
        self.subtract.setChecked(True)
        self.subtract.setToolTip(f"background of {significant(frame.exposure_s)} s")
        self._redraw()

    def _redraw(self) -> None:
        frame = self._frame
        if frame is None:
            return
        background = self._background if self.subtract.isChecked() else None
        remark = ""
        if background is not None and (
            abs(background.exposure_s - frame.exposure_s) > 1e-6
            or background.counts.shape != frame.counts.shape
        ):
            background = None
            remark = "The background is of another exposure and is not subtracted: take it again."
        if self.notice.text() != remark and not self._held:
            self.notice.setText(remark)
            self.notice.setVisible(bool(remark))
        self._net = frame.counts - background.counts if background is not None else frame.counts
        self._line.setData(frame.wavelength_nm, self._net)
        saturated = frame.counts >= frame.saturation_counts
        count = int(np.count_nonzero(saturated))
        self._red.setData(frame.wavelength_nm[saturated], self._net[saturated])
        self.saturation.show()
        if count:
            self.saturation.say(f"{count} SATURATED", "bad")
        else:
            self.saturation.say("NOT SATURATED", "ok")
        now = time.monotonic()
        if now - self._measured > 0.15 or not self.live_button.isChecked():
            self._measured = now
            self._measure()

    def _measure(self) -> None:
        frame, net = self._frame, self._net
        if frame is None or net is None:
            return
        found = peak_and_width(frame.wavelength_nm, net)
        if found is None:
            self.values["peak"].setText("–")
            self.values["width"].setText("–")
            self._peak.hide()
        else:
            peak, width, _height = found
            self.values["peak"].setText(f"{peak:.2f} nm  {ev(peak):.4f} eV")
            mev = 1000.0 * ev(peak) * width / peak
            self.values["width"].setText(
                f"{width:.2f} nm  {mev:.1f} meV" if np.isfinite(width) else "beyond the window"
            )
            self._peak.setPos(peak)
            self._peak.show()
        top = float(frame.counts.max())
        share = 100.0 * top / frame.saturation_counts
        self.values["top"].setText(f"{top:.0f}  ({share:.0f} %)")
        if self.region_on.isChecked():
            low, high = sorted(self.region.getRegion())
            inside = (frame.wavelength_nm >= low) & (frame.wavelength_nm <= high)
            self.values["sum"].setText(f"{net[inside].sum():.4g}")
            self._sum_caption.setText(f"REGION {low:.1f} to {high:.1f} nm")
        if len(self._times) > 2 and self.live_button.isChecked():
            span = self._times[-1] - self._times[0]
            self.rate.setText(f"{(len(self._times) - 1) / max(span, 1e-6):.0f} frames/s")
        else:
            self.rate.setText("")

    # ---- state ----------------------------------------------------------------------------------

    _held = ""

    def set_held(self, why: str) -> None:
        """Say why the live view cannot run now ("" lets it)."""
        if why == self._held:
            return
        self._held = why
        for widget in (self.live_button, self.single_button, self.background_button):
            widget.setEnabled(not why)
            widget.setToolTip(why)
        if why and self.live_button.isChecked():
            self.live_button.setChecked(False)
        self.notice.setText(why)
        self.notice.setVisible(bool(why))

    def set_live(self, on: bool) -> None:
        """Show whether it runs, without asking for it."""
        if self.live_button.isChecked() != on:
            self.live_button.blockSignals(True)
            self.live_button.setChecked(on)
            self.live_button.blockSignals(False)
            self._measure()

    def _toggle_region(self, on: bool) -> None:
        self.values["sum"].setVisible(on)
        self._sum_caption.setVisible(on)
        self.region.setVisible(on)
        if on and self._frame is not None:
            axis = self._frame.wavelength_nm
            (low, high), _ = self.plot.item.getViewBox().viewRange()
            low, high = max(low, float(axis[0])), min(high, float(axis[-1]))
            third = (high - low) / 3.0
            self.region.setRegion((low + third, high - third))
        self._measure()

    def restyle(self) -> None:
        """Take the theme's colours."""
        self.plot.restyle()
        colours = theme.current().palette
        self._peak.setPen(pg.mkPen(colours.series[3], width=1, style=QtCore.Qt.PenStyle.DotLine))
        fill = QtGui.QColor(colours.series[0])
        fill.setAlpha(36)
        self.region.setBrush(fill)
        self.region.setHoverBrush(fill)
        for edge in self.region.lines:
            edge.setPen(pg.mkPen(colours.series[0], width=2))


def average_background(bench: Any, take: Any, frames: int = 5) -> Frame:
    """Return the mean of some frames with the shutter closed; the shutter is left as it was."""
    from gui.manual import open_shutter, refuse_if_dark, shut_shutter

    refuse_if_dark(bench)
    was_open = bench.pump.is_open
    shut_shutter(bench)
    try:
        taken = [take(bench) for _ in range(frames)]
    finally:
        if was_open:
            open_shutter(bench)
    last = taken[-1]
    mean = np.mean([one.counts for one in taken], axis=0)
    return Frame(
        last.number,
        last.wavelength_nm,
        mean,
        last.saturation_counts,
        last.exposure_s,
        last.time_s,
        False,
    )
