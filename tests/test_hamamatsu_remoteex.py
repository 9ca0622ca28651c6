"""RemoteEx streak camera: the driver by bytes, on its simulator, over sockets, on broken lines."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pymeasure.adapters import Adapter
from pymeasure.test import expected_protocol

from instruments.clock import VirtualClock, WallClock
from instruments.drivers import remoteex_values as values
from instruments.drivers.hamamatsu_remoteex import RemoteExStreakCamera
from instruments.drivers.remoteex_link import Refused, parse
from instruments.errors import (
    BadReply,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import StreakCamera
from sim_drivers.devices.hamamatsu_remoteex import SimulatedRemoteEx
from sim_drivers.devices.remoteex_parameters import RemoteExError
from sim_drivers.streak_tube import Shot, StreakTube, TubeParameters
from tests.mangling import KINDS, Mangler, Step, plans

SMALL = {"columns": 64, "rows": 50}
SYNCHRO = (150.0, 400.0, 800.0, 1500.0, 2200.0)
ANALOG, COUNTING = StreakCamera.ANALOG, StreakCamera.COUNTING


class FakeWorld:
    """Light that decays in 1.5 ns after the pump, 20 nm wide at 515 nm."""

    seed = 1
    repetition_rate_Hz = 1000.0
    laser_on = True

    def __init__(self, electrons_per_s: float = 1e5, lifetime_ps: float = 1500.0) -> None:
        self.imperfections = SimpleNamespace(
            irf_fwhm_ps=50.0, jitter_ps=10.0, calibration_errors=False
        )
        self.electrons_per_s, self.lifetime_ps = electrons_per_s, lifetime_ps
        self.asked: list[tuple[float, float]] = []

    def streak_electrons(self, start_s: float, exposure_s: float, time: Any, wave: Any) -> Any:
        self.asked.append((start_s, exposure_s))
        gone = -np.expm1(-np.maximum(time, 0.0) / self.lifetime_ps)
        band = np.exp(-0.5 * ((0.5 * (wave[1:] + wave[:-1]) - 515.0) / 8.5) ** 2)
        shares = np.diff(gone)[:, None] * (band / max(band.sum(), 1e-30))[None, :]
        return shares * self.electrons_per_s * exposure_s * (1.0 if self.laser_on else 0.0)


def simulated(
    connect: bool = True, driver: dict[str, Any] | None = None, world: Any = None, **options: Any
) -> tuple[RemoteExStreakCamera, SimulatedRemoteEx, VirtualClock]:
    clock = VirtualClock(start=1.7e9)
    options = {**SMALL, "app_start_s": 20.0, **options}
    device = SimulatedRemoteEx(clock, world or FakeWorld(), seed=3, **options)
    link = device.link(RemoteExStreakCamera)
    extra = {"synchroscan_ps": options["synchroscan_ps"]} if "synchroscan_ps" in options else {}
    camera = RemoteExStreakCamera(link, clock, **extra, **(driver or {}))
    if connect:
        camera.connect()
    return camera, device, clock


def say(device: SimulatedRemoteEx, line: str, wait_s: float = 0.1) -> list[str]:
    """Talk to the simulator without the driver; return the lines that come."""
    device.receive(line.encode() + b"\r")
    device.clock.sleep(wait_s)
    return device.take().decode().split("\r")[:-1]


def talking(**options: Any) -> SimulatedRemoteEx:
    device = SimulatedRemoteEx(
        VirtualClock(start=1.7e9), FakeWorld(), seed=3, **{**SMALL, "started": True, **options}
    )
    return device


# ---- by bytes -----------------------------------------------------------------------------


class Blocks(Adapter):
    """A data socket that has just these blocks."""

    def __init__(self, *blocks: bytes) -> None:
        super().__init__()
        self.connection = SimpleNamespace(timeout=1000.0)
        self.blocks = deque(blocks)

    def _read_bytes(self, count: int, *_: Any, **__: Any) -> bytes:
        if count == 1 or not self.blocks:
            raise NoReply("nothing")
        block = self.blocks.popleft()
        assert len(block) == count
        return block

    def flush_read_buffer(self) -> None:
        """What is there is meant."""

    def close(self) -> None:
        """Nothing is open."""


def twice(command: str, *answer: str) -> list[tuple[Any, Any]]:
    name = command.partition("(")[0]
    return [(command, ",".join(["0", name, *answer]))] * 2


def put(place: str, name: str, text: str) -> list[tuple[Any, Any]]:
    family, _, location = place.partition(".")
    return [
        (f"{family}ParamSet({location},{name},{text})", f"0,{family}ParamSet"),
        *twice(f"{family}ParamGet({location},{name})", text),
    ]


DARK = [*put("Dev.TD", "MCP Gain", "0"), *put("Dev.TD", "Shutter", "Closed")]
LISTED = ("1200 us", "100 ms", "10 s")
GREETING = [
    *twice("Appinfo(type)", "HPDTA"),
    ("AppStart()", "0,AppStart"),
    *twice("AppLicenceGet()", "1", "1", "0", "0", "0", "0"),
    *twice("AcqStatus()", "idle", ""),
    *DARK,
    ("AcqStop(10000)", "0,AcqStop"),
    *twice("AcqStatus()", "idle", ""),
    *twice("DevParamsList(TD)", "5", "Time Range", "Mode", "MCP Gain", "Shutter", "Trigger status"),
    *twice("DevParamsList(Del)", "2", "Setting", "Delay A"),
    *twice("DevParamsList(Spec)", "1", "Wavelength"),
    *twice(
        "DevParamInfoEx(TD,Time Range)",
        *("-1", "-1", "Time Range", "1 ns", "2", "3", "1 ns", "2 ns", "10 ms"),
    ),
    *twice("DevParamInfoEx(TD,MCP Gain)", "1", "1", "MCP Gain", "0", "1", "0", "63"),
    *twice("DevParamInfoEx(Del,Delay A)", "1", "1", "Delay A", "0", "1", "-1", "1"),
    *twice("DevParamInfoEx(Spec,Wavelength)", "1", "1", "Wavelength", "520", "1", "0", "1400"),
    *twice("CamParamInfoEx(AI,Exposure)", "Exposure:", "100 ms", "4", "3", *LISTED),
    *twice("CamParamInfoEx(PC,Exposure)", "Exposure:", "50 ms", "4", "3", *LISTED),
    *twice("CamParamInfoEx(AI,NrExposures)", "# of exposures:", "10", "1", "1", "100000"),
    *twice("CamParamInfoEx(PC,NrExposures)", "# of exposures:", "10", "1", "1", "100000"),
    *twice("CamParamInfoEx(PC,Threshold)", "Threshold", "30", "1", "0", "65535"),
    *twice("DevParamGet(TD,DeviceName)", "C10910"),
    *twice("AppInfo(Version)", "9.5"),
    *(
        [
            ("CamParamGet(Setup,CameraInfo)", "0,CamParamGet,OrcaFlash 4.0 V3"),
            (None, "\nProduct number: C13440-20C"),
            (None, "\nSerial number: 301730"),
            (None, "4,Message,hello"),
        ]
        * 2
    ),
    ("AcqAcqMonitor(EndAcq)", "0,AcqAcqMonitor"),
    ("ImgParamSet(AcquireToSameWindow,1)", "0,ImgParamSet"),
    ("AcqParamSet(32BitInAI,1)", "0,AcqParamSet"),
    ("AcqParamSet(32BitInPC,1)", "2"),
]


def by_bytes(pairs: list[tuple[Any, Any]], *blocks: bytes) -> Any:
    def build(adapter: Any, **kwargs: Any) -> RemoteExStreakCamera:
        link = SimpleNamespace(command=adapter, data=Blocks(*blocks), close=lambda: None)
        return RemoteExStreakCamera(link, VirtualClock(), **kwargs)

    return expected_protocol(build, pairs)


def test_greeting_and_settings_by_bytes() -> None:
    pairs = [
        *GREETING,
        *twice("DevParamGet(TD,Time Range)", "1 ns"),
        *DARK,
        *put("Dev.TD", "Time Range", "10 ms"),
        *put("Dev.Del", "Delay A", "0.0000000025"),
        *twice("DevParamGet(Del,Delay A)", "0.0000000025"),
        *put("Dev.Spec", "Wavelength", "523.5"),
        *twice("DevParamGet(Spec,Wavelength)", "523.5"),
        ("CamParamSet(AI,Exposure,250 ms)", "0,CamParamSet"),
        *twice("CamParamGet(AI,Exposure)", "250 ms"),
        ("CamParamSet(PC,Exposure,250 ms)", "0,CamParamSet"),
        *twice("CamParamGet(PC,Exposure)", "250 ms"),
        *twice("CamParamGet(AI,Exposure)", "250 ms"),
        *put("Cam.PC", "Threshold", "35"),
        *twice("CamParamGet(PC,Threshold)", "35"),
        *DARK,
        *put("Dev.TD", "Mode", "Focus"),
    ]
    with by_bytes(pairs) as camera:
        camera.connect()
        assert str(camera.identity) == "Hamamatsu C10910 (serial 301730)"
        assert camera.identity.firmware == "9.5"
        assert camera.time_ranges_ps == (1e3, 2e3, 1e10)
        assert camera.limits["delay_ps"].low == 0.0
        assert camera.select_time_range(2001.0) == 1e10
        assert camera.set_delay_ps(2500.0) == pytest.approx(2500.0)
        assert camera.go_to(523.5) == 523.5
        assert camera.set_exposure_s(0.25) == 0.25
        assert camera.set_threshold(35) == 35
        camera.enter_focus()


def test_an_image_by_bytes() -> None:
    image = np.arange(12, dtype="<u2").reshape(3, 4)
    tables = [np.array(v, "<f4").tobytes() for v in ([0, 0.5, 1.0], [540, 530, 520, 510])]
    pairs = [
        *GREETING,
        *twice("DevParamGet(TD,Time Range)", "1 ns"),
        *twice("DevParamGet(Spec,Wavelength)", "520"),
        *put("Cam.AI", "NrExposures", "7"),
        *twice("CamParamGet(AI,Exposure)", "50 ms"),
        *twice("AcqStatus()", "idle"),
        *DARK,
        *put("Dev.TD", "Mode", "Operate"),
        *twice("DevParamGet(TD,Trigger status)", "Ready"),
        *put("Dev.TD", "Shutter", "Open"),
        *put("Dev.TD", "MCP Gain", "30"),
        ("AcqStart(AI)", "0,AcqStart"),
        (None, "5,Something to click away\r\n,6"),
        (None, "4,Acqmonitor,EndAcq"),
        *twice("AcqStatus()", "idle", ""),
        *DARK,
        ("ImgDataGet(current,Data)", "0,ImgDataGet,4,3,2,0"),
        *twice("ImgDataInfo(current,Size)", "0", "0", "4", "3", "2"),
        *twice("ImgDataGet(current,ScalingTable,Ver)", "3", "3"),
        *twice("ImgDataGet(current,ScalingTable,Hor)", "4", "3"),
    ]
    blocks = [image.tobytes(), tables[0], tables[0], tables[1], tables[1]]
    with by_bytes(pairs, *blocks) as camera:
        camera.connect()
        camera.set_mcp_gain(30)
        clock = camera.clock
        began = clock.now()
        original = camera._session.client.listen

        def listen(seconds: float) -> Any:
            clock.sleep(0.2)  # of an exposure of 0.35 s
            return original(seconds)

        camera._session.client.listen = listen
        found = camera.acquire(ANALOG, 7)
    assert found.counts.tolist() == image[:, ::-1].tolist()
    assert found.time_ps.tolist() == [0.0, 500.0, 1000.0]
    assert found.wavelength_nm.tolist() == [510.0, 520.0, 530.0, 540.0]
    assert (found.mode, found.exposures, found.mcp_gain) == (ANALOG, 7, 30)
    assert found.exposure_s == pytest.approx(0.05)
    assert not found.saturated
    assert began <= found.start_s < found.end_s


def test_lines_of_the_command_socket() -> None:
    reply = parse("0,CamParamGet,a\r\nb,c")
    assert reply is not None and reply.values == ("a\r\nb", "c")
    bare = parse("2")
    assert bare is not None and (bare.code, bare.name) == (2, "")
    for text in ("", "hello", "0", "0,", "11,AppStart", "99,x", "-1,x", "0AppStart"):
        assert parse(text) is None


@pytest.mark.parametrize("text", ["", "1e", "nan", "inf", "0x10", "1,2", "--1"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(BadReply):
        values.number(text)


def test_texts_of_time() -> None:
    assert values.time_range("5 ns") == (5000.0, "ns")
    assert values.time_range("0.5 ns") == (500.0, "ns")
    assert values.time_range("3") is None
    assert values.time_range("5 parsec") is None
    assert values.exposure_s("100ms") == pytest.approx(0.1)
    for seconds in (12e-6, 1.2e-3, 0.0375, 0.99949, 1.5, 3600.0):
        assert values.exposure_s(values.exposure_text(seconds)) == pytest.approx(seconds)
    assert values.plain(2.5e-9, 13) == "0.0000000025"
    assert values.plain(0.0, 13) == "0"
    assert values.plain(500.0, 0) == "500"


# ---- the simulator's grammar ------------------------------------------------------------------


def test_the_sheets_session() -> None:
    device = talking(started=False, rows=128, columns=512)
    assert say(device, "DevParamGet(TD,Mode)") == ["3,DevParamGet"]
    assert say(device, "AppStart()", 60.0) == ["0,AppStart"]
    assert say(device, "DevParamSet(TD,Mode,Operate)", 2.0) == ["0,DevParamSet"]
    assert say(device, "AcqAcqMonitor(EndAcq)") == ["0,AcqAcqMonitor"]
    assert say(device, "AcqStart(Acquire)", 1.0) == ["0,AcqStart", "4,Acqmonitor,EndAcq"]
    assert say(device, "ImgDataGet(current,Data)") == ["0,ImgDataGet,512,128,2,0"]
    assert len(device.data.take()) == 131072


def test_info_as_real_units_answer() -> None:
    device = talking()
    told = say(device, "DevParamInfoEx(TD,Time Range)")[0]
    assert told.startswith("0,DevParamInfoEx,1,1,Time Range,10 ns,2,22,1 ns,2 ns,5 ns,10 ns,")
    assert told.endswith(",5 ms,10 ms")
    told = say(talking(synchroscan_ps=SYNCHRO), "DevParamInfoEx(TD,Time Range)")[0]
    assert told == "0,DevParamInfoEx,1,1,Time Range,4,2,5,1,2,3,4,5"
    told = say(talking(unit="C10910"), "DevParamInfoEx(streak,time range)")[0]
    assert ",0.5 ns,1 ns," in told and told.endswith(",1 ms")
    assert say(device, "CamParamInfo(PC,Threshold)") == ["0,CamParamInfo,Threshold,30,1,0,65535"]
    assert say(device, "devparamslist(Del)")[0].startswith("0,devparamslist,13,Setting,")
    info = say(device, "CamParamGet(Setup,CameraInfo)")
    assert "".join(info).count("\n") == 4 and "Serial number: 301730" in "".join(info)
    assert say(device, "MainParamGet(TimeRange)") == ["0,MainParamGet,10 ns"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("Nonsense()", "2,Nonsense"),
        ("AcqStatus", "1,AcqStatus"),
        ("%%%", "1,"),
        ("DevParamGet(TD)", "6,DevParamGet"),
        ("DevParamGet()", "6,DevParamGet"),
        ("DevParamGet(Nowhere,Mode)", "2,DevParamGet"),
        ("DevParamGet(TD,Nothing)", "2,DevParamGet"),
        ("DevParamSet(TD,Time Range,5ns)", "10,DevParamSet"),
        ("DevParamSet(TD,MCP Gain,64)", "10,DevParamSet"),
        ("DevParamSet(TD,MCP Gain,nan)", "10,DevParamSet"),
        ("DevParamSet(TD,Trigger status,Ready)", "7,DevParamSet"),
        ("CamParamSet(AI,Exposure,1 year)", "10,CamParamSet"),
        ("AcqStart(Film)", "10,AcqStart"),
        ("ImgDataGet(current,Data)", "7,ImgDataGet,no image"),
        ("ImgDataGet(current)", "6,ImgDataGet"),
        (
            "ImgRingBufferGet(Data,1)",
            "8,ImgRingBufferGet,sequence number too high: current max = 0",
        ),
        ("ImgSave(Current,IMG,C:\\Windows\\x.img,1)", "7,ImgSave,no image"),
        ("AcqStop(0)", "10,AcqStop"),
        ("AsyncCommandStatus()", "0,AsyncCommandStatus,0,0,0"),
        ("SeqStatus()", "0,SeqStatus,idle"),
        ("AppStart(1,x.ini)", "0,AppStart,parameters ignored"),
    ],
)
def test_errors_as_codes(line: str, answer: str) -> None:
    assert say(talking(), line) == [answer]


def test_an_unknown_command_may_be_nameless() -> None:
    assert say(talking(unknown_named=False), "Nonsense()") == ["2"]
    camera, _, _ = simulated(unknown_named=False)
    with pytest.raises(Refused, match="code 2"):
        camera._session.call("Nonsense")


def test_live_mode_and_its_ring_buffer() -> None:
    device = talking()
    say(device, "AcqLiveMonitor(RingBuffer,3)")
    lines = say(device, "AcqStart(Live)", 0.55)
    assert lines == ["0,AcqStart", *(f"4,Livemonitor,RingBuffer,{n}" for n in range(1, 6))]
    assert say(device, "AcqStart(AI)", 0.0) == []
    assert say(device, "AcqStatus()", 0.01)[:2] == ["7,AcqStart", "0,AcqStatus,busy,Live"]
    old = say(device, "ImgRingBufferGet(Data,1)", 0.02)[0].split(",")
    assert old[:6] == ["0", "ImgRingBufferGet", "64", "50", "2", "0"]
    assert int(old[6]) >= 3  # the oldest there still is
    first = device.data.take()
    same = say(device, f"ImgRingBufferGet(Data,{old[6]})", 0.01)[0].split(",")
    assert same[6] == old[6] and device.data.take() == first
    refused = say(device, "ImgRingBufferGet(Data,999)", 0.01)[-1]
    assert refused.startswith("8,ImgRingBufferGet,") and "current max = " in refused
    assert "0,AcqStop" in say(device, "AcqStop(1000)", 0.5)
    assert say(device, "AcqStatus()") == ["0,AcqStatus,idle"]


def test_stopping_takes_to_the_end_of_the_frame() -> None:
    device = talking()
    say(device, "CamParamSet(Acquire,Exposure,2 s)")
    say(device, "AcqStart(Acquire)")
    assert say(device, "AcqStop(500)", 0.6) == ["7,AcqStop,timeout"]
    assert say(device, "AcqStop(5000)", 3.0) == ["0,AcqStop"]


def test_profiles_and_other_views_of_an_image() -> None:
    device = talking()
    say(device, "AcqStart(Acquire)", 1.0)
    device.data.take()
    say(device, "ImgDataGet(current,Data)")
    image = np.frombuffer(device.data.take(), "<u2").reshape(50, 64)
    assert say(device, "ImgDataGet(current,Profile,2,0,0,64,50)") == ["0,ImgDataGet,64,2"]
    assert np.allclose(np.frombuffer(device.data.take(), "<f4"), image.sum(axis=0))
    say(device, "ImgDataGet(0,Profile,3,0,10,64,5)")
    assert np.allclose(np.frombuffer(device.data.take(), "<f4"), image[10:15].sum(axis=1))
    assert say(device, "ImgDataGet(current,Display)") == ["0,ImgDataGet,64,50,1,1"]
    assert len(device.data.take()) == 3200
    assert say(device, "ImgDataGet(current,Profile,2,0,0,65,50)") == ["10,ImgDataGet"]
    assert say(device, "ImgDelete(current)") == ["0,ImgDelete"]
    assert say(device, "ImgIndexGet()") == ["0,ImgIndexGet,-1"]


def test_files_stay_in_their_folder(tmp_path: Any) -> None:
    device = talking(folder=tmp_path / "images")
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.img").write_bytes(b"x")
    say(device, "AcqStart(Acquire)", 1.0)
    for name in ("../secret.img", "..\\secret.img", "/etc/passwd", "C:\\x.img", "a/b.img", ".."):
        assert say(device, f"ImgSave(Current,IMG,{name},1)", 1.0)[0].startswith("8,ImgSave")
        assert say(device, f"ImgLoad(IMG,{name})", 1.0)[0].startswith("8,ImgLoad")
        assert say(device, f"ImgDataDump(current,Data,{name})", 1.0)[0].startswith("8,ImgDataDump")
    assert (tmp_path / "secret.img").read_bytes() == b"x"
    assert say(device, "ImgSave(Current,IMG,a.img,0)", 1.0) == ["0,ImgSave"]
    assert say(device, "ImgSave(Current,IMG,a.img,0)", 1.0) == ["8,ImgSave,the file exists"]
    say(device, "ImgDataGet(current,Data)")
    before = device.data.take()
    say(device, "ImgDelete(All)")
    assert say(device, "ImgLoad(IMG,a.img)", 1.0) == ["0,ImgLoad"]
    say(device, "ImgDataGet(current,Data)")
    assert device.data.take() == before
    say(device, "ImgDataGet(current,ScalingTable,Vertical)")
    assert np.frombuffer(device.data.take(), "<f4")[-1] == pytest.approx(9.9, abs=0.1)
    assert say(talking(), "AcqStart(Acquire)", 1.0)


# ---- the tube ----------------------------------------------------------------------------------


def flash(**wrong: float) -> FakeWorld:
    """A pump pulse: everything at time zero."""
    world = FakeWorld(electrons_per_s=3e7, lifetime_ps=1e-3)
    vars(world.imperfections).update(wrong)
    return world


def widths(camera: RemoteExStreakCamera, exposures: int = 1) -> tuple[float, float]:
    """Return mean and FWHM (ps) of a flash."""
    image = camera.acquire(ANALOG, exposures)
    light = image.counts.astype(float).sum(axis=1)
    light -= np.median(light)
    light[light < 0.02 * light.max()] = 0.0
    mean = float((light * image.time_ps).sum() / light.sum())
    spread = float((light * (image.time_ps - mean) ** 2).sum() / light.sum())
    return mean, 2.355 * spread**0.5


@pytest.mark.parametrize(("sweep_ps", "irf_ps"), [(1000.0, 50.0), (10000.0, 120.0), (1e5, 500.0)])
def test_the_response_is_the_worlds_or_the_slits(sweep_ps: float, irf_ps: float) -> None:
    world = flash(irf_fwhm_ps=irf_ps if sweep_ps < 5e4 else 50.0, jitter_ps=0.0)
    camera, _, _ = simulated(world=world, rows=508, columns=64)
    camera.select_time_range(sweep_ps)
    camera.set_mcp_gain(20)
    mean, fwhm = widths(camera)
    assert fwhm == pytest.approx(irf_ps, rel=0.12)
    assert mean == pytest.approx(0.1 * sweep_ps, abs=0.03 * irf_ps + 2e-4 * sweep_ps)


def test_delay_moves_the_light_by_the_table() -> None:
    """The scaling table tells the sweep's true times, though it is not linear."""
    camera, _, _ = simulated(world=flash(jitter_ps=0.0), rows=508)
    camera.select_time_range(1000.0)
    camera.set_mcp_gain(20)
    at_zero, _ = widths(camera)
    camera.set_delay_ps(30.0)
    later, _ = widths(camera)
    assert at_zero - later == pytest.approx(30.0, abs=0.5)
    assert np.ptp(np.diff(camera.acquire().time_ps)) > 0.01


