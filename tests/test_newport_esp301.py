"""The ESP301 driver: bytes of the command set, the simulated unit in all readings, a bad line."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymeasure.adapters import VISAAdapter
from pymeasure.instruments.newport import ESP300
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.newport_esp301 import ESP301Stage
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
from instruments.roles import Limits
from instruments.stripe import StripeSlit
from instruments.wire import open_visa
from sim_drivers.devices.newport_esp301 import SimulatedESP301
from sim_drivers.link import InProcessAdapter, WireDevice, serve_pty, serve_tcp
from tests.mangling import KINDS, Mangler, plans

START_S = 1.0e9
NEAR_MM = 0.002  # settling (0.3 um) and home repeatability are well below


class FakeWorld:
    """Remembers where the slit's edge was, in the order it was told."""

    def __init__(self):
        self.edges = []

    def set_slit_stage_mm(self, position_mm):
        self.edges.append(position_mm)

    @property
    def edge_mm(self):
        return self.edges[-1]


def bench(wrapper=None, driver=None, **options):
    """Return clock, world, simulated unit and a driver in process."""
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedESP301(clock, world, **options)
    wire = wrapper(unit) if wrapper is not None else unit
    adapter = InProcessAdapter(wire, timeout_s=ESP301Stage.TIMEOUT_S, **ESP301Stage.VISA)
    return SimpleNamespace(
        clock=clock,
        world=world,
        unit=unit,
        wire=wire,
        adapter=adapter,
        driver=ESP301Stage(adapter, clock, **(driver or {})),
    )


def connected(*args, **options):
    b = bench(*args, **options)
    b.driver.connect()
    return b


def at_home(wrapper=None, driver=None, **options):
    options = {"start_mm": 2.0, **options}
    return connected(wrapper, {"assume_homed": True, **(driver or {})}, homed=True, **options)


# ---- bytes ------------------------------------------------------------------------------------

VERSION, STAGE = b"ESP301 Version 3.04 07/27/04", b"TRA25CC, SN1263"


class Bytes:
    """Writes down a dialogue: each line between four known texts, in a changing order."""

    def __init__(self, axis=b"1"):
        self.pairs, self.number, self.axis = [], 0, axis

    def raw(self, sent, *lines):
        self.pairs.append((sent, lines[0] if lines else None))
        self.pairs += [(None, line) for line in lines[1:]]
        return self

    def framed(self, queries, replies):
        marks = [(self.number >> bit & 1) for bit in (3, 2, 1, 0)]
        self.number = (self.number + 1) % 16
        asked = [(b"VE?", self.axis + b"ID?")[mark] for mark in marks]
        told = [(VERSION, STAGE)[mark] for mark in marks]
        line = b";".join([*asked[:2], *queries, *asked[2:]])
        return self.raw(line, *told[:2], *replies, *told[2:])

    def ask(self, *pairs):
        queries = [self.axis + query for query, _ in pairs] * 2
        return self.framed(queries, [reply for _, reply in pairs] * 2)

    def state(self, position, done=b"1", powered=b"1", target=b"0.0"):
        return self.ask((b"TP", position), (b"MD?", done), (b"MO?", powered), (b"PA?", target))

    def error(self, line=b"0, 451322, NO ERROR DETECTED"):
        self.framed([b"TB?"], [line])
        return (
            self if line.startswith(b"0") else self.framed([b"TB?"], [b"0, 7, NO ERROR DETECTED"])
        )


def by_bytes(script):
    return expected_protocol(ESP301Stage, script.pairs, clock=VirtualClock(START_S))


def known(driver, homed=True):
    """Return a driver that takes itself for connected, and homed at a target of zero."""
    driver._identity = SimpleNamespace()
    driver._limits = {"position_mm": Limits(-0.01, 25.01, "mm")}
    driver._version, driver._stage_id = VERSION.decode(), STAGE.decode()
    driver._referenced, driver._target = homed, 0.0 if homed else None
    return driver


def test_connect_identifies_and_learns_units_and_soft_limits():
    script = Bytes().raw(b"VE?;VE?", VERSION, VERSION)
    script.raw(b"VE?;1ID?;VE?;1ID?", VERSION, STAGE, VERSION, STAGE)
    script.ask((b"SN?", b"2")).ask((b"SL?", b"-0.01")).ask((b"SR?", b"25.01"))
    with by_bytes(script) as driver:
        driver.connect()
        found = driver.identity
        assert (found.model, found.firmware, found.serial) == ("ESP301", "3.04", "SN1263"[2:])
        assert driver.limits["position_mm"] == Limits(-0.01, 25.01, "mm")
        with pytest.raises(AttributeError):
            driver.velocity_mm = 1.0


