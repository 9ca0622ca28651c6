"""CCD cameras behind a vendor library, through pylablib: Andor SDK2 and Princeton PICam.

For the Bench: each camera is read as a spectrum (full vertical binning) behind the Camera role.
pylablib opens the camera, knows its tables and converts its errors; waiting is done here, on the
bench's clock, and what pylablib gets wrong (its issues 12, 66, 119 and the traps named in place) is
kept away from the caller. Stops at counts: wavelength and light are somebody else's.

The families are in andor_sdk2.py and princeton_picam.py; a stand-in for the vendor library (`sdk`)
gets a copy of the camera's module for itself, so that no other camera is touched.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock, WallClock
from instruments.drivers.pylablib_loading import PACKAGE, load, seven_digits
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
)
from instruments.roles import Camera, Exposure, Identity, Limits, Setting, Status

log = logging.getLogger(__name__)

SLICE_S = 0.1  # an abort from another thread is seen this soon
POLL_S = 0.001
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


@dataclass(frozen=True)
class SensorTemperature:
    """A reading of the sensor: celsius; state is a key of "off", "cooling", ..., "stable"."""

    celsius: float
    state: str
    at_s: float


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
        module = load(self._MODULE, private=self._sdk is not None)
        if self._sdk is not None:
            self._sdk.library_error = getattr(module, self._LIBRARY_ERROR)
            module.lib = self._sdk
            module.libctl = module.LibraryController(self._sdk)
            return module
        parameters = sys.modules[f"{PACKAGE}.core.utils.library_parameters"].library_parameters
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
                self._exposure_s = seven_digits(cam.get_exposure())
            return self._exposure_s

    def set_exposure_s(self, exposure_s: float) -> float:
        """See Camera; LimitError outside the limits, NotReady during an acquisition."""
        with self.lock, self._plain_errors("setting the exposure"):
            cam = self._need(idle=True)
            self._limits["exposure_s"].check("exposure_s", exposure_s)
            self._prepared = 0
            self._apply_exposure(float(exposure_s))
            self._exposure_s = seven_digits(cam.get_exposure())
            self._read_period()
            return self._exposure_s

    def _read_period(self) -> None:
        timings = self._need().get_frame_timings()
        self._period_s = seven_digits(max(timings.frame_period, timings.exposure))

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
            self.clock.sleep(min(1.0, max(deadline - self.clock.now(), POLL_S)))

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
                self.clock.sleep(POLL_S)
        with self.lock, self._plain_errors("ending an acquisition"):
            self._stop()
        if self._mirrored:
            data = np.ascontiguousarray(data[:, ::-1])
        return Exposure(data, self._exposure_s, self._saturation, start_s, self.clock.now())

    def _slice_s(self) -> float:
        return SLICE_S

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
            from_pylablib = type(error).__module__.startswith(PACKAGE)
            if isinstance(error, RuntimeError | ValueError | IndexError) and not from_pylablib:
                raise BadReply(text) from error
            raise DeviceFault(text) from error


def _release(kind: type[PylablibCamera], module: Any, cam: Any) -> None:
    try:
        kind._force_close(module, cam)
    except Exception as error:
        log.warning("closing the camera: %s", error)
