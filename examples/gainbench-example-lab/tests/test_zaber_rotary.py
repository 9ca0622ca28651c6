"""The Zaber driver: bytes of the manual, the contracts of its role, bad lines, real PyVISA.

Run them by `python -m pytest` in the folder of this package, where it and gainbench are installed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from gainbench_example_lab.simulated_zaber import SimulatedZaber
from gainbench_example_lab.zaber_rotary import ZaberRotator
from instruments.attenuator import WaveplateAttenuator
from instruments.clock import VirtualClock, WallClock
from instruments.contract import AttenuatorContract, Mounted, RotatorContract
from instruments.errors import DeviceFault, InstrumentError, NoReply, NotReady, WrongIdentity
from instruments.wire import open_visa
from sim_drivers.link import WireDevice, serve_pty, serve_tcp

START_S = 1.0e9
READINGS: list[dict[str, Any]] = [
    {},
    {"checksums": True},
    {"alerts": True, "checksums": True},
    {"moves_unreferenced": True, "latency_s": 0.1},
]


class FakeWorld:
    angle_deg = math.nan

    def set_attenuator_angle(self, angle_deg: float) -> None:
        self.angle_deg = angle_deg


def bench(driver: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return clock, world, simulated stage and a driver on it."""
    clock, world = VirtualClock(START_S), FakeWorld()
    unit = SimulatedZaber(clock, world, **options)
    made = ZaberRotator(unit.link(ZaberRotator), clock, **(driver or {}))
    return SimpleNamespace(clock=clock, world=world, unit=unit, driver=made)


def homed(**options: Any) -> Any:
    b = bench(**options)
    b.driver.connect()
    b.driver.home()
    return b


def heard(unit: Any) -> list[bytes]:
    """Return a list of what the unit hears from now on."""
    told: list[bytes] = []
    receive = unit.receive

    def listening(data: bytes) -> None:
        told.append(data)
        receive(data)

    unit.receive = listening
    return told


# ---- the contracts ------------------------------------------------------------------------------


class InProcess:
    """Gives a contract the driver on the simulated stage."""

    @pytest.fixture(params=READINGS, ids=str)
    def mounted(self, request: pytest.FixtureRequest) -> Iterator[Mounted]:
        b = bench(**request.param)
        sent = heard(b.unit)
        b.driver.connect()

        def silence() -> None:
            b.unit.receive = lambda data: None

        yield Mounted(self.compose(b.driver), b.clock, lambda: len(sent), silence)
        b.driver.close()

    def compose(self, driver: ZaberRotator) -> Any:
        return driver


class TestRotator(InProcess, RotatorContract):
    """The stage by itself."""


class TestAttenuator(InProcess, AttenuatorContract):
    """The stage under wave plate and polariser, as the bench uses it."""

    def compose(self, driver: ZaberRotator) -> Any:
        return WaveplateAttenuator(driver)


# ---- bytes --------------------------------------------------------------------------------------


def said(number: int, command: str, data: str, warning: str = "--") -> tuple[bytes, bytes]:
    """Return a command as the manual writes it, and the reply to it."""
    body = f"01 1 {number:02d} {command}".rstrip()
    total = -sum(body.encode()) & 0xFF
    return (
        f"/{body}:{total:02X}\r\n".encode().strip(),
        f"@01 1 {number:02d} OK IDLE {warning} {data}".encode(),
    )


def test_the_checksum_makes_the_sum_of_all_bytes_zero() -> None:
    command, _ = said(1, "get pos", "0")
    assert command == b"/01 1 01 get pos:FB"
    assert (sum(command[1:-3]) + int(command[-2:], 16)) % 256 == 0


def test_a_number_is_read_twice() -> None:
    script = [said(1, "get pos", "1536"), said(2, "get pos", "1536")]
    with expected_protocol(ZaberRotator, script, clock=VirtualClock(START_S)) as driver:
        assert driver.position_steps == 1536


def test_connect_asks_and_changes_nothing() -> None:
    b = bench()
    told = heard(b.unit)
    b.driver.connect()
    assert told and all(b" get " in data for data in told) and b.unit.moves == 0
    assert str(b.driver.identity) == "Zaber rotary stage 50105 (serial 71234)"
    assert b.driver.limits["angle_deg"].low == -180.0
    b = bench(driver={"angle_min_deg": -1e6, "angle_max_deg": 90.0})
    b.driver.connect()
    limits = b.driver.limits["angle_deg"]
    assert (limits.low, limits.high) == pytest.approx((-3600.0, 90.0))


# ---- against the simulated stage ----------------------------------------------------------------


