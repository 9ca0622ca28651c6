"""The Lake Shore driver: bytes of the manuals, the simulated controllers in all their readings."""

from __future__ import annotations

import itertools
import math
import socket
import sys
import threading
import time
import warnings
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.lakeshore_335 import LakeShoreCryostat
from instruments.dwell import Dwell
from instruments.errors import (
    BadReply,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.wire import open_visa
from sim_drivers.devices.lakeshore_335 import SimulatedLakeShore
from sim_drivers.link import InProcessAdapter, WireDevice, serve_pty, serve_tcp
from tests.mangling import CREDIBLE, Deaf, Mangler, plans

START_S = 1.0e9


class FakeWorld:
    """Remembers how cold the sample is, and warms it."""

    def __init__(self):
        self.sample_K, self.pump_W = None, 0.0

    def set_sample_temperature_K(self, kelvin):
        self.sample_K = kelvin

    def pump_power_W(self, from_s=None, to_s=None):
        return self.pump_W


def bench(wrap=None, driver=None, **options):
    """Return clock, world, simulated unit and a driver in process; cold unless told otherwise."""
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedLakeShore(clock, world, **{"start_K": 12.0, "seed": 3, **options})
    wire = wrap(unit) if wrap is not None else unit
    cryostat = LakeShoreCryostat(wire.link(LakeShoreCryostat), clock, **(driver or {}))
    return SimpleNamespace(clock=clock, world=world, unit=unit, wire=wire, driver=cryostat)


def connected(**options):
    b = bench(**options)
    b.driver.connect()
    return b


def holding(**options):
    """Return a bench that is stable at 10 K; after 5 s, so that this does not take long."""
    driver = {"dwell_s": 5.0, **options.pop("driver", {})}
    b = bench(start_K=10.0, driver=driver, **options)
    b.driver.connect()
    b.driver.set_temperature(10.0)
    b.clock.sleep(150.0)
    b.driver.wait_until_stable(600.0)
    return b


# ---- bytes --------------------------------------------------------------------------------------


def by_bytes(pairs, **options):
    return expected_protocol(LakeShoreCryostat, pairs, clock=VirtualClock(START_S), **options)


def twice(query, reply):
    return [(query + b"\n", reply + b"\r\n")] * 2


IDN = twice(b"*IDN?", b"LSCI,MODEL335,1234567/1234567,1.0")
HEATER_OFF = [*twice(b"RANGE? 1", b"0"), *twice(b"SETP? 1", b"+010.000")]


def sensor(kelvin=b"+010.123", status=b"000"):
    return [(b"KRDG? A\n", kelvin + b"\r\n"), (b"RDGST? A\n", status + b"\r\n")]


def test_connecting_to_a_335_by_bytes():
    script = [
        (b"\n", None),
        *IDN,
        *twice(b"INTYPE? A", b"3,1,0,0,1"),
        *twice(b"OUTMODE? 1", b"1,2,1"),
        (b"OUTMODE 1,1,1,0\n", None),
        *twice(b"OUTMODE? 1", b"1,1,0"),
        *twice(b"TLIMIT? A", b"+0000"),
        (b"TLIMIT A,321\n", None),
        *twice(b"TLIMIT? A", b"+0321"),
        (b"PID 1,40.0,15.0,0.0\n", None),
        *twice(b"PID? 1", b"+0040.0,+0015.0,+0000.0"),
        *HEATER_OFF,
    ]
    with by_bytes(script, pid=[40.0, 15.0, 0.0]) as driver:
        driver.connect()
        assert driver.identity.model == "Model 335" and driver.identity.firmware == "1.0"
        assert not driver.stable
        with pytest.raises(AttributeError):
            driver.setpoint = 4.0


def test_connecting_to_a_331_by_bytes():
    script = [
        (b"\n", None),
        *twice(b"*IDN?", b"LSCI,MODEL331S,123456,020399"),
        *twice(b"CSET? 1", b"A,1,0,1"),
        *twice(b"CMODE? 1", b"1"),
        (b"RANGE?\n", b"0\r\n"),
        (b"RANGE?\n", b"0\r\n"),
        *twice(b"SETP? 1", b"+010.000"),
        (b"RANGE 0\n", None),
        *twice(b"RANGE?", b"0"),
        (b"HTR?\n", b"+000.0\r\n"),
        (b"HTR?\n", b"+000.0\r\n"),
    ]
    with by_bytes(script) as driver:
        driver.connect()
        driver.make_safe()
        assert driver.heater_percent == 0.0


def test_a_temperature_is_read_with_its_status():
    with by_bytes([*sensor(), *sensor(b"+010.124")]) as driver:
        assert driver.temperature_K == 10.124


@pytest.mark.parametrize("kelvin", [b"+10.1240", b"+1.01240E+01", b"+010.124\r"])
def test_a_temperature_may_be_written_otherwise(kelvin):
    with by_bytes([*sensor(kelvin), *sensor(kelvin)]) as driver:
        assert driver.temperature_K == 10.124


def test_a_temperature_that_is_not_confirmed_is_read_again():
    script = [*sensor(b"+10.123"), *sensor(b"+010.424"), *sensor(b"+010.425")]
    with by_bytes(script) as driver:
        assert driver.temperature_K == 10.425


def test_the_interlocks_glance_confirms_only_what_is_too_warm():
    with by_bytes(sensor(b"+295.000")) as driver:
        assert driver.glance_K(310.0) == 295.0
    hot = [(b"KRDG? A\n", b"+330.000\r\n"), (b"KRDG? A\n", b"+330.100\r\n")]
    with by_bytes(hot) as driver:
        assert driver.glance_K(310.0) == 330.0
    damaged = [(b"KRDG? A\n", b"+395.000\r\n"), *sensor(b"+295.000")]
    with by_bytes(damaged) as driver:
        assert driver.glance_K(310.0) == 295.0


def test_the_interlocks_glance_takes_what_others_are_told_meanwhile():
    driver = connected().driver
    driver.clock = WallClock()
    held, told = threading.Event(), []

    def another():
        with driver.lock:
            held.set()
            while not told:
                driver.seen_K = (*driver.seen_K[-1:], (330.0, driver.clock.now()))
                time.sleep(0.005)

    thread = threading.Thread(target=another)
    thread.start()
    assert held.wait(1.0)
    told.append(driver.glance_K(310.0))
    thread.join()
    assert told == [330.0]


def test_asking_for_a_temperature_by_bytes():
    script = [
        *sensor(b"+050.000"),
        *sensor(b"+050.000"),
        (b"HTRST? 1\n", b"0\r\n"),
        *twice(b"RAMP? 1", b"1,+005.0"),
        (b"RAMP 1,0,5.0\n", None),
        *twice(b"RAMP? 1", b"0,+005.0"),
        (b"SETP 1,10.000\n", None),
        *twice(b"SETP? 1", b"+050.000"),  # still the old one
        *twice(b"SETP? 1", b"+010.000"),
        (b"RANGE 1,2\n", None),
        *twice(b"RANGE? 1", b"2"),
    ]
    with by_bytes(script) as driver:
        driver._identity = SimpleNamespace()
        driver.set_temperature(10.0)
        assert not driver.stable


def test_asking_for_a_temperature_at_a_ramp_begins_where_it_is():
    script = [
        *sensor(b"+050.000"),
        *sensor(b"+050.000"),
        (b"HTRST? 1\n", b"0\r\n"),
        *twice(b"RAMP? 1", b"0,0"),
        (b"RAMP 1,0,0.1\n", None),
        *twice(b"RAMP? 1", b"0,0"),
        (b"SETP 1,50.000\n", None),
        *twice(b"SETP? 1", b"+050.000"),
        (b"RANGE 1,3\n", None),
        *twice(b"RANGE? 1", b"3"),
        (b"RAMP 1,1,2.5\n", None),
        *twice(b"RAMP? 1", b"1,+002.5"),
        (b"SETP 1,10.000\n", None),
        *twice(b"SETP? 1", b"+049.990"),
        *twice(b"RAMPST? 1", b"1"),
        *twice(b"RAMPST? 1", b"1"),
    ]
    with by_bytes(script) as driver:
        driver._identity = SimpleNamespace()
        driver.set_temperature(10.0, 2.5)


@pytest.mark.parametrize(
    "reply",
    [
        b"+010.12x",
        b"10.124",
        b"0.124",
        b"+10.1.2",
        b"1e5",
        b"--3",
        b"010.1;000",
        b"+99999.0",
        b"",
        b"\xff\xfe",
    ],
)
def test_what_is_no_reading_is_refused(reply):
    class Parrot(WireDevice):
        def receive(self, data):
            self.send(reply + b"\r\n", 0.01)

    clock = VirtualClock(START_S)
    driver = LakeShoreCryostat(Parrot(clock).link(LakeShoreCryostat), clock)
    with pytest.raises((BadReply, NoReply)):
        _ = driver.temperature_K


# ---- against the simulated controllers ----------------------------------------------------------

MODELS = [331, 335, 336]
READINGS = [
    {},
    {"numbers": "six", "ramp_reply": "whole"},
    {"numbers": "exponent", "off_percent": 0.005},
    {"setpoint_lag_s": 0.6, "ramping_setpoint": False},
    {"one_query": True, "crlf_only": False, "strict_timing": True},
    {"latency_s": 0.15, "strict_timing": True},
    {"fault_clears": True, "fault_turns_off": True, "invalid_K": 999.0, "powerup": True},
    {"output": 2, "driver": {"output": 2}},
    {"sensor": "B", "driver": {"sensor": "B"}},
]
FULL_READINGS = [
    (model, options)
    for model in MODELS
    for options in READINGS
    if not (model == 331 and "output" in options) and (model == 335 or len(options) != 1)
]


@pytest.mark.parametrize(("model", "options"), FULL_READINGS)
def test_goes_to_ten_kelvin_and_holds_in_every_reading_of_the_sheet(model, options):
    options = {**options, "driver": {"dwell_s": 10.0, **options.get("driver", {})}}
    b = connected(model=model, **options)
    assert str(model) in b.driver.identity.model
    assert b.driver.status().ok and "heater off" in b.driver.status().text
    b.driver.set_temperature(10.0)
    assert b.driver.setpoint_K == 10.0 and not b.driver.stable
    b.clock.sleep(150.0)
    begun = b.clock.now()
    kelvin = b.driver.wait_until_stable(1800.0)
    assert b.driver.stable and b.clock.now() - begun >= 10.0
    assert abs(b.unit.stage_K - 10.0) < 0.05 and abs(kelvin - b.unit.stage_K) < 0.02
    assert b.world.sample_K == b.unit.cryostat.sample.temperature_K
    assert 10.0 < b.driver.heater_percent < 100.0
    assert abs(b.driver.heater_percent - b.unit.loop.percent) < 0.5
    assert b.driver.snapshot()["heater_range"].value == 2
    b.driver.make_safe()
    assert b.unit.loop.heater_range == 0 and b.driver.heater_percent <= 0.005
    assert not b.driver.stable


def test_cools_from_room_temperature_to_ten_kelvin():
    b = connected(start_K=295.0, driver={"dwell_s": 10.0})
    b.driver.set_temperature(10.0)
    begun = b.clock.now()
    b.driver.wait_until_stable(3 * 3600.0)
    assert 3600.0 < b.clock.now() - begun < 7200.0
    assert abs(b.unit.sample_K - 10.0) < 0.1
    # Warmed by the pump, the sample is warmer than what is held.
    b.world.pump_W = 0.01
    b.clock.sleep(60.0)
    assert b.unit.sample_K - b.unit.stage_K > 0.2
    assert abs(b.driver.wait_until_stable(600.0) - 10.0) < 0.05


def test_a_ramp_is_followed_and_is_not_stable_before_its_end():
    for moving in (True, False):
        b = holding(ramping_setpoint=moving)
        begun = b.clock.now()
        b.driver.set_temperature(16.0, ramp_K_per_min=2.0)
        b.clock.sleep(60.0)
        assert b.driver.temperature_K == pytest.approx(12.0, abs=0.3)
        assert b.driver.ramping and b.driver.snapshot()["ramp"].value == 2.0
        b.driver.wait_until_stable(1800.0)
        assert b.clock.now() - begun > 180.0 + 5.0
        assert not b.driver.ramping and b.driver.setpoint_K == 16.0
        b.driver.set_temperature(10.0)
        assert b.driver.ramp[0] == 0.0


def test_a_slow_ramp_inside_the_band_is_not_stable():
    b = holding(driver={"band_K": 5.0, "dwell_s": 5.0})
    b.driver.set_temperature(11.0, ramp_K_per_min=0.5)
    for _ in range(40):
        b.driver.watch()
        b.clock.sleep(0.5)
        assert not b.driver.stable
    b.driver.wait_until_stable(600.0)
    assert b.unit.loop.setpoint_K == 11.0


def test_the_range_follows_the_temperature_down_a_ramp():
    b = connected(start_K=45.0, driver={"dwell_s": 5.0})
    b.driver.set_temperature(20.0, ramp_K_per_min=10.0)
    assert b.unit.loop.heater_range == 3
    b.driver.wait_until_stable(3600.0)
    assert b.unit.loop.heater_range == 2


def test_the_heater_range_is_limited_and_a_weak_heater_is_named():
    b = connected(driver={"heater_range_max": 1})
    b.driver.set_temperature(20.0)
    assert b.unit.loop.heater_range == 1
    with pytest.raises(NotReady, match="100 % of range low; allow a higher range"):
        b.driver.wait_until_stable(300.0)
    b = connected(driver={"heater_range": 3})
    b.driver.set_temperature(20.0)
    assert b.unit.loop.heater_range == 3 and b.driver.limits["heater_range"].high == 3
    b = connected(driver={"heater_range_max": 0})
    b.driver.set_temperature(20.0)
    assert b.unit.loop.heater_range == 0


def test_what_cannot_be_reached_from_above_is_told():
    b = connected(start_K=200.0)
    b.driver.set_temperature(10.0)
    with pytest.raises(NotReady, match="is the compressor running"):
        b.driver.wait_until_stable(60.0)


# ---- what stable means --------------------------------------------------------------------------


def test_a_single_reading_is_never_enough():
    b = holding(driver={"dwell_s": 60.0})
    b.driver.set_temperature(10.0)
    assert abs(b.driver.temperature_K - 10.0) < 0.05 and not b.driver.stable
    inside = b.clock.now()
    while b.clock.now() < inside + 58.5:
        b.clock.sleep(0.8)
        b.driver.watch()
        assert not b.driver.stable or b.clock.now() >= inside + 60.0
    assert not b.driver.stable
    for _ in range(3):
        b.clock.sleep(0.8)
        b.driver.watch()
    assert b.driver.stable


def test_a_gap_in_the_readings_breaks_the_dwell():
    b = holding()
    assert b.driver.stable
    b.clock.sleep(2.5)
    assert not b.driver.stable
    b.driver.watch()
    assert not b.driver.stable
    begun = b.clock.now()
    b.driver.wait_until_stable(600.0)
    assert b.clock.now() - begun >= 5.0


def test_leaving_the_band_begins_anew():
    b = holding()
    b.unit.cryostat.stage.temperature_K += 3.0
    b.driver.watch()
    assert not b.driver.stable


@pytest.mark.parametrize(
    ("readings", "stable"),
    [
        ([(0, 10.0)], False),
        ([(0, 10.0), (2, 10.0), (4, 9.97)], True),
        ([(0, 10.0), (2, 10.0), (3.9, 10.0)], False),
        ([(0, 10.0), (2, 10.06), (4, 10.0)], False),
        ([(0, 10.0), (4, 10.0)], False),
        ([(0, 10.0), (2, 10.0), (4, 10.0), (6.5, 10.0)], False),
        ([(0, 10.0), (2, 10.0), (1, 10.0), (3, 10.0), (5, 10.0)], True),
        ([(0, 10.0), (2, 10.0), (1, 10.0), (3, 10.0)], False),
        ([(0, 10.0), (2, float("nan")), (4, 10.0)], False),
        ([(0, 10.0), (2, 10.0), (4, 10.0), (1e6, 10.0), (5, 10.0)], False),
    ],
)
def test_dwell(readings, stable):
    dwell = Dwell(0.05, 4.0)
    dwell.restart(10.0)
    for now, value in readings:
        dwell.note(value, now)
    assert dwell.stable(now) is stable
    assert not dwell.stable(now + 2.1)


def test_dwell_with_a_ramp_or_without_a_target():
    dwell = Dwell(0.05, 4.0)
    for now in range(20):
        dwell.note(10.0, float(now))
    assert not dwell.stable(19.0)
    dwell.restart(10.0)
    for now in range(20):
        dwell.note(10.0, float(now), moving=now == 17)
    assert not dwell.stable(19.0) and dwell.held_s(19.0) == 1.0


# ---- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "word", "shown"),
    [
        (1, "invalid", 0.0),
        (1, "invalid", 10.0),
        (16, "under", 0.0),
        (32, "over", 10.0),
        (64, "zero", 0.0),
        (129, "invalid", 10.0),
    ],
)
def test_an_invalid_sensor_never_gives_a_number(bits, word, shown):
    b = holding(invalid_K=shown)
    b.unit.sensor_status = bits
    with pytest.raises(DeviceFault, match=word):
        _ = b.driver.temperature_K
    assert b.unit.loop.heater_range == 0 and not b.driver.stable
    assert not b.driver.status().ok
    with pytest.raises(DeviceFault, match=word):
        b.driver.set_temperature(10.0)
    with pytest.raises(DeviceFault, match=word):
        b.driver.snapshot()
    with pytest.raises(NotReady):
        b.driver.wait_until_stable(10.0)
    b.unit.sensor_status = 0
    b.driver.set_temperature(10.0)
    assert b.unit.loop.heater_range == 2 and b.driver.status().ok