def test_a_move_waits_until_it_is_done_and_there():
    script = Bytes().state(b"0.000").ask((b"VA?", b"2.0")).error()
    script.raw(b"1PA5.00000").error()
    script.state(b"0.000", target=b"5.0")  # "done", as it has not yet begun
    script.state(b"1.250", done=b"0", target=b"5.0").state(b"4.9999", target=b"5.0")
    with by_bytes(script) as driver:
        assert known(driver).move_to(5.0) == 4.9999


def test_homing_switches_the_motor_on_searches_and_polls():
    script = Bytes().state(b"0.000", powered=b"0").state(b"0.000", powered=b"0").error()
    script.raw(b"1MO").error().state(b"0.000").error().raw(b"1OR1").error()
    script.state(b"-3.1", done=b"0").state(b"0.0001").state(b"0.0001").error()
    with by_bytes(script) as driver:
        known(driver, homed=False).home()
        assert driver._referenced


def test_making_safe_stops_and_looks():
    script = Bytes().raw(b"1ST").state(b"3.2", done=b"0").state(b"3.3", target=b"3.3")
    with by_bytes(script) as driver:
        known(driver).make_safe()


def test_the_velocity_by_bytes():
    script = Bytes().raw(b"1VA0.30000").error().ask((b"VA?", b"0.3")).ask((b"AC?", b"8.0"))
    script.raw(b"1VA9.00000").error(b"110, 99, MAXIMUM VELOCITY EXCEEDED")
    with by_bytes(script) as driver:
        known(driver).velocity_mm_s = 0.3
        assert driver.velocity_mm_s == 0.3 and driver.acceleration_mm_s2 == 8.0
        with pytest.raises(DeviceFault, match="maximum velocity"):
            driver.velocity_mm_s = 9.0
        with pytest.raises(LimitError):
            driver.velocity_mm_s = 0.0


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (b"106, 99, POSITIVE SOFTWARE LIMIT DETECTED", LimitError, "software limit"),
        (b"107, 99, NEGATIVE SOFTWARE LIMIT DETECTED", LimitError, "software limit"),
        (b"101, 99, PARAMETER OUT OF RANGE", LimitError, "out of range"),
        (b"113, 99, MOTOR NOT ENABLED", NotReady, "not enabled"),
        (b"130, 99, COMMAND NOT ALLOWED DURING HOMING", NotReady, "during homing"),
        (b"103, 99, FOLLOWING ERROR THRESHOLD EXCEEDED", DeviceFault, "following"),
        (b"4, 99, EMERGENCY STOP ACTIVATED", DeviceFault, "emergency"),
        (b"177, 99, SOMETHING NEW", DeviceFault, "error 177"),
    ],
)
def test_entries_of_the_error_queue_become_errors(line, kind, words):
    script = Bytes().state(b"0.000").ask((b"VA?", b"2.0")).error().raw(b"1PA5.00000").error(line)
    with by_bytes(script) as driver, pytest.raises(kind, match=words):
        known(driver).move_to(5.0)


@pytest.mark.parametrize(
    ("reply", "position"),
    [(b"4.99987", 4.99987), (b"-0.0003", -3e-4), (b"5", 5.0), (b"+1.5E-03", 0.0015), (b"5.", 5.0)],
)
def test_positions_however_they_are_written(reply, position):
    with by_bytes(Bytes().state(reply)) as driver:
        assert known(driver).position_mm == position


class Parrot(WireDevice):
    """Answers each command by a fixed line, several on a line in their order."""

    def __init__(self, clock, replies):
        super().__init__(clock)
        self.replies = {b"VE?": VERSION, b"1ID?": STAGE, **replies}

    def receive(self, data):
        for command in data.strip().split(b";"):
            if command in self.replies:
                self.send(self.replies[command] + b"\r\n", 0.01)


def always(replies):
    clock = VirtualClock(START_S)
    adapter = InProcessAdapter(Parrot(clock, replies), timeout_s=0.2, **ESP301Stage.VISA)
    return ESP301Stage(adapter, clock)


