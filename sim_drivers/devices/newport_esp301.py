"""A simulated Newport ESP301 with three axes, one of which carries a slit edge.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. It answers
queries by bare values, setters by silence and an entry in its error queue; it can be made to wait
(`WS`, `WT`), falls silent for seconds after a limit switch was hit, and tells the World where the
edge really stands. Where the protocol sheet leaves a choice, both readings can be played. The
mechanics are in `esp301_axis`; what the slit lets through is the World's affair.
"""

from __future__ import annotations

import math
import re
from collections import deque
from functools import partial
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.devices.esp301_axis import (
    MINUS_LIMIT,
    PLUS_LIMIT,
    SimulatedAxis,
)
from sim_drivers.link import WireDevice

DEVICE = "newport-esp301"

UNKNOWN, RANGE, AXIS_RANGE, NOT_ALLOWED, NO_PROGRAM, NO_AXIS, NO_PARAMETER = 6, 7, 9, 27, 35, 37, 38
TEXTS = {
    0: "NO ERROR DETECTED",
    4: "EMERGENCY STOP ACTIVATED",
    6: "COMMAND DOES NOT EXIST",
    7: "PARAMETER OUT OF RANGE",
    9: "AXIS NUMBER OUT OF RANGE",
    27: "COMMAND NOT ALLOWED",
    35: "PROGRAM NOT FOUND",
    37: "AXIS NUMBER MISSING",
    38: "COMMAND PARAMETER MISSING",
}
AXIS_TEXTS = {
    1: "PARAMETER OUT OF RANGE",
    3: "FOLLOWING ERROR THRESHOLD EXCEEDED",
    4: "POSITIVE HARDWARE LIMIT DETECTED",
    5: "NEGATIVE HARDWARE LIMIT DETECTED",
    6: "POSITIVE SOFTWARE LIMIT DETECTED",
    7: "NEGATIVE SOFTWARE LIMIT DETECTED",
    8: "MOTOR / STAGE NOT CONNECTED",
    10: "MAXIMUM VELOCITY EXCEEDED",
    11: "MAXIMUM ACCELERATION EXCEEDED",
    13: "MOTOR NOT ENABLED",
    20: "HOMING ABORTED",
    30: "COMMAND NOT ALLOWED DURING HOMING",
}
NOT_CONNECTED, MAXIMUM_VELOCITY, MAXIMUM_ACCELERATION = 8, 10, 11
QUEUE = 10
TICK_S = 400e-6
COMMAND = re.compile(r"(\d{0,2})([A-Z]{2})(.*)", re.DOTALL)
VALUE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?")
GLOBAL = ("VE", "TE", "TB", "PH", "TS", "TX", "AB", "RS", "SM", "EP", "QP", "EX", "XX")
# Parameters of an axis that can be set, with what must not be exceeded and the error then.
SETTINGS = {
    "VA": ("VU", MAXIMUM_VELOCITY),
    "AC": ("AU", MAXIMUM_ACCELERATION),
    "AG": ("AU", MAXIMUM_ACCELERATION),
    "VU": ("", 0),
    "AU": ("", 0),
    "OH": ("VU", MAXIMUM_VELOCITY),
    "JH": ("VU", MAXIMUM_VELOCITY),
    "JW": ("VU", MAXIMUM_VELOCITY),
    "FE": ("", 0),
    "BA": ("", 0),
    "SU": ("", 0),
    "SL": ("", 0),
    "SR": ("", 0),
}
SIGNED = ("SL", "SR", "BA")


