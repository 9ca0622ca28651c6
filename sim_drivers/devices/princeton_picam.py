"""Stand-in for PICam with one PIXIS on it; see pylablib_camera.py."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from instruments.clock import Clock
from sim_drivers.devices.pylablib_camera import (
    TICK_S,
    Library,
    Rows,
    Sensor,
    Series,
)

_NO_INIT, _BAD_VALUE, _READ_ONLY, _NO_PARAMETER = 1, 2, 10, 12
_CAMERA_OPEN, _BAD_ID, _BAD_HANDLE, _NO_ENUM = 7, 8, 9, 17
_RUNNING, _DISCONNECTED, _NOT_READABLE, _NOT_RUNNING = 20, 23, 26, 27
_NOT_COMMITTED, _BAD_BUFFER, _TIME_OUT = 29, 30, 32
_INTEGER, _FLOATING, _BOOLEAN, _ENUMERATION, _ROIS, _LARGE = 1, 2, 3, 4, 5, 6
_FREE, _RANGE, _COLLECTION, _ROI_RULES = 1, 2, 3, 4
_READ, _WRITE = 1, 2
_FOREVER = 2**31 - 1

_TEXTS: dict[int, dict[int, str]] = {
    2: {6: "PIXIS: 100B", 40: "PIXIS: 400B"},
    3: {1: "USB 2.0"},
    4: {
        _INTEGER: "Integer",
        _FLOATING: "Floating Point",
        _BOOLEAN: "Boolean",
        _ENUMERATION: "Enumeration",
        _ROIS: "ROIs",
        _LARGE: "Large Integer",
    },
    5: {_FREE: "None", _RANGE: "Range", _COLLECTION: "Collection", _ROI_RULES: "ROIs"},
    7: {1: "Low", 2: "Medium", 3: "High"},
    12: {1: "Monochrome 16-bit"},
    13: {1: "Full Frame"},
    14: {1: "Unlocked", 2: "Locked", 3: "Faulted"},
    16: {1: "Normal", 2: "Always Closed", 3: "Always Open"},
    19: {1: "No Response", 2: "Readout Per Trigger", 5: "Start On Single Trigger"},
    20: {1: "Read Only", 2: "Read/Write", 3: "Read/Write Trivial"},
    29: {
        7: "ADC Analog Gain",
        12: "Pixel Format",
        13: "Readout Control Mode",
        14: "Sensor Temperature Status",
        16: "Shutter Timing Mode",
        19: "Trigger Response",
    },
}


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a camera: number in its family, types, what it starts with and allows."""

    name: str
    number: int
    kind: int
    constraint: int = _FREE
    start: Any = None
    allowed: tuple[float, ...] = ()
    """Of a range: minimum, maximum, increment; of a collection: the values."""
    texts: int = 0
    """Type of the enumeration."""
    direct: bool = False
    """Read from the camera, not from what was set."""

    @property
    def key(self) -> int:
        """The parameter's number in the library."""
        return (self.constraint << 24) + (self.kind << 16) + self.number

    @property
    def writable(self) -> bool:
        """Whether it can be set."""
        return self.constraint != _FREE