STATE = {b"1TP": b"5.0", b"1MD?": b"1", b"1MO?": b"1", b"1PA?": b"0.0"}


@pytest.mark.parametrize(
    "wrong",
    [
        {b"1TP": b"nan"},
        {b"1TP": b"5,0"},
        {b"1TP": b".5"},
        {b"1TP": b"5.0 mm"},
        {b"1TP": b"1TP5.0"},
        {b"1TP": VERSION},
        {b"1TP": b"5.0\r\n5.0"},
        {b"1TP": b""},
        {b"1TP": b"E113"},
        {b"1TP": b"\xff\xfe"},
        {b"1MD?": b"2"},
        {b"1MO?": b"0.5"},
        {b"VE?": b"ESP301 Version 3.05"},
    ],
)
def test_what_is_no_state_is_refused(wrong):
    driver = known(always({**STATE, **wrong}))
    with pytest.raises(BadReply):
        _ = driver.position_mm


def test_soft_limits_and_units_are_looked_at():
    fine = {b"1SN?": b"2", b"1SL?": b"-1", b"1SR?": b"1"}
    always(fine).connect()
    with pytest.raises(BadReply, match="soft limits"):
        always(fine | {b"1SR?": b"-1"}).connect()
    for code, name in ((b"3", "um"), (b"0", "encoder counts"), (b"7", "deg")):
        with pytest.raises(NotReady, match=f"counts in {name}"):
            always(fine | {b"1SN?": code}).connect()


# ---- against the simulated unit ---------------------------------------------------------------

READINGS = [
    {},
    {"motor_on": True},
    {"position_decimals": 3},
    {"position_decimals": 8},
    {"stale_done_s": 0.03},
    {"stale_done_s": 0.5},
    {"home_pause_s": 0.0},
    {"latency_s": 0.15},
    {"latency_s": 0.3},
    {"identity": "ESP300 Version 2.20 09/01/00"},
    {"axis": 2},
    {"axis": 3, "axes": (3,)},
    {"seed": 5, "start_mm": 25.0},
]


@pytest.mark.parametrize("options", READINGS)
def test_homes_and_moves_in_every_reading_of_the_sheet(options):
    b = connected(driver={"axis": options.get("axis", 1)}, **options)
    assert not b.driver.homed and not b.driver.status().ok
    with pytest.raises(NotReady, match="home it"):
        b.driver.move_to(1.0)
    with pytest.raises(NotReady, match="home it"):
        _ = b.driver.position_mm
    b.driver.home()
    assert b.driver.homed and b.driver.status().ok and abs(b.world.edge_mm) < NEAR_MM
    for target in (1.0, 1.0, 1.25, 0.9, 25.01, -0.01, 0.1):
        before, start_mm = b.clock.now(), b.unit.true_position_mm
        reached = b.driver.move_to(target)
        assert reached == pytest.approx(target, abs=NEAR_MM)
        assert b.world.edge_mm == pytest.approx(reached, abs=NEAR_MM) and not b.unit.moving
        assert b.driver.position_mm == pytest.approx(reached, abs=1e-9)
        took, least = b.clock.now() - before, abs(target - start_mm) / 2.0 - 0.01
        # An answer later than the driver's first patience costs a repetition each.
        assert least <= took < least + (2.0 if b.unit.latency_s < 0.1 else 30.0)
    for target in (25.02, -0.02, float("nan"), float("inf")):
        with pytest.raises(LimitError):
            b.driver.move_to(target)
    settings = b.driver.snapshot()
    assert settings["position"].unit == "mm" and settings["homed"].value is True


@pytest.mark.parametrize("search", [1, 2, 3, 4, 5, 6])
def test_the_reference_can_be_at_the_home_switch_or_at_a_limit(search):
    b = connected(driver={"home_search": search})
    b.driver.home()
    zero = {3: 26.0, 5: 26.0, 4: -1.0, 6: -1.0}.get(search, 0.0)
    assert b.unit.true_position_mm == pytest.approx(zero, abs=NEAR_MM)
    assert b.driver.position_mm == pytest.approx(0.0, abs=NEAR_MM)


def test_nothing_reaches_the_wire_before_the_limits_are_checked():
    b = at_home()
    seen = []
    b.unit.receive, receive = lambda data: (seen.append(data), receive(data)), b.unit.receive
    with pytest.raises(LimitError, match=r"-0\.01 to 25\.01"):
        b.driver.move_to(25.5)
    assert not seen
    assert b.driver.move_to(3.0) == pytest.approx(3.0, abs=NEAR_MM) and seen