def test_a_sensor_that_tells_zero_without_complaint_is_not_believed():
    b = holding()
    b.unit._sense = b.unit.registers._sense = lambda name: (0.0, 0)
    with pytest.raises(DeviceFault, match="curve"):
        _ = b.driver.temperature_K
    assert b.unit.loop.heater_range == 0


@pytest.mark.parametrize("options", [{}, {"fault_clears": True}, {"fault_turns_off": True}])
@pytest.mark.parametrize(("code", "word"), [(1, "open"), (2, "shorted")])
def test_a_heater_fault_takes_the_heater_off_and_is_named(options, code, word):
    b = holding(**options)
    b.unit.heater_fault = code
    with pytest.raises(DeviceFault, match=word):
        b.driver.wait_until_stable(600.0)
    assert b.unit.loop.heater_range == 0
    b.clock.sleep(2.0)
    with pytest.raises(DeviceFault, match=word):
        b.driver.set_temperature(10.0)
    b.clock.sleep(2.0)
    status = b.driver.status()
    assert word in status.text and not status.ok


def warm(unit, kelvin):
    """Have everything warm, and stay so: the compressor has failed."""
    unit.cryostat.compressor = False
    for lump in unit.cryostat.lumps:
        lump.temperature_K = kelvin


def test_too_hot_takes_the_heater_off():
    b = holding(driver={"temperature_max_K": 40.0})
    assert b.unit.registers.limits_K["A"] == 41.0
    warm(b.unit, 40.5)
    with pytest.raises(DeviceFault, match="above the limit of 40 K"):
        b.driver.watch()
    assert b.unit.loop.heater_range == 0
    warm(b.unit, 45.0)
    assert b.driver.temperature_K > 40.0
    with pytest.raises(NotReady, match="let it cool"):
        b.driver.set_temperature(10.0)


