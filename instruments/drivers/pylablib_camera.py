"""CCD cameras behind a vendor library, through pylablib: Andor SDK2 and Princeton PICam.

For the Bench: each camera is read as a spectrum (full vertical binning) behind the Camera role.
pylablib opens the camera, knows its tables and converts its errors; waiting is done here, on the
bench's clock, and what pylablib gets wrong (its issues 12, 66, 119 and the traps named in place) is
kept away from the caller. Stops at counts: wavelength and light are somebody else's.

pylablib is imported in `connect`, under a package name of our own and without the packages'
`__init__` (they pull in Qt, numba and every other driver: 2 s and 180 MB). A stand-in for the
vendor library (`sdk`) gets a copy of the camera's module for itself, so that no other camera, real
or not, is touched.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import importlib.util
import logging
import math
import os
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock, WallClock
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Camera, Exposure, Identity, Limits, Setting, Status

log = logging.getLogger(__name__)

_PACKAGE = "gainbench_pylablib"
_SLICE_S = 0.1  # an abort from another thread is seen this soon
_POLL_S = 0.001
_PATIENCE_S = 5.0  # beyond the time that the camera itself says it needs
_EXPOSURE_AT_START_S = 0.1
_STATE_TEXT = {
    "off": "cooler off",
    "cooling": "cooling",
    "settling": "at temperature, not yet stable",
    "stable": "stable",
    "drifted": "drifted off its set-point",
    "faulted": "temperature control faulted",
}
_import_lock = threading.Lock()


@dataclass(frozen=True)
class SensorTemperature:
    """A reading of the sensor: celsius; state is a key of "off", "cooling", ..., "stable"."""

    celsius: float
    state: str
    at_s: float


def _load(name: str, *, private: bool) -> Any:
    """Return pylablib's module `name` ("devices.Andor.AndorSDK2"), or a copy of it of one's own."""
    spec = importlib.util.find_spec("pylablib")
    if spec is None or not spec.submodule_search_locations:
        raise NotReady("pylablib is not installed; install it with: pip install pylablib")
    root = next(iter(spec.submodule_search_locations))
    parent = name.rpartition(".")[0]
    with _import_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escape sequences in its docstrings
        for package in (_PACKAGE, f"{_PACKAGE}.{parent}"):
            if package not in sys.modules:
                bare = types.ModuleType(package)
                below = package.split(".")[1:]
                bare.__path__ = [os.path.join(root, *below)]
                sys.modules[package] = bare
        module = importlib.import_module(f"{_PACKAGE}.{name}")
        if not private:
            return module
        found = importlib.util.find_spec(f"{_PACKAGE}.{name}")
        assert found is not None and found.loader is not None
        copy = importlib.util.module_from_spec(found)
        found.loader.exec_module(copy)
        return copy


class PylablibCamera(Camera):
    """What both families have in common; see `AndorSdk2Camera` and `PicamCamera`."""

    DRIVER_ID: ClassVar[str]
    VENDOR: ClassVar[str]
    _MODULE: ClassVar[str]
    _LIBRARY_KEY: ClassVar[str]
    _LIBRARY_ERROR: ClassVar[str]
    _LIBRARY_MISSING: ClassVar[str]
    _GONE: ClassVar[frozenset[int]]  # codes: the camera does not answer any more
    _BUSY: ClassVar[frozenset[int]]  # codes: not now
    _MOST_FRAMES: ClassVar[int] = 20_000  # some 50 MB

    def __init__(
        self,
        *,
        clock: Clock | None,
        sdk: Any,
        temperature_C: float | None,
        cooling_timeout_s: float,
        shutter: str,
        mirrored: bool,
        saturation_counts: int | None,
        library: str,
    ) -> None:
        if shutter not in ("open", "auto", "closed"):
            raise ConfigError(
                f"{shutter!r} was given, allowed is open, auto, closed", key="shutter"
            )
        self.clock: Clock = clock if clock is not None else WallClock()
        self.lock = threading.RLock()
        self._sdk = sdk
        self._wanted_C = temperature_C
        self._cooling_timeout_s = cooling_timeout_s
        self._shutter_wanted = shutter
        self._shutter_now = "closed"
        self._mirrored = mirrored
        self._saturation_wanted = saturation_counts
        self._library = library
        self._module: Any = None
        self._cam: Any = None
        self._finalizer: Any = None
        self._busy = False
        self._aborted = False
        self._running = False  # on the camera, as far as known: a failed abort leaves it so
        self._prepared = 0
        self._period_s = 0.0
        self._exposure_s = 0.0
        self._size = (0, 0)
        self._pitch_um = 0.0
        self._saturation = 65535
        self._limits: dict[str, Limits] = {}
        self._identity: Identity | None = None
        self._settings: dict[str, Setting] = {}
        self._last_temperature: SensorTemperature | None = None

    # ---- opening and closing ----------------------------------------------------------------

    def connect(self) -> None:
        """Open and identify the camera, set full vertical binning, amplifier and cooler.

        The internal shutter stays closed until the first `acquire`. Waits for the sensor to be
        cold for at most `cooling_timeout_s`.

        Raises:
            NotReady: pylablib or the vendor library is missing, or the camera cannot do it.
            NoReply: no such camera, or another program holds it.
            WrongIdentity: another camera than the one asked for.
            LimitError: an option is outside what this camera offers.
        """
        with self.lock:
            if self._cam is not None:
                return
            module = self._load_library()
            opened = set(module.libctl.opened)
            try:
                with self._plain_errors("opening", opening=True):
                    self._cam = self._open(module)
                self._module = module
                self._finalizer = weakref.finalize(self, _release, type(self), module, self._cam)
                with self._plain_errors("setting up"):
                    self._configure()
            except BaseException:
                self._drop()
                for left in set(module.libctl.opened) - opened:
                    with contextlib.suppress(Exception):
                        module.libctl.close(left)
                raise
            self._sealed = True
        if self._cooling_timeout_s > 0 and self._wanted_C is not None:
            self.wait_until_cold(self._cooling_timeout_s)

    def _load_library(self) -> Any:
        module = _load(self._MODULE, private=self._sdk is not None)
        if self._sdk is not None:
            self._sdk.library_error = getattr(module, self._LIBRARY_ERROR)
            module.lib = self._sdk
            module.libctl = module.LibraryController(self._sdk)
            return module
        parameters = sys.modules[f"{_PACKAGE}.core.utils.library_parameters"].library_parameters
        parameters["devices/only_windows_dlls"] = False
        if self._library:
            parameters[f"devices/dlls/{self._LIBRARY_KEY}"] = self._library
        try:
            module.libctl.preinit()
        except Exception as error:
            raise NotReady(
                f"{self._LIBRARY_MISSING}; if it is somewhere else, give its folder as `library` "
                f"in the bench file ({str(error).splitlines()[0]})"
            ) from None
        return module

    def close(self) -> None:
        """Make safe and close the camera (an open one blocks the library); never raises."""
        with self.lock:
            if self._cam is None:
                return
            with contextlib.suppress(Exception):
                self.make_safe()
            self._drop()

    def _drop(self) -> None:
        """Close the SDK's camera whatever state it is in."""
        self._cam = None
        self._prepared = 0
        self._running = False
        self._shutter_now = "closed"
        if self._finalizer is not None:
            self._finalizer()  # runs once, also when the program ends without close()
            self._finalizer = None

    # ---- what the families do differently -----------------------------------------------------

    @abc.abstractmethod
    def _open(self, module: Any) -> Any:
        """Return pylablib's camera."""

    @abc.abstractmethod
    def _configure(self) -> None:
        """Fill identity, size, limits and settings; leave the camera ready, shutter closed."""

    @abc.abstractmethod
    def _prepare(self, frames: int) -> None:
        """Set up a series of exactly `frames` frames, update `_period_s`."""

    @abc.abstractmethod
    def _collect(self, have: int, frames: int) -> npt.NDArray[np.uint16]:
        """Return frames number `have` (from 0) and on that are ready now, (k, pixels)."""

    @abc.abstractmethod
    def _apply_exposure(self, exposure_s: float) -> None:
        """Send an exposure within the limits."""

    @abc.abstractmethod
    def _move_shutter(self, mode: str) -> float:
        """Set the internal shutter ("open", "auto", "closed"), return what to wait for it (s)."""

    @abc.abstractmethod
    def _measure_temperature(self) -> tuple[float, str]:
        """Return (celsius, state) of the sensor."""

    @abc.abstractmethod
    def _apply_temperature(self, temperature_C: float) -> float:
        """Send a set-point within the limits, return the one the camera took."""

    @staticmethod
    def _force_close(module: Any, cam: Any) -> None:
        """Close pylablib's camera; overridden where pylablib would give up half-way."""
        cam.close()

    # ---- the role -----------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """See Role; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady(f"{self.DRIVER_ID}: connect the camera first")
        return self._identity

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Limits of exposure_s, frames and temperature_C; empty before `connect`."""
        return dict(self._limits)

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

    @property
    def saturation_counts(self) -> int:
        """See Camera: full scale of the converter, or the option of that name."""
        return self._saturation

    @property
    def exposure_s(self) -> float:
        """See Camera; during an acquisition, as read back before it."""
        with self.lock, self._plain_errors("reading the exposure"):
            cam = self._need()
            if not self._busy:
                self._exposure_s = _seven_digits(cam.get_exposure())
            return self._exposure_s

    def set_exposure_s(self, exposure_s: float) -> float:
        """See Camera; LimitError outside the limits, NotReady during an acquisition."""
        with self.lock, self._plain_errors("setting the exposure"):
            cam = self._need(idle=True)
            self._limits["exposure_s"].check("exposure_s", exposure_s)
            self._prepared = 0
            self._apply_exposure(float(exposure_s))
            self._exposure_s = _seven_digits(cam.get_exposure())
            self._read_period()
            return self._exposure_s

    def _read_period(self) -> None:
        timings = self._need().get_frame_timings()
        self._period_s = _seven_digits(max(timings.frame_period, timings.exposure))

    @property
    def temperature_C(self) -> float:
        """See Camera; during an acquisition the last reading before it (the SDKs refuse then)."""
        return self._temperature().celsius

    def _temperature(self) -> SensorTemperature:
        with self.lock, self._plain_errors("reading the sensor temperature"):
            self._need()
            if self._busy and self._last_temperature is not None:
                return self._last_temperature
            celsius, state = self._measure_temperature()
            if not -200.0 < celsius < 100.0:
                raise BadReply(f"{celsius} C is no sensor temperature; is the camera powered?")
            self._last_temperature = SensorTemperature(celsius, state, self.clock.now())
            return self._last_temperature

    def set_temperature_C(self, temperature_C: float) -> float:
        """Set the sensor's set-point (C) and switch cooling on; return the one it took."""
        with self.lock, self._plain_errors("setting the sensor temperature"):
            self._need(idle=True)
            self._limits["temperature_C"].check("temperature_C", temperature_C)
            taken = self._apply_temperature(temperature_C)
            self._wanted_C = taken
            self._settings["temperature_setpoint_C"] = Setting(taken, "degC")
            return taken

    def wait_until_cold(self, timeout_s: float) -> None:
        """Wait until the sensor is stable at its set-point; NotReady after `timeout_s`."""
        deadline = self.clock.now() + timeout_s
        while (reading := self._temperature()).state != "stable":
            if reading.state in ("off", "faulted") or self.clock.now() >= deadline:
                raise NotReady(
                    f"the sensor is at {reading.celsius:.1f} C ({_STATE_TEXT[reading.state]}), "
                    f"asked were {self._wanted_C} C within {timeout_s:g} s; check fan, power and "
                    "cooling water, or ask for a warmer set-point"
                )
            self.clock.sleep(min(1.0, max(deadline - self.clock.now(), _POLL_S)))

    def status(self) -> Status:
        """See Role: ok once the sensor is stable at its set-point."""
        reading = self._temperature()
        doing = "acquiring" if self._busy else "idle"
        aim = "" if self._wanted_C is None else f" (set-point {self._wanted_C:g} C)"
        text = f"{doing}, sensor {reading.celsius:.1f} C{aim}, {_STATE_TEXT[reading.state]}"
        wanted = self._wanted_C is not None
        ok = reading.state == "stable" or (not wanted and reading.state != "faulted")
        return Status(ok, text)

    def snapshot(self) -> dict[str, Setting]:
        """See Role."""
        reading = self._temperature()
        return {
            "exposure_s": Setting(self.exposure_s, "s"),
            "frame_period_s": Setting(self._period_s, "s"),
            "pixels": Setting(self.pixels),
            "rows_binned": Setting(self.rows),
            "pixel_pitch_um": Setting(self.pixel_pitch_um, "um"),
            "saturation_counts": Setting(self.saturation_counts),
            "temperature_C": Setting(reading.celsius, "degC"),
            "temperature_state": Setting(reading.state),
            "shutter": Setting(self._shutter_now),
            "mirrored": Setting(self._mirrored),
            **self._settings,
        }

    # ---- acquisition ----------------------------------------------------------------------------

    def acquire(self, frames: int = 1) -> Exposure:
        """See Camera: one series of `frames` frames, (frames, pixels) uint16.

        Raises:
            LimitError: `frames` is outside the limits.
            NotReady: another acquisition is going on.
            NoReply: the frames did not come in time.
            BadReply: frames were lost.
            InstrumentError: somebody called `abort` or `make_safe` meanwhile.
        """
        with self.lock, self._plain_errors("preparing an acquisition"):
            self._need(idle=True)
            if frames != int(frames):
                raise LimitError(f"frames: {frames} was asked, a whole number is needed")
            self._limits["frames"].check("frames", frames)
            if self._prepared != frames:
                self._prepare(frames)
                self._prepared = frames
            if self._last_temperature is None:
                self._temperature()
            settle_s = 0.0
            if self._shutter_now != self._shutter_wanted:
                settle_s = self._move_shutter(self._shutter_wanted)
                self._shutter_now = self._shutter_wanted
            self._busy, self._aborted = True, False
        try:
            if settle_s > 0:
                self.clock.sleep(settle_s)
            return self._series(int(frames))
        except BaseException:
            with contextlib.suppress(Exception), self.lock:
                self._stop()
            raise
        finally:
            self._busy = False

    def _series(self, frames: int) -> Exposure:
        data = np.empty((frames, self.pixels), dtype=np.uint16)
        with self.lock, self._plain_errors("starting an acquisition"):
            self._refuse_if_aborted()
            start_s = self.clock.now()
            self._running = True
            self._need().start_acquisition()
        have = 0
        end_s = start_s + frames * self._period_s
        deadline = end_s + _PATIENCE_S + 0.1 * (end_s - start_s)
        while True:
            remaining = end_s - self.clock.now()
            if remaining > 0:
                self.clock.sleep(min(remaining, self._slice_s()))
            with self.lock, self._plain_errors("reading frames"):
                self._refuse_if_aborted()
                block = self._collect(have, frames)
            data[have : have + len(block)] = block
            have += len(block)
            if have >= frames:
                break
            if self.clock.now() > deadline:
                raise NoReply(
                    f"{self.DRIVER_ID}: {have} of {frames} frames came within "
                    f"{deadline - start_s:.3g} s; is the camera waiting for a trigger, or its "
                    "cable loose?"
                )
            if remaining <= 0:
                self.clock.sleep(_POLL_S)
        with self.lock, self._plain_errors("ending an acquisition"):
            self._stop()
        if self._mirrored:
            data = np.ascontiguousarray(data[:, ::-1])
        return Exposure(data, self._exposure_s, self._saturation, start_s, self.clock.now())

    def _slice_s(self) -> float:
        return _SLICE_S

    def abort(self) -> None:
        """See Camera; the `acquire` that is going on raises InstrumentError."""
        with self.lock:
            if self._cam is None:
                return
            self._aborted = True
            with self._plain_errors("aborting"):
                self._stop()

    def _stop(self) -> None:
        """Stop the series; fine if there is none, or if it ends this very moment."""
        cam = self._need()
        try:
            cam.stop_acquisition()
        except cam.Error:
            if cam.acquisition_in_progress():
                raise
        self._running = False

    def make_safe(self) -> None:
        """See Role: no acquisition, internal shutter closed; tries both before it raises."""
        with self.lock:
            if self._cam is None:
                return
            problems: list[InstrumentError] = []
            try:
                self.abort()
            except InstrumentError as error:
                problems.append(error)
            try:
                with self._plain_errors("closing the camera's shutter"):
                    self._prepared = 0
                    self._move_shutter("closed")
                    self._shutter_now = "closed"
            except InstrumentError as error:
                problems.append(error)
            if problems:
                raise problems[0]

    # ---- small things -----------------------------------------------------------------------

    def _need(self, *, idle: bool = False) -> Any:
        if self._cam is None:
            raise NotReady(f"{self.DRIVER_ID}: the camera is not open; connect it first")
        if idle and self._busy:
            raise NotReady(f"{self.DRIVER_ID}: an acquisition is going on; abort it first")
        if idle and self._running:
            self._stop()
        return self._cam

    def _refuse_if_aborted(self) -> None:
        if self._aborted:
            raise InstrumentError(f"{self.DRIVER_ID}: the acquisition was aborted")

    def _set_saturation(self, bits: int) -> None:
        if bits > 16:
            raise NotReady(f"the camera delivers {bits} bits, only up to 16 are read")
        full = 2**bits - 1
        wanted = self._saturation_wanted
        if wanted is not None and not 0 < wanted <= full:
            raise LimitError(f"saturation_counts: {wanted} was asked, allowed is 1 to {full}")
        self._saturation = full if wanted is None else wanted

    def _start_settings(self) -> None:
        """Set exposure and cooler to what the options ask for; the limits are known by now."""
        low, high = self._limits["exposure_s"].low, self._limits["exposure_s"].high
        self.set_exposure_s(min(max(_EXPOSURE_AT_START_S, low), high))
        if self._wanted_C is not None:
            self.set_temperature_C(self._wanted_C)
        self._prepare(1)
        self._prepared = 1

    @contextlib.contextmanager
    def _plain_errors(self, doing: str, *, opening: bool = False) -> Iterator[None]:
        """Turn what pylablib and the vendor library raise into errors for the operator."""
        try:
            yield
        except BenchError:
            raise
        except Exception as error:
            code = getattr(error, "code", None)
            said = str(error) or type(error).__name__
            text = f"{self.DRIVER_ID}: {doing}: {said}"
            if code in self._BUSY:
                raise NotReady(f"{text}; the camera is busy, abort first") from error
            if code in self._GONE or isinstance(error, OSError):
                raise NoReply(f"{text}; check cable and power, then open it again") from error
            if opening:
                raise NoReply(
                    f"{text}; is it switched on, and does no other program hold it?"
                ) from error
            from_pylablib = type(error).__module__.startswith(_PACKAGE)
            if isinstance(error, RuntimeError | ValueError | IndexError) and not from_pylablib:
                raise BadReply(text) from error
            raise DeviceFault(text) from error


