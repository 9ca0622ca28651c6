"""Which measurement answers to which name, and what evaluates and draws its files.

Our own, and those of other packages under the entry-point group `gainbench.measurements`. Nothing
is imported before it is asked for. A run file only names its measurement: what that name means is
decided here, so that a file never chooses code to run.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from instruments.errors import ConfigError


@dataclass(frozen=True)
class MeasurementEntry:
    """A measurement by name: its class, what evaluates its files, what draws them.

    `calibration` makes a calibration of an analysed run, where a run is one.
    """

    name: str
    summary: str
    procedure: str
    evaluate: str = ""
    figure: str = ""
    calibration: str = ""

    def load(self, what: str = "procedure") -> Any:
        """Import the class ("procedure") or function ("evaluate", "figure", "calibration")."""
        module, _, name = getattr(self, what).partition(":")
        return getattr(importlib.import_module(module), name)


_OWN = (
    MeasurementEntry(
        "power-sweep",
        "emission spectra against pump fluence: threshold, bands, slopes",
        "procedures.power_sweep:PowerSweep",
        "procedures.evaluation:evaluate_power_sweep",
        "procedures.figures:power_sweep_figure",
    ),
    MeasurementEntry(
        "calibrate-pump",
        "pulse energy against the angle of the wave plate: attenuator, full pulse energy, area",
        "procedures.calibrate_pump:CalibratePump",
        "procedures.calibrating:evaluate_pump",
        "procedures.figures_calibration:pump_figure",
        "procedures.calibrating:pump_calibration",
    ),
    MeasurementEntry(
        "calibrate-wavelength",
        "spectra of a lamp: wavelength axis of the spectrograph",
        "procedures.calibrate_wavelength:CalibrateWavelength",
        "procedures.calibrating:evaluate_wavelength",
        "procedures.figures_calibration:wavelength_figure",
        "procedures.calibrating:wavelength_calibration",
    ),
)


def measurements() -> dict[str, MeasurementEntry]:
    """Return every measurement known here, by name."""
    found = {entry.name: entry for entry in _OWN}
    for point in entry_points(group="gainbench.measurements"):
        loaded = point.value
        found.setdefault(
            point.name,
            MeasurementEntry(point.name, f"from {point.module.partition('.')[0]}", loaded),
        )
    return found


def measurement(name: str) -> MeasurementEntry:
    """Return the measurement of a name; ConfigError if there is none."""
    own = {entry.name: entry for entry in _OWN}
    known = own if name in own else measurements()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{name!r} is not a measurement{hint} Known: {', '.join(sorted(known))}",
            key="measurement",
        )
    return known[name]
