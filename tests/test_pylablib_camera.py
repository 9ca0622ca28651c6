"""The pylablib cameras: the drivers on stand-ins of the vendor libraries, and the stand-ins alone.

Both families through the same sentences; then what is peculiar to each library, in every reading
that its documents leave open; then pylablib itself as an independent client.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instruments.clock import VirtualClock, WallClock
from instruments.drivers import pylablib_loading as driver
from instruments.drivers.andor_sdk2 import AndorSdk2Camera
from instruments.drivers.princeton_picam import PicamCamera
from instruments.drivers.pylablib_camera import PylablibCamera
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
from instruments.roles import Camera
from sim_drivers.devices import andor_sdk2, princeton_picam
from sim_drivers.devices.andor_sdk2 import FakeAndorSdk2
from sim_drivers.devices.princeton_picam import FakePicam

START = 1_790_000_000.0
PEAK, WIDTH = 400.0, 12.0


class World:
    """Light on the detector: a peak of `rate` electrons a pixel and second."""

    def __init__(self, rate: float = 2e5, flat: bool = False) -> None:
        self.rate = rate
        self.flat = flat
        self.asked: list[tuple[float, float]] = []

    def ccd_electrons(
        self, start_s: float, exposure_s: float, pixels: int, pixel_pitch_um: float
    ) -> np.ndarray:
        self.asked.append((start_s, exposure_s))
        shape = np.exp(-(((np.arange(pixels) - PEAK) / WIDTH) ** 2))
        return self.rate * exposure_s * (np.ones(pixels) if self.flat else shape)


FAMILIES = {"andor": (AndorSdk2Camera, FakeAndorSdk2), "picam": (PicamCamera, FakePicam)}
both = pytest.mark.parametrize("family", FAMILIES)


def make(
    family: str,
    world: World | None = None,
    clock: Any = None,
    connect: bool = True,
    wrap: Callable[[Any], Any] | None = None,
    fake: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Any, Any, Any]:
    kind, library = FAMILIES[family]
    clock = clock or VirtualClock(START)
    sdk = library(clock, world or World(), **{"seed": 5, **(fake or {})})
    sdk.sensor.cosmics_per_cm2_s = 0.0
    camera = kind(clock=clock, sdk=wrap(sdk) if wrap else sdk, **options)
    if connect:
        camera.connect()
    return camera, sdk, clock


# ---- the role ---------------------------------------------------------------------------------


@both
def test_a_connected_camera_fills_the_role(family: str) -> None:
    camera, _, clock = make(family)
    assert isinstance(camera, Camera)
    size = {"andor": (1024, 256, 26.0), "picam": (1340, 100, 20.0)}[family]
    assert (camera.pixels, camera.rows, camera.pixel_pitch_um) == size
    assert camera.identity.model == {"andor": "DU920P_BEX2_DD", "picam": "PIXIS: 100B"}[family]
    assert camera.identity.serial == {"andor": "17005", "picam": "2401005"}[family]
    assert camera.saturation_counts == 65535
    assert camera.status().ok and "-70.0 C" in camera.status().text
    before = clock.now()
    taken = camera.acquire(3)
    assert taken.frames.shape == (3, camera.pixels) and taken.frames.dtype == np.uint16
    assert taken.exposure_s == camera.exposure_s == 0.1
    assert taken.start_s >= before and taken.end_s == clock.now()
    assert not taken.saturated
    for frame in taken.frames:
        assert abs(np.argmax(np.convolve(frame, np.ones(9) / 9, "same")) - PEAK) < 4
    snapshot = camera.snapshot()
    assert snapshot["exposure_s"].value == 0.1 and snapshot["exposure_s"].unit == "s"
    assert snapshot["shutter"].value == "open"
    assert snapshot["temperature_setpoint_C"].value == -70.0
    camera.close()


@both
def test_unknown_attributes_are_refused(family: str) -> None:
    camera, _, _ = make(family)
    with pytest.raises(AttributeError):
        camera.exposure_ms = 3.0


@both
def test_before_connect_and_after_close_it_says_so(family: str) -> None:
    camera, _, _ = make(family, connect=False)
    for ask in (camera.acquire, camera.status, lambda: camera.exposure_s, lambda: camera.identity):
        with pytest.raises(NotReady, match="connect"):
            ask()
    assert camera.limits == {}
    camera.make_safe()
    camera.abort()
    camera.close()
    camera.connect()
    camera.close()
    camera.close()
    with pytest.raises(NotReady):
        camera.acquire()


@both
def test_it_opens_again_after_close(family: str) -> None:
    camera, sdk, _ = make(family)
    for _ in range(3):
        first = camera.acquire(2)
        assert first.frames.max() > 1000
        camera.close()
        assert not sdk._initialized
        camera.connect()
    assert sdk._initialized
    camera.close()


# ---- counts -------------------------------------------------------------------------------------


@both
def test_counts_follow_the_light_with_the_gain_of_the_sensor(family: str) -> None:
    """Photon transfer: mean gives light over gain, variance gives the gain back."""
    electrons = 20_000.0
    camera, _, _ = make(family, World(electrons / 0.05, flat=True))
    camera.set_exposure_s(0.05)
    lit = camera.acquire(40).frames.astype(float)
    camera.close()
    camera, sdk, _ = make(family, World(0.0))
    camera.set_exposure_s(0.05)
    dark = camera.acquire(40).frames.astype(float)
    gain = {"andor": 4.0, "picam": 2.0}[family]
    signal = lit.mean() - dark.mean()
    assert signal == pytest.approx(electrons / gain, abs=5 * np.sqrt(electrons / lit.size) / gain)
    variance = lit.var(axis=0, ddof=1).mean() - dark.var(axis=0, ddof=1).mean()
    assert signal / variance == pytest.approx(gain, rel=0.05)
    read_noise = dark.std(ddof=1) * gain
    assert read_noise == pytest.approx(11.0, rel=0.1)
    assert dark.mean() == pytest.approx(sdk.sensor.bias_counts, abs=1.0)


@both
def test_a_warm_sensor_has_dark_signal_that_doubles_every_few_kelvin(family: str) -> None:
    means = []
    for celsius in (10.0, 16.3):
        camera, sdk, _ = make(family, World(0.0), temperature_C=None)
        sdk.sensor.force(celsius, celsius)
        camera.set_exposure_s(0.5)
        means.append(camera.acquire(5).frames.mean() - sdk.sensor.bias_counts)
    assert means[1] / means[0] == pytest.approx(2.0, rel=0.05)


@both
def test_bright_light_saturates_and_says_so(family: str) -> None:
    camera, sdk, _ = make(family, World(1e9))
    taken = camera.acquire(2)
    assert taken.saturated and taken.frames.max() == 65535
    camera.close()
    camera, sdk, _ = make(family, World(0.0), saturation_counts=50_000)
    assert not camera.acquire(1).saturated
    sdk.inject("saturate")
    assert camera.acquire(1).saturated and camera.acquire(1).saturation_counts == 50_000


@both
def test_mirrored_reverses_the_pixels(family: str) -> None:
    plain = make(family)[0].acquire(2).frames
    mirrored = make(family, mirrored=True)[0].acquire(2).frames
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


@both
def test_cosmic_rays_come_at_their_rate(family: str) -> None:
    camera, sdk, _ = make(family, World(0.0))
    sdk.sensor.cosmics_per_cm2_s = 0.02
    camera.set_exposure_s(10.0)
    frames = camera.acquire(100).frames
    area_cm2 = camera.pixels * camera.rows * (camera.pixel_pitch_um * 1e-4) ** 2
    expected = 0.02 * area_cm2 * 10.0 * 100
    hit = int((frames > np.median(frames) + 60).any(axis=1).sum())
    assert 0.5 * min(expected, 100) < hit <= 100 if expected > 100 else hit < 2 * expected
    assert frames.max() > np.median(frames) + 1000


# ---- noise belongs to the exposure's number ------------------------------------------------------


@both
def test_the_same_exposure_number_has_the_same_noise(family: str) -> None:
    camera, sdk, _ = make(family)
    first = camera.acquire(2).frames
    state = sdk.state()
    second = camera.acquire(2).frames
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first, second)
    other, resumed, _ = make(family)
    resumed.restore(state)
    assert state["exposures"] == 2.0
    np.testing.assert_array_equal(other.acquire(2).frames, second)
    fresh = make(family, fake={"seed": 6})[0].acquire(2).frames
    assert not np.array_equal(fresh, first)


@both
def test_series_and_single_frames_draw_the_same_noise(family: str) -> None:
    """However many frames are fetched at once: short exposures come in batches."""
    camera, _, _ = make(family)
    camera.set_exposure_s(0.01)
    series = camera.acquire(30).frames
    camera, _, _ = make(family)
    camera.set_exposure_s(0.01)
    single = np.concatenate([camera.acquire(1).frames for _ in range(30)])
    np.testing.assert_array_equal(series, single)


def test_two_cameras_on_one_bench_have_noise_of_their_own() -> None:
    clock = VirtualClock(START)
    one = make("andor", clock=clock, fake={"device": "camera"})[0].acquire(1).frames
    two = make("andor", clock=clock, fake={"device": "second"})[0].acquire(1).frames
    assert not np.array_equal(one, two)


# ---- time ---------------------------------------------------------------------------------------


@both
def test_a_series_takes_exposures_and_readouts_of_bench_time(family: str) -> None:
    camera, _, clock = make(family)
    camera.set_exposure_s(0.2)
    camera.acquire(1)  # opens the shutter
    before = clock.now()
    taken = camera.acquire(50)
    lasted = taken.end_s - taken.start_s
    period = camera.snapshot()["frame_period_s"].value
    readout = {"andor": 256 * 12.9e-6 + 1024 / 3e6, "picam": 100 * 9.2e-6 + 1340 / 2e6}[family]
    assert period == pytest.approx(0.2 + readout, rel=1e-3)
    assert lasted == pytest.approx(50 * period, abs=2e-3)
    assert clock.now() - before == pytest.approx(lasted, abs=1e-3)


@both
def test_the_world_is_asked_for_the_time_that_was_exposed(family: str) -> None:
    world = World()
    camera, _, _ = make(family, world)
    camera.set_exposure_s(0.2)
    camera.acquire(1)
    world.asked.clear()
    taken = camera.acquire(3)
    period = camera.snapshot()["frame_period_s"].value
    for index, (start, exposure) in enumerate(world.asked):
        assert start == pytest.approx(taken.start_s + index * period, abs=1e-5)
        assert exposure == pytest.approx(0.2, abs=1e-5)
    assert len(world.asked) == 3


@both
def test_long_exposures_cost_no_real_time_and_short_ones_little(family: str) -> None:
    camera, _, clock = make(family)
    camera.set_exposure_s(1000.0)
    real, bench = time.perf_counter(), clock.now()
    camera.acquire(2)
    assert clock.now() - bench > 2000.0
    assert time.perf_counter() - real < 2.0
    camera.set_exposure_s(0.01)
    camera.acquire(1)
    real = time.perf_counter()
    camera.acquire(400)
    assert (time.perf_counter() - real) / 400 < 3e-3


@both
def test_exposures_are_what_the_camera_took(family: str) -> None:
    camera, _, _ = make(family)
    low, high = camera.limits["exposure_s"].low, camera.limits["exposure_s"].high
    assert camera.set_exposure_s(0.1) == 0.1  # not 0.0999..., not 0.10000000149
    odd = camera.set_exposure_s(0.0123456789)
    step = {"andor": 1e-5, "picam": 1e-6}[family]
    assert odd != 0.0123456789 and abs(odd - 0.0123456789) <= step
    assert camera.exposure_s == odd == camera.acquire(1).exposure_s
    assert camera.set_exposure_s(low) == pytest.approx(low, abs=1e-9)
    assert camera.set_exposure_s(high) == high
    camera.set_exposure_s(0.05)
    for bad in (-1.0, high * 1.01, float("nan"), float("inf")):
        with pytest.raises(LimitError, match="exposure_s"):
            camera.set_exposure_s(bad)
    assert camera.exposure_s == 0.05


@both
@pytest.mark.parametrize("milliseconds", [1, 3, 7, 29, 57, 100, 113, 250, 999, 1001])
def test_whole_milliseconds_survive(family: str, milliseconds: int) -> None:
    camera, _, _ = make(family)
    assert camera.set_exposure_s(milliseconds * 1e-3) == pytest.approx(
        milliseconds * 1e-3, rel=2e-7
    )


@both
@pytest.mark.parametrize("frames", [0, -1, 10**9, 1.5])
def test_bad_numbers_of_frames_are_refused(family: str, frames: Any) -> None:
    camera, _, _ = make(family)
    with pytest.raises(LimitError, match="frames"):
        camera.acquire(frames)
    assert camera.acquire(1).frames.shape[0] == 1


# ---- temperature -------------------------------------------------------------------------------


@both
def test_the_sensor_cools_with_time_and_the_status_follows(family: str) -> None:
    camera, _, clock = make(family, fake={"start_temperature_C": 20.0})
    assert camera.temperature_C == pytest.approx(20.0, abs=0.5)
    assert not camera.status().ok and "cooling" in camera.status().text
    clock.sleep(60.0)
    assert camera.temperature_C == pytest.approx(-70 + 90 / np.e, abs=0.5)
    camera.wait_until_cold(900.0)
    assert camera.status().ok and camera.temperature_C == pytest.approx(-70.0, abs=0.6)
    assert 250.0 < clock.now() - START < 500.0


@both
def test_connect_waits_for_the_cold_when_asked(family: str) -> None:
    camera, _, clock = make(family, cooling_timeout_s=900.0, fake={"start_temperature_C": 20.0})
    assert camera.status().ok and clock.now() - START > 250.0
    with pytest.raises(NotReady, match="the sensor is at"):
        make(family, cooling_timeout_s=10.0, fake={"start_temperature_C": 20.0})


@both
def test_set_points_are_limited(family: str) -> None:
    camera, _, _ = make(family)
    assert camera.set_temperature_C(-40.0) == -40.0
    assert not camera.status().ok
    camera.wait_until_cold(600.0)
    assert camera.temperature_C == pytest.approx(-40.0, abs=0.6)
    for bad in (-200.0, 60.0, float("nan")):
        with pytest.raises(LimitError, match="temperature_C"):
            camera.set_temperature_C(bad)
    with pytest.raises(LimitError):
        make(family, temperature_C=-300.0)


@both
@pytest.mark.parametrize("answers", [False, True])
def test_temperature_and_status_answer_during_an_acquisition(family: str, answers: bool) -> None:
    camera, _, clock = make(family, fake={"temperature_while_acquiring": answers})
    seen: list[tuple[float, str, bool]] = []
    ticket = clock.every(
        0.5, lambda: seen.append((camera.temperature_C, camera.status().text, camera.status().ok))
    )
    camera.set_exposure_s(1.0)
    camera.acquire(3)
    ticket.cancel()
    assert len(seen) >= 5
    for celsius, text, ok in seen:
        assert celsius == pytest.approx(-70.0, abs=0.1) and text.startswith("acquiring") and ok


@both
def test_a_thermometer_that_fails_is_no_temperature(family: str) -> None:
    camera, sdk, _ = make(family)
    sdk.inject("sensor")
    with pytest.raises(BadReply, match="temperature"):
        _ = camera.temperature_C
    sdk.inject(None)
    assert camera.temperature_C == pytest.approx(-70.0, abs=0.1)


def test_a_cooler_that_does_not_switch_on_is_reported() -> None:
    camera, sdk, _ = make("andor", connect=False, fake={"start_temperature_C": 20.0})
    sdk.inject("sensor")
    with pytest.raises(DeviceFault, match="cooler"):
        camera.connect()
    assert not sdk._initialized


def test_the_set_point_is_sent_although_pylablib_ignores_it_when_opening() -> None:
    camera, sdk, _ = make("andor", temperature_C=-55.0, fake={"start_temperature_C": 20.0})
    assert sdk._setpoint_C == -55 and sdk._cooler
    camera.close()


@pytest.mark.parametrize("keep", [True, False])
def test_the_sensor_stays_cold_after_close_when_asked(keep: bool) -> None:
    camera, sdk, clock = make("andor", keep_cooling=keep)
    if not keep:
        sdk._cooler_mode = 0
    camera.close()
    clock.sleep(600.0)
    assert (sdk.sensor.temperature() < -69.0) is keep


# ---- stopping ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("how", ["abort", "make_safe"])
def test_a_regular_call_can_stop_an_acquisition_in_line(family: str, how: str) -> None:
    camera, _, clock = make(family)
    camera.set_exposure_s(1.0)
    ticket = clock.every(2.5, lambda: getattr(camera, how)())
    before = clock.now()
    with pytest.raises(InstrumentError, match="aborted"):
        camera.acquire(100)
    ticket.cancel()
    assert clock.now() - before < 4.0
    assert camera.acquire(2).frames.max() > 1000


@both
def test_another_thread_can_stop_an_acquisition(family: str) -> None:
    camera, _, _ = make(family, clock=WallClock())
    camera.set_exposure_s(5.0)
    threading.Timer(0.15, camera.make_safe).start()
    before = time.monotonic()
    with pytest.raises(InstrumentError, match="aborted"):
        camera.acquire(1)
    assert time.monotonic() - before < 2.0
    camera.close()


@both
def test_it_works_on_a_fast_wall_clock(family: str) -> None:
    camera, _, _ = make(family, clock=WallClock(20.0))
    taken = camera.acquire(10)
    assert taken.frames.shape[0] == 10 and taken.frames.max() > 1000
    camera.close()


@both
def test_only_one_acquisition_at_a_time(family: str) -> None:
    camera, _, clock = make(family)
    refused: list[BaseException] = []

    def meddle() -> None:
        for call in (camera.acquire, lambda: camera.set_exposure_s(0.2)):
            try:
                call()
            except NotReady as error:
                refused.append(error)

    ticket = clock.every(0.05, meddle)
    taken = camera.acquire(1)
    ticket.cancel()
    assert len(refused) >= 2 and taken.exposure_s == 0.1 == camera.exposure_s


@both
def test_safe_means_that_the_internal_shutter_is_closed(family: str) -> None:
    world = World()
    camera, sdk, _ = make(family, world)
    assert camera.snapshot()["shutter"].value == "closed"
    closed = {"andor": 2, "picam": 2}[family]
    assert sdk._shutter == closed and world.asked == []
    assert camera.acquire(1).frames.max() > 1000
    assert sdk._shutter != closed
    camera.make_safe()
    assert sdk._shutter == closed and camera.snapshot()["shutter"].value == "closed"
    assert camera.acquire(1).frames.max() > 1000  # and the next acquisition opens it again


@both
def test_a_shutter_that_stays_closed_gives_dark_frames(family: str) -> None:
    camera, _, _ = make(family, World(1e6), shutter="closed")
    assert camera.acquire(3).frames.max() < 700


@both
def test_the_full_exposure_is_lit_from_the_first_frame_on(family: str) -> None:
    """The blade needs time to open: the driver waits for it."""
    for shutter in ("open", "auto"):
        world = World()
        camera, _, _ = make(family, world, shutter=shutter)
        camera.set_exposure_s(0.02)
        camera.acquire(2)
        assert [asked[1] for asked in world.asked] == pytest.approx([0.02, 0.02], abs=1e-5)


@both
def test_make_safe_tries_the_shutter_although_the_abort_fails(family: str) -> None:
    camera, sdk, _ = make(family)
    camera.acquire(1)
    stop = type(camera._cam).stop_acquisition
    calls = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no")
        stop(camera._cam)

    camera._cam.stop_acquisition = fail_once
    with pytest.raises(InstrumentError):
        camera.make_safe()
    assert sdk._shutter == 2


# ---- what goes wrong --------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", ["silence", "timeout", "stuck"])
def test_frames_that_never_come_end_in_no_reply(family: str, kind: str) -> None:
    camera, sdk, clock = make(family)
    sdk.inject(kind)
    before, real = clock.now(), time.perf_counter()
    with pytest.raises(NoReply, match="0 of 2 frames"):
        camera.acquire(2)
    assert 5.0 < clock.now() - before < 7.0 and time.perf_counter() - real < 3.0
    sdk.inject(None)
    assert camera.acquire(2).frames.max() > 1000


@both
def test_a_camera_that_is_unplugged_does_not_answer_and_can_be_closed(family: str) -> None:
    camera, sdk, _ = make(family)
    camera.acquire(1)
    sdk.inject("disconnect")
    for call in (
        camera.acquire,
        camera.status,
        camera.make_safe,
        camera.abort,
        lambda: camera.set_exposure_s(0.3),
        lambda: camera.exposure_s,
    ):
        with pytest.raises(NoReply, match="cable"):
            call()
    camera.close()
    with pytest.raises(NoReply):
        camera.connect()
    sdk.inject(None)
    camera.connect()
    assert camera.acquire(1).frames.max() > 1000
    camera.close()


@both
def test_unplugging_in_the_middle_of_a_series_is_seen(family: str) -> None:
    camera, sdk, clock = make(family)
    camera.set_exposure_s(0.5)
    ticket = clock.every(1.2, lambda: sdk.inject("disconnect"))
    with pytest.raises(NoReply):
        camera.acquire(20)
    ticket.cancel()


def test_another_camera_than_the_one_asked_for_is_refused() -> None:
    camera, sdk, _ = make("andor", serial="17005")
    camera.close()
    sdk.inject("identity")
    with pytest.raises(WrongIdentity, match="17006"):
        camera.connect()
    assert not sdk._initialized
    picam, library, _ = make("picam", connect=False)
    picam._serial = "2401005"
    library.inject("identity")
    with pytest.raises(NoReply, match="2401005"):
        picam.connect()
    assert not library._initialized


def test_an_index_without_a_camera_is_refused() -> None:
    clock = VirtualClock(START)
    with pytest.raises(NoReply, match="index 1"):
        AndorSdk2Camera("1", clock=clock, sdk=FakeAndorSdk2(clock, World())).connect()
    with pytest.raises(ConfigError, match="resource"):
        AndorSdk2Camera("COM3")


def test_options_that_the_camera_does_not_have_are_refused_with_what_there_is() -> None:
    camera, _, _ = make("andor", readout_MHz=1.0, preamp_gain=4.0)
    assert camera.snapshot()["readout_MHz"].value == 1.0
    assert camera.snapshot()["electrons_per_count"].value == 1.0
    camera.close()
    for options in ({"readout_MHz": 5.0}, {"readout_MHz": 3.0, "preamp_gain": 4.0}):
        camera, sdk, _ = make("andor", connect=False, **options)
        with pytest.raises(LimitError, match=r"\(0\.05, 1\.0\)"):
            camera.connect()
        assert not sdk._initialized
    picam, _, _ = make("picam", readout_MHz=0.1, analog_gain=3)
    assert picam.snapshot()["analog_gain"].value == "High"
    assert picam.snapshot()["frame_period_s"].value == pytest.approx(0.1 + 0.0134 + 0.00092, 1e-3)
    with pytest.raises(LimitError, match="readout_MHz"):
        make("picam", readout_MHz=1.0)
    for family in FAMILIES:
        with pytest.raises(ConfigError, match="shutter"):
            make(family, shutter="ajar")
        with pytest.raises(LimitError, match="saturation_counts"):
            make(family, saturation_counts=70_000)
    with pytest.raises(ConfigError, match="fan"):
        make("andor", fan="fast")


@both
def test_a_camera_that_is_forgotten_is_closed(family: str) -> None:
    camera, sdk, _ = make(family)
    assert sdk._initialized
    del camera
    gc.collect()
    assert not sdk._initialized


def test_pylablib_giving_up_half_way_does_not_leave_a_picam_camera_open() -> None:
    camera, sdk, _ = make("picam")
    sdk.PicamAdvanced_SetAcquisitionBuffer = lambda *_: (_ for _ in ()).throw(RuntimeError("no"))
    camera.close()
    assert not sdk._open and not sdk._initialized


def test_a_picam_camera_that_fails_while_opening_is_not_left_open() -> None:
    camera, sdk, _ = make("picam", connect=False)

    def broken(_handle: int) -> None:
        raise KeyError("not an error of the library")

    sdk.Picam_GetParameters = broken
    with pytest.raises(NoReply):
        camera.connect()
    assert not sdk._open and not sdk._initialized
    del sdk.Picam_GetParameters
    camera.connect()
    assert camera.acquire(1).frames.max() > 1000
    camera.close()


def test_aborting_what_has_just_ended_is_no_error() -> None:
    camera, _, clock = make("picam", fake={"idle_stop_refused": True})
    problems: list[BaseException] = []

    def late() -> None:
        clock.sleep(5.0)
        try:
            camera.abort()
        except InstrumentError as error:
            problems.append(error)

    ticket = clock.every(0.15, late)
    with pytest.raises(InstrumentError, match="aborted"):
        camera.acquire(5)
    ticket.cancel()
    assert problems == []


@pytest.mark.parametrize(("fan", "mode"), [("full", 0), ("low", 1), ("off", 2)])
def test_the_fan_runs_as_asked(fan: str, mode: int) -> None:
    camera, sdk, _ = make("andor", fan=fan)
    assert sdk._fan == mode
    camera.close()
    camera, sdk, _ = make("andor")
    assert sdk._fan == 0  # pylablib's own default would let a cooled head overheat
    camera.close()


@both
@pytest.mark.skipif(sys.platform == "win32", reason="the vendor library may be installed")
def test_without_the_vendor_library_the_error_says_what_to_install(family: str) -> None:
    camera = FAMILIES[family][0]()
    with pytest.raises(NotReady, match=r"was not found: install .*`library`"):
        camera.connect()
    with pytest.raises(NotReady, match="connect"):
        camera.status()
    camera.close()


@both
def test_without_pylablib_the_error_says_what_to_install(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(NotReady, match="pip install pylablib"):
        make(family)


class Flaky:
    """A vendor library in which one call, or every one from then on, fails with a code."""

    def __init__(self, sdk: Any, code: int, forever: bool) -> None:
        self.__dict__.update(sdk=sdk, code=code, forever=forever, left=-(10**9))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            setattr(self.sdk, name, value)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.sdk, name)
        if name == "initlib" or not callable(value) or "Enumeration" in name:
            return value

        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left == 0 or (self.forever and -(10**8) < self.left < 0):
                raise self.sdk.library_error(name, self.code)
            return value(*args)

        return call


@both
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    after=st.integers(1, 45),
    code=st.sampled_from([20013, 20024, 20066, 20072, 20075, 20089, 20990, 2, 15, 20, 23, 27, 32]),
    forever=st.booleans(),
)
def test_a_call_that_fails_gives_right_frames_or_an_error(
    family: str, after: int, code: int, forever: bool
) -> None:
    reference = make(family)[0]
    good = np.concatenate([reference.acquire(3).frames for _ in range(2)])
    camera, sdk, _ = make(family, wrap=lambda inner: Flaky(inner, code, forever))
    flaky = camera._sdk
    flaky.left = after
    for part in (good[:3], good[3:]):
        try:
            frames = camera.acquire(3).frames
        except BenchError:
            break
        np.testing.assert_array_equal(frames, part)
    flaky.left = -(10**9)
    assert camera.acquire(2).frames.shape == (2, camera.pixels)  # it recovers
    camera.close()
    assert not sdk._initialized


@both
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(after=st.integers(1, 330), code=st.sampled_from([20089, 20075, 20066, 15, 23, 2]))
def test_a_failure_while_opening_leaves_nothing_open(family: str, after: int, code: int) -> None:
    camera, sdk, _ = make(family, connect=False, wrap=lambda inner: Flaky(inner, code, False))
    camera._sdk.left = after
    try:
        camera.connect()
    except BenchError:
        assert not sdk._initialized
        camera.connect()
    camera._sdk.left = -(10**9)
    assert camera.acquire(1).frames.max() > 1000
    camera.close()


# ---- readings of the documents -------------------------------------------------------------------


@pytest.mark.parametrize("progress_after_end", [False, True])
@pytest.mark.parametrize("buffer_frames", [4096, 8, 1, 0])
@pytest.mark.parametrize("has_shutter", [True, False])
def test_andor_readings(progress_after_end: bool, buffer_frames: int, has_shutter: bool) -> None:
    fake = {
        "progress_after_end": progress_after_end,
        "buffer_frames": buffer_frames,
        "has_shutter": has_shutter,
    }
    expected = make("andor")[0].acquire(30).frames
    camera, _, _ = make("andor", fake=fake)
    np.testing.assert_array_equal(camera.acquire(30).frames, expected)
    camera.make_safe()
    assert camera.acquire(1).frames.max() > 1000


def test_frames_lost_in_a_full_buffer_are_an_error() -> None:
    camera, _, clock = make("andor", fake={"buffer_frames": 8})
    camera.set_exposure_s(0.01)
    ticket = clock.every(0.2, lambda: clock.sleep(0.5))
    with pytest.raises(BadReply, match="too slow"):
        camera.acquire(200)
    ticket.cancel()
    assert camera.acquire(2).frames.shape[0] == 2


@pytest.mark.parametrize("late_end", [False, True])
@pytest.mark.parametrize("idle_wait_refused", [False, True])
@pytest.mark.parametrize("idle_stop_refused", [False, True])
@pytest.mark.parametrize("rows", [100, 400])
def test_picam_readings(
    late_end: bool, idle_wait_refused: bool, idle_stop_refused: bool, rows: int
) -> None:
    fake = {
        "late_end": late_end,
        "idle_wait_refused": idle_wait_refused,
        "idle_stop_refused": idle_stop_refused,
        "rows": rows,
    }
    expected = make("picam", fake={"rows": rows})[0].acquire(12).frames
    camera, _, _ = make("picam", fake=fake)
    np.testing.assert_array_equal(camera.acquire(12).frames, expected)
    camera.abort()
    assert camera.acquire(1).frames.max() > 1000
    assert camera.rows == rows


# ---- several cameras, and the real library ------------------------------------------------


def test_cameras_in_one_process_do_not_disturb_each_other() -> None:
    clock = VirtualClock(START)
    alone = {
        family: make(family, fake={"seed": 9})[0].acquire(3).frames.astype(int)
        for family in FAMILIES
    }
    cameras = [
        make(family, World(2e5), clock=clock, fake={"seed": seed})[0]
        for family in FAMILIES
        for seed in (9, 10)
    ]
    cameras[0].set_exposure_s(0.3)
    cameras[1].close()
    cameras[0].set_exposure_s(0.1)
    assert not np.array_equal(cameras[2].acquire(3).frames, cameras[3].acquire(3).frames)
    assert np.abs(cameras[0].acquire(3).frames - alone["andor"]).max() == 0
    cameras[1].connect()
    assert cameras[1].acquire(1).frames.max() > 1000
    for camera in cameras:
        camera.close()


def test_simulated_cameras_work_in_threads_at_the_same_time() -> None:
    failures: list[BaseException] = []

    def work(family: str, seed: int) -> None:
        try:
            expected = None
            for _ in range(3):
                camera, _, _ = make(family, fake={"seed": seed})
                frames = camera.acquire(5).frames
                camera.close()
                assert expected is None or np.array_equal(frames, expected)
                expected = frames
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(family, seed)) for family in FAMILIES for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_simulated_camera_leaves_pylablib_alone_and_loads_little() -> None:
    program = """
