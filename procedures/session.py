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

from instruments.bench import open_bench
from instruments.config import BenchConfig, default, load, parse
from instruments.errors import BenchError, ConfigError
from procedures.measurement import Forecast, Measurement
from procedures.parameters import toml_value
from procedures.registry import measurement as find_measurement
from procedures.running.describe import Description, describe_queued
from procedures.running.runfile import RunFile, create_queued
from procedures.running.runner import Outcome, carry_out

__all__ = ["Description", "forecast", "go_on", "measure", "parse_settings"]

Report = Callable[[str], None]
_BAD_INPUT = ConfigError.exit_code


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
    name: str, values: Mapping[str, Any], config: BenchConfig, report: Report
) -> dict[str, Any]:
    """Check a run against the limits of the bench, moving nothing."""
    measurement = build(name, values)
    with open_bench(
        config,
        measurement.roles(),
        measurement=name,
        medium=getattr(measurement, "medium", None),
        report=lambda _line: None,
    ) as bench:
        measurement.bench = bench
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
) -> Outcome:
    """Queue a run in a new file and carry it out.

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
    with _display(quiet) as listener:
        outcome = carry_out(path, measurement, config, listener=listener, report=report)
    if outcome.error is not None and outcome.exit_code == _BAD_INPUT and not outcome.records:
        path.unlink(missing_ok=True)
        raise outcome.error
    return outcome


def go_on(path: Path, bench_file: Path | None, report: Report, *, quiet: bool = False) -> Outcome:
    """Go on with a run that is not finished, from its first missing point."""
    with RunFile(path) as run:
        status, records = run.status, run.rows_complete
        if status == "finished":
            raise CannotResume(f"{path}: the run is finished, there is nothing to go on with")
        if status in ("running", "paused"):
            raise CannotResume(f"{path}: the run is {status} now")
        name, parameters = run.measurement, run.parameters
        config = _same_bench(run.bench_toml, run.bench_file, bench_file)
        started = bool(run.columns)
        resume_from: dict[str, Any] | None = None
        if started:
            last = run.last_record()
            resume_from = {
                "records": records,
                "decisions": run.decisions,
                "state": run.state,
                "last_record": last,
                "shots_on_sample": last.get("shots_on_sample", 0),
                "dose": last.get("dose", 0.0),
            }
    measurement = build(name, parameters)
    report(f"going on with {path} after {records} records")
    with _display(quiet) as listener:
        return carry_out(
            path, measurement, config, listener=listener, report=report, resume_from=resume_from
        )


def _same_bench(text: str, file: str, chosen: Path | None) -> BenchConfig:
    """Return the bench named on the command line, or the one that the run file holds."""
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

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        ) as bar:
            task = bar.add_task("measuring", total=100.0)
            yield _Progress(lambda percent: bar.update(task, completed=percent))
        return
    last = [-25.0]

    def plain(percent: float) -> None:
        if not quiet and percent >= last[0] + 25.0:
            last[0] = percent
            print(f"{percent:.0f} % of the plan", file=sys.stderr)

    yield _Progress(plain)
