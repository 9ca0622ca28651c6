"""capillary-lasing: the modes just seen, the waterfall, and the output against the fluence."""

from __future__ import annotations

from typing import Any

from gui.plots.plot import Plot
from gui.plots.sweep import SweepView
from gui.plots.waterfall import Waterfall
from gui.rundata import RunData
from gui.words import significant


class CapillaryLasingView(SweepView):
    """Spectrum above; waterfall and output below."""

    MAIN = "threshold_mJ_cm2"
    FLUENCE = 1e-3

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

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        seen = self.seen(data)
        if seen is None:
            return
        wavelength = data.axis("wavelength")
        self._line.setData(wavelength, seen.net[-1])
        self.spectrum.set_title(f"Spectrum at {significant(float(seen.fluence[-1]))} mJ/cm²")
        self.waterfall.show_spectra(wavelength, seen.fluence, seen.net)
        self._points.setData(seen.fluence[seen.good], seen.light[seen.good])

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        self.mark_threshold(evaluation, "Output")
        super().show_fit(evaluation)
