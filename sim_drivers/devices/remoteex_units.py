"""What is attached to a simulated HPD-TA: streak unit, delay box, spectrograph and camera.

For `sim_drivers.devices.hamamatsu_remoteex`: their parameters by location, and how the tube stands
when an acquisition begins. Stops at the parameters; the light is the tube's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from sim_drivers.devices.remoteex_parameters import (
    Answer,
    Group,
    Parameter,
    RemoteExError,
    camera_groups,
    number_text,
    seconds,
)
from sim_drivers.streak_tube import Shot, StreakTube

VERBS = re.compile(r"(main|gen|acq|img|seq|cam|dev)params?(get|set|infoex|info|list)")
UNITS_PS = {"ps": 1.0, "ns": 1e3, "us": 1e6, "ms": 1e9}
_PLACES = {
    **dict.fromkeys(("td", "streak", "streakcamera"), "td"),
    **dict.fromkeys(("spec", "spectrograph"), "spec"),
    **dict.fromkeys(("del", "delay", "delaybox", "del1", "delay1", "delaybox1"), "del"),
}
_GRATINGS = {"1: 150 g/mm": 150.0, "2: 600 g/mm": 600.0}
_NM_PER_PX = 0.185  # with 150 grooves/mm
_BESIDE_NM = 520.0  # where the window stands without a spectrograph


def single_sweep_ranges(first_ps: float, last_ps: float) -> tuple[str, ...]:
    """Return the texts of time ranges in 1-2-5 steps from the first to the last (ps)."""
    found = []
    for unit, scale in UNITS_PS.items():
        for value in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
            halved = value == 0.5 and unit != "ns"
            if not halved and first_ps <= value * scale <= last_ps and unit != "ps":
                found.append(f"{value:g} {unit}")
    return tuple(found)


class Units:
    """The attached devices, by the location that RemoteEx names them with."""

    def __init__(
        self,
        world: Any,
        tube: StreakTube,
        synchroscan_ps: Sequence[float] | None,
        unit: str | None,
        spectrograph: bool,
        free_exposures: bool,
        bits_32: bool,
    ) -> None:
        self.world, self.tube = world, tube
        self.sweeps_ps = tuple(synchroscan_ps or ())
        self.shutter_opened: Callable[[], None] | None = None
        device = {
            "td": self._streak(unit or ("C16910" if self.sweeps_ps else "C10627")),
            "del": self._phase_lock() if self.sweeps_ps else self._delay_generator(),
        }
        if spectrograph:
            device["spec"] = _spectrograph()
        size = tube.parameters
        self.groups: dict[str, dict[str, Group]] = {
            "dev": device,
            "cam": camera_groups(size.columns, size.rows, free_exposures),
            "acq": {"": _acquisition(bits_32)},
            "gen": {"": Group({"ShowStreakControl": Parameter("Show Streak control", "1", 0)})},
            "seq": {"": Group({"NoOfLoops": Parameter("No. of Loops", "1", 1, low=1, high=1e6)})},
        }
        self.groups["main"] = {"": self._main_window()}

    # ---- finding -------------------------------------------------------------------------------

    def find(self, place: str, name: str) -> Parameter:
        """Return a parameter of `td`, `del`, `spec`, or of the camera's `ai`, `pc` ..."""
        group = self.groups["dev"].get(place) or self.groups["cam"][place]
        return group.find(name)

    def wide(self, mode: str) -> bool:
        """Whether images of an acquisition mode have 32 bits."""
        name = {"AI": "32BitInAI", "PC": "32BitInPC"}.get(mode)
        return name is not None and self.groups["acq"][""].find(name).now == "1"

    def command(self, name: str, args: list[str], busy_code: int) -> Answer:
        """Answer ...ParamGet and its like; settings answer `busy_code` if that is not 0."""
        family, verb = VERBS.fullmatch(name).groups()  # type: ignore[union-attr]
        place, rest = "", args
        if family in ("cam", "dev"):
            if not args:
                raise RemoteExError(6)
            place, rest = args[0].lower(), args[1:]
            place = _PLACES.get(place, place) if family == "dev" else place
        if place not in self.groups[family]:
            raise RemoteExError(2)
        if verb == "set" and busy_code:
            raise RemoteExError(busy_code)
        values, takes_s = self.groups[family][place].command(verb, rest)
        if family == "dev" and verb == "infoex":
            values = ["1" if values[2] != "5" else "0", "1", *values]
        return values, takes_s

    # ---- how the tube stands --------------------------------------------------------------------

    @property
    def dark(self) -> bool:
        """Whether the tube is as it must be left: gain zero and shutter closed."""
        return self.find("td", "Shutter").now == "Closed" and self.find("td", "MCP Gain").now == "0"

    def power_cycle(self) -> None:
        """Go back to what the units are when they are switched on."""
        for name, value in (("Mode", "Focus"), ("MCP Gain", "0"), ("Shutter", "Closed")):
            self.find("td", name).value = value

    @property
    def sweep_ps(self) -> float:
        """The full sweep in use (ps)."""
        text = self.find("td", "Time Range").now
        if self.sweeps_ps:
            return self.sweeps_ps[int(text) - 1]
        value, unit = text.split()
        return float(value) * UNITS_PS[unit]

    @property
    def time_unit(self) -> str:
        """The unit of the time axis: that of the range's text, ps in synchroscan."""
        return "ps" if self.sweeps_ps else self.find("td", "Time Range").now.split()[1]

    def shot(self, place: str, frames: int, start_s: float, number: int) -> Shot:
        """Return how the tube stands now, for an acquisition with the exposure of a location."""
        if self.sweeps_ps:
            late_ps = float(self.find("del", "Delay Time").now)
        else:
            late_ps = 1e12 * float(self.find("del", "Delay A").now)
        centre, nm_per_px = _BESIDE_NM, _NM_PER_PX
        if "spec" in self.groups["dev"]:
            centre = float(self.find("spec", "Wavelength").now)
            nm_per_px *= 150.0 / _GRATINGS[self.find("spec", "Grating").now]
        return Shot(
            sweep_ps=self.sweep_ps,
            delay_ps=late_ps,
            centre_nm=centre,
            nm_per_px=nm_per_px,
            gain=int(self.find("td", "MCP Gain").now),
            swept=self.find("td", "Mode").now == "Operate",
            open=self.find("td", "Shutter").now == "Open",
            frames=frames,
            exposure_s=seconds(self.find(place, "Exposure").now),
            start_s=start_s,
            number=number,
        )

    # ---- the parameters -----------------------------------------------------------------------

    def _streak(self, unit: str) -> Group:
        if self.sweeps_ps:
            ranges = tuple(str(n + 1) for n in range(len(self.sweeps_ps)))
        elif unit.startswith(("C10910", "C7700")):
            ranges = single_sweep_ranges(5e2, 1e9)
        else:
            ranges = single_sweep_ranges(1e3, 1e10)
        first = ranges[min(3, len(ranges) - 1)]
        found = {
            "Time Range": Parameter("Time Range", first, 2, ranges, takes_s=2.0),
            "Mode": Parameter("Mode", "Focus", 2, ("Focus", "Operate"), takes_s=1.0),
            "Gate Mode": Parameter("Gate Mode", "Normal", 2, ("Normal", "Gate")),
            "MCP Gain": Parameter(
                "MCP Gain", "0", 1, low=0, high=self.tube.highest_gain, whole=True, takes_s=0.05
            ),
            "Shutter": Parameter("Shutter", "Closed", 2, ("Closed", "Open"), takes_s=0.1),
        }
        found["Shutter"].changed = self._shutter_moved
        if not self.sweeps_ps:
            found |= {
                "Trig. Mode": Parameter("Trig. Mode", "Cont", 2, ("Cont", "Single")),
                "Trigger status": Parameter("Trigger status", "", 5, read=self._trigger_status),
                "Trig. level": Parameter("Trig. level", "0.5", 1, low=-3, high=3),
                "Trig. slope": Parameter("Trig. slope", "+", 2, ("+", "-")),
                "FocusTimeOver": Parameter("FocusTimeOver", "5", 1, low=0, high=60),
            }
        found["DeviceName"] = Parameter("DeviceName", unit, 5)
        return Group(found)

    def _phase_lock(self) -> Group:
        lock = Parameter("Lock Mode", "Locked", 2, ("Locked", "Unlocked"), takes_s=12.0)

        def status() -> str:
            return "Locked" if lock.now == "Locked" and self.world.laser_on else "Unlocked"

        return Group(
            {
                "Delay Time": Parameter("Delay Time", "0", 1, low=0, high=65535),
                "Lock Mode": lock,
                "Device Status": Parameter("Device Status", "", 5, read=status),
                "DeviceName": Parameter("DeviceName", "C12270", 5),
            }
        )

    def _delay_generator(self) -> Group:
        rate = Parameter("Repetition Rate", "", 5)
        rate.read = lambda: number_text(self.world.repetition_rate_Hz)
        delays = {
            f"Delay {letter}": Parameter(f"Delay {letter}", "0", 1, low=0, high=1.0, takes_s=0.05)
            for letter in "ABCDEFGH"
        }
        return Group(
            {
                "Setting": Parameter("Setting", "M1", 2, ("M1", "M2", "M3")),
                "Trig. Mode": Parameter("Trig. Mode", "Ext. rising", 2, ("Int.", "Ext. rising")),
                **delays,
                "Burst Mode": Parameter("Burst Mode", "Off", 2, ("Off", "On")),
                "Repetition Rate": rate,
                "DeviceName": Parameter("DeviceName", "DG645", 5),
            }
        )

    def _main_window(self) -> Group:
        size = self.tube.parameters

        def shown(name: str) -> Parameter:
            return Parameter(name, "", 5, read=lambda: self.find("td", name).now)

        image = Parameter("Image Size", f"{size.columns}x{size.rows}", 5)
        return Group(
            {
                "ImageSize": image,
                "Message": Parameter("Message", "", 5),
                "GateMode": shown("Gate Mode"),
                "MCPGain": shown("MCP Gain"),
                "Mode": shown("Mode"),
                "Shutter": shown("Shutter"),
                "StreakCamera": shown("DeviceName"),
                "TimeRange": shown("Time Range"),
            }
        )

    def _trigger_status(self) -> str:
        swept = self.world.laser_on and self.find("td", "Mode").now == "Operate"
        return "Fired" if swept else "Ready"

    def _shutter_moved(self, text: str) -> None:
        if text == "Open" and self.shutter_opened is not None:
            self.shutter_opened()