def test_jitter_moves_single_shots_and_blurs_many() -> None:
    world = flash(irf_fwhm_ps=20.0, jitter_ps=30.0)
    world.repetition_rate_Hz = 10.0
    world.electrons_per_s = 3e6
    camera, _, _ = simulated(world=world, rows=254)
    camera.select_time_range(1000.0)
    camera.set_mcp_gain(20)
    camera.set_exposure_s(0.1)
    singles = [widths(camera) for _ in range(40)]
    assert np.std([mean for mean, _ in singles]) == pytest.approx(30.0, rel=0.35)
    assert np.median([fwhm for _, fwhm in singles]) == pytest.approx(20.0, rel=0.2)
    world.repetition_rate_Hz = 1e4
    many = [widths(camera) for _ in range(5)]
    assert np.std([mean for mean, _ in many]) < 3.0
    assert np.median([fwhm for _, fwhm in many]) == pytest.approx(73.4, rel=0.12)


def test_gain_is_exponential_and_noise_is_that_of_electrons() -> None:
    world = FakeWorld(electrons_per_s=2e5)
    camera, device, _ = simulated(world=world)
    sums = []
    for gain in (30, 40):
        camera.set_mcp_gain(gain)
        image = camera.acquire(ANALOG, 10)
        sums.append(float(image.counts.sum()) - 10 * 100.0 * image.counts.size)
    assert sums[1] / sums[0] == pytest.approx(np.exp(1.3), rel=0.02)
    per_electron = device.tube.electron_counts(40)
    totals = []
    for _ in range(40):
        counts = camera.acquire(ANALOG, 1).counts
        totals.append(float(counts.sum()) - 100.0 * counts.size)
    electrons = np.mean(totals) / per_electron
    assert electrons == pytest.approx(2e4 * 0.94, rel=0.1)
    # Pulse heights (shape 1.5) add two thirds to the variance of Poisson.
    assert np.std(totals) / np.mean(totals) == pytest.approx((5 / 3 / electrons) ** 0.5, rel=0.35)


