"""A run file from queue to resume: nothing acknowledged is lost, nothing damaged is believed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from procedures.running import layout, lock
from procedures.running.journal import journal_path
from procedures.running.names import safe
from procedures.running.recovery import recover
from procedures.running.runfile import (
    DiskFull,
    NotARunFile,
    RunFile,
    RunWriter,
    WriteFailed,
    mark_status,
    resume_writer,
    store_results,
)
from procedures.running.superblock import lookup3, mend
from tests import runs


@given(st.text(max_size=80))
def test_names_are_safe_everywhere(text: str) -> None:
    name = safe(text)
    assert name
    assert len(name) <= 61
    assert not set(name) & set('/\\:*?"<>|\n\r\t \0')
    assert name.split(".")[0].lower() not in {"con", "nul", "aux", "prn", "com1", "lpt9"}
    assert not name.endswith(".")


def test_an_existing_file_is_never_touched(tmp_path: Path) -> None:
    first = runs.queued(tmp_path, "a/b\nc")
    first.write_bytes(b"precious")
    second = runs.queued(tmp_path, "a/b\nc")
    assert first != second
    assert first.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_from_queued_to_finished(tmp_path: Path) -> None:
    path = runs.queued(tmp_path)
    with RunFile(path) as run:
        assert run.status == "queued"
        assert run.parameters == {"points": 3, "lengths_mm": [1.5]}
        assert list(run.plan["fluence_uJ_cm2"]) == [0, 1, 2, 3, 4]
        assert run.columns == []
    writer = RunWriter.start(path, runs.start())
    for number, record in enumerate(runs.records(0, 5)):
        writer.append(record, {"clock": float(number), "dose": 0.5})
    writer.log("info", "a long line " * 60 + "\nand é", 1.7e9)
    writer.close("finished", 1.7e9 + 60)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    with RunFile(path) as run:
        assert run.status == "finished"
        assert run.rows_complete == 5
        assert list(run.records("shots")) == [1000, 1001, 1002, 1003, 1004]
        assert np.array_equal(run.records("spectra")[3], np.full(runs.PIXELS, 3))
        assert run.state == {"clock": 4.0, "dose": 0.5}
        assert run.decisions == {"centre_wavelength_nm": 525.0}
        assert run.instruments["camera"]["settings"]["gain"].value == 1.5
        assert (run.sample, run.spot, run.operator) == ("film A", "3", "A. Person")
        assert "".join(text for _, _, text in run.log).endswith("and é")
        assert run.end_time > run.start_time
        assert run.unit("fluence") == "uJ/cm^2"


def test_plain_hdf5_opens_a_finished_file_and_finds_the_plot(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    for record in runs.records(0, 4):
        writer.append(record)
    writer.close("finished")
    nexus = pytest.importorskip("nexusformat.nexus")
    root = nexus.nxload(str(path))
    plot = root.plottable_data
    assert plot.nxsignal.nxname == "spectra"
    assert [axis.nxname for axis in plot.nxaxes] == ["fluence", "wavelength"]
    assert plot.nxsignal.shape == (4, runs.PIXELS)
    assert plot["wavelength"].attrs["units"] == "nm"
    assert root["entry/instrument/detector_ccd/data"].shape == (4, runs.PIXELS)
    assert b"NXoptical_spectroscopy" in bytes(path.read_bytes())
    with h5py.File(path) as file:
        missing = []

        def look(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and name.startswith(("entry/data", "entry/records")):
                if not name.endswith("title") and "units" not in item.attrs:
                    missing.append(name)
            elif isinstance(item, h5py.Group) and "NX_class" not in item.attrs:
                missing.append(name)

        file.visititems(look)
        assert not missing
        assert file.attrs["default"] == "entry"


def test_a_live_file_is_read_beside_its_writer(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    for record in runs.records(0, 3):
        writer.append(record)
    writer.wait_durable()
    with RunFile(path) as run:
        assert run.status == "running"
        assert list(run.records("fluence")) == [0.0, 1.5, 3.0]
    writer.set_status("paused")
    time.sleep(0.5)
    with RunFile(path) as run:
        assert run.status == "paused"
    writer.close("aborted")


def test_a_second_writer_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    with pytest.raises(lock.FileInUse, match=str(os.getpid())):
        resume_writer(path)
    writer.close("aborted")


def test_missing_and_foreign_columns_are_refused(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    record = runs.record(0)
    del record["shots"]
    with pytest.raises(ValueError, match="shots"):
        writer.append(record)
    with pytest.raises(ValueError, match="extra"):
        writer.append({**runs.record(0), "extra": 1})
    writer.close("failed")
    with RunFile(path) as run:
        assert run.rows_complete == 0


def test_an_array_may_be_used_again_after_append(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    record = runs.record(1)
    writer.append(record)
    record["spectra"][:] = 99  # type: ignore[index]
    writer.append(record)
    writer.close("finished")
    with RunFile(path) as run:
        assert run.records("spectra")[:, 0].tolist() == [1, 99]


def test_a_failed_write_fails_loudly_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writer = runs.started(tmp_path)
    writer.append(runs.record(0))
    writer.wait_durable()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._journal, "add", full)
    writer.append(runs.record(1))
    with pytest.raises(WriteFailed, match="No space left"):
        writer.wait_durable()
    with pytest.raises(WriteFailed):
        writer.check()
    with pytest.raises(WriteFailed):
        writer.append(runs.record(2))
    with pytest.raises(WriteFailed):
        writer.close("finished")
    with RunFile(path) as run:
        assert run.status in ("failed", "interrupted")
        assert list(run.records("fluence")) == [0.0]


_CHILD = """
import sys, time
from pathlib import Path
from tests import runs
path, writer = runs.started(Path(sys.argv[1]))
print(path, flush=True)
for number in range(100000):
    writer.append(runs.record(number))
    writer.wait_durable()
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX signal")
@pytest.mark.parametrize("delay_s", [0.02, 0.3])
def test_kill_9_loses_no_acknowledged_record(tmp_path: Path, delay_s: float) -> None:
    root = Path(__file__).resolve().parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert child.stdout is not None
    path = Path(child.stdout.readline().strip())
    child.stdout.readline()
    time.sleep(delay_s)
    child.send_signal(signal.SIGKILL)
    said = [line for line in child.stdout.read().split("\n") if line.isdigit()]
    child.wait()
    acknowledged = int(said[-1]) + 1 if said else 1
    with RunFile(path) as run:
        assert run.status == "interrupted"
        assert run.rows_complete >= acknowledged
        rows = run.rows_complete
        assert np.array_equal(run.records("spectra")[:, 0], np.arange(rows))
    assert not recover(path)
    writer = resume_writer(path)
    for record in runs.records(rows, 2):
        writer.append(record)
    writer.close("finished")
    with RunFile(path) as run:
        assert run.status == "finished"
        assert np.array_equal(run.records("fluence"), 1.5 * np.arange(rows + 2))


