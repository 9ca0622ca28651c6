"""Driver of Acton / Princeton Instruments SpectraPro monochromators (SP-2150i to SP-2750i).

For the spectrograph of the bench: wavelength and grating. RS-232 or its USB-serial port, 9600 8N1.
A command is a line of words ended by CR; the controller answers, perhaps after echoing the line,
and closes with ` ok` when the action is finished, or with `?` if it did not understand.
The controller clamps what is out of range without a word, so limits are checked here first and
every position is read back. Stops at slits, diverter mirrors and anything that writes the EEPROM.

Nothing in this protocol tells a damaged number from a whole one: a number is believed when two
consecutive replies agree and are written as the controller writes numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pymeasure.adapters import Adapter

from instruments.agreeing import until_alike
from instruments.clock import Clock
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Grating, Identity, Limits, Monochromator, Setting, Status
from instruments.wire import WireInstrument

T = TypeVar("T")

# Focal length (mm) -> half the inclusion angle (degrees), by model.
HALF_ANGLE_DEG = {150.0: 24.66, 300.0: 15.15, 500.0: 8.59, 750.0: 6.55}
MECHANICAL_LIMIT_NM = 1400.0
"""Highest wavelength with 1200 grooves/mm; scales with 1200 / grooves."""
MOVE_PATIENCE_S = 20.0
SLOWEST_NM_PER_S = 50.0
GRATING_PATIENCE_S = 60.0
_LONGEST_REPLY = 40  # lines
_TRIES = 3

_MODEL = re.compile(r"(?:acton\s+)?(?:sp|spectrapro|hrs|isoplane|sct)[-\w. ]*\d[-\w. ]*", re.I)
_FOCAL = re.compile(r"sp(?:ectrapro)?-?\s?(?:hrs-)?(?:2-?)?(\d{3})(?!\d)", re.I)
_DONE = re.compile(r"(?:^|\s)ok\s*$")
_REFUSED = re.compile(r"\?\s*$")
_WAVELENGTH = re.compile(r"(\s*)(-?(?:0|[1-9]\d{0,4}))\.(\d+)\s*(nm)?\s*", re.I)
_SLOT = re.compile(r"\s*([1-9])\s*")
_GRATING = re.compile(
    r"(?P<mark>[ \x1a]?)\s*(?P<slot>[1-9])\s+(?:(?P<empty>not\s+installed)|(?P<mirror>mirror)"
    r"|(?P<grooves>\d+(?:\.\d+)?)\s*g/mm(?:\s+BLZ=\s*(?P<blaze>.*?))?)\s*",
    re.I,
)
_BLAZE = re.compile(r"(\d+(?:\.\d+)?)\s*(NM|UM)", re.I)
_UNBLAZED = re.compile(r"(?:HOL|H-|MIRROR)[-\w ]*", re.I)


class SpectraPro(WireInstrument, Monochromator):
    """A SpectraPro monochromator.

    Args:
        adapter: an open pymeasure adapter. clock: the bench's clock.
        case: "lower", "upper", or "auto" (lower first: one SP-2150i understands nothing else).
        focal_length_mm, half_angle_deg: optics of a model that is not in the table.
    """

    DRIVER_ID: ClassVar[str] = "acton-spectrapro"
    VISA: ClassVar[Mapping[str, Any]] = {
        "asrl": {"baud_rate": 9600},
        "write_termination": "\r",
        "read_termination": "\n",
    }
    TIMEOUT_S: ClassVar[float] = 0.5

    def __init__(
        self,
        adapter: Adapter,
        clock: Clock | None = None,
        *,
        case: str = "auto",
        focal_length_mm: float | None = None,
        half_angle_deg: float | None = None,
    ) -> None:
        super().__init__(adapter, clock, "SpectraPro")
        if case not in ("auto", "lower", "upper"):
            raise ValueError(f"case: {case!r} was given, allowed are auto, lower, upper")
        self._cases = ("lower", "upper") if case == "auto" else (case,)
        self._upper = False
        self._echo: bool | None = None
        self._heard_echo = False
        self._shape: tuple[bool, int, bool] | None = None
        self._identity: Identity | None = None
        self._given_optics = (focal_length_mm, half_angle_deg)
        self._gratings: tuple[Grating, ...] = ()
        self._grating: Grating | None = None
        self.seal()

    def connect(self) -> None:
        """Identify the controller, learn how it writes, read its gratings; moves nothing.

        Raises:
            WrongIdentity: something else answers. NoReply, BadReply: nothing, or noise.
        """
        with self.lock:
            self._identity = self._grating = self._echo = self._shape = None
            model = self._find_model()
            try:
                serial = self._agreed("SERIAL", _one_line)
            except DeviceFault:  # older firmware does not know the word
                serial = ""
            self._shape = self._agreed("?NM", lambda body: _wavelength(body)[1])
            self._gratings, marked = self._agreed("?GRATINGS", _grating_list)
            slot = self._agreed("?GRATING", _slot)
            if marked not in (None, slot):
                raise BadReply(
                    f"{self.name}: the list marks grating {marked}, ?GRATING says {slot}"
                )
            self._grating = self._installed(slot)
            self._identity = Identity("Princeton Instruments (Acton)", model, serial)

    @property
    def identity(self) -> Identity:
        """See Role.identity; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._identity

    def status(self) -> Status:
        """Ask where the monochromator stands."""
        with self.lock:
            grating = self.grating
            return Status(
                True, f"{grating.grooves_per_mm:g} grooves/mm at {self.wavelength_nm:.2f} nm"
            )

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Wavelengths (nm) that the grating in use can reach; NotReady before `connect`."""
        if self._grating is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return {"wavelength_nm": Limits(0.0, _highest_nm(self._grating), "nm")}

    def make_safe(self) -> None:
        """Nothing here can harm, and a move under way cannot be interrupted: sends nothing."""

    def snapshot(self) -> dict[str, Setting]:
        """Return wavelength, grating and optics as they are now."""
        with self.lock:
            grating = self.grating
            found = {
                "wavelength_nm": Setting(self.wavelength_nm, "nm"),
                "grating_slot": Setting(grating.slot),
                "grooves_per_mm": Setting(grating.grooves_per_mm, "1/mm"),
                "blaze_nm": Setting(grating.blaze_nm, "nm"),
            }
        focal, half = self._optics()
        if focal is not None and half is not None:
            found["focal_length_mm"] = Setting(focal, "mm")
            found["half_angle_deg"] = Setting(half, "deg")
        return found

    @property
    def focal_length_mm(self) -> float:
        """Focal length (mm), by model."""
        return self._optic(0)

    @property
    def half_angle_deg(self) -> float:
        """Half the inclusion angle (degrees), by model."""
        return self._optic(1)

    @property
    def wavelength_nm(self) -> float:
        """The centre wavelength (nm), asked of the controller."""
        with self.lock:
            return self._read_wavelength()

    def go_to(self, wavelength_nm: float) -> float:
        """Go to a centre wavelength (nm), block until there, return the one read back.

        Raises:
            LimitError: out of the grating's reach; nothing has moved.
            DeviceFault: the controller stands elsewhere than asked.
        """
        with self.lock:
            grooves = self.grating.grooves_per_mm  # asked: a hand pad may have changed it
            target = self.limits["wavelength_nm"].check("wavelength_nm", wavelength_nm)
            start = self._read_wavelength()
            patience = MOVE_PATIENCE_S + abs(target - start) / SLOWEST_NM_PER_S
            # The step of the drive grows with the spacing of the grooves.
            tolerance_nm = 0.05 * max(1.0, 1200.0 / grooves if grooves else 1.0)
            reached, problem = start, None
            for _ in range(_TRIES):
                problem = self._try(f"{target:.3f} GOTO", patience)
                reached = self._read_wavelength()
                if abs(reached - target) <= tolerance_nm:
                    return reached
            raise DeviceFault(
                f"{self.name}: {target:.3f} nm was asked, it stands at {reached:.3f} nm"
                + (f" ({problem})" if problem else "")
                + "; check that the grating in the beam is the one in the list"
            )

    @property
    def gratings(self) -> tuple[Grating, ...]:
        """The gratings that are installed, as listed when the controller was connected."""
        return self._gratings

    @property
    def grating(self) -> Grating:
        """The grating in use, asked of the controller; the limits follow it."""
        with self.lock:
            self._grating = self._installed(self._agreed("?GRATING", _slot))
            return self._grating

    def select_grating(self, slot: int) -> Grating:
        """Turn to the grating in `slot` (10 to 20 s), return it as read back.

        Raises:
            LimitError: the slot is empty (the controller would say ok and stay), or the
                grating cannot reach the wavelength of now; nothing has moved.
            DeviceFault: the turret did not turn to it.
        """
        with self.lock:
            wanted = next((g for g in self._gratings if g.slot == slot), None)
            if wanted is None:
                have = ", ".join(f"{g.slot} ({g.grooves_per_mm:g}/mm)" for g in self._gratings)
                raise LimitError(
                    f"grating: slot {slot} was asked, installed are {have or 'none'}",
                    key="grating",
                )
            if self.grating.slot == slot:
                return wanted
            here, highest = self._read_wavelength(), _highest_nm(wanted)
            if here > highest + 0.5:
                raise LimitError(
                    f"grating: at {here:.1f} nm, but {wanted.grooves_per_mm:g} grooves/mm reach "
                    f"{highest:g} nm only; go to a lower wavelength first",
                    key="grating",
                )
            problem = None
            for _ in range(_TRIES):
                problem = self._try(f"{slot} GRATING", GRATING_PATIENCE_S)
                if self.grating.slot == slot:
                    return wanted
            raise DeviceFault(
                f"{self.name}: grating {slot} was asked, it stays at {self.grating.slot}"
                + (f" ({problem})" if problem else "")
                + "; is the turret that carries it mounted?"
            )

    # ---- optics -----------------------------------------------------------------------------

    def _optics(self) -> tuple[float | None, float | None]:
        focal, half = self._given_optics
        if focal is None:
            named = _FOCAL.search(self.identity.model)
            focal = float(named.group(1)) if named else None
            if focal not in HALF_ANGLE_DEG:
                focal = None
        if half is None and focal is not None:
            half = HALF_ANGLE_DEG.get(focal)
        return focal, half

    def _optic(self, which: int) -> float:
        value = self._optics()[which]
        if value is None:
            raise NotReady(
                f"{self.name}: the optics of model {self.identity.model} are not known; give "
                "focal_length_mm and half_angle_deg in the bench file"
            )
        return value

    # ---- asking -------------------------------------------------------------------------------

    def _find_model(self) -> str:
        problem: InstrumentError | None = None
        for case in self._cases:
            self._upper = case == "upper"
            try:
                echo, model = self._agreed("MODEL", self._echo_and_line)
            except DeviceFault as error:  # the other case, perhaps
                problem = error
                continue
            except BadReply as error:
                raise WrongIdentity(
                    f"{self.name}: what answers is no SpectraPro, or is garbled ({error}); "
                    "check address and baud rate (9600)"
                ) from error
            if not _MODEL.fullmatch(model):
                raise WrongIdentity(f"{self.name}: {model!r} answers, expected is a SpectraPro")
            self._echo = echo
            return model
        raise WrongIdentity(
            f"{self.name}: what answers does not understand MODEL ({problem})"
        ) from problem

    def _read_wavelength(self) -> float:
        def parse(body: str) -> float:
            value, shape = _wavelength(body)
            if self._shape is not None and shape != self._shape:
                raise BadReply(f"{self.name}: {body!r} is not written as its wavelengths are")
            return value

        return self._agreed("?NM", parse)

    def _installed(self, slot: int) -> Grating:
        for grating in self._gratings:
            if grating.slot == slot:
                return grating
        raise BadReply(f"{self.name}: grating {slot} is in use, but not in its list of gratings")

    def _echo_and_line(self, body: str) -> tuple[bool, str]:
        return self._heard_echo, _one_line(body)

    def _agreed(self, query: str, parse: Callable[[str], T]) -> T:
        """Ask until two consecutive replies agree; raises the last error, or BadReply."""

        def read() -> tuple[str, T]:
            body = self._exchange(query, self.TIMEOUT_S)
            return body, parse(body)

        return until_alike(
            read,
            f"{self.name}: the replies to {query}",
            same=lambda a, b: a[0] == b[0],
            readings=2 * _TRIES,
            failures=_TRIES,
        )[1]

    def _try(self, command: str, patience_s: float) -> InstrumentError | None:
        """Send an absolute command; a failure is returned, what counts is the reading after it."""
        try:
            self._exchange(command, patience_s)
        except InstrumentError as error:
            return error
        return None

    def _exchange(self, command: str, patience_s: float) -> str:
        """Send a line, read to the completion mark; return what is between echo and mark."""
        sent = command.upper() if self._upper else command.lower()
        self.discard_input()
        self.write(sent)
        ends = self.clock.now() + patience_s
        text = ""
        with self.patience(patience_s):
            for _ in range(_LONGEST_REPLY):
                try:
                    text += self.read() + "\n"
                except NoReply as error:
                    if not text:
                        raise NoReply(
                            f"{self.name}: no answer to {sent!r} within {patience_s:g} s; is it "
                            "switched on?"
                        ) from error
                    break
                if _REFUSED.search(text):
                    raise DeviceFault(f"{self.name}: does not understand {sent!r}")
                if _DONE.search(text):
                    return self._without_echo(sent, _DONE.sub("", text))
                if self.clock.now() > ends:
                    break
        raise BadReply(f"{self.name}: the answer to {sent!r} does not end with ok: {text[:60]!r}")

    def _without_echo(self, sent: str, body: str) -> str:
        echoed = body.startswith(sent)
        if self._echo is not None and echoed is not self._echo:
            expected = "with" if self._echo else "without"
            raise BadReply(
                f"{self.name}: {body[:60]!r} answers {sent!r}, expected was a reply {expected} "
                "echo; if echo was switched meanwhile, connect again"
            )
        self._heard_echo = echoed
        return body[len(sent) :] if echoed else body


def _highest_nm(grating: Grating) -> float:
    if grating.grooves_per_mm == 0.0:
        return 0.0  # a mirror is used in zero order
    return MECHANICAL_LIMIT_NM * 1200.0 / grating.grooves_per_mm


def _one_line(body: str) -> str:
    text = body.strip()
    if not text or not text.isprintable():
        raise BadReply(f"SpectraPro: {body[:60]!r} is not a line of text")
    return text


def _slot(body: str) -> int:
    match = _SLOT.fullmatch(body)
    if match is None:
        raise BadReply(f"SpectraPro: {body[:60]!r} is not the number of a grating")
    return int(match.group(1))


def _wavelength(body: str) -> tuple[float, tuple[bool, int, bool]]:
    """Return the wavelength (nm), and how it was written: leading blank, decimals, unit."""
    match = _WAVELENGTH.fullmatch(body)
    if match is None:
        raise BadReply(f"SpectraPro: {body[:60]!r} is not a wavelength")
    blank, whole, decimals, unit = match.groups()
    return float(f"{whole}.{decimals}"), (bool(blank), len(decimals), unit is not None)


def _grating_list(body: str) -> tuple[tuple[Grating, ...], int | None]:
    """Return the installed gratings and the slot that is marked as active, if one is."""
    found: list[Grating] = []
    marked: list[int] = []
    lines = [line.strip("\r\n") for line in body.split("\n") if line.strip()]
    for number, line in enumerate(lines, start=1):
        match = _GRATING.fullmatch(line)
        if match is None or int(match["slot"]) != number:
            raise BadReply(f"SpectraPro: {line!r} is not line {number} of a list of gratings")
        if match["mark"] == "\x1a":
            marked.append(number)
        if match["empty"]:
            continue
        grooves = float(match["grooves"] or 0.0)
        found.append(Grating(number, grooves, _blaze_nm(match["blaze"] or "")))
    if len(lines) not in (8, 9) or not found or len(marked) > 1:
        raise BadReply(f"SpectraPro: {len(lines)} lines are not a list of 8 or 9 gratings")
    return tuple(found), marked[0] if marked else None


def _blaze_nm(text: str) -> float:
    match = _BLAZE.fullmatch(text)
    if match is not None:
        return float(match[1]) * (1000.0 if match[2].upper() == "UM" else 1.0)
    if text and _UNBLAZED.fullmatch(text) is None:
        raise BadReply(f"SpectraPro: {text!r} is not a blaze wavelength")
    return 0.0
