"""The analysis of stripe-length against stripes integrated here, by other means and other laws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from procedures.analysis.gain_model import INDEX, NAMES, Scan, guided_power, seen
from procedures.analysis.gain_textbook import unsaturated_fit
from procedures.analysis.results import Analysis
from procedures.analysis.stripe_length import StripeLengthData, analyze_stripe_length
from procedures.analysis.stripe_model import Channels
from procedures.analysis.sweep_records import PowerSweepData

FloatArray = NDArray[np.float64]

PIXELS_NM = np.linspace(480.0, 556.0, 220)
CAMERA_GAIN, OFFSET, READ_E = 4.0, 300.0, 6.0
SHOTS = 400
TRUE_ZERO_CM, GROSS, LOSS, KAPPA, SEED, POWER = 0.003, 150.0, 55.0, 1.2, 4000.0, 3.0e4


def spontaneous(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-4.0 * np.log(2.0) * ((x - 515.0) / 23.0) ** 2))


def gain_band(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-4.0 * np.log(2.0) * ((x - 524.0) / 18.0) ** 2))


def light(
    lengths_cm: FloatArray, gross: float, seed: float, loss: float = LOSS, lasting: float = 0.0
) -> FloatArray:
    """Return counts per shot and nm at true lengths, rising, by a library's integrator."""
    gain, source = gross * gain_band(PIXELS_NM) - loss, seed * spontaneous(PIXELS_NM)
    step = PIXELS_NM[1] - PIXELS_NM[0]

    def along(_z: float, i: FloatArray) -> FloatArray:
        open_ = 1.0 / (1.0 + i.sum() * step / POWER)
        return np.asarray(((gain + lasting) * open_ - lasting) * i + source)

    done = solve_ivp(
        along,
        (0.0, float(lengths_cm[-1])),
        np.zeros(len(PIXELS_NM)),
        t_eval=lengths_cm,
        rtol=1e-7,
        atol=1e-9,
    )
    return np.asarray(done.y.T + KAPPA * lengths_cm[:, None] * source)


@cache
def run(
    *, gross: float = GROSS, lasting: float = 0.0, longest_cm: float = 0.25, low: int = 10,
    noise: float = 0.0015, seed: int = 5,
) -> StripeLengthData:  # fmt: skip
    """Return a run at 50 uJ/cm^2, its gain growing as the square root of the fluence there."""
    rng = np.random.default_rng(seed)
    scans = [(0, 2.0, low, 0.01 * gross, 0.05 * SEED), (1, 50.0, 24, gross, SEED)]
    scans.append((2, 45.0, 6, gross * np.sqrt(0.9), SEED * 0.9**0.6))
    parts: list[FloatArray] = []
    columns: dict[str, list[float]] = {"length": [], "fluence": [], "scan": []}
    for scan, fluence, points, strength, source in scans:
        if not points:
            continue
        slit = np.geomspace(0.01, longest_cm, points)
        clean = light(slit - TRUE_ZERO_CM, strength, source, lasting=lasting)
        # A record's pulses are off its reading by `noise`: the gain's growth turns that to light.
        off = noise * rng.standard_normal(points)
        steep = 0.97 if scan == 0 else 0.5 * strength * (slit - TRUE_ZERO_CM)
        parts.append(clean * np.exp(off * np.minimum(steep, 4.0))[:, None])
        columns["length"] += list(slit)
        columns["fluence"] += [fluence] * points
        columns["scan"] += [float(scan)] * points
    per_shot = np.concatenate(parts) * (PIXELS_NM[1] - PIXELS_NM[0])
    count = len(per_shot)
    shots = np.where(np.array(columns["scan"]) == 0, 40 * SHOTS, SHOTS)
    electrons = rng.poisson(per_shot * shots[:, None] * CAMERA_GAIN)
    electrons = electrons + rng.normal(0.0, READ_E, electrons.shape)
    dark = rng.normal(0.0, READ_E, electrons.shape)
    fluence_column = np.array(columns["fluence"])
    records = PowerSweepData(
        wavelength_nm=PIXELS_NM,
        counts=electrons / CAMERA_GAIN + OFFSET,
        background=dark / CAMERA_GAIN + OFFSET,
        gain_e_per_count=CAMERA_GAIN,
        read_noise_e=READ_E,
        exposure_s=np.full(count, 1.0),
        accumulations=np.ones(count),
        shots=shots,
        fluence_uJ_cm2=fluence_column,
        fluence_errors_uJ_cm2=noise * fluence_column,
        fluence_rel_unc=0.01,
        stripe_length_cm=np.array(columns["length"]),
        full_stripe_length_cm=0.3,
        saturated=np.zeros(count, dtype=np.bool_),
        direction=np.array(columns["scan"]),
    )
    return StripeLengthData(records, 50.0, 2.0)


