"""The simulated film: what it is told comes out again, shot by shot, fresh and worn."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from sim_drivers.sample import PRESETS, Film, resolve, truth
from sim_drivers.sample.film import PHOTONS_PER_SATURATION_POWER
from sim_drivers.sample.parameters import GAIN_LAWS
from sim_drivers.sample.stripe_film import depletion_time_ps
from tests.samples import FULL_CM, GREEN, ONE, PIXELS, blind_draw, solved


@pytest.fixture(scope="module")
def film() -> Film:
    return Film(PRESETS[GREEN], FULL_CM)


CONDITIONS = [
    # length, dose, age
    (0.3, 0.0, 0.0),
    (0.15, 0.0, 0.0),
    (0.004, 0.0, 0.0),
    (0.3, 912.0, 0.0),
    (0.2, 400.0, 12.0),
    (0.3, 0.0, 21.0),
    (0.4, 3e4, 90.0),
]


@pytest.mark.parametrize("number", [-1, 1, 3, 6, 9, 11])
def test_emission_is_the_direct_computation(number: int) -> None:
    parameters = PRESETS[GREEN] if number < 0 else blind_draw(number)
    film = Film(parameters, FULL_CM)
    model = film.stripe.wavelengths_nm()
    relative = np.array([1e-6, 1e-3, 0.2, 0.9, 0.98, 1.0, 1.013, 1.05, 1.11, 1.3, 2.0, 3.3, 9.0])
    for length, dose, age in CONDITIONS:
        fluence = parameters.threshold_uJ_cm2 * relative
        exact = truth.detected_spectra(
            film, fluence, length_cm=length, dose_J_cm2=dose, age_days=age
        )
        for one, expected in zip(fluence, exact, strict=True):
            found = film.emission(
                model, np.array([one]), ONE, length, dose_J_cm2=dose, age_days=age
            )
            floor = 1e-4 * expected.max()
            assert np.abs(found - expected).max() < 0.002 * expected.max()
            assert (np.abs(found - expected) / (expected + floor)).max() < 0.002


def test_emission_between_model_wavelengths_and_wear(film: Film) -> None:
    p = film.parameters
    for dose, age in ((0.0, 0.0), (3000.0, 30.0)):
        intact, rise = film.bleach(dose), 0.003 * age
        wavelength, light = solved(film.stripe, 26.0, [0.21], intact=intact, rise=rise)
        shape = film.stripe.spontaneous_shape(wavelength)
        strength = film.stripe.spontaneous(26.0) * film.stripe.seed_per_cm * intact
        direct = p.direct_light_ratio * 0.21 * float(strength) * shape
        expected = PHOTONS_PER_SATURATION_POWER * (light[0] + direct)
        found = film.emission(
            wavelength, np.array([26.0]), ONE, 0.21, dose_J_cm2=dose, age_days=age
        )
        assert found == pytest.approx(expected, rel=0.002, abs=1e-4 * expected.max())


def test_an_exposure_is_the_sum_of_its_shots(film: Film) -> None:
    rng = np.random.default_rng(3)
    fluence = 25.0 * (1.0 + 0.02 * rng.standard_normal(40))
    weights = rng.uniform(1.0, 9.0, 40)
    together = film.emission(PIXELS, fluence, weights, 0.3)
    apart = sum(
        film.emission(PIXELS, fluence[k : k + 1], weights[k : k + 1], 0.3) for k in range(40)
    )
    assert together == pytest.approx(apart, rel=1e-4, abs=1e-6 * together.max())
    mean = film.emission(PIXELS, np.array([weights @ fluence / weights.sum()]), ONE, 0.3)
    # Where emission is steep, the mean of the shots is not the emission at the mean.
    assert together.max() / weights.sum() > 1.005 * mean.max()


def test_many_shots_are_grouped_without_harm(film: Film) -> None:
    rng = np.random.default_rng(4)
    fluence = 24.0 * (1.0 + 0.02 * rng.standard_normal(20_000))
    weights = np.ones(20_000)
    fluence[:100] = 0.0  # misfires
    together = film.emission(PIXELS, fluence, weights, 0.3)
    apart = sum(
        film.emission(PIXELS, fluence[k : k + 1000], weights[k : k + 1000], 0.3)
        for k in range(0, 20_000, 1000)
    )
    assert together == pytest.approx(apart, rel=5e-4, abs=1e-6 * together.max())


def test_ends_of_the_fluence_range(film: Film) -> None:
    faint = [film.emission(PIXELS, np.array([f]), ONE, 0.3) for f in (1e-5, 1e-6)]
    assert faint[0] == pytest.approx(10.0 * faint[1], rel=1e-3)
    bright = [film.emission(PIXELS, np.array([f]), ONE, 0.3) for f in (2e3, 2e4)]
    assert bright[1] == pytest.approx(bright[0], rel=1e-6)  # every dot has two excitons
    expected = truth.detected_spectra(film, 2e4, PIXELS)[0]
    assert bright[1] == pytest.approx(expected, rel=2e-3, abs=1e-5 * expected.max())


def test_no_light_no_emission(film: Film) -> None:
    assert not film.emission(PIXELS, np.zeros(3), np.ones(3), 0.3).any()
    assert not film.emission(PIXELS, np.array([57.0]), ONE, 0.0).any()
    assert not film.emission(PIXELS, np.zeros(0), np.zeros(0), 0.3).any()
    dead = film.emission(PIXELS, np.array([57.0]), ONE, 0.3, dose_J_cm2=1e9)
    assert not dead.any()
    elsewhere = film.emission(np.array([300.0, 900.0]), np.array([57.0]), ONE, 0.3)
    assert np.all(elsewhere < 1e-6)


@pytest.mark.parametrize(
    ("fluence", "weights", "length", "more"),
    [
        ([-1.0], [1.0], 0.3, {}),
        ([np.nan], [1.0], 0.3, {}),
        ([57.0, 58.0], [1.0], 0.3, {}),
        ([57.0], [np.inf], 0.3, {}),
        ([57.0], [1.0], -0.1, {}),
        ([57.0], [1.0], np.nan, {}),
        ([57.0], [1.0], 0.3, {"dose_J_cm2": -1.0}),
        ([57.0], [1.0], 0.3, {"dose_J_cm2": np.nan}),
        ([57.0], [1.0], 0.3, {"age_days": -1.0}),
    ],
)
def test_nonsense_is_refused(
    film: Film, fluence: list[float], weights: list[float], length: float, more: dict[str, float]
) -> None:
    with pytest.raises(ValueError):
        film.emission(PIXELS, np.array(fluence), np.array(weights), length, **more)


def test_brightness(film: Film) -> None:
    pixels = np.arange(470.0, 560.0, 0.1)
    bright = 0.1 * film.emission(pixels, np.array([80.0]), ONE, 0.3).max()
    faint = 0.1 * film.emission(pixels, np.array([0.8]), ONE, 0.3).max()
    assert bright == pytest.approx(4e4, rel=0.05)
    assert 1.0 < faint < 20.0


# --- wear -----------------------------------------------------------------------------------


def test_bleaching_leaves_what_was_promised(film: Film) -> None:
    dose = 1.6e7 * 57e-6
    assert film.bleach(dose) == pytest.approx(0.928, abs=0.001)
    assert film.bleach(0.0) == 1.0
    for parameters in (PRESETS[GREEN], blind_draw(2), blind_draw(3)):
        worn = Film(replace(parameters, direct_light_ratio=0.0), FULL_CM)
        fluence = np.array([parameters.gain_fluence_uJ_cm2])
        axis = worn.stripe.wavelengths_nm()
        dose = parameters.retained_shots * parameters.gain_fluence_uJ_cm2 * 1e-6
        fresh = worn.emission(axis, fluence, ONE, FULL_CM).sum()
        left = worn.emission(axis, fluence, ONE, FULL_CM, dose_J_cm2=dose).sum()
        assert left / fresh == pytest.approx(parameters.retained_fraction, rel=1e-3)


def test_a_film_that_does_not_bleach() -> None:
    film = Film(resolve(GREEN, {"retained_fraction": 1.0}))
    assert film.bleach(1e6) == 1.0
    assert truth.shots_to_fraction(film, 0.9) == float("inf")


@pytest.mark.parametrize("law", GAIN_LAWS)
def test_age_moves_the_threshold_and_nothing_else(law: str) -> None:
    overrides = {"direct_light_ratio": 0.0, "ageing_per_day": 0.01, "gain_law": law}
    film = Film(resolve(GREEN, overrides))
    at_peak = np.array([film.stripe.gain_peak_nm])
    for age in (0.0, 7.0, 20.0):
        threshold = 22.0 * (1.0 + 0.01 * age)
        assert truth.threshold_uJ_cm2(film, age) == pytest.approx(threshold)
        ratios = []
        for fluence in (0.99 * threshold, threshold, 1.01 * threshold):
            ends = [
                film.emission(at_peak, np.array([fluence]), ONE, length, age_days=age)[0]
                for length in (0.1, 0.05)
            ]
            ratios.append(ends[0] / ends[1])
        # At zero net gain guided light grows as the length.
        assert ratios[1] == pytest.approx(2.0, abs=0.004)
        assert ratios[0] < 1.99 and ratios[2] > 2.01


def test_a_night_of_slowly_growing_dose_is_fast_and_smooth(film: Film) -> None:
    rng = np.random.default_rng(5)
    fluence = 57.0 * (1.0 + 0.02 * rng.standard_normal(64))
    weights = np.full(64, 1000.0 / 64)
    doses = np.linspace(0.0, 912.0, 1200)
    film.emission(PIXELS, fluence, weights, 0.3)
    begin = time.process_time()
    peak = np.array(
        [
            film.emission(
                PIXELS, fluence, weights, 0.3, dose_J_cm2=dose, age_days=dose / 912.0 * 0.19
            ).max()
            for dose in doses
        ]
    )
    assert (time.process_time() - begin) / len(doses) < 1.5e-3
    logarithm = np.log(peak)
    assert np.all(np.diff(logarithm) < 0.0)
    straight = np.polynomial.Polynomial.fit(doses, logarithm, 4)
    assert np.abs(logarithm - straight(doses)).max() < 5e-5


# --- truth ----------------------------------------------------------------------------------


def test_truth_of_the_published_film(film: Film) -> None:
    peak, width = truth.spontaneous_line(film)
    assert (peak, width) == pytest.approx((514.5, 23.0), abs=1e-3)
    assert truth.shots_to_fraction(film, 0.9) == pytest.approx(1.6e7, rel=1e-6)
    assert truth.stimulated_fraction(film, [0.0, 1.6e7]) == pytest.approx([1.0, 0.9], rel=1e-6)
    assert depletion_time_ps(film.parameters) == pytest.approx(4.9, abs=0.01)
    below, above = truth.slope_below(film), truth.slope_above(film)
    assert 0.85 < below < 1.0  # spontaneous light saturates as 1 - exp(-N)
    assert above == pytest.approx(6.8, abs=0.3)
    chosen = truth.slope_above(film, np.array([5.0, 22.0 * 1.05001, 22.0 * 1.29999, 57.0]))
    ends = truth.band_intensity(film, [22.0 * 1.05001, 22.0 * 1.29999])
    assert chosen == pytest.approx(np.log(ends[1] / ends[0]) / np.log(1.29999 / 1.05001))
    with pytest.raises(ValueError, match="two fluences"):
        truth.slope_above(film, np.array([5.0, 57.0]))


def test_truth_is_what_the_film_emits(film: Film) -> None:
    for fluence in (3.0, 23.0, 57.0):
        expected = truth.detected_spectra(film, fluence, PIXELS)[0]
        found = film.emission(PIXELS, np.array([fluence]), ONE, 0.3)
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-5 * expected.max())
