"""Zaber rotary stages (X-RSW, X-RST, or one behind an X-MCC) under the attenuator's wave plate.

For the role `attenuator`: gainbench puts half-wave plate and polariser on top of any Rotator. Every
command carries a message number and a checksum, and every reply is held against the number, so that
late replies fall through; numbers, which the stage sends without a checksum unless it is told
otherwise, are believed when two readings are alike. Stops at the angle.

Source: Zaber ASCII protocol manual, firmware 6 and 7: messages, checksums, warning flags, settings.
"""

from __future__ import annotations

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
    DeviceFault,
    InstrumentError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Rotator, Setting, Status
from instruments.wire import WireInstrument

FAULTS = {
    "FF": "critical system error",
    "FD": "the motor driver has switched itself off",
    "FQ": "encoder error",
    "FS": "it stalled; is something in the way?",
    "FE": "its home sensor cannot be reached",
}
UNREFERENCED = ("WR", "WH")

_SPEED_UNITS = 1.6384  # of the setting maxspeed, in a microstep per second
_TRIES = 3
_MOST_LINES = 32  # of alerts and late replies before one reply
_POLL_S = 0.05
_HOMING_S = 120.0
_NEAR_STEPS = 2  # a stepper ends where it was sent, or it has stalled
_REPLY = re.compile(
    r"@(?P<address>\d\d) (?P<axis>\d) (?P<number>\d\d?) (?P<flag>OK|RJ) (?P<status>BUSY|IDLE) "
    r"(?P<warning>\S\S) (?P<data>[^:\s][^:]*?)(?::(?P<sum>[0-9A-F]{2}))?"
)
_WHOLE = re.compile(r"-?\d{1,10}")


@dataclass(frozen=True)
class Reply:
    """What the stage said: whether it moves, its most important warning, and the data."""

    accepted: bool
    busy: bool
    warning: str
    data: str


