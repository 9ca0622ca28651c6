"""What the stand-ins for vendor libraries of CCD cameras share: cooled chip, series, faults.

For andor_sdk2.py and princeton_picam.py beside this. Each object takes the place of the wrapped
library inside pylablib (its `lib`), with one camera on it. They keep time (exposures, readout and
cooling take time on the bench's clock; waiting lets it run), refuse what the libraries refuse, by
their codes, and render frames from the World with the sensor's own noise. Not played: triggers from
outside, fast kinetics, frame transfer, metadata in frames.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from sim_drivers.noise import generator

Counts = npt.NDArray[np.uint16]
Rows = list[tuple[int, int]]

FAULTS = ("silence", "timeout", "stuck", "disconnect", "identity", "saturate", "sensor", "restart")
COOLING_TIME_S = 60.0
SETTLING_S = 30.0
TICK_S = 1e-6  # what rounding may take from a moment in seconds since 1970


# ---- the chip ---------------------------------------------------------------------------------


@dataclass
class Sensor:
    """A cooled CCD: temperature as a function of time, and the counts of an exposure."""

    clock: Clock
    world: Any
    seed: int
    device: str
    columns: int
    rows: int
    pitch_um: float
    temperature_C: float
    target_C: float
    ambient_C: float = 20.0
    dark_20C_e_per_s: float = 200.0
    bias_counts: float = 600.0
    cosmics_per_cm2_s: float = 0.02
    image_sigma_rows: float = 8.0
    saturate: bool = False
    _since_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._since_s = self.clock.now()
        centre = 0.5 * self.rows
        edges = np.arange(self.rows + 1) - centre
        scale = self.image_sigma_rows * math.sqrt(2.0)
        below = np.array([0.5 * (1.0 + math.erf(edge / scale)) for edge in edges])
        self._light_below = (below - below[0]) / (below[-1] - below[0])

    def temperature(self, at_s: float | None = None) -> float:
        """Return the true temperature (C)."""
        elapsed = max((self.clock.now() if at_s is None else at_s) - self._since_s, 0.0)
        return self.target_C + (self.temperature_C - self.target_C) * math.exp(
            -elapsed / COOLING_TIME_S
        )

    def reading(self) -> float:
        """Return what the thermometer shows (C)."""
        return self.temperature() + 0.02 * math.sin(self.clock.now() / 17.0)

    def aim(self, target_C: float) -> None:
        """Let the temperature go to another target."""
        if target_C != self.target_C:
            self.force(self.temperature(), target_C)

    def force(self, temperature_C: float, target_C: float) -> None:
        """Be at a temperature now."""
        self.temperature_C, self.target_C = temperature_C, target_C
        self._since_s = self.clock.now()

    def reached(self) -> bool:
        """Whether the temperature is within 1 K of its target."""
        return abs(self.temperature() - self.target_C) < 1.0

    def stable(self) -> bool:
        """Whether it has been at its target long enough."""
        distance = abs(self.temperature_C - self.target_C)
        if distance < 0.5:
            return True
        needed = COOLING_TIME_S * math.log(distance / 0.5) + SETTLING_S
        return self.clock.now() - self._since_s >= needed

    def expose(
        self,
        number: int,
        light_s: tuple[float, float],
        exposure_s: float,
        groups: Rows,
        columns: tuple[int, int, int],
        gain_e: float,
        read_noise_e: float,
    ) -> Counts:
        """Return the counts of exposure `number`, (groups, columns).

        light_s: when light fell on it (start, end); groups: rows (start, stop) that are binned
        into one; columns: start, stop, binning; gain_e: electrons a count.
        """
        rng = generator(self.seed, self.device, number)
        start, stop, binning = columns
        wide = (stop - start) // binning
        ends = np.array(groups, dtype=np.intp)
        height = (ends[:, 1] - ends[:, 0])[:, None]
        dark = self.dark_20C_e_per_s * 2.0 ** ((self.temperature() - 20.0) / 6.3)
        mean = np.broadcast_to(dark * exposure_s * height, (len(groups), self.columns))
        if light_s[1] > light_s[0]:
            light = self.world.ccd_electrons(
                light_s[0], light_s[1] - light_s[0], self.columns, self.pitch_um
            )
            share = self._light_below[ends[:, 1]] - self._light_below[ends[:, 0]]
            mean = mean + share[:, None] * light
        if (start, stop, binning) != (0, self.columns, 1):
            mean = mean[:, start : start + wide * binning]
            mean = mean.reshape(len(groups), wide, binning).sum(axis=2)
        electrons = rng.poisson(np.clip(mean, 0.0, 1e12)).astype(np.float64)
        self._add_cosmics(rng, electrons, exposure_s, groups, start, binning)
        noise = rng.standard_normal(electrons.shape)
        counts = self.bias_counts + (electrons + read_noise_e * noise) / gain_e
        if self.saturate:
            counts[:] = 65535.0
        whole: Counts = np.clip(np.rint(counts), 0.0, 65535.0).astype(np.uint16)
        return whole

    def _add_cosmics(
        self,
        rng: np.random.Generator,
        electrons: npt.NDArray[np.float64],
        exposure_s: float,
        groups: Rows,
        first_column: int,
        binning: int,
    ) -> None:
        area_cm2 = self.columns * self.rows * (self.pitch_um * 1e-4) ** 2
        for _ in range(int(rng.poisson(self.cosmics_per_cm2_s * area_cm2 * exposure_s))):
            column, row = int(rng.integers(self.columns)), int(rng.integers(self.rows))
            charge = 300.0 * (2e4 / 300.0) ** rng.random()
            split = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else 1.0
            for index, (start, stop) in enumerate(groups):
                if not start <= row < stop:
                    continue
                for pixel, part in ((column, split), (column + 1, 1.0 - split)):
                    place = (pixel - first_column) // binning
                    if 0 <= place < electrons.shape[1]:
                        electrons[index, place] += charge * part


@dataclass
class Series:
    """Frames that follow each other; frame i (from 0) begins at start_s + i * cycle_s."""

    start_s: float
    span_s: float
    """From the beginning of a frame's exposure to the end of its readout."""
    cycle_s: float
    frames: int | None
    """How many; None: until stopped."""

    def done(self, now: float) -> int:
        """Return how many frames are read out by `now`."""
        since = now + TICK_S - self.start_s - self.span_s
        count = math.floor(since / self.cycle_s) + 1 if since >= 0 else 0
        return count if self.frames is None else min(count, self.frames)

    def due(self, index: int) -> float:
        """Return when frame `index` (from 0) is read out."""
        return self.start_s + index * self.cycle_s + self.span_s


