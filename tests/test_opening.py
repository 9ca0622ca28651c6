"""Several threads of one process open one run file, as the window's do."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import h5py
import pytest

from procedures.running.opening import open_hdf5


@pytest.mark.parametrize(
    ("mode", "options"),
    [("r", {"swmr": True, "locking": False}), ("r+", {"libver": "latest", "locking": False})],
)
def test_a_file_that_another_thread_reads_is_opened_when_that_is_done(
    tmp_path: Path, mode: str, options: dict[str, object]
) -> None:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["one"] = 1
    reader = h5py.File(path, "r", locking=False)
    with pytest.raises(OSError, match="already open"):
        h5py.File(path, mode, **options)
    threading.Timer(0.1, reader.close).start()
    begun = time.monotonic()
    with open_hdf5(path, mode, **options) as file:
        assert file["one"][()] == 1
    assert 0.05 < time.monotonic() - begun < 5.0


def test_other_failures_are_told_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(OSError):
        open_hdf5(tmp_path / "nothing.h5", "r")
    assert time.monotonic() - begun < 1.0
