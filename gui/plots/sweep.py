"""What the views of fluence sweeps share: the light of each record against its fluence.

For power sweeps, biexcitons and capillaries; what each draws besides is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gui.plots.light import Floats, NetSpectra
from gui.plots.plot import Plot
from gui.plots.view import MeasurementView
from gui.rundata import RunData
from gui.words import result


@dataclass(frozen=True)
class Seen:
    """The records that have light: their spectra (n, pixels) and what belongs to each (n,).

    good: those that a logarithmic plot of light against fluence can show.
    """

    rows: npt.NDArray[np.intp]
    net: Floats
    fluence: Floats
    light: Floats
    good: npt.NDArray[np.bool_]


class SweepView(MeasurementView):
    """Base of the views of a sweep.

    FLUENCE: from the records' uJ/cm2 to the unit of the plots.
    """

    RANGE = "fluence"
    RANGE_NAME = "fluence (µJ/cm²)"
    FLUENCE = 1.0
    growth: Plot

    def __init__(self) -> None:
        super().__init__()
        self._net = NetSpectra()

    def is_shown(self, data: RunData, rows: npt.NDArray[np.intp]) -> Any:
        """Return which records belong into the growth plot; all, unless a view knows better."""
        return np.ones(len(rows), bool)

    def seen(self, data: RunData, spectra: NetSpectra | None = None) -> Seen | None:
        """Return what has light so far, None if nothing has."""
        spectra = spectra if spectra is not None else self._net
        net = spectra.of(data)
        if not len(net):
            return None
        rows, light = spectra.rows, spectra.sums()
        fluence = self.FLUENCE * data.records("fluence")[rows].astype(np.float64)
        good = self.is_shown(data, rows) & (fluence > 0.0) & (light > 0.0)
        return Seen(rows, net, fluence, light, good)

    def main_curve(self, data: RunData) -> tuple[Plot, Any, Any] | None:
        """See MeasurementView: light against fluence."""
        seen = self.seen(data, NetSpectra())
        if seen is None:
            return None
        fluence, light = seen.fluence[seen.good], seen.light[seen.good]
        order = np.argsort(fluence, kind="stable")
        return self.growth, fluence[order], light[order]

    def mark_threshold(self, evaluation: Any, title: str) -> None:
        """Mark the threshold that was found in the growth plot, and say it in its title."""
        found = evaluation.analysis.results.get(self.MAIN) if evaluation is not None else None
        self.growth.mark(None)
        self.growth.set_title(title)
        if found is not None and isinstance(found.value, float) and isinstance(found.stderr, float):
            self.growth.mark(found.value, found.stderr)
            self.growth.set_title(f"Threshold {result(found)}")
