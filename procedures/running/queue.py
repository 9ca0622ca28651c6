"""The queue: run files of one folder that wait to be carried out, in an order.

For the command, the window and whoever else runs on this folder: all see the same queue at once,
in this process or another. The runs themselves are their files; the order, and who has taken which
run, is a small SQLite file beside them, so that every change is whole or not at all and two runners
never take one run. Who carries a run out is not decided here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from instruments.errors import BenchError
from procedures.running import lock
from procedures.running.header import INTERRUPTED, RunHeader, draw_of
from procedures.running.lock import Owner
from procedures.running.runfile import RunFile, create_queued

FILE = "queue.sqlite"
WAITS = ("queued", INTERRUPTED)
_PATIENCE_S = 20.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS waiting "
    "(name TEXT PRIMARY KEY, position REAL NOT NULL, taken_by TEXT NOT NULL DEFAULT '')"
)


class QueueError(BenchError):
    """Something about the queue cannot be done; the message says why."""

    exit_code = 2
    code = "queue"


@dataclass(frozen=True)
class QueuedRun:
    """A run in the queue, as its file tells it.

    status: "queued", or "interrupted" where its runner was killed (it is gone on with, then), or
    "gone" or "unreadable" with the `problem`. points: how many records it will have. queued_time:
    ISO 8601. taken_by: the living process that carries it out, None if it waits.
    """

    path: Path
    status: str
    measurement: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    points: int = 0
    sample: str = ""
    spot: str = ""
    operator: str = ""
    bench_file: str = ""
    queued_time: str = ""
    taken_by: Owner | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The name of its file, by which commands call it."""
        return self.path.name

    @property
    def waits(self) -> bool:
        """Whether it can be taken."""
        return self.taken_by is None and self.status in WAITS

    def to_json(self) -> dict[str, Any]:
        """Return what `gainbench queue list --json` prints of it."""
        taken = asdict(self.taken_by) if self.taken_by is not None else None
        return {**asdict(self), "path": str(self.path), "taken_by": taken}


