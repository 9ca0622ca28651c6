"""The simulated cryostat: heat is conserved, time steps do not matter, hours cost milliseconds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from sim_drivers.heater_loop import OPEN, PERIOD_S, HeaterLoop
from sim_drivers.thermal import (
    COPPER,
    SAPPHIRE,
    Build,
    Cryostat,
    cooling_power_W,
    debye_capacity,
    heater_power_W,
)

DARK = Build(radiation_W=0.0, leads_W_K=0.0, window_W=0.0)


def kelvins(cryostat):
    return [lump.temperature_K for lump in cryostat.lumps]


# ---- heat capacities ---------------------------------------------------------------------------


def test_heat_capacities_are_those_of_solids():
    # Copper, measured: 0.86 mJ/g/K at 10 K, 0.205 J/g/K at 80 K, 0.386 J/g/K at 300 K.
    assert debye_capacity(COPPER, 10.0) == pytest.approx(0.86e-3, rel=0.05)
    assert debye_capacity(COPPER, 80.0) == pytest.approx(0.205, rel=0.13)
    assert debye_capacity(COPPER, 300.0) == pytest.approx(0.386, rel=0.05)
    # The lattice falls with the cube of the temperature, the whole approaches 3R per mole.
    assert debye_capacity(SAPPHIRE, 20.0) / debye_capacity(SAPPHIRE, 10.0) == pytest.approx(8, 0.01)
    assert debye_capacity(SAPPHIRE, 5000.0) * SAPPHIRE.molar_g == pytest.approx(3 * 8.314, rel=0.01)


@pytest.mark.parametrize("kelvin", [3.0, 30.0, 100.0, 290.0])
def test_heat_capacity_is_the_debye_integral(kelvin):
    reduced = SAPPHIRE.debye_K / kelvin
    integral, _ = quad(lambda x: x**4 * np.exp(-x) / (1 - np.exp(-x)) ** 2, 1e-9, reduced)
    expected = 9 * 8.314 * reduced**-3 * integral / SAPPHIRE.molar_g
    assert debye_capacity(SAPPHIRE, kelvin) == pytest.approx(expected, rel=4e-3)


# ---- the plant ----------------------------------------------------------------------------------


def test_the_cold_head_cools_less_the_colder_it_is():
    powers = [cooling_power_W(kelvin) for kelvin in (3.0, 4.0, 5.0, 10.0, 20.0, 80.0, 300.0)]
    assert powers[:2] == [0.0, 0.0] and powers == sorted(powers)
    assert 2.0 < cooling_power_W(20.0) < 10.0 and cooling_power_W(80.0) > 10.0


def test_without_a_compressor_heat_only_moves():
    cryostat = Cryostat(100.0, DARK, compressor=False)
    cryostat.stage.temperature_K, cryostat.sample.temperature_K = 160.0, 40.0
    before = cryostat.heat_J()
    cryostat.advance(7200.0)
    assert max(kelvins(cryostat)) - min(kelvins(cryostat)) < 0.01
    assert cryostat.heat_J() == pytest.approx(before, rel=3e-3)


def test_what_the_heater_gives_is_found_again():
    cryostat = Cryostat(20.0, DARK, compressor=False)
    before = cryostat.heat_J()
    cryostat.advance(600.0, 5.0, 0.5)
    assert cryostat.heat_J() - before == pytest.approx(600.0 * 5.5, rel=0.01)


def test_at_rest_the_flows_balance():
    cryostat = Cryostat(30.0)
    cryostat.advance(20000.0, 1.5, 0.002)
    assert np.allclose(cryostat.flows_W(1.5, 0.002), 0.0, atol=1e-6)
    assert cryostat.sample.temperature_K - cryostat.stage.temperature_K == pytest.approx(
        (0.002 + cryostat.build.window_W) / cryostat.build.stage_to_sample_W_K, rel=0.01
    )


@pytest.mark.parametrize(("start_K", "heater_W"), [(295.0, 0.0), (12.0, 5.0), (100.0, 50.0)])
def test_agrees_with_an_integrator_of_another_kind(start_K, heater_W):
    reference, ours = Cryostat(start_K), Cryostat(start_K)

    def rates(_, temperatures):
        for lump, kelvin in zip(reference.lumps, temperatures, strict=True):
            lump.temperature_K = float(kelvin)
        return reference.rates_K_s(heater_W)

    times = [20.0, 300.0, 1500.0]
    solved = solve_ivp(
        rates, (0, times[-1]), [start_K] * 3, method="LSODA", t_eval=times, rtol=1e-6, atol=1e-5
    )
    now = 0.0
    for moment, expected in zip(times, solved.y.T, strict=True):
        ours.advance(moment - now, heater_W)
        now = moment
        assert kelvins(ours) == pytest.approx(list(expected), rel=5e-3, abs=0.02)


def test_cools_to_ten_kelvin_in_one_to_two_hours_and_rests_near_four():
    cryostat, seconds = Cryostat(295.0), 0
    while cryostat.stage.temperature_K > 10.0:
        cryostat.advance(10.0)
        seconds += 10
    assert 3600 < seconds < 7200
    cryostat.advance(3600.0)
    assert 4.0 < cryostat.head.temperature_K < cryostat.stage.temperature_K < 6.0
    assert cryostat.sample.temperature_K > cryostat.stage.temperature_K


def test_an_hour_of_cooling_costs_milliseconds_however_often_it_is_asked_for():
    once, often = Cryostat(295.0), Cryostat(295.0)
    begun = time.process_time()
    once.advance(3600.0)
    assert time.process_time() - begun < 0.05
    for _ in range(3600):
        often.advance(1.0)
    assert kelvins(once) == pytest.approx(kelvins(often), rel=4e-3)


def test_state_comes_back_exactly():
    one = Cryostat(295.0)
    one.advance(3000.0)
    other = Cryostat(5.0)
    other.restore(one.state())
    one.advance(700.0, 2.0)
    other.advance(700.0, 2.0)
    assert kelvins(one) == kelvins(other)


def test_half_the_current_is_a_quarter_of_the_power():
    assert heater_power_W(50.0, 5.0) == pytest.approx(1.25)
    assert heater_power_W(120.0, 5.0) == 5.0 and heater_power_W(-1.0, 5.0) == 0.0


# ---- the loop -----------------------------------------------------------------------------------


def loop(start_K, target_K, heater_range, **settings):
    made = HeaterLoop(Cryostat(start_K), 0.0, **settings)
    made.set_range(heater_range)
    made.set_target(target_K)
    return made


def test_regulates_to_the_set_point_with_an_overshoot_and_no_offset():
    made, seen = loop(30.0, 10.0, 2), []
    for second in range(1800):
        made.settle(float(second))
        seen.append(made.cryostat.stage.temperature_K)
    assert min(seen) < 9.5
    assert seen[-1] == pytest.approx(10.0, abs=1e-3)
    assert 0.0 < made.percent < 100.0


def test_holds_against_the_pump_light_that_warms_the_sample():
    made = loop(10.0, 10.0, 2)
    made.settle(1200.0)
    cold, percent = made.cryostat.sample.temperature_K, made.percent
    lit = loop(10.0, 10.0, 2, pump_W=lambda from_s, to_s: 0.01)
    lit.settle(1200.0)
    assert lit.cryostat.stage.temperature_K == pytest.approx(10.0, abs=1e-3)
    assert lit.cryostat.sample.temperature_K - cold == pytest.approx(0.2, abs=0.01)
    assert lit.percent < percent


def test_asks_for_the_light_of_the_very_time_that_passes():
    asked = []
    made = loop(10.0, 10.0, 2, pump_W=lambda from_s, to_s: asked.append((from_s, to_s)) or 0.0)
    made.settle(3.04)
    made.settle(3.06)
    made.settle(60.0)
    assert asked == [pytest.approx((0.0, 3.0)), pytest.approx((3.0, 60.0))]


def test_hours_at_rest_do_not_cost_seconds_and_come_out_the_same():
    once, often = loop(12.0, 10.0, 2), loop(12.0, 10.0, 2)
    begun = time.process_time()
    once.settle(4 * 3600.0)
    assert time.process_time() - begun < 1.0
    for minute in range(1, 241):
        often.settle(60.0 * minute)
    assert once.cryostat.stage.temperature_K == pytest.approx(10.0, abs=2e-4)
    assert once.percent == pytest.approx(often.percent, abs=0.05)


def test_the_ramp_moves_the_set_point_at_its_rate():
    made = loop(10.0, 10.0, 2)
    made.settle(600.0)
    made.set_ramp(True, 3.0)
    made.set_target(16.0)
    assert made.ramping and made.setpoint_K == 10.0
    made.settle(660.0)
    assert made.setpoint_K == pytest.approx(13.0, abs=0.01)
    assert made.cryostat.stage.temperature_K == pytest.approx(13.0, abs=0.2)
    made.settle(730.0)
    assert not made.ramping and made.setpoint_K == 16.0


def test_too_hot_takes_the_range_off():
    made = loop(50.0, 90.0, 3)
    made.mode, made.manual_percent, made.trip_K = OPEN, 100.0, 70.0
    made.settle(3600.0)
    assert made.heater_range == 0 and made.tripped
    assert made.cryostat.stage.temperature_K < 70.0


def test_a_fault_of_heater_or_sensor_leaves_it_cold():
    for name in ("power_fault", "blind"):
        made = loop(10.0, 10.0, 2)
        made.settle(300.0)
        setattr(made, name, True)
        made.settle(1200.0)
        assert made.heater_W == 0.0 and made.cryostat.stage.temperature_K < 6.0


def test_a_resumed_loop_goes_on_as_the_undisturbed_one():
    one = loop(14.0, 10.0, 2)
    one.settle(60.03)
    saved = one.state()
    other = loop(99.0, 50.0, 3)
    other.restore(saved, 60.03)
    for moment in (60.1, 61.0, 100.0, 500.0):
        one.settle(moment)
        other.settle(moment)
        assert kelvins(one.cryostat) == kelvins(other.cryostat) and one.percent == other.percent
    elsewhere = loop(99.0, 50.0, 3)
    elsewhere.restore(saved, 1e6)
    elsewhere.settle(1e6 + 500.0 - 60.03 + PERIOD_S / 2)
    assert elsewhere.cryostat.stage.temperature_K == pytest.approx(
        one.cryostat.stage.temperature_K, abs=1e-4
    )
