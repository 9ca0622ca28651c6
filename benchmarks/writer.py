"""How many records a second the run file takes: `python benchmarks/writer.py [--long N]`.

Beside it, in the same run, what plain h5py does when it is handed whole blocks: no journal, no
checks, one flush at the end. `durable` counts until the last record is on disk. `--long` writes N
records of 3 numbers instead, and says now and then what memory they take and how long the writer's
thread needs for a group of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from procedures.columns import Axis, Column
from procedures.running.header import RunHeader, RunStart
from procedures.running.runfile import RunWriter, create_queued

SCALARS, PIXELS, REPEATS = 8, 1340, 3


def columns(pixels: int) -> list[Column]:
    """Return eight numbers, and a spectrum if there are pixels."""
    found = [Column(f"c{number}", "1", f"number {number}") for number in range(SCALARS)]
    return [*found, Column("spectrum", "counts", "Counts", "uint16", ("wavelength",))][
        : SCALARS + (pixels > 0)
    ]


def ours(folder: Path, records: list[dict[str, Any]], pixels: int) -> tuple[float, float]:
    """Return records a second taken, and on disk."""
    header = RunHeader("power-sweep", "Benchmark", "", {}, [], created_s=1.7e9)
    axes = [Axis("wavelength", np.linspace(480.0, 560.0, pixels), "nm", "Wavelength")]
    start = RunStart(
        1.7e9,
        columns(pixels),
        axes if pixels else (),
        signal="spectrum" if pixels else "c1",
        plot_axes=("c0", "wavelength") if pixels else ("c0",),
    )
    writer = RunWriter.start(create_queued(folder, header), start)
    begun = time.perf_counter()
    for record in records:
        writer.append(record)
    taken = time.perf_counter() - begun
    writer.wait_durable(60.0)
    durable = time.perf_counter() - begun
    writer.close("finished")
    return len(records) / taken, len(records) / durable


def plain(folder: Path, records: list[dict[str, Any]], pixels: int) -> float:
    """Return records a second of h5py, in blocks of 1024."""
    begun = time.perf_counter()
    with h5py.File(folder / f"plain-{time.time_ns()}.h5", "w", libver=("v110", "v110")) as file:
        for column in columns(pixels):
            shape = (pixels,) if column.axes else ()
            tall = 64 if shape else 1024
            file.create_dataset(
                column.name,
                (0, *shape),
                column.dtype,
                maxshape=(None, *shape),
                chunks=(tall, *shape),
            )
        for first in range(0, len(records), 1024):
            block = records[first : first + 1024]
            for name, ds in file.items():
                ds.resize(first + len(block), axis=0)
                ds[first:] = np.array([record[name] for record in block], dtype=ds.dtype)
        file.flush()
    return len(records) / (time.perf_counter() - begun)


def long_run(count: int) -> None:
    """Write `count` records; print memory and the time of a group at every tenth."""
    import psutil

    header = RunHeader("power-sweep", "Benchmark", "", {}, [], created_s=1.7e9)
    times: list[float] = []
    own = RunWriter._write_rows

    def write_rows(self: RunWriter, rows: Any, places: Any) -> None:
        begun = time.thread_time()
        own(self, rows, places)
        if len(rows) > 100:
            times.append((time.thread_time() - begun) / len(rows))

    RunWriter._write_rows = write_rows  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        start = RunStart(1.7e9, columns(0)[:3], (), signal="c1", plot_axes=("c0",))
        writer = RunWriter.start(create_queued(Path(name), header), start)
        for number in range(count):
            writer.append({"c0": float(number), "c1": 1.0, "c2": 2.0})
            if number % (count // 10) == count // 10 - 1:
                writer.wait_durable(60.0)
                megabytes = psutil.Process().memory_info().rss / 1e6
                us = 1e6 * sorted(times)[len(times) // 2]
                print(f"{number + 1:>12,} records: {megabytes:.0f} MB, {us:.2f} us each to write")
                times.clear()
        writer.close("finished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, help="so many records of 3 numbers instead")
    chosen = parser.parse_args()
    if chosen.long:
        long_run(chosen.long)
        return
    rng = np.random.default_rng(1)
    for count, pixels in ((20_000, 0), (5_000, PIXELS), (200_000, 0), (20_000, PIXELS)):
        records: list[dict[str, Any]] = [
            {f"c{number}": float(number + i) for number in range(SCALARS)} for i in range(count)
        ]
        if pixels:
            for record in records:
                record["spectrum"] = rng.integers(500, 60_000, pixels, dtype=np.uint16)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            best = [
                max(pair)
                for pair in zip(
                    *(ours(folder, records, pixels) for _ in range(REPEATS)), strict=True
                )
            ]
            block = max(plain(folder, records, pixels) for _ in range(REPEATS))
        what = f"{count} x {SCALARS} scalars" + (f" + {pixels} x uint16" if pixels else "")
        print(
            f"{what}: taken {best[0]:,.0f}/s, durable {best[1]:,.0f}/s; "
            f"plain h5py in blocks {block:,.0f}/s"
        )


if __name__ == "__main__":
    main()
