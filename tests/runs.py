"""A small run, for the tests of the run file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from instruments.roles import Identity, Setting
from procedures.columns import Axis, Column, Quantity
from procedures.running.header import RunHeader, RunStart
from procedures.running.runfile import RunWriter, create_queued

PIXELS = 64
COLUMNS = (
    Column("fluence", "uJ/cm^2", "Pump fluence"),
    Column("fluence_errors", "uJ/cm^2", "Error of the pump fluence"),
    Column("shots", "", "Laser shots", "uint64"),
    Column("saturated", "", "1 if saturated", "uint8"),
    Column("spectra", "counts", "Emission", "uint32", ("wavelength",)),
)


def header(sample: str = "film A") -> RunHeader:
    return RunHeader(
        measurement="power-sweep",
        title="a test",
        procedure_class="tests",
        parameters={"points": Quantity(3, ""), "lengths_mm": Quantity([1.5], "mm")},
        plan=[{"fluence_uJ_cm2": float(i)} for i in range(5)],
        bench_toml="[bench]\n",
        sample=sample,
        spot="3",
        operator="A. Person",
        created_s=1.7e9,
    )


def start() -> RunStart:
    wavelength = np.linspace(500.0, 550.0, PIXELS)
    return RunStart(
        start_s=1.7e9,
        columns=COLUMNS,
        axes=(Axis("wavelength", wavelength, "nm", "Wavelength"),),
        signal="spectra",
        plot_axes=("fluence", "wavelength"),
        spectroscopy="photoluminescence",
        facts={"fluence_rel_unc": 0.028, "bench_name": "test"},
        instruments={
            "camera": {
                "identity": Identity("Maker", "CCD", "12"),
                "settings": {"gain": Setting(1.5, "e/count")},
            }
        },
        decisions={"centre_wavelength_nm": 525.0},
        state_names=("clock", "dose"),
        packages={"numpy": np.__version__},
        revision="abc",
    )


def record(number: int) -> dict[str, object]:
    return {
        "fluence": 1.5 * number,
        "fluence_errors": 0.01,
        "shots": number + 1000,
        "saturated": number % 2,
        "spectra": np.full(PIXELS, number, dtype=np.uint32),
    }


def queued(folder: Path, sample: str = "film A") -> Path:
    return create_queued(folder, header(sample))


def started(folder: Path) -> tuple[Path, RunWriter]:
    path = queued(folder)
    return path, RunWriter.start(path, start())


def records(first: int, count: int) -> Iterator[dict[str, object]]:
    return (record(number) for number in range(first, first + count))
