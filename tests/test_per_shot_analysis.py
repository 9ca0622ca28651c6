"""per-shot: exponent, scatter and drift are found again; what records do not hold is null."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments.config import parse
from procedures.analysis.per_shot import PerShotData, allan_deviation, analyze_per_shot
from procedures.evaluation import evaluate
from procedures.registry import measurement
from procedures.session import Description, measure

PER_BLOCK, DARK_COUNTS = 500, 9000.0


def made(
    seed: int = 1,
    shots: int = 20_000,
    exponent: float = 2.5,
    scatter: float = 0.02,
    noise: float = 0.01,
    energy_noise: float = 0.002,
    lost: float = 0.0,
    light: float = 60_000.0,
) -> PerShotData:
    """Return shots whose light follows the energy and bleaches by `lost` over the whole run."""
    rng = np.random.default_rng(seed)
    energy = 1.0 + scatter * rng.normal(size=shots)
    energy *= 1.0 + 0.01 * np.sin(np.arange(shots) / 3000.0)  # the laser drifts
    left = 1.0 - lost * np.arange(shots) / shots
    counts = DARK_COUNTS + light * left * energy**exponent * (1.0 + noise * rng.normal(size=shots))
    seen = 1e-7 * energy * (1.0 + energy_noise * rng.normal(size=shots))
    dark = DARK_COUNTS + 30.0 * rng.normal(size=PER_BLOCK)
    blocks = shots // PER_BLOCK
    return PerShotData(
        leg=np.repeat([0, 1], [1, blocks]).astype(np.int8),
        energies_J=np.concatenate([1e-7 * np.ones(PER_BLOCK), seen]).reshape(-1, PER_BLOCK),
        band_counts=np.concatenate([dark, counts]).reshape(-1, PER_BLOCK),
        saturated=np.zeros(blocks + 1, dtype=np.uint32),
        fluence_uJ_cm2=np.repeat([0.0, 57.0], [1, blocks]),
        fluence_errors_uJ_cm2=np.repeat([0.0, 0.05], [1, blocks]),
        planned_shots=shots,
    )


def pull(found: Any, truth: float) -> float:
    return float((found.value - truth) / found.stderr)


def test_what_was_put_in_is_found_again() -> None:
    pulls: dict[str, list[float]] = {"exponent": [], "scatter": [], "drift": [], "tenth": []}
    for seed in range(12):
        results = analyze_per_shot(made(seed, lost=0.03)).results
        pulls["exponent"].append(pull(results["intensity_exponent"], 2.5))
        pulls["scatter"].append(pull(results["energy_scatter"], float(np.hypot(0.02, 0.002))))
        # Over the mean, which is 1 - 0.015.
        pulls["drift"].append(pull(results["drift_per_million_shots"], -1.5 / 0.985))
        pulls["tenth"].append(pull(results["last_over_first_tenth"], 0.9715 / 0.9985))
    for name, values in pulls.items():
        assert np.abs(values).max() < 4.0, (name, values)
        assert np.sqrt(np.mean(np.square(values))) < 2.0, (name, values)
        if name != "exponent":  # whose error is the range between two slopes
            assert np.sqrt(np.mean(np.square(values))) > 0.3, (name, values)


def test_a_drift_of_the_laser_alone_is_no_drift_of_the_sample() -> None:
    analysis = analyze_per_shot(made(5))
    assert abs(pull(analysis.results["last_over_first_tenth"], 1.0)) < 3.0
    energies = analysis.curves["part_energy"]
    assert energies.max() - energies.min() > 0.015
    assert analysis.warnings == []


def test_noise_of_the_energy_detector_is_in_the_error() -> None:
    """Light on energy alone would give 2.5 / 1.25, with an error that knows nothing of it."""
    found = analyze_per_shot(made(3, energy_noise=0.01, noise=0.001)).results["intensity_exponent"]
    assert found.bound is None and abs(pull(found, 2.5)) < 2.0


def test_light_that_mostly_scatters_by_itself_gives_a_bound() -> None:
    analysis = analyze_per_shot(made(4, exponent=1.0, noise=0.05))
    found = analysis.results["intensity_exponent"]
    assert found.bound == "lower" and found.value < 1.0 + 3.0 * found.stderr
    assert any("lower bound" in one for one in analysis.warnings)


def test_allan_deviation_of_white_noise_and_of_a_drift() -> None:
    rng = np.random.default_rng(2)
    lengths, found, errors = allan_deviation(rng.normal(size=2**15))
    assert lengths.tolist() == [2.0**n for n in range(13)]
    assert np.abs((found - lengths**-0.5) / errors).max() < 4.0
    _, ramp, _ = allan_deviation(np.arange(4096.0))
    assert ramp[:4] == pytest.approx(np.array([1, 2, 4, 8]) / np.sqrt(2.0), rel=1e-3)


def test_averaging_pays_until_the_light_drifts() -> None:
    steady = analyze_per_shot(made(1, exponent=1.0)).results["best_average_shots"]
    bleaching = analyze_per_shot(made(1, exponent=1.0, lost=0.5)).results["best_average_shots"]
    assert bleaching.value < steady.value / 3.0


# ---- what no number can come from ---------------------------------------------------------------


def nothing(data: PerShotData, because: str, *names: str) -> None:
    analysis = analyze_per_shot(data)
    assert any(because in one for one in analysis.warnings), analysis.warnings
    for name in names or ("intensity_exponent", "energy_scatter", "last_over_first_tenth"):
        assert analysis.results[name].value is None, name
    analysis.to_json()


def test_bad_records_give_nulls_with_the_reason() -> None:
    good = made(1, shots=4000)
    dark = good.leg == 0
    nothing(replace(good, leg=np.ones_like(good.leg), planned_shots=4000), "no dark block")
    nothing(replace(good, leg=np.zeros_like(good.leg)), "usable shots")
    nothing(replace(good, saturated=np.full(len(dark), 3)), "saturated")
    nothing(replace(good, fluence_uJ_cm2=np.full(len(dark), np.nan)), "no fluence")
    nothing(made(1, shots=4000, light=0.0), "as dark as the dark block")
    nothing(replace(good, energies_J=np.full_like(good.energies_J, np.nan)), "no pulse energy")
    nothing(replace(good, energies_J=0.0 * good.energies_J), "no pulse energy")
    nothing(made(1, shots=500), "to tell a drift", "last_over_first_tenth")
    flat = replace(good, energies_J=np.full_like(good.energies_J, 1e-7))
    nothing(flat, "does not scatter", "intensity_exponent", "correlation")


def test_what_is_left_out_is_told() -> None:
    good = made(1)
    energies, counts = good.energies_J.copy(), good.band_counts.copy()
    energies[3, 100:150] = np.nan
    energies[7, 20] = 0.0
    counts[5, 30] = 4e6  # a cosmic ray
    saturated = good.saturated.copy()
    saturated[9] = 1
    analysis = analyze_per_shot(
        replace(good, energies_J=energies, band_counts=counts, saturated=saturated,
                planned_shots=30_000)
    )  # fmt: skip
    told = "; ".join(analysis.warnings)
    for words in ("51 shots have no pulse", "1 of 40 blocks", "ended early", "1 pairs"):
        assert words in told, told
    assert analysis.results["shots"].value == 20_000 - PER_BLOCK - 51
    assert abs(pull(analysis.results["intensity_exponent"], 2.5)) < 3.0


# ---- from a run file ----------------------------------------------------------------------------


def test_a_simulated_run_is_analysed_and_drawn(tmp_path: Path) -> None:
    settings = {"shots": 4000, "shots_per_record": 500, "spectra": "none"}
    config = parse("[simulation]\nseed = 4\n")
    outcome = measure(
        "per-shot", settings, config, Description("film"), tmp_path, lambda _l: None, quiet=True
    )
    evaluation = evaluate(outcome.path)
    results = evaluation.analysis.results
    assert results["shots"].value == 4000 and results["correlation"].value > 0.9
    assert 0.01 < results["energy_scatter"].value < 0.03
    assert results["intensity_exponent"].value > 1.0  # beyond the threshold
    figure = tmp_path / "shots.png"
    measurement("per-shot").load("figure")(evaluation, figure)
    assert figure.stat().st_size > 20_000
    empty = replace(evaluation, analysis=analyze_per_shot(made(1, light=0.0, shots=500)))
    measurement("per-shot").load("figure")(empty, figure)
