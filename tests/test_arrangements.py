"""Each measurement's simulated bench: sample, pump, instruments, optics, and overrides."""

from __future__ import annotations

import math

import pytest

from instruments import config
from instruments.bench import open_bench
from instruments.clock import VirtualClock
from instruments.errors import ConfigError
from sim_drivers.arrangements import EVERYTHING, arrangement
from sim_drivers.bench import SimulatedBench, presets
from sim_drivers.optics import KNOWN
from sim_drivers.sample import Capillary, ColdFilm, Cuvette, StripeFilm

STRIPE_ROLES = {"shutter", "attenuator", "energy_meter", "stripe", "monochromator", "camera"}


def bench(measurement: str, text: str = "", medium: str | None = None) -> SimulatedBench:
    found = config.parse(f"[simulation]\nseed = 4\n{text}", "bench.toml")
    return SimulatedBench(found, VirtualClock(1.7e9), measurement, medium)


@pytest.mark.parametrize(
    ("measurement", "medium", "kind", "own_roles"),
    [
        ("power-sweep", None, StripeFilm, set()),
        ("stripe-length", None, StripeFilm, set()),
        ("photostability", None, StripeFilm, set()),
        ("ageing", None, StripeFilm, set()),
        ("calibrate-pump", None, StripeFilm, set()),
        ("noise-floor", None, StripeFilm, set()),  # a measurement of somebody else's
        ("streak-series", None, StripeFilm, {"streak"}),
        ("lifetime", None, Cuvette, {"streak"}),
        ("lifetime", "solution", Cuvette, {"streak"}),
        ("lifetime", "film", StripeFilm, {"streak"}),
        ("auger", None, Cuvette, {"streak"}),
        ("cross-section", None, Cuvette, {"streak"}),
        ("biexciton", None, ColdFilm, {"cryostat", "monochromator", "camera"}),
        ("capillary-lasing", None, Capillary, {"monochromator", "camera"}),
        ("calibrate-wavelength", None, StripeFilm, {"monochromator", "camera"}),
    ],
)
def test_what_is_under_the_beam(
    measurement: str, medium: str | None, kind: type, own_roles: set[str]
) -> None:
    made = bench(measurement, medium=medium)
    assert type(made.world.sample) is kind
    assert {"shutter", "attenuator", "energy_meter"} | own_roles <= set(made.roles)
    assert set(made.roles) <= set(EVERYTHING)
    assert "pulse_gate" not in made.roles
    if not own_roles:
        assert set(made.roles) == STRIPE_ROLES
    for role in made.roles:
        assert made.driver(role) == EVERYTHING[role]


def test_pumps_reach_what_the_paper_used() -> None:
    def highest_uJ_cm2(measurement: str) -> float:
        pump = bench(measurement).pump
        return pump.full_pulse_energy_J * 1e6 / pump.area_cm2

    assert highest_uJ_cm2("power-sweep") == pytest.approx(200.0)
    assert 100.0 < highest_uJ_cm2("cross-section") < 200.0
    assert highest_uJ_cm2("biexciton") > 17_200.0
    assert highest_uJ_cm2("capillary-lasing") > 10_000.0
    slow = bench("biexciton").pump
    assert (slow.repetition_rate_Hz, slow.pulse_width_s) == (20.0, 5e-9)
    assert bench("auger").pump.pulse_width_s == 100e-15


def test_a_pump_in_the_file_overrides_key_by_key() -> None:
    made = bench("biexciton", "[pump]\nspot_diameter_mm = 0.8\narea_rel_unc = 0.05")
    assert made.pump.spot_diameter_mm == 0.8 and made.pump.area_rel_unc == 0.05
    assert made.pump.repetition_rate_Hz == 20.0
    assert made.world.pump.area_cm2 == pytest.approx(math.pi * 0.04**2)
    striped = bench("auger", "[pump]\nstripe_width_mm = 0.2\nstripe_length_mm = 2.0")
    assert striped.pump.spot_diameter_mm is None
    assert striped.pump.area_cm2 == pytest.approx(0.004)
    assert bench("power-sweep", "[pump]\npulse_energy_rel_unc = 0.1").pump.stripe_length_mm == 3.0
    whole = bench("power-sweep", "[pump]\nwavelength_nm = 355.0")
    assert whole.world.sample.film.stripe.pump_wavelength_nm == 355.0  # type: ignore[attr-defined]