import sys
from instruments.clock import VirtualClock
from instruments.drivers.andor_sdk2 import AndorSdk2Camera
from instruments.drivers.princeton_picam import PicamCamera
from sim_drivers.devices.andor_sdk2 import FakeAndorSdk2
from sim_drivers.devices.princeton_picam import FakePicam
ours = ("pylablib_camera", "pylablib_loading")
assert not [m for m in sys.modules if "pylablib" in m and not m.endswith(ours)]
class Dark:
    def ccd_electrons(self, start_s, exposure_s, pixels, pixel_pitch_um):
        return [0.0] * pixels
clock = VirtualClock(0.0)
for kind, fake in ((AndorSdk2Camera, FakeAndorSdk2), (PicamCamera, FakePicam)):
    camera = kind(clock=clock, sdk=fake(clock, Dark()))
    camera.connect()
    module = sys.modules["gainbench_pylablib." + kind._MODULE]
    assert module is not camera._module
    assert module.lib is not camera._module.lib and not module.libctl.opened
    camera.close()
assert not [m for m in ("pylablib", "PyQt5", "numba", "scipy") if m in sys.modules]
print("well")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "well", done.stderr


# ---- pylablib as an independent client ---------------------------------------------------------


@contextlib.contextmanager
def client(family: str, sdk: Any) -> Any:
    """pylablib's own camera, driven as its documents say, on a stand-in."""
    module = driver.load(FAMILIES[family][0]._MODULE, private=True)
    sdk.library_error = getattr(module, FAMILIES[family][0]._LIBRARY_ERROR)
    module.lib, module.libctl = sdk, module.LibraryController(sdk)
    cls = {"andor": "AndorSDK2Camera", "picam": "PicamCamera"}[family]
    camera = getattr(module, cls)()
    try:
        yield camera
    finally:
        camera.close()


