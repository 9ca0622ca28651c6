"""Driver of HORIBA monochromators (iHR320, iHR550, microHR) behind the ICL.

For the spectrograph of the bench: wavelength and grating; slits, mirrors and filter wheels are in
`icl_accessories`. A device that lost its initialisation is homed again and brought back to where it
stood. Stops at what recalibrates the drive, at slit steps and at the laser of Raman models.

Source: ICL API manual 2.1.0, "Monochromator". Not in it, and so not certain: the mechanical limits
and the optics, which are those of the instruments' data sheets and of a published calibration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from instruments.clock import Clock
from instruments.drivers.icl_accessories import MIRROR_POSITIONS, IclAccessories
from instruments.drivers.icl_device import configuration, number, records, text, truth, whole
from instruments.drivers.icl_link import IclLink
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Grating, Identity, Limits, Monochromator, Setting, Status

# Model -> focal length (mm), half the inclusion angle (degrees), highest wavelength (nm) with 1200
# grooves per mm. The angle of the iHR320 is a published one (21.3 degrees between the arms); models
# whose angle is not known to us must be given it.
OPTICS: Mapping[str, tuple[float, float | None, float]] = {
    "ihr320": (320.0, 10.63, 1500.0),
    "ihr550": (550.0, None, 1500.0),
    "microhr": (140.0, None, 1580.0),
}
_MODEL = re.compile(r"(ihr\s*-?\d{3}|microhr)", re.I)

_INIT_PATIENCE_S = 180.0
_SLOWEST_NM_PER_S = 30.0
_FARTHEST_NM = 50_000.0


class HoribaMonochromator(IclAccessories, Monochromator):
    """A HORIBA monochromator behind the ICL.

    Args:
        link: to the ICL, see `open_link`. clock: the bench's clock.
        index: in the ICL's list of monochromators.
        serial: refuse a monochromator with another serial number.
        initialize: home the drive in `connect` if it has not been since power-up (about a minute).
        entrance, exit: "axial" (front port) or "lateral" (side port); as it stands if left out.
        entrance_slit_mm, exit_slit_mm: width of the slit in the port in use; as it stands if
            left out.
        filter_wheel_1, filter_wheel_2: position 1 to 6 of a filter wheel (1 inside, 2 outside).
        focal_length_mm, half_angle_deg: optics, where they are not those of the model's table.
    """

    PREFIX = "mono"
    KIND = "monochromator"

    def __init__(
        self,
        link: IclLink,
        clock: Clock | None = None,
        *,
        index: int = 0,
        serial: str | None = None,
        initialize: bool = True,
        entrance: str | None = None,
        exit: str | None = None,
        entrance_slit_mm: float | None = None,
        exit_slit_mm: float | None = None,
        filter_wheel_1: int | None = None,
        filter_wheel_2: int | None = None,
        focal_length_mm: float | None = None,
        half_angle_deg: float | None = None,
    ) -> None:
        super().__init__(link, clock, index=index, serial=serial)
        for key, value in (("entrance", entrance), ("exit", exit)):
            if value is not None and value not in MIRROR_POSITIONS:
                raise ConfigError(f"{value!r} was given, allowed is axial or lateral", key=key)
        self._initialize = initialize
        self._mirrors_asked = {"entrance": entrance, "exit": exit}
        self._slits_asked = {"entrance": entrance_slit_mm, "exit": exit_slit_mm}
        self._filters_asked = {1: filter_wheel_1, 2: filter_wheel_2}
        self._given_optics = (focal_length_mm, half_angle_deg)
        self._gratings: tuple[Grating, ...] = ()
        self._grating: Grating | None = None
        self._sealed = True

    def connect(self) -> None:
        """Open and identify the monochromator, home it if it needs to be, apply the options.

        Raises:
            NoReply: no ICL there, or no such monochromator. WrongIdentity: it is another one.
            NotReady: not initialised, and `initialize` is off.
            LimitError: an option asks for what this device does not have.
        """
        with self.lock:
            self._wanted.clear()
            self._grating = None
            self._attach()
            self._home_if_needed(allowed=self._initialize)
            self._find_mirrors()
            slot = self._read_slot()
            self._wanted["grating", 0] = slot
            self._wanted["wavelength", 0] = self._read_wavelength()
            for side, position in self._mirrors_asked.items():
                if position is not None:
                    self.turn_mirror(side, position)
            for side, width_mm in self._slits_asked.items():
                if width_mm is not None:
                    self.set_slit_mm(self.port(side), width_mm)
            for wheel, place in self._filters_asked.items():
                if place is not None:
                    self.select_filter(wheel, place)

    def _identify(self, entry: Mapping[str, Any]) -> Identity:
        found = configuration(self._request("getConfig"))
        model = text(found, "model", "monoModel") or text(entry, "deviceType")
        if _MODEL.search(model) is None and "horiba" not in text(entry, "deviceType").lower():
            raise WrongIdentity(
                f"{self.name}: {model or 'a device without a name'!r} answers, expected is a "
                "HORIBA monochromator"
            )
        serial = text(found, "serialNumber") or text(entry, "serialNumber")
        self._gratings = _gratings(found)
        self._read_accessories(found)
        return Identity("HORIBA", model, serial, text(self.link.info, "nodeVersion"))

    # ---- the role ----------------------------------------------------------------------------

    def status(self) -> Status:
        """Ask where the monochromator stands."""
        with self.lock:
            grating = self.grating
            return Status(
                True, f"{grating.grooves_per_mm:g} grooves/mm at {self.wavelength_nm:.2f} nm"
            )

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Wavelength (nm) that the grating in use can reach, slits (mm); NotReady before `connect`.

        Slits are named by port: slit_1_mm (front entrance) to slit_4_mm (side exit).
        """
        if self._grating is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        highest_nm = self._highest_nm(self._grating)
        return {"wavelength_nm": Limits(0.0, highest_nm, "nm"), **self._slit_limits()}

    def make_safe(self) -> None:
        """Nothing here can harm: sends nothing."""

    def snapshot(self) -> dict[str, Setting]:
        """Return wavelength, grating, slits, mirrors, filters and optics as they are now."""
        with self.lock:
            grating = self.grating
            found = {
                "wavelength_nm": Setting(self.wavelength_nm, "nm"),
                "grating_slot": Setting(grating.slot),
                "grooves_per_mm": Setting(grating.grooves_per_mm, "1/mm"),
                "blaze_nm": Setting(grating.blaze_nm, "nm"),
            }
            found |= self._accessory_settings()
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
        """The centre wavelength (nm), asked of the device."""
        with self.lock:
            return self._read_wavelength()

    def go_to(self, wavelength_nm: float) -> float:
        """Go to a centre wavelength (nm), block until there, return the one read back.

        Raises:
            LimitError: out of the grating's reach; nothing has moved.
            DeviceFault: the device stands elsewhere than asked.
        """
        with self.lock:
            grating = self.grating  # asked: another program may have turned the turret
            target = self.limits["wavelength_nm"].check("wavelength_nm", float(wavelength_nm))
            return self._drive_to(target, grating)

    @property
    def gratings(self) -> tuple[Grating, ...]:
        """The gratings that are installed; their slots are the ICL's positions (0 and up)."""
        return self._gratings

    @property
    def grating(self) -> Grating:
        """The grating in use, asked of the device; the limits follow it."""
        with self.lock:
            self._read_slot()
            assert self._grating is not None
            return self._grating

    def select_grating(self, slot: int) -> Grating:
        """Turn to the grating in `slot`, come back to the wavelength, return the grating in use.

        The turret leaves the drive where it is, which is another wavelength with the new grating.

        Raises:
            LimitError: there is no such slot, or its grating cannot reach the wavelength of now;
                nothing has moved.
            DeviceFault: the turret did not turn to it.
        """
        with self.lock:
            wanted = next((g for g in self._gratings if g.slot == slot), None)
            if wanted is None:
                have = ", ".join(f"{g.slot} ({g.grooves_per_mm:g}/mm)" for g in self._gratings)
                raise LimitError(
                    f"grating: slot {slot} was asked, installed are {have or 'none'}", key="grating"
                )
            if self.grating.slot == slot:
                return wanted
            here, highest = self._read_wavelength(), self._highest_nm(wanted)
            if here > highest + 0.5:
                raise LimitError(
                    f"grating: at {here:.1f} nm, but {wanted.grooves_per_mm:g} grooves/mm reach "
                    f"{highest:g} nm only; go to a lower wavelength first",
                    key="grating",
                )
            self._wanted["wavelength", 0] = here
            self._turn_to(slot)
            self._drive_to(min(max(here, 0.0), highest), wanted)
            return wanted

    # ---- moving ------------------------------------------------------------------------------

    def _home_if_needed(self, allowed: bool) -> None:
        self._wait(_INIT_PATIENCE_S, "moving")
        if truth(self._ask("isInitialized"), "initialized"):
            return
        if not allowed:
            raise NotReady(
                f"{self.name}: not initialised since power-up; initialise it (initialize = true "
                "in the bench file, about a minute)"
            )
        self._moved_s = self.clock.now()
        self._ask("init", force=False)
        self._wait(_INIT_PATIENCE_S, "initialising")
        if not truth(self._ask("isInitialized"), "initialized"):
            raise DeviceFault(
                f"{self.name}: the initialisation failed; is the lid closed and nothing in the "
                "way? Switch it off and on"
            )

    def _restore(self) -> None:
        """Bring a device that was opened again back to where it stood."""
        self._home_if_needed(allowed=True)
        self._find_mirrors()
        slot = self._wanted.get(("grating", 0))
        if slot is not None and self._read_slot() != slot:
            self._turn_to(int(slot))
        self._restore_accessories()
        self._read_slot()
        assert self._grating is not None
        wavelength = self._wanted.get(("wavelength", 0))
        if wavelength is not None and (
            abs(self._read_wavelength() - wavelength) > _tolerance_nm(self._grating)
        ):
            self._drive_to(wavelength, self._grating)

    def _turn_to(self, slot: int) -> None:
        before, self._wanted["grating", 0] = self._wanted.get(("grating", 0)), slot
        try:
            self._place(
                "moveGrating", {"position": slot}, self._read_slot, slot, 0.0, f"grating {slot}"
            )
        except InstrumentError:
            if before is not None:
                self._wanted["grating", 0] = before
            raise

    def _drive_to(self, target_nm: float, grating: Grating) -> float:
        self._wanted["wavelength", 0] = target_nm
        return self._place(
            "moveToPosition",
            {"wavelength": target_nm},
            self._read_wavelength,
            target_nm,
            _tolerance_nm(grating),
            f"{target_nm:.3f} nm",
            abs(self._read_wavelength() - target_nm) / _SLOWEST_NM_PER_S,
        )

    def _read_wavelength(self) -> float:
        return self._value("getPosition", "wavelength", -_FARTHEST_NM, _FARTHEST_NM)

    def _read_slot(self) -> int:
        slot = whole(self._ask("getGratingPosition"), "position", -1, 9)
        for grating in self._gratings:
            if grating.slot == slot:
                self._grating = grating
                return slot
        raise BadReply(f"{self.name}: grating {slot} is in use, but not in its list of gratings")

    # ---- optics ------------------------------------------------------------------------------

    def _table(self) -> tuple[float | None, float | None, float]:
        named = _MODEL.search(self.identity.model)
        key = re.sub(r"[\s-]", "", named.group(1)).lower() if named else ""
        return OPTICS.get(key, (None, None, 1500.0))

    def _highest_nm(self, grating: Grating) -> float:
        if grating.grooves_per_mm == 0.0:
            return 0.0  # a mirror is used in zero order
        return self._table()[2] * 1200.0 / grating.grooves_per_mm

    def _optics(self) -> tuple[float | None, float | None]:
        focal, half, _ = self._table()
        given_focal, given_half = self._given_optics
        return (
            focal if given_focal is None else given_focal,
            half if given_half is None else given_half,
        )

    def _optic(self, which: int) -> float:
        value = self._optics()[which]
        if value is None:
            raise NotReady(
                f"{self.name}: the optics of model {self.identity.model} are not known; give "
                "focal_length_mm and half_angle_deg in the bench file"
            )
        return value


def _tolerance_nm(grating: Grating) -> float:
    """Return how far off a position read back may be: the step grows with the groove spacing."""
    grooves = grating.grooves_per_mm
    return 0.05 * max(1.0, 1200.0 / grooves if grooves else 1.0)


def _gratings(found: Mapping[str, Any]) -> tuple[Grating, ...]:
    gratings = tuple(
        Grating(
            whole(entry, "positionIndex", 0, 9),
            number(entry, "grooveDensity", 0.0, 20_000.0),
            number(entry, "blaze", 0.0, 100_000.0) if "blaze" in entry else 0.0,
        )
        for entry in records(found, "gratings")
    )
    slots = [grating.slot for grating in gratings]
    if not gratings or len(set(slots)) != len(slots):
        raise BadReply(f"the ICL's list of gratings names the slots {slots}")
    return tuple(sorted(gratings, key=lambda grating: grating.slot))