@pytest.mark.parametrize("options", READINGS, ids=str)
def test_it_goes_where_it_says(options: dict[str, Any]) -> None:
    b = homed(seed=4, **options)
    for target in (45.0, -3.2, 0.1):
        before = b.clock.now()
        way = abs(target - b.driver.angle_deg)
        assert b.driver.move_to(target) == pytest.approx(target, abs=1e-3)
        assert b.world.angle_deg == b.unit.true_angle_deg == pytest.approx(target, abs=0.06)
        assert b.clock.now() - before > way / 36.0
    assert b.driver.status().ok and b.unit.moves == 3


def test_power_that_was_cut_is_seen() -> None:
    b = homed()
    b.driver.move_to(30.0)
    b.unit.restart()
    assert not b.driver.homed and "home it" in b.driver.status().text
    with pytest.raises(NotReady):
        b.driver.move_to(31.0)
    assert "angle" not in b.driver.snapshot()
    b.driver.recover()
    b.driver.home()
    assert abs(b.world.angle_deg) < 0.06


def test_a_stall_is_a_fault_until_it_is_homed() -> None:
    b = homed()
    b.unit.stuck = True
    with pytest.raises(DeviceFault, match="stalled"):
        b.driver.move_to(10.0)
    assert not b.driver.status().ok and not b.driver.homed
    with pytest.raises(DeviceFault, match="stalled"):
        b.driver.home()
    b.unit.stuck = False
    b.driver.home()
    assert b.driver.move_to(10.0) == pytest.approx(10.0, abs=1e-3)


def test_stopping_half_way() -> None:
    b = homed()
    b.unit.receive(b"/1 1 move abs 700000\r\n")
    b.clock.sleep(1.0)
    b.driver.make_safe()
    assert not b.unit.moving and 30.0 < b.world.angle_deg < 45.0
    assert b.driver.angle_deg == pytest.approx(b.world.angle_deg, abs=0.06)


@pytest.mark.parametrize(
    ("options", "driver"),
    [({"turn": 0}, {}), ({}, {"serial": "4"})],
    ids=["a linear stage", "another serial number"],
)
def test_another_instrument_is_refused(options: dict[str, Any], driver: dict[str, Any]) -> None:
    b = bench(driver, **options)
    with pytest.raises(WrongIdentity):
        b.driver.connect()
    assert b.unit.moves == b.unit.homings == 0


def test_what_does_not_speak_the_protocol_is_refused() -> None:
    class Other(WireDevice):
        def receive(self, data: bytes) -> None:
            self.send(b"ERROR: UNKNOWN COMMAND\r\n")

    clock = VirtualClock(START_S)
    with pytest.raises(WrongIdentity, match="ERROR: UNKNOWN"):
        ZaberRotator(Other(clock).link(ZaberRotator), clock).connect()


def test_another_address_is_told() -> None:
    b = bench(address=3)
    with pytest.raises(NoReply, match="address 1"):
        b.driver.connect()


def test_a_resumed_run_finds_the_same_angles() -> None:
    b = homed(seed=9)
    b.driver.move_to(20.0)
    state = b.unit.state()
    b.driver.move_to(33.0)
    expected = b.world.angle_deg
    other = homed(seed=9)
    other.unit.restore(state)
    other.driver.move_to(33.0)
    assert other.world.angle_deg == expected


def test_bytes_of_the_simulated_stage() -> None:
    b = bench(settle_deg=0.0, home_deg=0.0)

    def talk(text: bytes) -> bytes:
        b.unit.receive(text)
        b.clock.sleep(0.01)
        return bytes(b.unit.take())

    assert talk(b"/\n") == b"@01 0 OK IDLE WR 0\r\n"
    assert talk(b"/get deviceid\n") == b"@01 0 OK IDLE WR 50105\r\n"
    assert talk(b"/1 1 5 get deviceid\r\n") == b"@01 1 05 RJ IDLE WR DEVICEONLY\r\n"
    assert talk(b"/1 2 home\r\n") == b"@01 2 RJ IDLE WR BADAXIS\r\n"
    assert talk(b"/2 home\r\n") == talk(b"home\r\n") == b""
    assert talk(b"/1 1 move abs 5\n") == b"@01 1 RJ IDLE WR BADDATA\r\n"
    assert talk(b"/1 1 home\n") == b"@01 1 OK BUSY WR 0\r\n"
    b.clock.sleep(60.0)
    assert talk(b"/1 1 get limit.home.triggered\n") == b"@01 1 OK IDLE -- 1\r\n"
    assert talk(b"/1 set comm.checksum 1\n").startswith(b"@01 0 OK IDLE -- 0:")
    assert talk(b"/01 1 01 get pos:FB\n").startswith(b"@01 1 01 OK IDLE -- 0:")
    assert talk(b"/01 1 01 get pos:FC\n") == b""


