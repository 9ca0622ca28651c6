"""The queue: an order that survives, and runs that nobody takes twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from procedures.running import lock
from procedures.running.queue import FILE, Queue, QueueError
from procedures.running.runfile import RunFile, RunWriter, mark_status, resume_writer
from tests import runs

ROOT = Path(__file__).resolve().parent.parent
TAKE_ALL = """
import sys
from procedures.running.queue import Queue
from procedures.running.runfile import mark_status
queue = Queue(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while (run := queue.take()) is not None:
    mark_status(run.path, "finished")
    queue.release(run.path)
    print(run.name, flush=True)
"""
TAKE_ONE = """
import sys
from procedures.running.queue import Queue
print(Queue(sys.argv[1]).take().name, flush=True)
sys.stdin.readline()
"""


def filled(folder: Path, count: int) -> tuple[Queue, list[str]]:
    queue = Queue(folder)
    header = runs.header("film")
    return queue, [queue.add(replace(header, sample=f"film {n}")).name for n in range(count)]


def names(queue: Queue) -> list[str]:
    return [run.name for run in queue.runs()]


def another(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_what_is_added_is_seen_by_every_queue_of_the_folder(tmp_path: Path) -> None:
    assert Queue(tmp_path / "none").runs() == []
    assert not (tmp_path / "none").exists()
    _, added = filled(tmp_path, 3)
    (run, *_) = Queue(tmp_path).runs()
    assert names(Queue(tmp_path)) == added
    assert (run.measurement, run.points, run.sample, run.spot) == ("power-sweep", 5, "film 0", "3")
    assert run.parameters == {"points": 3, "lengths_mm": [1.5]}
    assert (run.status, run.taken_by, run.waits) == ("queued", None, True)
    assert run.queued_time.startswith("2023-11-1")


def test_runs_are_moved_and_removed_by_place_name_or_path(tmp_path: Path) -> None:
    queue, (a, b, c, d) = filled(tmp_path, 4)
    queue.move(d, 1)
    assert names(queue) == [d, a, b, c]
    queue.move(2, 99)
    assert names(queue) == [d, b, c, a]
    queue.move(tmp_path / c, 2)
    assert names(queue) == [d, c, b, a]
    queue.remove(Path(c).stem)
    assert names(queue) == [d, b, a]
    assert not (tmp_path / c).exists()
    for which in (4, 0, "nothing.h5"):
        with pytest.raises(QueueError, match=r"no run|not in the queue"):
            queue.remove(which)
    with pytest.raises(QueueError, match="the first is 1"):
        queue.move(1, 0)
    assert names(Queue(tmp_path)) == [d, b, a]


def test_a_taken_run_is_nobody_elses_until_it_is_given_back(tmp_path: Path) -> None:
    queue, (a, b) = filled(tmp_path, 2)
    with queue.taken() as first:
        assert first is not None and first.name == a
        seen = Queue(tmp_path).runs()
        assert [run.taken_by for run in seen] == [lock.me(), None]
        with pytest.raises(QueueError, match="carried out by process"):
            Queue(tmp_path).remove(1)
        with pytest.raises(QueueError, match="carried out by process"):
            Queue(tmp_path).move(a, 2)
        with Queue(tmp_path).taken() as second:
            assert second is not None and second.name == b
            assert queue.take() is None
            mark_status(second.path, "finished")
    assert names(queue) == [a]  # as it was: it waits again
    with pytest.raises(RuntimeError), queue.taken():
        raise RuntimeError
    assert names(queue) == [a]


def test_vanished_unreadable_and_ended_files_do_not_stop_the_rest(tmp_path: Path) -> None:
    queue, (a, b, c, d) = filled(tmp_path, 4)
    (tmp_path / a).unlink()
    (tmp_path / b).write_bytes(b"rubbish")
    mark_status(tmp_path / c, "failed")
    assert [run.status for run in queue.runs()] == ["gone", "unreadable", "queued"]
    with queue.taken() as run:
        assert run is not None and run.name == d
    queue.remove(a)
    queue.remove(b)
    assert (tmp_path / b).read_bytes() == b"rubbish"
    assert names(queue) == [d]


def test_a_queued_file_that_the_queue_does_not_know_is_shown_and_can_be_adopted(
    tmp_path: Path,
) -> None:
    queue, (a,) = filled(tmp_path, 1)
    stray = runs.queued(tmp_path, "stray")
    (tmp_path / "foreign.h5").write_bytes(b"rubbish")
    assert queue.strays() == [stray]
    queue.adopt(stray)
    assert names(queue) == [a, stray.name]
    assert queue.strays() == []
    with pytest.raises(QueueError, match="already"):
        queue.adopt(stray)
    with pytest.raises(QueueError, match="copy it there"):
        queue.adopt(runs.queued(tmp_path / "elsewhere"))
    mark_status(stray, "failed")
    with pytest.raises(QueueError, match="is failed"):
        queue.adopt(stray)


def test_a_damaged_queue_file_is_put_aside_and_what_waits_is_queued_again(tmp_path: Path) -> None:
    queue, added = filled(tmp_path, 3)
    mark_status(tmp_path / added[1], "failed")
    (tmp_path / FILE).write_bytes(b"not SQLite at all" * 400)
    assert names(queue) == [added[0], added[2]]
    assert (tmp_path / f"{FILE}.damaged").exists()
    queue.move(2, 1)
    assert names(Queue(tmp_path)) == [added[2], added[0]]


def test_threads_that_add_and_take_lose_nothing(tmp_path: Path) -> None:
    done: list[str] = []
    added: list[str] = []

    def work(number: int) -> None:
        queue = Queue(tmp_path)
        added.append(queue.add(replace(runs.header(), sample=f"film {number}")).name)
        with queue.taken() as run:
            assert run is not None
            mark_status(run.path, "finished")
            done.append(run.name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == sorted(added)
    assert len(set(done)) == 6
    assert names(Queue(tmp_path)) == []


def test_two_processes_never_take_one_run(tmp_path: Path) -> None:
    queue, added = filled(tmp_path, 12)
    others = [another(TAKE_ALL, tmp_path) for _ in range(2)]
    for one in others:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    taken = [one.communicate("go\n", timeout=60)[0].split() for one in others]
    assert sorted([*taken[0], *taken[1]]) == sorted(added)
    assert names(queue) == []


def test_what_a_killed_runner_had_taken_waits_again(tmp_path: Path) -> None:
    queue, (a, b) = filled(tmp_path, 2)
    other = another(TAKE_ONE, tmp_path)
    assert other.stdout is not None and other.stdout.readline().strip() == a
    assert [run.taken_by is None for run in queue.runs()] == [False, True]
    other.kill()
    other.wait()
    assert [run.waits for run in queue.runs()] == [True, True]
    with queue.taken() as run:
        assert run is not None and run.name == a
        writer = RunWriter.start(run.path, runs.start())
        writer.append(runs.record(0), {"clock": 0.0, "dose": 0.0})
        writer.close("running", 1.7e9)  # as if it had been killed
        assert queue.runs()[0].taken_by == lock.me()
    assert names(queue) == [b]


def test_an_interrupted_run_is_the_queues_next_and_keeps_its_file_when_removed(
    tmp_path: Path,
) -> None:
    queue, (a, _) = filled(tmp_path, 2)
    writer = RunWriter.start(tmp_path / a, runs.start())
    writer.append(runs.record(0), {"clock": 0.0, "dose": 0.0})
    writer.close("running", 1.7e9)
    (first, _) = queue.runs()
    assert (first.status, first.waits) == ("interrupted", True)
    with queue.taken() as run:
        assert run is not None and run.name == a
        writer = resume_writer(run.path)
        writer.append(runs.record(1), {"clock": 0.0, "dose": 0.0})
        writer.close("running", 1.7e9)
    queue.adopt(runs.queued(tmp_path, "last"))
    with RunFile(tmp_path / a) as file:
        assert file.rows_complete == 2


def test_the_command_sees_the_same_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from procedures.cli import app

    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["queue", *words], standalone_mode=False)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return int(getattr(done.exception, "exit_code", -1)), str(done.exception)
        return int(done.return_value or 0), done.stdout

    quick = ["--set", "points=1", "--set", "centre_wavelength_nm=520"]
    assert call("add", "power-sweep", "--set", "point=1")[0] == 2
    assert not (tmp_path / "runs").exists()
    for sample in ("first", "second"):
        assert call("add", "power-sweep", *quick, "--sample", sample)[0] == 0
    bad = call("add", "power-sweep", "--set", "fluence_max_uJ_cm2=9000", "--sample", "bad")
    assert bad[0] == 0  # limits show only with the bench: the run fails, the queue can go on
    assert call("move", "3", "1")[0] == 0
    assert call("remove", "7")[0] == 2
    queue = Queue(tmp_path / "runs")
    assert [run.sample for run in queue.runs()] == ["bad", "first", "second"]
    code, _ = call("run")
    assert code == 2
    assert [run.sample for run in queue.runs()] == ["first", "second"]
    code, printed = call("run", "--keep-going", "--json")
    assert (code, queue.runs()) == (0, [])
    assert printed.count('"run_status": "finished"') == 2
    assert call("run")[0] == 0
    assert call("add", str(tmp_path / "runs" / "x.h5"))[0] == 2