@pytest.mark.parametrize("known_axis", [True, False])
def test_the_controllers_own_refusal_is_an_error_and_nothing_moves(known_axis):
    b = at_home(global_range=not known_axis)
    b.unit.axes[1].parameters["SR"] = 10.0  # narrowed behind the driver's back
    # Error 7 may as well be a command that was garbled on its way: it is tried again, then told.
    with pytest.raises(LimitError if known_axis else DeviceFault):
        b.driver.move_to(11.0)
    assert b.unit.true_position_mm == 2.0 and b.unit.axes[1].moves == 0
    assert b.driver.move_to(9.0) == pytest.approx(9.0, abs=NEAR_MM)


def test_errors_left_by_somebody_are_not_taken_for_ours():
    b = at_home()
    b.unit.receive(b"XX\rQQ\r1PA99\r" * 4)
    assert b.driver.move_to(3.0) == pytest.approx(3.0, abs=NEAR_MM)


def test_limits_of_the_bench_file_narrow_the_travel():
    b = at_home(driver={"min_position_mm": 0.5, "max_position_mm": 40.0})
    assert b.driver.limits["position_mm"] == Limits(0.5, 25.01, "mm")
    with pytest.raises(LimitError, match=r"0\.5 to 25\.01"):
        b.driver.move_to(0.4)
    with pytest.raises(ConfigError, match=r"max_position_mm.*no travel"):
        at_home(driver={"max_position_mm": -1.0})


@pytest.mark.parametrize(
    "options",
    [
        {"axis": 0},
        {"axis": 4},
        {"axis": "1"},
        {"axis": True},
        {"velocity_mm_s": 0.0},
        {"velocity_mm_s": float("nan")},
        {"min_position_mm": float("nan")},
        {"tolerance_mm": 0.0},
        {"home_timeout_s": float("nan")},
        {"home_search": 0},
        {"home_search": True},
    ],
)
def test_bad_options_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        bench(driver=options)


def test_the_velocity_is_set_once_homed():
    b = connected(driver={"velocity_mm_s": 0.5})
    assert b.unit.axes[1].parameters["VA"] == 2.0
    b.driver.home()
    before = b.clock.now()
    b.driver.move_to(5.0)
    assert b.clock.now() - before > 10.0
    b = connected(driver={"velocity_mm_s": 5.0})
    with pytest.raises(DeviceFault, match="maximum velocity"):
        b.driver.home()


def test_a_restart_is_noticed_whether_it_leaves_the_motor_on_or_off():
    for motor_on in (False, True):
        b = at_home(motor_on=motor_on)
        b.driver.move_to(4.0)
        b.unit.restart()
        assert not b.driver.homed
        with pytest.raises(NotReady, match="home it"):
            b.driver.move_to(5.0)
        with pytest.raises(NotReady, match="home it"):
            _ = b.driver.position_mm
        b.driver.home()
        assert b.driver.move_to(5.0) == pytest.approx(5.0, abs=NEAR_MM)
        assert b.unit.true_position_mm == pytest.approx(5.0, abs=NEAR_MM)


def test_a_move_by_somebody_else_is_noticed():
    b = at_home()
    b.driver.move_to(4.0)
    b.unit.receive(b"1PR1\r")
    b.clock.sleep(5.0)
    assert not b.driver.homed and "not homed" in b.driver.status().text


def test_a_stuck_stage_is_a_following_error_and_homing_mends_it():
    b = at_home()
    b.unit.axes[1].stuck = True
    with pytest.raises(DeviceFault, match="following error"):
        b.driver.move_to(5.0)
    assert not b.driver.homed and "motor off" in b.driver.status().text
    with pytest.raises(DeviceFault, match="following error"):
        b.driver.home()
    b.unit.axes[1].stuck = False
    b.driver.home()
    assert b.driver.move_to(5.0) == pytest.approx(5.0, abs=NEAR_MM) and b.driver.status().ok


