"""The SC10 driver: bytes of the manual, the simulated unit in all its readings, a bad line."""

from __future__ import annotations

import math
import sys
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.thorlabs_sc10 import SC10Shutter
from instruments.errors import BadReply, DeviceFault, InstrumentError, NoReply, WrongIdentity
from instruments.wire import open_visa
from sim_drivers.devices.thorlabs_sc10 import SimulatedSC10
from sim_drivers.link import InProcessAdapter, serve_pty, serve_tcp
from tests.mangling import Deaf, Mangler, plans

START_S = 1.0e9


class FakeWorld:
    """Remembers what the blade did and when."""

    def __init__(self):
        self.moves = []

    def set_shutter(self, is_open, at_s=None):
        self.moves.append((is_open, at_s))


def bench(device=None, **options):
    """Return clock, world, simulated unit and a driver in process."""
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedSC10(clock, world, **options)
    wire = device(unit) if device is not None else unit
    adapter = InProcessAdapter(wire, timeout_s=SC10Shutter.TIMEOUT_S, **SC10Shutter.VISA)
    return SimpleNamespace(
        clock=clock, world=world, unit=unit, wire=wire, driver=SC10Shutter(adapter, clock)
    )


def connected(**options):
    b = bench(**options)
    b.driver.connect()
    return b


def by_bytes(pairs):
    """Return a driver against a script; connected, as far as it knows."""
    return expected_protocol(SC10Shutter, pairs, clock=VirtualClock(START_S))


def identified(driver):
    driver._identity = SimpleNamespace()
    return driver


# ---- bytes ------------------------------------------------------------------------------------

CLOSED, OPEN = (b"closed?", b" closed?\r1\r"), (b"closed?", b" closed?\r0\r")
DISABLED, ENABLED = (b"ens?", b" ens?\r0\r"), (b"ens?", b" ens?\r1\r")
TOGGLE = (b"ens", b" ens\r")


def test_connect_identifies_shuts_and_chooses_manual_mode():
    script = [
        (b"id?", b"id?\rTHORLABS SC10 VERSION 1.07\r"),
        DISABLED,
        DISABLED,
        CLOSED,
        CLOSED,
        (b"mode=1", b" mode=1\r"),
        (b"mode?", b" mode?\r1\r"),
        (b"mode?", b" mode?\r1\r"),
    ]
    with by_bytes(script) as driver:
        driver.connect()
        assert (driver.identity.model, driver.identity.firmware) == ("SC10", "1.07")
        with pytest.raises(AttributeError):
            driver.opne = True


def test_opening_toggles_once_and_watches_the_blade():
    script = [(b"interlock?", b"interlock?\r0\r"), (b"mode?", b" mode?\r1\r")]
    script += [DISABLED, DISABLED, TOGGLE, ENABLED, ENABLED, CLOSED, OPEN, OPEN]
    with by_bytes(script) as driver:
        identified(driver).open()


def test_shutting_a_shut_one_does_not_toggle():
    with by_bytes([DISABLED, DISABLED, CLOSED, CLOSED]) as driver:
        identified(driver).shut()


def test_shutting_an_open_one_toggles_once():
    script = [ENABLED, ENABLED, TOGGLE, DISABLED, DISABLED, OPEN, CLOSED, CLOSED]
    with by_bytes(script) as driver:
        identified(driver).shut()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"closed?\r1\r", False),
        (b" closed?\r0\r", True),
        (b"closed?\r0\r ", True),
        (b"noise\r closed?\r0\r", True),
        (b"clo\rclosed?\r\n0\r\n", True),
    ],
)
def test_the_blade_is_read_however_the_prompt_falls(reply, expected):
    with by_bytes([(b"closed?", reply)] * 2) as driver:
        assert driver.is_open is expected


@pytest.mark.parametrize("reply", [b"closed?\r2\r", b"closed?\r10\r", b"closed?\r-1\r"])
def test_a_value_that_the_manual_does_not_have_is_refused(reply):
    with pytest.raises(BadReply), by_bytes([(b"closed?", reply)] * 3) as driver:
        _ = driver.is_open


