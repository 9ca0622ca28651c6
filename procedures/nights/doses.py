"""What the spots of a night have had and may still have: the dose ledger, asked before and after.

For the dry run, which refuses a plan that needs more than a spot has left, for the night, whose
budget counts what the ledger knows of a run beyond its records, and for the report.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.config import BenchConfig
from instruments.errors import BenchError, LimitError
from procedures.nights.expanding import Step
from procedures.running.ledger import DOSE_KEY, Ledger, LedgerError, ledger_of
from procedures.running.runfile import RunFile

UNNAMED = ("", "unknown")
"""Samples that nobody can measure again: their earlier doses count for nothing."""


@dataclass(frozen=True)
class SpotDose:
    """A spot in a plan: what it needs at most, has had, and may have (None: any) in J/cm2."""

    sample: str
    spot: str
    needs_J_cm2: float
    had_J_cm2: float
    allowed_J_cm2: float | None

    def __str__(self) -> str:
        """Return it in one line."""
        name = ", ".join(part for part in (self.sample, self.spot) if part) or "unnamed"
        text = f"{name}: at most {self.needs_J_cm2:.3g} J/cm2"
        if self.had_J_cm2:
            text += f", has had {self.had_J_cm2:.3g} before"
        if self.allowed_J_cm2 is not None:
            text += f", allowed are {self.allowed_J_cm2:g}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "sample": self.sample,
            "spot": self.spot,
            "dose_J_cm2": self.needs_J_cm2,
            "had_J_cm2": self.had_J_cm2,
            "allowed_J_cm2": self.allowed_J_cm2,
        }


class PlannedDoses:
    """Adds up what the steps of a plan give to each spot, on top of what it has had.

    folder: where the night will be. Raises LedgerError if there is a budget and no ledger to ask.
    """

    def __init__(self, config: BenchConfig, folder: Path) -> None:
        self._allowed = config.limits.dose_max_J_cm2
        self._ledger = ledger_of(folder / "night" / "run", config)
        self._planned: dict[tuple[str, str], float] = {}
        self._had: dict[tuple[str, str], float] = {}

    def add(self, step: Step, dose_J_cm2: float) -> None:
        """Take in what a step needs at most; LimitError if its spot has not so much left.

        A step for the case that another fails is not counted against those that come after it.
        """
        key = (step.sample, step.spot)
        if key not in self._had:
            self._had[key] = self._ask(*key)
        before = self._planned.get(key, 0.0)
        carried = step.sample not in UNNAMED
        if self._allowed is not None:
            left = self._allowed - (self._had[key] + before if carried else 0.0)
            if dose_J_cm2 > left:
                raise LimitError(self._refusal(key, dose_J_cm2, before, carried), key=DOSE_KEY)
        instead = step.only_if is not None and not step.only_if.succeeded
        self._planned[key] = before + (0.0 if instead else dose_J_cm2)

    def _refusal(self, key: tuple[str, str], dose: float, before: float, carried: bool) -> str:
        where = " ".join(part for part in key if part) or "the spot"
        had = f", {where} has had {self._had[key]:.3g}" if carried and self._had[key] else ""
        earlier = f", earlier steps give it {before:.3g}" if carried and before else ""
        return (
            f"dose: it needs {dose:.3g} J/cm2, allowed per spot are {self._allowed:g}{had}"
            f"{earlier}; go to another spot, or take fewer points or a lower fluence"
        )

    def _ask(self, sample: str, spot: str) -> float:
        if self._ledger is None or sample in UNNAMED:
            return 0.0
        try:
            return self._ledger.spot(sample, spot)[1]
        except (LedgerError, OSError):
            if self._allowed is not None:
                raise
            return 0.0

    def spots(self) -> tuple[SpotDose, ...]:
        """Return the spots of the plan, in the order of its steps."""
        return tuple(
            SpotDose(sample, spot, needs, self._had[sample, spot], self._allowed)
            for (sample, spot), needs in self._planned.items()
        )


def given_by(path: Path, config: BenchConfig) -> tuple[int, float]:
    """Return shots and dose (J/cm2) that the ledger knows of a run, (0, 0.0) if it knows nothing.

    Light whose record was never finished is in the ledger alone.
    """
    ledger = ledger_of(path, config)
    if ledger is not None:
        with contextlib.suppress(BenchError, OSError), RunFile(path) as run:
            return ledger.run(run.uuid)
    return 0, 0.0


def had_by_now(ledger: Ledger | None, sample: str, spot: str) -> float | None:
    """Return the dose of a spot over all runs until now, None if nobody knows."""
    if ledger is None or sample in UNNAMED:
        return None
    try:
        return ledger.spot(sample, spot)[1]
    except (LedgerError, OSError):
        return None
