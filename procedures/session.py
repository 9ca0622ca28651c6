"""What the commands do with a run: queue it, carry it out, go on with it, forecast it.

Between the command (or a night, or the window) and the runner: puts file, measurement, bench and
progress display together.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from instruments.bench import Bench, open_bench
from instruments.config import BenchConfig, default, load, parse
from instruments.errors import BenchError, ConfigError
from procedures.measurement import Control, Forecast, Measurement
from procedures.parameters import toml_value
from procedures.registry import measurement as find_measurement
from procedures.running import lock
from procedures.running.describe import Description, describe_queued
from procedures.running.followers import Listener
from procedures.running.ledger import Ledger, ledger_of, plan_check
from procedures.running.memory import give_back
from procedures.running.runfile import RunFile, create_queued
from procedures.running.runner import Outcome, carry_out

__all__ = [
    "Control",
    "Description",
    "forecast",
    "go_on",
    "measure",
    "parse_settings",
    "run_queued",
]

Report = Callable[[str], None]
_BAD_INPUT = ConfigError.exit_code
_TERMINAL_GONE = contextlib.suppress(OSError, ValueError)


class CannotResume(BenchError):
    """A run file cannot be gone on with."""

    exit_code = 2
    code = "resume"


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Turn `key=value` texts into parameters; ConfigError where there is no `=`."""
    found = {}
    for one in settings:
        key, sign, value = one.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"{one!r} was given, key=value is wanted", key="--set")
        found[key.strip()] = toml_value(value.strip())
    return found


def build(name: str, values: Mapping[str, Any]) -> Measurement:
    """Return a configured measurement."""
    made: Measurement = find_measurement(name).load()(**dict(values))
    return made


def forecast(
    name: str,
    values: Mapping[str, Any],
    config: BenchConfig,
    report: Report,
    about: Description | None = None,
) -> dict[str, Any]:
    """Check a run against the limits of the bench, moving nothing.

    about: the sample and its spot, where what they have had before counts against the budget.
    """
    measurement = build(name, values)
    with open_bench(
        config,
        measurement.roles(),
        measurement=name,
        medium=getattr(measurement, "medium", None),
        report=lambda _line: None,
    ) as bench:
        measurement.bench = bench
        if about is not None:
            measurement.check_dose = plan_check(
                Ledger(config.data_dir),
                about.sample,
                about.spot,
                name,
                config.limits.dose_max_J_cm2,
                lambda _level, line: report(line),
            )
        found = measurement.check_limits()
    return {
        "measurement": name,
        "points": found.points,
        "seconds": found.seconds,
        "shots": found.shots,
        "dose_J_cm2": found.dose_J_cm2,
    }


