"""biexciton: the cold film's spectrum with both bands, and how each grows with the fluence."""

from __future__ import annotations

from typing import Any

import numpy as np

from gui.plots.plot import Plot
from gui.plots.sweep import SweepView
from gui.rundata import RunData
from gui.words import ev, significant


class BiexcitonView(SweepView):
    """Spectrum over photon energy with the two-band fit above; band areas below."""

    MAIN = "binding_energy_meV"
    FLUENCE = 1e-3

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = Plot("Spectrum", "photon energy (eV)", "per shot and eV, over its top")
        self.growth = Plot("Both bands", "fluence (mJ/cm²)", "area (counts / shot)", log="xy")
        self.temperature = Plot("Temperature", "record", "sample (K)")
        self.add([self.spectrum], [self.growth, self.temperature], stretch=(5, 4))
        self.spectrum.legend()
        self._line = self.spectrum.curve(6, width=1.2, name="record")
        self._sum = self.spectrum.curve(5, width=2.0, name="fit")
        self._a = self.spectrum.curve(0, width=2.0, name="A, exciton")
        self._b = self.spectrum.curve(1, width=2.0, name="B, biexciton")
        self.spectrum.follow(self._line)
        self.growth.legend("below")
        self._whole = self.growth.curve(6, symbol="o", line=False, filled=False, name="all light")
        self._area_a = self.growth.curve(0, symbol="s", line=False, name="A, exciton")
        self._area_b = self.growth.curve(1, symbol="o", line=False, name="B, biexciton")
        self._law = [self.growth.curve(5, width=1.6) for _ in range(2)]
        self._kelvin = self.temperature.curve(2, symbol="o", size=5)

    def draw(self, data: RunData) -> None:
        """See MeasurementView."""
        seen = self.seen(data)
        if seen is None:
            return
        wavelength = data.axis("wavelength")
        energy = ev(1.0) / wavelength
        highest = int(np.argmax(seen.fluence))
        shown = seen.net[highest] * wavelength**2
        shown = shown / max(float(np.quantile(shown, 0.995)), 1e-12)
        self._line.setData(energy[::-1], shown[::-1])
        self.spectrum.set_title(
            f"Spectrum at {significant(float(seen.fluence[highest]))} mJ/cm², the highest so far"
        )
        self._whole.setData(seen.fluence[seen.good], seen.light[seen.good])
        kelvin = data.records("temperature").astype(np.float64)
        self._kelvin.setData(np.arange(1, len(kelvin) + 1), kelvin)

    def show_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        for curve in (self._sum, self._a, self._b, self._area_a, self._area_b, *self._law):
            curve.setData([], [])
        super().show_fit(evaluation)

    def draw_fit(self, evaluation: Any) -> None:
        """See MeasurementView."""
        curves, results = evaluation.analysis.curves, evaluation.analysis.results
        bands = [name for name in ("exciton", "biexciton") if f"{name}_area" in curves]
        if "spectra_per_shot_eV" in curves and bands:
            highest = int(np.argmax(curves["fluence_mJ_cm2"]))
            energy, spectrum = curves["energy_eV"], curves["spectra_per_shot_eV"][highest]
            top = max(float(np.quantile(spectrum, 0.995)), 1e-12)
            self._line.setData(energy, spectrum / top)
            total = np.zeros(len(energy))
            for name, curve in (("exciton", self._a), ("biexciton", self._b)):
                if name in bands:
                    band = curves[f"{name}_area"][highest] * curves[f"{name}_shape_per_eV"] / top
                    curve.setData(energy, band)
                    total += band
            self._sum.setData(energy, total)
        for name, curve, law in (
            ("exciton", self._area_a, self._law[0]),
            ("biexciton", self._area_b, self._law[1]),
        ):
            if name in bands:
                area = curves[f"{name}_area"]
                seen = area > 0.0
                curve.setData(curves["fluence_mJ_cm2"][seen], area[seen])
            if f"{name}_law_area" in curves:
                law.setData(curves["law_fluence_mJ_cm2"], curves[f"{name}_law_area"])
        slopes = [
            f"{short} {results[f'{name}_slope'].value:.3f}"
            for name, short in (("exciton", "A"), ("biexciton", "B"))
            if isinstance(results[f"{name}_slope"].value, float)
        ]
        self.growth.set_title(f"Slopes {', '.join(slopes)}" if slopes else "Both bands")
