"""The plan of a long exposure, made point by point when asked for: millions of blocks cost nothing.

For photostability. A sequence of points as any other plan; what is measured before and after the
exposure are points of its own, and the schedule says whose spectra are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from procedures.measurement import Point


@dataclass(frozen=True)
class Schedule:
    """Which blocks of an exposure keep their spectra.

    The first and the last; every n-th (`every`, 0: none by this rule); and `per_decade` of them
    evenly over each decade of blocks.
    """

    blocks: int
    every: int
    per_decade: int

    @cached_property
    def _logarithmic(self) -> frozenset[int]:
        if not self.per_decade:
            return frozenset()
        steps = math.ceil(math.log10(max(self.blocks, 1)) * self.per_decade)
        found = (10.0 ** (step / self.per_decade) for step in range(steps + 1))
        return frozenset(min(round(one), self.blocks) - 1 for one in found)

    def keeps(self, block: int) -> bool:
        """Whether the spectrum of a block, counted from 0, is kept."""
        if block in (0, self.blocks - 1) or block in self._logarithmic:
            return True
        return bool(self.every) and (block + 1) % self.every == 0


@dataclass(frozen=True)
class ExposurePlan(Sequence[Point]):
    """Points before, a block for each `shots_per_block` of `shots`, points after.

    block: what all blocks have in common.
    """

    before: tuple[Point, ...]
    block: Point
    shots: int
    shots_per_block: int
    schedule: Schedule
    after: tuple[Point, ...]

    def __len__(self) -> int:
        return len(self.before) + self.schedule.blocks + len(self.after)

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | Sequence[Point]:
        """Return one point, or a list of some."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        number -= len(self.before)
        if number < 0:
            return self.before[number]
        if number >= self.schedule.blocks:
            return self.after[number - self.schedule.blocks]
        return {
            **self.block,
            "shots": min((number + 1) * self.shots_per_block, self.shots),
            "keep": int(self.schedule.keeps(number)),
        }
