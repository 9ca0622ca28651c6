"""Princeton Instruments CCDs (PIXIS, ProEM, PyLoN) through PICam, by pylablib.

Stops at counts, as its base `pylablib_camera` does.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from instruments.drivers.pylablib_camera import PylablibCamera
from instruments.drivers.pylablib_loading import seven_digits
from instruments.errors import (
    BadReply,
    DeviceFault,
    LimitError,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Setting


class PicamCamera(PylablibCamera):
    """Princeton Instruments PIXIS, ProEM, PyLoN ... through the vendor's PICam.

    Args:
        serial: serial number; empty takes the first camera.
        clock: the bench's clock; the wall clock if left out.
        sdk: stands in for the vendor library (simulated bench), see `connect`.
        temperature_C: set-point of the sensor; None leaves it alone.
        cooling_timeout_s: how long `connect` waits for the sensor to be cold; 0: not at all.
        shutter: shutter while acquiring: "open", "auto" (for each exposure) or "closed".
        readout_MHz: converter speed; the camera's default if left out.
        analog_gain: 1 (low), 2 (medium), 3 (high); the camera's default if left out.
        mirrored: reverse the pixels (red on the left).
        saturation_counts: from where a pixel counts as saturated; full scale if left out.
        library: folder of picam.dll where it is not in its usual place.
    """

    DRIVER_ID = "princeton-picam"
    VENDOR = "Princeton Instruments"
    _MODULE = "devices.PrincetonInstruments.picam"
    _LIBRARY_KEY = "picam"
    _LIBRARY_ERROR = "PicamLibError"
    _LIBRARY_MISSING = (
        "the vendor library PICam (picam.dll) was not found: install PICam of Princeton "
        "Instruments on this Windows computer"
    )
    # library not initialised, communication failed, disconnected, camera faulted
    _GONE = frozenset({1, 15, 23, 53})
    _BUSY = frozenset({20})
    _NOT_RUNNING = 27
    # Values of PicamShutterTimingMode and PicamSensorTemperatureStatus: their texts vary.
    _SHUTTER: ClassVar[dict[str, int]] = {"auto": 1, "closed": 2, "open": 3}
    _STATES: ClassVar[dict[int, str]] = {1: "cooling", 2: "stable", 3: "faulted"}

    def __init__(
        self,
        serial: str = "",
        clock: Clock | None = None,
        sdk: Any = None,
        temperature_C: float | None = -70.0,
        *,
        cooling_timeout_s: float = 0.0,
        shutter: str = "open",
        readout_MHz: float | None = None,
        analog_gain: int | None = None,
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
        self._serial = str(serial)
        self._readout_MHz = readout_MHz
        self._analog_gain = analog_gain

    def _open(self, module: Any) -> Any:
        return module.PicamCamera(self._serial or None)

    @staticmethod
    def _force_close(module: Any, cam: Any) -> None:
        try:
            cam.close()
        finally:
            if cam.handle is not None:  # pylablib gave up before closing
                try:
                    module.lib.Picam_CloseCamera(cam.handle)
                finally:
                    cam.handle = None
                    module.libctl.close(cam._opid)

    def _configure(self) -> None:
        cam = self._cam
        info = cam.get_device_info()
        if self._serial and info.serial_number != self._serial:
            raise WrongIdentity(f"{info.model} {info.serial_number} answered, not {self._serial}")
        self._identity = Identity(self.VENDOR, info.model, info.serial_number, info.name)
        width, height = (int(n) for n in cam.get_detector_size())
        self._size = (width, height)
        self._pitch_um = seven_digits(cam.get_pixel_size()[0] * 1e6)
        for name in ("Time Stamps", "Track Frames"):
            cam.set_attribute_value(name, 0, error_on_missing=False)
        cam.set_attribute_value("Trigger Response", 1, error_on_missing=False)
        self._choose("ADC Speed", self._readout_MHz, "readout_MHz")
        self._choose("ADC Analog Gain", self._analog_gain, "analog_gain")
        found = cam.set_roi(0, width, 0, height, 1, height)
        if tuple(found) != (0, width, 0, height, 1, height):
            raise NotReady(
                f"{info.model} does not bin its {height} rows into one: it took columns "
                f"{found[0]} to {found[1]}, rows {found[2]} to {found[3]}, bins {found[4:]}"
            )
        self._set_saturation(int(cam.cav["Pixel Bit Depth"]))
        exposure, cooling = cam.ca["Exposure Time"], cam.ca["Sensor Temperature Set Point"]
        for attribute in (exposure, cooling):
            attribute.update_limits(force=True)
        self._limits = {
            "exposure_s": Limits(exposure.min * 1e-3, exposure.max * 1e-3, "s"),
            "frames": Limits(1, self._MOST_FRAMES, ""),
            "temperature_C": Limits(cooling.min, cooling.max, "C"),
        }
        self._settings = {
            "readout_mode": Setting("full vertical binning"),
            "readout_MHz": Setting(seven_digits(cam.cav["ADC Speed"]), "MHz"),
            "analog_gain": Setting(str(cam.get_attribute_value("ADC Analog Gain", default=""))),
        }
        self._move_shutter("closed")
        self._start_settings()

    def _choose(self, name: str, value: float | None, key: str) -> None:
        if value is None:
            return
        attribute = self._cam.ca[name]
        attribute.update_limits(force=True)
        near = [v for v in attribute.ivalues if math.isclose(v, value, rel_tol=0.02)]
        if not near:
            raise LimitError(f"{key}: {value} was asked, offered is {attribute.ivalues}", key=key)
        attribute.set_value(near[0])

    def _prepare(self, frames: int) -> None:
        self._cam.setup_acquisition(mode="snap", nframes=frames)  # commits the parameters
        self._read_period()

    def _collect(self, have: int, frames: int) -> npt.NDArray[np.uint16]:
        cam = self._cam
        running = cam.acquisition_in_progress()
        try:
            images, span = cam.read_multiple_images(return_rng=True)
        except self._module.PicamLibError as error:
            if error.code != self._NOT_RUNNING:
                raise
            # pylablib asks once more after the end; what it got before is counted by now
            images, span = cam.read_multiple_images(return_rng=True)
        if not images:
            if not running:
                raise DeviceFault(
                    f"{self.DRIVER_ID}: the camera stopped after {have} of {frames} frames"
                )
            return np.empty((0, self.pixels), dtype=np.uint16)
        if tuple(span) != (have, have + len(images)) or span[1] > frames:
            raise BadReply(
                f"{self.DRIVER_ID}: frames from {have} on were asked, {span[0]} to {span[1]} came; "
                "frames were lost, take fewer at a time"
            )
        return np.stack(images).reshape(len(images), self.pixels).astype(np.uint16, copy=False)

    def _apply_exposure(self, exposure_s: float) -> None:
        attribute = self._cam.ca["Exposure Time"]
        attribute.update_limits()
        # pylablib's truncation loses a whole increment to rounding: 100 ms would become 99.999 ms
        steps = round((exposure_s * 1e3 - attribute.min) / attribute.inc) if attribute.inc else 0
        value = attribute.min + steps * attribute.inc if attribute.inc else exposure_s * 1e3
        attribute.set_value(min(max(value, attribute.min), attribute.max), truncate=False)

    def _move_shutter(self, mode: str) -> float:
        cam = self._cam
        attribute = cam.get_attribute("Shutter Timing Mode", error_on_missing=False)
        if attribute is None or self._SHUTTER[mode] not in attribute.ivalues:
            return 0.0  # a camera without a shutter to drive
        attribute.set_value(self._SHUTTER[mode])
        self._prepare(max(self._prepared, 1))  # commits
        delay_ms = cam.get_attribute_value("Shutter Opening Delay", default=0.0)
        return 1e-3 * float(delay_ms) if mode == "open" else 0.0

    def _measure_temperature(self) -> tuple[float, str]:
        cam = self._cam
        state = int(cam.get_attribute_value("Sensor Temperature Status", enum_as_str=False))
        celsius = float(cam.cav["Sensor Temperature Reading"])
        return celsius, self._STATES.get(state, "faulted")

    def _apply_temperature(self, temperature_C: float) -> float:
        self._cam.set_attribute_value("Sensor Temperature Set Point", temperature_C)
        self._prepare(max(self._prepared, 1))  # commits
        return float(self._cam.cav["Sensor Temperature Set Point"])
