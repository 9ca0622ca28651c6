"""Whole runs killed by SIGKILL at random: `python benchmarks/kills.py [--kills N] [--seed S]`.

Each kill takes a small power sweep on the simulated bench, carried out as `gainbench run` does in a
process of its own, which tells by a pipe how many records are acknowledged (on disk). It is killed
at a random instant: from the opening of the bench to the closing of the file; then its file must
open, hold every acknowledged record, and be completed by `resume` (killed at random itself, three
times in ten) to the records of an undisturbed run with the same seed, and to the same analysis.
Processes are forked from one that has everything imported, so that a kill costs a fraction of a
second (POSIX only).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instruments import config
from procedures.evaluation import evaluate
from procedures.running.runfile import RunFile, RunWriter
from procedures.session import Description, go_on, measure

POINTS = 6
_APPEND = RunWriter.append
VALUES = {
    "points": POINTS,
    "fluence_min_uJ_cm2": 10.0,
    "fluence_max_uJ_cm2": 40.0,
    "centre_wavelength_nm": 520.0,
    "exposure_max_s": 0.02,
    "shots_min": 5,
}
BENCH = "[pump]\npulses_per_reading = 10\n[simulation]\nseed = 5\n"
AGAIN = 0.3
"""How often the resumed run is killed, too."""
ANALYSED_EVERY = 25
_STUCK_S = 120.0


class Child:
    """A forked process that does something and tells what it will by lines of a pipe."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reading)
            code = 1
            with contextlib.suppress(BaseException):
                work(lambda text: void(os.write(writing, text.encode() + b"\n")))
                code = 0
            os._exit(code)
        os.close(writing)
        self.lines: list[str] = []
        self._rest = b""

    def listen(self, seconds: float, enough: Callable[[list[str]], bool] | None = None) -> bool:
        """Collect lines for so long, or until there are enough; return whether it still speaks."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (enough and enough(self.lines)):
            if not select.select([self._reading], [], [], left)[0]:
                break
            data = os.read(self._reading, 65536)
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode() for line in lines]
        return True

    def kill(self) -> None:
        """SIGKILL, and what it had told before."""
        os.kill(self.pid, signal.SIGKILL)
        self.listen(_STUCK_S, lambda _lines: False)
        self.wait()

    def wait(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self._reading)


def void(_value: object) -> None:
    """Drop a value."""


def acknowledging(tell: Callable[[str], None]) -> None:
    """Have the writer of this process tell of each record when it is on disk."""
    append = _APPEND

    def told(self: RunWriter, *words: Any) -> None:
        append(self, *words)
        self.wait_durable()
        tell(str(self.rows_complete))

    RunWriter.append = told  # type: ignore[method-assign]


def fresh(folder: Path) -> Callable[[Callable[[str], None]], None]:
    """Return what measures into a folder."""

    def work(tell: Callable[[str], None]) -> None:
        acknowledging(tell)
        bench = config.parse(BENCH, str(folder / "bench.toml"))
        about = Description("dots", "A1")
        measure("power-sweep", VALUES, bench, about, folder, void, quiet=True)

    return work


def again(path: Path) -> Callable[[Callable[[str], None]], None]:
    """Return what resumes a file."""

    def work(tell: Callable[[str], None]) -> None:
        acknowledging(tell)
        go_on(path, None, void, quiet=True)

    return work


def records_of(path: Path) -> dict[str, Any]:
    with RunFile(path) as run:
        if run.status != "finished":
            raise ValueError(f"it is {run.status}")
        found = {name: run.records(name) for name in run.columns}
    found["time"] = found["time"] - found["time"][0]  # nights begin when they begin
    return found


def same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return which column differs, "" if none does."""
    for name, values in wanted.items():
        own = found[name]
        if own.shape != values.shape:
            return f"{name} has another length"
        exact = values.dtype.kind in "ui"
        tolerance = 1e-5 if name == "time" else 0.0
        if not (
            np.array_equal(own, values) if exact else np.allclose(own, values, 1e-9, tolerance)
        ):
            where = np.argwhere(~np.isclose(own, values, 1e-9, tolerance))[0]
            at = tuple(where)
            return f"{name} differs: {own[at]!r} instead of {values[at]!r} in record {where[0]}"
    return ""


def results_of(path: Path) -> dict[str, Any]:
    return dict(evaluate(path).analysis.to_json()["results"])


def judge(path: Path, acknowledged: int) -> Callable[[Callable[[str], None]], None]:
    """Return what opens the file of a run that was killed and says what is wrong."""

    def work(tell: Callable[[str], None]) -> None:
        try:
            with RunFile(path) as run:
                lost = run.rows_complete < acknowledged
                tell(json.dumps([run.status, "acknowledged records lost" if lost else ""]))
        except Exception as error:
            tell(json.dumps(["", f"unreadable: {type(error).__name__}: {error}"]))

    return work


