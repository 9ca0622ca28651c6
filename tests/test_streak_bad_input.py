"""Runs of the streak camera that say too little: no number that looks right, but what is missing.

One run is taken; copies of its file are spoiled, called by each of the four measurements, and
analysed as the command does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from instruments import config
from procedures.cli import app
from procedures.evaluation import evaluate
from procedures.registry import measurement
from procedures.session import Description, measure

MEASUREMENTS = ("lifetime", "auger", "cross-section", "streak-series")
GATES = {
    "early_gate_ps": 50.0,
    "late_gate_ps": 6000.0,
    "response_tilt_per_nm": 0.0,
    "response_tilt_unc_per_nm": 0.004,
}
RECORDS = "entry/records"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the response and three fluences."""
    outcome = measure(
        "cross-section",
        {"points": 3, "centre_wavelength_nm": 515.0, "integration_s": 4.0},
        config.parse("[simulation]\nseed = 5\n", "bench.toml"),
        Description("dots"),
        tmp_path_factory.mktemp("whole"),
        lambda _line: None,
        quiet=True,
    )
    assert outcome.error is None
    return Path(outcome.path)


def spoiled(whole: Path, folder: Path, name: str, change: Callable[[h5py.File], None]) -> Path:
    path = folder / "spoiled.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "r+") as file:
        acquisition = file["entry/acquisition"]
        acquisition["measurement"][()] = name
        own = set(measurement(name).load()().quantities())
        for key in set(acquisition["parameters"]) - own:
            del acquisition["parameters"][key]
        for key in own & set(GATES):
            if key not in acquisition["parameters"]:
                acquisition["parameters"][key] = GATES[key]
        change(file)
    return path


def put(column: str, value: float, rows: slice = slice(1, None)) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[RECORDS][column][rows] = value

    return change


def nan_in_frames(file: h5py.File) -> None:
    file[RECORDS]["frames"][1:, 100, 100] = np.nan


def dark(file: h5py.File) -> None:
    file[RECORDS]["frames"][1:] = file[RECORDS]["background"][1:]


def ended(rows: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["entry/acquisition/rows_complete"][()] = rows
        file["entry/acquisition/run_status"][()] = b"failed"
        if not rows:
            del file["entry/acquisition/decisions/event_counts"]

    return change


def of_another_measurement(file: h5py.File) -> None:
    columns = json.loads(file["entry/acquisition/columns"][()])
    kept = [one for one in columns if "frames" not in json.dumps(one)]
    assert len(kept) < len(columns)
    file["entry/acquisition/columns"][()] = json.dumps(kept)
    del file[RECORDS]["frames"]


SPOILS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no response": (put("kind", 2, slice(0, 1)), "no record of the camera's response"),
    "saturated": (put("saturated", 1), "saturated"),
    "dark": (dark, "too faint"),
    "no background": (put("background", 0.0, slice(None)), "no background"),
    "NaN fluence": (put("fluence", np.nan), "fluence is NaN"),
    "NaN frames": (nan_in_frames, "NaN in frames"),
    "no shots": (put("shots", 0), "shots is"),
    "only the response": (ended(1), "1 of 4 records"),
    "nothing": (ended(0), "was not measured"),
    "another measurement": (of_another_measurement, "frames is missing"),
}


def numbers(results: dict[str, Any]) -> list[Any]:
    """Return all values but the fluences, which are what was set and not what was found."""
    found = [one.value for name, one in results.items() if name != "fluence_uJ_cm2"]
    return [one for value in found for one in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("spoil", SPOILS)
def test_no_number_but_what_is_missing(name: str, spoil: str, whole: Path, tmp_path: Path) -> None:
    change, words = SPOILS[spoil]
    analysis = evaluate(spoiled(whole, tmp_path, name, change)).analysis
    assert all(value is None for value in numbers(analysis.results)), analysis.results
    assert any(words in warning for warning in analysis.warnings), analysis.warnings
    json.dumps(analysis.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["auger", "cross-section"])
def test_one_fluence_is_too_few(name: str, whole: Path, tmp_path: Path) -> None:
    analysis = evaluate(spoiled(whole, tmp_path, name, ended(2))).analysis
    assert numbers(analysis.results) == [None] * len(analysis.results)
    assert any("fluences are needed" in warning for warning in analysis.warnings)
    assert any("failed: 2 of 4" in warning for warning in analysis.warnings)


def test_a_bad_record_leaves_the_others(whole: Path, tmp_path: Path) -> None:
    path = spoiled(whole, tmp_path, "streak-series", put("fluence", np.nan, slice(1, 2)))
    analysis = evaluate(path).analysis
    peaks = analysis.results["late_peak_nm"].value
    assert isinstance(peaks, list) and peaks[0] is None
    assert peaks[1:] == pytest.approx([515.0, 516.0], abs=2.0)
    assert any("record 1: fluence" in warning for warning in analysis.warnings)
    assert json.loads(json.dumps(analysis.to_json(), allow_nan=False))


def test_the_command_says_it_too(whole: Path, tmp_path: Path) -> None:
    path = spoiled(whole, tmp_path, "lifetime", put("saturated", 1))
    figure = tmp_path / "nothing.png"
    done = CliRunner().invoke(app, ["analyze", str(path), "--json", "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["results"]["lifetime_ns"] == {"value": None, "stderr": None, "unit": "ns"}
    assert any("saturated" in warning for warning in found["warnings"])
    assert figure.stat().st_size > 1000
