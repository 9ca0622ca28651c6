"""The run file while nothing goes wrong with the machine: names, records, resuming, results."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import durability
from procedures.columns import Column, Quantity
from procedures.running import lock
from procedures.running.header import RunHeader
from procedures.running.names import safe
from procedures.running.packing import Packer
from procedures.running.runfile import (
    NotARunFile,
    NotResumable,
    RunFile,
    RunWriter,
    create_queued,
    resume_writer,
    store_results,
)

ROWS = 30
SPECTRUM = ("spectrum", np.dtype("uint16"), (4,))


def started(folder: Path, **changes: Any) -> RunWriter:
    return RunWriter.start(durability.queue(folder, ROWS), replace(durability.started(), **changes))


def write(writer: RunWriter, first: int, last: int) -> None:
    for number in range(first, last):
        writer.append(durability.record(number), {"time_s": float(number), "dose": 1.0})


def run(folder: Path, status: str = "finished", rows: int = ROWS) -> Path:
    writer = started(folder)
    write(writer, 0, rows)
    writer.log("info", "the first session", durability.STARTED_S)
    writer.close(status, durability.STARTED_S + 60.0)
    return writer.path


# ---- names -----------------------------------------------------------------------------------


@given(st.text())
def test_any_sample_makes_a_name_that_every_system_takes(text: str) -> None:
    name = safe(text)
    assert name and len(name.encode()) <= 80
    assert not set(name) & set('<>:"/\\|?*\n\r\t\0 ')
    assert name[0] not in ".-" and name[-1] not in ". "
    assert name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


def test_a_name_that_exists_is_never_touched(tmp_path: Path) -> None:
    first = durability.queue(tmp_path, 1)
    first.write_bytes(b"mine")
    second = durability.queue(tmp_path, 1)
    assert second != first and first.read_bytes() == b"mine"


# ---- what is queued ----------------------------------------------------------------------------


def test_parameters_and_plan_come_back_as_they_were(tmp_path: Path) -> None:
    parameters = {
        "points": Quantity(40),
        "down": Quantity(True),
        "fluence": Quantity(2.5, "uJ/cm^2"),
        "lengths": Quantity([1, 2]),
        "none": Quantity([]),
        "medium": Quantity("film"),
        "budget": Quantity(None),
    }
    header = RunHeader("power-sweep", "t", "", parameters, [{"a": 1.0}, {"a": 2.0, "b": 3.0}])
    with RunFile(create_queued(tmp_path, replace(header, sample="NUL\0 here"))) as file:
        assert file.status == "queued"
        assert file.parameters == {name: one.value for name, one in parameters.items()}
        assert file.parameter_units["fluence"] == "uJ/cm^2"
        assert file.plan["a"].tolist() == [1.0, 2.0]
        assert np.isnan(file.plan["b"][0]) and file.plan["b"][1] == 3.0


# ---- records -----------------------------------------------------------------------------------


def test_records_come_back(tmp_path: Path) -> None:
    with RunFile(run(tmp_path)) as file:
        assert (file.status, file.rows_complete) == ("finished", ROWS)
        for name in durability.record(0):
            assert np.array_equal(file.records(name), durability.column(name, ROWS))
        assert file.state == {"time_s": ROWS - 1.0, "dose": 1.0}
        assert file.log[0][2] == "the first session"
    assert [one.suffix for one in tmp_path.iterdir()] == [".h5"]


def test_an_array_that_few_records_have_costs_the_others_nothing(tmp_path: Path) -> None:
    writer = started(tmp_path)
    write(writer, 0, 5)
    with pytest.raises(ValueError, match="other: an array was given where kept is 0"):
        writer.append({**durability.record(5), "other": durability.record(4)["other"]})
    with pytest.raises(ValueError, match="other: the array is"):
        writer.append({**durability.record(5), "kept": 1})
    writer.close("aborted")
    writer = resume_writer(writer.path)
    write(writer, 5, 9)
    writer.wait_durable()
    with RunFile(writer.path) as file:  # beside its writer
        assert file.rows_of("other").tolist() == [1, 4, 7]
    writer.close("finished")
    store_results(writer.path, {}, "none")
    with RunFile(writer.path) as file:
        assert file.rows_of("other").tolist() == [1, 4, 7]
        assert np.array_equal(file.records("other"), durability.column("other", 9))
        assert file.rows_of("time").tolist() == list(range(9))
        last = file.last_record()
        assert (last["other"], last["kept"], last["shots"]) == (None, 0, 1008)
        assert np.array_equal(last["spectrum"], durability.record(8)["spectrum"])


def test_a_column_that_says_where_stands_first() -> None:
    with pytest.raises(ValueError, match="spectrum: 'kept' is no column"):
        Packer([SPECTRUM, ("kept", np.dtype("uint8"), ())], (), {"spectrum": "kept"})


def test_a_bench_without_state_can_be_recorded(tmp_path: Path) -> None:
    writer = started(tmp_path, state_names=())
    writer.append(durability.record(0))
    writer.close("finished")
    with RunFile(writer.path) as file:
        assert (file.rows_complete, file.state) == (1, {})


def test_the_caller_may_use_its_record_and_its_arrays_again(tmp_path: Path) -> None:
    writer = started(tmp_path)
    record = durability.record(0)
    for number in range(5):
        record.update(fluence=float(number))
        record["spectrum"][:] = number
        writer.append(record)
    writer.close("finished")
    with RunFile(writer.path) as file:
        assert file.records("fluence").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert file.records("spectrum")[:, 7].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("shots", -1),
        ("shots", 2**32),
        ("shots", float("nan")),
        ("fluence", "much"),
        ("fluence", None),
        ("spectrum", np.full(durability.PIXELS, 70_000)),
        ("spectrum", np.full(durability.PIXELS, np.nan)),
        ("spectrum", np.zeros((8, durability.PIXELS // 8), "u2")),
        ("spectrum", np.zeros(durability.PIXELS - 1, "u2")),
    ],
)
def test_a_record_that_does_not_fit_is_refused_and_harms_no_other(
    tmp_path: Path, column: str, value: Any
) -> None:
    writer = started(tmp_path)
    write(writer, 0, 3)
    with pytest.raises(ValueError, match=column):
        writer.append({**durability.record(3), column: value})
    write(writer, 3, 5)
    writer.close("finished")
    with RunFile(writer.path) as file:
        assert file.records("shots").tolist() == [1000, 1001, 1002, 1003, 1004]


def test_missing_and_unknown_columns_are_named(tmp_path: Path) -> None:
    writer = started(tmp_path)
    record = durability.record(0)
    del record["time"]
    with pytest.raises(ValueError, match="time"):
        writer.append(record)
    with pytest.raises(ValueError, match="misspelt"):
        writer.append({**durability.record(0), "misspelt": 1.0})
    writer.close("aborted")


@given(st.integers(-(2**40), 2**40), st.sampled_from(["int16", "uint16", "int32", "uint8"]))
def test_integers_are_kept_or_refused_but_never_wrapped(value: int, dtype: str) -> None:
    packer = Packer([("n", np.dtype(dtype), ()), ("a", np.dtype(dtype), (2,))], ())
    record, block = {"n": value, "a": np.array([0, value])}, packer.block()
    limits = np.iinfo(dtype)
    if limits.min <= value <= limits.max:
        packer.pack(record, None, block)
        numbers, _ = packer.numbers(block.rows)
        assert numbers["n"].tolist() == [value]
        assert [part.tolist() for part in block.arrays[0].filled()] == [[[0, value]]]
    else:
        with pytest.raises(ValueError, match=r"fit|whole numbers"):
            packer.pack(record, None, block)
        assert len(block) == 0 and block.arrays[0].used == 0


def test_fixed_text_is_kept_or_refused_but_never_cut() -> None:
    column = Column("phase", "", "Phase", "S4")
    packer = Packer([(column.name, np.dtype(column.dtype), ())], ())
    block = packer.block()
    packer.pack({"phase": "up"}, None, block)
    numbers, _ = packer.numbers(block.rows)
    assert numbers["phase"].tolist() == [b"up"]
    with pytest.raises(ValueError, match="phase"):
        packer.pack({"phase": "upward"}, None, block)


# ---- one writer ----------------------------------------------------------------------------------


def test_two_writers_never_have_one_file(tmp_path: Path) -> None:
    writer = started(tmp_path)
    with pytest.raises(lock.FileInUse, match=str(os.getpid())):
        RunWriter.start(writer.path, durability.started())
    with pytest.raises(lock.FileInUse):
        store_results(writer.path, {"results": {}})
    write(writer, 0, 2)
    writer.close("finished")
    with RunFile(writer.path) as file:
        assert file.rows_complete == 2


def test_a_process_is_recognised_although_the_clock_was_set() -> None:
    assert replace(lock.me(), started_s=lock.me().started_s - 3600.0).alive
    assert not replace(lock.me(), mark="another boot:1").alive


def test_a_file_is_read_beside_its_writer(tmp_path: Path) -> None:
    writer = started(tmp_path)
    write(writer, 0, 4)
    writer.wait_durable()
    with RunFile(writer.path) as file:
        assert (file.status, file.rows_complete) == ("running", 4)
        assert file.records("shots").tolist() == [1000, 1001, 1002, 1003]
    writer.close("finished")


# ---- going on, and results -----------------------------------------------------------------------


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = run(tmp_path, "aborted", 10)
    store_results(path, {"results": {"x": {"value": 1.0, "stderr": 0.1, "unit": "nm"}}})
    writer = resume_writer(path)
    write(writer, 10, ROWS)
    writer.close("finished")
    with RunFile(path) as file:
        assert durability._compare(file, ROWS) == "" and file.status == "finished"
        assert [line[2] for line in file.log] == ["the first session"]
        assert file.results == {}  # they were of fewer records


def test_a_resumed_file_is_recorded_uncompressed(tmp_path: Path) -> None:
    path = run(tmp_path, "aborted", 300)  # enough for store_results to compress
    store_results(path, {"results": {}})
    with h5py.File(path) as file:
        assert file["entry/records/spectrum"].compression == "gzip"
    resume_writer(path).close("aborted")
    with h5py.File(path) as file:
        assert file["entry/records/spectrum"].compression is None


def test_what_is_finished_or_not_started_is_not_resumed(tmp_path: Path) -> None:
    for path in (run(tmp_path), durability.queue(tmp_path, ROWS)):
        with pytest.raises(NotResumable):
            resume_writer(path)
    assert {one.suffix for one in tmp_path.iterdir()} == {".h5"}


def test_results_come_back(tmp_path: Path) -> None:
    path = run(tmp_path)
    results = {
        "threshold_uJ_cm2": {"value": 22.1, "stderr": 0.4, "unit": "uJ/cm^2"},
        "slope_above": {"value": None, "stderr": None, "unit": "1"},
        "decay_time_ps": {"value": [1.0, None], "stderr": [0.1, None], "unit": "ps"},
        "limit_ps": {"value": 50.0, "stderr": 5.0, "unit": "ps", "bound": "upper"},
    }
    for _ in range(2):
        store_results(path, {"results": results, "warnings": ["a"]})
        with RunFile(path) as file:
            assert file.results == results
            assert durability._compare(file, ROWS) == ""


# ---- files that are something else ---------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(content)
    with pytest.raises(NotARunFile, match=r"other\.h5"):
        RunFile(path)
    assert path.read_bytes() == content


def test_a_damaged_file_is_read_or_refused_in_time(tmp_path: Path) -> None:
    """In a process of its own: opened in the wrong way, HDF5 2.0 never returns."""
    path = run(tmp_path)
    script = """if True:
        import random, sys
        from pathlib import Path
        from procedures.running.runfile import NotARunFile, RunFile
        good, refused = Path(sys.argv[1]).read_bytes(), 0
        for seed in range(40):
            rng, content = random.Random(seed), bytearray(good)
            for _ in range(20):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path = Path(sys.argv[1]).with_name("damaged.h5")
            path.write_bytes(content)
            try:
                with RunFile(path) as file:
                    for name in file.columns:
                        file.records(name)
                    file.parameters, file.plan, file.log, file.status, file.instruments
            except NotARunFile:
                refused += 1
        assert refused > 5
    """
    done = subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=False)
    assert done.returncode == 0


def test_a_stored_file_is_nearly_as_small_as_plain_hdf5_can_make_it(tmp_path: Path) -> None:
    writer, rng = started(tmp_path), np.random.default_rng(5)
    for number in range(4200):
        spectrum = rng.poisson(600.0, durability.PIXELS).astype(np.uint16)
        writer.append({**durability.record(number), "spectrum": spectrum}, {"time_s": 0.1})
    writer.close("finished")
    store_results(writer.path, {"results": {}})
    smallest: dict[str, int] = {}
    with (
        h5py.File(writer.path, "r") as file,
        h5py.File(tmp_path / "tried.h5", "w", libver=("v110", "v110")) as tried,
    ):
        for name, column in file["entry/records"].items():
            if column.size <= 4096:
                continue
            for number, options in enumerate(
                {"compression": "gzip", "compression_opts": level, "shuffle": shuffle}
                for level in (1, 9)
                for shuffle in (False, True)
            ):
                made = tried.create_dataset(
                    f"{name}{number}", data=column[()], chunks=column.shape, **options
                )
                made.flush()
                size = made.id.get_storage_size()
                smallest[name] = min(smallest.get(name, size), size)
        stored = {name: file["entry/records"][name].id.get_storage_size() for name in smallest}
    assert len(smallest) >= 4
    assert sum(stored.values()) <= 1.1 * sum(smallest.values())