def test_counting_is_linear_until_blobs_meet() -> None:
    found = {}
    for rate in (10.0, 100.0, 3e6):
        camera, _, _ = simulated(world=FakeWorld(electrons_per_s=rate))
        camera.set_mcp_gain(63)
        camera.set_exposure_s(0.05)
        image = camera.acquire(COUNTING, 4000)
        found[rate] = float(image.counts.sum())
        assert image.counts.max() <= 4000
        assert image.saturated == (rate > 1e6)
    dark = 2e-3 * 200.0 * 64 * 50
    low, mid = (found[rate] - 0.9 * dark for rate in (10.0, 100.0))
    assert 0.5 * 10 * 200 < low < 10 * 200
    assert mid / low == pytest.approx(10.0, rel=0.1)
    assert found[3e6] < 0.01 * 3e5 * low


def test_a_threshold_takes_away_counts() -> None:
    camera, _, _ = simulated(world=FakeWorld(electrons_per_s=3000.0))
    camera.set_mcp_gain(63)
    sums = []
    for threshold in (20, 200, 20000):
        camera.set_threshold(threshold)
        sums.append(float(camera.acquire(COUNTING, 100).counts.sum()))
    assert sums[0] > 1.3 * sums[1] > 100 and sums[2] == 0.0


def test_noise_belongs_to_the_exposure() -> None:
    camera, device, _ = simulated()
    camera.set_mcp_gain(40)
    camera.acquire(ANALOG, 3)
    kept = device.state()
    second = camera.acquire(ANALOG, 3)
    third = camera.acquire(ANALOG, 3)
    assert not np.array_equal(second.counts, third.counts)
    other, fresh, _ = simulated()
    fresh.restore(kept)
    other.set_mcp_gain(40)
    assert np.array_equal(other.acquire(ANALOG, 3).counts, second.counts)
    assert fresh.state() == {"exposures": 6.0}


