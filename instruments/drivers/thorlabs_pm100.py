"""Driver of Thorlabs PM100D / PM100USB / PM101 / PM103 energy meters with a pyroelectric head.

For the pick-off of the pump: energies of single pulses in J. USBTMC in NI-VISA mode (or the serial
SCPI port of a PM103), SCPI ended by LF. Auto range is always off. Stops at photodiode and
thermopile heads, which measure power, and at the binary framing of the meters' own Ethernet port.

Without a pulse, MEAS, READ and FETC block the meter for up to 10 s, and whoever talks to it in
that time can hang the link. So the first pulse of a series is armed with INIT and polled; only when
light is proven do the others follow by READ?, one exchange each; and after a READ? without answer
nothing is sent before the 10 s are over.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pymeasure.adapters import Adapter

from instruments.careful import TRIES
from instruments.clock import Clock
from instruments.drivers.thorlabs_pm100_meter import WAVELENGTH_FLAG, PM100Meter, plain_text
from instruments.errors import (
    BadReply,
    BeyondRange,
    DeviceFault,
    NoPulse,
    NoReply,
    NotReady,
)
from instruments.roles import EnergyMeter, Limits, PulseEnergy, Setting, Status

log = logging.getLogger(__name__)

_DEAF_S = 10.0  # of a query that waits for a pulse
BLOCK_S = _DEAF_S + 0.5
"""How long the meter is left alone after a query that waits for a pulse."""
_SETTLE_S = 0.02  # a range change interrupts for up to 10 ms
_RESET_S = 0.2
_POLL_S = 0.001
_SLOWEST_POLL_S = 0.02
_MOST_PULSES = 100_000
_EXCHANGE_S = 0.1  # of a query that finds its pulse

_ENERGY = re.compile(r"\+?\d\.\d+E[+-]\d{2,3}", re.I)
_BEYOND = re.compile(r"[+-]?(?:9\.9\d*E\+?37|inf(?:inity)?|nan)", re.I)


class PM100(PM100Meter, EnergyMeter):
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
        super().__init__(adapter, clock)
        if pulses_per_message < 1 or not pulse_timeout_s > 0.0:
            raise ValueError("pulses_per_message and pulse_timeout_s must be positive")
        self._wanted_nm = wavelength_nm
        self._wanted_J = range_J
        self._threshold = trigger_threshold_percent
        self._pulse_timeout_s = pulse_timeout_s
        self._per_message = pulses_per_message
        self._batch = 1
        self._given_bit = ready_bit
        self._ready_query: tuple[str, int] | None = None
        self._limits: dict[str, Limits] = {}
        self._smallest_J = 0.0
        self._range_J = math.nan
        self._range_holds_from_J = math.inf
        self._length: int | None = None  # characters of an energy, as this meter writes it
        self._suspected: int | None = None
        self._armed = False
        self._missed_s = 0.0  # for so long the meter has said that no pulse had come
        self._asked: tuple[float, int] | None = None  # a query that waits: since when, for how many
        self.seal()

    def connect(self) -> None:
        """Identify meter and head, set the meter up for pulse energies with a fixed range.

        Raises:
            WrongIdentity: another instrument answers. NotReady: the head cannot do it.
        """
        with self.lock:
            self._identity, self._armed = None, False
            identity = self.identify()
            self.find_head()
            wavelength = self._wanted_nm if self._wanted_nm is not None else self.wavelength_nm
            energy = self._wanted_J if self._wanted_J is not None else self.range_J
            self.write("*RST")
            self.clock.sleep(_RESET_S)
            self.write("*CLS")
            self._identity = identity
            self._limits["wavelength_nm"] = Limits(
                self.number("SENS:CORR:WAV? MIN"), self.number("SENS:CORR:WAV? MAX"), "nm"
            )
            self.set_checked("SENS:CORR 0", "SENS:CORR?", 0.0, 1e-6)
            self.set_checked("CONF:ENER")
            with contextlib.suppress(NoReply):
                if "ENER" not in self.agreed("CONF?", plain_text).upper():
                    raise DeviceFault(f"{self.name}: the meter cannot be set up for energies")
            self.set_wavelength_nm(wavelength)
            self._use_range(min(energy, self._limits["range_J"].high))
            self.set_checked(f"SENS:PEAK {self._threshold:g}", "SENS:PEAK?", self._threshold, 0.05)
            self._find_ready_query()
            self._find_batch()

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Wavelengths (nm) and energies (J) that the head can do; NotReady before `connect`."""
        _ = self.identity
        return dict(self._limits)

    def status(self) -> Status:
        """Ask whether the head is still there, and for errors that the meter has kept."""
        with self.lock:
            head = self.read_head()
            if head != self.sensor:
                return Status(False, f"the head is {head.name} now, it was {self.sensor.name}")
            errors = self.errors()
            return Status(not errors, "; ".join(errors) or f"{head.name} ready")

    def make_safe(self) -> None:
        """Disarm; a meter harms nobody. Sends nothing while the meter may be deaf."""
        if self._armed and self.clock.now() >= self._silent_until_s:
            with self.lock:
                self._armed = False
                self.write("ABOR")

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings as the meter has them now."""
        with self.lock:
            return {
                "wavelength_nm": Setting(self.wavelength_nm, "nm"),
                "range_J": Setting(self.range_J, "J"),
                "trigger_threshold_percent": Setting(self.trigger_threshold_percent, "%"),
                "correction_dB": Setting(self.correction_dB, "dB"),
                "auto_range": Setting(bool(self.number("SENS:ENER:RANG:AUTO?"))),
                "sensor": Setting(self.sensor.name),
                "sensor_serial": Setting(self.sensor.serial),
                "sensor_calibration": Setting(self.sensor.calibration),
            }

    def set_wavelength_nm(self, wavelength_nm: float) -> float:
        """Set the wavelength correction (nm, whole), return what the meter took.

        A head whose wavelength cannot be set keeps its own, which is returned.
        Raises LimitError outside `limits`.
        """
        with self.lock:
            if not self.sensor.flags & WAVELENGTH_FLAG:
                self._read_range()
                return float(self.wavelength_nm)
            whole = round(self.limits["wavelength_nm"].check("wavelength_nm", wavelength_nm))
            taken = self.set_checked(f"SENS:CORR:WAV {whole:d}", "SENS:CORR:WAV?", whole, 0.5)
            self._read_range()  # the ranges in J move with the responsivity
            self._wanted_nm = taken
            return taken

    def _read_range(self) -> None:
        self._smallest_J = self.number("SENS:ENER:RANG? MIN")
        self._limits["range_J"] = Limits(0.0, self.number("SENS:ENER:RANG? MAX"), "J")
        self._range_J, length = self.agreed(
            "SENS:ENER:RANG?", lambda reply: (self.parse_number(reply), len(reply))
        )
        if self._length is None:
            self._length = length
        self._range_holds_from_J = math.inf

    def set_range_J(self, energy_J: float) -> float:
        """Choose the smallest range that holds `energy_J`, return its upper end (J).

        Leave room for the noise of the pulses. Raises LimitError outside `limits`.
        """
        with self.lock:
            self.limits["range_J"].check("range_J", energy_J)
            if not self._range_holds_from_J <= energy_J <= self._range_J:
                self._use_range(energy_J)
            return self._range_J

    def _use_range(self, energy_J: float) -> None:
        asked = max(energy_J, self._smallest_J)
        self._range_holds_from_J = math.inf
        self.set_checked("SENS:ENER:RANG:AUTO 0", "SENS:ENER:RANG:AUTO?", 0.0, 0.0)
        taken = self.set_checked(
            f"SENS:ENER:RANG {asked:.6E}", "SENS:ENER:RANG?", asked, 1e-5 * asked, math.inf
        )
        if self.number("SENS:ENER:RANG:AUTO?"):
            raise DeviceFault(f"{self.name}: the meter keeps its auto range on")
        self.clock.sleep(_SETTLE_S)
        self._range_J = taken
        self._range_holds_from_J = energy_J
        self._wanted_J = self._range_J

    def find_range_J(self, pulses: int = 10, headroom: float = 1.3) -> float:
        """Choose a range for the pulses that come, return its upper end (J).

        Goes down from the largest range until pulses are seen; for pulses of unknown energy. The
        meter's own auto range is not used: it can block for seconds. Raises NoReply if none come.
        """
        with self.lock:
            _ = self.identity
            self._use_range(self._limits["range_J"].high)
            while True:
                try:
                    seen = self.read_pulses(pulses)
                except (NoReply, DeviceFault) as error:
                    # Unseen, or seen in part: they are weaker than about the threshold.
                    weaker_J = self._floor_J() * (1.0 if isinstance(error, NoReply) else 2.0)
                    if self._range_J <= self._smallest_J * 1.001 or weaker_J >= self._range_J:
                        raise
                    self._use_range(max(weaker_J, self._smallest_J))
                    continue
                highest = self._limits["range_J"].high
                return self.set_range_J(min(headroom * float(seen.singles_J.max()), highest))

    def zero(self, timeout_s: float = 60.0) -> float:
        """Have the meter take for zero what the head gives in the dark; return that, as it tells.

        The head must be dark (beam blocked before the pick-off): looked after before and
        afterwards, in the smallest range. May be interrupted, which leaves the old zero or the new.

        Raises:
            NotReady: pulses come. DeviceFault: the meter refuses, or has not done in `timeout_s`.
        """
        with self.lock:
            _ = self.identity
            before_J = self._range_J
            try:
                self._use_range(self._smallest_J)
                self._require_darkness()
                self.run_zero(timeout_s)
                self._require_darkness("; the zero that it took just now is spoiled")
                return self.number("SENS:CORR:COLL:ZERO:MAGN?")
            finally:
                self._use_range(before_J)

    def _require_darkness(self, consequence: str = "") -> None:
        try:
            self._first_pulse()
        except NoReply:
            self.errors()  # a meter that has waited in vain keeps that as an error
            return
        except (DeviceFault, BadReply):  # beyond the range or below zero: no darkness either
            self._doubt()
        raise NotReady(
            f"{self.name}: pulses come while the zero is to be set; block the beam before the "
            f"pick-off and try again{consequence}"
        )

    # ---- pulses -------------------------------------------------------------------------------

    def read_pulses(self, pulses: int) -> PulseEnergy:
        """Measure `pulses` pulses (J); not necessarily consecutive ones of the laser.

        The spread of a single pulse is not known: spread_J is nan for `pulses` = 1.

        Raises:
            NoReply: no pulse came. DeviceFault: out of range, or too weak for the trigger.
            BadReply: the replies cannot be trusted. LimitError: `pulses` below 1.
        """
        found = self._measure(pulses, None)
        mean, spread, floor = found.mean_J, found.spread_J, self._floor_J()
        # Pulses wholly below it say that this meter counts its threshold in another way.
        if mean - 3.0 * spread < floor < mean + 3.0 * spread:
            raise DeviceFault(
                f"{self.name}: pulses of {mean:.3g} J come close to the trigger threshold of "
                f"{floor:.3g} J, weaker ones are lost; choose a smaller range or threshold"
            )
        return found

    def watch_pulses(self, pulses: int, patience_s: float) -> PulseEnergy:
        """See EnergyMeter.watch_pulses; every pulse is polled for, so that no query can wait.

        A meter that knows no query for that waits as in `read_pulses`.
        """
        if self._ready_query is None:
            return self.read_pulses(pulses)
        return self._measure(pulses, patience_s)

    @property
    def unseen_s(self) -> float:
        """See EnergyMeter.unseen_s."""
        asked = self._asked
        if asked is None:
            return self._missed_s
        since_s, count = asked
        return max(self.clock.now() - since_s - _EXCHANGE_S, 0.0) / count

    def _measure(self, pulses: int, patience_s: float | None) -> PulseEnergy:
        """Read a series until it can be believed; patience_s: for each pulse, by polls."""
        with self.lock:
            _ = self.identity
            Limits(1, _MOST_PULSES, "").check("pulses", pulses)
            for attempt in range(TRIES):
                try:
                    singles = self._series(pulses, patience_s)
                    break
                except BadReply:
                    self._out_of_step = True
                    if attempt == TRIES - 1:
                        raise
        spread = float(singles.std(ddof=1)) if pulses > 1 else math.nan
        return PulseEnergy(float(singles.mean()), spread, pulses, singles)

    def _floor_J(self) -> float:
        return 0.01 * self._threshold * self._range_J

    def _series(self, pulses: int, patience_s: float | None) -> npt.NDArray[np.float64]:
        replies = [self._first_pulse(patience_s)]
        while len(replies) < pulses:
            if patience_s is not None:
                replies.append(self._first_pulse(patience_s))
                continue
            count = min(self._batch, pulses - len(replies))
            replies += self._wait_for_pulses(";".join(["READ?"] * count), count)
        # An answer that came twice, or a stray one, would stand here in place of the range.
        self.write("SENS:ENER:RANG?")
        with contextlib.suppress(ValueError):
            if math.isclose(float(self.read()), self._range_J, rel_tol=1e-5):
                return self._energies(replies)
        self._range_holds_from_J = math.inf
        raise BadReply(
            f"{self.name}: its replies are out of step, or somebody changed the range at the meter"
        )

    def _first_pulse(self, patience_s: float | None = None) -> str:
        """Prove that there is light, without making the meter wait for it."""
        allowed_s = self._pulse_timeout_s if patience_s is None else patience_s
        if self._ready_query is None:
            return self._wait_for_pulses("READ?", 1)[0]
        query, bit = self._ready_query
        self.write("ABOR")
        self.write("INIT")
        self._armed = True
        try:
            begun_s = self.clock.now()
            wait = _POLL_S
            while True:
                self.clock.sleep(wait)
                asked_s = self.clock.now()
                self.write(query)
                if _condition(self.read()) >> bit & 1:
                    self._missed_s = 0.0
                    break
                self._missed_s = asked_s - begun_s  # until then there was none, however late it is
                if self._missed_s >= allowed_s:
                    raise NoPulse(
                        f"{self.name}: no pulse within {allowed_s:g} s; is there light, and more "
                        f"than the threshold of {self._floor_J():.3g} J?"
                    )
                wait = min(2.0 * wait, _SLOWEST_POLL_S)
            return self._wait_for_pulses("FETC?", 1)[0]
        finally:
            if self._armed:
                with contextlib.suppress(NoReply):
                    self.make_safe()

    def _wait_for_pulses(self, query: str, count: int) -> list[str]:
        """Ask what may make the meter deaf; until it has answered, nothing else is sent."""
        patience_s = BLOCK_S * count
        self.write(query)
        asked_s = self.clock.now()
        self._silent_until_s = asked_s + patience_s
        self._asked = (asked_s, count)
        try:
            with self.patience(patience_s):
                replies = self.read().strip().split(";")
        except NoReply as error:
            raise NoReply(
                f"{self.name}: no pulse within {patience_s:g} s; did the light fail?"
            ) from error
        finally:
            self._asked = None
        if len(replies) != count or not all(
            _ENERGY.fullmatch(reply) or _BEYOND.fullmatch(reply) for reply in replies
        ):
            raise BadReply(f"{self.name}: {';'.join(replies)[:60]!r} is not {count} energies")
        self._silent_until_s = 0.0
        self._armed = False
        # What a time-out of the meter looks like is not documented: a zero, or an infinity.
        beyond = any(_BEYOND.fullmatch(reply) for reply in replies)
        late = self.clock.now() - asked_s > 0.9 * _DEAF_S
        if (beyond and late) or any(float(reply) == 0.0 for reply in replies):
            raise NoPulse(f"{self.name}: no pulse (the meter says {replies[-1]}); is there light?")
        if beyond:
            raise BeyondRange(
                f"{self.name}: a pulse is beyond the range of {self._range_J:.3g} J; choose a "
                "larger range"
            )
        return replies

    def _energies(self, replies: list[str]) -> npt.NDArray[np.float64]:
        """Turn the replies into energies (J); refuse what this range and threshold cannot give."""
        self._check_digits({len(reply) for reply in replies})
        values = np.array([float(reply) for reply in replies])
        if not ((values > 0.0) & (values <= 1.2 * self._range_J)).all():
            raise BadReply(
                f"{self.name}: {values.min():.3g} to {values.max():.3g} J cannot be, with a range "
                f"of {self._range_J:.3g} J"
            )
        return values

    def _check_digits(self, lengths: set[int]) -> None:
        """Refuse numbers with a digit too few or too many; what is right, the meter tells twice."""
        if lengths == {self._length}:
            return
        if len(lengths) == 1 and lengths == {self._suspected}:
            self._length = self._suspected
            return
        self._suspected = lengths.pop() if len(lengths) == 1 else None
        raise BadReply(f"{self.name}: the replies differ in their number of digits")

    # ---- finding out what the meter can do ----------------------------------------------------

    def _find_ready_query(self) -> None:
        self._ready_query = None
        for _ in range(TRIES):
            try:
                _condition(self.ask("FETC:STAT?"))
            except (BadReply, NoReply):
                self._out_of_step = True
                # A query that the meter does not know has no reply, but leaves an error.
                if self.errors():
                    break
            else:
                self._ready_query = ("FETC:STAT?", 0)
                return
        if self._given_bit is not None:
            self._ready_query = ("STAT:OPER:COND?", self._given_bit)

    def _find_batch(self) -> None:
        self._batch = 1
        if self._per_message == 1:
            return
        try:
            reply = self.ask(":SENS:ENER:RANG?;:SENS:ENER:RANG?").strip()
            if [float(part) for part in reply.split(";")] == [self._range_J] * 2:
                self._batch = self._per_message
                return
        except (BadReply, NoReply, ValueError):
            self._out_of_step = True
        self.errors()
        log.warning("%s takes one query a message only", self.name)


def _condition(reply: str) -> int:
    if re.fullmatch(r"\+?\d{1,5}", reply.strip()) is None:
        raise BadReply(f"PM100: {reply[:60]!r} is not a condition")
    return int(reply)
