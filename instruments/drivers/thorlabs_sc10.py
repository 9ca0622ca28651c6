"""Thorlabs SC10 shutter controller (SH05 and SH1 blades).

For the pump shutter. The unit knows one command for opening and closing, and it toggles; so it is
sent only after the enable state has been read, twice alike, once, and the blade is watched until it
is where it should be. Stops at the blade: who may open it, and when, is decided above.

Source: Thorlabs SC10 manual (8654-D02), serial command table.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Mapping
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
from instruments.roles import Identity, Limits, Setting, Shutter, Status
from instruments.wire import WireInstrument

log = logging.getLogger(__name__)

MODES = {1: "manual", 2: "auto", 3: "single", 4: "repeat", 5: "external gate"}

_BAUD_RATES = (9600, 115200)
_ATTEMPT_S = (0.2, 0.5, 0.5)  # patience with a query, then with its repetitions
_QUIET_S = 0.3  # what is late by more than this after a bad exchange is not waited for
_BLADE_S = 1.0  # a blade takes milliseconds; one that has not moved by then is stuck
_POLL_S = 0.005
_MOST_CHUNKS = 32  # of stray text before one reply
_WHOLE = re.compile(r"\d{1,6}")


class SC10Shutter(WireInstrument, Shutter):
    """The SC10, in manual mode.

    Args:
        adapter: an open pymeasure adapter.
        clock: the bench's clock.
        identity_contains: what the reply to `id?` must contain (case does not matter).
    """

    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600},
        "write_termination": "\r",
        "read_termination": ">",
    }
    TIMEOUT_S: ClassVar[float] = 0.2
    DRIVER_ID: ClassVar[str] = "thorlabs-sc10"

    enabled = Instrument.measurement(
        "ens?",
        "Get whether the shutter is enabled (bool); in manual mode that means open.",
        get_process=lambda text: _flag("ens?", text),
        cast=str,
    )
    blade_closed = Instrument.measurement(
        "closed?",
        "Get whether the blade is closed (bool).",
        get_process=lambda text: _flag("closed?", text),
        cast=str,
    )
    interlock_tripped = Instrument.measurement(
        "interlock?",
        "Get whether the interlock is open, so that the shutter stays closed (bool).",
        get_process=lambda text: _flag("interlock?", text),
        cast=str,
    )
    mode = Instrument.measurement(
        "mode?",
        "Get the operating mode, 1 to 5 (see MODES); this driver sets 1, manual.",
        get_process=lambda text: _whole("mode?", text, MODES),
        cast=str,
    )

    def __init__(
        self, adapter: Adapter, clock: Clock | None = None, identity_contains: str = "SC10"
    ) -> None:
        super().__init__(adapter, clock)
        self._wanted_id = identity_contains
        self._identity: Identity | None = None
        self._dirty = False  # something late or broken may still arrive

    # ---- opening the link -------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the unit, close the shutter, and choose manual mode.

        Tries the unit's two baud rates on a serial port.

        Raises:
            NoReply: nothing answers. WrongIdentity: something else does.
            DeviceFault: the blade does not close.
        """
        with self.lock:
            self._dirty = True  # who knows what the last user left on the line
            text = self._identify()
            if self._wanted_id.lower() not in text.lower():
                raise WrongIdentity(
                    f"{self.name}: it calls itself {text!r}, which does not contain "
                    f"{self._wanted_id!r}; is this the port of the SC10?"
                )
            version = re.search(r"(\d+\.\d+\S*)", text)
            self._identity = Identity("Thorlabs", "SC10", firmware=version[1] if version else "")
            self.shut()
            self._choose_manual()
        self.seal()

    def _identify(self) -> str:
        connection = self.adapter.connection
        rates: Iterable[int | None] = _BAUD_RATES if hasattr(connection, "baud_rate") else (None,)
        trouble: InstrumentError | None = None
        for rate in rates:
            if rate is not None:
                connection.baud_rate = rate
            try:
                return self.ask("id?")
            except DeviceFault as error:
                raise WrongIdentity(
                    f"{self.name}: it does not know `id?`, so it is no SC10 ({error})"
                ) from error
            except InstrumentError as error:
                trouble = error
        raise NoReply(
            f"{self.name}: nothing that speaks as an SC10 does answers (tried "
            f"{' and '.join(str(rate) for rate in _BAUD_RATES)} baud on a serial port); "
            f"check power and cable: {trouble}"
        ) from trouble

    def _choose_manual(self) -> None:
        """Choose manual mode and read it back; setting it twice is harmless."""
        for _ in range(3):
            with contextlib.suppress(NoReply, BadReply):
                self._command("mode=1")
            if self._agreed("mode") == 1:
                return
        raise DeviceFault(f"{self.name}: it does not take manual mode; set it at the front panel")

    # ---- the role ---------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Model and firmware; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")
        return self._identity

    @property
    def limits(self) -> Mapping[str, Limits]:
        """None: a shutter has no quantity to limit."""
        return {}

    @property
    def is_open(self) -> bool:
        """Whether the blade is open, asked of the device."""
        return not self._agreed("blade_closed")

    def open(self) -> None:
        """Open, and return when the blade is seen open.

        Raises:
            DeviceFault: the interlock is tripped, or the blade does not move. The shutter is
                then disabled again, so that it cannot open by itself later.
            NoReply, BadReply: the state could not be read.
        """
        with self.lock:
            self._require_identity()
            self._refuse_if_interlocked()
            if self.mode != 1:
                self.shut()
                self._choose_manual()
            try:
                self._bring(enabled=True)
            except InstrumentError as error:
                try:
                    self._bring(enabled=False)
                except InstrumentError as worse:
                    error.add_note(f"and it could not be closed again: {worse}")
                self._refuse_if_interlocked()
                raise

    def shut(self) -> None:
        """Close, and return when the blade is seen closed; see Shutter.shut."""
        with self.lock:
            self._require_identity()
            self._bring(enabled=False)

    def make_safe(self) -> None:
        """Close; tried twice, each time from the state read anew, before it raises."""
        with self.lock:
            try:
                self._bring(enabled=False)
            except InstrumentError as error:
                log.warning("%s: closing failed (%s); once more", self.name, error)
                self._dirty = True
                self._bring(enabled=False)

    def status(self) -> Status:
        """Ask interlock, mode, enable state and blade."""
        with self.lock:
            if self._agreed("interlock_tripped"):
                return Status(
                    False,
                    "the interlock is tripped, so the shutter stays closed; close the interlock "
                    "(lid, door, key)",
                )
            mode = self._agreed("mode")
            if mode != 1:
                return Status(False, f"in {MODES[mode]} mode instead of manual")
            enabled, is_open = self._agreed("enabled"), self.is_open
        if enabled != is_open:
            word = ("disabled", "enabled")[enabled]
            return Status(False, f"{word}, but the blade is {('closed', 'open')[is_open]}")
        return Status(True, "open" if is_open else "closed")

    def snapshot(self) -> dict[str, Setting]:
        """Return blade, mode and interlock as they are now."""
        with self.lock:
            return {
                "open": Setting(self.is_open),
                "mode": Setting(MODES[self._agreed("mode")]),
                "interlock_tripped": Setting(bool(self._agreed("interlock_tripped"))),
            }

    def _require_identity(self) -> None:
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected yet; connect it first")

    def _refuse_if_interlocked(self) -> None:
        if self.interlock_tripped and self._agreed("interlock_tripped"):
            raise DeviceFault(
                f"{self.name}: the interlock is tripped, so the shutter stays closed; close the "
                "interlock (lid, door, key) and try again"
            )

    # ---- toggling, once ---------------------------------------------------------------------

    def _bring(self, *, enabled: bool) -> None:
        """Read, toggle once if needed, and watch the blade; never toggles a second time."""
        with self.lock:
            trouble: InstrumentError | None = None
            if self._agreed("enabled") != enabled:
                try:
                    self._command("ens")
                except InstrumentError as error:
                    trouble = error  # it may have been obeyed all the same: the state will tell
                if self._agreed("enabled") != enabled:
                    raise trouble or DeviceFault(
                        f"{self.name}: it stays {('disabled', 'enabled')[not enabled]} though it "
                        "was toggled; look at its front panel"
                    )
            deadline = self.clock.now() + _BLADE_S
            while self._agreed("blade_closed") is enabled:
                if self.clock.now() > deadline:
                    raise DeviceFault(
                        f"{self.name}: it is {('disabled', 'enabled')[enabled]}, but the blade "
                        f"stays {('open', 'closed')[enabled]}; check the blade and its cable"
                    )
                self.clock.sleep(_POLL_S)

    def _agreed(self, name: str) -> Any:
        """Read a property until two readings in a row agree: replies carry no checksum."""
        with self.lock:
            return until_alike(lambda: getattr(self, name), f"{self.name}: the readings of {name}")

    # ---- echo, value, prompt ----------------------------------------------------------------

    def ask(self, command: str, query_delay: float | None = None) -> str:
        """Ask and return the value, once more at most twice (properties ask through this)."""
        with self.lock:
            trouble: InstrumentError = NoReply(f"{self.name}: no answer to {command!r}")
            for seconds in _ATTEMPT_S:
                self.write(command)
                try:
                    return self._value(command, self._reply(command, seconds))
                except InstrumentError as error:
                    trouble = error
                self._dirty = True
            raise trouble

    def _value(self, command: str, lines: list[str]) -> str:
        text = " ".join(lines)  # only `id?` may take more than one line
        if "CMD_" in text or (command != "id?" and re.search("[A-Za-z]{3}", text)):
            raise DeviceFault(f"{self.name}: {command!r} was refused: {text}")
        if not lines or (command != "id?" and not _WHOLE.fullmatch(text)):
            raise BadReply(f"{self.name}: {command!r} was answered by {lines!r}")
        return text

    def _command(self, command: str) -> None:
        """Send a command that returns no value, once; DeviceFault if it is refused."""
        with self.lock:
            self.write(command)
            try:
                lines = self._reply(command, _ATTEMPT_S[-1])
            except InstrumentError:
                self._dirty = True
                raise
            if lines:
                self._dirty = True
                raise DeviceFault(f"{self.name}: {command!r} was refused: {' '.join(lines)}")

    def write(self, command: str, **kwargs: Any) -> None:
        """Write a command, with nothing in the input that could pass for its reply."""
        with self.lock:
            if self._dirty:
                self.clock.sleep(_QUIET_S)
                self._dirty = False
            self.discard_input()
            super().write(command, **kwargs)

    def _reply(self, command: str, seconds: float) -> list[str]:
        """Return the lines between the echo of a command and the prompt.

        The unit repeats the command, then a value if there is one, then `> `; the blank may come
        late and then stands before the next echo. Text without our echo is not our reply.
        """
        deadline = self.clock.now() + seconds
        strays: list[str] = []
        for _ in range(_MOST_CHUNKS):
            left = deadline - self.clock.now()
            if left <= 0:
                break
            try:
                with self.patience(left):
                    text = self.read()
            except BadReply:
                strays.append("(not text)")
                continue
            except NoReply:
                break
            parts = (part.strip(" >") for part in re.split("[\r\n]", text))
            lines = [part for part in parts if part]
            if command in lines:
                last = len(lines) - 1 - lines[::-1].index(command)
                return lines[last + 1 :]
            strays += lines
        if strays:
            raise BadReply(f"{self.name}: {command!r} was answered by {strays[:3]!r}")
        raise NoReply(f"{self.name}: no answer to {command!r} within {seconds:g} s")


def _flag(command: str, text: str) -> bool:
    return bool(_whole(command, text, (0, 1)))


def _whole(command: str, text: str, allowed: Iterable[int]) -> int:
    if not _WHOLE.fullmatch(text) or int(text) not in allowed:
        choices = ", ".join(str(value) for value in allowed)
        raise BadReply(f"SC10: {command!r} was answered by {text!r}; it can only be {choices}")
    return int(text)
