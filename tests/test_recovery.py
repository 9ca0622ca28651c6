"""The run file after a crash, a full disk and a power cut: nothing acknowledged is lost."""

from __future__ import annotations

import errno
import gc
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pytest

from benchmarks import durability
from benchmarks.write_log import Crash, WriteLog, hdf5_calls
from instruments import ownership
from procedures.running import lock, recovery, writing
from procedures.running.journal import INLINE_ROWS, ROWS, SKELETON, Journal, entries, journal_path
from procedures.running.recovery import recover
from procedures.running.runfile import RunFile, RunWriter, WriteFailed, resume_writer
from procedures.running.superblock import lookup3, mend

linux = pytest.mark.skipif(sys.platform != "linux", reason="watches system calls as Linux has them")
DEAD = {"host": lock.me().host, "pid": 2**22 - 1, "started_s": 1.0}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> WriteLog:
    return durability.record_run(tmp_path_factory.mktemp("recorded"), 20)[0]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> WriteLog:
    return durability.record_run(tmp_path_factory.mktemp("resumed"), 20, resumed_at=13)[0]


def crashed(folder: Path, log: WriteLog, count: int) -> Path:
    """Lay out the files of a run killed after `count` events; return the run file."""
    for original, content in Crash(log, count).killed().items():
        (folder / original.name).write_bytes(content)
    path = next(one for one in folder.iterdir() if one.suffix == ".h5")
    lock.lock_path(path).write_text(json.dumps(DEAD), encoding="utf-8")
    return path


# ---- every write boundary ----------------------------------------------------------------------


@linux
@pytest.mark.parametrize("kind", ["kill", "torn write", "power cut"])
def test_no_crash_loses_what_was_acknowledged(log: WriteLog, tmp_path: Path, kind: str) -> None:
    every = [one for one in durability.crashes(log, every=5) if one[0] == kind]
    assert len(every) > 40
    for _, count, files in every:
        problem = durability.check(files, log.promised(count), tmp_path)
        assert not problem, f"{kind} at event {count}: {problem}"


@linux
@pytest.mark.parametrize("kind", ["kill", "torn write", "power cut"])
def test_no_crash_of_a_resumed_run_loses_anything(
    resumed: WriteLog, tmp_path: Path, kind: str
) -> None:
    assert resumed.promised(0) == 13
    every = [one for one in durability.crashes(resumed, every=2) if one[0] == kind]
    assert len(every) > 40
    for _, count, files in every:
        problem = durability.check(files, resumed.promised(count), tmp_path)
        assert not problem, f"{kind} at event {count}: {problem}"


@linux
def test_a_run_that_said_finished_stays_finished(log: WriteLog, tmp_path: Path) -> None:
    for seed in range(5):
        files = Crash(log, len(log.events)).power_cut(seed)
        assert not durability.check(files, 20, tmp_path)
        with RunFile(next(tmp_path.glob("*.h5"))) as file:
            assert file.status == "finished"


