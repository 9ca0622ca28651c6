"""A streak camera that is worked by hand: its images are taken from the folder they are saved to.

For cameras whose maker publishes no protocol. The operator sets the camera in its own program,
which saves every image; each `acquire` waits for the next file. What the camera was set to is known
from its last image; what would have to be changed is asked of the operator. Nothing here can close
the camera's shutter or take its gain back: that stays with the operator and the maker's program.
The file formats are in `streak_files`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar

from instruments.clock import Clock, WallClock
from instruments.drivers.streak_files import SUFFIXES, Given, SavedImage, read_streak_file
from instruments.errors import (
    BadReply,
    ConfigError,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Identity, Limits, Setting, Status, StreakCamera, StreakImage

log = logging.getLogger(__name__)

_POLL_S = 0.2
_SETTLED_S = 0.5  # a file that has not grown for so long is taken for complete
_GRACE_S = 3.0  # one that cannot be read may still be written for so long

Seen = tuple[str, int, int]  # name, time of the last change (ns), size


class SavedStreakImages(StreakCamera):
    """The images that appear in a folder, as a streak camera.

    Args:
        resource: the folder, or a pattern of file names in it (`D:/streak/film*.img`).
        clock: the bench's clock.
        timeout_s: how long `acquire` waits for a file.
        take_existing: begin with the files that are there when the bench opens, oldest first;
            otherwise only what is saved from then on counts.
        time_axis_ps: first and last pixel in time, for files without a time axis.
        wavelength_axis_nm: first and last pixel in wavelength, for files without that.
        time_across: time runs along the lines of an image that does not name its units.
        exposure_s: of one exposure, for files that do not tell.
        mcp_gain: for files that do not tell.
        saturation_counts: of one analog exposure.
        identity_contains: what the camera's name in the files must contain.
    """

    DRIVER_ID: ClassVar[str] = "saved-streak-images"

    def __init__(
        self,
        resource: str,
        clock: Clock | None = None,
        *,
        timeout_s: float = 300.0,
        take_existing: bool = False,
        time_axis_ps: Sequence[float] | None = None,
        wavelength_axis_nm: Sequence[float] | None = None,
        time_across: bool = False,
        exposure_s: float | None = None,
        mcp_gain: int | None = None,
        saturation_counts: int = 65535,
        identity_contains: str = "",
    ) -> None:
        path = Path(resource)
        patterned = any(sign in path.name for sign in "*?[")
        self.folder = path.parent if patterned else path
        self.pattern = path.name if patterned else "*"
        self.clock: Clock = clock if clock is not None else WallClock()
        for key, number in (("timeout_s", timeout_s), ("exposure_s", exposure_s)):
            if number is not None and not 0.0 < number < float("inf"):
                raise ConfigError(f"a positive number is allowed, not {number!r}", key=key)
        if mcp_gain is not None and mcp_gain < 0:
            raise ConfigError(f"0 or more is allowed, not {mcp_gain!r}", key="mcp_gain")
        if saturation_counts < 1:
            raise ConfigError(
                f"1 or more is allowed, not {saturation_counts!r}", key="saturation_counts"
            )
        self._given = Given(
            time_ps=_ends(time_axis_ps, "time_axis_ps"),
            wavelength_nm=_ends(wavelength_axis_nm, "wavelength_axis_nm"),
            exposure_s=exposure_s,
            mcp_gain=mcp_gain,
            saturation_counts=saturation_counts,
            time_across=time_across,
        )
        self._timeout_s = timeout_s
        self._take_existing = take_existing
        self._wanted_id = identity_contains
        self._taken: set[Seen] = set()
        self._count = 0
        self._last: SavedImage | None = None
        self._last_name = ""
        self._ranges: set[float] = set()
        self._identity: Identity | None = None
        self._aborts = 0
        self._busy = threading.RLock()

    # ---- opening ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Look at the folder, and at the newest image in it for how the camera is set.

        Raises NoReply if there is no such folder, WrongIdentity if the newest image is of another
        camera.
        """
        there = self._files()
        if there:
            try:
                image = read_streak_file(self.folder / there[-1][0], self._given)
                self._require_camera(image, there[-1][0])
                self._remember(image, there[-1][0])
            except (BadReply, OSError) as error:
                log.warning("the newest image in %s tells nothing: %s", self.folder, error)
        if not self._take_existing:
            self._taken.update(there)
        device = self._last.device if self._last is not None else ""
        self._identity = Identity("saved streak images", device or self.folder.name)
        self._sealed = True

    # ---- what every role can do -------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """The camera's name in the newest image, else the folder's; NotReady before `connect`."""
        if self._identity is None:
            raise NotReady("saved streak images: not connected yet; connect it first")
        return self._identity

    def status(self) -> Status:
        """Look at the folder; NoReply if it is gone."""
        waiting = len(self._untaken())
        text = f"{self._count} images taken from {self.folder}, {waiting} waiting"
        return Status(True, f"{text}; last: {self._last_name}" if self._last_name else text)

    @property
    def limits(self) -> Mapping[str, Limits]:
        """None: what the camera allows, its own program knows."""
        return {}

    def make_safe(self) -> None:
        """Stop waiting. The camera itself is not within reach."""
        self.abort()

    def snapshot(self) -> dict[str, Setting]:
        """Return where images come from, and how the camera was set in the last one."""
        settings = {
            "folder": Setting(str(self.folder)),
            "pattern": Setting(self.pattern),
            "images": Setting(self._count),
        }
        image = self._last
        if image is not None:
            settings["last_file"] = Setting(self._last_name)
            settings["time_range"] = Setting(image.time_range_ps, "ps")
            settings["centre_wavelength"] = Setting(self.centre_wavelength_nm, "nm")
            settings["mcp_gain"] = Setting(image.mcp_gain)
            settings["exposure"] = Setting(image.exposure_s, "s")
            if image.delay_ps is not None:
                settings["delay"] = Setting(image.delay_ps, "ps")
        return settings

    def close(self) -> None:
        """Stop waiting; nothing is held open."""
        self.abort()

    # ---- settings, which follow the files ---------------------------------------------------

    @property
    def time_ranges_ps(self) -> tuple[float, ...]:
        """The sweeps seen so far (ps), rising; NotReady before the first image."""
        self._known()
        return tuple(sorted(self._ranges))

    @property
    def time_range_ps(self) -> float:
        """The sweep of the last image (ps); NotReady before the first."""
        return self._known().time_range_ps

    def select_time_range(self, time_range_ps: float) -> float:
        """Return the sweep in use if it holds what is asked, NotReady otherwise."""
        now = self._known().time_range_ps
        if not 0.0 < time_range_ps <= now * (1.0 + 1e-9):
            raise self._by_hand("time range", f"{time_range_ps:g} ps or longer", f"{now:g} ps")
        return now

    @property
    def delay_ps(self) -> float:
        """The delay of the last image (ps); NotReady where its file does not tell."""
        delay = self._known().delay_ps
        if delay is None:
            raise NotReady(f"{self._last_name} does not tell the delay; see the camera's program")
        return delay

    def set_delay_ps(self, delay_ps: float) -> float:
        """Return the delay if it is so already, NotReady otherwise."""
        now = self._known().delay_ps
        if now is None or abs(now - delay_ps) > 0.5:
            raise self._by_hand(
                "delay", f"{delay_ps:g} ps", "not known" if now is None else f"{now:g} ps"
            )
        return now

    @property
    def centre_wavelength_nm(self) -> float:
        """The middle of the last image's wavelength axis (nm); NotReady before the first."""
        axis = self._known().wavelength_nm
        return float(0.5 * (axis[0] + axis[-1]))

    def go_to(self, wavelength_nm: float) -> float:
        """Return the centre if it is so to 2 % of the window, NotReady otherwise."""
        axis, now = self._known().wavelength_nm, self.centre_wavelength_nm
        if not abs(now - wavelength_nm) <= 0.02 * float(axis[-1] - axis[0]):
            raise self._by_hand("spectrograph", f"{wavelength_nm:g} nm", f"{now:.6g} nm")
        return now

    @property
    def mcp_gain(self) -> int:
        """The gain of the last image; NotReady before the first."""
        return self._known().mcp_gain

    def set_mcp_gain(self, gain: int) -> int:
        """Return the gain if it is so already, NotReady otherwise."""
        now = self._known().mcp_gain
        if now != gain:
            raise self._by_hand("MCP gain", f"{gain}", f"{now}")
        return now

    @property
    def exposure_s(self) -> float:
        """The exposure of the last image (s); NotReady before the first."""
        return self._known().exposure_s

    def set_exposure_s(self, exposure_s: float) -> float:
        """Return the exposure if it is so already, NotReady otherwise."""
        now = self._known().exposure_s
        if not abs(now - exposure_s) <= 1e-6 * now:
            raise self._by_hand("exposure", f"{exposure_s:g} s", f"{now:g} s")
        return now

    # ---- images -----------------------------------------------------------------------------

    def acquire(self, mode: str = StreakCamera.ANALOG, exposures: int = 1) -> StreakImage:
        """Return the image of the next file; its own number of exposures is what counts.

        Raises NoReply if none comes in time, BadReply if the file cannot be read, NotReady if it
        was taken in another mode or if waiting was stopped; the file then counts as taken.
        """
        if mode not in (self.ANALOG, self.COUNTING):
            raise LimitError(
                f"mode: {self.ANALOG!r} or {self.COUNTING!r}, not {mode!r}", key="mode"
            )
        if exposures < 1:
            raise LimitError(f"exposures: 1 or more, not {exposures!r}", key="exposures")
        _ = self.identity
        with self._busy:
            begun, aborts = self.clock.now(), self._aborts
            seen, image = self._next_image(begun, aborts)
            self._remember(image, seen[0])
            self._count += 1
            if image.mode is not None and image.mode != mode:
                raise NotReady(
                    f"{seen[0]} was taken by {image.mode}, not by {mode}; set the camera's program "
                    "to that and save an image again"
                )
            number = exposures if image.exposures is None else image.exposures
            if number != exposures:
                log.warning("%s has %d exposures, %d were asked", seen[0], number, exposures)
            now, written = self.clock.now(), 1e-9 * seen[1]
            end = written if begun <= written <= now else now
            return StreakImage(
                counts=image.counts,
                time_ps=image.time_ps,
                wavelength_nm=image.wavelength_nm,
                mode=mode,
                exposure_s=image.exposure_s,
                exposures=number,
                mcp_gain=image.mcp_gain,
                saturated=image.saturated,
                start_s=max(end - number * image.exposure_s, min(begun, end)),
                end_s=end,
            )

    def abort(self) -> None:
        """Stop waiting for a file; callable at any time."""
        self._aborts += 1

    def _next_image(self, begun: float, aborts: int) -> tuple[Seen, SavedImage]:
        """Wait for a file that is complete, and read it."""
        watched: Seen | None = None
        since, trouble = begun, ""
        while True:
            if self._aborts != aborts:
                raise NotReady("saved streak images: waiting for a file was stopped")
            now = self.clock.now()
            untaken = self._untaken()
            first = untaken[0] if untaken else None
            if first != watched:
                watched, since, trouble = first, now, ""
            if watched is not None and now - since >= _SETTLED_S:
                try:
                    image = read_streak_file(self.folder / watched[0], self._given)
                except (BadReply, OSError) as error:
                    trouble = str(error)
                    if now - since >= _GRACE_S:
                        self._taken.add(watched)
                        raise BadReply(
                            f"{trouble}; the file is passed over, save the image again"
                        ) from None
                else:
                    self._taken.add(watched)
                    self._require_camera(image, watched[0])
                    return watched, image
            if watched is None and now - begun >= self._timeout_s:
                raise NoReply(
                    f"no new image ({self.pattern}, {', '.join(SUFFIXES)}) in {self.folder} "
                    f"within {self._timeout_s:g} s; save one in the camera's program"
                )
            if now - begun >= self._timeout_s + _GRACE_S and watched is not None and not trouble:
                raise NoReply(f"{watched[0]} has been growing for too long; is it still written?")
            self.clock.sleep(_POLL_S)

    def _untaken(self) -> list[Seen]:
        return [seen for seen in self._files() if seen not in self._taken]

    def _files(self) -> list[Seen]:
        """Return the images in the folder, oldest first."""
        found: list[Seen] = []
        try:
            for path in self.folder.iterdir():
                if path.suffix.lower() not in SUFFIXES or not fnmatch(path.name, self.pattern):
                    continue
                try:
                    about = path.stat()
                except OSError:  # renamed or removed meanwhile
                    continue
                if path.is_file():
                    found.append((path.name, about.st_mtime_ns, about.st_size))
        except OSError as error:
            raise NoReply(
                f"{self.folder}: cannot be looked into ({error}); is it there, and is its drive "
                "connected?"
            ) from None
        return sorted(found, key=lambda seen: (seen[1], seen[0]))

    def _remember(self, image: SavedImage, name: str) -> None:
        self._last, self._last_name = image, name
        self._ranges.add(image.time_range_ps)

    def _require_camera(self, image: SavedImage, name: str) -> None:
        if self._wanted_id.lower() not in image.device.lower():
            raise WrongIdentity(
                f"{name} is of the camera {image.device!r}, which does not contain "
                f"{self._wanted_id!r}; is this the right folder?"
            )

    def _known(self) -> SavedImage:
        if self._last is None:
            raise NotReady(
                f"how the camera is set is not known before its first image; save one to "
                f"{self.folder}"
            )
        return self._last

    def _by_hand(self, what: str, wanted: str, now: str) -> InstrumentError:
        return NotReady(
            f"{what}: {wanted} is asked, the last image ({self._last_name}) has {now}; set it in "
            "the camera's program and save an image"
        )


def _ends(values: Sequence[float] | None, key: str) -> tuple[float, float] | None:
    if values is None:
        return None
    if len(values) != 2 or not all(abs(value) < 1e12 for value in values) or values[0] == values[1]:
        raise ConfigError(f"first and last pixel are allowed, not {values!r}", key=key)
    return float(values[0]), float(values[1])