def halved_at(gross: float = GROSS) -> float:
    """Return where the guided band power is the saturation power, in true cm."""
    grid = np.linspace(0.001, 0.25, 600)
    step = PIXELS_NM[1] - PIXELS_NM[0]
    direct = KAPPA * grid[:, None] * SEED * spontaneous(PIXELS_NM)
    power = (light(grid, gross, SEED) - direct).sum(axis=1) * step
    return float(np.interp(POWER, power, grid))


@pytest.fixture(scope="module")
def found() -> Analysis:
    return analyze_stripe_length(run())


def within(result: Any, truth: float, stderrs: float = 3.0) -> bool:
    return bool(abs(result.value - truth) < stderrs * result.stderr)


def stderr(found: Analysis, name: str) -> float:
    error = found.results[name].stderr
    assert isinstance(error, float)
    return error


def test_a_stripe_is_found_again(found: Analysis) -> None:
    results = found.results
    assert within(results["gain_per_cm"], GROSS - LOSS)
    assert stderr(found, "gain_per_cm") < 0.04 * (GROSS - LOSS)
    assert within(results["saturation_length_cm"], halved_at())
    assert stderr(found, "saturation_length_cm") < 0.04 * halved_at()
    assert within(results["slit_zero_um"], 1e4 * TRUE_ZERO_CM)
    assert stderr(found, "slit_zero_um") < 2.0
    assert not found.warnings


def test_the_depletion_time_is_that_of_the_saturation_length(found: Analysis) -> None:
    length, time = found.results["saturation_length_cm"], found.results["depletion_time_ps"]
    assert time.value == pytest.approx(2.0 * length.value / 0.0299792458)  # type: ignore[operator]
    assert time.stderr / time.value == pytest.approx(length.stderr / length.value)  # type: ignore[operator]


def test_the_scale_of_the_fluence_is_in_the_errors() -> None:
    data = run()
    sure = replace(data, records=replace(data.records, fluence_rel_unc=0.0))
    loose = replace(data, records=replace(data.records, fluence_rel_unc=0.05))
    errors = [stderr(analyze_stripe_length(one), "gain_per_cm") for one in (sure, loose)]
    # Gross gain grows as the square root of the fluence here: 5 % of fluence are 2.5 % of it.
    added = np.sqrt(errors[1] ** 2 - errors[0] ** 2)
    assert added == pytest.approx(0.025 * GROSS, rel=0.2)


def test_the_slit_s_own_zero_and_direction_are_taken_along() -> None:
    data = replace(run(), slit_zero_cm=0.01, slit_direction=-1.0)
    result = analyze_stripe_length(data).results["slit_zero_um"]
    assert within(result, 100.0 - 1e4 * TRUE_ZERO_CM)


def test_below_threshold_the_gain_is_negative_and_nothing_saturates() -> None:
    found = analyze_stripe_length(run(gross=30.0))
    assert within(found.results["gain_per_cm"], 30.0 - LOSS)
    assert found.results["saturation_length_cm"].value is None
    assert found.results["depletion_time_ps"].value is None
    assert any("no net gain" in warning for warning in found.warnings)


def test_stripes_that_end_before_saturation_do_not_tell_it() -> None:
    found = analyze_stripe_length(run(longest_cm=0.6 * halved_at()))
    assert within(found.results["gain_per_cm"], GROSS - LOSS)
    assert found.results["saturation_length_cm"].value is None
    assert any("not halved" in warning for warning in found.warnings)


def test_a_loss_that_does_not_saturate_is_noticed() -> None:
    found = analyze_stripe_length(run(lasting=6.0))
    assert within(found.results["gain_per_cm"], GROSS - LOSS)
    assert stderr(found, "gain_per_cm") < 0.05 * (GROSS - LOSS)


def test_without_low_fluence_there_is_no_zero_but_a_gain() -> None:
    found = analyze_stripe_length(run(low=0))
    assert found.results["slit_zero_um"].value is None
    assert within(found.results["gain_per_cm"], GROSS - LOSS)
    assert any("low fluence" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: {"saturated": np.ones_like(r.saturated)}, "usable records"),
        (lambda r: {"stripe_length_cm": np.full_like(r.stripe_length_cm, 0.1)}, "span a factor"),
        (lambda r: {"fluence_uJ_cm2": 1.5 * r.fluence_uJ_cm2}, "too far"),
    ],
)
def test_what_the_records_do_not_support_is_null(change: Any, says: str) -> None:
    data = run()
    found = analyze_stripe_length(
        replace(data, records=replace(data.records, **change(data.records)))
    )
    assert all(result.value is None for result in found.results.values())
    assert any(says in warning for warning in found.warnings)


