"""Noise keyed by what it belongs to, never drawn from a running stream.

For all simulated devices: the same (seed, device, number) gives the same draw in whatever order
it is asked for, so that a resumed run sees what the undisturbed run would have seen.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BLOCK = 4096


def generator(seed: int, device: str, number: int) -> np.random.Generator:
    """Return the generator that belongs to event `number` (exposure, move ...) of a device."""
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(device.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))


@lru_cache(maxsize=64)
def _block(seed: int, device: str, index: int) -> FloatArray:
    values = generator(seed, device, index).standard_normal(BLOCK)
    values.setflags(write=False)
    return values


def normals(seed: int, device: str, first: int, count: int) -> FloatArray:
    """Return standard normal values number `first` to `first + count - 1`, (count,)."""
    out = np.empty(count)
    filled = 0
    while filled < count:
        index, offset = divmod(first + filled, BLOCK)
        take = min(BLOCK - offset, count - filled)
        out[filled : filled + take] = _block(seed, device, index)[offset : offset + take]
        filled += take
    return out
