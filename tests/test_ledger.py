"""The dose ledger: what a spot has had over all runs, budgets, crashes, two at once."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instruments import config
from instruments.errors import LimitError
from procedures.running import ledger as ledger_module
from procedures.running.ledger import DoseSpent, Ledger, LedgerError
from procedures.running.runfile import RunFile
from procedures.running.runner import Outcome
from procedures.session import Control, Description, forecast, go_on, measure

QUICK = {
    "points": 4,
    "fluence_min_uJ_cm2": 10.0,
    "fluence_max_uJ_cm2": 20.0,
    "centre_wavelength_nm": 520.0,
    "exposure_max_s": 0.1,
    "shots_min": 5,
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Stop:
    """Ends a run after so many records."""

    def __init__(self, after: int) -> None:
        self.control, self.after = Control(), after

    def started(self, *_: Any) -> None:
        pass

    def progress(self, _percent: float) -> None:
        pass

    def recorded(self, _record: Any) -> None:
        self.after -= 1
        if not self.after:
            self.control.abort()


def run(
    folder: Path, spot: str = "A1", limit: str = "", sample: str = "film", **more: Any
) -> Outcome:
    limits = f"[limits]\ndose_max_J_cm2 = {limit}\n" if limit else ""
    parsed = config.parse(
        f"[pump]\npulses_per_reading = 10\n[simulation]\n{limits}", str(folder / "bench.toml")
    )
    return measure(
        "power-sweep",
        QUICK,
        parsed,
        Description(sample, spot),
        folder / "elsewhere",
        lambda _line: None,
        quiet=True,
        **more,
    )


def had(folder: Path) -> dict[str, tuple[int, float, int]]:
    found = Ledger(folder / "runs").spots()
    return {one.spot: (one.shots, one.dose_J_cm2, one.runs) for one in found}


def test_doses_add_up_over_runs_wherever_their_files_go(tmp_path: Path) -> None:
    outcomes = [run(tmp_path), run(tmp_path), run(tmp_path, "B2")]
    shots, dose = 0, 0.0
    for outcome in outcomes[:2]:
        with RunFile(outcome.path) as file:
            shots += int(file.records("shots_on_sample")[-1])
            dose += float(file.records("dose")[-1])
    found = had(tmp_path)
    assert found["A1"][0] >= shots
    assert found["A1"][:2] == pytest.approx((shots, dose), rel=0.2)
    assert (found["A1"][2], found["B2"][2]) == (2, 1)
    assert sorted(one.name for one in (tmp_path / "runs").iterdir()) == ["dose.sqlite"]


def test_a_budget_is_carried_over_and_refuses_before_anything_moves(tmp_path: Path) -> None:
    run(tmp_path)
    dose = had(tmp_path)["A1"][1]
    with pytest.raises(LimitError, match="film A1 has had") as caught:
        run(tmp_path, limit=f"{dose * 1.05:.9f}")
    assert caught.value.key == "limits.dose_max_J_cm2"
    parsed = config.parse(
        f"[simulation]\n[limits]\ndose_max_J_cm2 = {dose * 1.05:.9f}\n", str(tmp_path / "b.toml")
    )
    with pytest.raises(LimitError, match="has had"):
        forecast("power-sweep", QUICK, parsed, print, Description("film", "A1"))
    assert had(tmp_path)["A1"][1] == dose
    assert run(tmp_path, "B2", limit="1000.0").exit_code == 0


def test_a_run_is_stopped_at_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path)
    with RunFile(first.path) as file:
        doses = file.records("dose")
    monkeypatch.setattr(ledger_module.RunDose, "check_plan", lambda *_: None)
    budget = had(tmp_path)["A1"][1] + 0.5 * (doses[1] + doses[2])
    stopped = run(tmp_path, limit=f"{budget:.9f}")
    assert (stopped.status, stopped.exit_code) == ("aborted", 3)
    assert isinstance(stopped.error, DoseSpent)
    assert 1 <= stopped.records < 4
    assert had(tmp_path)["A1"][1] == pytest.approx(budget, rel=0.1)


def test_what_a_killed_process_could_not_write_is_made_up_for(tmp_path: Path) -> None:
    whole = run(tmp_path, "whole")
    stop = Stop(2)
    part = run(tmp_path, "killed", control=stop.control, listener=stop)
    assert part.records == 2
    with sqlite3.connect(tmp_path / "runs" / "dose.sqlite") as table:
        table.execute("DELETE FROM doses WHERE spot = 'killed'")
    table.close()
    done = go_on(part.path, None, lambda _line: None, quiet=True)
    assert done.status == "finished"
    found = had(tmp_path)
    assert found["killed"][0] >= found["whole"][0]
    assert found["killed"][:2] == pytest.approx(found["whole"][:2], rel=0.2)
    with RunFile(whole.path) as one, RunFile(done.path) as two:
        assert one.records("dose")[-1] == two.records("dose")[-1]


def test_a_run_without_a_sample_has_its_budget_alone(tmp_path: Path) -> None:
    outcomes = [run(tmp_path, "", limit="0.5", sample="") for _ in range(2)]
    assert [one.exit_code for one in outcomes] == [0, 0]
    with RunFile(outcomes[1].path) as file:
        assert any("names no sample" in text for _, _, text in file.log)


def test_a_damaged_ledger_ends_only_what_has_a_budget(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "dose.sqlite").write_bytes(b"no database at all, " * 60)
    well = run(tmp_path)
    assert well.exit_code == 0
    with RunFile(well.path) as file:
        assert sum("the dose ledger cannot be used" in text for _, _, text in file.log) == 1
    refused = run(tmp_path, limit="100.0")
    assert isinstance(refused.error, LedgerError)
    assert refused.exit_code == 1


_WRITER = """
import sys
from pathlib import Path
from procedures.running.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(10):
    ledger.write(f"{sys.argv[2]}-{number}", ("run", "f", "film", "C", "m"), 1, 0.5)
"""


def test_two_processes_count_at_once(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    both = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), name], cwd=root)
        for name in "ab"
    ]
    assert [one.wait(60) for one in both] == [0, 0]
    assert Ledger(tmp_path).spot("film", "C") == (20, 10.0)


def test_the_command_shows_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from procedures.commands.dose import dose

    Ledger(tmp_path / "runs").write("p", ("run", "f", "film 7", "C", "m"), 1000, 0.25)
    bench = tmp_path / "bench.toml"
    bench.write_text("[limits]\ndose_max_J_cm2 = 1.0\n")
    dose(bench, "", True)
    told = json.loads(capsys.readouterr().out)
    assert told["allowed_J_cm2"] == 1.0
    assert told["spots"][0]["shots"] == 1000
    dose(bench, "film 7", False)
    assert "0.75" in capsys.readouterr().out
