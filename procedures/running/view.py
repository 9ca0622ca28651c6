"""What is known of a run while it goes on: its state, how far it is, its last log lines.

Kept by the runner in its own thread, read from any (the run's socket, a window, a status page).
What there is to tell is told as plain types. Stops at what the program knows: it asks no device.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from instruments.bench import Bench
from procedures.measurement import Forecast, Measurement
from procedures.running import lock
from procedures.running.layout import isoformat

_LINES = 40


class RunView:
    """A run as others may see it.

    Attributes: `state` is "preparing" until the first record is about to be taken, then "running"
    or "paused", and at the end "finished", "aborted" or "failed".
    """

    def __init__(
        self, path: Path, measurement: Measurement, points: int, sample: str = "", spot: str = ""
    ) -> None:
        self.path = path
        self.sample, self.spot = sample, spot
        self.measurement = measurement
        self.points = points
        self.state = "preparing"
        self.records = 0
        self.error = ""
        self.bench: Bench | None = None
        self._guard = threading.Lock()
        self._begun_s = time.time()
        self._first_s: float | None = None  # monotonic, when the first record was begun
        self._first = 0
        self._ends_s: np.ndarray[Any, Any] | None = None
        self._log: deque[tuple[float, str, str]] = deque(maxlen=_LINES)

    # ---- told by the runner ---------------------------------------------------------------------

    def started(self, forecast: Forecast) -> None:
        """The plan is checked and the first record is about to be taken."""
        self._first_s, self._first = time.monotonic(), self.measurement.first_point
        self.records = self.measurement.first_point
        self._ends_s = np.cumsum(forecast.point_seconds)
        self.state = "running"

    def logged(self, moment: float, level: str, text: str) -> None:
        """A line was added to the log."""
        with self._guard:
            self._log.append((moment, level, text))

    # ---- asked by whoever wants to know ---------------------------------------------------------

    @property
    def percent(self) -> float:
        """How much of the plan is done."""
        return 100.0 * min(self.records / max(self.points, 1), 1.0)

    @property
    def left_s(self) -> float | None:
        """How long it will take still, in real seconds; None if nothing can be said yet."""
        ends, first_s, records = self._ends_s, self._first_s, self.records
        if self.state in ("finished", "aborted", "failed"):
            return 0.0
        if ends is None or first_s is None or not len(ends):
            return None
        begun = float(ends[self._first - 1]) if self._first else 0.0
        now = float(ends[records - 1]) if records else 0.0
        left = float(ends[-1]) - now
        if records > self._first and now > begun:
            return left * (time.monotonic() - first_s) / (now - begun)
        speed = getattr(self.bench.clock, "speed", None) if self.bench is not None else None
        return left / speed if speed else None

    def log(self, lines: int = _LINES) -> list[dict[str, Any]]:
        """Return the last lines of the log."""
        with self._guard:
            kept = list(self._log)[-lines:]
        return [{"time": isoformat(t), "level": level, "text": text} for t, level, text in kept]

    def status(self) -> dict[str, Any]:
        """Return all of it as plain types."""
        owner = lock.me()
        found: dict[str, Any] = {
            "file": str(self.path.absolute()),
            "measurement": self.measurement.MEASUREMENT,
            "sample": self.sample,
            "spot": self.spot,
            "state": self.state,
            "points": self.points,
            "records": self.records,
            "percent": self.percent,
            "begun": isoformat(self._begun_s),
            "elapsed_s": time.time() - self._begun_s,
            "left_s": self.left_s,
            "pausing": self.measurement.control.paused and self.state == "running",
            "host": owner.host,
            "pid": owner.pid,
            "error": self.error,
            "shutter": "unknown",
            "fluence_uJ_cm2": None,
            "shots_on_sample": None,
            "dose_J_cm2": None,
            "bench_time": None,
            "bench": "",
            "simulated": None,
        }
        bench = self.bench
        if bench is not None:
            with contextlib.suppress(AttributeError):  # it may be closing
                found |= {
                    "shutter": "open" if bench.pump.is_open else "closed",
                    "shots_on_sample": int(bench.pump.shots),
                    "dose_J_cm2": float(bench.pump.dose_J_cm2),
                    "bench_time": isoformat(bench.clock.now()),
                    "bench": bench.config.bench.name,
                    "simulated": bench.simulated,
                }
                current = bench.pump.current
                found["fluence_uJ_cm2"] = current.value_uJ_cm2 if current is not None else None
        found["log"] = self.log()
        return found

    def shape(self) -> dict[str, Any]:
        """Return what a record holds: its columns and, once known, the axes of its arrays."""
        measurement = self.measurement
        columns = [
            {"name": c.name, "unit": c.unit, "long_name": c.long_name, "axes": list(c.axes)}
            for c in measurement.COLUMNS
        ]
        return {"columns": columns, "signal": measurement.SIGNAL, "plot": [*measurement.PLOT_AXES]}


def plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars of a record as plain types; what is no number becomes text or None."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if np.ndim(value):
            continue
        one = value.item() if isinstance(value, np.generic) else value
        if isinstance(one, float) and not np.isfinite(one):
            one = None
        found[name] = one if isinstance(one, bool | int | float | str | None) else str(one)
    return found
