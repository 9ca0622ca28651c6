"""The analysis of the capillary laser: modes, spacing and threshold from spectra made here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from procedures.analysis.capillary_lasing import analyze_capillary_lasing
from procedures.analysis.lasing import LightCurves, averaged, fit_laser, photons
from procedures.analysis.parted import clean_parts
from procedures.analysis.spot_records import SpotData
from procedures.analysis.wgm import Modes, find_modes, number_modes

HC = 1239.841984
GAIN_E, READ_E = 4.0, 11.0
DIAMETER_UM, INDEX = 50.0, 1.8
SPACING_EV = HC / (np.pi * 1e3 * DIAMETER_UM * INDEX)


def emitted(x: float, beta: float) -> float:
    """Solve the steady state of a mode by bisection: carriers n / (n + beta), emission 1 + n."""
    return float(brentq(lambda n: n / (n + beta) * (1.0 + n) - x, 1e-16, 1e3))


def series(
    threshold: float = 2.0,
    beta: float = 1e-4,
    fluences: Any = None,
    seed: int = 1,
    spacing_eV: float = SPACING_EV,
    **more: Any,
) -> SpotData:
    """Make a series with noise, four parts a record, and a cosmic ray in each third record."""
    rng = np.random.default_rng(seed)
    wavelength = np.linspace(511.0, 538.0, 1024)
    modes = HC / (HC / 524.3 + spacing_eV * np.arange(-6, 7))
    gain = np.exp(-4.0 * np.log(2.0) * ((modes - 525.0) / 9.0) ** 2)
    true = np.geomspace(0.5, 8.0, 22) if fluences is None else np.asarray(fluences)
    step = wavelength[1] - wavelength[0]
    lines = np.exp(-0.5 * ((wavelength - modes[:, np.newaxis]) / (1.25 * step)) ** 2)
    best = gain.max()
    shots, many = 120, len(true)
    parts = np.zeros((many, 4, 1024))
    for record in range(many):
        pulses = true[record] * (1.0 + 0.02 * rng.standard_normal((4, shots // 4)))
        for part in range(4):
            light = np.zeros(1024)
            for mode, one in enumerate(gain / best):
                table = np.linspace(0.9, 1.1, 21) * true[record]
                answer = [emitted(value * one / threshold, beta) for value in table]
                light += 150.0 * np.interp(pulses[part], table, answer).sum() * lines[mode]
            level = min(true[record] / threshold, 1.0)
            light += shots / 4 * 8.0 * level * np.exp(-(((wavelength - 516.0) / 14.0) ** 2))
            electrons = rng.poisson(light * GAIN_E) + READ_E * rng.standard_normal(1024)
            parts[record, part] = 300.0 + np.rint(electrons / GAIN_E)
        if record % 3 == 0:
            place = int(rng.integers(5, 1018))
            parts[record, int(rng.integers(4)), place : place + 2] += 4000.0
    dark = 4 * 300.0 + 2.0 * READ_E / GAIN_E * rng.standard_normal((many, 1024))
    fluence = true * (1.0 + 0.003 * rng.standard_normal(many))
    values: dict[str, Any] = {
        "wavelength_nm": wavelength,
        "counts": parts.sum(axis=1),
        "background": np.rint(dark),
        "gain_e_per_count": GAIN_E,
        "read_noise_e": READ_E,
        "accumulations": np.full(many, 4),
        "shots": np.full(many, shots),
        "fluence_mJ_cm2": fluence,
        "fluence_errors_mJ_cm2": 0.0035 * fluence,
        "fluence_rel_unc": 0.0,
        "saturated": np.zeros(many, dtype=bool),
        "direction": np.ones(many),
        "pulse_spread": 0.02,
        "parts": parts,
    }
    return SpotData(**{**values, **more})


@pytest.fixture(scope="module")
def usual() -> SpotData:
    return series()


def test_the_photons_of_a_mode_are_those_of_the_rate_equations() -> None:
    for beta in (1e-6, 1e-3, 0.1):
        x = np.array([0.01, 0.5, 0.999, 1.0, 1.001, 1.5, 9.0])
        value, slope, by_beta = photons(x, beta)
        assert value == pytest.approx([emitted(one, beta) for one in x], rel=1e-6)
        near = (photons(x + 1e-7, beta)[0] - photons(x - 1e-7, beta)[0]) / 2e-7
        assert slope == pytest.approx(near, rel=1e-3, abs=1e-7)
        step = 1e-4 * beta
        near = (photons(x, beta + step)[0] - photons(x, beta - step)[0]) / (2.0 * step)
        assert by_beta == pytest.approx(near, rel=1e-3)


def test_pulses_that_scatter_round_the_kink() -> None:
    rng = np.random.default_rng(3)
    pulses = 1.0 + 0.02 * rng.standard_normal(400_000)
    mean, _, _, scatter = averaged(np.array([1.0]), 1e-3, 0.02)
    value = photons(pulses, 1e-3)[0]
    assert mean[0] == pytest.approx(value.mean(), rel=0.01)
    assert mean[0] > 1.02 * photons(np.array([1.0]), 1e-3)[0][0]
    slope, cut = np.polyfit(pulses, value, 1)
    assert scatter[0] == pytest.approx(np.var(value - slope * pulses - cut), rel=0.25)


def test_threshold_spacing_and_group_index_are_found(usual: SpotData) -> None:
    analysis = analyze_capillary_lasing(usual, DIAMETER_UM)
    threshold = analysis.results["threshold_mJ_cm2"]
    assert threshold.value == pytest.approx(2.0, rel=0.01)
    assert abs(threshold.value - 2.0) < 3.5 * threshold.stderr < 0.06  # type: ignore[operator]
    assert analysis.results["group_index"].value == pytest.approx(INDEX, rel=1e-3)
    assert analysis.results["mode_spacing_nm"].value == pytest.approx(
        525.0**2 * SPACING_EV / HC, rel=2e-3
    )
    eye = analysis.curves["for_the_eye_fluence_mJ_cm2"][0]
    assert eye > 1.1 * 2.0  # what the textbook's straight line would have said
    assert analysis.warnings == []


def test_the_group_index_rests_on_the_diameter_given(usual: SpotData) -> None:
    half = analyze_capillary_lasing(usual, 0.5 * DIAMETER_UM, 0.02)
    whole = analyze_capillary_lasing(usual, DIAMETER_UM)
    index = half.results["group_index"]
    assert index.value == pytest.approx(2.0 * whole.results["group_index"].value, rel=1e-9)
    assert index.stderr == pytest.approx(0.02 * index.value, rel=0.01)  # type: ignore[operator]
    assert half.results["mode_spacing_nm"] == whole.results["mode_spacing_nm"]
    with pytest.raises(ValueError, match="cavity_diameter_um"):
        analyze_capillary_lasing(usual, 0.0)


def test_the_fluence_scale_is_in_the_threshold(usual: SpotData) -> None:
    result = analyze_capillary_lasing(replace(usual, fluence_rel_unc=0.05), DIAMETER_UM).results
    threshold = result["threshold_mJ_cm2"]
    assert threshold.stderr == pytest.approx(0.05 * threshold.value, rel=0.05)  # type: ignore[operator]


def test_a_series_below_threshold_states_nothing() -> None:
    analysis = analyze_capillary_lasing(
        series(fluences=np.geomspace(0.2, 1.2, 12), beta=1e-6), DIAMETER_UM
    )
    assert all(result.value is None for result in analysis.results.values())
    assert any("no lasing" in line for line in analysis.warnings)


def test_a_series_wholly_above_threshold_has_modes_but_no_threshold() -> None:
    analysis = analyze_capillary_lasing(series(fluences=np.geomspace(3.0, 9.0, 12)), DIAMETER_UM)
    assert analysis.results["threshold_mJ_cm2"].value is None
    assert analysis.results["group_index"].value == pytest.approx(INDEX, rel=2e-3)
    assert any("further on both sides" in line for line in analysis.warnings)


def test_a_cosmic_ray_is_no_mode_and_a_mode_no_cosmic_ray(usual: SpotData) -> None:
    counts, variance, hits = clean_parts(usual)
    brightest = int(np.argmax(usual.fluence_mJ_cm2))
    mode = int(np.argmax(np.median(np.asarray(usual.parts)[brightest], axis=0)))
    assert not hits[brightest, mode]
    assert counts[brightest, mode] > 1000.0
    for record in range(0, len(counts), 3):
        assert 1 <= hits[record].sum() <= 12
    quiet = np.median(usual.fluence_mJ_cm2) > usual.fluence_mJ_cm2
    away = np.abs((counts - np.median(counts, axis=1, keepdims=True))[quiet])
    assert away.max() < 3000.0  # a ray has 4000 counts
    assert (variance > 0).all()


def lines(places: Any, heights: Any = None) -> Modes:
    places = np.asarray(places, dtype=float)
    height = np.ones(len(places)) if heights is None else np.asarray(heights, dtype=float)
    return Modes(np.arange(len(places)) * 20.0, places, np.full(len(places), 1e-3), 3.0, height)


def test_missing_modes_and_strangers_do_not_spoil_the_numbers() -> None:
    numbers = np.array([0, 1, 2, 4, 5, 6, 9])
    energy = 2.34 + 0.0045 * numbers
    stranger = HC / (2.34 + 0.0045 * 2.45)
    found = number_modes(lines([*(HC / energy), stranger], [1, 2, 3, 3, 3, 2, 1, 0.3]))
    assert found is not None
    assert found.spacing_eV == pytest.approx(0.0045, rel=1e-3)
    assert list(found.number[:7]) == list(numbers)
    assert list(found.member) == [True] * 7 + [False]
    assert not found.curved


def test_lines_at_random_are_no_comb() -> None:
    rng = np.random.default_rng(8)
    assert number_modes(lines([520.0, 521.0])) is None
    combs = [number_modes(lines(np.sort(rng.uniform(515.0, 535.0, 9)))) for _ in range(30)]
    spoiled = [one for one in combs if one is None or not one.member.all()]
    assert len(spoiled) >= 27


def test_noise_has_no_modes() -> None:
    rng = np.random.default_rng(9)
    assert find_modes(np.linspace(500, 530, 1024), rng.standard_normal(1024), np.ones(1024)) is None


def test_thresholds_have_honest_errors() -> None:
    rng = np.random.default_rng(4)
    fluence, pulls = np.geomspace(0.5, 6.0, 20), []
    true = np.array([2.0, 2.2, 2.6])
    for _ in range(40):
        shaken = fluence * np.exp(0.004 * rng.standard_normal(20))
        light = 1e3 * averaged(fluence[:, np.newaxis] / true, 3e-4, 0.0)[0]
        noise = np.sqrt(light + 4.0)
        seen = light + np.hypot(noise, 0.003 * light) * rng.standard_normal(light.shape)
        curves = LightCurves(shaken, np.full(20, 0.004), seen, noise**2, np.full(20, 100.0), 0.0)
        fit = fit_laser(curves)
        assert fit is not None
        sigma = np.sqrt(np.diag(fit.ln_covariance))
        pulls.append(np.log(fit.threshold / true) / sigma)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.3)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.5)
