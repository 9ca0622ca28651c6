"""Photostability, biexciton and capillary-lasing files whose records do not say what is asked.

Each is a run of the simulated bench with something spoilt in a copy of its file, analysed as an
operator would: null with a warning that says what is missing, never a number that looks right.
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
from procedures.evaluation import NothingToAnalyze
from procedures.running.runfile import RunFile
from procedures.session import Description, measure

METER = '[instruments.energy_meter]\ndriver = "thorlabs-pm100"\npulses_per_message = 50\n'
CRYOSTAT = (
    '[instruments.cryostat]\ndriver = "lakeshore-335"\nresource = "sim"\nband_K = 0.2\n'
    "dwell_s = 10.0\n"
)
FRAGILE = "[simulation.sample]\nretained_fraction = 0.8\nretained_shots = 1.2e5\n"
EXPOSURE = {
    "shots": 120_000,
    "shots_per_record": 2000,
    "shots_min": 100,
    "centre_wavelength_nm": 520.0,
}
RUNS: dict[str, tuple[str, dict[str, Any], str]] = {
    "photostability": ("photostability", EXPOSURE, FRAGILE),
    "weak": ("photostability", {**EXPOSURE, "fluence_uJ_cm2": 12.0}, FRAGILE),
    "biexciton": (
        "biexciton",
        {"points": 8, "shots_min": 40, "centre_wavelength_nm": 530.0},
        CRYOSTAT,
    ),
    "capillary-lasing": (
        "capillary-lasing",
        {"points": 20, "centre_wavelength_nm": 525.0},
        "",
    ),
}
ALL = {
    "photostability": ["retained_fraction", "shots_to_90_percent"],
    "biexciton": [
        "exciton_slope",
        "biexciton_slope",
        "binding_energy_meV",
        "exciton_peak_eV",
        "biexciton_peak_eV",
    ],
    "capillary-lasing": ["threshold_mJ_cm2", "mode_spacing_nm", "group_index"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for key, (name, values, text) in RUNS.items():
        bench = config.parse(f"{METER}{text}\n[simulation]\nseed = 5\n", "b.toml")
        folder = tmp_path_factory.mktemp(key)
        outcome = measure(
            name, values, bench, Description("film"), folder, lambda _line: None, quiet=True
        )
        assert outcome.status == "finished"
        found[key] = outcome.path
    return found


def spoilt(path: Path, folder: Path, change: Callable[[Any, Any], None]) -> Path:
    """Return a copy of a run file, changed by `change(records, acquisition)`."""
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        change(file["entry/records"], file["entry/acquisition"])
    return copy


def analyze(path: Path, *more: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["analyze", str(path), "--json", *more])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    for one in found["results"].values():
        assert one["value"] is None or one["stderr"] > 0.0
    return dict(found)


def nulls(found: dict[str, Any]) -> list[str]:
    return [name for name in ALL[found["measurement"]] if found["results"][name]["value"] is None]


def said(found: dict[str, Any], words: str) -> bool:
    return any(words in line for line in found["warnings"])


# ---- what spoils a run ---------------------------------------------------------------------------


def cut(rows: int) -> Callable[[Any, Any], None]:
    """Leave so many records, as an interruption does."""

    def change(_records: Any, acquisition: Any) -> None:
        acquisition["rows_complete"][()] = rows
        acquisition["run_status"][()] = b"aborted"

    return change


def column(name: str, value: Any) -> Callable[[Any, Any], None]:
    """Write one value into a whole column, or what a function makes of it."""

    def change(records: Any, _acquisition: Any) -> None:
        old = records[name][()]
        records[name][()] = value(old, records) if callable(value) else np.full_like(old, value)

    return change


def no_light(records: Any, _acquisition: Any) -> None:
    """Let spectra be what the camera saw with the shutter closed."""
    dark = records["background"][()]
    rng = np.random.default_rng(1)
    records["spectra"][()] = rng.poisson(dark).astype(dark.dtype)
    if "parts" in records:
        many = records["parts"].shape[1]
        parts = rng.poisson(np.repeat(dark[:, None] / many, many, axis=1))
        records["parts"][()] = parts
        records["spectra"][()] = parts.sum(axis=1)


def some_nan(old: Any, _records: Any) -> Any:
    return np.where(np.arange(len(old)) % 5 == 0, np.nan, old)


def one_fluence(records: Any, _acquisition: Any) -> None:
    fluence = records["fluence"][()]
    records["fluence"][()] = np.median(fluence) * (1.0 + 0.003 * np.sin(np.arange(len(fluence))))


SPOILT: list[tuple[str, str, Callable[[Any, Any], None], list[str] | None, str]] = [
    # run, how, change, which results are null (None: all), what is said
    ("photostability", "too few", cut(14), None, "usable records of the exposure"),
    ("photostability", "interrupted", cut(40), None, "the run ended after"),
    ("photostability", "interrupted", cut(40), None, "sweep after"),
    ("photostability", "saturated", column("saturated", 1), None, "saturated"),
    ("photostability", "no dark frame", column("dark_taken", 0), None, "no dark frame"),
    ("photostability", "all NaN", column("fluence", np.nan), None, "a value is missing"),
    ("photostability", "some NaN", column("band_counts", some_nan), [], "records left out"),
    ("photostability", "one fluence", one_fluence, None, "one fluence throughout"),
    (
        "photostability",
        "dark",
        column("band_counts", lambda old, _r: np.full_like(old, old.min())),
        None,
        "local sweeps",
    ),
    ("weak", "below threshold", lambda _r, _a: None, None, "at or below threshold"),
    ("biexciton", "too few", cut(4), None, "usable records with light"),
    ("biexciton", "interrupted", cut(6), [], ""),
    ("biexciton", "saturated", column("saturated", 1), None, "saturated"),
    ("biexciton", "no dark frame", column("background", 0), None, "no background"),
    ("biexciton", "all NaN", column("fluence", np.nan), None, "NaN"),
    ("biexciton", "some NaN", column("fluence", some_nan), [], "NaN"),
    ("biexciton", "dark", no_light, None, "no light above the noise"),
    (
        "biexciton",
        "one fluence",
        one_fluence,
        ["exciton_slope", "biexciton_slope"],
        "a slope needs",
    ),
    ("capillary-lasing", "too few", cut(6), None, "usable records"),
    ("capillary-lasing", "below threshold", cut(9), ["threshold_mJ_cm2"], "without a kink"),
    ("capillary-lasing", "saturated", column("saturated", 1), None, "saturated"),
    ("capillary-lasing", "no dark frame", column("background", 0), None, "no background"),
    ("capillary-lasing", "all NaN", column("fluence", np.nan), None, "NaN"),
    ("capillary-lasing", "some NaN", column("fluence_errors", some_nan), [], "NaN"),
    ("capillary-lasing", "dark", no_light, None, "no lasing"),
    ("capillary-lasing", "one fluence", one_fluence, ["threshold_mJ_cm2"], "threshold"),
    (
        "capillary-lasing",
        "above threshold",
        column("saturated", lambda _o, r: r["fluence"][()] < 2.6e3),
        ["threshold_mJ_cm2"],
        "must reach further",
    ),
]


@pytest.mark.parametrize(
    ("key", "how", "change", "wanted", "words"), SPOILT, ids=[f"{s[0]}, {s[1]}" for s in SPOILT]
)
def test_what_is_spoilt_is_null_and_said(
    runs: dict[str, Path],
    tmp_path: Path,
    key: str,
    how: str,
    change: Callable[[Any, Any], None],
    wanted: list[str] | None,
    words: str,
) -> None:
    del how
    found = analyze(spoilt(runs[key], tmp_path, change))
    assert nulls(found) == (ALL[found["measurement"]] if wanted is None else wanted)
    assert said(found, words) if words else not found["warnings"]


def test_records_left_out_do_not_change_the_answer(runs: dict[str, Path], tmp_path: Path) -> None:
    for key, spoilt_column in (("photostability", "band_counts"), ("biexciton", "fluence")):
        whole = analyze(runs[key])["results"]
        part = analyze(spoilt(runs[key], tmp_path, column(spoilt_column, some_nan)))["results"]
        for name in ALL[key]:
            away = abs(part[name]["value"] - whole[name]["value"])
            assert away < 2.0 * part[name]["stderr"], name


def test_a_file_of_another_measurement_is_told_as_such(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    def rename(_records: Any, acquisition: Any) -> None:
        del acquisition["measurement"]
        acquisition["measurement"] = "biexciton"

    copy = spoilt(runs["photostability"], tmp_path, rename)
    done = CliRunner().invoke(app, ["analyze", str(copy), "--json"])
    assert isinstance(done.exception, NothingToAnalyze) and done.exception.exit_code == 2
    assert "the parameters of 'photostability'" in str(done.exception)


def test_ninety_percent_is_extrapolated_only_when_asked(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    path = spoilt(runs["photostability"], tmp_path, cut(28))
    with RunFile(path) as run:
        end = float(run.records("exposed_shots")[-1])
    silent, asked = analyze(path), analyze(path, "--extrapolate")
    assert silent["results"]["shots_to_90_percent"]["value"] is None
    assert said(silent, "--extrapolate") and said(asked, "extrapolated")
    found = asked["results"]["shots_to_90_percent"]
    assert found["value"] > end and found["stderr"] > 0.02 * found["value"]
    assert abs(found["value"] - 56_700) < 3.0 * found["stderr"]
