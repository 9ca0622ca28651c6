"""Andor CCDs (Newton, iDus, iXon, Clara) through the SDK2, by pylablib.

Stops at counts, as its base `pylablib_camera` does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from instruments.drivers.pylablib_camera import POLL_S, SLICE_S, PylablibCamera
from instruments.drivers.pylablib_loading import seven_digits
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    LimitError,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Setting


class AndorSdk2Camera(PylablibCamera):
    """Andor Newton, iDus, iXon, Clara ... through the vendor's SDK2.

    Args:
        index: which of the connected cameras, from 0.
        clock: the bench's clock; the wall clock if left out.
        sdk: stands in for the vendor library (simulated bench), see `connect`.
        temperature_C: set-point of the sensor, a whole number; None leaves the cooler alone.
        cooling_timeout_s: how long `connect` waits for the sensor to be cold; 0: not at all.
        shutter: internal shutter while acquiring: "open", "auto" or "closed" (dark frames).
        shutter_ms: opening and closing time; the camera's shortest if left out.
        shutter_opens_high: the shutter output is high when open.
        readout_MHz: horizontal speed; the first of the camera's list if left out.
        preamp_gain: pre-amplifier gain; the first of the camera's list if left out.
        fan: "full", "low" or "off" (water cooling).
        keep_cooling: leave the sensor cold when the camera is closed.
        serial: refuse a camera with another serial number.
        mirrored: reverse the pixels (red on the left).
        saturation_counts: from where a pixel counts as saturated; full scale if left out.
        library: folder of atmcd64d.dll where it is not in its usual place.
    """

    DRIVER_ID = "andor-sdk2"
    VENDOR = "Andor"
    _MODULE = "devices.Andor.AndorSDK2"
    _LIBRARY_KEY = "andor_sdk2"
    _LIBRARY_ERROR = "AndorSDK2LibError"
    _LIBRARY_MISSING = (
        "the vendor library of the Andor SDK2 (atmcd64d.dll) was not found: install Andor SOLIS "
        "or the Andor SDK2 on this Windows computer"
    )
    # VXD not installed, error of the acknowledge, not initialised, USB error, no camera
    _GONE = frozenset({20003, 20013, 20075, 20089, 20990})
    _BUSY = frozenset({20072, 20074})
    _STATES: ClassVar[dict[str, str]] = {
        "off": "off",
        "not_reached": "cooling",
        "not_stabilized": "settling",
        "stabilized": "stable",
        "drifted": "drifted",
    }

    def __init__(
        self,
        index: int | str = 0,
        clock: Clock | None = None,
        sdk: Any = None,
        temperature_C: float | None = -70.0,
        *,
        cooling_timeout_s: float = 0.0,
        shutter: str = "open",
        shutter_ms: int | None = None,
        shutter_opens_high: bool = False,
        readout_MHz: float | None = None,
        preamp_gain: float | None = None,
        fan: str = "full",
        keep_cooling: bool = True,
        serial: str = "",
        mirrored: bool = False,
        saturation_counts: int | None = None,
        library: str = "",
    ) -> None:
        super().__init__(
            clock=clock,
            sdk=sdk,
            temperature_C=temperature_C,
            cooling_timeout_s=cooling_timeout_s,
            shutter=shutter,
            mirrored=mirrored,
            saturation_counts=saturation_counts,
            library=library,
        )
        try:
            self._index = int(index)
        except ValueError:
            raise ConfigError(
                f"{index!r} was given, the resource of an Andor camera is its number, from 0",
                key="resource",
            ) from None
        if fan not in ("full", "low", "off"):
            raise ConfigError(f"{fan!r} was given, allowed is full, low, off", key="fan")
        self._fan = fan
        self._shutter_ms = shutter_ms
        self._shutter_ttl = int(shutter_opens_high)
        self._readout_MHz = readout_MHz
        self._preamp_gain = preamp_gain
        self._keep_cooling = keep_cooling
        self._serial = serial
        self._buffer_frames = 0

    def _open(self, module: Any) -> Any:
        # A number for `temperature` keeps pylablib from choosing a set-point; it is not sent.
        return module.AndorSDK2Camera(idx=self._index, temperature=0, fan_mode=self._fan)

    def _configure(self) -> None:
        cam = self._cam
        info = cam.get_device_info()
        model, serial = str(info.head_model).strip(), str(info.serial_number)
        if self._serial and serial != str(self._serial):
            raise WrongIdentity(
                f"camera {self._index} is {model} with serial number {serial}, asked was "
                f"{self._serial}; correct the resource in the bench file"
            )
        self._identity = Identity(self.VENDOR, model, serial, str(info.controller_model).strip())
        columns, rows = cam.get_detector_size()
        self._size = (int(columns), int(rows))
        self._pitch_um = seven_digits(cam.get_pixel_size()[0] * 1e6)
        self._choose_amplifier()
        try:
            cam.set_trigger_mode("int")
            cam.set_read_mode("fvb")  # never set_roi after this: it goes back to images
        except self._module.AndorNotSupportedError as error:
            raise NotReady(f"{model} cannot be read with full vertical binning: {error}") from None
        if tuple(cam.get_data_dimensions()) != (1, self.pixels):
            raise NotReady(f"{model} does not give one spectrum of {self.pixels} pixels a frame")
        with self._selected() as lib:
            if self._keep_cooling:
                with contextlib.suppress(self._module.AndorSDK2LibError):  # not every camera can
                    lib.SetCoolerMode(1)
            try:
                longest_s = seven_digits(lib.GetMaximumExposure())
            except self._module.AndorSDK2LibError:
                longest_s = 3600.0
        low_C, high_C = cam.get_temperature_range()
        self._prepare(1)
        shortest_s = seven_digits(cam.set_exposure(0))
        self._limits = {
            "exposure_s": Limits(shortest_s, longest_s, "s"),
            "frames": Limits(1, self._MOST_FRAMES, ""),
            "temperature_C": Limits(float(low_C), float(high_C), "C"),
        }
        self._move_shutter("closed")
        self._start_settings()

    def _choose_amplifier(self) -> None:
        cam = self._cam
        modes = cam.get_all_amp_modes()
        speed, gain = self._readout_MHz, self._preamp_gain
        fitting = [
            mode
            for mode in modes
            if (speed is None or math.isclose(mode.hsspeed_MHz, speed, rel_tol=0.02))
            and (gain is None or math.isclose(mode.preamp_gain, gain, rel_tol=0.02))
        ]
        if not fitting:
            offered = sorted(
                {(seven_digits(m.hsspeed_MHz), seven_digits(m.preamp_gain)) for m in modes}
            )
            raise LimitError(
                f"readout_MHz {speed}, preamp_gain {gain} was asked, this camera offers (MHz, "
                f"gain): {', '.join(map(str, offered))}",
                key="readout_MHz",
            )
        mode = fitting[0]
        cam.set_amp_mode(mode.channel, mode.oamp, mode.hsspeed, mode.preamp)
        self._set_saturation(int(mode.channel_bitdepth))
        self._settings = {
            "readout_mode": Setting("full vertical binning"),
            "readout_MHz": Setting(seven_digits(mode.hsspeed_MHz), "MHz"),
            "preamp_gain": Setting(seven_digits(mode.preamp_gain)),
            "fan": Setting(self._fan),
        }
        with self._selected() as lib, contextlib.suppress(self._module.AndorSDK2LibError):
            electrons = lib.GetSensitivity(mode.channel, mode.hsspeed, mode.oamp, mode.preamp)
            self._settings["electrons_per_count"] = Setting(seven_digits(electrons), "e-")

    @contextlib.contextmanager
    def _selected(self) -> Iterator[Any]:
        """Give the vendor library with this camera selected (it knows one at a time)."""
        with self._module._camsel_lock:
            self._need()._select_camera()
            yield self._module.lib

    def _prepare(self, frames: int) -> None:
        # "snap" is the SDK's kinetic series; set_acquisition_mode("kinetic") would be fast kinetics
        self._cam.setup_acquisition("snap", frames)
        self._read_period()
        with self._selected() as lib:
            try:
                self._buffer_frames = int(lib.GetSizeOfCircularBuffer())
            except self._module.AndorSDK2LibError:
                self._buffer_frames = 0

    def _slice_s(self) -> float:
        if self._buffer_frames > 0:
            return min(SLICE_S, max(0.25 * self._buffer_frames * self._period_s, POLL_S))
        return SLICE_S

    def _collect(self, have: int, frames: int) -> npt.NDArray[np.uint16]:
        # Not by pylablib's frame counter: the SDK's progress falls back to zero when a series is
        # complete, and a camera that does not tell its buffer size leaves the counter blind.
        with self._selected() as lib:
            ready = min(int(lib.GetTotalNumberImagesAcquired()), frames)
            if ready <= have:
                if not self._cam.acquisition_in_progress():
                    # it may have ended between the two questions
                    ready = min(int(lib.GetTotalNumberImagesAcquired()), frames)
                    if ready <= have:
                        raise DeviceFault(
                            f"{self.DRIVER_ID}: the camera stopped after {have} of {frames} frames"
                        )
                else:
                    return np.empty((0, self.pixels), dtype=np.uint16)
            count = ready - have
            data, first, last = lib.GetImages16(have + 1, ready, count * self.pixels)
        if (first, last) != (have + 1, ready) or np.size(data) != count * self.pixels:
            raise BadReply(
                f"{self.DRIVER_ID}: frames {have + 1} to {ready} were asked, {first} to {last} "
                "came; the computer was too slow for the camera's buffer, take fewer frames"
            )
        return np.asarray(data, dtype=np.uint16).reshape(count, self.pixels)

    def _apply_exposure(self, exposure_s: float) -> None:
        self._cam.set_exposure(exposure_s)

    def _move_shutter(self, mode: str) -> float:
        cam = self._cam
        # pylablib confuses opening and closing time twice, so both are given alike or not at all.
        try:
            _, _, one_ms, other_ms = cam.setup_shutter(
                mode, self._shutter_ttl, self._shutter_ms, self._shutter_ms
            )
        except self._module.AndorNotSupportedError:
            return 0.0  # a camera without a shutter to drive
        return 1e-3 * max(one_ms, other_ms) if mode == "open" else 0.0

    def _measure_temperature(self) -> tuple[float, str]:
        state = self._cam.get_temperature_status()
        return seven_digits(self._cam.get_temperature()), self._STATES[state]

    def _apply_temperature(self, temperature_C: float) -> float:
        if temperature_C != int(temperature_C):
            raise LimitError(f"temperature_C: {temperature_C} was asked, whole degrees are allowed")
        taken = float(self._cam.set_temperature(int(temperature_C), enable_cooler=True))
        with contextlib.suppress(self._module.AndorNotSupportedError):
            if not self._cam.is_cooler_on():  # pylablib swallows the cooler's refusal
                raise DeviceFault(
                    f"{self.DRIVER_ID}: the cooler does not switch on; is it powered?"
                )
        return taken
