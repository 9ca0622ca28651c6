"""SpectraPro: the driver by bytes, against its simulator, over PyVISA, and on broken lines."""

from __future__ import annotations

import asyncio
import math
import sys
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.acton_spectrapro import SpectraPro
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Grating
from instruments.wire import open_visa
from sim_drivers.devices.acton_spectrapro import SimulatedGrating, SimulatedSpectraPro
from sim_drivers.link import InProcessAdapter, WireDevice, serve_pty, serve_tcp
from tests.mangling import KINDS, Mangler, Step, plans

LIST = (
    "\r\n\x1a1  600 g/mm BLZ=  500NM \r\n 2  150 g/mm BLZ=  1.6UM \r\n 3 1200 g/mm BLZ=  500NM \r\n"
    + "".join(f" {n}  Not Installed     \r\n" for n in range(4, 10))
)


class FakeWorld:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []

    def set_monochromator(self, wavelength_nm: float, grooves_per_mm: float) -> None:
        self.told.append((wavelength_nm, grooves_per_mm))


def simulated(
    connect: bool = True, driver: dict[str, Any] | None = None, **options: Any
) -> tuple[SpectraPro, SimulatedSpectraPro, VirtualClock]:
    clock = VirtualClock(start=1.7e9)
    device = SimulatedSpectraPro(clock, FakeWorld(), seed=3, **options)
    return mounted(device, clock, connect, driver), device, clock


def mounted(
    device: WireDevice, clock: VirtualClock, connect: bool, driver: dict[str, Any] | None = None
) -> SpectraPro:
    adapter = InProcessAdapter(device, timeout_s=SpectraPro.TIMEOUT_S, **SpectraPro.VISA)
    mono = SpectraPro(adapter, clock, **(driver or {}))
    if connect:
        mono.connect()
    return mono


# ---- by bytes -----------------------------------------------------------------------------


def twice(command: bytes, answer: bytes, echo: bool) -> list[tuple[bytes, bytes]]:
    return [(command, (command if echo else b"") + answer)] * 2


def greeting(echo: bool) -> list[tuple[bytes, bytes]]:
    return (
        twice(b"model", b" SP-2-300i  ok", echo)
        + twice(b"serial", b" 25331234  ok", echo)
        + twice(b"?nm", b" 0.000 nm  ok", echo)
        + twice(b"?gratings", LIST.encode() + b" ok", echo)
        + twice(b"?grating", b" 1  ok", echo)
    )


@pytest.mark.parametrize("echo", [True, False])
def test_every_command_by_bytes(echo: bool) -> None:
    e = (lambda command: command) if echo else (lambda command: b"")
    pairs = [
        *greeting(echo),
        *twice(b"?grating", b" 1  ok", echo),
        *twice(b"?nm", b" 0.000 nm  ok", echo),
        (b"524.500 goto", e(b"524.500 goto") + b" ok"),
        *twice(b"?nm", b" 524.500 nm  ok", echo),
        *twice(b"?grating", b" 1  ok", echo),
        *twice(b"?nm", b" 524.500 nm  ok", echo),
        (b"2 grating", e(b"2 grating") + b" ok"),
        *twice(b"?grating", b" 2  ok", echo),
    ]
    with expected_protocol(SpectraPro, pairs, clock=VirtualClock()) as mono:
        mono.connect()
        assert str(mono.identity).endswith("SP-2-300i (serial 25331234)")
        assert mono.go_to(524.5) == 524.5
        assert mono.select_grating(2) == Grating(2, 150.0, 1600.0)