@both
def test_pylablib_grabs_snaps_and_counts(family: str) -> None:
    clock = VirtualClock(START)
    sdk = FAMILIES[family][1](clock, World(), seed=5)
    with client(family, sdk) as camera:
        camera.set_exposure(0.02)
        if family == "andor":
            camera.setup_shutter("open")
            camera.set_read_mode("fvb")
        else:
            camera.set_roi(vbin=100)
        clock.sleep(1.0)
        real = time.perf_counter()
        frames = camera.grab(5)
        assert [frame.shape for frame in frames] == [(1, sdk.sensor.columns)] * 5
        assert np.mean(frames, axis=0)[0, int(PEAK)] > 1200
        assert camera.snap().max() > 1000
        camera.setup_acquisition(mode="sequence", nframes=10)
        camera.start_acquisition()
        camera.wait_for_frame(nframes=3)
        assert camera.get_frames_status().acquired >= 3
        assert len(camera.read_multiple_images()) >= 3
        camera.stop_acquisition()
        assert not camera.acquisition_in_progress()
        assert time.perf_counter() - real < 3.0
    assert not sdk._initialized


def test_pylablib_reads_images_and_tracks_that_add_up() -> None:
    sdk = FakeAndorSdk2(VirtualClock(START), World(1e6, flat=True), seed=5, buffer_frames=100)
    sdk.sensor.cosmics_per_cm2_s = 0.0
    with client("andor", sdk) as camera:
        camera.setup_shutter("open")
        sdk.clock.sleep(1.0)
        camera.set_exposure(0.05)
        camera.set_read_mode("fvb")
        spectrum = camera.snap() - 600.0
        camera.setup_image_mode()
        image = camera.snap()
        assert image.shape == (256, 1024)
        light = image - 600.0
        assert light.sum(axis=0).mean() == pytest.approx(spectrum.mean(), rel=0.01)
        rows = light.mean(axis=1)
        assert 120 < rows.argmax() < 136 and rows[:64].max() < 0.02 * rows.max()
        camera.setup_image_mode(hstart=100, hend=900, vstart=96, vend=160, hbin=4, vbin=8)
        assert camera.snap().shape == (8, 200)
        camera.setup_single_track_mode(center=127, width=100)
        assert (camera.snap() - 600.0).mean() == pytest.approx(spectrum.mean(), rel=0.02)
        camera.setup_random_track_mode([(0, 20), (100, 156), (200, 220)])
        tracks = camera.snap() - 600.0
        assert tracks.shape == (3, 1024) and tracks[1].mean() > 100 * abs(tracks[0].mean())
        camera.setup_multi_track_mode(4, 10, 0)
        assert camera.snap().shape == (4, 1024)


