"""A simulated Newport SMC100 controller with a 25 mm stage (TRA25CC) that carries a slit edge.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. It knows the
controller's states and which command each allows, answers setters by silence and latches an error
letter, takes its time over moves and home searches, loses its reference when it is restarted, and
tells the World where the edge really stands. Where the protocol sheet leaves a choice, both
readings can be played. Stops at the edge: what the slit lets through is the World's affair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from instruments.clock import Clock
from sim_drivers.link import WireDevice
from sim_drivers.noise import generator, normals

DEVICE = "newport-smc100"

# States by their two hexadecimal digits.
FROM_RESET, FROM_HOMING, FROM_CONFIGURATION, FROM_DISABLE, FROM_READY, FROM_MOVING = range(10, 16)
FROM_JOGGING, CONFIGURATION, HOMING, MOVING = 0x11, 0x14, 0x1E, 0x28
READY_HOMED, READY_MOVED, READY_ENABLED, READY_JOGGED = 0x32, 0x33, 0x34, 0x35
DISABLE, JOGGING, JOGGING_DISABLED = 0x3C, 0x46, 0x47
UNREFERENCED, READY, DISABLED = range(0x0A, 0x12), range(0x32, 0x36), range(0x3C, 0x3F)

# Error bits of the state word.
NEGATIVE_END, POSITIVE_END, FOLLOWING, HOMING_TIME_OUT, LOW_VOLTAGE = 1, 2, 0x20, 0x40, 0x100

TEXTS = {
    "@": "No error",
    "A": "Code not known, or address not a whole number",
    "B": "Address wrong",
    "C": "Value missing or beyond its range",
    "D": "Not permitted",
    "E": "Home search is under way",
    "F": "Stage not known",
    "G": "Displacement beyond limits",
    "H": "Not permitted when not referenced",
    "I": "Not permitted in configuration",
    "J": "Not permitted when disabled",
    "K": "Not permitted when ready",
    "L": "Not permitted during homing",
    "M": "Not permitted in motion",
    "N": "Position beyond soft limits",
    "S": "Communication timed out",
    "U": "EEPROM failure",
    "V": "Failed in execution",
    "W": "Not available on PP",
    "X": "Not available on CC",
}

# Settings: lowest, highest, at delivery, and whether they can be set when ready, too.
SETTINGS: dict[str, tuple[float, float, float, bool]] = {
    "VA": (1e-6, 2.0, 2.0, True),
    "AC": (1e-6, 1e12, 8.0, True),
    "JR": (0.001, 1e12, 0.04, True),
    "SL": (-1e12, 0.0, -0.01, False),
    "SR": (0.0, 1e12, 25.01, False),
    "BA": (0.0, 1e12, 0.0, True),
    "BH": (0.0, 1e12, 0.0, True),
    "HT": (0, 4, 2, False),
    "OH": (1e-6, 1e12, 1.0, False),
    "OT": (1.0, 1000.0, 60.0, False),
    "SA": (2, 31, 2, False),
    "QIL": (0.05, 3.0, 0.15, False),
    "FRM": (1, 2000, 256, False),
    "FRS": (1e-6, 1e12, 0.01, False),
    "ZX": (1, 3, 3, False),
}
WHOLE = ("HT", "SA", "FRM", "ZX")
PP_ONLY = ("FRM", "FRS")
COMMAND = re.compile(r"([\d.]*)(QIL|FRM|FRS|[A-Z]{2})(.*)", re.DOTALL)
VALUE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?")


@dataclass(frozen=True)
class _Motion:
    """A move as stretches of constant acceleration: (seconds, from mm, mm/s, mm/s2)."""

    start_s: float
    pieces: tuple[tuple[float, float, float, float], ...]
    finish: float
    arrive: Callable[[], None]

    @property
    def end_s(self) -> float:
        return self.start_s + sum(piece[0] for piece in self.pieces)

    def at(self, now: float) -> tuple[float, float]:
        """Return position (mm) and speed (mm/s)."""
        left = now - self.start_s
        for seconds, begin, speed, gain in self.pieces:
            if left < seconds:
                return begin + speed * left + 0.5 * gain * left**2, speed + gain * left
            left -= seconds
        return self.finish, 0.0


def _trapezoid(
    begin: float, finish: float, velocity: float, acceleration: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Return the pieces of a move that speeds up, runs and slows down."""
    way = abs(finish - begin)
    sign = 1.0 if finish > begin else -1.0
    ramp_s = min(velocity / acceleration, math.sqrt(way / acceleration))
    top, ramp = acceleration * ramp_s, 0.5 * acceleration * ramp_s**2
    gain = sign * acceleration
    return (
        (ramp_s, begin, 0.0, gain),
        (max(way - 2.0 * ramp, 0.0) / top if top else 0.0, begin + sign * ramp, sign * top, 0.0),
        (ramp_s, finish - sign * ramp, sign * top, -gain),
    )


