"""pymeasure: a Procedure emits to a Worker, whose Results are a CSV file, as its tutorial does.

A CSV line holds numbers, so a spectrum is one column a pixel.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas
import pymeasure
import work
from pymeasure.experiment import IntegerParameter, Procedure, Results, Worker


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source, path = work.Source(kind), folder / "results.csv"
    pixels = [f"p{number}" for number in range(int(np.prod(source.shape)) if source.shape else 0)]

    class Records(Procedure):
        wanted = IntegerParameter("records", default=count)
        DATA_COLUMNS = [*work.NAMES, *pixels]  # noqa: RUF012

        def execute(self) -> None:
            clock.start()
            for i in range(self.wanted):
                record = source.numbers(i)
                if pixels:
                    record.update(zip(pixels, source.array(i).ravel().tolist(), strict=True))
                self.emit("results", record)
                self.emit("progress", 100.0 * i / self.wanted)
                if self.should_stop():
                    break

    worker = Worker(Results(Records(), str(path)))
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
    clock.stop()
    return path


def read(path: Path, kind: str) -> tuple[int, float, float]:
    lines = pandas.read_csv(path, comment="#")
    last = lines.iloc[-1]
    return len(lines), float(last["c0"]), float(last.iloc[work.SCALARS :].sum())


work.main(
    take,
    read,
    {"pymeasure": pymeasure.__version__},
    "Procedure, Worker, Results (CSV); a column a pixel",
)
