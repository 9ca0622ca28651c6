"""The pulses of a simulated DG645: triggers, cycles, bursts, and the gate that they open.

For the simulated generator, which turns commands into a `Program`. Everything that the generator
times runs on its own clock, which is wrong by some parts in a million; the laser's edges and shots
are the World's. Works out, when somebody asks, what has happened since, and tells the World when
the gate lets light pass. Prescaling of outputs and trigger hold-off are not played.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

INTERNAL, RISING, FALLING, ARMED_RISING, ARMED_FALLING, SINGLE, LINE = range(7)

# What has happened, as the instrument status register numbers it.
TRIG, RATE, END_OF_DELAY, END_OF_BURST, INHIBIT, ABORT = 1, 2, 4, 8, 16, 32

INSERTION_S = 85e-9
_LINE_HZ = 50.0
_MOST_AT_ONCE = 20_000  # cycles that are played one by one; of more, the first are passed over
_AT_A_TIME = 1_000_000  # of a burst


@dataclass(frozen=True)
class Program:
    """What the generator is set to, as far as the wired output goes (delays from T0)."""

    source: int = SINGLE
    rate_Hz: float = 1000.0
    threshold_V: float = 1.0
    prescale: int = 1
    inhibit: bool = True
    burst: bool = False
    cycles: int = 5
    period_s: float = 100e-6
    burst_delay_s: float = 0.0
    open_s: float = 0.0
    close_s: float = 0.0
    longest_s: float = 0.0
    amplitude_V: float = 2.5
    positive: bool = True


@dataclass
class _Run:
    """A cycle or burst under way: its trigger, its end, and whether it is a burst."""

    begun_s: float
    end_s: float
    burst: bool


class Pulses:
    """The generator's timing.

    Args:
        world: told of the gate, asked for the laser's edges; None if there is none.
        on_demand: the output makes the laser (or its picker) fire, instead of opening a gate.
        falling: the edge of the laser's clock from which `shot_delay_s` counts to its light.
        gate_positive: whether the gate is open while the output is high.
        clock_error_ppm: by how much what the generator times is too long.
        margin_s: that a cycle needs before the next.
        armed_edges_count: edges during a single-shot cycle set RATE, as others would.
        ends_running: what ends a cycle under way: any of "source", "delay" (a change of those),
            and "reset".
        gate_V: amplitude that the gate needs. sync_V: amplitude of the laser's clock.
    """

    def __init__(
        self,
        world: Any,
        now: float,
        *,
        on_demand: bool = False,
        falling: bool = False,
        shot_delay_s: float = 0.0,
        gate_positive: bool = True,
        clock_error_ppm: float = 0.0,
        margin_s: float = 100e-9,
        armed_edges_count: bool = False,
        ends_running: tuple[str, ...] = ("source", "delay", "reset"),
        gate_V: float = 1.0,
        sync_V: float = 3.3,
    ) -> None:
        self.world = world
        self.on_demand, self.falling, self.shot_delay_s = on_demand, falling, shot_delay_s
        self.gate_positive, self.gate_V, self.sync_V = gate_positive, gate_V, sync_V
        self.margin_s = margin_s
        self.armed_edges_count, self.ends_running = armed_edges_count, ends_running
        self.inhibited = False  # for tests: the inhibit input
        self.connected = True  # for tests: the laser's clock at EXT
        self.events = 0
        self.armed = False
        self.program = Program()
        self._stretch = 1.0 + 1e-6 * clock_error_ppm
        self._run: _Run | None = None
        self._steady_s: float | None = None  # since when every trigger has its cycle
        self._since_s = now  # from when on triggers are looked for
        self._started_s = now  # of the internal clock

    # ---- what the host does -----------------------------------------------------------------

    def set(self, program: Program, now: float) -> None:
        """Take another program."""
        self.settle(now)
        old, self.program = self.program, program
        new_source = program.source != old.source
        new_delay = (program.open_s, program.close_s) != (old.open_s, old.close_s)
        if self._steady_s is not None and program != old:
            self._steady_s = None
            self._close(now)
        if self._run is not None and (
            (new_source and "source" in self.ends_running)
            or (new_delay and "delay" in self.ends_running)
        ):
            self.abort(now)
        if new_source:
            self.armed = False
            self._since_s = self._started_s = now
        if self._idle_open() != self._idle_open(old):
            if self._idle_open():
                self._open(now, math.inf)
            else:
                self._close(now)

    def abort(self, now: float) -> None:
        """Break off what is under way."""
        if self._run is not None:
            self._run = None
            self.events |= ABORT
            self._close(now)
        self._since_s = now

    def trigger(self, now: float) -> bool:
        """Trigger, or arm, from the host; False if the source does not wait for that."""
        self.settle(now)
        if self.program.source in (ARMED_RISING, ARMED_FALLING):
            self.armed, self._since_s = True, now
        elif self.program.source == SINGLE:
            self._take(now)
        else:
            return False
        return True

    def busy(self, now: float) -> tuple[bool, bool]:
        """Return whether a cycle, and whether a burst is under way."""
        self.settle(now)
        if self._steady_s is not None:
            period = self._trigger_period_s()
            return (now - self._steady_s) % period < self._cycle_s(), False
        return self._run is not None, self._run is not None and self._run.burst

    # ---- time -------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Play what has happened until now."""
        for _ in range(_MOST_AT_ONCE):
            if self._steady_s is not None:
                if now >= self._steady_s + self._cycle_s():
                    self.events |= TRIG | END_OF_DELAY
                return
            run = self._run
            if run is not None:
                self._miss(run, min(now, run.end_s))
                if run.end_s > now:
                    return
                self.events |= END_OF_BURST | END_OF_DELAY if run.burst else END_OF_DELAY
                self._run = None
                self._since_s = max(self._since_s, run.end_s + self.margin_s)
            moment = self._next_trigger_s()
            if moment > now:
                return
            self._take(moment)
        self._since_s = now

    def _take(self, moment: float) -> None:
        """Have a trigger come."""
        self.armed = False
        if self.program.inhibit and self.inhibited:
            self.events |= INHIBIT
            self._since_s = moment + 0.5 * self._trigger_period_s()
            return
        if self._run is not None:
            self.events |= RATE
            return
        self.events |= TRIG
        if self._is_steady():
            self._steady_s = moment
            if self._steadily_passes():
                self._open(moment, math.inf)
        elif self.program.burst:
            self._begin_burst(moment)
        else:
            self._run = _Run(moment, moment + self._cycle_s(), False)
            self._pass(moment + INSERTION_S * self._stretch, 1, 1.0)

    def _miss(self, run: _Run, until_s: float) -> None:
        """Note a trigger that comes while a cycle runs."""
        source = self.program.source
        if source in (ARMED_RISING, ARMED_FALLING) and self.armed_edges_count:
            self.events |= RATE if self._edge_s(run.begun_s + 1e-6) < until_s else 0
        elif source in (INTERNAL, RISING, FALLING, LINE):
            self._since_s = run.begun_s + 0.5 * self._trigger_period_s()
            self.events |= RATE if self._next_trigger_s() < until_s else 0

    def _next_trigger_s(self) -> float:
        """Return when the next trigger comes that is not the host's."""
        source = self.program.source
        if source == INTERNAL:
            period = self._trigger_period_s()
            number = math.ceil((self._since_s - self._started_s) / period - 1e-6)
            return self._started_s + max(number, 1) * period
        if source == LINE:
            return math.ceil(self._since_s * _LINE_HZ) / _LINE_HZ
        if source in (RISING, FALLING) or (source in (ARMED_RISING, ARMED_FALLING) and self.armed):
            first = self._edge_s(self._since_s)
            return first + (self.program.prescale - 1) / self._rate_Hz()
        return math.inf

    def _edge_s(self, after_s: float) -> float:
        """Return when the next edge of the laser's clock comes that the source listens to."""
        if (
            self.world is None
            or not self.connected
            or not 0.0 < self.program.threshold_V < self.sync_V
        ):
            return math.inf
        lead_s = self.shot_delay_s
        if (self.program.source in (FALLING, ARMED_FALLING)) != self.falling:
            lead_s += 0.5 / self._rate_Hz()  # a clock that is high for half of its period
        return float(self.world.next_trigger_s(after_s + lead_s)) - lead_s

    def _trigger_period_s(self) -> float:
        if self.program.source == INTERNAL:
            return self._stretch / self.program.rate_Hz
        if self.program.source == LINE:
            return 1.0 / _LINE_HZ
        return self.program.prescale / self._rate_Hz()

    def _rate_Hz(self) -> float:
        return float(self.world.repetition_rate_Hz) if self.world is not None else 1000.0

    def _cycle_s(self) -> float:
        return (INSERTION_S + self.program.longest_s) * self._stretch

    # ---- cycles that repeat with the laser --------------------------------------------------

    def _is_steady(self) -> bool:
        """Whether from now on each trigger has its cycle, always alike against the laser."""
        program = self.program
        locked = program.source in (RISING, FALLING) or (
            program.source == INTERNAL and self.on_demand
        )
        fits = self._cycle_s() + self.margin_s < self._trigger_period_s()
        return locked and fits and not program.burst and program.prescale == 1

    def _steadily_passes(self) -> bool:
        """Whether each such cycle lets the shot of its trigger through."""
        program = self.program
        if self.on_demand:
            return program.close_s > program.open_s
        opens = (INSERTION_S + program.open_s) * self._stretch
        closes = (INSERTION_S + program.close_s) * self._stretch
        edge_to_light = self.shot_delay_s
        if (program.source == FALLING) != self.falling:
            edge_to_light += 0.5 / self._rate_Hz()
        return opens <= edge_to_light < closes

    # ---- bursts and single cycles -----------------------------------------------------------

    def _begin_burst(self, moment: float) -> None:
        program = self.program
        period = program.period_s * self._stretch
        first = moment + (INSERTION_S + program.burst_delay_s) * self._stretch
        # A cycle that has not ended swallows the ones that should begin meanwhile.
        stride = max(math.ceil((program.longest_s + self.margin_s) / program.period_s), 1)
        if stride > 1 and program.cycles > 1:
            self.events |= RATE
        self._run = _Run(moment, first + program.cycles * period, True)
        self._pass(first, math.ceil(program.cycles / stride), stride * period)

    def _pass(self, first_s: float, cycles: int, period_s: float) -> None:
        """Have the gate opened by cycles whose T0 come at `first_s` and so on."""
        program = self.program
        if self.world is None or program.close_s <= program.open_s:
            return
        shot_period = 1.0 / self._rate_Hz()
        opens, closes = program.open_s * self._stretch, program.close_s * self._stretch
        if self.on_demand:
            self._demand(first_s + opens, cycles, period_s, shot_period)
            return
        if cycles == 1:
            self._open(first_s + opens, first_s + closes)
            return
        for begin in range(0, cycles, _AT_A_TIME):
            numbers = np.arange(begin, min(begin + _AT_A_TIME, cycles))
            self._open_runs(first_s + opens, numbers * period_s, closes - opens, shot_period)

    def _open_runs(self, first_s: float, after_s: Any, width_s: float, shot_period: float) -> None:
        """Open the gate for each run of shots that one opening each lets through."""
        grid_s = float(self.world.next_trigger_s(first_s))
        ahead = after_s - (grid_s - first_s)  # of the gate's openings, after a shot
        shots = np.ceil(ahead / shot_period - 1e-6)
        passed = shots[shots * shot_period < ahead + width_s].astype(np.int64)
        if not passed.size:
            return
        for run in np.split(passed, np.flatnonzero(np.diff(passed) > 1) + 1):
            self._open(
                grid_s + (float(run[0]) - 0.5) * shot_period,
                grid_s + (float(run[-1]) + 0.5) * shot_period,
            )

    def _demand(self, first_s: float, cycles: int, period_s: float, shot_period: float) -> None:
        """Have the laser fire once for each cycle; it cannot faster than its rate."""
        grid_s = float(self.world.next_trigger_s(first_s))
        if cycles == 1 or period_s < 1.01 * shot_period:
            shots = min(cycles, max(round(cycles * period_s / shot_period), 1))
            self._open(grid_s - 0.5 * shot_period, grid_s + (shots - 0.5) * shot_period)
            return
        for number in range(min(cycles, _MOST_AT_ONCE)):
            shot_s = float(self.world.next_trigger_s(first_s + number * period_s))
            self._open(shot_s - 0.25 * shot_period, shot_s + 0.25 * shot_period)

    # ---- the gate ---------------------------------------------------------------------------

    def _idle_open(self, program: Program | None = None) -> bool:
        """Whether the resting output holds the gate open."""
        return (program or self.program).positive != self.gate_positive and not self.on_demand

    def _open(self, from_s: float, to_s: float) -> None:
        if self.world is not None and self.program.amplitude_V >= self.gate_V:
            self.world.open_gate(from_s, to_s)

    def _close(self, at_s: float) -> None:
        if self.world is not None and not self._idle_open():
            self.world.close_gate(at_s)
