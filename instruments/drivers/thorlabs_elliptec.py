"""Thorlabs Elliptec mounts and stages (ELL14 rotation mount, ELL17 and ELL20 linear stages).

For the pump attenuator (a half-wave plate in an ELL14) and, as an alternative, the stripe slit.
One unit of a half-duplex bus, addressed by one hexadecimal digit; several units may share a link.
Packets carry no checksum, so that whatever becomes a number is asked until two replies agree, and
an action is over when the unit says it is idle, not when one line says so. Stops at degrees and
millimetres: what they mean for the beam is the attenuator's affair.

Source: Thorlabs, "Elliptec communications protocol" (ELLx modules), and public drivers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument

from instruments.agreeing import until_alike
from instruments.clock import Clock
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    InstrumentError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Rotator, Setting, Stage, Status
from instruments.wire import WireInstrument

log = logging.getLogger(__name__)

ROTARY = {0x0E: "ELL14", 0x10: "ELL16", 0x12: "ELL18", 0x15: "ELL21", 0x16: "ELL22"}
LINEAR = {0x11: "ELL17", 0x14: "ELL20"}

_OK, _BUSY = 0x00, 0x09
_FAULTS = {
    0x01: "communication time-out",
    0x02: "mechanical time-out: the motor did not reach its target; is something in the way?",
    0x03: "command not supported by this unit",
    0x04: "value out of range",
    0x05: "the unit is isolated from the bus",
    0x06: "the unit is out of isolation",
    0x07: "initialising error",
    0x08: "thermal error: let it cool down",
    0x0A: "sensor error",
    0x0B: "motor error",
    0x0C: "out of range",
    0x0D: "over-current",
}
_LOSES_REFERENCE = (0x07, 0x0A)

# Upper-case replies and the number of data digits after them.
_DIGITS = {"IN": 30, "GS": 2, "PO": 8, "HO": 8, "GJ": 8, "GV": 2, "BS": 2, "BO": 8}
_PACKET = re.compile(r"([0-9A-F])(IN|GS|PO|HO|GJ|GV|BS|BO)([0-9A-F]*)")
_REPLY_TO = {"in": "IN", "gs": "GS", "gp": "PO", "go": "HO", "gj": "GJ", "gv": "GV"}

_ATTEMPT_S = (0.5, 1.0, 2.0)  # patience with a query; a slow unit still gets through
_FIRST_WAIT_S = 4.0  # silence after a motion command until the unit is asked how it is
_MOTION_S = 30.0  # the longest motion, homing included
_POLL_S = 0.05
_REST_S = 0.1  # a move sent at the heels of the last one can end at zero
_QUIET_S = 1.0  # what is late by more than this after a bad exchange is not waited for
_MOST_LINES = 64  # of stray lines before one reply
_SAME_PULSES = 2  # two readings of a unit at rest
_STILL_PULSES = 40  # from one move to the next (0.1 deg of an ELL14)


def _within(value: float, limits: Limits) -> float:
    return limits.check("velocity_percent", value)


@dataclass(frozen=True)
class _Packet:
    kind: str
    data: str

    @property
    def number(self) -> int:
        """The data as a signed number of their own width."""
        value = int(self.data, 16)
        return value - (1 << 32) if len(self.data) == 8 and value >= 1 << 31 else value


class _Elliptec(WireInstrument):
    """What rotation mounts and linear stages have in common; positions are pulses here."""

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600},
        "write_termination": "",
        "read_termination": "\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.5
    DRIVER_ID: ClassVar[str] = "thorlabs-elliptec"
    _MODELS: ClassVar[Mapping[int, str]] = {}
    _UNIT: ClassVar[str] = ""
    _NEAR: ClassVar[float] = 1.0

    velocity_percent = Instrument.control(
        "gv",
        "sv%02X",
        "Control the velocity (integer percent, 50 to 100; slower, the motor may stall).",
        validator=_within,
        values=Limits(50, 100, "%"),
        set_process=round,
        get_process=lambda digits: int(digits, 16),
        check_set_errors=True,
        cast=str,
    )

    def __init__(
        self, adapter: Adapter, clock: Clock | None, address: str | int, home_direction: str
    ) -> None:
        super().__init__(adapter, clock)
        self._address = _checked_address(address)
        if home_direction not in ("cw", "ccw"):
            raise ConfigError(
                f"'cw' or 'ccw' is allowed, not {home_direction!r}", key="home_direction"
            )
        self._home_command = f"ho{int(home_direction == 'ccw')}"
        self._identity: Identity | None = None
        self._pulses_per_unit = 0.0
        self._travel = 0.0
        self._homed = False
        self._left_at: int | None = None  # pulses at which the last action ended
        self._dirty = False  # something late or broken may still arrive

    # ---- opening --------------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the unit and learn its scale; moves nothing.

        Raises:
            NoReply: nothing answers at this address.
            WrongIdentity: the unit is of another kind.
            DeviceFault: the unit reports an error that does not clear.
        """
        with self.lock:
            self._dirty = True  # who knows what the last user left on the line
            try:
                text = self._agreed("in", lambda a, b: a == b).data
            except NoReply as error:
                raise NoReply(
                    f"{self.name}: nothing answers at address {self._address} "
                    f"(is the option 'address' right, is the unit powered?): {error}"
                ) from error
            self._learn(text)
            if self._ask_status() != _OK:  # an old error; reading has cleared it
                self._wait_idle("starting")
        self.seal()

    def _learn(self, text: str) -> None:
        # type 2, serial 8, year 4, firmware 2, hardware 2, travel 4, pulses 8
        kind = int(text[0:2], 16)
        travel, pulses = int(text[18:22], 16), int(text[22:30], 16)
        if kind not in self._MODELS:
            known = ROTARY | LINEAR
            allowed = ", ".join(sorted(self._MODELS.values()))
            raise WrongIdentity(
                f"{self.name}: the unit at address {self._address} is of type {kind:02X} "
                f"({known.get(kind, 'unknown')}); allowed here: {allowed}"
            )
        if not travel or not pulses:
            raise BadReply(f"{self.name}: travel {travel} and scale {pulses} make no sense")
        self._identity = Identity("Thorlabs", self._MODELS[kind], text[2:10], text[14:16])
        self._travel = float(travel)
        # Of a rotary unit the field holds the pulses of a whole turn, of a linear one of a mm.
        self._pulses_per_unit = pulses / 360.0 if kind in ROTARY else float(pulses)

    @property
    def identity(self) -> Identity:
        """Model, serial number and firmware; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        return self._identity

    def status(self) -> Status:
        """Ask the unit; an error is reported once, reading clears it (so the protocol has it)."""
        code = self._ask_status()
        if code == _BUSY:
            return Status(True, "moving")
        if code != _OK:
            return Status(False, _describe(code))
        return Status(True, "ready") if self._homed else Status(False, "not homed: home it")

    @property
    def homed(self) -> bool:
        """Whether this driver has homed the unit, and nothing has happened to it since.

        The unit itself cannot tell, so that homing is needed once a session.
        """
        return self._homed

    def make_safe(self) -> None:
        """Do nothing: a move ends by itself, and a mount at rest harms nobody."""

    def _settings(self) -> dict[str, Setting]:
        return {
            "address": Setting(self._address),
            "homed": Setting(self._homed),
            "scale": Setting(self._pulses_per_unit, f"1/{self._UNIT}"),
            "velocity": Setting(int(self.velocity_percent), "%"),
        }

    def recover(self) -> None:
        """See WireInstrument.recover; not homed any more unless it stands where it was left.

        A unit that was restarted counts from zero wherever it stands: left near its zero, it
        could not be told from one that was not, so that it is to be homed then, too.
        """
        with self.lock:
            left_at, self._left_at = self._left_at, None
            super().recover()
            if not self._homed:
                return
            self._homed = False
            if left_at is None or abs(left_at) <= 2 * _STILL_PULSES:
                return
            if abs(self._read_pulses() - left_at) <= _STILL_PULSES:
                self._homed, self._left_at = True, left_at

    # ---- moving ---------------------------------------------------------------------------

    def home(self) -> None:
        """Search the reference; blocks until the unit is at its zero.

        Raises DeviceFault if it reports an error or does not end at zero, NoReply if it never
        confirms: then it counts as not homed.
        """
        with self.lock:
            self._require_identity()
            self._homed, self._left_at = False, None
            self._clear_old_error()
            for _ in range(3):  # homing twice is harmless
                self.write(self._home_command)
                confirmed = self._outcome("homing")
                confirmed |= self._wait_idle("homing")
                if confirmed:
                    break
            else:
                raise NoReply(f"{self.name}: homing was asked three times and never confirmed")
            pulses = self._read_pulses()
            if abs(pulses) > self._NEAR * self._pulses_per_unit:
                raise DeviceFault(
                    f"{self.name}: homing ended at {self._text(pulses)} instead of 0; "
                    "check the mount and home it again"
                )
            self._left_at = pulses
            self._homed = True

    def _go_to_pulses(self, target: int) -> int:
        """Move, return the pulses that the unit reports at rest."""
        with self.lock:
            self._require_homed()
            self._clear_old_error()
            self._require_undisturbed()
            near = self._NEAR * self._pulses_per_unit
            for _ in range(3):  # an absolute move may be repeated: it ends where it should
                self.clock.sleep(_REST_S)
                self._left_at = None
                self.write(f"ma{target & 0xFFFFFFFF:08X}")
                self._outcome("moving")
                self._wait_idle("moving")
                pulses = self._read_pulses()
                self._left_at = pulses
                if abs(pulses - target) <= near:
                    return pulses
            raise DeviceFault(
                f"{self.name}: it stands at {self._text(pulses)} instead of "
                f"{self._text(target)}; is something in the way?"
            )

    def _position(self) -> float:
        with self.lock:
            self._require_homed()
            return self._read_pulses() / self._pulses_per_unit

    def _read_pulses(self) -> int:
        return self._agreed("gp", lambda a, b: abs(a.number - b.number) <= _SAME_PULSES).number

    def _require_identity(self) -> None:
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")

    def _require_homed(self) -> None:
        self._require_identity()
        if not self._homed:
            raise NotReady(f"{self.name}: not homed, so its position means nothing; home it first")

    def _require_undisturbed(self) -> None:
        """Refuse to go on from a position where nobody sent the unit: its zero may be lost."""
        if self._left_at is None:
            return
        if abs(self._query("gp").number - self._left_at) <= _STILL_PULSES:
            return
        pulses = self._read_pulses()
        if abs(pulses - self._left_at) > _STILL_PULSES:
            left_at, self._homed, self._left_at = self._left_at, False, None
            raise NotReady(
                f"{self.name}: it stands at {self._text(pulses)}, but was left at "
                f"{self._text(left_at)}: it was turned by hand or restarted; home it again"
            )

    def _text(self, pulses: int) -> str:
        return f"{pulses / self._pulses_per_unit:.3f} {self._UNIT}"

    # ---- the end of an action ---------------------------------------------------------------

    def _outcome(self, doing: str) -> bool:
        """Return whether the unit has confirmed an action (by its end, or by being busy)."""
        confirmed = False
        while (packet := self._next(_FIRST_WAIT_S)) is not None:
            if packet.kind == "PO":
                return True
            if packet.kind == "GS":
                code = packet.number
                if code == _OK:
                    return True
                if code != _BUSY:
                    self._fail(code, doing, clear=True)
                confirmed = True
        self._dirty = True
        return confirmed

    def _wait_idle(self, doing: str) -> bool:
        """Block until the unit says that it is idle; return whether it was seen busy."""
        deadline = self.clock.now() + _MOTION_S
        busy = False
        while True:
            code = self._ask_status()
            if code == _OK:
                return busy
            if code != _BUSY:
                self._fail(code, doing)
            busy = True
            if self.clock.now() > deadline:
                raise DeviceFault(f"{self.name}: {doing}: still busy after {_MOTION_S:g} s")
            self.clock.sleep(_POLL_S)

    def _clear_old_error(self) -> None:
        """Read away an error of the past; it would be taken for one of the coming action."""
        code = self._ask_status()
        if code in _LOSES_REFERENCE and self._homed:
            self._fail(code, "waiting")
        if code not in (_OK, _BUSY):
            log.warning("%s: an earlier error is cleared: %s", self.name, _describe(code))
        if code != _OK:
            self._wait_idle("waiting")

    def _fail(self, code: int, doing: str, *, clear: bool = False) -> None:
        """Raise DeviceFault; the error stays in the unit until its status is read."""
        self._left_at = None
        if code in _LOSES_REFERENCE:
            self._homed = False
        if clear:
            try:
                self._ask_status()
            except InstrumentError as error:
                log.warning("%s: the error could not be cleared: %s", self.name, error)
        raise DeviceFault(f"{self.name}: {doing}: {_describe(code)}")

    # ---- packets --------------------------------------------------------------------------

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Return the data digits of the unit's reply (what the properties ask through)."""
        return self._query(command).data

    def check_set_errors(self) -> list[str]:
        """Wait for the acknowledgement of a setting; DeviceFault if it was refused."""
        packet = self._next(self.TIMEOUT_S, "GS")
        if packet is None:
            self._dirty = True
            raise NoReply(f"{self.name}: a setting was not acknowledged")
        if packet.number != _OK:
            self._fail(packet.number, "setting", clear=True)
        return []

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command to this unit, with nothing in the input that could pass for its reply."""
        with self.lock:
            if self._dirty:
                self.clock.sleep(_QUIET_S)
                self._dirty = False
            self.discard_input()
            super().write(self._address + command, **kwargs)

    def _ask_status(self) -> int:
        return self._query("gs").number

    def _query(self, command: str) -> _Packet:
        """Ask, and ask again at most twice; a busy unit is waited for."""
        kind = _REPLY_TO[command]
        with self.lock:
            deadline = self.clock.now() + _MOTION_S
            attempts = list(_ATTEMPT_S)
            while attempts:
                self.write(command)
                packet = self._next(attempts[0], kind, "GS")
                if packet is None:
                    attempts.pop(0)
                    self._dirty = True
                elif packet.kind == kind:
                    return packet
                elif packet.number not in (_OK, _BUSY):
                    self._fail(packet.number, f"asked {command!r}", clear=True)
                elif self.clock.now() > deadline:
                    break
                else:  # busy; or the end of something earlier
                    self.clock.sleep(_POLL_S)
            raise NoReply(
                f"{self.name}: no valid answer to {command!r} from address {self._address}; "
                "check power, cable and address"
            )

    def _agreed(self, command: str, same: Callable[[_Packet, _Packet], bool]) -> _Packet:
        """Ask until two replies in a row agree: a packet has no checksum."""
        with self.lock:
            return until_alike(
                lambda: self._query(command), f"{self.name}: the answers to {command!r}", same=same
            )

    def _next(self, seconds: float, *kinds: str) -> _Packet | None:
        """Return the next packet of this unit (of these kinds), None if none comes in time.

        Passed over: other units, the hand controller's messages, whatever is not a packet.
        """
        deadline = self.clock.now() + seconds
        for _ in range(_MOST_LINES):
            left = deadline - self.clock.now()
            if left <= 0:
                return None
            try:
                with self.patience(left):
                    line = self.read().strip()
            except NoReply:
                return None
            except BadReply:
                line = "?"
            match = _PACKET.fullmatch(line)
            if match is None or len(match[3]) != _DIGITS[match[2]]:
                self._dirty = self._dirty or bool(line)
                continue
            if match[1] != self._address or match[2] in ("BS", "BO"):
                continue
            if not kinds or match[2] in kinds:
                return _Packet(match[2], match[3])
        return None


class ElliptecRotator(_Elliptec, Rotator):
    """A rotation mount: ELL14 (ELL16, ELL18, ELL21, ELL22).

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        address: of the unit on its bus, "0" to "F".
        home_direction: "cw" or "ccw".
        min_angle_deg: lowest angle allowed; the mount itself has no end and counts turns.
        max_angle_deg: highest angle allowed.
    """

    _MODELS: ClassVar[Mapping[int, str]] = ROTARY
    _UNIT: ClassVar[str] = "deg"

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        address: str | int = "0",
        home_direction: str = "cw",
        min_angle_deg: float = -720.0,
        max_angle_deg: float = 720.0,
    ) -> None:
        super().__init__(adapter, clock, address, home_direction)
        if not min_angle_deg < max_angle_deg:
            raise ConfigError(
                f"must be above min_angle_deg ({min_angle_deg:g}), not {max_angle_deg:g}",
                key="max_angle_deg",
            )
        self._limits = {"angle_deg": Limits(min_angle_deg, max_angle_deg, "deg")}

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The angles allowed (degrees)."""
        return self._limits

    @property
    def resolution_deg(self) -> float:
        """The uncertainty of a settled angle: public drivers quote 0.01 to 0.05 degrees."""
        return 0.03

    @property
    def angle_deg(self) -> float:
        """The angle that the mount reports (degrees, turns counted); NotReady before homing."""
        return self._position()

    def move_to(self, angle_deg: float) -> float:
        """Go to an angle (degrees); see Rotator.move_to."""
        self._limits["angle_deg"].check("angle_deg", angle_deg)
        self._require_homed()
        return self._go_to_pulses(round(angle_deg * self._pulses_per_unit)) / self._pulses_per_unit

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings, and the angle once the mount is homed."""
        settings = self._settings()
        if self._homed:
            settings["angle"] = Setting(self.angle_deg, "deg")
        return settings


class ElliptecStage(_Elliptec, Stage):
    """A linear stage: ELL17 (28 mm) or ELL20 (60 mm), with its whole travel as its limits."""

    _MODELS: ClassVar[Mapping[int, str]] = LINEAR
    _UNIT: ClassVar[str] = "mm"
    _NEAR: ClassVar[float] = 0.1

    def __init__(
        self, adapter: Adapter, clock: Clock | None = None, address: str | int = "0"
    ) -> None:
        super().__init__(adapter, clock, address, "cw")

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The travel (mm) that the stage reported; NotReady before `connect`."""
        self._require_identity()
        return {"position_mm": Limits(0.0, self._travel, "mm")}

    @property
    def position_mm(self) -> float:
        """The position that the stage reports (mm); NotReady before homing."""
        return self._position()

    def move_to(self, position_mm: float) -> float:
        """Go to a position (mm), block until there, return the one reached.

        Raises NotReady before homing, LimitError outside the travel.
        """
        self.limits["position_mm"].check("position_mm", position_mm)
        self._require_homed()
        pulses = self._go_to_pulses(round(position_mm * self._pulses_per_unit))
        return pulses / self._pulses_per_unit

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings, and the position once the stage is homed."""
        settings = self._settings()
        if self._homed:
            settings["position"] = Setting(self.position_mm, "mm")
        return settings


def _checked_address(address: str | int) -> str:
    text = f"{address:X}" if isinstance(address, int) else str(address).upper()
    if not re.fullmatch("[0-9A-F]", text):
        raise ConfigError(f"one digit, 0 to F, is allowed, not {address!r}", key="address")
    return text


def _describe(code: int) -> str:
    return f"{_FAULTS.get(code, 'reserved error code')} (status {code:02X})"