class ZaberRotator(WireInstrument, Rotator):
    """A Zaber rotary stage.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        address: of the device, 1 to 99. axis: of the stage on it, 1 to 9.
        serial: refuse a device with another serial number.
        angle_min_deg, angle_max_deg: where it may go, within its own limits.
        resolution_deg: one standard deviation of an angle that it has settled at.
    """

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 115200},
        "write_termination": "\r\n",
        "read_termination": "\r\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.2
    DRIVER_ID: ClassVar[str] = "zaber-rotary"

    position_steps = Instrument.measurement(
        "get pos", "Get the position (microsteps, int).", cast=int
    )
    steps_per_turn = Instrument.measurement(
        "get limit.cycle.dist", "Get the microsteps of a whole turn (int).", cast=int
    )
    max_speed = Instrument.measurement(
        "get maxspeed", "Get the speed of moves (int, 1.6384 a microstep per second).", cast=int
    )
    home_found = Instrument.measurement(
        "get limit.home.triggered",
        "Get whether the home sensor has been found since power-up (bool).",
        get_process=bool,
        cast=int,
    )

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        address: int = 1,
        axis: int = 1,
        serial: str = "",
        angle_min_deg: float = -180.0,
        angle_max_deg: float = 180.0,
        resolution_deg: float = 0.02,
    ) -> None:
        super().__init__(adapter, clock)
        self._address, self._axis, self._wanted_serial = address, axis, str(serial)
        self._asked = Limits(angle_min_deg, angle_max_deg, "deg")
        self._resolution_deg = resolution_deg
        self._number = 0
        self._identity: Identity | None = None
        self._limits: dict[str, Limits] = {}
        self._steps_per_deg = 0.0

    # ---- opening the link ---------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the stage, learn its scale and limits; moves nothing.

        Raises:
            NoReply: nothing answers at this address.
            WrongIdentity: it is no Zaber device, no rotary stage, or not the one with `serial`.
        """
        with self.lock:
            try:
                model = self._whole("get deviceid", axis=0)
                serial = str(self._whole("get system.serial", axis=0))
                firmware = self._agreed("get version", axis=0)
                turn = self.steps_per_turn
                low, high = self._whole("get limit.min"), self._whole("get limit.max")
            except (BadReply, DeviceFault) as error:
                raise WrongIdentity(
                    f"{self.name}: what answers does not speak as a Zaber rotary stage does "
                    f"({error}); is this its port?"
                ) from error
            if turn <= 0:
                raise WrongIdentity(
                    f"{self.name}: the Zaber device {model} at address {self._address} is no "
                    "rotary stage (it has no length of a turn)"
                )
            if self._wanted_serial not in ("", serial):
                raise WrongIdentity(
                    f"{self.name}: serial number {self._wanted_serial} is wanted, {serial} answers"
                )
            self._identity = Identity("Zaber", f"rotary stage {model}", serial, firmware)
            self._steps_per_deg = turn / 360.0
            self._limits["angle_deg"] = Limits(
                max(low / self._steps_per_deg, self._asked.low),
                min(high / self._steps_per_deg, self._asked.high),
                "deg",
            )
        self.seal()

    # ---- the role -----------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Device id, serial number and firmware; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        return self._identity

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The angles that stage and bench file allow; NotReady before `connect`."""
        _ = self.identity
        return self._limits

    def status(self) -> Status:
        """Ask it."""
        reply = self._ask("")
        if reply.warning in FAULTS:
            return Status(False, f"{FAULTS[reply.warning]} ({reply.warning})")
        if reply.busy:
            return Status(True, "moving")
        if not self.homed:
            return Status(False, "not homed: home it")
        return Status(True, "ready" if reply.warning == "--" else f"ready ({reply.warning})")

    @property
    def homed(self) -> bool:
        """Whether the stage says that it knows where it is; lost when its power is cut."""
        with self.lock:
            warning = self._ask("").warning
            return warning not in (*UNREFERENCED, *FAULTS) and self.home_found

    def home(self) -> None:
        """Search the home sensor; blocks until the stage stands there.

        Raises DeviceFault if it stalls, or has not found it in two minutes.
        """
        with self.lock:
            _ = self.identity
            self._ask("warnings clear")  # an old stall; homing is what mends it
            self._go("home", _HOMING_S, lambda: self.home_found)

    @property
    def angle_deg(self) -> float:
        """The angle (degrees); NotReady before homing."""
        with self.lock:
            self._require_homed()
            return float(self.position_steps / self._steps_per_deg)

    def move_to(self, angle_deg: float) -> float:
        """Go to an angle (degrees), block until there, return the one read back.

        Raises LimitError, NotReady before homing, DeviceFault if it stalls or ends elsewhere.
        """
        self.limits["angle_deg"].check("angle_deg", angle_deg)
        with self.lock:
            self._require_homed()
            target = round(angle_deg * self._steps_per_deg)
            way = abs(target - self.position_steps)
            speed = max(self.max_speed / _SPEED_UNITS, 1.0)
            self._go(
                f"move abs {target}",
                2.0 * way / speed + 5.0,
                lambda: abs(self.position_steps - target) <= _NEAR_STEPS,
            )
            return self.angle_deg

    @property
    def resolution_deg(self) -> float:
        """One standard deviation of a settled angle, as the bench file has it."""
        return self._resolution_deg

    def make_safe(self) -> None:
        """Stop; a stage that stands harms nobody."""
        with self.lock:
            self._ask("stop")
            self._wait("stopping", 5.0)

    def snapshot(self) -> dict[str, Setting]:
        """Return address, speed, warning, and the angle if it is known."""
        with self.lock:
            homed = self.homed
            found = {
                "address": Setting(self._address),
                "axis": Setting(self._axis),
                "homed": Setting(homed),
                "max_speed": Setting(self.max_speed / _SPEED_UNITS / self._steps_per_deg, "deg/s"),
                "warning": Setting(self._ask("").warning),
            }
            if homed:
                found["angle"] = Setting(self.angle_deg, "deg")
            return found

    def _require_homed(self) -> None:
        _ = self.identity
        if not self.homed:
            raise NotReady(f"{self.name}: not homed, so its angle means nothing; home it first")

    # ---- moving -------------------------------------------------------------------------------

    def _go(self, command: str, seconds: float, arrived: Callable[[], bool]) -> None:
        """Send a motion until it has been obeyed: it ends in one place however often it is sent."""
        trouble: InstrumentError | None = None
        for _ in range(_TRIES):
            try:
                self._ask(command)
            except (NoReply, BadReply) as error:
                trouble = error  # it may have been obeyed all the same: the stage will tell
            self._wait(command, seconds)
            if arrived():
                return
        raise trouble or DeviceFault(
            f"{self.name}: {command!r} was sent {_TRIES} times, and it stands at "
            f"{self.position_steps / self._steps_per_deg:.3f} deg; is it turned by hand?"
        )

    def _wait(self, doing: str, seconds: float) -> None:
        """Wait until the stage is at rest; DeviceFault if it stalls or goes on for too long."""
        deadline = self.clock.now() + seconds
        while True:
            reply = self._ask("")
            if reply.warning in FAULTS:
                raise DeviceFault(
                    f"{self.name}: {doing}: {FAULTS[reply.warning]} ({reply.warning}); "
                    "free it and home it again"
                )
            if not reply.busy:
                return
            if self.clock.now() > deadline:
                self._ask("stop")
                raise DeviceFault(f"{self.name}: {doing}: still moving after {seconds:.0f} s")
            self.clock.sleep(_POLL_S)

    # ---- asking -------------------------------------------------------------------------------

    def values(self, command: str, *_args: Any, **_kwargs: Any) -> list[int]:
        """Ask for a whole number; what pymeasure's properties ask through."""
        return [self._whole(command)]

    def _whole(self, command: str, axis: int | None = None) -> int:
        text = self._agreed(command, axis)
        if not _WHOLE.fullmatch(text):
            raise BadReply(f"{self.name}: {command!r} was answered by {text[:40]!r}")
        return int(text)

    def _agreed(self, command: str, axis: int | None = None) -> str:
        """Ask until two readings in a row agree: a reply need not carry a checksum."""
        with self.lock:
            return until_alike(
                lambda: self._ask(command, axis).data,
                f"{self.name}: the replies to {command!r}",
                failures=2,
            )

    def _ask(self, command: str, axis: int | None = None) -> Reply:
        """Ask or tell, again if the reply does not come whole: every command bears repeating.

        Raises DeviceFault if the stage refuses.
        """
        trouble: InstrumentError = NoReply(f"{self.name}: no answer")
        with self.lock:
            for _ in range(_TRIES):
                try:
                    reply = self._exchange(command, self._axis if axis is None else axis)
                except (NoReply, BadReply) as error:
                    trouble = error
                    continue
                if reply.accepted:
                    return reply
                raise DeviceFault(f"{self.name}: {command!r} was refused: {reply.data}")
        raise trouble

    def _exchange(self, command: str, axis: int) -> Reply:
        self._number = (self._number + 1) % 100
        self.discard_input()
        text = f"{self._address:02d} {axis} {self._number:02d} {command}".rstrip()
        self.write(f"/{text}:{_checksum(text)}")
        deadline = self.clock.now() + self.TIMEOUT_S
        strays: list[str] = []
        for _ in range(_MOST_LINES):
            left = deadline - self.clock.now()
            if left <= 0.0:
                break
            try:
                with self.patience(left):
                    line = self.read()
            except BadReply:
                line = "(not text)"
            except NoReply:
                break
            reply = self._reply(line.strip(), axis)
            if reply is not None:
                return reply
            if not line.startswith("!"):  # an alert is said without being asked
                strays.append(line)
        if strays:
            raise BadReply(f"{self.name}: {command!r} was answered by {strays[:3]!r}")
        raise NoReply(
            f"{self.name}: nothing answers at address {self._address} (is it powered, and is the "
            "option 'address' right?)"
        )

    def _reply(self, line: str, axis: int) -> Reply | None:
        """Return a line as the reply to the last command; None if it is anything else."""
        found = _REPLY.fullmatch(line)
        if found is None:
            return None
        if found["sum"] is not None and found["sum"] != _checksum(line[1:-3]):
            return None
        if (int(found["address"]), int(found["axis"])) != (self._address, axis):
            return None
        if int(found["number"]) != self._number:
            return None
        return Reply(
            found["flag"] == "OK", found["status"] == "BUSY", found["warning"], found["data"]
        )


def _checksum(text: str) -> str:
    """Return the two digits that make the sum of all bytes zero."""
    return f"{-sum(text.encode('latin-1')) & 0xFF:02X}"