@linux
def test_the_check_sees_a_loss(log: WriteLog, tmp_path: Path) -> None:
    """The test above can fail: without its journal a power-cut file does lose rows."""
    problems = set()
    for count in range(len(log.events) // 2, len(log.events) - 10, 10):
        files = Crash(log, count).power_cut(count)
        kept = {path: content for path, content in files.items() if path.suffix == ".h5"}
        problems.add(durability.check(kept, log.promised(count), tmp_path))
    assert problems - {""}


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    for seed in range(2):
        assert durability.kill_at_random(tmp_path, seed) == ""


def test_a_file_whose_index_is_gone_is_built_again_from_its_journal(tmp_path: Path) -> None:
    """Arrays are in the run file only: the journal says where, over several chunks."""
    path = durability.queue(tmp_path, 300)
    writer = RunWriter.start(path, durability.started())
    for first, last in ((0, 1), (1, 50), (50, 230), (230, 231)):
        for number in range(first, last):
            writer.append(durability.record(number), {"time_s": float(number), "dose": 0.0})
        writer.wait_durable()
    kept = {one: one.read_bytes() for one in (path, journal_path(path))}
    writer.close("finished")
    for one, content in kept.items():
        one.write_bytes(content)
    with path.open("r+b") as file:
        file.write(bytes(1024))  # superblock and the root of everything
    assert recover(path)
    with RunFile(path) as run:
        assert durability._compare(run, 231) == ""


def test_a_resumed_run_is_built_again_from_a_journal_without_its_arrays(tmp_path: Path) -> None:
    path = durability.queue(tmp_path, 300)
    writer = RunWriter.start(path, durability.started())
    for number in range(231):
        writer.append(durability.record(number), {"time_s": float(number), "dose": 0.0})
    writer.close("aborted")
    with mock.patch.object(writing, "COMMIT_BYTES", 20_000):  # several entries
        writer = resume_writer(path)
    for number in range(231, 250):
        writer.append(durability.record(number), {"time_s": float(number), "dose": 0.0})
    writer.wait_durable()
    kept = {one: one.read_bytes() for one in (path, journal_path(path))}
    writer.close("finished")
    arrays = sum(durability.column(c.name, 231).nbytes for c in durability.started().columns)
    assert len(kept[journal_path(path)]) < arrays
    for one, content in kept.items():
        one.write_bytes(content)
    assert sum(kind == ROWS for kind, _ in entries(path)) > 3
    with path.open("r+b") as file:
        file.write(bytes(1024))
    assert recover(path)
    with RunFile(path) as run:
        assert durability._compare(run, 250) == ""
        assert run.state == {"time_s": 249.0, "dose": 0.0}


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It holds the arrays themselves."""
    path = durability.queue(tmp_path, 10)
    writer = RunWriter.start(path, durability.started())
    skeleton = dict(entries(path))[SKELETON]
    writer.close("aborted")
    columns = [
        durability.column(column.name, 7).astype(column.dtype).reshape(-1)
        for column in durability.started().columns
    ]
    journal = Journal(path, skeleton)
    journal.add(INLINE_ROWS, np.array([0, 7], "<u8"), *columns, np.zeros((7, 2)))
    journal.close(remove=False)
    path.write_bytes(b"")
    assert recover(path)
    with RunFile(path) as run:
        assert durability._compare(run, 7) == ""


# ---- writes that fail ----------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("allowed", [0, 3, 11, 40, 95, 120])
def test_failing_writes_end_the_run_and_not_the_process(tmp_path: Path, allowed: int) -> None:
    """In a child: HDF5 2.0 ends the process (SIGSEGV) when such a file is closed as usual."""
    child = os.fork()
    if not child:
        code = 3
        try:
            code = _record_while_writes_fail(tmp_path, allowed)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert not os.WIFSIGNALED(status), f"killed by signal {os.WTERMSIG(status)}"
    assert os.WEXITSTATUS(status) == 0


def _record_while_writes_fail(folder: Path, allowed: int) -> int:
    writing.GROUP_S = 0.0
    path, acknowledged, seen = durability.queue(folder, 20), 0, 0

    def write(fd: int, data: bytes, offset: int) -> bool:
        nonlocal seen
        if os.readlink(f"/proc/self/fd/{fd}") != str(path):
            return True
        seen += 1
        return seen <= allowed

    writer = None
    with hdf5_calls(write, lambda fd, size: None):
        try:
            writer = RunWriter.start(path, durability.started())
            for number in range(40):
                writer.append(durability.record(number))
                writer.wait_durable()
                acknowledged = number + 1
            return 1  # nothing failed
        except WriteFailed:
            if writer is not None:
                with pytest.raises(WriteFailed):
                    writer.close("failed")
        status = "interrupted" if writer is None else "failed"
        del writer
        gc.collect()
    with RunFile(path) as file:
        good = file.status == status and file.rows_complete >= acknowledged
        return 0 if good and file.records("shots").tolist()[:1] in ([], [1000]) else 2


@linux
def test_a_full_disk_fails_the_run_and_keeps_its_records(tmp_path: Path) -> None:
    script = """if True:
        import gc, resource, sys
        from pathlib import Path
        from benchmarks import durability
        from procedures.running.runfile import RunFile, RunWriter, WriteFailed, resume_writer
        path = durability.queue(Path(sys.argv[1]), 10)
        writer = RunWriter.start(path, durability.started())
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, resource.RLIM_INFINITY))
        kept = 0
        try:
            for number in range(30_000):
                writer.append(durability.record(number % 400))
                if number % 100 == 0:
                    writer.wait_durable()
                    kept = number + 1
            sys.exit(4)
        except WriteFailed:
            pass
        try:
            writer.close("failed")
            sys.exit(5)
        except WriteFailed:
            pass
        del writer
        gc.collect()
        with RunFile(path) as run:  # the disk is still full
            assert run.rows_complete >= kept > 0, (run.rows_complete, kept)
            assert len(run.records("shots")) == run.rows_complete
            assert run.status == "failed", run.status
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 0


