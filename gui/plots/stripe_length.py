"""stripe-length: the spectrum just taken, growth along the stripe, and the gain found."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.light import NetSpectra
from gui.plots.plot import Plot
from gui.plots.view import MeasurementView
from gui.rundata import RunData
from gui.words import result

_SCANS = ((0, "low fluence", "s", 0), (1, "fluence asked for", "o", 1), (2, "beside it", "t", 2))


class StripeLengthView(MeasurementView):
    """Spectrum above; growth and gain spectrum below."""

    MAIN = "gain_per_cm"
    RANGE = "stripe_length"
    RANGE_NAME = "stripe length (mm)"

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Plot("Spectrum", "wavelength (nm)", "counts / shot", energy=True)
        self.growth = Plot("Growth along the stripe", "stripe length (mm)", "counts / shot",
                           log="xy")  # fmt: skip
        self.gain = Plot("Gain", "wavelength (nm)", "net modal gain (1/cm)")
        self.add([self.spectrum], [self.growth, self.gain], stretch=(4, 5))
        self._line = self.spectrum.curve(0)
        self.spectrum.follow(self._line)
        self.growth.legend()
        self._scans = {
            scan: self.growth.curve(series, symbol=symbol, line=False, name=name)
            for scan, name, symbol, series in _SCANS
        }
        self._fits = [self.growth.curve(5, width=2.2, name="fit"), self.growth.curve(5, width=2.2)]
        self._gain = self.gain.curve(1, width=2.0)
        self._zero = self.gain.curve(6, width=1.0, dashed=True)
        self._band = [self.gain.curve(1, width=0.8, dashed=True) for _ in range(2)]
        self.gain.follow(self._gain)
        self._net = NetSpectra()
        self._peak = -1

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        net = self._net.of(data)
        if not len(net):
            return
        wavelength = data.axis("wavelength")
        rows = self._net.rows
        self._line.setData(wavelength, net[-1])
        length = data.records("stripe_length")[rows].astype(np.float64)
        scan = data.records("scan")[rows]
        self.spectrum.set_title(f"Spectrum at {length[-1]:.3f} mm")
        light = self._at_peak(wavelength, net)
        for number, curve in self._scans.items():
            one = (scan == number) & (length > 0.0) & (light > 0.0)
            curve.setData(length[one], light[one])

    def _at_peak(self, wavelength: Any, net: Any) -> Any:
        """Return the light per nm at the brightest wavelength, a few pixels wide."""
        brightest = int(np.argmax(net.sum(axis=0)))
        around = slice(max(brightest - 2, 0), brightest + 3)
        step = float(np.abs(np.gradient(wavelength)).mean())
        return net[:, around].mean(axis=1) / step

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView."""
        spectra = NetSpectra()
        net, rows = spectra.of(data), spectra.rows
        length, scan = data.records("stripe_length")[rows], data.records("scan")[rows]
        light = self._at_peak(data.axis("wavelength"), net)
        one = (scan == 1) & (length > 0.0) & (light > 0.0)
        return self.growth, length[one], light[one]

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        for curve in (*self._fits, self._gain, self._zero, *self._band):
            curve.setData([], [])
        self.gain.set_title("Gain")
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        curves, results = evaluation.analysis.curves, evaluation.analysis.results
        for curve, name in zip(self._fits, ("main", "low"), strict=True):
            if f"fit_{name}_length_cm" in curves:
                x = 10.0 * curves[f"fit_{name}_length_cm"]
                y = curves[f"fit_{name}_peak_counts_per_shot_nm"]
                good = (x > 0.0) & (y > 0.0)
                curve.setData(x[good], y[good])
        for number, name in ((1, "main"), (2, "beside"), (0, "low")):
            if f"{name}_length_cm" in curves:  # the analysis's own points, at its gain peak
                x = 10.0 * curves[f"{name}_length_cm"]
                y = curves[f"{name}_peak_counts_per_shot_nm"]
                good = (x > 0.0) & (y > 0.0)
                self._scans[number].setData(x[good], y[good])
        if "gain_wavelength_nm" in curves:
            x, y = curves["gain_wavelength_nm"], curves["gain_spectrum_per_cm"]
            error = curves["gain_spectrum_per_cm_errors"]
            self._gain.setData(x, y)
            self._zero.setData(x[[0, -1]], np.zeros(2))
            for curve, sign in zip(self._band, (-1.0, 1.0), strict=True):
                curve.setData(x, y + sign * error)
        gain = results.get("gain_per_cm")
        if gain is not None and isinstance(gain.value, float):
            self.gain.set_title(f"Gain at the peak {result(gain)}")
