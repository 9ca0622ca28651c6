"""Stand-in for the Andor SDK2 with one spectroscopy camera on it; see pylablib_camera.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from sim_drivers.devices.pylablib_camera import (
    Counts,
    Library,
    Rows,
    Sensor,
    Series,
)

_NO_NEW_DATA, _ACQUIRING, _IDLE, _NOT_INITIALIZED = 20024, 20072, 20073, 20075
_GENERAL_ERRORS, _USB_ERROR, _INVALID_MODE = 20049, 20089, 20078
_NOT_SUPPORTED = 20991
_P1, _P2, _P3, _P4, _P5, _P6 = 20066, 20067, 20068, 20069, 20076, 20077
_T_OFF, _T_SETTLING, _T_STABLE, _T_COOLING, _T_DRIFT = 20034, 20035, 20036, 20037, 20040
_SINGLE, _ACCUMULATE, _KINETIC, _FAST_KINETICS, _RUN_TILL_ABORT = 1, 2, 3, 4, 5
_FVB, _MULTI_TRACK, _RANDOM_TRACK, _SINGLE_TRACK, _IMAGE = 0, 1, 2, 3, 4


class FakeAndorSdk2(Library):
    """The Andor SDK2 with one spectroscopy camera (a Newton 920: 1024 x 256, 26 um) on it.

    Args:
        clock: the bench's clock.
        world: asked for `ccd_electrons(start_s, exposure_s, pixels, pixel_pitch_um)`.
        seed: of the noise.
        pixels, rows, pixel_pitch_um: the chip.
        device: name under which the noise is keyed; two cameras on a bench need two.
        serial: serial number; from the seed if left out.
        start_temperature_C: of the sensor; -70 as if an earlier session had left the cooler on,
            20 for a camera just switched on.
        progress_after_end: GetAcquisitionProgress keeps its numbers after a complete series
            (False: zeros, as the manual has it).
        temperature_while_acquiring: the thermometer answers during an acquisition.
        buffer_frames: frames in the circular buffer; 0: GetSizeOfCircularBuffer is refused.
        has_shutter: there is a shutter to drive.
    """

    DEVICE = "andor-sdk2"
    STARTS = frozenset({"StartAcquisition"})
    OPENS = frozenset({"GetAvailableCameras", "Initialize"})
    ERROR = ("pylablib.devices.Andor.atmcd32d_lib", "AndorSDK2LibError")
    _SPEEDS_MHZ = (3.0, 1.0, 0.05)
    _READ_NOISE_E = (11.0, 6.0, 2.9)
    _GAINS = (1.0, 2.0, 4.0)
    _ELECTRONS_PER_COUNT = (4.0, 2.0, 1.0)
    _SHIFTS_US = (12.9, 25.7, 51.2)
    _RANGE_C = (-120, 20)
    _SHUTTER_MS = (30, 25)
    _LONGEST_S = 3600.0

    def __init__(
        self,
        clock: Clock,
        world: Any,
        *,
        seed: int = 0,
        pixels: int = 1024,
        rows: int = 256,
        pixel_pitch_um: float = 26.0,
        device: str = "andor-sdk2",
        serial: int | None = None,
        start_temperature_C: float = -70.0,
        progress_after_end: bool = False,
        temperature_while_acquiring: bool = False,
        buffer_frames: int = 4096,
        has_shutter: bool = True,
    ) -> None:
        cold = start_temperature_C < 10.0
        target = start_temperature_C if cold else 20.0
        super().__init__(
            clock,
            Sensor(
                clock,
                world,
                seed,
                device,
                pixels,
                rows,
                pixel_pitch_um,
                start_temperature_C,
                target,
            ),
        )
        self._serial = 17000 + seed % 1000 if serial is None else serial
        self._progress_after_end = progress_after_end
        self._temperature_while_acquiring = temperature_while_acquiring
        self._buffer_frames = buffer_frames
        self._has_shutter = has_shutter
        self._initialized = False
        self._cooler = cold
        self._cooler_mode = 1 if cold else 0
        self._setpoint_C = round(target)
        self._set_to_start()

    def _set_to_start(self) -> None:
        pixels, rows = self.sensor.columns, self.sensor.rows
        self._fan = 0
        self._hs = self._gain = self._vs = 0
        self._exposure_s = 0.0
        self._mode = _SINGLE
        self._kinetics = self._accumulations = 1
        self._cycle_s = self._accumulate_s = 0.0
        self._read_mode = _IMAGE
        self._image = (1, 1, 1, pixels, 1, rows)
        self._track = (rows // 2, 1)
        self._multi = (1, 1, 0)
        self._random: Rows = [(1, 1)]
        self._shutter = 2
        self._shutter_opened_s = math.inf
        self._frames: dict[int, Counts] = {}
        self._rendered = 0
        self._oldest_unread = 0

    def restart(self) -> None:
        """See Library.restart."""
        self._initialized = False
        self._series = None
        self._cooler, self._cooler_mode, self._setpoint_C = False, 0, 20
        self.sensor.aim(self.sensor.ambient_C)
        self._set_to_start()

    # ---- library and identity

    def _up(self, function: str, *, idle: bool = False) -> None:
        """Refuse when not initialised or not connected (or, with `idle`, when acquiring)."""
        self.on_call(function)
        if "disconnect" in self._faults:
            raise self._fail(function, _USB_ERROR)
        if not self._initialized:
            raise self._fail(function, _NOT_INITIALIZED)
        self._update()
        if idle and self._acquiring():
            raise self._fail(function, _ACQUIRING)

    def GetAvailableCameras(self) -> int:
        """Return how many cameras there are."""
        self.on_call("GetAvailableCameras")
        return 0 if "disconnect" in self._faults else 1

    def GetCameraHandle(self, index: int) -> int:
        """Return the handle of a camera."""
        if index != 0:
            raise self._fail("GetCameraHandle", _P1)
        return 100

    def GetCurrentCamera(self) -> int:
        """Return the handle of the selected camera."""
        return 100

    def SetCurrentCamera(self, handle: int) -> None:
        """Select a camera."""
        if handle != 100:
            raise self._fail("SetCurrentCamera", _P1)

    def Initialize(self, _directory: bytes) -> None:
        """Open the selected camera."""
        self.on_call("Initialize")
        if "disconnect" in self._faults:
            raise self._fail("Initialize", _USB_ERROR)
        self._initialized = True

    def ShutDown(self) -> None:
        """Close it; the cooler goes off unless the cooler mode says otherwise."""
        if not self._initialized:
            raise self._fail("ShutDown", _NOT_INITIALIZED)
        self._series = None
        self._set_shutter(2)
        if self._cooler_mode == 0:
            self._cooler = False
            self.sensor.aim(self.sensor.ambient_C)
        self._initialized = False

    def GetVersionInfo(self, _what: int) -> bytes:
        """Return the version of the library."""
        return b"2.104.30084.0"

    def GetCapabilities(self) -> Any:
        """Return the bit fields that say what the camera can do."""
        return SimpleNamespace(
            ulSize=64,
            ulAcqModes=1 | 2 | 4 | 8 | 32,
            ulReadModes=1 | 2 | 4 | 8 | 16 | 32,
            ulFTReadModes=0,
            ulTriggerModes=1 | 2 | 16,
            ulCameraType=8,
            ulPixelMode=4,
            ulSetFunctions=0x1 | 0x2 | 0x4 | 0x200 | 0x1000 | 0x4000000,
            ulGetFunctions=0x1 | 0x2 | 0x4 | 0x8,
            ulFeatures=1 | 2 | (8 if self._has_shutter else 0) | 128 | 256,
            ulPCICard=0,
            ulEMGainCapability=0,
            ulFeatures2=0,
        )

    def GetControllerCardModel(self) -> bytes:
        """Return the model of the controller."""
        self._up("GetControllerCardModel")
        return b"USB"

    def GetHeadModel(self) -> bytes:
        """Return the model of the camera."""
        self._up("GetHeadModel")
        return b"DU920P_BEX2_DD"

    def GetCameraSerialNumber(self) -> int:
        """Return the serial number."""
        self._up("GetCameraSerialNumber")
        return self._serial + (1 if "identity" in self._faults else 0)

    def GetDetector(self) -> tuple[int, int]:
        """Return (columns, rows)."""
        self._up("GetDetector")
        return self.sensor.columns, self.sensor.rows

    def GetPixelSize(self) -> tuple[float, float]:
        """Return the pitch of the pixels (um)."""
        self._up("GetPixelSize")
        return self.sensor.pitch_um, self.sensor.pitch_um

    # ---- cooling

    def GetTemperatureRange(self) -> tuple[int, int]:
        """Return the lowest and highest set-point (C)."""
        self._up("GetTemperatureRange")
        return self._RANGE_C

    def SetTemperature(self, celsius: int) -> None:
        """Set the set-point (C)."""
        self._up("SetTemperature", idle=True)
        if not self._RANGE_C[0] <= celsius <= self._RANGE_C[1]:
            raise self._fail("SetTemperature", _P1)
        self._setpoint_C = celsius
        if self._cooler:
            self.sensor.aim(float(celsius))

    def CoolerON(self) -> None:
        """Switch the cooler on (in vain with the fault "sensor")."""
        self._up("CoolerON", idle=True)
        if "sensor" not in self._faults:
            self._cooler = True
            self.sensor.aim(float(self._setpoint_C))

    def CoolerOFF(self) -> None:
        """Switch the cooler off."""
        self._up("CoolerOFF", idle=True)
        self._cooler = False
        self.sensor.aim(self.sensor.ambient_C)

    def SetCoolerMode(self, mode: int) -> None:
        """Set whether the sensor stays cold after ShutDown (1) or not (0)."""
        self._up("SetCoolerMode", idle=True)
        if mode not in (0, 1):
            raise self._fail("SetCoolerMode", _P1)
        self._cooler_mode = mode

    def IsCoolerOn(self) -> int:
        """Return 1 if the cooler is on."""
        self._up("IsCoolerOn")
        return int(self._cooler and "sensor" not in self._faults)

    def GetTemperatureF(self) -> tuple[int, float]:
        """Return (status code, sensor temperature in C)."""
        self._up("GetTemperatureF", idle=not self._temperature_while_acquiring)
        if "sensor" in self._faults:
            return _T_DRIFT, -999.0
        if not self._cooler:
            status = _T_OFF
        elif not self.sensor.reached():
            status = _T_COOLING
        else:
            status = _T_STABLE if self.sensor.stable() else _T_SETTLING
        return status, _single(self.sensor.reading())

    def SetFanMode(self, mode: int) -> None:
        """Set the fan: 0 full, 1 low, 2 off."""
        self._up("SetFanMode")
        if mode not in (0, 1, 2):
            raise self._fail("SetFanMode", _P1)
        self._fan = mode

    # ---- amplifier and shift speeds

    def GetNumberADChannels(self) -> int:
        """Return how many converters there are."""
        self._up("GetNumberADChannels")
        return 1

    def GetBitDepth(self, channel: int) -> int:
        """Return the bits of a converter."""
        self._index("GetBitDepth", channel, 1)
        return 16

    def GetNumberAmp(self) -> int:
        """Return how many output amplifiers there are."""
        self._up("GetNumberAmp")
        return 1

    def GetAmpDesc(self, amplifier: int) -> bytes:
        """Return the name of an output amplifier."""
        self._index("GetAmpDesc", amplifier, 1)
        return b"Conventional"

    def GetNumberHSSpeeds(self, channel: int, amplifier: int) -> int:
        """Return how many horizontal speeds there are."""
        self._index("GetNumberHSSpeeds", channel, 1)
        self._index("GetNumberHSSpeeds", amplifier, 1, _P2)
        return len(self._SPEEDS_MHZ)

    def GetHSSpeed(self, channel: int, amplifier: int, index: int) -> float:
        """Return a horizontal speed (MHz)."""
        self._index("GetHSSpeed", channel, 1)
        self._index("GetHSSpeed", amplifier, 1, _P2)
        self._index("GetHSSpeed", index, len(self._SPEEDS_MHZ), _P3)
        return _single(self._SPEEDS_MHZ[index])

    def GetNumberPreAmpGains(self) -> int:
        """Return how many pre-amplifier gains there are."""
        self._up("GetNumberPreAmpGains")
        return len(self._GAINS)

    def GetPreAmpGain(self, index: int) -> float:
        """Return a pre-amplifier gain."""
        self._index("GetPreAmpGain", index, len(self._GAINS))
        return _single(self._GAINS[index])

    def IsPreAmpGainAvailable(self, _channel: int, _amplifier: int, speed: int, gain: int) -> int:
        """Return 1 if a gain can be had at a speed: not the highest at 3 MHz."""
        self._up("IsPreAmpGainAvailable")
        return int(not (speed == 0 and gain == 2))

    def GetSensitivity(self, _channel: int, speed: int, _amplifier: int, gain: int) -> float:
        """Return electrons a count."""
        self._index("GetSensitivity", speed, len(self._SPEEDS_MHZ), _P2)
        self._index("GetSensitivity", gain, len(self._GAINS), _P4)
        return _single(self._ELECTRONS_PER_COUNT[gain])

    def SetADChannel(self, channel: int) -> None:
        """Choose the converter."""
        self._index("SetADChannel", channel, 1, idle=True)

    def SetOutputAmplifier(self, amplifier: int) -> None:
        """Choose the output amplifier."""
        self._index("SetOutputAmplifier", amplifier, 1, idle=True)

    def SetHSSpeed(self, _amplifier: int, index: int) -> None:
        """Choose the horizontal speed."""
        self._index("SetHSSpeed", index, len(self._SPEEDS_MHZ), _P2, idle=True)
        self._hs = index

    def SetPreAmpGain(self, index: int) -> None:
        """Choose the pre-amplifier gain."""
        self._index("SetPreAmpGain", index, len(self._GAINS), idle=True)
        self._gain = index

    def GetNumberVSSpeeds(self) -> int:
        """Return how many vertical shift times there are."""
        self._up("GetNumberVSSpeeds")
        return len(self._SHIFTS_US)

    def GetVSSpeed(self, index: int) -> float:
        """Return a vertical shift time (us)."""
        self._index("GetVSSpeed", index, len(self._SHIFTS_US))
        return _single(self._SHIFTS_US[index])

    def GetFastestRecommendedVSSpeed(self) -> tuple[int, float]:
        """Return index and time (us) of the recommended vertical shift."""
        self._up("GetFastestRecommendedVSSpeed")
        return 0, _single(self._SHIFTS_US[0])

    def SetVSSpeed(self, index: int) -> None:
        """Choose the vertical shift time."""
        self._index("SetVSSpeed", index, len(self._SHIFTS_US), idle=True)
        self._vs = index

    def get_all_amp_modes(self) -> list[Any]:
        """Return the combinations (a helper of pylablib's wrapper, not of the library)."""
        return [
            self.get_amp_mode_description((0, 0, speed, gain))
            for speed in range(len(self._SPEEDS_MHZ))
            for gain in range(len(self._GAINS))
            if self.IsPreAmpGainAvailable(0, 0, speed, gain)
        ]

    def get_amp_mode_description(self, mode: Sequence[int]) -> Any:
        """Return a combination with its values (pylablib's helper)."""
        channel, amplifier, speed, gain = mode
        return SimpleNamespace(
            channel=channel,
            channel_bitdepth=self.GetBitDepth(channel),
            oamp=amplifier,
            oamp_kind=self.GetAmpDesc(amplifier).decode(),
            hsspeed=speed,
            hsspeed_MHz=self.GetHSSpeed(channel, amplifier, speed),
            preamp=gain,
            preamp_gain=self.GetPreAmpGain(gain),
        )

    def set_amp_mode(self, mode: Sequence[int]) -> None:
        """Set a combination (pylablib's helper)."""
        self.SetADChannel(mode[0])
        self.SetOutputAmplifier(mode[1])
        self.SetHSSpeed(mode[1], mode[2])
        self.SetPreAmpGain(mode[3])

    # ---- shutter and trigger

    def GetShutterMinTimes(self) -> tuple[int, int]:
        """Return the shortest (closing, opening) time (ms)."""
        self._up("GetShutterMinTimes")
        return self._SHUTTER_MS if self._has_shutter else (0, 0)

    def SetShutter(self, ttl: int, mode: int, closing_ms: int, opening_ms: int) -> None:
        """Set the shutter: mode 0 for each exposure, 1 open, 2 closed."""
        self._up("SetShutter", idle=True)
        if not self._has_shutter:
            raise self._fail("SetShutter", _NOT_SUPPORTED)
        for value, good, code in (
            (ttl, ttl in (0, 1), _P1),
            (mode, mode in (0, 1, 2), _P2),
            (closing_ms, closing_ms >= self._SHUTTER_MS[0], _P3),
            (opening_ms, opening_ms >= self._SHUTTER_MS[1], _P4),
        ):
            if not good:
                raise self._fail(f"SetShutter({value})", code)
        self._set_shutter(mode)

    def _set_shutter(self, mode: int) -> None:
        if mode == 1 and self._shutter != 1:
            self._shutter_opened_s = self.clock.now() + 1e-3 * self._SHUTTER_MS[1]
        self._shutter = mode

    def SetTriggerMode(self, mode: int) -> None:
        """Set the trigger: 0 internal."""
        self._up("SetTriggerMode", idle=True)
        if mode not in (0, 1, 6, 10):
            raise self._fail("SetTriggerMode", _P1)

    def GetTriggerLevelRange(self) -> tuple[float, float]:
        """Refuse: this camera has no trigger level."""
        raise self._fail("GetTriggerLevelRange", _NOT_SUPPORTED)

    # ---- acquisition modes and times

    def SetAcquisitionMode(self, mode: int) -> None:
        """Set 1 single, 2 accumulate, 3 kinetic, 4 fast kinetics, 5 run till abort."""
        self._up("SetAcquisitionMode", idle=True)
        if mode not in (_SINGLE, _ACCUMULATE, _KINETIC, _FAST_KINETICS, _RUN_TILL_ABORT):
            raise self._fail("SetAcquisitionMode", _P1)
        self._mode = mode

    def SetNumberKinetics(self, number: int) -> None:
        """Set the frames of a kinetic series."""
        self._up("SetNumberKinetics", idle=True)
        if number < 1:
            raise self._fail("SetNumberKinetics", _P1)
        self._kinetics = number

    def SetNumberAccumulations(self, number: int) -> None:
        """Set the exposures that are added up in a frame."""
        self._up("SetNumberAccumulations", idle=True)
        if number < 1:
            raise self._fail("SetNumberAccumulations", _P1)
        self._accumulations = number

    def SetNumberPrescans(self, number: int) -> None:
        """Set the scans that are thrown away first: none are played."""
        self._up("SetNumberPrescans", idle=True)
        if number != 0:
            raise self._fail("SetNumberPrescans", _P1)

    def SetKineticCycleTime(self, seconds: float) -> None:
        """Set the time from frame to frame (s); lengthened to what is possible."""
        self._up("SetKineticCycleTime", idle=True)
        if seconds < 0:
            raise self._fail("SetKineticCycleTime", _P1)
        self._cycle_s = seconds

    def SetAccumulationCycleTime(self, seconds: float) -> None:
        """Set the time from exposure to exposure of an accumulation (s)."""
        self._up("SetAccumulationCycleTime", idle=True)
        if seconds < 0:
            raise self._fail("SetAccumulationCycleTime", _P1)
        self._accumulate_s = seconds

    def SetExposureTime(self, seconds: float) -> None:
        """Set the exposure (s); taken in steps of 10 us, at least one."""
        self._up("SetExposureTime", idle=True)
        if not 0 <= seconds <= self._LONGEST_S:
            raise self._fail("SetExposureTime", _P1)
        self._exposure_s = seconds

    def GetMaximumExposure(self) -> float:
        """Return the longest exposure (s)."""
        self._up("GetMaximumExposure")
        return self._LONGEST_S

    def GetAcquisitionTimings(self) -> tuple[float, float, float]:
        """Return exposure, accumulation cycle and kinetic cycle as they will be (s)."""
        self._up("GetAcquisitionTimings", idle=True)
        exposure, accumulate, cycle = self._timings()
        return exposure, accumulate, cycle

    def GetReadOutTime(self) -> float:
        """Return the time to read a frame (s)."""
        self._up("GetReadOutTime")
        return _single(self._readout_s())

    def GetKeepCleanTime(self) -> float:
        """Return the time of a keep-clean cycle (s)."""
        self._up("GetKeepCleanTime")
        return _single(1e-6 * self._SHIFTS_US[self._vs] * self.sensor.rows)

    def _readout_s(self) -> float:
        groups, columns = self._layout()
        shift_s = 1e-6 * self._SHIFTS_US[self._vs] * self.sensor.rows
        pixels = len(groups) * ((columns[1] - columns[0]) // columns[2])
        return shift_s + 1e-6 * pixels / self._SPEEDS_MHZ[self._hs]

    def _timings(self) -> tuple[float, float, float]:
        exposure = _single(max(math.ceil(self._exposure_s * 1e5 - 1e-3), 1) * 1e-5)
        blade_s = 1e-3 * sum(self._SHUTTER_MS) if self._shutter == 0 else 0.0
        shortest = exposure + self._readout_s() + blade_s
        accumulate = max(self._accumulate_s, shortest)
        frame = (
            accumulate * self._accumulations if self._mode in (_ACCUMULATE, _KINETIC) else shortest
        )
        cycle = max(self._cycle_s if self._mode in (_KINETIC, _RUN_TILL_ABORT) else 0.0, frame)
        return exposure, _single(accumulate), _single(cycle)

    # ---- read modes

    def SetReadMode(self, mode: int) -> None:
        """Set 0 full vertical binning, 1 multi, 2 random, 3 single track, 4 image."""
        self._up("SetReadMode", idle=True)
        if mode not in (_FVB, _MULTI_TRACK, _RANDOM_TRACK, _SINGLE_TRACK, _IMAGE):
            raise self._fail("SetReadMode", _P1)
        self._read_mode = mode

    def SetSingleTrack(self, centre: int, height: int) -> None:
        """Set the track of the single-track mode, rows from 1."""
        self._up("SetSingleTrack", idle=True)
        self._index("SetSingleTrack", centre - 1, self.sensor.rows)
        self._index("SetSingleTrack", height - 1, self.sensor.rows, _P2)
        self._track = (centre, height)

    def SetMultiTrack(self, number: int, height: int, offset: int) -> tuple[int, int]:
        """Set evenly spread tracks, return (bottom row, gap)."""
        self._up("SetMultiTrack", idle=True)
        if not 1 <= number <= self.sensor.rows:
            raise self._fail("SetMultiTrack", _P1)
        if not 1 <= height <= self.sensor.rows // number:
            raise self._fail("SetMultiTrack", _P2)
        if offset < 0:
            raise self._fail("SetMultiTrack", _P3)
        self._multi = (number, height, offset)
        gap = (self.sensor.rows - number * height) // number
        return 1 + gap // 2, gap

    def SetRandomTracks(self, tracks: Sequence[tuple[int, int]]) -> None:
        """Set tracks by first and last row, from 1, in order."""
        self._up("SetRandomTracks", idle=True)
        last = 0
        for start, stop in tracks:
            if not last < start <= stop <= self.sensor.rows:
                raise self._fail("SetRandomTracks", _P2)
            last = stop
        self._random = list(tracks)

    def SetImage(
        self, hbin: int, vbin: int, hstart: int, hend: int, vstart: int, vend: int
    ) -> None:
        """Set the part and the binning of the image mode, from 1, ends included."""
        self._up("SetImage", idle=True)
        columns, rows = self.sensor.columns, self.sensor.rows
        for good, code in (
            (1 <= hbin <= columns, _P1),
            (1 <= vbin <= rows, _P2),
            (1 <= hstart <= columns, _P3),
            (hstart <= hend <= columns and (hend - hstart + 1) % max(hbin, 1) == 0, _P4),
            (1 <= vstart <= rows, _P5),
            (vstart <= vend <= rows and (vend - vstart + 1) % max(vbin, 1) == 0, _P6),
        ):
            if not good:
                raise self._fail("SetImage", code)
        self._image = (hbin, vbin, hstart, hend, vstart, vend)

    def _layout(self) -> tuple[Rows, tuple[int, int, int]]:
        """Return the row groups and the columns that a frame has."""
        rows, every = self.sensor.rows, (0, self.sensor.columns, 1)
        if self._read_mode == _FVB:
            return [(0, rows)], every
        if self._read_mode == _SINGLE_TRACK:
            first = max(self._track[0] - 1 - self._track[1] // 2, 0)
            return [(first, min(first + self._track[1], rows))], every
        if self._read_mode == _MULTI_TRACK:
            number, height, offset = self._multi
            step = rows // number
            first = (step - height) // 2 + offset
            starts = [min(first + i * step, rows - height) for i in range(number)]
            return [(start, start + height) for start in starts], every
        if self._read_mode == _RANDOM_TRACK:
            return [(start - 1, stop) for start, stop in self._random], every
        hbin, vbin, hstart, hend, vstart, vend = self._image
        groups = [(row, row + vbin) for row in range(vstart - 1, vend, vbin)]
        return groups, (hstart - 1, hend, hbin)

    # ---- acquisition

    def PrepareAcquisition(self) -> None:
        """Make ready to start."""
        self._up("PrepareAcquisition", idle=True)

    def StartAcquisition(self) -> None:
        """Start exposing."""
        self._up("StartAcquisition", idle=True)
        if self._mode == _FAST_KINETICS:
            raise self._fail("StartAcquisition", _INVALID_MODE)
        exposure, accumulate, cycle = self._timings()
        frames = {_KINETIC: self._kinetics, _RUN_TILL_ABORT: None}.get(self._mode, 1)
        self._frames.clear()
        self._rendered = self._oldest_unread = 0
        closing_s, opening_s = (1e-3 * ms * (self._shutter == 0) for ms in self._SHUTTER_MS)
        span = (self._summed() - 1) * accumulate + exposure + self._readout_s() + closing_s
        self._series = Series(self.clock.now() + opening_s, span, cycle, frames)

    def AbortAcquisition(self) -> None:
        """Stop exposing; the frame under way is lost."""
        self._up("AbortAcquisition")
        if not self._acquiring():
            raise self._fail("AbortAcquisition", _IDLE)
        self._series = None

    def _acquiring(self) -> bool:
        return self._series is not None

    def _update(self) -> None:
        """Read out what has been exposed by now."""
        series = self._series
        if series is None or self._mute:
            return
        done = series.done(self.clock.now())
        room = self._buffer_frames or 4096
        for index in range(max(self._rendered, done - room), done):
            self._frames[index] = self._render(index)
        while self._frames and next(iter(self._frames)) < done - room:
            del self._frames[next(iter(self._frames))]
        if done > self._rendered:
            self.exposures += (done - self._rendered) * self._summed()
            self._rendered = done
        if series.frames is not None and done >= series.frames:
            self._series = None  # its frames stay readable

    def _summed(self) -> int:
        return self._accumulations if self._mode in (_ACCUMULATE, _KINETIC) else 1

    def _render(self, index: int) -> Counts:
        assert self._series is not None
        groups, columns = self._layout()
        first = self.exposures + (index - self._rendered) * self._summed()
        exposure, accumulate, _ = self._timings()
        total = np.zeros((len(groups), (columns[1] - columns[0]) // columns[2]), dtype=np.uint32)
        for k in range(self._summed()):
            start = self._series.start_s + index * self._series.cycle_s + k * accumulate
            total += self.sensor.expose(
                first + k,
                (max(start, self._opened_s()), start + exposure),
                exposure,
                groups,
                columns,
                self._ELECTRONS_PER_COUNT[self._gain],
                self._READ_NOISE_E[self._hs],
            )
        clipped: Counts = np.minimum(total, 65535).astype(np.uint16)
        return clipped

    def _opened_s(self) -> float:
        """Return from when on light passes the camera's own shutter."""
        if not self._has_shutter or self._shutter == 0:
            return -math.inf
        return self._shutter_opened_s if self._shutter == 1 else math.inf

    def GetStatus(self) -> int:
        """Return whether the camera is idle or acquiring, as a code."""
        self._up("GetStatus")
        return _ACQUIRING if self._acquiring() else _IDLE

    def GetAcquisitionProgress(self) -> tuple[int, int]:
        """Return exposures added up so far in this frame, and frames done."""
        self._up("GetAcquisitionProgress")
        if self._acquiring() or self._progress_after_end:
            return 0, self._rendered
        return 0, 0

    def WaitForAcquisitionByHandleTimeOut(self, handle: int, timeout_ms: int) -> None:
        """Let time pass until a frame is new, at most `timeout_ms`."""
        if handle != 100:
            raise self._fail("WaitForAcquisitionByHandleTimeOut", _P1)
        self.WaitForAcquisitionTimeOut(timeout_ms)

    def WaitForAcquisitionTimeOut(self, timeout_ms: int) -> None:
        """Let time pass until a frame is new, at most `timeout_ms`."""
        self._up("WaitForAcquisitionTimeOut")
        if self._series is None:
            raise self._fail("WaitForAcquisitionTimeOut", _NO_NEW_DATA)
        limit = self.clock.now() + 1e-3 * timeout_ms
        due = math.inf if self._mute else self._series.due(self._rendered)
        self.clock.sleep_until(min(due, limit))
        self._update()
        if due > limit:
            raise self._fail("WaitForAcquisitionTimeOut", _NO_NEW_DATA)

    def GetSizeOfCircularBuffer(self) -> int:
        """Return how many frames the buffer holds."""
        self._up("GetSizeOfCircularBuffer")
        if not self._buffer_frames:
            raise self._fail("GetSizeOfCircularBuffer", _NOT_SUPPORTED)
        return self._buffer_frames

    def FreeInternalMemory(self) -> None:
        """Forget all frames."""
        self._up("FreeInternalMemory", idle=True)
        self._frames.clear()
        self._rendered = self._oldest_unread = 0

    def GetTotalNumberImagesAcquired(self) -> int:
        """Return the frames of this acquisition, or of the last one."""
        self._up("GetTotalNumberImagesAcquired")
        return self._rendered

    def GetNumberAvailableImages(self) -> tuple[int, int]:
        """Return the first and last frame in the buffer, from 1."""
        self._up("GetNumberAvailableImages")
        if not self._frames:
            raise self._fail("GetNumberAvailableImages", _NO_NEW_DATA)
        return min(self._frames) + 1, max(self._frames) + 1

    def GetNumberNewImages(self) -> tuple[int, int]:
        """Return the first and last frame that nobody has read, from 1."""
        self._up("GetNumberNewImages")
        new = [index for index in self._frames if index >= self._oldest_unread]
        if not new:
            raise self._fail("GetNumberNewImages", _NO_NEW_DATA)
        return min(new) + 1, max(new) + 1

    def GetImages16(self, first: int, last: int, size: int) -> tuple[Counts, int, int]:
        """Return frames `first` to `last` (from 1) as one array, and which they are."""
        self._up("GetImages16")
        if not self._frames:
            raise self._fail("GetImages16", _NO_NEW_DATA)
        if not 1 <= first <= last or last - 1 not in self._frames:
            raise self._fail("GetImages16", _GENERAL_ERRORS)
        valid = max(first, min(self._frames) + 1)
        frames = [self._frames[index].ravel() for index in range(valid - 1, last)]
        if size != len(frames[0]) * (last - first + 1):
            raise self._fail("GetImages16", _P4)
        data = np.zeros(size, dtype=np.uint16)
        flat = np.concatenate(frames)
        data[: len(flat)] = flat
        self._oldest_unread = last
        return data, valid, last

    def GetImages(self, first: int, last: int, size: int) -> tuple[npt.NDArray[Any], int, int]:
        """Return the same in 32 bits."""
        data, valid, last = self.GetImages16(first, last, size)
        return data.astype(np.uint32), valid, last

    def _index(
        self, function: str, value: int, count: int, code: int = _P1, *, idle: bool = False
    ) -> None:
        self._up(function, idle=idle)
        if not 0 <= value < count:
            raise self._fail(function, code)


def _single(value: float) -> float:
    """Return a number as the SDK does: single precision."""
    return float(np.float32(value))
