"""How a night is paused and ended from another terminal, whether a run goes on or it waits.

What is asked of the night is handed on to the run that goes on; between runs the night itself
waits, or ends. Its socket is that of a run (`running/control_server.py`), found by the lock beside
the night's journal.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from procedures.measurement import Control
from procedures.nights.view import NightView
from procedures.running import lock
from procedures.running.control_server import ControlServer
from procedures.running.remote import announced
from procedures.running.signals import Stopped

log = logging.getLogger(__name__)

_LINES = 20
_SLICE_S = 0.2  # of real time, between two looks at whether a pause has ended


class NightControl(Control):
    """Pause and abort of a night, from whatever thread; the run that goes on hears of it, too."""

    def __init__(self) -> None:
        super().__init__()
        self._run: Control | None = None

    def pause(self) -> None:
        """Have the run wait before its next point, or the night before its next run."""
        super().pause()
        if self._run is not None:
            self._run.pause()

    def go_on(self) -> None:
        """End a pause."""
        super().go_on()
        if self._run is not None:
            self._run.go_on()

    def abort_now(self) -> None:
        """End the run that goes on, and the night."""
        super().abort_now()
        if self._run is not None:
            self._run.abort_now()

    @contextlib.contextmanager
    def of_run(self) -> Iterator[Control]:
        """Have a run inside the block, with the control that it is to be given."""
        control = Control()
        self._run = control
        try:
            if self.paused:  # while it was being made
                control.pause()
            if self.aborted:
                control.abort_now()
            yield control
        finally:
            self._run = None

    def check(self) -> None:
        """Raise Stopped if the night is to end."""
        if self.aborted:
            raise Stopped

    def hold(self, paused: Callable[[bool], object]) -> None:
        """Wait while the night is paused, and tell when that begins and ends; Stopped at its end.

        In real time: on a virtual clock, too, somebody else is waited for.
        """
        self.check()
        if not self.paused:
            return
        paused(True)
        while not self.wait(_SLICE_S):
            self.check()
        self.check()
        paused(False)


class _Told:
    """A night as its socket tells it; before its view is known, that it begins."""

    def __init__(self, folder: Path, control: NightControl) -> None:
        self._folder, self._control = folder, control
        self._begun_s = time.monotonic()
        self.view: NightView | None = None

    left_s = None

    @property
    def state(self) -> str:
        """Return "running", "paused" or "ended"."""
        if self.view is not None and self.view.ended:
            return "ended"
        return "paused" if self._control.paused else "running"

    def status(self) -> dict[str, Any]:
        """Return how it stands, as plain types."""
        owner = lock.me()
        found: dict[str, Any] = {
            "night": str(self._folder.absolute()),
            "state": self.state,
            "host": owner.host,
            "pid": owner.pid,
            "elapsed_s": time.monotonic() - self._begun_s,
        }
        view = self.view
        if view is not None:
            told = view.snapshot()
            names = ("name", "doing", "current", "percent", "share", "left_s", "summary", "now")
            found |= {name: told[name] for name in names}
            lines = view.lines(_LINES)
            found["log"] = [{"time": t, "level": level, "text": text} for t, level, text in lines]
        return found

    def shape(self) -> dict[str, Any]:
        """Return nothing: a night has no records of its own."""
        return {}


@contextlib.contextmanager
def reached(
    journal: Path, data_dir: Path, control: NightControl
) -> Iterator[tuple[dict[str, Any], Callable[[NightView], None]]]:
    """Have a night spoken to inside the block; gives what its lock is to say, and who is told of.

    A night does not fail for want of a socket.
    """
    told = _Told(journal.parent, control)

    def show(view: NightView) -> None:
        told.view = view

    try:
        server = ControlServer(told, control)
    except OSError as error:
        log.warning("this night cannot be spoken to from other programs (%s)", error)
        yield {}, show
        return
    try:
        with announced(journal, data_dir, within=journal.parent.parent):
            yield {"port": server.port, "token": server.token}, show
    finally:
        server.close()
