"""capillary-lasing: the modes just seen, the waterfall, and the output against the fluence."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.light import NetSpectra, band_sum
from gui.plots.plot import Plot
from gui.plots.view import MeasurementView
from gui.plots.waterfall import Waterfall
from gui.rundata import RunData
from gui.words import significant


class CapillaryLasingView(MeasurementView):
    """Spectrum above; waterfall and output below."""

    MAIN = "threshold_mJ_cm2"
    RANGE = "fluence"
    RANGE_NAME = "fluence (µJ/cm²)"

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Plot("Spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.waterfall = Waterfall("Waterfall", "wavelength (nm)", "fluence (mJ/cm²)")
        self.growth = Plot("Output", "fluence (mJ/cm²)", "counts / shot", log="xy")
        self.add([self.spectrum], [self.waterfall, self.growth], stretch=(5, 5))
        self._line = self.spectrum.curve(0, width=1.2)
        self.spectrum.follow(self._line)
        self._points = self.growth.curve(0, symbol="o", line=False)
        self.growth.follow(self._points)
        self._net = NetSpectra()

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        net = self._net.of(data)
        if not len(net):
            return
        wavelength = data.axis("wavelength")
        fluence = 1e-3 * data.records("fluence")[data.rows_of("spectra")[: len(net)]]
        self._line.setData(wavelength, net[-1])
        self.spectrum.set_title(f"Spectrum at {significant(float(fluence[-1]))} mJ/cm²")
        self.waterfall.show_spectra(wavelength, fluence, np.maximum(net, 0.0))
        light = band_sum(net)
        good = (fluence > 0.0) & (light > 0.0)
        self._points.setData(fluence[good], light[good])

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        net = NetSpectra().of(data)
        fluence = 1e-3 * data.records("fluence")[data.rows_of("spectra")[: len(net)]]
        light = band_sum(net)
        good = (fluence > 0.0) & (light > 0.0)
        return self.growth, fluence[good], light[good]

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        self.growth.mark(None)
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        threshold = evaluation.analysis.results.get("threshold_mJ_cm2")
        if (
            threshold is not None
            and isinstance(threshold.value, float)
            and isinstance(threshold.stderr, float)
        ):
            self.growth.mark(threshold.value, threshold.stderr)