def test_an_image_takes_little_time() -> None:
    camera, device, _ = simulated(rows=508, columns=640)
    camera.set_mcp_gain(40)
    camera.acquire(ANALOG, 10)
    shot = dataclasses.replace(device.units.shot("ai", 10, 0.0, 0), open=True)
    assert shot.swept
    best = []
    for render in (device.tube.analog, lambda s: device.tube.counting(s, 30.0)):
        took = []
        for _ in range(5):
            began = time.process_time()
            render(shot)
            took.append(time.process_time() - began)
        best.append(min(took))
    assert max(best) < 0.05


def shot_of(**changed: Any) -> Shot:
    """An exposure of a tube that is told nothing by a program: 10 ns, a row is 20 ps."""
    usual = {"sweep_ps": 1e4, "delay_ps": 0.0, "centre_nm": 515.0, "nm_per_px": 0.5, "gain": 0}
    more = {"swept": True, "open": True, "frames": 1000, "exposure_s": 1e-3, "start_s": 0.0}
    return Shot(**{**usual, **more, "number": 0, **changed})


def bare_tube(world: Any, **changed: Any) -> StreakTube:
    """A tube of 508 rows without dark counts and read-out noise."""
    quiet = {"dark_electrons_per_s": 0.0, "read_noise_counts": 0.0, "columns": 16}
    return StreakTube(world, 3, TubeParameters(**{**quiet, **changed}))


