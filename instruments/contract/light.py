"""The contract of what lets light through and what measures it: shutter, gate, energy meter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from instruments.contract.base import Mounted, RoleContract, refuses
from instruments.errors import BenchError, LimitError, NotReady
from instruments.roles import Burst, EnergyMeter, PulseEnergy, PulseGate, Shutter


class ShutterContract(RoleContract):
    """What every shutter must do."""

    ROLE: ClassVar[Any] = Shutter

    def test_is_closed_when_opened(self, mounted: Mounted) -> None:
        """Opening the link leaves it closed."""
        assert not mounted.instrument.is_open
        self.agrees_with_the_light(mounted)

    def test_opens_and_shuts(self, mounted: Mounted) -> None:
        """The blade is where it was sent when the call returns; asking again changes nothing."""
        shutter: Shutter = mounted.instrument
        for _ in range(2):
            shutter.open()
            assert shutter.is_open
            self.agrees_with_the_light(mounted)
            shutter.open()
            assert shutter.is_open
            shutter.shut()
            assert not shutter.is_open
            self.agrees_with_the_light(mounted)
            shutter.shut()
            assert not shutter.is_open

    def test_make_safe_closes(self, mounted: Mounted) -> None:
        """Safe is closed."""
        mounted.instrument.open()
        mounted.instrument.make_safe()
        assert not mounted.instrument.is_open
        self.agrees_with_the_light(mounted)

    def agrees_with_the_light(self, mounted: Mounted) -> None:
        """Compare what the shutter says with what reaches the sample, where that is known."""
        if mounted.world is not None:
            mounted.world.settle(mounted.clock.now())
            assert mounted.world.shutter_open == mounted.instrument.is_open


class EnergyMeterContract(RoleContract):
    """What every energy meter must do."""

    ROLE: ClassVar[Any] = EnergyMeter

    def test_measures_pulses(self, mounted: Mounted) -> None:
        """A mean, a spread, as many pulses as asked; and it takes the time that they take."""
        meter: EnergyMeter = mounted.instrument
        meter.set_wavelength_nm(400.0)
        meter.set_range_J(6e-7)
        energy = meter.read_pulses(20)
        assert isinstance(energy, PulseEnergy)
        assert energy.pulses == 20
        assert energy.mean_J > 0.0 and energy.spread_J >= 0.0
        assert energy.error_J <= energy.spread_J
        again = meter.read_pulses(20)
        assert abs(again.mean_J / energy.mean_J - 1.0) < 0.2
        watched = meter.watch_pulses(2, 1.0)
        assert abs(watched.mean_J / energy.mean_J - 1.0) < 0.3
        assert meter.unseen_s == 0.0

    def test_range_holds_what_was_asked(self, mounted: Mounted) -> None:
        """The range that is chosen reaches at least as far as asked."""
        meter: EnergyMeter = mounted.instrument
        for energy_J in (1e-7, 5e-7):
            upper_J = meter.set_range_J(energy_J)
            assert energy_J <= upper_J * (1.0 + 1e-6)

    def test_wavelength_is_taken(self, mounted: Mounted) -> None:
        """The wavelength correction is what it says it took."""
        assert abs(mounted.instrument.set_wavelength_nm(405.0) - 405.0) < 1.0

    def test_refuses_nonsense(self, mounted: Mounted) -> None:
        """No pulses, no energy, no wavelength: refused."""
        meter: EnergyMeter = mounted.instrument
        meter.set_range_J(6e-7)
        asked: tuple[tuple[Callable[[Any], Any], tuple[float, ...]], ...] = (
            (meter.read_pulses, (0, -3)),
            (meter.set_range_J, (math.nan, -1e-6, 1e9)),
            (meter.set_wavelength_nm, (math.nan, -400.0, 1e9)),
        )
        for ask, values in asked:
            for value in values:
                with refuses(BenchError):
                    ask(value)
        assert meter.read_pulses(2).pulses == 2

    def ask(self, instrument: Any) -> None:
        """Ask for pulses."""
        instrument.read_pulses(2)


class PulseGateContract(RoleContract):
    """What every pulse gate must do."""

    ROLE: ClassVar[Any] = PulseGate

    def test_releases_what_was_asked_or_refuses(self, mounted: Mounted) -> None:
        """Exactly so many shots where it says that it is exact, an honest refusal otherwise."""
        gate: PulseGate = mounted.instrument
        if not gate.exact:
            with refuses(NotReady):
                gate.release(10)
            return
        for shots in (1, 7, 100):
            began_s = mounted.clock.now()
            burst = gate.release(shots)
            assert isinstance(burst, Burst)
            assert burst.shots == shots
            assert began_s <= burst.start_s <= burst.end_s <= mounted.clock.now()

    def test_passes_and_blocks(self, mounted: Mounted) -> None:
        """All or none, as told; twice is as good as once."""
        gate: PulseGate = mounted.instrument
        for _ in range(2):
            gate.pass_all()
            gate.pass_all()
            gate.block()
            gate.block()

    def test_refuses_nonsense(self, mounted: Mounted) -> None:
        """No shots, or more than it can count: refused, and nothing passes."""
        gate: PulseGate = mounted.instrument
        for shots in (0, -1, 10**12):
            with refuses(LimitError if gate.exact else BenchError):
                gate.release(shots)
