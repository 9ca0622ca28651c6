"""The simulated film: what it is told comes out again, and the physics in between holds.

Checked against an independent solution of the stripe equation (scipy, written here), against
closed forms, and against the numbers of the published film.
"""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.stats import poisson

from sim_drivers.sample import (
    DESCRIPTIONS,
    PRESETS,
    Film,
    SampleError,
    SampleParameters,
    resolve,
    truth,
)
from sim_drivers.sample.film import PHOTONS_PER_SATURATION_POWER
from sim_drivers.sample.occupancy import (
    GAIN_LAWS,
    GainLaw,
    mean_excitons,
    multi_exciton_share,
    photon_energy_J,
    spontaneous_strength,
)
from sim_drivers.sample.stripe import Stripe, calibrate, line

Array = NDArray[np.float64]

FULL_CM = 0.3
GREEN = "CsPbBr3-9nm"
PIXELS = np.linspace(462.0, 575.0, 1340)
ONE = np.ones(1)


@pytest.fixture(scope="module")
def film() -> Film:
    return Film(PRESETS[GREEN], FULL_CM)


def blind_draw(number: int) -> SampleParameters:
    """A correlated draw of a possible sample, reproducible by number."""
    rng = np.random.default_rng([20151018, number])
    while True:
        threshold = rng.uniform(8.0, 60.0)
        reference = threshold * rng.uniform(1.8, 3.5)
        gain, width = rng.uniform(60.0, 200.0), rng.uniform(17.0, 36.0)
        peak = rng.uniform(450.0, 650.0)
        draw: dict[str, Any] = {
            "threshold_uJ_cm2": threshold,
            "cross_section_cm2": rng.uniform(0.8, 1.6) * 4.966e-13 / threshold,
            "gain_fluence_uJ_cm2": reference,
            "gain_per_cm": gain,
            "saturation_length_cm": rng.uniform(4.5, 8.5) / gain,
            "spontaneous_peak_nm": peak,
            "spontaneous_fwhm_nm": width,
            "ase_peak_nm": peak + (0.0 if number % 4 == 0 else rng.uniform(0.0, 0.6)) * width,
            "ase_fwhm_nm": rng.uniform(0.16, 0.27) * width,
            "direct_light_ratio": rng.uniform(0.5, 5.0),
            "waveguide_loss_per_cm": 15.0 if number % 5 == 3 else 0.0,
            "gain_law": {6: "linear", 9: "logarithmic"}.get(number, "poisson"),
            "exciton_lifetime_ns": rng.uniform(2.0, 8.0),
            "auger_lifetime_ps": rng.uniform(50.0, 200.0),
            "biexciton_radiative_factor": rng.uniform(2.0, 4.0),
            "retained_fraction": rng.uniform(0.7, 0.97),
        }
        excitons = mean_excitons([threshold, reference], draw["cross_section_cm2"])
        rise = np.diff(multi_exciton_share(excitons))[0]
        steepness = gain / rise * excitons[1] ** 2 * np.exp(-excitons[1]) * FULL_CM
        if reference <= 190.0 and rise >= 0.05 and steepness >= 12.0:
            return resolve(GREEN, draw)


