"""The dose ledger: laser shots and J/cm2 on every spot of every sample, over all runs.

A small SQLite file beside the data (`data_dir/dose.sqlite`), wherever a run file itself goes. Each
part of a run (from its start, or from where it was resumed) has a row that is brought up to date
about once a second while it goes on; what a killed process could not write is made up for from the
run file when the run is resumed. Two processes at once wait for each other. For the runner, which
also stops at the budget of a spot, and for `gainbench dose`.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.clock import Ticket, VirtualClock
from instruments.config import BenchConfig
from instruments.errors import BenchError, InterlockTripped, LimitError
from procedures.running.layout import isoformat

log = logging.getLogger(__name__)

FILE = "dose.sqlite"
DOSE_KEY = "limits.dose_max_J_cm2"
_PATIENCE_S = 20.0
_EVERY_S = 1.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS doses (part TEXT PRIMARY KEY, run TEXT NOT NULL, "
    "file TEXT NOT NULL, sample TEXT NOT NULL, spot TEXT NOT NULL, measurement TEXT NOT NULL, "
    "shots INTEGER NOT NULL, dose_J_cm2 REAL NOT NULL, updated REAL NOT NULL)"
)

Tell = Callable[[str, str], None]


class LedgerError(BenchError):
    """The ledger cannot be read, though a budget depends on it."""

    code = "ledger"


class DoseSpent(InterlockTripped):
    """A spot has had the dose that it may have."""

    code = "dose"


@dataclass(frozen=True)
class SpotDose:
    """What a spot has had: shots, J/cm2, in how many runs, and when last (seconds since 1970)."""

    sample: str
    spot: str
    shots: int
    dose_J_cm2: float
    runs: int
    last_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "sample": self.sample,
            "spot": self.spot,
            "shots": self.shots,
            "dose_J_cm2": self.dose_J_cm2,
            "runs": self.runs,
            "last": isoformat(self.last_s),
        }


class Ledger:
    """The ledger of a data folder; made with the first entry, cheap to make, any thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def spots(self) -> list[SpotDose]:
        """Return every spot that has had light, the last one first."""
        if not self.path.exists():
            return []
        with self._open() as table:
            rows = table.execute(
                "SELECT sample, spot, SUM(shots), SUM(dose_J_cm2), COUNT(DISTINCT run), "
                "MAX(updated) FROM doses GROUP BY sample, spot ORDER BY MAX(updated) DESC"
            ).fetchall()
        return [SpotDose(*row) for row in rows]

    def spot(self, sample: str, spot: str) -> tuple[int, float]:
        """Return shots and dose (J/cm2) that a spot has had."""
        return self._sum("sample = ? AND spot = ?", (sample, spot))

    def run(self, run: str) -> tuple[int, float]:
        """Return shots and dose (J/cm2) that are written for a run."""
        return self._sum("run = ?", (run,))

    def _sum(self, where: str, values: tuple[str, ...]) -> tuple[int, float]:
        if not self.path.exists():
            return 0, 0.0
        with self._open() as table:
            shots, dose = table.execute(
                f"SELECT COALESCE(SUM(shots), 0), COALESCE(SUM(dose_J_cm2), 0.0) FROM doses "
                f"WHERE {where}",
                values,
            ).fetchone()
        return int(shots), float(dose)

    def write(
        self, part: str, about: tuple[str, str, str, str, str], shots: int, dose: float
    ) -> None:
        """Set what a part of a run has given; about: run, file, sample, spot, measurement."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as table:
            table.execute(
                "INSERT OR REPLACE INTO doses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (part, *about, shots, dose, time.time()),
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction. Not in WAL mode: the folder may be on a network."""
        connection = sqlite3.connect(self.path, timeout=_PATIENCE_S)
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_TABLE)
                yield connection
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self.path}: the dose ledger cannot be used ({error}); if it is damaged, move it "
                "away: doses are then counted from nothing"
            ) from error
        finally:
            connection.close()


def ledger_of(path: Path, config: BenchConfig) -> Ledger | None:
    """Return the ledger of the bench's data folder, wherever the run file is.

    None for the bench without a file, unless its data are there: a demonstration elsewhere has no
    sample that anybody will measure again.
    """
    folder = config.data_dir
    here = path.resolve().parent == folder.resolve()
    return Ledger(folder) if config.file is not None or here else None


def plan_check(
    ledger: Ledger | None,
    sample: str,
    spot: str,
    measurement: str,
    allowed_J_cm2: float | None,
    tell: Tell,
) -> Callable[[float], None]:
    """Return what refuses a plan (its dose in J/cm2) that needs more than its spot has left."""
    dose = RunDose(ledger, "", Path(), sample, spot, measurement, allowed_J_cm2, tell)
    return dose.check_plan