def _abandoned(tmp_path: Path) -> Path:
    """Return a copy of a run file as a dead writer leaves it: open flags set, journal beside."""
    path, writer = runs.started(tmp_path / "live")
    for record in runs.records(0, 6):
        writer.append(record)
    writer.wait_durable()
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    shutil.copy(journal_path(path), journal_path(copy))
    writer.close("aborted")
    return copy


def test_recovery_from_the_file_alone(tmp_path: Path) -> None:
    path = _abandoned(tmp_path)
    journal_path(path).unlink()
    assert recover(path)
    with RunFile(path) as run:
        assert run.status == "interrupted"
        assert list(run.records("fluence")) == [0, 1.5, 3, 4.5, 6, 7.5]


@pytest.mark.parametrize("damage", [b"\0" * 5000, b"not HDF5 any more"])
def test_recovery_from_the_journal_where_the_file_is_damaged(tmp_path: Path, damage: bytes) -> None:
    path = _abandoned(tmp_path)
    with path.open("r+b") as file:
        file.write(damage)
    assert recover(path)
    with RunFile(path) as run:
        assert list(run.records("fluence")) == [0, 1.5, 3, 4.5, 6, 7.5]
        assert np.array_equal(run.records("spectra")[:, 0], np.arange(6))
        assert run.state == {} or np.isnan(run.state["dose"])


def test_records_whose_arrays_are_gone_are_not_made_up(tmp_path: Path) -> None:
    """Arrays are in the run file only: of one that is cut off, whole records are left."""
    path = _abandoned(tmp_path)
    path.write_bytes(b"")
    assert recover(path)
    with RunFile(path) as run:
        assert (run.status, run.rows_complete) == ("interrupted", 0)


