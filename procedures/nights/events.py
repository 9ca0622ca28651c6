"""What happened in a night: the events of its journal, and the state of every step that follows.

For the night, which writes them; for the report and for a night that is gone on with, which read
them. Values only: the file they are in is `folder.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

WAITING, RUNNING, SUCCEEDED = "waiting", "running", "finished"
LEFT_OUT = "left out"  # its condition did not hold, or the budget did not allow it
FAILED, ABORTED = "failed", "aborted"
ENDED = (SUCCEEDED, LEFT_OUT, FAILED, ABORTED)


@dataclass(frozen=True)
class StepState:
    """What became of a step so far.

    file: the name of its run file, "" before there is one. tries: how often it was begun. reason:
    why it is as it is. begun_s, ended_s: bench time, seconds since 1970 (0: not yet). exit_code: of
    the last try. shots, dose_J_cm2: on the sample.
    """

    status: str = WAITING
    file: str = ""
    tries: int = 0
    reason: str = ""
    begun_s: float = 0.0
    ended_s: float = 0.0
    exit_code: int = 0
    records: int = 0
    shots: int = 0
    dose_J_cm2: float = 0.0
    interlock: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be done about it tonight."""
        return self.status in ENDED


@dataclass(frozen=True)
class NightState:
    """What became of a night so far.

    begun_s: bench time of its first beginning; ended_s: of its last end (0 while it goes on, or if
    it was killed). exit_code: of its last end, None before. last_s: of the last event.
    """

    about: Mapping[str, Any]
    steps: Mapping[int, StepState]
    begun_s: float
    ended_s: float
    last_s: float
    exit_code: int | None
    reason: str
    parts: int


def fold(events: Iterable[Mapping[str, Any]]) -> NightState:
    """Return the state of a night after its events; those not known here change nothing."""
    about: Mapping[str, Any] = {}
    steps: dict[int, StepState] = {}
    begun_s = ended_s = last_s = 0.0
    exit_code: int | None = None
    reason, parts = "", 0
    for event in events:
        moment = float(event.get("time_s", 0.0))
        last_s = max(last_s, moment)
        kind = event.get("event")
        if kind == "planned":
            about, begun_s = event, begun_s or moment
        elif kind == "began":
            exit_code, ended_s, parts, reason = None, 0.0, parts + 1, ""
        elif kind == "ended":
            exit_code, ended_s = int(event["exit_code"]), moment
            reason = str(event.get("reason", ""))
        elif kind in ("step", "file", "try", "result"):
            number = int(event["step"])
            steps[number] = _changed(steps.get(number, StepState()), event, moment)
    return NightState(about, steps, begun_s, ended_s, last_s, exit_code, reason, parts)


def _changed(step: StepState, event: Mapping[str, Any], moment: float) -> StepState:
    kind = event["event"]
    if kind == "step":  # it is its turn
        return replace(step, status=RUNNING, begun_s=step.begun_s or moment)
    if kind == "file":
        return replace(step, file=str(event["file"]))
    if kind == "try":
        return replace(step, status=RUNNING, tries=step.tries + 1)
    found = {key: event[key] for key in StepState.__dataclass_fields__ if key in event}
    return replace(step, **{**found, "ended_s": moment})
