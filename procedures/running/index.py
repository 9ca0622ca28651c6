"""The runs of a folder, without opening each: `index(folder)` returns a line about every file.

For lists of runs (command, window, report). What was read of a file is kept in a small SQLite
file beside the runs, with the file's size, times and number on the disk: a file that has changed
in any of them is read again. The cache may be deleted at any time; where it cannot be written, or
is damaged, listing is only slower. Nothing here recovers or changes a run file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from procedures.running.header import INTERRUPTED

CACHE_NAME = ".gainbench-index.sqlite"
_FORM = 1
"""Of the cache's content: another one is thrown away. Counted up with every change of `Header`."""
_RACY_NS = 2_000_000_000
"""A file written this short a time ago may change again without its times showing it."""
_UNFINISHED = ("running", "paused")
UNREADABLE = "unreadable"

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Header:
    """What a list shows of a run.

    run_status: as everywhere ("interrupted" if its process is gone), or "unreadable", and `error`
    says why. Times are ISO 8601, "" if there is none yet. records: complete ones; points: of the
    plan. evaluated: whether results are stored in the file.
    """

    file: str
    run_status: str
    measurement: str = ""
    title: str = ""
    sample: str = ""
    spot: str = ""
    operator: str = ""
    queued_time: str = ""
    start_time: str = ""
    end_time: str = ""
    records: int = 0
    points: int = 0
    evaluated: bool = False
    size_bytes: int = 0
    error: str = ""


_COLUMNS = ("size", "modified", "changed", "number", "name", *(f.name for f in fields(Header)[1:]))
"""Of the cache: what shows that a file has changed, its name, and its header."""


def index(
    folder: str | Path, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> list[Header]:
    """Return a header for every `.h5` file of a folder, the latest first; `file` is its path.

    progress: told (files read, files to be read) now and then, where many must be read.
    Raises FileNotFoundError or NotADirectoryError.
    """
    folder = Path(folder)
    files = _files(folder)
    known = _load(folder)
    found: dict[str, Header] = {}
    missing: list[str] = []
    for name, stamp in files.items():
        kept = known.get(name)
        if kept is not None and kept[0] == stamp:
            found[name] = kept[1]
        else:
            missing.append(name)
    fresh: dict[str, tuple[Stamp, Header]] = {}
    for number, name in enumerate(missing):
        if number % 100 == 0:
            progress(number, len(missing))
        header = read_header(folder / name)
        found[name] = header
        stamp = files[name]
        if time.time_ns() - max(stamp[1], stamp[2]) > _RACY_NS and _same(folder / name, stamp):
            fresh[name] = stamp, header
    gone = known.keys() - files.keys()
    if fresh or gone:
        _store(folder, fresh, gone)
    headers = [_alive(header) for header in found.values()]
    return sorted(headers, key=lambda one: (one.start_time or one.queued_time, one.file))[::-1]


def read_header(path: Path) -> Header:
    """Read one file's header; what cannot be read is "unreadable", never an exception."""
    import h5py

    from procedures.running import layout
    from procedures.running.opening import open_hdf5
    from procedures.running.superblock import Mended

    size = 0
    try:
        size = path.stat().st_size
        options: dict[str, Any] = {"libver": layout.LIBVER, "locking": False}
        if _is_held(path):  # as SWMR only beside a writer: a damaged file opened so can hang
            file = open_hdf5(path, "r", swmr=True, **options)
        else:
            try:
                file = open_hdf5(path, "r", **options)
            except OSError:  # left open by a process that is gone
                file = h5py.File(Mended(path), "r", libver=layout.LIBVER)
        with file:
            return _read(file.id, str(path), size)
    except Exception as error:  # whatever HDF5 makes of a damaged file
        return Header(str(path), UNREADABLE, size_bytes=size, error=str(error))


def _read(file: Any, path: str, size: int) -> Header:
    """Read the fields from an open file; by HDF5's own calls, a fifth of the time of h5py's."""
    import numpy as np
    from h5py import h5d, h5g, h5s, string_dtype

    text_type = string_dtype()

    def text(name: bytes) -> str:
        field = h5d.open(file, name)
        kind = field.get_type()
        into = np.empty((), text_type if kind.is_variable_str() else f"S{kind.get_size()}")
        field.read(h5s.ALL, h5s.ALL, into)
        value = into[()]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    rows = np.zeros((), np.uint64)
    h5d.open(file, b"entry/acquisition/rows_complete").read(h5s.ALL, h5s.ALL, rows)
    plan = h5g.open(file, b"entry/acquisition/plan")
    keys = plan.get_num_objs()
    points = h5d.open(plan, plan.get_objname_by_idx(0)).shape[0] if keys else 0
    return Header(
        file=path,
        run_status=text(b"entry/acquisition/run_status"),
        measurement=text(b"entry/acquisition/measurement"),
        title=text(b"entry/title"),
        sample=text(b"entry/sample/name"),
        spot=text(b"entry/sample/spot"),
        operator=text(b"entry/user/name"),
        queued_time=text(b"entry/acquisition/queued_time"),
        start_time=text(b"entry/start_time"),
        end_time=text(b"entry/end_time"),
        records=int(rows),
        points=int(points),
        evaluated=bool(b"results" in h5g.open(file, b"entry")),
        size_bytes=size,
    )


def _is_held(path: Path) -> bool:
    from procedures.running import lock

    found = lock.owner(path)
    return found is not None and found.alive


def _alive(header: Header) -> Header:
    """Tell a run that goes on from one whose process is gone: the lock is asked at every look."""
    if header.run_status in _UNFINISHED and not _is_held(Path(header.file)):
        return replace(header, run_status=INTERRUPTED)
    return header


# ---- the folder ----------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, Stamp]:
    """Return the run files of a folder, each with what shows that it has changed."""
    found: dict[str, Stamp] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".h5") and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = _stamp(entry.stat())
    return found


