"""Shots between the thread that receives them and the one that takes them away in blocks.

For drivers of detectors that never wait. The buffer is bounded: shots that find no room are lost,
and from then on whoever takes is told how many, until it is begun anew. Never a gap in silence.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import DeviceFault, NoReply


class ShotBuffer:
    """A ring of `shots` spectra of `pixels` counts with their pulse energies."""

    def __init__(self, shots: int, pixels: int) -> None:
        self._frames = np.empty((shots, pixels), dtype=np.uint16)
        self._energies = np.empty(shots)
        self._condition = threading.Condition()
        self.begin()

    def begin(self) -> None:
        """Forget everything; the next shot is number 0."""
        with self._condition:
            self._put = self._taken = self.lost = 0

    @property
    def most_waiting(self) -> int:
        """How many shots fit."""
        return len(self._energies)

    @property
    def waiting(self) -> int:
        """How many shots can be taken now."""
        return self._put - self._taken

    def put(self, frames: npt.NDArray[np.uint16], energies_J: Any) -> None:
        """Add shots (n, pixels), (n,); called by the receiving thread, never waits."""
        count, size = len(frames), self.most_waiting
        with self._condition:
            if self.lost or self._put - self._taken + count > size:
                self.lost += count
                self._condition.notify_all()
                return
            place = self._put % size
        # Outside the lock: nobody reads there before `_put` says so.
        whole = min(count, size - place)
        self._frames[place : place + whole] = frames[:whole]
        self._frames[: count - whole] = frames[whole:]
        self._energies[place : place + whole] = energies_J[:whole]
        self._energies[: count - whole] = energies_J[whole:]
        with self._condition:
            self._put += count
            self._condition.notify_all()

    def take(
        self, shots: int, timeout_s: float
    ) -> tuple[int, npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
        """Return (number of the first, frames, energies) of the next shots, a copy.

        Raises:
            DeviceFault: shots were lost. NoReply: there are fewer after `timeout_s`.
        """
        with self._condition:
            self._condition.wait_for(lambda: self.lost or self.waiting >= shots, timeout_s)
            if self.lost:
                raise DeviceFault(
                    f"{self.lost} shots or more were lost: they were read too late for a buffer "
                    f"of {self.most_waiting}; take fewer at a time, or keep fewer spectra"
                )
            if self.waiting < shots:
                raise NoReply(f"{self.waiting} of {shots} shots came within {timeout_s:g} s")
            first = self._taken
        size = self.most_waiting
        place = first % size
        whole = min(shots, size - place)
        frames = np.concatenate(
            (self._frames[place : place + whole], self._frames[: shots - whole])
        )
        energies = np.concatenate(
            (self._energies[place : place + whole], self._energies[: shots - whole])
        )
        with self._condition:
            self._taken += shots
        return first, frames, energies