def test_the_sheets_own_examples() -> None:
    """The bytes of the protocol sheet: two decimals, three blanks, ` foo? `."""
    clock = VirtualClock()
    world = FakeWorld()
    device = SimulatedSpectraPro(clock, world, echo=False, decimals=2, action_blanks=2)

    def say(line: bytes, wait_s: float = 30.0) -> bytes:
        device.receive(line)
        clock.sleep(wait_s)
        return device.take()

    assert say(b"?nm\r") == bytes.fromhex("20302E3030206E6D20206F6B0D0A")
    assert say(b"520.5 goto\r") == b"   ok\r\n"
    assert say(b"?nm\r") == b" 520.50 nm  ok\r\n"
    assert say(b"2 grating ?grating\r") == b" 2  ok\r\n"
    assert say(b"foo\r") == b" foo? \r\n"
    assert say(b"no-echo\r") == b"   ok\r\n"
    assert say(b"exit-mirror ?mirror\r") == b" front  ok\r\n"
    assert say(b"front-ent-slit\r") == b" no motor  ok\r\n"
    assert say(b"600.0 >nm\r", 0.1).endswith(b" ok\r\n")
    assert say(b"mono-?done\r", 1.0) == b" 0  ok\r\n"
    assert say(b"mono-stop\r", 1.0).endswith(b" ok\r\n")
    assert say(b"mono-?done\r", 1.0) == b" 1  ok\r\n"
    assert 520.5 < device.wavelength_nm(clock.now()) < 525.0
    device.echo = True
    assert say(b"?NM/MIN\r") == b"?NM/MIN 100.00 nm/min  ok\r\n"
    assert say(b"goto\r") == b"goto goto? \r\n"


# ---- against the simulator ------------------------------------------------------------------

READINGS: list[dict[str, Any]] = [
    {},
    {"echo": False},
    {"lower_case_only": True},
    {"echo": False, "lower_case_only": True, "decimals": 2},
    {"unit": False},
    {"echo": False, "unit": False, "decimals": 2, "action_blanks": 2},
    {"model": "SP-2150i", "action_blanks": 2},
    {"model": "SP-2-750i", "grating_lines": 9, "echo": False},
    {"model": "SP-2-500i", "grating_lines": 8},
]


@pytest.mark.parametrize("options", READINGS)
def test_every_reading_of_the_sheet(options: dict[str, Any]) -> None:
    mono, device, clock = simulated(**options)
    assert mono.wavelength_nm == 0.0
    assert mono.gratings == (
        Grating(1, 600.0, 500.0),
        Grating(2, 150.0, 500.0),
        Grating(3, 1200.0, 500.0),
    )
    began = clock.now()
    assert mono.go_to(524.5) == 524.5
    assert clock.now() - began == pytest.approx(5.245, abs=0.5)
    assert mono.select_grating(2).grooves_per_mm == 150.0
    assert clock.now() - began > 15.0
    true_nm, grooves = device.world.told[-1]
    assert grooves == 150.0
    assert 0.0 < abs(true_nm - 524.5) < 0.03
    assert mono.status().ok
    assert mono.snapshot()["wavelength_nm"].value == 524.5
    assert device.eeprom_writes == []


@pytest.mark.parametrize("case", ["lower", "upper"])
def test_case_can_be_chosen(case: str) -> None:
    mono, device, _ = simulated(driver={"case": case})
    mono.go_to(300.0)
    assert all(line == getattr(line, case)() for line in device.commands)


def test_upper_case_only_device_is_found_out() -> None:
    mono, device, _ = simulated(connect=False)
    device._words = {word: action for word, action in device._words.items()}
    plain = device._do
    device._do = lambda word: "" if word.islower() and _unknown() else plain(word)  # type: ignore[method-assign]
    mono.connect()
    assert mono.go_to(400.0) == 400.0


def _unknown() -> bool:
    from sim_drivers.devices.acton_spectrapro import _UnknownWordError

    raise _UnknownWordError


@pytest.mark.parametrize(
    ("model", "focal", "half"),
    [
        ("SP-2150i", 150.0, 24.66),
        ("SP-2-300i", 300.0, 15.15),
        ("SP-2500i", 500.0, 8.59),
        ("SP-2-750i", 750.0, 6.55),
    ],
)
def test_optics_by_model(model: str, focal: float, half: float) -> None:
    mono, _, _ = simulated(model=model)
    assert (mono.focal_length_mm, mono.half_angle_deg) == (focal, half)


def test_optics_of_an_unknown_model_must_be_given() -> None:
    mono, _, _ = simulated(model="SP-275")
    with pytest.raises(NotReady, match="focal_length_mm"):
        _ = mono.focal_length_mm
    mono, _, _ = simulated(
        model="SP-275", driver={"focal_length_mm": 275.0, "half_angle_deg": 16.0}
    )
    assert (mono.focal_length_mm, mono.half_angle_deg) == (275.0, 16.0)


