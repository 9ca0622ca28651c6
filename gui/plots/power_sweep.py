"""power-sweep: the spectrum just taken, the waterfall, and growth with the threshold's fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.plot import Plot
from gui.plots.sweep import SweepView
from gui.plots.waterfall import Waterfall
from gui.rundata import RunData
from gui.words import significant


class PowerSweepView(SweepView):
    """Spectrum above; waterfall and log-log plot below."""

    MAIN = "threshold_uJ_cm2"

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

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        seen = self.seen(data)
        if seen is None:
            return
        wavelength, net = data.axis("wavelength"), seen.net
        saturated = data.records("saturated")[seen.rows].astype(bool)
        self._line.setData(wavelength, net[-1])
        self._show_saturated(data, wavelength, net[-1], bool(saturated[-1]))
        self.spectrum.set_title(f"Spectrum at {significant(float(seen.fluence[-1]))} µJ/cm²")
        full = self.is_shown(data, seen.rows)
        self.waterfall.show_spectra(wavelength, seen.fluence[full], net[full])
        self._points.setData(seen.fluence[seen.good], seen.light[seen.good])
        bad = seen.good & saturated
        self._bad.setData(seen.fluence[bad], seen.light[bad])

    def _show_saturated(self, data: RunData, wavelength: Any, shown: Any, any_is: bool) -> None:
        if not any_is:
            self._saturated.setData([], [])
            return
        counts = data.last("spectra")
        top = counts >= 0.999 * counts.max()
        self._saturated.setData(wavelength[top], shown[top])

    def is_shown(self, data: RunData, rows: Any) -> Any:
        """See SweepView: the records of the full stripe."""
        length = data.records("stripe_length")[rows].astype(np.float64)
        full = float(data.facts.get("full_stripe_length_mm") or 0.0)
        return np.abs(length - full) < 0.2 if full else np.ones(len(rows), bool)

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        for curve in (self._broad, self._narrow, self._fit):
            curve.setData([], [])
        self.mark_threshold(evaluation, "Growth")
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        curves = evaluation.analysis.curves
        if "separated_fluence_uJ_cm2" in curves:
            where = curves["separated_fluence_uJ_cm2"]
            narrow = curves["stimulated_counts_per_shot"]
            broad = curves["spontaneous_counts_per_shot"]
            seen = narrow > 0.02 * (narrow + broad)
            self._broad.setData(where, np.maximum(broad, 1e-12))
            self._narrow.setData(where[seen], np.maximum(narrow[seen], 1e-12))
        if "fit_fluence_uJ_cm2" in curves:
            self._fit.setData(curves["fit_fluence_uJ_cm2"], curves["fit_band_counts_per_shot"])
