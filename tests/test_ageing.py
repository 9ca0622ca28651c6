"""Ageing: the plan over days, the run on the simulated bench, and the joint analysis."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from instruments import config
from instruments.clock import VirtualClock
from instruments.errors import ConfigError
from procedures.ageing import DAY_S, Ageing
from procedures.analysis.ageing import AgeingData, analyze_ageing
from procedures.analysis.joint_fit import day_theta, fit_jointly
from procedures.analysis.stripe_fit import FitData
from procedures.analysis.stripe_model import INDEX, NAMES, Channels, emitted
from procedures.evaluation import Evaluation, NothingToAnalyze, evaluate, evaluate_series
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, go_on, measure

FAST_AGEING = "ageing_per_day = 0.008"
DAYS = [0.0, 10.0]
SWEEP = {
    "points": 12,
    "fluence_min_uJ_cm2": 4.0,
    "fluence_max_uJ_cm2": 70.0,
    "exposure_max_s": 1.0,
    "centre_wavelength_nm": 519.0,
}


def bench(sample: str = FAST_AGEING, seed: int = 4) -> config.BenchConfig:
    return config.parse(
        f"[pump]\npulses_per_reading = 50\n[simulation]\nseed = {seed}\n"
        f"[simulation.sample]\n{sample}\n",
        "b.toml",
    )


def run(folder: Path, name: str, values: dict[str, Any], seed: int = 4) -> Any:
    return measure(
        name,
        values,
        bench(seed=seed),
        Description("film A", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(tmp_path_factory.mktemp("aged"), "ageing", {**SWEEP, "days": DAYS})


@pytest.fixture(scope="module")
def found(aged: Any) -> Evaluation:
    return evaluate(aged.path)


# ---- the plan ------------------------------------------------------------------------------------


def test_a_sweep_a_day() -> None:
    plan = Ageing(days=[0, 7, 21], points=5).plan()
    assert [point["day"] for point in plan] == [0.0] * 5 + [7.0] * 5 + [21.0] * 5
    assert [point["wait_days"] for point in plan if point["wait_days"]] == [7.0, 14.0]
    fluences = [point["fluence_uJ_cm2"] for point in plan]
    assert fluences[:5] == fluences[5:10] == fluences[10:]


@pytest.mark.parametrize("days", [[], [7.0, 7.0], [0.0, 14.0, 7.0], [-1.0, 3.0]])
def test_days_that_make_no_series_are_refused(days: list[float]) -> None:
    with pytest.raises(ConfigError, match="days"):
        Ageing(days=days)


def test_the_forecast_knows_the_waiting() -> None:
    found = forecast("ageing", {"days": [0, 3], "points": 4}, bench(), lambda _line: None)
    assert 3.0 * DAY_S < found["seconds"] < 3.0 * DAY_S + 600.0


# ---- the run -------------------------------------------------------------------------------------


def test_the_rise_is_found_again(aged: Any, found: Evaluation) -> None:
    assert (aged.status, aged.exit_code) == ("finished", 0)
    results: dict[str, Any] = found.analysis.results
    rise = results["threshold_rise_per_day"]
    assert abs(rise.value - 0.008) < 3.5 * rise.stderr
    assert rise.stderr < 0.0008
    assert results["day"].value == DAYS
    for value, stderr, day in zip(
        results["threshold_uJ_cm2"].value, results["threshold_uJ_cm2"].stderr, DAYS, strict=True
    ):
        assert abs(value - 22.0 * (1.0 + 0.008 * day)) < 3.0 * stderr
        assert stderr < 0.06 * value


def test_the_days_pass_between_the_sweeps(aged: Any) -> None:
    with RunFile(aged.path) as file:
        time_s, sweep, day = (file.records(name) for name in ("time", "sweep", "day"))
        second = np.flatnonzero(sweep == 1)[0]
        assert time_s[second] - time_s[0] == pytest.approx(10.0 * DAY_S, abs=120.0)
        assert np.allclose(day, 10.0 * sweep, atol=0.01)
        assert file.state["world.age_days"] == 10.0
        # The laser is off meanwhile: it has not drifted to nothing.
        assert np.allclose(file.records("fluence"), file.records("fluence_setpoint"), rtol=0.15)
        # Nothing of the ten days fell on the sample.
        assert file.state["world.shots"] < 1e5


def test_an_aborted_series_is_resumed_to_the_same_records(tmp_path: Path) -> None:
    values = {**SWEEP, "points": 3, "days": [0.0, 5.0], "exposure_max_s": 0.2}
    whole = run(tmp_path, "ageing", values)
    original = Ageing.record
    for stop_after in (3, 4):  # before the waiting, and after it

        def stop(self: Ageing, point: Any, last: int = stop_after) -> Any:
            found = original(self, point)
            if point == self.plan()[last - 1]:
                self.control.abort()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ageing, "record", stop)
            part = run(tmp_path, "ageing", values)
        assert (part.status, part.records) == ("aborted", stop_after)
        resumed = go_on(part.path, None, lambda _line: None, quiet=True)
        assert (resumed.status, resumed.records) == ("finished", 6)
        with RunFile(whole.path) as one, RunFile(part.path) as other:
            assert np.array_equal(one.records("spectra"), other.records("spectra"))
            assert np.allclose(one.records("fluence"), other.records("fluence"), rtol=1e-12)
            since = [file.records("time") - file.records("time")[0] for file in (one, other)]
            assert np.allclose(since[0], since[1], atol=1e-3)


def test_waiting_on_a_real_clock_can_be_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    from procedures.running.signals import Stopped

    class Clock(VirtualClock):
        """One that the procedure must not know to be virtual."""

    procedure = Ageing(days=[0.0, 1.0])
    clock, shut = Clock(1e9), []

    class Beam:
        def shut(self) -> None:
            shut.append(True)

    class Bench:
        pump = Beam()

        def state(self) -> dict[str, float]:
            return {}

    Bench.clock = clock  # type: ignore[attr-defined]
    monkeypatch.setattr("procedures.ageing.VirtualClock", int)
    procedure.bench = Bench()  # type: ignore[assignment]
    procedure.decisions["first_day_s"] = 1e9
    clock.every(3600.0, lambda: clock.now() > 1e9 + 30_000.0 and procedure.control.abort())
    with pytest.raises(Stopped):
        procedure._wait_for(1.0)
    assert shut
    assert 30_000.0 < clock.now() - 1e9 < 45_000.0


# ---- several files -------------------------------------------------------------------------------


def started(path: Path, moment: str) -> Path:
    """Write another beginning into a run file."""
    with h5py.File(path, "r+") as file:
        del file["entry/start_time"]
        file["entry/start_time"] = moment
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Power sweeps of one film on two days."""
    folder, found = tmp_path_factory.mktemp("files"), []
    from sim_drivers.world import World

    original = World.__init__
    for seed, day, moment in ((4, 0.0, "2026-11-02"), (4, 10.0, "2026-11-12")):

        def old(self: Any, *args: Any, age: float = day, **more: Any) -> None:
            original(self, *args, **more)
            self.set_age_days(age)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(World, "__init__", old)
            path = run(folder, "power-sweep", SWEEP, seed).path
        found.append(started(path, f"{moment}T09:30:00+01:00"))
    return found