# ---- against the simulated unit ---------------------------------------------------------------

READINGS = [
    {},
    {"prompt_blank": False},
    {"blank_late_s": 0.0},
    {"blade_before_echo": True, "blade_s": 0.03},
    {"blade_s": 0.4, "latency_s": 0.15},
    {"latency_s": 0.3},
    {"interlock_disables": True},
    {"identity": "Thorlabs sc10 shutter controller"},
]


@pytest.mark.parametrize("options", READINGS)
def test_opens_and_shuts_in_every_reading_of_the_sheet(options):
    b = connected(**options)
    assert not b.driver.is_open and b.world.moves == [] and b.unit.toggles == 0
    before = b.clock.now()
    b.driver.open()
    assert b.driver.is_open and b.unit.blade_open and b.unit.toggles == 1
    (is_open, when), *_ = b.world.moves
    assert is_open and when - before >= b.unit.blade_s
    b.driver.open()
    assert b.unit.toggles == 1
    b.driver.shut()
    b.driver.shut()
    assert not b.unit.blade_open and b.unit.toggles == 2
    assert [move for move, _ in b.world.moves] == [True, False]
    assert b.driver.status().ok and b.driver.snapshot()["open"].value is False


def test_connecting_shuts_what_the_last_user_left_open_in_any_mode():
    for mode in range(1, 6):
        b = bench()
        b.unit.receive(f"mode={mode}\rens\r".encode())
        b.clock.sleep(0.05)
        b.unit.take()
        b.driver.connect()
        assert not b.unit.enabled and b.unit.settings["mode"] == 1
        b.unit.settle(b.clock.now())
        assert not b.unit.blade_open


def test_interlock_is_a_fault_and_leaves_the_shutter_disabled():
    for options in ({}, {"interlock_disables": True}):
        b = connected(**options)
        b.unit.trip()
        with pytest.raises(DeviceFault, match="interlock"):
            b.driver.open()
        assert b.unit.toggles == 0 and not b.driver.status().ok
        assert "close the interlock" in b.driver.status().text
        assert b.driver.snapshot()["interlock_tripped"].value is True
        b.unit.trip(False)
        b.driver.open()
        b.unit.trip()
        b.clock.sleep(0.1)
        assert not b.driver.is_open
        b.driver.shut()
        b.unit.trip(False)
        b.clock.sleep(0.1)
        assert not b.driver.is_open, "it must not open by itself when the interlock closes"


def test_a_stuck_blade_is_a_fault_and_the_shutter_is_disabled_again():
    b = connected()
    b.unit.stuck = True
    with pytest.raises(DeviceFault, match="blade stays closed"):
        b.driver.open()
    assert not b.unit.enabled
    b.unit.stuck = False
    b.driver.open()
    b.unit.stuck = True
    with pytest.raises(DeviceFault, match="blade stays open"):
        b.driver.shut()
    with pytest.raises(DeviceFault, match="blade stays open"):
        b.driver.make_safe()
    assert not b.unit.enabled


def test_opening_puts_a_changed_mode_right():
    b = connected()
    b.unit.settings["mode"] = 3
    assert "single" in b.driver.status().text
    b.driver.open()
    b.clock.sleep(1.0)
    assert b.driver.is_open and b.unit.settings["mode"] == 1


def test_a_lost_answer_to_the_toggle_is_made_good_by_reading_the_state():
    b = bench(Deaf)
    b.driver.connect()
    b.wire.unanswered = (b"ens\r",)
    b.driver.open()
    assert b.unit.blade_open and b.unit.toggles == 1
    b.driver.shut()
    assert not b.unit.blade_open and b.unit.toggles == 2