# ---- a bad line ---------------------------------------------------------------------------------


class BadLine(WireDevice):
    """Spoils replies by a plan; the same wrong text never comes twice: nobody could tell."""

    def __init__(self, unit: SimulatedZaber, plan: list[tuple[str, int] | None]) -> None:
        super().__init__(unit.clock)
        self.unit, self.plan = unit, list(plan)
        self._wrong: set[bytes] = set()

    def receive(self, data: bytes) -> None:
        self.unit.receive(data)

    def due(self) -> float | None:
        times = [t for t in (self.unit.due(), super().due()) if t is not None]
        return min(times, default=None)

    def take(self) -> bytes:
        for line in self.unit.take().splitlines(keepends=True):
            step = self.plan.pop(0) if self.plan else None
            wrong = self._spoil(line, *step) if step is not None else line
            late = step is not None and step[0] == "late"
            if wrong in self._wrong:
                wrong = line
            elif wrong != line:
                self._wrong.add(wrong)
            if wrong:
                self.send(wrong, 0.25 if late else 0.0)
        return super().take()

    def _spoil(self, line: bytes, kind: str, place: int) -> bytes:
        at = place % len(line)
        return {
            "cut": line[:at],
            "shorten": line[:at] + line[at + 1 :],
            "digit": line[:at] + b"%d" % (place % 10) + line[at + 1 :],
            "garble": line[:at] + bytes([place % 256]) + line[at + 1 :],
            "double": line + line,
            "stray": (b"@01 1 00 OK IDLE -- 7\r\n", b"!01 1 IDLE --\r\n", b"\xff\r\n")[place % 3]
            + line,
            "lost": b"",
            "late": line,
        }[kind]


KINDS = ["cut", "shorten", "digit", "garble", "double", "stray", "lost", "late"]
plans = st.lists(st.none() | st.tuples(st.sampled_from(KINDS), st.integers(0, 999)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    plan=plans,
    act=st.sampled_from(["angle", "move", "home", "make_safe", "connect"]),
    checksums=st.booleans(),
)
def test_a_bad_line_gives_the_truth_or_an_error(
    plan: list[tuple[str, int] | None], act: str, checksums: bool
) -> None:
    b = homed(checksums=checksums)
    b.driver.move_to(20.0)
    b.driver.adapter.device = BadLine(b.unit, plan)
    try:
        match act:
            case "angle":
                assert b.driver.angle_deg == pytest.approx(20.0, abs=1e-3)
            case "move":
                assert b.driver.move_to(31.0) == pytest.approx(31.0, abs=1e-3)
                assert b.world.angle_deg == pytest.approx(31.0, abs=0.06)
            case "home":
                b.driver.home()
                assert abs(b.world.angle_deg) < 0.06
            case "make_safe":
                b.unit.receive(b"/1 1 move abs 700000\r\n")
                b.driver.make_safe()
                assert not b.unit.moving
            case _:
                b.driver.connect()
                assert b.driver.identity.serial == "71234"
                assert b.driver.limits["angle_deg"].high == 180.0
    except InstrumentError:
        pass
    b.driver.adapter.device = b.unit
    b.clock.sleep(1.0)
    b.driver.make_safe()
    assert not b.unit.moving


# ---- over real PyVISA ---------------------------------------------------------------------------


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
def test_over_pyvisa(serve: Any) -> None:
    clock = WallClock(speed=20.0)
    world = FakeWorld()
    unit = SimulatedZaber(clock, world, latency_s=0.0)
    served = serve(unit)
    try:
        driver = ZaberRotator(open_visa(served.resource, ZaberRotator))
        driver.connect()
        driver.home()
        assert driver.move_to(30.0) == pytest.approx(30.0, abs=1e-3)
        assert world.angle_deg == pytest.approx(30.0, abs=0.06)
        driver.close()
    finally:
        served.close()


@pytest.mark.clients
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_makers_own_client_understands_the_simulated_stage() -> None:
    zaber = pytest.importorskip("zaber.serial")
    unit = SimulatedZaber(WallClock(speed=20.0), FakeWorld(), checksums=True, latency_s=0.0)
    served = serve_pty(unit)
    try:
        with zaber.AsciiSerial(served.address["path"], baud=115200) as port:
            device = zaber.AsciiDevice(port, 1)
            assert int(device.send("get system.serial").data) == 71234
            device.home()
            device.move_abs(128_000)
            assert device.get_position() == 128_000
            assert unit.true_angle_deg == pytest.approx(30.0, abs=0.06)
            assert device.send("move abs 99999999999").reply_flag == "RJ"
            assert device.get_status() == "IDLE"
    finally:
        served.close()
