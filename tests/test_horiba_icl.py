"""HORIBA ICL: the link by messages, both drivers against the simulated ICL, and on a websocket."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruments.clock import VirtualClock, WallClock
from instruments.drivers.horiba_icl import HoribaCamera, HoribaMonochromator, IclLink, open_icl
from instruments.drivers.icl_data import counts_of
from instruments.drivers.icl_link import LinkLost, Refused
from instruments.errors import (
    BadReply,
    BenchError,
    ConfigError,
    DeviceFault,
    InstrumentError,
    LimitError,
    NoReply,
    NotReady,
    WrongIdentity,
)
from instruments.roles import Grating
from sim_drivers.devices.horiba_icl import SimulatedICL
from sim_drivers.devices.icl_dialect import Answer, Dialect

START = 1.7e9


class FakeWorld:
    """A line on the chip, and what it was told of the grating."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []
        self.exposed: list[tuple[float, float]] = []
        self.electrons_per_s = 1e6

    def set_monochromator(self, wavelength_nm: float, grooves_per_mm: float) -> None:
        self.told.append((wavelength_nm, grooves_per_mm))

    def ccd_electrons(
        self, start_s: float, exposure_s: float, pixels: int, pitch_um: float
    ) -> npt.NDArray[np.float64]:
        self.exposed.append((start_s, exposure_s))
        x = np.arange(pixels)
        return np.asarray(self.electrons_per_s * exposure_s * np.exp(-(((x - 300) / 40.0) ** 2)))


def bench(
    dialect: Dialect | None = None, clock: VirtualClock | None = None, **options: Any
) -> tuple[SimulatedICL, FakeWorld, VirtualClock]:
    clock = clock or VirtualClock(start=START)
    world = FakeWorld()
    return SimulatedICL(clock, world, seed=3, dialect=dialect, **options), world, clock


def mono_on(icl: SimulatedICL, **options: Any) -> HoribaMonochromator:
    mono = HoribaMonochromator(icl.link(HoribaMonochromator), icl.clock, **options)
    mono.connect()
    return mono


def camera_on(icl: SimulatedICL, **options: Any) -> HoribaCamera:
    camera = HoribaCamera(icl.link(HoribaCamera), icl.clock, **options)
    camera.connect()
    return camera


# ---- the link, by messages ----------------------------------------------------------------


class Script:
    """A channel that expects requests, and answers each with texts."""

    def __init__(self, clock: VirtualClock, steps: list[tuple[dict[str, Any], list[str]]]) -> None:
        self.clock = clock
        self.steps = list(steps)
        self.coming: list[str] = []
        self.sent: list[str] = []

    def send(self, text: str) -> None:
        expected, answers = self.steps.pop(0)
        self.sent.append(text)
        assert json.loads(text) == expected
        self.coming += answers

    def receive(self, timeout_s: float) -> str:
        if not self.coming:
            self.clock.sleep(timeout_s)
            raise TimeoutError
        text = self.coming.pop(0)
        if text == "BREAK":
            raise ConnectionResetError("gone")
        return text

    def close(self) -> None:
        pass


INFO = {"id": 1, "command": "icl_info"}
INFO_REPLY = '{"id":1,"command":"icl_info","results":{"nodeAlias":"ICL"},"errors":[]}'
TEXT_ONLY = {"id": 2, "command": "icl_binMode", "parameters": {"mode": "none"}}
HELLO = [
    (INFO, [INFO_REPLY]),
    (TEXT_ONLY, ['{"id":2,"command":"icl_binMode","results":{},"errors":[]}']),
]
ASK = {"id": 3, "command": "mono_getPosition", "parameters": {"index": 0}}


def told(number: int, value: object) -> str:
    return json.dumps({"id": number, "command": "x", "results": {"wavelength": value}})


def scripted(answers: list[str]) -> tuple[IclLink, Script]:
    clock = VirtualClock(start=START)
    script = Script(clock, [*HELLO, (ASK, answers)])
    link = IclLink(lambda: script, clock)
    link.connect()
    return link, script


@pytest.mark.parametrize(
    "answers",
    [
        [told(3, 500.0)],
        [told(1, 1.0), told(2, 2.0), told(3, 500.0)],  # late and doubled ones
        [told(99, 1.0), told(0, 2.0), told(3, 500.0)],  # somebody else's
        [told(3, 500.0), told(3, 1.0)],  # ours doubled
        ['{"id":3,"comm', told(3, 500.0)],  # garbage before ours
        ['{"id":true,"results":{}}', '{"id":"3"}', told(3, 500.0)],
    ],
)
def test_only_the_reply_with_our_number_counts(answers: list[str]) -> None:
    link, _ = scripted(answers)
    assert link.request("mono_getPosition", {"index": 0}) == {"wavelength": 500.0}


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([], NoReply),
        ([told(2, 500.0)], NoReply),
        (["BREAK"], LinkLost),
        (['{"id":3,"results":{"wavelength":50'], BadReply),
        (['{"id":3,"results":{"wavelength":NaN}}'], BadReply),
        (['{"id":3,"results":{"wavelength":1,"wavelength":2}}'], BadReply),
        (['{"id":3,"results":[500.0]}'], BadReply),
        (['{"id":3,"errors":"[E];-506;x"}'], BadReply),
        (["[3]"], BadReply),
        (['{"id":3,"errors":["[E];-506;MONO error: not open"],"results":{}}'], Refused),
        (['{"id":3,"errors":["something else"]}'], Refused),
    ],
)
def test_what_is_no_reply_is_an_error(answers: list[str], error: type[Exception]) -> None:
    link, _ = scripted(answers)
    before = link.clock.now()
    with pytest.raises(error) as caught:
        link.request("mono_getPosition", {"index": 0})
    assert type(caught.value) is error
    assert link.clock.now() - before <= 5.0 + 1e-6
    if isinstance(caught.value, Refused):
        assert caught.value.number in (-506, 0)


