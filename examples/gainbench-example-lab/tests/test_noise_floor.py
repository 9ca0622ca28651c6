"""noise-floor: the analysis finds what frames were made with; a run on the simulated bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gainbench_example_lab.noise_analysis import NoiseData, analyze_noise_floor
from gainbench_example_lab.noise_floor import NoiseFloor
from instruments import config
from procedures.evaluation import evaluate
from procedures.parameters import ParameterError
from procedures.registry import measurement
from procedures.running.runfile import RunFile
from procedures.session import Description, go_on, measure

GAIN, READ_NOISE, DARK, BIAS = 4.0, 11.0, 2.5, 600.0
BENCH = Path(__file__).resolve().parent.parent / "bench.toml"
NAMES = {"gain_e_per_count": GAIN, "read_noise_e": READ_NOISE, "dark_signal_e_per_s": DARK}


def frames_of(seed: int, flicker: float = 0.003, gain: float = GAIN, levels: int = 8) -> NoiseData:
    """Return the frames of a camera with the numbers above, behind a laser that flickers."""
    rng = np.random.default_rng(seed)
    shape = np.exp(-(np.linspace(-3.0, 3.0, 512) ** 2))
    exposures = [0.01, 1.0, 5.0] + [0.0] * levels
    lit = np.array([False] * 3 + [True] * levels)
    taken = []
    shares = [0.0] * 3 + list(np.geomspace(0.01, 1.0, levels))
    for exposure_s, share in zip(exposures, shares, strict=True):
        light = 180_000.0 * share * shape * (1.0 + flicker * rng.standard_normal((20, 1)))
        electrons = rng.poisson(light + DARK * exposure_s)
        electrons = electrons + READ_NOISE * rng.standard_normal(electrons.shape)
        taken.append(np.clip(np.rint(BIAS + electrons / gain), 0, 65535).astype(np.uint16))
    return NoiseData(np.array(taken), np.array(exposures), lit, 65535.0, gain)


def test_it_finds_what_the_frames_were_made_with() -> None:
    pulls = []
    for seed in range(12):
        results = analyze_noise_floor(frames_of(seed)).results
        row = []
        for name, true in NAMES.items():
            value, error = results[name].value, results[name].stderr
            assert isinstance(value, float) and isinstance(error, float) and 0 < error < 0.1 * true
            row.append((value - true) / error)
        pulls.append(row)
    table = np.array(pulls)
    assert np.abs(table).max() < 4.5
    assert (np.abs(table.mean(axis=0)) < 1.0).all()
    assert (table.std(axis=0) > 0.5).all() and (table.std(axis=0) < 1.6).all()


def test_a_flickering_laser_is_taken_out_and_noise_of_one_pixel_is_not() -> None:
    calm, wild = (analyze_noise_floor(frames_of(3, flicker)) for flicker in (0.0, 0.05))
    gains = [found.results["gain_e_per_count"].value for found in (calm, wild)]
    assert gains == pytest.approx([GAIN, GAIN], rel=0.04)
    data = frames_of(3)
    each = np.random.default_rng(1).standard_normal(data.frames.shape)
    noisy = np.rint(data.frames + 0.02 * (data.frames - BIAS) * each).clip(0, 65535)
    found = analyze_noise_floor(NoiseData(noisy, data.exposure_s, data.lit, 65535.0))
    assert any("flickers" in warning for warning in found.warnings)


def test_cosmic_rays_are_left_out_and_told() -> None:
    data = frames_of(5)
    data.frames[:, 7, 100] += 5000
    found = analyze_noise_floor(data)
    assert any("11 pixels" in warning for warning in found.warnings)
    clean = analyze_noise_floor(frames_of(5))
    for name in NAMES:
        assert found.results[name].value == pytest.approx(clean.results[name].value, rel=0.01)


def test_what_the_records_do_not_support_is_not_told() -> None:
    data = frames_of(1)
    found = analyze_noise_floor(
        NoiseData(data.frames[:2], data.exposure_s[:2], data.lit[:2], 65535.0)
    )
    assert found.results["gain_e_per_count"].value is None and found.warnings
    assert found.results["bias_counts"].value == pytest.approx(BIAS, abs=0.5)
    lit = NoiseData(data.frames[3:], data.exposure_s[3:], data.lit[3:], 65535.0)
    assert analyze_noise_floor(lit).results["read_noise_e"].value is None


def test_a_camera_that_states_another_gain_is_told() -> None:
    data = frames_of(2)
    wrong = NoiseData(data.frames, data.exposure_s, data.lit, 65535.0, stated_gain=2.0)
    assert any("states 2 electrons" in line for line in analyze_noise_floor(wrong).warnings)
    assert not any("states" in line for line in analyze_noise_floor(data).warnings)


def test_the_plan_is_dark_first_and_then_brighter() -> None:
    plan = NoiseFloor(dark_exposures_s=[1.0, 0.1, 1.0], levels=3).plan()
    assert [point["exposure_s"] for point in plan] == [0.1, 1.0, 0.0, 0.0, 0.0]
    assert [point["level"] for point in plan] == pytest.approx([0.0, 0.0, 0.01, 0.1, 1.0])
    with pytest.raises(ParameterError, match="two different"):
        NoiseFloor(dark_exposures_s=[1.0])


def run(folder: Path, **values: Any) -> Any:
    settings = {"frames": 12, "levels": 5, "dark_exposures_s": [0.01, 2.0], **values}
    return measure(
        "noise-floor",
        settings,
        config.load(BENCH),
        Description("film", "1", "test"),
        folder,
        lambda _line: None,
        quiet=True,
    )


def test_a_run_on_the_simulated_bench(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert (outcome.status, outcome.records, outcome.exit_code) == ("finished", 7, 0)
    evaluation = evaluate(outcome.path)
    results = evaluation.analysis.results
    for name, true in {"gain_e_per_count": 4.0, "read_noise_e": 11.0}.items():
        value, error = results[name].value, results[name].stderr
        assert isinstance(value, float) and isinstance(error, float)
        assert abs(value - true) < 4.0 * error and error < 0.05 * true
    figure = tmp_path / "noise.png"
    measurement("noise-floor").load("figure")(evaluation, figure)
    assert figure.stat().st_size > 10_000


def test_a_resumed_run_is_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"frames": 4, "levels": 3}
    whole = run(tmp_path, **values)
    record = NoiseFloor.record

    def stopping(self: NoiseFloor, point: Any) -> Any:
        if point["level"]:
            self.control.abort()  # after this first record in the light
        return record(self, point)

    with monkeypatch.context() as patch:
        patch.setattr(NoiseFloor, "record", stopping)
        part = run(tmp_path, **values)
    assert (part.status, part.records) == ("aborted", 3)
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", 5)
    with RunFile(whole.path) as expected, RunFile(resumed.path) as found:
        for column in ("lit", "exposure", "fluence", "shots_on_sample", "frames"):
            assert np.array_equal(expected.records(column), found.records(column)), column
