"""Closes the shutter at once, whatever else is going on.

A thread of its own that waits for nothing but this: the bench's thread may be in the middle of a
long exposure. The lock of the shutter's link keeps it and the others apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from PyQt5 import QtCore

from gui.manual import shut_shutter

if TYPE_CHECKING:
    from instruments.bench import Bench


class ShutterCloser(QtCore.QObject):
    """`close()` from any thread; `closed` tells what came of it.

    Args:
        bench: returns the bench that is open now, or None.
    """

    closed = QtCore.pyqtSignal(bool, str)

    def __init__(self, bench: Callable[[], Bench | None]) -> None:
        super().__init__()
        self._bench = bench
        self._asked = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._wait, name="shutter closer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the shutter now."""
        self._asked.set()

    def end(self) -> None:
        """Stop waiting."""
        self._ending = True
        self._asked.set()
        self._thread.join(5.0)

    def _wait(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._ending:
                return
            begun = time.monotonic()
            bench = self._bench()
            if bench is None or "shutter" not in bench.instruments:
                self.closed.emit(False, "no shutter is open to this window: block the beam by hand")
                continue
            try:
                shut_shutter(bench)
            except Exception as error:
                self.closed.emit(
                    False, f"THE SHUTTER DID NOT CLOSE: {error}. Block the beam by hand now"
                )
            else:
                took_ms = 1000.0 * (time.monotonic() - begun)
                self.closed.emit(True, f"shutter closed by the operator, in {took_ms:.0f} ms")
