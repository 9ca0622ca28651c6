"""Garbage is collected in the window's thread, a little at a time, and nowhere else.

Python's collector runs in whichever thread happens to allocate. A widget that it finds there is
taken apart beside the thread that paints it, which crashes Qt; and a full collection takes as long
as three frames. So while a window is open the collector is off, and a timer of the window does its
work: often what is young, now and then what grew old, and everything when nothing goes on. What
was loaded once (modules, the widgets) is set aside, so that nobody looks through it again.
"""

from __future__ import annotations

import gc
import time

from PyQt5 import QtCore

_EVERY_MS = 500
_MIDDLE_EVERY, _OLD_EVERY = 10, 60
"""In ticks: what survived once, and all that is not set aside."""
_LONG_S = 0.010
"""A collection longer than that sets aside what it found alive."""
_open = 0


class Collector(QtCore.QObject):
    """Collects for the process from `start` to `stop`; several windows share the work."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._ticks = 0
        self._on = False
        self._timer = QtCore.QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        """Take the work over from Python."""
        global _open
        if not self._on:
            self._on = True
            _open += 1
            gc.disable()
            self._timer.start()

    def stop(self) -> None:
        """Give it back, if no other window is open."""
        global _open
        if self._on:
            self._on = False
            self._timer.stop()
            _open -= 1
            if not _open:
                gc.unfreeze()
                gc.enable()

    def thoroughly(self) -> None:
        """Collect everything, now that nobody waits for a frame; then set aside what lives."""
        if self._on:
            gc.unfreeze()
            gc.collect()
            gc.freeze()

    def _tick(self) -> None:
        self._ticks += 1
        if self._ticks % _OLD_EVERY == 0:
            generation = 2
        else:
            generation = 1 if self._ticks % _MIDDLE_EVERY == 0 else 0
        begun = time.monotonic()
        gc.collect(generation)
        if time.monotonic() - begun > _LONG_S:
            gc.freeze()
