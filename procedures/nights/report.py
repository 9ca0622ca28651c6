"""The morning's page: what a night brought, as one HTML file that needs nothing else.

For `gainbench report`. Reads the night's folder and its run files, analyses each run, and says what
ran, what did not and why, with figures, numbers, doses, drifts and what the logs complain of. A run
that cannot be read or analysed is told as such, and costs the page nothing.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from instruments.errors import BenchError
from procedures.analysis.results import Result, format_result
from procedures.evaluation import evaluate
from procedures.nights.doses import had_by_now
from procedures.nights.drifts import Drift, draw_drifts, find_drifts
from procedures.nights.events import RUNNING, SUCCEEDED, NightState, StepState
from procedures.nights.expanding import Step, expand
from procedures.nights.figure import draw_evaluation
from procedures.nights.folder import LOG, REPORT, NightFolder
from procedures.nights.plan import parse_plan
from procedures.nights.telling import duration
from procedures.registry import has_analysis
from procedures.running.layout import isoformat
from procedures.running.ledger import ledger_of
from procedures.running.rewrite import rewriting
from procedures.running.runfile import RunFile

_MOST_LINES = 12
_LOUD = ("warning", "error")
_MARKS = {SUCCEEDED: "✓", RUNNING: "▶", "failed": "✗", "aborted": "✗"}


@dataclass
class RunPart:
    """What the page says of one step: its state, and what its run file tells."""

    step: Step
    state: StepState
    mark: str
    began: str = ""
    took: str = ""
    results: dict[str, Result] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    figure: str = ""
    problem: str = ""


def write_report(path: str | Path, out: Path | None = None) -> Path:
    """Write the page of a night; return its file (report.html in the night's folder, or `out`).

    Raises:
        NotANight: the folder is none. DiskFull, OSError: the page cannot be written.
    """
    folder = NightFolder.find(path)
    html = render(folder)
    target = out if out is not None else folder.path / REPORT
    target.parent.mkdir(parents=True, exist_ok=True)
    with rewriting(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def render(folder: NightFolder) -> str:
    """Return the page of a night as HTML."""
    import jinja2

    state = folder.state()
    plan = parse_plan(folder.plan_text, str(folder.path / "plan.toml"))
    steps = expand(plan)
    with tempfile.TemporaryDirectory(prefix="gainbench-report-") as scratch:
        parts = [
            _part(folder, step, state.steps.get(step.number, StepState()), Path(scratch))
            for step in steps
        ]
    files = [(p.step.number, folder.path / p.state.file) for p in parts if p.state.file]
    drifts = find_drifts(files)
    drawn = draw_drifts(drifts, {step.number: f"{step.number} {step.name}"[:30] for step in steps})
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html")
    return template.render(
        name=plan.night.name,
        folder=folder.path.resolve(),
        about=state.about,
        verdict=_verdict(folder, state, parts),
        good=state.exit_code == 0,
        state=state,
        span=_span(state),
        parts=parts,
        tables=_tables(parts),
        doses=_doses(folder, state, parts),
        drifts=[(drift, _range(drift), _rate(drift)) for drift in drifts],
        drift_figure=_data_uri(drawn, "svg+xml") if drawn else "",
        log=_log(folder),
        written=isoformat(datetime.now().timestamp())[:19].replace("T", " "),
        format_result=_pretty,
        moment=lambda seconds: isoformat(seconds)[:16].replace("T", " ") if seconds else "",
    )


def _part(folder: NightFolder, step: Step, state: StepState, scratch: Path) -> RunPart:
    part = RunPart(step, state, _MARKS.get(state.status, "-"))
    if state.begun_s:
        part.began = isoformat(state.begun_s)[5:16].replace("T", " ")
        if state.ended_s:
            part.took = duration(state.ended_s - state.begun_s)
    if not state.file:
        return part
    path = folder.path / state.file
    try:
        with RunFile(path) as run:
            loud = [(isoformat(t)[11:19], lv, text) for t, lv, text in run.log if lv in _LOUD]
            records = run.rows_complete
    except (BenchError, OSError) as error:
        part.problem = str(error)
        return part
    part.lines = loud[-_MOST_LINES:]
    if not records or not has_analysis(step.measurement):
        return part
    try:
        evaluation = evaluate(path)
        part.results = dict(evaluation.analysis.results)
        part.warnings = list(evaluation.analysis.warnings)
    except Exception as error:  # whatever an analysis may raise of half a run
        part.problem = f"the analysis failed: {error}"
        return part
    try:
        drawn = scratch / f"{step.number}.png"
        draw_evaluation(evaluation, drawn)
        part.figure = _picture(drawn)
    except Exception as error:
        part.problem = f"the figure failed: {error}"
    return part


def _picture(path: Path) -> str:
    """Return a PNG file as a data URI, as WebP: a third of the size, and nothing lost."""
    from PIL import Image

    out = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(out, "WEBP", lossless=True, quality=60)
    return _data_uri(out.getvalue(), "webp")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _verdict(folder: NightFolder, state: NightState, parts: list[RunPart]) -> str:
    done = sum(part.state.status == SUCCEEDED for part in parts)
    text = f"{done} of {len(parts)} steps finished"
    if folder.goes_on:
        return f"{text}; the night goes on"
    if state.exit_code is None:
        return f"{text}; it was killed: `gainbench night --resume {folder.path}` goes on with it"
    return f"{text}: {state.reason}" if state.reason else text


def _span(state: NightState) -> str:
    end = state.ended_s or state.last_s
    return duration(end - state.begun_s) if state.begun_s and end else ""


def _tables(parts: list[RunPart]) -> list[dict[str, Any]]:
    """Return a table of numbers for each measurement that more than one step has made."""
    found = []
    for name in dict.fromkeys(part.step.measurement for part in parts):
        alike = [part for part in parts if part.step.measurement == name and part.results]
        if len(alike) < 2:
            continue
        columns = [
            key
            for key in dict.fromkeys(key for part in alike for key in part.results)
            if any(isinstance(p.results[key].value, float) for p in alike if key in p.results)
        ]
        if columns:
            found.append({"measurement": name, "columns": columns, "parts": alike})
    return found


def _doses(
    folder: NightFolder, state: NightState, parts: list[RunPart]
) -> list[tuple[str, str, int, float, float | None]]:
    """Return sample, spot, shots and dose of each spot in the night, and its dose by now."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for part in parts:
        if part.state.shots or part.state.dose_J_cm2:
            key = (part.step.sample, part.step.spot)
            shots, dose = found.get(key, (0, 0.0))
            found[key] = (shots + part.state.shots, dose + part.state.dose_J_cm2)
    ledger = None
    with contextlib.suppress(BenchError):
        ledger = ledger_of(folder.path / "run", folder.config(state.about))
    return [
        (sample or "unnamed", spot, shots, dose, had_by_now(ledger, sample, spot))
        for (sample, spot), (shots, dose) in found.items()
    ]


def _range(drift: Drift) -> str:
    digits = ".3f" if drift.unit == "1" else ".2f"
    unit = "" if drift.unit == "1" else f" {drift.unit}"
    return f"{drift.value.min():{digits}} to {drift.value.max():{digits}}{unit}"


def _rate(drift: Drift) -> str:
    rate = drift.rate()
    if rate is None:
        return "too short a time to tell a drift"
    slope, error = rate
    scale, unit = (100.0, "%") if drift.unit == "1" else (1.0, drift.unit)
    return _pretty(Result(scale * slope, scale * error, f"{unit} an hour"))


def _pretty(result: Result) -> str:
    """Return a result as it is printed."""
    text = format_result(result).replace("+-", "±").replace("^2", "²")
    return text.replace("uJ/", "µJ/").replace(" um", " µm")


def _log(folder: NightFolder) -> list[tuple[str, str]]:
    """Return what the night's log complains of, and its last lines: (level, line)."""
    try:
        size = (folder.path / LOG).stat().st_size
        with open(folder.path / LOG, "rb") as file:
            file.seek(max(size - 2**20, 0), os.SEEK_SET)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines):
        level = line.split(" ", 2)[1] if line.count(" ") >= 2 else ""
        if level in _LOUD or number >= len(lines) - 25:
            found.append((level, line))
    return found[-200:]
