"""Checks a record against its columns and packs it, at the moment it is handed over.

For the run file's writer. What is taken is a copy, so that the caller may use its arrays again: the
only one made before HDF5, into a block that is handed on whole. What does not fit (a missing
column, another shape, counts beyond their type) is refused with the column's name, and the records
before it are not touched.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_CODES = {
    "f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?",
}  # fmt: skip
_NAN = float("nan")
_STATE = " state"  # no column is called so

_PIECE_BYTES = 2**22
"""Arrays are collected in pieces of this size (one array at least), which are used again."""
_KEPT_BYTES = 2**26
"""What an empty block keeps of them, for each column."""
Shaped: TypeAlias = tuple[str, "np.dtype[Any]", tuple[int, ...]]


class Packer:
    """Packs records of the given columns (name, type, shape) with the bench's state.

    where: array column -> the column of 0 and 1 that says which records have one (see Column).
    """

    def __init__(
        self,
        columns: Sequence[Shaped],
        state_names: Sequence[str],
        where: Mapping[str, str] | None = None,
    ) -> None:
        self._names = frozenset(name for name, _, _ in columns)
        self._count = len(self._names)
        self._order = [name for name, _, _ in columns]
        self._scalars = [(name, dtype.newbyteorder("<")) for name, dtype, s in columns if not s]
        self._arrays = [(name, dtype, shape) for name, dtype, shape in columns if shape]
        self._where = dict(where or {})
        for name, flag in self._where.items():
            scalars = [one for one, _, shape in columns if not shape]
            if flag not in scalars or self._order.index(flag) > self._order.index(name):
                raise ValueError(f"{name}: {flag!r} is no column of single values before it")
        self._state_names = tuple(state_names)
        self._unknown = (_NAN,) * len(self._state_names)
        self._pick = _picker([name for name, _ in self._scalars])
        self._has_text = any(dtype.kind == "S" for _, dtype in self._scalars)
        codes = "".join(_code(dtype) for _, dtype in self._scalars)
        self._struct = struct.Struct(f"<{codes}{'d' * len(self._state_names)}")
        self._row = np.dtype([*self._scalars, (_STATE, "<f8", (len(self._state_names),))])

    def block(self) -> Block:
        """Return an empty block."""
        return Block(self._arrays)

    def pack(
        self, record: Mapping[str, Any], state: Mapping[str, float] | None, block: Block
    ) -> None:
        """Add a record to a block; ValueError, and the block is as before, if it does not fit."""
        states = self._unknown
        if state:
            states = tuple([state.get(name, _NAN) for name in self._state_names])
        try:
            if len(record) != self._count:
                raise KeyError
            if self._arrays:
                arrays = [record[name] for name, _, _ in self._arrays]
            try:
                if self._has_text:
                    raise TypeError
                row = self._struct.pack(*self._pick(record), *states)
            except (TypeError, ValueError, OverflowError, struct.error):
                values = [_fit_scalar(name, record[name], dtype) for name, dtype in self._scalars]
                row = self._struct.pack(*values, *states)
        except KeyError:
            wrong = sorted(self._names.symmetric_difference(record))
            raise ValueError(
                f"the record's columns are not those of the run: {', '.join(wrong)}"
            ) from None
        if self._arrays:
            if self._where:
                arrays = [self._there(record, name) for name, _, _ in self._arrays]
            block.take(arrays)
        block.rows.append(row)

    def _there(self, record: Mapping[str, Any], name: str) -> Any:
        """Return the array of a record; None where its flag says that there is none."""
        flag = self._where.get(name)
        if flag is None or record[flag]:
            if record[name] is None:
                raise ValueError(f"{name}: the array is missing")
            return record[name]
        if record[name] is not None:
            raise ValueError(f"{name}: an array was given where {flag} is 0; give None")
        return None

    def blocks(self, block: Block) -> tuple[dict[str, list[npt.NDArray[Any]]], Any]:
        """Return the records of a block, each column in pieces (n, ...), and the states, (n, k).

        A column with a `where` has an array for each record that has one. The pieces of array
        columns are the block's own, until it is emptied.
        """
        rows = np.frombuffer(b"".join(block.rows), self._row)
        found = {name: [np.ascontiguousarray(rows[name])] for name, _ in self._scalars}
        for (name, _, _), column in zip(self._arrays, block.arrays, strict=True):
            found[name] = column.filled()
        states = np.ascontiguousarray(rows[_STATE])
        if not self._state_names:  # the file keeps a column all the same
            states = np.full((len(rows), 1), np.nan)
        return {name: found[name] for name in self._order}, states


class Block:
    """Records on their way to the file: packed numbers, and arrays."""

    def __init__(self, columns: Sequence[Shaped]) -> None:
        self.rows: list[bytes] = []
        self.arrays = [_Pieces(*column) for column in columns]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, arrays: Sequence[Any]) -> None:
        """Copy a record's arrays (None: it has none) in; ValueError if one does not fit."""
        for column, array in zip(self.arrays, arrays, strict=True):
            if array is not None:
                column.put(array)
        for column, array in zip(self.arrays, arrays, strict=True):
            if array is not None:
                column.used += 1

    def empty(self) -> None:
        """Forget the records; keep some of the room."""
        self.rows = []
        for column in self.arrays:
            column.empty()


