"""`gainbench reproduce`: every measurement of the paper on the simulated bench, and the report."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instruments.errors import BenchError, ConfigError
from procedures.commands.terminal import JsonOption, put, say

if TYPE_CHECKING:
    from procedures.reproducing.chapters import Chapter
    from procedures.reproducing.report import Report
    from procedures.reproducing.work import ChapterOutcome

_PROBE = ".writable"


class Aborted(BenchError):
    """The operator ended it."""

    exit_code = 130
    code = "aborted"


class ReportNotWritten(BenchError):
    """The measurements were taken, but the report could not be kept."""

    exit_code = 1
    code = "os"


def reproduce(
    out: Annotated[Path, typer.Option("--out", help="Folder for report, figures, runs.")] = Path(
        "reproduction"
    ),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="A measurement; repeat for several. None: all of them."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the simulated bench.")] = 7,
    processes: Annotated[int, typer.Option("--processes", min=1, max=16)] = 2,
    as_json: JsonOption = False,
) -> None:
    """Take every measurement of the paper on the simulated bench; report it beside the paper."""
    from procedures.running.signals import Signals, Stopped

    chapters = _chosen(only)
    out = out.absolute()
    _make_writable(out)
    try:
        with Signals():
            report = _carry_out(chapters, out, seed, processes, quiet=as_json)
            written = _write(report, out)
    except Stopped:
        raise Aborted(f"aborted; the runs that had ended are in {out / 'runs'}") from None
    if as_json:
        put({**written, **report.to_json()})
    else:
        _tell(report, written)
    raise typer.Exit(0 if report.complete else 1)


def _carry_out(
    chapters: list[Chapter], out: Path, seed: int, processes: int, *, quiet: bool
) -> Report:
    from procedures.reproducing.crew import carry_out_all
    from procedures.reproducing.report import compile_report

    start = time.perf_counter()
    outcomes = []
    with _display(chapters, quiet=quiet) as (began, ended):
        for chapter, outcome in carry_out_all(chapters, out, seed, processes, began):
            outcomes.append(outcome)
            ended(chapter, outcome)
    return compile_report(outcomes, time.perf_counter() - start, seed)


def _write(report: Report, out: Path) -> dict[str, str]:
    """Write both reports; say what was found, too, where they cannot be written."""
    from procedures.reproducing.html import write_html
    from procedures.reproducing.pdf import write_pdf

    try:
        return {"html": str(write_html(report, out)), "pdf": str(write_pdf(report, out))}
    except OSError as error:
        _tell(report, {})
        raise ReportNotWritten(
            f"the report cannot be written ({error.strerror or error}); make room, or choose "
            f"another folder with --out: {out}"
        ) from error


def _chosen(only: list[str] | None) -> list[Chapter]:
    from procedures.reproducing.chapters import CHAPTERS, measurements

    for name in only or []:
        if name not in measurements():
            raise typer.BadParameter(
                f"{name!r} was given, allowed are {', '.join(measurements())}",
                param_hint="--only",
            )
    return [
        chapter
        for chapter in CHAPTERS
        if not only or any(run.measurement in only for run in chapter.runs)
    ]


def _make_writable(out: Path) -> None:
    """Make the folder; an error that names it where it cannot be made or written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _PROBE).write_bytes(b"")
        (out / _PROBE).unlink()
    except OSError as error:
        raise ConfigError(
            f"the report cannot be written there ({error.strerror or error}); choose another "
            "folder with --out",
            file=str(out),
            key="--out",
        ) from error


Began = Callable[["Chapter"], None]
Ended = Callable[["Chapter", "ChapterOutcome"], None]


@contextlib.contextmanager
def _display(chapters: list[Chapter], *, quiet: bool) -> Iterator[tuple[Began, Ended]]:
    """Show what is under way: Rich on a terminal, else a line for each run that has ended."""
    total = sum(len(chapter.runs) for chapter in chapters)
    done = [0]

    def lines_of(outcome: ChapterOutcome) -> Iterator[str]:
        for run in outcome.runs:
            done[0] += 1
            what = f"{run.run.measurement}, {run.run.title}"
            how = f"FAILED: {run.error}" if run.error else f"{run.seconds:.0f} s"
            yield f"[{done[0]}/{total}] {what}: {how}"

    if quiet or not sys.stderr.isatty():

        def tell(_chapter: Chapter, outcome: ChapterOutcome) -> None:
            for line in lines_of(outcome):
                if not quiet:
                    say(line)

        yield (lambda _chapter: None), tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[ended]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bar:
        whole = bar.add_task("all runs", total=total, ended=f"0/{total}")
        rows: dict[str, Any] = {}

        def begin(chapter: Chapter) -> None:
            names = dict.fromkeys(run.measurement for run in chapter.runs)
            rows[chapter.key] = bar.add_task(", ".join(names), total=None, ended="")

        def end(chapter: Chapter, outcome: ChapterOutcome) -> None:
            bar.remove_task(rows.pop(chapter.key))
            for line in lines_of(outcome):
                bar.console.print(line, markup=False, highlight=False)
            bar.update(whole, completed=done[0], ended=f"{done[0]}/{total}")

        yield begin, end


def _tell(report: Report, written: dict[str, str]) -> None:
    from procedures.reproducing.verdict import AGREES

    for line in report.lines:
        mark = "  " if line.verdict == AGREES else "! "
        said = line.published
        say(
            f"{mark}{said.figure:4}{said.what:48}{said.says:27}{line.found or '-':26}{line.verdict}"
        )
    for failure in report.failures:
        say(f"failed: {failure}")
    say(f"{report.summary}, in {report.seconds:.0f} s")
    for path in written.values():
        say(path)
