"""What blind studies share: running many samples, and the table of how honest the results were.

`one(number)` measures and analyses one sample and returns name -> (value, stderr, truth), or lists
of those (one number a day, say).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

Found = dict[str, tuple[Any, Any, Any]]


def study(one: Callable[[int], Found], about: str, samples: int) -> None:
    """Run a study from the command line and print its table."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print every sample")
    given = parser.parse_args()
    start = time.perf_counter()
    numbers = range(1000 * given.seed, 1000 * given.seed + given.samples)
    if given.processes > 1:
        with ProcessPoolExecutor(given.processes) as pool:
            rows = list(pool.map(one, numbers))
    else:
        rows = [one(number) for number in numbers]
    if given.each:
        for number, row in zip(numbers, rows, strict=True):
            print(number, {name: _short(found) for name, found in row.items()})
    print(f"{given.samples} samples, {time.perf_counter() - start:.0f} s")
    print(table(rows))


def table(rows: Sequence[Found]) -> str:
    """Return for each result: median pull, coverage, relative error, stderr, how many null."""
    heads = (
        "bias/stderr",
        "rms/stderr",
        "within 1",
        "within 2",
        "rel. error",
        "rel. stderr",
        "null",
    )
    lines = [f"{'result':24}" + "".join(f"{head:>12}" for head in heads)]
    for name in sorted({key for row in rows for key in row}):
        found = [one for row in rows if name in row for one in _flat(row[name])]
        good = [(v, s, t) for v, s, t in found if v is not None and s]
        pulls = np.array([(v - t) / s for v, s, t in good])
        columns = [np.nan] * 6
        if good:
            columns = [
                float(np.median(pulls)),
                float(np.sqrt(np.mean(pulls**2))),
                float(np.mean(np.abs(pulls) < 1)),
                float(np.mean(np.abs(pulls) < 2)),
                float(np.median([abs(v - t) / abs(t) for v, s, t in good if t])),
                float(np.median([s / abs(t) for v, s, t in good if t])),
            ]
        text = "".join(f"{one:12.4f}" if n > 3 else f"{one:12.2f}" for n, one in enumerate(columns))
        lines.append(f"{name:24}{text}{len(found) - len(good):12d}")
    return "\n".join(lines)


def _flat(found: tuple[Any, Any, Any]) -> list[tuple[Any, Any, Any]]:
    value, stderr, truth = found
    if not isinstance(truth, list | tuple):
        return [found]
    if value is None:
        return [(None, None, one) for one in truth]
    return list(zip(value, stderr, truth, strict=True))


def _short(found: tuple[Any, Any, Any]) -> str:
    return ", ".join(
        "null" if v is None else f"{v:.5g} +- {s:.2g} ({t:.5g})" for v, s, t in _flat(found)
    )