@pytest.mark.parametrize("silence_s", [2.0, 5.0])
@pytest.mark.parametrize("drops", [True, False])
def test_a_limit_switch_is_told_through_the_silence(silence_s, drops):
    b = at_home(
        limit_silence_s=silence_s,
        silence_drops=drops,
        limit_line="E104",
        switches_mm=(-1.0, 10.0),
        start_mm=9.0,
    )
    before = b.clock.now()
    with pytest.raises(DeviceFault, match="positive hardware limit"):
        b.driver.move_to(12.0)
    assert b.clock.now() - before > silence_s
    assert b.unit.true_position_mm == 10.0 and not b.driver.homed
    b.driver.home()
    assert b.driver.move_to(9.0) == pytest.approx(9.0, abs=NEAR_MM)


def test_a_home_search_that_takes_too_long_is_stopped():
    b = connected(driver={"home_timeout_s": 3.0}, start_mm=20.0)
    with pytest.raises(DeviceFault, match="not at home after 3 s"):
        b.driver.home()
    assert not b.unit.moving and not b.driver.homed


def test_a_home_search_that_somebody_stops_gives_no_reference():
    b = connected(start_mm=20.0)
    b.clock.every(2.0, lambda: b.unit.receive(b"1ST\r"))
    with pytest.raises(DeviceFault, match="homing aborted"):
        b.driver.home()
    assert not b.driver.homed


def test_a_move_that_takes_far_too_long_is_stopped():
    b = at_home()
    b.unit.axes[1].parameters["VA"] = 2.0
    original = b.unit.axes[1].go
    b.unit.axes[1].go = lambda *args, **more: (
        b.unit.axes[1].parameters.update(VA=0.01) or original(*args, **more)
    )
    with pytest.raises(DeviceFault, match="not there after"):
        b.driver.move_to(20.0)
    assert not b.unit.moving


def test_making_safe_during_a_move_ends_it_and_keeps_the_reference():
    b = at_home()
    b.clock.every(1.0, b.driver.make_safe)
    with pytest.raises(NotReady, match="stopped on the way"):
        b.driver.move_to(20.0)
    assert not b.unit.moving and 2.0 < b.unit.true_position_mm < 6.0
    assert b.driver.homed and b.driver.position_mm == pytest.approx(
        b.unit.true_position_mm, abs=1e-4
    )


def test_making_safe_as_a_last_resort_switches_the_motors_off():
    b = at_home()
    b.unit.receive(b"1PA20\r")
    b.unit.axes[1].stop = lambda now: None
    b.driver.make_safe()
    assert not b.unit.moving and not b.driver.homed


def test_two_axes_share_one_controller_and_its_errors():
    b = at_home()
    other = ESP301Stage(b.adapter, b.clock, axis=2)
    other.connect()
    other.home()
    b.unit.axes[2].stuck = True
    b.unit.receive(b"2PA3\r")
    b.clock.sleep(1.0)
    assert b.driver.move_to(3.0) == pytest.approx(3.0, abs=NEAR_MM)
    assert not other.homed and [fault.code for fault in other.faults()[0]] == [203]


def test_an_axis_without_a_stage_is_told():
    with pytest.raises(NotReady, match="no stage on axis 2"):
        connected(driver={"axis": 2}, axes=(1,))


def test_something_else_and_silence_are_told_apart():
    with pytest.raises(WrongIdentity, match="SMC"):
        always({b"VE?": b"SMC_CC1 Controller-driver version 2.0.0"}).connect()

    class Silent(WireDevice):
        def receive(self, data):
            pass

    clock = VirtualClock(START_S)
    driver = ESP301Stage(InProcessAdapter(Silent(clock), **ESP301Stage.VISA), clock)
    with pytest.raises(NoReply, match="controller on"):
        driver.connect()
    assert clock.now() - START_S < 2.2


def test_the_speed_of_an_older_controller_is_found():
    b = bench()

    class Serial:
        resource_name, baud_rate, flow_control, timeout = "ASRL3::INSTR", 921600, None, 200.0

        def close(self):
            pass

    b.adapter.connection = port = Serial()
    receive = b.unit.receive
    b.unit.receive = lambda data: receive(data) if port.baud_rate == 19200 else None
    b.driver.connect()
    assert port.baud_rate == 19200 and b.driver.identity.model == "ESP301"


def test_a_stripe_slit_on_this_stage():
    b = connected()
    slit = StripeSlit(b.driver, 3.0)
    slit.prepare()
    for length in (0.0, 1.5, 3.0, 0.2):
        assert slit.set_length_mm(length) == pytest.approx(length, abs=NEAR_MM)
        assert b.world.edge_mm == pytest.approx(length, abs=NEAR_MM)
    slit.close()


