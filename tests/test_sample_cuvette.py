"""The cuvette: depth and spot against closed forms, and what the textbook estimators make of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import exp1

from sim_drivers.sample import Conditions, Cuvette, resolve
from sim_drivers.sample.cuvette import PHOTONS_PER_EXCITON
from sim_drivers.sample.truth_transient import gated_spectrum, streak_truth

PER_EXCITON = 2.5e-14 / 4.96611e-13  # excitons per uJ/cm2
ONE = np.ones(1)
CONDITIONS = Conditions()


def cuvette(**overrides: float | str) -> Cuvette:
    return Cuvette(resolve("CsPbBr3-solution", overrides, "cuvette"))


def hit(sample: Cuvette, excitons: float) -> float:
    """Dots of the flat spot's that hold an exciton."""
    return float(sample.occupied(np.array([excitons / PER_EXCITON]), ONE).sum())


def test_a_flat_spot_in_a_thin_solution_is_poissonian() -> None:
    sample = cuvette()
    for excitons in (1e-3, 0.5, 3.0):
        assert hit(sample, excitons) == pytest.approx(1.0 - np.exp(-excitons), rel=1e-5)


@pytest.mark.parametrize("density", [0.1, 0.3, 2.0])
def test_the_pump_is_weakened_through_the_depth(density: float) -> None:
    sample = cuvette(optical_density=density)
    absorbed = (1.0 - 10.0**-density) / (density * np.log(10.0))
    assert hit(sample, 1e-4) / 1e-4 == pytest.approx(absorbed, rel=1e-3)
    if density == 0.3:
        assert absorbed - 1.0 == pytest.approx(-0.278, abs=0.001)
    # At high fluence depth matters less and less: all dots are excited.
    assert hit(sample, 500.0) == pytest.approx(1.0, rel=0.02)
    e1 = exp1(2.0 * 10.0**-density) - exp1(2.0)
    assert hit(sample, 2.0) == pytest.approx(1.0 - e1 / (density * np.log(10.0)), rel=1e-5)


def test_a_gaussian_spot_of_the_same_energy() -> None:
    flat, gaussian = cuvette(), cuvette(spot_profile="gaussian")
    assert hit(gaussian, 1e-4) == pytest.approx(hit(flat, 1e-4), rel=1e-3)
    for excitons in (0.3, 1.0, 4.0, 20.0):
        x = 2.0 * excitons  # the peak has twice the mean
        expected = 0.5 * (np.euler_gamma + np.log(x) + exp1(x))
        assert hit(gaussian, excitons) == pytest.approx(expected, rel=1e-4)


def test_depth_and_spot_together() -> None:
    both = cuvette(spot_profile="gaussian", optical_density=0.5)
    depth = (np.arange(400) + 0.5) / 400
    x = 2.0 * 3.0 * 10.0 ** (-0.5 * depth)
    expected = np.mean(0.5 * (np.euler_gamma + np.log(x) + exp1(x)))
    assert hit(both, 3.0) == pytest.approx(expected, rel=1e-4)


def late_light(
    sample: Cuvette, excitons: np.ndarray, time_ps: float, gate_ps: float = 10.0
) -> np.ndarray:
    edges = np.array([time_ps, time_ps + gate_ps])
    band = np.array([450.0, 600.0])
    return np.array(
        [
            sample.transient(edges, band, np.array([n / PER_EXCITON]), ONE, CONDITIONS).sum()
            for n in excitons
        ]
    )


@pytest.mark.parametrize(
    ("overrides", "low", "high"),
    [
        # What is left of the biexcitons after 400 ps, each brighter.
        ({"biexciton_radiative_factor": 2.0}, -0.10, -0.07),
        ({}, -0.17, -0.13),
        ({"optical_density": 0.3}, -0.40, -0.35),
        ({"spot_profile": "gaussian"}, -0.45, -0.40),
    ],
)
def test_the_textbook_cross_section_is_wrong_as_it_is_known_to_be(
    overrides: dict[str, float | str], low: float, high: float
) -> None:
    excitons = np.geomspace(0.05, 4.0, 20)
    light = late_light(cuvette(**overrides), excitons, 400.0, 100.0)
    (_, found), _ = curve_fit(
        lambda n, a, s: a * -np.expm1(-s * n), excitons, light / light.max(), p0=(1.0, 1.0)
    )
    assert low < found - 1.0 < high


