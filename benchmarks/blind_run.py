"""Runs blind samples in processes of their own: a sample that fails is told of, not the end of it.

For `blind.py`. Stops at the found numbers of each sample: what they are worth is `blind_report`'s.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blind_report import Found

from procedures.running.memory import give_back

One = Callable[[int], Found]


@dataclass(frozen=True)
class Sample:
    """One sample of a study: what was found, or why nothing was; seconds of wall time and CPU."""

    measurement: str
    number: int
    found: Found | None
    error: str
    seconds: float
    cpu_s: float


def take(measurement: str, one: One, number: int) -> Sample:
    """Measure and analyse a sample; whatever it raises becomes part of the report."""
    start, cpu = time.perf_counter(), time.process_time()
    found, error = None, ""
    try:
        found = _plain(one(number))
    except Exception as raised:
        place = traceback.extract_tb(raised.__traceback__)[-1]
        error = f"{type(raised).__name__}: {raised} ({Path(place.filename).name}:{place.lineno})"
    give_back()
    return Sample(
        measurement,
        number,
        found,
        error,
        time.perf_counter() - start,
        time.process_time() - cpu,
    )


def take_all(
    measurement: str, one: One, numbers: Iterable[int], processes: int
) -> Iterator[Sample]:
    """Yield samples as they finish.

    A process that dies (out of memory, say) takes the others of its pool along: those that were
    under way are taken again, one at a time, and the one that dies again is the one to report.
    """
    waiting = list(numbers)[::-1]
    suspects: list[int] = []
    while waiting or suspects:
        alone = bool(suspects)
        queue = suspects if alone else waiting
        pool = _pool(1 if alone else processes)
        under_way: dict[Future[Sample], int] = {}
        try:
            while queue or under_way:
                while queue and len(under_way) < (1 if alone else processes):
                    number = queue.pop()
                    under_way[pool.submit(take, measurement, one, number)] = number
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    sample = done.result()
                    del under_way[done]
                    yield sample
        except BrokenProcessPool:
            if alone:
                yield from (
                    Sample(measurement, number, None, "its process died", 0.0, 0.0)
                    for number in under_way.values()
                )
            else:
                suspects = list(under_way.values())
        finally:
            pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    # One thread a process: two libraries of linear algebra on two cores get in each other's way.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def _plain(found: Found) -> Found:
    return {name: json.loads(json.dumps(entry, default=_number)) for name, entry in found.items()}


def _number(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else float(value)


def kept(path: Path) -> list[Sample]:
    """Return the samples that a file of an earlier study holds, none if there is no such file."""
    if not path.exists():
        return []
    return [Sample(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line]


def keep(path: Path, sample: Sample) -> None:
    """Add a sample to the file of a study."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(sample)) + "\n")
