"""Files of finished runs are made small after the run, and nothing else about them changes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks import durability
from procedures.running import compressing, lock, recovery
from procedures.running.compressing import compress, compress_all
from procedures.running.runfile import RunFile, RunWriter, resume_writer, store_results

ROWS = 200


def run(folder: Path, status: str = "finished", rows: int = ROWS) -> Path:
    writer = RunWriter.start(durability.queue(folder, ROWS), durability.started())
    for number in range(rows):
        writer.append(durability.record(number), {"time_s": float(number), "dose": 0.1})
    writer.close(status)
    return writer.path


def tree(path: Path) -> dict[str, Any]:
    """Return every object of a file: attributes, and bytes of what it holds."""
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:

        def look(name: str, item: Any) -> None:
            attrs = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
            data = ""
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                data = repr((item.dtype, item.shape, item.maxshape, np.asarray(item[()]).tolist()))
            found[name] = (attrs, data)

        file.visititems(look)
        found["same object"] = file["entry/data/spectrum"] == file["entry/records/spectrum"]
    return found


def test_a_finished_run_becomes_small_and_stays_the_same(tmp_path: Path) -> None:
    path = run(tmp_path)
    before, size = tree(path), path.stat().st_size
    done = compress(path)
    assert (done.before, done.after, done.reason) == (size, path.stat().st_size, "")
    assert done.after < 0.8 * size
    assert tree(path) == before and before["same object"]
    with h5py.File(path) as file:
        assert file["entry/records/spectrum"].compression == "gzip"
    with RunFile(path) as file:
        assert durability._compare(file, ROWS) == ""
    assert compress(path).after == done.after  # once is enough
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    store_results(path, {"results": {"x": {"value": 1.0, "stderr": 0.1, "unit": "1"}}})
    with RunFile(path) as file:
        assert file.results["x"]["value"] == 1.0


@pytest.mark.parametrize("status", ["aborted", "failed"])
def test_a_run_that_may_be_gone_on_with_is_left_alone(tmp_path: Path, status: str) -> None:
    path = run(tmp_path, status, rows=50)
    before = path.read_bytes()
    assert "not finished" in compress(path).reason and path.read_bytes() == before


def test_what_is_being_written_or_is_no_run_is_left_alone(tmp_path: Path) -> None:
    writer = RunWriter.start(durability.queue(tmp_path, 3), durability.started())
    assert "in use" in compress(writer.path).reason
    writer.close("aborted")
    for name, content in (("text.h5", b"text"), ("empty.h5", b"")):
        (tmp_path / name).write_bytes(content)
        assert compress(tmp_path / name).reason
        assert (tmp_path / name).read_bytes() == content
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(10_000)
    assert "no run file" in compress(tmp_path / "other.h5").reason
    assert compress(tmp_path / "missing.h5").reason


def test_a_reader_that_has_it_open_goes_on_reading(tmp_path: Path) -> None:
    path = run(tmp_path)
    with RunFile(path) as reader:
        done = compress(path)
        assert done.after < done.before or sys.platform == "win32"
        assert durability._compare(reader, ROWS) == ""


def test_a_copy_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, own = run(tmp_path), compressing.copy_compressed

    def spoil(source: Any, target: Any) -> None:
        own(source, target)
        target["entry/records/spectrum"][100, 7] += 1

    monkeypatch.setattr(compressing, "copy_compressed", spoil)
    before = path.read_bytes()
    assert "other values" in compress(path).reason
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")])
def test_what_goes_wrong_leaves_it_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    path, told = run(tmp_path), []

    def fail(_source: Any, target: Any) -> None:
        target.create_dataset("half", data=np.zeros(10_000))
        raise kind

    monkeypatch.setattr(compressing, "copy_compressed", fail)
    before = path.read_bytes()
    compress_all([path, path], told.append)
    assert "later" in told[-1] or "No space left" in told[-1]
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_file_that_changes_meanwhile_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own = run(tmp_path), compressing._compare

    def compare(one: Path, other: Path) -> None:
        own(one, other)
        store_results(one, {"results": {"x": {"value": 1.0, "stderr": 0.1, "unit": "1"}}})

    monkeypatch.setattr(compressing, "_compare", compare)
    assert "changed" in compress(path).reason
    with RunFile(path) as file:
        assert "x" in file.results


def test_where_it_cannot_be_replaced_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where somebody has it open."""
    path = run(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    assert "another process" in compress(path).reason
    monkeypatch.undo()
    assert not lock.lock_path(path).exists() and len(list(tmp_path.iterdir())) == 1
    with RunFile(path) as file:
        assert durability._compare(file, ROWS) == ""


def test_a_compressed_run_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    """Results stored in an aborted run compress it; more records make it plain again."""
    path = run(tmp_path, "aborted", rows=150)
    store_results(path, {"results": {}})
    writer = resume_writer(path)
    for number in range(150, ROWS):
        writer.append(durability.record(number))
    writer.close("finished")
    assert compress(path).after < compress(path).before or compress(path).reason == ""
    assert not recovery.recover(path)
    with RunFile(path) as file:
        assert durability._compare(file, ROWS) == ""