@linux
def test_an_interrupted_file_is_read_where_nothing_can_be_written(
    log: WriteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(log.events) // 2
    path = crashed(tmp_path, log, count)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir() if one.suffix != ".lock"}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recovery, "need_space", full)
    with RunFile(path) as file:
        assert file.rows_complete >= log.promised(count) > 0
        assert len(file.records("spectrum")) == file.rows_complete
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


# ---- the parts ---------------------------------------------------------------------------------


def test_lookup3_is_the_checksum_that_hdf5_writes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver=("v110", "v110")) as file:
        file.create_dataset("x", data=range(100))
        file.flush()
        file.swmr_mode = True
    head = (tmp_path / "a.h5").read_bytes()[:48]
    assert head[8] == 3 and struct.unpack("<I", head[44:])[0] == lookup3(head[:44])


@linux
def test_mending_clears_the_flags_and_sets_the_end(log: WriteLog, tmp_path: Path) -> None:
    path = crashed(tmp_path, log, len(log.events) // 2)
    with pytest.raises(OSError, match="open"):
        h5py.File(path, "r")
    assert mend(path)
    head = path.read_bytes()[:48]
    assert head[11] == 0 and struct.unpack_from("<Q", head, 28)[0] == path.stat().st_size


@linux
def test_a_torn_journal_is_read_up_to_the_tear(log: WriteLog, tmp_path: Path) -> None:
    path = crashed(tmp_path, log, len(log.events) // 2)
    whole = list(entries(path))
    content = journal_path(path).read_bytes()
    journal_path(path).write_bytes(content[:-5])
    assert list(entries(path)) == whole[:-1]
    journal_path(path).write_bytes(content[:-5] + b"wrong")
    assert list(entries(path)) == whole[:-1]


@linux
def test_recovering_again_changes_nothing(log: WriteLog, tmp_path: Path) -> None:
    path = crashed(tmp_path, log, len(log.events) // 2)
    assert recover(path)
    once = path.read_bytes()
    assert not recover(path) and path.read_bytes() == once


@linux
def test_a_living_writer_is_not_recovered(log: WriteLog, tmp_path: Path) -> None:
    path = crashed(tmp_path, log, len(log.events) // 2)
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        other = {**DEAD, "pid": sleeper.pid, "mark": ownership.mark(sleeper.pid)}
        lock.lock_path(path).write_text(json.dumps(other), encoding="utf-8")
        before = path.read_bytes()
        with pytest.raises(lock.FileInUse, match=str(sleeper.pid)):
            recover(path)
        assert path.read_bytes() == before
    finally:
        sleeper.communicate(b"\n")
    assert recover(path)


def test_a_process_that_ends_without_closing_loses_nothing_and_does_not_hang(
    tmp_path: Path,
) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from benchmarks import durability
        from procedures.running.runfile import RunWriter
        writer = RunWriter.start(durability.queue(Path(sys.argv[1]), 500), durability.started())
        for number in range(500):
            writer.append(durability.record(number), {})
    """
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 0
    (path,) = tmp_path.glob("*.h5")
    with RunFile(path) as run:
        assert (run.status, run.rows_complete) == ("interrupted", 500)