def test_limits_are_refused_before_anything_is_sent() -> None:
    mono, device, _ = simulated()
    assert mono.limits["wavelength_nm"].high == 2800.0
    for wavelength in (-1.0, 2801.0, math.nan, math.inf):
        with pytest.raises(LimitError):
            mono.go_to(wavelength)
    assert not any("goto" in line for line in device.commands)
    mono.select_grating(3)
    assert mono.limits["wavelength_nm"].high == 1400.0
    with pytest.raises(LimitError, match="1400"):
        mono.go_to(1400.1)


def test_empty_slot_and_short_reach_are_refused() -> None:
    mono, device, _ = simulated()
    with pytest.raises(LimitError, match="slot 5"):
        mono.select_grating(5)
    mono.go_to(2000.0)
    with pytest.raises(LimitError, match="lower wavelength"):
        mono.select_grating(3)
    assert not any(line.endswith(" grating") for line in device.commands)


def test_a_clamped_move_is_an_error() -> None:
    """The controller says ok and stands at its own limit: only the reading tells."""
    mono, device, _ = simulated()
    device._highest_nm = lambda slot: 700.0  # type: ignore[method-assign]
    with pytest.raises(DeviceFault, match=r"900.000 nm was asked, it stands at 700"):
        mono.go_to(900.0)


def test_a_grating_that_does_not_come_is_an_error() -> None:
    mono, device, _ = simulated()
    del device.gratings[3]
    with pytest.raises(DeviceFault, match="stays at 1"):
        mono.select_grating(3)


def test_a_grating_changed_by_hand_changes_the_limits() -> None:
    mono, device, clock = simulated()
    device._turn_to(3)
    clock.sleep(30.0)
    with pytest.raises(LimitError, match="1400"):
        mono.go_to(2000.0)


def test_gratings_with_mirror_and_micrometre_blaze() -> None:
    gratings = {
        1: SimulatedGrating(300.0, "1.6UM"),
        2: SimulatedGrating(2400.0, "H-VIS"),
        6: SimulatedGrating(0.0, ""),
    }
    for echo in (True, False):
        mono, _, _ = simulated(gratings=gratings, echo=echo)
        assert mono.gratings == (
            Grating(1, 300.0, 1600.0),
            Grating(2, 2400.0, 0.0),
            Grating(6, 0.0, 0.0),
        )


def test_connecting_to_something_else() -> None:
    class Other(WireDevice):
        answer = b""

        def receive(self, data: bytes) -> None:
            self.send(self.answer)

    clock = VirtualClock()
    other = Other(clock)
    for answer, error in (
        (b"", NoReply),
        (b"ERROR 3\r\n", WrongIdentity),
        (b"Thorlabs SC10 ok\r\n", WrongIdentity),
        (b"what? \r\n", WrongIdentity),
        (b"\xff\xfe\xff\r\n", WrongIdentity),
    ):
        other.answer = answer
        with pytest.raises(error):
            mounted(other, clock, connect=True)


def test_not_connected_and_misspelt() -> None:
    mono, _, _ = simulated(connect=False)
    with pytest.raises(NotReady):
        _ = mono.identity
    with pytest.raises(NotReady):
        _ = mono.limits
    with pytest.raises(AttributeError):
        mono.wavelenght_nm = 500.0
    mono.make_safe()
    mono.close()
    mono.close()


def test_a_dead_controller_is_reported_soon() -> None:
    mono, device, clock = simulated()
    device.receive = lambda data: None  # type: ignore[method-assign]
    began = clock.now()
    with pytest.raises(NoReply, match="switched on"):
        mono.go_to(500.0)
    assert clock.now() - began < 3.0


def test_the_position_of_a_grating_repeats() -> None:
    """The drive's error belongs to the place, so that a resumed run finds the same window."""
    mono, device, _ = simulated()
    mono.go_to(500.0)
    first = device.world.told[-1]
    mono.go_to(700.0)
    mono.go_to(500.0)
    assert device.world.told[-1] == first
    other, fresh, _ = simulated()
    other.go_to(500.0)
    assert fresh.world.told[-1] == first


# ---- broken lines ---------------------------------------------------------------------------


STRAYS = (b" 777.000 nm  ok\r\n", b"\r\n", b"hello\r\n", b"ok\r\n")
BadLine = partial(Mangler, lines=False, strays=STRAYS, late_s=0.3, later_s=1.0)
HARMS = [kind for kind in KINDS if kind != "flip"]
damages = plans(HARMS, most=12)