class FakePicam(Library):
    """PICam with one PIXIS (1340 x 100 or 400, 20 um) on it.

    Args:
        clock: the bench's clock.
        world: asked for `ccd_electrons(start_s, exposure_s, pixels, pixel_pitch_um)`.
        seed: of the noise.
        pixels, rows, pixel_pitch_um: the chip.
        device: name under which the noise is keyed.
        serial: serial number; from the seed if left out.
        start_temperature_C: of the sensor, see FakeAndorSdk2.
        late_end: the end of a series is told by an update of its own, after the last frame's.
        idle_wait_refused: waiting for an update while nothing runs is an error (27).
        idle_stop_refused: so is stopping.
        temperature_while_acquiring: the thermometer answers during an acquisition.
    """

    DEVICE = "princeton-picam"
    STARTS = frozenset({"Picam_StartAcquisition"})
    OPENS = frozenset({"Picam_GetAvailableCameraIDs", "Picam_OpenCamera_BySerial"})
    ERROR = ("pylablib.devices.PrincetonInstruments.picam_lib", "PicamLibError")
    _HANDLE, _DEVICE_HANDLE = 0x1000, 0x2000
    _SHIFT_US = 9.2
    _SPEEDS_MHZ = (2.0, 0.1)
    _READ_NOISE_E: ClassVar[dict[float, float]] = {2.0: 11.0, 0.1: 3.5}
    _ELECTRONS_PER_COUNT: ClassVar[dict[int, float]] = {1: 4.0, 2: 2.0, 3: 1.0}
    _BLADE_MS = 8.0

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        pixels: int = 1340,
        rows: int = 100,
        pixel_pitch_um: float = 20.0,
        device: str = "princeton-picam",
        serial: str = "",
        start_temperature_C: float = -70.0,
        late_end: bool = False,
        idle_wait_refused: bool = False,
        idle_stop_refused: bool = False,
        temperature_while_acquiring: bool = False,
    ) -> None:
        super().__init__(
            clock,
            Sensor(
                clock, world, seed, device, pixels, rows, pixel_pitch_um, start_temperature_C, -70.0
            ),
        )
        self._serial = serial or f"{2401000 + seed % 1000}"
        self._late_end = late_end
        self._idle_wait_refused = idle_wait_refused
        self._idle_stop_refused = idle_stop_refused
        self._temperature_while_acquiring = temperature_while_acquiring
        self._initialized = 0
        self._open = self._lost = False
        self._memory = (0, 0)
        self._delivered = 0
        self._shutter_opened_s = math.inf
        self._shutter = 1
        self._parameters = {p.key: p for p in self._table(pixels, rows, pixel_pitch_um)}
        self._by_name = {p.name: p for p in self._parameters.values()}
        self._values: dict[str, Any] = {p.name: p.start for p in self._parameters.values()}
        self._committed = dict(self._values)

    @staticmethod
    def _table(pixels: int, rows: int, pitch_um: float) -> list[_Parameter]:
        return [
            _Parameter("Exposure Time", 23, _FLOATING, _RANGE, 10.0, (0.0, 1e7, 0.001)),
            _Parameter("Shutter Timing Mode", 24, _ENUMERATION, _COLLECTION, 1, (1, 2, 3), 16),
            _Parameter("Shutter Opening Delay", 46, _FLOATING, _RANGE, 8.0, (0.0, 1000.0, 0.001)),
            _Parameter("Readout Control Mode", 26, _ENUMERATION, _COLLECTION, 1, (1,), 13),
            _Parameter("Readout Time Calculation", 27, _FLOATING),
            _Parameter("Trigger Response", 30, _ENUMERATION, _COLLECTION, 1, (1, 2, 5), 19),
            _Parameter("ADC Speed", 33, _FLOATING, _COLLECTION, 2.0, (2.0, 0.1)),
            _Parameter("ADC Bit Depth", 34, _INTEGER, _COLLECTION, 16, (16,)),
            _Parameter("ADC Analog Gain", 35, _ENUMERATION, _COLLECTION, 2, (1, 2, 3), 7),
            _Parameter("ROIs", 37, _ROIS, _ROI_RULES, [(0, pixels, 1, 0, rows, 1)]),
            _Parameter("Readout Count", 40, _LARGE, _RANGE, 1, (0, _FOREVER, 1)),
            _Parameter("Pixel Format", 41, _ENUMERATION, _COLLECTION, 1, (1,), 12),
            _Parameter("Frame Size", 42, _INTEGER),
            _Parameter("Frame Stride", 43, _INTEGER),
            _Parameter("Frames per Readout", 44, _INTEGER, start=1),
            _Parameter("Readout Stride", 45, _INTEGER),
            _Parameter("Pixel Bit Depth", 48, _INTEGER, start=16),
            _Parameter("Readout Rate Calculation", 50, _FLOATING),
            _Parameter("Sensor Active Width", 59, _INTEGER, start=pixels),
            _Parameter("Sensor Active Height", 60, _INTEGER, start=rows),
            _Parameter("Pixel Width", 9, _FLOATING, start=pitch_um),
            _Parameter("Pixel Height", 10, _FLOATING, start=pitch_um),
            _Parameter(
                "Sensor Temperature Set Point", 14, _FLOATING, _RANGE, -70.0, (-80.0, 25.0, 1.0)
            ),
            _Parameter("Sensor Temperature Reading", 15, _FLOATING, direct=True),
            _Parameter("Sensor Temperature Status", 16, _ENUMERATION, texts=14, direct=True),
            _Parameter("Disable Cooling Fan", 29, _BOOLEAN, _COLLECTION, 0, (0, 1)),
        ]

    def restart(self) -> None:
        """See Library.restart; what was opened stays dead until it is closed."""
        self._lost = self._open
        self._series = None
        self._shutter, self._shutter_opened_s = 1, math.inf
        self._values = {p.name: p.start for p in self._parameters.values()}
        self._committed = dict(self._values)
        self.sensor.force(min(self.sensor.temperature() + 10.0, self.sensor.ambient_C), -70.0)

    # ---- library and identity

    def Picam_InitializeLibrary(self) -> None:
        """Open the library."""
        self._initialized += 1

    def Picam_UninitializeLibrary(self) -> None:
        """Close it, and every camera."""
        if not self._initialized:
            raise self._fail("Picam_UninitializeLibrary", _NO_INIT)
        self._initialized = 0
        self._open = self._lost = False
        self._series = None

    def Picam_GetAvailableCameraIDs(self) -> list[Any]:
        """Return the cameras."""
        self.on_call("Picam_GetAvailableCameraIDs")
        if not self._initialized:
            raise self._fail("Picam_GetAvailableCameraIDs", _NO_INIT)
        return [] if "disconnect" in self._faults else [self._identity()]

    def _identity(self) -> Any:
        serial = self._serial + ("9" if "identity" in self._faults else "")
        return SimpleNamespace(
            model=40 if self.sensor.rows >= 400 else 6,
            computer_interface=1,
            sensor_name=b"E2V 1340 x %d (CCD 36)" % self.sensor.rows,
            serial_number=serial.encode(),
        )

    def Picam_OpenCamera_BySerial(self, serial: bytes) -> int | None:
        """Open a camera, return its handle."""
        self.on_call("Picam_OpenCamera_BySerial")
        if self._open:
            raise self._fail("Picam_OpenCamera", _CAMERA_OPEN)
        if serial != self._identity().serial_number:
            raise self._fail("Picam_OpenCamera", _BAD_ID)
        self._open = True
        return self._HANDLE

    def PicamAdvanced_GetCameraDevice(self, handle: int) -> int:
        """Return the handle of the device behind a camera."""
        self._up("PicamAdvanced_GetCameraDevice", handle)
        return self._DEVICE_HANDLE

    def Picam_CloseCamera(self, handle: int) -> None:
        """Close the camera."""
        if handle != self._HANDLE or not self._open:
            raise self._fail("Picam_CloseCamera", _BAD_HANDLE)
        self._open = self._lost = False
        self._series = None

    def Picam_GetCameraID(self, handle: int) -> Any:
        """Return who the camera is."""
        self._up("Picam_GetCameraID", handle)
        return self._identity()

    def Picam_GetEnumerationString(self, kind: int, value: int) -> bytes:
        """Return the text of a value of an enumeration."""
        if kind == 6 and value in self._parameters:
            return self._parameters[value].name.encode()
        if value not in _TEXTS.get(kind, {}):
            raise self._fail("Picam_GetEnumerationString", _NO_ENUM)
        return _TEXTS[kind][value].encode()

    def _up(self, function: str, handle: int) -> None:
        self.on_call(function)
        if not self._initialized:
            raise self._fail(function, _NO_INIT)
        if self._lost or "disconnect" in self._faults:
            raise self._fail(function, _DISCONNECTED)
        if not self._open or handle not in (self._HANDLE, self._DEVICE_HANDLE):
            raise self._fail(function, _BAD_HANDLE)

    # ---- what parameters are

    def _find(self, function: str, handle: int, key: int) -> _Parameter:
        self._up(function, handle)
        if key not in self._parameters:
            raise self._fail(function, _NO_PARAMETER)
        return self._parameters[key]

    def Picam_GetParameters(self, handle: int) -> list[int]:
        """Return the numbers of all parameters."""
        self._up("Picam_GetParameters", handle)
        return list(self._parameters)

    def Picam_GetParameterValueType(self, handle: int, key: int) -> int:
        """Return the type of a parameter."""
        return self._find("Picam_GetParameterValueType", handle, key).kind

    def Picam_DoesParameterExist(self, handle: int, key: int) -> int:
        """Return whether the camera has a parameter."""
        self._up("Picam_DoesParameterExist", handle)
        return int(key in self._parameters)

    def Picam_IsParameterRelevant(self, handle: int, key: int) -> int:
        """Return whether a parameter matters now: all do."""
        self._find("Picam_IsParameterRelevant", handle, key)
        return 1

    def Picam_CanReadParameter(self, handle: int, key: int) -> int:
        """Return whether a parameter is read from the camera."""
        return int(self._find("Picam_CanReadParameter", handle, key).direct)

    def Picam_GetParameterValueAccess(self, handle: int, key: int) -> int:
        """Return whether a parameter can be set."""
        writable = self._find("Picam_GetParameterValueAccess", handle, key).writable
        return _WRITE if writable else _READ

    def Picam_CanSetParameterOnline(self, handle: int, key: int) -> int:
        """Return whether a parameter can be set during an acquisition: none can."""
        self._find("Picam_CanSetParameterOnline", handle, key)
        return 0

    def Picam_GetParameterEnumeratedType(self, handle: int, key: int) -> int:
        """Return the enumeration of a parameter."""
        return self._find("Picam_GetParameterEnumeratedType", handle, key).texts

    def Picam_GetParameterConstraintType(self, handle: int, key: int) -> int:
        """Return how a parameter is limited."""
        return self._find("Picam_GetParameterConstraintType", handle, key).constraint

    def Picam_GetParameterRangeConstraint(self, handle: int, key: int, _category: int) -> Any:
        """Return scope, severity, emptiness, minimum, maximum, increment, exceptions."""
        allowed = self._find("Picam_GetParameterRangeConstraint", handle, key).allowed
        return (1, 1, 0, *(float(v) for v in allowed), [], [])

    def Picam_GetParameterCollectionConstraint(self, handle: int, key: int, _category: int) -> Any:
        """Return scope, severity and the values allowed."""
        allowed = self._find("Picam_GetParameterCollectionConstraint", handle, key).allowed
        return (1, 1, [float(v) for v in allowed])

    def Picam_GetParameterRoisConstraint(self, handle: int, key: int, _category: int) -> Any:
        """Return what regions of interest have to keep."""
        self._find("Picam_GetParameterRoisConstraint", handle, key)
        columns, rows = float(self.sensor.columns), float(self.sensor.rows)

        def range_of(low: float, high: float) -> tuple[Any, ...]:
            return (1, 1, 0, low, high, 1.0, [], [])

        x, width = range_of(0.0, columns - 1), range_of(1.0, columns)
        y, height = range_of(0.0, rows - 1), range_of(1.0, rows)
        return (1, 1, 0, 3, 1, x, width, [], y, height, [])

    # ---- their values

    def _get(self, function: str, handle: int, key: int, kinds: tuple[int, ...]) -> Any:
        parameter = self._find(function, handle, key)
        if parameter.kind not in kinds:
            raise self._fail(function, 11)
        if parameter.direct:
            return self._read(function, parameter)
        name = parameter.name
        if name in ("Frame Size", "Frame Stride", "Readout Stride"):
            return 2 * len(self._layout()[0]) * self._width()
        if name == "Readout Time Calculation":
            return 1e3 * self._readout_s()
        if name == "Readout Rate Calculation":
            return 1.0 / self._cycle_s()
        return self._values[name]

    def _read(self, function: str, parameter: _Parameter) -> Any:
        if self._busy() and not self._temperature_while_acquiring:
            raise self._fail(function, _RUNNING)
        failed = "sensor" in self._faults
        if parameter.name == "Sensor Temperature Reading":
            return -999.0 if failed else self.sensor.reading()
        return 3 if failed else (2 if self.sensor.stable() else 1)

    def Picam_GetParameterIntegerValue(self, handle: int, key: int) -> int:
        """Return the value of an integer, a boolean or an enumeration."""
        kinds = (_INTEGER, _BOOLEAN, _ENUMERATION)
        return int(self._get("Picam_GetParameterIntegerValue", handle, key, kinds))

    def Picam_GetParameterLargeIntegerValue(self, handle: int, key: int) -> int:
        """Return the value of a large integer."""
        return int(self._get("Picam_GetParameterLargeIntegerValue", handle, key, (_LARGE,)))

    def Picam_GetParameterFloatingPointValue(self, handle: int, key: int) -> float:
        """Return the value of a floating-point number."""
        return float(self._get("Picam_GetParameterFloatingPointValue", handle, key, (_FLOATING,)))

    def Picam_GetParameterRoisValue(self, handle: int, key: int) -> list[tuple[int, ...]]:
        """Return the regions of interest: (x, width, x bin, y, height, y bin) each."""
        return list(self._get("Picam_GetParameterRoisValue", handle, key, (_ROIS,)))

    def Picam_ReadParameterIntegerValue(self, handle: int, key: int) -> int:
        """Read an integer from the camera."""
        return int(self._direct("Picam_ReadParameterIntegerValue", handle, key))

    def Picam_ReadParameterFloatingPointValue(self, handle: int, key: int) -> float:
        """Read a number from the camera."""
        return float(self._direct("Picam_ReadParameterFloatingPointValue", handle, key))

    def _direct(self, function: str, handle: int, key: int) -> Any:
        parameter = self._find(function, handle, key)
        if not parameter.direct:
            raise self._fail(function, _NOT_READABLE)
        return self._read(function, parameter)

    def Picam_GetParameterIntegerDefaultValue(self, handle: int, key: int) -> int:
        """Return the default of an integer, a boolean or an enumeration."""
        return int(self._find("Picam_GetParameterIntegerDefaultValue", handle, key).start)

    def Picam_GetParameterLargeIntegerDefaultValue(self, handle: int, key: int) -> int:
        """Return the default of a large integer."""
        return int(self._find("Picam_GetParameterLargeIntegerDefaultValue", handle, key).start)

    def Picam_GetParameterFloatingPointDefaultValue(self, handle: int, key: int) -> float:
        """Return the default of a floating-point number."""
        return float(self._find("Picam_GetParameterFloatingPointDefaultValue", handle, key).start)

    def Picam_GetParameterRoisDefaultValue(self, handle: int, key: int) -> list[tuple[int, ...]]:
        """Return the default regions of interest."""
        return list(self._find("Picam_GetParameterRoisDefaultValue", handle, key).start)

    def _set(self, function: str, handle: int, key: int, value: Any) -> None:
        parameter = self._find(function, handle, key)
        if self._busy():
            raise self._fail(function, _RUNNING)
        if not parameter.writable:
            raise self._fail(function, _READ_ONLY)
        allowed = parameter.allowed
        if parameter.constraint == _RANGE:
            low, high, step = allowed
            steps = (value - low) / step
            if not low <= value <= high or abs(steps - round(steps)) > 1e-3:
                raise self._fail(function, _BAD_VALUE)
        elif parameter.constraint == _COLLECTION and value not in allowed:
            raise self._fail(function, _BAD_VALUE)
        self._values[parameter.name] = value

    def Picam_SetParameterIntegerValue(self, handle: int, key: int, value: int) -> None:
        """Set an integer, a boolean or an enumeration."""
        self._set("Picam_SetParameterIntegerValue", handle, key, int(value))

    def Picam_SetParameterLargeIntegerValue(self, handle: int, key: int, value: int) -> None:
        """Set a large integer."""
        self._set("Picam_SetParameterLargeIntegerValue", handle, key, int(value))

    def Picam_SetParameterFloatingPointValue(self, handle: int, key: int, value: float) -> None:
        """Set a number."""
        self._set("Picam_SetParameterFloatingPointValue", handle, key, float(value))

    def Picam_SetParameterRoisValue(
        self, handle: int, key: int, rois: Sequence[tuple[int, ...]]
    ) -> None:
        """Set the regions of interest: one."""
        function = "Picam_SetParameterRoisValue"
        good = len(rois) == 1
        for x, width, xbin, y, height, ybin in rois:
            good &= x >= 0 and width > 0 and x + width <= self.sensor.columns
            good &= y >= 0 and height > 0 and y + height <= self.sensor.rows
            good &= xbin > 0 and ybin > 0 and width % xbin == 0 and height % ybin == 0
        if not good:
            raise self._fail(function, _BAD_VALUE)
        self._set(function, handle, key, [tuple(int(n) for n in roi) for roi in rois])

    def Picam_CommitParameters(self, handle: int) -> list[int]:
        """Send what was set to the camera, return the parameters that it does not take."""
        self._up("Picam_CommitParameters", handle)
        if self._busy():
            raise self._fail("Picam_CommitParameters", _RUNNING)
        self._committed = dict(self._values)
        self.sensor.aim(float(self._values["Sensor Temperature Set Point"]))
        shutter = int(self._values["Shutter Timing Mode"])
        if shutter == 3 and self._shutter != 3:
            self._shutter_opened_s = self.clock.now() + 1e-3 * self._BLADE_MS
        self._shutter = shutter
        return []

    # ---- times and the shape of frames

    def _layout(self) -> tuple[Rows, tuple[int, int, int]]:
        x, width, xbin, y, height, ybin = self._values["ROIs"][0]
        return [(row, row + ybin) for row in range(y, y + height, ybin)], (x, x + width, xbin)

    def _width(self) -> int:
        start, stop, binning = self._layout()[1]
        return (stop - start) // binning

    def _readout_s(self) -> float:
        shift_s = 1e-6 * self._SHIFT_US * self.sensor.rows
        pixels = len(self._layout()[0]) * self._width()
        return shift_s + 1e-6 * pixels / float(self._values["ADC Speed"])

    def _cycle_s(self) -> float:
        blade_s = 1e-3 * self._BLADE_MS if self._values["Shutter Timing Mode"] == 1 else 0.0
        return 1e-3 * float(self._values["Exposure Time"]) + self._readout_s() + blade_s

    # ---- acquisition

    def PicamAdvanced_SetAcquisitionBuffer(self, handle: int, address: int, size: int) -> None:
        """Give the memory that readouts are written to."""
        self._up("PicamAdvanced_SetAcquisitionBuffer", handle)
        if self._busy():
            raise self._fail("PicamAdvanced_SetAcquisitionBuffer", _RUNNING)
        self._memory = (address, size)

    def Picam_StartAcquisition(self, handle: int) -> None:
        """Start exposing."""
        function = "Picam_StartAcquisition"
        self._up(function, handle)
        if self._busy():
            raise self._fail(function, _RUNNING)
        if self._values != self._committed:
            raise self._fail(function, _NOT_COMMITTED)
        if self._memory[1] < self._frame_bytes():
            raise self._fail(function, _BAD_BUFFER)
        blade_s = 1e-3 * self._BLADE_MS if self._shutter == 1 else 0.0
        count = int(self._values["Readout Count"]) or None
        cycle = self._cycle_s()
        self._delivered = 0
        self._series = Series(self.clock.now() + blade_s, cycle - blade_s, cycle, count)

    def Picam_StopAcquisition(self, handle: int) -> None:
        """Stop exposing; what has been read out can still be waited for."""
        self._up("Picam_StopAcquisition", handle)
        if self._series is not None:
            done = 0 if self._mute else self._series.done(self.clock.now())
            self._series.frames = max(done, self._delivered)
        elif self._idle_stop_refused:
            raise self._fail("Picam_StopAcquisition", _NOT_RUNNING)

    def Picam_IsAcquisitionRunning(self, handle: int) -> int:
        """Return whether a series runs, or has updates that nobody has waited for."""
        self._up("Picam_IsAcquisitionRunning", handle)
        return int(self._busy())

    def Picam_WaitForAcquisitionUpdate(self, handle: int, timeout_ms: int) -> tuple[Any, Any]:
        """Let time pass until readouts are new or the series ends; return (data, status)."""
        function = "Picam_WaitForAcquisitionUpdate"
        self._up(function, handle)
        series = self._series
        if series is None:
            if self._idle_wait_refused:
                raise self._fail(function, _NOT_RUNNING)
            return self._update(None, 0, running=False)
        if series.frames == self._delivered:
            self._series = None
            return self._update(None, 0, running=False)
        limit = math.inf if timeout_ms < 0 else self.clock.now() + 1e-3 * timeout_ms
        due = math.inf if self._mute else series.due(self._delivered)
        if due > self.clock.now() + TICK_S:
            self.clock.sleep_until(min(due, limit))
            if due > limit:
                raise self._fail(function, _TIME_OUT)
        address, size = self._memory
        slots = size // self._frame_bytes()
        first = self._delivered % slots
        count = max(series.done(self.clock.now()) - self._delivered, 1)
        count = min(count, slots - first)
        for k in range(count):
            self._write(series, self._delivered + k, address + (first + k) * self._frame_bytes())
        self._delivered += count
        self.exposures += count
        over = series.frames == self._delivered
        if over and not self._late_end:
            self._series = None
        running = self._series is not None
        return self._update(address + first * self._frame_bytes(), count, running=running)

    def _update(self, address: int | None, count: int, *, running: bool) -> tuple[Any, Any]:
        data = SimpleNamespace(initial_readout=address, readout_count=count)
        return data, SimpleNamespace(running=running, errors=0, readout_rate=1.0 / self._cycle_s())

    def _write(self, series: Series, index: int, address: int) -> None:
        """Render a frame into the memory of the caller."""
        exposure = 1e-3 * float(self._values["Exposure Time"])
        start = series.start_s + index * series.cycle_s
        opened = {1: -math.inf, 2: math.inf, 3: self._shutter_opened_s}[self._shutter]
        groups, columns = self._layout()
        counts = self.sensor.expose(
            self.exposures + index - self._delivered,
            (max(start, opened), start + exposure),
            exposure,
            groups,
            columns,
            self._ELECTRONS_PER_COUNT[int(self._values["ADC Analog Gain"])],
            self._READ_NOISE_E[float(self._values["ADC Speed"])],
        )
        data = counts.astype("<u2").tobytes()
        ctypes.memmove(address, data, len(data))

    def _busy(self) -> bool:
        return self._series is not None

    def _frame_bytes(self) -> int:
        return 2 * len(self._layout()[0]) * self._width()
