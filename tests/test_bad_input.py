"""Files that no number can come from, through the command line, for every measurement.

Interrupted before the first records, queued, truncated, or another program's: `analyze` gives nulls
with a warning, or ends with 2 and says why; `export` gives what there is, or says so. Each
measurement is begun once, and its file copied after 0, 1 and 2 records, as a kill leaves it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from instruments.config import parse
from procedures import cli
from procedures.registry import measurements
from procedures.running.describe import Description, describe_queued
from procedures.running.journal import journal_path
from procedures.running.reading import RunFile
from procedures.running.runfile import create_queued
from procedures.running.runner import carry_out
from procedures.session import build

BENCH = "[simulation]\nseed = 3\n"
# Short where a default takes long; none of them gets further than two records.
SETTINGS: dict[str, dict[str, Any]] = {
    "photostability": {"shots": 20_000},
    "stripe-length": {"points": 12},
    "ageing": {"days": [0.0, 7.0]},
    **{name: {"integration_s": 2.0} for name in ("auger", "cross-section", "streak-series")},
}
# What two records support: a count, the list's own fluences and days, what parameters tell; and a
# decay, of which one record with one of the response is enough.
SUPPORTED: dict[str, set[str]] = {
    "ageing": {"day"},
    "calibrate-pump": {"area_cm2"},
    "calibrate-wavelength": {
        "offset_nm", "focal_length_mm", "tilt_deg", "axis_error_nm", "repeatability_nm", "lines",
        "line_fwhm_nm", "deflection_deg", "largest_residual_nm", "residual_rms_nm",
    },
    "lifetime": {"lifetime_ns"},
    "per-shot": {
        "shots", "energy_scatter", "intensity_scatter", "intensity_exponent", "correlation",
        "normalised_scatter", "last_over_first_tenth", "drift_per_million_shots",
        "best_average_shots", "best_average_deviation",
    },
    "streak-series": {
        "fluence_uJ_cm2", "early_peak_nm", "late_peak_nm", "redshift_meV", "decay_time_ps",
    },
}  # fmt: skip
NAMES = sorted(name for name, entry in measurements().items() if entry.evaluate)


class Copying:
    """Copies the file after 0, 1 and 2 records, then ends the run."""

    def __init__(self, path: Path) -> None:
        self.path, self.records, self._measurement = path, 0, None

    def started(self, measurement: Any, _forecast: Any) -> None:
        self._measurement = measurement
        self._copy()

    def progress(self, _percent: float) -> None:
        """Nothing to do."""

    def recorded(self, _record: Mapping[str, Any]) -> None:
        self.records += 1
        self._copy()
        if self.records >= 2 and self._measurement is not None:
            self._measurement.control.abort_now()

    def _copy(self) -> None:
        target = self.path.parent / f"after-{self.records}.h5"
        if target.exists():
            return
        shutil.copy(self.path, target)
        if journal_path(self.path).exists():
            shutil.copy(journal_path(self.path), journal_path(target))


@pytest.fixture(scope="module", params=NAMES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with queued.h5, after-0.h5, after-1.h5, after-2.h5 and aborted.h5."""
    name = str(request.param)
    folder = tmp_path_factory.mktemp(name)
    measurement = build(name, SETTINGS.get(name, {}))
    config = parse(BENCH)
    path = create_queued(folder, describe_queued(measurement, config, Description("bad"), 1.7e9))
    shutil.copy(path, folder / "queued.h5")
    carry_out(path, measurement, config, listener=Copying(path), report=lambda _line: None)
    path.rename(folder / "aborted.h5")
    return folder


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
            *words: object) -> tuple[int, dict[str, Any], str]:  # fmt: skip
    """Return exit code, JSON object and what was said."""
    monkeypatch.setattr("sys.argv", ["gainbench", *map(str, words), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, json.loads(told.out), told.err


@pytest.mark.parametrize("copy", ["after-0", "after-1", "after-2"])
def test_runs_cut_off_early_give_nulls_with_a_warning_or_are_refused(
    files: Path, copy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files / f"{copy}.h5"
    figure = files / f"{copy}.png"
    code, told, said = command(capsys, monkeypatch, "analyze", path)
    assert "Traceback" not in said
    if code == 2:
        assert len(told["error"]["message"]) > 20
        return
    assert code == 0
    values = {name: one["value"] for name, one in told["results"].items()}
    found = {name for name, value in values.items() if _any(value)}
    assert found <= SUPPORTED.get(told["measurement"], set()), values
    assert copy != "after-0" or found <= {"day", "area_cm2"}, values
    assert told["warnings"] or found == set(values), "nulls without a word"
    if copy == "after-0":
        code, _, said = command(capsys, monkeypatch, "analyze", path, "--figure", figure)
        assert code == 0, said
        assert figure.exists()


@pytest.mark.parametrize("copy", ["after-0", "after-2"])
def test_export_gives_the_records_there_are(
    files: Path, copy: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    code, told, said = command(
        capsys, monkeypatch, "export", files / f"{copy}.h5", "--to", "npz", "--out", tmp_path
    )
    with RunFile(files / f"{copy}.h5") as run:
        rows = run.rows_complete  # fast records are handed over in groups: 2 or fewer
    assert rows <= int(copy[-1])
    if not rows:
        assert code == 2 and "nothing to export" in told["error"]["message"]
        assert not list(tmp_path.iterdir())
        return
    assert code == 0, said
    with np.load(told["written"][0], allow_pickle=False) as found:
        about = json.loads(str(found["about"]))
        assert len(found["time"]) == rows
        assert about["run_status"] == "interrupted" and about["columns"]["time"]["unit"] == "s"


def test_a_queued_run_has_nothing_to_analyse_or_export(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, told, said = command(capsys, monkeypatch, "analyze", files / "queued.h5")
    assert code == 2, said
    assert "queued" in told["error"]["message"] or "started" in told["error"]["message"]
    code, told, _ = command(
        capsys, monkeypatch, "export", files / "queued.h5", "--to", "csv", "--out", tmp_path
    )
    assert code == 2 and "queued" in told["error"]["message"]


DAMAGE: dict[str, tuple[str, float]] = {
    "NaN in the fluence": ("fluence", float("nan")),
    "NaN in its error": ("fluence_errors", float("nan")),
    "no background": ("background", 0),
    "no shots": ("shots", 0),
}


def test_records_with_something_missing_give_nothing_and_are_named(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, (column, value) in enumerate(DAMAGE.values()):
        path = tmp_path / f"{number}.h5"
        shutil.copy(files / "aborted.h5", path)
        with h5py.File(path, "r+") as file:
            records = file["entry/records"]
            if column not in records:
                continue
            records[column][...] = np.full(records[column].shape, value, records[column].dtype)
        code, told, said = command(capsys, monkeypatch, "analyze", path)
        assert code == 0, said
        found = {name for name, one in told["results"].items() if _any(one["value"])}
        if told["measurement"].startswith("calibrate-"):
            continue
        # Days and fluences are what the lists are ordered by, not what was found.
        assert found <= {"day", "fluence_uJ_cm2"} and told["warnings"], (column, told)


def test_a_truncated_run_is_refused_or_gives_nulls(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = (files / "aborted.h5").read_bytes()
    for share in (0.5, 0.97):
        path = tmp_path / f"cut-{share}.h5"
        path.write_bytes(whole[: int(share * len(whole))])
        code, told, said = command(capsys, monkeypatch, "analyze", path)
        assert code == 2 or not any(_any(one["value"]) for one in told["results"].values()), said


def _other(folder: Path) -> list[Path]:
    made = [folder / name for name in ("text.h5", "empty.h5", "other.h5", "unknown.h5")]
    made[0].write_text("wavelength,counts\n500,12\n")
    made[1].write_bytes(b"")
    with h5py.File(made[2], "w") as file:
        file["data"] = np.arange(5)
    measurement = build("power-sweep", {})
    queued = create_queued(
        folder, describe_queued(measurement, parse(BENCH), Description("x"), 1.7e9)
    )
    with h5py.File(queued, "r+") as file:
        field = file["entry/acquisition/measurement"]
        del file["entry/acquisition/measurement"]
        file["entry/acquisition/measurement"] = np.bytes_(b"transient-grating")
        assert field is not None
    queued.rename(made[3])
    return made


@pytest.mark.parametrize("words", [("analyze",), ("export", "--to", "csv")])
def test_files_of_other_programs_are_refused_by_name(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for path in [*_other(tmp_path), tmp_path / "absent.h5", tmp_path]:
        code, told, said = command(capsys, monkeypatch, *words, path)
        assert code == 2, said
        assert path.name in json.dumps(told["error"])


def _any(value: Any) -> bool:
    if isinstance(value, list):
        return any(one is not None for one in value)
    return value is not None


def test_exported_tables_hold_the_numbers_and_leave_existing_files_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import csv

    from tests import runs

    path, writer = runs.started(tmp_path)
    for one in runs.records(0, 3):
        writer.append(one)
    writer.close("finished")
    code, told, said = command(capsys, monkeypatch, "export", path, "--to", "csv")
    assert code == 0, said
    numbers, spectra = map(Path, told["written"])
    with numbers.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [float(row["fluence (uJ/cm^2)"]) for row in rows] == [0.0, 1.5, 3.0]
    assert [row["shots"] for row in rows] == ["1000", "1001", "1002"]
    with spectra.open(newline="") as opened, RunFile(path) as run:
        head, *lines = list(csv.reader(opened))
        assert head[0] == "wavelength (nm)" and head[2] == "spectra of record 1 (counts)"
        table = np.array(lines, float)
        np.testing.assert_array_equal(table[:, 0], run.axis("wavelength"))
        np.testing.assert_array_equal(table[:, 1:].T, run.records("spectra"))
    before = numbers.read_bytes()
    spectra.unlink()
    code, told, _ = command(capsys, monkeypatch, "export", path, "--to", "csv")
    assert code == 2 and "already" in told["error"]["message"]
    assert numbers.read_bytes() == before and not spectra.exists()
