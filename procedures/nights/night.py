"""A night: the steps of a plan, one after the other, until all are done or something ends it.

For the command. Begun once, it can be gone on with after any end (a kill, a stop, a power cut): its
folder tells what was done, and nothing is done twice. Every way out leaves the bench safe, says in
journal, log and notices why, and returns the exit code of the contract.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instruments.config import BenchConfig, default, load
from instruments.errors import BenchError, InterlockTripped
from procedures.nights.budget import Used
from procedures.nights.clock import NightClock
from procedures.nights.control import NightControl, reached
from procedures.nights.events import (
    ABORTED,
    FAILED,
    LEFT_OUT,
    RUNNING,
    SUCCEEDED,
    NightState,
    StepState,
)
from procedures.nights.expanding import Step, expand
from procedures.nights.folder import JOURNAL, LOG, NightFolder
from procedures.nights.forecast import NightForecast, check_night
from procedures.nights.heralding import Herald
from procedures.nights.notices import channels
from procedures.nights.plan import PlanFile, load_plan, parse_plan
from procedures.nights.stepping import Stepping, settle
from procedures.nights.telling import Teller, duration
from procedures.nights.view import NightView
from procedures.running.layout import program_version
from procedures.running.problems import WriteFailed
from procedures.running.signals import Signals, Stopped

ABORTED_CODE, INTERLOCK_CODE = 130, InterlockTripped.exit_code


@dataclass(frozen=True)
class NightOutcome:
    """How a night ended: its folder, exit code, state, and why it ended early ("" otherwise)."""

    folder: Path
    exit_code: int
    reason: str
    steps: list[Step]
    states: dict[int, StepState]

    def to_json(self) -> dict[str, Any]:
        """Return what `gainbench night --json` prints."""
        rows = []
        for step in self.steps:
            state = self.states.get(step.number, StepState())
            rows.append(
                {
                    "step": step.number,
                    "name": step.name,
                    "measurement": step.measurement,
                    "status": state.status,
                    "reason": state.reason,
                    "file": str(self.folder / state.file) if state.file else None,
                    "records": state.records,
                    "shots": state.shots,
                    "dose_J_cm2": state.dose_J_cm2,
                    "tries": state.tries,
                }
            )
        return {"night": str(self.folder), "reason": self.reason, "steps": rows}


@dataclass
class Night:
    """A night that is about to be carried out: plan, bench file, steps; with a folder or without.

    Made by `planned` (a new one) or `found` (to be gone on with).
    """

    plan: PlanFile
    config: BenchConfig
    steps: list[Step]
    folder: NightFolder | None
    data_dir: Path
    again: bool = False

    @classmethod
    def planned(cls, plan_file: Path, bench_file: Path | None, out: Path | None) -> Night:
        """Return the night of a plan; raises what is wrong with plan or bench file."""
        plan = load_plan(plan_file)
        steps = expand(plan)
        if bench_file is None and plan.night.bench is not None:
            bench_file = plan_file.resolve().parent / plan.night.bench
        config = load(bench_file) if bench_file is not None else default()
        return cls(plan, config, steps, None, out if out is not None else config.data_dir)

    @classmethod
    def found(cls, path: Path, bench_file: Path | None, *, again: bool = False) -> Night:
        """Return a night that was begun, by its folder (or a file in it).

        bench_file: instead of the one that it began with. again: steps that failed or were left
        out are taken up, too, not only those that the night did not come to.
        """
        folder = NightFolder.find(path)
        about = folder.state().about
        plan = parse_plan(folder.plan_text, str(folder.path / "plan.toml"))
        config = load(bench_file) if bench_file is not None else folder.config(about)
        return cls(plan, config, expand(plan), folder, folder.path.parent, again)

    # ---- before it begins -----------------------------------------------------------------------

    def waiting(self) -> list[Step]:
        """Return the steps that are still to be done."""
        if self.folder is None:
            return self.steps
        states = self.folder.state().steps
        return [step for step in self.steps if self._to_do(states.get(step.number, StepState()))]

    def _to_do(self, state: StepState) -> bool:
        if self.again and state.status in (FAILED, LEFT_OUT):
            return True
        return not state.ended or state.status == ABORTED

    def check(self, report: Callable[[str], None]) -> NightForecast:
        """Check what is still to be done, moving nothing; see `forecast.check_night`."""
        if self.config.notify.urls:
            channels(self.config.notify)
        files = {}
        if self.folder is not None:
            states = self.folder.state().steps
            files = {n: self.folder.path / one.file for n, one in states.items() if one.file}
        return check_night(self.plan, self.waiting(), self.config, self.data_dir, report, files)

    # ---- carrying out ---------------------------------------------------------------------------

    def carry_out(
        self,
        forecast: NightForecast,
        *,
        quiet: bool = False,
        watch: Callable[[NightView], contextlib.AbstractContextManager[Any]] | None = None,
        control: NightControl | None = None,
    ) -> NightOutcome:
        """Carry out what is still to be done.

        Args:
            forecast: what `check` returned. quiet: nothing on the terminal.
            watch: held open around the night, with its view: the status page.
            control: to pause and end it by, made beforehand.

        Raises:
            FileInUse: another process carries the night out. WriteFailed: nothing can be written.
        """
        clock = forecast.clock
        control = control or NightControl()
        folder = self.folder or self._made(clock.now())
        self.folder = folder
        with (
            reached(folder.path / JOURNAL, self.config.data_dir, control) as (contact, show),
            folder.held(contact),
        ):
            known = folder.state()
            clock.not_before(known.last_s)
            view = NightView(
                self.plan.night.name, str(folder.path), self.steps, self.config.bench.name
            )
            view.states = dict(known.steps)
            show(view)
            view.begun_s = known.begun_s or clock.now()
            view.expect({one.step.number: one.seconds for one in forecast.steps})
            tell = Teller(view, folder.path / LOG, quiet=quiet)
            page = watch(view) if watch is not None else contextlib.nullcontext()
            with tell.showing(clock.now), page:
                return self._guarded(folder, known, clock, tell, control)

    def _made(self, moment: float) -> NightFolder:
        try:
            folder = NightFolder.create(
                self.data_dir, self.plan.night.name, moment, self.plan.text, self.config.text
            )
            folder.note(
                "planned",
                moment,
                name=self.plan.night.name,
                plan_file=str(Path(self.plan.file).resolve()),
                bench_file=str(Path(self.config.file).resolve()) if self.config.file else "",
                bench=self.config.bench.name,
                steps=len(self.steps),
                version=program_version(),
            )
        except OSError as error:
            raise WriteFailed(
                f"the night's folder cannot be made in {self.data_dir} ({error}); choose another "
                "with --out"
            ) from error
        return folder

    def _guarded(
        self,
        folder: NightFolder,
        known: NightState,
        clock: NightClock,
        tell: Teller,
        control: NightControl,
    ) -> NightOutcome:
        """Carry out the steps; whatever ends them is said everywhere and becomes an exit code."""
        view = tell.view
        view.folder = str(folder.path)
        code, reason = 0, ""

        def say(level: str, text: str) -> None:
            tell(level, text, clock.now())

        herald = Herald(self.config.notify, view, say, clock.now)
        with herald, Signals() as signals:
            try:
                code, reason = self._steps(folder, known, clock, tell, herald, control)
            except (Stopped, KeyboardInterrupt):
                code, reason = ABORTED_CODE, "ended by the operator, or by the system"
            except BenchError as error:
                code, reason = error.exit_code, str(error)
            except OSError as error:
                code, reason = 1, str(error)
            finally:
                signals.finish()
            view.turn(None, reason or "the night is over")
            view.ended = True
            level = "info" if code == 0 else "error"
            say(level, f"the night is over: {view.summary()}" + (f" ({reason})" if reason else ""))
            with _told(say):
                folder.note("ended", clock.now(), exit_code=code, reason=reason)
            herald.finished(code, reason)
        return NightOutcome(folder.path, code, reason, self.steps, dict(view.states))

    def _steps(
        self,
        folder: NightFolder,
        known: NightState,
        clock: NightClock,
        tell: Teller,
        herald: Herald,
        control: NightControl,
    ) -> tuple[int, str]:
        view = tell.view
        begun_s = known.begun_s or clock.now()
        folder.note("began", clock.now(), pid=os.getpid())
        for path in folder.clear_orphans({state.file for state in known.steps.values()}):
            tell("info", f"{path.name} held nothing and is taken away", clock.now())
        start = self.plan.night.start
        starts_s = begun_s if start is None else max(begun_s, start.resolve(begun_s))
        budget = Used(
            self.plan.budget,
            starts_s,
            clock.now,
            lambda: [s for s in view.states.values() if s.status != RUNNING],
        )
        stepping = Stepping(folder, self.config, clock, budget, tell, control, herald.sign)
        if known.parts:
            tell("info", f"going on with the night: {view.summary()}", clock.now())
        herald.began(known.parts > 0)
        if start is not None:
            view.doing = f"waiting for {start.text}"
            stepping.wait_until(start.resolve(begun_s), start.text)
        for step in self.steps:
            state = view.states.get(step.number, StepState())
            if not self._to_do(state):
                continue
            state = self._one(stepping, step, state, begun_s)
            herald.step_ended(step, state)
            stop = self._stops(step, state)
            if stop:
                return (INTERLOCK_CODE if state.interlock else 1), stop
        return self._code(view), ""

    def _one(self, stepping: Stepping, step: Step, state: StepState, begun_s: float) -> StepState:
        """Carry out one step, if its turn has come and its condition holds."""
        view = stepping.tell.view
        if state.status == RUNNING and settle(stepping.folder.path, state) == "finished":
            stepping.say("info", f"{step.name}: was finished when the night was ended")
            return stepping.result(step, stepping._used(replace(state, status=SUCCEEDED)))
        if state.status in (FAILED, LEFT_OUT, ABORTED):
            state = replace(state, reason="", exit_code=0, interlock=False)
        stepping.say("info", f"step {step.number} of {len(self.steps)}: {step.name}")
        reason = self._condition(step, view.states)
        if reason:
            stepping.say("info", f"left out: {reason}")
            return stepping.result(step, replace(state, status=LEFT_OUT, reason=reason))
        if step.start is not None:
            view.turn(step, f"waiting for {step.start.text}")
            stepping.wait_until(step.start.resolve(begun_s), step.start.text)
        done = stepping.perform(step, state)
        took = duration(max(done.ended_s - done.begun_s, 0.0))
        level = "info" if done.status == SUCCEEDED else "error"
        more = f": {done.reason}" if done.reason else ""
        stepping.say(level, f"{step.name}: {done.status}, {done.records} records, {took}{more}")
        return done

    def _condition(self, step: Step, states: dict[int, StepState]) -> str:
        """Return why a step is left out, "" if its condition holds."""
        asked = step.only_if
        if asked is None:
            return ""
        before = [one for one in self.steps if one.number < step.number]
        if asked.which == "before":
            before = before[-1:]
        elif asked.which != "all":
            name = asked.which.removeprefix("step ")
            before = [one for one in before if name in (one.name, one.title)]
        for one in before:
            status = states.get(one.number, StepState()).status
            if (status == SUCCEEDED) != asked.succeeded:
                return f'"{asked.text}" does not hold: {one.name} is {status}'
        return ""

    def _stops(self, step: Step, state: StepState) -> str:
        """Return why the night ends after a step, "" if it goes on."""
        if state.status != FAILED:
            return ""
        way = step.policy.on_interlock if state.interlock else step.policy.on_failure
        if way != "stop":
            return ""
        what = "the interlock has stopped" if state.interlock else "stopped after the failure of"
        return f"{what} {step.name}: {state.reason}"

    def _code(self, view: NightView) -> int:
        """Return 0 if every step is complete, or left out because the plan says so."""
        states = [view.states.get(step.number, StepState()) for step in self.steps]
        if any(state.interlock for state in states):
            return INTERLOCK_CODE
        good = [
            state.status == SUCCEEDED
            or (state.status == LEFT_OUT and "does not hold" in state.reason)
            for state in states
        ]
        return 0 if all(good) else 1


@contextlib.contextmanager
def _told(say: Callable[[str, str], None]) -> Iterator[None]:
    """Tell what goes wrong inside the block, and go on."""
    try:
        yield
    except (BenchError, OSError) as error:
        say("error", str(error))
