"""A series of a run file as its writer appends to it: straight to HDF5, and told where it went.

For the writer. Goes below h5py's indexing, which costs more than the write itself does where few
records come at a time; stops at the one series: what belongs together is the writer's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


class Series:
    """A dataset, (records, ...), in chunks of whole records; opened for writing.

    by_place: its values are not written to the journal, which says where they are in the file.
    """

    def __init__(self, dataset: h5py.Dataset, *, by_place: bool = False) -> None:
        self.by_place = by_place
        self.dtype = dataset.dtype
        self.shape = tuple(dataset.shape[1:])
        self.length = int(dataset.shape[0])
        self.row_bytes = int(np.prod(self.shape, dtype=np.int64)) * int(self.dtype.itemsize)
        self._id = dataset.id
        self._tall = int(dataset.chunks[0])

    def growth(self, more: int) -> int:
        """Return how many bytes the file grows by at most for so many records: chunks, index."""
        chunks = -(-(self.length + more) // self._tall) - self.length // self._tall
        return chunks * (self._tall * self.row_bytes + 64)

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

    def places(self, first: int) -> npt.NDArray[np.uint64]:
        """Return where in the file the records from `first` on are: (pieces, 2), begin and bytes.

        All of them are with the system then, though not forced to disk. A chunk that is not
        compressed stays where it is, whatever comes after it.
        """
        self._id.flush()
        zeros = (0,) * len(self.shape)
        pieces: list[list[int]] = []
        while first < self.length:
            chunk, inside = divmod(first, self._tall)
            count = min(self._tall - inside, self.length - first)
            address = self._id.get_chunk_info_by_coord((chunk * self._tall, *zeros)).byte_offset
            begin, size = int(address) + inside * self.row_bytes, count * self.row_bytes
            if pieces and sum(pieces[-1]) == begin:
                pieces[-1][1] += size
            else:
                pieces.append([begin, size])
            first += count
        return np.array(pieces, dtype="<u8").reshape(-1, 2)
