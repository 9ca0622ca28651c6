"""The biexciton series on the simulated bench: cooling, records in the band, results, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.bench import Bench, open_bench
from instruments.drivers.lakeshore_335 import LakeShoreCryostat
from instruments.errors import LimitError, NotReady
from procedures.biexciton import Biexciton
from procedures.evaluation import evaluate
from procedures.parameters import ParameterError
from procedures.registry import measurement
from procedures.running.runfile import RunFile
from procedures.session import Description, go_on, measure

WARM = {"temperature_K": 295.0, "points": 4, "shots_min": 20, "centre_wavelength_nm": 520.0}


QUICK = (
    '[instruments.cryostat]\ndriver = "lakeshore-335"\nresource = "sim"\nband_K = 0.15\n'
    "dwell_s = 10.0\n"
)


def bench(sample: str = "", more: str = "") -> config.BenchConfig:
    text = f"[simulation]\nseed = 5\n[simulation.sample]\n{sample}\n{more}"
    return config.parse(text, "bench.toml")


def run(folder: Path, values: dict[str, Any], sample: str = "", more: str = "") -> Any:
    return measure(
        "biexciton",
        values,
        bench(sample, more),
        Description("film C", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outcome = run(tmp_path_factory.mktemp("warm"), WARM, more=QUICK)
    assert (outcome.status, outcome.records) == ("finished", 5)
    return Path(outcome.path)


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sample = "binding_energy_meV = 43.0\nexciton_peak_eV = 2.36\nbiexciton_crossover_mJ_cm2 = 30.0"
    return run(tmp_path_factory.mktemp("cold"), {"points": 10, "shots_min": 40}, sample)


def test_the_film_is_found_again(cold: Any) -> None:
    assert (cold.status, cold.exit_code, cold.records) == ("finished", 0, 11)
    evaluation = evaluate(cold.path)
    wanted = {
        "exciton_slope": (1.0, 0.02),
        "biexciton_slope": (2.0, 0.03),
        "binding_energy_meV": (43.0, 0.3),
        "exciton_peak_eV": (2.36, 1e-3),
        "biexciton_peak_eV": (2.317, 1e-3),
    }
    for name, (value, tolerance) in wanted.items():
        result = evaluation.analysis.results[name]
        assert result.value == pytest.approx(value, abs=tolerance), name
        assert abs(result.value - value) < 4.0 * result.stderr, name  # type: ignore[operator]
    assert not evaluation.analysis.warnings


def test_the_figure_is_drawn(cold: Any, tmp_path: Path) -> None:
    measurement("biexciton").load("figure")(evaluate(cold.path), tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "biexciton: slope" in drawn and "mJ/cm" in drawn


def test_the_file_tells_how_cold_it_was(cold: Any) -> None:
    with RunFile(cold.path) as found:
        assert np.all(np.abs(found.records("temperature") - 10.0) < 0.2)
        assert found.unit("temperature") == "K"
        assert "stripe_length" not in found.columns
        assert list(found.records("direction")) == [1] * 10 + [0]
        fluence = found.records("fluence")
        assert np.allclose(fluence[[0, 9, 10]], [1200.0, 17200.0, 1200.0], rtol=0.15)
        assert np.all(np.diff(found.records("dose")) > 0)
        assert found.decisions["grooves_per_mm"] == 600.0
        window = found.axis("wavelength")
        assert window[0] < 1239.84 / 2.36 - 15.0 and window[-1] > 1239.84 / 2.317 + 15.0
        started, first = found.start_time, found.records("time")[0]
        assert first > 0 and started  # cooling took bench time before the first record
        assert found.records("time")[-1] - first < 3600.0


def test_an_aborted_series_is_resumed_to_the_same_records(warm: Path, tmp_path: Path) -> None:
    original = Biexciton.record

    def stop_after_two(self: Biexciton, point: Any) -> Any:
        found = original(self, point)
        if point == self.plan()[1]:
            self.control.abort()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Biexciton, "record", stop_after_two)
        part = run(tmp_path, WARM, more=QUICK)
    assert (part.status, part.records) == ("aborted", 2)
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", 5)
    with RunFile(warm) as one, RunFile(part.path) as other:
        assert np.array_equal(one.records("spectra"), other.records("spectra"))
        assert np.allclose(one.records("fluence"), other.records("fluence"), rtol=1e-12)
        assert np.allclose(one.records("temperature"), other.records("temperature"), atol=0.01)


def test_a_sensor_that_fails_in_between_costs_no_record_and_keeps_none_outside_the_band(
    warm: Path, tmp_path: Path
) -> None:
    with RunFile(warm) as undisturbed:
        begun = undisturbed.log[0][0]
        third_s = float(undisturbed.records("time")[2] - begun)
    fault = f'[[simulation.faults]]\ndevice = "cryostat"\nkind = "sensor"\nafter_s = {third_s}\n'
    outcome = run(tmp_path, WARM, more=f"{fault}for_s = 4\n{QUICK}")
    assert (outcome.status, outcome.records) == ("finished", 5)
    with RunFile(outcome.path) as found:
        assert any("invalid reading" in text for _, _, text in found.log)
        assert any("the record was taken" in text for _, _, text in found.log)
        assert np.all(np.abs(found.records("temperature") - 295.0) < 0.2)
        assert np.allclose(found.records("fluence"), found.records("fluence_setpoint"), rtol=0.1)


@pytest.fixture(scope="module")
def ready() -> Iterator[tuple[Bench, Biexciton]]:
    series = Biexciton(**WARM)
    with open_bench(bench(more=QUICK), series.roles(), measurement="biexciton") as opened:
        series.bench = opened
        series.prepare()
        yield opened, series


def readings(patch: pytest.MonkeyPatch, values: list[float]) -> list[float]:
    """Let the cryostat read these temperatures (the last for ever); return what is left."""
    left = list(values)

    def reading(_self: Any) -> float:
        return left.pop(0) if len(left) > 1 else left[0]

    patch.setattr(LakeShoreCryostat, "temperature_K", property(reading))
    return left


def test_a_record_that_warmed_up_is_taken_again(
    ready: tuple[Bench, Biexciton], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, series = ready
    point = series.plan()[0]
    shots = opened.pump.shots
    plain = series.record(point)
    once = opened.pump.shots - shots
    readings(monkeypatch, [295.0, 295.6, 295.05, 294.95])
    row = series.record(point)
    assert opened.pump.shots - shots - once > 1.8 * once  # the light of both attempts counts
    assert row["temperature"] == pytest.approx(295.0)
    assert row["temperature_change"] == pytest.approx(-0.1)
    assert set(row) == set(plain) == {column.name for column in Biexciton.COLUMNS}


def test_a_temperature_that_does_not_stay_ends_the_record(
    ready: tuple[Bench, Biexciton], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, series = ready
    readings(monkeypatch, [295.0, 296.0] * 6)
    with pytest.raises(NotReady, match="widen temperature_band_K"):
        series.record(series.plan()[0])


def test_it_waits_before_a_record_where_the_temperature_has_gone(
    ready: tuple[Bench, Biexciton], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, series = ready
    waited: list[float] = []
    reached = [295.02, 297.0]

    def wait(_self: Any, timeout_s: float) -> float:
        assert not opened.pump.is_open
        waited.append(timeout_s)
        return reached.pop(0)

    monkeypatch.setattr(LakeShoreCryostat, "wait_until_stable", wait)
    readings(monkeypatch, [297.0, 295.0, 297.0])
    row = series.record(series.plan()[0])
    assert row["temperature"] == pytest.approx(295.01)
    assert waited == [series.cooling_timeout_s]
    with pytest.raises(NotReady, match="set point changed"):
        series.record(series.plan()[0])


def test_a_temperature_beyond_the_limits_is_refused_before_anything_moves(
    ready: tuple[Bench, Biexciton],
) -> None:
    opened, _ = ready
    series = Biexciton(**{**WARM, "temperature_K": 2.0})
    series.bench = opened
    with pytest.raises(LimitError, match="temperature_K"):
        series.check_limits()
    high = Biexciton(**{**WARM, "fluence_max_mJ_cm2": 90.0})
    high.bench = opened
    with pytest.raises(LimitError, match="point 4 of 5"):
        high.check_limits()


def test_a_grating_that_is_not_there_is_refused(ready: tuple[Bench, Biexciton]) -> None:
    opened, _ = ready
    series = Biexciton(**{**WARM, "grooves_per_mm": 900.0})
    series.bench = opened
    with pytest.raises(ParameterError, match="1200, 1800, 600"):
        series.prepare()


def test_the_plan_goes_up_down_and_back_to_the_first() -> None:
    plan = Biexciton(points=3, down=True, spacing="linear").plan()
    assert [point["fluence_uJ_cm2"] for point in plan] == [
        1200.0, 9200.0, 17200.0, 17200.0, 9200.0, 1200.0, 1200.0,
    ]  # fmt: skip
    assert [point["direction"] for point in plan] == [1, 1, 1, -1, -1, -1, 0]
    assert len(Biexciton(points=3, again=False).plan()) == 3
    with pytest.raises(ParameterError, match="fluence_min_mJ_cm2"):
        Biexciton(fluence_min_mJ_cm2=20.0)