def test_a_lost_toggle_is_not_repeated():
    b = bench(Deaf)
    b.driver.connect()
    b.wire.lost = {b"ens\r": math.inf}
    with pytest.raises(NoReply):
        b.driver.open()
    b.wire.lost = {}
    b.clock.sleep(1.0)
    assert b.unit.toggles == 0 and not b.driver.is_open


def test_make_safe_tries_again_from_the_state_and_raises_if_it_cannot_know():
    b = bench(Deaf)
    b.driver.connect()
    b.driver.open()
    b.wire.lost = {b"ens\r": math.inf}
    with pytest.raises(NoReply):
        b.driver.make_safe()
    b.wire.lost = {b"ens?": math.inf}
    with pytest.raises(NoReply):
        b.driver.make_safe()
    assert b.unit.toggles == 1
    b.wire.lost, b.wire.unanswered = {}, (b"ens\r",)
    b.driver.make_safe()
    assert not b.unit.blade_open and b.unit.toggles == 2


def test_a_mute_unit_is_reported_within_seconds():
    b = connected()
    b.unit.receive = lambda data: None
    before = b.clock.now()
    with pytest.raises(NoReply):
        _ = b.driver.is_open
    assert b.clock.now() - before < 2.5


@pytest.mark.parametrize("identity", ["THORLABS KURIOS 1.0", "", "Command error CMD_NOT_DEFINED"])
def test_another_unit_is_refused_before_anything_moves(identity):
    b = bench(identity=identity)
    with pytest.raises((WrongIdentity, NoReply)):
        b.driver.connect()
    assert b.unit.toggles == 0


def test_both_baud_rates_are_tried():
    class Port(InProcessAdapter):
        def _write_bytes(self, content, **kwargs):
            if self.connection.baud_rate != self.device.baud_rate:
                content = bytes(byte ^ 0x55 for byte in content)
            super()._write_bytes(content, **kwargs)

    clock = VirtualClock(START_S)
    unit = SimulatedSC10(clock, FakeWorld())
    unit.receive(b"baud=1\rsave\r")
    unit.restart()
    adapter = Port(unit, timeout_s=0.2, **SC10Shutter.VISA)
    adapter.connection.baud_rate = 9600
    driver = SC10Shutter(adapter, clock)
    driver.connect()
    assert adapter.connection.baud_rate == 115200
    driver.open()
    assert unit.blade_open


def test_restart_shuts_and_is_seen():
    b = connected()
    b.driver.open()
    b.unit.restart()
    b.clock.sleep(0.1)
    assert not b.driver.is_open and b.world.moves[-1][0] is False


# ---- the simulated unit by itself -------------------------------------------------------------


def talk(unit, clock, text):
    unit.receive(text)
    clock.sleep(0.05)
    return unit.take()


def test_bytes_of_the_simulated_unit():
    clock = VirtualClock(START_S)
    unit = SimulatedSC10(clock, FakeWorld())
    assert talk(unit, clock, b"ens?\r") == b"ens?\r0\r> "
    assert talk(unit, clock, b"en") == b""
    assert talk(unit, clock, b"s\r") == b"ens\r> "
    assert talk(unit, clock, b"closed?\rens?\r") == b"closed?\r0\r> ens?\r1\r> "
    assert talk(unit, clock, b"mode=1\r") == b"mode=1\r> "
    assert talk(unit, clock, b"foo\r") == b"foo\rCommand error CMD_NOT_DEFINED\r> "
    for wrong in (b"ens=1", b"mode=6", b"rep=0", b"open=1234567", b"mode=", b"*idn?"):
        assert b"CMD_NOT_DEFINED" in talk(unit, clock, wrong + b"\r")
    assert talk(unit, clock, b"rep=7\rrep?\r") == b"rep=7\r> rep?\r7\r> "


def test_the_blank_of_the_prompt_comes_late():
    clock = VirtualClock(START_S)
    unit = SimulatedSC10(clock, FakeWorld(), blank_late_s=0.02)
    unit.receive(b"ens?\r")
    clock.sleep(0.011)
    assert unit.take() == b"ens?\r0\r>"
    clock.sleep(0.02)
    assert unit.take() == b" "


