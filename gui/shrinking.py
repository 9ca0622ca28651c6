"""Makes the files of finished runs small while nothing else goes on, in a process of its own.

As the commands do at their end. A run that begins has the machine to itself: the process is
stopped, the file stays as it is, and its turn comes again. Stops at when and which; how is
`gainbench compress`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PyQt5 import QtCore

IDLE_S = 3.0
_STOPS_S = 2.0


class Shrinker(QtCore.QObject):
    """Compresses one file after the other; `look` is to be called now and then."""

    told = QtCore.pyqtSignal(str, str)

    def __init__(self, busy: Callable[[], bool]) -> None:
        super().__init__()
        self._busy = busy
        self._waiting: list[Path] = []
        self._path: Path | None = None
        self._idle_since = time.monotonic()
        self._process = QtCore.QProcess(self)
        self._process.setProgram(sys.executable)
        self._process.setProcessChannelMode(QtCore.QProcess.ProcessChannelMode.MergedChannels)
        self._process.finished.connect(self._ended)

    def add(self, path: Path) -> None:
        """Have a file's turn come; again, if it was there already."""
        if path not in self._waiting:
            self._waiting.append(path)
        self._idle_since = time.monotonic()

    def look(self) -> None:
        """Begin if nothing goes on, stop if something does."""
        if self._busy():
            self._idle_since = time.monotonic()
            if self._path is not None:
                self.add(self._path)
                self._stop()
            return
        running = self._process.state() != QtCore.QProcess.ProcessState.NotRunning
        if running or not self._waiting or time.monotonic() - self._idle_since < IDLE_S:
            return
        self._path = self._waiting.pop(0)
        self._process.setArguments(["-m", "procedures.cli", "compress", str(self._path)])
        self._process.start()

    def end(self) -> None:
        """Stop; what is not compressed stays as it is."""
        self._waiting.clear()
        self._stop()

    def _stop(self) -> None:
        """End the process: the file itself is only ever replaced whole."""
        path, self._path = self._path, None
        if self._process.state() == QtCore.QProcess.ProcessState.NotRunning:
            return
        number = self._process.processId()
        self._process.kill()
        self._process.waitForFinished(round(1000 * _STOPS_S))
        if path is not None:
            with contextlib.suppress(OSError):  # a later sweep finds it
                path.with_name(f"{path.name}.{number}.small.tmp").unlink(missing_ok=True)

    def _ended(self, code: int, _status: QtCore.QProcess.ExitStatus) -> None:
        path, self._path = self._path, None
        output = bytes(self._process.readAll().data()).decode(errors="replace")
        if path is not None:  # else it was stopped by us
            for line in filter(None, map(str.strip, output.splitlines())):
                self.told.emit("warning" if code else "info", line)
