"""When a DG645 opens a gate, so that a counted number of laser shots passes.

For its driver; pure arithmetic, talks to nothing. The generator's burst counter runs on its own
clock, not on the laser's, so what is exact depends on the wiring, of which there are four:

internal        the generator is the clock: every pulse of its output makes one shot (a laser or a
                picker that fires on demand). Exact by the burst count, up to 2^32 - 1.
external        the laser's clock is at EXT. Armed once, the next edge starts ONE gate as long as
                N periods, both ends half a period from any shot.
external-burst  the same, but a burst of N pulses at the generator's own period, one for each shot,
                for a gate that wants a pulse a shot.
free            the laser's clock is nowhere to be seen: light or no light, no counting.

In the second and third the two clocks drift apart, by up to N periods times their relative error.
What may be lost to drift is half of the way from the gate's end to the nearest shot; the other half
is for jitter, rise times and delays that are not quite as said. That bounds N.

Source: SRS DG645 data sheet (ranges, steps, 85 ns from trigger to T0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from instruments.errors import ConfigError, LimitError, NotReady
from instruments.roles import Limits

INTERNAL, EXT_RISING, EXT_FALLING, ARMED_RISING, ARMED_FALLING, SINGLE_SHOT, LINE = range(7)
"""Trigger sources, as TSRC numbers them."""

WIRINGS = ("external", "external-burst", "internal", "free")

INSERTION_S = 85e-9
DELAY_STEP_S = 5e-12
LONGEST_DELAY_S = 2000.0
PERIOD_STEP_S = 10e-9
LONGEST_PERIOD_S = 42.9  # of a burst; some units may do 2000 s, which nobody has confirmed
SHORTEST_PERIOD_S = 10e-6  # below, nothing of this has been thought through
MARGIN_S = 1e-6  # from the end of a cycle to the next; 100 ns according to the data sheet
MOST_CYCLES = 2**32 - 1
_PASS_S = 100.0
_FREE_PASS_S = 1.0


@dataclass(frozen=True)
class Plan:
    """Settings of the generator for one way of opening the gate, and what then happens.

    source: TSRC. rate_Hz: of the internal trigger. cycles: of a burst, 0 for none; period_s,
    burst_delay_s: of the burst. open_s: from T0 to the gate's opening; width_s: of the gate.
    first_shot_s: from the trigger to the first shot that passes. shot_period_s: between shots.
    longest_cycle_s: how long a cycle may take, whatever other channels do.
    missed_triggers_matter: whether the RATE bit means lost shots.
    """

    source: int
    open_s: float
    width_s: float
    rate_Hz: float = 0.0
    cycles: int = 0
    period_s: float = 0.0
    burst_delay_s: float = 0.0
    first_shot_s: float = 0.0
    shot_period_s: float = 0.0
    longest_cycle_s: float = math.inf
    missed_triggers_matter: bool = True

    @property
    def close_s(self) -> float:
        """From T0 to the gate's closing (s)."""
        return self.open_s + self.width_s

    @property
    def duration_s(self) -> float:
        """From the trigger to the last closing of the gate (s)."""
        return self.burst_delay_s + max(self.cycles - 1, 0) * self.period_s + self.close_s

    @property
    def armed(self) -> bool:
        """Whether it waits for *TRG."""
        return self.source in (ARMED_RISING, ARMED_FALLING, SINGLE_SHOT)


