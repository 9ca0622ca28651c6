"""Repairs the superblock of an HDF5 file that its writer left open.

A file that died in SWMR mode says "open for write" and may name an end of file that is not. Both
stand in the superblock (version 3) under a checksum. Source: HDF5 File Format Specification 3.0,
section II.A; Bob Jenkins's public-domain hash lookup3.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIZE = 48  # version 3 with 8-byte offsets
_FLAGS, _END = 11, 28
_MASK = 0xFFFFFFFF


def lookup3(data: bytes) -> int:
    """Return the lookup3 hash (hashlittle, initial value 0) of `data`."""

    def rot(x: int, k: int) -> int:
        return ((x << k) | (x >> (32 - k))) & _MASK

    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    position = 0
    while length - position > 12:
        x, y, z = struct.unpack_from("<III", data, position)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a = ((a - c) & _MASK) ^ rot(c, 4)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ rot(a, 6)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ rot(b, 8)
        b = (b + a) & _MASK
        a = ((a - c) & _MASK) ^ rot(c, 16)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ rot(a, 19)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ rot(b, 4)
        b = (b + a) & _MASK
        position += 12
    rest = data[position:]
    if not rest:
        return int(c)
    x, y, z = struct.unpack("<III", rest.ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - rot(b, 14)) & _MASK
    a = ((a ^ c) - rot(c, 11)) & _MASK
    b = ((b ^ a) - rot(a, 25)) & _MASK
    c = ((c ^ b) - rot(b, 16)) & _MASK
    a = ((a ^ c) - rot(c, 4)) & _MASK
    b = ((b ^ a) - rot(a, 14)) & _MASK
    return int(((c ^ b) - rot(b, 24)) & _MASK)


def mend(path: Path) -> bool:
    """Clear the open flags and set the end of file of a version-3 superblock, in place.

    Returns False, and changes nothing, where there is no such superblock.
    """
    with open(path, "r+b") as file:
        old = file.read(_SIZE)
        block = _closed(old, os.fstat(file.fileno()).st_size)
        if block is old:
            return False
        file.seek(0)
        file.write(block)
    return True


def _closed(block: bytes, size: int) -> bytes:
    """Return the superblock of a file of `size` bytes as if it had been closed."""
    if len(block) < _SIZE or block[:8] != _SIGNATURE or block[8] != 3 or block[9] != 8:
        return block
    made = bytearray(block)
    made[_FLAGS] = 0
    struct.pack_into("<Q", made, _END, size)
    struct.pack_into("<I", made, _SIZE - 4, lookup3(bytes(made[: _SIZE - 4])))
    return bytes(made)


class Mended(io.RawIOBase):
    """A file to read, with its superblock mended in memory only: for disks that take no writes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = open(path, "rb")  # noqa: SIM115
        self._head = _closed(self._file.read(_SIZE), os.fstat(self._file.fileno()).st_size)
        self._file.seek(0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as in any file."""
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the file, the superblock from memory."""
        start = self._file.tell()
        count = int(self._file.readinto(buffer))
        if start < len(self._head):
            part = self._head[start : start + count]
            memoryview(buffer).cast("B")[: len(part)] = part
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