@pytest.mark.parametrize(
    ("mode", "openings", "enabled"), [(2, 5, True), (3, 1, False), (4, 3, False)]
)
def test_timed_modes(mode, openings, enabled):
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedSC10(clock, world)
    talk(unit, clock, f"open=20\rshut=30\rrep=3\rmode={mode}\r".encode())
    start = clock.now()
    unit.receive(b"ens\r")
    clock.sleep(0.249)
    unit.settle(clock.now())
    opened = [when for is_open, when in world.moves if is_open]
    closed = [when for is_open, when in world.moves if not is_open]
    assert len(opened) == openings and unit.enabled is enabled
    assert opened[0] == pytest.approx(start + 0.010, abs=1e-6)
    assert closed[0] - opened[0] == pytest.approx(0.020, abs=1e-6)


def test_external_gate():
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedSC10(clock, world)
    talk(unit, clock, b"mode=5\rens\r")
    assert world.moves == []
    unit.gate(True)
    clock.sleep(0.1)
    unit.gate(False)
    clock.sleep(0.1)
    unit.settle(clock.now())
    assert [is_open for is_open, _ in world.moves] == [True, False]


# ---- over real VISA ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "serve",
    [
        serve_tcp,
        pytest.param(
            serve_pty,
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals"),
        ),
    ],
)
def test_over_pyvisa(serve):
    clock = WallClock()
    unit = SimulatedSC10(clock, FakeWorld())
    served = serve(unit)
    try:
        driver = SC10Shutter(open_visa(served.resource, SC10Shutter), clock)
        driver.connect()
        driver.open()
        assert driver.is_open and unit.blade_open and unit.toggles == 1
        driver.shut()
        assert not unit.blade_open and unit.toggles == 2
        driver.close()
        driver.close()
    finally:
        served.close()


# ---- a bad line -------------------------------------------------------------------------------


STRAYS = (b"boot v1\r\n", b"> ", b"closed?\r", b"\xff\xfe>")
BadLine = partial(Mangler, lines=False, strays=STRAYS, rest=2)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(),
    act=st.sampled_from(["open", "shut", "is_open", "make_safe"]),
    left=st.booleans(),
)
def test_a_bad_line_gives_the_truth_or_an_error(plan, act, left):
    b = bench(BadLine)
    b.driver.connect()
    if left:
        b.driver.open()
    toggles = b.unit.toggles
    b.wire.plan = list(plan)
    try:
        if act == "is_open":
            assert b.driver.is_open is b.unit.blade_open
        else:
            getattr(b.driver, act)()
            b.unit.settle(b.clock.now())
            assert b.unit.blade_open is (act == "open")
    except InstrumentError:
        pass
    allowed = {"is_open": 0, "shut": 1, "open": 2, "make_safe": 1}[act]
    assert b.unit.toggles - toggles <= allowed
    b.wire.plan = []
    b.driver.make_safe()
    b.unit.settle(b.clock.now())
    assert not b.unit.blade_open


@pytest.mark.parametrize("what", ["double", "stray", "late"])
def test_a_line_that_is_always_bad_in_one_way_still_works(what):
    b = bench(BadLine)
    b.driver.connect()
    for place in range(4):
        b.wire.plan = [(what, place)] * 200
        toggles = b.unit.toggles
        b.driver.open()
        assert b.driver.is_open and b.unit.blade_open
        b.driver.shut()
        assert not b.driver.is_open and not b.unit.blade_open
        assert b.unit.toggles == toggles + 2


def test_an_old_answer_left_on_the_line_is_not_taken_for_a_new_one():
    b = bench(BadLine)
    b.driver.connect()
    b.wire.plan = [("double", 0)] * 200
    b.driver.open()
    assert b.driver.is_open
    b.unit.trip()
    b.clock.sleep(1.0)
    assert not b.driver.is_open
