"""How a simulated HPD-TA acquires: live, single, analog integration and photon counting.

For `sim_drivers.devices.hamamatsu_remoteex`: when frames are done on the bench's clock, what the
monitors tell meanwhile, the ring buffer of live frames. An image is worked out when its last frame
has been read. Stops at the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from instruments.clock import Clock
from sim_drivers.devices.remoteex_images import ImageStore, StoredImage
from sim_drivers.devices.remoteex_parameters import Answer, RemoteExError
from sim_drivers.devices.remoteex_units import UNITS_PS, Units
from sim_drivers.streak_tube import Shot, StreakTube

_MODES = {mode.lower(): mode for mode in ("Live", "SingleLive", "Acquire", "AI", "PC")}
_MONITORS = {"off": "Off", "endacq": "EndAcq", "endpart": "EndPart", "all": "All"}
_LIVE_MONITORS = ("off", "notify", "notifytimestamp", "ringbuffer")
READOUT_S = 0.03


@dataclass
class Running:
    """What is being acquired: the tube as it stood at the start, frames done, when it will stop."""

    mode: str
    shot: Shot
    threshold: float
    done: int = 0
    stops_s: float | None = None

    @property
    def endless(self) -> bool:
        """Whether only AcqStop ends it."""
        return self.mode == "Live"

    def read_s(self, frame: int) -> float:
        """When frame number `frame` (from 1) has been read out."""
        return self.shot.start_s + frame * self.shot.exposure_s + READOUT_S


def frames_of(shot: Shot, first: int, count: int) -> Shot:
    """Return `count` frames of an acquisition as one of their own, from number `first` (from 0)."""
    return replace(
        shot,
        frames=count,
        start_s=shot.start_s + first * shot.exposure_s,
        number=shot.number + first,
    )


class Acquirer:
    """The acquisition of one application; `say` takes the asynchronous lines."""

    def __init__(
        self,
        clock: Clock,
        tube: StreakTube,
        units: Units,
        images: ImageStore,
        say: Callable[[str], None],
        falling: tuple[bool, bool],
        idle_comma: bool,
    ) -> None:
        self.clock, self.tube, self.units, self.images = clock, tube, units, images
        self.say, self.falling, self.idle_comma = say, falling, idle_comma
        self.running: Running | None = None
        self.exposures = 0
        self.monitor, self.live_monitor = "Off", "off"
        self.ring: deque[tuple[int, Shot, float]] = deque(maxlen=3)
        self.sequence = 0
        self._advancing = False

    def handlers(self) -> dict[str, Callable[[list[str]], Answer]]:
        """Return what answers which command."""
        return {
            "acqstart": self._start,
            "acqstatus": self._status,
            "acqacqmonitor": self._set_monitor,
            "acqlivemonitor": self._set_live_monitor,
            "acqlivemonitortsinfo": self._time_stamp,
            "acqlivemonitortsformat": lambda args: ([], 0.0),
            "asynccommandstatus": self._pending,
            "camgetlivebg": self._live_background,
        }

    # ---- commands -------------------------------------------------------------------------------

    def _start(self, args: list[str]) -> Answer:
        if not args:
            raise RemoteExError(6)
        mode = _MODES.get(args[0].lower())
        if mode is None:
            raise RemoteExError(10)
        if self.running is not None:
            raise RemoteExError(7)
        place = "live" if mode == "SingleLive" else mode.lower()
        frames = int(self.units.find(place, "NrExposures").now) if mode in ("AI", "PC") else 1
        threshold = float(self.units.find("pc", "Threshold").now)
        shot = self.units.shot(place, frames, self.clock.now(), self.exposures)
        self.running = Running(mode, shot, threshold)
        return [], 0.0

    def _status(self, args: list[str]) -> Answer:
        if self.running is not None:
            return ["busy", self.running.mode], 0.0
        return (["idle", ""] if self.idle_comma else ["idle"]), 0.0

    def stop(self, args: list[str]) -> tuple[bool, float]:
        """Stop at the end of the frame; return whether that is within the patience, and after."""
        try:
            patience_s = float(args[0]) / 1000.0 if args else 1.0
        except ValueError:
            raise RemoteExError(10) from None
        if not 0.001 <= patience_s <= 60.0:
            raise RemoteExError(10)
        if self.running is None:
            return True, 0.0
        self.running.stops_s = self.running.read_s(self.running.done + 1)
        wait_s = max(self.running.stops_s - self.clock.now(), 0.0)
        return wait_s <= patience_s, min(wait_s, patience_s)

    def _set_monitor(self, args: list[str]) -> Answer:
        if not args:
            raise RemoteExError(6)
        if args[0].lower() not in _MONITORS:
            raise RemoteExError(10)
        self.monitor = _MONITORS[args[0].lower()]
        return [], 0.0

    def _set_live_monitor(self, args: list[str]) -> Answer:
        if not args:
            raise RemoteExError(6)
        kind = args[0].lower()
        if kind not in _LIVE_MONITORS:
            raise RemoteExError(7)
        if kind == "ringbuffer":
            if len(args) < 2:
                raise RemoteExError(6)
            if not args[1].isdigit() or not 1 <= int(args[1]) <= 100:
                raise RemoteExError(10)
            self.ring = deque(maxlen=int(args[1]))
        self.live_monitor = kind
        return [], 0.0

    def _time_stamp(self, args: list[str]) -> Answer:
        return [self.clock.isoformat(), str(round(1000 * self.clock.now()))], 0.0

    def _pending(self, args: list[str]) -> Answer:
        if self.running is None:
            return ["0", "0", "0"], 0.0
        return ["1", "0", "1", "AcqStart"], 0.0

    def _live_background(self, args: list[str]) -> Answer:
        if self.running is None or not self.running.endless:
            raise RemoteExError(7)
        return [], 0.1

    # ---- the passing of time -------------------------------------------------------------------

    def next_line_s(self) -> float | None:
        """Return when the next asynchronous line is due, None if there is none to come."""
        running = self.running
        if running is None:
            return None
        live = running.mode in ("Live", "SingleLive") and self.live_monitor != "off"
        if live or self.monitor in ("EndPart", "All"):
            return running.read_s(running.done + 1)
        if self.monitor == "EndAcq" and not running.endless:
            return running.read_s(running.shot.frames) if running.stops_s is None else (
                running.stops_s
            )  # fmt: skip
        return None

    def advance(self, now: float) -> None:
        """Do what has happened by `now`."""
        if self._advancing:  # the world asked, while it was asked for light
            return
        self._advancing = True
        try:
            while self.running is not None and self.running.read_s(self.running.done + 1) <= now:
                self._frame_done(self.running)
        finally:
            self._advancing = False

    def _frame_done(self, running: Running) -> None:
        running.done += 1
        at_s = running.read_s(running.done)
        if running.mode in ("Live", "SingleLive"):
            self._live_frame(frames_of(running.shot, running.done - 1, 1), at_s)
        elif self.monitor in ("EndPart", "All"):
            self.say("4,Acqmonitor,EndPart")
        stopped = running.stops_s is not None and at_s >= running.stops_s
        if not stopped and (running.endless or running.done < running.shot.frames):
            return
        self.running = None
        self.exposures += running.done
        whole = frames_of(running.shot, 0, running.done)
        if running.endless:
            whole = frames_of(running.shot, running.done - 1, 1)
        self.images.add(self.render(running.mode, whole, running.threshold))
        if self.monitor in ("EndAcq", "All") and not running.endless:
            self.say("4,Acqmonitor,EndAcq")

    def _live_frame(self, shot: Shot, at_s: float) -> None:
        self.sequence += 1
        self.ring.append((self.sequence, shot, at_s))
        if self.live_monitor == "ringbuffer":
            self.say(f"4,Livemonitor,RingBuffer,{self.sequence}")
        elif self.live_monitor == "notify":
            self.say("4,Livemonitor,Notify")
        elif self.live_monitor == "notifytimestamp":
            self.say(f"4,Livemonitor,NotifyTimeStamp,{round(1000 * at_s)}")

    def from_ring(self, asked: int) -> tuple[StoredImage, int, float]:
        """Return a live frame, its number and time: the oldest if `asked` has gone already."""
        if not self.ring or asked > self.ring[-1][0]:
            raise RemoteExError(8, f"sequence number too high: current max = {self.sequence}")
        number, shot, at_s = next((held for held in self.ring if held[0] == asked), self.ring[0])
        return self.render("Live", shot, 0.0), number, at_s

    def render(self, mode: str, shot: Shot, threshold: float) -> StoredImage:
        """Return the image of some frames, with its axes as the scaling tables tell them."""
        counted = mode == "PC"
        counts = self.tube.counting(shot, threshold) if counted else self.tube.analog(shot)
        data: Any = counts
        if not self.units.wide(mode):
            data = np.minimum(counts, 65535).astype(np.uint16)
        unit = self.units.time_unit
        times = self.tube.time_table_ps(shot.sweep_ps) / UNITS_PS[unit]
        wavelengths = self.tube.wavelength_table_nm(shot.centre_nm, shot.nm_per_px)
        if self.falling[0]:
            data, times = data[::-1], times[::-1]
        if self.falling[1]:
            data, wavelengths = data[:, ::-1], wavelengths[::-1]
        return StoredImage(np.ascontiguousarray(data), times, wavelengths, unit, mode)
