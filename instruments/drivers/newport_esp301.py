"""One axis of a Newport ESP300 or ESP301 motion controller, with the stage on it.

For the edge of the stripe slit, in place of an SMC100. The controller does not say whether a stage
has been homed: what this connection has seen is all that is known, and a motor that was switched
off, or a target that somebody else has set, ends it. Commands are answered by nothing: error
queue, target, motor and position are asked. Stops at millimetres of the stage; never writes to the
controller's permanent memory. The line is in `esp301_line`.

Source: Newport ESP300/ESP301 command set and error tables.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pymeasure.adapters import Adapter
from pymeasure.instruments import Instrument

from instruments.clock import Clock
from instruments.drivers.esp301_line import PATIENT_S, QUICK_S, ESP301Line, Fault
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NotReady,
)
from instruments.roles import Identity, Limits, Setting, Stage, Status

log = logging.getLogger(__name__)

_MILLIMETRE = 2
_UNITS = ("encoder counts", "motor steps", "mm", "um", "in", "mil", "uin", "deg", "grad", "rad")
# Error of the controller: what a command gets that was damaged on its way; it may be sent again.
_GARBLED = {6, 7, 9, 37, 38}
# Errors of an axis, by the last two digits.
_OUT_OF_RANGE = {1, 6, 7}
_MOTOR_OFF, _BUSY = 13, {26, 27, 30, 32}
_HOMING_ALREADY = {30}

_POLL_S = 0.05
_STALE_S = 0.06  # so long the motion may still be "done" after the command
_STEADY_S = 0.15  # between two parts of a home search the motion may be "done" for a moment
_LOST_S = 1.0  # a command that has shown no effect by then did not arrive
_STILL_MM = 0.0005  # two readings of a stage at rest
_PASSING_MM = 0.5  # two readings of a stage on a move
_STOP_S = 2.0  # from the stop command to standstill
_ANYWHERE = Limits(-1e4, 1e4, "mm")
_VELOCITIES = Limits(0.001, 20.0, "mm/s")


@dataclass(frozen=True)
class _State:
    """An axis at one moment."""

    position_mm: float
    done: bool
    powered: bool
    target_mm: float


def _within(value: float, limits: Limits) -> float:
    return limits.check("velocity_mm_s", value)


class ESP301Stage(ESP301Line, Stage):
    """A linear stage on an ESP301; its limits are the controller's soft limits, or narrower.

    Args:
        adapter: an open pymeasure adapter; the axes of one controller share it.
        clock: the bench's clock.
        axis: of the controller, 1 to 3.
        velocity_mm_s: set once the stage is homed (not permanently); None keeps the stored one.
        min_position_mm: lowest position allowed, if above the soft limit.
        max_position_mm: highest position allowed, if below the soft limit.
        tolerance_mm: how far from the target a move may end.
        home_timeout_s: how long a home search may take.
        home_search: where the reference is: 1 home switch and index, 2 home switch, 3 positive
            limit, 4 negative limit, 5 and 6 these limits and index.
        assume_homed: take the position for good if the motor is on when the bench opens; only for
            a controller that is homed after each power-on by other means.
        identity_contains: what the reply to `VE?` must contain (case does not matter).
    """

    DRIVER_ID: ClassVar[str] = "newport-esp301"

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
        axis: int = 1,
        velocity_mm_s: float | None = None,
        min_position_mm: float | None = None,
        max_position_mm: float | None = None,
        tolerance_mm: float = 0.005,
        home_timeout_s: float = 180.0,
        home_search: int = 1,
        assume_homed: bool = False,
        identity_contains: str = "ESP",
    ) -> None:
        if isinstance(axis, bool) or axis not in (1, 2, 3):
            raise ConfigError(f"1, 2 or 3 is allowed, not {axis!r}", key="axis")
        if isinstance(home_search, bool) or home_search not in range(1, 7):
            raise ConfigError(f"1 to 6 is allowed, not {home_search!r}", key="home_search")
        super().__init__(adapter, clock, int(axis))
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
        self._wanted_velocity = velocity_mm_s
        self._wanted_limits = (min_position_mm, max_position_mm)
        self._tolerance_mm = tolerance_mm
        self._home_timeout_s = home_timeout_s
        self._home_search = int(home_search)
        self._assume_homed = bool(assume_homed)
        self._wanted_id = identity_contains
        self._identity: Identity | None = None
        self._limits: dict[str, Limits] = {}
        self._motion = threading.RLock()  # one motion at a time; `make_safe` does not wait for it
        self._stops = 0
        self._in_motion = False  # a limit switch may be hit, after which it keeps silent
        self._referenced = False
        self._target: float | None = None  # what it said at rest; None while it may change

    # ---- opening ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Identify controller and stage, learn units and soft limits; moves nothing.

        Raises:
            NoReply: nothing answers. WrongIdentity: something else does.
            NotReady: no stage on this axis, or one that does not count in mm.
            ConfigError: the limits of the bench file leave no travel.
        """
        with self.lock:
            self.identify(self._wanted_id)
            units = float(self.ask("SN?"))
            if units != _MILLIMETRE:
                named = _UNITS[int(units)] if units in range(len(_UNITS)) else f"{units:g}"
                raise NotReady(
                    f"{self.name}: axis {self._axis} counts in {named}; set its units to mm at "
                    f"the controller ({self._axis}SN2, its limits and velocities with it)"
                )
            self._limits = {"position_mm": self._allowed_travel()}
            model = re.search(r"ESP\s*(\d+\w*)", self._version, re.IGNORECASE)
            firmware = re.search(r"(\d+\.\d+\S*)", self._version)
            serial = re.search(r"SN\s*:?\s*(\w+)", self._stage_id, re.IGNORECASE)
            self._identity = Identity(
                "Newport",
                f"ESP{model[1]}" if model else self._version,
                serial=serial[1] if serial else "",
                firmware=firmware[1] if firmware else "",
            )
            if self._assume_homed:
                state = self._read_state()
                self._referenced = state.powered
                self._target = state.target_mm if state.done else None
                if self._referenced:
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
        """Model, firmware and the stage's serial number; NotReady before `connect`."""
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
        """Whether this connection has homed it and nothing has disturbed it since."""
        self._observe()
        return self._referenced

    @property
    def position_mm(self) -> float:
        """The real position (mm), on a move where it passes; NotReady without a reference."""
        with self.lock:
            state = self._observe()
            self._require_referenced()
            return state.position_mm

    def status(self) -> Status:
        """Ask the axis; the error queue is left alone, reading would empty it."""
        state = self._observe()
        if not state.powered:
            return Status(False, "motor off: home it")
        if not self._referenced:
            return Status(self._in_motion, "homing" if self._in_motion else "not homed: home it")
        return Status(True, "ready" if state.done else "moving")

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings, and the position once the stage is homed and at rest."""
        with self.lock:
            travel, state = self.limits["position_mm"], self._observe()
            settings = {
                "axis": Setting(self._axis),
                "stage": Setting(self._stage_id),
                "homed": Setting(self._referenced),
                "home_search": Setting(self._home_search),
                "velocity": Setting(float(self.velocity_mm_s), "mm/s"),
                "acceleration": Setting(float(self.acceleration_mm_s2), "mm/s2"),
                "lower_limit": Setting(travel.low, "mm"),
                "upper_limit": Setting(travel.high, "mm"),
            }
            if self._referenced and state.done:
                settings["position"] = Setting(state.position_mm, "mm")
        return settings

    def make_safe(self) -> None:
        """Stop the stage (a home search, too), and see it stand still; tried twice.

        As a last resort everything on the controller is stopped and its motors switched off.
        """
        self._stops += 1
        self._require_identity()
        with self.lock:
            patience: Sequence[float] = PATIENT_S if self._in_motion else QUICK_S[:2]
            for command in ("ST", "ST", "AB"):
                try:
                    if command == "AB":
                        self._referenced = False
                        self._send_line("AB")
                    else:
                        self.write(command)
                    self._target = None
                    self._await_standstill(patience)
                    return
                except InstrumentError as error:
                    trouble, patience = error, QUICK_S[:1]
            raise trouble

    def _await_standstill(self, patience: Sequence[float]) -> None:
        deadline = self.clock.now() + _STOP_S + sum(patience)
        self.clock.sleep(_STALE_S)
        while not (state := self._read_state(patience)).done:
            if self.clock.now() > deadline:
                raise DeviceFault(f"{self.name}: it moves on though it was stopped")
            self.clock.sleep(_POLL_S)
        self._target = state.target_mm

    # ---- moving -----------------------------------------------------------------------------

    def home(self) -> None:
        """Switch the motor on and search the reference; blocks until it is found.

        Raises DeviceFault naming the controller's errors, NotReady if it is stopped on the way.
        """
        with self._motion:
            self._require_identity()
            stops = self._stops
            if not self._read_state().done:
                raise NotReady(f"{self.name}: it is moving; wait for the end, or stop it")
            self._power_up(stops)
            self._referenced, self._target = False, None
            self._in_motion = True
            try:
                for _ in range(3):  # a lost command may be sent again: the search only begins anew
                    if self._search(stops):
                        break
                else:
                    raise DeviceFault(
                        f"{self.name}: the home search does not begin; is it wired up?"
                    )
            finally:
                self._in_motion = False
            with self.lock:
                self._apply_velocity()

    def _power_up(self, stops: int) -> None:
        for _ in range(3):
            if self._read_state().powered:
                return
            for fault in self._act("MO", stops):
                if fault.code not in _GARBLED:
                    raise self._refusal([fault], "switching the motor on")
            self.clock.sleep(_POLL_S)
        if not self._read_state().powered:
            raise DeviceFault(f"{self.name}: the motor does not switch on; is the stage wired up?")

    def _search(self, stops: int) -> bool:
        """Send the home command once; return whether it was obeyed, when the stage is there."""
        faults = self._act(f"OR{self._home_search}", stops, PATIENT_S)
        if any(fault.code in _GARBLED for fault in faults):
            return False
        faults = [fault for fault in faults if fault.kind not in _HOMING_ALREADY or not fault.axis]
        if faults:
            raise self._refusal(faults, "homing")
        begun, seen = self.clock.now(), False
        while True:
            state = self._read_state(PATIENT_S)
            if state.done and seen:
                self.clock.sleep(_STEADY_S)
                state = self._read_state(PATIENT_S)
            self._require_not_stopped(stops, "homing")
            if not state.powered:
                raise self._failure("homing: the motor was switched off")
            if not state.done:
                seen = True
            elif seen:
                with self.lock:
                    found, sure = self.faults(PATIENT_S)
                    if found:
                        raise self._refusal(found, "homing")
                    if not sure:
                        raise BadReply(
                            f"{self.name}: homing: whether it succeeded could not be read; home "
                            "it again, and check the cable"
                        )
                    self._require_not_stopped(stops, "homing")
                    self._referenced, self._target = True, state.target_mm
                return True
            elif self.clock.now() - begun > _LOST_S:
                return False
            if self.clock.now() - begun > self._home_timeout_s:
                self.make_safe()
                raise self._failure(f"not at home after {self._home_timeout_s:g} s; stopped")
            self.clock.sleep(_POLL_S)

    def move_to(self, position_mm: float) -> float:
        """Go to a position (mm), block until there, return the real one.

        Raises NotReady before homing or if it is stopped on the way, LimitError outside the limits,
        DeviceFault naming the controller's errors or where it stands instead.
        """
        with self._motion:
            self.limits["position_mm"].check("position_mm", position_mm)
            target = round(position_mm, 5) + 0.0
            stops = self._stops
            doing = f"moving to {target:g} mm"
            state = self._observe()
            self._require_referenced()
            if not state.done:
                raise NotReady(f"{self.name}: {doing}: it is moving; wait for the end, or stop it")
            way = abs(target - state.position_mm)
            allowed_s = 10.0 + 2.0 * way / max(float(self.velocity_mm_s), _VELOCITIES.low)
            self._target, self._in_motion = None, True
            try:
                for _ in range(3):  # an absolute move may be repeated: it ends where it should
                    faults = self._act(f"PA{target:.5f}", stops, PATIENT_S)
                    if any(fault.code in _GARBLED for fault in faults):
                        log.warning("%s: %s: refused (%s)", self.name, doing, faults[0])
                    elif faults:
                        raise self._refusal(faults, doing)
                    elif (reached := self._arrival(target, allowed_s, stops)) is not None:
                        return reached
            finally:
                self._in_motion = False
            raise DeviceFault(
                f"{self.name}: it stands at {self._read_state().position_mm:g} instead of "
                f"{target:g} mm; is something in the way?"
            )

    def _arrival(self, target: float, allowed_s: float, stops: int) -> float | None:
        """Wait for the end of a move; return where it ended, None if it never began."""
        doing = f"moving to {target:g} mm"
        begun, seen = self.clock.now(), False
        self.clock.sleep(_STALE_S)
        while True:
            with self.lock:
                state = self._read_state(PATIENT_S)
                near = abs(state.position_mm - target) <= self._tolerance_mm
                if near and state.done and not seen:  # is it there, or does it pass by?
                    self.clock.sleep(_STALE_S)
                    before, state = state, self._read_state(PATIENT_S)
                    near = abs(state.position_mm - before.position_mm) <= _STILL_MM
                self._require_not_stopped(stops, doing)
                if near and state.done and state.powered:
                    self._target = state.target_mm
                    return state.position_mm
            if not state.powered:
                self._referenced = False
                raise self._failure(f"{doing}: its motor was switched off; home it to go on")
            if not state.done:
                seen = True
            elif seen or self.clock.now() - begun > _LOST_S:
                self.clock.sleep(_STEADY_S)
                again = self._read_state(PATIENT_S)
                if again.done and abs(again.position_mm - target) > self._tolerance_mm:
                    self._target = again.target_mm
                    if not seen:
                        return None
                    raise self._failure(
                        f"{doing}: it stopped at {again.position_mm:g} mm; is something in the "
                        "way, or did somebody stop it?"
                    )
            if self.clock.now() - begun > allowed_s:
                self.make_safe()
                raise self._failure(f"{doing}: not there after {allowed_s:.0f} s; stopped")
            self.clock.sleep(_POLL_S)

    # ---- what must hold ---------------------------------------------------------------------

    def _read_state(self, patience: Sequence[float] = QUICK_S) -> _State:
        def same(first: list[str], second: list[str]) -> bool:
            apart = abs(float(first[0]) - float(second[0]))
            return first[1:] == second[1:] and apart <= _PASSING_MM

        for _ in range(4):
            first, second = self.ask_together(["TP", "MD?", "MO?", "PA?"], same, patience)
            before = float(first[0])
            position, done, powered, target = map(float, second)
            if done not in (0.0, 1.0) or powered not in (0.0, 1.0):
                raise BadReply(f"{self.name}: 'MD?', 'MO?' were answered by {second[1:3]!r}")
            still = abs(position - before) <= _STILL_MM
            if still or not done:
                break
        return _State(position, done == 1.0 and still, powered == 1.0, target)

    def _observe(self) -> _State:
        """Read the state; the reference is gone with the motor, or with a target not ours."""
        self._require_identity()
        with self.lock:
            state = self._read_state(PATIENT_S if self._in_motion else QUICK_S)
            known = self._target
            strange = known is not None and abs(state.target_mm - known) > self._tolerance_mm
            if known is None and state.done and not self._in_motion:
                self._target = state.target_mm
            if self._referenced and (not state.powered or strange):
                log.warning(
                    "%s: %s; its position is no longer trusted",
                    self.name,
                    "somebody else has moved or restarted it" if strange else "the motor is off",
                )
                self._referenced = False
            return state

    def _require_identity(self) -> None:
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")

    def _require_referenced(self) -> None:
        if not self._referenced:
            raise NotReady(
                f"{self.name}: not homed, or its motor was switched off or moved by somebody "
                "else since: its position means nothing; home it"
            )

    def _require_not_stopped(self, stops: int, doing: str) -> None:
        if self._stops != stops:
            raise NotReady(f"{self.name}: {doing}: it was stopped on the way (made safe)")

    # ---- commands ---------------------------------------------------------------------------

    def _act(self, command: str, stops: int, patience: Sequence[float] = QUICK_S) -> list[Fault]:
        """Send an action that may be repeated, unless stopped; return the errors it brought."""
        with self.lock:
            for _ in range(3):
                for fault in self.faults(patience)[0]:
                    log.warning("%s: an earlier error is cleared: %s", self.name, fault)
                self._require_not_stopped(stops, command)
                self.write(command)
                found, sure = self.faults(patience)
                if found or sure:
                    return found
        raise BadReply(
            f"{self.name}: whether {command!r} was accepted could not be read; check the cable"
        )

    def check_set_errors(self) -> list[str]:
        """Read the error queue after a setting; raise if it was refused or nobody knows."""
        found, sure = self.faults()
        if found:
            raise self._refusal(found, "setting")
        if not sure:
            raise BadReply(f"{self.name}: whether the setting was accepted could not be read")
        return []

    def _refusal(self, faults: list[Fault], doing: str) -> BenchError:
        message = f"{self.name}: {doing}: {'; '.join(map(str, faults))}"
        first = faults[0]
        if first.axis and first.kind in _OUT_OF_RANGE and doing.startswith("moving"):
            return LimitError(message, key="position_mm")
        if first.axis and (first.kind == _MOTOR_OFF or first.kind in _BUSY):
            return NotReady(f"{message}; stop it, then home it")
        return DeviceFault(message)

    def _failure(self, what: str) -> DeviceFault:
        """Return an error that names what the controller has to say about it."""
        said: list[Fault] = []
        with contextlib.suppress(InstrumentError):
            said, _ = self.faults(PATIENT_S)
        why = f" ({'; '.join(map(str, said))})" if said else ""
        return DeviceFault(f"{self.name}: {what}{why}")
