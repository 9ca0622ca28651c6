"""The report as values: pages in the paper's order, statements beside results, what went wrong.

For `html` and `pdf`, which set it, and for the command's JSON.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from procedures.reproducing.chapters import plate_order
from procedures.reproducing.verdict import AGREES, Line, lines
from procedures.reproducing.work import ChapterOutcome, PlateOutcome, RunOutcome

TITLE = "The paper, found again from the records alone"
ABOUT = (
    "Every measurement taken on the simulated bench, its run file analysed, and each result beside "
    "what the paper says. The analysis saw the records only: neither the paper nor the simulation."
)


@dataclass(frozen=True)
class Page:
    """A figure with the statements about it and the runs behind it."""

    plate: PlateOutcome
    lines: list[Line]
    runs: list[RunOutcome]


@dataclass(frozen=True)
class Report:
    """Everything that the report says."""

    pages: list[Page]
    made: str
    seconds: float
    seed: int
    version: str

    @property
    def lines(self) -> list[Line]:
        """Return all statements, in the order of the pages."""
        return [line for page in self.pages for line in page.lines]

    @property
    def runs(self) -> list[RunOutcome]:
        """Return all runs, each once."""
        found = {run.run.key: run for page in self.pages for run in page.runs}
        return list(found.values())

    @property
    def failures(self) -> list[str]:
        """Return what went wrong, a sentence each."""
        found = [f"{run.run.measurement} ({run.run.title}): {run.error}" for run in self.runs
                 if run.error]  # fmt: skip
        found += [f"figure {page.plate.plate.figure}: {page.plate.error}" for page in self.pages
                  if page.plate.error and any(not run.error for run in page.runs)]  # fmt: skip
        return found

    @property
    def agreeing(self) -> int:
        """Return how many statements agree."""
        return sum(line.verdict == AGREES for line in self.lines)

    @property
    def complete(self) -> bool:
        """Return whether everything ran, was drawn, and agrees."""
        return not self.failures and self.agreeing == len(self.lines)

    @property
    def summary(self) -> str:
        """Return the result of the report in a sentence."""
        text = f"{self.agreeing} of {len(self.lines)} statements agree"
        failed = len(self.failures)
        return f"{text}; {failed} failed" if failed else text

    def to_json(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "agreeing": self.agreeing,
            "statements": [line.to_json() for line in self.lines],
            "runs": [run.to_json() for run in self.runs],
            "failures": self.failures,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
        }


def compile_report(outcomes: Sequence[ChapterOutcome], seconds: float, seed: int) -> Report:
    """Put the outcomes of all chapters in order, each statement on one page."""
    runs = {run.run.key: run for outcome in outcomes for run in outcome.runs}
    plates = [plate for outcome in outcomes for plate in outcome.plates]
    plates.sort(key=lambda one: plate_order(one.plate.figure))
    judged = lines({key: run.results for key, run in runs.items()})
    pages = []
    for plate in plates:
        own = [line for line in judged if _belongs(line, plate, plates)]
        pages.append(Page(plate, own, [runs[key] for key in plate.plate.runs if key in runs]))
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return Report(pages, made, seconds, seed, _version())


def _belongs(line: Line, plate: PlateOutcome, plates: Sequence[PlateOutcome]) -> bool:
    """Return whether a statement stands with a figure: the one of its own number, of its run."""
    having = [one for one in plates if line.published.run in one.plate.runs]
    named = [one for one in having if _shows(one.plate.figure, line.published.figure)]
    return plate is (named or having)[0]


def _shows(figures: str, figure: str) -> bool:
    first, _, last = figures.partition(" to ")
    if last:
        return first <= figure <= last
    return figure in figures.split(", ")


def _version() -> str:
    try:
        own = version("gainbench")
    except PackageNotFoundError:
        own = "not installed"
    return f"gainbench {own}, Python {platform.python_version()}, {platform.system()}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and put it there when it is whole."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
