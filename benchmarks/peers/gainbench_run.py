"""gainbench: a run as `gainbench run` carries it out; see `benchmarks/bare.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import work

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py

from benchmarks import bare
from procedures.running.layout import program_version
from procedures.running.runfile import RunFile


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    own = bare.Measurement.execute

    def execute(self: bare.Measurement) -> None:
        clock.start()
        own(self)

    bare.Measurement.execute = execute  # type: ignore[method-assign]
    outcome = bare.carry(folder, kind, count)
    clock.stop()
    assert outcome.status == "finished", outcome
    return outcome.path


def read(path: Path, kind: str) -> tuple[int, float, float]:
    with RunFile(path) as run:
        last = run.last_record()
        total = float(last["array"].sum()) if "array" in last else 0.0
        return run.rows_complete, float(last["c0"]), total


work.main(
    take,
    read,
    {"gainbench": program_version(), "h5py": h5py.__version__},
    "a measurement carried out by the runner: checks, journal, a sync every 0.2 s",
)
