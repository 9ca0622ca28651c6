"""A line camera read with every laser shot, with a detector of the pulse energy on the same card.

The vendors' libraries differ; what is wanted of each is a `ShotStream`: what it is, start, read,
stop. A lab wraps its own in one and hands it to this class (`docs/adding-an-instrument.md` says how
a driver is registered). Two are here: the simulated one (resource "sim"), and `RecordedShots`,
which replays a file of shots at a rate, to rehearse a night or to prove that a computer keeps up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock, WallClock
from instruments.drivers.recorded_shots import RecordedShots
from instruments.errors import LimitError, NotReady
from instruments.roles import Exposure, Identity, Limits, Setting, ShotBlock, ShotCamera, Status

MOST_FRAMES = 1_000_000


class ShotStream(Protocol):
    """What a line camera's library must do. Shots are counted from 0 since `start`."""

    identity: Identity
    pixels: int
    pixel_pitch_um: float
    saturation_counts: int
    rate_Hz: float
    temperature_C: float

    def start(self) -> None:
        """Deliver every shot from now on."""

    def read(self, shots: int) -> tuple[int, npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
        """Return (number of the first, frames (n, pixels), energies (n,) J) of the next shots.

        Raises DeviceFault if shots were lost, NoReply if none come.
        """

    def stop(self) -> None:
        """End it, at any time."""

    def close(self) -> None:
        """Release it, more than once."""


class LineCamera(ShotCamera):
    """A line camera as the camera of the bench: exposures are whole shots, summed.

    Args:
        resource: a file of shots to replay (.npz with `frames`, `energies_J`).
        rate_Hz: at which the file is replayed. buffer_shots: what waits for being read at most.
    """

    def __init__(
        self,
        resource: str = "",
        *,
        clock: Clock | None = None,
        sdk: Any = None,
        rate_Hz: float = 1000.0,
        buffer_shots: int = 20_000,
    ) -> None:
        self.clock = clock or WallClock()
        self._resource, self._rate_Hz, self._buffer_shots = resource, rate_Hz, buffer_shots
        self._stream: ShotStream | None = sdk
        self._running = False
        self._exposure_shots = 1
        self._begun_s = 0.0
        self._sealed = True

    def connect(self) -> None:
        """Open it."""
        if self._stream is None:
            self._stream = RecordedShots(Path(self._resource), self._rate_Hz, self._buffer_shots)

    def _need(self) -> ShotStream:
        if self._stream is None:
            raise NotReady("line camera: it is not open; connect it first")
        return self._stream

    # ---- single shots -----------------------------------------------------------------------

    @property
    def rate_Hz(self) -> float:
        """See ShotCamera."""
        return self._need().rate_Hz

    def start_shots(self) -> None:
        """See ShotCamera."""
        stream = self._need()
        if self._running:
            raise NotReady("line camera: it delivers shots already; stop it first")
        stream.start()
        self._running, self._begun_s = True, self.clock.now()

    def read_shots(self, shots: int) -> ShotBlock:
        """See ShotCamera."""
        if not self._running:
            raise NotReady("line camera: shots are read that were not started")
        Limits(1, MOST_FRAMES, "").check("shots", shots)
        stream = self._need()
        first, frames, energies = stream.read(shots)
        return ShotBlock(first, frames, energies, self._begun_s + first / stream.rate_Hz)

    def stop_shots(self) -> None:
        """See ShotCamera."""
        if self._stream is not None:
            self._stream.stop()
        self._running = False

    # ---- as any camera ------------------------------------------------------------------------

    @property
    def pixels(self) -> int:
        """See Camera."""
        return self._need().pixels

    @property
    def pixel_pitch_um(self) -> float:
        """See Camera."""
        return self._need().pixel_pitch_um

    @property
    def saturation_counts(self) -> int:
        """See Camera."""
        return self._need().saturation_counts

    @property
    def exposure_s(self) -> float:
        """See Camera."""
        return self._exposure_shots / self.rate_Hz

    def set_exposure_s(self, exposure_s: float) -> float:
        """See Camera: a whole number of shots."""
        self.limits["exposure_s"].check("exposure", exposure_s)
        self._exposure_shots = max(round(exposure_s * self.rate_Hz), 1)
        return self.exposure_s

    def acquire(self, frames: int = 1) -> Exposure:
        """See Camera; the shots of each exposure are summed, and cut off at saturation."""
        if frames != int(frames):
            raise LimitError(f"frames: {frames} was asked, a whole number is needed")
        self.limits["frames"].check("frames", frames)
        each, full = self._exposure_shots, self.saturation_counts
        summed = np.empty((frames, self.pixels), dtype=np.uint16)
        self.start_shots()
        try:
            for number in range(frames):
                block = self.read_shots(each)
                summed[number] = np.minimum(block.frames.sum(axis=0, dtype=np.uint64), full)
        finally:
            self.stop_shots()
        start_s = self._begun_s
        return Exposure(summed, self.exposure_s, full, start_s, self.clock.now())

    def abort(self) -> None:
        """See Camera."""
        self.stop_shots()

    @property
    def temperature_C(self) -> float:
        """See Camera; line cameras are seldom cooled."""
        return float(self._need().temperature_C)

    def wait_until_cold(self, timeout_s: float) -> None:
        """Not needed."""

    # ---- as any instrument --------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """See Role."""
        return self._need().identity

    def status(self) -> Status:
        """See Role."""
        return Status(True, "delivers shots" if self._running else "ready")

    @property
    def limits(self) -> Mapping[str, Limits]:
        """See Role: an exposure is a shot to a second of them."""
        return {
            "exposure_s": Limits(1.0 / self.rate_Hz, max(1.0, 1.0 / self.rate_Hz), "s"),
            "frames": Limits(1, 10_000, ""),
        }

    def make_safe(self) -> None:
        """See Role."""
        self.stop_shots()

    def snapshot(self) -> dict[str, Setting]:
        """See Role."""
        stream = self._need()
        return {
            "exposure_s": Setting(self.exposure_s, "s"),
            "rate_Hz": Setting(float(stream.rate_Hz), "Hz"),
            "pixels": Setting(stream.pixels),
            "pixel_pitch_um": Setting(float(stream.pixel_pitch_um), "um"),
            "saturation_counts": Setting(stream.saturation_counts),
        }

    def close(self) -> None:
        """See Role."""
        if self._stream is not None:
            self.stop_shots()
            self._stream.close()
