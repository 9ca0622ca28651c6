"""Records every write of a run to its files, and builds the files again as a crash leaves them.

For the durability tests and benchmark, on Linux with glibc. HDF5's own system calls are seen by
exchanging two entries of its jump table, the journal's through `os`; nothing is compiled or traced.
`WriteLog` records, `Crash` rebuilds: a kill at a write boundary, a torn write, a power cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import h5py

from procedures.running import journal

PAGE = 4096
_JMPREL, _PLTRELSZ, _STRTAB, _SYMTAB, _END = 23, 2, 5, 6, 0
_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int64)


@dataclass(frozen=True)
class Event:
    """One system call: `write` (data at offset), `truncate` (to offset), `sync` or `unlink`."""

    kind: str
    path: Path
    offset: int = 0
    data: bytes = b""


@dataclass
class WriteLog:
    """Every write since the run file was as in `files`; `marks`: (event count, rows promised)."""

    files: dict[Path, bytes]
    events: list[Event] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)

    def promise(self, rows: int) -> None:
        """Note that the writer has just acknowledged so many rows."""
        self.marks.append((len(self.events), rows))

    def promised(self, count: int) -> int:
        """Return how many rows were acknowledged before event number `count`."""
        return max((rows for at, rows in self.marks if at <= count), default=0)


def _library() -> tuple[Path, int]:
    """Return libhdf5 as loaded and its base address."""
    h5py.version.hdf5_version  # noqa: B018  make sure that it is loaded
    for line in Path("/proc/self/maps").read_text().splitlines():
        parts = line.split()
        name = parts[-1].rsplit("/", 1)[-1]
        if name.startswith("libhdf5") and "_hl" not in name and parts[2] == "0" * 8:
            return Path(parts[-1]), int(parts[0].split("-")[0], 16)
    raise OSError("libhdf5 is not loaded as a library of its own")


def _slots(wanted: set[str]) -> dict[str, int]:
    """Return the address of the jump-table entry of each wanted function (64-bit ELF)."""
    library, base = _library()
    content = library.read_bytes()
    table, size, number = (
        *struct.unpack_from("<Q", content, 32),
        *struct.unpack_from("<HH", content, 54),
    )
    headers = [struct.unpack_from("<IIQQQQQQ", content, table + i * size) for i in range(number)]
    place = next(h for h in headers if h[0] == 2)[2]
    loads = [(h[3], h[2], h[5]) for h in headers if h[0] == 1]

    def at(address: int) -> int:
        return next(address - v + o for v, o, n in loads if v <= address < v + n)

    dynamic: dict[int, int] = {}
    while (tag := struct.unpack_from("<QQ", content, place))[0] != _END:
        dynamic[tag[0]] = tag[1]
        place += 16
    relocations, symbols, names = (at(dynamic[key]) for key in (_JMPREL, _SYMTAB, _STRTAB))
    found = {}
    for position in range(relocations, relocations + dynamic[_PLTRELSZ], 24):
        where, info, _ = struct.unpack_from("<QQq", content, position)
        begin = names + struct.unpack_from("<I", content, symbols + (info >> 32) * 24)[0]
        name = content[begin : content.index(b"\0", begin)].decode()
        if name in wanted:
            found[name] = base + where
    if found.keys() != wanted:
        raise OSError(f"{library.name} does not call {sorted(wanted - found.keys())}")
    return found


@contextlib.contextmanager
def hdf5_calls(
    write: Callable[[int, bytes, int], bool], truncate: Callable[[int, int], None]
) -> Iterator[None]:
    """Show every write and truncation of HDF5 to the functions given.

    `write(fd, data, offset)` says whether the write takes place; if not, HDF5 sees an error.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.pwrite64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
    libc.pwrite64.restype = ctypes.c_ssize_t
    libc.ftruncate64.argtypes = [ctypes.c_int, ctypes.c_int64]

    def on_write(fd: int, data: int, size: int, offset: int) -> int:
        if not write(fd, ctypes.string_at(data, size), offset):
            return -1
        return int(libc.pwrite64(fd, data, size, offset))

    def on_truncate(fd: int, size: int) -> int:
        truncate(fd, size)
        return int(libc.ftruncate64(fd, size))

    mine: dict[str, Any] = {"pwrite64": _WRITE(on_write), "ftruncate64": _TRUNCATE(on_truncate)}
    originals: dict[int, int] = {}
    for name, address in _slots(set(mine)).items():
        libc.mprotect(ctypes.c_void_p(address & ~(PAGE - 1)), PAGE, 3)  # full RELRO is read-only
        slot = ctypes.c_uint64.from_address(address)
        originals[address] = slot.value
        slot.value = ctypes.cast(mine[name], ctypes.c_void_p).value or 0
    try:
        yield
    finally:
        for address, value in originals.items():
            ctypes.c_uint64.from_address(address).value = value


