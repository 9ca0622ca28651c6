"""Faults of the simulated bench: who can have which, when they act, what the host sees of them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from instruments import config
from instruments.bench import open_bench
from instruments.clock import VirtualClock, WallClock
from instruments.config import FaultTable
from instruments.drivers.thorlabs_elliptec import ElliptecRotator
from instruments.drivers.thorlabs_sc10 import SC10Shutter
from instruments.errors import ConfigError, InstrumentError, NoReply, WrongIdentity
from instruments.wire import open_visa
from sim_drivers import fault_players
from sim_drivers.devices.andor_sdk2 import FakeAndorSdk2
from sim_drivers.devices.newport_smc100 import SimulatedSMC100
from sim_drivers.devices.thorlabs_elliptec import SimulatedElliptec
from sim_drivers.devices.thorlabs_sc10 import SimulatedSC10
from sim_drivers.fault_players import Fault, FaultyWire
from sim_drivers.faults import FaultPlan
from sim_drivers.link import InProcessAdapter, serve_pty, serve_tcp

START = 1.8e9
KINDS: dict[str, Any] = {
    "shutter": SimulatedSC10,
    "attenuator": SimulatedElliptec,
    "stripe": SimulatedSMC100,
    "camera": FakeAndorSdk2,
}


class World:
    """What the faults and a shutter ask of the World."""

    def __init__(self, clock: Any, seed: int = 5) -> None:
        self.clock, self.seed = clock, seed
        self.start_s = clock.now()
        self.settlers: list[Any] = []
        self.open = False

    def set_shutter(self, is_open: bool, at_s: float | None = None) -> None:
        self.open = is_open


def plan(world: World, *tables: dict[str, Any]) -> FaultPlan:
    return FaultPlan([FaultTable(**table) for table in tables], world, KINDS.get, "bench.toml")


def shutter(
    *tables: dict[str, Any], seed: int = 5
) -> tuple[SC10Shutter, SimulatedSC10, VirtualClock, FaultPlan]:
    clock = VirtualClock(START)
    world = World(clock, seed)
    device = SimulatedSC10(clock, world)
    found = plan(world, *({"device": "shutter", **table} for table in tables))
    found.attach("shutter", device)
    driver = SC10Shutter(device.link(SC10Shutter), clock)
    driver.connect()
    return driver, device, clock, found


# ---- who can have which ----


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({"device": "shuter", "kind": "silence", "after_s": 1}, "0.device", "shutter"),
        ({"device": "shutter", "kind": "heater", "after_s": 1}, "0.kind", "stuck"),
        ({"device": "camera", "kind": "garbage", "after_s": 1}, "0.kind", "saturate"),
        ({"device": "laser", "kind": "silence", "after_s": 1}, "0.kind", "laser_off"),
        ({"device": "stripe", "kind": "laser_off", "after_s": 1}, "0.kind", "limit"),
        ({"device": "pump", "kind": "laser_off", "probability": 0.1}, "0.probability", "after_s"),
    ],
)
def test_impossible_faults_are_refused_by_key(table: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        plan(World(VirtualClock(START)), table)
    assert caught.value.key == f"simulation.faults.{key}"
    assert caught.value.file == "bench.toml"


def test_a_bench_file_with_an_impossible_fault_does_not_open() -> None:
    text = "[simulation]\n[[simulation.faults]]\ndevice='shutter'\nkind='sensor'\nafter_s=1.0\n"
    with (
        pytest.raises(ConfigError, match="cannot happen to the shutter"),
        open_bench(config.parse(text, "b.toml"), ("shutter",)),
    ):
        pass


def test_a_role_that_this_bench_has_not_is_left_alone() -> None:
    found = plan(World(VirtualClock(START)), {"device": "cryostat", "kind": "heater", "after_s": 1})
    assert found.state() == {}


# ---- when they act ----


def test_by_time_it_acts_from_then_on_for_as_long_as_it_is_given() -> None:
    driver, _, clock, _ = shutter({"kind": "silence", "after_s": 10.0, "for_s": 5.0})
    assert not driver.is_open
    clock.sleep_until(START + 10.1)
    with pytest.raises(NoReply):
        _ = driver.is_open
    clock.sleep_until(START + 15.0)
    assert not driver.is_open


def test_by_time_without_an_end_it_stays() -> None:
    driver, _, clock, _ = shutter({"kind": "silence", "after_s": 10.0})
    clock.sleep(1e6)
    with pytest.raises(NoReply):
        _ = driver.is_open


def test_by_chance_it_hits_as_many_exchanges_as_it_should_and_always_the_same() -> None:
    def hits(seed: int) -> list[int]:
        table = FaultTable(device="shutter", kind="silence", probability=0.02)
        fault = Fault(0, table, seed)
        return [n for n in range(20_000) if fault.hits(n)]

    assert hits(1) == hits(1) != hits(2)
    assert len(hits(1)) == pytest.approx(400, abs=80)
    for share, number in ((0.0, 0), (1.0, 100)):
        table = FaultTable(device="shutter", kind="silence", probability=share)
        assert sum(Fault(0, table, 1).hits(n) for n in range(100)) == number


def test_a_silent_exchange_is_one_exchange() -> None:
    driver, device, _, found = shutter({"kind": "silence", "probability": 0.05})
    wire = device.wire
    assert isinstance(wire, FaultyWire)
    fault = wire.faults[0]
    silent = 0
    for _ in range(400):
        driver.adapter.flush_read_buffer()
        driver.adapter.write("closed?")
        try:
            driver.adapter.read()
        except NoReply:
            silent += 1
            assert fault.hits(wire.exchanges)
        else:
            assert not fault.hits(wire.exchanges)
    assert 8 < silent < 35
    assert found.state()["fault.0.exchanges"] == wire.exchanges


def test_a_restored_plan_goes_on_where_it_was() -> None:
    def made() -> tuple[FaultyWire, FaultPlan, VirtualClock]:
        clock = VirtualClock(START)
        device = SimulatedSC10(clock, World(clock))
        found = plan(
            World(clock),
            {"device": "shutter", "kind": "garbage", "probability": 0.1, "for_s": 2.0},
            {"device": "shutter", "kind": "stuck", "after_s": 5.0},
        )
        found.attach("shutter", device)
        assert isinstance(device.wire, FaultyWire)
        return device.wire, found, clock

    def heard(wire: FaultyWire, clock: VirtualClock, times: int) -> list[bytes]:
        found = []
        for _ in range(times):
            wire.receive(b"id?\r")
            clock.sleep(0.5)
            found.append(wire.take())
        return found

    one, first, clock = made()
    heard(one, clock, 33)
    other, second, later = made()
    heard(other, later, 3)
    later.sleep_until(clock.now())
    second.restore(first.state())
    assert second.state() == first.state()
    rest = heard(other, later, 60)
    assert rest == heard(one, clock, 60)
    assert len(set(rest)) > 3
    assert other.device.stuck


def test_one_that_has_happened_does_not_happen_again_after_a_resume() -> None:
    driver, _, clock, found = shutter({"kind": "disconnect", "after_s": 5.0})
    clock.sleep(6.0)
    with pytest.raises(NoReply):
        _ = driver.is_open
    driver.recover()
    kept = found.state()
    assert kept["fault.0.begun"] == 1.0
    late, _, clock, restored = shutter({"kind": "disconnect", "after_s": 5.0})
    restored.restore(kept)
    clock.sleep(60.0)
    assert not late.is_open


# ---- on the wire ----


def test_late_replies_come_when_nobody_waits_and_are_never_taken_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fault_players, "LATE_S", 3.0)
    driver, device, clock, _ = shutter({"kind": "timeout", "probability": 0.2})
    told = right = 0
    for number in range(60):
        try:
            if number % 2:
                driver.open()
            else:
                driver.shut()
            assert driver.is_open is device.blade_open is bool(number % 2)
            right += 1
        except InstrumentError:
            told += 1
        clock.sleep(0.4)
    assert right > 20
    assert told > 2


def test_garbage_is_other_bytes_and_as_many() -> None:
    table = FaultTable(device="shutter", kind="garbage", after_s=1.0)
    fault = Fault(3, table, 7)
    for number in range(200):
        broken = fault.break_bytes(b"closed?\r1\r> ", number)
        assert len(broken) == 12
        assert broken != b"closed?\r1\r> "
    assert fault.break_bytes(b"1", 0) != b"1"
    assert fault.break_bytes(b"abc", 5) == fault.break_bytes(b"abc", 5)


def test_a_dead_link_stays_dead_until_it_is_opened_again() -> None:
    driver, _, clock, _ = shutter({"kind": "disconnect", "after_s": 5.0, "for_s": 4.0})
    adapter = driver.adapter
    clock.sleep_until(START + 6.0)
    for _ in range(2):
        with pytest.raises(NoReply, match="dead"):
            _ = driver.is_open
    with pytest.raises(NoReply, match="not there"):
        driver.recover()
    clock.sleep_until(START + 9.5)
    with pytest.raises(NoReply, match="dead"):  # the cable is back, the handle is not
        _ = driver.is_open
    driver.recover()
    assert not driver.is_open
    assert driver.adapter is adapter


def test_a_cable_put_into_another_instrument() -> None:
    driver, device, clock, _ = shutter({"kind": "identity", "after_s": 5.0, "for_s": 60.0})
    driver.open()
    clock.sleep_until(START + 6.0)
    with pytest.raises(NoReply):
        driver.shut()
    toggles = device.toggles
    with pytest.raises(WrongIdentity, match="ACME"):
        driver.recover()
    assert device.toggles == toggles  # nothing is sent to a stranger
    clock.sleep_until(START + 66.0)
    driver.recover()
    assert not device.blade_open


def test_a_restart_takes_the_reference_and_recovering_notices() -> None:
    clock = VirtualClock(START)
    world = World(clock)
    device = SimulatedElliptec(clock)
    plan(world, {"device": "attenuator", "kind": "restart", "after_s": 20.0, "for_s": 1.0}).attach(
        "attenuator", device
    )
    mount = ElliptecRotator(device.link(ElliptecRotator), clock)
    mount.connect()
    mount.home()
    mount.move_to(30.0)
    mount.recover()
    assert mount.homed  # it stands where it was left
    clock.sleep_until(START + 25.0)
    mount.recover()
    assert not mount.homed
    mount.home()
    assert mount.move_to(30.0) == pytest.approx(30.0, abs=0.1)
    assert device.true_position == pytest.approx(30.0, abs=0.2)


@pytest.mark.parametrize("seed", range(12))
def test_a_shutter_in_a_storm_is_closed_in_the_end(seed: int) -> None:
    """Toggling over a bad link: what is told is true, and recovering always finds it closed."""
    storm = [
        {"kind": "silence", "probability": 0.08},
        {"kind": "garbage", "probability": 0.08},
        {"kind": "disconnect", "probability": 0.02},
        {"kind": "restart", "probability": 0.01},
    ]
    clock = VirtualClock(START)
    world = World(clock, seed)
    device = SimulatedSC10(clock, world)
    driver = SC10Shutter(InProcessAdapter(device, timeout_s=0.2, **SC10Shutter.VISA), clock)
    driver.connect()
    plan(world, *({"device": "shutter", **table} for table in storm)).attach("shutter", device)

    def close() -> None:
        for _ in range(50):
            try:
                driver.recover()
                return
            except InstrumentError:
                clock.sleep(1.0)
        raise AssertionError("it was never recovered")

    opened = 0
    for _ in range(25):
        try:
            driver.open()
            opened += 1
            driver.shut()
        except InstrumentError:
            close()
        clock.sleep(0.1)
        device.settle(clock.now())
        assert not device.blade_open
        assert not world.open
    assert opened > 3


def test_stuck_and_limit_of_a_stage() -> None:
    from instruments.drivers.newport_smc100 import SMC100Stage

    for kind, words in (("stuck", "following"), ("limit", "end of run")):
        clock = VirtualClock(START)
        device = SimulatedSMC100(clock, None, homed=True, start_mm=1.0)
        table = {"device": "stripe", "kind": kind, "after_s": 2.0, "for_s": 60.0}
        plan(World(clock), table).attach("stripe", device)
        stage = SMC100Stage(device.link(SMC100Stage), clock)
        stage.connect()
        clock.sleep(3.0)
        with pytest.raises(InstrumentError, match=words):
            stage.move_to(5.0)
        clock.sleep(60.0)
        stage.recover()
        stage.home()
        assert stage.move_to(5.0) == pytest.approx(5.0, abs=0.01)


# ---- the laser ----


def test_the_laser_goes_off_and_comes_back_at_its_times() -> None:
    text = (
        "[simulation]\n[[simulation.faults]]\ndevice='laser'\nkind='laser_off'\nafter_s=50.0\n"
        "for_s=20.0\n[[simulation.faults]]\ndevice='pump'\nkind='laser_drift'\nafter_s=100.0\n"
    )
    with open_bench(config.parse(text, "b.toml"), ("attenuator",)) as bench:
        bench.instruments["attenuator"].prepare()  # type: ignore[attr-defined]
        first = bench.pump.set_fluence(40.0).value_uJ_cm2
        world = bench.simulation.world
        bench.clock.sleep_until(world.start_s + 55.0)
        with pytest.raises(NoReply, match="no pulse"):
            bench.pump.measure_fluence()
        bench.clock.sleep_until(world.start_s + 70.5)
        assert bench.pump.measure_fluence().value_uJ_cm2 == pytest.approx(first, rel=0.02)
        bench.clock.sleep_until(world.start_s + 400.0)
        assert bench.pump.measure_fluence().value_uJ_cm2 < 0.65 * first


# ---- served ----


@pytest.mark.parametrize("kind", ["tcp", "pty"])
def test_a_served_link_dies_and_is_opened_again(kind: str, tmp_path: Path) -> None:
    if kind == "pty" and sys.platform == "win32":
        pytest.skip("pseudo-terminals are POSIX")
    clock = WallClock()
    world = World(clock)
    device = SimulatedSC10(clock, world, blade_s=0.001, latency_s=0.0, blank_late_s=0.0)
    world.start_s = clock.now() + 1e6  # not before the driver is there
    found = plan(world, {"device": "shutter", "kind": "disconnect", "after_s": 0.2})
    found.attach("shutter", device)
    served = serve_tcp(device) if kind == "tcp" else serve_pty(device)
    try:
        driver = SC10Shutter(open_visa(served.resource, SC10Shutter), clock)
        driver.connect()
        driver.open()
        adapter = driver.adapter
        world.start_s = clock.now()
        deadline = time.monotonic() + 5.0
        with pytest.raises(NoReply):
            while time.monotonic() < deadline:
                assert driver.is_open
                time.sleep(0.02)
        while True:
            try:
                driver.recover()
                break
            except NoReply:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert driver.adapter is adapter
        assert not driver.is_open
        assert not device.blade_open
        driver.close()
    finally:
        served.close()