def test_the_controllers_own_limit_is_seen_when_it_acts():
    b = holding(driver={"temperature_max_K": 40.0})
    warm(b.unit, 60.0)
    b.clock.sleep(1.0)
    b.unit.settle(b.clock.now())
    assert b.unit.loop.heater_range == 0 and b.unit.loop.tripped
    with pytest.raises(DeviceFault, match="nobody here switched it off"):
        b.driver.watch()


def test_a_stricter_limit_of_the_laboratory_is_kept():
    b = bench()
    b.unit.registers.limits_K["A"] = 100.0
    b.driver.connect()
    assert b.unit.registers.limits_K["A"] == 100.0


def test_a_power_cut_is_seen_and_got_over():
    b = holding()
    b.unit.restart()
    with pytest.raises(NoReply):
        b.driver.watch()
    b.clock.sleep(5.0)
    with pytest.raises(DeviceFault, match="power cut"):
        b.driver.watch()
    b.driver.connect()
    assert b.unit.loop.heater_range == 0 and not b.driver.stable
    b.driver.set_temperature(10.0)
    assert b.unit.loop.heater_range == 2


def test_a_set_point_changed_at_the_panel_is_not_called_stable():
    b = holding()
    b.driver.set_temperature(10.0)
    b.unit.loop.set_target(10.04)
    with pytest.raises(DeviceFault, match="instead of 10 K"):
        b.driver.wait_until_stable(600.0)


