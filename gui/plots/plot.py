"""A plot as all of them are: title, read-out at the cursor, wheel and keys to zoom, a held scale.

The wheel zooms about the cursor, dragging moves, a double click (or Home) resets; `Hold` keeps the
scale while values change. Nothing is computed here.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PyQt5 import QtCore, QtGui, QtWidgets

from gui import theme
from gui.fields import RIGHT, label
from gui.plots.axes import EnergyAxis, PlainAxis
from gui.words import ev, significant

Floats = npt.NDArray[np.float64]

pg.setConfigOptions(antialias=False, imageAxisOrder="row-major", segmentedLineMode="auto")


class _View(pg.ViewBox):  # type: ignore[misc]
    """A view that a double click resets."""

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.setMouseMode(pg.ViewBox.PanMode)

    def mouseClickEvent(self, event: Any) -> None:
        if event.button() == QtCore.Qt.MouseButton.LeftButton and event.double():
            event.accept()
            self.enableAutoRange()
            return
        super().mouseClickEvent(event)


class _Canvas(pg.PlotWidget):  # type: ignore[misc]
    """The drawing itself, with keys; `painted` counts, `paint_s` is how long the last one took."""

    painted = 0
    paint_s = 0.0

    def paintEvent(self, event: Any) -> None:
        begun = time.perf_counter()
        super().paintEvent(event)
        self.paint_s = time.perf_counter() - begun
        self.painted += 1

    def keyPressEvent(self, event: Any) -> None:
        view = self.getViewBox()
        key = event.key()
        if key in (QtCore.Qt.Key.Key_Plus, QtCore.Qt.Key.Key_Equal):
            view.scaleBy((0.8, 0.8))
        elif key == QtCore.Qt.Key.Key_Minus:
            view.scaleBy((1.25, 1.25))
        elif key == QtCore.Qt.Key.Key_Home:
            view.enableAutoRange()
        elif key == QtCore.Qt.Key.Key_L and isinstance(parent := self.parent(), Plot):
            parent.large.toggle()
        elif key in _MOVES:
            (x0, x1), (y0, y1) = view.viewRange()
            dx, dy = _MOVES[key]
            view.translateBy(((x1 - x0) * dx, (y1 - y0) * dy))
        else:
            super().keyPressEvent(event)


_MOVES = {
    QtCore.Qt.Key.Key_Left: (-0.1, 0.0),
    QtCore.Qt.Key.Key_Right: (0.1, 0.0),
    QtCore.Qt.Key.Key_Up: (0.0, 0.1),
    QtCore.Qt.Key.Key_Down: (0.0, -0.1),
}


class Plot(QtWidgets.QWidget):
    """A titled plot.

    Args:
        title, x, y: words with units. log: ("x", "y") axes that are logarithmic. energy: photon
            energy above a wavelength axis.
    """

    def __init__(
        self, title: str, x: str, y: str, *, log: str = "", energy: bool = False, hold: bool = True
    ) -> None:
        super().__init__()
        size = theme.current().px
        self.log_x, self.log_y = "x" in log, "y" in log
        self._energy = energy
        self._labels = (x, y)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(size(4), size(2), size(4), size(2))
        box.setSpacing(0)
        top = QtWidgets.QHBoxLayout()
        top.setSpacing(size(5))
        self.title = label(title, "name")
        self.title.setMinimumWidth(1)  # rather cut off than a window wider than the screen
        self.readout = label("", "muted")
        self.readout.setAlignment(RIGHT)
        self.readout.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed
        )
        top.addWidget(self.title)
        top.addWidget(self.readout, 1)
        self.tools = top
        self.hold: QtWidgets.QToolButton | None = None
        if hold:
            self.hold = QtWidgets.QToolButton()
            self.hold.setText("Hold")
            self.hold.setCheckable(True)
            self.hold.setProperty("kind", "small")
            self.hold.setToolTip("keep the scale as it is (double click or Home: fit it again)")
            self.hold.toggled.connect(self._hold)
            top.addWidget(self.hold)
        self.large = QtWidgets.QToolButton()
        self.large.setText("Large")
        self.large.setCheckable(True)
        self.large.setProperty("kind", "small")
        self.large.setToolTip("this plot alone, in the place of all (L)")
        self.large.hide()
        top.addWidget(self.large)
        box.addLayout(top)
        axes: dict[str, Any] = {
            "bottom": PlainAxis(orientation="bottom"),
            "left": PlainAxis(orientation="left"),
        }
        if energy:
            axes["top"] = EnergyAxis(orientation="top")
        self.canvas = _Canvas(viewBox=_View(), axisItems=axes)
        self.canvas.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.canvas.setMinimumSize(size(160), size(110))
        self.item = self.canvas.getPlotItem()
        self.item.setLogMode(self.log_x, self.log_y)
        self.item.hideButtons()
        if energy:
            self.item.showAxis("top")
            top_axis = self.item.getAxis("top")
            top_axis.linkToView(self.item.getViewBox())
        box.addWidget(self.canvas, 1)
        self.cursor_x = pg.InfiniteLine(angle=90, movable=False)
        self.cursor_x.setZValue(50)
        self.cursor_x.hide()
        self.item.addItem(self.cursor_x, ignoreBounds=True)
        self._proxy = pg.SignalProxy(
            self.canvas.scene().sigMouseMoved, rateLimit=30, slot=self._moved
        )
        self._lines: list[Any] = []
        self._cursor_curve: Any = None
        self.restyle()

    # ---- what is drawn --------------------------------------------------------------------------

    def curve(
        self,
        series: int = 0,
        *,
        name: str = "",
        width: float = 1.6,
        symbol: str | None = None,
        dashed: bool = False,
        line: bool = True,
        colour: str = "",
        filled: bool = True,
        size: float = 7.0,
    ) -> Any:
        """Add a curve of one of the theme's series."""
        made = pg.PlotDataItem(name=name or None)
        if not line:  # for lines that reach far outside; it has symbols made anew at each zoom
            made.setDynamicRangeLimit(None)
        made.style_args = {
            "series": series,
            "width": width,
            "symbol": symbol,
            "dashed": dashed,
            "line": line,
            "colour": colour,
            "filled": filled,
            "size": size,
        }
        self.item.addItem(made)
        self._lines.append(made)
        self._style(made)
        return made

    def remove(self, curve: Any) -> None:
        """Take a curve away."""
        if curve in self._lines:
            self._lines.remove(curve)
        self.item.removeItem(curve)

    def legend(self, corner: str = "left") -> None:
        """Show a legend of the named curves; call before they are added."""
        size = theme.current().px
        offset = {
            "left": (size(10), size(6)),
            "right": (-size(10), size(6)),
            "below": (-size(10), -size(8)),
        }[corner]
        now = theme.current()
        self.item.addLegend(
            offset=offset,
            verSpacing=-4,
            labelTextColor=now.palette.text,
            labelTextSize=f"{now.px(11)}px",
        )
        self.restyle()

    def follow(self, curve: Any) -> None:
        """Have the cursor read that curve."""
        self._cursor_curve = curve

    def mark(self, value: float | None, error: float = 0.0) -> None:
        """Mark a value on the x axis with its error."""
        for one in getattr(self, "_marks", []):
            self.item.removeItem(one)
        self._marks: list[Any] = []
        if value is None or not np.isfinite(value) or (self.log_x and value <= 0.0):
            return
        place = np.log10 if self.log_x else (lambda one: one)
        colour = QtGui.QColor(theme.current().palette.ok)
        line = pg.InfiniteLine(float(place(value)), angle=90, pen=pg.mkPen(colour, width=2))
        band_colour = QtGui.QColor(colour)
        band_colour.setAlpha(60)
        low, high = max(value - error, value * 1e-3), value + error
        band = pg.LinearRegionItem(
            (float(place(low)), float(place(high))), movable=False, brush=band_colour
        )
        for edge in band.lines:
            edge.setPen(pg.mkPen(None))
        band.setZValue(-10)
        for one in (band, line):
            self.item.addItem(one, ignoreBounds=True)
            self._marks.append(one)

    def set_title(self, text: str) -> None:
        """Change the title."""
        if self.title.text() != text:
            self.title.setText(text)

    def set_labels(self, x: str, y: str) -> None:
        """Change the words at the axes."""
        if (x, y) != self._labels:
            self._labels = (x, y)
            self._label_axes()

    # ---- look -----------------------------------------------------------------------------------

    def restyle(self) -> None:
        """Take the theme's colours and sizes."""
        now = theme.current()
        colours = now.palette
        self.canvas.setBackground(colours.plot)
        for name in ("left", "bottom", "top", "right"):
            axis = self.item.getAxis(name)
            axis.setPen(pg.mkPen(colours.grid, width=1))
            axis.setTextPen(pg.mkPen(colours.muted if name == "top" else colours.text))
            axis.setStyle(tickFont=now.font(11.5), tickTextOffset=now.px(3))
        self.item.getAxis("left").setWidth(now.px(58))
        self.item.getAxis("bottom").setHeight(now.px(40))
        if self._energy:
            self.item.getAxis("top").setHeight(now.px(22))
        self._label_axes()
        self.item.showGrid(x=True, y=True, alpha=0.16)
        self.cursor_x.setPen(pg.mkPen(colours.muted, width=1, style=QtCore.Qt.PenStyle.DashLine))
        for curve in self._lines:
            self._style(curve)
        legend = self.item.legend
        if legend is not None:
            legend.setLabelTextColor(colours.text)
            legend.setLabelTextSize(f"{now.px(11)}px")
            back = QtGui.QColor(colours.plot)
            back.setAlpha(210)
            legend.setBrush(pg.mkBrush(back))
            legend.setPen(pg.mkPen(None))
        for one in (self.hold, self.large):
            if one is not None:
                one.setMaximumHeight(now.px(24))

    def _label_axes(self) -> None:
        now = theme.current()
        style = {"color": now.palette.muted, "font-size": f"{now.px(12)}px"}
        x, y = self._labels
        self.item.setLabel("bottom", x, **style)
        self.item.setLabel("left", y, **style)
        for name in ("left", "bottom", "top"):  # a prefix would be looked for at every frame
            if self.item.getAxis(name).autoSIPrefix:
                self.item.getAxis(name).enableAutoSIPrefix(False)

    def _style(self, curve: Any) -> None:
        now, args = theme.current(), curve.style_args
        series = now.palette.series
        colour = args["colour"] or series[args["series"] % len(series)]
        colour = getattr(now.palette, colour, colour)
        dash = QtCore.Qt.PenStyle.DashLine if args["dashed"] else QtCore.Qt.PenStyle.SolidLine
        width = max(args["width"] * now.scale**0.6, 1.0)
        curve.setPen(pg.mkPen(colour, width=width, style=dash) if args["line"] else None)
        if args["symbol"]:
            curve.setSymbol(args["symbol"])
            curve.setSymbolSize(now.px(args["size"]))
            curve.setSymbolPen(pg.mkPen(colour, width=1.4 * now.scale**0.6))
            curve.setSymbolBrush(pg.mkBrush(colour) if args["filled"] else pg.mkBrush(None))

    # ---- the operator ---------------------------------------------------------------------------

    def _hold(self, held: bool) -> None:
        if held:
            self.item.disableAutoRange()
        else:
            self.item.enableAutoRange()

    def reset(self) -> None:
        """Fit the scale, unless it is held."""
        if self.hold is None or not self.hold.isChecked():
            self.item.enableAutoRange()

    def resizeEvent(self, event: QtGui.QResizeEvent | None) -> None:
        """A small plot has no room for a legend."""
        super().resizeEvent(event)
        legend = self.item.legend
        if legend is not None:
            legend.setVisible(self.height() > theme.current().px(190))

    def leaveEvent(self, event: QtCore.QEvent | None) -> None:
        """The cursor line goes with the pointer."""
        self.cursor_x.hide()
        self.readout.setText(self.resting_text())
        super().leaveEvent(event)

    def resting_text(self) -> str:
        """Return what the read-out says while no cursor is in the plot."""
        return ""

    def _moved(self, event: Any) -> None:
        position = event[0]
        if not self.item.sceneBoundingRect().contains(position):
            return
        point = self.item.getViewBox().mapSceneToView(position)
        self.cursor_x.setPos(point.x())
        self.cursor_x.show()
        self.readout.setText(self.read(point.x(), point.y()))

    def read(self, x: float, y: float) -> str:
        """Return the read-out at a place of the view."""
        shown_x = 10.0**x if self.log_x else x
        value = 10.0**y if self.log_y else y
        name = ""
        if self._cursor_curve is not None:
            xs, ys = self._cursor_curve.getOriginalDataset()
            if xs is not None and len(xs):
                place = int(np.argmin(np.abs(np.asarray(xs) - shown_x)))
                shown_x, value, name = float(xs[place]), float(ys[place]), ""
        if self._energy and shown_x > 0.0:
            return f"{shown_x:.2f} nm   {ev(shown_x):.4f} eV   {significant(value, 4)}{name}"
        return f"{significant(shown_x, 4)},  {significant(value, 4)}"
