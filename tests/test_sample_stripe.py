"""Excitons of a pulse, light guided along the stripe: closed forms, independent solutions."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import poisson

from sim_drivers.sample import PRESETS, Film, resolve, truth
from sim_drivers.sample.occupancy import (
    GainLaw,
    mean_excitons,
    multi_exciton_share,
    photon_energy_J,
    spontaneous_strength,
)
from sim_drivers.sample.parameters import GAIN_LAWS
from sim_drivers.sample.stripe import calibrate, line
from tests.samples import FULL_CM, GREEN, blind_draw, solved


@pytest.fixture(scope="module")
def film() -> Film:
    return Film(PRESETS[GREEN], FULL_CM)


def test_occupancy_is_poissonian() -> None:
    assert photon_energy_J() == pytest.approx(4.966e-19, rel=1e-4)
    number = np.array([1e-6, 1e-3, 0.3, 1.1075, 2.87, 12.0])
    assert multi_exciton_share(number) == pytest.approx(poisson.sf(1, number), rel=1e-9)
    strength = poisson.sf(0, number) + 0.135 * poisson.sf(1, number)
    assert spontaneous_strength(number, 0.135) == pytest.approx(strength, rel=1e-9)
    assert mean_excitons(22.0, 2.5e-14) == pytest.approx(2.5e-14 * 22e-6 / 4.96611e-19, rel=1e-5)


@pytest.mark.parametrize("name", GAIN_LAWS)
def test_gain_law_holds_what_the_parameters_say(name: str) -> None:
    stripe = calibrate(replace(PRESETS[GREEN], gain_law=name), FULL_CM)
    at_peak = np.array([stripe.gain_peak_nm])
    levels = stripe.law.value(stripe.excitons([22.0, 57.0, 30.0]))
    assert stripe.gain(at_peak, levels, 0.0)[:, 0][:2] == pytest.approx([0.0, 98.0], abs=1e-9)
    assert 0.0 < stripe.gain(at_peak, levels, 0.0)[2, 0] < 98.0
    number = np.geomspace(1e-5, 12.0, 50)
    law = GainLaw(name)
    assert law.inverse(law.value(number)) == pytest.approx(number, rel=1e-6)
    ratio = np.array([0.999, 1.001])
    slope = np.diff(law.value(np.multiply.outer(number, ratio)), axis=1)[:, 0] / 0.002
    assert law.slope(number) == pytest.approx(slope, rel=1e-3)


def test_line_of_a_gaussian() -> None:
    wavelength = np.arange(500.0, 540.0, 0.5)
    sigma = 2.123
    spectrum = np.exp(-0.5 * ((wavelength - 521.37) / sigma) ** 2)
    peak, width = line(wavelength, spectrum)
    assert peak == pytest.approx(521.37, abs=1e-6)
    assert width == pytest.approx(2.354820045 * sigma, rel=1e-6)


def test_published_film(film: Film) -> None:
    stripe = film.stripe
    assert stripe.gain_scale_per_cm == pytest.approx(206.0, rel=0.005)
    assert stripe.gain_scale_per_cm * stripe.threshold_inversion() == pytest.approx(62.0, rel=0.01)
    assert stripe.seed_per_cm == pytest.approx(1.75, rel=0.06)
    assert stripe.gain_fwhm_nm == pytest.approx(17.9, abs=0.05)
    peaks, widths = truth.detected_lines(film, [1.0, 10.0, 20.0, 24.0, 57.0])
    assert peaks == pytest.approx([514.5, 514.5, 515.4, 524.3, 524.5], abs=0.15)
    assert widths == pytest.approx([23.0, 23.0, 24.2, 7.6, 5.0], abs=0.15)
    power = stripe.guided([22.0, 57.0], FULL_CM).sum(axis=1)
    assert np.log10(power[1] / power[0]) == pytest.approx(2.4, abs=0.1)
    pixel = truth.detected_spectra(film, [0.8, 80.0], np.array([524.5]))[:, 0]
    assert np.log10(pixel[1] / pixel[0]) == pytest.approx(4.0, abs=0.1)
    for fluence, slope in ((57.0, 1.3), (40.0, 2.9), (30.0, 7.5)):
        around = stripe.guided([0.999 * fluence, 1.001 * fluence], FULL_CM).sum(axis=1)
        assert np.log(around[1] / around[0]) / 0.002 == pytest.approx(slope, abs=0.05)


def test_calibration_against_an_independent_solution() -> None:
    samples = [PRESETS[GREEN], blind_draw(0), blind_draw(3), blind_draw(6), blind_draw(9)]
    for parameters in samples:
        stripe = calibrate(parameters, FULL_CM)
        lengths = [parameters.saturation_length_cm, FULL_CM]
        wavelength, light = solved(stripe, parameters.gain_fluence_uJ_cm2, lengths)
        power = (wavelength[1] - wavelength[0]) * light.sum(axis=1)
        assert power[0] == pytest.approx(1.0, rel=0.005)
        peak, width = line(wavelength, light[1])
        assert peak == pytest.approx(parameters.ase_peak_nm, abs=0.02)
        assert width == pytest.approx(parameters.ase_fwhm_nm, rel=0.005)


def test_propagation_against_an_independent_solution(film: Film) -> None:
    lossy = calibrate(resolve(GREEN, {"waveguide_loss_per_cm": 25.0}), FULL_CM)
    for stripe in (film.stripe, lossy, calibrate(blind_draw(1), FULL_CM)):
        model = stripe.wavelengths_nm()
        for relative in (0.05, 1.0, 1.25, 3.0):
            fluence = relative * stripe.parameters.threshold_uJ_cm2
            _, light = solved(stripe, fluence, [0.12, FULL_CM], on=model)
            for length, expected in zip((0.12, FULL_CM), light, strict=True):
                found = stripe.guided(fluence, length)[0]
                assert found == pytest.approx(expected, rel=1e-3, abs=1e-6 * expected.max())


@pytest.mark.parametrize("number", range(12))
def test_blind_draws_calibrate_quickly_and_closely(number: int) -> None:
    parameters = blind_draw(number)
    begin = time.process_time()
    stripe = calibrate.__wrapped__(parameters, FULL_CM)
    assert time.process_time() - begin < 0.5
    light = stripe.guided(parameters.gain_fluence_uJ_cm2, FULL_CM)[0]
    peak, width = line(stripe.wavelengths_nm(), light)
    assert peak == pytest.approx(parameters.ase_peak_nm, abs=0.02)
    assert width == pytest.approx(parameters.ase_fwhm_nm, rel=0.005)
    wavelength = stripe.wavelengths_nm()
    near = stripe.guided(parameters.gain_fluence_uJ_cm2, parameters.saturation_length_cm)[0]
    assert (wavelength[1] - wavelength[0]) * near.sum() == pytest.approx(1.0, rel=0.005)


def test_net_gain_saturates_as_a_whole() -> None:
    stripe = calibrate(PRESETS[GREEN], FULL_CM)
    spacing = stripe.wavelengths_nm()[1] - stripe.wavelengths_nm()[0]
    powers = [spacing * stripe.guided(57.0, length).sum() for length in (0.3, 0.6, 0.9, 1.2)]
    # Far beyond saturation each length adds the same power: nothing clamps it.
    assert np.diff(powers)[1:] == pytest.approx(np.diff(powers)[0], rel=0.05)
    lossy = calibrate(resolve(GREEN, {"waveguide_loss_per_cm": 20.0}), FULL_CM)
    clamped = [spacing * lossy.guided(57.0, length).sum() for length in (1.2, 1.5)]
    assert clamped[0] == pytest.approx(98.0 / 20.0, rel=0.1)  # (g + alpha)/(1 + P) = alpha
    assert clamped[1] == pytest.approx(clamped[0], rel=0.02)
