"""Stand-ins for the vendor libraries of CCD cameras: Andor SDK2 and Princeton PICam.

For the simulated bench and for independent clients: each object takes the place of the wrapped
library inside pylablib (its `lib`), with one camera on it. They keep time (exposures, readout and
cooling take time on the bench's clock; waiting lets it run), refuse what the libraries refuse, by
their codes, and render frames from the World with the sensor's own noise. Not played: triggers from
outside, fast kinetics, frame transfer, metadata in frames.
"""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from sim_drivers.noise import generator

Counts = npt.NDArray[np.uint16]
Rows = list[tuple[int, int]]

FAULTS = ("silence", "timeout", "stuck", "disconnect", "identity", "saturate", "sensor")
_COOLING_TIME_S = 60.0
_SETTLING_S = 30.0
_TICK_S = 1e-6  # what rounding may take from a moment in seconds since 1970


# ---- the chip ---------------------------------------------------------------------------------


@dataclass
class _Sensor:
    """A cooled CCD: temperature as a function of time, and the counts of an exposure."""

    clock: Clock
    world: Any
    seed: int
    device: str
    columns: int
    rows: int
    pitch_um: float
    temperature_C: float
    target_C: float
    ambient_C: float = 20.0
    dark_20C_e_per_s: float = 200.0
    bias_counts: float = 600.0
    cosmics_per_cm2_s: float = 0.02
    image_sigma_rows: float = 8.0
    saturate: bool = False
    _since_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._since_s = self.clock.now()
        centre = 0.5 * self.rows
        edges = np.arange(self.rows + 1) - centre
        scale = self.image_sigma_rows * math.sqrt(2.0)
        below = np.array([0.5 * (1.0 + math.erf(edge / scale)) for edge in edges])
        self._light_below = (below - below[0]) / (below[-1] - below[0])

    def temperature(self, at_s: float | None = None) -> float:
        """Return the true temperature (C)."""
        elapsed = max((self.clock.now() if at_s is None else at_s) - self._since_s, 0.0)
        return self.target_C + (self.temperature_C - self.target_C) * math.exp(
            -elapsed / _COOLING_TIME_S
        )

    def reading(self) -> float:
        """Return what the thermometer shows (C)."""
        return self.temperature() + 0.02 * math.sin(self.clock.now() / 17.0)

    def aim(self, target_C: float) -> None:
        """Let the temperature go to another target."""
        if target_C != self.target_C:
            self.force(self.temperature(), target_C)

    def force(self, temperature_C: float, target_C: float) -> None:
        """Be at a temperature now."""
        self.temperature_C, self.target_C = temperature_C, target_C
        self._since_s = self.clock.now()

    def reached(self) -> bool:
        """Whether the temperature is within 1 K of its target."""
        return abs(self.temperature() - self.target_C) < 1.0

    def stable(self) -> bool:
        """Whether it has been at its target long enough."""
        distance = abs(self.temperature_C - self.target_C)
        if distance < 0.5:
            return True
        needed = _COOLING_TIME_S * math.log(distance / 0.5) + _SETTLING_S
        return self.clock.now() - self._since_s >= needed

    def expose(
        self,
        number: int,
        light_s: tuple[float, float],
        exposure_s: float,
        groups: Rows,
        columns: tuple[int, int, int],
        gain_e: float,
        read_noise_e: float,
    ) -> Counts:
        """Return the counts of exposure `number`, (groups, columns).

        light_s: when light fell on it (start, end); groups: rows (start, stop) that are binned
        into one; columns: start, stop, binning; gain_e: electrons a count.
        """
        rng = generator(self.seed, self.device, number)
        start, stop, binning = columns
        wide = (stop - start) // binning
        ends = np.array(groups, dtype=np.intp)
        height = (ends[:, 1] - ends[:, 0])[:, None]
        dark = self.dark_20C_e_per_s * 2.0 ** ((self.temperature() - 20.0) / 6.3)
        mean = np.broadcast_to(dark * exposure_s * height, (len(groups), self.columns))
        if light_s[1] > light_s[0]:
            light = self.world.ccd_electrons(
                light_s[0], light_s[1] - light_s[0], self.columns, self.pitch_um
            )
            share = self._light_below[ends[:, 1]] - self._light_below[ends[:, 0]]
            mean = mean + share[:, None] * light
        if (start, stop, binning) != (0, self.columns, 1):
            mean = mean[:, start : start + wide * binning]
            mean = mean.reshape(len(groups), wide, binning).sum(axis=2)
        electrons = rng.poisson(np.clip(mean, 0.0, 1e12)).astype(np.float64)
        self._add_cosmics(rng, electrons, exposure_s, groups, start, binning)
        noise = rng.standard_normal(electrons.shape)
        counts = self.bias_counts + (electrons + read_noise_e * noise) / gain_e
        if self.saturate:
            counts[:] = 65535.0
        whole: Counts = np.clip(np.rint(counts), 0.0, 65535.0).astype(np.uint16)
        return whole

    def _add_cosmics(
        self,
        rng: np.random.Generator,
        electrons: npt.NDArray[np.float64],
        exposure_s: float,
        groups: Rows,
        first_column: int,
        binning: int,
    ) -> None:
        area_cm2 = self.columns * self.rows * (self.pitch_um * 1e-4) ** 2
        for _ in range(int(rng.poisson(self.cosmics_per_cm2_s * area_cm2 * exposure_s))):
            column, row = int(rng.integers(self.columns)), int(rng.integers(self.rows))
            charge = 300.0 * (2e4 / 300.0) ** rng.random()
            split = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else 1.0
            for index, (start, stop) in enumerate(groups):
                if not start <= row < stop:
                    continue
                for pixel, part in ((column, split), (column + 1, 1.0 - split)):
                    place = (pixel - first_column) // binning
                    if 0 <= place < electrons.shape[1]:
                        electrons[index, place] += charge * part


