"""The keys of a simulated sample: the contract's defaults, refusals that name key and remedy."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from sim_drivers.sample import (
    DESCRIPTIONS,
    PRESETS,
    USES,
    Film,
    SampleError,
    prepare,
    resolve,
    truth,
)
from tests.samples import GREEN


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


def test_only_what_a_use_depends_on_is_held_against_it() -> None:
    few = {"cross_section_cm2": 1e-16}  # far too few excitons for gain
    assert resolve(GREEN, few, "cuvette").cross_section_cm2 == 1e-16
    slow = {"auger_lifetime_ps": 900.0}
    assert resolve(GREEN, slow, "cold").auger_lifetime_ps == 900.0
    with pytest.raises(SampleError, match="auger_lifetime_ps"):
        resolve(GREEN, slow, "cuvette")
    tiny = {"cavity_diameter_um": 2.0}
    with pytest.raises(SampleError, match=r"at least 5\.\d+ um"):
        resolve(GREEN, tiny, "capillary")
    assert resolve(GREEN, tiny, "stripe").cavity_diameter_um == 2.0
    with pytest.raises(SampleError, match="cavity_diameter_um"):
        resolve(GREEN, tiny)


def test_a_use_that_there_is_not() -> None:
    assert USES == ("stripe", "cuvette", "cold", "capillary")
    with pytest.raises(ValueError, match="cuvette"):
        prepare("beaker", PRESETS[GREEN], 0.3, 400.0)
