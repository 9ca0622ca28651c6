"""The contract of cryostats."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from instruments.contract.base import Mounted, RoleContract, assert_refused_unsent, outside, refuses
from instruments.errors import NotReady
from instruments.roles import Cryostat


class CryostatContract(RoleContract):
    """What every cryostat must do."""

    ROLE: ClassVar[Any] = Cryostat

    def test_reads_a_temperature(self, mounted: Mounted) -> None:
        """A temperature that can be, and a setpoint."""
        cryostat: Cryostat = mounted.instrument
        assert 1.0 < cryostat.temperature_K < 400.0
        assert abs(cryostat.glance_K(400.0) - cryostat.temperature_K) < 5.0
        assert 0.0 <= cryostat.setpoint_K < 1000.0
        assert 0.0 <= cryostat.heater_percent <= 100.0

    def test_takes_a_setpoint(self, mounted: Mounted) -> None:
        """The setpoint is read back; nobody waits."""
        cryostat: Cryostat = mounted.instrument
        began_s = mounted.clock.now()
        cryostat.set_temperature(120.0)
        assert abs(cryostat.setpoint_K - 120.0) < 0.01
        cryostat.set_temperature(150.0, ramp_K_per_min=5.0)
        assert mounted.clock.now() - began_s < 30.0

    def test_one_reading_is_not_stable(self, mounted: Mounted) -> None:
        """Far from the setpoint it is not stable, and waiting ends in time."""
        cryostat: Cryostat = mounted.instrument
        cryostat.set_temperature(cryostat.limits["temperature_K"].low + 20.0)
        assert not cryostat.stable
        began_s = mounted.clock.now()
        with refuses(NotReady):
            cryostat.wait_until_stable(5.0)
        assert 4.0 < mounted.clock.now() - began_s < 30.0

    def test_refuses_beyond_its_limits(self, mounted: Mounted) -> None:
        """No setpoint that is not allowed is sent."""
        cryostat: Cryostat = mounted.instrument
        before = cryostat.setpoint_K
        for wanted in outside(cryostat.limits["temperature_K"]):
            assert_refused_unsent(mounted, partial(cryostat.set_temperature, wanted))
        assert cryostat.setpoint_K == before

    def test_make_safe_switches_the_heater_off(self, mounted: Mounted) -> None:
        """Safe is without heat."""
        cryostat: Cryostat = mounted.instrument
        cryostat.set_temperature(min(cryostat.temperature_K + 10.0, 300.0))
        cryostat.make_safe()
        mounted.clock.sleep(1.0)
        assert cryostat.heater_percent == 0.0
        cryostat.heater_off()

    def ask(self, instrument: Any) -> None:
        """Ask for the temperature."""
        _ = instrument.temperature_K
