"""What a Lake Shore 331, 335 or 336 can be asked and told, whichever it is.

For the cryostat in lakeshore_335. The dialect is chosen by identity. Set commands are answered by
nothing, so each is read back; no temperature is told without the status of its sensor. Stops at one
heater output and one sensor: what follows from a reading is decided above.

Sources: Lake Shore, user's manuals of the models 331, 335 and 336 (remote operation).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument

from instruments.agreeing import until_alike
from instruments.clock import Clock
from instruments.drivers.lakeshore_line import LakeShoreLine
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    InstrumentError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits

RANGES = {0: "off", 1: "low", 2: "medium", 3: "high"}
"""The heater's ranges; each has ten times the power of the one before (mostly 0.5, 5, 50 W)."""


@dataclass(frozen=True)
class _Dialect:
    inputs: str
    outputs: int
    numbered: bool  # whether RANGE, HTR? and HTRST? name the output


_DIALECTS = {
    "331": _Dialect("AB", 1, False),
    "335": _Dialect("AB", 2, True),
    "336": _Dialect("ABCD", 2, True),
}
_SERIAL = ((57600, "\n"), (9600, "\r\n"))  # 335 and 336, then 331
_SENSOR_BITS = {
    1: "invalid reading",
    16: "temperature under its curve",
    32: "temperature over its curve",
    64: "sensor units zero (short, or open?)",
    128: "sensor units over range (open?)",
}
_HEATER_FAULTS = {1: "open: is it connected?", 2: "shorted"}
_UNITS = {2: "Celsius", 3: "sensor units"}

_AGREE_K = (0.02, 0.02, 0.05, 0.2, 0.5, 2.0)  # two readings in a row; it may be changing fast
_AGREE_PERCENT = (1.0, 1.0, 2.0, 5.0, 20.0)
_STALE_S = 1.5  # so long a set point read back may still be the old one
_POLL_S = 0.25
SETPOINT_K = 0.0015  # resolution of a set point
RAMP = Limits(0.1, 100.0, "K/min")
HOTTEST_K = 1500.0
PID_LIMITS = (Limits(0.1, 1000.0, ""), Limits(0.1, 1000.0, ""), Limits(0.0, 200.0, ""))


