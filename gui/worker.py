"""The bench's own thread: all work with instruments is done here, one deed after the other.

The window hands over deeds (`ask`) and gets values by signals: nothing here touches a widget, and
the window touches no instrument. Between deeds the instruments are asked how they are, and while
the live view is on, spectra are taken as fast as the camera gives them; only the newest is kept.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PyQt5 import QtCore

from gui import manual
from gui.snapshot import BAD, BUSY, BeamView, BenchView, Frame, InstrumentView
from gui.words import ROLE_NAMES
from instruments.config import BenchConfig
from instruments.errors import BenchError

log = logging.getLogger(__name__)

_QUICK, _SLOW_S, _QUICK_S = ("shutter", "energy_meter"), 2.0, 0.5
_DURING_RUN = ("shutter", "cryostat")
"""What is asked for its state while a run works with the bench."""
_REOPEN_AFTER, _REOPEN_EVERY_S = 2, 5.0
_GUARD_EVERY_S = 10.0
_FASTEST_LIVE_S = 1.0 / 60.0


@dataclass
class _Deed:
    what: str
    act: Callable[[Any], Any]
    then: Callable[[Any], None] | None
    otherwise: Callable[[BaseException], None] | None
    role: str = ""
    harmless: bool = False


class BenchWorker(QtCore.QObject):
    """Opens the bench in a thread of its own and does what it is asked there.

    Args:
        config: the bench file. measurement, medium: what a simulated bench is made for.
    """

    viewed = QtCore.pyqtSignal(object)
    told = QtCore.pyqtSignal(str, str)
    """(level, text) for the log."""
    lit = QtCore.pyqtSignal(int, float)
    """Shots and J/cm2 that fell on the sample by hand since it was told last."""
    _answered = QtCore.pyqtSignal(object, object)

    def __init__(self, config: BenchConfig, measurement: str = "power-sweep") -> None:
        super().__init__()
        self.config = config
        self.bench: Any = None
        self.latest: Frame | None = None
        self._purpose: tuple[str, str | None] = (measurement, None)
        self._wanted: tuple[str, str | None] | None = self._purpose
        self._deeds: queue.Queue[_Deed | None] = queue.Queue()
        self._ending = False
        self._live = False
        self._frames = 0
        self._view = BenchView("opening", "opening the bench", config.bench.name)
        self._views: dict[str, InstrumentView] = {}
        self._beam: BeamView | None = None
        self._failures: dict[str, int] = {}
        self._reopened: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._holder = ""
        self._guard: Any = None
        self._given = (0, 0.0)
        self._guard_due = 0.0
        self._answered.connect(self._hand_back)
        self._thread = threading.Thread(target=self._work, name="bench", daemon=True)

    # ---- for the window -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(
        self,
        what: str,
        act: Callable[[Any], Any],
        then: Callable[[Any], None] | None = None,
        otherwise: Callable[[BaseException], None] | None = None,
        *,
        role: str = "",
        harmless: bool = False,
    ) -> None:
        """Have `act(bench)` done in the bench's thread; `then(result)` is called in the window's.

        what: for the log. role: whose card shows that it is busy. harmless: it asks and moves
        nothing, so that it may be done while a run holds the bench.
        """
        self._deeds.put(_Deed(what, act, then, otherwise, role, harmless))

    def lend(self, holder: str, then: Callable[[Any], None]) -> None:
        """Give the bench to a run once all that was asked before is done."""

        def give(bench: Any) -> Any:
            self._tell_light(bench)
            self.hold(holder)
            return bench

        self.ask(f"begin {holder}", give, then)

    @property
    def purpose(self) -> tuple[str, str | None]:
        """The measurement (and medium) that a simulated bench is made for."""
        return self._wanted or self._purpose

    def open_for(self, measurement: str, medium: str | None = None) -> None:
        """Have a simulated bench rebuilt for a measurement, if it needs another one."""
        wanted = (measurement, medium)
        if not same_simulated_bench(self.config, self.purpose, wanted):
            self._wanted = wanted
            self._deeds.put(None)

    def look_now(self, role: str) -> None:
        """Have an instrument asked at the next opportunity."""
        self._due.pop(role, None)
        self._deeds.put(None)

    def set_live(self, on: bool) -> None:
        """Take spectra continuously, or stop."""
        self._live = on
        self._deeds.put(None)

    @property
    def live(self) -> bool:
        """Whether the live view is on."""
        return self._live

    def hold(self, holder: str) -> None:
        """Leave the bench to a run ("" takes it back): no deed is accepted meanwhile."""
        self._holder = holder
        if holder:
            self._was_lent = True
        self._live = False
        self._due.clear()
        self._deeds.put(None)

    @property
    def holder(self) -> str:
        """The run that holds the bench, "" if none does."""
        return self._holder

    def noted(self, role: str, view: InstrumentView) -> None:
        """Take what a run's record tells about an instrument."""
        self._views[role] = view

    def note_beam(self, beam: BeamView) -> None:
        """Take what a run's record tells about the beam."""
        self._beam = beam

    def leave(self) -> None:
        """Make the bench safe, close it and end the thread; a view "closed" tells when."""
        self._ending = True
        self._live = False
        self._deeds.put(None)

    def end(self, timeout_s: float = 30.0) -> bool:
        """As `leave`, and wait; return whether it ended in time."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._ending:
            purpose, self._wanted = self._wanted, None
            if purpose is None:
                break
            self._purpose = purpose
            self._views, self._beam = {}, None
            self._failures.clear()
            try:
                self._with_bench()
            except Exception as error:
                self.bench = None
                self._publish("failed", str(error))
                self.told.emit("error", f"the bench could not be opened: {error}")
                if not isinstance(error, BenchError):
                    log.exception("opening the bench failed")
                self._wait_closed()
        self.bench = None
        self._publish("closed", "the bench is closed and safe")

    def _with_bench(self) -> None:
        from instruments.bench import open_bench  # late: the window is shown before
        from procedures.running.guard import guarding

        self._publish("opening", "opening the bench")
        name, medium = self._purpose
        with contextlib.ExitStack() as guards:
            self._guard = guards.enter_context(guarding(self.config))
            self._guard_due = 0.0
            bench: Any = None
            try:
                with open_bench(
                    self.config, None, measurement=name, medium=medium, report=self._opening
                ) as bench:
                    self._watched(bench, guards)
            finally:
                guard, self._guard = self._guard, None
                if guard is not None and bench is not None and guard.is_needed(bench.unsafe):
                    guard.leave_to_it()

    def _watched(self, bench: Any, guards: contextlib.ExitStack) -> None:
        """Work with the open bench, the interlock watching it."""
        from procedures.running.interlock import Interlock

        watch = Interlock(bench, self.told.emit)
        watch.start()
        self.bench = bench
        self._given, self._was_lent = (0, 0.0), False
        self._due.clear()
        self.told.emit("info", f"{len(bench.instruments)} instruments open, all safe")
        try:
            while not self._ending and self._wanted is None:
                self._step()
                self._keep_guarded(guards)
        finally:
            self.bench = None
            self._tell_light(bench, falling=True)
            self._publish("opening", "making the bench safe")
            watch.close()

    def _keep_guarded(self, guards: contextlib.ExitStack) -> None:
        """Have another guard if the one there was has ended."""
        from procedures.running.guard import guarding

        now = time.monotonic()
        if self._guard is None or self._guard.alive or now < self._guard_due:
            return
        self._guard_due = now + _GUARD_EVERY_S
        self.told.emit(
            "warning",
            "the guard, which closes the shutter if this window dies, had ended; another is "
            "started. If this is said again, keep the shutter closed and restart the window",
        )
        self._guard = guards.enter_context(guarding(self.config))

    def _opening(self, line: str) -> None:
        role, _, rest = line.partition(": ")
        self.told.emit("info", line)
        if self._ending:
            raise BenchError("the window is being closed")
        if role in ROLE_NAMES and role not in self._views:
            self._views[role] = InstrumentView(role, BUSY, "found", identity=rest)
            self._publish("opening", f"{ROLE_NAMES[role]} found")

    def _wait_closed(self) -> None:
        """Wait for another purpose, an end, or an order to try again."""
        while not self._ending and self._wanted is None:
            deed = self._deeds.get()
            if deed is None:
                continue
            if deed.what == "open again":
                self._wanted = self._purpose
            else:
                self._answered.emit(deed, BenchError("the bench is not open"))

    def _step(self) -> None:
        live = self._live and not self._holder
        try:
            deed = self._deeds.get(timeout=0.001 if live else 0.1)
        except queue.Empty:
            deed = None
        if deed is not None:
            self._do(deed)
        if live and self._live:
            self._take_frame()
        self._poll()

    def _do(self, deed: _Deed) -> None:
        if self._holder and not deed.harmless:
            error = BenchError(f"{deed.what}: the bench is held by {self._holder}")
            self._answered.emit(deed, error)
            return
        if deed.role and (view := self._views.get(deed.role)) is not None:
            self._views[deed.role] = replace(view, state=BUSY, words=deed.what)
            self._publish("open")
        try:
            found = deed.act(self.bench)
        except Exception as error:
            if not isinstance(error, BenchError):
                log.exception("%s failed", deed.what)
            self._answered.emit(deed, error)
        else:
            self._answered.emit(deed, (found,))
        if deed.role:
            self._due.pop(deed.role, None)
            self._due.pop("beam", None)

    def _hand_back(self, deed: _Deed, outcome: Any) -> None:
        """Runs in the window's thread."""
        if isinstance(outcome, BaseException):
            if deed.otherwise is not None:
                deed.otherwise(outcome)
            else:
                self.told.emit("error", f"{deed.what}: {outcome}")
            return
        if deed.then is not None:
            deed.then(outcome[0])
        elif isinstance(outcome[0], str):
            self.told.emit("info", outcome[0])

    # ---- asking how they are --------------------------------------------------------------------

    def _poll(self) -> None:
        from gui.readings import beam, look

        now = time.monotonic()
        roles = list(self.bench.instruments)
        if self._holder:
            roles = [role for role in roles if role in _DURING_RUN]
        changed = False
        for role in roles:  # the shutter first
            if now < self._due.get(role, 0.0):
                continue
            self._due[role] = time.monotonic() + (_QUICK_S if role in _QUICK else _SLOW_S)
            view = look(self.bench, role)
            if self._holder and view.state == BAD:
                continue  # the run deals with it, and says so
            self._views[role] = self._since(role, view)
            self._mend(role, view)
            changed = True
            if self._live or not self._deeds.empty():
                break  # the rest at the next opportunity
        if not self._holder and now >= self._due.get("beam", 0.0):
            self._due["beam"] = time.monotonic() + _QUICK_S
            self._beam = beam(self.bench)
            self._tell_light(self.bench)
            changed = True
        if changed:
            self._publish("open")

    def _tell_light(self, bench: Any, *, falling: bool = False) -> None:
        """Tell what light has been let on the sample by hand (with what is `falling` now)."""
        pump = bench.pump
        more = pump.unbooked() if falling else (0, 0.0)
        given = (int(pump.given_shots) + more[0], float(pump.given_dose_J_cm2) + more[1])
        shots, dose = given[0] - self._given[0], given[1] - self._given[1]
        self._given = given
        if self._was_lent:  # a run counts its own
            self._was_lent = False
        elif shots > 0:
            self.lit.emit(shots, dose)

    def _since(self, role: str, view: InstrumentView) -> InstrumentView:
        before = self._views.get(role)
        if before is not None and before.state == view.state:
            return replace(view, since_s=before.since_s or view.since_s)
        return view

    def _mend(self, role: str, view: InstrumentView) -> None:
        """Open the link of an instrument that does not answer again, now and then."""
        if view.state != BAD:
            if self._failures.pop(role, 0) >= _REOPEN_AFTER:
                self.told.emit("info", f"{ROLE_NAMES.get(role, role)}: it answers again")
            return
        self._failures[role] = self._failures.get(role, 0) + 1
        if self._failures[role] == _REOPEN_AFTER:
            name = ROLE_NAMES.get(role, role)
            self.told.emit(
                "error",
                f"{name}: {view.words}. {view.advice[:1].upper()}{view.advice[1:]}".rstrip(),
            )
        due = time.monotonic() - self._reopened.get(role, 0.0) > _REOPEN_EVERY_S
        if self._failures[role] >= _REOPEN_AFTER and due and not self._holder:
            self._reopened[role] = time.monotonic()
            with contextlib.suppress(Exception):
                manual.recover(self.bench, role)

    def _publish(self, phase: str, text: str = "") -> None:
        shutter = self._views.get("shutter")
        cryostat = self._views.get("cryostat")
        self._view = BenchView(
            phase,
            text,
            self.config.bench.name,
            self.config.simulation is not None
            or any(table.simulated for table in self.config.instruments.values()),
            self._purpose[0],
            dict(self._views),
            self._beam,
            bool(shutter.values["open"]) if shutter and "open" in shutter.values else None,
            cryostat.values.get("temperature_K") if cryostat else None,
            self._holder,
            self._tripped(),
        )
        self.viewed.emit(self._view)

    def _tripped(self) -> str:
        watch = self.bench.interlock if self.bench is not None else None
        return str(watch.tripped) if watch is not None else ""

    # ---- live -----------------------------------------------------------------------------------

    def _take_frame(self) -> None:
        begun = time.monotonic()
        try:
            self.latest = self.take_frame(self.bench)
        except BenchError as error:
            self._live = False
            self.told.emit("error", f"live view stopped: {error}")
            return
        left_s = _FASTEST_LIVE_S - (time.monotonic() - begun)
        if left_s > 0.0:
            time.sleep(left_s)

    def take_frame(self, bench: Any) -> Frame:
        """Take one spectrum; in the bench's thread."""
        spectrograph = bench.need_spectrograph()
        exposure = spectrograph.acquire(1)
        self._frames += 1
        shutter = self._views.get("shutter")
        return Frame(
            self._frames,
            spectrograph.wavelength_nm,
            np.asarray(exposure.frames[0], dtype=np.float64),
            float(exposure.saturation_counts),
            float(exposure.exposure_s),
            float(exposure.end_s),
            bool(shutter.values["open"]) if shutter and "open" in shutter.values else None,
        )


def same_simulated_bench(
    config: BenchConfig, one: tuple[str, str | None], other: tuple[str, str | None]
) -> bool:
    """Return whether two measurements find the same bench; on a real one they always do."""
    if one == other or config.simulation is None:
        return True
    import importlib

    arrangement: Any = importlib.import_module("sim_drivers.arrangements").arrangement
    try:
        return bool(arrangement(*one) is arrangement(*other))
    except ValueError:
        return False
