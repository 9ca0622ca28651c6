"""Puts the rows of a journal into a run file again: numbers from the journal, arrays from where it
says that they are in the file that was being recorded. For the recovery."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from procedures.running import layout

_BLOCK_BYTES = 16 * 2**20


class Replay:
    """Appends entries of the journal of the run file `source` to `file`, which has none of them."""

    def __init__(self, file: h5py.File, source: Path) -> None:
        acquisition = file[layout.ACQUISITION]
        self.rows = int(acquisition["rows_complete"][()])
        columns = layout.stored_columns(acquisition)
        self._series = [(file[layout.RECORDS][column.name], column) for column in columns]
        self._state = acquisition["bench_state"]
        self._source: io.BufferedIOBase = io.BytesIO()
        with contextlib.suppress(OSError):
            self._source = open(source, "rb")  # noqa: SIM115
        self._waiting: list[list[np.ndarray[Any, Any]]] = [[] for _ in range(len(columns) + 1)]
        self._size = 0

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """Write what is waiting."""
        self._source.close()
        if kind is None:
            self._write()

    def add(self, block: bytes, *, inline: bool) -> None:
        """Append the rows of an entry; inline: their arrays are in it, too.

        Raises:
            ValueError: they are not the next ones. EOFError: the file does not hold their arrays.
            Nothing of them is appended then.
        """
        first, count = (int(value) for value in np.frombuffer(block, "<u8", 2))
        if first != self.rows:
            raise ValueError(f"the journal goes on at row {first}, the file ends at {self.rows}")
        offset = 16
        flags: dict[str, int] = {}
        found: list[np.ndarray[Any, Any]] = []
        for ds, column in self._series:
            shape = (flags[column.where] if column.where else count, *ds.shape[1:])
            items = int(np.prod(shape, dtype=np.int64))
            if column.axes and not inline:
                (pieces,) = np.frombuffer(block, "<u8", 1, offset)
                places = np.frombuffer(block, "<u8", 2 * int(pieces), offset + 8).reshape(-1, 2)
                values = np.frombuffer(self._read(places), ds.dtype)
                offset += 8 + places.nbytes
            else:
                values = np.frombuffer(block, ds.dtype, items, offset)
                offset += values.nbytes
            found.append(values.reshape(shape))
            if not column.axes:
                flags[column.name] = int(np.count_nonzero(values))
        wide = self._state.shape[1]
        states = np.frombuffer(block, self._state.dtype, count * wide, offset)
        for waiting, values in zip(
            self._waiting, [*found, states.reshape(count, wide)], strict=True
        ):
            waiting.append(values)
            self._size += values.nbytes
        self.rows += count
        if self._size > _BLOCK_BYTES:
            self._write()

    def _read(self, places: np.ndarray[Any, Any]) -> bytes:
        found = []
        for begin, size in places.tolist():
            self._source.seek(begin)
            found.append(self._source.read(size))
            if len(found[-1]) < size:
                raise EOFError("the run file is shorter than its journal says")
        return b"".join(found)

    def _write(self) -> None:
        for ds, waiting in zip(
            [*(ds for ds, _ in self._series), self._state], self._waiting, strict=True
        ):
            if more := sum(map(len, waiting)):
                begun = len(ds)
                ds.resize(begun + more, axis=0)
                ds[begun:] = np.concatenate(waiting)
            waiting.clear()
        self._size = 0
