"""The contract of what turns light into numbers: CCD cameras and streak cameras."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from instruments.contract.base import Mounted, RoleContract, assert_refused_unsent, outside, refuses
from instruments.errors import BenchError, NotReady
from instruments.roles import Camera, Exposure, StreakCamera, StreakImage


class CameraContract(RoleContract):
    """What every CCD camera must do."""

    ROLE: ClassVar[Any] = Camera

    def test_takes_frames(self, mounted: Mounted) -> None:
        """As many as asked, of the right shape, in the time that they take."""
        camera: Camera = mounted.instrument
        camera.set_exposure_s(0.01)
        for frames in (1, 3):
            began_s = mounted.clock.now()
            exposure = camera.acquire(frames)
            assert isinstance(exposure, Exposure)
            assert exposure.frames.shape == (frames, camera.pixels)
            assert exposure.frames.dtype == np.uint16
            assert exposure.saturation_counts == camera.saturation_counts
            assert exposure.exposure_s == camera.exposure_s
            assert began_s - 1e-6 <= exposure.start_s < exposure.end_s <= mounted.clock.now() + 1e-6
            assert exposure.end_s - exposure.start_s >= 0.9 * frames * camera.exposure_s
        assert len(np.unique(exposure.frames)) > 3, "a camera without noise"
        assert not np.array_equal(exposure.frames[0], exposure.frames[1]), "frames repeat"

    def test_exposure_is_what_it_says(self, mounted: Mounted) -> None:
        """The exposure that it took is read back and near what was asked."""
        camera: Camera = mounted.instrument
        for wanted in (0.02, 0.005, 0.25):
            taken = camera.set_exposure_s(wanted)
            assert abs(taken - wanted) < 0.05 * wanted + 2e-3
            assert abs(camera.exposure_s - taken) < 1e-9

    def test_knows_its_chip(self, mounted: Mounted) -> None:
        """Pixels, pitch, saturation, temperature are those of a CCD."""
        camera: Camera = mounted.instrument
        assert 16 <= camera.pixels <= 65536
        assert 1.0 < camera.pixel_pitch_um < 200.0
        assert 255 <= camera.saturation_counts <= 65535
        assert -150.0 < camera.temperature_C < 60.0

    def test_refuses_beyond_its_limits(self, mounted: Mounted) -> None:
        """Neither an exposure nor a number of frames that it does not have is tried."""
        camera: Camera = mounted.instrument
        before = camera.exposure_s
        for wanted in outside(camera.limits["exposure_s"]):
            assert_refused_unsent(mounted, partial(camera.set_exposure_s, wanted))
        for frames in (0, -1):
            with refuses(BenchError):
                camera.acquire(frames)
        assert camera.exposure_s == before

    def test_abort_when_idle(self, mounted: Mounted) -> None:
        """Stopping what does not run does no harm."""
        mounted.instrument.abort()
        assert mounted.instrument.acquire(1).frames.shape[0] == 1

    def test_cold_or_not(self, mounted: Mounted) -> None:
        """Waiting for the cold ends, one way or the other, within its time."""
        began_s = mounted.clock.now()
        try:
            mounted.instrument.wait_until_cold(3.0)
        except NotReady as error:
            assert str(error)
        assert mounted.clock.now() - began_s < 10.0

    def ask(self, instrument: Any) -> None:
        """Ask for a frame."""
        instrument.acquire(1)


class StreakCameraContract(RoleContract):
    """What every streak camera must do."""

    ROLE: ClassVar[Any] = StreakCamera

    def test_takes_an_image(self, mounted: Mounted) -> None:
        """A spectrogram with rising axes, in each mode."""
        camera: StreakCamera = mounted.instrument
        camera.select_time_range(camera.time_ranges_ps[-1])
        for mode in (StreakCamera.ANALOG, StreakCamera.COUNTING):
            began_s = mounted.clock.now()
            try:
                image = camera.acquire(mode, 2)
            except NotReady as error:  # a camera that has not this mode says so
                assert mode in str(error) or "mode" in str(error)
                continue
            assert isinstance(image, StreakImage)
            assert image.counts.shape == (len(image.time_ps), len(image.wavelength_nm))
            assert image.counts.dtype == np.float32 and np.isfinite(image.counts).all()
            assert (np.diff(image.time_ps) > 0).all() and (np.diff(image.wavelength_nm) > 0).all()
            assert image.exposures >= 1 and image.exposure_s > 0
            assert began_s - 1e-6 <= image.start_s <= image.end_s <= mounted.clock.now() + 1e-6
            span = image.time_ps[-1] - image.time_ps[0]
            assert 0.5 * camera.time_range_ps < span < 2.0 * camera.time_range_ps

    def test_time_ranges(self, mounted: Mounted) -> None:
        """The shortest range that holds what is asked."""
        camera: StreakCamera = mounted.instrument
        ranges = camera.time_ranges_ps
        assert list(ranges) == sorted(ranges) and ranges[0] > 0
        for wanted in ranges[:2]:
            assert abs(camera.select_time_range(0.9 * wanted) - wanted) < 1e-6 * wanted
            assert abs(camera.time_range_ps - wanted) < 1e-6 * wanted
        with refuses(BenchError):
            camera.select_time_range(2.0 * ranges[-1])

    def test_gain_is_for_images_only(self, mounted: Mounted) -> None:
        """The gain is kept for the next image, and refused beyond its steps."""
        camera: StreakCamera = mounted.instrument
        limits = camera.limits["mcp_gain"]
        with refuses(BenchError):
            camera.set_mcp_gain(int(limits.high) + 1)
        assert limits.low <= camera.mcp_gain <= limits.high

    def test_abort_when_idle(self, mounted: Mounted) -> None:
        """Stopping what does not run does no harm."""
        mounted.instrument.abort()

    def test_refuses_nonsense(self, mounted: Mounted) -> None:
        """No exposures, or an unknown mode: refused."""
        with refuses(BenchError):
            mounted.instrument.acquire(StreakCamera.ANALOG, 0)
        with refuses(BenchError):
            mounted.instrument.acquire("guessing", 1)