@pytest.mark.parametrize("lifetime_ps", [1e-3, 15.0, 100.0])
@pytest.mark.parametrize("blob_px", [0.0, 2.3])
def test_light_arrives_when_it_came_wherever_in_a_row(lifetime_ps: float, blob_px: float) -> None:
    """Not at the centres of the rows, whether the response is before or at the read-out."""
    world = FakeWorld(electrons_per_s=3e7, lifetime_ps=lifetime_ps)
    world.imperfections.jitter_ps = 0.0
    tube = bare_tube(world)
    time_ps = tube.time_table_ps(1e4)
    late = []
    for delay_ps in np.linspace(0.0, 20.0, 11):
        light = tube._expected(shot_of(delay_ps=delay_ps), blob_px).sum(axis=1)
        assert light.sum() == pytest.approx(3e7, rel=1e-4)
        mean = float((light * time_ps).sum() / light.sum())
        late.append(mean - (1000.0 - delay_ps + lifetime_ps))
    assert np.abs(late).max() < 0.2


def test_an_image_shows_a_pulse_when_it_came() -> None:
    tube = bare_tube(flash(jitter_ps=0.0), offset_counts=0.0)
    time_ps = tube.time_table_ps(1e4)
    for number, delay_ps in enumerate(np.linspace(0.0, 20.0, 6)):
        light = tube.analog(shot_of(delay_ps=delay_ps, number=number)).sum(axis=1).astype(float)
        mean = float((light * time_ps).sum() / light.sum())
        assert mean == pytest.approx(1000.0 - delay_ps, abs=0.2)


def test_edges_of_an_image_are_as_bright_as_its_middle() -> None:
    """Photo-electrons beyond an edge light it as much as those within light what is beyond."""

    class Lamp(FakeWorld):
        def streak_electrons(self, start_s: float, exposure_s: float, time: Any, wave: Any) -> Any:
            return 2e3 * np.multiply.outer(np.diff(time) / 20.0, np.diff(wave) / 0.5)

    tube = bare_tube(Lamp(), columns=400, nonlinearity=0.0, offset_counts=0.0)
    image = tube.analog(shot_of(nm_per_px=0.01)).astype(float)
    middle = image[50:-50, 50:-50].mean()
    for edge in (image[0], image[-1], image[1], image[-2]):
        assert edge.mean() == pytest.approx(middle, rel=0.03)
    for edge in (image[:, 0], image[:, -1], image[:, 1], image[:, -2]):
        assert edge.mean() == pytest.approx(middle, rel=0.03)
    counted = tube._expected(shot_of(nm_per_px=0.01), 0.0)
    assert counted[0].sum() == pytest.approx(counted[250].sum(), rel=1e-3)
    assert counted[-1].sum() == pytest.approx(counted[250].sum(), rel=1e-3)


def test_what_would_destroy_the_tube_is_noted() -> None:
    camera, device, _clock = simulated(world=FakeWorld(electrons_per_s=1e9))
    camera.set_mcp_gain(0)
    camera.acquire()
    assert device.tube.damage == []
    camera.set_mcp_gain(60)
    camera.acquire()
    assert "electrons a shot" in device.tube.damage[0]
    device.tube.damage.clear()
    for line in ("Mode,Focus", "Shutter,Open", "MCP Gain,5"):
        say(device, f"DevParamSet(TD,{line})", 2.0)
    say(device, "AcqStart(Acquire)", 1.0)
    assert any("focus" in text for text in device.tube.damage)


# ---- the driver on its simulator --------------------------------------------------------------

READINGS: list[dict[str, Any]] = [
    {},
    {"unknown_named": False, "idle_comma": True},
    {"inclusive_size": True, "size_in_bits": True},
    {"free_exposures": False, "busy_code": 7},
    {"busy_code": 3, "warns": True, "bits_32": True},
    {"falling_time": True, "falling_wavelength": True},
    {"synchroscan_ps": SYNCHRO},
    {"synchroscan_ps": SYNCHRO, "falling_time": True, "warns": True},
    {"unit": "C10910", "started": True},
]


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_every_reading_gives_the_same_image(reading: dict[str, Any]) -> None:
    camera, device, _ = simulated(world=FakeWorld(electrons_per_s=3e5), **reading)
    synchro = "synchroscan_ps" in reading
    assert camera.select_time_range(1400.0) == (1500.0 if synchro else 2000.0)
    assert camera.go_to(512.0) == 512.0
    assert camera.set_exposure_s(0.1) == pytest.approx(0.1)
    assert camera.set_delay_ps(100.0) == pytest.approx(100.0)
    camera.set_mcp_gain(40)
    image = camera.acquire(ANALOG, 5)
    assert (np.diff(image.time_ps) > 0).all() and (np.diff(image.wavelength_nm) > 0).all()
    assert image.counts.shape == (len(image.time_ps), len(image.wavelength_nm)) == (50, 64)
    light = image.counts - 500.0
    peak = image.wavelength_nm[np.argmax(light.sum(axis=0))]
    assert peak == pytest.approx(515.0, abs=2.0)
    rise = image.time_ps[np.argmax(light.sum(axis=1) > 0.3 * light.sum(axis=1).max())]
    arrives = 0.1 * camera.time_range_ps - 100.0
    assert rise == pytest.approx(arrives, abs=80.0)
    later = light[image.time_ps > arrives + 200.0].sum(axis=1)
    assert later[0] > later[-1]
    assert device.units.dark and not device.tube.damage