@dataclass(frozen=True)
class Wiring:
    """How the generator stands between laser and gate; see the module.

    trigger: one of WIRINGS. rate_Hz: of the laser. falling: the edge of its clock that counts.
    shot_delay_s: from that edge to the light of its shot at the gate, 0 to one period.
    delay_s: (internal) from T0 to the pulse of the output. width_s: of a pulse for a single shot;
    None for a fitting one. clock_tolerance_ppm: bound of the relative error of `rate_Hz` as the
    generator's clock counts it.
    in_parts: release more shots than one gate can count in several, each begun on an edge.
    """

    trigger: str
    rate_Hz: float
    falling: bool = False
    shot_delay_s: float = 0.0
    delay_s: float = 0.0
    width_s: float | None = None
    clock_tolerance_ppm: float = 100.0
    in_parts: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be; ConfigError names the key."""
        if self.trigger == "line":
            _refuse("trigger", self.trigger, "'external': mains edges do not count laser shots")
        if self.trigger not in WIRINGS:
            _refuse("trigger", self.trigger, ", ".join(repr(name) for name in WIRINGS))
        if not SHORTEST_PERIOD_S <= self.period_s <= LONGEST_PERIOD_S:
            low, high = 1.0 / LONGEST_PERIOD_S, 1.0 / SHORTEST_PERIOD_S
            _refuse("rate_Hz", self.rate_Hz, f"{low:.3g} to {high:g} Hz")
        if not 0.0 <= self.shot_delay_s < self.period_s:
            _refuse("shot_delay_s", self.shot_delay_s, f"0 to less than {self.period_s:g} s")
        if not 0.0 < self.clock_tolerance_ppm < 1e6:
            _refuse("clock_tolerance_ppm", self.clock_tolerance_ppm, "above 0 to below 1e6 ppm")
        if not self.delay_s >= 0.0:
            _refuse("delay_s", self.delay_s, "0 s or more")
        if self.width_s is not None and not self.width_s >= 1e-9:
            _refuse("width_s", self.width_s, "1e-9 s or more")
        if self.trigger == "internal" and self.delay_s + self._pulse_s > self.period_s - MARGIN_S:
            _refuse("width_s", self._pulse_s, "delay and width within one period, less 1e-6 s")
        widest = self.period_s - 2.0 * MARGIN_S
        if self.trigger == "external-burst" and self._pulse_s > widest:
            _refuse("width_s", self._pulse_s, f"up to {widest:g} s, less than a period")

    @property
    def period_s(self) -> float:
        """Time between shots (s); inf if the rate is no rate."""
        return 1.0 / self.rate_Hz if self.rate_Hz > 0.0 else math.inf

    @property
    def _pulse_s(self) -> float:
        """Width of the pulse for one shot (s)."""
        if self.width_s is not None:
            return self.width_s
        return 0.1 * self.period_s if self.trigger == "internal" else 0.8 * self.period_s

    @property
    def burst_period_s(self) -> float:
        """The burst period nearest to the laser's (s)."""
        return round(self.period_s / PERIOD_STEP_S) * PERIOD_STEP_S

    @property
    def relative_error(self) -> float:
        """Bound of the relative error of the generator's period against the laser's."""
        error = self.clock_tolerance_ppm * 1e-6
        if self.trigger == "external-burst":
            error += abs(self.burst_period_s / self.period_s - 1.0)
        return error

    @property
    def most_at_once(self) -> int:
        """The largest number of shots that one gate or burst counts exactly; 0 for none."""
        if self.trigger == "internal":
            return MOST_CYCLES
        if self.trigger == "free":
            return 0
        slack = 0.5 * (self.period_s if self.trigger == "external" else self._pulse_s)
        # The last edge lies up to 1.5 periods later than the last shot counts.
        drifting = math.floor(0.5 * slack / (self.relative_error * self.period_s) - 1.5)
        if self.trigger == "external":
            drifting = min(drifting, self._longest_gate)
        return max(min(drifting, MOST_CYCLES), 0)

    @property
    def _longest_gate(self) -> int:
        """How many periods the longest gate can hold."""
        return math.floor((LONGEST_DELAY_S - self._open_s) / self.period_s)

    @property
    def most(self) -> int:
        """The largest number of shots that may be asked for at all."""
        if self.trigger == "external" and not self.in_parts:
            return min(self._longest_gate, MOST_CYCLES)
        return MOST_CYCLES

    @property
    def exact(self) -> bool:
        """Whether shots can be counted at all."""
        return self.most_at_once > 0

    def parts(self, shots: int) -> list[int]:
        """Return the gates or bursts that together let `shots` shots through.

        Raises LimitError for a number that can never be, NotReady for one that this wiring cannot
        count (it says what to change).
        """
        Limits(1, self.most, "").check("shots", shots)
        if isinstance(shots, bool) or shots != int(shots):
            raise LimitError(f"shots: {shots!r} was asked, allowed are whole numbers", key="shots")
        if not self.exact:
            if self.trigger == "free":
                remedy = "connect the laser's clock to EXT and set trigger = 'external'"
            else:
                remedy = "give clock_tolerance_ppm as it is: it is too large even for one shot"
            raise NotReady(
                f"exactly {shots} shots were asked for, but with trigger = {self.trigger!r} and "
                f"{self.clock_tolerance_ppm:g} ppm nothing counts laser shots; {remedy}"
            )
        whole, rest = divmod(int(shots), self.most_at_once)
        if whole + bool(rest) > 1 and not self.in_parts:
            raise NotReady(
                f"exactly {shots} shots were asked for; with clocks that differ by up to "
                f"{self.relative_error * 1e6:g} ppm, {self.most_at_once} can be counted at "
                "once. Share a 10 MHz reference with the laser and give a smaller "
                "clock_tolerance_ppm; or set in_parts = true, to release them in several gates "
                "with pauses; or let the generator trigger the laser (trigger = 'internal')"
            )
        return [self.most_at_once] * whole + [rest] * bool(rest)

    # ---- plans ------------------------------------------------------------------------------

    def counted(self, shots: int) -> Plan:
        """Return how to let `shots` shots through in one gate or burst; see `parts`."""
        period = self.period_s
        if self.trigger == "internal":
            return Plan(
                SINGLE_SHOT,
                _delay(self.delay_s),
                _delay(self._pulse_s),
                cycles=shots,
                period_s=self.burst_period_s,
                first_shot_s=self.delay_s,
                shot_period_s=self.burst_period_s,
                longest_cycle_s=self.burst_period_s - MARGIN_S,
            )
        source = ARMED_FALLING if self.falling else ARMED_RISING
        if self.trigger == "external-burst":
            opening = self._first_shot_s - 0.5 * self._pulse_s - INSERTION_S
            opening = round(opening / PERIOD_STEP_S) * PERIOD_STEP_S
            return Plan(
                source,
                0.0,
                _delay(self._pulse_s),
                cycles=shots,
                period_s=self.burst_period_s,
                burst_delay_s=opening,
                first_shot_s=self._first_shot_s,
                shot_period_s=period,
                longest_cycle_s=self.burst_period_s - MARGIN_S,
            )
        return Plan(
            source,
            _delay(self._open_s),
            _delay(shots * period),
            first_shot_s=self._first_shot_s,
            shot_period_s=period,
            # The gate stays open over the laser's edges, which it must not heed.
            missed_triggers_matter=False,
        )

    def passing(self) -> Plan:
        """Return how to let all shots through for as long as it lasts.

        internal, and external where a shot comes late enough after its edge: each cycle its own
        shot. external otherwise: gates of 100 s, each begun on an edge, of which a shot is lost in
        between. free: gates of 1 s with gaps of 1 us, in which a shot is lost by chance.
        """
        period = self.period_s
        if self.trigger == "internal":
            return Plan(
                INTERNAL,
                _delay(self.delay_s),
                _delay(self._pulse_s),
                rate_Hz=self.rate_Hz,
                longest_cycle_s=period - MARGIN_S,
            )
        if self.trigger == "free":
            width = _delay(_FREE_PASS_S - 2.0 * MARGIN_S)
            longest = _FREE_PASS_S - MARGIN_S
            return Plan(INTERNAL, 0.0, width, 1.0 / _FREE_PASS_S, longest_cycle_s=longest)
        source = EXT_FALLING if self.falling else EXT_RISING
        room = min(self.shot_delay_s - INSERTION_S, period - MARGIN_S - self.shot_delay_s)
        if room >= 0.1 * period:
            opening = self.shot_delay_s - room - INSERTION_S
            opening = _delay(max(opening, 0.0))
            return Plan(
                source, opening, _delay(2.0 * room), longest_cycle_s=period - 0.5 * MARGIN_S
            )
        shots = max(math.floor(_PASS_S / period), 1)
        return Plan(
            source, _delay(self._open_s), _delay(shots * period), missed_triggers_matter=False
        )

    @property
    def _open_s(self) -> float:
        """From T0 to half a period before the first shot that passes (s)."""
        return self._first_shot_s - 0.5 * self.period_s - INSERTION_S

    @property
    def _first_shot_s(self) -> float:
        """From the edge to the first shot before which there is half a period and more (s)."""
        early = 0.5 * self.period_s + MARGIN_S
        return self.shot_delay_s + (0.0 if self.shot_delay_s >= early else self.period_s)


def _delay(seconds: float) -> float:
    """Return a delay in steps of 5 ps; LimitError beyond what the generator has."""
    if not 0.0 <= seconds <= LONGEST_DELAY_S:
        raise LimitError(f"a delay of {seconds:g} s was needed, allowed is 0 to 2000 s")
    return round(seconds / DELAY_STEP_S) * DELAY_STEP_S


def _refuse(key: str, given: object, allowed: str) -> None:
    raise ConfigError(
        f"{given!r} was given, allowed is {allowed}", key=f"instruments.pulse_gate.{key}"
    )