def compare(
    path: Path, wanted: Mapping[str, Any], results: Mapping[str, Any] | None
) -> Callable[[Callable[[str], None]], None]:
    """Return what completes the file and says what is different from the undisturbed run."""

    def work(tell: Callable[[str], None]) -> None:
        try:
            with RunFile(path) as run:
                status = run.status
            if status != "finished":
                outcome = go_on(path, None, void, quiet=True)
                if outcome.status != "finished":
                    raise ValueError(f"resume ended {outcome.status}: {outcome.error}")
            wrong = same(records_of(path), wanted)
            if not wrong and results is not None:
                own = results_of(path)
                if json.dumps(own) != json.dumps(results) and not _alike(own, results):
                    wrong = "another result"
            others = sorted(
                one.name
                for one in path.parent.iterdir()
                if one.is_file() and one != path and one.suffix not in (".sqlite", ".toml")
            )
            tell(wrong or (f"left over: {others}" if others else ""))
        except Exception as error:
            tell(f"not resumable: {type(error).__name__}: {error}")

    return work


def _alike(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for name, result in wanted.items():
        one, two = own[name]["value"], result["value"]
        if (one is None) != (two is None):
            return False
        if one is not None and not np.allclose(one, two, rtol=1e-6):
            return False
    return True


def kill_one(
    folder: Path,
    draw: random.Random,
    typical_s: float,
    wanted: Mapping[str, Any],
    results: Mapping[str, Any] | None,
    seen: Counter[str],
) -> str:
    """Measure, kill, resume (and kill that), compare; return what is wrong, "" if nothing."""
    child = Child(fresh(folder))
    _kill_somewhere(child, draw, typical_s, POINTS)
    told = [int(line) for line in child.lines]
    files = [one for one in folder.iterdir() if one.suffix == ".h5"]
    if not files:
        seen["before the file was there"] += 1
        return "acknowledged records lost" if told else ""
    (path,) = files
    problem = ""
    for turn in range(2):
        judged = _told(judge(path, max(told, default=0)))
        if judged is None:
            return "opening it hangs or crashes"
        status, problem = json.loads(judged)
        seen[f"killed as {status or 'unreadable'}"] += 1
        if problem:
            return str(problem)
        if turn or status == "finished" or draw.random() > AGAIN:
            break
        child = Child(again(path))
        _kill_somewhere(child, draw, typical_s, POINTS - max(told, default=0))
        told += [int(line) for line in child.lines]
        seen["killed again while resuming"] += 1
    answer = _told(compare(path, wanted, results))
    return "resuming hangs or crashes" if answer is None else answer


def _kill_somewhere(child: Child, draw: random.Random, typical_s: float, records: int) -> None:
    """Kill at a random time, or soon after a random record: both see to places the other misses."""
    if draw.random() < 0.5:
        child.listen(draw.uniform(0.0, 1.2 * typical_s))
    else:
        number = draw.randint(0, max(records, 1))
        child.listen(_STUCK_S, lambda lines: len(lines) >= number)
        child.listen(draw.choice((0.0, 0.002, 0.02, 0.1)) * draw.random())
    child.kill()


def _told(work: Callable[[Callable[[str], None]], None]) -> str | None:
    """Have a child say one line; None if it does not."""
    child = Child(work)
    child.listen(_STUCK_S, bool)
    found = child.lines[0] if child.lines else None
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = time.monotonic()
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        undisturbed = Path(name) / "undisturbed"
        undisturbed.mkdir()
        warm = Path(name) / "warm"
        warm.mkdir()
        fresh(warm)(void)  # so that the forked ones find everything loaded and worked out
        times = []
        for _ in range(3):
            first = time.monotonic()
            child = Child(fresh(undisturbed))
            child.listen(_STUCK_S)
            child.wait()
            times.append(time.monotonic() - first)
        path, other, _ = sorted(undisturbed.glob("*.h5"))
        wanted, results = records_of(path), results_of(path)
        assert not same(records_of(other), wanted), "two undisturbed runs differ"
        print(f"a run of {POINTS} records takes {min(times):.2f} s", flush=True)
        for number in range(chosen.kills):
            folder = Path(name) / "run"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            draw = random.Random(f"{chosen.seed}:{number}")
            analysed = results if number % ANALYSED_EVERY == 0 else None
            problem = kill_one(folder, draw, min(times), wanted, analysed, seen)
            if problem:
                wrong[problem.partition(":")[0]] += 1
                print(f"  kill {number}: {problem}", flush=True)
            if number % 100 == 99:
                print(f"{number + 1} kills, {time.monotonic() - begun:.0f} s", flush=True)
    for what, count in sorted(seen.items()):
        print(f"{count:6} {what}")
    took = time.monotonic() - begun
    print(f"{chosen.kills} kills in {took:.0f} s: {sum(wrong.values())} wrong {dict(wrong) or ''}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
