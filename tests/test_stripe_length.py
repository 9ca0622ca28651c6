"""stripe-length on the simulated bench: plan, records, resume, and the film that was put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.bench import open_bench
from instruments.errors import LimitError
from instruments.stripe import load_slit
from procedures.calibrating import role_of, write_from
from procedures.evaluation import evaluate
from procedures.parameters import ParameterError
from procedures.registry import measurement
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, go_on, measure
from procedures.stripe_length import AGAIN, BESIDE, LOW, MAIN, StripeLength

SHORT = {
    "points": 3,
    "low_points": 1,
    "beside_points": 0,
    "centre_wavelength_nm": 520.0,
    "exposure_max_s": 0.2,
}


def bench(seed: int, sample: str = "", wrong: str = "") -> config.BenchConfig:
    return config.parse(
        f"[simulation]\nseed = {seed}\n[simulation.bench]\n{wrong}\n[simulation.sample]\n{sample}\n"
    )


def run(folder: Path, values: dict[str, Any], setup: config.BenchConfig) -> Any:
    return measure(
        "stripe-length",
        values,
        setup,
        Description("film A", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


def within(result: Any, truth: float, stderrs: float = 3.0) -> bool:
    return bool(abs(result.value - truth) < stderrs * result.stderr)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    smaller = {"points": 22, "low_points": 9, "beside_points": 6}
    return run(tmp_path_factory.mktemp("preset"), smaller, bench(7))


@pytest.fixture(scope="module")
def found(preset: Any) -> Any:
    return evaluate(preset.path)


def test_the_preset_film_is_found_again(preset: Any, found: Any) -> None:
    assert preset.exit_code == 0
    results = found.analysis.results
    assert list(results) == [
        "gain_per_cm",
        "saturation_length_cm",
        "depletion_time_ps",
        "slit_zero_um",
    ]
    assert within(results["gain_per_cm"], 98.0)
    assert results["gain_per_cm"].stderr < 5.0
    assert within(results["saturation_length_cm"], 0.070)
    assert results["saturation_length_cm"].stderr < 0.004
    assert within(results["depletion_time_ps"], 4.90)
    assert within(results["slit_zero_um"], 40.0)
    assert results["slit_zero_um"].stderr < 1.0
    assert not found.analysis.warnings


def test_the_textbook_stands_beside_and_is_low(found: Any) -> None:
    curves, gain = found.analysis.curves, found.analysis.results["gain_per_cm"].value
    assert 0.6 * gain < curves["textbook_gain_per_cm"][0] < 0.9 * gain


def test_the_fit_meets_the_records_and_the_gain_is_halved_where_it_says(found: Any) -> None:
    curves, results = found.analysis.curves, found.analysis.results
    drawn = np.interp(
        np.log(curves["main_length_cm"]),
        np.log(curves["fit_main_length_cm"]),
        np.log(curves["fit_main_peak_counts_per_shot_nm"]),
    )
    apart = np.log(curves["main_peak_counts_per_shot_nm"]) - drawn
    assert np.sqrt(np.mean(apart**2)) < 0.06
    halved = np.interp(0.5, curves["openness"][::-1], curves["openness_length_cm"][::-1])
    zero = 1e-4 * results["slit_zero_um"].value
    assert halved - zero == pytest.approx(results["saturation_length_cm"].value, rel=0.01)


def test_the_file_holds_the_run(preset: Any) -> None:
    with RunFile(preset.path) as file:
        scan = file.records("scan")
        assert [int(np.sum(scan == one)) for one in (LOW, MAIN, BESIDE, AGAIN)] == [9, 22, 6, 1]
        assert not file.records("saturated").any()
        assert np.all(np.diff(file.records("dose")) > 0.0)
        assert np.all(file.records("fluence_errors") > 0.0)
        assert np.all(file.records("fluence_measured") == 1)
        fluence = file.records("fluence")
        assert np.allclose(fluence, file.records("fluence_setpoint"), rtol=0.15)
        # Light falls on the film while it is wanted: for the looks and exposures, not for moves.
        lit = file.records("shots_on_sample")[-1]
        assert file.records("shots").sum() < lit < 1.6 * file.records("shots").sum()
        assert file.parameters["group_index"] == 2.1


def test_the_figure_is_drawn(found: Any, tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    measurement("stripe-length").load("figure")(found, path)
    text = path.read_text(encoding="utf-8")
    assert "textbook, unsaturated" in text
    assert "not the result" in text
    assert "zero of the slit" in text


def test_the_slit_is_calibrated_by_a_run(preset: Any, found: Any, tmp_path: Path) -> None:
    path = write_from(found, tmp_path / "slit.toml")
    calibration = load_slit(path)
    zero = found.analysis.results["slit_zero_um"]
    assert calibration.zero_mm == pytest.approx(1e-3 * zero.value)
    assert calibration.zero_error_mm == pytest.approx(1e-3 * zero.stderr)
    assert role_of(found) == "stripe"
    # Set by it, a slit is as far open as it says: the same records, lengths counted from zero.
    text = '[instruments.stripe]\ndriver = "newport-smc100"\nresource = "sim"\n'
    setup = config.parse(f"{text}calibration = {str(path)!r}\n[simulation]\nseed = 7\n")
    again = run(tmp_path, SHORT, setup)
    with RunFile(again.path) as file:
        slit = file.instruments["stripe"]["settings"]
        assert slit["zero_mm"].value == pytest.approx(calibration.zero_mm, abs=1e-6)


def test_the_plan_is_data() -> None:
    plan = StripeLength(points=5, low_points=3, beside_points=2, length_max_mm=2.0).plan()
    assert [point["scan"] for point in plan] == [LOW] * 3 + [MAIN] * 5 + [BESIDE] * 2 + [AGAIN]
    main = [point["length_mm"] for point in plan if point["scan"] == MAIN]
    assert main == pytest.approx(np.geomspace(0.1, 2.0, 5))
    assert {point["fluence_uJ_cm2"] for point in plan if point["scan"] == LOW} == {2.0}
    assert plan[-1]["length_mm"] == 2.0
    beside = [point for point in plan if point["scan"] == BESIDE]
    assert beside[0]["fluence_uJ_cm2"] == pytest.approx(0.9 * 57.0)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"length_min_mm": 2.0, "length_max_mm": 1.0}, "length_min_mm"),
        ({"low_fluence_uJ_cm2": 57.0}, "low_fluence_uJ_cm2"),
        ({"group_index": 0.5}, "group_index"),
    ],
)
def test_what_makes_no_scan_is_refused(values: dict[str, float], key: str) -> None:
    with pytest.raises(ParameterError) as refused:
        StripeLength(**values)
    assert refused.value.key == key


def test_limits_are_checked_before_anything_moves() -> None:
    with pytest.raises(LimitError, match="stripe length"):
        forecast("stripe-length", {"length_max_mm": 3.5}, bench(1), lambda _line: None)
    with pytest.raises(LimitError, match="fluence"):
        forecast("stripe-length", {"fluence_uJ_cm2": 300.0}, bench(1), lambda _line: None)


def test_a_dry_run_says_what_it_takes_and_moves_nothing() -> None:
    told = forecast("stripe-length", {}, bench(1), lambda _line: None)
    assert told["points"] == 51
    assert 20.0 < told["seconds"] < 3600.0
    assert told["dose_J_cm2"] > 0.0
    with open_bench(bench(1), StripeLength.ROLES, measurement="stripe-length") as opened:
        procedure = StripeLength()
        procedure.bench = opened
        procedure.check_limits()
        assert opened.pump.shots == 0
        assert not opened.need("stripe").homed  # type: ignore[attr-defined]


def test_an_aborted_run_is_resumed_to_the_same_records(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", SHORT, bench(3))
    take = StripeLength.record
    taken = []

    def stop_after_two(self: StripeLength, point: Any) -> Any:
        taken.append(point)
        if len(taken) == 2:
            self.control.abort()
        return take(self, point)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StripeLength, "record", stop_after_two)
        part = run(tmp_path / "part", SHORT, bench(3))
    assert (part.status, part.records) == ("aborted", 2)
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", whole.records)
    with RunFile(whole.path) as one, RunFile(part.path) as other:
        assert one.decisions == other.decisions
        assert np.array_equal(one.records("scan"), other.records("scan"))
        assert np.array_equal(one.records("spectra"), other.records("spectra"))
        for name in ("stripe_length", "fluence", "exposure"):
            assert np.allclose(one.records(name), other.records(name), rtol=1e-12), name
        apart = [np.diff(file.records("time")) for file in (one, other)]
        assert np.allclose(apart[0], apart[1], atol=1e-6)