def test_accumulated_exposures_add_up() -> None:
    sdk = FakeAndorSdk2(VirtualClock(START), World(1e5, flat=True), seed=5)
    with client("andor", sdk) as camera:
        camera.setup_shutter("open")
        sdk.clock.sleep(1.0)
        camera.set_exposure(0.05)
        camera.set_read_mode("fvb")
        camera.setup_kinetic_mode(2, num_acc=4)
        camera.setup_acquisition("snap", 2)
        before = sdk.clock.now()
        camera.start_acquisition()
        while sdk.GetStatus() == 20072:
            sdk.clock.sleep(0.01)
        assert sdk.clock.now() - before == pytest.approx(8 * (0.05 + 0.003644), abs=0.02)
        data, _, _ = sdk.GetImages16(1, 2, 2 * 1024)
        assert data.mean() == pytest.approx(4 * (600 + 1e5 * 0.05 / 4.0), rel=0.01)
        assert sdk.exposures == 8


def test_the_traps_of_pylablib_are_there_and_the_driver_keeps_out() -> None:
    sdk = FakeAndorSdk2(VirtualClock(START), World(), start_temperature_C=20.0)
    with client("andor", sdk) as camera:
        camera.set_acquisition_mode("kinetic")
        assert sdk._mode == 4  # fast kinetics
        camera.set_read_mode("fvb")
        camera.set_roi()
        assert camera.get_read_mode() == "image"
        camera.setup_acquisition("snap", 3)
        camera.set_read_mode("fvb")
        camera.start_acquisition()
        sdk.clock.sleep(5.0)
        assert not camera.read_multiple_images()  # the progress is gone with the series
        assert sdk.GetTotalNumberImagesAcquired() == 3
    driven, library, _ = make("andor")
    assert (library._mode, library._read_mode, library._kinetics) == (3, 0, 1)
    driven.acquire(7)
    assert (library._mode, library._read_mode, library._kinetics) == (3, 0, 7)
    picam, _, _ = make("picam")
    picam._cam.set_attribute_value("Exposure Time", 57.001)  # truncates to what lies below
    assert picam._cam.cav["Exposure Time"] < 57.001
    assert picam.set_exposure_s(0.057001) == 0.057001


