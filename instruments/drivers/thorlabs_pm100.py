"""Driver of Thorlabs PM100D / PM100USB / PM101 / PM103 energy meters with a pyroelectric head.

For the pick-off of the pump: energies of single pulses in J. USBTMC in NI-VISA mode (or the serial
SCPI port of a PM103), SCPI ended by LF. Auto range is always off. Stops at photodiode and
thermopile heads, which measure power, and at the binary framing of the meters' own Ethernet port.

Without a pulse, MEAS, READ and FETC block the meter for up to 10 s, and whoever talks to it in that
time can hang the link. So the first pulse of a series is armed with INIT and polled; only when light
is proven do the others follow by READ?, one exchange each; and after a READ? without answer
nothing is sent before the 10 s are over.
"""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument

from instruments.clock import Clock
from instruments.errors import BadReply, DeviceFault, NoReply, NotReady, WrongIdentity
from instruments.roles import EnergyMeter, Identity, Limits, PulseEnergy, Setting, Status
from instruments.wire import WireInstrument

BLOCK_S = 10.5
"""How long the meter may be deaf after a query that waits for a pulse (10 s, and a margin)."""
_SETTLE_S = 0.02  # a range change interrupts for up to 10 ms
_RESET_S = 0.2
_POLL_S = 0.001
_SLOWEST_POLL_S = 0.02
_TRIES = 3
_MOST_PULSES = 100_000
_PYROELECTRIC = 3
_ENERGY_FLAG, _WAVELENGTH_FLAG = 2, 32
_KINDS = {0: "none", 1: "photodiode", 2: "thermopile", 3: "pyroelectric", 5: "four-quadrant"}

_NUMBER = re.compile(r"[+-]?\d\.(\d+)E[+-]\d{2,3}", re.I)
_BEYOND = re.compile(r"[+-]?(?:9\.9\d*E\+?37|inf(?:inity)?|nan)", re.I)
_FAULT = re.compile(r'([+-]?\d+)\s*,\s*"?([^"]*)"?')


@dataclass(frozen=True)
class SensorHead:
    """What SYST:SENS:IDN? says of the head; `kind` and `flags` as the meter numbers them."""

    name: str
    serial: str
    calibration: str
    kind: int
    flags: int


class PM100(WireInstrument, EnergyMeter):
    """A PM100 family meter that measures pulse energies.

    Args:
        adapter: an open pymeasure adapter. clock: the bench's clock.
        wavelength_nm, range_J: what to start with; what the meter was left with, if None.
        trigger_threshold_percent: of the range; weaker pulses are not seen.
        pulse_timeout_s: how long to wait for the first pulse.
        pulses_per_message: READ? queries sent in one message. A meter whose light fails in the
            middle is deaf for 10 s for each that is left, so keep it small where that matters.
        ready_bit: bit of STAT:OPER:COND? that means "reading ready", for a meter that does not
            know FETC:STAT?. If None, its first pulse is read by READ? and waited for to the end.
    """

    DRIVER_ID: ClassVar[str] = "thorlabs-pm100"
    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600},
        "write_termination": "\n",
        "read_termination": "\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.3

    correction_dB = Instrument.control(
        "SENS:CORR?", "SENS:CORR %g", "Control the attenuation that readings are corrected for (dB)."
    )
    trigger_threshold_percent = Instrument.control(
        "SENS:PEAK?", "SENS:PEAK %g", "Control the trigger threshold (percent of the range)."
    )
    auto_range = Instrument.control(
        "SENS:ENER:RANG:AUTO?",
        "SENS:ENER:RANG:AUTO %d",
        "Control whether the meter chooses the energy range.",
        map_values=True,
        values={True: 1, False: 0},
    )
    range_J = Instrument.control(
        "SENS:ENER:RANG?", "SENS:ENER:RANG %.6E", "Control the upper end of the energy range (J)."
    )
    wavelength_nm = Instrument.control(
        "SENS:CORR:WAV?", "SENS:CORR:WAV %d", "Control the wavelength of the correction (nm)."
    )

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        *,
        wavelength_nm: float | None = None,
        range_J: float | None = None,
        trigger_threshold_percent: float = 5.0,
        pulse_timeout_s: float = 1.0,
        pulses_per_message: int = 1,
        ready_bit: int | None = None,
    ) -> None:
        super().__init__(adapter, clock, "PM100")
