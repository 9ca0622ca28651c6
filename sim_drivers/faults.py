"""What goes wrong on the simulated bench, when and how often: [[simulation.faults]].

For rehearsals and tests of how runs get over faults. A fault with `after_s` acts from that bench
time on, for `for_s` or for good; one with `probability` hits single exchanges, drawn by noise that
is keyed by the exchange's number, so that a resumed run meets what the undisturbed one met. Here is
who can have which; fault_players.py plays them. Noticing and mending are the drivers' and the
runner's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from instruments.config import ROLES, FaultTable
from instruments.errors import ConfigError
from sim_drivers.fault_players import ON_THE_WIRE, DeviceFaults, Fault, FaultyWire, LaserFaults
from sim_drivers.link import WireDevice

log = logging.getLogger(__name__)

LASER = ("laser", "pump")
LASER_KINDS = frozenset({"laser_off", "laser_drift"})
_LOOK_S = 0.1  # how often a device is seen to that does not tell of its calls


class FaultPlan:
    """All faults of a bench file.

    Args:
        tables: of the bench file. world: the World; its `start_s` is when bench time begins.
        kinds: the class of the simulated device of a role, None where the bench has none.
        file: the bench file's name, for errors.

    Raises:
        ConfigError: a device that is none, or a kind that the device cannot have.
    """

    def __init__(
        self,
        tables: Sequence[FaultTable],
        world: Any,
        kinds: Callable[[str], type | None],
        file: str | None = None,
    ) -> None:
        self._world = world
        self._faults: list[Fault] = []
        self._players: dict[str, DeviceFaults] = {}
        for number, table in enumerate(tables):
            key = f"simulation.faults.{number}"
            if table.device in LASER:
                allowed, by_chance = LASER_KINDS, False
            elif table.device in ROLES:
                kind = kinds(table.device)
                if kind is None:
                    log.info("%s: this bench has no %s; nothing will happen", key, table.device)
                    continue
                allowed, by_chance = _played_by(kind)
            else:
                raise ConfigError(
                    f"{table.device!r} was given, allowed are: {', '.join((*ROLES, *LASER))}",
                    file=file,
                    key=f"{key}.device",
                )
            if table.kind not in allowed:
                raise ConfigError(
                    f"{table.kind!r} cannot happen to the {table.device} of this bench; allowed "
                    f"here: {', '.join(sorted(allowed)) or 'nothing'}",
                    file=file,
                    key=f"{key}.kind",
                )
            if table.probability is not None and not by_chance:
                raise ConfigError(
                    f"the {table.device} has no exchanges to count; give after_s instead",
                    file=file,
                    key=f"{key}.probability",
                )
            self._faults.append(Fault(number, table, int(world.seed)))
        own = [fault for fault in self._faults if fault.device in LASER]
        if own:
            laser = LaserFaults(world, own, self._elapsed)
            self._players["laser"] = laser
            world.settlers.insert(0, lambda _now: laser.update())

    def _elapsed(self) -> float:
        return float(self._world.clock.now() - self._world.start_s)

    def attach(self, role: str, device: Any) -> None:
        """Let the faults of a role come to its device."""
        own = [fault for fault in self._faults if fault.device == role]
        if not own:
            return
        if isinstance(device, WireDevice) and not isinstance(device.wire, FaultyWire):
            wire = FaultyWire(device, own, self._elapsed)
            device.wire = wire
            self._players[role] = wire
            return
        for known in self._players.values():
            if known.device is device:  # one device for two roles
                known.faults += tuple(own)
                self._players[role] = known
                return
        player = DeviceFaults(device, own, self._elapsed)
        self._players[role] = player
        if hasattr(device, "on_call"):
            device.on_call = player.called
        else:
            self._world.clock.every(_LOOK_S, player.update)

    def _player(self, fault: Fault) -> DeviceFaults | None:
        """Return what plays a fault, None as long as its device has not been made."""
        return self._players.get("laser" if fault.device in LASER else fault.device)

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again; the same names from the start."""
        found: dict[str, float] = {}
        for fault in self._faults:
            player = self._player(fault)
            found[f"fault.{fault.number}.exchanges"] = float(player.exchanges if player else 0)
            found[f"fault.{fault.number}.begun"] = float(fault.begun)
            found[f"fault.{fault.number}.until_s"] = fault.until_s
        return found

    def restore(self, state: Mapping[str, float]) -> None:
        """Take back what `state` returned, after the World has."""
        for player in self._players.values():
            player.calm()
        for fault in self._faults:
            name = f"fault.{fault.number}"
            if f"{name}.begun" not in state:
                continue
            fault.begun = bool(state[f"{name}.begun"])
            fault.until_s = state[f"{name}.until_s"]
            if (own := self._player(fault)) is not None:
                own.exchanges = int(state[f"{name}.exchanges"])


def _played_by(kind: type) -> tuple[frozenset[str], bool]:
    """Return the kinds of faults that a simulated device can have, and whether by chance."""
    own = frozenset(getattr(kind, "FAULTS", ()))
    if issubclass(kind, WireDevice):
        return own | ON_THE_WIRE, True
    return own, hasattr(kind, "STARTS")