@settings(max_examples=120, deadline=None)
@given(damage=damages, echo=st.booleans())
def test_broken_replies_never_make_a_wrong_number(damage: list[Step], echo: bool) -> None:
    mono, device, clock = simulated(echo=echo)
    mono.adapter.device = BadLine(device, damage)
    try:
        reached = mono.go_to(524.5)
    except InstrumentError:
        pass
    else:
        assert reached == 524.5
        assert device.wavelength_nm(clock.now()) == 524.5
    clock.sleep(60.0)
    mono.adapter.device = device
    assert mono.go_to(333.0) == 333.0


@settings(max_examples=60, deadline=None)
@given(damage=damages, echo=st.booleans())
def test_broken_replies_never_make_a_wrong_identity_or_grating(
    damage: list[Step], echo: bool
) -> None:
    mono, device, clock = simulated(connect=False, echo=echo)
    mono.adapter.device = BadLine(device, damage)
    try:
        mono.connect()
    except InstrumentError:
        return
    assert [g.grooves_per_mm for g in mono.gratings] == [600.0, 150.0, 1200.0]
    assert mono.focal_length_mm == 300.0
    clock.sleep(5.0)
    mono.adapter.device = device
    assert mono.wavelength_nm == 0.0


def test_a_single_wrong_digit_is_outvoted() -> None:
    mono, device, _ = simulated()
    mono.go_to(524.5)
    mono.adapter.device = BadLine(device, [("digit", 1)])
    assert mono.wavelength_nm == 524.5


def test_replies_that_never_agree_are_refused() -> None:
    mono, device, _ = simulated()

    class Drifting(WireDevice):
        count = 0

        def receive(self, data: bytes) -> None:
            self.count += 1
            self.send(b"?nm %d.000 nm  ok\r\n" % (500 + self.count))

    mono.adapter.device = Drifting(device.clock)
    with pytest.raises(BadReply, match="do not agree"):
        _ = mono.wavelength_nm


# ---- over the wire --------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "echo"), [("tcp", False), ("pty", True), ("pty", False)])
def test_over_real_pyvisa(place: str, echo: bool) -> None:
    if place == "pty" and sys.platform == "win32":
        pytest.skip("pseudo-terminals exist on POSIX systems only")
    device = SimulatedSpectraPro(
        WallClock(), FakeWorld(), echo=echo, nm_per_s=5000.0, grating_change_s=0.3, answer_s=0.001
    )
    served = serve_pty(device) if place == "pty" else serve_tcp(device)
    try:
        mono = SpectraPro(open_visa(served.resource, SpectraPro))
        mono.connect()
        assert mono.go_to(524.5) == 524.5
        if place == "pty":
            assert mono.select_grating(2).grooves_per_mm == 150.0
        mono.close()
    finally:
        served.close()


@pytest.mark.clients
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals exist on POSIX systems only")
def test_independent_client_yaqd_acton(tmp_path: Any, monkeypatch: Any) -> None:
    yaqd = pytest.importorskip("yaqd_acton._acton_sp2300i")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # it keeps its state in the user's home
    motors = ("EXIT-MIRROR", "FRONT-ENT-SLIT")
    device = SimulatedSpectraPro(WallClock(), FakeWorld(), motors=motors, answer_s=0.001)
    served = serve_pty(device)

    async def start() -> Any:
        config = {
            "serial_port": served.address["path"],
            "baud_rate": 9600,
            "make": "Princeton Instruments",
            "model": "SP2300i",
            "port": 39999,
            "limits": [0.0, 1e4],
            "out_of_limits": "closest",
        }
        daemon = yaqd.ActonSP2300i("mono", config, tmp_path / "config.toml")
        daemon._set_position(42.0)
        daemon._busy = True
        for _ in range(60):
            await asyncio.sleep(0.1)
            if abs(daemon._state["position"] - 42.0) < 0.01:
                break
        return daemon._state

    try:
        state = asyncio.run(start())
    finally:
        served.close()
    assert state["gratings"][:3] == [
        "600 g/mm, 500 nm blaze",
        "150 g/mm, 500 nm blaze",
        "1200 g/mm, 500 nm blaze",
    ]
    assert state["mirrors"] == ["None", "FRONT"]
    assert state["slits"][0] == 10
    assert device.wavelength_nm(device.clock.now()) == 42.0