def _release(kind: type[PylablibCamera], module: Any, cam: Any) -> None:
    try:
        kind._force_close(module, cam)
    except Exception as error:
        log.warning("closing the camera: %s", error)


def _seven_digits(value: float) -> float:
    """Return a number that passed through single precision without its false digits."""
    number = float(value)
    return float(f"{number:.7g}") if math.isfinite(number) else number


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
        self._pitch_um = _seven_digits(cam.get_pixel_size()[0] * 1e6)
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
                longest_s = _seven_digits(lib.GetMaximumExposure())
            except self._module.AndorSDK2LibError:
                longest_s = 3600.0
        low_C, high_C = cam.get_temperature_range()
        self._prepare(1)
        shortest_s = _seven_digits(cam.set_exposure(0))
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
                {(_seven_digits(m.hsspeed_MHz), _seven_digits(m.preamp_gain)) for m in modes}
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
            "readout_MHz": Setting(_seven_digits(mode.hsspeed_MHz), "MHz"),
            "preamp_gain": Setting(_seven_digits(mode.preamp_gain)),
            "fan": Setting(self._fan),
        }
        with self._selected() as lib, contextlib.suppress(self._module.AndorSDK2LibError):
            electrons = lib.GetSensitivity(mode.channel, mode.hsspeed, mode.oamp, mode.preamp)
            self._settings["electrons_per_count"] = Setting(_seven_digits(electrons), "e-")

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
            return min(_SLICE_S, max(0.25 * self._buffer_frames * self._period_s, _POLL_S))
        return _SLICE_S

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
        return _seven_digits(self._cam.get_temperature()), self._STATES[state]

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
        self._pitch_um = _seven_digits(cam.get_pixel_size()[0] * 1e6)
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
            "readout_MHz": Setting(_seven_digits(cam.cav["ADC Speed"]), "MHz"),
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
