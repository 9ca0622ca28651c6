"""h5py itself: records are collected in lists and appended in blocks, one flush at the end.

The floor: no journal, no syncs, no checks; what is not written yet is lost with the process.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import work

TALL = {"scalars": 1024, "spectra": 64, "spectrograms": 1}
BLOCK = {"scalars": 1024, "spectra": 1024, "spectrograms": 8}


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source, path = work.Source(kind), folder / "plain.h5"
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        columns = {
            name: file.create_dataset(name, (0,), "f8", maxshape=(None,), chunks=(1024,))
            for name in work.NAMES
        }
        if source.shape:
            columns["array"] = file.create_dataset(
                "array",
                (0, *source.shape),
                "u2",
                maxshape=(None, *source.shape),
                chunks=(TALL[kind], *source.shape),
            )
        clock.start()
        waiting = []
        for i in range(count):
            record = source.numbers(i)
            if source.shape:
                record["array"] = source.array(i)
            waiting.append(record)
            if len(waiting) == BLOCK[kind] or i == count - 1:
                first = i + 1 - len(waiting)
                for name, ds in columns.items():
                    ds.resize(i + 1, axis=0)
                    ds[first:] = np.array([one[name] for one in waiting], dtype=ds.dtype)
                waiting = []
        file.flush()
    clock.stop()
    return path


def read(path: Path, kind: str) -> tuple[int, float, float]:
    with h5py.File(path, "r") as file:
        total = float(file["array"][-1].sum()) if "array" in file else 0.0
        return len(file["c0"]), float(file["c0"][-1]), total


work.main(take, read, {"h5py": h5py.__version__}, "blocks of 1,024 records (8 spectrograms)")