def test_what_a_driver_is_before_it_is_connected():
    b = bench()
    for attempt in (
        lambda: b.driver.identity,
        lambda: b.driver.limits,
        lambda: b.driver.homed,
        b.driver.home,
        b.driver.make_safe,
        lambda: b.driver.velocity_mm_s,
    ):
        with pytest.raises(NotReady, match="connect"):
            attempt()


# ---- the simulated unit itself ----------------------------------------------------------------


def alone(world=None, **options):
    return SimulatedESP301(VirtualClock(START_S), world, **options)


def talk(unit, data, after_s=0.1):
    unit.receive(data)
    unit.clock.sleep(after_s)
    return unit.take()


def test_the_example_of_the_sheet():
    unit = alone(homed=True, start_mm=5.0, position_decimals=3)
    assert talk(unit, bytes.fromhex("31 54 50 3F 0D")) == bytes.fromhex("35 2E 30 30 30 0D 0A")


def test_lines_are_read_as_the_real_one_reads_them():
    unit = alone(homed=True, start_mm=1.0)
    assert talk(unit, b"01 tp ? \r\n1TP\r") == b"1.00000\r\n" * 2
    assert talk(unit, b"1TP") == b"" and talk(unit, b"\r") == b"1.00000\r\n"
    assert talk(unit, b"1MD?;1MO?;2MO?;TE?\r") == b"1\r\n1\r\n0\r\n0\r\n"
    assert talk(unit, b"1PA?;1SN?;1VA?;1AC?;1SL?;1SR?\r") == (
        b"1.0\r\n2\r\n2.0\r\n8.0\r\n-0.01\r\n25.01\r\n"
    )
    assert talk(unit, b"ZZ;TP;9TP;1PA;1QQ;1SN12;TE?;TE?;TE?;TE?;TE?;TE?;TE?\r").split() == [
        *(b"6", b"37", b"9", b"38", b"6", b"7", b"0")
    ]
    assert talk(unit, b"2PA1;TB?;TB?\r").startswith(b"213, ")
    assert talk(unit, b"PH\r") == b"0H, 0H\r\n"
    assert unit.true_position_mm == 1.0


def test_the_clock_of_the_error_queue_and_its_depth():
    unit = alone()
    unit.clock.sleep(10.0)
    assert talk(unit, b"TB?\r").split(b", ") == [b"0", b"25000", b"NO ERROR DETECTED\r\n"]
    talk(unit, b"ZZ\r" * 15)
    codes = [talk(unit, b"TE?\r").strip() for _ in range(11)]
    assert codes == [b"6"] * 10 + [b"0"]


def test_waiting_commands_hold_the_queue_to_the_moment():
    unit = alone(homed=True, start_mm=0.0, settle_um=0.0)
    unit.receive(b"1PA2;1WS500;1TP;1PA0;1WS;1WT100;1TP\r")
    assert unit.take() == b""
    # 2 mm at 2 mm/s and 8 mm/s2 is 1.25 s, and 20 ms of settling.
    assert unit.due() == pytest.approx(START_S + 1.77, abs=1e-6)
    unit.clock.sleep(1.775)
    assert unit.take() == b"2.00000\r\n" and unit.moving
    unit.clock.sleep(10.0)
    assert unit.take() == b"0.00000\r\n"


def test_a_move_takes_its_time_and_can_be_stopped():
    world = FakeWorld()
    unit = alone(world, homed=True, start_mm=0.0, stale_done_s=0.03)
    unit.receive(b"1PA10\r")
    assert talk(unit, b"1MD?\r", 0.02) == b"1\r\n", "stale at first"
    assert talk(unit, b"1MD?\r", 0.98) == b"1\r\n"
    # 2 mm/s after a quarter of a second at 8 mm/s2
    assert unit.true_position_mm == pytest.approx(1.75, abs=0.01)
    assert world.edge_mm == unit.true_position_mm
    assert talk(unit, b"1MD?;1TV;1ST\r", 1.0).split() == [b"0", b"2.00000"]
    assert unit.true_position_mm == pytest.approx(2.0, abs=0.01)
    assert talk(unit, b"1MD?\r") == b"1\r\n" and world.edge_mm == unit.true_position_mm