def test_exposures_between_those_listed_are_the_cameras_choice() -> None:
    camera, _, _ = simulated(free_exposures=False)
    assert camera.set_exposure_s(0.13) == pytest.approx(0.1)
    camera, _, _ = simulated()
    assert camera.set_exposure_s(0.13) == pytest.approx(0.13)


def test_limits_before_anything_moves() -> None:
    camera, device, _ = simulated()
    before = len(device.commands)
    for call, value in (
        (camera.select_time_range, 1e11),
        (camera.select_time_range, float("nan")),
        (camera.set_delay_ps, -1.0),
        (camera.go_to, 2000.0),
        (camera.set_mcp_gain, 64),
        (camera.set_mcp_gain, -1),
        (camera.set_exposure_s, 100.0),
        (camera.set_threshold, 1e6),
    ):
        with pytest.raises(LimitError):
            call(value)  # type: ignore[arg-type]
    for mode, exposures in (("photo", 1), (ANALOG, 0), (ANALOG, 10**6), (ANALOG, 1.5)):
        with pytest.raises(LimitError):
            camera.acquire(mode, exposures)  # type: ignore[arg-type]
    assert len(device.commands) == before
    camera, _, _ = simulated(driver={"gain_limit": 40})
    with pytest.raises(LimitError, match="0 to 40"):
        camera.set_mcp_gain(41)


def test_saturation_is_flagged() -> None:
    camera, device, _ = simulated(world=FakeWorld(electrons_per_s=1e6))
    camera.set_mcp_gain(30)
    assert not camera.acquire(ANALOG, 1).saturated
    device.fault("saturate", True)
    for exposures in (1, 4):
        image = camera.acquire(ANALOG, exposures)
        assert image.saturated and image.counts.max() == 65535.0 * exposures
    camera.set_mcp_gain(63)
    assert camera.acquire(COUNTING, 20).saturated
    device.fault("saturate", False)
    camera.set_mcp_gain(30)
    assert not camera.acquire(ANALOG, 4).saturated


def test_sums_beyond_16_bits_are_flagged_where_the_program_has_no_more() -> None:
    camera, device, _ = simulated(world=FakeWorld(electrons_per_s=3e6))
    device.units.groups["acq"][""].find("32BitInAI").value = "0"
    camera.set_mcp_gain(30)
    image = camera.acquire(ANALOG, 700)
    assert image.counts.max() == 65535.0 and image.saturated


def test_status_snapshot_and_identity() -> None:
    camera, device, _ = simulated(driver={"threshold": 44})
    assert camera.status().ok and "shutter closed" in camera.status().text
    found = camera.snapshot()
    assert found["threshold"].value == 44 and found["time_range_ps"].unit == "ps"
    assert found["grating"].value == "1: 150 g/mm"
    device.units.find("td", "Shutter").value = "Open"
    assert not camera.status().ok
    camera.make_safe()
    assert camera.status().ok
    assert camera.identity.serial == "301730" and camera.identity.model == "C10627"
    with pytest.raises(AttributeError):
        camera.mcp_gian = 3


def test_without_a_spectrograph() -> None:
    camera, _, _ = simulated(spectrograph=False)
    assert "wavelength_nm" not in camera.limits
    with pytest.raises(NotReady, match="spectrograph"):
        camera.go_to(500.0)
    assert camera.acquire().wavelength_nm.mean() == pytest.approx(520.0, abs=1.0)


def test_a_tables_unit_that_cannot_be_is_refused() -> None:
    camera, device, _ = simulated()
    device.tube.time_table_ps = lambda sweep: np.linspace(0, 1e-3 * sweep, 50)  # type: ignore
    with pytest.raises(BadReply, match="time table spans"):
        camera.acquire()
    camera, device, _ = simulated()
    device.tube.wavelength_table_nm = lambda *_: np.arange(64.0) + 1  # type: ignore
    with pytest.raises(NotReady, match="no wavelength axis"):
        camera.acquire()


def test_connecting_to_what_is_not_there_or_not_right() -> None:
    for options, error, match in (
        ({"app": "HiPic"}, WrongIdentity, "HiPic"),
        ({"licence": False}, NotReady, "dongle"),
        ({"missing_device": "C16910"}, DeviceFault, "C16910"),
    ):
        camera, _, _ = simulated(connect=False, **options)
        with pytest.raises(error, match=match):
            camera.connect()
    camera, device, _ = simulated(connect=False)
    device.fault("identity", True)
    with pytest.raises(WrongIdentity):
        camera.connect()
    clock = VirtualClock()
    device = SimulatedRemoteEx(clock, FakeWorld(), synchroscan_ps=SYNCHRO)
    camera = RemoteExStreakCamera(device.link(RemoteExStreakCamera), clock)
    with pytest.raises(NotReady, match="synchroscan_ps"):
        camera.connect()


@pytest.mark.parametrize(
    ("answer", "error"),
    [(b"", NoReply), (b"ERROR 3\r", WrongIdentity), (b"\xff\xfe\r", WrongIdentity)],
)
def test_connecting_to_something_else(answer: bytes, error: type[Exception]) -> None:
    camera, device, clock = simulated(connect=False)
    device.receive = lambda data: device.send(answer) if answer else None  # type: ignore
    began = clock.now()
    with pytest.raises(error):
        camera.connect()
    assert clock.now() - began < 10.0


def test_not_connected() -> None:
    camera, device, _ = simulated(connect=False)
    for ask in ("identity", "limits", "time_range_ps", "exposure_s", "delay_ps"):
        with pytest.raises(NotReady):
            getattr(camera, ask)
    for call in (camera.acquire, camera.status, camera.snapshot, camera.enter_focus):
        with pytest.raises(NotReady):
            call()
    camera.make_safe()
    camera.close()
    camera.close()
    assert device.commands == []


