"""A simulated Stanford Research DG645 digital delay generator, command by command.

For the driver, for other programs on a port, and for rehearsals of what goes wrong. Takes the
generator's commands with LF or CR LF, with or without a blank before the first number, keeps its
registers and its queue of errors, and leaves what its outputs do to srs_dg645_pulses. Where the
protocol sheet leaves a choice, each reading can be played.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.devices.srs_dg645_pulses import INHIBIT, Pulses
from sim_drivers.devices.srs_dg645_settings import (
    ILLEGAL,
    LOCKED,
    MODE,
    NO_QUERY,
    NO_SET,
    UNDEFINED,
    Delay,
    Settings,
    take,
)
from sim_drivers.link import WireDevice
from sim_drivers.scpi import CommandError, ErrorQueue, Lines

_IMPOSTOR = "ACME Timing,TG-4,0042,1.0"
_OUTPUTS = ("T0", "AB", "CD", "EF", "GH")

_PON, _CME, _EXE, _OPC = 128, 32, 16, 1


class SimulatedDG645(WireDevice):
    """The generator.

    Args:
        clock: the bench's clock. world: told of the gate; asked for the laser's clock.
        seed: taken for uniformity; nothing here is random.
        trigger, edge, shot_delay_s, output, polarity: how it is wired, as the bench file says:
            "internal": `output` makes the laser fire; else it opens the gate, which is open while
            the output is high ("positive") or low.
        clock_error_ppm: by how much what it times is too long.
        longest_period_s: of a burst (42.9 s or 2000 s). margin_s: between two cycles.
        signed: numbers with a plus sign, as SRS's driver shows them. identity: for *IDN?.
        armed_edges_count: edges while a single shot runs set RATE. armed_is_busy: the BUSY bit is
            set from arming on. ends_running: what ends a cycle under way; see Pulses.
        reply_s: from a query to its reply.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any = None,
        *,
        seed: int = 0,
        trigger: str = "external",
        edge: str = "rising",
        shot_delay_s: float = 0.0,
        output: str = "AB",
        polarity: str = "positive",
        clock_error_ppm: float = 0.0,
        longest_period_s: float = 42.9,
        margin_s: float = 100e-9,
        signed: bool = True,
        identity: str = "Stanford Research Systems,DG645,s/n001013,ver1.00.10E",
        armed_edges_count: bool = False,
        armed_is_busy: bool = False,
        ends_running: Sequence[str] = ("source", "delay", "reset"),
        reply_s: float = 5e-4,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.seed = seed
        self.identity = identity
        self.impostor = False  # faults: something else answers to *IDN?
        self.settings = Settings(longest_period_s, signed)
        self.armed_is_busy, self.reply_s = armed_is_busy, reply_s
        self.pulses = Pulses(
            world,
            clock.now(),
            on_demand=trigger == "internal",
            falling=edge == "falling",
            shot_delay_s=shot_delay_s,
            gate_positive=polarity == "positive",
            clock_error_ppm=clock_error_ppm,
            margin_s=margin_s,
            armed_edges_count=armed_edges_count,
            ends_running=tuple(ends_running),
        )
        self.timebase = 0
        self.messages: deque[str] = deque(maxlen=1000)
        self._output = _OUTPUTS.index(output)
        self._lines = Lines()
        self._errors = ErrorQueue()
        self._event_status = _PON
        self._configured = False
        self._queries: dict[str, Callable[[], str]] = {
            "*IDN": lambda: _IMPOSTOR if self.impostor else self.identity,
            "*ESR": self._take_event_status,
            "*STB": lambda: str(self.status_byte()),
            "*OPC": lambda: "1",
            "*CAL": lambda: "0",
            "*TST": lambda: "0",
            "INSR": self._take_events,
            "LERR": lambda: str(self._errors.next()[0]),
            "TIMB": lambda: str(self.timebase),
            "DISP": lambda: "11,2",
            "LOCK": lambda: str(int(not self.settings.locked)),
            "UNLK": lambda: str(int(not self.settings.locked)),
            "EMAC": lambda: "00.19.B3.02.00.01",
        }
        self._commands: dict[str, Callable[[], None]] = {
            "*RST": self._reset,
            "*CLS": self._clear,
            "*TRG": self._trigger,
            "*OPC": self._complete,
            "*WAI": lambda: None,
            "LCAL": lambda: None,
            "REMT": lambda: None,
        }

    # ---- for tests and faults ---------------------------------------------------------------

    def fault(self, kind: str, active: bool) -> None:
        """See WireDevice.fault."""
        match kind:
            case "identity":
                self.impostor = active
            case "restart":
                if active:
                    self.restart()
            case _:
                super().fault(kind, active)

    def restart(self) -> None:
        """Cut the power for a moment: it wakes up with its triggers off."""
        with self.device_lock:
            self._outgoing.clear()
            self._lines.clear()
            self._errors.clear()
            self._event_status = _PON
            self._reset()

    def settle(self, now: float) -> None:
        """Bring outputs and gate up to a bench time, and the World with them."""
        with self.device_lock:
            self.pulses.settle(now)

    def value(self, name: str, index: int = 0) -> float:
        """Return a setting."""
        return self.settings.values[name, index]

    def delay(self, channel: int) -> Delay:
        """Return what a channel refers to, and its delay after it (s)."""
        return self.settings.delays[channel]

    # ---- the wire ---------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; LF ends a line, a semicolon a command."""
        with self.device_lock:
            for line in self._lines.feed(data):
                self.messages.append(line)
                for text in filter(None, (part.strip() for part in line.split(";"))):
                    try:
                        answer = self._execute(text)
                    except CommandError as error:
                        self._errors.add(error.code)
                        self._event_status |= _CME if error.code >= ILLEGAL else _EXE
                        continue
                    if answer is not None:
                        self.send(answer.encode("latin-1") + b"\r\n", self.reply_s)

    def _execute(self, text: str) -> str | None:
        match = re.fullmatch(r"(\*?[A-Za-z]+)(\?)?(.*)", text)
        if match is None:
            raise CommandError(ILLEGAL)
        name, query = match[1].upper(), match[2] is not None
        words = [word.strip() for word in match[3].split(",")] if match[3].strip() else []
        if query and name in self._queries:
            take(words)
            return self._queries[name]()
        if not query and name in self._commands:
            take(words)
            if self.settings.locked:
                raise CommandError(LOCKED)
            self._commands[name]()
            return None
        if self.settings.knows(name):
            self.settle(self.clock.now())
            answer = self.settings.do(name, query, words)
            if not query:
                self._apply()
            return answer
        if name in ("DISP", "IFRS", "XTRM") and not query:
            return None
        if name in ("IFCF", "EPHY"):
            return "1" if query else None
        if name in self._queries:
            raise CommandError(NO_SET)
        raise CommandError(NO_QUERY if name in self._commands else UNDEFINED)

    def _apply(self) -> None:
        """Hand the settings on to the outputs; from now on only gated light passes."""
        if not self._configured and self.world is not None:
            self._configured = True
            self.world.gate_configured()
        self.pulses.set(self.settings.program(self._output), self.clock.now())

    # ---- commands ---------------------------------------------------------------------------

    def _reset(self) -> None:
        now = self.clock.now()
        self.pulses.settle(now)
        self.settings.reset()
        if "reset" in self.pulses.ends_running:
            self.pulses.abort(now)
        self._apply()

    def _clear(self) -> None:
        self._errors.clear()
        self._event_status = 0
        self.pulses.settle(self.clock.now())
        self.pulses.events = 0

    def _trigger(self) -> None:
        if not self.pulses.trigger(self.clock.now()):
            raise CommandError(MODE)

    def _complete(self) -> None:
        self._event_status |= _OPC

    # ---- registers --------------------------------------------------------------------------

    def status_byte(self) -> int:
        """Return what *STB? answers."""
        cycle, burst = self.pulses.busy(self.clock.now())
        if self.armed_is_busy:
            cycle = cycle or self.pulses.armed
        summary = bool(self._events() & int(self.settings.values["INSE", 0]))
        events = bool(self._event_status & int(self.settings.values["*ESE", 0]))
        byte = summary | (cycle << 1) | (burst << 2) | (events << 5)
        return byte | (bool(byte & int(self.settings.values["*SRE", 0])) << 6)

    def _events(self) -> int:
        held_back = self.pulses.inhibited and self.settings.values["INHB", 0] > 0
        return self.pulses.events | (INHIBIT if held_back else 0)

    def _take_events(self) -> str:
        self.pulses.settle(self.clock.now())
        events = self._events()
        self.pulses.events = 0
        return str(events)

    def _take_event_status(self) -> str:
        events, self._event_status = self._event_status, 0
        return str(events)
