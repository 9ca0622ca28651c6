"""A measurement without instruments, for benchmarks: what is left is the way to the file.

`carry(folder, kind, count)` takes `count` records of a kind through the runner, as `gainbench run`
does: real procedure, real bench file without instruments, journal, syncs and all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers.work import arrays
from instruments.config import BenchConfig, parse
from procedures.columns import Axis, Column
from procedures.measurement import Measurement, Needs, Point, Record
from procedures.parameters import Count
from procedures.running.describe import Description, describe_queued
from procedures.running.runfile import create_queued
from procedures.running.runner import Outcome, carry_out

SCALARS, PIXELS, ROWS, WAVELENGTHS = 8, 1340, 508, 640
KINDS = ("scalars", "spectra", "spectrograms")
_NUMBERS = tuple(Column(f"c{number}", "1", f"number {number}") for number in range(SCALARS))
BENCH = '[bench]\nname = "none"\n[pump]\nrepetition_rate_Hz = 1000.0\n'


class Scalars(Measurement):
    """Eight numbers a record."""

    MEASUREMENT: ClassVar[str] = "bare"
    TITLE: ClassVar[str] = "Records without instruments"
    COLUMNS: ClassVar[tuple[Column, ...]] = _NUMBERS
    SIGNAL: ClassVar[str] = "c1"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("c0",)

    count = Count("records", minimum=1, maximum=10**9, default=20_000)

    def plan(self) -> list[Point]:
        """As many points."""
        if getattr(self, "_points", None) is None or len(self._points) != self.count:
            self._points = [{"number": float(one)} for one in range(self.count)]
        return self._points

    def needs(self, point: Point) -> Needs:
        """Nothing."""
        return Needs(0.0)

    def record(self, point: Point) -> Record:
        """Return numbers made up at once."""
        x = point["number"]
        return {
            "c0": x, "c1": x + 1.0, "c2": x + 2.0, "c3": x + 3.0,
            "c4": x + 4.0, "c5": x + 5.0, "c6": x + 6.0, "c7": x + 7.0,
        }  # fmt: skip


class Spectra(Scalars):
    """A spectrum and eight numbers a record; a hundred different spectra in turn."""

    SIGNAL: ClassVar[str] = "array"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("c0", "wavelength")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *_NUMBERS,
        Column("array", "counts", "Counts", "uint16", ("wavelength",)),
    )
    shape: ClassVar[tuple[int, ...]] = (PIXELS,)

    def prepare(self) -> None:
        """Make the arrays."""
        self._arrays = arrays(self.shape)

    def axes(self) -> tuple[Axis, ...]:
        """Pixels."""
        return (Axis("wavelength", np.linspace(480.0, 560.0, self.shape[-1]), "nm", "Wavelength"),)

    def record(self, point: Point) -> Record:
        """Return numbers and one of the arrays."""
        x = point["number"]
        return {
            "c0": x, "c1": x + 1.0, "c2": x + 2.0, "c3": x + 3.0,
            "c4": x + 4.0, "c5": x + 5.0, "c6": x + 6.0, "c7": x + 7.0,
            "array": self._arrays[int(x) % len(self._arrays)],
        }  # fmt: skip


class Spectrograms(Spectra):
    """A spectrogram and eight numbers a record."""

    PLOT_AXES: ClassVar[tuple[str, ...]] = ("c0", "delay", "wavelength")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *_NUMBERS,
        Column("array", "counts", "Counts", "uint16", ("delay", "wavelength")),
    )
    shape: ClassVar[tuple[int, ...]] = (ROWS, WAVELENGTHS)

    def axes(self) -> tuple[Axis, ...]:
        """Rows and pixels."""
        return (Axis("delay", np.arange(float(ROWS)), "ps", "Delay"), *super().axes())


MEASUREMENTS: Mapping[str, type[Scalars]] = {
    "scalars": Scalars, "spectra": Spectra, "spectrograms": Spectrograms,
}  # fmt: skip


def bench_config() -> BenchConfig:
    """Return a bench file that names no instrument and simulates none."""
    return parse(BENCH, "bench.toml")


def carry(folder: Path, kind: str, count: int, **more: Any) -> Outcome:
    """Carry out a run of `count` records of a kind."""
    measurement = MEASUREMENTS[kind](count=count)
    config = bench_config()
    path = create_queued(folder, describe_queued(measurement, config, Description("none"), 1.7e9))
    return carry_out(path, measurement, config, report=lambda _line: None, **more)
