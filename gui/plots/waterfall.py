"""Many spectra as an image: wavelength along, the swept quantity up, light as brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg

from gui.plots.plot import Floats, Plot

_LOW_DECADES = 4.0


class Waterfall(Plot):
    """An image of spectra on a logarithmic (or linear) axis of the swept quantity."""

    def __init__(self, title: str, x: str, y: str, *, log_y: bool = True) -> None:
        super().__init__(title, x, y, hold=False)
        self._log = log_y
        self.image = pg.ImageItem()
        self.image.setLookupTable(pg.colormap.get("viridis").getLookupTable(nPts=256))
        self.image.setZValue(-5)
        self.item.addItem(self.image)
        self.item.getAxis("left").setLogMode(log_y)
        self.item.showGrid(x=False, y=False)
        self._data: tuple[Floats, Floats, npt.NDArray[Any]] | None = None

    def restyle(self) -> None:
        """See Plot; no grid over an image."""
        super().restyle()
        self.item.showGrid(x=False, y=False)

    def show_spectra(self, wavelength_nm: Floats, swept: Floats, spectra: Floats) -> None:
        """Show spectra (n, pixels) at `swept` (n,): brightness by decades below the brightest."""
        good = np.isfinite(swept) & ((swept > 0.0) if self._log else True)
        if not good.any():
            self.image.clear()
            self._data = None
            return
        swept, spectra = swept[good], spectra[good]
        order = np.argsort(swept, kind="stable")
        place = np.log10(swept[order]) if self._log else swept[order]
        spectra = spectra[order]
        low, high = float(place[0]), float(place[-1])
        if high - low < 1e-9:
            low, high = low - 0.02, high + 0.02
        rows = int(np.clip(2 * len(place), 8, 240))
        grid = np.linspace(low, high, rows)
        middles = 0.5 * (place[1:] + place[:-1])
        nearest = np.searchsorted(middles, grid)
        columns = min(len(wavelength_nm), 700)
        evenly = np.linspace(wavelength_nm[0], wavelength_nm[-1], columns)
        picked = np.searchsorted(wavelength_nm, evenly).clip(0, len(wavelength_nm) - 1)
        image = spectra[:, picked][nearest]
        top = float(np.max(spectra)) if spectra.size else 1.0
        top = top if top > 0.0 else 1.0
        level = np.log10(np.maximum(image, top * 10.0**-_LOW_DECADES) / top)
        scaled = (255.0 * (1.0 + level / _LOW_DECADES)).astype(np.uint8)
        self.image.setImage(scaled, autoLevels=False, levels=(0, 255))
        width = float(wavelength_nm[-1] - wavelength_nm[0])
        half = 0.5 * (high - low) / max(rows - 1, 1)
        rect = (float(wavelength_nm[0]), low - half, width, high - low + 2.0 * half)
        self.image.setRect(*rect)
        self._data = (np.asarray(wavelength_nm), swept[order], spectra)

    def read(self, x: float, y: float) -> str:
        """Return wavelength, swept value and light at the cursor."""
        if self._data is None:
            return ""
        wavelength, swept, spectra = self._data
        value = 10.0**y if self._log else y
        row = int(np.argmin(np.abs(swept - value)))
        column = int(np.argmin(np.abs(wavelength - x)))
        return f"{x:.1f} nm   {swept[row]:.3g}   {spectra[row, column]:.4g}"
