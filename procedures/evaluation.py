"""From a run file to numbers: reads the records, hands arrays to the analysis.

The one place where files and analysis meet. What analysis gets are records and parameters of the
file, never the bench file that is stored beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError
from procedures.analysis.power_sweep import PowerSweepData, analyze_power_sweep
from procedures.analysis.results import Analysis
from procedures.registry import measurement
from procedures.running.runfile import RunFile

# A grating and a silicon detector whose response was not measured: a few parts in a thousand per
# nm, as efficiency curves of both show between 450 and 650 nm.
RESPONSE_TILT_UNC_PER_NM = 0.002
RESPONSE_BEND_UNC_PER_NM2 = 4e-5


@dataclass(frozen=True)
class Evaluation:
    """What came out of a run file (or of several)."""

    file: str | list[str]
    measurement: str
    run_status: str
    analysis: Analysis
    data: Any = field(repr=False, default=None)
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `gainbench analyze --json` prints."""
        return {
            "file": self.file,
            "measurement": self.measurement,
            "run_status": self.run_status,
            **self.analysis.to_json(),
        }


class NothingToAnalyze(BenchError):
    """A file's measurement has no analysis here."""

    exit_code = 2
    code = "run-file"


def evaluate(path: str | Path) -> Evaluation:
    """Analyse a run file by the measurement that it names."""
    with RunFile(path) as run:
        entry = measurement(run.measurement)
        if not entry.evaluate:
            raise NothingToAnalyze(f"{path}: no analysis is known for {run.measurement!r}")
        analysis, data = entry.load("evaluate")(run)
        about = {"sample": run.sample, "start_time": run.start_time, "spot": run.spot}
        return Evaluation(str(path), run.measurement, run.status, analysis, data, about)


def evaluate_power_sweep(run: RunFile) -> tuple[Analysis, PowerSweepData]:
    """Gather a power sweep's records and analyse them."""
    records = {
        name: np.asarray(run.records(name))
        for name in (
            "fluence",
            "fluence_errors",
            "pulse_energy",
            "pulse_energy_spread",
            "exposure",
            "accumulations",
            "shots",
            "stripe_length",
            "direction",
            "saturated",
            "spectra",
            "background",
        )
    }
    settings = run.instruments.get("camera", {}).get("settings", {})
    gain = _value(settings, "electrons_per_count")
    read_noise = _value(settings, "read_noise_e")
    data = PowerSweepData(
        wavelength_nm=np.asarray(run.axis("wavelength")),
        counts=records["spectra"],
        background=records["background"],
        gain_e_per_count=gain,
        read_noise_e=read_noise,
        exposure_s=records["exposure"],
        accumulations=records["accumulations"],
        shots=records["shots"],
        fluence_uJ_cm2=records["fluence"],
        fluence_errors_uJ_cm2=records["fluence_errors"],
        fluence_rel_unc=float(run.facts.get("fluence_rel_unc", 0.0)),
        stripe_length_cm=0.1 * records["stripe_length"],
        full_stripe_length_cm=0.1 * float(run.facts.get("full_stripe_length_mm", 3.0)),
        saturated=records["saturated"].astype(bool),
        direction=records["direction"],
        reference_fluence_uJ_cm2=float(run.parameters["reference_fluence_uJ_cm2"]),
        pulse_spread=_spread(records["pulse_energy"], records["pulse_energy_spread"]),
        response_tilt_unc_per_nm=RESPONSE_TILT_UNC_PER_NM,
        response_bend_unc_per_nm2=RESPONSE_BEND_UNC_PER_NM2,
        wavelength_unc_nm=float(run.facts.get("wavelength_unc_nm", 0.0)),
    )
    return analyze_power_sweep(data), data


def _value(settings: Mapping[str, Any], name: str) -> float | None:
    found = settings.get(name)
    if found is None:
        return None
    value = float(getattr(found, "value", found))
    return value if np.isfinite(value) and value > 0 else None


def _spread(energy: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]) -> float:
    """Return the relative scatter of single pulses, 0 where it was not measured."""
    good = np.isfinite(energy) & np.isfinite(spread) & (energy > 0)
    return float(np.median(spread[good] / energy[good])) if good.any() else 0.0
