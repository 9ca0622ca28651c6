"""Driver of HORIBA CCD cameras (Syncerity, Synapse, Symphony) behind the ICL.

For the spectrograph of the bench: spectra with full vertical binning, as counts on pixels. The
settings are told once, read back, and told again when a restart lost them. An acquisition is
started once and never repeated: when the link breaks in it, it is stopped and reported. Frames are
believed only if they are as many, as long and as binned as asked, and newer than those before.
Stops at the wavelength axis (the ICL's own conversion is switched off), images, crop and fast
kinetics.

Source: ICL API manual 2.1.0, "CCD". The ICL tells a sensor's temperature but no set-point, so that
"cold" is what the option `cold_below_C` says, and not drifting.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock
from instruments.drivers.icl_camera_settings import SETTINGS, IclCameraSettings
from instruments.drivers.icl_data import counts_of, timestamp_of
from instruments.drivers.icl_device import (
    NOT_READY,
    RETURN_S,
    UNKNOWN_COMMAND,
    truth,
)
from instruments.drivers.icl_link import IclLink, LinkLost, Refused
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
from instruments.roles import Camera, Exposure, Setting, Status

log = logging.getLogger(__name__)

_FULL_SCALE = 65535  # 16 bits
_FRAMES_A_SERIES = 50  # what one reply may carry
_EXPOSURE_AT_START_S = 0.1
_SLICE_S = 0.1  # an abort from another thread is seen this soon
_POLL_S = 0.05
_LOOK_S = 1.0
_PATIENCE_S = 10.0  # beyond exposures and an estimate of the readout
_READOUT_S = 2.0  # a frame, at the slowest
_DATA_S = 30.0
_RESTART_S = 10.0


class HoribaCamera(IclCameraSettings, Camera):
    """A HORIBA CCD behind the ICL.

    Args:
        link: to the ICL, see `open_link`. clock: the bench's clock.
        index: in the ICL's list of CCDs.
        serial: refuse a camera with another serial number.
        gain, speed, parallel_speed: by token (a whole number) or by the words of the camera's own
            list ("Best Dynamic Range", "45 kHz"); as the camera starts if left out.
        cold_below_C: the sensor counts as cold below this (C), once it has stopped drifting.
        cooling_timeout_s: how long `connect` waits for that; 0: not at all.
        shutter: the shutter while acquiring: "open" or "closed" (dark frames).
        cleans: how often the sensor is cleaned before each frame; None leaves it as it is.
        mirrored: reverse the pixels (red on the left).
        pixel_pitch_um: where the camera does not tell it, or tells it wrong.
        saturation_counts: from where a pixel counts as saturated; full scale if left out.
        restart_after_abort: restart the camera before the next acquisition, as the manual
            recommends (10 s).
    """

    def __init__(
        self,
        link: IclLink,
        clock: Clock | None = None,
        *,
        index: int = 0,
        serial: str | None = None,
        gain: int | str | None = None,
        speed: int | str | None = None,
        parallel_speed: int | str | None = None,
        cold_below_C: float = -20.0,
        cooling_timeout_s: float = 0.0,
        shutter: str = "open",
        cleans: int | None = 1,
        mirrored: bool = False,
        pixel_pitch_um: float | None = None,
        saturation_counts: int | None = None,
        restart_after_abort: bool = True,
    ) -> None:
        super().__init__(
            link,
            clock,
            index=index,
            serial=serial,
            pixel_pitch_um=pixel_pitch_um,
            cold_below_C=cold_below_C,
        )
        if shutter not in ("open", "closed"):
            raise ConfigError(f"{shutter!r} was given, allowed is open or closed", key="shutter")
        if saturation_counts is not None and not 0 < saturation_counts <= _FULL_SCALE:
            raise LimitError(
                f"saturation_counts: {saturation_counts} was asked, allowed is 1 to {_FULL_SCALE}",
                key="saturation_counts",
            )
        if cleans is not None and not 0 <= cleans <= 100:
            raise LimitError(f"cleans: {cleans} was asked, allowed is 0 to 100", key="cleans")
        self._asked = {"gain": gain, "speed": speed, "parallel_speed": parallel_speed}
        self._cooling_timeout_s = cooling_timeout_s
        self._shutter = shutter
        self._cleans = cleans
        self._cleaning = False
        self._mirrored = mirrored
        self._saturation = saturation_counts or _FULL_SCALE
        self._restart_after_abort = restart_after_abort
        self._exposure_asked_s = _EXPOSURE_AT_START_S
        self._series = 0  # frames a series, as told; 0: not yet
        self._one_by_one = False  # the camera takes no series
        self._timestamp: str | None = None  # of the frames read last
        self._aborted = False
        self._running = False  # on the camera, as far as known
        self._restart_needed = False
        self._sealed = True

    # ---- opening -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open and identify the camera, tell it all settings; waits for the sensor if asked to.

        An acquisition that somebody left running is stopped.

        Raises:
            NoReply: no ICL there, or no such camera. WrongIdentity: it is another one.
            LimitError: gain or speed are not in the camera's list.
            NotReady: the sensor did not get cold in time.
        """
        with self.lock:
            self._exposure_asked_s = _EXPOSURE_AT_START_S
            self._busy = self._restart_needed = False
            self._timestamp = None
            self._attach()
            self._recovering = True  # nothing to come back to yet
            try:
                self._restore()
            finally:
                self._recovering = False
        if self._cooling_timeout_s > 0:
            self.wait_until_cold(self._cooling_timeout_s)

    def _restore(self) -> None:
        """Tell the camera all its settings; opening it has reset them."""
        if truth(self._ask("getAcquisitionBusy"), "isBusy"):
            self._stop()
        self._running = False
        self._series = 0
        self._tell_if_known("setTriggerIn", enable=False, address=-1, event=-1, signalType=-1)
        self._tell_if_known("setXAxisConversionType", type=0)
        for setting, asked in self._asked.items():
            self._choose(setting, asked)
        if self._cleans is not None:
            mode = 3 if self._cleans else 0  # before each frame, or never
            self._cleaning = self._tell_if_known("setCleanCount", count=self._cleans, mode=mode)
        self._set_format()
        self._fine = self._has_microseconds()
        self._tell_exposure(self._exposure_asked_s)
        if self._timestamp is None:  # frames of an earlier session must not pass for ours
            with contextlib.suppress(BenchError):
                self._timestamp = timestamp_of(self._ask("getAcquisitionData", timeout_s=_DATA_S))

    def _tell_if_known(self, verb: str, **parameters: Any) -> bool:
        """Send a setting that a simpler camera does not have, return whether it has it."""
        try:
            self._ask(verb, **parameters)
        except DeviceFault as error:
            log.info("%s has no such setting: %s", self.name, error)
            return False
        return True

    # ---- the role ----------------------------------------------------------------------------

    @property
    def saturation_counts(self) -> int:
        """See Camera: full scale of the converter, or the option of that name."""
        return self._saturation

    @property
    def exposure_s(self) -> float:
        """See Camera; during an acquisition, as read back before it."""
        with self.lock:
            self._need()
            if not self._busy:
                self._exposure_s = self._read_exposure()
            return self._exposure_s

    def set_exposure_s(self, exposure_s: float) -> float:
        """See Camera; rounded to whole timer units.

        Whole milliseconds are told in milliseconds, others in microseconds where the camera has
        these.

        Raises:
            LimitError: outside the limits. NotReady: during an acquisition.
        """
        with self.lock:
            self._need_idle()
            self.limits["exposure_s"].check("exposure_s", float(exposure_s))
            taken = self._tell_exposure(float(exposure_s))
            self._exposure_asked_s = float(exposure_s)
            return taken

    def status(self) -> Status:
        """See Role: ok once the sensor is below `cold_below_C`."""
        celsius = self.temperature_C
        cold = celsius <= self._cold_below_C
        doing = "acquiring" if self._busy else "idle"
        text_ = f"{doing}, sensor {celsius:.1f} C"
        return Status(cold, text_ if cold else f"{text_}, not below {self._cold_below_C:g} C")

    def snapshot(self) -> dict[str, Setting]:
        """See Role."""
        found = {
            "exposure_s": Setting(self.exposure_s, "s"),
            "temperature_C": Setting(self.temperature_C, "degC"),
            "pixels": Setting(self.pixels),
            "rows_binned": Setting(self.rows),
            "pixel_pitch_um": Setting(self.pixel_pitch_um, "um"),
            "saturation_counts": Setting(self.saturation_counts),
            "shutter": Setting(self._shutter),
            "mirrored": Setting(self._mirrored),
        }
        if self._cleaning and self._cleans is not None:
            found["cleans"] = Setting(self._cleans)
        for setting, token in self._set.items():
            found[f"{setting}_token"] = Setting(token)
            found[setting] = Setting(self._tokens[setting].get(token, ""))
        return found

    def choose(self, setting: str, value: int | str) -> int:
        """Set "gain", "speed" or "parallel_speed" by token or words, return the token.

        Raises:
            LimitError: not in the camera's list. NotReady: during an acquisition.
        """
        with self.lock:
            self._need_idle()
            if setting not in SETTINGS:
                raise LimitError(
                    f"{setting!r} was asked, allowed is {', '.join(SETTINGS)}", key=setting
                )
            self._choose(setting, value)
            self._asked[setting] = value
            return self._set[setting]

    # ---- acquisition -------------------------------------------------------------------------

    def acquire(self, frames: int = 1) -> Exposure:
        """See Camera: (frames, pixels) uint16.

        Raises:
            LimitError: `frames` is outside the limits.
            NotReady: another acquisition is going on, or the camera is not ready.
            NoReply: the link broke, or the frames did not come in time; the camera was stopped.
            BadReply: what came are not the frames that were asked for.
            InstrumentError: somebody called `abort` or `make_safe` meanwhile.
        """
        with self.lock:
            if frames != int(frames):
                raise LimitError(f"frames: {frames} was asked, a whole number is needed")
            self.limits["frames"].check("frames", frames)
            self._need_idle()
            if self._restart_needed:
                self._restart()
            self._busy, self._aborted = True, False
        blocks: list[npt.NDArray[np.uint16]] = []
        start_s = self.clock.now()
        try:
            while (have := sum(len(block) for block in blocks)) < frames:
                most = 1 if self._one_by_one else _FRAMES_A_SERIES
                block, began_s = self._take(min(int(frames) - have, most))
                if not blocks:
                    start_s = began_s
                blocks.append(block)
        except BaseException:
            with self.lock, contextlib.suppress(Exception):
                if self._running and not self._aborted:
                    self._stop()
            raise
        finally:
            self._busy = False
        data = np.concatenate(blocks)
        if self._mirrored:
            data = np.ascontiguousarray(data[:, ::-1])
        return Exposure(data, self._exposure_s, self._saturation, start_s, self.clock.now())

    def _take(self, frames: int) -> tuple[npt.NDArray[np.uint16], float]:
        """Take one series, return it and the time at which it was started."""
        with self.lock:
            self._refuse_if_aborted()
            frames = self._prepare(frames)
            start_s = self.clock.now()
            self._running = True
            self._start()
        end_s = start_s + frames * self._exposure_s
        deadline = end_s + frames * _READOUT_S + _PATIENCE_S
        look_every_s = max(self._exposure_s, _LOOK_S)
        look_s = start_s + look_every_s
        while True:
            remaining = end_s - self.clock.now()
            if remaining > 0:
                self.clock.sleep(min(remaining, _SLICE_S))
            with self.lock:
                self._refuse_if_aborted()
                if remaining > 0 and self.clock.now() >= look_s:  # a lost link shows at once
                    self._is_acquiring()
                    look_s += look_every_s
                if remaining <= 0:
                    block = self._collect(frames)
                    if block is not None:
                        self._running = False
                        return block, start_s
            if self.clock.now() > deadline:
                raise NoReply(
                    f"{self.name}: no frames {self.clock.now() - start_s:.3g} s after the start of "
                    f"{frames} x {self._exposure_s:g} s; is it waiting for a trigger? Take it again"
                )
            if remaining <= 0:
                self.clock.sleep(_POLL_S)

    def _start(self) -> None:
        """Start the acquisition, never twice, and never on a camera that lost its settings."""
        try:
            self._request("acquisitionStart", openShutter=self._shutter == "open")
        except Refused as error:
            raise self._plain(error) from error

    def _prepare(self, frames: int) -> int:
        """Get the camera ready for a series, return of how many frames."""
        self._ask("getExposureTime")  # comes back here, if link or camera was lost
        if self._series != frames:
            try:
                self._ask("setAcqCount", count=frames)
            except (LimitError, DeviceFault):
                if frames == 1:
                    raise
                log.info("%s: takes no series of %d, one frame at a time then", self.name, frames)
                self._one_by_one, frames = True, 1
                self._ask("setAcqCount", count=1)
            self._series = frames
        if not self._ready():
            self._set_format()
            if not self._ready():
                raise NotReady(
                    f"{self.name}: not ready to acquire; restart the camera, then connect again"
                )
        return frames

    def _ready(self) -> bool:
        try:
            return truth(self._request("getAcquisitionReady"), "ready")
        except Refused as error:
            if error.number in UNKNOWN_COMMAND:  # the manual 2.1.0 does not name it any more
                return True
            raise self._plain(error) from error

    def _collect(self, frames: int) -> npt.NDArray[np.uint16] | None:
        """Return the series if it is there."""
        if self._is_acquiring():
            return None
        try:
            results = self._request("getAcquisitionData", timeout_s=_DATA_S)
        except Refused as error:
            if error.number in NOT_READY:
                return None
            raise self._plain(error) from error
        stamp = timestamp_of(results)
        if stamp is not None and stamp == self._timestamp:
            return None  # "not busy" came too early: these are the frames before
        counts = counts_of(results, frames, self._size)
        self._timestamp = stamp
        return counts

    def _is_acquiring(self) -> bool:
        """Ask without coming back from a lost link: the acquisition is gone then."""
        lost = NoReply(
            f"{self.name}: the link to the ICL broke during the acquisition, its frames are lost; "
            "take it again"
        )
        for tries in (2, 1, 0):
            if not self.link.connected or self._generation != self.link.generation:
                raise lost
            try:
                return truth(self._request("getAcquisitionBusy"), "isBusy")
            except LinkLost as error:
                raise lost from error
            except BadReply:
                if not tries:
                    raise
            except Refused as error:
                raise self._plain(error) from error
        raise AssertionError

    def abort(self) -> None:
        """See Camera; the `acquire` that is going on raises InstrumentError."""
        with self.lock:
            if not self._connected:
                return
            self._aborted = True
            if self._running or self._busy:
                self._stop()

    def make_safe(self) -> None:
        """See Role: no acquisition; the shutter is open during acquisitions only."""
        self.abort()

    def _stop(self) -> None:
        """Stop what is running on the camera; DeviceFault if it does not stop."""
        running, self._running = self._running, False
        try:
            try:
                self._ask("acquisitionAbort")
            except (NotReady, DeviceFault) as error:  # nothing to stop, some cameras say
                log.info("%s: %s", self.name, error)
            deadline = self.clock.now() + _PATIENCE_S
            while truth(self._ask("getAcquisitionBusy"), "isBusy"):
                if self.clock.now() > deadline:
                    raise DeviceFault(f"{self.name}: does not stop acquiring; switch it off and on")
                self.clock.sleep(_POLL_S)
        except BaseException:
            self._running = running
            raise
        finally:
            self._restart_needed = self._restart_after_abort

    def _restart(self) -> None:
        """Restart the camera and tell it its settings again (10 s)."""
        self._ask("restart", timeout_s=RETURN_S)
        self.clock.sleep(_RESTART_S)
        self._generation = 0  # closed, or open with its settings lost
        self._restart_needed = False
        self._come_back()

    def _need_idle(self) -> None:
        self._need()
        if self._busy:
            raise NotReady(f"{self.name}: an acquisition is going on; abort it first")
        if self._running:
            self._stop()

    def _refuse_if_aborted(self) -> None:
        if self._aborted:
            raise InstrumentError(f"{self.name}: the acquisition was aborted")
