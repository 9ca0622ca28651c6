"""Hamamatsu streak cameras (C10910, C16910, C7700, C5680 ...) through HPD-TA's RemoteEx server.

For streak spectrograms: time range, delay, gain, exposure, spectrograph, and images by analog
integration or photon counting. Two TCP sockets, commands and data one port above; the resource is
`host:port`. The micro-channel plate is what light destroys: its gain is zero and the shutter closed
but for the time of an image, both read back, on every way out. Stops at alignment: HPD-TA's own
screen is for that, and Focus mode is entered in the dark only.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.ndimage import uniform_filter

from instruments.clock import Clock
from instruments.drivers import remoteex_values as values
from instruments.drivers.remoteex_link import CommandPort, Refused, TwoSockets
from instruments.drivers.remoteex_session import DELAY, SPEC, TUBE, Block, RemoteExSession
from instruments.drivers.remoteex_tube import SLOW_S, TubeGuard
from instruments.drivers.remoteex_unit import StreakUnit, Sweep, learn
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import (
    Identity,
    Limits,
    Setting,
    Status,
    StreakCamera,
    StreakImage,
)
from instruments.wire import WireInstrument

log = logging.getLogger(__name__)

_PLACES = {StreakCamera.ANALOG: "AI", StreakCamera.COUNTING: "PC"}
_APP_START_S = 150.0
_LOST = "communication error"
_LISTEN_S = 0.2
_SHORT_S = 0.5
_FRAME_MARGIN_S = 0.25  # of reading a frame out
_CROWDED = 0.8  # a mean frame above this share of full scale has had saturated ones
_CROWDED_BLOB = 0.4  # counts on 3 x 3 pixels a frame, from which a fifth is lost by coincidence
_FEW_COUNTS = 8.0


class RemoteExStreakCamera(WireInstrument, StreakCamera):
    """A streak camera that HPD-TA controls.

    Args:
        link: connections to both sockets, `command` and `data`. clock: the bench's clock.
        ini: the .INI file with which HPD-TA is started; its own default if left out.
        synchroscan_ps: full sweeps of the ranges "1", "2" ... of a synchroscan unit (ps).
        threshold: of photon counting (sensor counts); as HPD-TA has it, if left out.
        gain_limit: highest gain of the micro-channel plate that may be asked for.
        full_scale_counts: the count from which a pixel of one frame is saturated. Of a sum only
            the mean frame is known, which counts as saturated from 80 % of it; in photon counting
            an image does where a fifth of the counts or more is lost to coincidence.
    """

    DRIVER_ID: ClassVar[str] = "hamamatsu-remoteex"
    VISA: ClassVar[Mapping[str, Any]] = CommandPort.VISA
    TIMEOUT_S: ClassVar[float] = CommandPort.TIMEOUT_S

    def __init__(
        self,
        link: Any,
        clock: Clock | None = None,
        *,
        ini: str = "",
        synchroscan_ps: Sequence[float] = (),
        threshold: int | None = None,
        gain_limit: int = 63,
        full_scale_counts: int = 65535,
    ) -> None:
        super().__init__(link.command, clock, "RemoteEx")
        if any(not sweep > 0 for sweep in synchroscan_ps):
            raise ValueError(f"synchroscan_ps: {list(synchroscan_ps)} must all be above zero")
        self._link = link
        self._session = RemoteExSession(link, self.clock, self.name)
        self._ini = ini
        self._synchroscan_ps = tuple(float(sweep) for sweep in synchroscan_ps)
        self._threshold = threshold
        self._gain_limit = gain_limit
        self._full_scale = full_scale_counts
        self._guard = TubeGuard(self._session)
        self._unit: StreakUnit | None = None
        self._started = False  # the program runs: from now on there may be something to darken
        self._aborted = False
        self._monitored = False  # the end of an acquisition is told
        self._gain = 0
        self._wanted: dict[str, float] = {}  # method -> what it was last given
        self.seal()

    @classmethod
    def open_link(cls, resource: str) -> Any:
        """Open both sockets of `host:port`; NoReply if there is no server."""
        return TwoSockets(resource)

    # ---- opening and closing -------------------------------------------------------------------

    def connect(self) -> None:
        """Identify the server, start HPD-TA if need be (up to 2 min), leave the tube dark.

        Raises:
            WrongIdentity: something else answers. NotReady: no licence, or no ranges given.
            DeviceFault: HPD-TA does not reach the streak unit.
        """
        ask = self._session
        with self.lock:
            self._unit, self._started = None, False
            ask.client.messages.clear()
            self._identify_server()
            start = ("1", self._ini, "1") if self._ini else ()
            ask.call("AppStart", *start, patience_s=_APP_START_S, busy_s=_APP_START_S, tries=2)
            self._started = True
            if self._lost_device():
                raise DeviceFault(f"{self.name}: {self._lost_device()}; is it switched on?")
            licence = ask.agreed(lambda: ask.call("AppLicenceGet"))
            if "1" not in licence[:2]:
                raise NotReady(f"{self.name}: HPD-TA has no licence; plug the USB dongle in")
            if ask.acquiring():
                log.warning("%s: an acquisition was going on and is stopped", self.name)
            self._guard.darken(stop=True)
            unit = learn(ask, self._synchroscan_ps, self._gain_limit)
            self._guard.trigger_known, self._guard.lock_known = unit.trigger_known, unit.lock_known
            self._guard.longest_frame_s = min(unit.limits["exposure_s"].high, 30.0)
            self._monitored = ask.offer("AcqAcqMonitor", "EndAcq")
            ask.offer("ImgParamSet", "AcquireToSameWindow", "1")
            for option in ("32BitInAI", "32BitInPC"):
                ask.offer("AcqParamSet", option, "1")
            if self._threshold is not None:
                unit.limits["threshold"].check("threshold", self._threshold)
                ask.set(("Cam", "PC"), "Threshold", str(self._threshold))
            self._unit = unit

    def _identify_server(self) -> None:
        ask = self._session
        ask.client.quieten()  # the greeting
        try:
            app = ask.agreed(lambda: ask.call("Appinfo", "type", tries=2))
        except (BadReply, Refused) as error:
            raise WrongIdentity(
                f"{self.name}: what answers is no RemoteEx server ({error}); check host and port"
            ) from error
        if [word.strip().upper() for word in app] not in (["HPDTA"], ["HPD-TA"]):
            raise WrongIdentity(
                f"{self.name}: {','.join(app)!r} answers, expected is HPD-TA, the program of the "
                "streak cameras"
            )

    @property
    def identity(self) -> Identity:
        """See Role.identity; NotReady before `connect`."""
        return self._known.identity

    @property
    def _known(self) -> StreakUnit:
        if self._unit is None:
            raise NotReady(f"{self.name}: not connected; call connect() first")
        return self._unit

    def _lost_device(self) -> str:
        """Return what HPD-TA said of a device that it does not reach, "" if nothing."""
        said = [text for text in self._session.client.messages if _LOST in text.lower()]
        return said[-1].strip() if said else ""

    def reopen(self) -> None:
        """Connect both sockets again; NoReply if there is no server."""
        with self.lock:
            self._session.client.reopen()

    def recover(self) -> None:
        """See WireInstrument.recover; HPD-TA may have been started afresh: settings are sent again.

        Raises as `connect` does.
        """
        with self.lock:
            self.reopen()
            self.connect()
            for method, value in self._wanted.items():
                getattr(self, method)(value)

    def close(self) -> None:
        """Leave the tube dark and release both sockets; callable more than once."""
        if self._started:
            with contextlib.suppress(InstrumentError):
                self.make_safe()
        self._started, self._unit = False, None
        self._link.close()

    # ---- what every role has -------------------------------------------------------------------

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Limits by name, read from the unit; NotReady before `connect`."""
        return dict(self._known.limits)

    def status(self) -> Status:
        """Ask what is going on, and whether the tube is dark when nothing is."""
        _ = self._known
        with self.lock:
            going = self._session.acquiring()
            gain, closed = self._guard.read_gain(), self._guard.closed()
            mode = self._session.get(TUBE, "Mode")
        if going:
            return Status(True, f"acquiring ({going}), gain {gain}")
        if self._lost_device():
            return Status(False, self._lost_device())
        shutter = "closed" if closed else "open"
        return Status(closed and gain == 0, f"{mode}, gain {gain}, shutter {shutter}")

    def make_safe(self) -> None:
        """Stop what is acquired, set the gain to zero and close the shutter, verified.

        Everything is tried whatever fails; raises DeviceFault if it could not be verified.
        """
        self._aborted = True  # seen by an acquisition under way in another thread
        with self.lock:
            if self._started:
                self._guard.darken(stop=True)

    def abort(self) -> None:
        """Stop an acquisition; callable at any time."""
        self.make_safe()

    def snapshot(self) -> dict[str, Setting]:
        """Return the settings as they are now; the gain is that of the next image."""
        ask, unit = self._session, self._known
        with self.lock:
            found = {
                "time_range_ps": Setting(self.time_range_ps, "ps"),
                "mcp_gain": Setting(self._gain),
                "exposure_s": Setting(self.exposure_s, "s"),
                "threshold": Setting(self.threshold, "counts"),
                "operating_mode": Setting(ask.get(TUBE, "Mode")),
            }
            if unit.delay_name:
                found["delay_ps"] = Setting(self.delay_ps, "ps")
            if "wavelength_nm" in unit.limits:
                found["centre_wavelength_nm"] = Setting(self.centre_wavelength_nm, "nm")
                for name in ("Grating", "Slit Width"):
                    with contextlib.suppress(Refused):
                        key = name.lower().replace(" ", "_")
                        found[key] = Setting(ask.get(SPEC, name))
        return found

    def _limit(self, name: str, why: str) -> Limits:
        limits = self._known.limits
        if name not in limits:
            raise NotReady(f"{self.name}: {why}")
        return limits[name]

    # ---- settings ------------------------------------------------------------------------------

    @property
    def time_ranges_ps(self) -> tuple[float, ...]:
        """The full sweeps that can be chosen (ps), rising."""
        return tuple(sweep.full_ps for sweep in self._known.sweeps)

    @property
    def time_range_ps(self) -> float:
        """The full sweep in use (ps), asked of the unit."""
        return self._sweep().full_ps

    def _sweep(self) -> Sweep:
        unit = self._known
        with self.lock:
            return unit.sweep(self._session.get(TUBE, "Time Range"))

    def select_time_range(self, time_range_ps: float) -> float:
        """Choose the shortest sweep that holds `time_range_ps`, return it; LimitError if none."""
        unit = self._known
        unit.limits["time_range_ps"].check("time_range_ps", time_range_ps)
        wanted = next(s for s in unit.sweeps if s.full_ps >= time_range_ps * (1.0 - 1e-9))
        with self.lock:
            if self._sweep() != wanted:
                self._guard.darken()
                self._session.set(TUBE, "Time Range", wanted.text, patience_s=SLOW_S)
        self._wanted["select_time_range"] = time_range_ps
        return wanted.full_ps

    @property
    def delay_ps(self) -> float:
        """The delay of the sweep behind the trigger (ps), asked of the delay unit."""
        self._limit("delay_ps", "HPD-TA has no delay unit")
        with self.lock:
            text = self._session.get(DELAY, self._known.delay_name)
        return values.number(text) * self._known.delay_unit_ps

    def set_delay_ps(self, delay_ps: float) -> float:
        """Set the delay (ps), return the one read back."""
        self._limit("delay_ps", "HPD-TA has no delay unit").check("delay_ps", delay_ps)
        name, unit_ps = self._known.delay_name, self._known.delay_unit_ps
        text = values.plain(delay_ps / unit_ps, 13 if unit_ps > 1.0 else 2)
        with self.lock:
            # Delay generators step by a few ps; phase shifters by about one.
            self._session.set(DELAY, name, text, tolerance=10.0 / unit_ps)
            self._wanted["set_delay_ps"] = delay_ps
            return self.delay_ps

    @property
    def centre_wavelength_nm(self) -> float:
        """The centre of the spectral axis (nm), asked of the spectrograph."""
        self._limit("wavelength_nm", "HPD-TA has no spectrograph among its devices")
        with self.lock:
            return values.number(self._session.get(SPEC, "Wavelength"))

    def go_to(self, wavelength_nm: float) -> float:
        """Centre the spectral axis on a wavelength (nm), return the one reached."""
        limit = self._limit("wavelength_nm", "HPD-TA has no spectrograph among its devices")
        limit.check("wavelength_nm", wavelength_nm)
        with self.lock:
            self._session.set(
                *(SPEC, "Wavelength", values.plain(wavelength_nm, 3)),
                patience_s=SLOW_S,
                tolerance=0.2,
            )
            self._wanted["go_to"] = wavelength_nm
            return self.centre_wavelength_nm

    @property
    def mcp_gain(self) -> int:
        """The gain that images are taken with; the plate itself is at zero between images."""
        return self._gain

    def set_mcp_gain(self, gain: int) -> int:
        """Set the gain for the next images; LimitError outside the limits."""
        self._known.limits["mcp_gain"].check("mcp_gain", gain)
        if gain != int(gain):
            raise LimitError(f"mcp_gain: {gain} was asked, the gain has whole steps")
        self._gain = int(gain)
        return self._gain

    @property
    def exposure_s(self) -> float:
        """Exposure of one frame of analog integration (s), asked of the camera."""
        _ = self._known
        with self.lock:
            return self._read_exposure("AI")

    def _read_exposure(self, place: str) -> float:
        return values.exposure_s(self._session.get(("Cam", place), "Exposure"))

    def set_exposure_s(self, exposure_s: float) -> float:
        """Set the exposure of one frame (s) for both modes, return what the camera took."""
        unit = self._known
        unit.limits["exposure_s"].check("exposure_s", exposure_s)
        with self.lock:
            for place, entries in unit.exposures.items():
                listed = min(entries, key=lambda e: abs(values.exposure_s(e) - exposure_s))
                try:
                    self._send_exposure(place, values.exposure_text(exposure_s))
                except Refused:  # this camera takes those of its list only
                    self._send_exposure(place, listed)
                taken = self._read_exposure(place)
                off = abs(taken - exposure_s)
                if off > 0.01 * exposure_s + abs(values.exposure_s(listed) - exposure_s):
                    raise DeviceFault(
                        f"{self.name}: an exposure of {exposure_s:g} s was asked, "
                        f"the camera took {taken:g} s"
                    )
            self._wanted["set_exposure_s"] = exposure_s
            return self._read_exposure("AI")

    def _send_exposure(self, place: str, text: str) -> None:
        with contextlib.suppress(NoReply, BadReply):  # what counts is what it took
            self._session.call("CamParamSet", place, "Exposure", text)

    @property
    def threshold(self) -> int:
        """The threshold of photon counting (sensor counts), asked of HPD-TA."""
        _ = self._known
        with self.lock:
            return values.whole(self._session.get(("Cam", "PC"), "Threshold"))

    def set_threshold(self, counts: int) -> int:
        """Set the threshold of photon counting (sensor counts), return it as read back."""
        self._known.limits["threshold"].check("threshold", counts)
        with self.lock:
            self._session.set(("Cam", "PC"), "Threshold", str(int(counts)))
            self._wanted["set_threshold"] = int(counts)
            return self.threshold

    def enter_focus(self) -> None:
        """Go to Focus mode (no sweep), the gain zero and the shutter closed before."""
        _ = self._known
        with self.lock:
            self._guard.enter_focus()

    # ---- images --------------------------------------------------------------------------------

    def acquire(self, mode: str = StreakCamera.ANALOG, exposures: int = 1) -> StreakImage:
        """Take an image summed over `exposures` frames, by `mode` (ANALOG or COUNTING).

        The plate has its gain, and the shutter is open, for the time of the acquisition only.

        Raises:
            LimitError: another mode, or too many exposures. NotReady: no trigger.
            DeviceFault: refused, aborted, or the tube could not be darkened.
            NoReply, BadReply: the image did not come, or not whole.
        """
        unit = self._known
        if mode not in _PLACES:
            raise LimitError(f"mode: {mode!r} was asked, allowed are {', '.join(_PLACES)}")
        place = _PLACES[mode]
        unit.limits[f"exposures_{place}"].check("exposures", exposures)
        if exposures != int(exposures):
            raise LimitError(f"exposures: {exposures} was asked, they are counted")
        ask, gain = self._session, self._gain
        with self.lock:
            self._aborted = False
            sweep = self._sweep()
            centre = self.centre_wavelength_nm if "wavelength_nm" in unit.limits else None
            ask.set(("Cam", place), "NrExposures", str(int(exposures)))
            exposure_s = self._read_exposure(place)
            with self._guard.lit(gain, self._check_wanted):
                start_s = self.clock.now()
                ask.start(place)
                self._wait(place, start_s, int(exposures), exposure_s)
                end_s = self.clock.now()
            block = ask.image()
        time_ps = block.vertical * values.TIME_UNITS_PS[sweep.unit]
        counts, wavelength_nm = block.counts, block.horizontal
        self._check_axes(time_ps, wavelength_nm, sweep.full_ps, centre)
        if time_ps[0] > time_ps[-1]:
            counts, time_ps = counts[::-1], time_ps[::-1]
        if wavelength_nm[0] > wavelength_nm[-1]:
            counts, wavelength_nm = counts[:, ::-1], wavelength_nm[::-1]
        return StreakImage(
            counts=np.ascontiguousarray(counts),
            time_ps=np.ascontiguousarray(time_ps),
            wavelength_nm=np.ascontiguousarray(wavelength_nm),
            mode=mode,
            exposure_s=exposure_s,
            exposures=int(exposures),
            mcp_gain=gain,
            saturated=self._saturated(block, mode, int(exposures)),
            start_s=start_s,
            end_s=end_s,
        )

    def _check_wanted(self) -> None:
        if self._aborted:
            raise DeviceFault(f"{self.name}: the acquisition was aborted")

    def _wait(self, place: str, start_s: float, exposures: int, exposure_s: float) -> None:
        """Wait until the acquisition is over; raises if it takes too long, or never began.

        That there is an image is no sign of it: it may be the last one's.
        """
        least_s = exposures * exposure_s
        look_s = start_s + least_s
        late_s = look_s + 10.0 + exposures * _FRAME_MARGIN_S
        began = not self._monitored
        if least_s > _SHORT_S:
            going = self._session.acquiring()
            if going.upper() != place:
                raise DeviceFault(f"{self.name}: the acquisition did not begin ({going or 'idle'})")
            began = True
        while True:
            line = self._session.client.listen(_LISTEN_S)
            self._check_wanted()
            told = line is not None and "endacq" in line.text.lower()
            began = began or told
            now = self.clock.now()
            if told or now >= look_s:
                if not self._session.acquiring():
                    break
                look_s = now + 0.5
            if now > late_s:
                raise NoReply(
                    f"{self.name}: the acquisition of {least_s:g} s is not over after "
                    f"{now - start_s:g} s; does the camera wait for a trigger?"
                )
        if not began or self.clock.now() - start_s < 0.95 * least_s - 0.01:
            raise DeviceFault(
                f"{self.name}: an acquisition of {least_s:g} s was over too soon, or never began; "
                "does somebody else use the camera?"
            )

    def _check_axes(
        self,
        time_ps: values.FloatArray,
        wavelength_nm: values.FloatArray,
        sweep_ps: float,
        centre_nm: float | None,
    ) -> None:
        span = float(abs(time_ps[-1] - time_ps[0]))
        if not 0.5 * sweep_ps < span < 2.0 * sweep_ps:
            raise BadReply(
                f"{self.name}: the time table spans {span:g} ps, the time range {sweep_ps:g} ps"
            )
        low, high = sorted((float(wavelength_nm[0]), float(wavelength_nm[-1])))
        inside = low > 0.0 and (centre_nm is None or low <= centre_nm <= high)
        if not inside or high > 5000.0:
            raise NotReady(
                f"{self.name}: the horizontal scaling, {low:g} to {high:g}, is no wavelength axis "
                f"around {centre_nm} nm; calibrate the spectrograph in HPD-TA"
            )

    def _saturated(self, block: Block, mode: str, exposures: int) -> bool:
        highest = float(block.counts.max())
        end = float(256**block.pixel_bytes - 1)
        if mode == self.COUNTING:
            blobs = uniform_filter(block.counts, 3, mode="constant") * 9.0
            crowded = float(blobs.max()) > max(_CROWDED_BLOB * exposures, _FEW_COUNTS)
            return highest >= end or crowded
        share = 1.0 if exposures == 1 else _CROWDED
        return highest >= min(end, share * self._full_scale * exposures)
