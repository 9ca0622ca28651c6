"""The contract of what moves: rotation mounts and linear stages."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from instruments.contract.base import Mounted, RoleContract, assert_refused_unsent, outside, refuses
from instruments.errors import NotReady
from instruments.roles import Limits, Rotator, Stage


class _Mover(RoleContract):
    """What rotation mounts and stages have in common."""

    QUANTITY: ClassVar[str]
    CLOSE_ENOUGH: ClassVar[float]

    def inner(self, instrument: Any) -> list[float]:
        """Return positions inside the limits, of a range of sensible size."""
        limits: Limits = instrument.limits[self.QUANTITY]
        low, high = max(limits.low, -180.0), min(limits.high, 180.0)
        return [low + share * (high - low) for share in (0.2, 0.7, 0.45)]

    def test_does_not_move_before_homing(self, mounted: Mounted) -> None:
        """A position means nothing before the reference was found."""
        instrument = mounted.instrument
        if instrument.homed:
            return
        with refuses(NotReady):
            instrument.move_to(self.inner(instrument)[0])

    def test_goes_where_it_is_sent(self, mounted: Mounted) -> None:
        """It arrives, says so, and takes its time."""
        instrument = mounted.instrument
        instrument.home()
        assert instrument.homed
        for target in self.inner(instrument):
            began_s = mounted.clock.now()
            reached = instrument.move_to(target)
            assert mounted.clock.now() > began_s
            assert abs(reached - target) < self.CLOSE_ENOUGH
            assert abs(getattr(instrument, self.QUANTITY) - reached) < self.CLOSE_ENOUGH

    def test_refuses_beyond_its_limits(self, mounted: Mounted) -> None:
        """Nothing moves if the target is not allowed."""
        instrument = mounted.instrument
        instrument.home()
        before = getattr(instrument, self.QUANTITY)
        for target in outside(instrument.limits[self.QUANTITY]):
            assert_refused_unsent(mounted, partial(instrument.move_to, target))
        assert abs(getattr(instrument, self.QUANTITY) - before) < self.CLOSE_ENOUGH

    def test_stays_homed_when_made_safe(self, mounted: Mounted) -> None:
        """Making safe stops it and loses nothing."""
        mounted.instrument.home()
        mounted.instrument.make_safe()
        assert mounted.instrument.homed


class RotatorContract(_Mover):
    """What every rotation mount must do."""

    ROLE: ClassVar[Any] = Rotator
    QUANTITY = "angle_deg"
    CLOSE_ENOUGH = 0.1

    def test_knows_its_resolution(self, mounted: Mounted) -> None:
        """The uncertainty of a settled angle is stated."""
        assert 0.0 < mounted.instrument.resolution_deg < 1.0


class StageContract(_Mover):
    """What every linear stage must do."""

    ROLE: ClassVar[Any] = Stage
    QUANTITY = "position_mm"
    CLOSE_ENOUGH = 0.005
