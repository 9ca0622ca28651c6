"""Shots from a file, delivered again at a rate by a thread of their own, as a camera's card does.

For rehearsals and for the proof that a computer keeps up. The file is NumPy's .npz (no pickles):
`frames` (n, pixels) uint16, `energies_J` (n,), and if it likes `pixel_pitch_um`; after its last
shot it begins anew.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instruments.errors import ConfigError
from instruments.roles import Identity
from instruments.shot_buffer import ShotBuffer

_TICK_S = 0.01
_PATIENCE_S = 5.0


class RecordedShots:
    """A `ShotStream` (line_camera.py) of the shots in a file."""

    saturation_counts = 65535
    temperature_C = 20.0  # of nothing that is cooled

    def __init__(self, path: Path, rate_Hz: float, buffer_shots: int) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                frames, energies = np.array(file["frames"]), np.array(file["energies_J"])
                pitch = float(file["pixel_pitch_um"]) if "pixel_pitch_um" in file else 14.0
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ConfigError(
                f"no file of shots ({error}); wanted is an .npz with frames (n, pixels) uint16 and "
                "energies_J (n,)",
                file=str(path),
                key="instruments.camera.resource",
            ) from None
        if frames.ndim != 2 or frames.dtype != np.uint16 or energies.shape != frames.shape[:1]:
            raise ConfigError(
                f"frames are {frames.shape} {frames.dtype}, energies_J {energies.shape}; wanted "
                "are (n, pixels) uint16 and (n,)",
                file=str(path),
                key="instruments.camera.resource",
            )
        if not rate_Hz > 0.0:
            raise ConfigError(f"{rate_Hz} was given, above 0 is allowed", key="rate_Hz")
        self._frames, self._energies = frames, energies
        self.pixels, self.pixel_pitch_um, self.rate_Hz = frames.shape[1], pitch, rate_Hz
        self.identity = Identity("gainbench", "recorded shots", path.name)
        self._buffer = ShotBuffer(buffer_shots, self.pixels)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See ShotStream."""
        self.stop()
        self._buffer.begin()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._deliver, name="shots", daemon=True)
        self._thread.start()

    def read(self, shots: int) -> tuple[int, npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
        """See ShotStream."""
        return self._buffer.take(shots, _PATIENCE_S + shots / self.rate_Hz)

    def stop(self) -> None:
        """See ShotStream."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """See ShotStream."""
        self.stop()

    def _deliver(self) -> None:
        """Put what is due into the buffer, a hundred times a second; a camera does not wait."""
        begun, done, have = time.monotonic(), 0, len(self._frames)
        while not self._stopping.wait(_TICK_S):
            due = int((time.monotonic() - begun) * self.rate_Hz)
            while done < due:
                place = done % have
                count = min(due - done, have - place)
                chosen = slice(place, place + count)
                self._buffer.put(self._frames[chosen], self._energies[chosen])
                done += count
