"""The chip of a simulated HORIBA CCD: temperature, and the counts of an exposure.

For `icl_ccd`. Noise is keyed by the number of the exposure. Readout times, noise and full well are
plausible for such cameras, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from sim_drivers.noise import FloatArray, generator

_BIAS_COUNTS = 600.0
_COOLING_TIME_S = 60.0
_DARK_20C_E_PER_S = 200.0  # a pixel
_COSMICS_PER_CM2_S = 0.02
_IMAGE_SIGMA_ROWS = 8.0
_FULL_WELL_E = 600_000.0  # of the readout register

# token -> words, electrons a count
GAINS = {
    2: ("High Sensitivity", 2.3),
    0: ("High Light", 9.2),
    1: ("Best Dynamic Range", 4.6),
}
# token -> words, pixels a second, read noise (electrons)
SPEEDS = {
    2: (" 1 MHz Ultra ", 1e6, 20.0),
    127: ("500 kHz Wrap", 5e5, 15.0),
    0: ("45 kHz       ", 4.5e4, 4.0),
    1: (" 1 MHz       ", 1e6, 12.0),
}
# token -> words, seconds a row
PARALLEL_SPEEDS = {
    1: ("9.6 \u00b5Sec", 9.6e-6),
    2: ("4.9 \u00b5Sec", 4.9e-6),
    0: ("19 \u00b5Sec", 19e-6),
}


class Chip:
    """A cooled sensor of `pixels` columns and `rows` rows."""

    def __init__(
        self,
        clock: Clock,
        world: Any,
        seed: int,
        size: tuple[int, int],
        pitch_um: float,
        temperature_C: float,
        target_C: float,
    ) -> None:
        self.clock, self.world, self.seed = clock, world, seed
        self.pixels, self.rows = size
        self.pitch_um = pitch_um
        self.target_C = target_C
        self.saturate = False
        self._chilled = (clock.now(), temperature_C)

    def temperature_C(self) -> float:
        """Return the true temperature (C)."""
        since, start = self._chilled
        fall = math.exp(-max(self.clock.now() - since, 0.0) / _COOLING_TIME_S)
        return self.target_C + (start - self.target_C) * fall

    def reading_C(self) -> float:
        """Return what the thermometer shows (C), in single precision."""
        return float(np.float32(self.temperature_C() + 0.02 * math.sin(self.clock.now() / 17.0)))

    def warm_up(self, temperature_C: float) -> None:
        """Be at a temperature now, and cool down again."""
        self._chilled = (self.clock.now(), temperature_C)

    def readout_s(self, lines: int, speed: int, parallel_speed: int) -> float:
        """Return how long reading a frame of some lines takes (s)."""
        shifting = self.rows * PARALLEL_SPEEDS[parallel_speed][1]
        return shifting + lines * self.pixels / SPEEDS[speed][1]

    def expose(
        self,
        number: int,
        light_from_s: float | None,
        exposure_s: float,
        region: Mapping[str, int],
        gain: int,
        speed: int,
    ) -> npt.NDArray[np.int64]:
        """Return the counts of exposure `number`, (lines, columns) of the region.

        light_from_s: when the shutter was opened; None: it was not.
        """
        rng = generator(self.seed, "syncerity", number)
        light: FloatArray = np.zeros(self.pixels)
        if light_from_s is not None:
            light = self.world.ccd_electrons(light_from_s, exposure_s, self.pixels, self.pitch_um)
        dark = _DARK_20C_E_PER_S * 2.0 ** ((self.temperature_C() - 20.0) / 6.3) * exposure_s
        bins = region["yBin"]
        edges = region["yOrigin"] + bins * np.arange(region["ySize"] // bins + 1)
        below = np.array([self._light_below(float(edge)) for edge in edges])
        mean = np.diff(below)[:, None] * light + dark * bins
        wide = region["xSize"] // region["xBin"]
        mean = mean[:, region["xOrigin"] : region["xOrigin"] + wide * region["xBin"]]
        mean = mean.reshape(len(mean), wide, region["xBin"]).sum(axis=2)
        electrons = rng.poisson(np.clip(mean, 0.0, 1e12)).astype(np.float64)
        area_cm2 = electrons.size * region["xBin"] * bins * (self.pitch_um * 1e-4) ** 2
        for _ in range(int(rng.poisson(_COSMICS_PER_CM2_S * exposure_s * area_cm2))):
            row, column = int(rng.integers(len(mean))), int(rng.integers(wide))
            electrons[row, column] += 300.0 * (2e4 / 300.0) ** rng.random()
        electrons = np.minimum(electrons, _FULL_WELL_E)
        noise = SPEEDS[speed][2] * rng.standard_normal(electrons.shape)
        counts = _BIAS_COUNTS + (electrons + noise) / GAINS[gain][1]
        if self.saturate:
            counts[:] = 65535.0
        whole: npt.NDArray[np.int64] = np.clip(np.rint(counts), 0.0, 65535.0).astype(np.int64)
        return whole

    def _light_below(self, row: float) -> float:
        """Return the share of a column's light that falls below a row."""
        scale = _IMAGE_SIGMA_ROWS * math.sqrt(2.0)
        half = 0.5 * self.rows
        full = math.erf(half / scale)
        return 0.5 * (1.0 + math.erf((row - half) / scale) / full)
