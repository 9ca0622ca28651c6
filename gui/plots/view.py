"""The plots of a measurement as the window uses them, and which file has them.

A view draws what `RunData` holds whenever it is asked to, shows the fit that an analysis found, and
lays other runs over it. It computes nothing that takes long: fits come from elsewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from PyQt5 import QtCore, QtWidgets

from gui import theme
from gui.fields import label
from gui.plots.plot import Plot
from gui.rundata import RunData
from gui.words import result, result_name


class ResultStrip(QtWidgets.QWidget):
    """The numbers that a measurement is made for, large, with what the analysis warns of."""

    def __init__(self) -> None:
        super().__init__()
        size = theme.current().px
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(size(8), size(2), size(8), size(2))
        row.setSpacing(size(18))
        self.main = label("", "head")
        self.rest = label("", "muted")
        self.rest.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred
        )
        row.addWidget(self.main)
        row.addWidget(self.rest, 1)

    def show_results(self, analysis: Any, main: str) -> None:
        """Show the result `main` first, then the others; None clears."""
        if analysis is None:
            self.main.setText("")
            self.rest.setText("")
            return
        results = analysis.results
        one = results.get(main)
        if one is not None and one.value is not None:
            self.main.setText(f"{result_name(main)} {result(one)}")
        else:
            self.main.setText(f"{result_name(main)}: not yet" if main else "")
        others = [
            f"{result_name(name)} {result(other)}"
            for name, other in results.items()
            if name != main and other.value is not None and not name.startswith(("fluence", "day"))
        ]
        text = "   ·   ".join(others[:4])
        warnings = list(analysis.warnings)
        if not text and warnings:
            text = warnings[0]
        self.rest.setText(text)
        self.rest.setToolTip("\n".join([*others, *(f"warning: {line}" for line in warnings)]))


class MeasurementView(QtWidgets.QWidget):
    """Base of the views.

    MAIN: the result shown largest. RANGE: the column over which a refit can choose a range.
    """

    MAIN = ""
    RANGE = ""
    RANGE_NAME = ""

    def __init__(self) -> None:
        super().__init__()
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(theme.current().px(2))
        self.strip = ResultStrip()
        box.addWidget(self.strip)
        self.body = QtWidgets.QVBoxLayout()
        box.addLayout(self.body, 1)
        self.plots: list[Plot] = []
        self._rows: list[QtWidgets.QSplitter] = []
        self._overlaid: list[tuple[Plot, Any]] = []

    # ---- what a view writes for itself ----------------------------------------------------------

    def draw(self, data: RunData) -> None:
        """Draw the records."""
        raise NotImplementedError

    def draw_fit(self, evaluation: Any) -> None:
        """Draw what an analysis found."""

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """Return plot, x and y of the curve by which runs are compared."""
        return None

    # ---- what follows ---------------------------------------------------------------------------

    def show_fit(self, evaluation: Any) -> None:
        """Show the results and curves of an analysis; None clears them."""
        self.strip.setVisible(evaluation is not None)
        self.strip.show_results(evaluation.analysis if evaluation is not None else None, self.MAIN)
        if evaluation is not None:
            self.draw_fit(evaluation)

    def overlay(self, others: Sequence[tuple[str, RunData]]) -> None:
        """Lay other runs over this one."""
        for plot, curve in self._overlaid:
            plot.remove(curve)
        self._overlaid.clear()
        for number, (name, data) in enumerate(others):
            found = self.main_curve(data)
            if found is not None:
                plot, x, y = found
                curve = plot.curve(2 + number, name=name, symbol="t", line=True, width=1.0)
                curve.setData(x, y)
                self._overlaid.append((plot, curve))

    def _enlarge(self, plot: Plot, on: bool) -> None:
        """Show one plot alone, or all again."""
        for other in self.plots:
            other.setVisible(other is plot or (not on and other not in self.without))
        for row in self._rows:
            row.setVisible(not on or row.indexOf(plot) >= 0)

    @property
    def without(self) -> tuple[Plot, ...]:
        """Plots for which this run has nothing to show."""
        return ()

    @property
    def paint_s(self) -> float:
        """How long the last painting of all plots took (s)."""
        return sum(plot.canvas.paint_s for plot in self.plots if plot.isVisible())

    def restyle(self) -> None:
        """Take another theme's colours."""
        for plot in self.plots:
            plot.restyle()

    def add(self, *rows: Sequence[Plot], stretch: Sequence[int] = ()) -> None:
        """Arrange plots in rows, with handles between them."""
        outer = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        outer.setChildrenCollapsible(False)
        for row in rows:
            inner = QtWidgets.QSplitter(QtCore.Qt.Orientation.Horizontal)
            inner.setChildrenCollapsible(False)
            for plot in row:
                inner.addWidget(plot)
                self.plots.append(plot)
            inner.setSizes([1000] * len(row))
            outer.addWidget(inner)
            self._rows.append(inner)
            for plot in row:
                plot.large.show()
                plot.large.toggled.connect(lambda on, plot=plot: self._enlarge(plot, on))
        for place, weight in enumerate(stretch):
            outer.setStretchFactor(place, weight)
        self.body.addWidget(outer, 1)


_VIEWS = {
    "power-sweep": "gui.plots.power_sweep:PowerSweepView",
    "stripe-length": "gui.plots.stripe_length:StripeLengthView",
    "per-shot": "gui.plots.per_shot:PerShotView",
    "photostability": "gui.plots.photostability:PhotostabilityView",
    "biexciton": "gui.plots.biexciton:BiexcitonView",
    "ageing": "gui.plots.ageing:AgeingView",
    "capillary-lasing": "gui.plots.capillary_lasing:CapillaryLasingView",
    "lifetime": "gui.plots.streak:StreakView",
    "auger": "gui.plots.streak:StreakView",
    "cross-section": "gui.plots.streak:StreakView",
    "streak-series": "gui.plots.streak:StreakView",
}


def view_for(measurement: str) -> MeasurementView:
    """Return a view for a measurement; a general one for those that have none of their own."""
    module, _, name = _VIEWS.get(measurement, "gui.plots.general:GeneralView").partition(":")
    made: MeasurementView = getattr(importlib.import_module(module), name)()
    return made
