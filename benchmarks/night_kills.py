"""Kills a night at random instants, as `kill -9` does, and goes on with it until it is complete.

`python benchmarks/night_kills.py [NIGHTS] [SEED]`: each night of four steps is killed again and
again (its process is a fork of this one, so that no time goes into imports), then gone on with.
Afterwards every step must be finished, in one file, with the spectra of an undisturbed night, no
file too many, and the journal must say the same.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from procedures.nights.folder import NightFolder
from procedures.nights.night import Night
from procedures.running.runfile import RunFile

PLAN = """
[night]
retries = 1
retry_wait_s = 5
[[step]]
measurement = "power-sweep"
parameters = { points = 6, centre_wavelength_nm = 520 }
loop = { spot = ["A1", "A2", "A3", "A4"] }
"""


def in_child(work: object) -> int:
    """Return the process id of a fork that does `work` and ends."""
    number = os.fork()
    if number:
        return number
    code = 99
    try:
        sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        code = work()  # type: ignore[operator]
    finally:
        os._exit(code)


def begin(plan: Path, out: Path) -> int:
    night = Night.planned(plan, None, out)
    return night.carry_out(night.check(lambda _line: None), quiet=True).exit_code


def go_on(folder: Path) -> int:
    night = Night.found(folder, None)
    if not night.waiting():
        return 0
    return night.carry_out(night.check(lambda _line: None), quiet=True).exit_code


def spectra(folder: Path) -> list[np.ndarray]:
    state = NightFolder(folder).state()
    found = []
    for number in sorted(state.steps):
        with RunFile(folder / state.steps[number].file) as run:
            assert run.status == "finished", (folder, number, run.status)
            found.append(np.asarray(run.records("spectra")))
    return found


def main(nights: int = 20, seed: int = 1) -> None:
    dice = random.Random(seed)
    kills = resumes = 0
    with tempfile.TemporaryDirectory(prefix="gainbench-nights-") as scratch:
        plan = Path(scratch) / "plan.toml"
        plan.write_text(PLAN)
        begun = time.monotonic()
        assert begin(plan, Path(scratch) / "calm") == 0
        took = time.monotonic() - begun
        (calm,) = (Path(scratch) / "calm").glob("*_night_*")
        wanted = spectra(calm)
        for number in range(nights):
            out = Path(scratch) / f"night{number}"
            code, folder = -1, None
            for _ in range(60):
                target = folder
                if target is None:
                    child = in_child(lambda out=out: begin(plan, out))
                else:
                    child = in_child(lambda target=target: go_on(target))
                    resumes += 1
                end = time.monotonic() + dice.uniform(0.0, 0.8 * took)
                while time.monotonic() < end and not os.waitpid(child, os.WNOHANG)[0]:
                    time.sleep(0.002)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    kills += 1
                with contextlib.suppress(ChildProcessError):
                    _, status = os.waitpid(child, 0)
                    code = os.waitstatus_to_exitcode(status)
                found = [p for p in out.glob("*_night_*") if (p / "night.jsonl").exists()]
                folder = found[0] if found else None
                if folder is not None and dice.random() < 0.25:
                    break
            if folder is None:
                continue
            child = in_child(lambda folder=folder: go_on(folder))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code == 0, (folder, code)
            state = NightFolder(folder).state()
            assert [state.steps[n].status for n in (1, 2, 3, 4)] == ["finished"] * 4
            files = sorted(path.name for path in folder.glob("*.h5"))
            assert files == sorted(step.file for step in state.steps.values()), files
            left = [p.name for p in folder.iterdir() if p.suffix in (".tmp", ".lock", ".journal")]
            assert not left, left
            history = [(e["event"], e.get("step", "")) for e in NightFolder(folder).events()]
            for mine, calms in zip(spectra(folder), wanted, strict=True):
                assert mine.shape == calms.shape, (mine.shape, calms.shape)
                other = [
                    row for row in range(len(mine)) if not np.array_equal(mine[row], calms[row])
                ]
                assert not other, f"{folder}: other spectra in records {other}: {history}"
            print(f"night {number}: complete after {kills} kills in all", flush=True)
    print(f"{nights} nights, {kills} kills, {resumes} times gone on with: every night complete")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