def test_a_limit_switch_cuts_the_motor_and_the_talk():
    unit = alone(homed=True, start_mm=25.0, limit_silence_s=3.0, limit_line="E104")
    unit.receive(b"1MV+\r")
    assert talk(unit, b"1MO?\r", 0.01) == b"1\r\n"
    assert talk(unit, b"", 1.0) == b"E104\r\n"
    assert talk(unit, b"PH;1MO?\r", 1.0) == b"", "silent"
    assert talk(unit, b"TE?\r", 2.0) == b"1H, 0H\r\n0\r\n104\r\n"
    assert talk(unit, b"1PA1;TE?\r") == b"113\r\n"


def test_settling_is_small_keyed_by_the_move_and_resumed():
    def run(unit, targets):
        ends = []
        for target in targets:
            talk(unit, b"1PA%g\r" % target, 30.0)
            ends.append(unit.true_position_mm)
        return ends

    targets = [1.0, 2.0, 5.0, 5.5, 2.0]
    whole = run(alone(homed=True, seed=4, start_mm=0.0), targets)
    errors = [end - target for end, target in zip(whole, targets, strict=True)]
    assert all(abs(error) <= 0.3e-3 for error in errors) and len(set(errors)) == len(errors)
    first = alone(homed=True, seed=4, start_mm=0.0)
    run(first, targets[:3])
    second = alone(homed=True, seed=4, start_mm=9.0)
    run(second, [7.0])
    second.restore(first.state())
    assert second.true_position_mm == first.true_position_mm
    assert run(second, targets[3:]) == whole[3:]
    assert run(alone(homed=True, seed=5, start_mm=0.0), targets) != whole


def test_a_driver_goes_on_after_the_bench_has_been_restored():
    b = connected()
    b.driver.home()
    b.driver.move_to(4.0)
    state = b.unit.state()
    again = connected(start_mm=11.0)
    again.driver.home()
    again.unit.restore(state)
    assert again.driver.homed and again.driver.position_mm == b.driver.position_mm
    assert again.driver.move_to(4.5) == b.driver.move_to(4.5)


# ---- other programs ---------------------------------------------------------------------------

needs_pty = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


@pytest.mark.parametrize("serve", [serve_tcp, pytest.param(serve_pty, marks=needs_pty)])
def test_over_pyvisa(serve):
    clock, world = WallClock(speed=4.0), FakeWorld()
    served = serve(SimulatedESP301(clock, world, start_mm=1.0, homed=serve is serve_pty))
    try:
        options = {"assume_homed": serve is serve_pty}
        driver = ESP301Stage(open_visa(served.resource, ESP301Stage), clock, **options)
        driver.connect()
        if serve is serve_tcp:
            driver.home()
            reached = driver.move_to(0.5)
            assert reached == pytest.approx(0.5, abs=NEAR_MM)
            assert world.edge_mm == pytest.approx(reached, abs=NEAR_MM)
            driver.make_safe()
        else:
            assert driver.position_mm == 1.0
        driver.close()
        driver.close()
    finally:
        served.close()


@pytest.mark.filterwarnings("ignore:It is not known whether this device support SCPI")
@pytest.mark.parametrize("serve", [serve_tcp, pytest.param(serve_pty, marks=needs_pty)])
def test_pymeasures_own_client(serve):
    served = serve(SimulatedESP301(WallClock(speed=20.0), start_mm=1.0))
    try:
        adapter = VISAAdapter(
            served.resource, write_termination="\r", read_termination="\r\n", timeout=1000
        )
        client = ESP300(adapter)
        client.clear_errors()
        client.x.enable()
        assert client.x.enabled and client.x.units == "millimeter"
        client.x.position = 0.25
        client.x.wait_for_stop(delay=0.1, interval=0.0)
        assert client.x.position == pytest.approx(0.25, abs=NEAR_MM)
        client.x.position = 99
        assert [str(error) for error in client.errors] == [
            "Newport ESP300 axis 1 reported the error: POSITIVE SOFTWARE LIMIT DETECTED"
        ]
        client.x.zero()
        assert client.x.position == 0.0
        client.x.disable()
        assert client.values("1MO?") == [0]
        adapter.close()
    finally:
        served.close()


def test_a_client_that_asks_for_errors_after_every_command():
    unit = alone(homed=True, start_mm=1.0)
    for command, answers in ((b"1TP?", [b"1.00000"]), (b"1PA2.0", []), (b"1MO", [])):
        *first, last = talk(unit, command + b"\rTB?\r").splitlines()
        assert first == answers and last.endswith(b", NO ERROR DETECTED")