def test_a_restarted_program_is_brought_back() -> None:
    camera, device, _ = simulated()
    camera.select_time_range(2000.0)
    camera.go_to(530.0)
    camera.set_mcp_gain(33)
    device.fault("restart", True)
    device.units.find("td", "Time Range").value = "1 ms"
    device.units.find("spec", "Wavelength").value = "700"
    with pytest.raises(InstrumentError):
        camera.acquire()
    camera.recover()
    image = camera.acquire()
    assert image.mcp_gain == 33 and np.ptp(image.time_ps) == pytest.approx(2000.0, rel=0.05)
    assert camera.centre_wavelength_nm == 530.0


# ---- light and dark ---------------------------------------------------------------------------


def watched(device: SimulatedRemoteEx) -> list[str]:
    """Note every state of the tube in which it is endangered."""
    wrong: list[str] = []
    inner = device._answer

    def answer(name: str, args: list[str]) -> Any:
        found = inner(name, args)
        units = device.units
        gain = int(units.find("td", "MCP Gain").now)
        if gain and units.find("td", "Mode").now != "Operate":
            wrong.append(f"gain {gain} in Focus after {name}{args}")
        if name == "devparamset" and args[1] == "Time Range" and not units.dark:
            wrong.append("range changed in the light")
        return found

    device._answer = answer  # type: ignore[method-assign]
    return wrong


def acquisition_length() -> int:
    camera, device, _ = simulated()
    camera.set_mcp_gain(30)
    before = len(device.commands)
    camera.acquire(ANALOG, 2)
    return len(device.commands) - before


LENGTH = acquisition_length()


def test_the_order_of_an_acquisition() -> None:
    camera, device, _ = simulated()
    wrong = watched(device)
    camera.set_mcp_gain(30)
    del device.commands[:]
    camera.acquire(ANALOG, 2)
    sent = [line for line in device.commands if "Set(TD" in line or line.startswith("Acq")]
    order = [sent.index(f"DevParamSet(TD,{what})") for what in
             ("Mode,Operate", "Shutter,Open", "MCP Gain,30")]  # fmt: skip
    assert order == sorted(order) and order[-1] < sent.index("AcqStart(AI)")
    assert device.commands.index("DevParamGet(TD,Trigger status)") < device.commands.index(
        "DevParamSet(TD,MCP Gain,30)"
    )
    assert sent[-2:] == ["DevParamSet(TD,MCP Gain,0)", "DevParamSet(TD,Shutter,Closed)"]
    camera.enter_focus()
    assert not wrong and device.units.find("td", "Mode").now == "Focus"


