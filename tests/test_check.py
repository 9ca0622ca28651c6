"""gainbench check: what is there, what is swapped, what does not keep its limits, what is to do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from instruments.clock import WallClock
from instruments.config import BenchConfig, parse
from instruments.errors import DeviceFault, LimitError, NotReady
from instruments.holding import canonical
from instruments.roles import Identity, Limits, Status
from procedures import checking, discovery
from procedures.check_report import _table, show
from procedures.checking import check_bench
from procedures.discovery import Resource, impatient, unreachable
from procedures.exercising import exercise
from sim_drivers.bench import SimulatedBench
from sim_drivers.devices.acton_spectrapro import SimulatedSpectraPro
from sim_drivers.devices.thorlabs_elliptec import SimulatedElliptec
from sim_drivers.devices.thorlabs_sc10 import SimulatedSC10
from sim_drivers.link import serve_tcp


@pytest.fixture(autouse=True)
def _no_ports_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "resources", lambda: [])


def rows_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["role"]: row for row in found["instruments"]}


# ---- the simulated bench ------------------------------------------------------------------------


def test_without_move_nothing_is_sent_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    for device in (SimulatedElliptec, SimulatedSpectraPro):
        receive = device.receive

        def heard(self: Any, data: bytes, receive: Any = receive) -> None:
            sent.append(data)
            receive(self, data)

        monkeypatch.setattr(device, "receive", heard)
    found = check_bench(parse("[simulation]\n"))
    assert found["ok"], found
    assert sent
    told = b"\n".join(sent).lower()
    for motion in (b"ma0", b"0ho", b"goto", b"mr0"):
        assert motion not in told
    row = rows_of(found)["attenuator"]
    assert row["ok"]
    assert "not homed" in row["text"]
    assert row["moved"] == []
    again = check_bench(parse("[simulation]\n"), move=True)
    assert again["ok"], again
    told = b"\n".join(sent).lower()
    assert b"0ho" in told
    assert b"goto" in told


def test_with_move_every_limit_is_tried_and_the_shutter_stays_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benches: list[SimulatedBench] = []
    made = SimulatedBench.__init__

    def kept(self: Any, *words: Any) -> None:
        made(self, *words)
        benches.append(self)

    monkeypatch.setattr(SimulatedBench, "__init__", kept)
    text = "[simulation]\n[instruments.cryostat]\ndriver='lakeshore-335'\n"
    found = check_bench(parse(text), move=True)
    rows = rows_of(found)
    assert found["ok"], found
    assert "length_mm 0 to 3 mm" in "; ".join(rows["stripe"]["moved"])
    assert "homed" in rows["attenuator"]["moved"]
    assert any("limit only" in line for line in rows["cryostat"]["moved"])
    world = benches[0].world
    assert world.shots_on_sample == 0
    assert not world.shutter_open
    assert rows["stripe"]["limits"]["length_mm"] == {"low": 0.0, "high": 3.0, "unit": "mm"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_driver_option_that_is_wrong_is_said_in_its_row() -> None:
    found = check_bench(parse("[simulation]\n[instruments.shutter]\ndriver='thorlabs-sc10'\nx=1\n"))
    rows = rows_of(found)
    assert not found["ok"]
    assert "unknown key" in rows["shutter"]["text"]
    assert "bench file" in rows["shutter"]["remedy"]
    assert all(row["ok"] for role, row in rows.items() if role != "shutter")


def test_the_calibration_in_use_is_told_with_its_age(tmp_path: Path) -> None:
    (tmp_path / "cal.toml").write_text(
        'kind = "attenuator"\ndate = 2020-01-01T00:00:00+00:00\n[values]\ntheta0_deg = 1.0\n'
    )
    file = tmp_path / "bench.toml"
    file.write_text(
        "[simulation]\n[instruments.attenuator]\ndriver='thorlabs-elliptec'\n"
        "calibration='cal.toml'\n"
    )
    config = parse(file.read_text(), str(file))
    row = rows_of(check_bench(config))["attenuator"]
    assert row["ok"]
    assert row["calibration"]["name"] == "cal.toml"
    assert row["calibration"]["age_days"] > 2000
    (tmp_path / "cal.toml").write_text('kind = "slit"\n')
    row = rows_of(check_bench(config))["attenuator"]
    assert not row["ok"]
    assert "calibration of the slit" in row["text"]


# ---- real links ---------------------------------------------------------------------------------


class World:
    """What the devices tell; nobody looks."""

    seed = 1
    laser_on = True
    repetition_rate_Hz = 1000.0

    def set_attenuator_angle(self, *_: Any) -> None: ...

    def set_shutter(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def served() -> Iterator[dict[str, str]]:
    clock = WallClock(20.0)
    devices = {
        "attenuator": SimulatedElliptec(clock, World()),
        "shutter": SimulatedSC10(clock, World()),
    }
    serving = {role: serve_tcp(device) for role, device in devices.items()}
    yield {role: one.resource for role, one in serving.items()}
    for one in serving.values():
        one.close()


def two(attenuator: str, shutter: str) -> BenchConfig:
    return parse(
        f"[instruments.attenuator]\ndriver='thorlabs-elliptec'\nresource='{attenuator}'\n"
        f"[instruments.shutter]\ndriver='thorlabs-sc10'\nresource='{shutter}'\n"
    )


def test_what_is_where_the_file_says_is_well(served: dict[str, str]) -> None:
    found = check_bench(two(served["attenuator"], served["shutter"]))
    assert found["ok"], found
    assert "ELL14" in rows_of(found)["attenuator"]["identity"]


def test_swapped_resources_are_recognised(served: dict[str, str]) -> None:
    found = check_bench(two(served["shutter"], served["attenuator"]))
    rows = rows_of(found)
    assert not found["ok"]
    assert "this is the Thorlabs SC10" in rows["attenuator"]["text"]
    assert "names under shutter" in rows["attenuator"]["text"]
    assert "ELL14" in rows["shutter"]["text"]
    for row in rows.values():
        assert row["remedy"].startswith("swap `resource`")


def test_a_lost_instrument_is_found_where_no_role_looks(
    served: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "resources", lambda: [Resource(served["shutter"], "a port")])
    found = check_bench(two(served["attenuator"], "TCPIP0::127.0.0.1::9::SOCKET"))
    rows = rows_of(found)
    assert rows["attenuator"]["ok"]
    assert rows["shutter"]["remedy"] == f'write resource = "{served["shutter"]}"'
    assert "Thorlabs SC10" in rows["shutter"]["text"]
    assert found["discovered"] == [
        {"resource": served["shutter"], "description": "a port", "role": ""}
    ]


def test_nothing_is_sent_to_an_unnamed_resource_without_need(
    served: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(checking, "identify", lambda *words: tried.append(words[-1]))
    monkeypatch.setattr(checking, "resources", lambda: [Resource("TCPIP0::1.2.3.4::5::SOCKET")])
    assert check_bench(two(served["attenuator"], served["shutter"]))["ok"]
    assert tried == []


def test_one_port_for_two_kinds_of_instruments_is_no_bench() -> None:
    port = "TCPIP0::127.0.0.1::9::SOCKET"
    rows = rows_of(check_bench(two(port, port)))
    assert "same resource, with another driver" in rows["shutter"]["text"]
    assert "its own resource" in rows["shutter"]["remedy"]


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes everything and answers nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def run() -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=run, daemon=True).start()
    yield f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET"
    listener.close()
    for one in kept:
        one.close()


@pytest.mark.parametrize(
    ("role", "driver"), [("attenuator", "thorlabs-elliptec"), ("shutter", "thorlabs-sc10")]
)
def test_a_dead_instrument_costs_less_than_three_seconds(
    role: str, driver: str, silent: str
) -> None:
    started = time.monotonic()
    found = check_bench(parse(f"[instruments.{role}]\ndriver='{driver}'\nresource='{silent}'\n"))
    assert time.monotonic() - started < 3.0
    row = rows_of(found)[role]
    assert not row["ok"]
    assert "power and cable" in row["remedy"]


def test_a_closed_port_is_told_without_opening_it() -> None:
    started = time.monotonic()
    found = check_bench(two("TCPIP0::127.0.0.1::9::SOCKET", "ASRL/dev/no-such-port::INSTR"))
    assert time.monotonic() - started < 2.0
    rows = rows_of(found)
    assert "nothing listens at 127.0.0.1 port 9" in rows["attenuator"]["text"]
    assert not rows["shutter"]["ok"]


def test_a_shared_link_is_opened_once_and_closed_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[str] = []

    class Link:
        def close(self) -> None:
            events.append("closed")

    class Driver:
        limits: ClassVar[dict[str, Limits]] = {}
        identity = Identity("Maker", "Thing")

        def __init__(self, link: Link, clock: Any = None, axis: int = 1) -> None:
            self.link, self.axis = link, axis

        @classmethod
        def open_link(cls, _resource: str) -> Link:
            events.append("opened")
            return Link()

        def connect(self) -> None:
            events.append(f"connected {self.axis}")

        def status(self) -> Status:
            return Status(True, "ready")

        def close(self) -> None:
            self.link.close()

    class Entry:
        def load(self, _role: str) -> type:
            return Driver

    monkeypatch.setattr("instruments.opening.driver", lambda *_: Entry())
    text = "".join(
        f"[instruments.{role}]\ndriver='thing'\nresource='GPIB0::5::INSTR'\naxis={axis}\n"
        for axis, role in enumerate(("stripe", "attenuator", "energy_meter"), start=1)
    )
    found = check_bench(parse(text))
    assert found["ok"], found
    assert events == ["opened", "connected 1", "connected 2", "connected 3", "closed"]


# ---- finding out --------------------------------------------------------------------------------


def test_two_spellings_of_one_port_are_one() -> None:
    assert canonical("ASRL3::INSTR") == canonical("ASRLCOM3::INSTR") == canonical("asrl3")
    assert canonical("USB0::0x1313::0x8078::P1::INSTR") == canonical("USB::4883::32888::P1::INSTR")
    assert canonical("ws://host:25010/") == canonical("ws://HOST:25010")
    assert canonical("ASRL3::INSTR") != canonical("ASRL4::INSTR")


def test_what_cannot_be_reached_says_why() -> None:
    assert "nothing listens" in unreachable("ws://127.0.0.1:9")
    assert "nothing listens" in unreachable("127.0.0.1:9")
    assert unreachable("USB0::0x1313::0x8078::P1::INSTR") == ""
    assert unreachable("GPIB0::5::INSTR") == ""


def test_patience_returns_with_the_first_reply(served: dict[str, str]) -> None:
    from instruments.drivers.thorlabs_elliptec import ElliptecRotator

    kind: Any = impatient(ElliptecRotator)
    assert kind.__name__ == "ElliptecRotator"
    link = kind.open_link(served["attenuator"])
    before = link.connection.timeout
    mount = kind(link, clock=WallClock())
    assert link.connection.timeout < before
    with mount.patience(30.0):
        assert link.connection.timeout == pytest.approx(300.0)
    mount.connect()
    with mount.patience(30.0):
        assert link.connection.timeout == pytest.approx(30000.0)
    assert link.connection.timeout == before
    link.close()


def test_resources_of_this_computer_are_listed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "LIST_S", 0.2)

    class Manager:
        def list_resources(self, _query: str) -> tuple[str, ...]:
            time.sleep(1.0)
            return ("late",)

    monkeypatch.setattr("pyvisa.ResourceManager", Manager)
    started = time.monotonic()
    assert discovery.resources() == []
    assert time.monotonic() - started < 0.8


# ---- limits -------------------------------------------------------------------------------------


class Shelf:
    """An instrument of a plug-in, with a quantity that nobody here has heard of."""

    def __init__(self, *, lax: bool = False, short: bool = False, homed: bool = True) -> None:
        self.lax, self.short, self.homed = lax, short, homed
        self.at = 4.0
        self.asked: list[float] = []
        self.heated: list[float] = []
        self.identity = Identity("Lab", "Shelf")

    @property
    def limits(self) -> dict[str, Limits]:
        return {
            "height_mm": Limits(0.0, 10.0, "mm"),
            "position_mm": Limits(0.0, 10.0, "mm"),
            "temperature_K": Limits(4.0, 300.0, "K"),
            "mcp_gain": Limits(0, 63, ""),
        }

    @property
    def height_mm(self) -> float:
        if not self.homed:
            raise NotReady("home it")
        return self.at

    position_mm = height_mm

    def home(self) -> None:
        self.homed = True

    def set_height_mm(self, height_mm: float) -> float:
        self.asked.append(height_mm)
        if not self.lax:
            Limits(0.0, 10.0, "mm").check("height_mm", height_mm)
        self.at = height_mm
        return self.at

    def move_to(self, position_mm: float) -> float:
        reached = self.set_height_mm(position_mm)
        return reached - 0.5 if self.short else reached

    def set_temperature(self, temperature_K: float) -> None:
        self.heated.append(temperature_K)
        raise LimitError("too cold")

    def set_mcp_gain(self, gain: int) -> int:
        raise AssertionError(f"a gain of {gain} was asked")


def test_both_ends_beyond_and_back() -> None:
    shelf = Shelf()
    done = exercise(shelf)
    assert shelf.asked[:4] == pytest.approx([0.1, 9.9, 10.1, 4.0])
    assert shelf.at == 4.0
    assert shelf.heated == [3.0]
    assert done[0] == "height_mm 0 to 10 mm"


def test_what_accepts_too_much_is_found_out_and_brought_back() -> None:
    shelf = Shelf(lax=True)
    with pytest.raises(DeviceFault, match="beyond its limit and was accepted"):
        exercise(shelf)
    assert shelf.at == 4.0


def test_what_does_not_arrive_is_found_out_and_brought_back() -> None:
    shelf = Shelf(short=True)
    with pytest.raises(DeviceFault, match="was reached"):
        exercise(shelf)
    assert shelf.at == 4.0


def test_what_is_not_homed_is_homed_first() -> None:
    shelf = Shelf(homed=False)
    assert "homed" in exercise(shelf)
    assert shelf.homed


# ---- for a person -------------------------------------------------------------------------------


def test_the_report_names_the_next_thing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    found = check_bench(two("TCPIP0::127.0.0.1::9::SOCKET", "TCPIP0::127.0.0.1::10::SOCKET"))
    show(found)
    written = capsys.readouterr()
    assert written.out == ""
    assert "BAD attenuator" in written.err
    assert "-> check power and cable" in written.err
    assert "the bench is not ready: attenuator, shutter" in written.err
    found["instruments"][0]["identity"] = "[bold]Maker[/nonsense]"
    _table(found)
    assert "[bold]Maker" in capsys.readouterr().err.replace("\n", "").replace(" ", "")
    show(check_bench(parse("")))
    assert "names no instrument" in capsys.readouterr().err
