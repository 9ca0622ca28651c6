"""The World: shots that reach the sample by shutter, gate and laser, and what is kept of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from instruments.clock import VirtualClock
from sim_drivers.beam import Pump, Windows
from sim_drivers.imperfections import Imperfections
from sim_drivers.noise import FloatArray
from sim_drivers.sample import Conditions, Lines
from sim_drivers.sample.conditions import NO_LINES
from sim_drivers.sample.parameters import PRESETS
from sim_drivers.world import World

START_S = 1.7e9
EXACT = Imperfections(calibration_errors=False, pulse_noise=0.0, drift_per_hour=0.0)


class Counter:
    """A sample that emits its shots: one photon per nm and uJ/cm2, and notes its conditions."""

    parameters = PRESETS["CsPbBr3-9nm"]

    def __init__(self) -> None:
        self.fluence = np.empty(0)
        self.conditions = Conditions()

    def emission(
        self, wavelength_nm: FloatArray, fluence: FloatArray, weights: FloatArray, c: Conditions
    ) -> FloatArray:
        self.fluence, self.conditions = fluence, c
        return np.full(len(wavelength_nm), float(fluence @ weights))

    def lines(self, fluence: FloatArray, weights: FloatArray, conditions: Conditions) -> Lines:
        return NO_LINES

    def transient(
        self,
        times: FloatArray,
        edges: FloatArray,
        fluence: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        self.fluence = fluence
        return np.zeros((len(times) - 1, len(edges) - 1))


def world(
    imperfections: Imperfections = EXACT, rate_Hz: float = 1000.0, seed: int = 5
) -> tuple[World, Counter, VirtualClock]:
    clock, sample = VirtualClock(START_S), Counter()
    pump = Pump(400.0, rate_Hz, 0.6e-6, 0.003, 0.3, 0.02, 0.02)
    made = World(clock, sample, pump, imperfections, seed=seed, wavelength_unc_nm=0.04)
    made.set_attenuator_angle(0.0)
    made.set_monochromator(520.0, 600.0)
    return made, sample, clock


def shots_seen(made: World, sample: Counter, start_s: float, exposure_s: float) -> int:
    sample.fluence = np.empty(0)
    made.ccd_electrons(start_s, exposure_s, 64, 26.0)
    return len(sample.fluence)


def test_only_shots_through_the_open_shutter_count() -> None:
    made, sample, clock = world()
    clock.sleep(1.0)
    assert shots_seen(made, sample, START_S, 1.0) == 0
    made.set_shutter(True)
    clock.sleep(0.5)
    made.set_shutter(False)
    clock.sleep(0.5)
    assert shots_seen(made, sample, START_S, 2.0) == 500
    assert shots_seen(made, sample, START_S + 1.2, 0.1) == 100
    assert shots_seen(made, sample, START_S + 1.4, 10.0) == 100
    assert made.shots_on_sample == 500
    assert made.dose_J_cm2 == pytest.approx(500 * made.fluence_uJ_cm2() * 1e-6)
    assert made.fluence_uJ_cm2() == pytest.approx(0.995 * 200.0)


def test_a_blade_that_is_told_of_late_corrects_the_dose() -> None:
    made, sample, clock = world()
    made.set_shutter(True)
    clock.sleep(1.0)
    made.advance(clock.now())
    assert made.shots_on_sample == 1000
    made.set_shutter(False, at_s=START_S + 0.75)
    assert made.shots_on_sample == 750
    clock.sleep(1.0)
    made.advance(clock.now())
    made.set_shutter(True, at_s=START_S + 1.9)
    made.advance(clock.now())
    assert made.shots_on_sample == 850
    assert made.dose_J_cm2 == pytest.approx(850 * made.fluence_uJ_cm2() * 1e-6)
    assert shots_seen(made, sample, START_S, 2.0) == 850


def test_energies_are_those_of_the_shots_whoever_asks() -> None:
    made, sample, clock = world(Imperfections(pulse_noise=0.02))
    made.set_shutter(True)
    clock.sleep(0.3)
    shots_seen(made, sample, START_S + 0.1, 0.05)
    metered = made.pulse_energies_J(START_S + 0.1, 50)
    area = 0.003 * made.area_scale
    assert sample.fluence == pytest.approx(metered * 1e6 / area)
    assert 0.01 < np.std(metered) / np.mean(metered) < 0.03
    again, _, _ = world(Imperfections(pulse_noise=0.02))
    assert np.array_equal(again.pulse_energies_J(START_S + 0.1, 50), metered)
    other, _, _ = world(Imperfections(pulse_noise=0.02), seed=6)
    assert not np.allclose(other.pulse_energies_J(START_S + 0.1, 50), metered)


# --- the gate ---------------------------------------------------------------------------------


def test_a_gate_passes_what_it_is_open_for() -> None:
    made, sample, clock = world()
    made.set_shutter(True)
    clock.sleep(0.1)
    made.gate_configured()
    clock.sleep(0.4)
    # Up to the moment it was set up everything passed, from then on nothing.
    assert shots_seen(made, sample, START_S, 0.5) == 100
    first = made.next_trigger_s(clock.now() + 0.2)
    made.open_gate(first - 2e-4, first + 6.8e-3)  # seven shots, in the future
    clock.sleep(1.0)
    assert shots_seen(made, sample, START_S + 0.5, 1.0) == 7
    assert made.shots_on_sample == 107
    made.set_shutter(False)
    made.open_gate(clock.now())
    clock.sleep(1.0)
    assert shots_seen(made, sample, clock.now() - 1.0, 1.0) == 0
    made.set_shutter(True)
    clock.sleep(0.25)
    made.close_gate(clock.now() - 0.05)
    clock.sleep(0.25)
    assert shots_seen(made, sample, clock.now() - 0.5, 0.5) == 200
    assert made.shots_on_sample == 307


def test_a_gate_that_closes_early_drops_what_was_to_come() -> None:
    made, sample, clock = world()
    made.set_shutter(True)
    made.gate_configured()
    for number in range(5):
        opens = START_S + 0.1 * (number + 1)
        made.open_gate(opens, opens + 0.01)
    made.close_gate(START_S + 0.305)
    clock.sleep(1.0)
    assert shots_seen(made, sample, START_S, 1.0) == 25
    made.advance(clock.now())
    assert made.shots_on_sample == 25


def test_triggers_are_the_shots() -> None:
    made, _, clock = world(rate_Hz=20.0)
    assert made.next_trigger_s(START_S) == START_S
    assert made.next_trigger_s(START_S + 0.01) == pytest.approx(START_S + 0.05)
    for after in np.random.default_rng(1).uniform(0.0, 1e5, 50):
        found = made.next_trigger_s(START_S + after)
        assert START_S + after <= found <= START_S + after + 0.05 + 1e-6
        number = (found - START_S) * 20.0
        assert abs(number - round(number)) < 1e-3
    made.laser_on = False
    clock.sleep(1.0)
    assert made.next_trigger_s(clock.now() + 0.01) == pytest.approx(START_S + 1.05)


def test_windows_stay_in_order_and_apart() -> None:
    windows = Windows()
    windows.open(1.0, 2.0)
    windows.open(1.5, 3.0)
    windows.open(4.0)
    assert windows.within(0.0, 10.0) == [(1.0, 3.0), (4.0, 10.0)]
    windows.open(5.0, 6.0)  # inside the open one
    assert windows.at(7.0) and not windows.at(3.5)
    windows.close(8.0)
    windows.open(9.0, 9.0)
    assert windows.within(0.0, 20.0) == [(1.0, 3.0), (4.0, 8.0)]
    windows.close(0.5)
    assert windows.within(0.0, 20.0) == []
    few = Windows(3)
    for number in range(6):
        few.open(2.0 * number, 2.0 * number + 1.0)
    assert few.within(0.0, 100.0) == [(6.0, 7.0), (8.0, 9.0), (10.0, 11.0)]


# --- power, faults, age, state ----------------------------------------------------------------


def test_pump_power_follows_shutter_and_gate() -> None:
    made, _, clock = world()
    full = 0.995 * 0.6e-6 * 1000.0
    assert made.pump_power_W() == 0.0
    made.set_shutter(True)
    assert made.pump_power_W() == pytest.approx(full)
    clock.sleep(1.0)
    made.gate_configured()
    assert made.pump_power_W() == 0.0
    clock.sleep(1.0)
    assert made.pump_power_W(START_S, START_S + 2.0) == pytest.approx(0.5 * full)
    made.open_gate(clock.now())
    assert made.pump_power_W() == pytest.approx(full)
    made.fault("laser_off", True)
    assert made.pump_power_W() == 0.0


def test_a_laser_that_is_off_sends_nothing_to_sample_or_meter() -> None:
    made, sample, clock = world()
    made.set_shutter(True)
    clock.sleep(0.2)
    made.fault("laser_off", True)
    assert not made.laser_on and made.fluence_uJ_cm2() == 0.0
    clock.sleep(0.3)
    made.fault("laser_off", False)
    clock.sleep(0.1)
    assert made.laser_on
    assert shots_seen(made, sample, START_S, 0.6) == 300
    energies = made.pulse_energies_J(START_S, 600)
    assert np.flatnonzero(energies == 0.0).tolist() == list(range(200, 500))
    assert made.shots_on_sample == 300
    assert made.dose_J_cm2 == pytest.approx(300 * made.fluence_uJ_cm2() * 1e-6)


def test_a_laser_that_drifts_away_and_comes_back() -> None:
    made, _, clock = world()
    before = made.fluence_uJ_cm2()
    made.fault("laser_drift", True)
    clock.sleep(100.0)
    assert made.fluence_uJ_cm2() == pytest.approx(before * math.exp(-0.2))
    assert made.pulse_energies_J(clock.now(), 5) == pytest.approx(0.995 * 0.6e-6 * math.exp(-0.2))
    made.fault("laser_drift", False)
    assert made.fluence_uJ_cm2() == pytest.approx(before)
    with pytest.raises(ValueError, match="laser_off"):
        made.fault("laser_green", True)


def test_a_drift_goes_on_where_the_interrupted_run_left_it() -> None:
    made, _, clock = world()
    clock.sleep(10.0)
    made.fault("laser_drift", True)
    clock.sleep(50.0)
    state = made.state()
    resumed, _, _ = world()
    resumed.restore(state)
    resumed.fault("laser_drift", False)  # faults are calmed, then played again
    resumed.fault("laser_drift", True)
    assert resumed.fluence_uJ_cm2() == pytest.approx(made.fluence_uJ_cm2(), rel=1e-12)
    resumed.fault("laser_drift", False)
    resumed.fault("laser_drift", True)  # another one, later
    assert resumed.fluence_uJ_cm2() == pytest.approx(0.995 * 200.0)


def test_conditions_reach_the_sample() -> None:
    made, sample, clock = world()
    made.set_age_days(12.0)
    made.set_sample_temperature_K(10.2)
    made.set_slit_stage_mm(1.54)
    made.set_shutter(True)
    clock.sleep(0.5)
    shots_seen(made, sample, START_S, 0.5)
    seen = sample.conditions
    assert (seen.age_days, seen.temperature_K) == (12.0, 10.2)
    assert seen.length_cm == pytest.approx(0.15) and seen.pulse_width_ps == pytest.approx(0.1)
    shots_seen(made, sample, START_S, 0.5)
    assert sample.conditions.dose_J_cm2 == pytest.approx(500 * 199e-6)
    for days in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="age"):
            made.set_age_days(days)


def test_a_resumed_world_goes_on_alike() -> None:
    noisy = Imperfections()
    made, sample, clock = world(noisy)
    made.set_age_days(3.0)
    made.set_sample_temperature_K(10.0)
    made.set_shutter(True)
    clock.sleep(5.0)
    made.set_shutter(False)
    state = made.state()
    assert all(isinstance(value, float) for value in state.values())

    def go_on(one: World, counter: Counter, time: VirtualClock) -> tuple[FloatArray, float]:
        one.gate_configured()
        one.set_shutter(True)
        one.open_gate(time.now() + 0.1, time.now() + 0.3)
        time.sleep(1.0)
        shots_seen(one, counter, time.now() - 1.0, 1.0)
        return counter.fluence, one.dose_J_cm2

    resumed, counter, later = World.__new__(World), Counter(), VirtualClock(START_S + 7e6)
    resumed.__init__(later, counter, made.pump, noisy, seed=5)  # type: ignore[misc]
    resumed.set_attenuator_angle(0.0)
    resumed.gate_configured()  # as a driver that connects before the state is told
    later.sleep(3.3)
    resumed.restore(state)
    assert resumed.state() == state
    assert (resumed.age_days, resumed.sample_temperature_K) == (3.0, 10.0)
    undisturbed, dose = go_on(made, sample, clock)
    found, found_dose = go_on(resumed, counter, later)
    assert len(found) == 200
    assert np.array_equal(found, undisturbed)
    assert found_dose == pytest.approx(dose, rel=1e-12)


def test_errors_are_drawn_by_seed_or_not_at_all() -> None:
    exact, _, _ = world()
    assert (exact.energy_scale, exact.area_scale, exact.theta0_deg) == (1.0, 1.0, 0.0)
    drawn = [world(Imperfections(), seed=seed)[0] for seed in range(200)]
    assert np.std([one.energy_scale for one in drawn]) == pytest.approx(0.02, rel=0.15)
    errors = [one.dispersion.errors for one in drawn]
    assert np.std([e.offset_nm for e in errors]) == pytest.approx(0.04, rel=0.15)
    assert np.std([e.focal_length_rel for e in errors]) == pytest.approx(1e-3, rel=0.15)
    assert np.std([e.tilt_deg for e in errors]) == pytest.approx(0.1, rel=0.15)
