"""Whether the disk has room for what a plan will record: known beforehand, watched on the way.

For the runner. The writer beside this notices a disk that is full; here it is noticed before.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from procedures.columns import Axis, Column
from procedures.running.journal import LARGEST_BYTES
from procedures.running.problems import DiskFull
from procedures.running.room import RESERVE_BYTES

_EVERY_S = 10.0
_MARGIN = 1.05  # chunks, indices, the log


class PlannedRoom:
    """The room that a run needs still, on the disk of its file."""

    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        axes: Sequence[Axis],
        plan: Sequence[Mapping[str, float]],
        tell: Callable[[str, str], None],
    ) -> None:
        self._path, self._tell = path, tell
        lengths = {axis.name: len(axis.values) for axis in axes}

        def size(column: Column) -> int:
            shape = [lengths.get(name, 1) for name in column.axes]
            return int(np.dtype(column.dtype).itemsize * np.prod(shape, dtype=np.int64))

        always = sum(size(column) for column in columns if not column.where)
        rarely = sum(size(column) for column in columns if column.where)
        # Points of plans with rare arrays say by `keep` which have them.
        self._row_bytes = [always + (rarely if one.get("keep", 1) else 0) for one in plan]
        self._journal_bytes = sum(size(column) for column in columns if not column.axes)
        self._next_s = time.monotonic() + _EVERY_S
        self._told = False

    def needed(self, done: int) -> int:
        """Return how many bytes the records after the first `done` take, journal included."""
        rows = self._row_bytes[done:]
        journal = min(len(rows) * self._journal_bytes, LARGEST_BYTES)
        return int(_MARGIN * (sum(rows) + journal)) + RESERVE_BYTES

    def check(self, done: int) -> None:
        """Raise DiskFull, with the numbers, if the disk has no room for the rest."""
        needed, free = self.needed(done), shutil.disk_usage(self._path.parent).free
        if free < needed:
            raise DiskFull(
                f"{self._path.parent}: the plan needs {needed / 1e6:.0f} MB on this disk, "
                f"{free / 1e6:.0f} MB are free; make room, or choose another folder with --out"
            )

    def watch(self, done: int) -> None:
        """Look now and then, and tell once if the disk will be full before the end."""
        if self._told or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _EVERY_S
        try:
            self.check(done)
        except DiskFull as error:
            self._told = True
            self._tell("warning", f"the disk will be full before the end: {error}")
        except OSError:
            pass  # the writer will tell
