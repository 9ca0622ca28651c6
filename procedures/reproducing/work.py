"""One chapter of the report: measures, analyses and draws it, and says what became of each step.

Runs in a process of its own, so what comes and goes are plain values. Nothing that fails here ends
the report: it is told in the outcome.
"""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procedures.reproducing.chapters import Chapter, Plate, Run

FORMATS = (".svg", ".pdf")
RUNS, FIGURES, BENCHES = "runs", "figures", "benches"


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run: where its file is, what was found, or what went wrong."""

    run: Run
    file: str = ""
    status: str = "failed"
    records: int = 0
    results: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "key": self.run.key,
            "measurement": self.run.measurement,
            "file": self.file,
            "run_status": self.status,
            "records": self.records,
            "error": self.error or None,
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class PlateOutcome:
    """What became of a figure: its files by ending, or what went wrong."""

    plate: Plate
    files: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class ChapterOutcome:
    """What became of a chapter."""

    runs: list[RunOutcome]
    plates: list[PlateOutcome]


def carry_out(chapter: Chapter, out: Path, seed: int) -> ChapterOutcome:
    """Measure, analyse and draw a chapter into `out`; never raises an ordinary exception."""
    evaluations: dict[str, Any] = {}
    runs = [_run(run, out, seed, evaluations) for run in chapter.runs]
    return ChapterOutcome(runs, [_draw(plate, out, evaluations) for plate in chapter.plates])


def lost(chapter: Chapter, reason: str) -> ChapterOutcome:
    """Return the outcome of a chapter of which nothing came back."""
    return ChapterOutcome(
        [RunOutcome(run, error=reason) for run in chapter.runs],
        [PlateOutcome(plate, error=reason) for plate in chapter.plates],
    )


def bench_text(run: Run, seed: int) -> str:
    """Return the bench file of a run: the simulated bench with the run's sample."""
    lines = [
        f"# {run.title}",
        "[bench]",
        f'data_dir = "../{RUNS}"',
        "[simulation]",
        f"seed = {seed}",
    ]
    if run.sample:
        lines += ["[simulation.sample]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in run.sample.items()]
    return "\n".join(lines) + "\n"


def _run(run: Run, out: Path, seed: int, evaluations: dict[str, Any]) -> RunOutcome:
    from instruments import config
    from procedures.evaluation import evaluate
    from procedures.session import Description, measure

    start = time.perf_counter()
    told: dict[str, Any] = {}
    try:
        file = out / BENCHES / f"{run.key}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(bench_text(run, seed), encoding="utf-8", newline="\n")
        bench = config.load(file)
        outcome = measure(
            run.measurement,
            run.settings,
            bench,
            Description(sample=run.title, operator="gainbench reproduce"),
            out / RUNS,
            lambda _line: None,
            quiet=True,
        )
        told = {
            "file": outcome.path.relative_to(out).as_posix(),
            "status": outcome.status,
            "records": outcome.records,
        }
        if outcome.error is not None or outcome.status != "finished":
            reason = outcome.error or f"the run ended {outcome.status}"
            return RunOutcome(run, **told, error=str(reason), seconds=time.perf_counter() - start)
        evaluation = evaluations[run.key] = evaluate(outcome.path)
        found = evaluation.analysis.to_json()
        return RunOutcome(
            run,
            **told,
            results=found["results"],
            warnings=found["warnings"],
            seconds=time.perf_counter() - start,
        )
    except Exception as error:  # whatever it is: the other runs have their own page
        return RunOutcome(run, **told, error=_reason(error), seconds=time.perf_counter() - start)


def _draw(plate: Plate, out: Path, evaluations: dict[str, Any]) -> PlateOutcome:
    from procedures.figures import text_as_paths
    from procedures.registry import measurement

    found = [evaluations[key] for key in plate.runs if key in evaluations]
    if not found:
        return PlateOutcome(plate, error="there is no run to draw")
    files: dict[str, str] = {}
    try:
        if plate.draw:
            module, _, name = plate.draw.partition(":")
            function, given = getattr(importlib.import_module(module), name), found
        else:
            function, given = measurement(found[0].measurement).load("figure"), found[0]
        for ending in FORMATS:
            path = out / FIGURES / f"{plate.name}{ending}"
            with text_as_paths():
                function(given, path)
            files[ending] = path.relative_to(out).as_posix()
        return PlateOutcome(plate, files)
    except Exception as error:
        return PlateOutcome(plate, files, _reason(error))


def _reason(error: Exception) -> str:
    known = getattr(error, "exit_code", None) is not None or isinstance(error, OSError)
    return str(error) if known else f"{type(error).__name__}: {error}"
