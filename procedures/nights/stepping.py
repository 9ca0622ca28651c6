"""One step of a night: waits, opens the bench, measures into a run file, tries again.

For the night. What comes back is the step's new state; each stage is in the journal before the next
one begins, so that a killed night finds where it stood.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from instruments.bench import Bench, open_bench
from instruments.config import BenchConfig
from instruments.errors import BenchError, InstrumentError, InterlockTripped, LimitError
from procedures.measurement import Control, Forecast, Measurement
from procedures.nights.clock import NightClock
from procedures.nights.conditions import When
from procedures.nights.control import NightControl
from procedures.nights.doses import given_by
from procedures.nights.events import ABORTED as ABORTED_STEP
from procedures.nights.events import FAILED, LEFT_OUT, RUNNING, SUCCEEDED, StepState
from procedures.nights.expanding import Step
from procedures.nights.folder import NightFolder
from procedures.nights.forecast import roles_of, size_of, used_of
from procedures.nights.telling import Teller, duration
from procedures.running.describe import Description, describe_queued
from procedures.running.header import draw_of
from procedures.running.interlock import Interlock
from procedures.running.ledger import DOSE_KEY, ledger_of, plan_check
from procedures.running.problems import WriteFailed
from procedures.running.room import need_space
from procedures.running.runfile import RunFile, create_queued
from procedures.running.runner import ABORTED, Outcome
from procedures.running.signals import Stopped
from procedures.session import run_queued

INTERLOCK, BAD_INPUT = InterlockTripped.exit_code, 2
_POLL_S = 10.0
_TELL_EVERY_S = 1800.0
_OPENINGS, _OPENING_WAIT_S = 3, 10.0
_COOLING_S = 8 * 3600.0


class LeftOut(Exception):
    """A step is not begun; the text says why."""


class NotMet(InstrumentError):
    """What a step waits for did not come in time."""

    code = "condition"


class Budget(Protocol):
    """What may still be used; see `budget.Used`."""

    def refuse(self, forecast: Forecast) -> str:
        """Return why a run of this kind is not to begin, "" if it may."""

    def exceeded(self, shots: int, dose_J_cm2: float) -> str:
        """Return why a run that goes on is to end, "" if it may go on."""


@dataclass
class Stepping:
    """What carries out steps: folder, bench file, clock, budget, and who is told."""

    folder: NightFolder
    config: BenchConfig
    clock: NightClock
    budget: Budget
    tell: Teller
    control: NightControl
    signs: Callable[[], object] = lambda: None

    # ---- a step ---------------------------------------------------------------------------------

    def perform(self, step: Step, state: StepState) -> StepState:
        """Carry out a step to its end, tries included; return its state, which is noted.

        Raises:
            Stopped: the operator, or the system, asked for an end; noted, too.
            WriteFailed: the journal or the run file could not be written.
        """
        state = replace(state, status=RUNNING, begun_s=state.begun_s or self.clock.now())
        self.folder.note("step", self.clock.now(), step=step.number, name=step.name)
        self.tell.view.became(step, state)
        tries = 0
        while True:
            outcome, ended_by_budget = None, ""
            try:
                state, outcome, ended_by_budget = self._once(step, state)
                error: BaseException | None = outcome.error
                code = outcome.exit_code
            except LeftOut as why:
                return self.result(step, replace(state, status=LEFT_OUT, reason=str(why)))
            except (WriteFailed, OSError) as problem:
                self._give_up(step, state, problem)
                if isinstance(problem, WriteFailed):
                    raise
                raise WriteFailed(f"{self.folder.path} cannot be used ({problem})") from problem
            except BenchError as problem:
                error, code = problem, problem.exit_code
            except (Stopped, KeyboardInterrupt):
                self._give_up(step, state, "ended by the operator, or by the system")
                raise
            if outcome is not None and outcome.exit_code == 0:
                return self.result(step, self._used(replace(state, status=SUCCEEDED, reason="")))
            reason = ended_by_budget or str(error or f"the run ended {outcome and outcome.status}")
            state = self._used(
                replace(
                    state,
                    status=FAILED,
                    reason=reason,
                    exit_code=code,
                    interlock=code == INTERLOCK,
                )
            )
            if isinstance(error, WriteFailed):
                self._give_up(step, state, error)
                raise error
            if code == ABORTED and not ended_by_budget:
                self._give_up(step, state, "ended by the operator, or by the system")
                raise Stopped
            if ended_by_budget or code in (INTERLOCK, BAD_INPUT) or tries >= step.policy.retries:
                return self.result(step, state)
            tries += 1
            wait_s = step.policy.retry_wait_s
            self.say(
                "warning", f"{step.name}: {reason}; try {tries} of {step.policy.retries} in "
                f"{duration(wait_s)}",
            )  # fmt: skip
            self.tell.view.turn(step, f"waiting {duration(wait_s)} for another try")
            self._sleep(wait_s)

    def result(self, step: Step, state: StepState) -> StepState:
        """Note how a step ended; return its state."""
        state = replace(state, ended_s=self.clock.now())
        about = {key: getattr(state, key) for key in _NOTED}
        self.folder.note("result", state.ended_s, step=step.number, **about)
        self.tell.view.became(step, state)
        return state

    def _give_up(self, step: Step, state: StepState, reason: object) -> None:
        """Note that the night ends in this step, which is taken up when it is gone on with."""
        state = self._used(replace(state, status=ABORTED_STEP, reason=str(reason)))
        self.tell.view.became(step, state)
        with contextlib.suppress(WriteFailed):
            self.result(step, state)

    def _used(self, state: StepState) -> StepState:
        """Return a state with what run file and ledger tell: records, shots, dose."""
        if not state.file:
            return state
        with (
            contextlib.suppress(BenchError, OSError),
            RunFile(self.folder.path / state.file) as run,
        ):
            records = run.rows_complete
            names = {"shots_on_sample", "dose"} & set(run.columns)
            last = {name: run.records(name)[-1] for name in names} if records else {}
            shots, dose = used_of(last)
            known = given_by(self.folder.path / state.file, self.config)
            return replace(
                state,
                records=records,
                shots=max(shots, known[0]),
                dose_J_cm2=max(dose, known[1]),
            )
        return state

    # ---- one try --------------------------------------------------------------------------------

    def _once(self, step: Step, state: StepState) -> tuple[StepState, Outcome, str]:
        measurement = step.build()
        self._hold(step)
        self.tell.view.turn(step, "opening the bench")
        path = self.folder.path / state.file if state.file else None
        if path is not None and not path.exists():
            path = None
        with self._opened(step, measurement, path) as bench:
            with bench.clock.guarded(self.control.check):
                self._meet(step, bench)
            self._hold(step)
            if bench.interlock.tripped:
                bench.interlock.reset()  # while it waited: refused if it still is so
            if path is None:
                self._refuse_unless_possible(step, measurement, bench)
                path = create_queued(
                    self.folder.path,
                    describe_queued(
                        measurement,
                        self.config,
                        Description(
                            step.sample,
                            step.spot,
                            step.operator,
                            draw=draw_of(step.sample, step.spot, step.number),
                        ),
                        self.clock.now(),
                    ),
                )
                state = replace(state, file=path.name)
                self.folder.note("file", self.clock.now(), step=step.number, file=path.name)
            self.folder.note("try", self.clock.now(), step=step.number)
            state = replace(state, tries=state.tries + 1)
            self.tell.view.became(step, state)
            self.tell.view.turn(step, "measuring")
            with self.control.of_run() as control:
                follower = _Follower(self.tell, self.budget, control, self.signs)
                outcome = run_queued(
                    path,
                    lambda text: self.say("info", text),
                    bench=bench,
                    control=control,
                    listener=follower,
                )
        return state, outcome, follower.ended_by

    @contextlib.contextmanager
    def _opened(self, step: Step, measurement: Measurement, path: Path | None) -> Any:
        """Open the bench; an instrument that does not answer at once gets another chance.

        path: of the run file that is gone on with, if there is one.
        """
        with contextlib.ExitStack() as files:
            begun = files.enter_context(RunFile(path)).state if path is not None else None
        with contextlib.ExitStack() as stack:
            for attempt in range(1, _OPENINGS + 1):
                try:
                    bench = stack.enter_context(
                        open_bench(
                            self.config,
                            roles_of(step, measurement),
                            measurement=step.measurement,
                            medium=getattr(measurement, "medium", None),
                            clock=self.clock.for_bench(begun),
                            state=begun,
                            report=lambda text: self.say("info", text),
                        )
                    )
                    break
                except InstrumentError as error:
                    if attempt == _OPENINGS:
                        raise
                    self.say("warning", f"{error}; opening the bench again in a moment")
                    self._sleep(_OPENING_WAIT_S)
            stack.enter_context(Interlock(bench, self.say))  # the run's watch, too
            ticket = bench.clock.every(60.0, self.signs)
            stack.callback(ticket.cancel)
            yield bench

    def _refuse_unless_possible(self, step: Step, measurement: Measurement, bench: Bench) -> None:
        measurement.bench = bench
        measurement.check_dose = plan_check(
            ledger_of(self.folder.path / "run", self.config),
            step.sample,
            step.spot,
            step.measurement,
            self.config.limits.dose_max_J_cm2,
            self.say,
        )
        try:
            forecast = measurement.check_limits()
        except LimitError as error:
            if error.key == DOSE_KEY:
                raise LeftOut(str(error)) from error
            raise
        reason = self.budget.refuse(forecast)
        if reason:
            raise LeftOut(reason)
        need_space(self.folder.path / "run", int(size_of(measurement, bench, forecast.points)))

    # ---- waiting --------------------------------------------------------------------------------

    def _meet(self, step: Step, bench: Bench) -> None:
        """Bring the cryostat where it is to be, and wait for the step's conditions."""
        if step.cryostat_K is not None:
            cryostat: Any = bench.need("cryostat")
            self.say("info", f"cryostat: to {step.cryostat_K:g} K")
            self.tell.view.turn(step, f"waiting for {step.cryostat_K:g} K")
            cryostat.set_temperature(step.cryostat_K)
            if not step.when:
                reached = cryostat.wait_until_stable(_COOLING_S)
                self.say("info", f"cryostat: stable at {reached:.2f} K")
        if step.when:
            self._wait_for(step, bench)

    def _wait_for(self, step: Step, bench: Bench) -> None:
        begun = self.clock.now()
        told = float("-inf")
        while True:
            waiting = [(one, text) for one in step.when if (text := self._unmet(one, bench))]
            now = self.clock.now()
            if not waiting:
                if told > float("-inf"):
                    self.say("info", f"it is so after {duration(now - begun)}")
                return
            state = "; ".join(f'"{one.text}": {text}' for one, text in waiting)
            if now - begun >= step.when_timeout_s:
                raise NotMet(f"waited {duration(now - begun)} in vain for {state}")
            if now - told >= _TELL_EVERY_S:
                self.say("info", f"waiting for {state}")
                told = now
            self.tell.view.turn(step, f"waiting for {state}")
            self._sleep(min(_POLL_S, begun + step.when_timeout_s - now))

    def _unmet(self, condition: When, bench: Bench) -> str:
        """Return how it is if it is not as it should be, "" if it is."""
        try:
            met, text = condition.met(bench)
        except InstrumentError as error:
            return str(error)
        return "" if met else text

    def wait_until(self, moment: float, what: str) -> None:
        """Wait for a moment (seconds since 1970), in steps that a signal can end."""
        if moment <= self.clock.now():
            return
        self.say("info", f"waiting for {what}, {duration(moment - self.clock.now())}")
        self._sleep(moment - self.clock.now())

    def _sleep(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        with self.clock.guarded(self.control.check):
            while (left := end - self.clock.now()) > 0.0:
                self.clock.sleep(min(left, 60.0))
                self.signs()

    def _hold(self, step: Step) -> None:
        """Wait while the night is paused."""

        def told(paused: bool) -> None:
            self.say("info", "paused" if paused else "going on")
            if paused:
                self.tell.view.turn(step, "paused")

        self.control.hold(told)

    def say(self, level: str, text: str) -> None:
        """Tell a line now."""
        self.tell(level, text, self.clock.now())


_NOTED = (
    *("status", "file", "reason", "exit_code", "records", "shots", "dose_J_cm2", "interlock"),
)


class _Follower:
    """Follows the run of a step: tells on, and ends it when the budget is used up."""

    def __init__(
        self, tell: Teller, budget: Budget, control: Control, signs: Callable[[], object]
    ) -> None:
        self._tell, self._budget, self._control, self._signs = tell, budget, control, signs
        self.ended_by = ""

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        self._tell.started(measurement, forecast)

    def progress(self, percent: float) -> None:
        self._tell.progress(percent)

    def recorded(self, record: Mapping[str, Any]) -> None:
        self._tell.recorded(record)
        if not self.ended_by:
            self.ended_by = self._budget.exceeded(*used_of(record))
            if self.ended_by:
                self._control.abort()
        self._signs()


def settle(folder: Path, state: StepState) -> str:
    """Return the status of the run file of a step whose night was killed, "" if there is none."""
    path = folder / state.file
    if not state.file or not path.is_file():
        return ""
    with RunFile(path) as run:
        return run.status
