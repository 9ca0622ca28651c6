"""The Elliptec driver: bytes of the sheet, the simulated unit in all its readings, a bad line."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.thorlabs_elliptec import ElliptecRotator, ElliptecStage
from instruments.errors import (
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.wire import open_visa
from sim_drivers.devices.thorlabs_elliptec import SimulatedElliptec
from sim_drivers.link import InProcessAdapter, WireDevice, serve_pty, serve_tcp
from tests.mangling import KINDS, Between, Deaf, Mangler, plans

START_S = 1.0e9
HardOfHearing = partial(Deaf, at=1)  # behind the address
PER_DEG = 143360 / 360
no_pty = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


class FakeWorld:
    """Remembers the angle."""

    angle_deg = None

    def set_attenuator_angle(self, angle_deg):
        self.angle_deg = angle_deg


def bench(wrap=None, driver=ElliptecRotator, driver_options=None, **options):
    """Return clock, world, simulated unit and a driver in process."""
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedElliptec(clock, world, **options)
    wire = wrap(unit) if wrap is not None else unit
    adapter = InProcessAdapter(wire, timeout_s=driver.TIMEOUT_S, **driver.VISA)
    made = driver(adapter, clock, **(driver_options or {}))
    return SimpleNamespace(clock=clock, world=world, unit=unit, wire=wire, driver=made)


def homed(**options):
    b = bench(**options)
    b.driver.connect()
    b.driver.home()
    return b


# ---- bytes ------------------------------------------------------------------------------------

IN = (b"0in", b"0IN0E1140051420211501016800023000\r")
FINE, ZERO = (b"0gs", b"0GS00\r"), (b"0gp", b"0PO00000000\r")
HOMING = [FINE, (b"0ho0", b"0PO00000000\r"), FINE, ZERO, ZERO]


def by_bytes(pairs, driver=ElliptecRotator, **options):
    return expected_protocol(driver, pairs, clock=VirtualClock(START_S), **options)


def test_connect_reads_who_it_is_and_moves_nothing():
    with by_bytes([IN, IN, FINE]) as driver:
        driver.connect()
        assert str(driver.identity) == "Thorlabs ELL14 (serial 11400514)"
        assert driver.identity.firmware == "15"
        assert not driver.homed
        with pytest.raises(AttributeError):
            driver.angel_deg = 3.0


def test_45_degrees_by_bytes():
    reached = b"0PO00004603\r"
    move = [FINE, ZERO, (b"0ma00004600", reached), FINE, (b"0gp", reached), (b"0gp", reached)]
    with by_bytes([IN, IN, FINE, *HOMING, *move]) as driver:
        driver.connect()
        driver.home()
        assert driver.move_to(45.0) == pytest.approx(0x4603 / PER_DEG)


def test_negative_angles_and_another_address_by_bytes():
    at_b = [(ask.replace(b"0", b"B", 1), reply.replace(b"0", b"B", 1)) for ask, reply in
            [IN, IN, FINE, FINE, (b"0ho1", b"0GS00\r"), FINE, ZERO, ZERO, FINE, ZERO]]  # fmt: skip
    there = b"BPOFFFFEE00\r"
    move = [(b"BmaFFFFEE00", there), (b"Bgs", b"BGS00\r"), (b"Bgp", there), (b"Bgp", there)]
    with by_bytes([*at_b, *move], address="b", home_direction="ccw") as driver:
        driver.connect()
        driver.home()
        assert driver.move_to(-4608 / PER_DEG) == pytest.approx(-4608 / PER_DEG)


def test_velocity_by_bytes():
    script = [(b"0sv50", b"0GS00\r"), (b"0gv", b"0GV50\r"), (b"0gv", b"0GV64\r")]
    with by_bytes(script) as driver:
        driver.velocity_percent = 80
        assert driver.velocity_percent == 80
        assert driver.velocity_percent == 100
        with pytest.raises(LimitError):
            driver.velocity_percent = 30


def test_the_hand_controller_and_other_units_are_passed_over():
    noisy = (b"0gs", b"0BS01\r")
    more = [(None, b"0BO00000400\r"), (None, b"1GS02\r"), (None, b"\r"), (None, b"0GS00\r")]
    with by_bytes([IN, IN, noisy, *more]) as driver:
        driver.connect()


def test_a_move_that_ends_in_an_error_is_a_fault_and_the_error_is_read_away():
    move = [FINE, ZERO, (b"0ma00001000", b"0GS09\r"), (None, b"0GS02\r"), (b"0gs", b"0GS02\r")]
    with by_bytes([IN, IN, FINE, *HOMING, *move]) as driver:
        driver.connect()
        driver.home()
        with pytest.raises(DeviceFault, match="mechanical"):
            driver.move_to(4096 / PER_DEG)


@pytest.mark.parametrize("address", ["G", "00", "", -1, 16])
def test_addresses_are_one_hexadecimal_digit(address):
    with pytest.raises(ConfigError, match="address"):
        bench(driver_options={"address": address})


# ---- against the simulated unit ---------------------------------------------------------------

READINGS = [
    {},
    {"home_reply": "GS"},
    {"busy_first": True},
    {"busy_first": True, "home_reply": "GS", "busy_position": "GS"},
    {"silent_in_motion": True},
    {"hasty_to_zero_s": 0.09, "latency_s": 0.0},
    {"latency_s": 0.4},
    {"latency_s": 0.9},
    {"model": "ELL18", "firmware": "17"},
    {"model": "ELL16"},
    {"address": "F"},
]


@pytest.mark.parametrize("options", READINGS)
def test_homes_and_moves_in_every_reading_of_the_sheet(options):
    b = bench(driver_options={"address": options.get("address", "0")}, **options)
    b.driver.connect()
    with pytest.raises(NotReady, match="home"):
        _ = b.driver.angle_deg
    with pytest.raises(NotReady, match="home"):
        b.driver.move_to(10.0)
    assert b.unit.moves == 0 and not b.driver.status().ok
    b.driver.home()
    assert b.driver.homed and b.driver.status().ok
    per_deg = b.unit.model.pulses_per_unit
    for target in (30.0, 30.0, 29.9, -45.0, 400.0, 0.0, 719.0, -719.0):
        reached = b.driver.move_to(target)
        assert not b.unit.moving
        assert reached == pytest.approx(b.unit.position_pulses / per_deg, abs=1e-9)
        assert reached == b.driver.angle_deg
        assert abs(reached - target) < 20.0 / per_deg
        assert abs(b.world.angle_deg - reached) < 0.1
    assert b.unit.moves == 8
    assert b.driver.snapshot()["angle"].value == b.driver.angle_deg


def test_the_answer_is_where_it_is_not_where_it_was_sent():
    b = homed(settle_pulses=30.0)
    targets = np.arange(5.0, 90.0, 5.0)
    reached = np.array([b.driver.move_to(target) for target in targets])
    off = (reached - targets) * PER_DEG
    assert 15.0 < np.std(off) < 50.0


def test_true_angles_scatter_about_the_reported_ones_within_the_resolution():
    b = homed(seed=5)
    off = [b.driver.move_to(x) - b.world.angle_deg for x in np.linspace(0.0, 300.0, 120)]
    assert 0.01 < np.std(off) < b.driver.resolution_deg
    assert abs(np.mean(off)) < 0.01


def test_an_unhomed_mount_reports_zero_wherever_it_is():
    angles = {round(bench(seed=seed).world.angle_deg) for seed in range(8)}
    assert len(angles) > 4
    b = bench(seed=3)
    assert b.unit.position_pulses == 0 and b.world.angle_deg > 1.0
    b.driver.connect()
    before = b.clock.now()
    b.driver.home()
    assert abs(b.world.angle_deg) < 0.1 and 0.5 < b.clock.now() - before < 5.0


def test_limits_are_enforced_before_anything_moves():
    b = homed(driver_options={"min_angle_deg": -10.0, "max_angle_deg": 100.0})
    for angle in (100.1, -10.1, float("nan"), float("inf")):
        with pytest.raises(LimitError, match="angle_deg"):
            b.driver.move_to(angle)
    assert b.unit.moves == 0
    with pytest.raises(ConfigError):
        bench(driver_options={"min_angle_deg": 10.0, "max_angle_deg": 5.0})


def test_a_restart_and_a_turn_by_hand_are_noticed_before_the_next_move():
    for happens in (lambda unit: unit.restart(), lambda unit: unit.press(500)):
        b = homed()
        b.driver.move_to(30.0)
        happens(b.unit)
        with pytest.raises(NotReady, match="home it again"):
            b.driver.move_to(31.0)
        assert not b.driver.homed
        b.driver.home()
        assert b.driver.move_to(31.0) == pytest.approx(b.world.angle_deg, abs=0.1)


def test_a_stuck_motor_is_a_fault_and_moves_go_on_afterwards():
    b = homed()
    b.unit.stuck = True
    with pytest.raises(DeviceFault, match="mechanical time-out"):
        b.driver.move_to(30.0)
    assert b.driver.status().ok, "the error has been read away"
    with pytest.raises(DeviceFault, match="mechanical time-out"):
        b.driver.home()
    assert not b.driver.homed
    b.unit.stuck = False
    b.driver.home()
    assert abs(b.driver.move_to(30.0) - 30.0) < 0.1


def test_an_old_error_is_not_taken_for_one_of_the_move():
    b = homed()
    b.unit.fail(0x02)
    assert abs(b.driver.move_to(30.0) - 30.0) < 0.1
    b.unit.fail(0x0D)
    status = b.driver.status()
    assert not status.ok and "over-current" in status.text
    assert b.driver.status().ok
    b.unit.fail(0x0A)
    with pytest.raises(DeviceFault, match="sensor"):
        b.driver.move_to(10.0)
    assert not b.driver.homed


def test_wrong_units_are_refused():
    b = bench(model="ELL20")
    with pytest.raises(WrongIdentity, match="ELL20"):
        b.driver.connect()
    b = bench(driver=ElliptecStage)
    with pytest.raises(WrongIdentity, match="ELL14"):
        b.driver.connect()
    b = bench(driver_options={"address": "3"})
    with pytest.raises(NoReply, match="address 3"):
        b.driver.connect()
    with pytest.raises(NotReady):
        b.driver.home()


@pytest.mark.parametrize(("model", "travel"), [("ELL17", 28.0), ("ELL20", 60.0)])
def test_linear_stages_count_pulses_per_millimetre(model, travel):
    where = []
    b = homed(driver=ElliptecStage, model=model, on_moved=where.append)
    assert b.driver.limits["position_mm"].high == travel
    for target in (10.0, travel, 0.0, 0.5):
        reached = b.driver.move_to(target)
        assert reached == b.unit.position_pulses / 1024.0 == b.driver.position_mm
        assert abs(reached - target) < 0.02 and abs(where[-1] - reached) < 0.01
    for target in (-0.01, travel + 0.01, float("nan")):
        with pytest.raises(LimitError):
            b.driver.move_to(target)
    assert b.driver.snapshot()["position"].unit == "mm"


def test_a_resumed_mount_settles_where_the_undisturbed_one_would():
    first = homed(seed=9)
    whole = [first.driver.move_to(x) for x in (10.0, 20.0, 30.0, 40.0)]
    before = homed(seed=9)
    half = [before.driver.move_to(x) for x in (10.0, 20.0)]
    resumed = homed(seed=9)
    resumed.driver.move_to(half[-1])  # stands where the interrupted one stood
    resumed.unit.restore(before.unit.state())
    assert resumed.unit.position_pulses == before.unit.position_pulses
    assert half + [resumed.driver.move_to(x) for x in (30.0, 40.0)] == whole
    assert resumed.world.angle_deg == pytest.approx(first.world.angle_deg, abs=1e-9)
    other = homed(seed=10)
    assert [other.driver.move_to(x) for x in (10.0, 20.0, 30.0, 40.0)] != whole


def test_two_units_share_a_link():
    class Bus(WireDevice):
        def __init__(self, units):
            super().__init__(units[0].clock)
            self.units = units

        def receive(self, data):
            for unit in self.units:
                unit.receive(data)

        def due(self):
            return min((t for t in (u.due() for u in self.units) if t is not None), default=None)

        def take(self):
            return b"".join(unit.take() for unit in self.units)

    clock, worlds = VirtualClock(START_S), [FakeWorld(), FakeWorld()]
    units = [
        SimulatedElliptec(clock, world, address=address, serial=f"1140051{address}")
        for address, world in zip("2A", worlds, strict=True)
    ]
    adapter = InProcessAdapter(Bus(units), timeout_s=0.5, **ElliptecRotator.VISA)
    mounts = [ElliptecRotator(adapter, clock, address=address) for address in ("2", "A")]
    for mount, angle in zip(mounts, (30.0, 60.0), strict=True):
        mount.connect()
        mount.home()
        mount.move_to(angle)
    assert mounts[0].lock is mounts[1].lock
    for mount, world, angle in zip(mounts, worlds, (30.0, 60.0), strict=True):
        assert mount.angle_deg == pytest.approx(angle, abs=0.1)
        assert world.angle_deg == pytest.approx(angle, abs=0.1)


# ---- the simulated unit by itself -------------------------------------------------------------


def talk(unit, text, wait_s=0.1):
    unit.receive(text)
    answer = b""
    end = unit.clock.now() + wait_s
    while unit.clock.now() < end:
        unit.clock.sleep(min(0.01, end - unit.clock.now()))
        answer += unit.take()
    return answer


def quiet(**options):
    return SimulatedElliptec(
        VirtualClock(START_S), FakeWorld(), settle_pulses=0.0, homed=True, **options
    )


def test_bytes_of_the_simulated_unit():
    unit = quiet()
    assert talk(unit, b"0in") == b"0IN0E1140051420211501016800023000\r\n"
    assert talk(unit, b"0gs\r\n0gs") == b"0GS00\r\n" * 2
    assert talk(unit, b"0ho0", 2.0) == b"0PO00000000\r\n"
    assert talk(unit, b"0ho00\r\n0gp", 2.0) == b"0PO00000000\r\n" * 2
    assert talk(unit, b"0ma00004600", 2.0) == b"0PO00004600\r\n"
    assert talk(unit, b"0mrFFFFEE00", 2.0) == b"0PO00003400\r\n"
    assert talk(unit, b"0maFFFFFF00\r", 2.0) == b"0POFFFFFF00\r\n"
    assert talk(unit, b"0sv32") == b"0GS00\r\n"
    assert talk(unit, b"0gv") == b"0GV32\r\n"
    assert talk(unit, b"".join(b"%Xgs" % a for a in range(16))) == b"0GS00\r\n"
    assert talk(unit, b"0ca7") == b"7GS00\r\n"
    assert talk(unit, b"0gs7gs") == b"7GS00\r\n"


def test_a_turn_takes_its_time_and_the_unit_is_busy_meanwhile():
    unit = quiet()
    unit.receive(b"0ma00023000")
    unit.clock.sleep(0.4)
    assert talk(unit, b"0gs", 0.03) == b"0GS09\r\n"
    on_the_way = int(talk(unit, b"0gp", 0.03)[3:11], 16)
    assert 0 < on_the_way < 0x23000
    assert talk(unit, b"0ma00000000", 0.03) == b"0GS09\r\n"
    assert talk(unit, b"0st", 0.03) == b"0GS09\r\n"
    assert talk(unit, b"", 2.0) == b"0PO00023000\r\n"


def test_errors_stay_until_they_are_read():
    unit = quiet()
    assert talk(unit, b"0ms") == b"0GS03\r\n"
    assert talk(unit, b"0gp") == b"0PO00000000\r\n"
    assert talk(unit, b"0gs") == b"0GS03\r\n"
    assert talk(unit, b"0gs") == b"0GS00\r\n"
    assert talk(unit, b"0sv65") == b"0GS04\r\n"


@pytest.mark.parametrize("code", [4, 12])
def test_beyond_the_travel(code):
    unit = quiet(model="ELL20", out_of_travel=code)
    assert talk(unit, b"0ma0000F000", 2.0) == b"0PO0000F000\r\n"
    assert talk(unit, b"0ma0000F001", 2.0) == b"0GS%02X\r\n" % code


def test_a_packet_that_stalls_for_two_seconds_is_dropped():
    unit = quiet()
    assert talk(unit, b"0m", 1.9) + talk(unit, b"a00000100", 1.0) == b"0PO00000100\r\n"
    assert talk(unit, b"0m", 2.1) == b""
    assert talk(unit, b"a00000200", 1.0) == b""
    assert talk(unit, b"0gp") == b"0PO00000100\r\n"


def test_a_hasty_move_ends_at_zero_where_that_is_played():
    unit = quiet(hasty_to_zero_s=0.08)
    unit.receive(b"0ma00004600")
    unit.clock.sleep(unit.due() - unit.clock.now())
    unit.take()
    assert talk(unit, b"0ma00002000", 2.0) == b"0PO00004600\r\n0PO00000000\r\n"
    assert talk(unit, b"0ma00002000", 2.0) == b"0PO00002000\r\n"


def test_jogs_and_stop():
    unit = quiet()
    assert talk(unit, b"0sj00000400", 0.05) == b"0GS00\r\n"
    assert talk(unit, b"0fw", 1.0) == b"0PO00000400\r\n"
    assert talk(unit, b"0bw", 1.0) == b"0PO00000000\r\n"
    assert talk(unit, b"0sj00000000", 0.05) == b"0GS00\r\n"
    assert talk(unit, b"0fw", 1.0) == b"0GS00\r\n"
    stopped = int(talk(unit, b"0st", 0.05)[3:11], 16)
    assert stopped / PER_DEG == pytest.approx(430.0, rel=0.05)
    assert talk(unit, b"0om", 60.0) == b"0GS09\r\n"
    assert talk(unit, b"0st", 0.05).startswith(b"0PO")


# ---- over real VISA, and an independent client ------------------------------------------------


@pytest.mark.parametrize("serve", [serve_tcp, pytest.param(serve_pty, marks=no_pty)])
def test_over_pyvisa(serve):
    clock, world = WallClock(speed=4.0), FakeWorld()
    served = serve(SimulatedElliptec(clock, world, busy_first=True))
    try:
        driver = ElliptecRotator(open_visa(served.resource, ElliptecRotator), clock)
        driver.connect()
        driver.home()
        reached = driver.move_to(45.0)
        assert abs(reached - 45.0) < 0.1 and abs(world.angle_deg - reached) < 0.1
        driver.close()
        driver.close()
    finally:
        served.close()


@no_pty
def test_pylablib_drives_the_simulated_mount():
    thorlabs = pytest.importorskip("pylablib.devices.Thorlabs")
    world = FakeWorld()
    served = serve_pty(SimulatedElliptec(WallClock(speed=4.0), world, address="4"))
    try:
        motor = thorlabs.ElliptecMotor(served.address["path"])
        try:
            assert motor.get_connected_addrs() == [4]
            info = motor.get_device_info()
            assert (info.serial_no, info.model_no, info.travel) == ("11400514", 14, 360)
            assert motor.get_status() == "ok"
            assert motor.home() is True
            assert motor.move_to(45.0) is True
            assert motor.get_position() == pytest.approx(45.0, abs=0.1)
            assert world.angle_deg == pytest.approx(motor.get_position(), abs=0.1)
            assert motor.move_by(-90.0) is True
            assert motor.get_position() == pytest.approx(-45.0, abs=0.1)
            assert motor.set_velocity(60) == 60
            assert motor.get_frequency() == pytest.approx((100e3, 106e3), rel=0.01)
            with pytest.raises(thorlabs.ThorlabsError, match="not_supported"):
                motor.get_motor_info(3)
            assert motor.get_status() == "ok", "the error has been read away"
            assert motor.change_addr(9) == "ok" and motor.get_connected_addrs() == [9]
        finally:
            motor.close()
    finally:
        served.close()


# ---- a bad line -------------------------------------------------------------------------------


STRAYS = (b"\r\n", b"boot\r\n", b"0BS01\r\n0BO00000400\r\n", b"\xff\xfe\n", b"1GS02\r\n")
BadLine = partial(Mangler, strays=STRAYS, late_s=0.8, digits=b"0123456789ABCDEF", rest=2)
HARMS = [kind for kind in KINDS if kind != "flip"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(HARMS),
    act=st.sampled_from(["move", "angle", "home", "connect"]),
    target=st.sampled_from([30.2, 31.0, 250.0, -20.0]),
    busy_first=st.booleans(),
)
def test_a_bad_line_gives_the_truth_or_an_error(plan, act, target, busy_first):
    b = homed(wrap=BadLine, busy_first=busy_first)
    b.driver.move_to(30.0)
    b.wire.plan = list(plan)
    try:
        if act == "move":
            reached = b.driver.move_to(target)
            assert not b.unit.moving
            assert abs(reached - b.unit.position_pulses / PER_DEG) <= 2.0 / PER_DEG
            assert abs(reached - target) < 1.0
        elif act == "angle":
            assert abs(b.driver.angle_deg - b.unit.position_pulses / PER_DEG) <= 2.0 / PER_DEG
        elif act == "home":
            homings = b.unit.homings
            b.driver.home()
            assert b.unit.homings > homings and b.unit.position_pulses == 0
        else:
            b.driver.connect()
            assert b.driver.identity.serial == "11400514"
    except InstrumentError:
        pass
    b.wire.plan = []
    b.clock.sleep(10.0)
    b.driver.connect()
    b.driver.home()
    assert b.driver.move_to(12.0) == pytest.approx(b.unit.position_pulses / PER_DEG)
    assert abs(b.world.angle_deg - 12.0) < 0.2


@pytest.mark.parametrize("what", ["double", "stray", "late"])
def test_a_line_that_is_always_bad_in_one_way_still_works(what):
    b = bench(wrap=BadLine)
    b.wire.plan = [(what, place) for place in range(1000)]
    b.driver.connect()
    b.driver.home()
    for target in (30.0, 30.3, -10.0):
        assert b.driver.move_to(target) == b.unit.position_pulses / PER_DEG
        assert b.driver.angle_deg == pytest.approx(target, abs=0.1)


def test_lost_commands_are_repeated_and_never_believed():
    b = bench(wrap=HardOfHearing)
    b.wire.lost = {b"in": 1, b"ho": 1, b"ma": 1, b"gp": 1}
    b.driver.connect()
    b.driver.home()
    assert b.unit.homings == 1 and abs(b.world.angle_deg) < 0.1
    assert b.driver.move_to(30.0) == b.unit.position_pulses / PER_DEG
    assert b.unit.moves == 1
    b.wire.lost = {b"ho": 9}
    with pytest.raises(NoReply, match="never confirmed"):
        b.driver.home()
    assert not b.driver.homed
    b.wire.lost = {}
    b.driver.home()
    b.wire.lost = {b"ma": 9}
    with pytest.raises(DeviceFault, match="instead of"):
        b.driver.move_to(30.0)
    b.wire.lost = {b"gp": 99, b"gs": 99}
    before = b.clock.now()
    with pytest.raises(NoReply):
        _ = b.driver.angle_deg
    assert b.clock.now() - before < 8.0


@pytest.mark.parametrize("reply", [b"0PO0000460\r", b"0PO000046000\r", b"0PO0000460g\r", b"0PO\r"])
def test_a_position_of_the_wrong_length_is_never_a_number(reply):
    class Wrong(Between):
        wrong = False

        def take(self):
            data = super().take()
            return reply + b"\n" if self.wrong and data[1:3] == b"PO" else data

    b = homed(wrap=Wrong)
    b.wire.wrong = True
    with pytest.raises(NoReply, match="gp"):
        _ = b.driver.angle_deg