def test_long_after_the_light_is_that_of_dots_that_were_hit() -> None:
    excitons = np.array([0.02, 0.5, 3.0])
    light = late_light(cuvette(), excitons, 3000.0)
    one, two = excitons * np.exp(-excitons), 1.0 - np.exp(-excitons) * (1.0 + excitons)
    expected = one + two / (1.0 - 105.0 / 3600.0)  # three and more are two before they are one
    assert light / light[0] == pytest.approx(expected / expected[0], rel=6e-3)


def test_all_times_together_are_what_the_spectrograph_sees() -> None:
    sample = cuvette(optical_density=0.3, spot_profile="gaussian")
    rng = np.random.default_rng(2)
    fluence = 20.0 * (1.0 + 0.02 * rng.standard_normal(500))
    edges = np.linspace(440.0, 640.0, 401)
    times = np.concatenate([[-1.0], np.geomspace(1e-3, 1e6, 200)])
    resolved = sample.transient(times, edges, fluence, np.ones(500), CONDITIONS).sum(axis=0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    whole = sample.emission(middle, fluence, np.ones(500), CONDITIONS) * np.diff(edges)
    assert resolved == pytest.approx(whole, rel=2e-3, abs=1e-4 * whole.max())
    assert whole.sum() < 500 * PHOTONS_PER_EXCITON * 3.0
    assert not sample.lines(fluence, np.ones(500), CONDITIONS).photons.size


def test_an_exposure_is_the_sum_of_its_shots() -> None:
    sample = cuvette()
    rng = np.random.default_rng(5)
    fluence = np.append(30.0 * (1.0 + 0.05 * rng.standard_normal(60)), 0.0)
    axis = np.linspace(480.0, 560.0, 50)
    together = sample.emission(axis, fluence, np.ones(61), CONDITIONS)
    apart = sum(sample.emission(axis, fluence[k : k + 1], ONE, CONDITIONS) for k in range(61))
    assert together == pytest.approx(apart, rel=1e-4)


@pytest.mark.parametrize(("factor", "shift_meV"), [(2.0, 15.0), (4.0, 26.0)])
def test_the_early_red_shift_that_the_binding_energy_makes(factor: float, shift_meV: float) -> None:
    sample = cuvette(biexciton_radiative_factor=factor, exciton_lifetime_ns=3.1)
    found = streak_truth(sample, 11.5, response_fwhm_ps=0.1)
    assert found.redshift_meV == pytest.approx(shift_meV, abs=0.5)
    slower = streak_truth(sample, 11.5, response_fwhm_ps=50.0)
    assert 0.9 < slower.redshift_meV / found.redshift_meV < 1.0
    faint = streak_truth(sample, 0.01, response_fwhm_ps=0.1)
    assert abs(faint.redshift_meV) < 0.1
    slow = streak_truth(sample, 0.01, response_fwhm_ps=20.0)
    assert slow.decay_time_ps == pytest.approx(3100.0, rel=0.01)


def test_a_gate_without_response_cuts_sharply() -> None:
    sample = cuvette()
    _, early = gated_spectrum(sample, 5.0, (0.0, 50.0))
    _, late = gated_spectrum(sample, 5.0, (50.0, 1e5))
    wavelength, whole = gated_spectrum(sample, 5.0, (-10.0, 1e5))
    assert early + late == pytest.approx(whole, rel=1e-9)
    expected = sample.emission(wavelength, np.array([5.0]), ONE, CONDITIONS)
    assert whole == pytest.approx(expected, rel=2e-3, abs=1e-3 * expected.max())