def test_a_torn_journal_gives_what_is_whole(tmp_path: Path) -> None:
    path = _abandoned(tmp_path)
    with path.open("r+b") as file:
        file.write(bytes(1000))
    journal = journal_path(path)
    journal.write_bytes(journal.read_bytes()[:-7])
    assert recover(path)
    with RunFile(path) as run:
        rows = run.rows_complete
        assert rows < 6
        assert np.array_equal(run.records("fluence"), 1.5 * np.arange(rows))


def test_beyond_recovery_is_said(tmp_path: Path) -> None:
    path = _abandoned(tmp_path)
    path.write_bytes(b"rubbish")
    journal_path(path).write_bytes(b"rubbish")
    with pytest.raises(NotARunFile, match="neither it nor its journal"):
        RunFile(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_run_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(NotARunFile, match=r"x\.h5"):
        RunFile(path)
    assert path.read_bytes() == content


def test_another_hdf5_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(NotARunFile, match="another HDF5 file"):
        RunFile(path)
    with pytest.raises(NotARunFile, match="no such file"):
        RunFile(tmp_path / "missing.h5")


def test_results_are_stored_by_a_rewrite(tmp_path: Path) -> None:
    path, writer = runs.started(tmp_path)
    for record in runs.records(0, 300):
        writer.append(record)
    writer.close("finished")
    before = path.stat().st_size
    results = {
        "results": {
            "threshold_uJ_cm2": {"value": 22.0, "stderr": 0.5, "unit": "uJ/cm^2"},
            "ase_peak_nm": {"value": None, "stderr": None, "unit": "nm"},
        },
        "warnings": ["one", "two"],
    }
    for _ in range(2):
        store_results(path, results)
    assert path.stat().st_size < before
    with h5py.File(path) as file:
        assert file["entry/results/threshold_uJ_cm2"][()] == 22.0
        assert file["entry/results/threshold_uJ_cm2_errors"].attrs["units"] == "uJ/cm^2"
        assert np.isnan(file["entry/results/ase_peak_nm"][()])
        assert file["entry/data/spectra"] == file["entry/records/spectra"]
        assert file["entry/records/spectra"].compression == "gzip"
    with RunFile(path) as run:
        assert run.rows_complete == 300
        assert run.records("spectra")[299, 0] == 299


def test_a_run_that_never_started_can_be_marked(tmp_path: Path) -> None:
    path = runs.queued(tmp_path)
    mark_status(path, "failed", [(1.7e9, "error", "the camera does not answer")])
    with RunFile(path) as run:
        assert run.status == "failed"
        assert run.log[-1][1:] == ("error", "the camera does not answer")


def test_superblock_checksum_is_hdf5s_own(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=layout.LIBVER) as file:
        file["x"] = np.arange(10)
        file.swmr_mode = True
    block = path.read_bytes()[:48]
    assert lookup3(block[:44]) == int.from_bytes(block[44:48], "little")
    assert mend(path)
    with h5py.File(path) as file:
        assert file["x"][9] == 9


def test_a_full_disk_is_noticed_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writer = runs.started(tmp_path)
    writer.append(runs.record(0))
    writer.wait_durable()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=2**21 + 10))
    writer.append(runs.record(1))
    with pytest.raises(DiskFull, match="make room"):
        writer.wait_durable()
    with pytest.raises(DiskFull):
        writer.close("finished")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with h5py.File(path) as file:  # closed cleanly: any program opens it
        assert file["entry/acquisition/run_status"][()] == b"failed"
        assert file["entry/records/fluence"].shape == (1,)
    with pytest.raises(DiskFull):
        runs.queued(tmp_path)
    monkeypatch.undo()
    resumed = resume_writer(path)
    resumed.append(runs.record(1))
    resumed.close("finished")
    with RunFile(path) as run:
        assert list(run.records("fluence")) == [0.0, 1.5]


def test_a_real_bench_has_no_state_to_keep(tmp_path: Path) -> None:
    path = runs.queued(tmp_path)
    writer = RunWriter.start(path, dataclasses.replace(runs.start(), state_names=()))
    writer.append(runs.record(0), {})
    writer.close("finished")
    with RunFile(path) as run:
        assert run.state == {}
        assert run.rows_complete == 1