def test_the_genuine_pylablib_finds_its_own_exception_in_the_stand_in() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = importlib.import_module("pylablib.devices.Andor.AndorSDK2")
        picam = importlib.import_module("pylablib.devices.PrincetonInstruments.picam")
    clock = VirtualClock(START)
    with pytest.raises(library.AndorSDK2LibError) as caught:
        FakeAndorSdk2(clock, World()).GetStatus()
    assert caught.value.code == 20075 and caught.value.name == "DRV_NOT_INITIALIZED"
    with pytest.raises(picam.PicamLibError):
        FakePicam(clock, World()).Picam_GetAvailableCameraIDs()
    assert library.lib is library.atmcd32d_lib.wlib
    assert isinstance(picam.lib, type(importlib.import_module(picam.lib.__module__).wlib))


# ---- the stand-ins know their libraries --------------------------------------------------------


def test_picam_numbers_are_those_of_the_vendors_header() -> None:
    module = driver.load(PicamCamera._MODULE, private=True)
    defs = module.picam_defs
    sdk = FakePicam(VirtualClock(START), World())
    names = {
        member.value: member.name.removeprefix("PicamParameter_") for member in defs.PicamParameter
    }
    for key, parameter in sdk._parameters.items():
        spelled = parameter.name.replace(" ", "").lower()
        assert names[key].lower() == spelled
    for constant, name in (
        (princeton_picam._TIME_OUT, "TimeOutOccurred"),
        (princeton_picam._RUNNING, "AcquisitionInProgress"),
        (princeton_picam._NOT_RUNNING, "AcquisitionNotInProgress"),
        (princeton_picam._NOT_COMMITTED, "ParametersNotCommitted"),
        (princeton_picam._BAD_BUFFER, "InvalidAcquisitionBuffer"),
        (princeton_picam._BAD_VALUE, "InvalidParameterValue"),
        (princeton_picam._DISCONNECTED, "DeviceDisconnected"),
        (princeton_picam._NO_ENUM, "EnumerationValueNotDefined"),
    ):
        assert defs.PicamError[f"PicamError_{name}"].value == constant
    for mode, value in (("Normal", "auto"), ("AlwaysClosed", "closed"), ("AlwaysOpen", "open")):
        member = defs.PicamShutterTimingMode[f"PicamShutterTimingMode_{mode}"]
        assert PicamCamera._SHUTTER[value] == member.value
    for state, name in ((1, "Unlocked"), (2, "Locked"), (3, "Faulted")):
        member = defs.PicamSensorTemperatureStatus[f"PicamSensorTemperatureStatus_{name}"]
        assert member.value == state


