"""Checks a record against its columns and packs it, at the moment it is handed over.

For the run file's writer. What is taken is a copy, so that the caller may use its arrays again;
what does not fit (a missing column, another shape, counts beyond their type) is refused with the
column's name, and the records before it are not touched.
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
_STATE = " state"  # no column is called so

Packed: TypeAlias = tuple[bytes, tuple[npt.NDArray[Any], ...]]
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
        self._order = [name for name, _, _ in columns]
        self._scalars = [(name, dtype.newbyteorder("<")) for name, dtype, s in columns if not s]
        self._arrays = [(name, dtype, shape) for name, dtype, shape in columns if shape]
        self._where = dict(where or {})
        for name, flag in self._where.items():
            scalars = [one for one, _, shape in columns if not shape]
            if flag not in scalars or self._order.index(flag) > self._order.index(name):
                raise ValueError(f"{name}: {flag!r} is no column of single values before it")
        self._state_names = tuple(state_names)
        self._unknown = (float("nan"),) * len(self._state_names)
        self._pick = _picker([name for name, _ in self._scalars])
        self._has_text = any(dtype.kind == "S" for _, dtype in self._scalars)
        codes = "".join(_code(dtype) for _, dtype in self._scalars)
        self._struct = struct.Struct(f"<{codes}{'d' * len(self._state_names)}")
        self._row = np.dtype([*self._scalars, (_STATE, "<f8", (len(self._state_names),))])

    def pack(self, record: Mapping[str, Any], state: Mapping[str, float] | None) -> Packed:
        """Return the record as it will be written; ValueError if it does not fit."""
        if record.keys() != self._names:
            wrong = sorted(self._names.symmetric_difference(record))
            raise ValueError(f"the record's columns are not those of the run: {', '.join(wrong)}")
        states = self._unknown
        if state:
            states = tuple(state.get(name, float("nan")) for name in self._state_names)
        try:
            if self._has_text:
                raise TypeError
            row = self._struct.pack(*self._pick(record), *states)
        except (TypeError, ValueError, OverflowError, struct.error):
            values = [_fit_scalar(name, record[name], dtype) for name, dtype in self._scalars]
            row = self._struct.pack(*values, *states)
        arrays = self._arrays
        if not self._where:
            return row, tuple([_fit_array(name, record[name], dt, sh) for name, dt, sh in arrays])
        return row, tuple([self._fit_some(record, name, dt, sh) for name, dt, sh in arrays])

    def _fit_some(
        self, record: Mapping[str, Any], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        """Return the array of a record; an empty one where its flag says that there is none."""
        flag = self._where.get(name)
        if flag is None or record[flag]:
            return _fit_array(name, record[name], dtype, shape)
        if record[name] is not None:
            raise ValueError(f"{name}: an array was given where {flag} is 0; give None")
        return np.empty((0, *shape[1:]), dtype)

    def blocks(self, records: Sequence[Packed]) -> tuple[dict[str, npt.NDArray[Any]], Any]:
        """Return packed records as one array for each column, and the states, (n, k).

        A column with a `where` has an array for each record that has one.
        """
        rows = np.frombuffer(b"".join([row for row, _ in records]), self._row)
        found = {name: np.ascontiguousarray(rows[name]) for name, _ in self._scalars}
        for number, (name, _, shape) in enumerate(self._arrays):
            joined = np.concatenate([arrays[number] for _, arrays in records])
            found[name] = joined.reshape(-1, *shape)
        states = np.ascontiguousarray(rows[_STATE])
        if not self._state_names:  # the file keeps a column all the same
            states = np.full((len(records), 1), np.nan)
        return {name: found[name] for name in self._order}, states


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


def _fit_array(
    name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return a copy of an array in the column's type, converted where that loses nothing."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{name}: the array is {array.shape}, the column {shape}")
    if array.dtype == dtype:
        return array.copy()
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
