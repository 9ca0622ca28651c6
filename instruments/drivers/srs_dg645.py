"""Stanford Research DG645 digital delay generator as a gate for counted laser shots.

For pump shots: one of the generator's outputs opens the gate (a Pockels cell, a pulse picker, or a
laser that fires on demand). Which settings count shots exactly, and up to how many, is worked out
in srs_dg645_plan; how they are sent and read back is in srs_dg645_generator. Here a count is
started once, watched to its end and verified. All other outputs are left alone. Stops at the
electrical gate: whether light follows it is not seen.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping

from pymeasure.adapters import Adapter

from instruments.clock import Clock
from instruments.drivers.srs_dg645_generator import (
    ABORTED,
    BURST,
    BUSY,
    CHANNELS,
    DG645,
    END_OF_BURST,
    END_OF_DELAY,
    INHIBITED,
    MISSED,
    OUTPUTS,
    PLL_UNLOCKED,
    RB_UNLOCKED,
    SOURCES,
    SUMMARY,
    T0,
    TRIGGERED,
    after_t0,
)
from instruments.drivers.srs_dg645_plan import SINGLE_SHOT, Plan, Wiring
from instruments.errors import ConfigError, DeviceFault, InstrumentError, NotReady
from instruments.roles import Burst, Limits, PulseGate, Setting, Status

log = logging.getLogger(__name__)

_ALARMS = {
    MISSED: "a trigger was missed",
    INHIBITED: "the inhibit input stopped it",
    ABORTED: "a cycle was broken off",
    PLL_UNLOCKED: "its clock has lost the reference",
    RB_UNLOCKED: "its rubidium clock is not locked",
}

_SLICE_S = 0.2  # how soon a wait notices that the gate was blocked meanwhile
_POLL_S = 0.002
_SLOWEST_POLL_S = 5.0
_SLACK_S, _SLACK = 0.05, 1e-3  # of the bench's clock against the generator's
_EDGE_S = 0.2  # and three periods: how long a trigger may take to come


class DG645Gate(DG645, PulseGate):
    """The DG645 with its output at the gate.

    Args:
        adapter: an open pymeasure adapter. clock: the bench's clock.
        trigger: how it is wired: external, external-burst, internal or free; see srs_dg645_plan.
        rate_Hz: repetition rate of the laser.
        edge: of the laser's clock at EXT, rising or falling; threshold_V: there.
        shot_delay_s: from that edge to the light of its shot at the gate, less than a period.
        output: AB, CD, EF or GH, the one at the gate. amplitude_V, polarity: of its pulses;
            negative: the gate is open while the output is low.
        delay_s, width_s: of the pulse for a single shot, where there is one.
        clock_tolerance_ppm: by how much `rate_Hz` may be wrong as the generator counts time.
        in_parts: release more shots than can be counted at once in several gates.
    """

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        *,
        trigger: str = "external",
        rate_Hz: float = 1000.0,
        edge: str = "rising",
        threshold_V: float = 1.0,
        shot_delay_s: float = 0.0,
        output: str = "AB",
        amplitude_V: float = 2.5,
        polarity: str = "positive",
        delay_s: float = 0.0,
        width_s: float | None = None,
        clock_tolerance_ppm: float = 100.0,
        in_parts: bool = False,
    ) -> None:
        super().__init__(adapter, clock)
        _choice("edge", edge, ("rising", "falling"))
        _choice("output", output, OUTPUTS)
        _choice("polarity", polarity, ("positive", "negative"))
        _within("threshold_V", threshold_V, -3.5, 3.5)
        _within("amplitude_V", amplitude_V, 0.5, 5.0)
        self._wiring = Wiring(
            trigger,
            rate_Hz,
            edge == "falling",
            shot_delay_s,
            delay_s,
            width_s,
            clock_tolerance_ppm,
            in_parts,
        )
        self._threshold_V = threshold_V
        self._output_name, self._output = output, OUTPUTS[output]
        self._opening, self._closing = 2 * self._output, 2 * self._output + 1
        self._amplitude_V, self._positive = amplitude_V, polarity == "positive"
        self._delays: dict[int, tuple[int, float]] = {}
        self._plan: Plan | None = None  # what was started; None while blocked
        self._blockings = 0
        self.seal()

    def connect(self) -> None:
        """Identify the generator, block the gate and set up its output.

        Raises:
            NoReply: nothing answers. WrongIdentity: something else does.
            DeviceFault: a setting is not taken, or a gate under way cannot be ended.
        """
        with self.lock:
            self._identity = None
            identity = self.identify()
            self.write("*CLS")
            self._block()
            self._prepare()
            self._identity = identity

    def _prepare(self) -> None:
        """Set what stays, and find out what the other channels do."""
        self.set_levels(self._output, self._amplitude_V, self._positive)
        self.set_plain_triggering(self._threshold_V)
        self._delays = self.delays()

    # ---- the role ---------------------------------------------------------------------------

    @property
    def limits(self) -> Mapping[str, Limits]:
        """How many shots may be asked for; what can be counted at once is `most_at_once`."""
        return {"shots": Limits(1, self._wiring.most, "")}

    @property
    def exact(self) -> bool:
        """See PulseGate.exact."""
        return self._wiring.exact

    @property
    def most_at_once(self) -> int:
        """How many shots one gate counts exactly with these clocks; 0 for none."""
        return self._wiring.most_at_once

    @property
    def rate_Hz(self) -> float:
        """The repetition rate of the laser, as it was declared (Hz)."""
        return self._wiring.rate_Hz

    def release(self, shots: int) -> Burst:
        """Let exactly `shots` shots through; see PulseGate.release.

        The times of the burst are known to a period of the laser, or to the time that a message to
        the generator takes, whichever is longer.
        """
        _ = self.identity
        bursts = [self._release(count) for count in self._wiring.parts(shots)]
        return Burst(int(shots), bursts[0].start_s, bursts[-1].end_s)

    def pass_all(self) -> None:
        """Let every shot through until `block`; see Wiring.passing for what may be lost.

        Raises DeviceFault if no trigger comes.
        """
        with self.lock:
            _ = self.identity
            plan = self._wiring.passing()
            if self._plan == plan and self._still(plan):
                return
            self._block()
            try:
                self._program(plan)
                self.events()  # clears what earlier cycles have left
                self._plan = plan
                self.set_source(plan.source)
                self._see_trigger(plan)
            except BaseException:
                self._block_after_failure()
                raise

    def block(self) -> None:
        """Let no shot through, verified: no trigger counts, the gate has no width, none runs."""
        with self.lock:
            _ = self.identity
            self._block()

    def make_safe(self) -> None:
        """Block; sent first whatever the replies do, then verified, twice before it raises."""
        if not self._idn:
            return
        with self.lock:
            self._blockings += 1
            for command in (
                f"TSRC {SINGLE_SHOT}",
                f"DLAY {self._closing},{self._opening},0",
                "BURM 0",
            ):
                with contextlib.suppress(InstrumentError):
                    self.write_blind(command)
            try:
                self._block()
            except InstrumentError as error:
                log.warning("%s: blocking failed (%s); once more", self.name, error)
                self._doubt()
                self._block()

    def status(self) -> Status:
        """Ask trigger source, what is under way, and for errors that were kept."""
        with self.lock:
            _ = self.identity
            source, busy = self.source, self.status_byte() & (BUSY | BURST)
            errors = self.errors()
        if errors:
            return Status(False, "; ".join(errors))
        wanted = self._plan.source if self._plan is not None else SINGLE_SHOT
        if source != wanted:
            return Status(
                False,
                f"its trigger is {SOURCES[source]}, but was left at {SOURCES[wanted]}: somebody "
                "changed it at the front panel; block the gate and start again",
            )
        if self._plan is None:
            return Status(not busy, "a gate is open that nobody asked for" if busy else "blocked")
        return Status(True, "a count is under way" if self._plan.armed else "every shot passes")

    def snapshot(self) -> dict[str, Setting]:
        """Return wiring and settings as they are now."""
        with self.lock:
            wiring = self._wiring
            return {
                "wiring": Setting(wiring.trigger),
                "rate_Hz": Setting(wiring.rate_Hz, "Hz"),
                "shot_delay_s": Setting(wiring.shot_delay_s, "s"),
                "clock_tolerance_ppm": Setting(wiring.clock_tolerance_ppm, "ppm"),
                "most_at_once": Setting(wiring.most_at_once),
                "output": Setting(self._output_name),
                "amplitude_V": Setting(self.number(f"LAMP? {self._output}"), "V"),
                "trigger_source": Setting(SOURCES[self.source]),
                "trigger_threshold_V": Setting(self.trigger_threshold_V, "V"),
                "inhibit": Setting(self.whole(self.inhibit, 5)),
                "timebase": Setting(self.whole(self.timebase, 3)),
                "gate_width_s": Setting(self.delay(self._closing)[1], "s"),
            }

    # ---- blocking ---------------------------------------------------------------------------

    def _block(self) -> None:
        self._blockings += 1
        self._plan = None
        self._close()
        if self._quiet():
            return
        # No stop command is known. A reset stops everything, also what others have set up.
        log.warning("%s: a cycle goes on after its trigger was taken away; resetting", self.name)
        self.reset()
        self._prepare()
        self._close()
        if not self._quiet():
            raise DeviceFault(
                f"{self.name}: a gate is open and cannot be ended; close the shutter and switch "
                "the generator off and on"
            )

    def _close(self) -> None:
        """Do what ends a gate under way, and lets no other begin."""
        self.set_source(SINGLE_SHOT)
        self.set_delay(self._closing, self._opening, 0.0)
        self.set_burst(0, 0.0, 0.0)

    def _quiet(self) -> bool:
        """Whether no cycle is under way; one that is about to end may be."""
        for _ in range(10):
            if not self.status_byte() & (BUSY | BURST):
                return True
            self.clock.sleep(_POLL_S)
        return False

    def _block_after_failure(self) -> None:
        try:
            self.make_safe()
        except InstrumentError as error:
            log.error("%s: and it could not be blocked: %s", self.name, error)

    # ---- starting ---------------------------------------------------------------------------

    def _program(self, plan: Plan) -> None:
        """Send a plan but for its trigger source, which starts it, and read it back."""
        ends = self._channel_ends(plan)
        longest = max(ends, key=lambda channel: ends[channel])
        if ends[longest] > plan.longest_cycle_s:
            raise NotReady(
                f"{self.name}: channel {'ABCDEFGH'[longest - 2]} ends {ends[longest]:g} s after "
                f"T0, but a cycle may take {plan.longest_cycle_s:g} s; shorten it"
            )
        self.set_delay(self._opening, T0, plan.open_s)
        if plan.rate_Hz:
            self.set_checked(f"TRAT {plan.rate_Hz:.6f}", "TRAT?", plan.rate_Hz, 1.5e-6)
        self.set_burst(plan.cycles, plan.period_s, plan.burst_delay_s)
        self.set_alarms(sum(_ALARMS) - (0 if plan.missed_triggers_matter else MISSED))
        self.set_delay(self._closing, self._opening, plan.width_s)

    def _channel_ends(self, plan: Plan) -> dict[int, float]:
        """Return when each channel comes after T0 (s), those of the gate as planned."""
        delays = self._delays | {
            self._opening: (T0, plan.open_s),
            self._closing: (self._opening, plan.width_s),
        }
        return {channel: after_t0(channel, delays) for channel in CHANNELS}

    def _still(self, plan: Plan) -> bool:
        """Whether the generator is as this plan has left it."""
        reference, width_s = self.delay(self._closing)
        same = self.source == plan.source and reference == self._opening
        same = same and abs(width_s - plan.width_s) < 1e-11
        if plan.cycles:
            same = same and self.burst_count == plan.cycles
            same = same and abs(self.burst_period_s - plan.period_s) < 1e-9
        return same

    def _see_trigger(self, plan: Plan) -> None:
        """Wait until a trigger has come and the gate is open."""
        ends = self.clock.now() + self._patience_s(plan)
        while not self.events() & TRIGGERED:
            if self.clock.now() > ends:
                raise DeviceFault(f"{self.name}: {self._no_trigger(plan)}")
            self.clock.sleep(_POLL_S)
        self.clock.sleep(plan.open_s)

    def _patience_s(self, plan: Plan) -> float:
        """How long a trigger may take to come (s)."""
        return _EDGE_S + 3.0 / (plan.rate_Hz or self._wiring.rate_Hz)

    def _no_trigger(self, plan: Plan) -> str:
        if plan.source == SINGLE_SHOT or plan.rate_Hz:
            return "it did not start; is it inhibited, or locked by another program?"
        edge = "falling" if self._wiring.falling else "rising"
        return (
            f"no {edge} edge came to its EXT input within {self._patience_s(plan):.2g} s; does the "
            f"laser run, and does its clock cross {self._threshold_V:g} V?"
        )

    # ---- counting ---------------------------------------------------------------------------

    def _release(self, shots: int) -> Burst:
        plan = self._wiring.counted(shots)
        try:
            with self.lock:
                self._block()
                self._program(plan)
                self.set_source(plan.source)
                self.events()  # clears what earlier cycles have left
                if self.status_byte() & SUMMARY:
                    raise DeviceFault(f"{self.name}: {_explain(self.events())}; see to that first")
                self._plan, blockings = plan, self._blockings
                started_s = self.clock.now()
                self.write("*TRG")  # once: a second one could start a second count
                told_s = self.clock.now()
            # Others may block the gate meanwhile, so the link is free while we wait.
            seen_s = self._watch(plan, started_s, blockings)
            with self.lock:
                if not self._still(plan):
                    raise DeviceFault(
                        f"{self.name}: its settings were changed during the count, by another "
                        "program or at the front panel"
                    )
                self._block()
        except BaseException as error:
            self._block_after_failure()
            if isinstance(error, InstrumentError):
                error.add_note(f"up to {shots} shots may have passed")
            raise
        trigger_s = 0.5 * (started_s + told_s)
        if plan.source != SINGLE_SHOT:
            latest_s = min(told_s + self._wiring.period_s, max(seen_s, told_s))
            trigger_s = 0.5 * (started_s + latest_s)
        first_s = trigger_s + plan.first_shot_s
        return Burst(shots, first_s, first_s + (shots - 1) * plan.shot_period_s)

    def _watch(self, plan: Plan, started_s: float, blockings: int) -> float:
        """Wait for the end of what was started; return when it was first seen under way."""
        shortest_s = plan.duration_s * (1.0 - _SLACK) - _SLACK_S
        longest_s = plan.duration_s + max(*self._channel_ends(plan).values(), plan.period_s)
        trigger_by_s = started_s + self._patience_s(plan)
        over_by_s = trigger_by_s + longest_s * (1.0 + _SLACK) + _SLACK_S
        end = END_OF_BURST if plan.cycles else END_OF_DELAY
        seen_s: float | None = None
        events = alarms = 0
        wait_s = _POLL_S
        while True:
            self._wait(wait_s, blockings)
            with self.lock:
                self._refuse_if_blocked(blockings)
                now = self.clock.now()
                state = self.status_byte()
                alarms |= state & SUMMARY
                if state & (BUSY | BURST):
                    seen_s = seen_s or now
                elif seen_s is not None or now - started_s >= shortest_s:
                    had_begun = seen_s is not None or events & TRIGGERED
                    events |= self.events()
                    if had_begun or (events & TRIGGERED and events & end):
                        self._judge(plan, events | (alarms << 8), now - started_s, shortest_s)
                        return seen_s or now
                if seen_s is None and now > trigger_by_s and now - started_s < shortest_s:
                    raise DeviceFault(f"{self.name}: {self._no_trigger(plan)}")
                if now > over_by_s:
                    events |= self.events()
                    begun = events & TRIGGERED
                    late = "it does not end" if begun else self._no_trigger(plan)
                    raise DeviceFault(f"{self.name}: {late}")
            left_s = started_s + plan.duration_s - now
            wait_s = min(max(0.2 * left_s, _POLL_S), _SLOWEST_POLL_S)

    def _judge(self, plan: Plan, events: int, took_s: float, shortest_s: float) -> None:
        """Raise DeviceFault unless the count has run to its end undisturbed.

        `events` holds the summary bit of the status byte as bit 8: a second witness, since what
        INSR? says cannot be asked for twice.
        """
        end = END_OF_BURST if plan.cycles else END_OF_DELAY
        problem = _explain(events if plan.missed_triggers_matter else events & ~MISSED)
        if not problem and events >> 8:
            problem = "it signalled something that it did not name"
        elif not problem and not (events & TRIGGERED and events & end):
            problem = "it does not say that it has run from a trigger to its end"
        elif not problem and took_s < shortest_s:
            problem = f"it was over after {took_s:.3g} s instead of {plan.duration_s:.3g} s"
        if problem:
            raise DeviceFault(f"{self.name}: shots were lost: {problem}")

    def _wait(self, seconds: float, blockings: int) -> None:
        """Let time pass, but no longer than until somebody blocks the gate."""
        ends = self.clock.now() + seconds
        while (left := ends - self.clock.now()) > 0.0:
            self._refuse_if_blocked(blockings)
            self.clock.sleep(min(left, _SLICE_S))

    def _refuse_if_blocked(self, blockings: int) -> None:
        if self._blockings != blockings:
            raise DeviceFault(f"{self.name}: it was blocked while the count was under way")


def _explain(events: int) -> str:
    return "; ".join(text for bit, text in _ALARMS.items() if events & bit)


def _choice(key: str, given: str, allowed: Iterable[str]) -> None:
    if given not in allowed:
        raise ConfigError(
            f"{given!r} was given, allowed is {', '.join(allowed)}",
            key=f"instruments.pulse_gate.{key}",
        )


def _within(key: str, given: float, low: float, high: float) -> None:
    if not low <= given <= high:
        raise ConfigError(
            f"{given!r} was given, allowed is {low:g} to {high:g}",
            key=f"instruments.pulse_gate.{key}",
        )