class Queue:
    """The queue of a folder; cheap to make, holds nothing open, may be used from any thread.

    A folder without a queue is an empty queue; nothing is written before the first `add`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._known: dict[tuple[str, int, int], QueuedRun] = {}
        self._guard = threading.Lock()

    # ---- looking ------------------------------------------------------------------------------

    def runs(self) -> list[QueuedRun]:
        """Return the runs in their order: those that wait, are carried out now, or have gone.

        What has ended is not in the queue any more, whoever carried it out.
        """
        found = []
        for name, taken_by in self._rows():
            run = self._look(name, taken_by)
            if run.status in WAITS or run.problem or run.taken_by is not None:
                found.append(run)
        return found

    def strays(self) -> list[Path]:
        """Return files of the folder that are queued and that the queue does not know.

        They come from another folder, or their process was killed before it started the run.
        """
        known = {name for name, _ in self._rows()}
        found = []
        for path in sorted(self.folder.glob("*.h5")):
            if path.name not in known and not lock.lock_path(path).exists():
                with contextlib.suppress(BenchError, OSError), RunFile(path) as run:
                    if run.status == "queued":
                        found.append(path)
        return found

    # ---- changing ------------------------------------------------------------------------------

    def add(self, header: RunHeader) -> Path:
        """Create the file of a run, exclusively, at the end of the queue; return its path.

        `describe_queued` makes the header. Raises DiskFull or OSError; nothing is queued then.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._changing() as table:
            if not header.draw:
                number = sum(1 for _ in self.folder.glob("*.h5")) + 1
                header = replace(header, draw=draw_of(header.sample, header.spot, number))
            path = create_queued(self.folder, header)
            _append(table, path.name)
        return path

    def adopt(self, path: str | Path) -> Path:
        """Put a queued file of this folder at the end of the queue (a stray, or one copied here).

        Raises:
            QueueError: it is of another folder, is not queued, or is in the queue already.
        """
        path = Path(path)
        if path.resolve().parent != self.folder.resolve():
            raise QueueError(f"{path} is not in {self.folder}: copy it there first")
        with RunFile(path) as run:
            if run.status != "queued":
                raise QueueError(f"{path} is {run.status}: only a queued run can be queued")
        with self._changing() as table:
            if table.execute("SELECT 1 FROM waiting WHERE name = ?", (path.name,)).fetchone():
                raise QueueError(f"{path.name} is in the queue already")
            _append(table, path.name)
        return path

    def remove(self, which: int | str | Path) -> QueuedRun:
        """Take a run out of the queue, and away if it holds nothing; return what it was.

        An interrupted run holds records: its file stays. `which`: see `move`.
        """
        with self._changing() as table:
            run = self._find(table, which)
            _refuse_taken(run, "removed")
            if run.status == "queued":
                run.path.unlink(missing_ok=True)
            table.execute("DELETE FROM waiting WHERE name = ?", (run.name,))
        return run

    def move(self, which: int | str | Path, position: int) -> None:
        """Move a run to a position, counted from 1.

        Args:
            which: its place now (from 1), the name of its file, or its path.
            position: its place then; beyond the end is the end.

        Raises:
            QueueError: there is no such run, or it is being carried out.
        """
        if position < 1:
            raise QueueError(f"{position} is no position; the first is 1")
        with self._changing() as table:
            run = self._find(table, which)
            _refuse_taken(run, "moved")
            seen = [one.name for one in self._listed(table)]
            seen.remove(run.name)
            seen.insert(position - 1, run.name)
            table.executemany(
                "UPDATE waiting SET position = ? WHERE name = ?",
                [(float(place), name) for place, name in enumerate(seen, start=1)],
            )

    # ---- carrying out ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def taken(self) -> Iterator[QueuedRun | None]:
        """Take the next run for the time of the block; None if none waits.

        No other runner gets it meanwhile. After the block it has left the queue, unless its file is
        as it was: then it waits again. If this process dies, it waits again, too.
        """
        run = self.take()
        try:
            yield run
        finally:
            if run is not None:
                self.release(run.path)

    def take(self) -> QueuedRun | None:
        """Take the next run; None if none waits. It must be given back by `release`."""
        if not (self.folder / FILE).exists():
            return None
        with self._changing() as table:
            for name, taken_by in _ordered(table):
                run = self._look(name, taken_by)
                if run.waits:
                    mine = json.dumps(asdict(lock.me()))
                    table.execute("UPDATE waiting SET taken_by = ? WHERE name = ?", (mine, name))
                    return run
                if run.taken_by is None and not run.problem:  # it has ended
                    table.execute("DELETE FROM waiting WHERE name = ?", (name,))
        return None

    def release(self, path: Path) -> None:
        """Give a run back that was taken: it leaves the queue if it has started."""
        with self._changing() as table:
            status = self._look(path.name, "").status
            if status == "queued":
                table.execute("UPDATE waiting SET taken_by = '' WHERE name = ?", (path.name,))
            else:
                table.execute("DELETE FROM waiting WHERE name = ?", (path.name,))

    def drop(self, path: Path) -> None:
        """Strike a run off the list and leave its file alone."""
        with self._changing() as table:
            table.execute("DELETE FROM waiting WHERE name = ?", (path.name,))

    # ---- how it is kept -------------------------------------------------------------------------

    def _listed(self, table: sqlite3.Connection) -> list[QueuedRun]:
        looked = [self._look(name, taken_by) for name, taken_by in _ordered(table)]
        return [run for run in looked if run.status in WAITS or run.problem or run.taken_by]

    def _find(self, table: sqlite3.Connection, which: int | str | Path) -> QueuedRun:
        runs = self._listed(table)
        text = str(which)
        if text.isdecimal():
            if 1 <= int(text) <= len(runs):
                return runs[int(text) - 1]
            raise QueueError(f"there is no run {text}: the queue has {len(runs)}")
        name = Path(text).name
        for run in runs:
            if name in (run.name, run.path.stem):
                return run
        raise QueueError(f"{name} is not in the queue of {self.folder}")

    def _look(self, name: str, taken_by: str) -> QueuedRun:
        """Return what the file tells; a living runner's claim counts, a dead one's does not."""
        owner = _owner(taken_by)
        path = self.folder / name
        if owner is not None and not owner.alive:
            owner = None
        try:
            about = path.stat()
        except OSError:
            return QueuedRun(path, "gone", taken_by=owner, problem="the file is gone")
        key = (name, about.st_mtime_ns, about.st_size)
        with self._guard:
            known = self._known.get(key)
        if known is not None and owner is None and not lock.lock_path(path).exists():
            return known
        try:
            with RunFile(path) as run:
                found = QueuedRun(
                    path,
                    run.status,
                    run.measurement,
                    run.parameters,
                    max((len(column) for column in run.plan.values()), default=0),
                    run.sample,
                    run.spot,
                    run.operator,
                    run.bench_file,
                    run.queued_time,
                    owner,
                )
        except (BenchError, OSError) as error:
            return QueuedRun(path, "unreadable", taken_by=owner, problem=str(error))
        if found.status == "queued" and owner is None:
            with self._guard:
                if len(self._known) > 1000:
                    self._known.clear()
                self._known[key] = found
        return found

    def _rows(self) -> list[tuple[str, str]]:
        if not (self.folder / FILE).exists():
            return []
        with self._changing() as table:
            return _ordered(table)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Hold the queue alone, in this process and others; what the block changes is one."""
        try:
            table = self._connect()
        except sqlite3.OperationalError as error:
            raise QueueError(f"{self.folder / FILE}: the queue cannot be used: {error}") from error
        except sqlite3.DatabaseError:
            table = self._mended()
        try:
            yield table
            table.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise QueueError(f"{self.folder / FILE}: the queue cannot be used: {error}") from error
        finally:
            table.close()  # what was not committed is undone

    def _connect(self) -> sqlite3.Connection:
        table = sqlite3.connect(
            self.folder / FILE, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            table.execute("BEGIN IMMEDIATE")
            table.execute(_TABLE)
        except BaseException:
            table.close()
            raise
        return table

    def _mended(self) -> sqlite3.Connection:
        """Put a damaged queue file aside, and queue what waits in the folder, oldest first."""
        damaged = self.folder / FILE
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.replace(damaged, damaged.with_name(f"{FILE}.damaged"))
        table = self._connect()
        for path in sorted(self.folder.glob("*.h5")):
            with contextlib.suppress(BenchError, OSError), RunFile(path) as run:
                if run.status == "queued":
                    _append(table, path.name)
        return table


def _ordered(table: sqlite3.Connection) -> list[tuple[str, str]]:
    rows = table.execute("SELECT name, taken_by FROM waiting ORDER BY position, name")
    return [(str(name), str(taken_by)) for name, taken_by in rows]


def _append(table: sqlite3.Connection, name: str) -> None:
    table.execute(
        "INSERT OR IGNORE INTO waiting (name, position) "
        "SELECT ?, COALESCE(MAX(position), 0) + 1 FROM waiting",
        (name,),
    )


def _owner(text: str) -> Owner | None:
    if not text:
        return None
    try:
        found = json.loads(text)
        return Owner(
            str(found["host"]), int(found["pid"]), float(found["started_s"]), str(found["mark"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def _refuse_taken(run: QueuedRun, what: str) -> None:
    if run.taken_by is not None:
        raise QueueError(
            f"{run.name} is being carried out by {run.taken_by} and cannot be {what}; "
            "`gainbench abort` ends it"
        )
