"""photostability: intensity against shots over the whole exposure, the pump, the last spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.plot import Plot
from gui.plots.series import Decimated, SeriesPlot
from gui.plots.view import MeasurementView
from gui.rundata import RunData
from gui.words import result

_EXPOSURE = 2


class PhotostabilityView(MeasurementView):
    """Intensity above; pump and spectrum below."""

    MAIN = "retained_fraction"
    RANGE = "exposed_shots"
    RANGE_NAME = "laser shots"

    def __init__(self) -> None:
        super().__init__()
        self.decay = SeriesPlot("Intensity", "laser shots", "over its first value")
        self.pump = SeriesPlot("Pump", "laser shots", "fluence (µJ/cm²)")
        self.spectrum = Plot("Spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.add([self.decay], [self.pump, self.spectrum], stretch=(5, 4))
        self.decay.legend("right")
        self._raw = self.decay.curve(6, width=1.0, name="as recorded")
        self._kept = self.decay.curve(0, symbol="o", line=False, size=4, name="at constant energy")
        self._fit = self.decay.curve(5, width=2.2, name="fit")
        self._fluence = self.pump.curve(0, width=1.0)
        self._line = self.spectrum.curve(0)
        self.spectrum.follow(self._line)

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        series = self._exposure(data)
        if series is not None:
            shots, light, fluence = series
            self.decay.show_series(self._raw, Decimated(shots, light))
            self.pump.show_series(self._fluence, Decimated(shots, fluence))
        spectra, rows = data.both("spectra")
        if len(spectra):
            row = int(rows[-1])
            shots_in = max(float(data.records("shots")[row]), 1.0)
            self._line.setData(data.axis("wavelength"), spectra[-1] / shots_in)

    def _exposure(self, data: RunData) -> tuple[Any, Any, Any] | None:
        count = data.rows_complete
        leg = data.records("leg")[:count]
        inside = leg == _EXPOSURE
        if not inside.any():
            return None
        shots = data.records("exposed_shots")[:count][inside]
        counts = data.records("band_counts")[:count][inside]
        in_record = data.records("shots")[:count][inside].astype(np.float64)
        light = counts / np.maximum(in_record, 1.0)
        first = float(np.median(light[: max(min(len(light) // 20, 50), 1)])) or 1.0
        return shots, light / first, data.records("fluence")[:count][inside]

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        series = self._exposure(data)
        if series is None:
            return None
        envelope = Decimated(series[0], series[1]).envelope(0, len(series[0]))
        return self.decay, *envelope

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        for curve in (self._kept, self._fit):
            curve.setData([], [])
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        curves, results = evaluation.analysis.curves, evaluation.analysis.results
        if "shots" in curves:
            self._kept.setData(curves["shots"], curves["retained_fraction"])
        if "fit_shots" in curves:
            self._fit.setData(curves["fit_shots"], curves["fit_fraction"])
        left = results.get("retained_fraction")
        if left is not None and isinstance(left.value, float):
            self.decay.set_title(f"Intensity: {result(left)} left")
