"""Analysis of a pump power sweep: threshold, spontaneous and stimulated band, slopes.

For the command, the figure and the ageing analysis. Arrays in, numbers with uncertainties out: no
file, no instrument. What the records do not support is None, with a warning that says what lacks.

Results are stated for the fluence as reported; the uncertainty of its scale is in the standard
errors of what depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from procedures.analysis.lineshape import (
    Line,
    channel_edges,
    fit_gaussian,
    fit_line,
    half_width,
    rebin,
    smooth,
)
from procedures.analysis.results import Analysis, FloatArray, Result
from procedures.analysis.stripe_fit import FitData, model_law
from procedures.analysis.stripe_model import Channels, emitted
from procedures.analysis.sweep_records import PowerSweepData, Records, usable_records
from procedures.analysis.threshold import (
    BandGuess,
    Threshold,
    TwoLength,
    find_threshold,
    log_log_intersection,
    two_length_threshold,
)

__all__ = ["PowerSweepData", "analyze_power_sweep"]

REACH = 1.3
"""A sweep must reach this multiple of the threshold for the threshold to be stated."""
BELOW = 0.6
"""slope_below is taken below this multiple of the threshold."""
ABOVE = (1.05, 1.3)
"""slope_above is taken between these multiples of the threshold."""
QUOTE_AT = 2.6
"""Without a reference fluence the stimulated line is quoted at this multiple of the threshold."""
QUOTE_RANGE = (1.8, 3.5)
"""Where films are customarily quoted: the line's variation over it enters if none is named."""

_UNITS = {
    "threshold_uJ_cm2": "uJ/cm^2",
    "spontaneous_peak_nm": "nm",
    "spontaneous_fwhm_nm": "nm",
    "ase_peak_nm": "nm",
    "ase_fwhm_nm": "nm",
    "slope_below": "1",
    "slope_above": "1",
}
_LEAST_RECORDS = 8
_NARROWED = 0.85  # of the low-fluence width: less says that a line has grown
_DRAWS = 40


def analyze_power_sweep(data: PowerSweepData) -> Analysis:
    """Return threshold, both bands and both slopes of a sweep, with warnings and curves."""
    records, warnings = usable_records(data)
    sweep = _Sweep(data, warnings)
    main = sweep.main_records(records)
    if main is not None:
        sweep.look(main)
        if sweep.guess is not None:
            sweep.find(main, records)
    return sweep.analysis()


class _Sweep:
    """One analysis under way: what has been found, what was warned of."""

    def __init__(self, data: PowerSweepData, warnings: list[str]) -> None:
        self.data = data
        self.warnings = warnings
        self.results = {name: Result.nothing(unit) for name, unit in _UNITS.items()}
        self.curves: dict[str, FloatArray] = {}
        self.guess: BandGuess | None = None
        self.line_fwhm_nm = 0.0

    def analysis(self) -> Analysis:
        return Analysis(self.results, self.warnings, self.curves)

    def put(self, name: str, value: float, stderr: float) -> None:
        self.results[name] = Result(float(value), float(stderr), _UNITS[name])