def test_a_broken_link_opens_another_with_the_next_connect() -> None:
    clock = VirtualClock(start=START)
    scripts = [
        Script(clock, [*HELLO, (ASK, ["BREAK"])]),
        Script(clock, [({**INFO, "id": 4}, [INFO_REPLY.replace('"id":1', '"id":4')])]),
    ]
    scripts[1].steps.append(({**TEXT_ONLY, "id": 5}, ['{"id":5}']))
    link = IclLink(lambda: scripts.pop(0), clock)
    assert link.connect() == 1
    with pytest.raises(LinkLost):
        link.request("mono_getPosition", {"index": 0})
    with pytest.raises(LinkLost):  # nothing is opened behind the caller's back
        link.request("mono_getPosition", {"index": 0})
    assert link.connect() == 2 and not scripts


def test_another_server_is_refused() -> None:
    clock = VirtualClock(start=START)
    hello = [(INFO, [INFO_REPLY.replace('"ICL"', '"PLC"')])]
    with pytest.raises(WrongIdentity, match="PLC"):
        IclLink(lambda: Script(clock, hello), clock).connect()
    with pytest.raises(ConfigError, match="ws://"):
        open_icl("127.0.0.1:25010")


def recorded(link: IclLink) -> list[tuple[str, dict[str, Any]]]:
    """Record what goes over a link from now on, without its numbers."""
    found: list[tuple[str, dict[str, Any]]] = []
    request = link.request

    def listen(
        command: str, parameters: dict[str, Any] | None = None, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        found.append((command, dict(parameters or {})))
        return request(command, parameters, timeout_s)

    link.request = listen  # type: ignore[method-assign]
    return found


def without_polls(found: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    polls = ("mono_isBusy", "ccd_getAcquisitionBusy")
    return [item for item in found if item[0] not in polls]


def test_every_command_of_the_monochromator() -> None:
    icl, _, _ = bench()
    mono = mono_on(icl)
    seen = recorded(mono.link)
    mono.go_to(524.5)
    mono.select_grating(1)
    mono.set_slit_mm(1, 0.06)
    mono.turn_mirror("exit", "lateral")
    mono.select_filter(2, 4)
    mono.close()
    at = {"index": 0}
    assert without_polls(seen) == [
        ("mono_getGratingPosition", at),
        ("mono_getPosition", at),
        ("mono_moveToPosition", {**at, "wavelength": 524.5}),
        ("mono_getPosition", at),
        ("mono_getGratingPosition", at),
        ("mono_getPosition", at),
        ("mono_moveGrating", {**at, "position": 1}),
        ("mono_getGratingPosition", at),
        ("mono_getPosition", at),
        ("mono_moveToPosition", {**at, "wavelength": 524.5}),
        ("mono_getPosition", at),
        ("mono_moveSlitMM", {**at, "locationId": 1, "position": 0.06}),
        ("mono_getSlitPositionInMM", {**at, "locationId": 1}),
        ("mono_moveMirror", {**at, "locationId": 1, "position": 1}),
        ("mono_getMirrorPosition", {**at, "locationId": 1}),
        ("mono_moveFilterWheel", {**at, "locationId": 2, "position": 4}),
        ("mono_getFilterWheelPosition", {**at, "locationId": 2}),
        ("mono_close", at),
    ]


def test_every_command_of_the_camera() -> None:
    icl, _, _ = bench()
    camera = HoribaCamera(icl.link(HoribaCamera), icl.clock, gain="best  dynamic range", speed=127)
    seen = recorded(camera.link)
    camera.connect()
    off = {"enable": False, "address": -1, "event": -1, "signalType": -1}
    region = {"xOrigin": 0, "yOrigin": 0, "xSize": 1024, "ySize": 256, "xBin": 1, "yBin": 256}
    sent = [(command, {k: v for k, v in p.items() if k != "index"}) for command, p in seen]
    for expected in [
        ("ccd_discover", {}),
        ("ccd_open", {}),
        ("ccd_getChipSize", {}),
        ("ccd_setTriggerIn", off),
        ("ccd_setXAxisConversionType", {"type": 0}),
        ("ccd_setGain", {"token": 1}),
        ("ccd_setSpeed", {"token": 127}),
        ("ccd_setCleanCount", {"count": 1, "mode": 3}),
        ("ccd_setAcqFormat", {"format": 1, "numberOfRois": 1}),
        ("ccd_setRoi", {"roiIndex": 1, **region}),
        ("ccd_setExposureTime", {"time": 100}),
    ]:
        assert expected in sent
        sent = sent[sent.index(expected) + 1 :]  # in this order
    seen.clear()
    camera.set_exposure_s(0.0205)
    assert seen[:2] == [
        ("ccd_setTimerResolution", {"index": 0, "resolutionToken": 1}),
        ("ccd_setExposureTime", {"index": 0, "time": 20500}),
    ]
    camera.set_exposure_s(0.5)
    seen.clear()
    camera.acquire(3)
    assert [command for command, _ in without_polls(seen)] == [
        "ccd_getExposureTime",
        "ccd_setAcqCount",
        "ccd_getAcquisitionReady",
        "ccd_acquisitionStart",
        "ccd_getAcquisitionData",
    ]
    assert ("ccd_acquisitionStart", {"index": 0, "openShutter": True}) in seen


# ---- the monochromator --------------------------------------------------------------------

READINGS: dict[str, Dialect] = {
    "manual": Dialect(),
    "stand-in": Dialect(
        numbers_as_text=False, switches_as_text=True, echo_of_roi="ccd_setRoi", stand_in_names=True
    ),
    "bare": Dialect(bare_replies=True, busy_after_s=0.0, data_shape="flat"),
    "pairs": Dialect(data_shape="pairs", first_frame=0, early_data="stale", mirrors_from=1),
    "blocking": Dialect(moves_block=True, initialized_while_busy=True),
    "kept": Dialect(turret_keeps_wavelength=True, restart_keeps_open=True),
    "poor": Dialect(
        knows_ready=False,
        takes_series=False,
        microseconds=False,
        telling_while_acquiring=False,
        simple_camera=True,
    ),
}


@pytest.fixture(params=list(READINGS))
def reading(request: pytest.FixtureRequest) -> Dialect:
    return READINGS[request.param]


def test_the_monochromator_in_every_reading(reading: Dialect) -> None:
    icl, world, clock = bench(reading)
    mono = mono_on(icl, entrance_slit_mm=0.05, exit="lateral", filter_wheel_1=3)
    assert mono.identity.model == "iHR320" and mono.identity.serial == "1745B-2019-iHR320"
    assert mono.gratings == (
        Grating(0, 600.0, 500.0),
        Grating(1, 1200.0, 500.0),
        Grating(2, 300.0, 600.0),
    )
    before = clock.now()
    assert mono.go_to(524.5) == pytest.approx(524.5, abs=0.01)
    assert 2.0 < clock.now() - before < 6.0  # 524.5 nm at 300 nm/s
    icl.settle(clock.now())
    assert world.told[-1][0] == pytest.approx(524.5, abs=0.05) and world.told[-1][1] == 600.0
    assert mono.select_grating(1) == Grating(1, 1200.0, 500.0)
    assert mono.wavelength_nm == pytest.approx(524.5, abs=0.01)
    assert mono.limits["wavelength_nm"].high == 1500.0
    assert mono.mirror("exit") == "lateral" and mono.mirror("entrance") == "axial"
    assert mono.entrance_slit_mm == pytest.approx(0.05) and mono.filter_position(1) == 3
    assert mono.exit_slit_mm == 0.0 and mono.port("exit") == 4
    kept = mono.snapshot()
    assert kept["wavelength_nm"].unit == "nm" and kept["slit_1_mm"].value == pytest.approx(0.05)
    assert kept["exit_mirror"].value == "lateral" and kept["focal_length_mm"].value == 320.0
    assert mono.half_angle_deg == 10.63
    assert mono.status().ok and "524.50 nm" in mono.status().text


def test_it_is_homed_when_it_needs_to_be() -> None:
    icl, _, clock = bench(mono={"initialized": False})
    before = clock.now()
    mono = mono_on(icl)
    assert clock.now() - before > 45.0
    assert mono.wavelength_nm == 0.0 and icl.mono.initialized
    other, _, _ = bench(mono={"initialized": False})
    with pytest.raises(NotReady, match="initialize"):
        mono_on(other, initialize=False)
    assert "init" not in other.mono.commands


def test_limits_are_checked_before_anything_is_sent() -> None:
    icl, _, _ = bench(mono={"ports": {1: 1, 2: 2}, "filter_wheels": (1,), "mirrors": ("exit",)})
    mono = mono_on(icl)
    mono.go_to(700.0)
    count = len(icl.mono.commands)
    for ask in (
        lambda: mono.go_to(3000.5),
        lambda: mono.go_to(-1.0),
        lambda: mono.go_to(float("nan")),
        lambda: mono.select_grating(7),
        lambda: mono.set_slit_mm(1, 2.5),
        lambda: mono.set_slit_mm(3, 0.1),
        lambda: mono.turn_mirror("entrance", "axial"),
        lambda: mono.turn_mirror("exit", "up"),
        lambda: mono.select_filter(2, 1),
        lambda: mono.select_filter(1, 7),
    ):
        with pytest.raises(LimitError):
            ask()
    assert not {verb for verb in icl.mono.commands[count:] if verb.startswith("move")}
    assert mono.set_slit_mm(2, 7.0) == 7.0
    assert mono.wavelength_nm == 700.0
    with pytest.raises(NotReady, match="exit port"):
        mono.port("exit")
    with pytest.raises(AttributeError):
        mono.wavelenght_nm = 5.0
    mono.go_to(2000.0)
    with pytest.raises(LimitError, match="1500"):
        mono.select_grating(1)
    assert mono.grating.slot == 0


def test_a_drive_that_does_not_move_is_reported() -> None:
    icl, _, _ = bench()
    mono = mono_on(icl)
    mono.go_to(500.0)
    icl.fault("stuck")
    with pytest.raises(DeviceFault, match="read back is 500"):
        mono.go_to(600.0)
    icl.fault("stuck", False)
    assert mono.go_to(600.0) == pytest.approx(600.0)


def test_optics_that_are_not_known_must_be_given() -> None:
    icl, _, _ = bench()
    mono = mono_on(icl, focal_length_mm=318.7, half_angle_deg=10.7)
    assert (mono.focal_length_mm, mono.half_angle_deg) == (318.7, 10.7)


# ---- the camera ---------------------------------------------------------------------------


def test_the_camera_in_every_reading(reading: Dialect) -> None:
    icl, world, clock = bench(reading)
    camera = camera_on(icl, speed=1, gain=0)
    assert camera.identity.model == "Syncerity" and camera.identity.serial == "5128"
    assert (camera.pixels, camera.rows, camera.pixel_pitch_um) == (1024, 256, 26.0)
    assert camera.saturation_counts == 65535
    assert camera.set_exposure_s(0.2) == 0.2 == camera.exposure_s
    camera.wait_until_cold(100.0)
    for _ in range(2):  # the second series must not be the frames of the first
        world.exposed.clear()
        before = clock.now()
        taken = camera.acquire(3)
        assert taken.frames.shape == (3, 1024) and taken.frames.dtype == np.uint16
        assert len(world.exposed) == 3
        assert not np.array_equal(taken.frames[0], taken.frames[1])
        assert before <= taken.start_s <= world.exposed[0][0] and taken.end_s == clock.now()
        assert all(
            taken.start_s <= start and start + 0.2 <= taken.end_s for start, _ in world.exposed
        )
        peak = taken.frames.astype(float).mean(axis=0)
        assert abs(int(np.argmax(peak)) - 300) < 12
        expected = 600.0 + 2e5 / 9.2
        assert peak[295:305].mean() == pytest.approx(expected, rel=0.02)
        assert not taken.saturated
    first = camera.acquire().frames
    assert not np.array_equal(first, camera.acquire().frames)
    assert camera.snapshot()["gain"].value == "High Light"
    assert camera.status().ok


def test_early_and_stale_frames_are_not_taken() -> None:
    """Short exposures, "not busy" too early, and the frames before still there."""
    for early in ("stale", "error"):
        icl, world, _ = bench(Dialect(early_data=early, busy_after_s=0.3), ccd={"rows": 64})
        camera = camera_on(icl, speed=0)
        camera.set_exposure_s(0.001)
        for level in (1e6, 5e7, 1e6, 3e7):
            world.electrons_per_s = level
            peak = float(camera.acquire().frames[0, 295:305].mean())
            assert peak == pytest.approx(600.0 + level * 1e-3 / 9.2, rel=0.1)


def test_frames_of_an_earlier_session_are_not_taken() -> None:
    icl, world, _ = bench(Dialect(early_data="stale"))
    earlier = camera_on(icl, speed=0)
    world.electrons_per_s = 1e9
    earlier.set_exposure_s(0.001)
    earlier.acquire()
    icl.drop()  # and its process died
    world.electrons_per_s = 0.0
    camera = camera_on(icl)
    camera.set_exposure_s(0.001)
    assert camera.acquire().frames.max() < 1000


def test_exposures_are_rounded_to_the_timer() -> None:
    icl, _, _ = bench()
    camera = camera_on(icl)
    assert camera.set_exposure_s(0.0123456) == 0.012346
    assert camera.set_exposure_s(2.0) == 2.0
    assert camera.limits["exposure_s"].low == 1e-6
    for wrong in (0.0, 1e-7, 1e5, float("nan")):
        with pytest.raises(LimitError):
            camera.set_exposure_s(wrong)
    assert camera.exposure_s == 2.0
    coarse, _, _ = bench(Dialect(microseconds=False))
    camera = camera_on(coarse)
    assert camera.set_exposure_s(0.0123456) == 0.012
    with pytest.raises(LimitError):
        camera.set_exposure_s(0.0004)


def test_options_of_the_camera() -> None:
    icl, world, _ = bench()
    with pytest.raises(LimitError, match="High Light"):
        camera_on(icl, gain="Highest")
    with pytest.raises(LimitError, match="45 kHz"):
        camera_on(icl, speed=3)
    dark = camera_on(icl, shutter="closed", mirrored=True, saturation_counts=40_000)
    dark.acquire()
    assert not world.exposed
    light = camera_on(icl, mirrored=True, speed=1)
    peak = light.acquire(4).frames.astype(float).mean(axis=0)
    assert abs(int(np.argmax(peak)) - (1023 - 300)) < 12
    assert light.choose("gain", "High Sensitivity") == 2
    icl.fault("saturate")
    assert light.acquire().saturated
    for wrong in (0, 1.5, 10**6):
        with pytest.raises(LimitError):
            light.acquire(wrong)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        light.exposure = 5.0


def test_waiting_for_the_cold() -> None:
    icl, _, clock = bench(ccd={"start_temperature_C": 20.0})
    camera = camera_on(icl)
    assert not camera.status().ok
    with pytest.raises(NotReady, match="cold_below_C"):
        camera.wait_until_cold(20.0)
    before = clock.now()
    camera.wait_until_cold(600.0)
    camera._cold_below_C = 20.0  # below it from the beginning, but falling
    icl.ccd.chip.warm_up(0.0)
    warmed = clock.now()
    camera.wait_until_cold(600.0)
    assert clock.now() - warmed > 200.0
    camera._cold_below_C, before = -20.0, before + clock.now() - warmed
    assert 200.0 < clock.now() - before < 500.0
    assert abs(camera.temperature_C - -60.0) < 0.6
    warm, _, _ = bench(ccd={"start_temperature_C": 20.0, "target_C": 20.0})
    with pytest.raises(NotReady, match=r"20\.0 C"):
        camera_on(warm, cooling_timeout_s=300.0)  # steady, but never cold


def test_a_long_series_comes_in_pieces() -> None:
    icl, _, _ = bench()
    camera = camera_on(icl, speed=1)
    camera.set_exposure_s(0.001)
    assert camera.acquire(120).frames.shape == (120, 1024)
    assert icl.ccd.commands.count("acquisitionStart") == 3
    assert icl.ccd.exposures == 120


def test_abort_from_elsewhere_and_the_restart_after_it() -> None:
    icl, _, clock = bench()
    camera = camera_on(icl)
    camera.set_exposure_s(20.0)
    ticket = clock.every(3.0, camera.abort)
    before = clock.now()
    with pytest.raises(InstrumentError, match="aborted"):
        camera.acquire()
    ticket.cancel()
    assert clock.now() - before < 4.0
    assert not icl.ccd._is_busy()
    camera.set_exposure_s(0.1)
    assert "restart" not in icl.ccd.commands
    assert camera.acquire().frames.shape == (1, 1024)
    assert icl.ccd.commands.count("restart") == 1
    camera.acquire()
    camera.make_safe()
    camera.make_safe()
    camera.acquire()
    assert icl.ccd.commands.count("restart") == 1  # nothing was running: nothing to restart for


def test_a_camera_left_waiting_for_a_trigger_is_freed() -> None:
    icl, _, _ = bench()
    icl._found["ccd"] = True
    ccd = icl.ccd
    steps: list[tuple[str, dict[str, Any]]] = [
        ("open", {}),
        ("setAcqFormat", {"format": 1, "numberOfRois": 1}),
        (
            "setRoi",
            dict.fromkeys(("roiIndex", "xBin", "yBin"), 1)
            | {"xOrigin": 0, "yOrigin": 0, "xSize": 8, "ySize": 8},
        ),
        ("setTriggerIn", {"enable": True, "address": 0, "event": 0, "signalType": 0}),
        ("acquisitionStart", {"openShutter": True}),
    ]
    for verb, parameters in steps:
        ccd.handle(verb, parameters)
    icl.clock.sleep(60.0)
    assert ccd._is_busy()
    camera = camera_on(icl)
    assert camera.acquire().frames.shape == (1, 1024)


def test_one_exposure_at_a_time() -> None:
    icl, _, clock = bench()
    camera = camera_on(icl)
    camera.set_exposure_s(5.0)
    asked: list[object] = []
    caught: list[BenchError] = []

    def again() -> None:
        for ask in (camera.acquire, lambda: camera.set_exposure_s(1.0)):
            asked.append(ask)
            try:
                ask()
            except NotReady as error:
                caught.append(error)

    ticket = clock.every(2.0, again)
    camera.acquire()
    ticket.cancel()
    assert len(caught) == len(asked) >= 4 and camera.exposure_s == 5.0


# ---- coming back --------------------------------------------------------------------------


@pytest.mark.parametrize("reading_name", ["manual", "kept"])
def test_both_come_back_from_a_restart_of_the_icl(reading_name: str) -> None:
    icl, _, clock = bench(READINGS[reading_name])
    mono, camera = mono_on(icl), camera_on(icl, gain=2, speed=1)
    assert mono.link is camera.link
    mono.go_to(524.5)
    camera.set_exposure_s(0.25)
    camera.acquire(2)
    icl.restart()
    before = clock.now()
    assert mono.wavelength_nm == pytest.approx(524.5)
    assert clock.now() - before >= 10.0
    assert camera.exposure_s == 0.25 and icl.ccd._tokens["Gain"] == 2
    assert camera.acquire(2).frames.shape == (2, 1024)
    assert mono.link.generation == 2


def test_a_garbled_reply_to_a_move_does_not_move_twice() -> None:
    icl, _, _ = bench()
    mono = mono_on(icl)
    post = icl._post

    def garble(session: Any, reply: dict[str, Any], after_s: float) -> None:
        if reply["command"] == "mono_moveToPosition":
            session.post('{"id":', after_s)
        else:
            post(session, reply, after_s)

    icl._post = garble  # type: ignore[method-assign]
    assert mono.go_to(524.5) == pytest.approx(524.5)
    assert icl.mono.commands.count("moveToPosition") == 1


def test_an_acquisition_that_could_not_be_stopped_is_stopped_later() -> None:
    icl, _, clock = bench()
    camera = camera_on(icl)
    camera.set_exposure_s(300.0)
    stop = icl.ccd._verbs["acquisitionAbort"]
    icl.ccd._verbs["acquisitionAbort"] = lambda _: Answer({})  # says yes, and goes on
    caught: list[DeviceFault] = []

    def abort() -> None:
        try:
            camera.abort()
        except DeviceFault as error:
            caught.append(error)

    ticket = clock.every(3.0, abort)
    with pytest.raises(InstrumentError, match="aborted"):
        camera.acquire()
    ticket.cancel()
    assert "does not stop" in str(caught[0]) and icl.ccd._is_busy()
    icl.ccd._verbs["acquisitionAbort"] = stop
    assert camera.set_exposure_s(0.1) == 0.1
    assert not icl.ccd._is_busy()
    assert camera.acquire().frames.shape == (1, 1024)


def test_no_search_while_another_device_of_the_kind_is_in_use() -> None:
    """A search makes the ICL forget the devices that it knew."""
    icl, _, _ = bench()
    camera = camera_on(icl)
    seen = recorded(camera.link)
    with pytest.raises(NoReply, match="lists no such"):
        camera_on(icl, index=1)
    assert "ccd_discover" not in [command for command, _ in seen]
    camera.close()
    with pytest.raises(NoReply, match="lists no such"):
        camera_on(icl, index=1)
    assert "ccd_discover" in [command for command, _ in seen]


def test_a_drive_that_lost_its_power_is_brought_back() -> None:
    icl, _, _ = bench()
    mono = mono_on(icl, entrance_slit_mm=0.08, filter_wheel_2=5)
    mono.select_grating(1)
    mono.go_to(524.5)
    icl.power_cycle()
    assert mono.wavelength_nm == pytest.approx(524.5)
    assert mono.grating.slot == 1 and mono.entrance_slit_mm == pytest.approx(0.08)
    assert mono.filter_position(2) == 5
    assert icl.mono.commands.count("init") == 1


def test_a_device_closed_by_another_program_is_opened_again() -> None:
    icl, _, _ = bench()
    mono, camera = mono_on(icl), camera_on(icl)
    camera.set_exposure_s(0.5)
    icl.mono.open = icl.ccd.open = False
    icl.ccd._defaults()
    assert mono.go_to(600.0) == pytest.approx(600.0)
    assert camera.acquire().exposure_s == 0.5


@pytest.mark.parametrize("away", ["restart", "disconnect"])
def test_a_link_that_breaks_in_an_acquisition_is_reported(away: str) -> None:
    icl, world, clock = bench()
    camera = camera_on(icl)
    camera.set_exposure_s(5.0)

    def break_it() -> None:
        icl.fault(away)
        icl.fault(away, False)
        ticket.cancel()

    ticket = clock.every(2.0, break_it)
    starts = icl.ccd.commands.count("acquisitionStart")
    with pytest.raises(NoReply, match="lost"):
        camera.acquire()
    assert icl.ccd.commands.count("acquisitionStart") == starts + 1  # never repeated
    assert camera.acquire().frames.shape == (1, 1024)
    assert len(world.exposed) >= 1


def test_a_start_without_a_reply_is_stopped_and_reported() -> None:
    icl, _, _ = bench()
    camera = camera_on(icl)
    exchange = icl._post

    def lose(session: Any, reply: dict[str, Any], after_s: float) -> None:
        if reply["command"] != "ccd_acquisitionStart":
            exchange(session, reply, after_s)

    icl._post = lose  # type: ignore[method-assign]
    with pytest.raises(NoReply, match="acquisitionStart"):
        camera.acquire()
    assert icl.ccd.commands.count("acquisitionStart") == 1
    assert icl.ccd.commands.count("acquisitionAbort") == 1
    icl._post = exchange  # type: ignore[method-assign]
    assert camera.acquire().frames.shape == (1, 1024)


@pytest.mark.parametrize("kind", ["silence", "timeout", "garbage", "disconnect", "identity"])
def test_faults_of_the_link(kind: str) -> None:
    icl, _, clock = bench()
    icl.fault(kind)
    errors = WrongIdentity if kind == "identity" else NoReply
    for make in (mono_on, camera_on):
        before = clock.now()
        with pytest.raises(errors):
            make(icl)
        assert clock.now() - before <= 7.0
    icl.fault(kind, False)
    mono, camera = mono_on(icl), camera_on(icl)
    icl.fault(kind)
    if kind == "identity":
        icl.drop()
    for ask in (lambda: mono.go_to(500.0), camera.acquire, camera.status, mono.recover):
        with pytest.raises(InstrumentError):
            ask()
    camera.make_safe()
    icl.fault(kind, False)
    mono.recover()
    camera.recover()
    assert mono.go_to(500.0) == pytest.approx(500.0)
    assert camera.acquire().frames.shape == (1, 1024)


def test_another_device_is_refused() -> None:
    icl, _, _ = bench()
    with pytest.raises(WrongIdentity, match="9999"):
        mono_on(icl, serial="9999")
    with pytest.raises(WrongIdentity, match="9999"):
        camera_on(icl, serial="9999")
    assert not icl.mono.open and not icl.ccd.open
    with pytest.raises(NoReply, match="lists no such"):
        mono_on(icl, index=1)
    camera = camera_on(icl, serial="5128")
    icl.ccd.serial = "7777"  # exchanged while the ICL restarted
    icl.restart()
    with pytest.raises(WrongIdentity):
        camera.acquire()


def test_closing() -> None:
    icl, _, _ = bench()
    mono, camera = mono_on(icl), camera_on(icl)
    mono.close()
    assert not icl.mono.open and icl.ccd.open and mono.link.connected
    mono.close()
    assert camera.acquire().frames.shape == (1, 1024)
    camera.close()
    assert not icl.ccd.open and not icl._sessions
    for ask in (lambda: mono.wavelength_nm, lambda: camera.exposure_s, camera.acquire):
        with pytest.raises(NotReady):
            ask()
    camera.make_safe()
    camera.connect()
    assert camera.acquire().frames.shape == (1, 1024)


def test_noise_belongs_to_the_exposure() -> None:
    def run(resume_at: int) -> list[npt.NDArray[np.uint16]]:
        icl, _, _ = bench()
        camera = camera_on(icl)
        found = []
        for i in range(4):
            if i == resume_at:
                state = icl.state()
                icl, _, _ = bench(clock=VirtualClock(icl.clock.now()))
                camera = camera_on(icl)
                icl.restore(state)
            found.append(camera.acquire().frames[0])
        return found

    for one, other in zip(run(9), run(2), strict=True):
        assert abs(one.astype(int) - other.astype(int)).max() <= 1  # the dark current cools on


# ---- frames -------------------------------------------------------------------------------


def reply_with(**changes: Any) -> dict[str, Any]:
    region: dict[str, Any] = {"xSize": 4, "ySize": 2, "xBinning": 1, "yBinning": 2}
    region |= {"xData": [[0, 1, 2, 3]], "yData": [[10, 20, 30, 65535]]}
    region.update(changes)
    return {"acquisition": [{"acqIndex": 1, "roi": [{k: v for k, v in region.items() if v != ()}]}]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"xData": [0, 1, 2, 3], "yData": [10, 20, 30, 65535]},
        {"xData": (), "yData": (), "xyData": [[0, 10], [1, 20], [2, 30], [3, 65535]]},
        {"xData": (), "yData": (), "xyData": [[[0, 10], [1, 20], [2, 30], [3, 65535]]]},
        {"yData": [[10.0, 20.0, 30.0, 65535.0]]},
        {"xSize": "4", "xBinning": ()},
    ],
)
def test_frames_in_every_shape(changes: dict[str, Any]) -> None:
    counts = counts_of(reply_with(**changes), 1, (4, 2))
    assert counts.tolist() == [[10, 20, 30, 65535]] and counts.dtype == np.uint16