def measure(
    name: str,
    values: Mapping[str, Any],
    config: BenchConfig,
    description: Description,
    out: Path | None,
    report: Report,
    *,
    quiet: bool = False,
    bench: Bench | None = None,
    control: Control | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Queue a run in a new file and carry it out.

    bench: open already, and left open; control: to pause and abort it by, made beforehand;
    listener: follows the run instead of the progress display. Works from any thread.

    Raises what was wrong with the input (bench file, parameters, limits), where that shows only
    with the bench open; the file, which holds nothing then, is taken away again.
    """
    measurement = build(name, values)
    folder = out if out is not None else config.data_dir
    header = describe_queued(measurement, config, description, time.time())
    try:
        path = create_queued(folder, header)
    except OSError as error:
        raise ConfigError(
            f"the run file cannot be made there ({error}); choose another folder with --out",
            file=str(folder),
        ) from error
    report(f"run file: {path}")
    outcome = _perform(
        path, measurement, config, description, report, quiet, bench, control, listener
    )
    if outcome.error is not None and outcome.exit_code == _BAD_INPUT and not outcome.records:
        path.unlink(missing_ok=True)
        raise outcome.error
    return outcome


def go_on(
    path: Path,
    bench_file: Path | None,
    report: Report,
    *,
    quiet: bool = False,
    bench: Bench | None = None,
    control: Control | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Go on with a run that is not finished, from its first missing point; see `measure`."""
    with RunFile(path) as run:
        status, records = run.status, run.rows_complete
        if status == "finished":
            raise CannotResume(f"{path}: the run is finished, there is nothing to go on with")
        if run.being_written:
            raise CannotResume(f"{path}: the run is {status} now, by {lock.owner(path)}")
        name, parameters = run.measurement, run.parameters
        about = Description(run.sample, run.spot, run.operator, draw=run.draw)
        config = _same_bench(run.bench_toml, run.bench_file, bench_file, bench)
        resume_from: dict[str, Any] | None = None
        if run.columns:
            last = run.last_record()
            resume_from = {
                "records": records,
                "decisions": run.decisions,
                "state": run.state,
                "last_record": last,
                "calibrations": run.calibrations,
                "until_s": float(last["time"]) if "time" in last else _last_line_s(run),
                "shots_on_sample": last.get("shots_on_sample", 0),
                "dose": last.get("dose", 0.0),
            }
    measurement = build(name, parameters)
    if resume_from is not None:
        report(f"going on with {path} after {records} records")
    return _perform(
        path, measurement, config, about, report, quiet, bench, control, listener, resume_from
    )


def _last_line_s(run: RunFile) -> float | None:
    lines = run.log
    return lines[-1][0] if lines else None


def run_queued(
    path: Path,
    report: Report,
    *,
    bench_file: Path | None = None,
    quiet: bool = True,
    bench: Bench | None = None,
    control: Control | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Carry out a run file that waits, or go on with one that is not finished.

    The file tells measurement, parameters, and (unless bench_file or bench is given) the bench. It
    stays whatever happens: what was wrong is its status and the last line of its log. See
    `measure` for the rest.

    Raises:
        NotARunFile: it is none. CannotResume: it is finished. ConfigError, ParameterError: what it
            holds is not allowed here. FileInUse: somebody carries it out already.
    """
    try:
        return go_on(
            path, bench_file, report, quiet=quiet, bench=bench, control=control, listener=listener
        )
    finally:
        give_back()  # other runs will follow in this process


def _perform(
    path: Path,
    measurement: Measurement,
    config: BenchConfig,
    about: Description,
    report: Report,
    quiet: bool,
    bench: Bench | None,
    control: Control | None,
    listener: Listener | None,
    resume_from: Mapping[str, Any] | None = None,
) -> Outcome:
    if control is not None:
        measurement.control = control
    with contextlib.ExitStack() as shown:
        follower = listener if listener is not None else shown.enter_context(_display(quiet))
        return carry_out(
            path,
            measurement,
            config,
            listener=follower,
            report=report,
            resume_from=resume_from,
            bench=bench,
            about=about,
            ledger=ledger_of(path, config),
        )


def _same_bench(text: str, file: str, chosen: Path | None, opened: Bench | None) -> BenchConfig:
    """Return the bench that is open or was named, or the one that the run file holds."""
    if opened is not None:
        return opened.config
    if chosen is not None:
        return load(chosen)
    if not text and not file:
        return default()
    return parse(text, file or None)


class _Progress:
    """Follows a run on a terminal (Rich), or with a plain line now and then."""

    def __init__(self, update: Callable[[float], None]) -> None:
        self._update = update

    def started(self, measurement: Measurement, forecast: Forecast) -> None:
        """Show the empty bar."""
        self._update(100.0 * measurement.first_point / max(forecast.points, 1))

    def progress(self, percent: float) -> None:
        """Show how far it is."""
        self._update(percent)

    def recorded(self, record: Mapping[str, Any]) -> None:
        """Nothing to show for a single record."""


@contextlib.contextmanager
def _display(quiet: bool) -> Iterator[_Progress]:
    if not quiet and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        task = bar.add_task("measuring", total=100.0)

        def shown(percent: float) -> None:
            with _TERMINAL_GONE:
                bar.update(task, completed=percent)

        with _TERMINAL_GONE:
            bar.start()
        try:
            yield _Progress(shown)
        finally:
            with _TERMINAL_GONE:
                bar.stop()
        return
    last = [-25.0]

    def plain(percent: float) -> None:
        if not quiet and percent >= last[0] + 25.0:
            last[0] = percent
            with _TERMINAL_GONE:
                print(f"{percent:.0f} % of the plan", file=sys.stderr)

    yield _Progress(plain)