class SimulatedESP301(WireDevice):
    """One controller, and the stages on it.

    Args:
        clock: the bench's clock.
        world: told the true position (mm from the home switch) of the slit's axis by
            `set_slit_stage_mm`, if it has that, whenever it has changed.
        seed: of settling, home repeatability and power-on positions.
        axis: the axis that carries the slit, 1 to 3.
        axes: the axes that have a stage.
        identity: the reply to `VE?`. stage: the reply to `ID?`.
        latency_s: from a command's end to its reply.
        position_decimals: of the replies to `TP`.
        motor_on: whether motors are on after power-on.
        stale_done_s: how long after a move command `MD?` still says that the motion is done.
        home_pause_s: how long `MD?` says so between two parts of a home search.
        limit_silence_s: how long it is silent after a limit switch was hit.
        silence_drops: what arrives meanwhile is lost; otherwise it is answered afterwards.
        limit_line: sent unasked when a limit switch was hit, None for nothing.
        global_range: a move beyond the soft limits is error 7, not one of the axis.
        switches_mm: true positions of the limit switches.
        settle_um, home_um: see SimulatedAxis.
        start_mm: where the slit's stage stands at power-on; by default somewhere in 5 to 20 mm, so
            that a slit that nobody uses is open.
        homed: whether the slit's axis has been homed, motor on, before it is handed over.
    """

    SHARED = True
    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "limit", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        axis: int = 1,
        axes: tuple[int, ...] = (1, 2, 3),
        identity: str = "ESP301 Version 3.04 07/27/04",
        stage: str = "TRA25CC, SN1263",
        latency_s: float = 0.003,
        position_decimals: int = 5,
        motor_on: bool = False,
        stale_done_s: float = 0.0,
        home_pause_s: float = 0.05,
        limit_silence_s: float = 3.0,
        silence_drops: bool = False,
        limit_line: str | None = None,
        global_range: bool = False,
        switches_mm: tuple[float, float] = (-1.0, 26.0),
        settle_um: float = 0.15,
        home_um: float = 0.15,
        start_mm: float | None = None,
        homed: bool = False,
    ) -> None:
        super().__init__(clock)
        self.seed = seed
        self.slit_axis = axis
        self.identity, self.stage = identity, stage
        self.impostor = False  # faults: another controller answers
        self._switches_mm = switches_mm
        self.latency_s = latency_s
        self.position_decimals = position_decimals
        self.limit_silence_s, self.silence_drops = limit_silence_s, silence_drops
        self.limit_line, self.global_range = limit_line, global_range
        self._tell = getattr(world, "set_slit_stage_mm", None)
        self._told: float | None = None
        self.axes = {
            number: SimulatedAxis(
                f"{DEVICE}:{number}",
                seed,
                start_mm=start_mm if number == axis else None,
                motor_on=motor_on,
                settle_um=settle_um,
                home_um=home_um,
                stale_done_s=stale_done_s,
                home_pause_s=home_pause_s,
                switches_mm=switches_mm,
                report=partial(self._happened, number),
            )
            for number in axes
        }
        self._start_up(clock.now())
        if homed:
            slit = self.axes[axis]
            slit.zero_mm, slit.target, slit.powered = 0.0, slit.rest_mm, True
        self._tell_world()

    def _start_up(self, now: float) -> None:
        self._power_s = now
        self._errors: deque[tuple[int, float]] = deque()
        self._buffer = b""
        self._waiting: deque[str] = deque()
        self._hold_s = -math.inf  # no command is taken up before
        self._hold_axis: tuple[SimulatedAxis, float] | None = None  # nor before it stands still
        self._silent_until_s = -math.inf
        self._now = now

    # ---- for tests and faults -------------------------------------------------------------------

    @property
    def true_position_mm(self) -> float:
        """Where the edge really stands now (mm from the home switch)."""
        self.settle(self.clock.now())
        return self.axes[self.slit_axis].true_mm(self.clock.now())

    @property
    def moving(self) -> bool:
        """Whether the slit's stage is in motion."""
        self.settle(self.clock.now())
        return self.axes[self.slit_axis].moving

    def restart(self) -> None:
        """Cut the power for a moment: references, settings and pending replies are lost."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            self._outgoing.clear()
            for axis in self.axes.values():
                axis.power(False, now)
                axis.power_up()
            self._start_up(now)

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; with `limit` a switch answers wherever the slit's stage stands."""
        axis = self.axes[self.slit_axis]
        match kind:
            case "stuck":
                axis.stuck = active
            case "limit":
                here = axis.true_mm(self.clock.now())
                axis.switches_mm = (here, here) if active else self._switches_mm
            case "identity":
                self.impostor = active
            case "restart":
                if active:
                    self.restart()
            case _:
                super().fault(kind, active)

    def state(self) -> dict[str, float]:
        """Return the counters that key the noise, and where the stages stand."""
        now = self.clock.now()
        self.settle(now)
        found = {}
        for number, axis in self.axes.items():
            found[f"{number}.moves"] = float(axis.moves)
            found[f"{number}.homings"] = float(axis.homings)
            found[f"{number}.zero"] = axis.zero_mm
            found[f"{number}.position"] = axis.true_mm(now)
        return found

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned: the next move then starts, and takes, as it would.

        Motor and target stay as the host has left them, which has reason to trust them.
        """
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            for number, axis in self.axes.items():
                powered = axis.powered
                axis.power(False, now)
                axis.powered = powered
                axis.moves = int(state.get(f"{number}.moves", axis.moves))
                axis.homings = int(state.get(f"{number}.homings", axis.homings))
                axis.zero_mm = state.get(f"{number}.zero", axis.zero_mm)
                axis.rest_mm = state.get(f"{number}.position", axis.rest_mm)
            self._tell_world()

    # ---- time -----------------------------------------------------------------------------------

    def due(self) -> float | None:
        """See WireDevice.due; what waits in the queue is answered when it may go on."""
        soonest = super().due()
        if self._waiting:
            resume = self._resume_s()
            if resume is not None:
                soonest = resume if soonest is None else min(soonest, resume)
        return soonest

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def settle(self, now: float) -> None:
        """Bring motions and waiting commands up to a bench time, and the World with them."""
        with self.device_lock:
            while True:
                ends = [a.end_s for a in self.axes.values() if a.end_s is not None]
                next_end = min(ends, default=math.inf)
                resume = self._resume_s() if self._waiting else None
                moment = min(next_end, math.inf if resume is None else max(resume, self._now))
                if moment > now:
                    break
                self._now = max(self._now, moment)
                for axis in self.axes.values():
                    axis.settle(self._now)
                if next_end > moment and self._waiting:
                    self._command(self._waiting.popleft())
            self._now = max(self._now, now)
            self._tell_world()

    def _resume_s(self) -> float | None:
        """Return when the next command may be taken up, None if that is not known yet."""
        if self._hold_axis is None:
            return self._hold_s
        axis, seconds = self._hold_axis
        if axis.end_s is not None:
            return None if not math.isfinite(axis.end_s) else axis.end_s + seconds
        self._hold_s, self._hold_axis = max(self._hold_s, self._now + seconds), None
        return self._hold_s

    def _tell_world(self) -> None:
        here = self.axes[self.slit_axis].true_mm(self._now)
        if self._tell is not None and here != self._told:
            self._told = here
            self._tell(here)

    def _happened(self, number: int, error: int, at_s: float) -> None:
        self._error(100 * number + error, at_s)
        if error in (PLUS_LIMIT, MINUS_LIMIT):
            if self.limit_line is not None:
                self.send(f"{self.limit_line}\r\n".encode("latin-1"), at_s - self.clock.now())
            self._silent_until_s = at_s + self.limit_silence_s
            self._hold_s = max(self._hold_s, self._silent_until_s)

    # ---- lines ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a line ends with CR (LF is ignored) and may hold several commands."""
        with self.device_lock:
            self.settle(self.clock.now())
            if self.silence_drops and self._now < self._silent_until_s:
                return
            self._buffer += data.replace(b"\n", b"")
            while b"\r" in self._buffer:
                raw, self._buffer = self._buffer.split(b"\r", 1)
                line = re.sub(r"\s", "", raw.decode("latin-1")).upper()
                self._waiting.extend(command for command in line.split(";") if command)
            self.settle(self.clock.now())

    def _reply(self, text: str) -> None:
        after = self._now - self.clock.now() + self.latency_s
        self.send(f"{text}\r\n".encode("latin-1"), after)

    def _error(self, code: int, at_s: float | None = None) -> None:
        if code:
            self._errors.append((code, self._now if at_s is None else at_s))
            while len(self._errors) > QUEUE:
                self._errors.popleft()

    def _command(self, text: str) -> None:
        match = COMMAND.fullmatch(text)
        if match is None:
            self._error(UNKNOWN)
            return
        digits, name, rest = match.groups()
        if name in GLOBAL:
            self._controller(name)
        elif name == "WT":
            self._hold_s = self._now + 1e-3 * (_number(digits or rest) or 0.0)
        elif name == "ST" and not digits:
            for axis in self.axes.values():
                axis.stop(self._now)
        elif not digits:
            self._error(NO_AXIS if name in AXIS_COMMANDS else UNKNOWN)
        elif name not in AXIS_COMMANDS:
            self._error(UNKNOWN)
        elif int(digits) not in (1, 2, 3):
            self._error(AXIS_RANGE)
        elif int(digits) not in self.axes:
            self._error(100 * int(digits) + NOT_CONNECTED)
        else:
            self._on_axis(int(digits), name, rest)

    # ---- the controller -------------------------------------------------------------------------

    def _controller(self, name: str) -> None:
        match name:
            case "VE":
                self._reply("VT-80 Version 1.12" if self.impostor else self.identity)
            case "TE":
                self._reply(str(self._errors.popleft()[0] if self._errors else 0))
            case "TB":
                code, at_s = self._errors.popleft() if self._errors else (0, self._now)
                text = TEXTS.get(code) or AXIS_TEXTS.get(code % 100, "ERROR")
                self._reply(f"{code}, {round((at_s - self._power_s) / TICK_S)}, {text}")
            case "PH":
                bits = 0
                for number, axis in self.axes.items():
                    here = axis.true_mm(self._now)
                    bits |= (here >= axis.switches_mm[1]) << (number - 1)
                    bits |= (here <= axis.switches_mm[0]) << (number + 7)
                self._reply(f"{bits:X}H, 0H")
            case "TS":
                moving = sum(axis.moving << (n - 1) for n, axis in self.axes.items())
                self._reply(chr(0x40 | moving))
            case "TX":
                self._reply(chr(0x40 | any(axis.homing for axis in self.axes.values()) << 4))
            case "AB":
                for axis in self.axes.values():
                    axis.power(False, self._now)
            case "RS":
                for axis in self.axes.values():
                    axis.power(False, self._now)
                    axis.power_up()
                self._errors.clear()
                self._hold_s = self._silent_until_s = self._now + 5.0
            case "EX" | "XX":
                self._error(NO_PROGRAM)
            case "EP" | "QP":
                self._error(NOT_ALLOWED)

    def _on_axis(self, number: int, name: str, rest: str) -> None:
        axis, now, value = self.axes[number], self._now, _number(rest)
        if name in SETTINGS:
            self._setting(number, name, rest, value)
            return
        asked = rest.startswith("?")
        match name:
            case "TP":
                self._reply(f"{axis.counter(now):.{self.position_decimals}f}")
            case "DP":
                self._reply(f"{axis.counter(now):.{self.position_decimals}f}")
            case "TV":
                self._reply(f"{axis.speed(now):.5f}")
            case "MD":
                self._reply(str(int(axis.looks_done(now))))
            case "ID":
                self._reply(self.stage)
            case "ZH":
                self._reply("24H")
            case "PA" if asked:
                self._reply(_text(axis.target))
            case "MO" if asked:
                self._reply(str(int(axis.powered)))
            case "SN" if asked:
                self._reply(str(axis.units))
            case "MO" | "MF":
                axis.power(name == "MO", now)
            case "ST":
                axis.stop(now)
            case "WS":
                self._hold_axis = (axis, 1e-3 * (value or 0.0))
            case "DH":
                axis.define(value or 0.0, now)
            case "OR":
                mode = 0 if value is None else int(value)
                self._on_error(number, axis.search(mode, now) if mode in range(7) else 1)
            case "MT" | "MV" if rest[:1] in ("+", "-") and rest[:1]:
                end = math.copysign(1e3, 1.0 if rest[0] == "+" else -1.0)
                self._on_error(number, axis.go(end, now, limited=False))
            case _ if value is None:
                self._error(NO_PARAMETER)
            case "SN" if value in range(12):
                axis.units = int(value)
            case "PA":
                self._on_error(number, axis.go(value, now))
            case "PR":
                self._on_error(number, axis.go(axis.target + value, now))
            case _:
                self._error(RANGE)

    def _on_error(self, number: int, error: int) -> None:
        if error in (6, 7) and self.global_range:
            self._error(RANGE)
        elif error:
            self._error(100 * number + error)

    def _setting(self, number: int, name: str, rest: str, value: float | None) -> None:
        parameters = self.axes[number].parameters
        most, error = SETTINGS[name]
        if rest.startswith("?") or (not rest and name in ("VA", "AC", "AG")):
            self._reply(_text(parameters[name]))
        elif value is None:
            self._error(NO_PARAMETER)
        elif value < 0.0 and name not in SIGNED:
            self._error(100 * number + 1)
        elif most and value > parameters[most]:
            self._error(100 * number + error)
        else:
            parameters[name] = value


AXIS_COMMANDS = {
    *SETTINGS,
    *("TP", "DP", "TV", "MD", "ID", "ZH", "PA", "PR", "MO", "MF", "ST", "WS", "DH", "OR"),
    *("MT", "MV", "SN"),
}


def _text(value: float) -> str:
    """Write a value as the controller does: no more digits than it has."""
    text = f"{value:.6f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _number(text: str) -> float | None:
    """Return the number at the beginning of a text; what follows it is ignored."""
    match = VALUE.match(text)
    value = float(match[0]) if match else math.nan
    return value if math.isfinite(value) else None