def solved(
    stripe: Stripe,
    fluence: float,
    lengths_cm: list[float],
    *,
    intact: float = 1.0,
    rise: float = 0.0,
    on: Array | None = None,
) -> tuple[Array, Array]:
    """Solve the stripe equation as PHYSICS states it, by scipy: wavelengths and guided (Z, P)."""
    p = stripe.parameters
    half = 2.5 * p.spontaneous_fwhm_nm
    wavelength = np.linspace(p.spontaneous_peak_nm - half, p.spontaneous_peak_nm + half, 241)
    wavelength = wavelength if on is None else on
    step = wavelength[1] - wavelength[0]

    def inversion(at: float) -> float:
        number = p.cross_section_cm2 * at * 1e-6 / 4.96611e-19
        if p.gain_law == "linear":
            return number
        if p.gain_law == "logarithmic":
            return float(np.log(1.0 + number))
        return float(1.0 - np.exp(-number) * (1.0 + number))

    def strength(at: float) -> float:
        number = p.cross_section_cm2 * at * 1e-6 / 4.96611e-19
        factor = p.biexciton_radiative_factor * p.auger_lifetime_ps / p.exciton_lifetime_ns / 1e3
        share = 1.0 - np.exp(-number) * (1.0 + number)
        return float(1.0 - np.exp(-number) + factor * share)

    reference, threshold = p.gain_fluence_uJ_cm2, p.threshold_uJ_cm2
    scale = p.gain_per_cm / (inversion(reference) - inversion(threshold))
    offset = (wavelength - stripe.gain_peak_nm) / stripe.gain_fwhm_nm
    band = np.exp(-4.0 * np.log(2.0) * offset**2)
    gain = scale * (inversion(fluence) * band - inversion(threshold * (1.0 + rise)))
    offset = (wavelength - p.spontaneous_peak_nm) / p.spontaneous_fwhm_nm
    shape = np.exp(-4.0 * np.log(2.0) * offset**2)
    shape /= shape.sum() * step
    seed = stripe.seed_per_cm * shape * strength(fluence) / strength(reference)
    loss = p.waveguide_loss_per_cm

    def slope(_z: float, light: Array) -> Array:
        saturation = 1.0 + step * light.sum()
        net = (intact * gain + loss) / saturation - loss
        return np.asarray(net * light + intact * seed)

    answer = solve_ivp(
        slope,
        (0.0, max(lengths_cm)),
        np.zeros(len(wavelength)),
        method="DOP853",
        t_eval=lengths_cm,
        rtol=1e-8,
        atol=1e-14,
    )
    return wavelength, np.asarray(answer.y.T)


# --- parameters -----------------------------------------------------------------------------


def test_defaults_are_the_contract() -> None:
    assert asdict(PRESETS[GREEN]) == {
        "spontaneous_peak_nm": 514.5,
        "spontaneous_fwhm_nm": 23.0,
        "ase_peak_nm": 524.5,
        "ase_fwhm_nm": 5.0,
        "threshold_uJ_cm2": 22.0,
        "gain_per_cm": 98.0,
        "gain_fluence_uJ_cm2": 57.0,
        "gain_law": "poisson",
        "saturation_length_cm": 0.07,
        "direct_light_ratio": 1.0,
        "waveguide_loss_per_cm": 0.0,
        "group_index": 2.1,
        "cross_section_cm2": 2.5e-14,
        "optical_density": 0.0,
        "spot_profile": "tophat",
        "exciton_lifetime_ns": 3.1,
        "auger_lifetime_ps": 105.0,
        "biexciton_radiative_factor": 4.0,
        "retained_fraction": 0.90,
        "retained_shots": 1.6e7,
        "ageing_per_day": 0.003,
        "exciton_peak_eV": 2.375,
        "binding_energy_meV": 50.0,
        "biexciton_crossover_mJ_cm2": 50.0,
        "exciton_fwhm_10K_meV": 25.0,
        "biexciton_fwhm_10K_meV": 32.0,
        "cavity_diameter_um": 50.0,
        "cavity_group_index": 1.7,
        "cavity_threshold_mJ_cm2": 2.0,
        "cavity_beta": 1e-3,
    }


def test_presets_are_possible_and_described() -> None:
    expected = "CsPbBr3-9nm CsPbBr3-5.5nm CsPbBrCl CsPbIBr CsPbBr3-solution CsPbBr3-capillary"
    assert set(PRESETS) == set(DESCRIPTIONS) == set(expected.split())
    peaks = {name: (p.spontaneous_peak_nm, p.ase_peak_nm) for name, p in PRESETS.items()}
    assert peaks["CsPbBr3-5.5nm"] == (490.0, 502.0)
    assert peaks["CsPbBrCl"] == (462.0, 470.0)
    assert peaks["CsPbIBr"] == (637.0, 647.0)
    assert PRESETS["CsPbBr3-solution"].exciton_lifetime_ns == 3.6
    for name, parameters in PRESETS.items():
        assert resolve(name, {}) == parameters
        found = truth.guided_lines(Film(parameters), parameters.gain_fluence_uJ_cm2)
        assert found[0][0] == pytest.approx(parameters.ase_peak_nm, abs=0.02)
        assert found[1][0] == pytest.approx(parameters.ase_fwhm_nm, rel=0.005)


