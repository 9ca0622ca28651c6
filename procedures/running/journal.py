"""The journal beside a run file: append-only, every entry under a CRC.

HDF5 cannot promise that a file survives a power cut whatever pages were lost; an append-only file
can. The first entry is the run file as it was when the run started, each later one a block of rows:
from it the run file can be built again, whatever became of HDF5's own index. Arrays are not written
twice: of those it says where in the run file they are, once they are on disk there. It goes when
the run file is closed.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MAGIC = b"GBJOURN1"
_HEAD = struct.Struct("<4sQI")  # kind, length, CRC of kind, length and content
SKELETON, ROWS, LOG, STATE = b"SKEL", b"ROWP", b"LOGL", b"STAT"
INLINE_ROWS = b"ROWS"
"""Rows whose arrays are in the entry itself: earlier versions wrote them so."""
LARGEST_BYTES = 4 * 2**30


def journal_path(path: Path) -> Path:
    """Return where the journal of a run file is."""
    return path.with_name(path.name + ".journal")


class Journal:
    """Appends entries; each `add` is on disk when `sync` returns."""

    def __init__(self, path: Path, skeleton: bytes) -> None:
        self.path = journal_path(path)
        self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115
        self.size = 0
        self._write(_MAGIC)
        self.add(SKELETON, skeleton)
        self.sync()

    @property
    def full(self) -> bool:
        """Whether it has grown beyond what a run can afford; rows are then HDF5's alone."""
        return self.size > LARGEST_BYTES

    def add(self, kind: bytes, *parts: Any) -> None:
        """Append an entry: the bytes of its parts (contiguous arrays, too), one after the other.

        One write for all: each is a moment at which the measuring thread takes over.
        """
        content = b"".join([memoryview(part).cast("B") for part in parts if len(part)])
        crc = zlib.crc32(content, zlib.crc32(kind + struct.pack("<Q", len(content))))
        self._write(_HEAD.pack(kind, len(content), crc) + content)

    def sync(self) -> None:
        """Force what was added to the disk."""
        os.fsync(self._file.fileno())

    def close(self, *, remove: bool) -> None:
        """Close it; remove it when the run file no longer needs it."""
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _write(self, data: Any) -> None:
        view = memoryview(data)
        self.size += len(view)
        while view:
            view = view[self._file.write(view) :]


def entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, content) of the journal of a run file, up to the first damaged entry."""
    try:
        file = open(journal_path(path), "rb")  # noqa: SIM115
    except FileNotFoundError:
        return
    with file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return
        size = os.fstat(file.fileno()).st_size
        while True:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            kind, length, crc = _HEAD.unpack(head)
            if length > size:
                return
            content = file.read(length)
            own = zlib.crc32(content, zlib.crc32(kind + struct.pack("<Q", length)))
            if len(content) < length or own != crc:
                return
            yield kind, content
