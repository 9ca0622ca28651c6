"""Writes a run file again: with results, for more records, compressed; see compressing.py."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from procedures.running import layout
from procedures.running.rewrite import rewriting

_FILTER = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
"""Opens everywhere; the smallest of plain HDF5's filters within 3 %, at a third of its time."""
_WORTH_VALUES = 4096
_COPIED_VALUES = 2**18
_CHUNK_BYTES = 2**18
"""Of compressed arrays: one spectrum is read in 1 ms, and chunks four times as large save nothing
more (`benchmarks/compression.py`)."""


def rewrite_with_results(path: Path, results: Mapping[str, Any], method: str) -> None:
    """Write the file again with `results` ({"results": {name: {value, stderr, unit}}, ...})."""
    with (
        rewriting(path) as temporary,
        h5py.File(path, "r", libver=layout.LIBVER) as source,
        h5py.File(temporary, "w", libver=layout.LIBVER) as target,
    ):
        _copy(source, target, {}, skip="entry/results")
        _times_as_text(target["entry"])
        process = layout.group(target["entry"], "results", "NXprocess")
        layout.put(process, "program", "gainbench")
        layout.put(process, "version", layout.program_version())
        layout.put(process, "date", layout.isoformat(time.time()))
        layout.put(process, "method", method or f"gainbench {source['entry'].name}")
        for name, result in results.get("results", {}).items():
            value = _numbers(result["value"])
            field = layout.put(process, name, value, result["unit"])
            if result.get("bound"):
                field.attrs["bound"] = result["bound"]
            layout.put(process, f"{name}_errors", _numbers(result["stderr"]), result["unit"])
        layout.put(process, "warnings", "\n".join(results.get("warnings", [])))


def rewrite_for_records(path: Path) -> None:
    """Write the file again so that records can be appended: uncompressed, old results dropped.

    Under SWMR a compressed chunk that is not full leaks its old copy at every flush.
    """
    with (
        rewriting(path) as temporary,
        h5py.File(path, "r", libver=layout.LIBVER) as source,
        h5py.File(temporary, "w", libver=layout.LIBVER) as target,
    ):
        _copy(source, target, {}, skip="entry/results", compress=False)
        end = target["entry/end_time"]
        attributes = dict(end.attrs)
        del target["entry/end_time"]
        target["entry"].create_dataset("end_time", data=b"", dtype=layout.TIME_DTYPE)
        target["entry/end_time"].attrs.update(attributes)


def copy_compressed(source: h5py.File, target: h5py.File) -> None:
    """Copy everything of a run file, arrays compressed."""
    _copy(source, target, {}, skip="")


def skeleton(path: Path) -> bytes:
    """Return a run file without its records: what they are replayed into."""
    image = io.BytesIO()
    with (
        h5py.File(path, "r", libver=layout.LIBVER) as source,
        h5py.File(image, "w", libver=layout.LIBVER) as target,
    ):
        acquisition = source[layout.ACQUISITION]
        series = [*source[layout.RECORDS].values(), acquisition["bench_state"]]
        empty = frozenset(_address(item) for item in series)
        _copy(source, target, {}, skip="", compress=False, empty=empty)
        target[layout.ACQUISITION]["rows_complete"][()] = 0
    return image.getvalue()


def worth_compressing(file: h5py.File) -> bool:
    """Return whether a file has arrays that are not compressed, and would be."""
    found: list[bool] = []

    def look(_name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(_is_worth(item) and not item.compression)

    file.visititems(look)
    return any(found)


def _is_worth(item: h5py.Dataset) -> bool:
    return bool(item.ndim and item.dtype.kind in "uif" and item.size > _WORTH_VALUES)


def _times_as_text(entry: h5py.Group) -> None:
    """Turn the end time, of fixed length while recording, into text as NeXus wants it."""
    stored = entry["end_time"][()]
    del entry["end_time"]
    layout.put(entry, "end_time", stored.decode())


def _numbers(value: Any) -> Any:
    """Return a number or list with NaN for what is null."""
    if isinstance(value, list):
        return [np.nan if one is None else float(one) for one in value]
    return np.nan if value is None else float(value)


def _address(item: h5py.HLObject) -> int:
    return int(h5py.h5o.get_info(item.id).addr)


def _copy(
    source: h5py.Group,
    target: h5py.Group,
    seen: dict[int, str],
    skip: str,
    compress: bool = True,
    empty: frozenset[int] = frozenset(),
) -> None:
    """Copy a tree, keeping hard links; arrays are compressed in whole chunks, or not at all.

    empty: addresses of series of which no record is copied.
    """
    target.attrs.update(dict(source.attrs))
    for name, item in source.items():
        if item.name.lstrip("/") == skip:
            continue
        address = _address(item)
        if address in seen:
            target[name] = target.file[seen[address]]
            continue
        seen[address] = item.name
        if isinstance(item, h5py.Group):
            _copy(item, target.create_group(name), seen, skip, compress, empty)
            continue
        options: dict[str, Any] = {}
        if compress and _is_worth(item):
            options = {"chunks": _compressed_chunk(item), "maxshape": item.maxshape, **_FILTER}
        elif item.chunks:
            tall = item.chunks[0]
            if item.compression:
                planned = layout.planned_rows(source.file)
                tall = layout.rows_per_chunk(item.shape[1:], item.dtype, planned)
            options = {"chunks": (tall, *item.chunks[1:]), "maxshape": item.maxshape}
            options["fill_time"] = layout.fill_time(item.shape[1:])
        shape = (0, *item.shape[1:]) if address in empty else item.shape
        made = target.create_dataset(name, shape, item.dtype, **options)
        if address in empty:
            pass
        elif item.chunks:
            rows = max(item.chunks[0], made.chunks[0])
            if len(made.chunks) == 1:  # of numbers: many chunks at once
                rows *= max(_COPIED_VALUES // rows, 1)
            for first in range(0, len(item), rows):
                made[first : first + rows] = item[first : first + rows]
        elif item.size:
            made[()] = item[()]
        made.attrs.update(dict(item.attrs))


def _compressed_chunk(item: h5py.Dataset) -> tuple[int, ...]:
    """Return the chunk of a compressed series: whole records."""
    if item.ndim == 1:
        return (min(len(item), layout.LONG_RUN_CHUNK),)
    return (max(1, min(len(item), _CHUNK_BYTES // max(item[:1].nbytes, 1))), *item.shape[1:])
