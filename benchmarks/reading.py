"""How fast runs are read again: `python benchmarks/reading.py [--rows N] [--runs N]`.

A long column at a glance, beside h5py that loads it; opening a run, beside h5py that opens it;
listing a folder of many runs, the first time and from then on, beside opening each of them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import bare
from procedures.columns import Column
from procedures.running.header import RunHeader, RunStart
from procedures.running.index import CACHE_NAME, index
from procedures.running.overview import overview
from procedures.running.runfile import RunFile, RunWriter, create_queued

SPECTRA, BUCKETS, SETTLED_S = 2_000, 2_400, 5.0
RECORDS = "entry/records"


def taken(act: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds of wall time and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


def tell(what: str, times: tuple[float, float], beside: float | None = None) -> float:
    """Print a row of the table; return its wall time."""
    wall, cpu = times
    ratio = f"{beside / wall:,.1f}" if beside else ""
    print(f"| {what} | {1e3 * wall:,.2f} | {1e3 * cpu:,.2f} | {ratio} |", flush=True)
    return wall


def best(act: Callable[[], Any], times: int = 5) -> tuple[float, float]:
    """Return the shortest of some."""
    return min(taken(act) for _ in range(times))


def long_series(folder: Path, rows: int) -> None:
    """A column of so many values, as a run records it."""
    columns = [Column(name, "1", name) for name in ("shot", "energy")]
    header = RunHeader("per-shot", "Benchmark", "", {}, [], created_s=1.7e9)
    start = RunStart(1.7e9, columns, (), signal="energy", plot_axes=("shot",))
    writer = RunWriter.start(path := create_queued(folder, header), start)
    energies = np.random.default_rng(1).normal(1.0, 0.01, 4096).tolist()
    for number in range(rows):
        writer.append({"shot": float(number), "energy": energies[number % 4096]})
    writer.close("finished")

    def load() -> None:
        with h5py.File(path, "r") as file:
            values = file[RECORDS]["energy"][:]
            width = -(-len(values) // BUCKETS)
            whole = values[: len(values) // width * width].reshape(-1, width)
            _ = whole.min(axis=1), whole.max(axis=1)

    beside = tell(f"{rows:,} values: h5py loads them and finds lowest and highest", best(load, 2))
    tell(f"overview in {BUCKETS:,} buckets, the first", taken(lambda: look(path)), beside)
    tell("the next", best(lambda: look(path)), beside)
    third = rows // 3
    tell("zoomed to a third", best(lambda: look(path, third, 2 * third)), beside)
    tell("zoomed to 1,000 values", best(lambda: look(path, third, third + 1000)), beside)


def look(path: Path, first: int = 0, last: int | None = None) -> None:
    """Take an overview, as the window does."""
    overview(path, "energy", first, last, BUCKETS)


def one_run(folder: Path) -> None:
    """A run of spectra: opening it, and what is read of it most."""
    outcome = bare.carry(folder, "spectra", SPECTRA)

    def plain() -> None:
        with h5py.File(outcome.path, "r") as file:
            _ = file[RECORDS]["c0"].shape

    def ours() -> None:
        with RunFile(outcome.path) as run:
            _ = run.status, run.parameters, run.rows_complete

    def plain_spectra() -> None:
        with h5py.File(outcome.path, "r") as file:
            file[RECORDS]["array"][:]

    def spectra() -> None:
        with RunFile(outcome.path) as run:
            run.records("array")

    beside = tell("open a file: h5py", best(plain))
    tell("open a run, its status and parameters", best(ours), beside)
    beside = tell(f"open and read {SPECTRA:,} spectra: h5py", best(plain_spectra))
    tell("the same as a run", best(spectra), beside)


def folder_of_runs(folder: Path, count: int) -> None:
    """A folder of many runs: its list, as the window's history has it."""
    outcome = bare.carry(folder, "scalars", 10)
    for number in range(count - 1):
        shutil.copyfile(outcome.path, folder / f"copy-{number:05d}.h5")

    def each() -> None:
        for path in folder.glob("*.h5"):
            with RunFile(path) as run:
                _ = run.status, run.measurement, run.sample, run.start_time, run.rows_complete

    beside = tell(f"{count:,} runs: each is opened and looked at", taken(each))
    assert len(index(folder)) == count
    for stored in folder.glob(CACHE_NAME + "*"):
        stored.unlink()
    time.sleep(SETTLED_S)  # what has just been changed is not trusted to stay as it is
    tell("the folder's list, the first time", taken(lambda: index(folder)), beside)
    tell("again", best(lambda: index(folder), 3), beside)
    outcome.path.touch()
    tell("again, one of them changed", taken(lambda: index(folder)), beside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    chosen = parser.parse_args()
    print("| read | ms | CPU ms | times faster |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        long_series(Path(name), chosen.rows)
    with tempfile.TemporaryDirectory() as name:
        one_run(Path(name))
    with tempfile.TemporaryDirectory() as name:
        folder_of_runs(Path(name), chosen.runs)


if __name__ == "__main__":
    main()