def test_limits_are_refused_before_anything_is_sent():
    b = holding(driver={"temperature_max_K": 80.0})
    heard = []
    b.unit.receive = heard.append
    for kelvin in (3.0, 80.1, -1.0, float("nan"), float("inf")):
        with pytest.raises(LimitError):
            b.driver.set_temperature(kelvin)
    for ramp in (0.0, 0.05, 101.0, float("nan"), -2.0):
        with pytest.raises(LimitError):
            b.driver.set_temperature(10.0, ramp)
    assert heard == []


@pytest.mark.parametrize(
    "options",
    [
        {"output": 3},
        {"output": True},
        {"sensor": "E"},
        {"band_K": 0.0},
        {"dwell_s": float("nan")},
        {"heater_range_max": 2, "heater_range": 3},
        {"heater_range_max": 4},
        {"temperature_min_K": 30.0, "temperature_max_K": 20.0},
        {"pid": [50.0, 20.0]},
        {"pid": [50.0, 20.0, 300.0]},
    ],
)
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigError, match=next(iter(reversed(options)))):
        bench(driver=options)


@pytest.mark.parametrize(
    ("model", "options"), [(335, {"sensor": "C"}), (331, {"sensor": "C"}), (331, {"output": 2})]
)
def test_what_the_model_does_not_have_is_refused(model, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        bench(model=model, driver=options).driver.connect()


def test_a_336_regulates_its_fourth_sensor():
    b = holding(model=336, sensor="D", driver={"sensor": "D"})
    assert abs(b.unit.stage_K - 10.0) < 0.05


def test_the_loop_is_wired_to_the_sensor_that_is_asked_for():
    for model in MODELS:
        b = bench(model=model)
        b.unit.registers.control_input[1] = 2
        b.unit.registers.powerup[1] = 1
        b.unit.loop.mode = "open"
        b.driver.connect()
        assert b.unit.registers.powerup[1] == 0
        assert b.unit.registers.control_input[1] == 1 and b.unit.loop.mode == "closed"


@pytest.mark.parametrize("model", MODELS)
def test_a_set_point_in_celsius_is_refused(model):
    b = bench(model=model)
    b.unit.registers.units = 2
    with pytest.raises(NotReady, match="Celsius"):
        b.driver.connect()


@pytest.mark.parametrize(
    "identity",
    ["LSCI,MODEL218S,1234,1.0", "LSCI,MODEL340,1234,1.0", "THORLABS,PM100D,P1,2.4", "LSCI"],
)
def test_another_instrument_is_refused_and_nothing_is_set(identity):
    b = bench()
    b.unit.registers.identity = identity
    b.unit.loop.set_range(2)
    with pytest.raises((WrongIdentity, BadReply)):
        b.driver.connect()
    assert b.unit.loop.heater_range == 2 and b.unit.registers.limits_K["A"] == 0.0
    with pytest.raises(NotReady):
        _ = b.driver.identity


def test_connecting_keeps_a_cold_sample_cold_and_ends_what_is_not_allowed():
    b = holding()
    again = LakeShoreCryostat(b.unit.link(LakeShoreCryostat), b.clock, dwell_s=5.0)
    again.connect()
    assert b.unit.loop.heater_range == 2
    again.wait_until_stable(300.0)
    for options in ({"temperature_min_K": 20.0}, {"heater_range_max": 1}):
        b = holding()
        LakeShoreCryostat(b.unit.link(LakeShoreCryostat), b.clock, **options).connect()
        assert b.unit.loop.heater_range == 0


def test_connecting_again_on_a_ramp_goes_on_with_it():
    b = holding()
    b.driver.set_temperature(20.0, ramp_K_per_min=3.0)
    b.clock.sleep(20.0)
    b.driver.connect()
    b.driver.wait_until_stable(1800.0)
    assert b.unit.loop.setpoint_K == 20.0


# ---- made safe ----------------------------------------------------------------------------------


def deaf_holding(**options):
    return holding(wrap=Deaf, **options)


def test_make_safe_tries_everything_before_it_raises():
    b = deaf_holding()
    b.wire.lost = {b"RANGE 1,0": math.inf}
    b.driver.make_safe()  # the output's mode does it
    assert b.unit.loop.heater_W == 0.0
    for words in [(b"RANGE 1,0", b"OUTMODE"), (b"RANGE", b"OUTMODE"), (b"RANGE ", b"SETP", b"RAN")]:
        b = deaf_holding()
        b.wire.lost = dict.fromkeys(words, math.inf)
        with pytest.raises(InstrumentError):
            b.driver.make_safe()
        b.clock.sleep(30.0)
        b.unit.settle(b.clock.now())
        assert b.unit.loop.heater_W == 0.0
    b.wire.lost = {}
    b.driver.make_safe()
    assert b.unit.loop.heater_range == 0


def test_a_lost_command_is_sent_again_until_it_is_seen():
    b = bench(Deaf)
    b.driver.connect()
    once = {b"SETP": 1, b"RANG": 1, b"RAMP": 1}
    hear = b.unit.receive

    def forgetful(data):
        word = data[:4]
        if b"?" not in data and once.get(word, 0):
            once[word] -= 1
            return
        hear(data)

    b.unit.receive = forgetful
    b.driver.set_temperature(14.0, 5.0)
    assert b.unit.loop.target_K == 14.0 and b.unit.loop.ramp_on
    assert b.unit.loop.heater_range == 2


def test_a_heater_that_cannot_be_switched_off_is_shouted_about():
    b = deaf_holding()
    b.wire.lost = dict.fromkeys((b"RANGE", b"SETP ", b"OUTMODE"), math.inf)
    b.unit.sensor_status = 1
    with pytest.raises(DeviceFault, match="COULD NOT BE SWITCHED OFF"):
        _ = b.driver.temperature_K


def test_switching_off_ends_a_wait():
    b = connected()
    b.driver.set_temperature(10.0)
    due = b.clock.now() + 30.0
    ticket = b.clock.every(
        1.0, lambda: b.driver.make_safe() if b.clock.now() > due and not ticket.cancelled else 0
    )
    with pytest.raises(NotReady, match="switched off during the wait"):
        b.driver.wait_until_stable(900.0)
    ticket.cancel()
    assert b.unit.loop.heater_range == 0


def test_an_interlock_that_reads_in_between_confuses_nobody():
    for period_s, options in ((0.37, {}), (1.1, {"latency_s": 0.12, "strict_timing": True})):
        b = holding(**options)
        seen = []
        ticket = b.clock.every(period_s, lambda b=b, seen=seen: seen.append(b.driver.temperature_K))
        b.driver.set_temperature(10.0)
        kelvin = b.driver.wait_until_stable(900.0)
        assert b.unit.loop.heater_range == 2 and abs(kelvin - b.unit.stage_K) < 0.02
        truth = b.unit.stage_K
        del seen[:]
        for _ in range(40):
            assert abs(b.driver.temperature_K - truth) < 0.05
            assert abs(b.driver.setpoint_K - 10.0) < 1e-9
            assert b.driver.heater_range == 2
        ticket.cancel()
        assert len(seen) > 20 and all(abs(value - truth) < 0.05 for value in seen)


def test_messages_are_fifty_milliseconds_apart():
    b = deaf_holding()
    b.driver.snapshot()
    times = [when for when, _ in b.wire.told]
    assert min(later - when for when, later in itertools.pairwise(times)) >= 0.0499


def test_a_mute_unit_is_reported_within_seconds():
    b = connected()
    b.unit.receive = lambda data: None
    before = b.clock.now()
    with pytest.raises(NoReply):
        _ = b.driver.temperature_K
    assert b.clock.now() - before < 2.5


@pytest.mark.parametrize(("model", "baud_rate"), [(331, 9600), (335, 57600), (336, 57600)])
def test_both_serial_settings_of_the_family_are_tried(model, baud_rate):
    class Port(InProcessAdapter):
        def _write_bytes(self, content, **kwargs):
            if self.connection.baud_rate != baud_rate:
                content = bytes(byte ^ 0x55 for byte in content)
            super()._write_bytes(content, **kwargs)

    clock = VirtualClock(START_S)
    unit = SimulatedLakeShore(clock, FakeWorld(), model=model, crlf_only=model == 331)
    adapter = Port(unit, timeout_s=0.2, **LakeShoreCryostat.VISA)
    adapter.connection.baud_rate = 57600
    driver = LakeShoreCryostat(adapter, clock)
    driver.connect()
    assert adapter.connection.baud_rate == baud_rate and str(model) in driver.identity.model
    unit.receive = lambda data: None
    with pytest.raises(NoReply, match="57600 and 9600 baud"):
        driver.connect()


# ---- the simulated unit by itself ---------------------------------------------------------------


def talk(unit, text):
    unit.receive(text)
    unit.clock.sleep(0.1)
    return unit.take()


def alone(**options):
    return SimulatedLakeShore(VirtualClock(START_S), FakeWorld(), noise_K=0.0, **options)


def test_bytes_of_the_simulated_335():
    unit = alone(start_K=10.123)
    unit.cryostat.build = type(unit.cryostat.build)(radiation_W=0, leads_W_K=0, window_W=0)
    unit.cryostat.compressor = False
    assert talk(unit, b"*ESR?\n") == b"128\r\n"
    assert talk(unit, b"*IDN?\r\n").startswith(b"LSCI,MODEL335,")
    assert talk(unit, b"KRDG? A\n") == b"+010.123\r\n"
    assert talk(unit, b"krdg? a;*ESR?\n") == b"+010.123;000\r\n"
    assert talk(unit, b"CRDG? A\n") == b"-263.027\r\n"
    assert talk(unit, b"RDGST? A\n") == b"000\r\n"
    assert talk(unit, b"SETP 1,12.0\n") == b""
    unit.clock.sleep(1.0)
    assert talk(unit, b"SETP?") == b"" and talk(unit, b" 1\n") == b"+012.000\r\n"
    assert talk(unit, b"RANGE 1,2;RANGE? 1;HTRST? 1\n") == b"2;0\r\n"
    assert talk(unit, b"RAMP 1,1,5;RAMP? 1\n") == b"1,+005.0\r\n"
    assert talk(unit, b"PID 1,30,10,0;:PID? 1\n") == b"+0030.0,+0010.0,+0000.0\r\n"
    assert talk(unit, b"OUTMODE? 1;TLIMIT? B;MODE?\n") == b"1,1,0;+0000;1\r\n"
    assert talk(unit, b"INNAME A,Cold;INNAME? A;INNAME? B\n").startswith(b"Cold;Stage")
    assert talk(unit, b"*OPC?;*TST?;OPST?\n") == b"1;0;028\r\n"


@pytest.mark.parametrize(
    ("line", "bit"),
    [
        (b"FOO?", 32),
        (b"ESR?", 32),
        (b"*KRDG? A", 32),
        (b"SETP 1,ten", 32),
        (b"KRDG? E", 16),
        (b"KRDG?", 16),
        (b"SETP 3,10", 16),
        (b"RANGE 1,4", 16),
        (b"RANGE 1,1.5", 16),
        (b"PID 1,0,20,0", 16),
        (b"RAMP 1,1,101", 16),
        (b"CSET? 1", 32),
    ],
)
def test_what_is_wrong_is_answered_by_nothing_and_sets_a_bit(line, bit):
    unit = alone()
    before = unit.state()
    talk(unit, b"*CLS\n")
    assert talk(unit, line + b"\n") == b""
    assert talk(unit, b"*STB?;*ESR?;*ESR?\n") == f"032;{bit:03d};000\r\n".encode()
    assert unit.loop.heater_range == 0 and unit.state()["p"] == before["p"]


def test_a_331_has_forms_of_its_own():
    unit = alone(model=331)
    assert talk(unit, b"*IDN?\n") == b""
    assert talk(unit, b"\r\n*IDN?\r\n") == b"LSCI,MODEL331S,345678,020399\r\n"
    assert talk(unit, b"RANGE 2\r\nRANGE?\r\nHTR?\r\n") == b"2\r\n+000.0\r\n"
    assert talk(unit, b"KRDG? A;RANGE?\r\n") == b"2\r\n"
    assert talk(unit, b"OUTMODE? 1\r\n") == b""
    assert talk(unit, b"CSET 1,B,1,0,1;CSET? 1\r\n") == b"B,1,0,1\r\n"


def test_what_comes_too_fast_is_lost():
    unit = alone(strict_timing=True)
    assert talk(unit, b"SETP 1,20\nSETP? 1\n") == b""
    assert talk(unit, b"SETP? 1\n") != b""


def test_a_restart_takes_the_heater_off_and_keeps_the_settings():
    for powerup in (False, True):
        unit = alone(powerup=powerup, boot_s=2.0)
        talk(unit, b"PID 1,30,10,0;SETP 1,20;RANGE 1,2\n")
        unit.restart()
        assert talk(unit, b"*ESR?\n") == b""
        unit.clock.sleep(2.0)
        expected = f"128;+020.000;{2 if powerup else 0}\r\n".encode()
        assert talk(unit, b"*ESR?;SETP? 1;RANGE? 1\n") == expected
        assert unit.loop.p == 30.0


def test_faults_by_name():
    b = holding()
    for kind in sorted(type(b.unit).FAULTS):
        b.unit.fault(kind, True)
        b.clock.sleep(3.0)
        with pytest.raises(InstrumentError):
            b.driver.watch()
            b.driver.connect()
        b.unit.fault(kind, False)
        b.clock.sleep(5.0)
        b.driver.connect()
        b.driver.set_temperature(10.0)
    with pytest.raises(ValueError, match="stuck"):
        b.unit.fault("stuck", True)


def test_readings_are_noisy_by_seed_and_time_alone():
    def readings(seed, queries):
        unit = SimulatedLakeShore(VirtualClock(START_S), FakeWorld(), seed=seed, start_K=12.0)
        for _ in range(queries):
            talk(unit, b"KRDG? A\n")
        unit.clock.sleep_until(START_S + 20.0)
        return [talk(unit, b"KRDG? A;KRDG? B\n") for _ in range(20)]

    first = readings(1, 0)
    assert first == readings(1, 30) and first != readings(2, 0) and len(set(first)) > 8


def test_a_resumed_run_sees_what_the_undisturbed_one_saw():
    def go_on(b):
        b.clock.sleep(1.0)
        seen = [b.driver.watch() for _ in range(5)]
        b.driver.set_temperature(14.0, 6.0)
        b.clock.sleep(20.0)
        return [*seen, b.driver.temperature_K, b.driver.heater_percent, b.unit.sample_K]

    undisturbed = holding()
    saved, now = undisturbed.unit.state(), undisturbed.clock.now()
    expected = go_on(undisturbed)
    resumed = bench(start_K=200.0)
    resumed.driver.connect()
    resumed.clock.jump(now)
    resumed.unit.restore(dict(saved))
    resumed.driver.connect()
    assert resumed.unit.loop.heater_range == 2
    resumed.clock.jump(now)
    resumed.unit.restore(dict(saved))
    assert go_on(resumed) == expected


# ---- over real VISA, and with other people's drivers --------------------------------------------


@pytest.mark.parametrize(
    ("serve", "model"),
    [
        (serve_tcp, 336),
        (serve_tcp, 331),
        pytest.param(
            serve_pty,
            335,
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals"),
        ),
    ],
)
def test_over_pyvisa(serve, model):
    clock = WallClock(20.0)  # the driver waits on it, so that the pauses are short in real time
    unit = SimulatedLakeShore(clock, FakeWorld(), model=model, start_K=12.0, latency_s=0.0)
    served = serve(unit)
    try:
        driver = LakeShoreCryostat(LakeShoreCryostat.open_link(served.resource), clock)
        driver.connect()
        assert driver.identity.model == f"Model {model}"
        driver.set_temperature(20.0)
        assert driver.setpoint_K == 20.0 and driver.heater_range == 2
        assert abs(driver.temperature_K - unit.stage_K) < 0.5
        driver.make_safe()
        assert unit.loop.heater_range == 0
        driver.close()
        driver.close()
    finally:
        served.close()


def test_pymeasures_own_driver_understands_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymeasure.instruments.lakeshore import LakeShore331

        unit = SimulatedLakeShore(WallClock(), FakeWorld(), model=336, start_K=12.0, latency_s=0.0)
        served = serve_tcp(unit)
        try:
            client = LakeShore331(served.resource, write_termination="\n", timeout=1000)
            assert "MODEL336" in client.id
            assert abs(client.input_A.kelvin - unit.stage_K) < 0.1
            client.output_1.setpoint = 12.5
            client.output_1.range = "medium"
            assert client.output_1.range == "medium" and unit.loop.target_K == 12.5
            client.output_1.mout = 3.0
            assert client.output_1.mout == 3.0 and client.output_1.output >= 0.0
            client.adapter.close()
        finally:
            served.close()


def test_the_vendors_driver_understands_it():
    vendor = pytest.importorskip("lakeshore")
    unit = SimulatedLakeShore(WallClock(), FakeWorld(), model=336, start_K=12.0, latency_s=0.0)
    served = serve_tcp(unit)
    try:
        address = served.address
        client = vendor.Model336(ip_address=address["host"], tcp_port=address["port"], timeout=1.0)
        assert client.model_number == "MODEL336"
        assert abs(client.get_kelvin_reading("A") - unit.stage_K) < 0.1
        client.set_control_setpoint(1, 14.0)
        client.set_heater_range(1, client.HeaterRange.MEDIUM)
        assert client.get_heater_range(1) == client.HeaterRange.MEDIUM
        assert unit.loop.target_K == 14.0 and unit.loop.heater_range == 2
        client.set_heater_pid(1, 40, 20, 0)
        assert client.get_heater_pid(1)["gain"] == 40.0
        client.set_setpoint_ramp_parameter(1, True, 3.0)
        assert client.get_setpoint_ramp_parameter(1)["rate_value"] == 3.0
        assert client.get_heater_status(1) == client.HeaterError.NO_ERROR
        with pytest.raises(Exception, match=r"(?i)execution"):
            client.command("SETP 9,1")
        client.device_tcp.close()
        client.device_tcp = None
    finally:
        served.close()


# ---- a bad line ---------------------------------------------------------------------------------


STRAYS = (b"boot\r\n", b"\r\n", b"+077.350\r\n", b"0\r\n", b"\xff\xfe\r\n")
BadLine = partial(
    Mangler,
    strays=STRAYS,
    flips=(b"012", b"120"),
    rest=2,
    credible=CREDIBLE | {"stray"},
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(),
    act=st.sampled_from(
        ["temperature_K", "setpoint_K", "heater_percent", "set", "watch", "make_safe", "status"]
    ),
    model=st.sampled_from([331, 335]),
)
def test_a_bad_line_gives_the_truth_or_an_error(plan, act, model):
    b = bench(BadLine, model=model, start_K=10.0)
    b.driver.connect()
    b.driver.set_temperature(10.0)
    b.clock.sleep(60.0)
    b.wire.plan = list(plan)
    try:
        match act:
            case "temperature_K" | "watch":
                found = b.driver.watch() if act == "watch" else b.driver.temperature_K
                assert abs(found - b.unit.stage_K) < 0.05
            case "setpoint_K":
                assert b.driver.setpoint_K == 10.0
            case "heater_percent":
                assert abs(b.driver.heater_percent - b.unit.loop.percent) < 1.5
            case "set":
                b.driver.set_temperature(14.0, 7.0)
                assert b.unit.loop.target_K == 14.0 and b.unit.loop.ramp_K_min == 7.0
                assert b.unit.loop.ramp_on and b.unit.loop.heater_range == 2
            case "make_safe":
                b.driver.make_safe()
                assert b.unit.loop.heater_range == 0
            case _:
                b.driver.status()
    except InstrumentError:
        pass
    b.wire.plan = []
    b.driver.make_safe()
    assert b.unit.loop.heater_range == 0


@pytest.mark.parametrize("what", ["double", "late"])
def test_a_line_that_is_always_bad_in_one_way_still_works(what):
    b = bench(BadLine)
    b.driver.connect()
    b.wire.plan = [(what, 0)] * 2000
    b.driver.set_temperature(10.0)
    assert b.unit.loop.target_K == 10.0 and b.unit.loop.heater_range == 2
    assert abs(b.driver.temperature_K - b.unit.stage_K) < 0.05
    b.driver.make_safe()
    assert b.unit.loop.heater_range == 0


def test_an_old_answer_left_on_the_line_is_not_taken_for_a_new_one():
    b = bench(BadLine)
    b.driver.connect()
    b.driver.set_temperature(10.0)
    b.wire.plan = [("late", 0)] * 3
    with pytest.raises(NoReply):
        b.wire.plan = [("lost", 0)] * 2 + [("late", 0)]
        b.driver.adapter.connection.timeout = 100.0
        b.unit.latency_s = 0.4
        _ = b.driver.heater_range
    b.unit.latency_s = 0.01
    assert b.driver.setpoint_K == 10.0
    assert abs(b.driver.temperature_K - b.unit.stage_K) < 0.05


def test_a_dead_socket_is_a_plain_error():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    gone = threading.Event()

    def serve():
        client, _ = listener.accept()
        client.recv(100)
        client.close()
        gone.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    link = open_visa(f"TCPIP0::127.0.0.1::{port}::SOCKET", LakeShoreCryostat)
    driver = LakeShoreCryostat(link, WallClock(20.0))
    with pytest.raises(NoReply):
        driver.connect()
    driver.close()
    thread.join(2.0)
    listener.close()
    assert gone.is_set()


def test_a_slow_unit_is_read_all_the_same():
    b = connected(latency_s=0.3)
    b.driver.set_temperature(10.0)
    assert b.unit.loop.target_K == 10.0 and b.unit.loop.heater_range == 2
    b.clock.sleep(60.0)
    assert abs(b.driver.temperature_K - b.unit.stage_K) < 0.05
    b.driver.make_safe()
    assert b.unit.loop.heater_range == 0


def test_a_clock_that_is_set_back_makes_nobody_wait():
    b = holding()
    now, saved = b.clock.now(), b.unit.state()
    b.clock.jump(now - 500.0)
    b.unit.restore(saved)
    assert not b.driver.stable
    assert b.driver.setpoint_K == 10.0
    assert b.clock.now() < now - 499.0
