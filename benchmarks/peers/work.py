"""The work that every peer is given, and how it is measured; run by each peer's own interpreter.

Needs numpy only. A peer's script calls `main(take, read, ...)`: `take(kind, count, folder, clock)`
records `count` records of a kind and returns the file; it starts the clock when it is ready for
the first record and stops it when the file is closed. `read(file, kind)` opens the file anew and
returns how many records it holds, the first number of the last record, and the sum of its array (0
if there is none), so that nobody is fast by losing something.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SCALARS = 8
SHAPES: dict[str, tuple[int, ...]] = {
    "scalars": (),
    "spectra": (1340,),
    "spectrograms": (508, 640),
}
NAMES = [f"c{number}" for number in range(SCALARS)]


def arrays(shape: tuple[int, ...]) -> list[Any]:
    """Return arrays of counts as a camera gives them: a band on an offset, with shot noise."""
    rng = np.random.default_rng(1)
    x = np.linspace(-3.0, 3.0, shape[-1])
    band = 600.0 + 20_000.0 * np.exp(-(x**2))
    if len(shape) == 2:
        band = 100.0 + 0.01 * band * np.exp(-np.arange(shape[0]) / 150.0)[:, None]
    return [rng.poisson(band).astype(np.uint16) for _ in range(100 if len(shape) == 1 else 10)]


class Source:
    """Gives the records: numbers made up at once, arrays in turn."""

    def __init__(self, kind: str) -> None:
        self.shape = SHAPES[kind]
        self.arrays = arrays(self.shape) if self.shape else []

    def numbers(self, i: int) -> dict[str, float]:
        """Return the numbers of record i."""
        x = float(i)
        return {
            "c0": x, "c1": x + 1.0, "c2": x + 2.0, "c3": x + 3.0,
            "c4": x + 4.0, "c5": x + 5.0, "c6": x + 6.0, "c7": x + 7.0,
        }  # fmt: skip

    def array(self, i: int) -> Any:
        """Return the array of record i."""
        return self.arrays[i % len(self.arrays)]


class Clock:
    """From the first record until the file is closed."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = self.begun = 0.0
        self.rss_begun = self.rss_peak = 0

    def start(self) -> None:
        """The first record is next."""
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        self.rss_begun = _status("VmRSS")
        self._cpu, self.begun = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        """The file is closed."""
        self.wall_s = time.perf_counter() - self.begun
        self.cpu_s = time.process_time() - self._cpu
        self.rss_peak = _status("VmHWM")


def _status(key: str) -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(
    take: Callable[[str, int, Path, Clock], Path],
    read: Callable[[Path, str], tuple[int, float, float]],
    versions: dict[str, str],
    how: str,
) -> None:
    """Do what the command line asks (kind, count, folder) and print what it cost, as JSON."""
    kind, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    clock, source = Clock(), Source(kind)
    path = take(kind, count, folder, clock)
    found, number, total = read(path, kind)
    readable = time.perf_counter() - clock.begun
    wanted = float(source.array(count - 1).sum()) if source.shape else 0.0
    right = (found, number, total) == (count, float(count - 1), wanted)
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    print(
        json.dumps(
            {
                "versions": {"python": sys.version.split()[0], "numpy": np.__version__} | versions,
                "how": how,
                "count": count,
                "right": right,
                "found": [found, number, total],
                "cpu_us": 1e6 * clock.cpu_s / count,
                "wall_us": 1e6 * clock.wall_s / count,
                "readable_s": readable,
                "peak_MB": (clock.rss_peak - clock.rss_begun) / 1e6,
                "bytes": size / count,
            }
        ),
        flush=True,
    )
    os._exit(0)  # some leave threads behind
