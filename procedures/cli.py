"""The gainbench command.

Everything a person reads goes to standard error; standard output carries one JSON object where
`--json` asks for it. Exit codes: 0 done and complete, 1 the measurement failed, 2 bad input,
3 stopped by an interlock, 130 aborted. Imports are made by the commands, so that help is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from procedures.commands import control
from procedures.commands import night as night_command
from procedures.commands import queue as queue_commands
from procedures.commands import report as report_command
from procedures.commands.compress import compress
from procedures.commands.dose import dose
from procedures.commands.export import export
from procedures.commands.gui import gui
from procedures.commands.reproduce import reproduce
from procedures.commands.runs import runs
from procedures.commands.terminal import BenchOption, JsonOption, OutOption, put, say

app = typer.Typer(
    name="gainbench",
    help="Runs an optical-gain bench: measurements, run files, analysis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(queue_commands.app, name="queue")

app.command()(control.status)
app.command()(control.pause)
app.command()(control.abort)
app.command()(dose)
app.command()(night_command.night)
app.command()(report_command.report)


def main() -> None:
    """Run the command; every error ends in a message and the exit code of the contract."""
    as_json = "--json" in sys.argv[1:]
    try:
        code = app(standalone_mode=False)
        _leave(code if isinstance(code, int) else 0)
    except SystemExit:
        raise
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail(as_json, 130, "aborted", "aborted"))
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is not None:  # a usage error of the command line
            sys.exit(_fail(as_json, 2, "usage", str(usage())))
        exit_code = getattr(error, "exit_code", None)
        if isinstance(exit_code, int):
            sys.exit(
                _fail(
                    as_json,
                    exit_code,
                    getattr(error, "code", "error"),
                    str(error),
                    getattr(error, "file", None),
                    getattr(error, "key", None),
                )
            )
        if isinstance(error, OSError):
            sys.exit(
                _fail(as_json, 2 if isinstance(error, FileNotFoundError) else 1, "os", str(error))
            )
        raise


def _leave(code: int) -> NoReturn:
    """End the process; past HDF5's clean-up if a failed write has left it unfit for that."""
    module = sys.modules.get("procedures.running.runfile")
    if module is not None and module.RunWriter.broken:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _fail(
    as_json: bool,
    exit_code: int,
    code: str,
    message: str,
    file: str | None = None,
    key: str | None = None,
) -> int:
    say(f"gainbench: {message}")
    if as_json:
        put({"error": {"code": code, "message": message, "file": file, "key": key}})
    return exit_code