def test_overrides_take_integers_and_are_frozen() -> None:
    parameters = resolve(GREEN, {"threshold_uJ_cm2": 30, "gain_law": "linear"})
    assert (parameters.threshold_uJ_cm2, parameters.gain_law) == (30.0, "linear")
    assert isinstance(parameters.threshold_uJ_cm2, float)
    with pytest.raises(FrozenInstanceError):
        parameters.threshold_uJ_cm2 = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"treshold_uJ_cm2": 22.0}, "treshold_uJ_cm2"),
        ({"threshold_uJ_cm2": -1.0}, "threshold_uJ_cm2"),
        ({"threshold_uJ_cm2": float("nan")}, "threshold_uJ_cm2"),
        ({"threshold_uJ_cm2": float("inf")}, "threshold_uJ_cm2"),
        ({"threshold_uJ_cm2": True}, "threshold_uJ_cm2"),
        ({"threshold_uJ_cm2": "22"}, "threshold_uJ_cm2"),
        ({"threshold_uJ_cm2": 57.0}, "gain_fluence_uJ_cm2"),
        ({"gain_fluence_uJ_cm2": 21.9}, "gain_fluence_uJ_cm2"),
        ({"gain_fluence_uJ_cm2": 24.0}, "gain_fluence_uJ_cm2"),
        ({"cross_section_cm2": 1e-16}, "cross_section_cm2"),
        ({"cross_section_cm2": 3e-13}, "cross_section_cm2"),
        ({"gain_law": "quadratic"}, "gain_law"),
        ({"gain_law": ["poisson"]}, "gain_law"),
        ({"spot_profile": "flat"}, "spot_profile"),
        ({"ase_fwhm_nm": 23.0}, "ase_fwhm_nm"),
        ({"ase_fwhm_nm": 0.5}, "ase_fwhm_nm"),
        ({"ase_peak_nm": 560.0}, "ase_peak_nm"),
        ({"saturation_length_cm": 1.0}, "saturation_length_cm"),
        ({"saturation_length_cm": 0.005}, "saturation_length_cm"),
        ({"retained_fraction": 1.01}, "retained_fraction"),
        ({"auger_lifetime_ps": 900.0}, "auger_lifetime_ps"),
        ({"cavity_beta": 0.0}, "cavity_beta"),
        ({"ageing_per_day": -0.1}, "ageing_per_day"),
    ],
)
def test_impossible_values_are_refused_by_name(overrides: dict[str, Any], key: str) -> None:
    with pytest.raises(SampleError) as caught:
        resolve(GREEN, overrides)
    assert caught.value.key == key
    assert key in str(caught.value) and caught.value.allowed in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_unknown_preset_names_the_known() -> None:
    with pytest.raises(SampleError, match="CsPbBr3-9nm") as caught:
        resolve("CsPbI3", {})
    assert caught.value.key == "preset"


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"ase_fwhm_nm": 22.9, "ase_peak_nm": 514.5}, "ase_fwhm_nm"),
        ({"waveguide_loss_per_cm": 70.0}, "waveguide_loss_per_cm"),
    ],
)
def test_what_the_stripe_cannot_do_is_refused(overrides: dict[str, Any], key: str) -> None:
    with pytest.raises(SampleError) as caught:
        Film(resolve(GREEN, overrides))
    assert caught.value.key == key


# --- occupancy ------------------------------------------------------------------------------


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


# --- the stripe -----------------------------------------------------------------------------


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


# --- the film -------------------------------------------------------------------------------

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
    assert truth.depletion_time_ps(film) == pytest.approx(4.9, abs=0.01)
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
