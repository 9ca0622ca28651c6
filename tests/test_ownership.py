"""Who owns a lock: one of several that find the lock of a dead process, and nobody else's goes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from instruments.ownership import Taken, alone, me, owner_of, take

DEAD = json.dumps({"host": me().host, "pid": 2**22 - 1, "started_s": 1.0})


@pytest.mark.parametrize("left", [DEAD, ""], ids=["dead", "half written"])
def test_of_several_that_find_a_dead_lock_one_takes_it(tmp_path: Path, left: str) -> None:
    lock = tmp_path / "run.lock"
    lock.write_text(left)
    found: list[str] = []
    together = threading.Barrier(6)

    def come() -> None:
        together.wait()
        try:
            take(lock, {})
            found.append("taken")
        except Taken as taken:
            assert taken.owner == me()
            found.append("told")

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["taken"] + 5 * ["told"]
    assert owner_of(lock) == me()
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_locks_are_taken_one_at_a_time_by_all_processes() -> None:
    script = """if True:
        from instruments.ownership import alone
        with alone():
            print("in", flush=True)
            input()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    entered: list[float] = []

    def enter() -> None:
        with alone():
            entered.append(time.monotonic())

    thread = threading.Thread(target=enter)
    thread.start()
    time.sleep(0.1)
    assert not entered
    begun = time.monotonic()
    other.kill()  # what a dead process had is free at once
    other.communicate()
    thread.join()
    assert entered[0] - begun < 1.0
