"""What is left of a run after a crash at any moment: `python benchmarks/durability.py [--kills N]`.

A run is recorded write by write; for every boundary the files are built again as a kill, a torn
write and a power cut leave them, recovered, and compared with what was appended. `--kills` also
kills a process with SIGKILL at random, so many times.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.write_log import Crash, WriteLog, recording
from procedures.columns import Axis, Column, Quantity
from procedures.running import lock, writing
from procedures.running.header import RunHeader, RunStart
from procedures.running.runfile import RunFile, RunWriter, create_queued, resume_writer

PIXELS = 64
STARTED_S = 1.7e9


def queue(folder: Path, points: int) -> Path:
    """Create the queued file of a small power sweep."""
    plan = [{"fluence": float(number)} for number in range(points)]
    header = RunHeader(
        "power-sweep",
        "A power sweep",
        "procedures.power_sweep.PowerSweep",
        {"points": Quantity(points)},
        plan,
        sample="dots",
        created_s=STARTED_S,
    )
    return create_queued(folder, header)


def started() -> RunStart:
    """Return the start of that sweep: numbers and a spectrum in each record, some with another."""
    wavelength = np.linspace(480.0, 560.0, PIXELS)
    return RunStart(
        STARTED_S,
        [
            Column("fluence", "uJ/cm^2", "Fluence"),
            Column("shots", "1", "Laser shots", "uint32"),
            Column("time", "s", "Time"),
            Column("spectrum", "counts", "Counts", "uint16", ("wavelength",)),
            Column("kept", "", "1 if it has another", "uint8"),
            Column("other", "counts", "Now and then", "uint16", ("wavelength",), where="kept"),
        ],
        [Axis("wavelength", wavelength, "nm", "Wavelength")],
        signal="spectrum",
        plot_axes=("fluence", "wavelength"),
        spectroscopy="pump power",
        state_names=("time_s", "dose"),
    )


def record(number: int) -> dict[str, Any]:
    """Return record `number`, every value of which tells which record it is of."""
    spectrum = ((np.arange(PIXELS) * 7 + number * 131) % 60000 + 1).astype(np.uint16)
    kept = number % 3 == 1
    return {
        "fluence": 0.5 + number,
        "shots": 1000 + number,
        "time": 10.0 * number,
        "spectrum": spectrum,
        "kept": int(kept),
        "other": spectrum[::-1] if kept else None,
    }


def column(name: str, rows: int) -> np.ndarray[Any, Any]:
    """Return what a column of a run of so many records holds."""
    values = [record(number)[name] for number in range(rows)]
    return np.array([one for one in values if one is not None])


def record_run(folder: Path, rows: int, resumed_at: int = 0) -> tuple[WriteLog, Path]:
    """Record a run of `rows` records, a log line now and then, and a pause.

    resumed_at: the run is aborted and resumed once it has so many.
    """
    path = queue(folder, rows)
    with mock.patch.object(writing, "GROUP_S", 0.0), recording(path) as log:
        writer = RunWriter.start(path, started())
        for number in range(rows):
            if resumed_at and number == resumed_at:
                writer.close("aborted", STARTED_S + number)
                writer = resume_writer(path)
            writer.append(record(number), {"time_s": float(number), "dose": 0.1 * number})
            writer.wait_durable()
            log.promise(number + 1)
            if number % 8 == 3:
                writer.log("info", f"line {number}", STARTED_S + number)
            if number % 16 == 9:
                writer.set_status("paused")
        writer.close("finished", STARTED_S + rows)
    return log, path


def check(files: Mapping[Path, bytes], promised: int, folder: Path) -> str:
    """Lay the files out as after a crash, open the run; return what is wrong ("" if nothing)."""
    for old in folder.iterdir():
        old.unlink()
    path = Path()
    for original, content in files.items():
        (folder / original.name).write_bytes(content)
        path = path if original.suffix != ".h5" else folder / original.name
    dead = {"host": lock.me().host, "pid": 2**22 - 1, "started_s": 1.0}
    lock.lock_path(path).write_text(json.dumps(dead), encoding="utf-8")
    for attempt in ("first", "second"):
        try:
            with RunFile(path) as run:
                wrong = _compare(run, promised)
        except Exception as error:
            wrong = f"unreadable: {type(error).__name__}"
        if wrong:
            return wrong if attempt == "first" else f"{wrong}, opened again"
    others = sorted(one.name for one in folder.iterdir() if one != path)
    return f"left over: {others}" if others else ""


def _compare(run: RunFile, promised: int) -> str:
    rows = run.rows_complete
    if rows < promised:
        return "acknowledged rows lost"
    for name in record(0):
        values, wanted = run.records(name), column(name, rows)
        if len(values) != len(wanted):
            return "columns of different length"
        if len(wanted) and not np.array_equal(values, wanted):
            return "wrong values"
    if run.status in ("interrupted", "finished"):
        return ""
    # A resumed run is as it was until its first write, and can be resumed again.
    return "" if (run.status, rows) == ("aborted", promised) else f"status {run.status}"


def crashes(log: WriteLog, every: int = 1) -> Iterator[tuple[str, int, dict[Path, bytes]]]:
    """Yield (kind of crash, event number, files) at every so-manieth write boundary."""
    for count in range(1, len(log.events) + 1, every):
        crash = Crash(log, count)
        yield "kill", count, crash.killed()
        if log.events[count - 1].kind == "write":
            yield "torn write", count, crash.killed(random.Random(count).random())
        yield "power cut", count, crash.power_cut(count)


def kill_at_random(folder: Path, seed: int) -> str:
    """Run a writer in a process of its own, kill it at random, and check what is left."""
    for old in folder.iterdir():
        old.unlink()
    path = queue(folder, 10**6)
    child = subprocess.Popen(
        [sys.executable, __file__, "--victim", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.0, 0.4))
    child.kill()
    promised = [int(line) for line in child.stdout.read().split("\n")[:-1] if line.strip()]
    child.wait()
    try:
        with RunFile(path) as run:
            return _compare(run, max(promised, default=0))
    except Exception as error:
        return f"unreadable: {type(error).__name__}"


def victim(path: Path) -> None:
    """Write records, telling on standard output how many are acknowledged, until killed."""
    writing.GROUP_S = 0.0
    writer = RunWriter.start(path, started())
    sys.stdout.write("0\n")
    for number in range(10**6):
        writer.append(record(number), {"time_s": float(number), "dose": 0.1 * number})
        if number % 3 == 0:
            writer.wait_durable()
            sys.stdout.write(f"{number + 1}\n")
            sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--resumed", type=int, default=0, help="aborted and resumed at that row")
    parser.add_argument("--every", type=int, default=1, help="look at every so-manieth write")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL a process so many times")
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.victim:
        victim(chosen.victim)
        return 0
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        log, _ = record_run(Path(first), chosen.rows, chosen.resumed)
        print(f"{len(log.events)} writes, syncs and removals recorded")
        outcomes = (
            (kind, f"{kind} at {count}", check(files, log.promised(count), Path(second)))
            for kind, count, files in crashes(log, chosen.every)
        )
        killed = (
            ("SIGKILL", f"SIGKILL {seed}", kill_at_random(Path(second), seed))
            for seed in range(chosen.kills)
        )
        for source in (outcomes, killed):
            for kind, where, problem in source:
                tried[kind] += 1
                if problem:
                    wrong[f"{kind}: {problem}"] += 1
                    with contextlib.suppress(BrokenPipeError):
                        print(f"  {where}: {problem}")
    for kind, number in tried.items():
        bad = sum(n for text, n in wrong.items() if text.startswith(f"{kind}:"))
        print(f"{kind}: {bad} of {number} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