def _spectrograph() -> Group:
    grating = Parameter("Grating", next(iter(_GRATINGS)), 2, tuple(_GRATINGS), takes_s=15.0)
    ruling = Parameter("Ruling", "", 5, read=lambda: f"{_GRATINGS[grating.now]:g}")
    return Group(
        {
            "Wavelength": Parameter("Wavelength", "520", 1, low=0, high=1400, takes_s=1.5),
            "Grating": grating,
            "Blaze": Parameter("Blaze", "500", 5),
            "Ruling": ruling,
            "Slit Width": Parameter("Slit Width", "40", 1, low=0, high=3000, takes_s=0.5),
            "Exit Mirror": Parameter("Exit Mirror", "Front", 2, ("Front", "Side")),
            "DeviceName": Parameter("DeviceName", "SP-2300i", 5),
        }
    )


def _acquisition(bits_32: bool) -> Group:
    wide = "1" if bits_32 else "0"
    return Group(
        {
            "DisplayInterval": Parameter("Display interval", "100", 1, low=0, high=10000),
            "32BitInAI": Parameter("32 bit images in Analog integration", wide, 0),
            "WriteDPCFile": Parameter("Write dynamic photon counting file", "0", 0),
            "AdditionalTimeout": Parameter("Additional timeout", "0", 1, low=0, high=600),
            "32BitInPC": Parameter("32 bit images in Photon counting", wide, 0),
            "PCMode": Parameter("Photon counting mode", "Normal", 2, ("Normal", "Slice")),
        }
    )