# ---- a bad line -------------------------------------------------------------------------------


STRAYS = (b"\r\n", b"E104\r\n", b"7.0\r\n", b"\xff\xfe\r\n", VERSION + b"\r\n")
# One line asks for many values: the same wrong digit twice in it is beyond any protocol.
BadLine = partial(Mangler, strays=STRAYS, rest=8)
HARMS = [kind for kind in KINDS if kind != "flip"]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(HARMS, most=60),
    act=st.sampled_from(["position", "move", "far", "home", "make_safe", "limits"]),
)
def test_a_bad_line_gives_the_truth_or_an_error(plan, act):
    b = at_home(BadLine)
    b.wire.plan = list(plan)
    try:
        match act:
            case "position":
                assert b.driver.position_mm == pytest.approx(2.0, abs=NEAR_MM)
            case "move" | "far":
                target = 2.1 if act == "move" else 12.0
                assert b.driver.move_to(target) == pytest.approx(target, abs=NEAR_MM)
                assert b.unit.true_position_mm == pytest.approx(target, abs=NEAR_MM)
            case "home":
                b.driver.home()
                assert b.driver.homed and abs(b.unit.true_position_mm) < NEAR_MM
            case "make_safe":
                b.unit.receive(b"1PA20\r")
                b.driver.make_safe()
                assert not b.unit.moving and b.unit.true_position_mm < 19.0
            case "limits":
                again = ESP301Stage(b.driver.adapter, b.clock)
                again.connect()
                assert again.limits["position_mm"] == Limits(-0.01, 25.01, "mm")
    except InstrumentError:
        pass
    b.wire.plan = []
    b.driver.make_safe()
    assert not b.unit.moving


@pytest.mark.parametrize(("what", "place"), [("stray", 0), ("stray", 1), ("late", 0)])
def test_a_line_that_is_always_bad_in_one_way_still_works(what, place):
    b = at_home(BadLine, start_mm=3.0)
    b.wire.plan = [(what, place)] * 9000
    b.driver.home()
    for target in (1.0, 2.5):
        assert b.driver.move_to(target) == pytest.approx(target, abs=NEAR_MM)
        assert b.unit.true_position_mm == pytest.approx(target, abs=NEAR_MM)


@pytest.mark.parametrize("line", range(2, 10))  # position, done, motor and target, twice
@pytest.mark.parametrize("what", ["digit", "shorten", "double", "lost", "garble"])
def test_one_wrong_answer_of_the_eight_is_never_believed(line, what):
    b = at_home(BadLine)
    for place in range(48, 68, 3):
        b.wire.forget()
        b.wire.plan = [("pass", 0)] * line + [(what, place)]
        # Two positions count as one where they are within half a micrometre.
        assert b.driver.position_mm == pytest.approx(2.0, abs=5.1e-4)
        b.wire.forget()
        b.wire.plan = [("pass", 0)] * line + [(what, place)]
        assert b.driver.homed and b.driver.status().text == "ready"


def test_an_error_whose_answer_is_lost_is_not_taken_for_none():
    b = at_home(BadLine)
    b.unit.receive(b"QQ\r")
    b.wire.plan = [("pass", 0), ("pass", 0), ("lost", 0)]
    found, sure = b.driver.faults()
    assert not found and not sure
    b.unit.receive(b"QQ\r")
    b.wire.plan = [("late", 0)] * 5
    found, sure = b.driver.faults()
    assert sure and [fault.code for fault in found] == [6]


@pytest.mark.parametrize("kind", ["stuck", "limit", "identity", "restart"])
def test_what_goes_wrong_in_the_controller_is_never_passed_over(kind: str) -> None:
    clock = VirtualClock()
    device = SimulatedESP301(clock, None, seed=3)
    stage = ESP301Stage(device.link(ESP301Stage), clock)
    stage.connect()
    stage.home()
    assert kind in device.FAULTS
    device.fault(kind, True)
    with pytest.raises(InstrumentError):
        stage.connect() if kind == "identity" else stage.move_to(4.0)
    device.fault(kind, False)
    stage.recover()
    stage.home()
    assert stage.move_to(4.0) == pytest.approx(4.0, abs=0.005)
