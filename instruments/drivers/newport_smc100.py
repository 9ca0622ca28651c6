"""Newport SMC100CC and SMC100PP single-axis controllers, with the stage they carry.

For the edge of the stripe slit. Commands are answered by nothing: what a setter has done is known
from the error letter, the state word and the position, and all three are asked. A position counts
only while the controller holds its reference. Stops at millimetres of the stage, and never enters
the configuration state, so that nothing is ever written to the controller's flash memory.

Source: Newport, SMC100CC/PP user's manual (command set, state and error tables).
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument
from pyvisa.constants import ControlFlow

from instruments.agreeing import until_alike
from instruments.clock import Clock
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Setting, Stage, Status
from instruments.wire import WireInstrument

log = logging.getLogger(__name__)

_UNREFERENCED, _CONFIGURATION, _HOMING, _MOVING = "not homed", "configuration", "homing", "moving"
_READY, _DISABLED, _JOGGING, _SIMULATION = "ready", "disabled", "jogging", "simulation"
_STATES = {
    **dict.fromkeys(range(0x0A, 0x12), _UNREFERENCED),
    0x14: _CONFIGURATION,
    **dict.fromkeys((0x1E, 0x1F), _HOMING),
    0x28: _MOVING,
    **dict.fromkeys(range(0x32, 0x36), _READY),
    **dict.fromkeys(range(0x3C, 0x3F), _DISABLED),
    **dict.fromkeys((0x46, 0x47), _JOGGING),
    0x48: _SIMULATION,
}
_FAULTS = {
    0x0001: "negative end of run",
    0x0002: "positive end of run",
    0x0004: "peak current limit",
    0x0008: "RMS current limit",
    0x0010: "short circuit",
    0x0020: "following error: is something in the way?",
    0x0040: "homing time-out",
    0x0080: "wrong smart stage: is this the stage that was configured?",
    0x0100: "motor supply voltage too low",
    0x0200: "more than 80 W of output power",
}
_AT_AN_END = 0x0003  # no harm as long as the controller keeps its reference
_LETTERS: dict[str, tuple[str, type[BenchError]]] = {
    "A": ("unknown command", DeviceFault),
    "B": ("wrong address", DeviceFault),
    "C": ("value missing or out of range", DeviceFault),
    "D": ("not allowed", DeviceFault),
    "E": ("a home search is already going on", DeviceFault),
    "F": ("the stage is unknown to the controller", DeviceFault),
    "G": ("displacement out of limits", LimitError),
    "H": ("not homed: home it first", NotReady),
    "I": ("in its configuration state: switch the controller off and on", NotReady),
    "J": ("disabled: enable it, or home it", NotReady),
    "K": ("not allowed while it is ready", NotReady),
    "L": ("it is homing: wait for the end", NotReady),
    "M": ("it is moving: wait for the end", NotReady),
    "N": ("position outside the controller's soft limits", LimitError),
    "S": ("communication time-out", DeviceFault),
    "U": ("EEPROM error", DeviceFault),
    "V": ("the command could not be executed", DeviceFault),
    "W": ("not for an SMC100PP", DeviceFault),
    "X": ("not for an SMC100CC", DeviceFault),
}
_GARBLED = "ABCS"  # what a command gets that was damaged on its way; it may be sent again

_ATTEMPT_S = (0.2, 0.5, 0.5)  # patience with a query, then with its repetitions
_QUIET_S = 0.3  # what is late by more than this after a bad exchange is not waited for
_MOST_LINES = 32  # of stray lines before one reply
_POLL_S = 0.02
_STALE_S = 0.06  # so long the state may still be that of before the command
_LOST_S = 1.0  # a command that has shown no effect by then did not arrive
_STILL_MM = 0.0005  # two readings of a stage at rest
_PASSING_MM = 0.5  # two readings of a stage on a move
_STOP_S = 2.0  # from the stop command to standstill
_RESET_S = 15.0  # of silence after a reset
_ANYWHERE = Limits(-1e4, 1e4, "mm")
_VELOCITIES = Limits(0.001, 20.0, "mm/s")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(E[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _is_state(text: str) -> bool:
    return re.fullmatch("[0-9A-F]{6}", text) is not None and int(text[4:], 16) in _STATES


# What may stand after a mnemonic; after all others a number.
_VALID: dict[str, Callable[[str], bool]] = {
    "TS": _is_state,
    "TE": lambda text: re.fullmatch("[@A-Z]", text) is not None,
    "VE": lambda text: text.isprintable() and bool(text),
    "ID": lambda text: text.isprintable() and bool(text),
}


@dataclass(frozen=True)
class _State:
    """A state word: error bits, and the state by number and kind."""

    faults: int
    code: int

    @property
    def kind(self) -> str:
        return _STATES[self.code]

    @property
    def fault_text(self) -> str:
        named = [text for bit, text in _FAULTS.items() if self.faults & bit]
        if self.faults & ~sum(_FAULTS):
            named.append("an error bit that the manual does not name")
        return f"{'; '.join(named)} (error bits {self.faults:04X}, state {self.code:02X})"


def _within(value: float, limits: Limits) -> float:
    return limits.check("velocity_mm_s", value)


class SMC100Stage(WireInstrument, Stage):
    """A linear stage on an SMC100; its limits are the controller's soft limits, or narrower.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        address: of the controller, 1 to 31 (1 is the one on the serial cable).
        velocity_mm_s: set once the stage is homed (not in flash); None keeps the stored one.
        min_position_mm: lowest position allowed, if above the soft limit.
        max_position_mm: highest position allowed, if below the soft limit.
        tolerance_mm: how far from the target a move may end.
        home_timeout_s: how long a home search may take.
        identity_contains: what the reply to `VE` must contain (case does not matter).
    """

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 57600, "flow_control": ControlFlow.xon_xoff},
        "write_termination": "\r\n",
        "read_termination": "\r\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.2
    DRIVER_ID: ClassVar[str] = "newport-smc100"

    velocity_mm_s = Instrument.control(
        "VA?",
        "VA%.5f",
        "Control the velocity of moves (mm/s, 0.001 to 20, and not above the stage's own).",
        validator=_within,
        values=_VELOCITIES,
        get_process=float,
        check_set_errors=True,
        cast=str,
    )
    acceleration_mm_s2 = Instrument.measurement(
        "AC?", "Get the acceleration of moves (mm/s2).", get_process=float, cast=str
    )
    lower_soft_limit_mm = Instrument.measurement(
        "SL?", "Get the controller's negative soft limit (mm).", get_process=float, cast=str
    )
    upper_soft_limit_mm = Instrument.measurement(
        "SR?", "Get the controller's positive soft limit (mm).", get_process=float, cast=str
    )

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        address: int = 1,
        velocity_mm_s: float | None = None,
        min_position_mm: float | None = None,
        max_position_mm: float | None = None,
        tolerance_mm: float = 0.005,
        home_timeout_s: float = 180.0,
        identity_contains: str = "SMC",
    ) -> None:
        super().__init__(adapter, clock)
        if isinstance(address, bool) or address not in range(1, 32):
            raise ConfigError(f"1 to 31 is allowed, not {address!r}", key="address")
        for key, value in (("tolerance_mm", tolerance_mm), ("home_timeout_s", home_timeout_s)):
            if not value > 0:
                raise ConfigError(f"a positive number is allowed, not {value!r}", key=key)
        for key, wanted, allowed in (
            ("velocity_mm_s", velocity_mm_s, _VELOCITIES),
            ("min_position_mm", min_position_mm, _ANYWHERE),
            ("max_position_mm", max_position_mm, _ANYWHERE),
        ):
            if wanted is not None and not allowed.low <= wanted <= allowed.high:
                raise ConfigError(
                    f"{allowed.low:g} to {allowed.high:g} {allowed.unit} is allowed, "
                    f"not {wanted!r}",
                    key=key,
                )
        self._address = int(address)
        self._wanted_velocity = velocity_mm_s
        self._wanted_limits = (min_position_mm, max_position_mm)
        self._tolerance_mm = tolerance_mm
        self._home_timeout_s = home_timeout_s
        self._wanted_id = identity_contains
        self._identity: Identity | None = None
        self._stage_id = ""
        self._limits: dict[str, Limits] = {}
        self._motion = threading.RLock()  # one motion at a time; `make_safe` does not wait for it
        self._stops = 0
        self._quiet_s = 0.0  # for so long something late or broken may still arrive

    # ---- opening ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the controller and its stage, learn the soft limits; moves nothing.

        Raises:
            NoReply: nothing answers at this address. WrongIdentity: something else does.
            ConfigError: the limits of the bench file leave no travel.
        """
        with self.lock:
            self._quiet_s = _QUIET_S  # who knows what the last user left on the line
            try:
                version = self.ask("VE")
            except NoReply as error:
                raise NoReply(
                    f"{self.name}: nothing answers at address {self._address} (57600 baud; is "
                    f"the option 'address' right, is the controller powered?): {error}"
                ) from error
            if self._wanted_id.lower() not in version.lower():
                raise WrongIdentity(
                    f"{self.name}: it calls itself {version!r}, which does not contain "
                    f"{self._wanted_id!r}; is this the port of the SMC100?"
                )
            self._clear_old_error()
            with contextlib.suppress(NoReply):  # a controller without a stage may keep silent
                self._stage_id = self.ask("ID?")
            self._limits = {"position_mm": self._allowed_travel()}
            kind = re.search(r"SMC_?(?:100)?_?(CC|PP)", version, re.IGNORECASE)
            number = re.search(r"(\d+\.\d+\S*)", version)
            self._identity = Identity(
                "Newport",
                f"SMC100{kind[1].upper() if kind else ''}",
                firmware=number[1] if number else version,
            )
            if self._agreed_state().kind == _READY:
                self._apply_velocity()
        self.seal()

    def _allowed_travel(self) -> Limits:
        low, high = float(self.lower_soft_limit_mm), float(self.upper_soft_limit_mm)
        if not low < high:
            raise BadReply(f"{self.name}: soft limits {low:g} and {high:g} mm make no sense")
        asked_low, asked_high = self._wanted_limits
        bottom = low if asked_low is None else max(low, asked_low)
        top = high if asked_high is None else min(high, asked_high)
        if not bottom < top:
            raise ConfigError(
                f"between {bottom:g} and {top:g} mm no travel is left; the controller allows "
                f"{low:g} to {high:g} mm",
                key="min_position_mm" if asked_low is not None else "max_position_mm",
            )
        return Limits(bottom, top, "mm")

    def _apply_velocity(self) -> None:
        """Set the velocity that was asked for; in memory only, a reset brings back the stored."""
        wanted = self._wanted_velocity
        if wanted is None:
            return
        self.velocity_mm_s = wanted
        taken = float(self.velocity_mm_s)
        if abs(taken - wanted) > 1e-4 + 1e-3 * wanted:
            raise DeviceFault(
                f"{self.name}: velocity {wanted:g} mm/s was asked, it took {taken:g} mm/s"
            )

    # ---- the role ---------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Model and firmware; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        return self._identity

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The positions allowed (mm); NotReady before `connect`."""
        self._require_identity()
        return self._limits

    @property
    def homed(self) -> bool:
        """Whether the controller holds its reference (ready, or on a move), asked of it."""
        return self._agreed_state().kind in (_READY, _MOVING)

    @property
    def position_mm(self) -> float:
        """The real position (mm), on a move where it passes; NotReady without a reference."""
        with self.lock:
            state = self._agreed_state()
            self._require_referenced(state)
            return self._read_position(_PASSING_MM if state.kind == _MOVING else _STILL_MM)

    def status(self) -> Status:
        """Ask the state word; the error letter is left alone, reading would clear it."""
        state = self._agreed_state()
        held = state.kind in (_READY, _MOVING)
        if state.faults & ~_AT_AN_END or (state.faults and not held):
            return Status(False, f"{state.kind}: {state.fault_text}")
        if state.kind == _UNREFERENCED:
            return Status(False, "not homed: home it")
        text = f"{state.kind}: {state.fault_text}" if state.faults else state.kind
        return Status(state.kind in (_READY, _MOVING, _HOMING), text)

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings, and the position once the stage is homed and at rest."""
        with self.lock:
            travel, state = self.limits["position_mm"], self._agreed_state()
            settings = {
                "address": Setting(self._address),
                "stage": Setting(self._stage_id),
                "homed": Setting(state.kind in (_READY, _MOVING)),
                "velocity": Setting(float(self.velocity_mm_s), "mm/s"),
                "acceleration": Setting(float(self.acceleration_mm_s2), "mm/s2"),
                "lower_limit": Setting(travel.low, "mm"),
                "upper_limit": Setting(travel.high, "mm"),
            }
            if state.kind == _READY:
                settings["position"] = Setting(self._read_position(), "mm")
        return settings

    def make_safe(self) -> None:
        """Stop the stage (a home search, too), and see it stand still; tried twice."""
        self._stops += 1
        trouble: InstrumentError | None = None
        with self.lock:
            for _ in range(2):
                try:
                    self.write("ST")
                    deadline = self.clock.now() + _STOP_S
                    self.clock.sleep(_STALE_S)
                    while self._agreed_state().kind in (_MOVING, _HOMING):
                        if self.clock.now() > deadline:
                            raise DeviceFault(f"{self.name}: it moves on though it was stopped")
                        self.clock.sleep(_POLL_S)
                except InstrumentError as error:
                    trouble, self._quiet_s = error, _QUIET_S
                    continue
                with contextlib.suppress(InstrumentError):
                    self._query("TE")  # stopping a stage at rest may count as an error
                return
        assert trouble is not None
        raise trouble

    # ---- moving -----------------------------------------------------------------------------

    def home(self) -> None:
        """Search the reference; blocks until the controller is ready.

        One that has its reference is reset first, as it searches only without. Raises DeviceFault
        naming the controller's error bits, NotReady if it is stopped on the way.
        """
        with self._motion:
            self._require_identity()
            stops = self._stops
            state = self._agreed_state()
            if state.kind in (_CONFIGURATION, _SIMULATION, _MOVING):
                raise NotReady(f"{self.name}: it cannot be homed from here: {_advice(state)}")
            if state.kind not in (_UNREFERENCED, _HOMING):
                self._reset(stops)
            for _ in range(3):  # a lost command may be sent again: it starts one search only
                if self._search(stops):
                    break
            else:
                self._require_sound(self._agreed_state(), "homing")
                raise DeviceFault(f"{self.name}: the home search does not begin; is it wired up?")
            with self.lock:
                self._apply_velocity()

    def _search(self, stops: int) -> bool:
        """Send the home command once; return whether it was obeyed, when the stage is ready."""
        letter = self._act("OR", stops)
        if letter in _GARBLED:
            return False
        if letter not in "@EK":  # E, K: an earlier one has arrived after all
            raise self._refusal(letter, "homing")
        begun, seen = self.clock.now(), False
        while True:
            self.clock.sleep(_POLL_S)
            state = self._agreed_state()
            self._require_not_stopped(stops, "homing")
            if state.kind == _READY:
                self._require_sound(state, "homing")
                return True
            if state.kind == _HOMING:
                seen = True
            elif seen:
                self._require_sound(state, "homing")
                raise DeviceFault(
                    f"{self.name}: the home search ended without a reference "
                    f"(state {state.code:02X}); try again, and look at the stage"
                )
            elif self.clock.now() - begun > _LOST_S:
                return False
            if self.clock.now() - begun > self._home_timeout_s:
                self.make_safe()
                raise DeviceFault(
                    f"{self.name}: not at home after {self._home_timeout_s:g} s; stopped"
                )

    def _reset(self, stops: int) -> None:
        """Reset the controller, which is silent meanwhile and has then lost its reference."""
        for _ in range(3):
            with self.lock:
                self._require_not_stopped(stops, "resetting")
                self.write("RS")
            begun = self.clock.now()
            while self.clock.now() - begun < _RESET_S:
                self.clock.sleep(0.5)
                with contextlib.suppress(InstrumentError):
                    kind = self._agreed_state().kind
                    if kind == _UNREFERENCED:
                        return
                    if self.clock.now() - begun > _LOST_S:
                        break
        raise DeviceFault(f"{self.name}: it does not reset; switch it off and on, then home it")

    def move_to(self, position_mm: float) -> float:
        """Go to a position (mm), block until there, return the real one.

        Raises NotReady before homing or if it is stopped on the way, LimitError outside the limits,
        DeviceFault naming the controller's error bits or where it stands instead.
        """
        with self._motion:
            self.limits["position_mm"].check("position_mm", position_mm)
            target = round(position_mm, 5) + 0.0
            stops = self._stops
            doing = f"moving to {target:g} mm"
            state = self._agreed_state()
            self._require_referenced(state)
            self._require_sound(state, doing)
            if state.kind != _READY:
                raise NotReady(f"{self.name}: {doing}: {_advice(state)}")
            way = abs(target - self._read_position())
            allowed_s = 10.0 + 2.0 * way / max(float(self.velocity_mm_s), _VELOCITIES.low)
            for _ in range(3):  # an absolute move may be repeated: it ends where it should
                letter = self._act(f"PA{target:.5f}", stops)
                if letter in _GARBLED:
                    log.warning("%s: %s: refused (%s), once more", self.name, doing, letter)
                elif letter != "@":
                    raise self._refusal(letter, doing)
                elif (reached := self._arrival(target, allowed_s, stops)) is not None:
                    return reached
            raise DeviceFault(
                f"{self.name}: it stands at {self._read_position():g} instead of {target:g} mm; "
                "is something in the way?"
            )

    def _arrival(self, target: float, allowed_s: float, stops: int) -> float | None:
        """Wait for the end of a move; return where it ended, None if it never began."""
        doing = f"moving to {target:g} mm"
        begun, seen = self.clock.now(), False
        self.clock.sleep(_STALE_S)
        while True:
            state = self._agreed_state()
            self._require_not_stopped(stops, doing)
            self._require_sound(state, doing)
            self._require_referenced(state)
            if state.kind == _MOVING:
                seen = True
            elif state.kind != _READY:
                raise NotReady(f"{self.name}: {doing}: {_advice(state)}")
            else:  # ready; whether it came from moving does not matter
                try:
                    reached = self._read_position()
                except BadReply:  # it is moving, and the state is still that of before
                    reached = math.inf
                if abs(reached - target) <= self._tolerance_mm:
                    return reached
                if seen and reached < math.inf:
                    raise DeviceFault(
                        f"{self.name}: {doing}: it stopped at {reached:g} mm; is something in "
                        "the way, or did somebody stop it?"
                    )
                if self.clock.now() - begun > _LOST_S and reached < math.inf:
                    return None
            if self.clock.now() - begun > allowed_s:
                self.make_safe()
                raise DeviceFault(
                    f"{self.name}: {doing}: not there after {allowed_s:.0f} s; stopped"
                )
            self.clock.sleep(_POLL_S)

    # ---- what must hold ---------------------------------------------------------------------

    def _require_identity(self) -> None:
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")

    def _require_referenced(self, state: _State) -> None:
        if state.kind not in (_UNREFERENCED, _HOMING, _CONFIGURATION, _SIMULATION):
            return
        self._require_sound(state, "not homed")
        raise NotReady(f"{self.name}: its position means nothing: {_advice(state)}")

    def _require_sound(self, state: _State, doing: str) -> None:
        """Raise DeviceFault naming the error bits; an end of run is one that stopped it."""
        held = state.kind in (_READY, _MOVING)
        faults = state.faults & ~_AT_AN_END if held else state.faults
        if faults:
            raise DeviceFault(f"{self.name}: {doing}: {state.fault_text}; home it to go on")

    def _require_not_stopped(self, stops: int, doing: str) -> None:
        if self._stops != stops:
            raise NotReady(f"{self.name}: {doing}: it was stopped on the way (made safe)")

    def _refusal(self, letter: str, doing: str) -> BenchError:
        text, kind = _LETTERS.get(letter, ("an error that the manual does not name", DeviceFault))
        message = f"{self.name}: {doing}: {text} (error {letter})"
        return LimitError(message, key="position_mm") if kind is LimitError else kind(message)

    # ---- commands ---------------------------------------------------------------------------

    def _act(self, command: str, stops: int) -> str:
        """Send an action once, unless it has been stopped meanwhile; return its error letter."""
        with self.lock:
            self._clear_old_error()
            self._require_not_stopped(stops, command)
            self.write(command)
            return self._query("TE")

    def _clear_old_error(self) -> None:
        """Read away an error of the past; it would be taken for one of the coming command."""
        letter = self._query("TE")
        if letter != "@":
            log.warning("%s: an earlier error is cleared: %s", self.name, letter)

    def check_set_errors(self) -> list[str]:
        """Read the error letter after a setting; raise if it was refused."""
        letter = self._query("TE")
        if letter != "@":
            raise self._refusal(letter, "setting")
        return []

    def _agreed_state(self) -> _State:
        word = self._agreed("TS", lambda a, b: a == b)
        return _State(int(word[:4], 16), int(word[4:], 16))

    def _read_position(self, apart_mm: float = _STILL_MM) -> float:
        return float(self._agreed("TP", lambda a, b: abs(float(a) - float(b)) <= apart_mm))

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Ask until two replies in a row are alike (what the properties ask through)."""
        return self._agreed(command, lambda a, b: a == b)

    def _agreed(self, command: str, same: Callable[[str, str], bool]) -> str:
        """Ask until two replies in a row agree: a reply carries no checksum."""
        with self.lock:
            return until_alike(
                lambda: self._query(command),
                f"{self.name}: the answers to {command!r} (is the stage moving?)",
                same=same,
            )

    def _query(self, command: str) -> str:
        """Ask and return the value, once more at most twice."""
        with self.lock:
            trouble: InstrumentError = NoReply(f"{self.name}: no answer to {command!r}")
            first_s: float | None = None
            for seconds in _ATTEMPT_S:
                self.write(command)
                asked_s = self.clock.now()
                first_s = asked_s if first_s is None else first_s
                try:
                    value = self._reply(command, seconds)
                except InstrumentError as error:
                    trouble, self._quiet_s = error, _QUIET_S
                    continue
                if asked_s > first_s:  # if that was the reply to the first, more will come
                    self._quiet_s = asked_s - first_s + 0.1
                return value
            raise trouble

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command to this controller, with nothing stale left in the input."""
        with self.lock:
            self.clock.sleep(self._quiet_s)
            self._quiet_s = 0.0
            self.discard_input()
            super().write(f"{self._address}{command}", **kwargs)

    def _reply(self, command: str, seconds: float) -> str:
        """Return the value of the line that repeats our address and mnemonic.

        Raises DeviceFault for zero bytes, which a controller sends whose motor supply was cut.
        """
        head, valid = f"{self._address}{command[:2]}", _VALID.get(command[:2], _is_number)
        deadline = self.clock.now() + seconds
        strays: list[str] = []
        for _ in range(_MOST_LINES):
            left = deadline - self.clock.now()
            if left <= 0:
                break
            try:
                with self.patience(left):
                    line = self.read().strip()
            except BadReply:
                line = "(not text)"
            except NoReply:
                break
            value = line.removeprefix(head).strip()
            if line.startswith(head) and valid(value):
                return value
            strays += [line] if line else []
        if any("\0" in line for line in strays):
            raise DeviceFault(
                f"{self.name}: {command!r} was answered by zero bytes; was its motor supply cut?"
            )
        if strays:
            raise BadReply(f"{self.name}: {command!r} was answered by {strays[:3]!r}")
        raise NoReply(f"{self.name}: no answer to {command!r} within {seconds:g} s")


def _advice(state: _State) -> str:
    return {
        _UNREFERENCED: "it is not homed; home it",
        _HOMING: "it is homing; wait for the end",
        _MOVING: "it is moving; wait for the end, or stop it",
        _CONFIGURATION: "it is in its configuration state; switch it off and on",
        _SIMULATION: "it only simulates motion; switch it off and on",
        _JOGGING: "its hand controller is in use; leave jogging",
        _DISABLED: "its motor is disabled; home it",
        _READY: "it is ready",
    }[state.kind]
