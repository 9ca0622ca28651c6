"""A simulated Zaber rotary stage that carries the attenuator's wave plate.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. It writes the
protocol down for itself: nothing here is shared with the driver. It takes its time over moves,
forgets its reference when its power is cut, stalls where it is told to, and tells the World the
true angle, which is the one it reports but for a small error. Acceleration is left out.

Source: Zaber ASCII protocol manual, firmware 6 and 7.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.link import WireDevice
from sim_drivers.noise import generator, normals

KEY = "zaber-rotary"
DEVICE_SETTINGS = ("deviceid", "system.serial", "version", "comm.alert", "comm.checksum")
AXIS_SETTINGS = (
    *("pos", "maxspeed", "limit.min", "limit.max", "limit.cycle.dist", "limit.home.triggered"),
)
CHANGEABLE = {"comm.alert": (0, 1), "comm.checksum": (0, 1), "maxspeed": (1, 4_000_000)}
COMMAND = re.compile(r"/(?P<body>[^:]*)(?::(?P<sum>[0-9A-Fa-f]{2}))?")
WHOLE = re.compile(r"-?\d{1,10}")


class Refused(Exception):
    """A command is not taken; the text is the reason in the reply."""


@dataclass(frozen=True)
class _Motion:
    """From one microstep to another at a constant speed."""

    start_s: float
    begin: float
    finish: float
    speed: float
    homing: bool = False

    @property
    def end_s(self) -> float:
        return self.start_s + abs(self.finish - self.begin) / self.speed

    def at(self, now: float) -> float:
        if now >= self.end_s:
            return self.finish
        way = self.speed * (now - self.start_s)
        return self.begin + math.copysign(way, self.finish - self.begin)


class SimulatedZaber(WireDevice):
    """A stage of 0.000234375 degrees a microstep.

    Args:
        clock: the bench's clock.
        world: told the true angle by `set_attenuator_angle` whenever it has changed.
        seed: of the angle at power-up, the home sensor and the settled angle.
        address: of the device. model, serial, version: what it says of itself.
        turn: microsteps of a turn; 0 for a stage that is none of a rotary kind.
        speed: microsteps per second.
        checksums: it sends a checksum with every reply (comm.checksum).
        alerts: it says by itself when a move has ended (comm.alert).
        moves_unreferenced: moves without a reference are obeyed, not refused.
        latency_s: from a command's end to its reply.
        home_deg, settle_deg: standard deviations of the home sensor and of a settled angle.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        address: int = 1,
        model: int = 50105,
        serial: int = 71234,
        version: str = "7.28",
        turn: int = 1_536_000,
        speed: float = 153_600.0,
        checksums: bool = False,
        alerts: bool = False,
        moves_unreferenced: bool = False,
        latency_s: float = 0.004,
        home_deg: float = 0.01,
        settle_deg: float = 0.005,
    ) -> None:
        super().__init__(clock)
        self.seed, self.address, self.turn = seed, address, turn
        self.moves_unreferenced = moves_unreferenced
        self.latency_s, self.home_deg, self.settle_deg = latency_s, home_deg, settle_deg
        self.settings: dict[str, int | str] = {
            "deviceid": model,
            "system.serial": serial,
            "version": version,
            "comm.alert": int(alerts),
            "comm.checksum": int(checksums),
            "maxspeed": round(1.6384 * speed),
            "limit.min": -10 * turn,
            "limit.max": 10 * turn,
            "limit.cycle.dist": turn,
        }
        self.moves = 0
        self.homings = 0
        self.stuck = False  # faults: the table does not turn
        self.impostor = False  # faults: another device stands there
        self._tell = getattr(world, "set_attenuator_angle", None)
        self._told: float | None = None
        self._true_deg = float(generator(seed, KEY, 0).uniform(10.0, 80.0))
        self._power_up()
        self._tell_world()

    def _power_up(self) -> None:
        """Start anew: the counter is zero wherever the table stands."""
        self._here = 0.0  # microsteps
        self._error_deg = self._true_deg  # of the true angle over the one that is counted
        self._homed = False
        self._flags: set[str] = set()
        self._motion: _Motion | None = None
        self._buffer = b""

    # ---- for tests and faults -------------------------------------------------------------------

    @property
    def true_angle_deg(self) -> float:
        """Where the wave plate really stands now."""
        self.settle(self.clock.now())
        return self._angle_deg()

    @property
    def moving(self) -> bool:
        """Whether the table turns."""
        self.settle(self.clock.now())
        return self._motion is not None

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault."""
        with self.device_lock:
            self.settle(self.clock.now())
            match kind:
                case "stuck":
                    self.stuck = active
                    if active and self._motion is not None:
                        self._stall()
                case "identity":
                    self.impostor = active
                case "restart":
                    if active:
                        self.restart()
                case _:
                    super().fault(kind, active)

    def restart(self) -> None:
        """Cut the power for a moment."""
        with self.device_lock:
            self._stand_still()
            self._true_deg = self._angle_deg()
            self._outgoing.clear()
            self._power_up()

    def state(self) -> dict[str, float]:
        """Return the counters that key the noise, and where the table stands."""
        self.settle(self.clock.now())
        return {
            "moves": float(self.moves),
            "homings": float(self.homings),
            "homed": float(self._homed),
            "counted": self._here,
            "error_deg": self._error_deg,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        with self.device_lock:
            self._stand_still()
            self.moves, self.homings = int(state["moves"]), int(state["homings"])
            self._homed = bool(state["homed"])
            self._here, self._error_deg = state["counted"], state["error_deg"]
            self._tell_world()

    # ---- the table ------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Bring the table up to a bench time, and the World with it."""
        with self.device_lock:
            motion = self._motion
            if motion is None:
                return
            self._here = motion.at(now)
            if now >= motion.end_s:
                self._motion = None
                self._arrive(motion)
            self._tell_world()

    def _arrive(self, motion: _Motion) -> None:
        if motion.homing:
            self.homings += 1
            self._homed, self._here = True, 0.0
            self._flags.discard("FS")
        else:
            self.moves += 1
        home = self.home_deg * float(normals(self.seed, f"{KEY}:home", self.homings, 1)[0])
        settled = self.settle_deg * float(normals(self.seed, f"{KEY}:move", self.moves, 1)[0])
        if self._homed:
            self._error_deg = home + settled
        if self.settings["comm.alert"]:
            self._say(f"!{self.address:02d} 1 IDLE {self._warning()}", 0.0)

    def _start(self, finish: float, homing: bool = False) -> None:
        now = self.clock.now()
        if self._motion is not None:
            self._stand_still()
            self._flags.add("NI")
        elif "NI" in self._flags:
            self._flags.discard("NI")
        speed = int(self.settings["maxspeed"]) / 1.6384
        self._motion = _Motion(now, self._here, finish, speed, homing)
        if self.stuck:
            self._stall()

    def _stall(self) -> None:
        self._motion = None
        self._flags.add("FS")

    def _stand_still(self) -> None:
        self.settle(self.clock.now())
        self._motion = None
        self._tell_world()

    def _angle_deg(self) -> float:
        if not self.turn:
            return self._error_deg
        return 360.0 * self._here / self.turn + self._error_deg

    def _tell_world(self) -> None:
        angle = self._angle_deg()
        if self._tell is not None and angle != self._told:
            self._told = angle
            self._tell(angle)

    # ---- the wire -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a command ends with CR, LF or both."""
        with self.device_lock:
            self.settle(self.clock.now())
            self._buffer += data
            *lines, self._buffer = re.split(rb"[\r\n]+", self._buffer)
            for line in lines:
                found = COMMAND.fullmatch(line.decode("latin-1").lstrip("\x00 "))
                if found is not None:  # anything else is no command
                    self._obey(found["body"], found["sum"])

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def due(self) -> float | None:
        """See WireDevice.due; an alert comes when the move ends."""
        motion = self._motion
        moments = [super().due()]
        if motion is not None and self.settings["comm.alert"]:
            moments.append(motion.end_s)
        return min((moment for moment in moments if moment is not None), default=None)

    def _say(self, text: str, after_s: float) -> None:
        if self.settings["comm.checksum"]:
            text += f":{(256 - sum(text[1:].encode('latin-1')) % 256) % 256:02X}"
        self.send(text.encode("latin-1") + b"\r\n", after_s)

    def _obey(self, body: str, given_sum: str | None) -> None:
        if given_sum is not None:
            total = sum(body.encode("latin-1")) + int(given_sum, 16)
            if total % 256:
                return  # a message that was damaged is not for anybody
        words = body.split()
        numbers: list[int] = []
        while words and len(numbers) < 3 and words[0].isdigit():
            numbers.append(int(words.pop(0)))
        address, axis, *number = [*numbers, *(0,) * max(2 - len(numbers), 0)]
        if address not in (0, self.address):
            return
        try:
            if axis > 1:
                raise Refused("BADAXIS")
            flag, data = "OK", self._do(words, axis)
        except Refused as reason:
            flag, data = "RJ", str(reason)
        tag = f"{number[0]:02d} " if number else ""
        status = "IDLE" if self._motion is None else "BUSY"
        self._say(
            f"@{self.address:02d} {axis} {tag}{flag} {status} {self._warning()} {data}",
            self.latency_s,
        )

    def _warning(self) -> str:
        for flag in ("FS", "WR", "NI"):
            if flag in self._flags or (flag == "WR" and not self._homed):
                return flag
        return "--"

    # ---- commands -------------------------------------------------------------------------------

    def _do(self, words: list[str], axis: int) -> str:
        match words:
            case []:
                pass
            case ["get", name]:
                return self._get(name, axis)
            case ["set", name, value]:
                self._set(name, value, axis)
            case ["home"]:
                # Back to the sensor, which stands where the true angle is zero.
                way = self._angle_deg() * self.turn / 360.0
                self._start(self._here - way, homing=True)
            case ["move", kind, value]:
                self._move(kind, value)
            case ["stop"]:
                if self._motion is not None:
                    self._stand_still()
                    self._flags.add("NI")
            case ["warnings"]:
                shown = sorted(self._flags | (set() if self._homed else {"WR"}))
                return " ".join([f"{len(shown):02d}", *shown])
            case ["warnings", "clear"]:
                self._flags.clear()
            case ["system", "reset"]:
                self.restart()
            case _:
                raise Refused("BADCOMMAND")
        return "0"

    def _get(self, name: str, axis: int) -> str:
        if name in DEVICE_SETTINGS and axis:
            raise Refused("DEVICEONLY")
        if name == "deviceid" and self.impostor:
            return "30222"
        if name == "limit.cycle.dist" and (self.impostor or not self.turn):
            raise Refused("BADCOMMAND")
        if name == "pos":
            return str(round(self._here))
        if name == "limit.home.triggered":
            return str(int(self._homed))
        if name not in self.settings:
            raise Refused("BADCOMMAND")
        return str(self.settings[name])

    def _set(self, name: str, value: str, axis: int) -> None:
        if name not in CHANGEABLE:
            raise Refused("BADCOMMAND")
        if name in DEVICE_SETTINGS and axis:
            raise Refused("DEVICEONLY")
        low, high = CHANGEABLE[name]
        if not WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise Refused("BADDATA")
        self.settings[name] = int(value)

    def _move(self, kind: str, value: str) -> None:
        if kind not in ("abs", "rel"):
            raise Refused("BADCOMMAND")
        if not WHOLE.fullmatch(value):
            raise Refused("BADDATA")
        if not self._homed and not self.moves_unreferenced:
            raise Refused("BADDATA")
        target = int(value) + (round(self._here) if kind == "rel" else 0)
        if not int(self.settings["limit.min"]) <= target <= int(self.settings["limit.max"]):
            raise Refused("BADDATA")
        self._start(float(target))
