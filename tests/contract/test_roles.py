"""The contract of every role, over every driver and every mounting.

Real transports run on the wall clock; on them only what is named in QUICK runs.
"""

from __future__ import annotations

from typing import ClassVar

from instruments import contract
from instruments.config import ROLES
from tests.contract.backends import backends


class _Ours:
    BENCH_ROLE: ClassVar[str]
    QUICK: ClassVar[set[str]] = set()
    COMPOSED: ClassVar[bool] = False


class TestShutter(_Ours, contract.ShutterContract):
    """SC10."""

    BENCH_ROLE = "shutter"
    QUICK: ClassVar[set[str]] = {"test_opens_and_shuts"}


class TestAttenuator(_Ours, contract.AttenuatorContract):
    """Wave plate and polariser on a rotation mount."""

    BENCH_ROLE = "attenuator"
    COMPOSED = True
    QUICK: ClassVar[set[str]] = {"test_goes_to_a_transmission"}


class TestRotator(_Ours, contract.RotatorContract):
    """The rotation mount under the attenuator."""

    BENCH_ROLE = "attenuator"


class TestStage(_Ours, contract.StageContract):
    """SMC100, ESP301."""

    BENCH_ROLE = "stripe"
    QUICK: ClassVar[set[str]] = {"test_goes_where_it_is_sent"}


class TestMonochromator(_Ours, contract.MonochromatorContract):
    """SpectraPro, iHR320."""

    BENCH_ROLE = "monochromator"
    QUICK: ClassVar[set[str]] = {"test_goes_to_a_wavelength"}


class TestCamera(_Ours, contract.CameraContract):
    """Andor, PICam, HORIBA."""

    BENCH_ROLE = "camera"
    QUICK: ClassVar[set[str]] = {"test_takes_frames"}


class TestEnergyMeter(_Ours, contract.EnergyMeterContract):
    """PM100."""

    BENCH_ROLE = "energy_meter"
    QUICK: ClassVar[set[str]] = {"test_measures_pulses"}


class TestPulseGate(_Ours, contract.PulseGateContract):
    """DG645."""

    BENCH_ROLE = "pulse_gate"
    QUICK: ClassVar[set[str]] = {"test_releases_what_was_asked_or_refuses"}


class TestStreakCamera(_Ours, contract.StreakCameraContract):
    """RemoteEx."""

    BENCH_ROLE = "streak"
    QUICK: ClassVar[set[str]] = {"test_takes_an_image"}


class TestCryostat(_Ours, contract.CryostatContract):
    """Lake Shore 331, 335, 336."""

    BENCH_ROLE = "cryostat"
    QUICK: ClassVar[set[str]] = {"test_takes_a_setpoint"}


def test_no_role_is_without_a_backend() -> None:
    tested = {kind.BENCH_ROLE for kind in _Ours.__subclasses__()}
    assert tested == set(ROLES)
    for role in ROLES:
        assert len(backends(role)) >= 2, role
