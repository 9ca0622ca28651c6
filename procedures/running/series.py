"""A series of a run file as its writer appends to it: straight to HDF5, and told where it went.

For the writer. Goes below h5py's indexing, which costs more than the write itself does where few
records come at a time; stops at the one series: what belongs together is the writer's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


class Series:
    """A dataset, (records, ...), in chunks of whole records; opened for writing."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.shape = tuple(dataset.shape[1:])
        self.length = int(dataset.shape[0])
        self.row_bytes = int(np.prod(self.shape, dtype=np.int64)) * int(dataset.dtype.itemsize)
        self._id = dataset.id
        self._tall = int(dataset.chunks[0])

    def growth(self, more: int) -> int:
        """Return how many bytes the file grows by at most for so many records: chunks, index."""
        return self._new_chunks(more) * (self._tall * self.row_bytes + 64)

    def _new_chunks(self, more: int) -> int:
        return -(-(self.length + more) // self._tall) - -(-self.length // self._tall)

    def append(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Append arrays of records, (n, *shape), of its type and contiguous."""
        more = sum(map(len, parts))
        if not more:
            return
        self._id.set_extent((self.length + more, *self.shape))
        space = self._id.get_space()
        for part in parts:
            start = (self.length, *(0 for _ in self.shape))
            space.select_hyperslab(start, part.shape)
            self._id.write(h5py.h5s.create_simple(part.shape), space, part)
            self.length += len(part)


class PlacedSeries(Series):
    """A series of arrays that knows where in the file each of them is.

    A chunk that is not compressed stays where it is, whatever comes after it. HDF5 has to look
    through all chunks of a dataset to say where one is, so that is done only where it does not
    follow from the file's end: while it records nothing is freed, and a file grows at its end
    only, in the order of writing.

    It is opened without HDF5's cache of chunks, so that blocks are not copied once more, and only
    what is new is written of a chunk that is not full. (Nobody else may have it open.)
    """

    def __init__(self, group: h5py.Group, name: str) -> None:
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        access.set_chunk_cache(1, 0, 1.0)
        super().__init__(h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access)))
        self._file = group.file.id
        self._chunk_bytes = self._tall * self.row_bytes
        self._confirmed = False  # that new chunks do stand at the file's end
        self._partial = -1  # where the chunk is that is not full
        if self.length % self._tall:
            self._partial = self._ask(self.length // self._tall)
        self._pieces: list[list[int]] = []

    def append(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """See Series.append."""
        first, before = self.length, self._file.get_filesize()
        new = self._new_chunks(sum(map(len, parts)))
        super().append(parts)
        if self.length == first:
            return
        chunk = first // self._tall
        places = [] if self._partial < 0 else [self._partial]
        places += self._new_places(chunk + len(places), new, before)
        for number, place in enumerate(places, chunk):
            inside = max(first - number * self._tall, 0)
            end = min(self.length - number * self._tall, self._tall)
            self._note(place + inside * self.row_bytes, (end - inside) * self.row_bytes)
        self._partial = places[-1] if self.length % self._tall else -1

    def _new_places(self, chunk: int, count: int, before: int) -> list[int]:
        """Return where so many new chunks are, the file having ended at `before`."""
        if not count:
            return []
        size = self._chunk_bytes
        if self._file.get_filesize() - before == count * size:  # nothing else came in between
            if not self._confirmed:
                self._confirmed = self._ask(chunk) == before
            if self._confirmed:
                return [before + number * size for number in range(count)]
        return self._between(
            chunk, self._ask(chunk), chunk + count - 1, self._ask(chunk + count - 1)
        )

    def _between(self, first: int, begin: int, last: int, end: int) -> list[int]:
        """Return where the chunks `first` (at `begin`) to `last` (at `end`) are; in order."""
        size, count = self._chunk_bytes, last - first
        if end - begin == count * size:
            return [begin + number * size for number in range(count + 1)]
        if count == 1:
            return [begin, end]
        middle = (first + last) // 2
        place = self._ask(middle)
        return [
            *self._between(first, begin, middle, place)[:-1],
            *self._between(middle, place, last, end),
        ]

    def places(self) -> npt.NDArray[np.uint64]:
        """Return where the records since the last call are: (pieces, 2), begin and bytes.

        All of them are there after `flush`, though not forced to disk.
        """
        pieces, self._pieces = self._pieces, []
        return np.array(pieces, dtype="<u8").reshape(-1, 2)

    def earlier(self, bounds: Sequence[int]) -> Iterator[npt.NDArray[np.uint64]]:
        """Yield where the records are from each of `bounds` to the next, as `places` does."""
        table = np.zeros(-(-self.length // self._tall), dtype=np.int64)

        def note(chunk: Any) -> None:
            table[chunk.chunk_offset[0] // self._tall] = chunk.byte_offset

        if len(table):
            self._id.chunk_iter(note)
        for first, last in pairwise(bounds):
            for number in range(first // self._tall, -(-last // self._tall)):
                begin = max(first - number * self._tall, 0)
                end = min(last - number * self._tall, self._tall)
                place = int(table[number]) + begin * self.row_bytes
                self._note(place, (end - begin) * self.row_bytes)
            yield self.places()

    def flush(self) -> None:
        """Hand small writes over, which HDF5 holds back."""
        self._id.flush()

    def _note(self, begin: int, size: int) -> None:
        if self._pieces and sum(self._pieces[-1]) == begin:
            self._pieces[-1][1] += size
        else:
            self._pieces.append([begin, size])

    def _ask(self, chunk: int) -> int:
        corner = (chunk * self._tall, *(0 for _ in self.shape))
        return int(self._id.get_chunk_info_by_coord(corner).byte_offset)
