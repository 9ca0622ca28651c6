"""What goes into a run file besides the records: header when queued, description at the start.

For the runner and for whoever queues a run. Knows the bench and the measurement; the layout of the
file is `runfile`'s.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.config import BenchConfig
from procedures.measurement import Measurement
from procedures.running.header import RunHeader, RunStart

_PACKAGES = ("gainbench", "numpy", "scipy", "h5py", "pymeasure", "pyvisa", "pyserial", "pylablib")


@dataclass(frozen=True)
class Description:
    """Who measures what, where on it.

    draw: which noise the run has on a simulated bench, see `header.draw_of`.
    """

    sample: str = ""
    spot: str = ""
    operator: str = ""
    draw: int = field(default=0, kw_only=True)


def describe_queued(
    measurement: Measurement, config: BenchConfig, description: Description, moment: float
) -> RunHeader:
    """Return what is known when the run is queued."""
    return RunHeader(
        measurement=measurement.MEASUREMENT,
        title=f"{measurement.TITLE}: {description.sample or 'sample'}",
        procedure_class=f"{type(measurement).__module__}.{type(measurement).__qualname__}",
        parameters=measurement.quantities(),
        plan=measurement.plan(),
        bench_toml=config.text,
        bench_file=config.file or "",
        sample=description.sample,
        spot=description.spot,
        operator=description.operator,
        draw=description.draw,
        created_s=moment,
    )


def describe_start(measurement: Measurement, bench: Bench) -> RunStart:
    """Return what is known once the bench is ready."""
    pump = bench.pump
    source = pump.source
    facts: dict[str, float | str] = {
        "fluence_rel_unc": pump.fluence_rel_unc,
        "area_cm2": pump.area_cm2,
        "full_stripe_length_mm": source.stripe_length_mm or 0.0,
        "stripe_width_mm": source.stripe_width_mm or 0.0,
        "spot_diameter_mm": source.spot_diameter_mm or 0.0,
        "pump_wavelength_nm": source.wavelength_nm,
        "repetition_rate_Hz": source.repetition_rate_Hz,
        "pulse_width_s": source.pulse_width_s,
        "full_pulse_energy_J": source.full_pulse_energy_J,
        "bench_name": bench.config.bench.name,
        "simulated": "yes" if bench.simulated else "no",
    }
    if bench.spectrograph is not None:
        facts["wavelength_unc_nm"] = bench.spectrograph.wavelength_unc_nm
    return RunStart(
        start_s=bench.clock.now(),
        columns=measurement.COLUMNS,
        axes=measurement.axes(),
        signal=measurement.SIGNAL,
        plot_axes=measurement.PLOT_AXES,
        spectroscopy=measurement.SPECTROSCOPY,
        facts=facts,
        instruments=bench.snapshot(),
        calibrations={role: made.facts() for role, made in bench.calibrations.items()},
        decisions=dict(measurement.decisions),
        state_names=tuple(bench.state()),
        packages=packages(),
        revision=revision(),
    )


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Return the versions of what a number may depend on."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@lru_cache(maxsize=1)
def revision() -> str:
    """Return the code's revision, where it runs from a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        done: Any = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return str(done.stdout).strip() if done.returncode == 0 else ""