def test_andor_numbers_are_those_of_the_vendors_header() -> None:
    module = driver.load(AndorSdk2Camera._MODULE, private=True)
    codes = module.DRV_STATUS
    for constant, name in (
        (andor_sdk2._NO_NEW_DATA, "NO_NEW_DATA"),
        (andor_sdk2._ACQUIRING, "ACQUIRING"),
        (andor_sdk2._IDLE, "IDLE"),
        (andor_sdk2._NOT_INITIALIZED, "NOT_INITIALIZED"),
        (andor_sdk2._USB_ERROR, "USBERROR"),
        (andor_sdk2._NOT_SUPPORTED, "NOT_SUPPORTED"),
        (andor_sdk2._T_STABLE, "TEMPERATURE_STABILIZED"),
        (andor_sdk2._T_SETTLING, "TEMPERATURE_NOT_STABILIZED"),
        (andor_sdk2._T_COOLING, "TEMPERATURE_NOT_REACHED"),
        (andor_sdk2._T_OFF, "TEMPERATURE_OFF"),
        (andor_sdk2._P5, "P5INVALID"),
        (andor_sdk2._P6, "P6INVALID"),
    ):
        assert codes[f"DRV_{name}"].value == constant
    assert 20013 in AndorSdk2Camera._GONE and codes["DRV_ERROR_ACK"].value == 20013
    assert codes["DRV_ERROR_NOCAMERA"].value in AndorSdk2Camera._GONE
    wrapper = inspect.getsource(module.atmcd32d_lib.AndorSDK2Lib)
    calls = [name for name in vars(FakeAndorSdk2) if name[0].isupper() and not name.isupper()]
    assert len(calls) > 60
    assert [name for name in calls if not re.search(rf"(self\.|def ){name}\b", wrapper)] == []


