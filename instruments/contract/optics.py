"""The contract of what changes the light: attenuators and monochromators."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from instruments.contract.base import Mounted, RoleContract, assert_refused_unsent, outside, refuses
from instruments.errors import LimitError
from instruments.roles import Attenuator, Grating, Monochromator


class AttenuatorContract(RoleContract):
    """What every attenuator must do."""

    ROLE: ClassVar[Any] = Attenuator

    def ready(self, mounted: Mounted) -> Attenuator:
        """Return the attenuator, homed where it has to be."""
        attenuator: Attenuator = mounted.instrument
        prepare = getattr(attenuator, "prepare", None)
        if prepare is not None:
            prepare()
        return attenuator

    def test_goes_to_a_transmission(self, mounted: Mounted) -> None:
        """It gets near what was asked, and reports what it reached and how well."""
        attenuator = self.ready(mounted)
        limits = attenuator.limits["transmission"]
        for share in (0.7, 0.05, 0.4):
            wanted = limits.low + share * (limits.high - limits.low)
            reached = attenuator.set_transmission(wanted)
            assert abs(reached - wanted) < 0.02 * limits.high
            assert abs(attenuator.transmission - reached) < 0.005 * limits.high
            assert 0.0 < attenuator.transmission_error < 0.1

    def test_keeps_the_order(self, mounted: Mounted) -> None:
        """More asked is more reached."""
        attenuator = self.ready(mounted)
        limits = attenuator.limits["transmission"]
        wanted = [limits.low + share * (limits.high - limits.low) for share in (0.1, 0.3, 0.6)]
        reached = [attenuator.set_transmission(value) for value in wanted]
        assert reached == sorted(reached)
        assert isinstance(attenuator.angle_deg, float)

    def test_refuses_beyond_its_limits(self, mounted: Mounted) -> None:
        """Nothing moves if the transmission is not allowed."""
        attenuator = self.ready(mounted)
        before = attenuator.transmission
        for wanted in outside(attenuator.limits["transmission"]):
            assert_refused_unsent(mounted, partial(attenuator.set_transmission, wanted))
        assert abs(attenuator.transmission - before) < 1e-3


class MonochromatorContract(RoleContract):
    """What every monochromator must do."""

    ROLE: ClassVar[Any] = Monochromator

    def test_goes_to_a_wavelength(self, mounted: Mounted) -> None:
        """It arrives, and reads back where it is."""
        mono: Monochromator = mounted.instrument
        for wanted in (520.0, 471.5, 523.25):
            reached = mono.go_to(wanted)
            assert abs(reached - wanted) < 0.1
            assert abs(mono.wavelength_nm - reached) < 0.01

    def test_gratings(self, mounted: Mounted) -> None:
        """It knows its gratings, turns to each, and keeps the wavelength meaningful."""
        mono: Monochromator = mounted.instrument
        gratings = mono.gratings
        assert gratings and all(isinstance(one, Grating) for one in gratings)
        assert len({one.slot for one in gratings}) == len(gratings)
        first = mono.grating
        assert first in gratings
        for other in gratings[:2]:
            assert mono.select_grating(other.slot) == other
            assert mono.grating == other
        mono.select_grating(first.slot)
        assert abs(mono.go_to(510.0) - 510.0) < 0.1

    def test_refuses_beyond_its_limits(self, mounted: Mounted) -> None:
        """Neither a wavelength nor a grating that it does not have is tried."""
        mono: Monochromator = mounted.instrument
        mono.go_to(500.0)
        for wanted in outside(mono.limits["wavelength_nm"]):
            with refuses(LimitError):
                mono.go_to(wanted)
        slots = {one.slot for one in mono.gratings}
        assert_refused_unsent(mounted, lambda: mono.select_grating(max(slots) + 7))
        assert abs(mono.wavelength_nm - 500.0) < 0.1
