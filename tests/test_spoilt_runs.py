"""Run files of the pumped stripe that do not support a value: null and a warning, never a number.

One good run of each measurement, spoilt in the file in one way at a time, analysed as the command
does.
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
from numpy.typing import NDArray
from typer.testing import CliRunner

from instruments import config
from procedures.cli import app
from procedures.evaluation import NothingToAnalyze, evaluate, evaluate_series
from procedures.session import Description, measure

ACQUISITION, RECORDS = "entry/acquisition", "entry/records"
METER = '[instruments.energy_meter]\ndriver = "thorlabs-pm100"\npulses_per_message = 50\n'
SWEEP = {"points": 20, "centre_wavelength_nm": 516.0}
SETTINGS: dict[str, dict[str, Any]] = {
    "power-sweep": SWEEP,
    "ageing": {**SWEEP, "points": 14, "days": [0.0, 5.0]},
    "stripe-length": {"points": 14, "low_points": 6, "centre_wavelength_nm": 516.0},
}
Spoil = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    bench = config.parse(f"{METER}[simulation]\nseed = 3\n")
    found = {}
    for name, values in SETTINGS.items():
        outcome = measure(
            name, values, bench, Description(), folder, lambda _line: None, quiet=True
        )
        assert outcome.error is None and outcome.status == "finished"
        found[name] = outcome.path
    return found


def column(name: str, value: Any) -> Spoil:
    """Write something into a whole column."""

    def spoil(file: h5py.File) -> None:
        made = value(file) if callable(value) else value
        file[f"{RECORDS}/{name}"][...] = made

    return spoil


def only(rule: Callable[[h5py.File, int], NDArray[np.bool_]]) -> Spoil:
    """Leave some records, those of the rule."""

    def spoil(file: h5py.File) -> None:
        rows = int(file[f"{ACQUISITION}/rows_complete"][()])
        kept = np.flatnonzero(rule(file, rows))
        for field in file[RECORDS].values():
            if isinstance(field, h5py.Dataset) and field.shape and field.shape[0] >= rows:
                field[: len(kept)] = field[:rows][kept]
        file[f"{ACQUISITION}/rows_complete"][...] = len(kept)

    return spoil


def broken_off(file: h5py.File) -> None:
    only(lambda _file, rows: np.arange(rows) < rows // 3)(file)
    file[f"{ACQUISITION}/run_status"][()] = np.bytes_("running")


def clipped(file: h5py.File) -> None:
    counts = file[f"{RECORDS}/spectra"]
    counts[...] = np.minimum(counts[...], int(np.quantile(counts[...], 0.85)))


def fluence(file: h5py.File, rows: int) -> NDArray[np.float64]:
    return np.asarray(file[f"{RECORDS}/fluence"][:rows])


def spoilt(path: Path, spoil: Spoil, folder: Path) -> Any:
    copy = folder / path.name
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        spoil(file)
    return evaluate(copy)


ALWAYS: dict[str, tuple[Spoil, str]] = {
    "few records": (only(lambda _file, rows: np.arange(rows) < 4), "usable records"),
    "one record": (only(lambda _file, rows: np.arange(rows) < 1), "usable records"),
    "all saturated": (column("saturated", 1), "saturated"),
    "saturated, not flagged": (clipped, "one and the same count"),
    "dark": (column("spectra", lambda f: f[f"{RECORDS}/background"][...]), "no light"),
    "no background": (column("background", 0), "no background"),
    "no fluence": (column("fluence", np.nan), "NaN"),
    "no fluence errors": (column("fluence_errors", np.nan), "NaN"),
    "no stripe length": (column("stripe_length", np.nan), "NaN"),
    "broken off": (broken_off, ""),
}
SWEEPS: dict[str, tuple[Spoil, str]] = {
    "one fluence": (column("fluence", 25.0), "spans a factor"),
    "all below": (only(lambda file, rows: fluence(file, rows) < 15.0), "narrows nowhere"),
    "all above": (only(lambda file, rows: fluence(file, rows) > 30.0), ""),
}
SCANS: dict[str, tuple[Spoil, str]] = {
    "one length": (column("stripe_length", 1.0), "span a factor"),
    "another fluence": (
        column("fluence", lambda f: 1.5 * f[f"{RECORDS}/fluence"][...]),
        "asked for",
    ),
}
CASES = [
    (measurement, name)
    for measurement, more in (("power-sweep", SWEEPS), ("ageing", SWEEPS), ("stripe-length", SCANS))
    for name in {**ALWAYS, **more}
]


@pytest.mark.parametrize(("measurement", "name"), CASES)
def test_what_records_do_not_support_is_null(
    good: dict[str, Path], measurement: str, name: str, tmp_path: Path
) -> None:
    spoil, says = {**ALWAYS, **SWEEPS, **SCANS}[name]
    found = spoilt(good[measurement], spoil, tmp_path)
    left = {"spontaneous_peak_nm", "spontaneous_fwhm_nm"} if name in MAY_SHOW_THE_BAND else set()
    for result, one in found.analysis.results.items():
        if result != "day" and result not in left:
            assert one.value is None or not any(v is not None for v in np.atleast_1d(one.value))
    assert any(says in line for line in found.analysis.warnings)
    if name == "broken off":
        assert found.run_status == "interrupted"


MAY_SHOW_THE_BAND = {"all below", "broken off"}


def test_some_records_without_a_value_are_left_out_by_name(
    good: dict[str, Path], tmp_path: Path
) -> None:
    def spoil(file: h5py.File) -> None:
        file[f"{RECORDS}/fluence"][::4] = np.nan

    whole = evaluate(good["power-sweep"]).analysis.results["threshold_uJ_cm2"]
    found = spoilt(good["power-sweep"], spoil, tmp_path).analysis
    part = found.results["threshold_uJ_cm2"]
    assert abs(part.value - whole.value) < 0.5 * whole.stderr  # the scale is the same
    assert part.stderr >= whole.stderr * 0.999
    assert any("records (0, 4, 8" in line for line in found.warnings)


def test_one_day_that_is_spoilt_leaves_the_other(good: dict[str, Path], tmp_path: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file[f"{RECORDS}/saturated"][14:] = 1

    found = spoilt(good["ageing"], spoil, tmp_path).analysis
    first, second = found.results["threshold_uJ_cm2"].value
    assert abs(first - 22.0) < 4.0 * found.results["threshold_uJ_cm2"].stderr[0]
    assert second is None
    assert found.results["threshold_rise_per_day"].value is None
    assert any("two days" in line for line in found.warnings)


def test_the_command_says_what_is_missing(good: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "dark.h5"
    shutil.copy(good["stripe-length"], copy)
    with h5py.File(copy, "r+") as file:
        column("spectra", file[f"{RECORDS}/background"][...])(file)
    figure = tmp_path / "dark.png"
    done = CliRunner().invoke(app, ["analyze", str(copy), "--json", "--figure", str(figure)])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert all(one["value"] is None for one in told["results"].values())
    assert any("no light" in line for line in told["warnings"])
    assert figure.exists()


def test_files_of_several_measurements_are_no_series(good: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(NothingToAnalyze, match="make no series") as refused:
        evaluate_series([good["power-sweep"], good["stripe-length"]])
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("of", "named", "says"),
    [
        (
            "power-sweep",
            "stripe-length",
            "it names 'stripe-length' and holds the parameters of 'power-sweep'",
        ),
        ("ageing", "power-sweep", "the parameters of 'ageing'"),  # and all the columns
        ("ageing", "biexciton", "the parameters of 'ageing'"),
    ],
)
def test_a_file_that_names_another_measurement_is_refused(
    good: dict[str, Path], of: str, named: str, says: str, tmp_path: Path
) -> None:
    def spoil(file: h5py.File) -> None:
        file[f"{ACQUISITION}/measurement"][()] = named

    with pytest.raises(NothingToAnalyze, match=says) as refused:
        spoilt(good[of], spoil, tmp_path)
    assert refused.value.exit_code == 2
