"""The SMC100 driver: bytes of the manual, the simulated unit in all its readings, a bad line."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.newport_smc100 import SMC100Stage
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
from instruments.wire import open_visa
from sim_drivers.devices.newport_smc100 import SimulatedSMC100
from sim_drivers.link import InProcessAdapter, WireDevice, serve_pty, serve_tcp
from tests.mangling import KINDS, Deaf, Mangler, plans

START_S = 1.0e9
HardOfHearing = partial(Deaf, at=1)  # behind the address
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
    unit = SimulatedSMC100(clock, world, **options)
    wire = wrapper(unit) if wrapper is not None else unit
    adapter = InProcessAdapter(wire, timeout_s=SMC100Stage.TIMEOUT_S, **SMC100Stage.VISA)
    return SimpleNamespace(
        clock=clock,
        world=world,
        unit=unit,
        wire=wire,
        driver=SMC100Stage(adapter, clock, **(driver or {})),
    )


def connected(*args, **options):
    b = bench(*args, **options)
    b.driver.connect()
    return b


def at_home(*args, **options):
    return connected(*args, homed=True, start_mm=2.0, **options)


# ---- bytes ------------------------------------------------------------------------------------


def twice(command, reply):
    return [(command, reply)] * 2


NOTHING_WRONG = (b"1TE", b"1TE@")
READY, READY_FRESH = twice(b"1TS", b"1TS000033"), twice(b"1TS", b"1TS000032")
MOVING, HOMING = twice(b"1TS", b"1TS000028"), twice(b"1TS", b"1TS00001E")
NOT_HOMED = twice(b"1TS", b"1TS00000A")


def by_bytes(pairs):
    return expected_protocol(SMC100Stage, pairs, clock=VirtualClock(START_S))


class Parrot(WireDevice):
    """Answers each command by a fixed line."""

    def __init__(self, clock, replies):
        super().__init__(clock)
        self.replies = replies

    def receive(self, data):
        if data.strip() in self.replies:
            self.send(self.replies[data.strip()] + b"\r\n", 0.01)


def always(replies):
    clock = VirtualClock(START_S)
    adapter = InProcessAdapter(Parrot(clock, replies), timeout_s=0.2, **SMC100Stage.VISA)
    return SMC100Stage(adapter, clock)


def known(driver):
    """Return a driver that takes itself for connected."""
    driver._identity = SimpleNamespace()
    driver._limits = {"position_mm": Limits(-0.01, 25.01, "mm")}
    return driver


def test_connect_identifies_and_learns_the_soft_limits():
    script = [
        *twice(b"1VE", b"1VE SMC_CC1 Controller-driver version 2.0.0"),
        (b"1TE", b"1TEN"),
        *twice(b"1ID?", b"1IDTRA25CC_PN1"),
        *twice(b"1SL?", b"1SL-0.01"),
        *twice(b"1SR?", b"1SR25.01"),
        *NOT_HOMED,
    ]
    with by_bytes(script) as driver:
        driver.connect()
        assert (driver.identity.model, driver.identity.firmware) == ("SMC100CC", "2.0.0")
        assert driver.limits["position_mm"] == Limits(-0.01, 25.01, "mm")
        with pytest.raises(AttributeError):
            driver.velocity_mm = 1.0


def test_a_move_waits_for_ready_though_the_state_is_stale_at_first():
    script = [
        *READY_FRESH,
        *twice(b"1TP", b"1TP0.00002"),
        *twice(b"1VA?", b"1VA0.4"),
        NOTHING_WRONG,
        (b"1PA5.00000", None),
        NOTHING_WRONG,
        *READY_FRESH,  # not yet begun
        *twice(b"1TP", b"1TP0.00002"),
        *MOVING,
        *READY,
        *twice(b"1TP", b"1TP4.99987"),
    ]
    with by_bytes(script) as driver:
        assert known(driver).move_to(5.0) == 4.99987


def test_a_move_to_where_it_stands_may_leave_the_state_as_it_is():
    script = [
        *READY_FRESH,
        *twice(b"1TP", b"1TP5.00000"),
        *twice(b"1VA?", b"1VA0.4"),
        NOTHING_WRONG,
        (b"1PA5.00000", None),
        NOTHING_WRONG,
        *READY_FRESH,
        *twice(b"1TP", b"1TP5.00000"),
    ]
    with by_bytes(script) as driver:
        assert known(driver).move_to(5.0) == 5.0


def test_homing_searches_and_polls():
    script = [*NOT_HOMED, NOTHING_WRONG, (b"1OR", None), NOTHING_WRONG, *HOMING, *READY_FRESH]
    with by_bytes(script) as driver:
        known(driver).home()


def test_making_safe_stops_and_looks():
    script = [(b"1ST", None), *MOVING, *READY, (b"1TE", b"1TEK")]
    with by_bytes(script) as driver:
        driver.make_safe()


def test_the_velocity_by_bytes():
    script = [(b"1VA0.30000", None), NOTHING_WRONG, *twice(b"1VA?", b"1VA0.3")]
    script += [*twice(b"1AC?", b"1AC1.6"), (b"1VA9.00000", None), (b"1TE", b"1TEC")]
    with by_bytes(script) as driver:
        driver.velocity_mm_s = 0.3
        assert driver.velocity_mm_s == 0.3 and driver.acceleration_mm_s2 == 1.6
        with pytest.raises(DeviceFault, match="out of range"):
            driver.velocity_mm_s = 9.0
        with pytest.raises(LimitError):
            driver.velocity_mm_s = 0.0


@pytest.mark.parametrize(
    ("letter", "kind", "words"),
    [
        (b"N", LimitError, "soft limits"),
        (b"G", LimitError, "out of limits"),
        (b"H", NotReady, "not homed"),
        (b"M", NotReady, "moving"),
        (b"J", NotReady, "disabled"),
        (b"D", DeviceFault, "not allowed"),
        (b"V", DeviceFault, "executed"),
        (b"Q", DeviceFault, "does not name"),
    ],
)
def test_error_letters_become_errors(letter, kind, words):
    script = [
        *READY,
        *twice(b"1TP", b"1TP1.0"),
        *twice(b"1VA?", b"1VA0.4"),
        NOTHING_WRONG,
        (b"1PA5.00000", None),
        (b"1TE", b"1TE" + letter),
    ]
    with by_bytes(script) as driver, pytest.raises(kind, match=words):
        known(driver).move_to(5.0)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        (b"00010F", "negative end of run"),
        (b"00020F", "positive end of run"),
        (b"000433", "peak current"),
        (b"00080F", "RMS current"),
        (b"00100F", "short circuit"),
        (b"00200F", "following error"),
        (b"00400B", "homing time-out"),
        (b"008010", "smart stage"),
        (b"01000E", "supply voltage"),
        (b"02000F", "80 W"),
        (b"40000F", "does not name"),
        (b"00280F", "RMS current limit; following error"),
    ],
)
def test_error_bits_are_named(word, words):
    with by_bytes(twice(b"1TS", b"1TS" + word) * 2) as driver:
        with pytest.raises(DeviceFault, match=words):
            known(driver).move_to(5.0)
        status = driver.status()
        assert not status.ok and word[:4].decode() in status.text


@pytest.mark.parametrize(
    ("word", "homed"),
    [
        (b"00000A", False),
        (b"000010", False),
        (b"000014", False),
        (b"00001E", False),
        (b"000028", True),
        (b"000032", True),
        (b"000035", True),
        (b"00003C", False),
        (b"000048", False),
        (b"000132", True),
    ],
)
def test_the_states_that_hold_a_reference(word, homed):
    with by_bytes(twice(b"1TS", b"1TS" + word)) as driver:
        assert driver.homed is homed


@pytest.mark.parametrize(
    ("reply", "position"),
    [(b"1TP4.99987", 4.99987), (b"1TP -0.00003", -3e-5), (b"1TP5", 5.0), (b"1TP1.5E-03", 0.0015)],
)
def test_positions_however_they_are_written(reply, position):
    with by_bytes(READY + twice(b"1TP", reply)) as driver:
        assert driver.position_mm == position


@pytest.mark.parametrize(
    "reply",
    [
        b"1TP",
        b"TP5.0",
        b"2TP5.0",
        b"11TP5.0",
        b"1TH5.0",
        b"1TPnan",
        b"1TP5,0",
        b"1TP.5",
        b"1TP5.0x",
    ],
)
def test_what_is_no_position_is_refused(reply):
    with pytest.raises(BadReply):
        _ = always({b"1TS": b"1TS000033", b"1TP": reply}).position_mm


@pytest.mark.parametrize("word", [b"000029", b"00033", b"0000033", b"00003g", b"-00033"])
def test_a_state_that_the_manual_does_not_have_is_refused(word):
    with pytest.raises(BadReply):
        _ = always({b"1TS": b"1TS" + word}).homed


def test_zero_bytes_mean_that_the_supply_was_cut():
    with pytest.raises(DeviceFault, match="supply"):
        always({b"1TS": b"\x001TS01000E"}).status()


def test_soft_limits_without_travel_are_refused():
    replies = {b"1VE": b"1VE SMC_CC1", b"1TE": b"1TE@", b"1ID?": b"1IDX", b"1TS": b"1TS00000A"}
    always(replies | {b"1SL?": b"1SL-1", b"1SR?": b"1SR1"}).connect()
    with pytest.raises(BadReply, match="soft limits"):
        always(replies | {b"1SL?": b"1SL3", b"1SR?": b"1SR3"}).connect()


# ---- against the simulated unit ---------------------------------------------------------------

READINGS = [
    {},
    {"limit_letter": "G"},
    {"position_decimals": 3},
    {"position_decimals": 8},
    {"stale_ready_s": 0.0},
    {"stale_ready_s": 0.05},
    {"stale_ready_s": 0.5},
    {"null_move_moves": True},
    {"latency_s": 0.15},
    {"latency_s": 0.3},
    {"velocity_mm_s": 0.4},
    {"identity": "SMC_PP1 Controller-driver version 1.1.0"},
    {"address": 12},
    {"seed": 5, "start_mm": 25.0},
]


@pytest.mark.parametrize("options", READINGS)
def test_homes_and_moves_in_every_reading_of_the_sheet(options):
    b = connected(driver={"address": options.get("address", 1)}, **options)
    assert not b.driver.homed and not b.driver.status().ok
    with pytest.raises(NotReady, match="home it"):
        b.driver.move_to(1.0)
    with pytest.raises(NotReady, match="home it"):
        _ = b.driver.position_mm
    b.driver.home()
    assert b.driver.homed and b.driver.status().ok and abs(b.world.edge_mm) < NEAR_MM
    for target in (1.0, 1.0, 1.25, 0.9, 25.01, -0.01, 0.1):
        before = b.clock.now()
        start_mm = b.unit.true_position_mm
        reached = b.driver.move_to(target)
        assert reached == pytest.approx(target, abs=NEAR_MM)
        assert b.world.edge_mm == pytest.approx(reached, abs=NEAR_MM) and not b.unit.moving
        assert b.driver.position_mm == pytest.approx(reached, abs=1e-9)
        took = b.clock.now() - before
        least = abs(target - start_mm) / b.unit.settings["VA"] - 0.01
        # An answer later than the driver's first patience costs a repetition each.
        assert least <= took < least + (1.0 if b.unit.latency_s < 0.1 else 30.0)
    for target in (25.02, -0.02, float("nan"), float("inf")):
        with pytest.raises(LimitError):
            b.driver.move_to(target)
    assert b.unit.flash_writes == 0 and b.driver.snapshot()["position"].unit == "mm"


@pytest.mark.parametrize("letter", ["G", "N"])
def test_the_controllers_own_refusal_is_a_limit_error_and_nothing_moves(letter):
    b = at_home(limit_letter=letter)
    b.unit.settings["SR"] = 10.0  # narrowed behind the driver's back
    with pytest.raises(LimitError, match=f"error {letter}"):
        b.driver.move_to(11.0)
    assert b.unit.true_position_mm == 2.0 and b.unit.moves == 0
    assert b.driver.move_to(9.0) == pytest.approx(9.0, abs=NEAR_MM)


def test_an_error_left_by_somebody_is_not_taken_for_ours():
    b = at_home()
    b.unit.receive(b"1XX\r\n")
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
        {"address": 0},
        {"address": 32},
        {"address": "1"},
        {"address": True},
        {"velocity_mm_s": 0.0},
        {"velocity_mm_s": float("nan")},
        {"min_position_mm": float("nan")},
        {"tolerance_mm": 0.0},
        {"home_timeout_s": float("nan")},
    ],
)
def test_bad_options_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        bench(driver=options)


def test_the_velocity_is_set_once_homed_and_kept_after_another_homing():
    b = connected(driver={"velocity_mm_s": 0.5})
    assert b.unit.settings["VA"] == 2.0
    for _ in range(2):
        b.driver.home()
        assert b.unit.settings["VA"] == 0.5
    before = b.clock.now()
    b.driver.move_to(5.0)
    assert b.clock.now() - before > 10.0
    assert b.unit.flash_writes == 0


def test_a_velocity_above_the_stages_own_is_an_error():
    b = connected(driver={"velocity_mm_s": 3.0})
    with pytest.raises(DeviceFault, match="out of range"):
        b.driver.home()


def test_homing_again_really_searches_again():
    b = at_home()
    assert b.unit.homings == 0
    b.driver.home()
    assert b.unit.homings == 1 and abs(b.unit.true_position_mm) < NEAR_MM


def test_homing_goes_on_with_a_search_that_is_under_way():
    b = connected(start_mm=5.0)
    b.unit.receive(b"1OR\r\n")
    b.clock.sleep(1.0)
    b.driver.home()
    assert b.unit.homings == 1 and b.driver.homed


def test_standing_on_an_end_switch_is_told_and_does_no_harm():
    b = at_home()
    b.unit._faults = 0x0001
    assert b.driver.status().ok and "negative end of run" in b.driver.status().text
    assert b.driver.move_to(3.0) == pytest.approx(3.0, abs=NEAR_MM)
    b.unit._faults = 0x0005
    assert not b.driver.status().ok


def test_a_stuck_stage_is_a_following_error_and_homing_mends_it():
    b = at_home()
    b.unit.stuck = True
    with pytest.raises(DeviceFault, match="following error"):
        b.driver.move_to(5.0)
    assert not b.driver.homed and "following" in b.driver.status().text
    with pytest.raises(DeviceFault, match="following error"):
        _ = b.driver.position_mm
    with pytest.raises(DeviceFault, match="homing time-out"):
        b.driver.home()
    b.unit.stuck = False
    b.driver.home()
    assert b.driver.move_to(5.0) == pytest.approx(5.0, abs=NEAR_MM) and b.driver.status().ok


def test_a_home_search_that_takes_too_long_is_stopped():
    b = connected(driver={"home_timeout_s": 3.0}, start_mm=20.0)
    with pytest.raises(DeviceFault, match="not at home after 3 s"):
        b.driver.home()
    assert not b.unit.moving


def test_a_move_that_takes_far_too_long_is_stopped():
    b = at_home()
    original = b.unit._go
    b.unit._go = lambda target: (b.unit.settings.update(VA=0.01), original(target))
    with pytest.raises(DeviceFault, match="not there after"):
        b.driver.move_to(5.0)
    assert not b.unit.moving


def test_reaching_an_end_of_run_names_it():
    b = at_home()
    b.clock.every(1.0, lambda: b.unit.moving and b.unit.fail(0x0002))
    with pytest.raises(DeviceFault, match="positive end of run"):
        b.driver.move_to(20.0)
    assert b.unit.controller_state == 0x0F


def test_a_restart_on_the_way_is_seen():
    b = at_home()
    b.clock.every(1.0, lambda: b.unit.moving and b.unit.restart())
    with pytest.raises(NotReady, match="home it"):
        b.driver.move_to(20.0)


def test_a_cut_supply_is_named():
    b = at_home()
    b.unit.cut_supply()
    for act in (lambda: b.driver.move_to(5.0), b.driver.status, b.driver.home):
        with pytest.raises(DeviceFault, match="supply"):
            act()


def test_being_made_safe_stops_a_move_and_the_move_says_so():
    b = at_home()
    tickets = [b.clock.every(1.5, lambda: (b.driver.make_safe(), tickets[0].cancel()))]
    with pytest.raises(NotReady, match="stopped on the way"):
        b.driver.move_to(20.0)
    stood = b.unit.true_position_mm
    assert 3.0 < stood < 19.0 and not b.unit.moving
    b.clock.sleep(20.0)
    assert b.unit.true_position_mm == stood, "a stopped move must not go on by itself"
    assert b.driver.position_mm == pytest.approx(stood, abs=NEAR_MM)
    assert b.driver.move_to(4.0) == pytest.approx(4.0, abs=NEAR_MM)


def test_being_made_safe_stops_a_home_search():
    b = connected(start_mm=20.0)
    tickets = [b.clock.every(1.5, lambda: (b.driver.make_safe(), tickets[0].cancel()))]
    with pytest.raises(NotReady, match="stopped on the way"):
        b.driver.home()
    assert not b.unit.moving and not b.driver.homed
    b.driver.home()
    assert b.driver.homed


def test_a_stop_by_somebody_else_is_not_overruled():
    b = at_home()
    tickets = [b.clock.every(1.5, lambda: (b.unit.receive(b"st\r\n"), tickets[0].cancel()))]
    with pytest.raises(DeviceFault, match="stopped at"):
        b.driver.move_to(20.0)
    b.clock.sleep(20.0)
    assert b.unit.true_position_mm < 19.0


def test_making_safe_at_rest_changes_nothing():
    b = at_home()
    b.driver.make_safe()
    assert b.driver.move_to(3.0) == pytest.approx(3.0, abs=NEAR_MM)
    b = bench()
    b.driver.make_safe()


def test_the_position_can_be_read_on_the_way():
    b = at_home()
    seen = []
    b.clock.every(1.0, lambda: seen.append((b.driver.position_mm, b.unit.true_position_mm)))
    b.driver.move_to(10.0)
    assert len(seen) >= 4
    for told, true in seen:
        assert told == pytest.approx(true, abs=0.1)
    assert 3.0 < seen[1][0] < 9.0


def test_the_hand_controller_a_disabled_motor_and_configuration_are_told_apart():
    b = at_home()
    b.unit.jog(0.5)
    with pytest.raises(NotReady, match="hand controller"):
        b.driver.move_to(5.0)
    b.unit.receive(b"1JD\r\n1MM0\r\n")
    with pytest.raises(NotReady, match="disabled"):
        b.driver.move_to(5.0)
    assert not b.driver.homed
    b.driver.home()
    assert b.driver.move_to(5.0) == pytest.approx(5.0, abs=NEAR_MM)
    b = connected()
    b.unit.receive(b"1PW1\r\n")
    for act in (lambda: b.driver.move_to(5.0), b.driver.home):
        with pytest.raises(NotReady, match="configuration"):
            act()
    assert b.unit.flash_writes == 0 and b.unit.controller_state == 0x14


def test_another_instrument_or_address_is_refused():
    b = bench(identity="CONEX-CC version 1.0")
    with pytest.raises(WrongIdentity, match="CONEX"):
        b.driver.connect()
    b = bench(address=2)
    before = b.clock.now()
    with pytest.raises(NoReply, match="address 1"):
        b.driver.connect()
    assert b.clock.now() - before < 3.0
    for act in (b.driver.home, lambda: b.driver.move_to(1.0), b.driver.snapshot):
        with pytest.raises(NotReady, match="connect"):
            act()


def test_a_lost_command_is_sent_again():
    b = connected(HardOfHearing)
    b.wire.lost = {b"OR": 1}
    b.driver.home()
    assert b.unit.homings == 1
    b.wire.lost = {b"PA": 2}
    assert b.driver.move_to(5.0) == pytest.approx(5.0, abs=NEAR_MM) and b.unit.moves == 1
    b.wire.lost = {b"RS": 1}
    before = b.clock.now()
    b.driver.home()
    assert b.unit.homings == 2 and b.clock.now() - before < 13.0
    b.wire.lost = {b"ST": 1}
    b.unit.receive(b"1PA20\r\n")
    b.driver.make_safe()
    assert not b.unit.moving and b.unit.true_position_mm < 19.0


def test_a_command_that_arrives_garbled_is_sent_again():
    b = connected(HardOfHearing)
    b.wire.instead, b.wire.lost = b"QQ", {b"OR": 2, b"PA": 1}
    b.driver.home()
    assert b.driver.move_to(1.0) == pytest.approx(1.0, abs=NEAR_MM)
    b.wire.lost = {b"PA": 3}
    with pytest.raises(DeviceFault, match="instead of 2 mm"):
        b.driver.move_to(2.0)
    b.wire.lost = {b"VA": 1}
    with pytest.raises(DeviceFault, match="unknown command"):
        b.driver.velocity_mm_s = 1.0


def test_commands_that_never_arrive_are_errors():
    b = connected(HardOfHearing)
    b.wire.lost = {b"OR": 99}
    with pytest.raises(DeviceFault, match="does not begin"):
        b.driver.home()
    b.wire.lost = {}
    b.driver.home()
    b.wire.lost = {b"PA": 99}
    with pytest.raises(DeviceFault, match="instead of 5 mm"):
        b.driver.move_to(5.0)
    assert b.wire.times_told(b"1PA5.00000\r\n") == 3
    b.wire.lost = {b"ST": 99}
    b.unit.receive(b"1PA20\r\n")
    with pytest.raises(DeviceFault, match="moves on"):
        b.driver.make_safe()


def test_a_mute_unit_is_reported_within_seconds_and_told_to_stop_all_the_same():
    b = connected(HardOfHearing)
    b.wire.lost = {b"TS": 99}
    before = b.clock.now()
    with pytest.raises(NoReply):
        b.driver.status()
    assert b.clock.now() - before < 2.5
    with pytest.raises(NoReply):
        b.driver.make_safe()
    assert b.wire.times_told(b"1ST\r\n") == 2


# ---- the simulated unit by itself -------------------------------------------------------------


def talk(unit, text, wait_s=0.05):
    unit.receive(text)
    unit.clock.sleep(wait_s)
    return unit.take()


def alone(**options):
    return SimulatedSMC100(VirtualClock(START_S), FakeWorld(), **options)


def test_bytes_of_the_simulated_unit():
    unit = alone(settle_um=0.0, home_um=0.0, start_mm=6.0)
    assert talk(unit, b"1TS\r\n") == b"1TS00000A\r\n"
    assert talk(unit, b"1PA5.0\r\n1TE\r\n1TE\r\n") == b"1TEH\r\n1TE@\r\n"
    assert talk(unit, b"1OR\r\n1TS\r\n") == b"1TS00001E\r\n"
    assert talk(unit, b"1OR\r\n1TE\r\n") == b"1TEE\r\n"
    assert talk(unit, b"1PA1\r\n1TE\r\n") == b"1TEL\r\n"
    assert talk(unit, b"", 10.0) == b""
    assert talk(unit, b"1TS\r\n1TP\r\n") == b"1TS000032\r\n1TP0.00000\r\n"
    assert talk(unit, b"1OR\r\n1TE\r\n") == b"1TEK\r\n"
    assert talk(unit, b"1PA5.0\r\n1TE\r\n") == b"1TE@\r\n"
    assert talk(unit, b"1TS\r\n1PA6\r\n1TE\r\n") == b"1TS000028\r\n1TEM\r\n"
    assert talk(unit, b"", 5.0) == b""
    assert talk(unit, b"1TS\r\n1TP\r\n1TH\r\n") == b"1TS000033\r\n1TP5.00000\r\n1TH5.00000\r\n"
    assert talk(unit, b"1PA?\r\n1VA?\r\n1SL?\r\n") == b"1PA5.0\r\n1VA2.0\r\n1SL-0.01\r\n"
    assert talk(unit, b"1PR-1.5\r\n", 5.0) + talk(unit, b"1TP\r\n") == b"1TP3.50000\r\n"
    assert talk(unit, b"1VE\r\n") == b"1VE SMC_CC1 Controller-driver version 2.0.0\r\n"
    dump = talk(unit, b"1ZT\r\n").split(b"\r\n")
    assert b"1SR25.01" in dump and dump[-2] == b"1PW0" and len(dump) > 12


def test_lines_are_read_as_the_real_one_reads_them():
    unit = alone(homed=True, start_mm=1.0)
    assert talk(unit, b" 1 t p \r\n") == b"1TP1.00000\r\n"
    assert talk(unit, b"1TP\r") == b"" and talk(unit, b"\n") == b"1TP1.00000\r\n"
    assert talk(unit, b"1TP;1TP\r\n") == b"1TP1.00000\r\n", "no concatenation"
    assert talk(unit, b"2TP\r\n1TE\r\n") == b"1TE@\r\n"
    assert talk(unit, b"TP\r\n1TE\r\n") == b"1TEB\r\n"
    assert talk(unit, b"1.5TP\r\n1TE\r\n1QQ\r\n1TE\r\n") == b"1TEA\r\n1TEA\r\n"
    assert talk(unit, b"1PA\r\n1TE\r\n1VA-1\r\n1TE\r\n1VA2.1\r\n1TE\r\n") == b"1TEC\r\n" * 3
    assert talk(unit, b"1FRM1\r\n1TE\r\n1SR9\r\n1TE\r\n") == b"1TEX\r\n1TEK\r\n"
    assert talk(unit, b"1TBN\r\n").startswith(b"1TBN ")
    assert unit.true_position_mm == 1.0


@pytest.mark.parametrize("letter", ["G", "N"])
def test_beyond_the_soft_limits(letter):
    unit = alone(homed=True, start_mm=1.0, limit_letter=letter)
    for move in (b"1PA99", b"1PA-0.011", b"1PR24.02"):
        assert talk(unit, move + b"\r\n1TE\r\n") == b"1TE%s\r\n" % letter.encode()
    assert unit.true_position_mm == 1.0 and unit.moves == 0


def test_a_move_takes_its_time_and_can_be_stopped():
    unit = alone(homed=True, start_mm=0.0, stale_ready_s=0.03)
    world_told = []
    unit._tell = world_told.append
    unit.receive(b"1PA10\r\n")
    assert talk(unit, b"1TS\r\n", 0.02) == b"1TS000032\r\n", "stale at first"
    assert talk(unit, b"1TS\r\n", 0.02) == b"1TS000032\r\n"
    assert talk(unit, b"1TS\r\n", 0.96) == b"1TS000028\r\n"
    # 2 mm/s after a quarter of a second at 8 mm/s2
    assert unit.true_position_mm == pytest.approx(1.75, abs=0.01)
    assert world_told[-1] == unit.true_position_mm
    unit.receive(b"ST\r\n")
    unit.clock.sleep(1.0)
    assert unit.true_position_mm == pytest.approx(2.0, abs=0.01)
    assert world_told[-1] == unit.true_position_mm
    assert talk(unit, b"1TS\r\n1ST\r\n1TE\r\n") == b"1TS000033\r\n1TEK\r\n"


def test_configuration_is_left_in_silence_and_survives_a_restart():
    unit = alone(flash_s=5.0)
    assert talk(unit, b"1SR20\r\n1TE\r\n") == b"1TEH\r\n"
    assert talk(unit, b"1PW1\r\n1SR20\r\n1OR\r\n1TE\r\n1TS\r\n") == b"1TEI\r\n1TS000014\r\n"
    assert talk(unit, b"1PW0\r\n1TS\r\n", 5.1) == b"" and unit.flash_writes == 1
    assert talk(unit, b"1TS\r\n") == b"1TS00000C\r\n"
    unit.restart()
    assert talk(unit, b"1SR?\r\n1TS\r\n") == b"1SR20.0\r\n1TS00000A\r\n"


def test_a_reset_forgets_the_reference_and_what_is_not_in_flash():
    unit = alone(homed=True, start_mm=3.0)
    assert talk(unit, b"1VA0.5\r\n1VA?\r\n") == b"1VA0.5\r\n"
    assert talk(unit, b"1RS\r\n1TS\r\n", 2.1) == b""
    assert talk(unit, b"1TS\r\n1VA?\r\n1TP\r\n") == b"1TS00000A\r\n1VA2.0\r\n1TP0.00000\r\n"
    assert unit.true_position_mm == 3.0


def test_settling_is_small_keyed_by_the_move_and_resumed():
    def run(unit, targets):
        ends = []
        for target in targets:
            talk(unit, b"1PA%g\r\n" % target, 30.0)
            ends.append(unit.true_position_mm)
        return ends

    targets = [1.0, 2.0, 5.0, 5.5, 2.0]
    whole = run(alone(homed=True, seed=4, start_mm=0.0), targets)
    errors = [end - target for end, target in zip(whole, targets, strict=True)]
    assert all(abs(error) < 0.301e-3 for error in errors) and len(set(errors)) == len(errors)
    first = alone(homed=True, seed=4, start_mm=0.0)
    run(first, targets[:3])
    second = alone(homed=True, seed=4, start_mm=9.0)
    run(second, [7.0])
    second.restore(first.state())
    assert second.true_position_mm == first.true_position_mm
    assert run(second, targets[3:]) == whole[3:]
    assert run(alone(homed=True, seed=5, start_mm=0.0), targets) != whole


def test_a_resumed_home_search_keeps_its_zero():
    b = connected(seed=8, home_um=0.2, settle_um=0.0)
    b.driver.home()
    first = b.unit.state()
    b.driver.home()
    b.driver.move_to(4.0)
    b.unit.restore(first)
    assert b.unit.true_position_mm == first["position"] and b.driver.homed
    b.driver.move_to(4.0)
    assert b.unit.true_position_mm == pytest.approx(4.0 + first["zero"], abs=1e-12)


def test_a_world_without_a_slit_is_no_obstacle():
    unit = SimulatedSMC100(VirtualClock(START_S), object(), homed=True, start_mm=0.0)
    talk(unit, b"1PA1\r\n", 5.0)
    assert unit.true_position_mm == pytest.approx(1.0, abs=NEAR_MM)


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
    clock, world = WallClock(speed=4.0), FakeWorld()
    served = serve(SimulatedSMC100(clock, world, start_mm=1.0, homed=serve is serve_tcp))
    try:
        driver = SMC100Stage(open_visa(served.resource, SMC100Stage), clock)
        driver.connect()
        if serve is serve_tcp:  # a tenth of a second an exchange, so only the link is tested
            assert driver.position_mm == 1.0
        else:
            driver.home()
            reached = driver.move_to(1.5)
            assert reached == pytest.approx(1.5, abs=NEAR_MM)
            assert world.edge_mm == pytest.approx(reached, abs=NEAR_MM)
            driver.make_safe()
        driver.close()
        driver.close()
    finally:
        served.close()


# ---- a bad line -------------------------------------------------------------------------------


STRAYS = (b"\r\n", b"boot\r\n", b"2TP7.0\r\n", b"\xff\xfe\r\n", b"1TE@\r\n")
BadLine = partial(Mangler, strays=STRAYS, digits=b"0123456789ABCDEF", rest=2)
HARMS = [kind for kind in KINDS if kind != "flip"]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plan=plans(HARMS, most=20),
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
                b.unit.receive(b"1PA20\r\n")
                b.driver.make_safe()
                assert not b.unit.moving and b.unit.true_position_mm < 19.0
            case "limits":
                again = SMC100Stage(b.driver.adapter, b.clock)
                again.connect()
                assert again.limits["position_mm"] == Limits(-0.01, 25.01, "mm")
    except InstrumentError:
        pass
    b.wire.plan = []
    b.driver.make_safe()
    assert not b.unit.moving and b.unit.flash_writes == 0


@pytest.mark.parametrize("what", ["double", "stray", "late"])
def test_a_line_that_is_always_bad_in_one_way_still_works(what):
    b = connected(BadLine, start_mm=3.0)
    for place in range(3):
        b.wire.plan = [(what, place)] * 3000
        b.driver.home()
        target = 1.0 + place
        assert b.driver.move_to(target) == pytest.approx(target, abs=NEAR_MM)
        assert b.unit.true_position_mm == pytest.approx(target, abs=NEAR_MM)


def test_an_error_letter_that_comes_late_is_not_taken_for_the_next_one():
    b = at_home(BadLine)
    b.wire.late_s, b.wire.plan = 0.6, [("lost", 0), ("lost", 0), ("late", 0)]
    with pytest.raises(NoReply):
        b.driver.check_set_errors()
    b.unit.receive(b"1QQ\r\n")
    with pytest.raises(DeviceFault, match="error A"):
        b.driver.check_set_errors()
    b.clock.sleep(1.0)
    b.wire.late_s, b.wire.plan = 0.55, [("late", 0)] * 2  # the first comes as the second's
    b.driver.check_set_errors()
    b.unit.receive(b"1QQ\r\n")
    with pytest.raises(DeviceFault, match="error A"):
        b.driver.check_set_errors()
