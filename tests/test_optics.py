"""Attenuator, spectrograph axis and pump beam, each on instruments made up for the test."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from instruments.attenuator import WaveplateAttenuator, WaveplateCalibration, load_calibration
from instruments.clock import VirtualClock
from instruments.config import LimitsTable, PumpTable
from instruments.errors import ConfigError, DeviceFault, LimitError, NotReady
from instruments.pump import PumpBeam
from instruments.roles import (
    EnergyMeter,
    Identity,
    Limits,
    PulseEnergy,
    Rotator,
    Setting,
    Shutter,
    Status,
)
from instruments.spectrograph import Geometry


class Mount(Rotator):
    def __init__(self) -> None:
        self.is_homed = False
        self.angle = 17.0

    identity = Identity("test", "mount")  # type: ignore[assignment]
    limits = MappingProxyType({"angle_deg": Limits(-360, 360, "deg")})  # type: ignore[assignment]
    resolution_deg = 0.03  # type: ignore[assignment]

    @property
    def homed(self) -> bool:
        return self.is_homed

    @property
    def angle_deg(self) -> float:
        return self.angle

    def home(self) -> None:
        self.is_homed, self.angle = True, 0.0

    def move_to(self, angle_deg: float) -> float:
        self.angle = angle_deg
        return angle_deg

    def status(self) -> Status:
        return Status(True, "ok")

    def make_safe(self) -> None: ...

    def snapshot(self) -> dict[str, Setting]:
        return {}

    def close(self) -> None: ...


class Blade(Shutter):
    identity = Identity("test", "blade")  # type: ignore[assignment]
    limits = MappingProxyType({})  # type: ignore[assignment]

    def __init__(self, sticks: bool = False) -> None:
        self.opened = False
        self.sticks = sticks

    def open(self) -> None:
        self.opened = True

    def shut(self) -> None:
        if self.sticks:
            raise DeviceFault("the blade does not close")
        self.opened = False

    @property
    def is_open(self) -> bool:
        return self.opened

    def status(self) -> Status:
        return Status(True, "ok")

    def make_safe(self) -> None:
        self.shut()

    def snapshot(self) -> dict[str, Setting]:
        return {}

    def close(self) -> None: ...


class Meter(EnergyMeter):
    identity = Identity("test", "meter")  # type: ignore[assignment]
    limits = MappingProxyType({})  # type: ignore[assignment]

    def read_pulses(self, pulses: int) -> PulseEnergy:
        return PulseEnergy(30e-9, 0.6e-9, pulses)

    def set_wavelength_nm(self, wavelength_nm: float) -> float:
        return wavelength_nm

    def set_range_J(self, energy_J: float) -> float:
        return energy_J

    def status(self) -> Status:
        return Status(True, "ok")

    def make_safe(self) -> None: ...

    def snapshot(self) -> dict[str, Setting]:
        return {}

    def close(self) -> None: ...


def beam(meter: Meter | None = None, blade: Blade | None = None) -> PumpBeam:
    attenuator = WaveplateAttenuator(Mount())
    attenuator.prepare()
    return PumpBeam(
        PumpTable.model_validate({}), VirtualClock(0.0), attenuator, blade, meter, LimitsTable()
    )


@pytest.mark.parametrize("transmission", [5e-4, 0.01, 0.3, 0.8, 0.995])
def test_the_inverse_stays_on_one_branch(transmission: float) -> None:
    calibration = WaveplateCalibration(theta0_deg=12.0)
    angle = calibration.angle_deg(transmission)
    assert 12.0 <= angle <= 57.0
    assert calibration.transmission(angle) == pytest.approx(transmission, rel=1e-9)


def test_uncertainty_is_that_of_a_mount_off_by_its_resolution() -> None:
    calibration = WaveplateCalibration(theta0_error_deg=0.0, t_min_error=0.0, t_max_error=0.0)
    for angle in (5.0, 22.5, 40.0, 45.0):
        off = 0.05 * np.random.default_rng(1).standard_normal(20000)
        seen = np.std([calibration.transmission(angle + one) for one in off[:4000]])
        assert calibration.transmission_error(angle, 0.05) == pytest.approx(seen, rel=0.1)


def test_before_homing_there_is_no_transmission() -> None:
    attenuator = WaveplateAttenuator(Mount())
    with pytest.raises(NotReady, match="home"):
        _ = attenuator.transmission
    with pytest.raises(LimitError, match="transmission"):
        attenuator.set_transmission(1.5)
    with pytest.raises(AttributeError, match="transmision"):
        attenuator.transmision = 0.5  # type: ignore[attr-defined]


def test_a_calibration_file_is_checked(tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    good.write_text("theta0_deg = 3.5\nt_min = 0.001\nt_max = 0.9\n")
    assert load_calibration(good).theta0_deg == 3.5
    bad = tmp_path / "bad.toml"
    bad.write_text("t_min = 0.9\nt_max = 0.1\n")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_calibration(bad)
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_calibration(tmp_path / "none.toml")


def test_axis_fulfils_the_grating_equation() -> None:
    geometry = Geometry(focal_length_mm=300.0, half_angle_deg=15.15, tilt_deg=0.0)
    axis = geometry.wavelengths_nm(520.0, 600.0, 1025, 26.0)
    assert axis[512] == pytest.approx(520.0, abs=1e-9)
    phi = math.asin(520.0 / (2 * 1e6 / 600 * math.cos(math.radians(15.15))))
    linear = 1e6 / 600 * math.cos(phi + math.radians(15.15)) / 300.0  # nm per mm
    assert axis[513] - axis[512] == pytest.approx(linear * 0.026, rel=1e-3)
    assert np.all(np.diff(axis) > 0)
    with pytest.raises(LimitError, match="coarser"):
        geometry.wavelengths_nm(3000.0, 1200.0, 1024, 26.0)


def test_fluence_by_meter_and_by_calibration() -> None:
    measured = beam(Meter()).set_fluence(10.0)
    assert measured.measured
    assert measured.value_uJ_cm2 == pytest.approx(10.0)
    assert measured.error_uJ_cm2 == pytest.approx(10.0 * 0.02 / math.sqrt(200))
    computed = beam(None).set_fluence(10.0)
    assert not computed.measured
    assert computed.value_uJ_cm2 == pytest.approx(10.0, rel=1e-6)
    assert computed.error_uJ_cm2 > 0.01 * computed.value_uJ_cm2


def test_limits_of_laser_and_bench_file_meet() -> None:
    pump = beam()
    assert pump.limits.high == pytest.approx(0.995 * 200.0)
    with pytest.raises(LimitError, match=r"500 .* allowed is"):
        pump.set_fluence(500.0)
    assert pump.fluence_rel_unc == pytest.approx(math.hypot(0.02, 0.02))


def test_shots_count_only_while_the_shutter_is_open() -> None:
    blade = Blade()
    pump = beam(Meter(), blade)
    pump.set_fluence(10.0)
    pump.clock.sleep(5.0)
    assert pump.shots == 0
    with pump.light():
        assert blade.is_open
        pump.clock.sleep(0.25)
    assert not blade.is_open
    assert pump.shots == 250
    assert pump.dose_J_cm2 == pytest.approx(250 * 10e-6)


def test_light_goes_out_on_every_way_out_and_shots_are_counted_even_then() -> None:
    blade = Blade()
    pump = beam(Meter(), blade)
    with pytest.raises(ZeroDivisionError), pump.light():
        pump.clock.sleep(0.1)
        _ = 1 / 0
    assert not blade.is_open
    assert pump.shots == 100
    stuck = beam(Meter(), Blade(sticks=True))
    with pytest.raises(DeviceFault), stuck.light():
        stuck.clock.sleep(0.1)
    assert stuck.shots == 100


def test_no_shutter_no_light() -> None:
    with pytest.raises(DeviceFault, match="no shutter"), beam().light():
        pass
