"""power-sweep: the spectrum just taken, the waterfall, and growth with the threshold's fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.light import NetSpectra, band_sum
from gui.plots.plot import Plot
from gui.plots.view import MeasurementView
from gui.plots.waterfall import Waterfall
from gui.rundata import RunData
from gui.words import result, significant


class PowerSweepView(MeasurementView):
    """Spectrum above; waterfall and log-log plot below."""

    MAIN = "threshold_uJ_cm2"
    RANGE = "fluence"
    RANGE_NAME = "fluence (µJ/cm²)"

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Plot("Spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.waterfall = Waterfall("Waterfall", "wavelength (nm)", "fluence (µJ/cm²)")
        self.growth = Plot("Growth", "fluence (µJ/cm²)", "counts / shot", log="xy")
        self.add([self.spectrum], [self.waterfall, self.growth], stretch=(4, 5))
        self._line = self.spectrum.curve(0)
        self._saturated = self.spectrum.curve(
            colour="bad", line=False, symbol="s", size=4.0, name=""
        )
        self.spectrum.follow(self._line)
        self.growth.legend()
        self._points = self.growth.curve(0, symbol="o", line=False, name="whole band", size=6.5)
        self._bad = self.growth.curve(colour="bad", symbol="x", line=False, size=10)
        self._broad = self.growth.curve(
            6, symbol="s", line=False, filled=False, size=6, name="spontaneous"
        )
        self._narrow = self.growth.curve(
            1, symbol="o", line=False, filled=False, size=8, name="stimulated"
        )
        self._fit = self.growth.curve(5, width=2.2, name="fit")
        self.growth.follow(self._points)
        self._net = NetSpectra()

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        net = self._net.of(data)
        if not len(net):
            return
        wavelength = data.axis("wavelength")
        rows = data.rows_of("spectra")[: len(net)]
        fluence = data.records("fluence")[rows].astype(np.float64)
        saturated = data.records("saturated")[rows].astype(bool)
        self._line.setData(wavelength, net[-1])
        self._show_saturated(data, wavelength, net[-1], bool(saturated[-1]))
        self.spectrum.set_title(f"Spectrum at {significant(float(fluence[-1]))} µJ/cm²")
        full = self._full(data, rows)
        self.waterfall.show_spectra(wavelength, fluence[full], np.maximum(net[full], 0.0))
        light = band_sum(net)
        good = full & (fluence > 0.0) & (light > 0.0)
        self._points.setData(fluence[good], light[good])
        self._bad.setData(fluence[good & saturated], light[good & saturated])

    def _show_saturated(self, data: RunData, wavelength: Any, shown: Any, any_is: bool) -> None:
        if not any_is:
            self._saturated.setData([], [])
            return
        counts = data.last("spectra")
        top = counts >= 0.999 * counts.max()
        self._saturated.setData(wavelength[top], shown[top])

    def _full(self, data: RunData, rows: Any) -> Any:
        length = data.records("stripe_length")[rows].astype(np.float64)
        full = float(data.facts.get("full_stripe_length_mm") or 0.0)
        return np.abs(length - full) < 0.2 if full else np.ones(len(rows), bool)

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        net = NetSpectra().of(data)
        rows = data.rows_of("spectra")[: len(net)]
        fluence, light = data.records("fluence")[rows], band_sum(net)
        good = self._full(data, rows) & (fluence > 0.0) & (light > 0.0)
        order = np.argsort(fluence[good])
        return self.growth, fluence[good][order], light[good][order]

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        for curve in (self._broad, self._narrow, self._fit):
            curve.setData([], [])
        self.growth.mark(None)
        self.growth.set_title("Growth")
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        curves, results = evaluation.analysis.curves, evaluation.analysis.results
        if "separated_fluence_uJ_cm2" in curves:
            where = curves["separated_fluence_uJ_cm2"]
            narrow = curves["stimulated_counts_per_shot"]
            broad = curves["spontaneous_counts_per_shot"]
            seen = narrow > 0.02 * (narrow + broad)
            self._broad.setData(where, np.maximum(broad, 1e-12))
            self._narrow.setData(where[seen], np.maximum(narrow[seen], 1e-12))
        if "fit_fluence_uJ_cm2" in curves:
            self._fit.setData(curves["fit_fluence_uJ_cm2"], curves["fit_band_counts_per_shot"])
        threshold = results["threshold_uJ_cm2"]
        if isinstance(threshold.value, float) and isinstance(threshold.stderr, float):
            self.growth.mark(threshold.value, threshold.stderr)
            self.growth.set_title(f"Growth: threshold {result(threshold)}")
