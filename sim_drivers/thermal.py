"""The cold part of a closed-cycle cryostat: cold head, stage, sample.

For the simulated temperature controller. Three lumps in a row with heat capacities that fall as
they do in solids (Debye), a cold head whose cooling power dies away towards its base temperature,
heat leaks, the heater on the stage and the pump light in the sample. From room temperature to 10 K
takes about an hour and a quarter. The numbers are our own choice for a head of the 10 K class; they
belong to no product. Stops at the lumps: sensors and regulation are the controller's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

HOTTEST_K = 900.0
_GRID_PER_K = 4
_GAS_CONSTANT = 8.314  # J/mol/K


@dataclass(frozen=True)
class Solid:
    """A solid by Debye temperature (K), molar mass per atom (g), electronic term (J/mol/K2)."""

    debye_K: float
    molar_g: float
    electronic: float = 0.0


COPPER = Solid(343.0, 63.55, 6.95e-4)
SAPPHIRE = Solid(1047.0, 20.39)


def debye_capacity(solid: Solid, temperature_K: float) -> float:
    """Return the specific heat (J/g/K) at a temperature (K, above zero)."""
    u = (np.arange(400) + 0.5) / 400.0  # midpoints of the reduced phonon energy
    x = u * solid.debye_K / temperature_K
    # x^2 e^x / (e^x - 1)^2, without overflow
    einstein = np.square(0.5 * x / np.sinh(np.minimum(0.5 * x, 300.0)))
    lattice = 9.0 * _GAS_CONSTANT * float(np.mean(np.square(u) * einstein))
    return (lattice + solid.electronic * temperature_K) / solid.molar_g


def _specific_table(solid: Solid) -> list[float]:
    grid = np.arange(0, int(HOTTEST_K) * _GRID_PER_K + 2) / _GRID_PER_K
    coarse = np.geomspace(0.2, HOTTEST_K + 1.0, 400)
    values = [debye_capacity(solid, float(t)) for t in coarse]
    return [float(v) for v in np.interp(np.maximum(grid, 0.2), coarse, values)]


_COPPER = _specific_table(COPPER)
_SAPPHIRE = _specific_table(SAPPHIRE)


class Lump:
    """A piece of the cryostat at one temperature; `copper_g` and `sapphire_g` of mass."""

    def __init__(self, temperature_K: float, copper_g: float, sapphire_g: float = 0.0) -> None:
        self.temperature_K = temperature_K
        self._table = [
            copper_g * c + sapphire_g * s for c, s in zip(_COPPER, _SAPPHIRE, strict=True)
        ]

    def capacity_J_K(self) -> float:
        """Return the heat capacity at the temperature now (J/K)."""
        place = self.temperature_K * _GRID_PER_K
        index = int(place)
        low = self._table[index]
        return low + (place - index) * (self._table[index + 1] - low)


# What the cold head takes away (W) at its own temperature (K).
_HEAD_K = (0.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 40.0, 80.0, 150.0, 300.0, HOTTEST_K)
_HEAD_W = (0.0, 0.0, 0.35, 0.75, 1.6, 2.5, 4.6, 6.5, 13.0, 22.0, 30.0, 38.0, 38.0)


def cooling_power_W(head_K: float) -> float:
    """Return what the cold head takes away at its temperature (W)."""
    index = min(bisect_right(_HEAD_K, head_K), len(_HEAD_K) - 1)
    low, high = _HEAD_K[index - 1], _HEAD_K[index]
    share = (head_K - low) / (high - low)
    return _HEAD_W[index - 1] + share * (_HEAD_W[index] - _HEAD_W[index - 1])


def _cooling_slope(head_K: float) -> float:
    index = min(bisect_right(_HEAD_K, head_K), len(_HEAD_K) - 1)
    return (_HEAD_W[index] - _HEAD_W[index - 1]) / (_HEAD_K[index] - _HEAD_K[index - 1])


@dataclass(frozen=True)
class Build:
    """How a cryostat is built: masses (g), links (W/K), leaks (radiation W, leads W/K)."""

    head_copper_g: float = 1300.0
    stage_copper_g: float = 250.0
    sample_copper_g: float = 2.0
    sample_sapphire_g: float = 0.4
    head_to_stage_W_K: float = 1.2
    stage_to_sample_W_K: float = 0.05
    radiation_W: float = 0.15  # on the stage, from a room at 295 K
    leads_W_K: float = 5e-4
    window_W: float = 2e-3  # on the sample
    room_K: float = 295.0


class Cryostat:
    """Cold head, stage and sample; `advance` lets time pass.

    Args:
        start_K: of all three.
        build: how it is built.
        compressor: whether the cold head runs.
    """

    TOLERANCE = 0.002  # largest relative change of a temperature in one step

    def __init__(
        self, start_K: float = 295.0, build: Build | None = None, compressor: bool = True
    ) -> None:
        self.build = build = build if build is not None else Build()
        self.compressor = compressor
        self.head = Lump(start_K, build.head_copper_g)
        self.stage = Lump(start_K, build.stage_copper_g)
        self.sample = Lump(start_K, build.sample_copper_g, build.sample_sapphire_g)
        self._step_s = 0.1
        self.steps = 0

    @property
    def lumps(self) -> tuple[Lump, Lump, Lump]:
        """The three, from cold to warm."""
        return self.head, self.stage, self.sample

    def flows_W(self, heater_W: float = 0.0, pump_W: float = 0.0) -> tuple[float, float, float]:
        """Return the net heat flow into head, stage and sample (W)."""
        b, head, stage = self.build, self.head.temperature_K, self.stage.temperature_K
        sample = self.sample.temperature_K
        away = cooling_power_W(head) if self.compressor else 0.0
        across = b.head_to_stage_W_K * (stage - head)
        to_sample = b.stage_to_sample_W_K * (stage - sample)
        shine = 1.0 - (stage / b.room_K) ** 4
        leak = b.radiation_W * shine + b.leads_W_K * (b.room_K - stage)
        window = b.window_W * (1.0 - (sample / b.room_K) ** 4)
        return across - away, heater_W + leak - across - to_sample, to_sample + pump_W + window

    def rates_K_s(self, heater_W: float = 0.0, pump_W: float = 0.0) -> tuple[float, float, float]:
        """Return how fast head, stage and sample warm up (K/s)."""
        flows = self.flows_W(heater_W, pump_W)
        head, stage, sample = (
            flow / lump.capacity_J_K() for flow, lump in zip(flows, self.lumps, strict=True)
        )
        return head, stage, sample

    def advance(self, seconds: float, heater_W: float = 0.0, pump_W: float = 0.0) -> None:
        """Let time pass with steady powers, in steps as long as the accuracy allows."""
        left = seconds
        while left > 1e-9:
            step = min(self._step_s, left)
            changes = self._implicit(step, heater_W, pump_W)
            worst = max(
                abs(change) / (self.TOLERANCE * lump.temperature_K)
                for change, lump in zip(changes, self.lumps, strict=True)
            )
            if worst > 1.0 and step > 1e-3:
                self._step_s = max(step * max(0.8 / worst, 0.2), 1e-3)
                continue
            for change, lump in zip(changes, self.lumps, strict=True):
                lump.temperature_K = min(max(lump.temperature_K + change, 1.0), HOTTEST_K - 1.0)
            left -= step
            self.steps += 1
            if worst < 0.5:  # a step that the end of the time cut short may not shorten the next
                self._step_s = min(max(self._step_s, 2.0 * step), 60.0)

    def _implicit(self, step_s: float, heater_W: float, pump_W: float) -> tuple[float, ...]:
        """Return the changes of the three temperatures (K) in one linearised implicit step.

        The sample's time constant is some milliseconds at 10 K; an explicit step would have to
        be shorter than that for hours.
        """
        b = self.build
        to_head, to_stage, to_sample = self.flows_W(heater_W, pump_W)
        link, thin = b.head_to_stage_W_K, b.stage_to_sample_W_K
        stage_K = self.stage.temperature_K
        leak = 4.0 * b.radiation_W * stage_K**3 / b.room_K**4 + b.leads_W_K
        cooling = _cooling_slope(self.head.temperature_K) if self.compressor else 0.0
        sample = self.sample.capacity_J_K() / step_s + thin
        stage = self.stage.capacity_J_K() / step_s + link + thin + leak - thin * thin / sample
        onto_stage = to_stage + thin * to_sample / sample
        head = self.head.capacity_J_K() / step_s + link + cooling - link * link / stage
        d_head = (to_head + link * onto_stage / stage) / head
        d_stage = (onto_stage + link * d_head) / stage
        return d_head, d_stage, (to_sample + thin * d_stage) / sample

    def heat_J(self) -> float:
        """Return the heat stored in the three above 0 K (J), to check balances."""
        total = 0.0
        for lump in self.lumps:
            steps = max(int(20 * lump.temperature_K), 1)
            width = lump.temperature_K / steps
            here = lump.temperature_K
            for index in range(steps):
                lump.temperature_K = (index + 0.5) * width
                total += lump.capacity_J_K() * width
            lump.temperature_K = here
        return total

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again."""
        return {
            "head_K": self.head.temperature_K,
            "stage_K": self.stage.temperature_K,
            "sample_K": self.sample.temperature_K,
            "step_s": self._step_s,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        self.head.temperature_K = state["head_K"]
        self.stage.temperature_K = state["stage_K"]
        self.sample.temperature_K = state["sample_K"]
        self._step_s = state["step_s"]


def heater_power_W(percent: float, full_W: float) -> float:
    """Return the power of a heater whose output is a percentage of its full current (W)."""
    share = min(max(percent, 0.0), 100.0) / 100.0
    return full_W * math.pow(share, 2)
