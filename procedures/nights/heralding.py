"""When which notice of a night is sent, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from instruments.bench_tables import NotifyTable
from procedures.nights.events import FAILED, SUCCEEDED, StepState
from procedures.nights.expanding import Step
from procedures.nights.notices import Notices
from procedures.nights.telling import duration
from procedures.nights.view import NightView


class Herald:
    """Sends the notices of one night; a context manager, so that the last ones still go out.

    Args:
        table: [notify]. view: the night. say: told (level, text) what could not be sent.
        now: the night's clock.

    Raises:
        ConfigError: a URL of [notify] is not one that apprise knows.
    """

    def __init__(
        self,
        table: NotifyTable,
        view: NightView,
        say: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self._view, self._now = view, now
        self._notices = Notices(table, say)
        self._period_s = 3600.0 * table.sign_of_life_h
        self._last_s = now()
        self._last_file: Path | None = None
        self._drawn: tuple[Path, bytes] | None = None

    def __enter__(self) -> Herald:
        return self

    def __exit__(self, *_: object) -> None:
        self._notices.close()

    def began(self, again: bool) -> None:
        """The night begins, or goes on."""
        steps = len(self._view.steps)
        what = "goes on" if again else "begins"
        body = f"{steps} steps, about {duration(self._view.left_s)}. {self._view.summary()}."
        self._tell("start", f"{self._view.name} {what}", body)

    def step_ended(self, step: Step, state: StepState) -> None:
        """A step has ended, well or not."""
        if state.file and state.records:
            self._last_file = Path(self._view.folder) / state.file
        if state.interlock:
            self._tell("interlock", f"interlock: {step.name}", state.reason, self._figure())
        elif state.status == FAILED:
            self._tell("failure", f"failed: {step.name}", state.reason, self._figure())

    def sign(self) -> None:
        """Send a sign of life, if it is time for one."""
        if self._now() - self._last_s < self._period_s:
            return
        self._last_s = self._now()
        view = self._view
        what = view.current.name if view.current is not None else ""
        body = f"{what}: {view.doing}, {view.percent:.0f} %. {view.summary()}."
        live = view.live
        self._tell(
            "sign_of_life",
            f"{view.name}: {100 * view.share:.0f} % done, {duration(view.left_s)} left",
            body.removeprefix(": "),
            (lambda path: bool(path.write_bytes(live.png()))) if live is not None else None,
        )

    def finished(self, code: int, reason: str) -> None:
        """The night is over."""
        view = self._view
        counts = view.counts()
        well = counts.get(SUCCEEDED, 0)
        title = f"{view.name} is over: {well} of {len(view.steps)} steps finished"
        lines = [reason] if reason else []
        lines += [
            f"{step.name}: {state.status} ({state.reason})"
            for step in view.steps
            if (state := view.states.get(step.number)) is not None
            and state.status != SUCCEEDED
            and state.reason not in ("", reason)
        ]
        lines += [f"gainbench report {view.folder}"]
        event = "finish" if code == 0 or "finish" in self._notices.table.on else "failure"
        self._tell(event, title, "\n".join(lines), self._figure(), good=code == 0)

    def _tell(
        self, event: str, title: str, body: str, draw: Any = None, *, good: bool = True
    ) -> None:
        self._notices.tell(event, f"gainbench: {title}", body, draw, good=good)

    def _figure(self) -> Callable[[Path], bool] | None:
        """Return what draws the figure of the last run that has records."""
        file = self._last_file
        if file is None:
            return None

        def draw(path: Path) -> bool:
            from procedures.nights.figure import draw_run

            if self._drawn is None or self._drawn[0] != file:
                drawn = path.read_bytes() if draw_run(file, path) else b""
                self._drawn = (file, drawn)  # the end of the night often shows the same once more
            elif self._drawn[1]:
                path.write_bytes(self._drawn[1])
            return bool(self._drawn[1])

        return draw