@pytest.mark.parametrize(
    "changes",
    [
        {"yData": [[10, 20, 30]]},
        {"yData": [[10, 20, 30, 40, 50]]},
        {"yData": [[10, 20, 30, 65536]]},
        {"yData": [[10, 20, 30, -1]]},
        {"yData": [[10, 20, 30, 40.5]]},
        {"yData": [[10, 20, True, 40]]},
        {"yData": [[10, 20, "30", 40]]},
        {"yData": [[10, 20, None, 40]]},
        {"yData": [[10, 20], [30, 40]]},
        {"yData": {"0": 10}},
        {"yData": ()},
        {"xSize": 3},
        {"yBinning": 1},
        {"xBinning": 2},
        {"xData": [[0, 1, 2]]},
        {"xData": (), "yData": (), "xyData": [[0, 10], [1, 20], [2, 30], [3]]},
    ],
)
def test_frames_that_are_not_those_asked_for(changes: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        counts_of(reply_with(**changes), 1, (4, 2))


def test_frames_are_put_in_order_and_counted() -> None:
    reply = reply_with()
    later = reply_with(yData=[[1, 2, 3, 4]])["acquisition"][0] | {"acqIndex": 2}
    reply["acquisition"].insert(0, later)
    assert counts_of(reply, 2, (4, 2))[1].tolist() == [1, 2, 3, 4]
    for wrong in (1, 3):
        with pytest.raises(BadReply):
            counts_of(reply, wrong, (4, 2))
    later["acqIndex"] = 1
    with pytest.raises(BadReply):
        counts_of(reply, 2, (4, 2))
    later["roi"] = later["roi"] * 2
    later["acqIndex"] = 2
    with pytest.raises(BadReply):
        counts_of(reply, 2, (4, 2))


# ---- broken messages ----------------------------------------------------------------------

MANGLES = ("cut", "twice", "late", "foreign", "stray", "garbled", "nan", "type", "lost", "break")


class Mangler:
    """A channel to the simulated ICL that breaks what comes back, by a list of kinds."""

    def __init__(self, session: Any, kinds: list[tuple[str, int]]) -> None:
        self.session = session
        self.kinds = kinds
        self.waiting: list[str] = []

    def send(self, text: str) -> None:
        self.session.send(text)

    def receive(self, timeout_s: float) -> str:
        if self.waiting:
            return self.waiting.pop(0)
        text = self.session.receive(timeout_s)
        kind, place = self.kinds.pop(0) if self.kinds else ("", 0)
        if kind == "lost":
            return self.receive(timeout_s)
        if kind == "break":
            self.session.close()
            raise ConnectionResetError("gone")
        self.waiting = _mangled(text, kind, place)
        return self.waiting.pop(0)

    def close(self) -> None:
        self.session.close()


def _mangled(text: str, kind: str, place: int) -> list[str]:
    at = place % len(text)
    if kind == "cut":
        return [text[:at]]
    if kind == "twice":
        return [text, text]
    if kind == "late":  # after a foreign one, which must be passed over
        return ['{"id":0,"results":{"wavelength":1.0,"busy":false,"ready":false}}', text]
    if kind == "foreign":
        reply = json.loads(text)
        return [json.dumps({**reply, "id": reply["id"] + 1 + place % 3})]
    if kind == "stray":
        return ["", text]
    if kind == "garbled":
        return [text[:at] + '\ufffd"}'[place % 3] + text[at + 1 :]]
    if kind in ("nan", "type"):
        reply = json.loads(text)
        values: list[Any] = [float("nan")] if kind == "nan" else [None, [], "x", {}]
        results = reply.get("results") or {}
        for key in results:
            results[key] = values[place % len(values)]
        return [json.dumps(reply)]
    return [text]


mangling = st.lists(st.tuples(st.sampled_from(("", *MANGLES)), st.integers(0, 5000)), max_size=12)


def mangled(
    build: Callable[[IclLink, VirtualClock], Any], kinds: list[tuple[str, int]]
) -> tuple[Any, SimulatedICL, list[tuple[str, int]]]:
    """Connect a driver over a clean link, which is mangled from then on."""
    icl, _, clock = bench(ccd={"pixels": 16, "rows": 4})
    soon: list[tuple[str, int]] = []
    link = IclLink(lambda: Mangler(icl.connect(), soon), clock)
    driver = build(link, clock)
    driver.connect()
    soon += kinds
    return driver, icl, soon


@given(kinds=mangling)
@settings(max_examples=60, deadline=None)
def test_a_broken_link_gives_the_right_wavelength_or_an_error(kinds: list[tuple[str, int]]) -> None:
    mono, icl, soon = mangled(HoribaMonochromator, kinds)
    for target in (524.5, 633.25):
        try:
            reached = mono.go_to(target)
        except InstrumentError:
            continue
        assert reached == pytest.approx(target, abs=0.01)
        assert icl.mono.wavelength_nm(icl.clock.now()) == pytest.approx(target, abs=0.01)
    try:
        grating = mono.select_grating(1)
        assert grating.slot == 1 == icl.mono.slot(icl.clock.now())
    except InstrumentError:
        pass
    soon.clear()
    assert mono.select_grating(2).grooves_per_mm == 300.0
    assert mono.go_to(700.0) == pytest.approx(700.0)


@given(kinds=mangling)
@settings(max_examples=60, deadline=None)
def test_a_broken_link_gives_the_right_frames_or_an_error(kinds: list[tuple[str, int]]) -> None:
    camera, icl, soon = mangled(HoribaCamera, kinds)
    for exposure_s in (0.05, 0.3):
        try:
            assert camera.set_exposure_s(exposure_s) == exposure_s
            taken = camera.acquire(2)
        except InstrumentError:
            continue
        assert taken.exposure_s == exposure_s
        data = icl.ccd._data
        assert data is not None and data.exposure_s == pytest.approx(exposure_s)
        assert np.array_equal(taken.frames, np.concatenate(data.frames))
    soon.clear()
    assert camera.set_exposure_s(0.1) == 0.1
    assert camera.acquire().frames.shape == (1, 16)
    camera.close()


# ---- on a websocket -----------------------------------------------------------------------


@pytest.fixture
def served() -> Any:
    clock = WallClock(50.0)
    icl = SimulatedICL(clock, FakeWorld(), seed=3)
    serving = icl.serve("127.0.0.1", True)
    yield icl, serving
    serving.close()


def test_over_a_websocket(served: Any) -> None:
    icl, serving = served
    assert serving.resource == f"ws://127.0.0.1:{serving.address['port']}"
    link = HoribaMonochromator.open_link(serving.resource)
    mono, camera = HoribaMonochromator(link), HoribaCamera(link, speed=1)
    mono.connect()
    camera.connect()
    camera.set_exposure_s(0.02)
    assert camera.acquire(2).frames.shape == (2, 1024)
    assert mono.wavelength_nm == 0.0
    icl.drop()
    assert mono.grating.slot == 0 and camera.exposure_s == 0.02
    assert link.generation == 2
    camera.close()
    mono.close()
    assert not icl.ccd.open and not icl.mono.open


def test_nothing_answers_on_a_websocket(served: Any) -> None:
    icl, serving = served
    icl.fault("disconnect")
    mono = HoribaMonochromator(open_icl(serving.resource))
    with pytest.raises(NoReply, match=r"icl\.exe"):
        mono.connect()
    serving.close()
    with pytest.raises(NoReply, match=r"icl\.exe"):
        mono.connect()


# ---- an independent client ----------------------------------------------------------------

CLIENT = """
import asyncio, json, sys
from horiba_sdk.core.acquisition_format import AcquisitionFormat
from horiba_sdk.core.timer_resolution import TimerResolution
from horiba_sdk.core.x_axis_conversion_type import XAxisConversionType
from horiba_sdk.devices.device_manager import DeviceManager

async def still(mono):
    await asyncio.sleep(0.4)
    while await mono.is_busy():
        await asyncio.sleep(0.05)

async def main():
    manager = DeviceManager(start_icl=False, icl_ip="127.0.0.1", icl_port=sys.argv[1])
    await manager.start()
    mono, ccd = manager.monochromators[0], manager.charge_coupled_devices[0]
    await mono.open()
    await mono.set_turret_grating(mono.Grating.SECOND)
    await still(mono)
    await mono.move_to_target_wavelength(532.0)
    await still(mono)
    await mono.set_slit_position(mono.Slit.A, 0.05)
    await still(mono)
    await ccd.open()
    size = await ccd.get_chip_size()
    config = await ccd.get_configuration()
    wide, high = int(config["chipWidth"]), int(config["chipHeight"])
    await ccd.set_acquisition_format(1, AcquisitionFormat.SPECTRA_IMAGE)
    await ccd.set_region_of_interest(1, 0, 0, wide, high, 1, high)
    await ccd.set_x_axis_conversion_type(XAxisConversionType.NONE)
    await ccd.set_timer_resolution(TimerResolution.MILLISECONDS)
    await ccd.set_exposure_time(200)
    await ccd.set_gain(0)
    await ccd.set_speed(1)
    ready = await ccd.get_acquisition_ready()
    await ccd.acquisition_start(open_shutter=True)
    await asyncio.sleep(0.4)
    while await ccd.get_acquisition_busy():
        await asyncio.sleep(0.05)
    data = await ccd.get_acquisition_data()
    found = {
        "wavelength": await mono.get_current_wavelength(),
        "grating": (await mono.get_turret_grating()).value,
        "slit": await mono.get_slit_position_in_mm(mono.Slit.A),
        "size": [size.width, size.height],
        "temperature": await ccd.get_chip_temperature(),
        "ready": ready,
        "y": data["acquisition"][0]["roi"][0]["yData"][0],
    }
    await ccd.close()
    await mono.close()
    await manager.stop()
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.mark.clients
def test_the_vendors_own_client(served: Any, tmp_path: Path) -> None:
    """horiba-sdk 1.0.4 in an environment of its own (it needs websockets before 13)."""
    python = os.environ.get("GAINBENCH_HORIBA_PYTHON")
    if not python:
        pytest.skip("GAINBENCH_HORIBA_PYTHON names no python that has horiba-sdk")
    _, serving = served
    script = tmp_path / "client.py"
    script.write_text(CLIENT, encoding="utf-8")
    done = subprocess.run(
        [python, str(script), str(serving.address["port"])],
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wavelength"] == pytest.approx(532.0, abs=0.01) and found["grating"] == 1
    assert found["slit"] == pytest.approx(0.05) and found["size"] == [1024, 256]
    assert found["ready"] is True and -61.0 < found["temperature"] < -59.0
    assert abs(int(np.argmax(np.convolve(found["y"], np.ones(9), "same"))) - 300) < 12


def test_every_reading_is_played_somewhere() -> None:
    """A reading that no test above plays would be untested: the list must hold both of each."""
    for field in dataclasses.fields(Dialect):
        if field.name != "busy_after_s":
            assert len({getattr(d, field.name) for d in READINGS.values()}) > 1, field.name