app.command()(runs)
app.command()(gui)
app.command()(reproduce)
app.command()(export)
app.command()(compress)


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List measurements, drivers and sample presets."""
    import importlib

    from instruments.registry import drivers
    from procedures.registry import measurements

    presets = importlib.import_module("sim_drivers.presets").presets()
    found = {
        "measurements": {name: entry.summary for name, entry in measurements().items()},
        "drivers": {name: entry.summary for name, entry in drivers().items()},
        "presets": presets,
    }
    if as_json:
        put(found)
        return
    for title, entries in found.items():
        print(title)
        for name, summary in entries.items():
            print(f"  {name:24}{summary}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for run file and figure.")] = Path(
        "demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run a power sweep on the simulated bench: run file, figure, threshold."""
    from instruments.config import default
    from procedures.session import Description, measure

    outcome = measure(
        "power-sweep",
        {},
        default(),
        Description(sample="CsPbBr3 9 nm film", spot="demo", operator="demo"),
        out,
        say,
        quiet=as_json,
    )
    if outcome.exit_code:
        raise outcome.error or RuntimeError(f"the run ended {outcome.status}")
    evaluation = _evaluate_and_draw(outcome.path, outcome.path.with_suffix(".png"))
    for suffix in (".svg", ".pdf"):
        _draw(evaluation, outcome.path.with_suffix(suffix))
    _show(evaluation, as_json, {"records": outcome.records})
    raise typer.Exit(outcome.exit_code)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="The measurement, see `gainbench list`.")],
    bench: BenchOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter: key=value.")
    ] = None,
    sample: Annotated[str, typer.Option("--sample", help="What is measured.")] = "",
    spot: Annotated[str, typer.Option("--spot", help="Where on the sample.")] = "",
    operator: Annotated[str, typer.Option("--operator", help="Who measures.")] = "",
    out: OutOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, move nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run one measurement."""
    from instruments.config import default, load
    from procedures.registry import has_analysis
    from procedures.running.header import draw_of
    from procedures.session import Description, forecast, measure, parse_settings

    config = load(bench) if bench is not None else default()
    values = parse_settings(settings or [])
    about = Description(sample, spot, operator, draw=draw_of(sample, spot))
    if dry_run:
        found = forecast(name, values, config, say, about)
        if as_json:
            put(found)
        else:
            say(
                f"{found['points']} points, about {found['seconds']:.0f} s, "
                f"at most {found['shots']:.3g} shots and {found['dose_J_cm2']:.3g} J/cm2 on the "
                "sample; all within the limits; nothing has moved"
            )
        return
    outcome = measure(name, values, config, about, out, say, quiet=as_json)
    if outcome.error is not None:
        say(f"gainbench: {outcome.error}")
    results: dict[str, Any] = {"results": {}, "warnings": []}
    if outcome.records and has_analysis(name):
        try:
            evaluation = _evaluate_and_draw(outcome.path, None)
            results = evaluation.analysis.to_json()
            if not as_json:
                _show(evaluation, False)
        except Exception as error:  # the records are safe in the file; say so
            if outcome.exit_code == 0:
                raise
            say(f"the analysis of what was recorded failed: {error}")
    say(f"{outcome.path}: {outcome.status}, {outcome.records} records")
    if as_json:
        answer = {
            "file": str(outcome.path),
            "run_status": outcome.status,
            "records": outcome.records,
            **results,
        }
        if outcome.error is not None:
            answer["error"] = {
                "code": getattr(outcome.error, "code", "error"),
                "message": str(outcome.error),
                "file": str(outcome.path),
                "key": getattr(outcome.error, "key", None),
            }
        put(answer)
    _make_small(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def resume(
    file: Annotated[Path, typer.Argument(help="A run file that is not finished.")],
    bench: BenchOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that is not finished."""
    from procedures.session import go_on

    outcome = go_on(file, bench, say, quiet=as_json)
    if outcome.error is not None:
        say(f"gainbench: {outcome.error}")
    say(f"{outcome.path}: {outcome.status}, {outcome.records} records")
    if as_json:
        results = _evaluate_and_draw(file, None).analysis.to_json() if outcome.records else {}
        put(
            {
                "file": str(file),
                "run_status": outcome.status,
                "records": outcome.records,
                **results,
            }
        )
    _make_small(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def analyze(
    files: Annotated[list[Path], typer.Argument(help="Run files.")],
    figure: Annotated[Path | None, typer.Option("--figure", help="PNG, SVG or PDF.")] = None,
    extrapolate: Annotated[
        bool,
        typer.Option("--extrapolate", help="State what lies beyond the records, too; marked."),
    ] = False,
    store: Annotated[bool, typer.Option("--store", help="Keep the results in the file.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Write a calibration run's file: folder or NAME.toml."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a run file into numbers and a figure; or several, where they make a series."""
    if len(files) > 1 and (store or calibration is not None):
        raise typer.BadParameter("--store and --calibration take one run file at a time")
    evaluation = _evaluate_and_draw(files, figure, extrapolate)
    if store:
        from procedures.running.runfile import store_results

        store_results(files[0], evaluation.analysis.to_json())
    more = _write_calibration(evaluation, calibration) if calibration is not None else {}
    _show(evaluation, as_json, more)


@app.command()
def check(
    bench: BenchOption = None,
    move: Annotated[bool, typer.Option("--move", help="Exercise movements, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find and identify every instrument; say what is wrong and how to mend it."""
    from instruments.config import default, load
    from procedures.check_report import show
    from procedures.checking import check_bench

    config = load(bench) if bench is not None else default()
    found = check_bench(config, move=move)
    if as_json:
        put(found)
    show(found)
    raise typer.Exit(0 if found["ok"] else 1)


@app.command()
def simulate(bench: BenchOption = None, as_json: JsonOption = False) -> None:
    """Serve the simulated instruments to other programs until Ctrl-C."""
    import importlib
    import threading

    from instruments.config import default, load
    from procedures.running.signals import Signals, Stopped

    config = load(bench) if bench is not None else default()
    served = importlib.import_module("sim_drivers.serving").ServedBench(config, "power-sweep")
    try:
        with Signals():
            if as_json:
                put({"instruments": served.instruments, "bench_file": served.bench_file})
            for role, entry in served.instruments.items():
                say(f"{role:14}{entry['driver']:20}{entry['resource']}")
            say(f"bench file, ready to use: {served.bench_file}")
            say("serving until Ctrl-C")
            threading.Event().wait()
    except Stopped:
        say("no longer served")
    finally:
        served.close()


def _make_small(outcome: Any) -> None:
    """Compress the file of a finished run; it is the last thing done, and may be interrupted."""
    from procedures.running.compressing import compress_all

    if outcome.status == "finished":
        compress_all([outcome.path], say)


def _write_calibration(evaluation: Any, where: Path) -> dict[str, Any]:
    """Write the calibration that a run gives; say how the bench file points to it."""
    from procedures.calibrating import role_of, write_from

    written = write_from(evaluation, where)
    say(f"calibration: {written}")
    role = role_of(evaluation)
    if role:
        say(
            f"use it: in the bench file, under [instruments.{role}], calibration = {written.name!r}"
        )
        say("        (a path relative to the bench file)")
    return {"calibration": str(written)}


def _evaluate_and_draw(
    files: Path | list[Path], figure: Path | None, extrapolate: bool = False
) -> Any:
    from procedures.evaluation import evaluate, evaluate_series

    paths = [files] if isinstance(files, Path) else files
    if len(paths) > 1:
        evaluation = evaluate_series(paths)
    else:
        evaluation = evaluate(paths[0], extrapolate=extrapolate)
    if figure is not None:
        _draw(evaluation, figure)
    return evaluation


def _draw(evaluation: Any, figure: Path) -> None:
    from procedures.registry import measurement

    measurement(evaluation.measurement).load("figure")(evaluation, figure)
    say(f"figure: {figure}")


def _show(evaluation: Any, as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        put({**evaluation.to_json(), **(more or {})})
        return
    from procedures.analysis.results import format_result

    say(f"{evaluation.measurement} ({evaluation.run_status}): {evaluation.file}")
    for name, result in evaluation.analysis.results.items():
        say(f"  {name:30}{format_result(result)}")
    for warning in evaluation.analysis.warnings:
        say(f"  warning: {warning}")


if __name__ == "__main__":
    main()