def code_of(call: Callable[[], Any]) -> int:
    try:
        call()
    except Exception as error:
        return int(getattr(error, "code", 0))
    return 0


def test_the_andor_state_machine_refuses_what_the_sdk_refuses() -> None:
    sdk = FakeAndorSdk2(VirtualClock(START), World())
    module = driver.load(AndorSdk2Camera._MODULE, private=True)
    sdk.library_error = module.AndorSDK2LibError
    assert code_of(lambda: sdk.SetReadMode(0)) == 20075
    sdk.Initialize(b"")
    for call, code in (
        (lambda: sdk.SetReadMode(9), 20066),
        (lambda: sdk.SetImage(1, 1, 1, 2000, 1, 10), 20069),
        (lambda: sdk.SetExposureTime(-1.0), 20066),
        (lambda: sdk.SetShutter(1, 1, 0, 0), 20068),
        (lambda: sdk.SetPreAmpGain(7), 20066),
        (lambda: sdk.GetImages16(1, 1, 1024), 20024),
        (lambda: sdk.AbortAcquisition(), 20073),
        (lambda: sdk.WaitForAcquisitionTimeOut(100), 20024),
        (lambda: sdk.SetTemperature(-200), 20066),
    ):
        assert code_of(call) == code
    sdk.SetReadMode(0)
    sdk.SetAcquisitionMode(3)
    sdk.SetNumberKinetics(5)
    sdk.SetExposureTime(0.5)
    sdk.StartAcquisition()
    for call in (
        lambda: sdk.SetExposureTime(0.1),
        lambda: sdk.StartAcquisition(),
        lambda: sdk.GetAcquisitionTimings(),
        lambda: sdk.GetTemperatureF(),
        lambda: sdk.FreeInternalMemory(),
    ):
        assert code_of(call) == 20072
    before = sdk.clock.now()
    assert code_of(lambda: sdk.WaitForAcquisitionTimeOut(100)) == 20024
    assert sdk.clock.now() - before == pytest.approx(0.1, abs=1e-6)
    sdk.WaitForAcquisitionTimeOut(1000)
    assert sdk.GetNumberNewImages() == (1, 1)
    assert code_of(lambda: sdk.GetImages16(1, 1, 1000)) == 20069
    assert code_of(lambda: sdk.GetImages16(1, 2, 2048)) == 20049
    assert len(sdk.GetImages16(1, 1, 1024)[0]) == 1024
    assert code_of(sdk.GetNumberNewImages) == 20024
    sdk.AbortAcquisition()
    assert sdk.GetStatus() == 20073 and sdk.GetTotalNumberImagesAcquired() == 1
    with pytest.raises(ValueError, match="not played"):
        sdk.inject("heater")