def test_presets_and_overrides_reach_the_sample() -> None:
    assert bench("auger").world.sample.parameters.exciton_lifetime_ns == 3.6
    assert bench("lifetime", medium="film").world.sample.parameters.exciton_lifetime_ns == 3.1
    made = bench("auger", "[simulation.sample]\nauger_lifetime_ps = 80.0")
    assert made.world.sample.parameters.auger_lifetime_ps == 80.0
    assert made.world.sample.parameters.exciton_lifetime_ns == 3.6
    blue = bench("biexciton", '[simulation.sample]\npreset = "CsPbBrCl"')
    assert blue.world.sample.parameters.exciton_peak_eV == 2.645
    assert set(presets()) >= {"CsPbBr3-solution", "CsPbBr3-capillary"}
    assert "3.6 ns" in presets()["CsPbBr3-solution"]
    assert "50 um" in presets()["CsPbBr3-capillary"]


def test_impossible_samples_are_refused_where_they_matter() -> None:
    no_gain = "[simulation.sample]\ncross_section_cm2 = 1e-16"
    with pytest.raises(ConfigError, match="cross_section_cm2"):
        bench("power-sweep", no_gain)
    assert bench("cross-section", no_gain).world.sample.parameters.cross_section_cm2 == 1e-16
    with pytest.raises(ConfigError, match="auger_lifetime_ps"):
        bench("auger", "[simulation.sample]\nauger_lifetime_ps = 2000.0")
    with pytest.raises(ConfigError, match="cavity_diameter_um"):
        bench("capillary-lasing", "[simulation.sample]\ncavity_diameter_um = 3.0")
    with pytest.raises(ValueError, match="medium"):
        arrangement("lifetime", "gas")


def test_the_spectrograph_is_that_of_the_monochromator() -> None:
    made = bench("power-sweep")
    made.device("monochromator", "acton-spectrapro")
    assert made.world.dispersion.optics == KNOWN["300"]
    cold = bench("biexciton")
    device = cold.device("monochromator", "acton-spectrapro")
    assert cold.world.dispersion.optics == KNOWN["750"]
    assert device.model == "SP-2-750i"
    grooves = {grating.grooves_per_mm for grating in device.gratings.values()}
    assert {1200.0, 1800.0} <= grooves
    horiba = bench("power-sweep")
    horiba.device("camera", "horiba-icl")
    horiba.device("monochromator", "horiba-icl")
    assert horiba.world.dispersion.optics.focal_length_mm == 320.0


def test_the_lamp_is_on_for_its_calibration_alone() -> None:
    lit = bench("calibrate-wavelength", '[simulation.bench]\nlamp = "Ne"').world
    lit.set_monochromator(640.0, 600.0)
    assert lit.ccd_electrons(1.7e9, 1.0, 1024, 26.0).max() > 1e4
    dark = bench("power-sweep", '[simulation.bench]\nlamp = "Ne"').world
    dark.set_monochromator(640.0, 600.0)
    assert not dark.ccd_electrons(1.7e9, 1.0, 1024, 26.0).any()


def test_what_the_bench_file_says_of_the_bench_is_in_the_world() -> None:
    text = "[simulation.bench]\nirf_fwhm_ps = 40.0\njitter_ps = 5.0\nslit_zero_um = 10.0"
    wrong = bench("streak-series", text).world.imperfections
    assert (wrong.irf_fwhm_ps, wrong.jitter_ps, wrong.slit_zero_um) == (40.0, 5.0, 10.0)


@pytest.mark.parametrize("measurement", ["power-sweep", "streak-series", "auger", "biexciton"])
def test_every_instrument_of_a_bench_can_be_made(measurement: str) -> None:
    made = bench(measurement)
    for role in made.roles:
        assert made.device(role, made.driver(role)) is made.devices[role]
    state = made.state()
    assert state["world.age_days"] == 0.0
    made.restore(state)
    assert made.state() == state


def test_the_axis_is_off_by_what_is_declared_of_it() -> None:
    def offset_nm(text: str) -> float:
        return bench("power-sweep", text).world.dispersion.errors.offset_nm

    usual = offset_nm("")
    assert usual != 0.0
    assert offset_nm("[spectrograph]\nwavelength_unc_nm = 0.2") == pytest.approx(4.0 * usual)
    text = "[simulation]\nseed = 4\n[spectrograph]\nwavelength_unc_nm = 0.2"
    roles = ("monochromator", "camera")
    with open_bench(config.parse(text), roles, measurement="power-sweep") as opened:
        assert opened.need_spectrograph().wavelength_unc_nm == 0.2
