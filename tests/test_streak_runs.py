"""Time-resolved measurements on the simulated bench: from the bench file to results and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.errors import LimitError
from procedures.evaluation import evaluate
from procedures.measurement import Measurement
from procedures.parameters import ParameterError
from procedures.registry import measurement
from procedures.running.followers import Listener
from procedures.running.runfile import RunFile
from procedures.session import Description, build, forecast, go_on, measure

PRESET = {"centre_wavelength_nm": 515.0, "integration_s": 10.0}


def bench(text: str = "", seed: int = 5) -> config.BenchConfig:
    return config.parse(f"[simulation]\nseed = {seed}\n{text}", "bench.toml")


def run(name: str, values: dict[str, Any], folder: Path, text: str = "", seed: int = 5) -> Any:
    outcome = measure(
        name,
        {**PRESET, **values},
        bench(text, seed),
        Description("dots"),
        folder,
        lambda _line: None,
        quiet=True,
    )
    assert outcome.error is None, outcome.error
    return outcome


def test_the_lifetime_of_the_solution(tmp_path: Path) -> None:
    outcome = run("lifetime", {"centre_wavelength_nm": 0.0}, tmp_path)
    found = evaluate(outcome.path)
    result = found.analysis.results["lifetime_ns"]
    assert abs(result.value - 3.6) < 4.0 * result.stderr  # type: ignore[operator]
    assert 0.002 < result.stderr < 0.05  # type: ignore[operator]
    with RunFile(outcome.path) as file:
        assert file.records("kind").tolist() == [1, 0, 0]
        frames = file.records("frames")
        assert frames.shape[1:] == (len(file.axis("sweep_time")), len(file.axis("wavelength")))
        assert np.all(file.records("fluence_errors") > 0.0)
        assert np.all(np.diff(file.records("dose")) > 0.0)
        assert abs(file.decisions["centre_wavelength_nm"] - 514.5) < 6.0
        assert file.records("centre_wavelength")[0] == 400.0
        event, error = (file.decisions[f"event_counts{end}"] for end in ("", "_errors"))
        # counts of an electron at gain 40, and the scatter of their heights (shape 1.5)
        assert abs(event - 0.3 * np.exp(0.13 * 40) * (1.0 + 1.0 / 1.5)) < 4.0 * error
    measurement("lifetime").load("figure")(found, tmp_path / "lifetime.png")
    assert (tmp_path / "lifetime.png").stat().st_size > 20_000


def test_the_lifetime_of_another_film(tmp_path: Path) -> None:
    values = {"medium": "film", "centre_wavelength_nm": 600.0}
    text = (
        "[simulation.sample]\nspontaneous_peak_nm = 600.0\nase_peak_nm = 610.0\n"
        "exciton_lifetime_ns = 5.0"
    )
    result = evaluate(run("lifetime", values, tmp_path, text).path).analysis.results["lifetime_ns"]
    assert abs(result.value - 5.0) < 4.0 * result.stderr  # type: ignore[operator]


def test_photon_counting_tells_the_same(tmp_path: Path) -> None:
    values = {
        "mode": "counting",
        "mcp_gain": 62,
        "exposure_max_s": 0.002,
        "integration_s": 60.0,
        "fluence_uJ_cm2": 0.2,
        "response_fluence_uJ_cm2": 0.5,
    }
    outcome = run("lifetime", values, tmp_path)
    with RunFile(outcome.path) as file:
        assert file.decisions["event_counts"] == 1.0
        assert not file.records("saturated").any()
    result = evaluate(outcome.path).analysis.results["lifetime_ns"]
    assert result.value == pytest.approx(3.6, abs=max(4.0 * result.stderr, 0.05))  # type: ignore[operator]


def test_auger_and_its_figure(tmp_path: Path) -> None:
    text = "[simulation.sample]\nauger_lifetime_ps = 140.0"
    found = evaluate(run("auger", {"points": 7}, tmp_path, text).path)
    results = found.analysis.results
    two = results["auger_lifetime_ps"]
    assert abs(two.value - 140.0) < 3.5 * two.stderr  # type: ignore[operator]
    assert two.stderr < 15.0  # type: ignore[operator]
    measurement("auger").load("figure")(found, tmp_path / "auger.png")


def test_the_cross_section_with_what_the_experimenter_knows(tmp_path: Path) -> None:
    text = (
        '[simulation.sample]\nspot_profile = "gaussian"\noptical_density = 0.2\n'
        "[simulation.bench]\ncalibration_errors = false"
    )
    values = {"points": 7, "optical_density": 0.2, "spot_profile": "gaussian"}
    found = evaluate(run("cross-section", values, tmp_path, text).path)
    result = found.analysis.results["cross_section_cm2"]
    # Without errors of the scale only its noise is left.
    assert result.value == pytest.approx(2.5e-14, rel=0.015)
    assert result.stderr / result.value == pytest.approx(0.0283, rel=0.1)  # type: ignore[operator]
    measurement("cross-section").load("figure")(found, tmp_path / "late.png")


def test_the_series_of_spectrograms(tmp_path: Path) -> None:
    outcome = run("streak-series", {"integration_s": 20.0}, tmp_path)
    found = evaluate(outcome.path)
    results = found.analysis.to_json()["results"]
    assert results["fluence_uJ_cm2"]["value"] == pytest.approx([0.8, 11.5, 25.0], rel=0.15)
    assert 15.0 < results["redshift_meV"]["value"][1] < 35.0
    assert abs(results["redshift_meV"]["value"][0]) < 4.0 * results["redshift_meV"]["stderr"][0]
    assert results["early_peak_nm"]["value"][2] == pytest.approx(524.5, abs=1.0)
    decay = results["decay_time_ps"]
    assert decay["bound"] == "upper"
    assert decay["value"][0] == pytest.approx(3010.0, rel=0.04)
    assert decay["value"][2] < 60.0 and decay["stderr"][2] is None
    measurement("streak-series").load("figure")(found, tmp_path / "series.svg")


def test_a_bright_sample_is_exposed_so_that_nothing_saturates(tmp_path: Path) -> None:
    values = {"fluences_uJ_cm2": [60.0], "mcp_gain": 30, "integration_s": 2.0}
    outcome = run("streak-series", values, tmp_path)
    with RunFile(outcome.path) as file:
        assert not file.records("saturated").any()
        assert file.records("exposure")[1] < 0.5
        lit = file.records("exposure") * file.records("accumulations")
        assert lit == pytest.approx([2.0, 2.0], rel=0.2)
        assert np.all(file.records("shots") == np.round(1000.0 * lit))


class _Abort(Listener):
    """Ends a run after some records."""

    def __init__(self, after: int) -> None:
        self.after = after

    def started(self, measurement: Measurement, forecast: Any) -> None:
        self.measurement = measurement

    def progress(self, percent: float) -> None:
        pass

    def recorded(self, record: Any) -> None:
        self.after -= 1
        if self.after == 0:
            self.measurement.control.abort()


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_gone_on_with_is_the_run_undisturbed(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"points": 3, "centre_wavelength_nm": 0.0, "integration_s": 3.0}
    whole = run("auger", values, tmp_path / "whole")
    with monkeypatch.context() as patched:
        import contextlib

        import procedures.session as session

        patched.setattr(session, "_display", lambda _quiet: contextlib.nullcontext(_Abort(after)))
        broken = measure(
            "auger",
            {**PRESET, **values},
            bench(),
            Description("dots"),
            tmp_path / "broken",
            lambda _line: None,
            quiet=True,
        )
    assert broken.status == "aborted" and broken.records == after
    done = go_on(broken.path, None, lambda _line: None, quiet=True)
    assert done.status == "finished"
    with RunFile(whole.path) as one, RunFile(broken.path) as other:
        assert one.decisions == other.decisions
        for name in one.columns:
            if name != "time":
                assert np.array_equal(one.records(name), other.records(name)), name


def test_a_dry_run_and_what_is_refused() -> None:
    found = forecast("auger", {"points": 4}, bench(), lambda _line: None)
    assert found["points"] == 5
    assert found["shots"] > 5 * 20_000 * 0.99
    for values, key in (
        ({"mcp_gain": 900}, "mcp_gain"),
        ({"fluence_max_uJ_cm2": 5000.0}, "fluence"),
    ):
        with pytest.raises(LimitError, match=key):
            forecast("auger", values, bench(), lambda _line: None)
    for name, wrong in (
        ("auger", {"fluence_min_uJ_cm2": 50.0}),
        ("streak-series", {"fluences_uJ_cm2": []}),
        ("cross-section", {"spot_profile": "square"}),
    ):
        with pytest.raises(ParameterError):
            build(name, wrong)