def test_the_picam_state_machine_refuses_what_the_library_refuses() -> None:
    camera, sdk, clock = make("picam")
    cam, lib = camera._cam, sdk
    handle = cam.handle
    exposure = cam.ca["Exposure Time"].pid
    assert code_of(lambda: lib.Picam_OpenCamera_BySerial(b"1")) == 7
    assert code_of(lambda: lib.Picam_GetParameterIntegerValue(handle, exposure)) == 11
    assert code_of(lambda: lib.Picam_SetParameterFloatingPointValue(handle, exposure, -1.0)) == 2
    assert code_of(lambda: lib.Picam_GetParameterValueType(handle, 5)) == 12
    assert code_of(lambda: lib.Picam_GetParameterValueType(1, exposure)) == 9
    cam.setup_acquisition(mode="snap", nframes=2)
    lib.Picam_SetParameterFloatingPointValue(handle, exposure, 200.0)
    assert code_of(lambda: lib.Picam_StartAcquisition(handle)) == 29
    lib.Picam_CommitParameters(handle)
    lib.PicamAdvanced_SetAcquisitionBuffer(cam.devhandle, 0, 0)
    assert code_of(lambda: lib.Picam_StartAcquisition(handle)) == 30
    cam.setup_acquisition(mode="snap", nframes=2)
    cam.start_acquisition()
    assert code_of(lambda: lib.Picam_StartAcquisition(handle)) == 20
    assert code_of(lambda: lib.Picam_CommitParameters(handle)) == 20
    before = clock.now()
    assert code_of(lambda: lib.Picam_WaitForAcquisitionUpdate(handle, 50)) == 32
    assert clock.now() - before == pytest.approx(0.05, abs=1e-6)
    data, status = lib.Picam_WaitForAcquisitionUpdate(handle, -1)
    assert data.readout_count == 1 and status.running
    clock.sleep(10.0)
    data, status = lib.Picam_WaitForAcquisitionUpdate(handle, 0)
    assert data.readout_count == 1 and not status.running
    assert not lib.Picam_IsAcquisitionRunning(handle)


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError):
        PylablibCamera()  # type: ignore[abstract,call-arg]
