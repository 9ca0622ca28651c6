"""Does a result agree with what was published? One line of the report a statement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from procedures.analysis.results import Result, format_result
from procedures.reproducing.paper import PUBLISHED, Published

AGREES, DIFFERS, NOTHING, FAILED = "agrees", "differs", "no value", "failed"
_SURE = 2.0  # stderr, for a statement in words: "above 1" is more than a chance


@dataclass(frozen=True)
class Line:
    """One statement of the paper beside what was found."""

    published: Published
    value: float | None
    stderr: float | None
    unit: str
    bound: str | None
    verdict: str

    @property
    def found(self) -> str:
        """Return the result as a person writes it, "" where there is none."""
        if self.value is None:
            return ""
        text = format_result(Result(self.value, self.stderr, self.unit, self.bound))
        return typeset(text)

    def to_json(self) -> dict[str, Any]:
        """Return plain types."""
        said = self.published
        return {
            "figure": said.figure,
            "result": said.result,
            "what": said.what,
            "paper": said.says,
            "paper_value": said.value,
            "value": self.value,
            "stderr": self.stderr,
            "unit": self.unit,
            **({"bound": self.bound} if self.bound else {}),
            "allowed": said.allowed,
            "verdict": self.verdict,
        }


def lines(results: Mapping[str, Mapping[str, Any] | None]) -> list[Line]:
    """Return every statement beside its result.

    `results`: of each run, by its key, result name -> {"value", "stderr", "unit"}; None for a run
    that failed. Statements about runs that are not among them are left out.
    """
    return [judge(said, results[said.run]) for said in PUBLISHED if said.run in results]


def judge(said: Published, results: Mapping[str, Any] | None) -> Line:
    """Hold one statement against the results of its run."""
    if results is None:
        return Line(said, None, None, "", None, FAILED)
    entry = results.get(said.result, {})
    value, stderr = _pick(entry.get("value"), said.place), _pick(entry.get("stderr"), said.place)
    bound = entry.get("bound") if stderr is None else None
    unit = entry.get("unit", "")
    if value is None:
        return Line(said, None, None, unit, None, NOTHING)
    if bound is None and stderr is None:
        return Line(said, value, None, unit, None, NOTHING)
    agrees = _within(said, value, stderr, bound)
    return Line(said, value, stderr, unit, bound, AGREES if agrees else DIFFERS)


def _within(said: Published, value: float, stderr: float | None, bound: str | None) -> bool:
    if bound == "upper":
        return value <= said.high and said.value is None
    if bound == "lower":
        return value >= said.low and said.value is None
    error = stderr or 0.0
    if said.value is not None:
        return said.low <= value <= said.high or abs(value - said.value) <= error
    low = said.low + _SURE * error if math.isinf(said.high) else said.low
    return low < value < said.high


def _pick(numbers: Any, place: int | None) -> float | None:
    if place is None:
        return float(numbers) if isinstance(numbers, int | float) else None
    if not isinstance(numbers, list) or place >= len(numbers) or numbers[place] is None:
        return None
    return float(numbers[place])


def typeset(text: str) -> str:
    """Set a printed result for a page."""
    for plain, set_ in (("+-", "±"), ("uJ/cm^2", "µJ/cm²"), ("mJ/cm^2", "mJ/cm²"),
                        ("cm^2", "cm²"), ("1/cm", "/cm"), ("1/day", "/day")):  # fmt: skip
        text = text.replace(plain, set_)
    return text
