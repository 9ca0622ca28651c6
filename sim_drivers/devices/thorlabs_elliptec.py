"""A simulated Thorlabs Elliptec unit: ELL14 rotation mount by default, other models by name.

For the driver, for independent clients on a pseudo-terminal, and for rehearsals of what goes wrong.
It frames packets by the length of each command, as the bus does, takes its time over moves, settles
a few pulses beside the target, keeps an error until its status is read, and loses its zero when it
is restarted. Where the protocol sheet leaves a choice, both readings can be played. Stops at the
angle of the mount: what the wave plate does with it is the World's affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from instruments.clock import Clock
from sim_drivers.link import WireDevice
from sim_drivers.noise import generator, normals

DEVICE = "thorlabs-elliptec"


@dataclass(frozen=True)
class Model:
    """What a model says of itself: type byte, travel (deg or mm), pulses per turn or per mm."""

    type_byte: int
    rotary: bool
    travel: int
    pulses: int
    top_speed: float  # degrees or mm per second

    @property
    def pulses_per_unit(self) -> float:
        """Pulses per degree or per mm."""
        return self.pulses / self.travel if self.rotary else float(self.pulses)


MODELS = {
    "ELL14": Model(0x0E, True, 360, 143360, 430.0),
    "ELL16": Model(0x10, True, 360, 65536, 430.0),
    "ELL18": Model(0x12, True, 360, 143360, 430.0),
    "ELL21": Model(0x15, True, 360, 65536, 430.0),
    "ELL22": Model(0x16, True, 360, 65536, 430.0),
    "ELL17": Model(0x11, False, 28, 1024, 180.0),
    "ELL20": Model(0x14, False, 60, 1024, 180.0),
}

# Commands of the host and the number of data digits after them.
ARGUMENTS = {
    **dict.fromkeys(("in", "gs", "us", "i1", "i2", "s1", "s2", "c1", "c2", "gp", "go"), 0),
    **dict.fromkeys(("gj", "fw", "bw", "st", "gv", "om", "cm", "sk", "i3"), 0),
    **dict.fromkeys(("ca", "ga", "ho"), 1),
    **dict.fromkeys(("is", "sv"), 2),
    **dict.fromkeys(("f1", "b1", "f2", "b2"), 4),
    **dict.fromkeys(("ma", "mr", "so", "sj"), 8),
}
DEFAULT_PERIODS = {"f1": 0x093, "b1": 0x08B, "f2": 0x093, "b2": 0x08B}  # about 100 kHz
HEX = "0123456789ABCDEF"

OK, MECHANICAL, UNSUPPORTED, RANGE_04, ISOLATED, BUSY, RANGE_0C = 0, 2, 3, 4, 5, 9, 0x0C


@dataclass
class _Motion:
    """Something that takes time: from and to are reported pulses; error instead of an arrival."""

    kind: str
    start_s: float
    end_s: float
    begin: float
    finish: float
    error: int = OK


class SimulatedElliptec(WireDevice):
    """One Elliptec unit on its bus.

    Args:
        clock: the bench's clock.
        world: told the true angle (degrees) of a rotary unit by `set_attenuator_angle`.
        seed: of settling, encoder error and power-on position.
        model: one of MODELS. address, serial, year, firmware, hardware: as `in` reports them.
        settle_pulses: standard deviation of the settled position about its target.
        encoder_error: standard deviation of the true position about the reported one (deg or mm).
        latency_s: from a command's last byte to its reply.
        home_reply, jog_reply: "PO" or "GS", what ends homing and what answers a jog.
        busy_first: GS09 is sent at once, and the final reply at the end of the motion.
        busy_position: whether `gp` in motion is answered by "PO" (on the way) or "GS" (busy).
        silent_in_motion: nothing at all is answered in motion.
        out_of_travel: the code (4 or 12) for a target beyond a linear unit's travel.
        hasty_to_zero_s: a move that comes sooner than this after the last one ends at 0.
        homed: whether it has been homed before it is handed over.
        on_moved: called with the true position instead of the World (a linear unit's slit).
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        model: str = "ELL14",
        address: str = "0",
        serial: str = "11400514",
        year: int = 2021,
        firmware: str = "15",
        hardware: str = "01",
        settle_pulses: float = 4.0,
        encoder_error: float | None = None,
        latency_s: float = 0.015,
        home_reply: Literal["PO", "GS"] = "PO",
        jog_reply: Literal["PO", "GS"] = "PO",
        busy_first: bool = False,
        busy_position: Literal["PO", "GS"] = "PO",
        silent_in_motion: bool = False,
        out_of_travel: int = RANGE_04,
        hasty_to_zero_s: float = 0.0,
        homed: bool = False,
        on_moved: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__(clock)
        self.model = MODELS[model]
        self.address = address
        self.serial, self.year, self.firmware, self.hardware = serial, year, firmware, hardware
        self.seed = seed
        self.settle_pulses = settle_pulses
        rotary_error = 0.02 if self.model.rotary else 0.002
        self.encoder_error = rotary_error if encoder_error is None else encoder_error
        self.latency_s = latency_s
        self.home_reply, self.jog_reply = home_reply, jog_reply
        self.busy_first, self.busy_position = busy_first, busy_position
        self.silent_in_motion = silent_in_motion
        self.out_of_travel = out_of_travel
        self.hasty_to_zero_s = hasty_to_zero_s
        self.stuck = False  # faults: the motor does not move
        self.impostor = False  # faults: a unit of another kind answers to `in`
        self.moves = 0
        self.homings = 0
        self._on_moved = on_moved
        if on_moved is None and world is not None and self.model.rotary:
            self._on_moved = world.set_attenuator_angle
        self._key = f"{DEVICE}:{serial}"
        self._saved_velocity = 100
        self._saved_jog = 0
        self._home_offset = 0
        self._periods = dict(DEFAULT_PERIODS)
        span = self.model.travel * self.model.pulses_per_unit
        # Pulses from the home mark. What is reported differs by where the counter began.
        self._mark = -span * float(generator(seed, self._key, 0).uniform(0.0, 1.0))
        self._reported = 0.0
        self._encoder = 0.0
        self._power_up()
        if homed:
            self._mark, self._reported, self.homed = 0.0, 0.0, True
        self._tell_world()

    def _power_up(self) -> None:
        self.homed = False
        self.velocity = self._saved_velocity
        self.jog_pulses = self._saved_jog
        self._buffer = ""
        self._last_byte_s = -math.inf
        self._last_end_s = -math.inf
        self._error = OK
        self._motion: _Motion | None = None
        self._group: str | None = None
        self._isolated_until_s = -math.inf

    # ---- for tests and faults -----------------------------------------------------------------

    @property
    def position_pulses(self) -> int:
        """What the unit would report now."""
        self.settle(self.clock.now())
        return round(self._at(self.clock.now()))

    @property
    def true_position(self) -> float:
        """Where it really is at rest (degrees or mm from the home mark)."""
        return (self._reported - self._mark) / self.model.pulses_per_unit + self._encoder

    @property
    def moving(self) -> bool:
        """Whether it is in motion."""
        self.settle(self.clock.now())
        return self._motion is not None

    def restart(self) -> None:
        """Cut the power for a moment: zero, unsaved settings and pending replies are lost."""
        with self.device_lock:
            here = self._at(self.clock.now())
            self._outgoing.clear()
            self._power_up()
            self._mark -= here
            self._reported = 0.0

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault."""
        match kind:
            case "stuck":
                self.stuck = active
            case "identity":
                self.impostor = active
            case "restart":
                if active:
                    self.restart()
            case _:
                super().fault(kind, active)

    def fail(self, code: int) -> None:
        """Set an error that stays until the status is read."""
        with self.device_lock:
            self._error = code

    def press(self, pulses: int) -> None:
        """Jog with the hand controller: moves at once, and says so unasked."""
        with self.device_lock:
            self._reported += pulses
            self._tell_world()
            self._reply("BS01")
            self._reply(f"BO{round(self._reported) & 0xFFFFFFFF:08X}")

    def state(self) -> dict[str, float]:
        """Return the counters that key the noise, and where the mount stands."""
        return {
            "moves": float(self.moves),
            "homings": float(self.homings),
            "mark": self._mark,
            "reported": self._reported,
            "encoder": self._encoder,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned: the next move then starts, and takes, as it would."""
        self.settle(self.clock.now())
        self.moves = int(state.get("moves", self.moves))
        self.homings = int(state.get("homings", self.homings))
        self._mark = state.get("mark", self._mark)
        self._reported = state.get("reported", self._reported)
        self._encoder = state.get("encoder", self._encoder)
        self._tell_world()

    # ---- time ---------------------------------------------------------------------------------

    def due(self) -> float | None:
        """See WireDevice.due; the end of a motion is when its reply is made."""
        ready = super().due()
        if self._motion is None or self._motion.end_s == math.inf:
            return ready
        return self._motion.end_s if ready is None else min(ready, self._motion.end_s)

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def settle(self, now: float) -> None:
        """End a motion whose time has come, tell the World, and answer."""
        with self.device_lock:
            motion = self._motion
            if motion is None or now < motion.end_s:
                return
            self._motion = None
            self._last_end_s = motion.end_s
            self._arrive(motion)

    def _at(self, now: float) -> float:
        motion = self._motion
        if motion is None:
            return self._reported
        if motion.end_s == math.inf:  # a continuous jog; `finish` is its speed
            return motion.begin + motion.finish * (now - motion.start_s)
        share = min((now - motion.start_s) / (motion.end_s - motion.start_s), 1.0)
        return motion.begin + (motion.finish - motion.begin) * share

    def _arrive(self, motion: _Motion) -> None:
        if motion.error:
            self._reported = motion.finish
            self._error = motion.error
            self._tell_world()
            self._reply(f"GS{motion.error:02X}")
            return
        if motion.kind == "clean":
            self._reply("GS00")
            return
        if motion.kind == "home":
            # The counter starts anew at the mark; whole turns are forgotten.
            self._mark, self._reported, self.homed = -float(self._home_offset), 0.0, True
            self._encoder = self.encoder_error * self._noise("home", self.homings)[0]
            self._tell_world()
            self._reply("GS00" if self.home_reply == "GS" else self._position())
            return
        self._reported = motion.finish
        _, self._encoder = self._move_noise()
        self._tell_world()
        jog = motion.kind == "jog" and self.jog_reply == "GS"
        self._reply("GS00" if jog else self._position())

    def _noise(self, what: str, number: int) -> tuple[float, float]:
        first, second = normals(self.seed, f"{self._key}:{what}", 2 * number, 2)
        return float(first), float(second)

    def _move_noise(self) -> tuple[float, float]:
        """Return how far the last move settles off its target (pulses), and the encoder's error."""
        settling, encoder = self._noise("move", self.moves)
        return self.settle_pulses * settling, self.encoder_error * encoder

    def _tell_world(self) -> None:
        if self._on_moved is not None:
            self._on_moved(self.true_position)

    # ---- packets ------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a packet is complete by its length, CR and LF mean nothing."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            if now - self._last_byte_s > 2.0:
                self._buffer = ""
            self._last_byte_s = now
            for char in data.decode("latin-1"):
                self._take_char(char)

    def _take_char(self, char: str) -> None:
        if char in "\r\n":
            self._buffer = ""  # ends also the second digit of a two-digit `ho`
            return
        self._buffer += char
        while self._buffer and not self._plausible():
            self._buffer = self._buffer[1:]
        if len(self._buffer) < 3:
            return
        command = self._buffer[1:3]
        size = 3 + ARGUMENTS.get(command, 0)
        if len(self._buffer) < size:
            return
        address, argument = self._buffer[0], self._buffer[3:size]
        self._buffer = ""
        if address == self.address or address == self._group:
            self._execute(command, argument)

    def _plausible(self) -> bool:
        """Return whether the buffer can be the beginning of a packet."""
        text = self._buffer
        return (
            text[0] in HEX
            and (len(text) < 2 or "a" <= text[1] <= "z")
            and (len(text) < 3 or "a" <= text[2] <= "z" or text[2] in "123")
            and all(char in HEX for char in text[3:])
        )

    def _reply(self, text: str) -> None:
        self.send(f"{self.address}{text}\r\n".encode("ascii"), self.latency_s)

    def _position(self) -> str:
        return f"PO{round(self._at(self.clock.now())) & 0xFFFFFFFF:08X}"

    def _execute(self, command: str, argument: str) -> None:
        if self._motion is not None and self.silent_in_motion:
            return
        isolated = self.clock.now() < self._isolated_until_s
        if command not in ARGUMENTS:
            self._refuse(UNSUPPORTED)
        elif isolated and command not in ("is", "gs"):
            self._status(ISOLATED)
        elif self._motion is not None and command not in ("gs", "gp", "st", "in", "gv"):
            self._status(BUSY)
        elif not self._tell(command):
            self._act(command, argument)

    def _status(self, code: int = OK) -> None:
        self._reply(f"GS{code:02X}")

    def _refuse(self, code: int) -> None:
        self._error = code
        self._status(code)

    def _tell(self, command: str) -> bool:
        """Answer a question; return whether it was one."""
        model, periods = self.model, self._periods
        match command:
            case "in":
                if self.impostor:
                    model = MODELS["ELL20" if model.rotary else "ELL14"]
                text = f"IN{model.type_byte:02X}{self.serial:>08}{self.year:04d}{self.firmware}"
                self._reply(f"{text}{self.hardware}{model.travel:04X}{model.pulses:08X}")
            case "gs" if self._motion is not None:
                self._status(BUSY)
            case "gs":
                isolated = self.clock.now() < self._isolated_until_s
                self._status(self._error or (ISOLATED if isolated else OK))
                self._error = OK
            case "gp" if self._motion is not None and self.busy_position == "GS":
                self._status(BUSY)
            case "gp":
                self._reply(self._position())
            case "gv":
                self._reply(f"GV{self.velocity:02X}")
            case "go":
                self._reply(f"HO{self._home_offset & 0xFFFFFFFF:08X}")
            case "gj":
                self._reply(f"GJ{self.jog_pulses & 0xFFFFFFFF:08X}")
            case "i1" | "i2":
                pair = f"{periods['f' + command[1]]:04X}{periods['b' + command[1]]:04X}"
                self._reply(f"I{command[1]}10{1000:04X}FFFFFFFF{pair}")
            case _:
                return False
        return True

    def _act(self, command: str, argument: str) -> None:
        """Do what a command says."""
        value = _signed(argument) if argument else 0
        match command:
            case "ma":
                self._move("move", value)
            case "mr":
                self._move("move", self._reported + value)
            case "ho":
                self._home(value)
            case "fw" | "bw":
                self._jog(1 if command == "fw" else -1)
            case "st":
                self._stop()
            case "s1" | "s2":
                self._stay_busy(12.0)
            case "om" | "cm":
                self._stay_busy(120.0)
            case "ga":
                self._group = argument
                self.send(f"{argument}GS00\r\n".encode("ascii"), self.latency_s)
            case "sv" if value > 100:
                self._refuse(RANGE_04)
            case "i3" | "c1" | "c2":  # no third motor; current curves are not simulated
                self._refuse(UNSUPPORTED)
            case _:
                self._set(command, argument, value)
                self._status()

    def _set(self, command: str, argument: str, value: int) -> None:
        match command:
            case "us":
                self._saved_velocity, self._saved_jog = self.velocity, self.jog_pulses
            case "ca":
                self.address = argument
            case "is":
                self._isolated_until_s = self.clock.now() + 60.0 * value
            case "sv":
                self.velocity = value
            case "so":
                self._home_offset = value
            case "sj":
                self.jog_pulses = value
            case "f1" | "b1" | "f2" | "b2":
                restore = value == 0xFFFF
                self._periods[command] = DEFAULT_PERIODS[command] if restore else value & 0x0FFF

    # ---- motion -----------------------------------------------------------------------------

    def _start(self, kind: str, finish: float, seconds: float, error: int = OK) -> None:
        now = self.clock.now()
        self._motion = _Motion(kind, now, now + seconds, self._reported, finish, error)
        if self.busy_first:
            self._status(BUSY)

    def _speed(self) -> float:
        """Return pulses per second."""
        return self.model.top_speed * self.model.pulses_per_unit * self.velocity / 100.0

    def _move(self, kind: str, target: float) -> None:
        span = self.model.travel * self.model.pulses_per_unit
        if not self.model.rotary and not 0 <= target <= span:
            self._refuse(self.out_of_travel)
            return
        self._group = None
        if self.clock.now() - self._last_end_s < self.hasty_to_zero_s:
            target = 0.0
        if self.stuck or not self.velocity:
            self._start(kind, self._reported, 2.0, MECHANICAL)
            return
        self.moves += 1
        settled = round(target + self._move_noise()[0])
        if not self.model.rotary:
            settled = min(max(settled, 0), int(span))
        self._start(kind, settled, 0.05 + abs(settled - self._reported) / self._speed())

    def _home(self, direction: int) -> None:
        if direction > 1:
            self._refuse(RANGE_04)
            return
        self._group = None
        if self.stuck:
            self._start("home", self._reported, 2.0, MECHANICAL)
            return
        self.homings += 1
        way = self._reported - self._mark - self._home_offset
        if self.model.rotary:
            way %= self.model.pulses
            if direction == 1:
                way = self.model.pulses - way
        seconds = 0.5 + abs(way) / (0.5 * self.model.top_speed * self.model.pulses_per_unit)
        self._start("home", self._reported - way, seconds)

    def _jog(self, direction: int) -> None:
        if self.jog_pulses:
            self._move("jog", self._reported + direction * self.jog_pulses)
        elif self.model.rotary:
            self._start("jog", direction * self._speed(), math.inf)
            self._status()
        else:
            self._refuse(UNSUPPORTED)

    def _stop(self) -> None:
        motion = self._motion
        if motion is None:
            self._status()
        elif motion.kind == "clean" or motion.end_s == math.inf:
            self._reported = float(round(self._at(self.clock.now())))
            self._motion = None
            self._tell_world()
            self._reply("GS00" if self.jog_reply == "GS" else self._position())
        else:  # a bounded move goes on to its end
            self._status(BUSY)

    def _stay_busy(self, seconds: float) -> None:
        """Start something long at the place: GS09 at once, GS00 at the end."""
        self._start("clean", self._reported, seconds)
        if not self.busy_first:
            self._status(BUSY)


def _signed(digits: str) -> int:
    value = int(digits, 16)
    return value - (1 << 32) if len(digits) == 8 and value >= 1 << 31 else value