class _Pieces:
    """The arrays of one column, (used, *shape), in pieces of equal size."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape
        size = max(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, 1)
        self.used = 0
        self._tall = max(_PIECE_BYTES // size, 1)
        self._most = max(_KEPT_BYTES // (self._tall * size), 1)
        self._pieces: list[npt.NDArray[Any]] = []

    def put(self, array: Any) -> None:
        """Copy an array behind the others; it counts when `used` says so."""
        number, place = divmod(self.used, self._tall)
        if number == len(self._pieces):
            self._pieces.append(np.empty((self._tall, *self.shape), self.dtype))
        if type(array) is not np.ndarray or array.dtype != self.dtype or array.shape != self.shape:
            array = _fitting_array(self.name, array, self.dtype, self.shape)
        self._pieces[number][place] = array

    def filled(self) -> list[npt.NDArray[Any]]:
        """Return what there is, in order."""
        whole, rest = divmod(self.used, self._tall)
        return [*self._pieces[:whole], *([self._pieces[whole][:rest]] if rest else [])]

    def empty(self) -> None:
        """Forget the arrays, and give back what is more than usual."""
        self.used = 0
        del self._pieces[self._most :]


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple(record[name] for name in names)


def _code(dtype: np.dtype[Any]) -> str:
    return f"{dtype.itemsize}s" if dtype.kind == "S" else _CODES[dtype.str[1:]]


def _fit_scalar(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a value as `struct` takes it, converted where that loses nothing."""
    if dtype.kind == "S":
        text = value.encode() if isinstance(value, str) else value
        if not isinstance(text, bytes) or len(text) > dtype.itemsize:
            raise ValueError(f"{name}: {value!r} is not text of at most {dtype.itemsize} bytes")
        return text
    try:
        if dtype.kind in "iu":
            whole = int(value)
            if whole != value:
                raise ValueError
            value = whole
        return struct.unpack(_code(dtype), struct.pack(_code(dtype), value))[0]
    except (TypeError, ValueError, OverflowError, struct.error):
        raise ValueError(f"{name}: {value!r} does not fit into {dtype.name}") from None


def _fitting_array(
    name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return an array in the column's type, converted where that loses nothing."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{name}: the array is {array.shape}, the column {shape}")
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: {array.dtype.name} does not fit into {dtype.name}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        inside = (array >= limits.min) & (array <= limits.max)
        if not np.all(inside) or (array.dtype.kind == "f" and np.any(array != np.rint(array))):
            raise ValueError(
                f"{name}: {dtype.name} takes whole numbers from {limits.min} to {limits.max}; "
                f"given were {np.min(array):g} to {np.max(array):g}"
            )
    return array.astype(dtype)
