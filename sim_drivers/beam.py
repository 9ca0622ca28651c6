"""The pump as it is: what each shot carries, and which shots get past shutter and gate.

For the World. Shots are numbered from the beginning of bench time, their energies keyed by number,
so that whoever asks sees the same shot. Attenuator, area and sample are the World's business.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from sim_drivers.noise import FloatArray, generator, normals

_EDGE = 1e-4  # of a period: a shot this little before a moment counts as at it (time is a float)


@dataclass(frozen=True)
class Pump:
    """What the pump is said to be (the bench file), before the errors of its calibration."""

    wavelength_nm: float
    repetition_rate_Hz: float
    full_pulse_energy_J: float
    area_cm2: float
    full_length_cm: float
    energy_rel_unc: float
    area_rel_unc: float
    pick_off_ratio: float = 1.0
    pulse_width_s: float = 100e-15


class Windows:
    """Spans of bench time, in order and apart: when something was, is or will be open."""

    def __init__(self, kept: int = 4096) -> None:
        self._spans: deque[tuple[float, float]] = deque(maxlen=kept)

    def open(self, from_s: float, to_s: float = math.inf) -> None:
        """Add a span; one that begins before the last ends carries that on."""
        if not to_s > from_s:
            return
        while self._spans and self._spans[-1][1] >= from_s:
            begun, ended = self._spans.pop()
            from_s, to_s = min(begun, from_s), max(ended, to_s)
        self._spans.append((from_s, to_s))

    def close(self, at_s: float) -> None:
        """End whatever is open at that time, and drop what was to open later."""
        while self._spans and self._spans[-1][1] > at_s:
            begun, _ = self._spans.pop()
            if begun < at_s:
                self._spans.append((begun, at_s))
                return

    def at(self, time_s: float) -> bool:
        """Return whether it is open at a time."""
        return any(begun <= time_s < ended for begun, ended in self._spans)

    def within(self, from_s: float, to_s: float) -> list[tuple[float, float]]:
        """Return what of the spans lies between two times, in order."""
        found = []
        for begun, ended in reversed(self._spans):
            if ended <= from_s:
                break
            if begun < to_s:
                found.append((max(begun, from_s), min(ended, to_s)))
        return found[::-1]

    def shift(self, by_s: float) -> None:
        """Move all spans in time, as a clock that is set does."""
        moved = [(begun + by_s, ended + by_s) for begun, ended in self._spans]
        self._spans.clear()
        self._spans.extend(moved)


class Source:
    """The laser: energies of numbered shots, slow drift, and what fails."""

    def __init__(
        self, pump: Pump, pulse_noise: float, drift_per_hour: float, seed: int, start_s: float
    ) -> None:
        self.pump = pump
        self.pulse_noise = pulse_noise
        self.drift_per_hour = drift_per_hour
        self.seed = seed
        self.start_s = start_s
        self._off = Windows()
        self._running_away: tuple[float, float] | None = None  # since when, 1/s
        self._phases = generator(seed, "drift", 0).uniform(0.0, 2.0 * math.pi, 3)
        self._sign = 1.0 if self._phases[2] < math.pi else -1.0

    def shot_number(self, time_s: float) -> int:
        """Return the number of the first shot at or after a bench time."""
        return math.ceil((time_s - self.start_s) * self.pump.repetition_rate_Hz - _EDGE)

    def shot_time_s(self, number: int) -> float:
        """Return the bench time of a shot."""
        return self.start_s + number / self.pump.repetition_rate_Hz

    def switch(self, on: bool, at_s: float) -> None:
        """Let the laser fire, or not, from a bench time on; its clock runs anyway."""
        self._off.close(at_s) if on else self._off.open(at_s)

    def on(self, time_s: float) -> bool:
        """Return whether the laser fires at a bench time."""
        return not self._off.at(time_s)

    def firing(self, from_s: float, to_s: float) -> list[tuple[float, float]]:
        """Return when, between two bench times, the laser fires."""
        found = []
        for begun, ended in self._off.within(from_s, to_s):
            if begun > from_s:
                found.append((from_s, begun))
            from_s = ended
        return [*found, (from_s, to_s)] if to_s > from_s else found

    def shift(self, by_s: float) -> None:
        """Move what has happened in time, as a clock that is set does."""
        self._off.shift(by_s)
        if self._running_away is not None:
            self._running_away = (self._running_away[0] + by_s, self._running_away[1])

    def run_away(self, at_s: float, rate_per_s: float) -> None:
        """Let the energy grow (rate > 0) or fade as exp(rate t) from a bench time on; 0 ends it."""
        self._running_away = (at_s, rate_per_s) if rate_per_s else None

    @property
    def running_away_since_s(self) -> float:
        """Bench time since when the energy runs away, 0 if it does not."""
        return self._running_away[0] if self._running_away is not None else 0.0

    def drift(self, time_s: float) -> float:
        """Return the slow relative deviation of the pulse energy at a bench time."""
        hours = (time_s - self.start_s) / 3600.0
        slow = 0.3 * (math.sin(hours * 2.1 + self._phases[0]) - math.sin(self._phases[0]))
        fast = 0.1 * (math.sin(hours * 9.7 + self._phases[1]) - math.sin(self._phases[1]))
        deviation = self.drift_per_hour * (self._sign * hours + slow + fast)
        if self._running_away is not None and time_s > self._running_away[0]:
            since_s, rate = self._running_away
            grown = math.exp(min(rate * (time_s - since_s), 2.0))
            deviation = (1.0 + deviation) * grown - 1.0
        return float(deviation)

    def mean_energy_J(self, time_s: float) -> float:
        """Return the mean energy of a pulse of the full beam, as said to be, at a bench time."""
        if not self.on(time_s):
            return 0.0
        return float(self.pump.full_pulse_energy_J * max(1.0 + self.drift(time_s), 0.0))

    def energies_J(self, first: int, count: int) -> FloatArray:
        """Return the energies of consecutive shots, full beam as said to be, (count,)."""
        deviation = self.pulse_noise * normals(self.seed, "pump", first, count)
        mean = self.pump.full_pulse_energy_J * max(1.0 + self.drift(self.shot_time_s(first)), 0.0)
        energies = mean * np.maximum(1.0 + deviation, 0.0)
        end_s = self.shot_time_s(first + count)
        for begun, ended in self._off.within(self.shot_time_s(first), end_s):
            missing = slice(self.shot_number(begun) - first, self.shot_number(ended) - first)
            energies[missing] = 0.0
        return np.asarray(energies)


class Passage:
    """The way to the sample: through the shutter, and through the gate once there is one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shutter = Windows(256)
        self.gate: Windows | None = None

    def configure_gate(self, at_s: float) -> None:
        """From now on only gated shots pass."""
        if self.gate is None:
            self.gate = Windows()
            self.gate.open(-math.inf, at_s)

    def open_at(self, time_s: float) -> bool:
        """Return whether a shot at a bench time would pass."""
        return self.shutter.at(time_s) and (self.gate is None or self.gate.at(time_s))

    def spans(self, from_s: float, to_s: float) -> list[tuple[float, float]]:
        """Return when, between two bench times, shutter and gate are both open."""
        spans = self.shutter.within(from_s, to_s)
        if self.gate is None:
            return spans
        return [both for span in spans for both in self.gate.within(*span)]

    def shots(self, from_s: float, to_s: float) -> list[tuple[int, int]]:
        """Return the shots fired and passed between two bench times: (first, how many), by span."""
        number = self.source.shot_number
        spans = [lit for span in self.spans(from_s, to_s) for lit in self.source.firing(*span)]
        found = [(number(begun), number(ended)) for begun, ended in spans]
        return [(first, last - first) for first, last in found if last > first]

    def shift(self, by_s: float) -> None:
        """Move all that was and will be in time, as a clock that is set does."""
        self.shutter.shift(by_s)
        if self.gate is not None:
            self.gate.shift(by_s)
