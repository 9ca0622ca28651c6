"""The part of the contract that is the same for every role."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from instruments.clock import Clock
from instruments.errors import BenchError, InstrumentError, LimitError
from instruments.roles import Identity, Limits, Role, Setting, Status

SILENCE_S = 30.0
"""An ordinary question to a dead instrument must have failed by then (bench time), repetitions
and attempts to reach it included."""


@dataclass
class Mounted:
    """A backend ready for its contract: opened, identified, on its clock.

    Attributes:
        instrument: fills the role.
        clock: the bench's clock.
        sent: returns how much has gone over the wire so far; None where nothing counts it.
        silence: makes the device stop answering; None where that cannot be had.
        world: the simulated world, for what only the sample can tell; None on a real bench.
    """

    instrument: Any
    clock: Clock
    sent: Callable[[], int] | None = None
    silence: Callable[[], None] | None = None
    world: Any = None


@contextlib.contextmanager
def refuses(kind: type[BenchError] = LimitError) -> Iterator[None]:
    """Expect an error of this kind, with a text for the operator."""
    try:
        yield
    except kind as error:
        assert len(str(error)) > 10, f"an error that tells the operator nothing: {error!r}"
    else:
        raise AssertionError(f"not refused: {kind.__name__} was due")


class RoleContract:
    """What holds for every role; the contracts of the roles derive from it."""

    ROLE: ClassVar[Any] = Role

    def test_fills_the_role(self, mounted: Mounted) -> None:
        """It is what the measurement asks for."""
        assert isinstance(mounted.instrument, self.ROLE)

    def test_says_who_it_is(self, mounted: Mounted) -> None:
        """Identity is known once it is open."""
        identity = mounted.instrument.identity
        assert isinstance(identity, Identity)
        assert identity.vendor and identity.model and identity.model in str(identity)

    def test_says_how_it_is(self, mounted: Mounted) -> None:
        """Status is a verdict and a line."""
        status = mounted.instrument.status()
        assert isinstance(status, Status)
        assert isinstance(status.ok, bool) and status.text.strip() and "\n" not in status.text

    def test_limits_are_intervals(self, mounted: Mounted) -> None:
        """Each limit is an interval with a unit."""
        for name, limits in mounted.instrument.limits.items():
            assert isinstance(limits, Limits), name
            assert limits.low <= limits.high, name
            assert isinstance(limits.unit, str), name

    def test_snapshot_is_plain(self, mounted: Mounted) -> None:
        """A snapshot holds plain values with units, as the run file wants them."""
        snapshot = mounted.instrument.snapshot()
        assert snapshot
        for name, setting in snapshot.items():
            assert name.isidentifier(), name
            assert isinstance(setting, Setting), name
            assert type(setting.value) in (float, int, bool, str), (name, setting.value)
            assert isinstance(setting.unit, str), name
            assert not (isinstance(setting.value, float) and math.isnan(setting.value)), name

    def test_refuses_what_it_does_not_have(self, mounted: Mounted) -> None:
        """A misspelt setting raises."""
        try:
            mounted.instrument.no_such_setting = 1.0
        except AttributeError:
            return
        raise AssertionError("a misspelt setting passed in silence")

    def test_make_safe_at_any_time(self, mounted: Mounted) -> None:
        """Making safe may be repeated, and leaves it answering."""
        mounted.instrument.make_safe()
        mounted.instrument.make_safe()
        assert mounted.instrument.status().text

    def test_closes_twice(self, mounted: Mounted) -> None:
        """Closing may be repeated; what is closed says so when it is asked."""
        mounted.instrument.close()
        mounted.instrument.close()

    def test_silence_is_an_error_in_time(self, mounted: Mounted) -> None:
        """A device that does not answer costs an error, not the night."""
        if mounted.silence is None:
            return
        mounted.silence()
        began_s = mounted.clock.now()
        with refuses(InstrumentError):
            self.ask(mounted.instrument)
        assert mounted.clock.now() - began_s < SILENCE_S

    def ask(self, instrument: Any) -> None:
        """Ask something that the device must answer."""
        instrument.snapshot()


def assert_refused_unsent(mounted: Mounted, ask: Callable[[], Any]) -> None:
    """Expect a LimitError before anything has gone over the wire."""
    before = mounted.sent() if mounted.sent is not None else 0
    with refuses(LimitError):
        ask()
    after = mounted.sent() if mounted.sent is not None else 0
    assert after == before, "something was sent before the limit was checked"


def outside(limits: Limits) -> list[float]:
    """Return values that are not inside: below, above, not a number, infinite."""
    span = max(limits.high - limits.low, 1e-3)
    return [limits.low - 0.1 * span, limits.high + 0.1 * span, math.nan, math.inf, -math.inf]