def _stamp(about: os.stat_result) -> Stamp:
    number = about.st_ino & (2**63 - 1)  # what SQLite takes
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, number


def _same(path: Path, stamp: Stamp) -> bool:
    try:
        return _stamp(path.stat()) == stamp
    except OSError:
        return False


# ---- the cache -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / CACHE_NAME, timeout=2.0)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _load(folder: Path) -> dict[str, tuple[Stamp, Header]]:
    """Return what the cache holds; nothing where it is missing, of another form, or damaged."""
    if not (folder / CACHE_NAME).is_file():
        return {}
    try:
        with _database(folder) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] != _FORM:
                return {}
            rows = database.execute(f"SELECT {', '.join(_COLUMNS)} FROM runs").fetchall()
        beside = f"{folder}{os.sep}"
        found: dict[str, tuple[Stamp, Header]] = {}
        for size, modified, changed, number, name, *rest in rows:
            header = Header(beside + name, *rest)
            object.__setattr__(header, "evaluated", bool(header.evaluated))
            found[name] = (size, modified, changed, number), header
        return found
    except (sqlite3.Error, TypeError, OSError):
        with contextlib.suppress(OSError):
            (folder / CACHE_NAME).unlink()
        return {}


def _store(folder: Path, fresh: dict[str, tuple[Stamp, Header]], gone: set[str]) -> None:
    """Put what was read into the cache; where that cannot be, do without."""
    rows = [(*stamp, name, *astuple(header)[1:]) for name, (stamp, header) in fresh.items()]
    places = ", ".join("?" * len(_COLUMNS))
    with contextlib.suppress(sqlite3.Error, OSError, UnicodeError), _database(folder) as database:
        if database.execute("PRAGMA user_version").fetchone()[0] != _FORM:
            database.execute("DROP TABLE IF EXISTS runs")
            database.execute(f"CREATE TABLE runs ({', '.join(_COLUMNS)}, PRIMARY KEY (name))")
            database.execute(f"PRAGMA user_version = {_FORM}")
        database.executemany(f"INSERT OR REPLACE INTO runs VALUES ({places})", rows)
        database.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in gone])
