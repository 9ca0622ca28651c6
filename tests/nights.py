"""Small nights, for the tests: a plan in a folder, carried out in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from procedures.nights.folder import NightFolder
from procedures.nights.night import Night, NightOutcome

SHORT = 'measurement = "power-sweep"\nparameters = { points = 1, centre_wavelength_nm = 520 }\n'
FAILS = SHORT.replace("points = 1", "points = 1, exposure_max_s = 0.5") + 'name = "fails"\n'


def write_plan(folder: Path, text: str, bench: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.toml"
    if bench is not None:
        (folder / "bench.toml").write_text(bench)
        text = text.replace("[night]\n", '[night]\nbench = "bench.toml"\n', 1)
    plan.write_text(text)
    return plan


def begin(folder: Path, text: str, bench: str = "[simulation]\n", **more: Any) -> NightOutcome:
    night = Night.planned(write_plan(folder, text, bench), None, None)
    return night.carry_out(night.check(lambda _line: None), quiet=True, **more)


def go_on(path: Path, bench: Path | None = None, **more: Any) -> NightOutcome:
    night = Night.found(path, bench, **more)
    return night.carry_out(night.check(lambda _line: None), quiet=True)


def statuses(outcome: NightOutcome) -> list[str]:
    return [row["status"] for row in outcome.to_json()["steps"]]


def events(outcome: NightOutcome) -> list[str]:
    return [event["event"] for event in NightFolder(outcome.folder).events()]