class LakeShoreController(LakeShoreLine):
    """The controller behind one heater output and one sensor.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        output: the heater output, 1 or 2 (a 331 has one).
        sensor: the control sensor, "A" or "B" (a 336 has "A" to "D").
    """

    setpoint_K = Instrument.measurement(
        "SETP? {output}",
        "Get the set point (K); on a ramp some controllers tell where it is now.",
        get_process=float,
        cast=str,
    )
    heater_range = Instrument.measurement(
        "RANGE?{asked}", "Get the heater's range, 0 to 3 (see RANGES).", get_process=int, cast=str
    )
    ramping = Instrument.measurement(
        "RAMPST? {output}",
        "Get whether the set point is on a ramp (bool).",
        get_process=lambda text: text == "1",
        cast=str,
    )
    ramp = Instrument.measurement(
        "RAMP? {output}",
        "Get the ramp: 1 for on or 0, and its rate (K/min).",
        separator=",",
        get_process_list=lambda fields: tuple(float(field) for field in fields),
        cast=str,
    )
    pid = Instrument.measurement(
        "PID? {output}",
        "Get gain, reset and rate of the control loop.",
        separator=",",
        get_process_list=lambda fields: tuple(float(field) for field in fields),
        cast=str,
    )
    sensor_status = Instrument.measurement(
        "RDGST? {sensor}",
        "Get the status bits of the control sensor; 0 is a valid reading.",
        get_process=int,
        cast=str,
    )

    def __init__(self, adapter: Adapter, clock: Clock | None, output: int, sensor: str) -> None:
        super().__init__(adapter, clock)
        choice("output", output, (1, 2))
        choice("sensor", sensor, "ABCD")
        self._output, self._sensor = output, sensor
        self.seen_K: tuple[tuple[float, float], ...] = ()  # the last two, each with its moment
        self._name_outputs(output, sensor, numbered=True)

    # ---- opening --------------------------------------------------------------------------------

    def identify(self, contains: str, hottest_K: float, pid: Sequence[float] | None) -> Identity:
        """Identify the controller, and set up its loop: closed, in kelvin, off after a power cut.

        `hottest_K`: the controller's own temperature limit is lowered to just above it, where it
        has one. On a serial port both of the family's settings are tried.

        Raises NoReply, BadReply, WrongIdentity, ConfigError (no such sensor or output in this
        model), NotReady (the set point is not in kelvin), DeviceFault (a setting was not taken).
        """
        with self.lock:
            self.expect_trouble()  # who knows what the last user left on the line
            text = self._identify()
            found = re.fullmatch(r"LSCI,MODEL(33\d)\w?,([^,]*),(.*)", text)
            known = found is not None and found[1] in _DIALECTS
            if found is None or not known or contains.lower() not in text.lower():
                raise WrongIdentity(
                    f"{self.name}: it calls itself {text!r}; a Lake Shore 331, 335 or 336 that "
                    f"contains {contains!r} is wanted; is this its port?"
                )
            dialect = _DIALECTS[found[1]]
            choice("sensor", self._sensor, dialect.inputs)
            choice("output", self._output, range(1, dialect.outputs + 1))
            self._name_outputs(self._output, self._sensor, numbered=dialect.numbered)
            self._set_up_loop(dialect, hottest_K)
            if pid is not None:
                self._set_pid(tuple(pid))
            return Identity("Lake Shore", f"Model {found[1]}", found[2], found[3])

    def _identify(self) -> str:
        connection = self.adapter.connection
        serial = hasattr(connection, "baud_rate")
        trouble: InstrumentError | None = None
        for baud_rate, end in _SERIAL:
            if serial:
                connection.baud_rate = baud_rate
            self.end_lines_with(end)
            try:
                return self.ask("*IDN?")
            except InstrumentError as error:
                trouble = error
        tried = "57600 and 9600 baud, 7 bits, odd parity; " if serial else ""
        kind = BadReply if isinstance(trouble, BadReply) else NoReply
        raise kind(
            f"{self.name}: nothing that speaks as a Lake Shore 331, 335 or 336 does answers "
            f"({tried}check power, cable, and the interface settings at the panel): {trouble}"
        ) from trouble

    def _set_up_loop(self, dialect: _Dialect, hottest_K: float) -> None:
        """Closed loop on our sensor, in kelvin, heater off after a power failure."""
        if not dialect.numbered:
            said = self.ask("CSET? {output}")
            _, units, _, *shown = said.split(",")
            self._require_kelvin(int(units))
            wanted = ",".join((self._sensor, "1", "0", *shown))
            if said != wanted:
                self._set(
                    f"CSET {{output}},{wanted}", "CSET? {output}", lambda text: text == wanted
                )
            if self.ask("CMODE? {output}") == "3":
                self._set("CMODE {output},1", "CMODE? {output}", lambda text: text == "1")
            return
        self._require_kelvin(int(self.ask("INTYPE? {sensor}").split(",")[-1]))
        wanted = f"1,{dialect.inputs.index(self._sensor) + 1},0"
        if self.ask("OUTMODE? {output}") != wanted:
            self._set(
                f"OUTMODE {{output}},{wanted}", "OUTMODE? {output}", lambda text: text == wanted
            )
        with contextlib.suppress(NoReply):  # the controller's own limit comes behind ours
            limit = math.ceil(hottest_K) + 1
            if not 0.0 < float(self.ask("TLIMIT? {sensor}")) <= limit:
                self._set(
                    f"TLIMIT {{sensor}},{limit}",
                    "TLIMIT? {sensor}",
                    lambda text: float(text) == limit,
                )

    def _require_kelvin(self, units: int) -> None:
        if units != 1:
            raise NotReady(
                f"{self.name}: its set point is in {_UNITS.get(units, 'unknown units')}; choose "
                f"kelvin for sensor {self._sensor} at its front panel"
            )

    def _set_pid(self, wanted: tuple[float, ...]) -> None:
        text = ",".join(f"{value:.1f}" for value in wanted)
        self._set(
            f"PID {{output}},{text}",
            "PID? {output}",
            lambda said: all(
                abs(float(field) - value) <= 0.051
                for field, value in zip(said.split(","), wanted, strict=True)
            ),
        )

    # ---- reading --------------------------------------------------------------------------------

    def read_K(self) -> float:
        """Return a reading (K) that its sensor vouches for and that a second one confirms.

        Raises DeviceFault if the sensor has no valid reading.
        """
        return self.plausible_K(self._settled(self.one_K, _AGREE_K, self.require_valid_sensor))

    def one_K(self) -> float:
        """Return a single reading (K), confirmed by nothing; the last ones are in `seen_K`."""
        kelvin = float(self.ask_once("KRDG? {sensor}"))
        self.seen_K = (*self.seen_K[-1:], (kelvin, self.clock.now()))
        return kelvin

    def plausible_K(self, kelvin: float) -> float:
        """Return a reading (K) that can be one; DeviceFault otherwise."""
        if not 0.0 < kelvin < HOTTEST_K:
            raise DeviceFault(
                f"{self.name}: sensor {self._sensor} tells {kelvin:g} K; has its input a "
                "calibration curve?"
            )
        return kelvin

    def read_percent(self) -> float:
        """Return the heater's output (% of its range), confirmed by a second reading."""
        percent = self._settled(
            lambda: float(self.ask_once("HTR?{asked}")), _AGREE_PERCENT, lambda: None
        )
        if not -0.5 <= percent <= 100.5:
            raise BadReply(f"{self.name}: a heater output of {percent:g} % makes no sense")
        return min(max(percent, 0.0), 100.0)

    def read_heater_fault(self) -> str:
        """Return what is wrong with the heater, "" for nothing.

        A fault is believed at once: some controllers forget it when they have told it.
        """
        code = int(self.ask_once("HTRST?{asked}"))
        return _HEATER_FAULTS.get(code, f"faulty (code {code})") if code else ""

    def require_valid_sensor(self) -> None:
        """Raise DeviceFault if the sensor says that its reading is not valid."""
        if int(self.ask_once("RDGST? {sensor}")):
            bits = self.sensor_status
            if bits:
                raise DeviceFault(
                    f"{self.name}: sensor {self._sensor}: {_named(bits)}; check sensor and cable"
                )

    def _settled(
        self, ask: Callable[[], float], agree: Sequence[float], between: Callable[[], object]
    ) -> float:
        """Ask until two replies in a row agree; `agree`: how well, more leniently each time."""
        allowed = iter(agree)

        def read() -> float:
            value = ask()
            between()
            return value

        def same(earlier: float, value: float) -> bool:
            return abs(value - earlier) <= next(allowed) + 3e-4 * abs(value)

        with self.lock:
            return until_alike(
                read,
                f"{self.name}: its readings (is it oscillating?)",
                same=same,
                readings=len(agree) + 1,
            )

    # ---- setting --------------------------------------------------------------------------------

    def set_range(self, heater_range: int) -> None:
        """Choose the heater's range (0 is off) and see it taken."""
        self._set(
            f"RANGE {{told}}{heater_range}",
            "RANGE?{asked}",
            lambda text: int(text) == heater_range,
        )

    def set_setpoint(self, kelvin: float, *, ramped: bool = False) -> None:
        """Give a set point (K) and see it taken; `ramped`: or see a ramp begin."""
        wanted = round(kelvin, 3)

        def arrived(text: str) -> bool:
            return abs(float(text) - wanted) <= SETPOINT_K or (ramped and bool(self.ramping))

        self._set(f"SETP {{output}},{wanted:.3f}", "SETP? {output}", arrived)

    def set_ramp(self, K_per_min: float | None) -> None:
        """Switch the ramp on at a rate (K/min), or off (None), and see it taken."""
        on, rate = (0, self.ramp[1]) if K_per_min is None else (1, K_per_min)
        rate = min(max(rate, RAMP.low), RAMP.high)

        def arrived(text: str) -> bool:
            flag, said = text.split(",")
            return int(flag) == on and (not on or abs(float(said) - rate) <= 0.051)

        self._set(f"RAMP {{output}},{on},{rate:.1f}", "RAMP? {output}", arrived)

    def cut_by_other_means(self) -> None:
        """Ask for no heat in every other way there is; nothing is verified, nothing raised."""
        for command in ("SETP {output},0", "MOUT {output},0", "OUTMODE {output},0,0,0"):
            with contextlib.suppress(InstrumentError):
                self.write(command)

    def _set(self, command: str, query: str, arrived: Callable[[str], bool]) -> None:
        """Send a setting and see it taken; what is sent here may be sent again."""
        said = ""
        with self.lock:
            for _ in range(3):
                self.write(command)
                deadline = self.clock.now() + _STALE_S
                while True:
                    said = self.ask(query)
                    if arrived(said):
                        return
                    if self.clock.now() > deadline:
                        break
                    self.clock.sleep(_POLL_S)
        raise DeviceFault(
            f"{self.name}: {self.as_sent(command)!r} was not taken: it says {said!r}; is its "
            "keypad locked to local, or the value beyond its own limits?"
        )


def _named(bits: int) -> str:
    named = [text for bit, text in _SENSOR_BITS.items() if bits & bit]
    return ", ".join(named) or f"status {bits}"


def choice(key: str, value: Any, allowed: Any) -> None:
    """Raise ConfigError unless an option has one of the values allowed."""
    if isinstance(value, bool) or value not in tuple(allowed):
        choices = ", ".join(str(each) for each in allowed)
        raise ConfigError(f"{choices} is allowed, not {value!r}", key=key)