class SimulatedSMC100(WireDevice):
    """One controller and its stage.

    Args:
        clock: the bench's clock.
        world: told the true position (mm from the home switch) by `set_slit_stage_mm`, if it has
            that, whenever it has changed.
        seed: of settling, home repeatability and power-on position.
        address: 1 to 31. identity: the reply to `VE`. stage: the reply to `ID?`.
        limit_letter: "G" or "N", the error letter of a move beyond the soft limits.
        position_decimals: of the replies to `TP` and `TH`.
        latency_s: from a command's end to its reply.
        stale_ready_s: how long after a move command `TS` still tells the state before.
        null_move_moves: whether a move to the present position passes through MOVING.
        limits_when_ready: soft limits can be set in READY, not only in CONFIGURATION.
        settle_um: standard deviation of the settled position; never beyond 0.3 um.
        home_um: standard deviation of the home switch.
        velocity_mm_s: what `VA` is at delivery, and its highest value.
        reset_s, flash_s: how long it is silent after `RS`, and after leaving CONFIGURATION.
        start_mm: where the stage stands at power-on; by default somewhere in 5 to 20 mm, so that a
            slit that nobody uses is open.
        homed: whether it has been homed before it is handed over.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "limit", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        address: int = 1,
        identity: str = "SMC_CC1 Controller-driver version 2.0.0",
        stage: str = "TRA25CC_PN:A000000_UD:00000",
        limit_letter: Literal["G", "N"] = "N",
        position_decimals: int = 5,
        latency_s: float = 0.010,
        stale_ready_s: float = 0.03,
        null_move_moves: bool = False,
        limits_when_ready: bool = False,
        settle_um: float = 0.15,
        home_um: float = 0.15,
        velocity_mm_s: float = 2.0,
        reset_s: float = 2.0,
        flash_s: float = 5.0,
        start_mm: float | None = None,
        homed: bool = False,
    ) -> None:
        super().__init__(clock)
        self.seed = seed
        self.address = address
        self.identity, self.stage = identity, stage
        self.limit_letter = limit_letter
        self.position_decimals = position_decimals
        self.latency_s, self.stale_ready_s = latency_s, stale_ready_s
        self.null_move_moves, self.limits_when_ready = null_move_moves, limits_when_ready
        self.settle_um, self.home_um = settle_um, home_um
        self.top_velocity = velocity_mm_s
        self.reset_s, self.flash_s = reset_s, flash_s
        self.moves = 0
        self.homings = 0
        self.flash_writes = 0
        self.stuck = False  # faults: the motor does not turn
        self.at_end = False  # faults: an end-of-run switch is pressed
        self.impostor = False  # faults: something else answers to `VE`
        self._tell = getattr(world, "set_slit_stage_mm", None)
        self._told: float | None = None
        self._flash = {name: row[2] for name, row in SETTINGS.items()} | {"VA": velocity_mm_s}
        drawn = float(generator(seed, DEVICE, 0).uniform(5.0, 20.0))
        self._true = drawn if start_mm is None else start_mm
        self._power_up()
        if homed:
            self._zero, self._target, self._state = 0.0, self._true, READY_HOMED
        self._tell_world()

    def _power_up(self) -> None:
        """Start anew: the counter is zero wherever the stage stands."""
        self.settings = dict(self._flash)
        self._state = FROM_RESET
        self._before, self._stale_until_s = FROM_RESET, -math.inf  # what TS tells meanwhile
        self._faults = 0
        self._letter = "@"
        self._zero = self._true  # the true position at which the counter reads zero
        self._target = 0.0
        self._motion: _Motion | None = None
        self._buffer = b""
        self._silent_until_s = -math.inf
        self._supply = True

    # ---- for tests and faults -----------------------------------------------------------------

    @property
    def true_position_mm(self) -> float:
        """Where the edge really stands now (mm from the home switch)."""
        now = self.clock.now()
        self.settle(now)
        return self._at(now)

    @property
    def controller_state(self) -> int:
        """The state, by its number, as it is now."""
        self.settle(self.clock.now())
        return self._state

    @property
    def moving(self) -> bool:
        """Whether the stage is in motion."""
        return self.controller_state in (MOVING, HOMING)

    def restart(self) -> None:
        """Cut the power for a moment: reference, unsaved settings and pending replies are lost."""
        with self.device_lock:
            self._stand_still()
            self._outgoing.clear()
            self._power_up()

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; an end of run stops a motion, and any that is begun."""
        match kind:
            case "stuck":
                self.stuck = active
            case "limit":
                self.at_end = active
                if active and self.moving:
                    self.fail(POSITIVE_END)
            case "identity":
                self.impostor = active
            case "restart":
                if active:
                    self.restart()
            case _:
                super().fault(kind, active)

    def fail(self, bits: int) -> None:
        """Set error bits; the motor is off and the reference lost."""
        with self.device_lock:
            self._stand_still()
            self._faults |= bits
            self._state = self._unreferenced_from()

    def cut_supply(self) -> None:
        """Take the motor supply away: replies then begin with a zero byte."""
        self.fail(LOW_VOLTAGE)
        self._supply = False

    def jog(self, distance_mm: float) -> None:
        """Move by the hand controller, which stays in use until `JD`."""
        with self.device_lock:
            self._stand_still()
            if self._state in READY or self._state in DISABLED:
                self._state = JOGGING if self._state in READY else JOGGING_DISABLED
                self._true += distance_mm
                self._tell_world()

    def state(self) -> dict[str, float]:
        """Return the counters that key the noise, and where the stage stands."""
        now = self.clock.now()
        self.settle(now)
        return {
            "moves": float(self.moves),
            "homings": float(self.homings),
            "zero": self._zero,
            "position": self._at(now),
            "target": self._target,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned: the next move then starts, and takes, as it would."""
        with self.device_lock:
            self._stand_still()
            if self._state == MOVING:
                self._state = READY_MOVED
            self.moves = int(state.get("moves", self.moves))
            self.homings = int(state.get("homings", self.homings))
            self._zero = state.get("zero", self._zero)
            self._true = state.get("position", self._true)
            self._target = state.get("target", self._target)
            self._tell_world()

    # ---- time ---------------------------------------------------------------------------------

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def settle(self, now: float) -> None:
        """Bring the stage up to a bench time, and the World with it."""
        with self.device_lock:
            motion = self._motion
            if motion is not None and now >= motion.end_s:
                self._motion = None
                self._true = motion.finish
                motion.arrive()
            self._tell_world()

    def _at(self, now: float) -> float:
        return self._true if self._motion is None else self._motion.at(now)[0]

    def _stand_still(self) -> None:
        """End a motion at once, wherever it is."""
        now = self.clock.now()
        self.settle(now)
        self._true, self._motion = self._at(now), None
        self._tell_world()

    def _tell_world(self) -> None:
        here = self._at(self.clock.now())
        if self._tell is not None and here != self._told:
            self._told = here
            self._tell(here)

    def _noise_um(self, what: str, number: int, sigma_um: float) -> float:
        drawn = sigma_um * float(normals(self.seed, f"{DEVICE}:{what}", number, 1)[0])
        return min(max(drawn, -0.3), 0.3)

    # ---- motion -------------------------------------------------------------------------------

    def _go(self, target: float) -> None:
        """Start an absolute move (mm of the counter)."""
        if not self.settings["SL"] <= target <= self.settings["SR"]:
            self._letter = self.limit_letter
            return
        null = target == self._target and not self.null_move_moves
        self._target = target
        if null:
            return
        self.moves += 1
        self._before, self._state = self._state, MOVING
        now = self.clock.now()
        self._stale_until_s = now + self.stale_ready_s
        if self.stuck or self.at_end:
            rest, bits = ((0.5, self._true, 0.0, 0.0),), POSITIVE_END if self.at_end else FOLLOWING
            self._motion = _Motion(now, rest, self._true, lambda: self._drop(bits))
            return
        finish = self._zero + target
        finish += 1e-3 * self._noise_um("move", self.moves, self.settle_um)
        pieces = _trapezoid(self._true, finish, self.settings["VA"], self.settings["AC"])
        settling = (0.02, finish, 0.0, 0.0)
        self._motion = _Motion(now, (*pieces, settling), finish, self._arrived)

    def _arrived(self) -> None:
        self._state = READY_MOVED

    def _search(self) -> None:
        """Start a home search."""
        self._faults = 0
        self._state = HOMING
        self.homings += 1
        here = self.settings["HT"] == 1
        home = 1e-3 * self._noise_um("home", self.homings, self.home_um)
        finish = self._true if here else home
        pieces = _trapezoid(self._true, finish, self.settings["OH"], self.settings["AC"])
        pieces = (*pieces, (0.1 if here else 0.5, finish, 0.0, 0.0))
        seconds, limit_s = sum(piece[0] for piece in pieces), self.settings["OT"]
        if self.stuck or self.at_end or seconds > limit_s:
            rest = ((limit_s, self._true, 0.0, 0.0),)
            bits = POSITIVE_END if self.at_end else HOMING_TIME_OUT
            self._motion = _Motion(self.clock.now(), rest, self._true, lambda: self._drop(bits))
            return
        self._motion = _Motion(self.clock.now(), pieces, finish, self._found)

    def _found(self) -> None:
        self._zero, self._target, self._state = self._true, 0.0, READY_HOMED

    def _drop(self, bits: int) -> None:
        self._faults |= bits
        self._state = self._unreferenced_from()

    def _unreferenced_from(self) -> int:
        """Return the state in which the reference is lost, by the state now."""
        state = self._state
        if state in READY:
            return FROM_READY
        if state in DISABLED:
            return FROM_DISABLE
        came_from = {
            HOMING: FROM_HOMING,
            MOVING: FROM_MOVING,
            JOGGING: FROM_JOGGING,
            JOGGING_DISABLED: FROM_JOGGING,
        }
        return came_from.get(state, state)

    def _halt(self) -> None:
        """Slow down and stop; a home search is given up."""
        motion = self._motion
        if motion is None:
            return
        now = self.clock.now()
        if self._state == HOMING:
            self._stand_still()
            self._drop(0)
            return
        begin, speed = motion.at(now)
        seconds = abs(speed) / self.settings["AC"]
        finish = begin + 0.5 * speed * seconds
        gain = -math.copysign(self.settings["AC"], speed)
        self._target = finish - self._zero
        self._motion = _Motion(now, ((seconds, begin, speed, gain),), finish, self._arrived)

    # ---- lines --------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a command ends with CR LF, upper and lower case are alike."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            if now < self._silent_until_s:
                return
            self._buffer += data
            while b"\r\n" in self._buffer and now >= self._silent_until_s:
                raw, self._buffer = self._buffer.split(b"\r\n", 1)
                line = re.sub(r"\s", "", raw.decode("latin-1")).upper()
                if line:
                    self._line(line)
            if now < self._silent_until_s:
                self._buffer = b""

    def _reply(self, text: str) -> None:
        prefix = "" if self._supply else "\0"
        self.send(f"{prefix}{self.address}{text}\r\n".encode("latin-1"), self.latency_s)

    def _line(self, line: str) -> None:
        match = COMMAND.match(line)
        if match is None:
            self._letter = "A"
            return
        address, name, rest = match.groups()
        if not address:
            if name == "ST":
                self._execute(name, rest)
            elif name != "RS":
                self._letter = "B"
            else:
                self._reset()
        elif not address.isdigit():
            self._letter = "A"
        elif int(address) == self.address:
            self._execute(name, rest)

    def _execute(self, name: str, rest: str) -> None:
        if name in SETTINGS:
            self._setting(name, rest)
        elif not self._tell_about(name, rest):
            self._act(name, rest)

    def _setting(self, name: str, rest: str) -> None:
        low, high, _, when_ready = SETTINGS[name]
        if name in PP_ONLY and "_CC" in self.identity.upper():
            self._letter = "X"
            return
        if rest.startswith("?"):
            self._reply(f"{name}{self._written(name)}")
            return
        if name in ("SL", "SR"):
            when_ready = self.limits_when_ready
        if self._state != CONFIGURATION and not (when_ready and self._state in READY):
            self._refuse()
            return
        value = _number(rest)
        if name == "VA":
            high = self.top_velocity
        if value is None or not low <= value <= high or (name in WHOLE and value % 1):
            self._letter = "C"
            return
        self.settings[name] = value

    def _written(self, name: str) -> str:
        value = self.settings[name]
        return str(int(value)) if name in WHOLE else str(float(value))

    def _tell_about(self, name: str, rest: str) -> bool:
        """Answer a question; return whether it was one."""
        now, decimals = self.clock.now(), self.position_decimals
        match name:
            case "TP":
                self._reply(f"TP{self._at(now) - self._zero:.{decimals}f}")
            case "TH":
                moving = self._motion is not None
                value = self._at(now) - self._zero if moving else self._target
                self._reply(f"TH{value:.{decimals}f}")
            case "TS":
                stale = self._state == MOVING and now < self._stale_until_s
                code = self._before if stale else self._state
                self._reply(f"TS{self._faults:04X}{code:02X}")
            case "TE":
                self._reply(f"TE{self._letter}")
                self._letter = "@"
            case "TB":
                letter = rest[:1] if rest[:1] not in ("", "?") else self._letter
                self._reply(f"TB{letter} {TEXTS.get(letter, TEXTS['A'])}")
            case "VE":
                self._reply("VE ACME PUMP 3.1" if self.impostor else f"VE {self.identity}")
            case "ID" if rest.startswith("?"):
                self._reply(f"ID{self.stage}")
            case "PA" if rest.startswith("?"):
                self._reply(f"PA{self._target!r}")
            case "PR" if rest.startswith("?"):
                self._reply("PR0.0")
            case "MM" if rest.startswith("?"):
                self._reply(f"MM{self._state:02X}")
            case "PW" if rest.startswith("?"):
                self._reply(f"PW{int(self._state == CONFIGURATION)}")
            case "ZT":
                self._reply("PW1")
                for key in SETTINGS:
                    self._reply(f"{key}{self._written(key)}")
                self._reply("PW0")
            case _:
                return False
        return True

    # ---- actions ------------------------------------------------------------------------------

    def _act(self, name: str, rest: str) -> None:
        value, ready = _number(rest), self._state in READY
        match name:
            case "OR" if self._state in UNREFERENCED:
                self._search()
            case "OR" if self._state == HOMING:
                self._letter = "E"
            case "PA" | "PR" if ready and value is None:
                self._letter = "C"
            case "PA" if ready and value is not None:
                self._go(value)
            case "PR" if ready and value is not None:
                self._go(self._target + value)
            case "ST" if self._state in (MOVING, HOMING):
                self._halt()
            case "MM" | "PW" if value not in (0.0, 1.0):
                self._letter = "C"
            case "MM" if ready and value == 0.0:
                self._state = DISABLE
            case "MM" if self._state in DISABLED and value == 1.0:
                self._state = READY_ENABLED
            case "JD" if self._state in (JOGGING, JOGGING_DISABLED):
                self._target = self._true - self._zero
                self._state = READY_JOGGED
            case "RS":
                self._reset()
            case "PW" if self._state in UNREFERENCED and value == 1.0:
                self._state = CONFIGURATION
            case "PW" if self._state == CONFIGURATION and value == 0.0:
                self._flash = dict(self.settings)
                self.flash_writes += 1
                self._state = FROM_CONFIGURATION
                self._silent_until_s = self.clock.now() + self.flash_s
            case "OR" | "PA" | "PR" | "ST" | "MM" | "JD" | "PW":
                self._refuse()
            case _:
                self._letter = "A"

    def _reset(self) -> None:
        """Start anew, some seconds of silence from now."""
        self._stand_still()
        self._power_up()
        self._silent_until_s = self.clock.now() + self.reset_s

    def _refuse(self) -> None:
        """Latch the letter of a command that the state does not allow."""
        groups = (
            (UNREFERENCED, "H"),
            ((CONFIGURATION,), "I"),
            (DISABLED, "J"),
            (READY, "K"),
            ((HOMING,), "L"),
            ((MOVING,), "M"),
        )
        self._letter = next((letter for states, letter in groups if self._state in states), "D")


def _number(text: str) -> float | None:
    """Return the number at the beginning of a text; what follows it is ignored."""
    match = VALUE.match(text)
    value = float(match[0]) if match else math.nan
    return value if math.isfinite(value) else None
