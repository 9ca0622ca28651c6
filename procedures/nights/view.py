"""The night as it stands, for whoever looks: terminal, status page, notices.

Written by the night's thread, read from any. Everything to be shown is plain text and numbers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from procedures.measurement import Forecast, Measurement
from procedures.nights.events import RUNNING, SUCCEEDED, WAITING, StepState
from procedures.nights.expanding import Step
from procedures.nights.forecast import used_of
from procedures.nights.live import LiveRun
from procedures.running.layout import isoformat

_LINES = 200


class NightView:
    """The state of a night; also follows its runs (it is a Listener of the runner).

    Attributes: `doing` says in words what happens now; `live` is the run that goes on, or the last.
    """

    def __init__(self, name: str, folder: str, steps: list[Step], bench: str) -> None:
        self.name, self.folder, self.bench = name, folder, bench
        self.steps = steps
        self.states: dict[int, StepState] = {}
        self.current: Step | None = None
        self.doing = "beginning"
        self.percent = 0.0
        self.live: LiveRun | None = None
        self.begun_s = 0.0
        self.now_s = 0.0
        self.shots, self.dose_J_cm2 = 0, 0.0
        self.ended = False
        self._seconds: dict[int, float] = {}
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=_LINES)
        self._guard = threading.Lock()

    # ---- told by the night ----------------------------------------------------------------------

    def expect(self, seconds: Mapping[int, float]) -> None:
        """Take in how long each step will take, by its number."""
        self._seconds = dict(seconds)

    def line(self, moment: float, level: str, text: str) -> None:
        """A line was added to the log."""
        self.now_s = max(self.now_s, moment)
        with self._guard:
            self._lines.append((moment, level, text))

    def turn(self, step: Step | None, doing: str) -> None:
        """It is this step's turn, and so is done now."""
        if step is not self.current:
            self.percent = 0.0
        self.current, self.doing = step, doing

    def became(self, step: Step, state: StepState) -> None:
        """A step has another state."""
        with self._guard:
            self.states = {**self.states, step.number: state}

    # ---- told by the runner ---------------------------------------------------------------------

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """The first record is about to be taken."""
        self.live = LiveRun(measurement, forecast)
        self.percent = 100.0 * measurement.first_point / max(forecast.points, 1)

    def progress(self, percent: float) -> None:
        """So much of the run is done."""
        self.percent = percent

    def recorded(self, record: Mapping[str, Any]) -> None:
        """A record was taken."""
        self.shots, self.dose_J_cm2 = used_of(record)
        self.now_s = max(self.now_s, float(record.get("time", 0.0) or 0.0))
        if self.live is not None:
            self.live.add(record)

    # ---- asked ----------------------------------------------------------------------------------

    @property
    def share(self) -> float:
        """How much of the night is done, 0 to 1, by the time that each step was to take."""
        total = done = 0.0
        states = self.states
        for step in self.steps:
            weight = self._seconds.get(step.number, 1.0)
            state = states.get(step.number)
            total += weight
            if state is not None and state.ended:
                done += weight
            elif step is self.current:
                done += 0.01 * self.percent * weight
        return done / total if total else 1.0

    @property
    def left_s(self) -> float:
        """How long the steps that are left will take (bench time)."""
        left = 0.0
        states = self.states
        for step in self.steps:
            state = states.get(step.number)
            if state is None or not state.ended:
                part = 1.0 - 0.01 * self.percent if step is self.current else 1.0
                left += part * self._seconds.get(step.number, 0.0)
        return left

    def counts(self) -> dict[str, int]:
        """Return how many steps are in which state."""
        found: dict[str, int] = {}
        for step in self.steps:
            status = self.states.get(step.number, StepState()).status
            found[status] = found.get(status, 0) + 1
        return found

    def summary(self) -> str:
        """Return how it stands in one line."""
        counts = self.counts()
        waiting = counts.pop(WAITING, 0)
        parts = [f"{count} {status}" for status, count in counts.items() if status != RUNNING]
        done = ", ".join(parts) or "nothing finished yet"
        return f"{done}, {waiting} to come" if waiting else done

    def lines(self, count: int) -> list[tuple[str, str, str]]:
        """Return the last lines of the log: (ISO time, level, text)."""
        with self._guard:
            kept = list(self._lines)[-count:]
        return [(isoformat(moment), level, text) for moment, level, text in kept]

    def snapshot(self) -> dict[str, Any]:
        """Return all of it as plain types, for the status page."""
        current = self.current
        rows = []
        for step in self.steps:
            state = self.states.get(step.number, StepState())
            rows.append(
                {
                    "number": step.number,
                    "name": step.name,
                    "measurement": step.measurement,
                    "spot": step.spot,
                    "status": state.status,
                    "reason": state.reason,
                    "records": state.records,
                    "current": step is current,
                }
            )
        return {
            "name": self.name,
            "folder": self.folder,
            "bench": self.bench,
            "doing": self.doing,
            "current": current.name if current is not None else "",
            "percent": self.percent,
            "share": self.share,
            "left_s": self.left_s,
            "begun": isoformat(self.begun_s),
            "now": isoformat(self.now_s or self.begun_s),
            "shots": self.shots,
            "dose_J_cm2": self.dose_J_cm2,
            "summary": self.summary(),
            "ended": self.ended,
            "failed": sum(1 for row in rows if row["status"] not in (SUCCEEDED, WAITING, RUNNING)),
            "steps": rows,
            "has_figure": self.live is not None,
        }