class Library:
    """What both stand-ins share: the sensor, its noise counter, faults, the library's errors."""

    FAULTS: ClassVar[frozenset[str]] = frozenset(FAULTS)
    STARTS: ClassVar[frozenset[str]]
    """The functions that start an acquisition: the exchanges of a fault with a probability."""
    OPENS: ClassVar[frozenset[str]]
    """The functions that look for cameras or open one."""
    DEVICE: ClassVar[str]
    ERROR: ClassVar[tuple[str, str]]  # where pylablib keeps the exception of this library

    def __init__(self, clock: Clock, sensor: Sensor) -> None:
        self.clock = clock
        self.sensor = sensor
        self.library_error: Callable[[str, int], Exception] | None = None
        """pylablib's exception class of this library; looked up in pylablib if not given."""
        self.exposures = 0
        self.on_call: Callable[[str], None] = lambda _function: None
        """Told of each call of the library, before it does anything."""
        self._faults: set[str] = set()
        self._series: Series | None = None

    def initlib(self) -> None:
        """Load the library: nothing to do."""

    def inject(self, kind: str | None) -> None:
        """Let one thing be wrong until `inject(None)`; see `fault`."""
        for other in list(self._faults):
            self.fault(other, False)
        if kind:
            self.fault(kind, True)

    def fault(self, kind: str, active: bool) -> None:
        """Begin or end a fault of FAULTS.

        silence, timeout, stuck: no frame is ever ready; disconnect: every call fails; identity:
        another serial number; saturate: every pixel is full; sensor: the cooling fails; restart:
        the power is gone for a moment.
        """
        if kind not in FAULTS:
            raise ValueError(f"{kind!r} is not played by a camera; allowed: {', '.join(FAULTS)}")
        (self._faults.add if active else self._faults.discard)(kind)
        self.sensor.saturate = "saturate" in self._faults
        if kind == "restart" and active:
            self.restart()

    def restart(self) -> None:
        """Cut the power for a moment: the handle is dead, settings and cooling are gone."""
        raise NotImplementedError

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again: exposures taken, sensor temperature (C)."""
        return {
            "exposures": float(self.exposures),
            "temperature_C": self.sensor.temperature(),
            "target_C": self.sensor.target_C,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        self.exposures = int(state["exposures"])
        self.sensor.force(state["temperature_C"], state["target_C"])

    @property
    def _mute(self) -> bool:
        return not self._faults.isdisjoint(("silence", "timeout", "stuck"))

    def _fail(self, function: str, code: int) -> Exception:
        if self.library_error is None:
            module, name = self.ERROR
            self.library_error = getattr(importlib.import_module(module), name)
        return self.library_error(function, code)
