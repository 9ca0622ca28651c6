"""The power sweep on the simulated bench: from a bench file to a threshold, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymeasure.experiment import Procedure
from pymeasure.experiment.workers import Worker

from instruments import config
from instruments.bench import open_bench
from instruments.errors import ConfigError, LimitError, NoReply
from procedures.evaluation import evaluate
from procedures.power_sweep import PowerSweep
from procedures.running.results import RunResults
from procedures.running.runfile import RunFile, RunWriter, WriteFailed
from procedures.session import Description, forecast, go_on, measure

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"points": 4, "fluence_min_uJ_cm2": 5.0, "fluence_max_uJ_cm2": 40.0}
WHERE = {**SMALL, "centre_wavelength_nm": 520.0}


def bench(seed: int = 3, sample: str = "", more: str = "") -> config.BenchConfig:
    return config.parse(
        f"[simulation]\nseed = {seed}\n{more}\n[simulation.sample]\n{sample}\n", "bench.toml"
    )


def run(folder: Path, values: dict[str, Any], seed: int = 3, sample: str = "") -> Any:
    return measure(
        "power-sweep",
        values,
        bench(seed, sample),
        Description("film A", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(tmp_path_factory.mktemp("preset"), {})


def test_the_preset_film_is_found_again(preset: Any) -> None:
    assert preset.exit_code == 0
    assert preset.status == "finished"
    results = evaluate(preset.path).analysis.results
    assert results["threshold_uJ_cm2"].value == pytest.approx(22.0, rel=0.10)
    assert results["ase_peak_nm"].value == pytest.approx(524.5, abs=1.0)
    assert results["ase_fwhm_nm"].value == pytest.approx(5.0, abs=1.5)
    assert results["spontaneous_peak_nm"].value == pytest.approx(514.5, abs=1.0)
    assert results["spontaneous_fwhm_nm"].value == pytest.approx(23.0, abs=2.0)
    assert all(0 < result.stderr < 0.5 * result.value for result in results.values())


def test_the_file_holds_the_run(preset: Any) -> None:
    with RunFile(preset.path) as found:
        assert found.rows_complete == 40
        assert not found.records("saturated").any()
        dose, shots = found.records("dose"), found.records("shots_on_sample")
        assert np.all(np.diff(dose) > 0)
        assert np.all(np.diff(shots.astype(float)) >= found.records("shots")[1:])
        assert np.all(found.records("fluence_errors") > 0)
        assert np.allclose(found.records("fluence"), found.records("fluence_setpoint"), rtol=0.15)
        assert {"camera", "shutter", "attenuator"} <= set(found.instruments)
        assert found.state["world.dose_J_cm2"] == pytest.approx(dose[-1], rel=0.15)
        assert any("safe" in text for _, _, text in found.log)
        peak = found.records("spectra").max(axis=1) / found.records("accumulations")
        assert np.median(peak) > 5000


@pytest.mark.parametrize(
    ("seed", "sample", "fluences"),
    [
        (
            11,
            "threshold_uJ_cm2 = 12.0\ngain_fluence_uJ_cm2 = 30.0\ncross_section_cm2 = 4.5e-14\n"
            "spontaneous_peak_nm = 470.0\nase_peak_nm = 478.0\nspontaneous_fwhm_nm = 20.0\n"
            "ase_fwhm_nm = 4.4",
            (1.0, 60.0),
        ),
        (
            12,
            "threshold_uJ_cm2 = 45.0\ngain_fluence_uJ_cm2 = 110.0\ncross_section_cm2 = 1.2e-14\n"
            "spontaneous_peak_nm = 640.0\nase_peak_nm = 649.0\nspontaneous_fwhm_nm = 28.0\n"
            "ase_fwhm_nm = 6.0\ngain_per_cm = 120.0\nsaturation_length_cm = 0.05",
            (4.0, 130.0),
        ),
    ],
)
def test_other_films_are_followed(
    tmp_path: Path, seed: int, sample: str, fluences: tuple[float, float]
) -> None:
    low, high = fluences
    values = {"fluence_min_uJ_cm2": low, "fluence_max_uJ_cm2": high, "points": 30}
    outcome = run(tmp_path, values, seed, sample)
    assert outcome.exit_code == 0
    results = evaluate(outcome.path).analysis.results
    asked = dict(line.split(" = ") for line in sample.split("\n"))
    threshold = results["threshold_uJ_cm2"]
    truth = float(asked["threshold_uJ_cm2"])
    assert abs(threshold.value - truth) < max(3.0 * threshold.stderr, 0.1 * truth)
    assert threshold.stderr < 0.15 * truth
    for name in ("spontaneous_peak_nm", "ase_peak_nm"):
        assert results[name].value == pytest.approx(float(asked[name]), abs=1.5)


def test_a_sweep_that_stays_below_has_no_threshold(tmp_path: Path) -> None:
    outcome = run(tmp_path, {"points": 12, "fluence_max_uJ_cm2": 24.0})
    analysis = evaluate(outcome.path).analysis
    assert analysis.results["threshold_uJ_cm2"].value is None
    assert any("1.3" in warning for warning in analysis.warnings)


def test_same_seed_same_run_other_seed_another(tmp_path: Path) -> None:
    spectra = []
    for seed in (3, 3, 4):
        with RunFile(run(tmp_path, WHERE, seed).path) as found:
            spectra.append(found.records("spectra"))
    assert np.array_equal(spectra[0], spectra[1])
    assert not np.array_equal(spectra[0], spectra[2])


def test_limits_are_checked_before_anything_moves(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"point \d+ of .*allowed"):
        run(tmp_path, {"fluence_max_uJ_cm2": 5000.0})
    assert not list(tmp_path.iterdir())  # bad input changes nothing


def test_a_misspelt_option_of_a_driver_leaves_no_file(tmp_path: Path) -> None:
    found = config.parse("[simulation]\n[instruments.shutter]\ndriver='thorlabs-sc10'\nadress=1")
    with pytest.raises(ConfigError, match="adress"):
        measure("power-sweep", SMALL, found, Description("", "", ""), tmp_path, print, quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_moves_nothing() -> None:
    found = forecast("power-sweep", SMALL, bench(), lambda _line: None)
    assert found["points"] == 4
    assert found["shots"] > 0
    with pytest.raises(LimitError):
        forecast("power-sweep", {"fluence_max_uJ_cm2": 5000.0}, bench(), lambda _line: None)


def test_a_resource_that_does_not_answer() -> None:
    table = "[instruments.shutter]\ndriver='thorlabs-sc10'\nresource='TCPIP0::127.0.0.1::9::SOCKET'"
    found = config.parse("[simulation]\n" + table, "b.toml")
    with pytest.raises(NoReply, match="shutter"), open_bench(found, ("shutter",)):
        pass


def test_an_unknown_driver_or_option_is_named() -> None:
    for text, words in (
        ("driver='thorlabs-elliptek'", "thorlabs-elliptec"),
        ("driver='thorlabs-sc10'", "cannot be the attenuator"),
        ("driver='thorlabs-elliptec'\nadress='1'", "adress"),
    ):
        with (
            pytest.raises(ConfigError, match=words),
            open_bench(config.parse(f"[simulation]\n[instruments.attenuator]\n{text}"), None),
        ):
            pass


def test_an_address_is_given_to_the_simulated_device_too() -> None:
    table = "[instruments.attenuator]\ndriver='thorlabs-elliptec'\naddress='3'\n"
    with open_bench(config.parse("[simulation]\n" + table), ("attenuator",)) as opened:
        assert opened.instruments["attenuator"].identity.model == "ELL14"


def test_an_impossible_sample_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="gain_fluence"),
        open_bench(bench(sample="gain_fluence_uJ_cm2 = 10.0"), None),
    ):
        pass


def test_down_again_returns_to_the_first_point(tmp_path: Path) -> None:
    outcome = run(tmp_path, {**WHERE, "down": True})
    with RunFile(outcome.path) as found:
        assert found.records("direction").tolist() == [1] * 4 + [-1] * 4
        setpoint = found.records("fluence_setpoint")
        assert np.allclose(setpoint, setpoint[::-1])


def test_under_a_stock_pymeasure_worker(tmp_path: Path) -> None:
    with open_bench(bench(), PowerSweep.ROLES) as opened:
        procedure = PowerSweep(**WHERE)
        procedure.bench = opened
        results = RunResults(procedure, tmp_path, opened.config)
        worker = Worker(results)
        worker.start()
        worker.join(60)
        assert procedure.status == Procedure.FINISHED
    with RunFile(results.path) as found:
        assert found.status == "finished"
        assert found.rows_complete == 4


def test_a_failed_write_fails_a_stock_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunWriter, *_: object) -> None:
        raise WriteFailed("the disk is full")

    monkeypatch.setattr(RunWriter, "append", full)
    with open_bench(bench(), PowerSweep.ROLES) as opened:
        procedure = PowerSweep(**WHERE)
        procedure.bench = opened
        results = RunResults(procedure, tmp_path, opened.config)
        worker = Worker(results)
        worker.start()
        worker.join(60)
        assert procedure.status == Procedure.FAILED
    with RunFile(results.path) as found:
        assert found.status == "failed"


def test_a_failed_write_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RunWriter._write_rows
    calls = []

    def full(self: RunWriter, rows: Any, places: Any) -> None:
        calls.append(len(rows))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        original(self, rows, places)

    monkeypatch.setattr(RunWriter, "_write_rows", full)
    outcome = run(tmp_path, {**WHERE, "points": 200})
    assert outcome.exit_code == 1
    assert outcome.status == "failed"
    assert "No space left" in str(outcome.error)
    with RunFile(outcome.path) as found:
        assert found.rows_complete == outcome.records >= 1


def test_an_aborted_run_is_resumed_to_the_same_records(tmp_path: Path) -> None:
    whole = run(tmp_path, WHERE)
    original = PowerSweep.record

    def stop_after_two(self: PowerSweep, point: Any) -> Any:
        found = original(self, point)
        if point == self.plan()[1]:
            self.control.abort()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PowerSweep, "record", stop_after_two)
        part = run(tmp_path, WHERE)
    assert (part.status, part.records, part.exit_code) == ("aborted", 2, 130)
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", 4)
    with RunFile(whole.path) as one, RunFile(part.path) as other:
        assert np.array_equal(one.records("spectra"), other.records("spectra"))
        assert np.allclose(one.records("fluence"), other.records("fluence"), rtol=1e-12)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX does")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_an_exposure(tmp_path: Path, number: int) -> None:
    file = tmp_path / "bench.toml"
    file.write_text("[simulation]\nclock = 'wall'\nspeed = 4.0\n")
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "procedures.cli", "run", "power-sweep", "--json"),
            *("--bench", str(file), "--out", str(tmp_path), "--set", "exposure_max_s=10"),
            *("--set", "points=3", "--set", "centre_wavelength_nm=520"),
            *("--set", "fluence_min_uJ_cm2=2", "--set", "fluence_max_uJ_cm2=3"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "points, about" in line:
            break
    time.sleep(4.0)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    answer = json.loads(out)
    assert answer["run_status"] == "aborted"
    with RunFile(answer["file"]) as found:
        assert found.status == "aborted"
        assert "aborted by the operator" in found.log[-1][2]
