"""The run file: one run, one HDF5 file. Create, mark; write and read by the two files beside this.

`writing.RunWriter` appends records, `reading.RunFile` reads; both are also found here.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py

from procedures.running import layout, lock
from procedures.running.header import RunHeader
from procedures.running.logbook import append_log
from procedures.running.names import place_exclusively
from procedures.running.problems import DiskFull, NotARunFile, NotResumable, WriteFailed
from procedures.running.reading import RunFile
from procedures.running.rewrite import copy_file, rewriting, sync_folder
from procedures.running.room import need_space
from procedures.running.writing import RunWriter, resume_writer


def create_queued(folder: Path, header: RunHeader) -> Path:
    """Create the file of a run that waits, exclusively; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    need_space(folder / "run", 2**17)
    number, name = tempfile.mkstemp(suffix=".tmp", prefix=".queued-", dir=folder)
    os.close(number)
    temporary = Path(name)
    try:
        with h5py.File(temporary, "w", libver=layout.LIBVER) as file:
            layout.write_queued(file, header)
        with open(temporary, "r+b") as written:
            os.fsync(written.fileno())
        path = place_exclusively(
            temporary, folder, header.measurement, header.sample, header.created_s
        )
        sync_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def mark_status(path: Path, status: str, lines: Iterable[tuple[float, str, str]] = ()) -> None:
    """Rewrite a file that is not being recorded with another status and more log lines."""
    with lock.held(path), rewriting(path) as temporary:
        copy_file(path, temporary)
        with h5py.File(temporary, "r+", libver=layout.LIBVER) as file:
            file[f"{layout.ACQUISITION}/run_status"][()] = status.encode()
            append_log(file, list(lines))


def store_results(path: Path, results: Mapping[str, Any], method: str = "") -> None:
    """Put results into a file by a rewrite, compressing its arrays on the way."""
    from procedures.running.storing import rewrite_with_results

    with RunFile(path) as run:
        if run._alive:
            raise lock.FileInUse(f"{path} is being written by {lock.owner(Path(path))}")
    with lock.held(Path(path)):
        rewrite_with_results(Path(path), results, method)


__all__ = [
    "DiskFull",
    "NotARunFile",
    "NotResumable",
    "RunFile",
    "RunWriter",
    "WriteFailed",
    "create_queued",
    "mark_status",
    "resume_writer",
    "store_results",
    "sync_folder",
]
