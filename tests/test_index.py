"""Lists of runs: what a folder holds, and that no stale line is ever shown."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procedures.running import index as indexing
from procedures.running import lock
from procedures.running.index import CACHE_NAME, index
from procedures.running.runfile import RunFile, mark_status, store_results
from tests import runs
from tests.test_cli import gainbench, the_object


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look a minute later, so that files just written are old enough to be kept in mind."""
    now = time.time_ns
    monkeypatch.setattr(indexing.time, "time_ns", lambda: now() + 60 * 10**9)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the files that were opened."""
    names: list[str] = []
    own = indexing.read_header

    def reading(path: Path) -> Any:
        names.append(path.name)
        return own(path)

    monkeypatch.setattr(indexing, "read_header", reading)
    yield names


def finished(folder: Path, rows: int = 3, sample: str = "film A") -> Path:
    path = runs.queued(folder, sample)
    writer = runs.RunWriter.start(path, runs.start())
    for record in runs.records(0, rows):
        writer.append(record)
    writer.close("finished")
    return path


def test_a_header_says_what_the_file_says(tmp_path: Path) -> None:
    path = finished(tmp_path)
    waiting = runs.queued(tmp_path, "film B")
    store_results(path, {"results": {"x": {"value": 1.0, "stderr": 0.1, "unit": "nm"}}})
    for _ in range(2):  # read, and from the cache
        found = {one.file: one for one in index(tmp_path)}
        assert set(found) == {str(path), str(waiting)}
        with RunFile(path) as run:
            one = found[str(path)]
            assert (one.run_status, one.measurement) == (run.status, run.measurement)
            assert (one.sample, one.spot, one.operator) == (run.sample, run.spot, run.operator)
            assert (one.start_time, one.end_time) == (run.start_time, run.end_time)
            assert (one.records, one.points, one.evaluated) == (3, 5, True)
            assert one.title == "a test" and one.size_bytes == path.stat().st_size
        assert found[str(waiting)].run_status == "queued"
        assert found[str(waiting)].evaluated is False


def test_a_known_file_is_not_opened_a_changed_one_is(tmp_path: Path, opened: list[str]) -> None:
    first, second = finished(tmp_path), runs.queued(tmp_path, "film B")
    index(tmp_path)
    opened.clear()
    index(tmp_path)
    assert opened == []
    before = second.stat()
    mark_status(second, "aborted")
    os.utime(second, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if it had not changed
    assert {one.file: one.run_status for one in index(tmp_path)}[str(second)] == "aborted"
    assert opened == [second.name]
    first.unlink()
    assert [one.file for one in index(tmp_path)] == [str(second)]


def test_what_was_just_written_is_read_again(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path)
    monkeypatch.setattr(
        indexing.time, "time_ns", lambda: next(tmp_path.iterdir()).stat().st_mtime_ns
    )
    index(tmp_path)
    index(tmp_path)
    assert len(opened) == 2


def test_a_run_is_running_while_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writer = runs.started(tmp_path)
    for record in runs.records(0, 4):
        writer.append(record)
    writer.wait_durable()
    one = index(tmp_path)[0]
    assert (one.run_status, one.records) == ("running", 4)
    monkeypatch.setattr(lock.Owner, "alive", False)
    assert index(tmp_path)[0].run_status == "interrupted"
    left_open = path.read_bytes()
    monkeypatch.undo()
    writer.close("aborted")
    assert index(tmp_path)[0].run_status == "aborted"
    path.write_bytes(left_open)  # as after a kill; read as it is, changed by nobody
    assert index(tmp_path)[0].run_status == "interrupted"
    assert path.read_bytes() == left_open


@pytest.mark.parametrize("rubbish", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_rubbish_is_listed_as_unreadable(tmp_path: Path, rubbish: bytes) -> None:
    finished(tmp_path)
    (tmp_path / "other.h5").write_bytes(rubbish)
    statuses = sorted(one.run_status for one in index(tmp_path))
    assert statuses == ["finished", "unreadable"]


@pytest.mark.parametrize("rubbish", [b"", b"rubbish" * 1000, None])
def test_a_damaged_cache_is_only_slower(tmp_path: Path, rubbish: bytes | None) -> None:
    path = finished(tmp_path)
    index(tmp_path)
    cache = tmp_path / CACHE_NAME
    if rubbish is None:  # one of an older gainbench
        with sqlite3.connect(cache) as database:
            database.execute("PRAGMA user_version = 0")
        database.close()
    else:
        cache.write_bytes(rubbish)
    for _ in range(2):
        assert [one.file for one in index(tmp_path)] == [str(path)]
    assert indexing._load(tmp_path)


def test_a_folder_that_takes_no_cache(tmp_path: Path) -> None:
    path = finished(tmp_path)
    (tmp_path / CACHE_NAME).mkdir()
    assert [one.file for one in index(tmp_path)] == [str(path)]


def test_the_command_lists_them(tmp_path: Path) -> None:
    path = finished(tmp_path / "runs")
    (tmp_path / "runs" / "b.h5").write_bytes(b"rubbish")
    found = the_object(gainbench(tmp_path, "runs", "--json"))
    assert [Path(one["file"]).name for one in found["runs"]] == [path.name, "b.h5"]
    done = gainbench(tmp_path, "runs", "nowhere", "--json")
    assert done.returncode == 2 and "nowhere" in json.dumps(the_object(done))
