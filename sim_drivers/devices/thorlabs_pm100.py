"""A simulated Thorlabs PM100 family energy meter (PM103, PM100D, PM100USB), SCPI line by line.

For the simulated bench and for independent clients over TCP. Messages end with LF; headers in long
or short form and any case, several to a message. Energies are those that the World's pick-off
sees, times what this meter's calibration makes of them, plus the noise of its electronics. As the
real one, it answers MEAS, READ and FETC at the next pulse that is above the trigger threshold,
blocks for up to 10 s if none comes, and loses its link for good if somebody talks to it meanwhile.
Power, frequency and the other set-ups answer plausibly and no more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from instruments.clock import Clock
from sim_drivers.heard import Heard
from sim_drivers.link import WireDevice
from sim_drivers.noise import FloatArray, normals
from sim_drivers.scpi import (
    CommandError,
    ErrorQueue,
    Handler,
    Headers,
    Lines,
    bound,
    only_command,
    only_query,
    parameter,
)

_DEVICE = "energy_meter"
_BLOCK_S = 10.0
_RANGE_CHANGE_S = 0.01
_LOOK_AHEAD_S = 0.2
_LOOK_AGAIN_S = 0.02
_OUT_OF_RANGE = "9.9E37"
_IMPOSTOR = "ACME,DMM-7,0042,1.0"


@dataclass(frozen=True)
class Sensor:
    """A sensor head as SYST:SENS:IDN? describes it, and its wavelengths (nm)."""

    name: str
    kind: int  # 0 none, 1 photodiode, 2 thermopile, 3 pyroelectric
    subtype: int
    flags: int
    shortest_nm: float = 185.0
    longest_nm: float = 2500.0


SENSORS = {
    "ES111C": Sensor("ES111C", 3, 2, 2 + 16 + 32),
    "S120C": Sensor("S120C", 1, 18, 1 + 32, 400.0, 1100.0),
    "S470C": Sensor("S470C", 2, 18, 1 + 2 + 32 + 64, 250.0, 10600.0),
    "none": Sensor("no sensor", 0, 0, 0),
}
DECADES_J = tuple(2.0 * 10.0**power for power in range(-9, -1))


@dataclass
class _Wait:
    """A query that blocks until a pulse: from when on, until when, what a time-out answers."""

    since_s: float
    until_s: float
    timeout_answer: str | None
    divisor: float = 1.0
    look_at_s: float = 0.0


@dataclass
class _Message:
    """A message being worked through: what is left of it, and what it has answered so far."""

    units: deque[str]
    answers: list[str] = field(default_factory=list)
    path: str = ""


class SimulatedPM100(WireDevice):
    """The meter with one sensor head.

    Args:
        clock: the bench's clock. world: pulses; see sim_drivers.world.
        seed: keys the electronic noise, with the number of the reading.
        model: PM103 (knows FETC:STAT?), PM100D, PM100USB ...; serial, firmware: for *IDN?.
        sensor: a key of SENSORS.
        ranges_J: upper ends of the energy ranges.
        fetch_state: whether FETC:STAT? exists (by model, if None).
        noise_of_range: electronic noise of a reading, relative to the upper end of the range.
        decimals: of the numbers. quoted: whether strings are in quotes.
        overrange: what is answered beyond the range.
        timeout_answer: what comes after 10 s without a pulse (None: nothing but an error).
        ready_bit: bit of STAT:OPER:COND? that is set when a reading is ready.
        link_hangs: whether talking to the blocked meter kills the link.
        offset_J: what the head gives in the dark. zeroes: whether the zero can be set; zero_s: how
            long that takes.
        processing_s, reply_s: from pulse to reading, from reading to host.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "sensor", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        model: str = "PM103",
        serial: str = "P0012345",
        firmware: str = "2.8.0",
        sensor: str = "ES111C",
        ranges_J: Sequence[float] = DECADES_J,
        fetch_state: bool | None = None,
        noise_of_range: float = 0.003,
        decimals: int = 6,
        quoted: bool = True,
        overrange: str = _OUT_OF_RANGE,
        timeout_answer: str | None = None,
        ready_bit: int = 9,
        link_hangs: bool = True,
        offset_J: float = 0.0,
        zeroes: bool = True,
        zero_s: float = 1.0,
        processing_s: float = 5e-4,
        reply_s: float = 2e-4,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.seed = seed
        self.identity = f"THORLABS,{model},{serial},{firmware}"
        self.sensor = self._plugged = SENSORS[sensor]
        self.impostor = False  # faults: something else answers to *IDN?
        self.ranges_J = tuple(sorted(ranges_J))
        self.fetch_state = (
            model.startswith(("PM103", "PM50")) if fetch_state is None else fetch_state
        )
        self.noise_of_range = noise_of_range
        self.decimals = decimals
        self.quoted = quoted
        self.overrange = overrange
        self.timeout_answer = timeout_answer
        self.ready_bit = ready_bit
        self.link_hangs = link_hangs
        self.offset_J, self.zeroes, self.zero_s = offset_J, zeroes, zero_s
        self.zero_J = 0.0
        self._zero_ends_s: float | None = None
        self.processing_s = processing_s
        self.reply_s = reply_s
        self.hung = False
        self.messages = Heard()
        self.readings = 0
        self.auto_range = True  # kept over power cycles and *RST, as the last user left it
        self._lines = Lines()
        self._errors = ErrorQueue()
        self._message: _Message | None = None
        self._wait: _Wait | None = None
        self._at = clock.now()
        self._reset()
        self.headers = Headers(self._command_table())

    def _reset(self) -> None:
        self.function = "ENER" if self.sensor.kind == 3 else "POW"
        self.wavelength_nm = min(max(1064.0, self.sensor.shortest_nm), self.sensor.longest_nm)
        self.range_J = self.ranges_J[-1]
        self._armed_s: float | None = None
        self._ready: tuple[float, float] | None = None  # when, and the energy (J) of the pulse
        self._blind_until_s = 0.0
        self._settings = self._simple_settings()

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; "sensor": the head is pulled."""
        match kind:
            case "sensor":
                self.sensor = SENSORS["none"] if active else self._plugged
            case "identity":
                self.impostor = active
            case "restart":
                if active:
                    self.restart()
            case _:
                super().fault(kind, active)

    def restart(self) -> None:
        """Cut the power for a moment: settings and whatever it was doing are lost."""
        with self.device_lock:
            self._outgoing.clear()
            self._lines.clear()
            self._errors.clear()
            self._message = self._wait = None
            self.hung = False
            self._reset()

    def state(self) -> dict[str, float]:
        """Return the number of readings, which keys the noise of the next one."""
        return {"readings": float(self.readings)}

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        self.readings = int(state["readings"])

    # ---- the wire -------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; an LF ends a message."""
        self._advance(self.clock.now())
        for text in self._lines.feed(data):
            self._start(text)

    def take(self) -> bytes:
        """Return the bytes that are ready by now."""
        self._advance(self.clock.now())
        return b"" if self.hung else super().take()

    def due(self) -> float | None:
        """Return when to look for bytes: a blocked query is looked at again and again."""
        if self.hung:
            return None
        sent = super().due()
        if sent is None and self._wait is not None:
            return self._wait.look_at_s
        return sent

    def _start(self, text: str) -> None:
        self.messages.append(text)
        if self._wait is not None and self.link_hangs:
            self.hung = True
        if self.hung:
            return
        self._wait = None
        self._at = self.clock.now()
        self._message = _Message(deque(part.strip() for part in text.split(";")))
        self._go_on()

    def _go_on(self) -> None:
        """Work through the message until it ends or blocks."""
        message = self._message
        while message is not None and message.units and self._wait is None:
            try:
                answer, message.path = self.headers.call(message.units.popleft(), message.path)
                self._answer(answer)
            except CommandError as error:
                self._errors.add(error.code, error.text)
        if message is not None and self._wait is None:
            self._message = None
            if message.answers:
                reply = ";".join(message.answers).encode("latin-1") + b"\n"
                self.send(reply, max(self._at + self.reply_s - self.clock.now(), 0.0))

    def _answer(self, answer: str | _Wait | None) -> None:
        if isinstance(answer, _Wait):
            if not self._answered_ahead(answer):
                self._wait = answer
        elif answer is not None and self._message is not None:
            self._message.answers.append(answer)

    # ---- headers --------------------------------------------------------------------------

    def _command_table(self) -> dict[str, Handler]:
        table: dict[str, Handler] = {
            "*IDN": only_query(lambda: _IMPOSTOR if self.impostor else self.identity),
            "*RST": only_command(self._reset),
            "*CLS": only_command(self._errors.clear),
            "*ESR": only_query(lambda: "0"),
            "*STB": only_query(lambda: "4" if self._errors else "0"),
            "*OPC": only_query(lambda: "1"),
            "*TST": only_query(lambda: "0"),
            "SYSTem:ERRor[:NEXT]": only_query(self._next_error),
            "SYSTem:SENSor:IDN": only_query(self._sensor_line),
            "CONFigure": only_query(lambda: self._text(self.function)),
            "INITiate[:IMMediate]": only_command(self._arm),
            "ABORt": only_command(self._abort),
            "FETCh": only_query(self._fetch),
            "READ": only_query(self._read),
            "STATus:OPERation:CONDition": only_query(self._condition),
            "STATus:QUEStionable:CONDition": only_query(lambda: "0"),
            "[SENSe:]CORRection:WAVelength": self._wavelength,
            "[SENSe:]CORRection:COLLect:ZERO[:INITiate]": only_command(self._begin_zero),
            "[SENSe:]CORRection:COLLect:ZERO:ABORt": only_command(self._abort_zero),
            "[SENSe:]CORRection:COLLect:ZERO:STATe": only_query(self._zero_state),
            "[SENSe:]CORRection:COLLect:ZERO:MAGNitude": only_query(self._zero_magnitude),
            "[SENSe:]ENERgy[:DC]:RANGe[:UPPer]": self._range,
            "[SENSe:]ENERgy[:DC]:RANGe:AUTO": self._auto,
            "[SENSe:]PEAKdetector:SEARch": only_command(lambda: None),
        }
        if self.fetch_state:
            table["FETCh:STATe"] = only_query(self._fetch_state)
            table["FETCh:TIMeout"] = self._fetch_for
        for long in ("POWer", "ENERgy", "FREQuency", "EDENsity"):
            short = long.rstrip("abcdefghijklmnopqrstuvwxyz")
            table[f"CONFigure[:SCALar]:{long}"] = only_command(partial(self._configure, short))
            table[f"MEASure[:SCALar]:{long}"] = only_query(partial(self._measure, short))
        table["MEASure[:SCALar]"] = only_query(lambda: self._measure(self.function))
        for spec in self._settings:
            table[spec] = partial(self._setting, spec)
        return table

    # ---- settings -------------------------------------------------------------------------

    def _simple_settings(self) -> dict[str, list[Any]]:
        """Return header -> [value, lowest, highest], or [value, (allowed words)]."""
        return {
            "[SENSe:]CORRection[:LOSS[:INPut[:MAGNitude]]]": [0.0, -60.0, 60.0],
            "[SENSe:]CORRection:BEAMdiameter": [5.0, 0.1, 20.0],
            "[SENSe:]PEAKdetector[:THReshold]": [10.0, 1.0, 90.0],
            "[SENSe:]AVERage[:COUNt]": [1.0, 1.0, 3000.0],
            "[SENSe:]ENERgy:REFerence": [0.0, -1.0, 1.0],
            "[SENSe:]POWer:REFerence": [0.0, -1.0, 1.0],
            "[SENSe:]POWer[:DC]:RANGe[:UPPer]": [1.0, 1e-9, 10.0],
            "[SENSe:]POWer[:DC]:RANGe:AUTO": [1.0, 0.0, 1.0],
            "[SENSe:]POWer[:DC]:UNIT": ["W", ("W", "DBM")],
            "[SENSe:]FREQuency:MODE": ["CW", ("CW", "PEAK")],
            "INPut:ADAPter[:TYPE]": ["PYR", ("PHOT", "THER", "PYR")],
            "INPut:THERmopile:INTEgral:ENABle": [0.0, 0.0, 1.0],
        }

    def _setting(self, spec: str, query: bool, text: str) -> str | None:
        entry = self._settings[spec]
        if isinstance(entry[0], str):
            if query:
                return str(entry[0])
            if text.upper() not in entry[1]:
                raise CommandError(-224, "Illegal parameter value")
            entry[0] = text.upper()
            return None
        value, low, high = entry
        if query:
            return self._show(bound(text, value, low, high))
        entry[0] = parameter(text, low, high)
        return None

    def _wavelength(self, query: bool, text: str) -> str | None:
        low, high = self.sensor.shortest_nm, self.sensor.longest_nm
        if query:
            return self._show(bound(text, self.wavelength_nm, low, high))
        self.wavelength_nm = float(round(parameter(text, low, high)))
        return None

    def _range(self, query: bool, text: str) -> str | None:
        low, high = self.ranges_J[0], self.ranges_J[-1]
        if query:
            return self._show(bound(text, self.range_J, low, high))
        asked = parameter(text, 0.0, high)
        if text.upper().startswith("MIN"):
            asked = low
        self.auto_range = False
        self._use_range(asked)
        return None

    def _use_range(self, energy_J: float) -> None:
        holds = (r for r in self.ranges_J if r >= energy_J * (1.0 - 1e-9))
        self.range_J = next(holds, self.ranges_J[-1])
        self._blind_until_s = self._at + _RANGE_CHANGE_S

    def _auto(self, query: bool, text: str) -> str | None:
        if query:
            return str(int(self.auto_range))
        word = text.upper()
        if word not in ("0", "1", "ON", "OFF"):
            raise CommandError(-104, "Data type error")
        self.auto_range = word in ("1", "ON")
        return None

    def _begin_zero(self) -> None:
        if not self.zeroes:
            raise CommandError(-221, "Settings conflict")
        self._zero_ends_s = self._at + self.zero_s

    def _abort_zero(self) -> None:
        self._zero_ends_s = None

    def _zero_state(self) -> str:
        if self._zero_ends_s is not None and self._at >= self._zero_ends_s:
            # What comes while it zeroes is taken for darkness.
            self.zero_J = self.offset_J + float(self._seen_J(self._at - self.zero_s, 10).mean())
            self._zero_ends_s = None
        return str(int(self._zero_ends_s is not None))

    def _zero_magnitude(self) -> str:
        return self._show(self.zero_J)

    def _next_error(self) -> str:
        code, text = self._errors.next("No error")
        return f"{code},{self._text(text)}"

    def _sensor_line(self) -> str:
        s = self.sensor
        serial, calibrated = ("16060232", "2-JUN-2021") if s.kind else ("", "")
        words = ",".join(self._text(word) for word in (s.name, serial, calibrated))
        return f"{words},{s.kind},{s.subtype},{s.flags}"

    def _text(self, text: str) -> str:
        return f'"{text}"' if self.quoted else text

    def _show(self, value: float) -> str:
        return f"{value:.{self.decimals}E}"

    # ---- measuring ------------------------------------------------------------------------

    def _configure(self, function: str) -> None:
        pulsed = function in ("ENER", "EDEN")
        if (pulsed and self.sensor.kind != 3) or (function == "POW" and not self.sensor.flags & 1):
            raise CommandError(-221, "Settings conflict")
        self.function = function
        self._abort()

    def _measure(self, function: str) -> str | _Wait:
        self._configure(function)
        return self._read()

    def _read(self) -> str | _Wait:
        self._abort()
        if self.function in ("POW", "FREQ"):
            return self._show(self._continuous())
        return self._wait_for_pulse(_BLOCK_S, self.timeout_answer)

    def _fetch(self) -> str | _Wait:
        self._look_if_armed(self._at)
        if self._ready is None:
            armed = self._armed_s
            wait = self._read()
            if isinstance(wait, _Wait) and armed is not None:
                wait.since_s = max(armed, self._blind_until_s)
            return wait
        ready_s, energy_J = self._ready
        self._at = max(self._at, ready_s)
        self._abort()
        return self._reading(energy_J, self._divisor())

    def _fetch_for(self, query: bool, text: str) -> str | _Wait:
        if not query:
            raise CommandError(-113, "Undefined header")
        self._look_if_armed(self._at)
        if self._ready is not None:
            return self._fetch()
        return self._wait_for_pulse(1e-3 * parameter(text, 0.0, 6e4), self._show(0.0))

    def _arm(self) -> None:
        self._armed_s = max(self._at, self._blind_until_s)
        self._ready = None

    def _abort(self) -> None:
        self._armed_s = None
        self._ready = None

    def _fetch_state(self) -> str:
        self._look_if_armed(self._at)
        return str(int(self._ready is not None and self._ready[0] <= self._at))

    def _condition(self) -> str:
        self._look_if_armed(self._at)
        ready = self._ready is not None and self._ready[0] <= self._at
        return str((int(ready) << self.ready_bit) | (0 if self._armed_s is None else 16))

    def _divisor(self) -> float:
        if self.function != "EDEN":
            return 1.0
        diameter_mm = float(self._settings["[SENSe:]CORRection:BEAMdiameter"][0])
        return math.pi * (0.05 * diameter_mm) ** 2

    def _wait_for_pulse(self, for_s: float, timeout_answer: str | None) -> _Wait:
        since = max(self._at, self._blind_until_s)
        return _Wait(since, self._at + for_s, timeout_answer, self._divisor(), since)

    def _continuous(self) -> float:
        """Return the mean power (W) or the repetition rate (Hz) over some milliseconds."""
        rate = float(self.world.repetition_rate_Hz)
        energies = self._seen_J(self._at, max(round(3e-3 * rate), 1))
        self._at += 3e-3
        if self.function == "FREQ":
            return rate if bool((energies >= self._threshold_J()).all()) else 0.0
        return float(energies.mean()) * rate

    # ---- pulses ---------------------------------------------------------------------------

    def _seen_J(self, first_time_s: float, count: int) -> FloatArray:
        """Return what this meter makes of the energies of `count` pulses (J), without noise."""
        if not self.world.laser_on or self.sensor.kind == 0:
            return np.zeros(count)
        loss_dB = self._settings["[SENSe:]CORRection[:LOSS[:INPut[:MAGNitude]]]"][0]
        scale = float(self.world.energy_meter_scale) * 10.0 ** (0.1 * loss_dB)
        return scale * self.world.pulse_energies_J(first_time_s, count)  # type: ignore[no-any-return]

    def _threshold_J(self) -> float:
        percent = self._settings["[SENSe:]PEAKdetector[:THReshold]"][0]
        return 0.01 * float(percent) * self.range_J

    def _pulse_at_or_after(self, time_s: float) -> float:
        rate = float(self.world.repetition_rate_Hz)
        epoch = float(getattr(self.world, "start_s", 0.0))
        return epoch + math.ceil((time_s - epoch) * rate - 1e-6) / rate

    def _reading(self, energy_J: float, divisor: float) -> str:
        noise = float(normals(self.seed, _DEVICE, self.readings, 1)[0])
        self.readings += 1
        if self.auto_range:
            self._use_range(1.1 * energy_J)
        value = energy_J + self.noise_of_range * self.range_J * noise
        value += self.offset_J - self.zero_J
        return self.overrange if value > self.range_J else self._show(value / divisor)

    def _first_pulse(self, since_s: float, until_s: float) -> tuple[float, float] | None:
        """Return time and energy (J) of the first pulse in a time that triggers the meter."""
        rate = float(self.world.repetition_rate_Hz)
        first = self._pulse_at_or_after(since_s)
        count = math.floor((until_s - first) * rate + 1e-6) + 1
        if count < 1:
            return None
        count = min(count, 10_000)
        energies = self._seen_J(since_s, count)
        above = energies > 0.0 if self.auto_range else energies >= self._threshold_J()
        if not above.any():
            return None
        number = int(above.argmax())
        return first + number / rate, float(energies[number])

    def _look_if_armed(self, now: float) -> None:
        if self._armed_s is None or self._ready is not None:
            return
        found = self._first_pulse(self._armed_s, now)
        if found is not None:
            self._ready = (found[0] + self.processing_s, found[1])

    def _answered_ahead(self, wait: _Wait) -> bool:
        """Answer this READ? and those that follow it from pulses that are about to come.

        One look at the World for all of them; only as far as nothing is likely to change.
        """
        message = self._message
        if message is None or wait.timeout_answer != self.timeout_answer:
            return False
        same = 1
        while same <= len(message.units) and message.units[same - 1].upper() in ("READ?", ":READ?"):
            same += 1
        rate = float(self.world.repetition_rate_Hz)
        stride = math.ceil(self.processing_s * rate + 1e-6)
        first = self._pulse_at_or_after(wait.since_s)
        reach = math.floor((wait.since_s + _LOOK_AHEAD_S - first) * rate)
        same = min(same, reach // stride + 1)
        if same < 1:
            return False
        energies = self._seen_J(wait.since_s, (same - 1) * stride + 1)[::stride]
        low = 0.0 if self.auto_range else self._threshold_J()
        if not bool((energies > low).all()):
            return False
        for _ in range(same - 1):
            message.units.popleft()
        for energy in energies.tolist():
            message.answers.append(self._reading(energy, wait.divisor))
        self._at = first + (same - 1) * stride / rate + self.processing_s
        return True

    def _advance(self, now: float) -> None:
        """Let a blocked query see the pulses that have come by now."""
        wait = self._wait
        if wait is None or now < wait.look_at_s:
            return
        found = self._first_pulse(wait.since_s, min(now, wait.until_s))
        if found is not None:
            ready = found[0] + self.processing_s
            self._at = max(self._at, ready)
            answer: str | None = self._reading(found[1], wait.divisor)
        elif now >= wait.until_s:
            self._at = wait.until_s
            answer = wait.timeout_answer
            if answer is None:
                self._errors.add(-230, "Data corrupt or stale")
        else:
            # What came until now was too weak, or nothing came: go on from here.
            wait.since_s = max(now, wait.since_s)
            soon = self._pulse_at_or_after(now + _LOOK_AGAIN_S)
            wait.look_at_s = min(soon, wait.until_s) + 1e-6
            return
        self._wait = None
        self._answer(answer)
        self._go_on()
