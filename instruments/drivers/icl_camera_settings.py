"""What an ICL camera is told and tells: chip, gain, speeds, exposure, temperature.

For `icl_camera`. Each setting is told once and read back; nothing here acquires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instruments.clock import Clock
from instruments.drivers.icl_device import (
    IclDevice,
    configuration,
    number,
    records,
    text,
    whole,
)
from instruments.drivers.icl_link import IclLink
from instruments.errors import BadReply, DeviceFault, LimitError, NotReady, WrongIdentity
from instruments.roles import Identity, Limits

SETTINGS = ("gain", "speed", "parallel_speed")

_MOST_FRAMES = 20_000
_LONGEST_S = 3600.0
_UNITS_S = {0: 1e-3, 1: 1e-6}  # timer resolution token -> unit of the exposure
_STEADY_S = 30.0
_STEADY_C = 0.3
_TEMPERATURE_POLL_S = 2.0
_COMMAND = {"gain": "Gain", "speed": "Speed", "parallel_speed": "ParallelSpeed"}
_LIST = {"gain": "gains", "speed": "speeds", "parallel_speed": "parallelSpeeds"}


class IclCameraSettings(IclDevice):
    """The settings of a camera behind the ICL."""

    PREFIX = "ccd"
    KIND = "camera"

    def __init__(
        self,
        link: IclLink,
        clock: Clock | None,
        *,
        index: int,
        serial: str | None,
        pixel_pitch_um: float | None,
        cold_below_C: float,
    ) -> None:
        super().__init__(link, clock, index=index, serial=serial)
        self._pitch_wanted = pixel_pitch_um
        self._cold_below_C = cold_below_C
        self._tokens: dict[str, dict[int, str]] = {}  # setting -> token -> words
        self._set: dict[str, int] = {}  # setting -> token, as read back
        self._size = (0, 0)
        self._pitch_um = 0.0
        self._fine = True  # exposures in microseconds can be had
        self._exposure_s = 0.0
        self._busy = False  # an acquisition is going on
        self._last_C: float | None = None

    def _identify(self, entry: Mapping[str, Any]) -> Identity:
        found = configuration(self._request("getConfig"))
        model = text(found, "deviceType") or text(entry, "deviceType")
        if "horiba" not in model.lower() and "synap" not in model.lower():
            raise WrongIdentity(
                f"{self.name}: {model or 'a device without a name'!r} answers, expected is a "
                "HORIBA camera"
            )
        chip = self._request("getChipSize")
        size = whole(chip, "x", 1, 65536), whole(chip, "y", 1, 65536)
        told = whole(found, "chipWidth", 1, 65536), whole(found, "chipHeight", 1, 65536)
        if size != told:
            raise BadReply(
                f"{self.name}: a chip of {size[0]} x {size[1]} pixels, in its configuration "
                f"{told[0]} x {told[1]}"
            )
        self._size = size
        self._pitch_um = self._pitch_wanted or _pitch_um(found)
        for setting, key in _LIST.items():
            self._tokens[setting] = {
                whole(item, "token", 0, 255): text(item, "info") for item in records(found, key)
            }
        serial = text(found, "serialNumber") or text(entry, "serialNumber")
        return Identity(
            "HORIBA",
            model.removeprefix("HORIBA").strip().removeprefix("Scientific").strip(),
            serial.rpartition(":")[2].strip(),
            text(found, "version"),
        )

    def _set_format(self) -> None:
        width, height = self._size
        self._ask("setAcqFormat", format=1, numberOfRois=1)
        self._ask(
            "setRoi",
            roiIndex=1,
            xOrigin=0,
            yOrigin=0,
            xSize=width,
            ySize=height,
            xBin=1,
            yBin=height,
        )

    def _choose(self, setting: str, asked: int | str | None) -> None:
        """Set gain or a speed by token or words, read back."""
        offered = self._tokens[setting]
        if not offered and asked is None:
            return
        command = _COMMAND[setting]
        if asked is not None:
            token = _token(setting, asked, offered)
            self._ask(f"set{command}", token=token)
        found = whole(self._ask(f"get{command}"), "token", 0, 255)
        if asked is not None and found != token:
            raise DeviceFault(
                f"{self.name}: {setting} {token} was asked, it stays at {found}; set another"
            )
        self._set[setting] = found

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Limits of exposure_s and frames."""
        return {
            "exposure_s": Limits(_UNITS_S[1 if self._fine else 0], _LONGEST_S, "s"),
            "frames": Limits(1, _MOST_FRAMES, ""),
        }

    @property
    def pixels(self) -> int:
        """See Camera."""
        return self._size[0]

    @property
    def rows(self) -> int:
        """Pixels that are binned into each count."""
        return self._size[1]

    @property
    def pixel_pitch_um(self) -> float:
        """See Camera."""
        return self._pitch_um

    def _tell_exposure(self, exposure_s: float) -> float:
        token = 1 if self._fine and abs(exposure_s * 1e3 - round(exposure_s * 1e3)) > 5e-4 else 0
        time = max(1, round(exposure_s / _UNITS_S[token]))
        self._ask("setTimerResolution", resolutionToken=token)
        self._ask("setExposureTime", time=time)
        self._exposure_s = self._read_exposure()
        # The camera may round; a setting that did not happen is another thing.
        if abs(self._exposure_s - exposure_s) > 0.02 * exposure_s + 1e-3:
            raise DeviceFault(
                f"{self.name}: an exposure of {exposure_s:g} s was asked, it says "
                f"{self._exposure_s:g} s; choose another"
            )
        return self._exposure_s

    def _read_exposure(self) -> float:
        token = whole(self._ask("getTimerResolution"), "resolutionToken", 0, 1)
        time = whole(self._ask("getExposureTime"), "time", 1, 2**53)
        return float(f"{time * _UNITS_S[token]:.12g}")

    def _has_microseconds(self) -> bool:
        try:
            self._ask("setTimerResolution", resolutionToken=1)
        except (LimitError, DeviceFault):
            return False
        return whole(self._ask("getTimerResolution"), "resolutionToken", 0, 1) == 1

    @property
    def temperature_C(self) -> float:
        """See Camera; the last reading where the camera refuses to tell during an acquisition."""
        with self.lock:
            self._need()
            try:
                found = number(self._ask("getChipTemperature"), "temperature", -200.0, 100.0)
            except (NotReady, DeviceFault):
                if self._busy and self._last_C is not None:
                    return self._last_C
                raise
            self._last_C = found
            return found

    def wait_until_cold(self, timeout_s: float) -> None:
        """Wait until the sensor is below `cold_below_C` and has not drifted for half a minute.

        Raises:
            NotReady: not within `timeout_s`.
        """
        deadline = self.clock.now() + timeout_s
        seen: list[tuple[float, float]] = []
        while True:
            now, celsius = self.clock.now(), self.temperature_C
            seen = [(at, value) for at, value in seen if at >= now - _STEADY_S - 1e-3]
            seen.append((now, celsius))
            values = [value for _, value in seen]
            whole_span = now - seen[0][0] >= _STEADY_S - _TEMPERATURE_POLL_S
            steady = max(values) - min(values) <= _STEADY_C
            if whole_span and steady and max(values) <= self._cold_below_C:
                return
            if now >= deadline:
                raise NotReady(
                    f"{self.name}: the sensor is at {celsius:.1f} C after {timeout_s:g} s, "
                    f"expected is a steady value below {self._cold_below_C:g} C (cold_below_C); "
                    "check power and cooling, or wait"
                )
            self.clock.sleep(min(_TEMPERATURE_POLL_S, max(deadline - now, 0.01)))


def _pitch_um(found: Mapping[str, Any]) -> float:
    """Return the pixel pitch (um): the ICL writes tenths of a micrometre (140, 260)."""
    spacing = number(found, "chipHSpacing", 1.0, 1000.0)
    return spacing / 10.0 if spacing >= 50.0 else spacing


def _token(setting: str, asked: int | str, offered: Mapping[int, str]) -> int:
    """Return the token that is asked for by number or words; LimitError if there is none."""
    plain = {token: " ".join(words.split()).lower() for token, words in offered.items()}
    if isinstance(asked, str):
        wanted = " ".join(asked.split()).lower()
        fits = [token for token, words in plain.items() if words == wanted]
        if len(fits) == 1:
            return fits[0]
    elif not isinstance(asked, bool) and asked in offered:
        return int(asked)
    have = ", ".join(f"{token} ({words.strip()})" for token, words in sorted(offered.items()))
    raise LimitError(f"{setting}: {asked!r} was asked, the camera offers {have}", key=setting)
