"""The simulated line camera: every shot of the World as a spectrum, with its pulse energy.

Stands where a vendor's library does (start, read, stop). Its buffer is bounded: who reads too late
has lost shots and is told so. Counts are photo-electrons over a gain on an offset, with shot noise
and read noise; the energy detector adds its own noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from instruments.errors import DeviceFault, NoReply
from instruments.roles import Identity
from sim_drivers.noise import generator
from sim_drivers.world import World

_GAIN_E, _OFFSET, _READ_NOISE = 4.0, 200.0, 2.5
_ENERGY_NOISE = 0.003  # of the energy detector, relative, a shot
_MANY_E = 50.0  # beyond, shot noise is taken as normal
_CHUNK = 1000  # shots rendered at a time
_PATIENCE_S = 5.0
FAULTS = ("silence", "timeout", "disconnect")


class SimulatedShots:
    """What the driver of a line camera calls (its `sdk`).

    Args:
        clock, world, seed: as every simulated device. buffer_shots: what the card keeps unread.
    """

    FAULTS = FAULTS
    pixels, pixel_pitch_um, saturation_counts = 1340, 14.0, 65535
    temperature_C = 24.0

    def __init__(
        self, clock: Clock, world: World, seed: int = 0, buffer_shots: int = 20_000
    ) -> None:
        self.clock, self.world, self.seed = clock, world, seed
        self.buffer_shots = buffer_shots
        self.identity = Identity("Simulated", "line camera 1340", "LC-0001")
        self._next: int | None = None
        self._first = 0
        self._faults: set[str] = set()

    @property
    def rate_Hz(self) -> float:
        """Read with every shot of the laser."""
        return self.world.pump.repetition_rate_Hz

    def start(self) -> None:
        """Deliver the shots from now on."""
        self._first = self._next = self.world.source.shot_number(self.clock.now())

    def read(self, shots: int) -> tuple[int, npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
        """Let the shots come, and return them."""
        if self._next is None:
            raise DeviceFault("line camera: it was not started")
        if self._faults:
            self.clock.sleep(_PATIENCE_S)
            raise NoReply(f"line camera: no shots came within {_PATIENCE_S:g} s")
        first = self._next
        self.clock.sleep_until(self.world.source.shot_time_s(first + shots))
        late = self.world.source.shot_number(self.clock.now()) - first
        if late > max(self.buffer_shots, shots + 1):
            raise DeviceFault(
                f"{late - self.buffer_shots} shots or more were lost: they were read too late for "
                f"a buffer of {self.buffer_shots}"
            )
        self._next = first + shots
        frames = np.empty((shots, self.pixels), dtype=np.uint16)
        energies = np.empty(shots)
        for begun in range(0, shots, _CHUNK):
            part = slice(begun, min(begun + _CHUNK, shots))
            self._render(first + begun, frames[part], energies[part])
        return first - self._first, frames, energies

    def _render(
        self, first: int, frames: npt.NDArray[np.uint16], energies: npt.NDArray[np.float64]
    ) -> None:
        electrons, true_J = self.world.shot_electrons(
            first, len(frames), self.pixels, self.pixel_pitch_um
        )
        rng = generator(self.seed, "line camera", first)
        noise = rng.standard_normal(electrons.shape, dtype=np.float32)
        few = electrons.max(axis=0) < _MANY_E
        seen = np.sqrt(electrons + np.float32((_GAIN_E * _READ_NOISE) ** 2))
        seen *= noise
        seen += electrons
        if few.any():
            own = rng.poisson(electrons[:, few])
            seen[:, few] = own + _GAIN_E * _READ_NOISE * noise[:, few]
        seen /= _GAIN_E
        seen += _OFFSET + 0.5  # the cast below cuts off
        np.clip(seen, 0.0, self.saturation_counts, out=seen)
        np.copyto(frames, seen, casting="unsafe")
        energies[:] = true_J * (1.0 + _ENERGY_NOISE * rng.standard_normal(len(frames)))

    def fault(self, kind: str, active: bool) -> None:
        """Begin or end a fault of FAULTS: no shots come."""
        if kind not in FAULTS:
            raise ValueError(f"{kind!r} is not played by a line camera; allowed: {FAULTS}")
        (self._faults.add if active else self._faults.discard)(kind)

    def stop(self) -> None:
        """Deliver no more."""
        self._next = None

    def close(self) -> None:
        """Nothing to release."""

    def state(self) -> dict[str, float]:
        """Nothing of its own: everything is keyed by the number of the shot."""
        return {}

    def restore(self, state: dict[str, float]) -> None:
        """See `state`."""
