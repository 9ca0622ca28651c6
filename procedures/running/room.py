"""Room on the disk before HDF5 needs it, and what to do with HDF5 when a write failed all the same.

A write that fails inside HDF5 leaves the library in a state in which closing the file ends the
process with a segmentation fault (HDF5 2.0). So room is reserved first, where failing is an
ordinary OSError; and if a write fails nevertheless (the disk is gone), HDF5 is turned away from the
file before it is closed. For the writer of run files and for rewrites.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from procedures.running.problems import DiskFull

RESERVE_BYTES = 2 * 2**20
"""Kept free: HDF5 does not survive a disk that is full to the last byte, its close needs room."""
SPARE_BYTES = 2**20
"""Kept free behind the rows, for the log and the status at the end."""
_STEP_BYTES = 2**20
_LARGEST_SHADOW = 256 * 2**20
_REFUSED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def need_space(path: Path, size: int) -> None:
    """Raise DiskFull if the disk has no room for `size` bytes and for closing the file after."""
    free = shutil.disk_usage(path.parent).free
    if free < size + RESERVE_BYTES:
        raise DiskFull(
            f"{path}: the disk is full: {free / 1e6:.1f} MB are free, "
            f"{(size + RESERVE_BYTES) / 1e6:.1f} MB are needed; make room, then resume the run"
        )


class Room:
    """Keeps room behind the end of an HDF5 file that is open for writing."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._number = int(file.id.get_vfd_handle())
        self._end = os.fstat(self._number).st_size
        self._able = hasattr(os, "posix_fallocate")

    def ask(self, size: int) -> None:
        """Make sure that the file can grow by `size` bytes; OSError if it cannot."""
        wanted = int(self._file.id.get_filesize()) + size + SPARE_BYTES
        if not self._able or wanted <= self._end:
            return
        try:
            self._allocate(wanted + max(_STEP_BYTES, size))
        except OSError as error:
            if error.errno in _REFUSED:
                self._able = False  # this file system does not reserve
                return
            self._allocate(wanted)

    def _allocate(self, end: int) -> None:
        os.posix_fallocate(self._number, self._end, end - self._end)
        self._end = end


def trim(path: Path) -> None:
    """Give back the room behind a closed HDF5 file, and force the file to disk."""
    with open(path, "r+b") as file:
        head = file.read(48)
        if len(head) == 48 and head[8] == 3 and head[9] == 8 and head[11] == 0:
            (end,) = struct.unpack_from("<Q", head, 28)
            if 48 <= end < file.seek(0, os.SEEK_END):
                file.truncate(end)
        os.fsync(file.fileno())


def turn_away(file: Any) -> bool:
    """Let HDF5 write into a scratch file from now on: closing it then does no harm.

    The file itself stays as the failed write left it, as after a crash. Returns whether it worked.
    """
    with contextlib.suppress(OSError, RuntimeError):
        number = int(file.id.get_vfd_handle())
        with _scratch() as scratch:
            if os.fstat(number).st_size <= _LARGEST_SHADOW:
                # What HDF5 reads back while it closes should still be there.
                with contextlib.suppress(OSError), open(file.filename, "rb") as source:
                    shutil.copyfileobj(source, scratch)
                    scratch.flush()
            os.dup2(scratch.fileno(), number, inheritable=False)
            return True
    return False


def _scratch() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("gainbench"), "w+b")
    return tempfile.TemporaryFile()