class RunDose:
    """Counts one run into the ledger, and knows what its spot may still have.

    Args:
        ledger: where; None counts nothing. run: what identifies the run, whatever its file is
            called. file, sample, spot, measurement: of the run.
        allowed_J_cm2: the budget of a spot, None for none.
        tell: told (level, line).

    Raises LedgerError if there is a budget and the ledger cannot be read.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        run: str,
        file: Path,
        sample: str,
        spot: str,
        measurement: str,
        allowed_J_cm2: float | None,
        tell: Tell,
    ) -> None:
        self._ledger = ledger
        self._part = uuid.uuid4().hex
        self._about = (run, str(file), sample, spot, measurement)
        self._allowed = allowed_J_cm2
        self._tell = tell
        self._written = (-1, -1.0)
        self._last_s = 0.0
        self._troubled = False
        self._bench: Bench | None = None
        self._begun = (0, 0.0)
        self._missing = (0, 0.0)
        self._ticket: Ticket | None = None
        self.before_J_cm2 = 0.0
        self._carried = ledger is not None and sample not in ("", "unknown")
        try:
            if self._carried and ledger is not None:
                self.before_J_cm2 = ledger.spot(sample, spot)[1]
        except (LedgerError, OSError) as error:
            if allowed_J_cm2 is not None:
                raise
            self._complain(error)

    def reconcile(self, shots: int, dose_J_cm2: float) -> None:
        """Make up for what the file of a run tells and the ledger does not: it was killed."""
        if not self._carried:
            self.before_J_cm2 = dose_J_cm2
        if self._ledger is None:
            return
        try:
            known = self._ledger.run(self._about[0])
        except (LedgerError, OSError) as error:
            self._complain(error)
            return
        self._missing = (max(shots - known[0], 0), max(dose_J_cm2 - known[1], 0.0))
        if self._carried:
            self.before_J_cm2 += self._missing[1]

    def check_plan(self, plan_J_cm2: float) -> None:
        """Raise LimitError if what is still to come is more than the spot may have."""
        if self._allowed is None:
            return
        left = self._allowed - self.before_J_cm2
        if plan_J_cm2 > left:
            sample, spot = self._about[2:4]
            where = f"{sample} {spot}".strip() or "the spot"
            had = f", {where} has had {self.before_J_cm2:.3g}" if self.before_J_cm2 else ""
            raise LimitError(
                f"dose: the plan needs {plan_J_cm2:.3g} J/cm2, allowed per spot are "
                f"{self._allowed:g}{had}; go to another spot, or take fewer points or a lower "
                "fluence",
                key=DOSE_KEY,
            )

    def start(self, bench: Bench) -> None:
        """Count from now on, until `close`."""
        pump = bench.pump
        self._bench, self._begun = bench, (pump.given_shots, pump.given_dose_J_cm2)
        if self._allowed is not None and not self._carried:
            self._tell(
                "warning",
                "dose: the run names no sample, so that doses of earlier runs are not counted "
                "against the budget; give --sample and --spot",
            )
        if not isinstance(bench.clock, VirtualClock):
            self._ticket = bench.clock.every(_EVERY_S, self._update)

    def given(self) -> tuple[int, float]:
        """Return shots and dose (J/cm2) of this part, with what falls now."""
        if self._bench is None:
            return self._missing
        pump = self._bench.pump
        shots, dose = pump.unbooked()
        return (
            pump.given_shots + shots - self._begun[0] + self._missing[0],
            pump.given_dose_J_cm2 + dose - self._begun[1] + self._missing[1],
        )

    def check(self) -> None:
        """Raise DoseSpent if the spot has had what it may have."""
        if self._allowed is None:
            return
        had = self.before_J_cm2 + self.given()[1] - self._missing[1]
        if had >= self._allowed:
            raise DoseSpent(
                f"dose: the spot has had {had:.4g} J/cm2, allowed are {self._allowed:g} "
                "(limits.dose_max_J_cm2); the run is stopped, go to another spot"
            )

    def recorded(self) -> None:
        """Note that a record was taken: on the virtual clock nothing else tells the time."""
        if time.monotonic() - self._last_s >= _EVERY_S:
            self._update()

    def close(self) -> None:
        """Write what there was, and count no more."""
        if self._ticket is not None:
            self._ticket.cancel()
        if self._bench is not None:
            self._update()
            self._bench = None

    def _update(self) -> None:
        self._last_s = time.monotonic()
        given = self.given()
        if self._ledger is None or given == self._written or given == (0, 0.0):
            return
        try:
            self._ledger.write(self._part, self._about, *given)
            self._written = given
            self._troubled = False
        except (LedgerError, OSError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Say once that the ledger cannot be written; the next update tries again."""
        if not self._troubled:
            self._tell("warning", f"{error}; the run goes on, its dose is in its own file")
        self._troubled = True
