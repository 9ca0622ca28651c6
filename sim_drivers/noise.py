"""Noise keyed by what it belongs to, never drawn from a running stream.

For all simulated devices: the same (seed, device, number) gives the same draw in whatever order
it is asked for, so that a resumed run sees what the undisturbed run would have seen. What belongs
to the bench (errors of its calibration, of its gears) is drawn by the seed alone; what happens in
a run by the seed and the run's own `draw`.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BLOCK = 4096


class Seed(int):
    """The seed of a bench, shared by all of its devices; `draw` tells one run's noise from another.

    A plain int is a seed whose draw is 0.
    """

    draw = 0


def generator(seed: int, device: str, number: int) -> np.random.Generator:
    """Return the generator that belongs to event `number` (exposure, move ...) of a device."""
    return _generator(int(seed), getattr(seed, "draw", 0), device, number)


def _generator(seed: int, draw: int, device: str, number: int) -> np.random.Generator:
    what = zlib.crc32(device.encode()) | (draw & 0xFFFFFFFF) << 32
    key = np.array([seed & 0xFFFFFFFFFFFFFFFF, what], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number]))


@lru_cache(maxsize=64)
def _block(seed: int, draw: int, device: str, index: int) -> FloatArray:
    values = _generator(seed, draw, device, index).standard_normal(BLOCK)
    values.setflags(write=False)
    return values


def normals(seed: int, device: str, first: int, count: int) -> FloatArray:
    """Return standard normal values number `first` to `first + count - 1`, (count,)."""
    out = np.empty(count)
    filled, whole, draw = 0, int(seed), getattr(seed, "draw", 0)
    while filled < count:
        index, offset = divmod(first + filled, BLOCK)
        take = min(BLOCK - offset, count - filled)
        out[filled : filled + take] = _block(whole, draw, device, index)[offset : offset + take]
        filled += take
    return out
