"""A simulated Acton SpectraPro monochromator (SP-2-150i to SP-2-750i), byte for byte.

For the simulated bench and for independent clients on a pseudo-terminal. It reads a line of words
up to CR, does them one after the other and closes with ` ok`, or with `?` at the first word that
it does not know. Moves take their time on the bench's clock and end at a grating angle that the
World is told, with the small error of a real drive. Slits, mirrors and the EEPROM words answer,
but change nothing that light would notice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.heard import Heard
from sim_drivers.link import WireDevice
from sim_drivers.noise import generator

_NUMBER = re.compile(r"[+-]?(\d{1,6}(\.\d{0,6})?|\.\d{1,6})")
_CHARACTER_S = 10.0 / 9600.0
_WAVELENGTH_AT_1200_NM = 1400.0
_POWER_UP_NM_PER_MIN = 100.0
_EEPROM = (
    *("INIT-GRATING", "INIT-WAVELENGTH", "INIT-SRATE", "INIT-OFFSET", "INIT-GADJUST"),
    *("INSTALL", "SELECT-GRATING", "G/MM", "BLAZE", "UNINSTALL"),
)
_SLITS = ("FRONT-ENT-SLIT", "SIDE-ENT-SLIT", "FRONT-EXIT-SLIT", "SIDE-EXIT-SLIT")
_MIRRORS = ("ENT-MIRROR", "EXIT-MIRROR")


@dataclass(frozen=True)
class SimulatedGrating:
    """What stands in a slot: grooves per mm (0: a mirror) and blaze as the list prints it."""

    grooves_per_mm: float
    blaze: str


DEFAULT_GRATINGS = {
    1: SimulatedGrating(600.0, "500NM"),
    2: SimulatedGrating(150.0, "500NM"),
    3: SimulatedGrating(1200.0, "500NM"),
}


@dataclass(frozen=True)
class _Move:
    start_s: float
    end_s: float
    from_nm: float
    to_nm: float

    def at(self, now: float) -> float:
        if now >= self.end_s:
            return self.to_nm
        if now <= self.start_s:
            return self.from_nm
        done = (now - self.start_s) / (self.end_s - self.start_s)
        return self.from_nm + done * (self.to_nm - self.from_nm)


class _UnknownWordError(Exception):
    """The word is not in the dictionary, or its parameter is missing."""


class SimulatedSpectraPro(WireDevice):
    """The controller and its turret.

    Args:
        clock: the bench's clock. world: told the true wavelength (nm) and the grooves per mm.
        seed: keys the drive error, together with grating and position.
        model: what MODEL answers; serial: what SERIAL answers.
        gratings: slot (1 to 9) -> SimulatedGrating.
        echo: whether commands are echoed (RS-232) or not (USB).
        lower_case_only: refuse words with a capital, as one SP-2150i was found to do.
        grating_lines: lines of the grating list (9; 8 on the SP-2150i).
        decimals, unit: how wavelengths are written: ` 500.000 nm `, ` 500.00 `.
        action_blanks: blanks before ` ok` after a command without an answer.
        motors: the slits and mirrors that have one.
        nm_per_s, grating_change_s, answer_s: how long things take.
        drive_error_nm: one standard deviation of where a position really is.
    """

    FAULTS: ClassVar[frozenset[str]] = frozenset({"identity", "stuck", "restart"})

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        model: str = "SP-2-300i",
        serial: str = "25331234",
        gratings: dict[int, SimulatedGrating] | None = None,
        echo: bool = True,
        lower_case_only: bool = False,
        grating_lines: int | None = None,
        decimals: int = 3,
        unit: bool = True,
        action_blanks: int = 0,
        motors: Sequence[str] = ("EXIT-MIRROR",),
        nm_per_s: float = 100.0,
        grating_change_s: float = 15.0,
        answer_s: float = 0.01,
        drive_error_nm: float = 0.005,
    ) -> None:
        super().__init__(clock)
        self.world = world
        self.seed = seed
        self.model = model
        self.serial = serial
        self.gratings = dict(DEFAULT_GRATINGS if gratings is None else gratings)
        self.echo = echo
        self.lower_case_only = lower_case_only
        default_lines = 8 if "150" in model else 9
        self.grating_lines = default_lines if grating_lines is None else grating_lines
        self.decimals = decimals
        self.unit = unit
        self.action_blanks = action_blanks
        self.motors = tuple(motors)
        self.nm_per_s = nm_per_s
        self.grating_change_s = grating_change_s
        self.answer_s = answer_s
        self.drive_error_nm = drive_error_nm
        self.stuck = False  # faults: the drive does not turn, and the controller knows
        self.impostor = False  # faults: something else answers to MODEL
        self.eeprom_writes: list[str] = []
        self.commands = Heard()
        self._line = bytearray()
        self._free_at = clock.now()
        self._at = clock.now()
        self._numbers: list[float] = []
        self._words = self._dictionary()
        self._power_up()

    def _power_up(self) -> None:
        self._turret_slot = (0.0, 1, 1)  # from when on, slot before, slot after
        self._rate_nm_per_min = _POWER_UP_NM_PER_MIN
        self._move = _Move(0.0, 0.0, 0.0, 0.0)
        self._slits = dict.fromkeys(_SLITS, 10)
        self._mirrors = dict.fromkeys(_MIRRORS, "front")
        self._part = _SLITS[0]
        self._told: tuple[int, float] | None = None
        self.settle(self.clock.now())

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

    def restart(self) -> None:
        """Cut the power for a moment: it stands at zero order of the first grating again."""
        with self.device_lock:
            self._outgoing.clear()
            self._line.clear()
            self._free_at = self.clock.now()
            self._power_up()

    # ---- what the world sees --------------------------------------------------------------

    def slot(self, now: float) -> int:
        """Return the slot of the grating in the beam at a bench time."""
        since, before, after = self._turret_slot
        return after if now >= since else before

    def wavelength_nm(self, now: float) -> float:
        """Return the wavelength that the controller believes in at a bench time (nm)."""
        return self._move.at(now)

    def settle(self, now: float) -> None:
        """Tell the World where the grating really stands."""
        slot, believed = self.slot(now), self.wavelength_nm(now)
        if self._told == (slot, believed):
            return
        self._told = (slot, believed)
        grating = self.gratings.get(slot)
        grooves = grating.grooves_per_mm if grating is not None else 0.0
        self.world.set_monochromator(believed + self._drive_error_nm(slot, believed), grooves)

    def _drive_error_nm(self, slot: int, position_nm: float) -> float:
        """Return the error of a position: a property of gear and place, the same at every visit."""
        if self.drive_error_nm == 0.0:
            return 0.0
        number = slot * 10_000_000 + round(1000.0 * position_nm)
        draw = generator(int(self.seed), "monochromator", number).standard_normal()
        return float(self.drive_error_nm * draw)

    # ---- the wire -------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes; a CR ends a line."""
        self.settle(self.clock.now())
        for byte in data:
            if byte == 0x0D:
                line = self._line.decode("latin-1")
                self._line.clear()
                self._obey(line)
            elif byte != 0x0A and len(self._line) < 200:
                self._line.append(byte)

    def take(self) -> bytes:
        """Return the bytes that are ready by now."""
        self.settle(self.clock.now())
        return super().take()

    def _obey(self, line: str) -> None:
        now = self.clock.now()
        # A line that comes while the controller is busy waits in its input buffer.
        self._at = max(now, self._free_at) + len(line) * _CHARACTER_S
        self.commands.append(line)
        if self.echo:
            self.send(line.encode("latin-1"), self._at - now)
        said, ending = "", " ok\r\n"
        self._numbers.clear()
        for word in line.split():
            try:
                said += self._do(word)
            except _UnknownWordError:
                said += f" {word}"
                ending = "? \r\n"
                break
        if not said:
            said = " " * self.action_blanks
        self._at += self.answer_s + len(said) * _CHARACTER_S
        self._free_at = self._at
        self.send((said + ending).encode("latin-1"), self._at - now)

    def _do(self, word: str) -> str:
        """Do one word; return what it says."""
        if _NUMBER.fullmatch(word):
            self._numbers.append(float(word))
            return ""
        if self.lower_case_only and word != word.lower():
            raise _UnknownWordError
        action = self._words.get(word.upper())
        if action is None:
            raise _UnknownWordError
        return action()

    def _dictionary(self) -> dict[str, Callable[[], str]]:
        words: dict[str, Callable[[], str]] = {
            "GOTO": lambda: self._go(self.nm_per_s, wait=True),
            "<GOTO>": lambda: self._go(self.nm_per_s, wait=True),
            "NM": lambda: self._go(self._rate_nm_per_min / 60.0, wait=True),
            ">NM": lambda: self._go(self._rate_nm_per_min / 60.0, wait=False),
            "?NM": lambda: self._with_unit(self.wavelength_nm(self._at), "nm"),
            "NM/MIN": self._set_rate,
            "?NM/MIN": lambda: self._with_unit(self._rate_nm_per_min, "nm/min"),
            "MONO-?DONE": lambda: f" {int(self._at >= self._move.end_s)} ",
            "MONO-STOP": self._stop,
            "GRATING": self._select,
            "?GRATING": lambda: f" {self.slot(self._at)} ",
            "?GRATINGS": self._list_gratings,
            "TURRET": self._set_turret,
            "?TURRET": lambda: f" {(self.slot(self._at) - 1) // 3 + 1} ",
            "MODEL": lambda: " ACME-7 " if self.impostor else f" {self.model} ",
            "SERIAL": lambda: f" {self.serial} ",
            "HELLO": lambda: f" {self.model} {self.serial} ",
            "MONO-EESTATUS": self._status_dump,
            "MONO-RESET": self._reset,
            "ECHO": lambda: self._set_echo(True),
            "NO-ECHO": lambda: self._set_echo(False),
            "MICRONS": self._set_slit,
            "?MICRONS": self._ask_slit,
            "SHOME": self._home_slit,
            "FRONT": lambda: self._set_mirror("front"),
            "SIDE": lambda: self._set_mirror("side"),
            "?MIRROR": self._ask_mirror,
            "?MIR": self._ask_mirror,
        }
        for part in (*_SLITS, *_MIRRORS):
            words[part] = lambda part=part: self._choose(part)  # type: ignore[misc]
        for word in _EEPROM:
            words[word] = lambda word=word: self._write_eeprom(word)  # type: ignore[misc]
        return words

    def _number(self) -> float:
        if not self._numbers:
            raise _UnknownWordError
        return self._numbers.pop()

    def _with_unit(self, value: float, unit: str) -> str:
        return f" {value:.{self.decimals}f} " + (f"{unit} " if self.unit else "")

    # ---- moving ---------------------------------------------------------------------------

    def _highest_nm(self, slot: int) -> float:
        grating = self.gratings.get(slot)
        if grating is None or grating.grooves_per_mm == 0.0:
            return 0.0
        return _WAVELENGTH_AT_1200_NM * 1200.0 / grating.grooves_per_mm

    def _go(self, nm_per_s: float, wait: bool) -> str:
        asked = self._number()
        # Out of range is not an error to this controller: it goes as far as it can.
        target = min(max(asked, 0.0), self._highest_nm(self.slot(self._at)))
        start = self._move.at(self._at)
        if self.stuck:
            target = start
        end_s = self._at + abs(target - start) / max(nm_per_s, 1e-9)
        self._move = _Move(self._at, end_s, start, target)
        if wait:
            self._at = end_s
        return ""

    def _stop(self) -> str:
        here = self._move.at(self._at)
        self._move = _Move(self._at, self._at, here, here)
        return ""

    def _set_rate(self) -> str:
        self._rate_nm_per_min = min(max(self._number(), 0.01), 6000.0)
        return ""

    def _select(self) -> str:
        self._turn_to(int(self._number()))
        return ""

    def _turn_to(self, slot: int) -> None:
        # It answers ok whatever the slot, and stays where it is if the slot is empty.
        current = self.slot(self._at)
        if slot not in self.gratings or slot == current or self.stuck:
            return
        self._stop()
        self._at += self.grating_change_s
        self._turret_slot = (self._at, current, slot)
        here = min(self._move.to_nm, self._highest_nm(slot))
        self._move = _Move(self._at, self._at, here, here)

    def _set_turret(self) -> str:
        turret = int(self._number())
        self._turn_to(3 * (turret - 1) + (self.slot(self._at) - 1) % 3 + 1)
        return ""

    def _list_gratings(self) -> str:
        text = "\r\n"
        for slot in range(1, self.grating_lines + 1):
            mark = "\x1a" if slot == self.slot(self._at) else " "
            grating = self.gratings.get(slot)
            if grating is None:
                text += f"{mark}{slot}  Not Installed     \r\n"
            elif grating.grooves_per_mm == 0.0:
                text += f"{mark}{slot}  Mirror            \r\n"
            else:
                text += (
                    f"{mark}{slot} {grating.grooves_per_mm:4g} g/mm BLZ={grating.blaze:>7s} \r\n"
                )
        return text

    def _reset(self) -> str:
        self._at += 5.0
        self._power_up()
        return ""

    def _status_dump(self) -> str:
        return f"\r\n {self.model}\r\n serial number {self.serial}\r\n" + self._list_gratings()

    def _set_echo(self, on: bool) -> str:
        self.echo = on
        return ""

    def _write_eeprom(self, word: str) -> str:
        self.eeprom_writes.append(word)
        return ""

    # ---- slits and mirrors ----------------------------------------------------------------

    def _choose(self, part: str) -> str:
        self._part = part
        return "" if part in self.motors else " no motor "

    def _set_slit(self) -> str:
        width = self._number()
        if self._part not in self.motors:
            return " no motor "
        self._slits[self._part] = round(min(max(width, 10.0), 3000.0) / 5.0) * 5
        self._at += 1.0
        return ""

    def _ask_slit(self) -> str:
        if self._part not in _SLITS or self._part not in self.motors:
            return " no motor "
        return f" {self._slits[self._part]} um "

    def _home_slit(self) -> str:
        self._numbers.append(10.0)
        return self._set_slit()

    def _set_mirror(self, side: str) -> str:
        if self._part not in _MIRRORS or self._part not in self.motors:
            return " no motor "
        self._mirrors[self._part] = side
        self._at += 2.0
        return ""

    def _ask_mirror(self) -> str:
        if self._part not in _MIRRORS or self._part not in self.motors:
            return " no motor "
        return f" {self._mirrors[self._part]} "
