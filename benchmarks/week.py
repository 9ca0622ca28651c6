"""A week without anybody: a hundred runs, through queue and nights, with faults of every kind.

`python benchmarks/week.py [--runs N] [--seed S]`: on the virtual clock, in one process. Runs,
seeds, faults and policies are drawn at random; some runs are stopped by a signal. Afterwards every
file is read, every exit code held against its file, and every run that is not finished is gone on
with on a bench without faults: it must become complete, with its earlier records unchanged. Prints
what happened; ends with 1 if anything was lost, hung, wrong, or if memory grew.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apprise
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instruments.config import load
from procedures.nights.folder import NightFolder
from procedures.nights.night import Night
from procedures.nights.queue_run import run_queue
from procedures.nights.report import write_report
from procedures.running import lock
from procedures.running.describe import Description, describe_queued
from procedures.running.journal import journal_path
from procedures.running.memory import give_back
from procedures.running.queue import Queue
from procedures.running.runfile import RunFile
from procedures.running.runner import Outcome
from procedures.session import build, run_queued

MEASUREMENTS: dict[str, dict[str, Any]] = {
    "power-sweep": {"points": 8, "centre_wavelength_nm": 520.0},
    "stripe-length": {"points": 6, "low_points": 0, "beside_points": 0, "fluence_uJ_cm2": 57.0},
    "photostability": {"shots": 40_000, "sweep_points": 3},
    "biexciton": {"points": 2},
    "lifetime": {},
    "auger": {"points": 3},
    "cross-section": {"points": 3},
    "streak-series": {"fluences_uJ_cm2": [11.5]},
    "capillary-lasing": {"points": 4},
    "ageing": {"points": 4, "days": [0.0, 7.0]},
    "calibrate-pump": {"points": 6, "shots": 100},
}
_WIRE = ["silence", "timeout", "garbage", "disconnect", "identity", "restart"]
FAULTS = {
    "shutter": [*_WIRE, "stuck"],
    "attenuator": [*_WIRE, "stuck"],
    "energy_meter": [*_WIRE, "sensor"],
    "stripe": [*_WIRE, "stuck", "limit"],
    "monochromator": [*_WIRE, "stuck"],
    "camera": ["silence", "timeout", "disconnect", "identity", "restart", "stuck", "saturate"],
    "streak": [*_WIRE, "saturate"],
    "cryostat": [*_WIRE, "sensor", "heater"],
    "laser": ["laser_off", "laser_drift"],
}
INTERLOCKS = (
    "",
    "",
    "pulse_energy_max_J = 4e-7",
    "temperature_max_K = 200.0",
    "stale_after_s = 2.0",
)
LONGEST_S = 240.0


@dataclass
class Week:
    """What happened."""

    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    retries: int = 0
    bench_h: float = 0.0
    wrong: list[str] = field(default_factory=list)
    rss_MB: list[float] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.wrong.append(text)
        print(f"WRONG: {text}", flush=True)


def bench_text(dice: random.Random, week: Week, names: set[str]) -> str:
    """Return a bench file with a seed and faults of its own."""
    text = f"[simulation]\nseed = {dice.randrange(10**6)}\n"
    rule = dice.choice(INTERLOCKS)
    if rule:
        text += f"[interlock]\n{rule}\n"
    text += '[notify]\nurls = ["breaks://"]\non = ["start", "finish", "failure", "interlock"]\n'
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        device = dice.choice(sorted(names & set(FAULTS)))
        kind = dice.choice(FAULTS[device])
        week.kinds[kind] += 1
        text += f'[[simulation.faults]]\ndevice = "{device}"\nkind = "{kind}"\n'
        by_chance = device not in ("laser", "camera") and dice.random() < 0.3
        if by_chance and kind in ("silence", "timeout", "garbage"):
            text += f"probability = {dice.choice((0.001, 0.01))}\nfor_s = 2.0\n"
        else:
            text += f"after_s = {dice.uniform(1.0, 90.0):.1f}\n"
            text += f"for_s = {dice.choice((0.3, 5.0, 5.0, 40.0, 1e6))}\n"
    return text


def roles_of(name: str) -> set[str]:
    return {*build(name, MEASUREMENTS[name]).roles(), "energy_meter", "laser"}


@contextlib.contextmanager
def watched() -> Any:
    """End the process with every stack if the block hangs."""
    faulthandler.dump_traceback_later(LONGEST_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def perhaps_stopped(dice: random.Random) -> Any:
    """Send this process SIGINT or SIGTERM in a while, one time in ten."""
    timer = None
    if dice.random() < 0.1:
        which = dice.choice((signal.SIGINT, signal.SIGTERM))
        timer = threading.Timer(dice.uniform(0.05, 1.5), os.kill, (os.getpid(), which))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if timer is not None:
            timer.start()
        yield
    except KeyboardInterrupt:
        pass  # it came between two runs
    finally:
        if timer is not None:
            timer.cancel()
            with contextlib.suppress(KeyboardInterrupt):
                timer.join()
                time.sleep(0.0)
        signal.signal(signal.SIGTERM, before)


def check_file(week: Week, path: Path, code: int, status: str) -> np.ndarray[Any, Any] | None:
    """Hold a run file against the exit code; return its times if it is not finished."""
    for left in (lock.lock_path(path), journal_path(path)):
        if left.exists():
            week.note(f"{path.name}: {left.name} is left beside it")
    with RunFile(path) as run:
        points = len(build(run.measurement, run.parameters).plan())
        rows, found, log = run.rows_complete, run.status, run.log
        times = np.asarray(run.records("time")) if rows else np.empty(0)
        week.retries += sum("; retry " in text for _, _, text in log)
        if len(log):
            week.bench_h += (log[-1][0] - log[0][0]) / 3600.0
        last = log[-1][2] if log else ""
        if found != status:
            week.note(f"{path.name}: {found} in the file, {status} was said")
        expected = {0: "finished", 1: "failed", 3: "aborted", 130: "aborted"}.get(code)
        if found != expected:
            week.note(f"{path.name}: exit code {code} with {found}: {last}")
        if (found == "finished") != (rows == points):
            week.note(f"{path.name}: {found} with {rows} of {points} records")
        if code == 3 and "interlock" not in last:
            week.note(f"{path.name}: exit code 3, and the log ends {last!r}")
        if (np.diff(times) < 0).any():
            week.note(f"{path.name}: its times go back")
        for name in run.columns:
            column = run.records(name)
            if column.ndim == 1 and len(column) != rows:
                week.note(f"{path.name}: {name} has another length")
        return None if found == "finished" else times


def complete(week: Week, path: Path, calm: Path, times: np.ndarray[Any, Any]) -> None:
    """Go on with a run on a calm bench: it becomes whole, its records stay as they were."""
    with watched():
        done = run_queued(path, lambda _line: None, bench_file=calm)
    week.resumed += 1
    if done.exit_code != 0:
        week.note(f"{path.name}: gone on with, it ended {done.status}: {done.error}")
        return
    with RunFile(path) as run:
        if not np.array_equal(np.asarray(run.records("time"))[: len(times)], times):
            week.note(f"{path.name}: gone on with, its earlier records have changed")
    check_file(week, path, 0, "finished")


def settle(week: Week, folder: Path, outcome: Outcome, calm: Path) -> None:
    """Take in the end of one run, and complete it."""
    week.statuses[outcome.status] += 1
    week.codes[outcome.exit_code] += 1
    times = check_file(week, outcome.path, outcome.exit_code, outcome.status)
    if times is not None:
        complete(week, outcome.path, calm, times)
    give_back()
    week.rss_MB.append(psutil.Process().memory_info().rss / 1e6)


def through_queue(week: Week, folder: Path, dice: random.Random, count: int) -> None:
    """Queue so many runs, each with a bench of its own, and empty the queue."""
    queue = Queue(folder / "runs")
    calm = folder / "calm.toml"
    calm.write_text("[simulation]\n")
    names = [*MEASUREMENTS, *(dice.choice(list(MEASUREMENTS)) for _ in range(count))][:count]
    for number, name in enumerate(names):
        bench = folder / f"bench{number}.toml"
        bench.write_text(bench_text(dice, week, roles_of(name)))
        about = Description(f"film {number}", "A", "nobody")
        header = describe_queued(build(name, MEASUREMENTS[name]), load(bench), about, time.time())
        queue.add(header)
    done = 0
    while (waiting := len(queue.runs())) > 0:
        emptied = None
        with watched(), perhaps_stopped(dice):
            emptied = run_queue(queue, lambda _line: None, keep_going=False, quiet=True)
        if emptied is not None:
            for outcome in emptied.outcomes:
                settle(week, folder, outcome, calm)
            done += len(emptied.outcomes)
            expected = next((o.exit_code for o in emptied.outcomes if o.exit_code), 0)
            if emptied.exit_code != expected:
                week.note(f"the queue ended with {emptied.exit_code}, {expected} was due")
            continue
        # A signal between two runs: what ended without being told is in the folder.
        if len(queue.runs()) == waiting:
            continue
    for path in sorted(queue.folder.glob("*.h5")):
        with RunFile(path) as run:
            status = run.status
        if status != "finished":
            week.statuses[status] += 1
            complete(week, path, calm, np.empty(0))
    total = len(list(queue.folder.glob("*.h5")))
    if total != count:
        week.note(f"{count} runs were queued, {total} files are there")
    print(f"queue: {count} runs, {done} told of", flush=True)


def through_night(week: Week, folder: Path, dice: random.Random, count: int) -> None:
    """Carry out a night of so many steps; then go on with it until nothing is left."""
    folder.mkdir()
    names = [dice.choice(list(MEASUREMENTS)) for _ in range(count)]
    devices = set.intersection(*(roles_of(name) for name in names)) | {"laser"}
    (folder / "bench.toml").write_text(bench_text(dice, week, devices))
    (folder / "calm.toml").write_text("[simulation]\n")
    text = '[night]\nbench = "bench.toml"\n'
    for name in names:
        text += f'[[step]]\nmeasurement = "{name}"\nretries = {dice.choice((0, 0, 1, 2))}\n'
        text += f"retry_wait_s = {dice.choice((5, 60, 600))}\n"
        text += f'on_failure = "{dice.choice(("skip", "skip", "stop"))}"\n'
        text += f'on_interlock = "{dice.choice(("skip", "stop"))}"\n[step.parameters]\n'
        text += "".join(f"{key} = {value}\n" for key, value in MEASUREMENTS[name].items())
    (folder / "plan.toml").write_text(text)
    night = Night.planned(folder / "plan.toml", None, folder / "runs")
    try:
        forecast = night.check(lambda _line: None)
    except Exception as error:  # a fault met the dry run: the operator is still there
        print(f"  the dry run was refused: {error}")
        return through_night(week, folder.with_name(folder.name + "x"), dice, count)
    with watched(), perhaps_stopped(dice):
        outcome = night.carry_out(forecast, quiet=True)
    folder = NightFolder.find(next((folder / "runs").glob("*_night_*"))).path
    codes = Counter[int]()
    for _ in range(2 * count):
        found = Night.found(folder, folder.parents[1] / "bench.toml")
        state = NightFolder(folder).state()
        codes[state.exit_code if state.exit_code is not None else -1] += 1
        if not found.waiting():
            break
        with watched(), contextlib.suppress(KeyboardInterrupt):
            try:
                forecast = found.check(lambda _line: None)
            except Exception as error:
                print(f"  going on was refused: {error}")
                break
            outcome = found.carry_out(forecast, quiet=True)
    else:
        week.note(f"{folder.name}: it never came to its end")
    for number, step in sorted(NightFolder(folder).state().steps.items()):
        if not step.file:
            continue
        path = folder / step.file
        code = 0 if step.status == "finished" else step.exit_code or 130
        with RunFile(path) as run:
            status = run.status
        week.statuses[status] += 1
        week.codes[code] += 1
        if status == "finished" and step.status != "finished":
            week.note(f"{path.name}: finished, and step {number} is {step.status}")
        if status != "finished":
            check_file(week, path, code, status)
    with watched():
        last = Night.found(folder, folder.parents[1] / "calm.toml", again=True)
        if last.waiting():
            outcome = last.carry_out(last.check(lambda _line: None), quiet=True)
            week.resumed += 1
            if outcome.exit_code != 0:
                week.note(f"{folder.name}: on a calm bench it ended {outcome.exit_code}")
    files = sorted(path.name for path in folder.glob("*.h5"))
    steps = NightFolder(folder).state().steps
    if files != sorted(step.file for step in steps.values()) or len(files) != count:
        week.note(f"{folder.name}: {len(files)} files for {count} steps")
    for step in steps.values():
        check_file(week, folder / step.file, 0, "finished")
    give_back()
    week.rss_MB.append(psutil.Process().memory_info().rss / 1e6)
    print(f"night: {count} steps, ended with {dict(codes)} before the calm bench", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write a report of the last night")
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    logging.getLogger().addHandler(logging.NullHandler())  # the files tell it all

    @apprise.decorators.notify(on="breaks")
    def breaks(*_: Any, **__: Any) -> bool:
        raise RuntimeError("this channel is broken")

    week, begun = Week(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gainbench-week-") as scratch:
        left, day = asked.runs, 0
        while left > 0:
            folder = Path(scratch) / f"day{day}"
            if day % 2 == 0:
                count = min(left, 18)
                folder.mkdir()
                through_queue(week, folder, dice, count)
            else:
                count = min(left, 11)
                through_night(week, folder, dice, count)
            left, day = left - count, day + 1
            print(f"  {asked.runs - left} runs, {week.rss_MB[-1]:.0f} MB", flush=True)
        if asked.report:
            for night in Path(scratch).glob("day*/runs/*_night_*"):
                write_report(night)
    warm = week.rss_MB[min(len(week.rss_MB) - 1, 20)]
    growth = max(week.rss_MB[-10:]) - warm
    if growth > 20.0:
        week.note(f"memory grew by {growth:.1f} MB after warm-up")
    print(f"ends: {dict(week.statuses)}, exit codes {dict(week.codes)}")
    print(f"faults: {dict(week.kinds.most_common())}; {week.retries} records taken again")
    print(f"{week.resumed} gone on with on a calm bench; {week.bench_h:.1f} h of bench time")
    print(f"memory {warm:.0f} MB after warm-up, growth {growth:+.1f} MB")
    print(f"{asked.runs} runs in {time.monotonic() - begun:.0f} s, {len(week.wrong)} wrong")
    return 1 if week.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
