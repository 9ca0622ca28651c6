"""The command set of a simulated Lake Shore 331, 335 or 336.

For the device in lakeshore_335: one method a command, the event status register, and the settings.
What is not known sets a bit and is answered by nothing. Curves, alarms, zones and the like are kept
and told, and do nothing. Stops at text: lines, time and sensors are the device's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from instruments.clock import Clock
from sim_drivers.heater_loop import CLOSED, OFF, OPEN, HeaterLoop

OPERATION_COMPLETE, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 1, 16, 32, 128

MODELS: dict[int, dict[str, Any]] = {
    331: {"inputs": "AB", "outputs": 2, "identity": "LSCI,MODEL331S,345678,020399"},
    335: {"inputs": "AB", "outputs": 2, "identity": "LSCI,MODEL335,335A1Q7/#######,2.0"},
    336: {"inputs": "ABCD", "outputs": 4, "identity": "LSCI,MODEL336,336A9X2/#######,2.9"},
}

# Settings that are only kept: how many fields name the place, and what stands there at first.
KEPT: dict[str, tuple[int, str]] = {
    "*ESE": (0, "000"),
    "*SRE": (0, "000"),
    "OPSTE": (0, "000"),
    "ALARM": (1, "0,+0375.0,+0000.0,+0000.0,0,0,0"),
    "BRIGT": (0, "2"),
    "CRVHDR": (1, "DT-670,STANDARD,2,+500.000,1"),
    "DISPLAY": (0, "0,2,0"),
    "EMUL": (0, "0,0"),
    "FILTER": (1, "0,10,02"),
    "HTRSET": (1, "0,2,0,+1.000,1"),
    "INCRV": (1, "02"),
    "INNAME": (1, "Stage          "),
    "INTYPE": (1, "3,1,0,0,1"),
    "LEDS": (0, "1"),
    "LOCK": (0, "0,000"),
    "MODE": (0, "1"),
    "RELAY": (1, "0,A,2"),
    "WARMUP": (1, "0,+050.00"),
    "ZONE": (2, "+0000.0,+0050.0,+0020.0,+0000.0,+0000.0,0,0,+0000.1"),
}
ONLY_335, ONLY_331 = {"OUTMODE", "OPST", "TLIMIT", "HTRSET"}, {"CSET", "CMODE"}
COMMON = {"*IDN", "*ESR", "*STB", "*TST", "*OPC", "*CLS", "*RST"}  # all others have no star
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(E[+-]?\d+)?")

Act = Callable[[list[str]], "str | None"]


class _Refused(Exception):
    """A command that sets a bit of the event status register."""

    def __init__(self, bit: int) -> None:
        super().__init__(bit)
        self.bit = bit


@dataclass(frozen=True)
class Played:
    """Which of the readings that the protocol sheet leaves open are played.

    numbers: how readings are written: "fixed" +010.123, "six" +10.1230, "exponent".
    ramp_reply: the rate in `RAMP?`: "whole" 0,10, "fixed" 0,+010.0.
    setpoint_lag_s: how long `SETP?` still tells the old set point.
    ramping_setpoint: `SETP?` tells the moving set point of a ramp, not its target.
    off_percent: what `HTR?` tells with the heater off.
    loop_form: a 331 also takes `RANGE 1,2` and the like.
    """

    numbers: Literal["fixed", "six", "exponent"] = "fixed"
    ramp_reply: Literal["whole", "fixed"] = "fixed"
    setpoint_lag_s: float = 0.3
    ramping_setpoint: bool = True
    off_percent: float = 0.0
    loop_form: bool = False


class Registers:
    """The settings of a controller, and the commands that ask and change them.

    Args:
        model: 331, 335 or 336. clock: the bench's clock. loops: the outputs by number.
        sense: returns an input's reading (K) and its status bits.
        heater_fault: returns the fault of an output as `HTRST?` tells it.
        control_input: the input that regulates each output at first, A is 1.
        played: see Played.
    """

    def __init__(
        self,
        model: int,
        clock: Clock,
        loops: dict[int, HeaterLoop],
        sense: Callable[[str], tuple[float, int]],
        heater_fault: Callable[[int], int],
        control_input: int,
        played: Played,
    ) -> None:
        self.model = model
        self.inputs = str(MODELS[model]["inputs"])
        self.identity = str(MODELS[model]["identity"])
        self.loops = loops
        self.played = played
        self.control_input = dict.fromkeys(loops, control_input)
        self.powerup = dict.fromkeys(loops, 0)
        self.limits_K = dict.fromkeys(self.inputs, 0.0)
        self.units = 1
        self.event_status = POWER_ON
        self._clock, self._sense, self._heater_fault = clock, sense, heater_fault
        self._kept: dict[tuple[str, ...], str] = {}
        self._old_setpoint: dict[int, tuple[float, float]] = {}

    def power_up(self) -> None:
        """Start anew: ranges off unless they are to come back, everything else kept."""
        self.event_status = POWER_ON
        self.show_setpoints()
        for number, loop in self.loops.items():
            if not self.powerup[number]:
                loop.set_range(0)
            loop.set_ramp(loop.ramp_on, loop.ramp_K_min)

    def show_setpoints(self) -> None:
        """Have `SETP?` tell the present set points at once."""
        self._old_setpoint.clear()

    def answers(self, line: str) -> list[str]:
        """Do the commands of a line, return the answers to its queries in order."""
        found = []
        for text in line.split(";"):
            command = text.strip(" \t:")
            if not command:
                continue
            try:
                answer = self._command(command)
            except _Refused as refusal:
                self.event_status |= refusal.bit
            else:
                found += [] if answer is None else [answer]
        return found

    def _command(self, text: str) -> str | None:
        """Do one command; return its answer, None for one that has none."""
        head, _, rest = text.partition(" ")
        name, fields = head.upper(), [field.strip() for field in rest.split(",")]
        fields = [] if fields == [""] else fields
        bare = name.removesuffix("?")
        if (bare in ONLY_335 and self.model == 331) or (bare in ONLY_331 and self.model != 331):
            raise _Refused(COMMAND_ERROR)
        kind, word = ("ask" if name.endswith("?") else "set"), bare.removeprefix("*").lower()
        special: Act | None = getattr(self, f"_{kind}_{word}", None)
        if special is not None and (bare.startswith("*") == (f"*{word.upper()}" in COMMON)):
            return special(fields)
        if bare not in KEPT:
            raise _Refused(COMMAND_ERROR)
        places, first = KEPT[bare]
        place = (bare, *(field.upper() for field in fields[:places]))
        if len(place) != places + 1:
            raise _Refused(EXECUTION_ERROR)
        if kind == "ask":
            told = self._kept.get(place, first)
            return f"{told[:-1]}{self.units}" if bare == "INTYPE" else told
        self._kept[place] = ",".join(fields[places:])
        if bare == "INTYPE" and fields[-1] in ("1", "2", "3"):
            self.units = int(fields[-1])
        return None

    def _written(self, value: float, decimals: int = 3) -> str:
        match self.played.numbers:
            case "fixed":
                return f"{value:+0{5 + decimals}.{decimals}f}"
            case "exponent":
                return f"{value:+.5E}"
        whole = len(str(int(abs(value))))
        return f"{value:+.{max(6 - whole, 0)}f}"

    def _loop_of(self, fields: list[str], *, heater: bool = False) -> tuple[int, list[str]]:
        """Return the output that a command names, and the other fields."""
        if heater and self.model == 331 and not self.played.loop_form:
            return 1, fields
        if not fields or not fields[0].isdigit() or int(fields[0]) not in self.loops:
            raise _Refused(EXECUTION_ERROR)
        return int(fields[0]), fields[1:]

    def _input_of(self, fields: list[str]) -> str:
        name = fields[0].upper() if fields else ""
        if len(name) != 1 or name not in self.inputs:
            raise _Refused(EXECUTION_ERROR)
        return name

    # ---- identity and registers -----------------------------------------------------------------

    def _ask_idn(self, fields: list[str]) -> str:
        return self.identity

    def _ask_esr(self, fields: list[str]) -> str:
        told, self.event_status = self.event_status, 0
        return f"{told:03d}"

    def _ask_stb(self, fields: list[str]) -> str:
        return f"{32 if self.event_status else 0:03d}"

    def _ask_tst(self, fields: list[str]) -> str:
        return "0"

    def _ask_opc(self, fields: list[str]) -> str:
        return "1"

    def _set_opc(self, fields: list[str]) -> None:
        self.event_status |= OPERATION_COMPLETE

    def _set_cls(self, fields: list[str]) -> None:
        self.event_status = 0

    def _set_rst(self, fields: list[str]) -> None:
        self._kept.clear()
        for loop in self.loops.values():
            loop.set_range(0)

    def _ask_opst(self, fields: list[str]) -> str:
        ramp_1, ramp_2 = self.loops[1].ramping, self.loops[2].ramping
        return f"{(0 if ramp_1 else 8) + (0 if ramp_2 else 4) + 16:03d}"

    # ---- readings -------------------------------------------------------------------------------

    def _ask_krdg(self, fields: list[str]) -> str:
        return self._written(self._sense(self._input_of(fields))[0])

    def _ask_crdg(self, fields: list[str]) -> str:
        kelvin, status = self._sense(self._input_of(fields))
        return self._written(kelvin - (0.0 if status else 273.15))

    def _ask_srdg(self, fields: list[str]) -> str:
        kelvin, _ = self._sense(self._input_of(fields))
        return self._written(1.65 - 0.00385 * kelvin, 5)  # volts of a silicon diode, about

    def _ask_rdgst(self, fields: list[str]) -> str:
        return f"{self._sense(self._input_of(fields))[1]:03d}"

    def _ask_htr(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields, heater=True)
        loop = self.loops[number]
        if not loop.heater_range and self.played.off_percent:
            return f"{self.played.off_percent:+08.3f}"
        return f"{loop.percent:+06.1f}"

    def _ask_htrst(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields or ["1"], heater=True)
        return str(self._heater_fault(number))

    # ---- the loop -------------------------------------------------------------------------------

    def _ask_setp(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields)
        until_s, old = self._old_setpoint.get(number, (-math.inf, 0.0))
        loop = self.loops[number]
        value = loop.setpoint_K if self.played.ramping_setpoint else loop.target_K
        return self._written(old if self._clock.now() < until_s else value)

    def _set_setp(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        value, loop = _number(rest, 0, 0.0, 1000.0), self.loops[number]
        shown = loop.setpoint_K if self.played.ramping_setpoint else loop.target_K
        self._old_setpoint[number] = (self._clock.now() + self.played.setpoint_lag_s, shown)
        loop.set_target(round(value, 3))

    def _ask_range(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields, heater=True)
        return str(self.loops[number].heater_range)

    def _set_range(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields, heater=True)
        highest = 1 if number > 2 else 3
        value = _number(rest, 0, 0, highest)
        if value % 1:
            raise _Refused(EXECUTION_ERROR)
        self.loops[number].set_range(int(value))

    def _ask_ramp(self, fields: list[str]) -> str:
        loop = self.loops[self._loop_of(fields)[0]]
        rate = loop.ramp_K_min
        written = f"{rate:+06.1f}" if self.played.ramp_reply == "fixed" else f"{rate:g}"
        return f"{int(loop.ramp_on)},{written}"

    def _set_ramp(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        on, loop = _number(rest, 0, 0, 1), self.loops[number]
        rate = _number(rest, 1, 0.0, 100.0) if len(rest) > 1 else loop.ramp_K_min
        loop.set_ramp(on == 1, round(rate, 1))

    def _ask_rampst(self, fields: list[str]) -> str:
        return str(int(self.loops[self._loop_of(fields)[0]].ramping))

    def _ask_pid(self, fields: list[str]) -> str:
        loop = self.loops[self._loop_of(fields)[0]]
        return f"{loop.p:+07.1f},{loop.i:+07.1f},{loop.d:+07.1f}"

    def _set_pid(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        gain, reset, rate = (
            round(_number(rest, place, low, high), 1)
            for place, low, high in ((0, 0.1, 1000.0), (1, 0.1, 1000.0), (2, 0.0, 200.0))
        )
        loop = self.loops[number]
        loop.p, loop.i, loop.d = gain, reset, rate

    def _ask_mout(self, fields: list[str]) -> str:
        return f"{self.loops[self._loop_of(fields)[0]].manual_percent:+07.2f}"

    def _set_mout(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        self.loops[number].manual_percent = _number(rest, 0, 0.0, 100.0)

    def _ask_outmode(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields)
        mode = (OFF, CLOSED, "", OPEN).index(self.loops[number].mode)
        return f"{mode},{self.control_input[number]},{self.powerup[number]}"

    def _set_outmode(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        mode = _number(rest, 0, 0, 5)
        source = int(_number(rest, 1, 0, len(self.inputs)))
        kinds = {0: OFF, 1: CLOSED, 2: CLOSED, 3: OPEN}
        self.powerup[number] = int(_number(rest, 2, 0, 1))
        self.control_input[number] = source
        self.loops[number].mode = kinds.get(int(mode), OFF)
        self.loops[number].set_range(0)  # a new kind of output begins with the heater off

    def _ask_cset(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields)
        name = self.inputs[self.control_input[number] - 1]
        return f"{name},{self.units},{self.powerup[number]},1"

    def _set_cset(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        name = self._input_of(rest)
        units = int(_number(rest, 1, 1, 3)) if len(rest) > 1 else self.units
        self.control_input[number] = self.inputs.index(name) + 1
        self.units = units
        if len(rest) > 2:
            self.powerup[number] = int(_number(rest, 2, 0, 1))

    def _ask_cmode(self, fields: list[str]) -> str:
        number, _ = self._loop_of(fields)
        return "3" if self.loops[number].mode == OPEN else "1"

    def _set_cmode(self, fields: list[str]) -> None:
        number, rest = self._loop_of(fields)
        self.loops[number].mode = OPEN if _number(rest, 0, 1, 6) == 3 else CLOSED

    def _ask_tlimit(self, fields: list[str]) -> str:
        return f"{self.limits_K[self._input_of(fields)]:+05.0f}"

    def _set_tlimit(self, fields: list[str]) -> None:
        name = self._input_of(fields)
        self.limits_K[name] = round(_number(fields, 1, 0.0, 9999.0))


def _number(fields: list[str], place: int, low: float, high: float) -> float:
    """Return a field as a number within its range; refuse what is none."""
    if place >= len(fields):
        raise _Refused(EXECUTION_ERROR)
    if NUMBER.fullmatch(fields[place].upper()) is None:
        raise _Refused(COMMAND_ERROR)
    value = float(fields[place])
    if not low <= value <= high:
        raise _Refused(EXECUTION_ERROR)
    return value
