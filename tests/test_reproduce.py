"""The report beside the paper: what agrees and what does not, pages that hold what went wrong, and
the command with a real run, with a measurement that fails, and with Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from procedures.commands.reproduce import _display
from procedures.reproducing import crew
from procedures.reproducing.chapters import CHAPTERS, Chapter, Plate, Run, plate_order
from procedures.reproducing.html import write_html
from procedures.reproducing.paper import PUBLISHED, Published
from procedures.reproducing.pdf import write_pdf
from procedures.reproducing.report import compile_report
from procedures.reproducing.verdict import AGREES, DIFFERS, FAILED, NOTHING, judge, lines
from procedures.reproducing.work import ChapterOutcome, PlateOutcome, RunOutcome, carry_out

RUNS = {run.key: run for chapter in CHAPTERS for run in chapter.runs}
PLATES = [plate for chapter in CHAPTERS for plate in chapter.plates]
COMMAND = [sys.executable, "-m", "procedures.cli", "reproduce"]


def one(result: str) -> Published:
    return next(said for said in PUBLISHED if said.result == result)


@pytest.mark.parametrize(
    ("result", "entry", "verdict"),
    [
        ("threshold_uJ_cm2", {"value": 23.9, "stderr": 0.1}, AGREES),
        ("threshold_uJ_cm2", {"value": 24.9, "stderr": 0.1}, DIFFERS),
        ("threshold_uJ_cm2", {"value": 24.9, "stderr": 3.0}, AGREES),
        ("threshold_uJ_cm2", {"value": None, "stderr": None}, NOTHING),
        ("threshold_uJ_cm2", {"value": 22.0, "stderr": None}, NOTHING),
        ("threshold_uJ_cm2", {"value": 23.0, "stderr": None, "bound": "upper"}, DIFFERS),
        ("binding_energy_meV", {"value": 53.2, "stderr": 0.1}, DIFFERS),
        ("binding_energy_meV", {"value": 52.8, "stderr": 0.1}, AGREES),
        ("exciton_slope", {"value": 1.07, "stderr": 0.01}, DIFFERS),
        ("retained_fraction", {"value": 0.912, "stderr": 0.003}, DIFFERS),
        ("lifetime_ns", {"value": 3.8, "stderr": 0.01}, DIFFERS),
        ("slope_above", {"value": 1.5, "stderr": 0.1}, AGREES),
        ("slope_above", {"value": 1.5, "stderr": 0.4}, DIFFERS),
        ("threshold_rise_per_day", {"value": 0.006, "stderr": 1e-4}, DIFFERS),
        ("spontaneous_peak_nm", {"value": 517.0, "stderr": 0.2}, DIFFERS),
    ],
)
def test_a_result_agrees_within_what_is_allowed_or_within_its_own_error(
    result: str, entry: dict[str, Any], verdict: str
) -> None:
    assert judge(one(result), {result: {"unit": "1", **entry}}).verdict == verdict


def test_of_lists_the_number_of_the_fluence_is_taken_and_bounds_bear_statements_out() -> None:
    said = one("decay_time_ps")
    entry = {"value": [3000.0, 1700.0, 34.5], "stderr": [20.0, 70.0, None], "unit": "ps",
             "bound": "upper"}  # fmt: skip
    line = judge(said, {"decay_time_ps": entry})
    assert (line.value, line.verdict, line.bound) == (34.5, AGREES, "upper")
    assert line.found == "below 34.5 ps"
    slow = {**entry, "value": [3000.0, 1700.0, 90.0]}
    assert judge(said, {"decay_time_ps": slow}).verdict == DIFFERS
    assert judge(said, {"decay_time_ps": {**entry, "value": [1.0, 2.0]}}).verdict == NOTHING
    assert judge(said, None).verdict == FAILED


def test_every_statement_has_a_run_and_a_figure_and_says_when_it_agrees() -> None:
    for said in PUBLISHED:
        assert said.run in RUNS
        assert any(said.run in plate.runs for plate in PLATES)
        assert said.allowed and said.low < said.high
        if said.value is not None:
            assert said.low < said.value < said.high
    assert {run for plate in PLATES for run in plate.runs} == set(RUNS)
    names = [plate.name for plate in PLATES]
    assert len(set(names)) == len(names)
    found = sorted((plate.figure for plate in PLATES), key=plate_order)
    assert found[:4] == ["2a, 2b", "2c", "S3a", "S3b"] and found[-1] == "6d, S7"


def outcomes(out: Path) -> list[ChapterOutcome]:
    """Return the outcomes of every chapter, the ageing run failed, one figure not drawn."""
    from matplotlib.figure import Figure

    drawn = {ending: f"figure{ending}" for ending in (".svg", ".pdf")}
    for name in drawn.values():
        Figure(figsize=(14, 6)).savefig(out / name)
    found = []
    for chapter in CHAPTERS:
        runs = [
            RunOutcome(
                run, f"runs/{run.key}.h5", "finished", 9, warnings=["<b>not</b> & measured"],
                results={
                    said.result: {"value": [said.value or 30.0] * 3 if said.place is not None
                                  else said.value or 1e-3, "stderr": 1e-4, "unit": "1"}
                    for said in PUBLISHED if said.run == run.key
                },
            ) if run.key != "ageing" else RunOutcome(run, error="the laser is <off>")
            for run in chapter.runs
        ]  # fmt: skip
        plates = [
            PlateOutcome(plate, error="nothing to draw")
            if plate.figure in ("S3a", "4c")
            else PlateOutcome(plate, drawn)
            for plate in chapter.plates
        ]
        found.append(ChapterOutcome(runs, plates))
    return found


def test_the_report_holds_every_statement_once_and_what_went_wrong(tmp_path: Path) -> None:
    from pypdf import PdfReader

    report = compile_report(outcomes(tmp_path), 12.0, 7)
    assert len(report.lines) == len(PUBLISHED)
    assert len({id(line.published) for line in report.lines}) == len(PUBLISHED)
    assert not report.complete
    assert len(report.failures) == 2  # ageing; figure 4c was not drawn
    text = write_html(report, tmp_path).read_text(encoding="utf-8")
    assert "the laser is &lt;off&gt;" in text and "<off>" not in text and "<b>not" not in text
    assert text.count("data:image/svg+xml;base64,") == len(PLATES) - 2
    assert "http" not in text.split("</style>")[1]
    report = replace(report, pages=[page for page in report.pages if page.runs[0].error])
    pdf = PdfReader(write_pdf(report, tmp_path))
    words = "".join(page.extract_text() for page in pdf.pages)
    assert len(pdf.pages) == 2
    assert "the laser is <off>" in words and "rise of the threshold" in words
    assert not list(tmp_path.glob("*.part"))
    assert report.to_json()["statements"][0]["verdict"]


def test_a_figure_alone_that_fails_is_told_and_the_results_stay(tmp_path: Path) -> None:
    run = RUNS["lifetime-solution"]
    chapter = Chapter(
        "x",
        (
            replace(run, settings={"repeats": 1, "integration_s": 2.0}),
            Run("bad", "lifetime", "bad", {"fluence_uJ_cm2": -1.0}),
        ),
        (Plate("4a", "t", (run.key,), "procedures.drawing.paper_lifetimes:nothing"),),
    )
    found = carry_out(chapter, tmp_path, 7)
    good, bad = found.runs
    assert good.status == "finished" and good.results and not good.error
    assert good.results["lifetime_ns"]["value"] == pytest.approx(3.6, rel=0.2)
    assert bad.error and bad.results is None
    assert "nothing" in found.plates[0].error


def dies(chapter: Chapter, _out: Path, _seed: int) -> ChapterOutcome:
    """Die with the second chapter; succeed with the others."""
    if chapter.key == CHAPTERS[1].key:
        os._exit(9)
    return ChapterOutcome([RunOutcome(run, "f", "finished") for run in chapter.runs], [])


def test_a_process_that_dies_takes_only_what_was_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "carry_out", dies)
    found = list(crew.carry_out_all(CHAPTERS[:3], tmp_path, 7, 1, lambda _chapter: None))
    assert [chapter.key for chapter, _ in found] == [chapter.key for chapter in CHAPTERS[:3]]
    errors = [outcome.runs[0].error for _, outcome in found]
    assert errors == ["", "the process that carried it out died", ""]


def test_the_command_runs_draws_and_compares(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--out", str(tmp_path), "--only", "lifetime", "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [line["verdict"] for line in told["statements"]] == [AGREES, AGREES]
    assert told["agreeing"] == 2 and not told["failures"]
    assert Path(told["html"]).stat().st_size > 50_000
    assert (tmp_path / "figures" / "figure-4a.pdf").exists()
    assert len(list((tmp_path / "runs").glob("*.h5"))) == 2


@pytest.mark.skipif(os.name == "nt", reason="no signal to one process there")
def test_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    command = subprocess.Popen(
        [*COMMAND, "--out", str(tmp_path), "--only", "photostability"], stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    mother = psutil.Process(command.pid)
    runs = tmp_path / "runs"
    until = time.monotonic() + 60
    while not list(runs.glob("*.h5")) and time.monotonic() < until:
        time.sleep(0.05)
    children = mother.children(recursive=True)
    assert children
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=30)
    assert command.returncode == 130
    assert "aborted" in told and "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_a_terminal_shows_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with _display(list(CHAPTERS[:2]), quiet=False) as (began, ended):
        began(CHAPTERS[0])
        began(CHAPTERS[1])
        runs = [RunOutcome(CHAPTERS[0].runs[0], error="[no] light")]
        ended(CHAPTERS[0], ChapterOutcome(runs, []))
    shown = terminal.getvalue()
    assert "FAILED: [no] light" in shown and "1/5" in shown


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = subprocess.run(
        [*COMMAND, "--out", str(file), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--out" in json.loads(done.stdout)["error"]["message"]


def test_statements_of_runs_that_were_not_asked_for_are_left_out() -> None:
    entry = {"lifetime_ns": {"value": 3.6, "stderr": 0.01, "unit": "ns"}}
    assert [line.published.figure for line in lines({"lifetime-solution": entry})] == ["4a"]
