"""What the spot under the beam has had, over all runs: asked of the dose ledger, off the window.

Light let through by hand is counted, too: it is written to the ledger for the sample and spot that
are named in the window.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from PyQt5 import QtCore

from gui.jobs import Jobs
from gui.words import count, significant

BY_HAND = "by hand"
"""The measurement by which the ledger calls light that no run let through."""


@dataclass(frozen=True)
class SpotSeen:
    """Shots and dose (J/cm2) that a spot has had; allowed: its budget, None for none."""

    sample: str
    spot: str
    shots: int
    dose_J_cm2: float
    allowed_J_cm2: float | None

    @property
    def name(self) -> str:
        """Sample and spot, as they are said."""
        return f"{self.sample} {self.spot}".strip()

    @property
    def nearly_spent(self) -> bool:
        """Whether less than a tenth of the budget is left."""
        return self.allowed_J_cm2 is not None and self.dose_J_cm2 > 0.9 * self.allowed_J_cm2

    def words(self) -> str:
        """Return a line for the operator."""
        if not self.sample:
            return "Name the sample and its spot: doses are counted for each."
        if not self.shots:
            text = f"{self.name}: no light so far"
        else:
            dose = significant(self.dose_J_cm2)
            text = f"{self.name} so far: {count(self.shots)} shots, {dose} J/cm²"
        if self.allowed_J_cm2 is not None:
            text += f" of {self.allowed_J_cm2:g} allowed"
        return text


class DoseWatch(QtCore.QObject):
    """`seen` tells the dose of the spot that is looked at, whenever it has changed."""

    seen = QtCore.pyqtSignal(object)
    told = QtCore.pyqtSignal(str, str)

    def __init__(self, jobs: Jobs, folder: Path, allowed_J_cm2: float | None) -> None:
        super().__init__()
        self._jobs, self._folder, self._allowed = jobs, folder, allowed_J_cm2
        self._where = ("", "")
        self._parts: dict[tuple[str, str], tuple[str, int, float]] = {}
        self._trouble = ""
        self.last: SpotSeen | None = None

    def look_at(self, sample: str, spot: str) -> None:
        """Look at a spot from now on."""
        if (sample, spot) != self._where or self.last is None:
            self._where = (sample, spot)
            self.look()

    def look(self) -> None:
        """Ask the ledger again."""
        sample, spot = self._where

        def ask() -> SpotSeen:
            from procedures.running.ledger import Ledger

            had = Ledger(self._folder).spot(sample, spot) if sample else (0, 0.0)
            return SpotSeen(sample, spot, *had, self._allowed)

        self._jobs.do(ask, self._take, self._cannot, name="dose")

    def by_hand(self, shots: int, dose_J_cm2: float) -> None:
        """Count light that no run let through, for the spot that is looked at."""
        sample, spot = where = self._where
        part, before, had = self._parts.get(where, (uuid.uuid4().hex, 0, 0.0))
        now = (before + shots, had + dose_J_cm2)
        self._parts[where] = (part, *now)
        if not sample:
            return
        about = (f"{BY_HAND} {part}", "", sample, spot, BY_HAND)

        def write() -> None:
            from procedures.running.ledger import Ledger

            Ledger(self._folder).write(part, about, *now)

        self._jobs.do(
            write, lambda _none: self.look(), self._cannot, name=(BY_HAND, where), needed=True
        )

    def _take(self, found: SpotSeen) -> None:
        if (found.sample, found.spot) == self._where:
            self.last = found
            self.seen.emit(found)

    def _cannot(self, error: BaseException) -> None:
        if str(error) != self._trouble:  # it is asked every second
            self._trouble = str(error)
            self.told.emit("warning", f"the dose of this spot is not known: {error}")