@pytest.mark.parametrize(
    ("what", "busy_code"), [("interrupt", 7), ("refuse", 0), ("lose", 7), ("crash", 0)]
)
def test_dark_whatever_fails_and_when(what: str, busy_code: int) -> None:
    """One failure at each single command of an acquisition: the tube is dark afterwards."""
    failures = 0
    for at in range(LENGTH):
        camera, device, clock = simulated(busy_code=busy_code, rows=8, columns=8, started=True)
        wrong = watched(device)
        camera.set_mcp_gain(30)
        inner, left = device._answer, [at]

        def answer(name: str, args: list[str], inner: Any = inner, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] == -1:
                if what == "interrupt":
                    raise KeyboardInterrupt
                if what == "crash":
                    raise ZeroDivisionError
                if what == "refuse":
                    raise RemoteExError(8, "no")
                return [], 30.0
            return inner(name, args)

        device._answer = answer  # type: ignore[method-assign]
        try:
            image = camera.acquire(ANALOG, 2)
        except (InstrumentError, KeyboardInterrupt, ZeroDivisionError) as error:
            failures += 1
            assert what != "interrupt" or isinstance(error, KeyboardInterrupt)
        else:
            assert image.counts.shape == (8, 8) and image.counts.min() > 100
        assert device.units.dark, (what, at, device.commands[-12:])
        assert not wrong
        clock.sleep(100.0)
        device._answer = inner  # type: ignore[method-assign]
        assert camera.acquire(ANALOG, 2).counts.shape == (8, 8)
    assert failures > (0 if what == "lose" else LENGTH // 2)


def test_a_tube_that_stays_lit_is_reported() -> None:
    camera, device, _ = simulated()
    camera.set_mcp_gain(30)
    gain = device.units.find("td", "MCP Gain")
    gain.changed = lambda text: setattr(gain, "value", "30")
    with pytest.raises(DeviceFault, match="by hand"):
        camera.acquire()
    assert device.units.find("td", "Shutter").now == "Closed"
    with pytest.raises(DeviceFault, match="by hand"):
        camera.make_safe()
    camera.close()


def test_no_trigger_no_gain() -> None:
    camera, device, _ = simulated(synchroscan_ps=SYNCHRO)
    camera.set_mcp_gain(30)
    device.world.laser_on = False
    with pytest.raises(NotReady, match="laser"):
        camera.acquire()
    assert "DevParamSet(TD,MCP Gain,30)" not in device.commands and device.units.dark
    camera, device, _ = simulated()
    camera.set_mcp_gain(30)
    device.units.find("td", "Trigger status").read = lambda: "Error"
    with pytest.raises(NotReady, match="trigger"):
        camera.acquire()
    assert "DevParamSet(TD,MCP Gain,30)" not in device.commands


def test_somebody_elses_acquisition() -> None:
    """A live picture on the program's screen is stopped; one that we did not start is no image."""
    camera, device, _ = simulated()
    say(device, "AcqStart(Live)")
    camera.acquire(ANALOG, 6)
    inner = device._answer

    def answer(name: str, args: list[str]) -> Any:
        return ([], 0.0) if name == "acqstart" else inner(name, args)

    device._answer = answer  # type: ignore[method-assign]
    for exposures in (1, 20):
        with pytest.raises(DeviceFault, match=r"beg[ai]n"):
            camera.acquire(ANALOG, exposures)
    assert device.units.dark


def test_a_camera_that_never_ends_is_reported() -> None:
    camera, device, _clock = simulated()
    inner = device._answer

    def answer(name: str, args: list[str]) -> Any:
        found = inner(name, args)
        if name == "acqstart":
            running = device.acquirer.running
            assert running is not None
            running.shot = dataclasses.replace(running.shot, frames=10**6)
        return found

    device._answer = answer  # type: ignore[method-assign]
    with pytest.raises(NoReply, match="not over"):
        camera.acquire(ANALOG, 3)
    assert device.units.dark


@pytest.mark.parametrize("when_s", [0.01, 0.5, 1.5, 2.5, 6.0])
def test_abort_from_the_watch(when_s: float) -> None:
    """The interlock's call comes in line, in the middle of anything."""
    camera, device, clock = simulated(warns=True)
    camera.set_mcp_gain(30)
    done: list[float] = []

    def watch() -> None:
        if not done:
            camera.abort()
            done.append(clock.now())
            del device.commands[:]

    ticket = clock.every(when_s, watch)
    with pytest.raises(InstrumentError):
        camera.acquire(ANALOG, 100)
    ticket.cancel()
    assert device.units.dark and clock.now() - done[0] < 5.0
    for line in device.commands:  # no light after an abort
        assert "Shutter,Open" not in line and "MCP Gain,30" not in line and "AcqStart" not in line
    assert camera.acquire(ANALOG, 1).exposures == 1


# ---- broken lines ---------------------------------------------------------------------------


STRAYS = (
    *(b"4,Acqmonitor,EndAcq\r", b"4,Livemonitor,RingBuffer,7\r", b"\r", b"hello\r"),
    *(b"5,Warning\r\nBe careful!,6\r", b"0,DevParamGet,Open\r", b"0,ImgDataGet,9,9,2,0\r"),
)
BadLine = partial(Mangler, lines=False, strays=STRAYS, late_s=0.5, later_s=1.0)
HARMS = [kind for kind in KINDS if kind != "flip"]
BLOCK_HARMS = ["cut", "behead", "shorten", "double", "stray", "late", "lost"]


def prepared() -> tuple[RemoteExStreakCamera, SimulatedRemoteEx, VirtualClock]:
    camera, device, clock = simulated(rows=10, columns=12, started=True)
    camera.set_mcp_gain(30)
    return camera, device, clock


TRUTH = prepared()[0].acquire(ANALOG, 4)


@settings(max_examples=40, deadline=None)
@given(damage=plans(HARMS, 10, 60))
def test_broken_lines_never_make_a_wrong_image(damage: list[Step]) -> None:
    camera, device, clock = prepared()
    camera._link.command.device = BadLine(device, damage)
    camera._link.command.device.wire = camera._link.command.device
    try:
        image = camera.acquire(ANALOG, 4)
    except InstrumentError:
        pass
    else:
        assert image.exposures == 4 and image.mcp_gain == 30
        assert np.array_equal(image.time_ps, TRUTH.time_ps)
        assert np.array_equal(image.wavelength_nm, TRUTH.wavelength_nm)
        assert image.counts.shape == TRUTH.counts.shape
        assert image.counts.sum() == pytest.approx(TRUTH.counts.sum(), rel=0.2)
        if device.acquirer.exposures == 4:
            assert np.array_equal(image.counts, TRUTH.counts)
    clock.sleep(60.0)
    camera._link.command.device = device
    device.take()
    camera.make_safe()
    assert device.units.dark
    assert camera.acquire(ANALOG, 2).exposures == 2


@settings(max_examples=40, deadline=None)
@given(damage=plans(BLOCK_HARMS, 6, 3))
def test_broken_blocks_never_make_a_wrong_image(damage: list[Step]) -> None:
    camera, device, _clock = prepared()
    camera._link.data.device = BadLine(device.data, damage)
    camera._link.data.device.wire = camera._link.data.device
    hits = sum(kind is not None for kind in damage)
    try:
        image = camera.acquire(ANALOG, 4)
    except InstrumentError:
        assert hits > 1
    else:
        assert np.array_equal(image.counts, TRUTH.counts)
        assert np.array_equal(image.time_ps, TRUTH.time_ps)
    assert device.units.dark


@settings(max_examples=40, deadline=None)
@given(damage=plans(HARMS, 10, 2))
def test_broken_lines_never_make_a_wrong_number(damage: list[Step]) -> None:
    camera, device, _clock = prepared()
    link = camera._link.command
    link.device = BadLine(device, damage)
    link.device.wire = link.device
    for ask, truth in (
        (lambda: camera.set_delay_ps(250.0), 250.0),
        (lambda: camera.set_exposure_s(0.2), 0.2),  # of the list that is tried after a refusal
        (lambda: camera.go_to(530.0), 530.0),
        (lambda: camera.select_time_range(2000.0), 2000.0),
        (lambda: camera.threshold, 30),
    ):
        try:
            found = ask()
        except InstrumentError:
            continue
        assert found == pytest.approx(truth)


@settings(max_examples=40, deadline=None)
@given(damage=plans(HARMS, 12, 60))
def test_broken_lines_never_make_a_wrong_unit(damage: list[Step]) -> None:
    camera, device, _ = simulated(connect=False, started=True)
    camera._link.command.device = BadLine(device, damage)
    camera._link.command.device.wire = camera._link.command.device
    try:
        camera.connect()
    except InstrumentError:
        return
    assert len(camera.time_ranges_ps) == 22 and camera.time_ranges_ps[3] == 1e4
    assert camera.limits["mcp_gain"].high == 63.0
    assert camera.limits["delay_ps"].high == 1e12
    assert camera.identity.model == "C10627"


def test_bytes_left_over_before_an_image_are_noticed() -> None:
    """Without that, every pixel would be the neighbour's."""
    camera, device, _ = prepared()
    camera._link.data.device = BadLine(device.data, [("stray", 2), None, ("double", 0)])
    camera._link.data.device.wire = camera._link.data.device
    image = camera.acquire(ANALOG, 4)
    assert np.array_equal(image.counts, TRUTH.counts)
    assert device.commands.count("ImgDataGet(current,Data)") == 2


# ---- over the wire --------------------------------------------------------------------------


def served(**options: Any) -> tuple[SimulatedRemoteEx, Any]:
    device = SimulatedRemoteEx(
        WallClock(speed=20.0), FakeWorld(), seed=3, app_start_s=0.5, answer_s=0.0, **options
    )
    return device, device.serve("127.0.0.1", True)


def test_over_two_real_sockets() -> None:
    device, server = served(warns=True)
    try:
        link = RemoteExStreakCamera.open_link(server.resource)
        camera = RemoteExStreakCamera(link, device.clock)
        camera.connect()
        camera.set_mcp_gain(40)
        camera.set_exposure_s(0.02)
        for mode in (ANALOG, COUNTING):
            image = camera.acquire(mode, 5)
            assert image.counts.shape == (508, 640)
        camera.reopen()
        assert camera.time_range_ps == 1e4
        camera.close()
        camera.close()
        assert device.units.dark
    finally:
        server.close()


def test_abort_from_another_thread() -> None:
    device, server = served(**SMALL)
    try:
        camera = RemoteExStreakCamera(RemoteExStreakCamera.open_link(server.resource), device.clock)
        camera.connect()
        camera.set_mcp_gain(40)
        camera.set_exposure_s(1.0)
        timer = threading.Timer(0.25, camera.abort)
        timer.start()
        began = time.monotonic()
        with pytest.raises(DeviceFault, match="aborted"):
            camera.acquire(ANALOG, 1000)
        assert time.monotonic() - began < 3.0
        timer.join()
        assert device.units.dark
        camera.close()
    finally:
        server.close()


@pytest.mark.parametrize("resource", ["", "here", "host:0", "host:65535", "127.0.0.1:1"])
def test_addresses_that_lead_nowhere(resource: str) -> None:
    with pytest.raises(NoReply):
        RemoteExStreakCamera(RemoteExStreakCamera.open_link(resource)).connect()
