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

_PIECE_BYTES = 2**20
"""Arrays are collected in pieces of this size (one array at least), which are used again: memory
that was never touched costs more than the copy into it."""
_KEPT_BYTES = 2**24
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
        order = [name for name, _, _ in columns]
        self._scalars = [(name, dtype.newbyteorder("<")) for name, dtype, s in columns if not s]
        self._arrays = [(name, dtype, shape) for name, dtype, shape in columns if shape]
        self._array_names = [name for name, _, _ in self._arrays]
        self._only = self._array_names[0] if len(self._arrays) == 1 and not where else ""
        self._where = dict(where or {})
        for name, flag in self._where.items():
            scalars = [one for one, _, shape in columns if not shape]
            if flag not in scalars or order.index(flag) > order.index(name):
                raise ValueError(f"{name}: {flag!r} is no column of single values before it")
        self._state_names = tuple(state_names)
        self._unknown = (_NAN,) * len(self._state_names)
        self._pick = _picker([name for name, _ in self._scalars])
        codes = "".join(_code(dtype) for _, dtype in self._scalars)
        self._pack = struct.Struct(f"<{codes}{'d' * len(self._state_names)}").pack
        if any(dtype.kind == "S" for _, dtype in self._scalars):
            self._pick = _never  # struct would cut text that is too long
        self._row = np.dtype([*self._scalars, (_STATE, "<f8", (len(self._state_names),))])

    def block(self) -> Block:
        """Return an empty block."""
        return Block(self._arrays)

    def pack(
        self, record: Mapping[str, Any], state: Mapping[str, float] | None, block: Block
    ) -> None:
        """Add a record to a block; ValueError, and the block is as before, if it does not fit."""
        if state:
            states = tuple([state.get(name, _NAN) for name in self._state_names])
        else:
            states = self._unknown
        try:
            if len(record) != self._count:
                raise KeyError
            try:
                row = self._pack(*self._pick(record), *states)
            except (TypeError, ValueError, OverflowError, struct.error):
                values = [_fit_scalar(name, record[name], dtype) for name, dtype in self._scalars]
                row = self._pack(*values, *states)
            if self._only:  # the usual: one array, that every record has
                if block.arrays[0].take(record[self._only]):
                    block.heavy = True
            elif self._array_names:
                arrays = [record[name] for name in self._array_names]
                if self._where:
                    arrays = [self._there(record, name) for name in self._array_names]
                block.take(arrays)
        except KeyError:
            wrong = sorted(self._names.symmetric_difference(record))
            raise ValueError(
                f"the record's columns are not those of the run: {', '.join(wrong)}"
            ) from None
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

    def numbers(self, rows: Sequence[bytes]) -> tuple[dict[str, npt.NDArray[Any]], Any]:
        """Return packed rows as columns of single values, (n,), and the states, (n, k)."""
        packed = np.frombuffer(b"".join(rows), self._row)
        found = {name: np.ascontiguousarray(packed[name]) for name, _ in self._scalars}
        states = np.ascontiguousarray(packed[_STATE])
        if not self._state_names:  # the file keeps a column all the same
            states = np.full((len(packed), 1), np.nan)
        return found, states


class Block:
    """Records on their way to the file: packed numbers, and arrays by column.

    heavy: there are enough of the arrays that it pays to write them now.
    """

    def __init__(self, columns: Sequence[Shaped]) -> None:
        self.rows: list[bytes] = []
        self.arrays = [_Pieces(*column) for column in columns]
        self.heavy = False

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, arrays: Sequence[Any]) -> None:
        """Copy a record's arrays (None: it has none) in; ValueError if one does not fit."""
        for column, array in zip(self.arrays, arrays, strict=True):
            if array is not None:
                column.put(array)
        for column, array in zip(self.arrays, arrays, strict=True):
            if array is not None and column.keep():
                self.heavy = True

    def empty(self) -> None:
        """Forget the records; keep some of the room."""
        self.rows = []
        self.forget_arrays()

    def forget_arrays(self) -> None:
        """Forget the arrays, which are written; their numbers stay."""
        self.heavy = False
        for column in self.arrays:
            column.empty()


class _Pieces:
    """The arrays of one column, (n, *shape), in pieces of equal size."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.name, self.dtype, self.shape = name, np.dtype(dtype.str), shape
        size = max(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, 1)
        self._tall = max(_PIECE_BYTES // size, 1)
        self._most = max(_KEPT_BYTES // (self._tall * size), 1)
        self._pieces: list[npt.NDArray[Any]] = []
        self._full = 0  # pieces
        self._place = 0  # in the piece after them, which need not exist yet
        self._piece: npt.NDArray[Any] = np.empty((0, *shape), self.dtype)

    def put(self, array: Any) -> None:
        """Copy an array behind the others; it counts when it is to be kept."""
        if (
            type(array) is not np.ndarray
            or (array.dtype is not self.dtype and array.dtype != self.dtype)
            or array.shape != self.shape
        ):
            array = _fitting_array(self.name, array, self.dtype, self.shape)
        if not self._place and self._full == len(self._pieces):
            self._pieces.append(np.empty((self._tall, *self.shape), self.dtype))
            self._piece = self._pieces[-1]
        self._piece[self._place] = array

    def keep(self) -> bool:
        """Count the array that was put; return whether it filled a piece."""
        self._place += 1
        if self._place < self._tall:
            return False
        self._full, self._place = self._full + 1, 0
        if self._full < len(self._pieces):
            self._piece = self._pieces[self._full]
        return True

    def take(self, array: Any) -> bool:
        """Put an array and keep it, which most are by the short way."""
        place = self._place
        if (
            0 < place < self._tall - 1
            and type(array) is np.ndarray
            and array.dtype is self.dtype
            and array.shape == self.shape
        ):
            self._piece[place] = array
            self._place = place + 1
            return False
        self.put(array)
        return self.keep()

    @property
    def used(self) -> int:
        """How many there are."""
        return self._full * self._tall + self._place

    def filled(self) -> list[npt.NDArray[Any]]:
        """Return what there is, in order."""
        rest = [self._piece[: self._place]] if self._place else []
        return [*self._pieces[: self._full], *rest]

    def empty(self) -> None:
        """Forget the arrays, and give back what is more than usual."""
        del self._pieces[self._most :]
        self._full = self._place = 0
        if self._pieces:
            self._piece = self._pieces[0]


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda record: tuple(record[name] for name in names)


def _never(_record: Mapping[str, Any]) -> tuple[Any, ...]:
    raise TypeError


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
