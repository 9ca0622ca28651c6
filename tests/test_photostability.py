"""Photostability: the plan, the exposure on the simulated bench, and what the analysis finds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from instruments.bench import open_bench
from instruments.errors import ConfigError, LimitError, NoReply
from procedures.analysis.photostability import PhotostabilityData, analyze_photostability
from procedures.continuous_light import ContinuousLight
from procedures.evaluation import evaluate
from procedures.photostability import AFTER, BEFORE, EXPOSURE, LOW, LOW_AFTER, Photostability
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, go_on, measure

# A film that loses a fifth in minutes instead of hours.
FRAGILE = "retained_fraction = 0.8\nretained_shots = 1.2e5"
SHORT = {"shots": 120_000, "shots_per_record": 1000, "centre_wavelength_nm": 520.0}
TINY = {**SHORT, "shots": 12_000, "sweep_points": 3, "shots_min": 100}


def bench(sample: str = FRAGILE, more: str = "") -> config.BenchConfig:
    return config.parse(
        f"[pump]\npulses_per_reading = 50\n[simulation]\nseed = 5\n{more}\n"
        f"[simulation.sample]\n{sample}\n",
        "b.toml",
    )


def run(folder: Path, values: dict[str, Any], sample: str = FRAGILE, more: str = "") -> Any:
    return measure(
        "photostability",
        values,
        bench(sample, more),
        Description("film A", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(tmp_path_factory.mktemp("exposed"), SHORT)


# ---- the plan ------------------------------------------------------------------------------------


def test_the_plan_of_the_paper() -> None:
    plan = Photostability().plan()
    legs = [point["leg"] for point in plan]
    assert legs == sorted(legs)
    blocks = [point for point in plan if point["leg"] == EXPOSURE]
    assert len(blocks) == 16_000
    assert blocks[-1]["shots"] == 16_000_000
    assert {point["fluence_uJ_cm2"] for point in blocks} == {57.0}
    kept = [number for number, point in enumerate(blocks, start=1) if point["keep"]]
    assert {1, 10, 100, 200, 1000, 16_000} <= set(kept)
    assert len(kept) < 300


def test_a_last_block_that_is_shorter() -> None:
    plan = Photostability(shots=2500, shots_per_record=1000).plan()
    assert [point["shots"] for point in plan if point["leg"] == EXPOSURE] == [1000, 2000, 2500]


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(ConfigError, match="shots_per_record"):
        Photostability(shots=100, shots_per_record=1000)
    with pytest.raises(LimitError, match="dose"):
        limited = config.parse("[simulation]\n[limits]\ndose_max_J_cm2 = 500.0\n")
        forecast("photostability", {}, limited, lambda _line: None)


def test_the_forecast_counts_every_shot() -> None:
    found = forecast("photostability", {}, config.default(), lambda _line: None)
    assert found["shots"] == pytest.approx(1.6e7, rel=0.01)
    assert found["dose_J_cm2"] == pytest.approx(912.0, rel=0.01)
    assert found["seconds"] == pytest.approx(16_000.0, rel=0.02)


# ---- the run -------------------------------------------------------------------------------------


def test_the_fragile_film_is_found_again(exposed: Any) -> None:
    assert (exposed.status, exposed.exit_code) == ("finished", 0)
    results = evaluate(exposed.path).analysis.results
    left = results["retained_fraction"]
    assert left.stderr < 0.01
    assert abs(left.value - 0.8) < 3.5 * left.stderr
    assert results["shots"].value == pytest.approx(120_000, abs=10)
    assert 0.4e5 < results["shots_to_90_percent"].value < 0.7e5
    assert not results["shots_to_90_percent"].extrapolated


def test_the_shutter_stays_open_and_every_shot_counts(exposed: Any) -> None:
    with RunFile(exposed.path) as found:
        leg, exposed_shots = found.records("leg"), found.records("exposed_shots")
        blocks = np.flatnonzero(leg == EXPOSURE)
        assert len(blocks) == 120
        assert np.all(np.abs(np.diff(exposed_shots[blocks]) - 1000) <= 1)
        on_sample = found.records("shots_on_sample").astype(float)
        # No shot is lost between two records: a shutter that closed would take dozens.
        assert np.array_equal(np.diff(on_sample[blocks]), np.diff(exposed_shots[blocks]))
        assert np.allclose(np.diff(found.records("time")[blocks]), 1.0, atol=2e-3)
        state = found.state
        # Moving blades are counted as open half of the time: rather too many shots than too few.
        assert on_sample[-1] >= state["world.shots"] > 0.99 * on_sample[-1]
        assert state["world.dose_J_cm2"] == pytest.approx(found.records("dose")[-1], rel=0.12)


def test_spectra_are_kept_by_the_schedule(exposed: Any) -> None:
    with RunFile(exposed.path) as found:
        kept = found.records("kept").astype(bool)
        spectra, axis = found.records("spectra"), found.axis("wavelength")
        assert np.array_equal(found.rows_of("spectra"), np.flatnonzero(kept))
        assert len(spectra) == kept.sum() and spectra.any(axis=1).all()
        dark = found.rows_of("background")
        assert np.array_equal(dark, np.flatnonzero(found.records("leg") != EXPOSURE))
        assert found.records("background").any(axis=1).all()
        assert kept[found.records("leg") != EXPOSURE].all()
        assert 10 < kept[found.records("leg") == EXPOSURE].sum() < 40
        for name in ("band", "peak", "wing"):
            low, high = (found.decisions[f"{name}_{end}_nm"] for end in ("min", "max"))
            inside = (axis >= low) & (axis <= high)
            counts = found.records(f"{name}_counts")
            assert np.array_equal(spectra[:, inside].sum(axis=1), counts[kept])
            assert (counts > 0).all()


def test_an_aborted_exposure_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path, TINY)
    original = Photostability.record

    def stop_in_the_middle(self: Photostability, point: Any) -> Any:
        found = original(self, point)
        if point["leg"] == EXPOSURE and point["shots"] == 6000:
            self.control.abort()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Photostability, "record", stop_in_the_middle)
        part = run(tmp_path, TINY)
    assert (part.status, part.exit_code) == ("aborted", 130)
    stopped = part.records
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", whole.records)
    with RunFile(whole.path) as one, RunFile(part.path) as other:
        assert one.decisions == other.decisions
        for name in ("band_counts", "fluence", "exposed_shots"):
            assert np.array_equal(one.records(name)[:stopped], other.records(name)[:stopped])
        assert np.array_equal(one.rows_of("spectra"), other.rows_of("spectra"))
        before = one.rows_of("spectra") < stopped
        assert before.any()
        assert np.array_equal(one.records("spectra")[before], other.records("spectra")[before])
        # The shutter opens once more: shots lie elsewhere in time, but none is lost or added.
        assert np.allclose(one.records("exposed_shots"), other.records("exposed_shots"), atol=5)
        ratio = other.records("band_counts")[stopped:] / one.records("band_counts")[stopped:]
        assert np.abs(ratio - 1.0).max() < 0.1
        shots = other.records("shots_on_sample").astype(float)
        assert np.all(np.diff(shots) > 0)
        assert shots[-1] >= other.state["world.shots"] > shots[-1] - 600


def test_a_pause_is_dark_and_not_counted() -> None:
    with open_bench(bench(), Photostability.ROLES, measurement="photostability") as opened:
        opened.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
        light = ContinuousLight(opened)
        light.fluence_uJ_cm2 = 50.0
        assert light.ensure() is True
        opened.clock.sleep(1.0)
        assert light.ensure() is False
        first = light.count()
        assert 1000 <= first < 1150  # the blade's own time counts in part
        assert light.count() == 0  # nothing twice
        opened.clock.sleep_until(light.due_s(500))
        assert light.count() == pytest.approx(500, abs=1)
        light.end()
        counted = opened.pump.shots
        opened.clock.sleep(100.0)
        assert light.count() == 0
        assert light.ensure() is True
        assert opened.pump.shots == counted
        assert opened.pump.dose_J_cm2 == pytest.approx(counted * 50e-6)
        light.end()
        assert counted <= opened.pump.shots < counted + 250
        assert 0 <= opened.pump.shots - opened.simulation.world.shots_on_sample < 250


@pytest.mark.parametrize("what", ["shutter", "camera"])
def test_a_fault_in_the_exposure_loses_no_shot(tmp_path: Path, what: str) -> None:
    original = Photostability.record
    done = []

    def break_off(*_: Any) -> Any:
        raise NoReply("camera: no frames came")

    def meddle(self: Photostability, point: Any) -> Any:
        if point["leg"] == EXPOSURE and point["shots"] == 5000 and not done:
            done.append(True)
            if what == "shutter":
                self.bench.need("shutter").shut()  # type: ignore[attr-defined]
            else:
                with pytest.MonkeyPatch.context() as inner:
                    inner.setattr(type(self.bench.spectrograph), "acquire", break_off)
                    return original(self, point)
        return original(self, point)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Photostability, "record", meddle)
        outcome = run(tmp_path, TINY)
    assert (outcome.status, len(done)) == ("finished", 1)
    words = {"shutter": "found closed", "camera": "no frames"}[what]
    with RunFile(outcome.path) as found:
        assert any(words in text for _, level, text in found.log if level == "warning")
        exposed = found.records("exposed_shots")[found.records("leg") == EXPOSURE]
        # A block that failed after its shots had fallen is taken again at once.
        assert exposed[-1] == pytest.approx(12_000, abs=60)
        assert exposed[4] == pytest.approx(5_000, abs=200)
        shots = found.records("shots_on_sample").astype(float)
        assert np.all(np.diff(shots) > 0)
        assert shots[-1] >= found.state["world.shots"] > shots[-1] - 900


def test_a_pause_in_the_exposure(tmp_path: Path) -> None:
    original = Photostability.record
    seen = []

    def pause(self: Photostability, point: Any) -> Any:
        found = original(self, point)
        if point["leg"] == EXPOSURE and point["shots"] == 5000:
            self.control.pause()

            def look(timeout_s: float) -> bool:
                seen.append(self.bench.need("shutter").is_open)  # type: ignore[attr-defined]
                self.bench.clock.sleep(300.0)
                self.control.go_on()
                return True

            patch.setattr(self.control, "wait", look)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Photostability, "record", pause)
        outcome = run(tmp_path, TINY)
    assert (outcome.status, seen) == ("finished", [False])
    with RunFile(outcome.path) as found:
        blocks = found.records("leg") == EXPOSURE
        assert np.diff(found.records("time")[blocks]).max() > 300.0
        assert found.records("exposed_shots")[blocks][-1] == pytest.approx(12_000, abs=5)
        shots = found.records("shots_on_sample").astype(float)
        assert shots[-1] >= found.state["world.shots"] > shots[-1] - 900


# ---- the analysis --------------------------------------------------------------------------------


def made(
    left: float = 0.85,
    exponent: float = 2.5,
    drift: float = 0.04,
    direct: float = 0.15,
    blocks: int = 2000,
    after: bool = True,
    seed: int = 3,
) -> PhotostabilityData:
    """Make records of a film whose stimulated light falls to `left`, other light to sqrt(left)."""
    rng = np.random.default_rng(seed)
    nominal, total, accumulate = 40.0, 1e6, 10
    sweep = np.linspace(0.9, 1.1, 9)
    parts = [(LOW, [0.15]), (BEFORE, sweep), (EXPOSURE, np.ones(blocks))]
    parts += [(AFTER, sweep), (LOW_AFTER, [0.15])] if after else []
    leg = np.concatenate([np.full(len(values), which) for which, values in parts])
    x = np.where(leg < EXPOSURE, 0.0, 1.0)
    x[leg == EXPOSURE] = np.arange(1, blocks + 1) / blocks
    slow = drift * np.sin(2.2 * x) * np.where(leg < EXPOSURE, 0.0, 1.0)
    true = nominal * np.concatenate([values for _, values in parts]) * (1.0 + slow)
    error = np.where(leg == EXPOSURE, 0.008, 0.001)
    length = np.log(true / nominal)
    guided = np.exp(np.log(left) * x + exponent * length - 1.5 * length**2)
    guided[(leg == LOW) | (leg == LOW_AFTER)] = 0.0
    other = direct * np.sqrt(left) ** x * (true / nominal) ** 0.5
    scale, bias, dark = 2e5, 2e4, 1e3
    shots = np.where(leg == EXPOSURE, 10, 400)
    reads = np.where(leg == EXPOSURE, 1, accumulate)
    exposure = np.where((leg == LOW) | (leg == LOW_AFTER), 1.0, 0.01)
    noise = np.where(leg == EXPOSURE, 0.006, 0.001)
    per_shot = scale * np.stack([guided + other, 0.7 * guided + 0.2 * other, 0.3 * other], axis=1)
    per_shot *= 1.0 + noise[:, None] * rng.standard_normal((len(leg), 1))
    level = (bias + dark * exposure)[:, None] * np.array([1.0, 0.3, 0.4])
    background = np.where((leg == EXPOSURE)[:, None], np.nan, level * reads[:, None])
    return PhotostabilityData(
        leg=leg,
        exposed_shots=total * np.where(leg < EXPOSURE, 0.0, x),
        dose_J_cm2=nominal * 1e-6 * total * np.cumsum((leg == EXPOSURE) / blocks * (1.0 + slow)),
        counts=per_shot * shots[:, None] + level * reads[:, None],
        background=background,
        exposure_s=exposure,
        accumulations=reads,
        shots=shots,
        fluence_uJ_cm2=true * (1.0 + error * rng.standard_normal(len(leg))),
        fluence_errors_uJ_cm2=error * true,
        measured=np.ones(len(leg), dtype=np.bool_),
        saturated=np.zeros(len(leg), dtype=np.bool_),
        nominal_fluence_uJ_cm2=nominal,
        fluence_rel_unc=0.0,
        planned_shots=total,
    )


@pytest.mark.parametrize(("left", "exponent"), [(0.95, 1.3), (0.85, 2.5), (0.7, 6.0)])
def test_drift_and_other_light_are_taken_out(left: float, exponent: float) -> None:
    results = analyze_photostability(made(left, exponent)).results
    found = results["retained_fraction"]
    assert found.value == pytest.approx(left, abs=max(3.0 * found.stderr, 0.004))
    assert found.stderr < 0.008
    assert results["intensity_exponent"].value == pytest.approx(exponent, abs=0.15)


def test_the_textbooks_division_would_have_been_wrong() -> None:
    analysis = analyze_photostability(made(exponent=6.0, drift=0.05))
    naive = analysis.curves["divided_by_energy_fraction"]
    assert abs(naive[-20:].mean() - 0.85) > 0.1
    assert analysis.results["retained_fraction"].value == pytest.approx(0.85, abs=0.02)


def test_the_scale_of_the_fluence_is_in_the_error() -> None:
    data = made(left=0.7)
    small = analyze_photostability(data).results["retained_fraction"].stderr
    large = analyze_photostability(replace(data, fluence_rel_unc=0.1)).results["retained_fraction"]
    assert large.stderr == pytest.approx(math.hypot(small, 0.1 * 0.7 * 0.357), rel=0.35)


def test_ninety_percent_beyond_the_end() -> None:
    data = made(left=0.95)
    unasked = analyze_photostability(data)
    assert unasked.results["shots_to_90_percent"].value is None
    assert any("--extrapolate" in line for line in unasked.warnings)
    asked = analyze_photostability(replace(data, extrapolate=True))
    found = asked.results["shots_to_90_percent"]
    assert found.extrapolated
    assert found.to_json()["extrapolated"] is True
    assert found.value == pytest.approx(1e6 * math.log(0.9) / math.log(0.95), rel=0.25)
    assert any("extrapolated" in line for line in asked.warnings)


def test_without_the_sweep_after_it_is_less_sure() -> None:
    whole, part = (
        analyze_photostability(made(drift=0.08, exponent=5.0, after=after))
        for after in (True, False)
    )
    assert any("after the exposure is missing" in line for line in part.warnings)
    errors = [one.results["retained_fraction"].stderr for one in (whole, part)]
    assert errors[1] > 1.2 * errors[0]


def test_what_the_records_do_not_support_is_null() -> None:
    data = made(blocks=50)
    legs = np.asarray(data.leg)
    for change, words in (
        ({"saturated": legs == EXPOSURE}, "usable records"),
        ({"background": np.full_like(data.background, np.nan)}, "dark frame"),
        ({"leg": np.where((legs == BEFORE) | (legs == AFTER), 9, legs)}, "local sweeps"),
    ):
        analysis = analyze_photostability(replace(data, **change))
        assert analysis.results["retained_fraction"].value is None
        assert any(words in line for line in analysis.warnings)


def test_a_cosmic_ray_does_not_matter() -> None:
    data = made(blocks=200)
    counts = data.counts.copy()
    counts[np.flatnonzero(np.asarray(data.leg) == EXPOSURE)[::23], 0] *= 1.6
    clean, hit = (
        analyze_photostability(one).results["retained_fraction"].value
        for one in (data, replace(data, counts=counts))
    )
    assert hit == pytest.approx(clean, abs=0.004)


def test_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="shots"):
        replace(made(), shots=np.ones(3))
