"""A Thorlabs PM100 family meter itself: who it is, which head it has, its errors and its zero.

For the driver of pulse energies (thorlabs_pm100). Stops at what is measured.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument

from instruments.careful import CarefulInstrument
from instruments.clock import Clock
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity

log = logging.getLogger(__name__)

WAVELENGTH_FLAG = 32
"""Of SensorHead.flags: its wavelength can be set."""
_ENERGY_FLAG = 2
_PYROELECTRIC = 3
_KINDS = {0: "none", 1: "photodiode", 2: "thermopile", 3: "pyroelectric", 5: "four-quadrant"}
_ZERO_POLL_S = 0.1

_FAULT = re.compile(r'([+-]?\d+)\s*,\s*"?([^"]*)"?')


@dataclass(frozen=True)
class SensorHead:
    """What SYST:SENS:IDN? says of the head; `kind` and `flags` as the meter numbers them."""

    name: str
    serial: str
    calibration: str
    kind: int
    flags: int


class PM100Meter(CarefulInstrument):
    """The meter as a device; what it is set up for is the driver's."""

    DRIVER_ID: ClassVar[str] = "thorlabs-pm100"
    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600},
        "write_termination": "\n",
        "read_termination": "\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.3

    wavelength_nm = Instrument.measurement(
        "SENS:CORR:WAV?", "Get the wavelength that the meter corrects for (nm)."
    )
    range_J = Instrument.measurement(
        "SENS:ENER:RANG?", "Get the upper end of the energy range (J)."
    )
    trigger_threshold_percent = Instrument.measurement(
        "SENS:PEAK?", "Get the trigger threshold (percent of the range)."
    )
    correction_dB = Instrument.measurement(
        "SENS:CORR?", "Get the attenuation that the meter corrects for (dB); this driver keeps 0."
    )

    def __init__(self, adapter: Adapter, clock: Clock | None = None) -> None:
        super().__init__(adapter, clock, "PM100")
        self._identity: Identity | None = None
        self._head: SensorHead | None = None
        self._silent_until_s = 0.0

    @property
    def identity(self) -> Identity:
        """See Role.identity; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._identity

    @property
    def sensor(self) -> SensorHead:
        """The head that was found when connecting; NotReady before."""
        if self._head is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._head

    def identify(self) -> Identity:
        """Ask who it is; WrongIdentity if it is no PM100."""
        self._idn = ""
        try:
            self._idn = self.agreed("*IDN?", _identity)
        except BadReply as error:
            raise WrongIdentity(
                f"{self.name}: no Thorlabs PM100 meter answers ({error})"
            ) from error
        vendor, model, serial, firmware = (part.strip() for part in self._idn.split(","))
        if vendor.upper() != "THORLABS" or not model.upper().startswith("PM"):
            raise WrongIdentity(
                f"{self.name}: {vendor} {model} answers, expected is a Thorlabs PM100 meter"
            )
        return Identity("Thorlabs", model, serial, firmware)

    def read_head(self) -> SensorHead:
        """Ask which head is plugged in."""
        return self.agreed("SYST:SENS:IDN?", _sensor_head)

    def find_head(self) -> None:
        """Take note of the head; NotReady if it cannot measure energies of single pulses."""
        self._head = self.read_head()
        self._refuse_other_heads(self._head)

    def _refuse_other_heads(self, head: SensorHead) -> None:
        if head.kind == 0:
            raise NotReady(f"{self.name}: no sensor head; plug in a pyroelectric one")
        if head.kind != _PYROELECTRIC or not head.flags & _ENERGY_FLAG:
            kind = _KINDS.get(head.kind, f"type {head.kind}")
            raise NotReady(
                f"{self.name}: the head {head.name} is a {kind} and does not measure energies of "
                "single pulses; plug in a pyroelectric one"
            )

    def run_zero(self, timeout_s: float) -> None:
        """Have the meter set its zero; DeviceFault if it refuses or takes longer."""
        ends = self.clock.now() + timeout_s
        self.write("SENS:CORR:COLL:ZERO")
        if errors := self.errors():
            raise DeviceFault(f"{self.name}: it refuses to set its zero: {'; '.join(errors)}")
        problem: InstrumentError | None = None
        while True:
            self.clock.sleep(_ZERO_POLL_S)
            try:
                if self.number("SENS:CORR:COLL:ZERO:STAT?") == 0.0:
                    break
                problem = None
            except (NoReply, BadReply) as error:
                problem = error
            if self.clock.now() > ends:
                self.write_blind("SENS:CORR:COLL:ZERO:ABOR")
                why = f" ({problem})" if problem is not None else ""
                raise DeviceFault(
                    f"{self.name}: its zero is not set after {timeout_s:g} s{why}; set it at the "
                    "meter itself"
                )
        if errors := self.errors():
            raise DeviceFault(f"{self.name}: its zero is not set: {'; '.join(errors)}")

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command, but never to a meter that may be deaf."""
        wait = self._silent_until_s - self.clock.now()
        if self._silent_until_s and wait > 0.0:
            log.info("%s: waiting %.1f s until the meter listens again", self.name, wait)
            self.clock.sleep(wait)
        if self._silent_until_s:
            self._silent_until_s = 0.0
            self.discard_input()
        super().write(command, **kwargs)

    def _next_error(self) -> str:
        match = _FAULT.fullmatch(self.ask("SYST:ERR?").strip())
        if match is None:
            raise BadReply(f"{self.name}: the answer to SYST:ERR? is not an error")
        return f"{match[1]}, {match[2]}" if int(match[1]) else ""


def _identity(reply: str) -> str:
    text = plain_text(reply)
    if text.count(",") != 3:
        raise BadReply(f"PM100: {reply[:60]!r} is not vendor, model, serial and firmware")
    return text


def _sensor_head(reply: str) -> SensorHead:
    parts = next(csv.reader([plain_text(reply)], skipinitialspace=True))
    if len(parts) >= 1 and parts[0].strip().lower() == "no sensor":
        return SensorHead("none", "", "", 0, 0)
    try:
        name, serial, calibration = (part.strip() for part in parts[:3])
        kind, _, flags = (int(part) for part in parts[3:])
    except ValueError:
        raise BadReply(f"PM100: {reply[:80]!r} does not describe a sensor head") from None
    return SensorHead(name, serial, calibration, kind, flags)


def plain_text(reply: str) -> str:
    """Return a line of text; BadReply if it is none."""
    text = reply.strip()
    if not text or not text.isprintable():
        raise BadReply(f"PM100: {reply[:60]!r} is not a line of text")
    return text
