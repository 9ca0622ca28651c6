"""Watching a run of another process: its records by its socket, its past from its file.

A night started by the command goes on whatever becomes of this window, and the other way round.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from PyQt5 import QtCore

from gui.rundata import RunData, from_file
from instruments.errors import BenchError

log = logging.getLogger(__name__)


class WatchedRun(QtCore.QObject):
    """A run that another process carries out; `ended` tells how it ended."""

    began = QtCore.pyqtSignal()
    ended = QtCore.pyqtSignal(str, str)
    told = QtCore.pyqtSignal(str, str)

    def __init__(self, remote: Any) -> None:
        super().__init__()
        self.remote = remote
        self.path: Path = remote.path
        self.name = remote.path.stem
        self.percent = 0.0
        self.data: RunData | None = None
        self._state = "starting"
        self._left_s: float | None = None
        self._active = True
        self._leaving = False
        self._thread = threading.Thread(target=self._work, name="watching", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def leave(self) -> None:
        """Watch no more; the run goes on."""
        self._leaving = True

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self._active

    @property
    def state(self) -> str:
        """Its state, as its process tells it."""
        return self._state

    def left_s(self) -> float | None:
        """How long the rest will take (s), as its process thinks."""
        return self._left_s

    def pause(self) -> None:
        """Ask its process to pause."""
        self._say("pause", "pausing")

    def go_on(self) -> None:
        """Ask its process to go on."""
        self._say("go_on", "running")

    def abort(self) -> None:
        """Ask its process to end the run."""
        self._say("abort", "aborting")

    def _say(self, command: str, state: str) -> None:
        def ask() -> None:
            try:
                getattr(self.remote, command)()
                self._state = state
            except BenchError as error:
                self.told.emit("error", str(error))

        threading.Thread(target=ask, name="telling", daemon=True).start()

    # ---- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        status, text = "interrupted", "its process no longer answers"
        try:
            for event in self.remote.follow(arrays=True):
                if self._leaving:
                    return
                kind = event.get("event")
                self._take(kind, event)
                if kind == "ended":
                    status = str(event.get("state", event.get("run_status", "finished")))
                    text = str(event.get("error") or "")
        except BenchError as error:
            text = str(error)
        except Exception as error:
            log.exception("watching failed")
            text = str(error)
        self._active = False
        if not self._leaving:
            self.ended.emit(status, text)

    def _take(self, kind: Any, event: dict[str, Any]) -> None:
        if kind in ("status", "started"):
            self._take_status(event)
            self._read()
        elif kind == "record":
            data, number = self.data, int(event["number"])
            if data is None or number != data.rows_complete + 1:
                if data is None or number > data.rows_complete:
                    self._read()
                return
            data.append({**event["values"], **event.get("arrays", {})})
        elif kind == "progress":
            self.percent = float(event["percent"])
            self._left_s = event.get("left_s")
        elif kind == "state":
            self._state = str(event["state"])
        elif kind == "dropped":
            self._read()
        elif kind == "log":
            self.told.emit(str(event["level"]), f"{self.path.name}: {event['text']}")

    def _take_status(self, event: dict[str, Any]) -> None:
        self._state = str(event.get("state", self._state))
        if event.get("percent") is not None:
            self.percent = float(event["percent"])
        self._left_s = event.get("left_s", self._left_s)
        measurement = str(event.get("measurement", ""))
        if measurement:
            self.name = f"{measurement.replace('-', ' ')} of {self.remote.owner}"

    def _read(self) -> None:
        """Read what is in the file already."""
        try:
            data = from_file(self.path)
        except BenchError as error:  # not started yet
            log.debug("nothing to read yet: %s", error)
            return
        if data.table:
            self.data = data
            self.began.emit()