@contextlib.contextmanager
def recording(path: Path) -> Iterator[WriteLog]:
    """Record what happens to a run file and its journal inside the block."""
    files = {path, journal.journal_path(path)}
    log = WriteLog({})
    own_sync, own_unlink = os.fsync, Path.unlink
    own_write, own_open = journal.Journal._write, journal.Journal.__init__

    def named(fd: int) -> Path | None:
        with contextlib.suppress(OSError):
            found = Path(os.readlink(f"/proc/self/fd/{fd}"))
            return found if found in files else None
        return None

    def on_write(fd: int, data: bytes, offset: int) -> bool:
        if (found := named(fd)) is not None:
            log.events.append(Event("write", found, offset, data))
        return True

    def on_truncate(fd: int, size: int) -> None:
        if (found := named(fd)) is not None:
            log.events.append(Event("truncate", found, size))

    def on_sync(fd: int) -> None:
        own_sync(fd)
        if (found := named(fd)) is not None:
            log.events.append(Event("sync", found))

    def on_unlink(self: Path, missing_ok: bool = False) -> None:
        own_unlink(self, missing_ok=missing_ok)
        if self in files:
            log.events.append(Event("unlink", self))

    def journal_open(self: Any, where: Path, *rest: Any) -> None:
        # The run file has just been put in its place, whole and synced: here the story begins.
        # (Again, where a run is resumed: all that was promised is in it.)
        log.files = {where: where.read_bytes()}
        log.marks[:] = [(0, rows) for _, rows in log.marks[-1:]]
        log.events.clear()
        own_open(self, where, *rest)

    def journal_write(self: Any, data: bytes) -> None:
        log.events.append(Event("write", self.path, self.size, bytes(data)))
        own_write(self, data)

    with (
        hdf5_calls(on_write, on_truncate),
        mock.patch.object(os, "fsync", on_sync),
        mock.patch.object(Path, "unlink", on_unlink),
        mock.patch.object(journal.Journal, "__init__", journal_open),
        mock.patch.object(journal.Journal, "_write", journal_write),
    ):
        yield log


class Crash:
    """The files of a recorded run as a crash after `count` events leaves them."""

    def __init__(self, log: WriteLog, count: int) -> None:
        self.log, self.count = log, count

    def killed(self, torn: float = 1.0) -> dict[Path, bytes]:
        """Return the files when the process dies; of the last write only the part `torn`."""
        files = {path: bytearray(content) for path, content in self.log.files.items()}
        for number, event in enumerate(self.log.events[: self.count], 1):
            part = torn if number == self.count and event.kind == "write" else 1.0
            _apply(files, event, part)
        return {path: bytes(content) for path, content in files.items()}

    def power_cut(self, seed: int, lost: float = 0.5) -> dict[Path, bytes]:
        """Return the files when the power goes: pages written since the last sync get lost."""
        rng = random.Random(seed)
        files = {path: bytearray(content) for path, content in self.log.files.items()}
        safe = {path: bytes(content) for path, content in files.items()}
        for event in self.log.events[: self.count]:
            _apply(files, event, 1.0)
            if event.kind == "sync":
                safe[event.path] = bytes(files[event.path])
            elif event.kind == "unlink":
                safe.pop(event.path, None)
        for path, content in files.items():
            old = safe.get(path, b"")
            for begin in range(0, len(content), PAGE):
                end = min(begin + PAGE, len(content))
                before = old[begin:end].ljust(end - begin, b"\0")
                if content[begin:end] != before and rng.random() < lost:
                    content[begin:end] = before
        return {path: bytes(content) for path, content in files.items()}


def _apply(files: dict[Path, bytearray], event: Event, part: float) -> None:
    if event.kind == "unlink":
        files.pop(event.path, None)
        return
    content = files.setdefault(event.path, bytearray())
    if event.kind == "write":
        data = event.data[: max(int(len(event.data) * part), 0)]
        if len(content) < event.offset:
            content.extend(bytes(event.offset - len(content)))
        content[event.offset : event.offset + len(data)] = data
    elif event.kind == "truncate":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
