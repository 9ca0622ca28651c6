"""What passes is waited for, what does not is told: opening, calibrations, disks, folders."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instruments import config
from instruments.errors import ConfigError, NoReply
from procedures.columns import Axis, Column
from procedures.running.planned_room import PlannedRoom
from procedures.running.runfile import DiskFull, RunFile
from procedures.running.runner import Outcome
from procedures.session import Control, Description, go_on, measure

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


class Listener:
    """Does something after a record."""

    def __init__(self, act: Any, after: int = 2) -> None:
        self.act, self.after = act, after

    def started(self, *_: Any) -> None:
        pass

    def progress(self, _percent: float) -> None:
        pass

    def recorded(self, _record: Any) -> None:
        self.after -= 1
        if not self.after:
            self.act()


def run(folder: Path, text: str = "", **more: Any) -> Outcome:
    return measure(
        "power-sweep",
        QUICK,
        config.parse(f"[simulation]\n{text}", str(folder / "bench.toml")),
        Description("film", "A1"),
        folder / "out",
        lambda _line: None,
        quiet=True,
        **more,
    )


def fault(device: str, kind: str, after_s: float, for_s: float) -> str:
    return (
        f"[[simulation.faults]]\ndevice = '{device}'\nkind = '{kind}'\n"
        f"after_s = {after_s}\nfor_s = {for_s}\n"
    )


def test_an_instrument_that_is_late_is_opened_again(tmp_path: Path) -> None:
    outcome = run(tmp_path, fault("attenuator", "silence", 0.0, 8.0))
    assert outcome.exit_code == 0
    with RunFile(outcome.path) as file:
        log = [text for _, _, text in file.log]
    assert any("retry 1 of 3 in 1 s" in text for text in log)
    gone = run(tmp_path, fault("attenuator", "silence", 0.0, 1e6))
    assert gone.exit_code == 1
    assert isinstance(gone.error, NoReply)
    assert "attenuator" in str(gone.error)


def test_a_gap_is_marked_in_the_log(tmp_path: Path) -> None:
    outcome = run(tmp_path, fault("camera", "disconnect", 11.0, 4.0))
    assert outcome.exit_code == 0
    with RunFile(outcome.path) as file:
        gaps = [text for _, _, text in file.log if text.startswith("gap of ")]
    assert len(gaps) == 1
    assert "camera" in gaps[0]


def test_resuming_refuses_another_calibration(tmp_path: Path) -> None:
    made = tmp_path / "plate.toml"
    content = (
        'kind = "attenuator"\ndate = "2026-11-20T10:00:00+01:00"\n'
        "[values]\ntheta0_deg = 0.0\nt_max = 0.99\n"
        "t_min = 0.0005\n"
    )
    made.write_text(content)
    table = (
        "[instruments.attenuator]\ndriver = 'thorlabs-elliptec'\nresource = 'sim'\n"
        "calibration = 'plate.toml'\n"
    )
    control = Control()
    part = run(tmp_path, table, control=control, listener=Listener(control.abort))
    assert part.records == 2
    made.write_text(content.replace("0.99", "0.90"))
    refused = go_on(part.path, None, lambda _line: None, quiet=True)
    assert refused.exit_code == 2
    assert isinstance(refused.error, ConfigError)
    assert refused.error.key == "instruments.attenuator.calibration"
    assert "not the one that this run began with" in str(refused.error)
    made.write_text(content)
    done = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (done.status, done.records) == ("finished", 4)


def test_a_disk_too_small_for_the_plan_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (Column("a", "", "A"), Column("s", "", "S", "uint32", ("x",)))
    told: list[str] = []
    room = PlannedRoom(
        tmp_path / "x.h5",
        columns,
        [Axis("x", [0.0] * 1000, "nm", "X")],  # type: ignore[arg-type]
        [{"p": 1.0}] * 1000,
        lambda _level, text: told.append(text),
    )
    assert room.needed(0) == pytest.approx(1000 * (4008 + 8) + 2**21, rel=0.1)
    assert room.needed(900) < room.needed(0) / 2
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=5_000_000))
    with pytest.raises(DiskFull, match=r"needs 6 MB .*5 MB are free"):
        room.check(0)
    room._next_s = 0.0
    room.watch(0)
    room._next_s = 0.0
    room.watch(0)
    assert len(told) == 1
    outcome = run(tmp_path)
    assert outcome.exit_code == 0  # four records fit


def test_a_folder_that_vanishes_fails_the_run_and_keeps_what_was_there(tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"

    def vanish() -> None:
        time.sleep(0.5)  # records are on disk 0.2 s after they were taken
        (tmp_path / "out").rename(moved)

    outcome = run(tmp_path, listener=Listener(vanish))
    assert (outcome.status, outcome.exit_code) == ("failed", 1)
    (path,) = moved.glob("*.h5")
    (tmp_path / "out").mkdir()
    for one in moved.iterdir():
        shutil.move(one, tmp_path / "out" / one.name)
    back = tmp_path / "out" / path.name
    with RunFile(back) as file:
        assert file.rows_complete >= 1
    done = go_on(back, None, lambda _line: None, quiet=True)
    assert (done.status, done.records) == ("finished", 4)