def test_several_files_make_the_same_series(found: Evaluation, files: list[Path]) -> None:
    one, other = found, evaluate_series(files[::-1])
    assert other.measurement == "ageing"
    assert other.file == [str(path) for path in files[::-1]]
    assert other.analysis.results["day"].value == DAYS
    rises: list[Any] = [each.analysis.results["threshold_rise_per_day"] for each in (one, other)]
    assert abs(rises[0].value - rises[1].value) < 3.0 * np.hypot(rises[0].stderr, rises[1].stderr)
    assert abs(rises[1].value - 0.008) < 3.5 * rises[1].stderr


def test_the_command_takes_several(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from procedures import cli

    monkeypatch.setattr("sys.argv", ["gainbench", "analyze", *map(str, files), "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["measurement"] == "ageing"
    assert answer["file"] == [str(path) for path in files]
    assert len(answer["results"]["threshold_uJ_cm2"]["value"]) == 2


def test_files_that_make_no_series(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(NothingToAnalyze, match="twice"):
        evaluate_series([files[0], files[0]])
    other = tmp_path / "other.h5"
    other.write_bytes(files[0].read_bytes())
    with h5py.File(other, "r+") as file:
        del file["entry/acquisition/measurement"]
        file["entry/acquisition/measurement"] = "stripe-length"
    with pytest.raises(NothingToAnalyze, match="no series"):
        evaluate_series([files[0], other])


# ---- the analysis --------------------------------------------------------------------------------


THETA = np.zeros(len(NAMES))
for _name, _value in {
    "ln_threshold": np.log(22.0),
    "ln_absorption": np.log(18.0),
    "ln_excitons": 0.1,
    "ln_direct": np.log(50.0),
    "ln_direct_ratio": 0.2,
    "ln_saturation": np.log(1e5),
    "gain_peak_nm": 524.0,
    "ln_gain_fwhm": np.log(18.0),
    "spontaneous_peak_nm": 514.5,
    "ln_spontaneous_fwhm": np.log(23.0),
    "biexciton_yield": 0.13,
    "ln_law_shape": 0.1,
}.items():
    THETA[INDEX[_name]] = _value


def synthetic(theta: np.ndarray, seed: int, sigma: float = 1e-3) -> FitData:
    rng = np.random.default_rng(seed)
    centre = np.arange(480.0, 560.0, 2.0)
    channels = Channels(centre, np.full(len(centre), 2.0))
    fluence = np.geomspace(4.0, 70.0, 24)
    true = fluence * (1.0 + sigma * rng.standard_normal(len(fluence)))
    guided, direct = emitted("poisson", theta[None], true, channels)
    signal = (guided + direct)[0]
    variance = (0.003 * signal) ** 2 + 0.01
    noisy = signal + np.sqrt(variance) * rng.standard_normal(signal.shape)
    size = len(fluence)
    return FitData(
        fluence, np.full(size, sigma), np.zeros(size), noisy, variance, channels, np.ones(size)
    )


@pytest.mark.parametrize("law", ["poisson", "linear"])
def test_the_dots_absorb_as_before(law: str) -> None:
    """K law(F_th) is the loss: what it is at a fluence must not depend on the threshold."""
    later = day_theta(law, THETA, np.array([0.06, 0.0]))
    channels = Channels(np.array([524.0]), np.array([1.0]))

    def gain(theta: np.ndarray, fluence: float) -> float:
        """The gain curve without its loss, per stripe."""
        ratio = fluence / np.exp(theta[0])
        if law == "linear":
            return float(np.exp(theta[1]) * ratio)
        n, at = np.exp(theta[INDEX["ln_law_shape"]]) * ratio, np.exp(theta[INDEX["ln_law_shape"]])
        pairs = [1.0 - np.exp(-x) * (1.0 + x) for x in (n, at)]
        return float(np.exp(theta[1]) * pairs[0] / pairs[1])

    assert later[0] == pytest.approx(THETA[0] + 0.06)
    for fluence in (10.0, 30.0, 60.0):
        assert gain(later, fluence) == pytest.approx(gain(THETA, fluence), rel=1e-9)
    # Far below any gain the light is that of before.
    weak = [
        emitted(law, one[None], np.array([0.5]), channels)[1][0, 0, 0] for one in (THETA, later)
    ]
    assert weak[1] == pytest.approx(weak[0], rel=1e-6)


def test_the_joint_fit_finds_each_day() -> None:
    risen, scales = np.array([0.0, 0.03, 0.08]), np.array([0.0, -0.2, 0.1])
    days = [
        synthetic(day_theta("poisson", THETA, np.array(own)), seed)
        for seed, own in enumerate(zip(risen, scales, strict=True))
    ]
    start = THETA.copy()
    start[:2] += 0.03, -0.1
    fit = fit_jointly(days, "poisson", start, floor=0.0)
    assert fit.reduced == pytest.approx(1.0, abs=0.15)
    apart = fit.ln_threshold - fit.ln_threshold[0]
    sigma = np.sqrt(np.diag(fit.covariance) + fit.covariance[0, 0] - 2.0 * fit.covariance[0])
    assert np.all(np.abs(apart - risen)[1:] < 4.0 * sigma[1:])
    assert np.all(sigma[1:] < 1.5e-3)
    # What the days share does not count between them.
    assert sigma[1] < np.sqrt(2.0 * fit.covariance[0, 0])
    assert np.allclose(fit.ln_scale, scales, atol=5e-3)


def test_a_day_that_does_not_reach_is_null(found: Evaluation) -> None:
    data = found.data
    short = data.sweeps[1]
    keep = short.fluence_uJ_cm2 < 20.0
    cut = replace(
        short,
        **{
            name: getattr(short, name)[keep]
            for name in vars(short)
            if isinstance(getattr(short, name), np.ndarray) and name != "wavelength_nm"
        },
    )
    analysis = analyze_ageing(AgeingData([data.sweeps[0], cut], DAYS))
    thresholds: Any = analysis.results["threshold_uJ_cm2"].value
    assert thresholds[0] is not None
    assert thresholds[1] is None
    assert analysis.results["threshold_rise_per_day"].value is None
    assert any("day 10" in line for line in analysis.warnings)


def test_sweeps_of_one_day_have_no_rise(found: Evaluation) -> None:
    analysis = analyze_ageing(AgeingData(found.data.sweeps, [0.0, 0.001]))
    assert analysis.results["threshold_rise_per_day"].value is None
    assert any("two days" in line for line in analysis.warnings)
    thresholds: Any = analysis.results["threshold_uJ_cm2"].value
    assert None not in thresholds


def test_days_are_put_in_order(found: Evaluation) -> None:
    data = found.data
    turned = analyze_ageing(AgeingData(data.sweeps[::-1], data.days[::-1]))
    assert turned.to_json() == found.analysis.to_json()
    with pytest.raises(ValueError, match="days"):
        AgeingData(data.sweeps, [0.0])