@dataclass
class _Series:
    """Frames that follow each other; frame i (from 0) begins at start_s + i * cycle_s."""

    start_s: float
    span_s: float
    """From the beginning of a frame's exposure to the end of its readout."""
    cycle_s: float
    frames: int | None
    """How many; None: until stopped."""

    def done(self, now: float) -> int:
        """Return how many frames are read out by `now`."""
        since = now + _TICK_S - self.start_s - self.span_s
        count = math.floor(since / self.cycle_s) + 1 if since >= 0 else 0
        return count if self.frames is None else min(count, self.frames)

    def due(self, index: int) -> float:
        """Return when frame `index` (from 0) is read out."""
        return self.start_s + index * self.cycle_s + self.span_s


class _Library:
    """What both stand-ins share: the sensor, its noise counter, faults, the library's errors."""

    DEVICE: ClassVar[str]
    ERROR: ClassVar[tuple[str, str]]  # where pylablib keeps the exception of this library

    def __init__(self, clock: Clock, sensor: _Sensor) -> None:
        self.clock = clock
        self.sensor = sensor
        self.library_error: Callable[[str, int], Exception] | None = None
        """pylablib's exception class of this library; looked up in pylablib if not given."""
        self.exposures = 0
        self._fault = ""
        self._series: _Series | None = None

    def initlib(self) -> None:
        """Load the library: nothing to do."""

    def inject(self, kind: str | None) -> None:
        """Let something be wrong until `inject(None)`; kinds are in FAULTS.

        silence, timeout, stuck: no frame is ever ready; disconnect: every call fails; identity:
        another serial number; saturate: every pixel is full; sensor: the cooling fails.
        """
        if kind and kind not in FAULTS:
            raise ValueError(f"{kind!r} is not played by a camera; allowed: {', '.join(FAULTS)}")
        self._fault = kind or ""
        self.sensor.saturate = kind == "saturate"

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again: exposures taken, sensor temperature (C)."""
        return {
            "exposures": float(self.exposures),
            "temperature_C": self.sensor.temperature(),
            "target_C": self.sensor.target_C,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Take back what `state` returned."""
        self.exposures = int(state["exposures"])
        self.sensor.force(state["temperature_C"], state["target_C"])

    @property
    def _mute(self) -> bool:
        return self._fault in ("silence", "timeout", "stuck")

    def _fail(self, function: str, code: int) -> Exception:
        if self.library_error is None:
            module, name = self.ERROR
            self.library_error = getattr(importlib.import_module(module), name)
        return self.library_error(function, code)