def test_a_film_that_changed_meanwhile_is_reported() -> None:
    data = run()
    records = data.records
    last = int(np.flatnonzero(records.direction == 1)[-1])

    def grown(name: str, by: float = 1.0) -> Any:
        column = np.asarray(getattr(records, name))
        return np.concatenate([column, by * column[last : last + 1]])

    names = ("exposure_s", "accumulations", "shots", "fluence_uJ_cm2", "fluence_errors_uJ_cm2",
             "stripe_length_cm", "saturated", "background")  # fmt: skip
    columns: dict[str, Any] = {name: grown(name) for name in names}
    columns["saturated"] = columns["saturated"].astype(bool)
    columns["direction"] = np.append(records.direction, 3)
    for share, heard in ((1.0, False), (0.8, True)):
        faded = OFFSET + share * (np.asarray(records.counts)[last] - OFFSET)
        columns["counts"] = np.vstack([records.counts, faded])
        told = analyze_stripe_length(replace(data, records=replace(records, **columns))).warnings
        assert any("taken again" in warning for warning in told) is heard


# ---- the model -------------------------------------------------------------------------------


def theta() -> FloatArray:
    values = dict.fromkeys(NAMES, 0.0) | {
        "ln_gross": np.log(GROSS), "gain_peak_nm": 524.0, "ln_gain_fwhm": np.log(18.0),
        "ln_loss": np.log(LOSS), "ln_seed": np.log(SEED), "ln_direct_ratio": np.log(KAPPA),
        "ln_saturation": np.log(POWER), "zero_cm": 0.0, "ln_blur": -9.0, "gain_growth": 0.8,
        "seed_growth": 0.5, "ln_low_seed": np.log(100.0), "low_exponent": 1.5,
        "band_peak_nm": 515.0, "ln_band_fwhm": np.log(23.0),
    }  # fmt: skip
    return np.array([[values[name] for name in NAMES]])


@pytest.mark.parametrize("lasting", [0.0, 8.0])
def test_the_model_is_the_stripe_equation(lasting: float) -> None:
    lengths = np.geomspace(0.01, 0.25, 12)
    sets = theta()
    sets[0, INDEX["lasting_loss"]] = lasting
    channels = Channels(PIXELS_NM, np.gradient(PIXELS_NM))
    scan = Scan(lengths, np.zeros(12), np.zeros(12, dtype=np.bool_), -3.0, 0.0, steps=150)
    got = seen(sets, scan, channels).seen[0]
    wanted = light(lengths, GROSS, SEED, lasting=lasting)
    bright = wanted > 1e-3 * wanted.max(axis=1, keepdims=True)
    assert np.max(np.abs(got / wanted - 1.0)[bright]) < 6e-3


def test_pulses_that_scatter_give_more_light_where_gain_is_high() -> None:
    lengths = np.array([0.01, 0.04])
    channels = Channels(PIXELS_NM, np.gradient(PIXELS_NM))
    line = int(np.argmin(np.abs(PIXELS_NM - 524.0)))

    def at(spread: float, fluence: float = 0.0) -> FloatArray:
        scan = Scan(lengths, np.full(2, fluence), np.zeros(2, dtype=np.bool_), -3.0, spread)
        return np.asarray(seen(theta(), scan, channels).seen[0][:, line])

    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    pulses = [at(0.0, 0.04 * node) for node in nodes]
    mean = np.average(pulses, axis=0, weights=weights)
    gained = at(0.04) / at(0.0) - 1.0
    assert gained[1] > 5e-3 > gained[0]
    assert gained[1] == pytest.approx(mean[1] / at(0.0)[1] - 1.0, rel=0.1)


def test_guided_power_is_one_where_the_gain_is_halved() -> None:
    channels = Channels(PIXELS_NM, np.gradient(PIXELS_NM))
    power = guided_power(theta(), np.array([0.01, halved_at()]), 0.0, channels, 150)
    assert power[0, 1] == pytest.approx(1.0, rel=0.01)


def test_the_textbook_is_right_only_without_saturation_and_direct_light() -> None:
    x = np.geomspace(0.01, 0.1, 20)
    pure = 5.0 * np.expm1(80.0 * x) / 80.0
    exact = unsaturated_fit(x, pure, np.full(20, 0.01))
    assert exact is not None
    assert exact.gain_per_cm == pytest.approx(80.0, rel=1e-4)
    assert exact.length_cm[-1] == pytest.approx(0.1)
    low = unsaturated_fit(x, pure / (1.0 + pure / 40.0) + 5.0 * x, np.full(20, 0.01))
    assert low is not None
    assert low.gain_per_cm < 70.0
    assert unsaturated_fit(x[:3], pure[:3], np.full(3, 0.01)) is None
