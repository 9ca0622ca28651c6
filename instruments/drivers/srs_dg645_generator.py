"""The Stanford Research DG645 digital delay generator itself: settings, registers, errors.

For the driver of the gate (srs_dg645). Every setting is read back, every number believed only when
it was told twice. Stops at what the settings are for.

Source: SRS DG645 data sheet; command names, registers and error codes of SRS's public driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument
from pyvisa.constants import ControlFlow

from instruments.careful import CarefulInstrument
from instruments.clock import Clock
from instruments.errors import BadReply, NotReady, WrongIdentity
from instruments.roles import Identity

OUTPUTS = {"AB": 1, "CD": 2, "EF": 3, "GH": 4}
SOURCES = (
    "internal",
    "external rising",
    "external falling",
    "single shot external rising",
    "single shot external falling",
    "single shot",
    "line",
)
T0, CHANNELS = 0, range(2, 10)

# The instrument status register; reading clears it.
TRIGGERED, MISSED, END_OF_DELAY, END_OF_BURST = 1, 2, 4, 8
INHIBITED, ABORTED, PLL_UNLOCKED, RB_UNLOCKED = 16, 32, 64, 128
# The status byte.
SUMMARY, BUSY, BURST = 1, 2, 4

LONGEST_DELAY_S = 2000.0
DELAY_STEP_S = 5e-12

_ERRORS = {
    10: "illegal value",
    11: "illegal mode",
    12: "illegal delay",
    13: "illegal link",
    14: "recall failed",
    15: "not allowed: locked by another interface",
    16: "failed self test",
    17: "failed auto calibration",
    30: "lost data",
    32: "no listener",
    110: "illegal command",
    111: "undefined command",
    112: "illegal query",
    113: "illegal set",
    114: "null parameter",
    115: "extra parameters",
    116: "missing parameters",
    117: "parameter overflow",
    118: "bad number",
    120: "bad whole number",
    121: "whole number too large",
    122: "bad hexadecimal number",
    126: "syntax error",
    170: "communication error",
    171: "input over-run",
    254: "too many errors",
}

_RESET_S = 0.5


class DG645(CarefulInstrument):
    """The DG645 as a device; `connect` is the gate's."""

    DRIVER_ID: ClassVar[str] = "srs-dg645"
    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600, "flow_control": ControlFlow.rts_cts},
        "write_termination": "\n",
        "read_termination": "\r\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.2

    trigger_source = Instrument.measurement("TSRC?", "Get the trigger source, 0 to 6 (SOURCES).")
    trigger_rate_Hz = Instrument.measurement("TRAT?", "Get the rate of the internal trigger (Hz).")
    trigger_threshold_V = Instrument.measurement("TLVL?", "Get the threshold at EXT (V).")
    holdoff_s = Instrument.measurement("HOLD?", "Get the trigger hold-off (s); kept at 0.")
    advanced_triggering = Instrument.measurement(
        "ADVT?", "Get whether triggers and outputs are prescaled (0, 1); kept at 0."
    )
    inhibit = Instrument.measurement("INHB?", "Get what the inhibit input stops, 0 to 5.")
    timebase = Instrument.measurement(
        "TIMB?", "Get the clock: 0 internal, 1 oven crystal, 2 rubidium, 3 external."
    )
    burst_mode = Instrument.measurement("BURM?", "Get whether triggers start bursts (0, 1).")
    burst_count = Instrument.measurement("BURC?", "Get the cycles of a burst.")
    burst_period_s = Instrument.measurement("BURP?", "Get the time between cycles of a burst (s).")
    burst_delay_s = Instrument.measurement("BURD?", "Get the delay of a burst's first cycle (s).")

    def __init__(self, adapter: Adapter, clock: Clock | None = None) -> None:
        super().__init__(adapter, clock, "DG645")
        self._identity: Identity | None = None

    def identify(self) -> Identity:
        """Ask who it is; WrongIdentity if it is no DG645."""
        self._idn = ""
        try:
            idn = self.agreed("*IDN?", _line)
        except BadReply as error:
            raise WrongIdentity(f"{self.name}: {error}; is this the resource of it?") from error
        if re.search(r"\bDG645\b", idn) is None:
            raise WrongIdentity(
                f"{self.name}: it calls itself {idn!r}, expected is a Stanford Research Systems "
                "DG645"
            )
        self._idn = idn
        serial = re.search(r"s/?n:?\s*(\w+)", idn, re.I)
        firmware = re.search(r"ver\s*([\w.]+)", idn, re.I)
        return Identity(
            "Stanford Research Systems",
            "DG645",
            serial[1] if serial else "",
            firmware[1] if firmware else "",
        )

    @property
    def identity(self) -> Identity:
        """See Role.identity; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._identity

    def reset(self) -> None:
        """Stop everything and forget all settings."""
        self.write("*RST")
        self.clock.sleep(_RESET_S)

    # ---- settings ---------------------------------------------------------------------------

    @property
    def source(self) -> int:
        """The trigger source, an index of SOURCES."""
        return self.whole(self.trigger_source, len(SOURCES) - 1)

    def set_source(self, source: int) -> None:
        """Choose a trigger source."""
        self.set_checked(f"TSRC {source}", "TSRC?", source)

    def set_levels(self, output: int, amplitude_V: float, positive: bool) -> None:
        """Set an output's pulses: from 0 V up to `amplitude_V`, or from there down to 0 V."""
        self.set_checked(f"LPOL {output},{positive:d}", f"LPOL? {output}", positive)
        self.set_checked(f"LOFF {output},0", f"LOFF? {output}", 0.0, 0.01)
        self.set_checked(f"LAMP {output},{amplitude_V:.2f}", f"LAMP? {output}", amplitude_V, 0.011)

    def set_plain_triggering(self, threshold_V: float) -> None:
        """Have every edge count: no prescaling, no hold-off."""
        self.set_checked("ADVT 0", "ADVT?", 0)
        self.set_checked("HOLD 0", "HOLD?", 0.0)
        self.set_checked(f"TLVL {threshold_V:.2f}", "TLVL?", threshold_V, 0.011)

    def set_burst(self, cycles: int, period_s: float, delay_s: float) -> None:
        """Have each trigger start a burst of so many cycles; 0: a single cycle, no burst."""
        self.set_checked(f"BURM {cycles > 0:d}", "BURM?", cycles > 0)
        if cycles:
            self.set_checked("BURT 0", "BURT?", 0)
            self.set_checked(f"BURC {cycles}", "BURC?", cycles)
            self.set_checked(f"BURP {period_s:.8f}", "BURP?", period_s, 1e-9)
            self.set_checked(f"BURD {delay_s:.8f}", "BURD?", delay_s, 1e-9)

    def delay(self, channel: int) -> tuple[int, float]:
        """Return the channel that another refers to, and its delay after it (s)."""
        return self.agreed(f"DLAY? {channel}", self._parse_delay)

    def set_delay(self, channel: int, reference: int, delay_s: float) -> None:
        """Set a channel's delay after another; the generator has steps of 5 ps."""

        def parse(reply: str) -> float:
            found, delay = self._parse_delay(reply)
            if found != reference:
                raise BadReply(f"{self.name}: channel {channel} refers to channel {found}")
            return delay

        tolerance = 1.5 * DELAY_STEP_S if delay_s else 0.0
        command = f"DLAY {channel},{reference},{delay_s:.12f}"
        self.set_checked(command, f"DLAY? {channel}", delay_s, tolerance, parse=parse)

    def delays(self) -> dict[int, tuple[int, float]]:
        """Return `delay` of every channel that has one."""
        return {channel: self.delay(channel) for channel in CHANNELS}

    # ---- registers --------------------------------------------------------------------------

    def status_byte(self) -> int:
        """Return the status byte; asking changes nothing."""
        return self.whole(self.number("*STB?"), 255)

    def events(self) -> int:
        """Return what has happened since the last time; it can be asked for once only."""
        reply = self.ask("INSR?").strip()
        if re.fullmatch(r"\+?\d{1,3}", reply) is None or int(reply) > 255:
            self._doubt()
            raise BadReply(f"{self.name}: INSR? was answered by {reply[:40]!r}")
        return int(reply)

    def set_alarms(self, events: int) -> None:
        """Choose the events that the status byte's summary bit stands for."""
        self.set_checked(f"INSE {events}", "INSE?", events)

    # ---- replies ----------------------------------------------------------------------------

    def whole(self, value: float, most: int) -> int:
        """Return a whole number, 0 to `most`; BadReply if it is none."""
        if value != int(value) or not 0 <= value <= most:
            raise BadReply(f"{self.name}: it says {value:g} where only 0 to {most} can be")
        return int(value)

    def _parse_delay(self, reply: str) -> tuple[int, float]:
        channel, comma, seconds = reply.partition(",")
        if not comma or re.fullmatch(r"\+?\d", channel.strip()) is None:
            raise BadReply(f"{self.name}: {reply[:60]!r} is not a channel and a delay")
        delay = self.parse_number(seconds.strip())
        if not abs(delay) <= LONGEST_DELAY_S:
            raise BadReply(f"{self.name}: a delay of {delay:g} s cannot be")
        return int(channel), delay

    def _next_error(self) -> str:
        reply = self.ask("LERR?").strip()
        if re.fullmatch(r"\+?\d{1,3}", reply) is None:
            raise BadReply(f"{self.name}: LERR? was answered by {reply[:40]!r}")
        code = int(reply)
        if code and code not in _ERRORS and not 40 <= code <= 91:
            raise BadReply(f"{self.name}: there is no error {code}")
        return f"error {code}, {_ERRORS.get(code, 'self test or calibration')}" if code else ""


def after_t0(channel: int, delays: Mapping[int, tuple[int, float]]) -> float:
    """Return when a channel comes after T0 (s), by the delays of all channels."""
    total = 0.0
    for _ in delays:
        if channel not in delays:
            break
        channel, delay = delays[channel]
        total += delay
    return total


def _line(reply: str) -> str:
    if not reply or not reply.isprintable():
        raise BadReply(f"{reply[:60]!r} is no answer to *IDN?")
    return reply
