"""A simulated Thorlabs SC10 shutter controller with its blade.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. It echoes what
it is told, toggles on `ens` as the real one does, runs its five modes in time, and tells the World
when the blade really moves, some milliseconds after the command. Where the protocol sheet leaves a
choice, both readings can be played. Stops at the blade.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.link import WireDevice

MANUAL, AUTO, SINGLE, REPEAT, EXTERNAL = 1, 2, 3, 4, 5

# Settings: lowest, highest, at delivery.
SETTINGS = {
    "mode": (1, 5, MANUAL),
    "rep": (1, 99, 1),
    "trig": (0, 1, 0),
    "xto": (0, 1, 0),
    "open": (1, 999999, 100),
    "shut": (1, 999999, 100),
    "baud": (0, 1, 0),
}


class SimulatedSC10(WireDevice):
    """The controller and its blade.

    Args:
        clock: the bench's clock.
        world: told by `set_shutter(open, at_s)` when the blade moves.
        seed: taken for uniformity; nothing here is random.
        blade_s: from a command to the blade's arrival.
        blade_before_echo: `ens` is acknowledged when the blade has arrived, not at once.
        prompt_blank: the prompt is `> ` (a real unit's) instead of `>`.
        blank_late_s: how much later than the `>` the blank comes.
        latency_s: from a command's CR to its reply.
        identity: the reply to `id?`. error_text: what a wrong command is answered by.
        interlock_disables: a tripped interlock also takes the enable state back.
        single_resets: single and repeat mode end by taking the enable state back.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        blade_s: float = 0.010,
        blade_before_echo: bool = False,
        prompt_blank: bool = True,
        blank_late_s: float = 0.002,
        latency_s: float = 0.010,
        identity: str = "THORLABS SC10 VERSION 1.07",
        error_text: str = "Command error CMD_NOT_DEFINED",
        interlock_disables: bool = False,
        single_resets: bool = True,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.seed = seed
        self.blade_s = blade_s
        self.blade_before_echo = blade_before_echo
        self.prompt_blank, self.blank_late_s = prompt_blank, blank_late_s
        self.latency_s = latency_s
        self.identity, self.error_text = identity, error_text
        self.interlock_disables, self.single_resets = interlock_disables, single_resets
        self.toggles = 0
        self.stuck = False  # faults: the blade stays where it is
        self.impostor = False  # faults: something else answers to `id?`
        self.blade_open = False
        self._interlock = False
        self._gate = False
        self._eeprom = {name: values[2] for name, values in SETTINGS.items()}
        self._edges: deque[tuple[float, bool]] = deque()
        self._power_up()

    def _power_up(self) -> None:
        self.settings = dict(self._eeprom)
        self.enabled = False
        self._buffer = b""
        self._driven = False  # what the controller tells the blade
        self._cycles_left = 0.0
        self._phase_open = False
        self._next_s = math.inf

    # ---- for tests and faults ---------------------------------------------------------------

    @property
    def baud_rate(self) -> int:
        """What the serial port runs at."""
        return 115200 if self.settings["baud"] else 9600

    def trip(self, tripped: bool = True) -> None:
        """Open (or close again) the interlock."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            self._interlock = tripped
            if tripped and self.interlock_disables:
                self.enabled = False
            self._begin(now)

    def gate(self, high: bool) -> None:
        """Set the external gate's level."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            self._gate = high
            if self.settings["mode"] == EXTERNAL:
                self._begin(now)

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault; a blade that comes free goes where it is driven."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            match kind:
                case "stuck":
                    self.stuck = active
                    self._edges.append((now + self.blade_s, self._driven))
                case "identity":
                    self.impostor = active
                case "restart":
                    if active:
                        self.restart()
                case _:
                    super().fault(kind, active)

    def restart(self) -> None:
        """Cut the power for a moment: disabled, closed, settings from the EEPROM."""
        with self.device_lock:
            now = self.clock.now()
            self.settle(now)
            self._outgoing.clear()
            self._power_up()
            self._edges.append((now + self.blade_s, False))

    # ---- the blade --------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """Bring modes and blade up to a bench time, and the World with them."""
        with self.device_lock:
            while self._next_s <= now:
                self._step(self._next_s)
            while self._edges and self._edges[0][0] <= now:
                moment, is_open = self._edges.popleft()
                if is_open != self.blade_open and not self.stuck:
                    self.blade_open = is_open
                    if self.world is not None:
                        self.world.set_shutter(is_open, moment)

    def take(self) -> bytes:
        """See WireDevice.take."""
        self.settle(self.clock.now())
        return super().take()

    def _drive(self, is_open: bool, now: float) -> None:
        """Tell the blade, which arrives later."""
        is_open = is_open and not self._interlock
        if is_open != self._driven:
            self._driven = is_open
            self._edges.append((now + self.blade_s, is_open))

    def _begin(self, now: float) -> None:
        """Do what mode, enable state, gate and interlock ask for from now on."""
        mode = self.settings["mode"]
        self._next_s = math.inf
        if not self.enabled:
            self._drive(False, now)
        elif mode == EXTERNAL:
            self._drive(self._gate, now)
        else:
            self._drive(True, now)
            if mode != MANUAL:
                cycles = {AUTO: math.inf, SINGLE: 1.0}
                self._cycles_left = cycles.get(mode, float(self.settings["rep"]))
                self._phase_open = True
                self._next_s = now + self.settings["open"] / 1000.0

    def _step(self, moment: float) -> None:
        """End an opening or a pause of a timed mode."""
        self._phase_open = not self._phase_open
        self._drive(self._phase_open, moment)
        if self._phase_open:
            self._next_s = moment + self.settings["open"] / 1000.0
            return
        self._cycles_left -= 1
        if self._cycles_left > 0:
            self._next_s = moment + self.settings["shut"] / 1000.0
        else:
            self._next_s = math.inf
            if self.single_resets:
                self.enabled = False

    # ---- commands ---------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a command ends with CR, a line feed means nothing."""
        with self.device_lock:
            self.settle(self.clock.now())
            self._buffer += data
            *commands, self._buffer = self._buffer.split(b"\r")
            for raw in commands:
                command = raw.decode("latin-1").strip(" \n")
                self._answer(command, self._execute(command))

    def _answer(self, command: str, value: str | None) -> None:
        """Echo, value, prompt."""
        lines = [command] if value is None else [command, value]
        delay = self.latency_s
        if command == "ens" and self.blade_before_echo:
            delay = max(delay, self.blade_s)
        text = "".join(f"{line}\r" for line in lines) + ">"
        self.send(text.encode("latin-1"), delay)
        if self.prompt_blank:
            self.send(b" ", delay + self.blank_late_s)

    def _execute(self, command: str) -> str | None:
        """Do a command; return its value, an error text, or None."""
        now = self.clock.now()
        name, equals, argument = command.partition("=")
        if command == "ens":
            self.toggles += 1
            self.enabled = not self.enabled
            self._begin(now)
            return None
        if equals:
            return self._set(name, argument, now)
        match command:
            case "?":
                questions = ["id?", "ens", "ens?", "closed?", "interlock?", "save", "savp", "resp"]
                return "\r".join(questions + [f"{name}=n\r{name}?" for name in SETTINGS])
            case "id?":
                return "ACME WS-7 PUMP REV 3.1" if self.impostor else self.identity
            case "ens?":
                return str(int(self.enabled))
            case "closed?":
                return str(int(not self.blade_open))
            case "interlock?":
                return str(int(self._interlock))
            case "save":
                self._eeprom |= {key: self.settings[key] for key in ("baud", "xto")}
            case "savp":
                self._eeprom = dict(self.settings)
            case "resp":
                self.settings = dict(self._eeprom)
                self._begin(now)
            case "":
                return None
            case _ if command.endswith("?") and command[:-1] in SETTINGS:
                return str(self.settings[command[:-1]])
            case _:
                return self.error_text
        return None

    def _set(self, name: str, argument: str, now: float) -> str | None:
        if name not in SETTINGS or not (argument.isascii() and argument.isdigit()):
            return self.error_text
        low, high, _ = SETTINGS[name]
        value = int(argument)
        if not low <= value <= high:
            return self.error_text
        self.settings[name] = value
        if name == "mode":
            self._begin(now)
        return None
