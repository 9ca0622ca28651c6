"""Who follows a run while it is carried out, and the file that its log goes to.

For the runner. Stops at telling: what is told, and when, is the runner's business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from procedures.measurement import Forecast, Measurement
from procedures.running.control_server import ControlServer
from procedures.running.runfile import RunWriter
from procedures.running.view import RunView


class Listener(Protocol):
    """Who follows a run; called in the runner's thread, so be quick."""

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """The plan is checked and the first record is about to be taken."""

    def progress(self, percent: float) -> None:
        """So much of the plan is done."""

    def recorded(self, record: Mapping[str, Any]) -> None:
        """A record was handed to the file."""


class Followers:
    """All who follow a run: what is known of it, who listens over its socket, the caller."""

    def __init__(self, view: RunView, listener: Listener | None) -> None:
        self.view = view
        self.server: ControlServer | None = None
        self._listener = listener

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """See Listener."""
        self.view.started(forecast)
        if self.server is not None:
            self.server.started()
        if self._listener is not None:
            self._listener.started(measurement, forecast)

    def recorded(self, count: int, record: Mapping[str, Any]) -> None:
        """A record, the `count`-th of the run, was handed to the file."""
        self.view.records = count
        server = self.server
        if server is not None and server.subscribers:
            server.recorded(count, record)
        if self._listener is not None:
            self._listener.recorded(record)

    def progress(self, percent: float) -> None:
        """See Listener."""
        if self.server is not None:
            self.server.progress(percent)
        if self._listener is not None:
            self._listener.progress(percent)

    def logged(self, moment: float, level: str, text: str) -> None:
        """A line was added to the log."""
        self.view.logged(moment, level, text)
        if self.server is not None:
            self.server.logged(moment, level, text)

    def state(self, state: str) -> None:
        """The run is in another state."""
        self.view.state = state
        if self.server is not None:
            self.server.state(state)


class RecordedFile:
    """The run file as the runner uses it; until it is started, log lines wait."""

    def __init__(self, path: Path, report: Callable[[str], None], followers: Followers) -> None:
        self.path = path
        self.report = report
        self.writer: RunWriter | None = None
        self.waiting: list[tuple[float, str, str]] = []
        self.moment: float | None = None  # instead of the bench's, before it is restored
        self.followers = followers
        self.draw = 0

    def log(self, level: str, text: str, moment: float) -> None:
        """Add a line to the log, and tell it on."""
        moment = moment if self.moment is None else self.moment
        with contextlib.suppress(OSError, ValueError):  # the terminal may have been closed
            self.report(text)
        self.followers.logged(moment, level, text)
        if self.writer is None:
            self.waiting.append((moment, level, text))
        else:
            self.writer.log(level, text, moment)

    def start(self, writer: RunWriter) -> None:
        """Hand over what has been waiting, and from now on every line."""
        self.writer = writer
        for moment, level, text in self.waiting:
            writer.log(level, text, moment)
        self.waiting.clear()
