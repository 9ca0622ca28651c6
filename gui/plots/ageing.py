"""ageing: the sweep of today over those of the days before, and the threshold against days."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.light import NetSpectra
from gui.plots.plot import Plot
from gui.plots.view import MeasurementView
from gui.rundata import RunData

_MOST_DAYS = 7


class AgeingView(MeasurementView):
    """Spectrum above; growth of each day and threshold below."""

    MAIN = "threshold_rise_per_day"

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Plot("Spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.growth = Plot("Growth, day by day", "fluence (µJ/cm²)", "counts / shot", log="xy")
        self.rise = Plot("Threshold", "day", "threshold (µJ/cm²)")
        self.add([self.spectrum], [self.growth, self.rise], stretch=(4, 5))
        self._line = self.spectrum.curve(0)
        self.spectrum.follow(self._line)
        self.growth.legend()
        self._days: dict[float, Any] = {}
        self._thresholds = self.rise.curve(0, symbol="o", line=True, width=1.2)
        self._net = NetSpectra()

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        net = self._net.of(data)
        if not len(net):
            return
        rows, light = self._net.rows, self._net.sums()
        self._line.setData(data.axis("wavelength"), net[-1])
        fluence = data.records("fluence")[rows].astype(np.float64)
        days = data.records("day")[rows].astype(np.float64)
        sweep = data.records("sweep")[rows]
        for number in np.unique(sweep)[-_MOST_DAYS:]:
            one = (sweep == number) & (fluence > 0.0) & (light > 0.0)
            day = round(float(days[sweep == number][0]), 1)
            if day not in self._days:
                self._days[day] = self.growth.curve(
                    len(self._days), symbol="o", line=False, size=5, name=f"day {day:g}"
                )
            self._days[day].setData(fluence[one], light[one])

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        results = evaluation.analysis.results
        day, threshold = results.get("day"), results.get("threshold_uJ_cm2")
        if day is None or threshold is None or not isinstance(threshold.value, list | tuple):
            return
        pairs = [(d, t) for d, t in zip(day.value, threshold.value, strict=False) if t is not None]
        if pairs:
            self._thresholds.setData(*map(np.asarray, zip(*pairs, strict=True)))
