"""Getting over faults: what can be recovered is, the rest is reported.

For the runner. A record that fails because an instrument did not answer, answered nonsense or
reported a fault is taken again: shutter closed, a while waited, the failing instruments recovered,
the bench prepared and ranged as a resumed run would be, every step told in the log. Another
instrument, a limit, a tripped interlock or a bad bench file are nobody's transient fault and end
the run. While the laser is off the run waits. Stops at the record: what is in the file is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from instruments.bench import Bench
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    NoReply,
    NotReady,
)
from procedures.measurement import Measurement, Point, Record
from procedures.running.signals import Stopped

T = TypeVar("T")
Log = Callable[[str, str], None]

WAITS_S = (1.0, 5.0, 30.0)
"""How long to wait before each retry; after the last one it is given up."""
LASER_LIMIT_S = 600.0
"""How long to wait for a laser that is off."""

_TRANSIENT = (NoReply, BadReply, DeviceFault, NotReady)
AT_START = (NoReply, BadReply, DeviceFault)  # what is not ready there has been waited for
_SLICE_S = 0.2  # an abort is seen this soon
_LASER_POLL_S = 5.0
_FEW_PULSES = 10
_LONG_S = 0.5  # after a record of that length the window is always looked at,
_CONFIRM_S = 5.0  # after shorter ones, this often
_STOPS_LIGHT = ("pulse_gate", "attenuator")  # where the shutter does not


class NoLight(InstrumentError):
    """The laser stayed off."""

    code = "no-light"


class Recovery:
    """Takes the records of one run, again where needed.

    Args:
        measurement: with its bench. bench: the open bench.
        log: told (level, line) of everything that is done.
        last_record: of the part of the run that is in the file, if it is being resumed.
        waits_s: before each retry. laser_limit_s: how long the laser may be off.
    """

    def __init__(
        self,
        measurement: Measurement,
        bench: Bench,
        log: Log,
        *,
        last_record: Mapping[str, Any] | None = None,
        waits_s: Sequence[float] = WAITS_S,
        laser_limit_s: float = LASER_LIMIT_S,
    ) -> None:
        self._measurement = measurement
        self._bench = bench
        self._log = log
        self._last = last_record
        self._now = bench.clock.now
        self._waits_s = tuple(waits_s)
        self._laser_limit_s = laser_limit_s
        self._failing: dict[str, None] = {}  # roles to recover, in this order
        self._no_pulses = False  # the energy meter has seen none
        self._camera_told = False
        self._look_s, self._ended = 0.0, self._now()

    # ---- what the runner calls ----------------------------------------------------------------

    def startup(self, act: Callable[[], T]) -> T:
        """Do what readies the bench, and do it again after transient faults; see `take`."""

        def ready() -> T:
            found = act()
            if self._bench.spectrograph is not None:
                _ = self._bench.spectrograph.wavelength_nm  # what the window is confirmed against
            return found

        def again() -> T:
            self._mend()
            return ready()

        try:
            return ready()
        except InstrumentError as error:
            failed = error
        return self._persist(failed, again, None, AT_START)

    def begin(self) -> None:
        """Say that the next record begins now; later ones begin where the one before ended."""
        self._ended = self._now()

    def take(self, point: Point) -> Record:
        """Take one record.

        Raises:
            InstrumentError: naming the role, of the kind that it was, when all retries have failed
                or none can help.
            Stopped: the run was aborted meanwhile.
        """

        try:
            found = self._measurement.record(point)
            now = self._now()
            if now >= self._look_s or now - self._ended > _LONG_S:
                self._look(now)
                now = self._now()
            self._ended = now
            self._last = found
            return found
        except InstrumentError as error:
            failed = error  # what follows is not its handler: a later error has not come of it

        def again() -> Record:
            self._mend()
            self._measurement.prepare()
            if self._last:
                self._measurement.resumed(self._last)
            self.begin()
            found = self._measurement.record(point)
            self._look(self._now())
            self.begin()
            self._log("info", "the record was taken; going on")
            return found

        self._last = found = self._persist(failed, again, point, _TRANSIENT)
        return found

    def _look(self, now: float) -> None:
        """Look at window and camera, if it is time, after a record that ended at `now`.

        By the clock, not by what was done before: a resumed run then asks as often.
        """
        begun = self._ended
        self._look_s = (now // _CONFIRM_S + 1.0) * _CONFIRM_S  # before it, only a long one asks
        if now - begun > _LONG_S or now // _CONFIRM_S != begun // _CONFIRM_S:
            self._confirm_window()
            self._look_at_camera()

    # ---- trying again -------------------------------------------------------------------------

    def _persist(
        self,
        error: InstrumentError,
        again: Callable[[], T],
        point: Point | None,
        transient: tuple[type[InstrumentError], ...],
    ) -> T:
        """Try again what has failed with `error`, until it works; see `take` for what it raises."""
        self._failing.clear()
        self._no_pulses = False
        tries, retries, spared = 0, len(self._waits_s), False
        clock = self._bench.clock
        begun_s, reason = clock.now(), _text(error, self._bench.involved(error))
        while True:
            self._stop_if_asked()
            roles = self._bench.involved(error)
            if not isinstance(error, transient):
                raise _named(error, roles, "") from error
            self._no_pulses = isinstance(error, NoReply) and "energy_meter" in roles
            # It may be the laser, which is waited for: that does not count as a try.
            free = self._no_pulses and not spared and retries > 0
            if tries == retries and not free:
                end = f"; given up after {retries} retries" if retries else ""
                raise _named(error, roles, end) from error
            wait_s = self._waits_s[0 if free else tries]
            tries, spared = tries + (not free), spared or free
            which = f"retry {tries} of {retries}" if tries else "retry"
            self._log("warning", f"{_text(error, roles)}; {which} in {wait_s:g} s")
            self._failing |= dict.fromkeys(roles or self._silent())
            self._darken(point)
            self._wait(wait_s)
            try:
                found = again()
            except InstrumentError as next_error:
                error = next_error
                continue
            self._log(
                "warning",
                f"gap of {clock.now() - begun_s:.0f} s from {clock.isoformat(begun_s)}: {reason}",
            )
            return found

    def _silent(self) -> list[str]:
        """Return the roles that do not tell how they are, where an error names none."""
        found = []
        for role, instrument in self._bench.instruments.items():
            try:
                instrument.status()
            except InstrumentError:
                found.append(role)
        return found

    def _mend(self) -> None:
        """Recover what failed; what is still to be recovered stays in the list."""
        for role in sorted(self._failing, key=lambda name: name != "shutter"):
            self._log("info", f"{role}: opening it again")
            self._bench.recover(role)
            del self._failing[role]
        if self._no_pulses:
            self._wait_for_pulses()

    def _darken(self, point: Point | None) -> None:
        """Close the shutter; where it is what fails, stop the light otherwise before.

        Shots that fell on the sample until then are counted, at most as many as there were.
        """
        bench, begun = self._bench, self._bench.clock.now()
        if "shutter" in self._failing:
            self._darken_otherwise()
        try:
            bench.make_safe_for_pause()
        except InstrumentError as error:
            self._log("error", f"{_text(error, ('shutter',))}; the light is stopped otherwise")
            if "shutter" not in self._failing:
                self._failing["shutter"] = None
                self._darken_otherwise()
        if "shutter" in self._failing and point is not None:
            shots = bench.pump.shots_in(bench.clock.now() - begun)
            fluence = self._measurement.needs(point).setpoints.get("fluence_uJ_cm2", 0.0)
            bench.pump.book(shots, fluence)

    def _darken_otherwise(self) -> None:
        for role in _STOPS_LIGHT:
            instrument = self._bench.instruments.get(role)
            if instrument is None:
                continue
            try:
                instrument.make_safe()
                self._no_pulses = False  # too few behind a dark attenuator to tell
            except InstrumentError as error:
                self._log("error", _text(error, (role,)))

    def _wait(self, seconds: float) -> None:
        clock = self._bench.clock
        end = clock.now() + seconds
        while True:
            self._stop_if_asked()
            left = end - clock.now()
            if left <= 0.0:
                return
            clock.sleep(min(left, _SLICE_S))

    def _stop_if_asked(self) -> None:
        self._measurement.check_sink()
        if self._measurement.control.aborted:
            raise Stopped

    # ---- the laser ------------------------------------------------------------------------------

    def _wait_for_pulses(self) -> None:
        """Wait until the energy meter sees pulses; NoLight when the limit has passed."""
        self._no_pulses = False
        clock, begun = self._bench.clock, None
        while not self._pulses():
            if begun is None:
                begun = clock.now()
                self._log(
                    "warning",
                    "laser: no pulses, though the energy meter answers; waiting for their return "
                    f"for at most {self._laser_limit_s:g} s",
                )
            elif clock.now() - begun >= self._laser_limit_s:
                raise NoLight(
                    f"laser: no pulses for {clock.now() - begun:.0f} s; switch it on, look at its "
                    "shutter and at the beam path to the energy meter, then resume the run"
                )
            self._wait(_LASER_POLL_S)
        if begun is not None:
            self._log(
                "warning",
                f"laser: the pulses are back; none were seen from {clock.isoformat(begun)} "
                f"to {clock.isoformat()} ({clock.now() - begun:.0f} s)",
            )

    def _pulses(self) -> bool:
        """Return whether there are pulses; raises if it is the meter that is at fault."""
        meter: Any = self._bench.need("energy_meter")
        try:
            meter.read_pulses(_FEW_PULSES)
            return True
        except NoReply:
            status = meter.status()
            if not status.ok:
                raise NotReady(f"energy_meter: {status.text}") from None
            return False

    # ---- the window of the spectrograph ---------------------------------------------------------

    def _confirm_window(self) -> None:
        """Refuse a record whose window has moved: a restarted monochromator does not tell.

        Raises NotReady if it stands elsewhere than the wavelength axis in use says.
        """
        spectrograph = self._bench.spectrograph
        if spectrograph is None:
            return
        mono, camera = spectrograph.monochromator, spectrograph.camera
        axis = spectrograph.wavelength_nm
        centre_nm, grating = mono.wavelength_nm, mono.grating
        found = spectrograph.geometry.wavelengths_nm(
            centre_nm, grating.grooves_per_mm, camera.pixels, camera.pixel_pitch_um
        )
        pixel_nm = float(np.abs(np.diff(axis)).mean())
        if float(np.abs(found - axis).max()) > 0.5 * pixel_nm:
            raise NotReady(
                f"monochromator: it stands at {centre_nm:.2f} nm (grating {grating.slot}) instead "
                f"of about {float(axis.mean()):.0f} nm; was it restarted, or moved by hand?"
            )

    def _look_at_camera(self) -> None:
        """Refuse a record of a camera that has warmed up, the first time: preparing cools it.

        Raises NotReady. A camera that complains of something else, or stays as it is, is told of
        once, and the records go on.
        """
        camera = self._bench.instruments.get("camera")
        if camera is None:
            return
        status = camera.status()
        if status.ok:
            self._camera_told = False
        elif not self._camera_told:
            self._camera_told = True
            raise NotReady(f"camera: {status.text}")


def _text(error: InstrumentError, roles: Sequence[str]) -> str:
    """Return what went wrong, with the roles where."""
    text = str(error)
    where = " and ".join(role for role in roles if not text.startswith(role))
    return f"{where}: {text}" if where else text


def _named(error: InstrumentError, roles: Sequence[str], end: str) -> InstrumentError:
    """Return an error of the same kind whose text names the roles."""
    try:
        return type(error)(f"{_text(error, roles)}{end}")
    except TypeError:  # a kind that is made otherwise
        return InstrumentError(f"{_text(error, roles)}{end}")
