"""What blind studies share: the score of each result, and the table of how honest they were.

`one(number)` measures and analyses one sample and returns name -> (value, stderr, truth), or lists
of those (one number a day, say). How each is scored:

- a value with its stderr beside a truth: its pull, (value - truth) / stderr;
- a value without stderr: a bound, upper unless a fourth element says "lower": true or not;
- no value where there is a truth: the analysis gave up;
- no value where the truth is None: rightful, the records could not say; a value there is unfounded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]

BIAS_MOST = 0.3
WITHIN_ONE = (0.60, 0.76)
WITHIN_TWO = 0.91
GAVE_UP_MOST = 0.02
FEW = 40


@dataclass
class Score:
    """How honest one result was over the samples of a study."""

    pulls: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    stderrs: list[float] = field(default_factory=list)
    gave_up: int = 0
    rightful: int = 0
    unfounded: int = 0
    bounds_true: int = 0
    bounds_false: int = 0

    def add(self, value: Any, stderr: Any, truth: Any, side: str = "upper") -> None:
        """Count one number beside its truth."""
        if not _is_number(value):
            if truth is None:
                self.rightful += 1
            else:
                self.gave_up += 1
        elif truth is None:
            self.unfounded += 1
        elif not _is_number(stderr) or stderr <= 0:
            kept = truth <= value if side == "upper" else truth >= value
            self.bounds_true += int(kept)
            self.bounds_false += int(not kept)
        else:
            self.pulls.append((value - truth) / stderr)
            if truth:
                self.errors.append(abs(value - truth) / abs(truth))
                self.stderrs.append(stderr / abs(truth))

    @property
    def bias(self) -> float:
        """Return the median pull, NaN without any."""
        return float(np.median(self.pulls)) if self.pulls else math.nan

    def within(self, sigmas: float) -> float:
        """Return the share of values within so many stderr of the truth, NaN without any."""
        return float(np.mean(np.abs(self.pulls) < sigmas)) if self.pulls else math.nan

    @property
    def rms(self) -> float:
        """Return the root mean square pull, NaN without any."""
        return float(np.sqrt(np.mean(np.square(self.pulls)))) if self.pulls else math.nan

    @property
    def gave_up_share(self) -> float:
        """Return the share that gave up, of those that had something to find."""
        due = len(self.pulls) + self.gave_up + self.bounds_true + self.bounds_false
        return self.gave_up / due if due else 0.0

    def misses(self) -> list[str]:
        """Return which of the goals are missed, in a word each."""
        found = []
        if self.pulls:
            if abs(self.bias) >= BIAS_MOST:
                found.append("bias")
            if not WITHIN_ONE[0] <= self.within(1) <= WITHIN_ONE[1]:
                found.append("1 stderr")
            if self.within(2) <= WITHIN_TWO:
                found.append("2 stderr")
        if self.gave_up_share >= GAVE_UP_MOST:
            found.append("gave up")
        if self.unfounded:
            found.append("unfounded")
        return found

    def cells(self) -> list[str]:
        """Return the columns of the table, as HEADS names them."""
        bounds = self.bounds_true + self.bounds_false
        nulls = self.rightful + self.unfounded
        return [
            str(len(self.pulls)),
            _fixed(self.bias, "+.2f"),
            _fixed(self.rms, ".2f"),
            _fixed(self.within(1), ".0%"),
            _fixed(self.within(2), ".0%"),
            _fixed(float(np.median(self.errors)) if self.errors else math.nan, ".2%"),
            _fixed(float(np.median(self.stderrs)) if self.stderrs else math.nan, ".2%"),
            str(self.gave_up),
            f"{self.rightful}/{nulls}" if nulls else "",
            f"{self.bounds_true}/{bounds}" if bounds else "",
            self._judged(),
        ]

    def _judged(self) -> str:
        few = len(self.pulls) + self.bounds_true + self.bounds_false < FEW
        return "too few to say" if few else ", ".join(self.misses()) or "none"


HEADS = (
    "values",
    "bias/stderr",
    "rms/stderr",
    "within 1",
    "within 2",
    "rel. error",
    "rel. stderr",
    "gave up",
    "nulls right",
    "bounds true",
    "goals missed",
)


def scores(rows: Sequence[Found]) -> dict[str, Score]:
    """Return the score of each result, in the order in which they first appear."""
    found: dict[str, Score] = {}
    for row in rows:
        for name, entry in row.items():
            score = found.setdefault(name, Score())
            for one in flat(entry):
                score.add(*one)
    return found


def table(rows: Sequence[Found]) -> str:
    """Return the table as plain text."""
    lines = [["result", *HEADS], *([n, *s.cells()] for n, s in scores(rows).items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(f"  {c.rjust(w)}" for c, w in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def flat(entry: Any) -> Iterator[tuple[Any, ...]]:
    """Yield (value, stderr, truth[, side]) of each number of a result."""
    value, stderr, truth, *side = entry
    if not isinstance(truth, list | tuple | np.ndarray):
        yield (value, stderr, truth, *side)
        return
    values = [None] * len(truth) if value is None else value
    stderrs = [None] * len(truth) if stderr is None else stderr
    for v, s, t in zip(values, stderrs, truth, strict=True):
        yield (v, s, t, *side)


def short(entry: Any) -> str:
    """Return a result of one sample beside its truth, for reading."""
    return ", ".join(_short(*one) for one in flat(entry))


def _short(value: Any, stderr: Any, truth: Any, side: str = "upper") -> str:
    true = "nothing to find" if truth is None else f"{truth:.5g}"
    if not _is_number(value):
        return f"null ({true})"
    if not _is_number(stderr):
        return f"{'<' if side == 'upper' else '>'} {value:.5g} ({true})"
    return f"{value:.5g} +- {stderr:.2g} ({true})"


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _fixed(number: float, form: str) -> str:
    return "" if math.isnan(number) else format(number, form)


def study(one: Any, about: str, samples: int) -> None:
    """Run the study of one file by its own command line and print its table."""
    from blind import command_line, run

    name = one.__module__ if one.__module__ != "__main__" else Path(sys.argv[0]).stem
    sys.exit(1 if run({name: one}, command_line(about, samples)) else 0)