# ---- Andor SDK2 -------------------------------------------------------------------------------

_NO_NEW_DATA, _ACQUIRING, _IDLE, _NOT_INITIALIZED = 20024, 20072, 20073, 20075
_GENERAL_ERRORS, _USB_ERROR, _INVALID_MODE = 20049, 20089, 20078
_NOT_SUPPORTED = 20991
_P1, _P2, _P3, _P4, _P5, _P6 = 20066, 20067, 20068, 20069, 20076, 20077
_T_OFF, _T_SETTLING, _T_STABLE, _T_COOLING, _T_DRIFT = 20034, 20035, 20036, 20037, 20040
_SINGLE, _ACCUMULATE, _KINETIC, _FAST_KINETICS, _RUN_TILL_ABORT = 1, 2, 3, 4, 5
_FVB, _MULTI_TRACK, _RANDOM_TRACK, _SINGLE_TRACK, _IMAGE = 0, 1, 2, 3, 4


class FakeAndorSdk2(_Library):
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
            _Sensor(
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

    # ---- library and identity

    def _up(self, function: str, *, idle: bool = False) -> None:
        """Refuse when not initialised or not connected (or, with `idle`, when acquiring)."""
        if self._fault == "disconnect":
            raise self._fail(function, _USB_ERROR)
        if not self._initialized:
            raise self._fail(function, _NOT_INITIALIZED)
        self._update()
        if idle and self._acquiring():
            raise self._fail(function, _ACQUIRING)

    def GetAvailableCameras(self) -> int:
        """Return how many cameras there are."""
        return 0 if self._fault == "disconnect" else 1

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
        if self._fault == "disconnect":
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
        return self._serial + (1 if self._fault == "identity" else 0)

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
        if self._fault != "sensor":
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
        return int(self._cooler and self._fault != "sensor")

    def GetTemperatureF(self) -> tuple[int, float]:
        """Return (status code, sensor temperature in C)."""
        self._up("GetTemperatureF", idle=not self._temperature_while_acquiring)
        if self._fault == "sensor":
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
        self._series = _Series(self.clock.now() + opening_s, span, cycle, frames)

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


# ---- Princeton Instruments PICam ----------------------------------------------------------------

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


class FakePicam(_Library):
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
            _Sensor(
                clock, world, seed, device, pixels, rows, pixel_pitch_um, start_temperature_C, -70.0
            ),
        )
        self._serial = serial or f"{2401000 + seed % 1000}"
        self._late_end = late_end
        self._idle_wait_refused = idle_wait_refused
        self._idle_stop_refused = idle_stop_refused
        self._temperature_while_acquiring = temperature_while_acquiring
        self._initialized = 0
        self._open = False
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

    # ---- library and identity

    def Picam_InitializeLibrary(self) -> None:
        """Open the library."""
        self._initialized += 1

    def Picam_UninitializeLibrary(self) -> None:
        """Close it, and every camera."""
        if not self._initialized:
            raise self._fail("Picam_UninitializeLibrary", _NO_INIT)
        self._initialized = 0
        self._open = False
        self._series = None

    def Picam_GetAvailableCameraIDs(self) -> list[Any]:
        """Return the cameras."""
        if not self._initialized:
            raise self._fail("Picam_GetAvailableCameraIDs", _NO_INIT)
        return [] if self._fault == "disconnect" else [self._identity()]

    def _identity(self) -> Any:
        serial = self._serial + ("9" if self._fault == "identity" else "")
        return SimpleNamespace(
            model=40 if self.sensor.rows >= 400 else 6,
            computer_interface=1,
            sensor_name=b"E2V 1340 x %d (CCD 36)" % self.sensor.rows,
            serial_number=serial.encode(),
        )

    def Picam_OpenCamera_BySerial(self, serial: bytes) -> int | None:
        """Open a camera, return its handle."""
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
        self._open = False
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
        if not self._initialized:
            raise self._fail(function, _NO_INIT)
        if self._fault == "disconnect":
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
        failed = self._fault == "sensor"
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
        self._series = _Series(self.clock.now() + blade_s, cycle - blade_s, cycle, count)

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
        if due > self.clock.now() + _TICK_S:
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

    def _write(self, series: _Series, index: int, address: int) -> None:
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
