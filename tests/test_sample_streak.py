"""The film resolved in time: shared out without loss, stimulated above threshold only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_drivers.sample import PRESETS, Conditions, StripeFilm, resolve
from sim_drivers.sample.bands import EV_NM
from sim_drivers.sample.truth_transient import streak_truth
from tests.samples import GREEN

ONE = np.ones(1)
CONDITIONS = Conditions(length_cm=0.3)
EDGES = np.linspace(450.0, 600.0, 601)
MIDDLE = 0.5 * (EDGES[1:] + EDGES[:-1])
ALWAYS = np.concatenate([[-1.0, 0.0], np.geomspace(1e-3, 1e6, 300)])


@pytest.fixture(scope="module")
def sample() -> StripeFilm:
    return StripeFilm(PRESETS[GREEN], 0.3)


def shot(
    sample: StripeFilm, fluence: float, times: np.ndarray, conditions: Conditions = CONDITIONS
) -> np.ndarray:
    return sample.transient(times, EDGES, np.array([fluence]), ONE, conditions)


def whole(sample: StripeFilm, fluence: float, conditions: Conditions = CONDITIONS) -> np.ndarray:
    return sample.emission(MIDDLE, np.array([fluence]), ONE, conditions) * np.diff(EDGES)


def test_at_low_fluence_all_times_together_are_what_the_ccd_sees(sample: StripeFilm) -> None:
    for conditions in (CONDITIONS, Conditions(length_cm=0.1, dose_J_cm2=3000.0, age_days=20.0)):
        resolved = shot(sample, 0.01, ALWAYS, conditions).sum(axis=0)
        expected = whole(sample, 0.01, conditions)
        assert resolved == pytest.approx(expected, rel=0.005, abs=1e-3 * expected.max())


@pytest.mark.parametrize(("fluence", "more"), [(11.5, 1.03), (25.0, 1.05), (57.0, 1.02)])
def test_at_any_fluence_but_for_three_excitons_and_more(
    sample: StripeFilm, fluence: float, more: float
) -> None:
    ratio = shot(sample, fluence, ALWAYS).sum() / whole(sample, fluence).sum()
    assert 1.0 < ratio < more


def test_stimulated_light_comes_above_threshold_and_within_the_depletion_time(
    sample: StripeFilm,
) -> None:
    times = np.array([0.0, 15.0, 30.0])
    narrow = (MIDDLE > 522.0) & (MIDDLE < 527.0)
    shares = []
    for fluence in (15.0, 21.99, 25.0, 57.0):
        first, second = shot(sample, fluence, times)[:, narrow].sum(axis=1)
        shares.append(second / first)
    assert shares[0] > shares[1] > 0.8  # Auger alone
    assert shares[2] < 0.5 and shares[3] < 0.06  # exp(-15 / 4.9) = 0.047
    older = Conditions(length_cm=0.3, age_days=60.0)  # threshold 26
    first, second = shot(sample, 25.0, times, older)[:, narrow].sum(axis=1)
    assert second / first > 0.7


def test_the_stimulated_spectrum_is_the_stimulated_line(sample: StripeFilm) -> None:
    early = shot(sample, 57.0, np.array([0.0, 50.0]))[0]
    late = shot(sample, 57.0, np.array([50.0, 6000.0]))[0]
    assert MIDDLE[early.argmax()] == pytest.approx(524.5, abs=0.2)
    above = MIDDLE[early > 0.5 * early.max()]
    assert np.ptp(above) == pytest.approx(5.0, abs=0.5)
    above = MIDDLE[late > 0.5 * late.max()]
    assert np.ptp(above) > 20.0  # what is left is spontaneous


def test_published_spectrograms(sample: StripeFilm) -> None:
    faint, shifted, stimulated = (streak_truth(sample, f) for f in (0.8, 11.5, 25.0))
    assert abs(faint.redshift_meV) < 2.0 and faint.late_peak_nm == pytest.approx(514.5, abs=0.1)
    assert faint.decay_time_ps == pytest.approx(3000.0, rel=0.05)
    assert shifted.redshift_meV == pytest.approx(26.0, abs=1.0)
    assert stimulated.early_peak_nm == pytest.approx(524.5, abs=0.2)
    assert stimulated.decay_time_ps < 50.0
    two = StripeFilm(replace(PRESETS[GREEN], biexciton_radiative_factor=2.0), 0.3)
    assert streak_truth(two, 11.5).redshift_meV == pytest.approx(15.0, abs=1.0)


def test_an_exposure_is_the_sum_of_its_shots(sample: StripeFilm) -> None:
    rng = np.random.default_rng(8)
    fluence = 25.0 * (1.0 + 0.02 * rng.standard_normal(200))
    fluence[:3] = 0.0
    times = np.array([-50.0, 0.0, 10.0, 100.0, 6000.0])
    together = sample.transient(times, EDGES, fluence, np.ones(200), CONDITIONS)
    apart = np.sum([shot(sample, float(one), times) for one in fluence if one > 0.0], axis=0)
    # Shots are grouped: at the corner where gain begins that shows a little.
    assert together == pytest.approx(apart, rel=3e-3, abs=1.2e-3 * apart.max())
    # A steep law: the mean over shots is not the shot of mean fluence.
    mean = 197 * shot(sample, float(fluence[3:].mean()), times)
    assert together.max() > 1.005 * mean.max()


def test_cooling_moves_the_bands_and_warming_brings_them_back(sample: StripeFilm) -> None:
    cold = Conditions(length_cm=0.3, temperature_K=10.0)
    moved = whole(sample, 0.5, cold)
    assert MIDDLE[moved.argmax()] == pytest.approx(EV_NM / 2.375, abs=0.3)
    moved = shot(sample, 0.5, ALWAYS, cold).sum(axis=0)
    assert MIDDLE[moved.argmax()] == pytest.approx(EV_NM / 2.375, abs=0.3)
    room = Conditions(length_cm=0.3, temperature_K=295.0)
    assert np.array_equal(whole(sample, 0.5, room), whole(sample, 0.5))


def test_no_light_no_emission(sample: StripeFilm) -> None:
    dark = Conditions(length_cm=0.0)
    assert not shot(sample, 25.0, ALWAYS, dark).any()
    assert not shot(sample, 0.0, ALWAYS).any()
    assert not shot(sample, 25.0, np.array([-100.0, -50.0, 0.0])).any()
    bleached = Conditions(length_cm=0.3, dose_J_cm2=1e9)
    assert not shot(sample, 25.0, ALWAYS, bleached).any()


def test_a_lossy_guide_and_other_gain_laws_share_out_alike() -> None:
    overrides = {"waveguide_loss_per_cm": 20.0, "gain_law": "logarithmic"}
    lossy = StripeFilm(resolve(GREEN, overrides), 0.3)
    for fluence in (0.01, 57.0):
        ratio = shot(lossy, fluence, ALWAYS).sum() / whole(lossy, fluence).sum()
        assert ratio == pytest.approx(1.0, abs=0.03)
