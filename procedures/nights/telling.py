"""What a night says: into its log file, on the terminal, into the view that others look at.

On a terminal a bar shows how far it is (Rich); where there is none, plain lines do. A log that
cannot be written is told once and costs the night nothing.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from procedures.measurement import Forecast, Measurement
from procedures.nights.view import NightView
from procedures.running.layout import isoformat

_LOUD = ("warning", "error")
_ECHO_S = 1.0


class Teller:
    """Tells log file, terminal and view; from any thread.

    Args:
        view: the night. log: the log file, None for none. quiet: nothing on the terminal.
    """

    def __init__(self, view: NightView, log: Path | None, *, quiet: bool = False) -> None:
        self.view = view
        self._path = log
        self._file: TextIO | None = None
        self._quiet = quiet
        self._failed = False
        self._said: deque[tuple[str, float]] = deque(maxlen=6)
        self._guard = threading.Lock()
        self._bars: _Bars | None = None

    def __call__(self, level: str, text: str, moment: float) -> None:
        """Tell a line; `moment` is bench time, seconds since 1970.

        What reaches it twice at once (by a run's log and a driver's warning) is told once.
        """
        stamp = isoformat(moment)
        with self._guard:
            if any(text == said and abs(moment - at) < _ECHO_S for said, at in self._said):
                return
            self._said.append((text, moment))
            self.view.line(moment, level, text)
            self._write(f"{stamp} {level:7} {text}")
            if self._quiet:
                return
            if self._bars is not None:
                self._bars.line(stamp[11:19], level, text)
            else:
                loud = f"{level}: " if level in _LOUD else ""
                print(f"{stamp[:19].replace('T', ' ')} {loud}{text}", file=sys.stderr)

    def _write(self, line: str) -> None:
        if self._path is None:
            return
        try:
            if self._file is None:
                self._file = open(self._path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115
            self._file.write(line.replace("\n", " | ") + "\n")
            self._file.flush()
            self._failed = False
        except (OSError, ValueError) as error:
            if not self._failed and not self._quiet:
                print(f"gainbench: the log cannot be written ({error})", file=sys.stderr)
            self._failed = True
            with contextlib.suppress(OSError, ValueError):
                if self._file is not None:
                    self._file.close()
            self._file = None

    @contextlib.contextmanager
    def showing(self, now: Callable[[], float]) -> Iterator[None]:
        """Show the bars inside the block, where there is a terminal; close the log after it.

        What drivers warn of goes the same ways, at the time that `now` says.
        """
        handler = _Heard(self, now)
        logging.getLogger().addHandler(handler)
        try:
            if self._quiet or not sys.stderr.isatty():
                yield
                return
            with _Bars(self.view) as bars:
                self._bars = bars
                try:
                    yield
                finally:
                    self._bars = None
        finally:
            logging.getLogger().removeHandler(handler)
            with self._guard, contextlib.suppress(OSError, ValueError):
                if self._file is not None:
                    self._file.close()
                self._file = None

    # ---- a Listener of the runner ---------------------------------------------------------------

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """The first record is about to be taken."""
        self.view.started(measurement, forecast)
        self._refresh()

    def progress(self, percent: float) -> None:
        """So much of the run is done; plain lines say so at every quarter."""
        quarter, before = int(percent // 25), int(self.view.percent // 25)
        self.view.progress(percent)
        self._refresh()
        if quarter > before and not self._quiet and self._bars is None:
            print(f"    {percent:.0f} % of the run", file=sys.stderr)

    def recorded(self, record: Mapping[str, Any]) -> None:
        """A record was taken."""
        self.view.recorded(record)

    def _refresh(self) -> None:
        bars = self._bars
        if bars is not None:
            bars.refresh()


class _Heard(logging.Handler):
    """Passes on what the program's own loggers warn of."""

    def __init__(self, tell: Teller, now: Callable[[], float]) -> None:
        super().__init__(logging.WARNING)
        self._tell, self._now = tell, now

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in ("instruments", "procedures", "sim_drivers"):
            level = "error" if record.levelno >= logging.ERROR else "warning"
            with contextlib.suppress(Exception):
                self._tell(level, record.getMessage(), self._now())


class _Bars:
    """Two bars on a terminal: the night, and the step that goes on; log lines pass above."""

    def __init__(self, view: NightView) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._view = view
        self._console = Console(stderr=True, markup=False, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[left]}"),
            console=self._console,
        )
        self._night = self._progress.add_task(view.name, total=1.0, left="")
        self._step = self._progress.add_task("", total=100.0, left="")

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def line(self, stamp: str, level: str, text: str) -> None:
        style = {"warning": "yellow", "error": "bold red"}.get(level)
        self._console.print(f"{stamp} {text}", style=style)
        self.refresh()

    def refresh(self) -> None:
        view = self._view
        left = f"{duration(view.left_s)} left" if view.left_s > 0 else ""
        self._progress.update(self._night, completed=view.share, left=left)
        what = view.current.name if view.current is not None else ""
        self._progress.update(
            self._step, completed=view.percent, description=what[:40], left=view.doing,
            visible=bool(what),
        )  # fmt: skip


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
