"""What an ICL monochromator moves besides its grating, and how anything in it is moved.

For `icl_monochromator`. Every move is absolute and returns at once; the ICL is asked whether the
device is busy, not before 0.4 s (earlier it says no, and means not yet), and what counts is the
position read back. Slits, mirrors and filter wheels are offered where the configuration lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from instruments.clock import Clock
from instruments.drivers.icl_device import IclDevice, number, records, truth, whole
from instruments.drivers.icl_link import IclLink, LinkLost, Refused
from instruments.errors import BadReply, DeviceFault, LimitError, NotReady
from instruments.roles import Limits, Setting

# Ports: 1 front entrance, 2 side entrance, 3 front exit, 4 side exit. A mirror that stands axial
# uses the front port of its side, a lateral one the side port.
PORTS = {"entrance": (1, 2), "exit": (3, 4)}
SLIT_RANGE_MM = {1: 2.0, 2: 7.0}
MIRROR_POSITIONS = ("axial", "lateral")
FILTER_POSITIONS = 6

_SETTLE_S = 0.4
_POLL_S = 0.1
_MOVE_PATIENCE_S = 60.0
_TRIES = 3
_SLIT_TOLERANCE_MM = 0.005


class IclAccessories(IclDevice):
    """Slits, mirrors and filter wheels of a monochromator behind the ICL."""

    def __init__(
        self, link: IclLink, clock: Clock | None, *, index: int, serial: str | None
    ) -> None:
        super().__init__(link, clock, index=index, serial=serial)
        self._slit_types: dict[int, int] = {}
        self._wheels: tuple[int, ...] = ()
        self._mirror_ids: dict[str, int] = {}
        self._moved_s = 0.0  # when the last move was started
        self._wanted: dict[tuple[str, int], float] = {}  # what a restart must bring back

    def _read_accessories(self, found: Mapping[str, Any]) -> None:
        """Learn from the configuration what there is."""
        self._slit_types = _slit_types(found)
        self._wheels = tuple(
            whole(wheel, "locationId" if "locationId" in wheel else "location", 1, 2)
            for wheel in records(found, "filterWheels")
        )
        self._mirror_ids = _mirrors(found)

    @property
    def slits(self) -> tuple[int, ...]:
        """The ports that have a motorised slit: 1 front entrance to 4 side exit."""
        return tuple(self._slit_types)

    @property
    def filter_wheels(self) -> tuple[int, ...]:
        """The filter wheels that are installed: 1 inside, 2 outside."""
        return self._wheels

    @property
    def mirrors(self) -> tuple[str, ...]:
        """The swing-away mirrors that are installed: "entrance", "exit"."""
        return tuple(self._mirror_ids)

    def port(self, side: str) -> int:
        """Return the port in use on a side ("entrance", "exit"); NotReady if it has no slit."""
        axial, lateral = PORTS[side]
        if side in self._mirror_ids:
            port = lateral if self.mirror(side) == "lateral" else axial
        else:
            port = axial if axial in self._slit_types else lateral
        if port not in self._slit_types:
            raise NotReady(
                f"{self.name}: the {side} port in use (port {port}) has no motorised slit; slits "
                f"are in ports {', '.join(map(str, self._slit_types)) or 'none'}"
            )
        return port

    @property
    def entrance_slit_mm(self) -> float:
        """Width of the entrance slit in use (mm)."""
        with self.lock:
            return self.slit_mm(self.port("entrance"))

    @property
    def exit_slit_mm(self) -> float:
        """Width of the exit slit in use (mm)."""
        with self.lock:
            return self.slit_mm(self.port("exit"))

    def slit_mm(self, port: int) -> float:
        """Return the width of the slit in a port (mm); LimitError if there is none."""
        with self.lock:
            high = SLIT_RANGE_MM[self._slit_type(port)]
            return self._value("getSlitPositionInMM", "position", -0.1, high + 0.1, locationId=port)

    def set_slit_mm(self, port: int, width_mm: float) -> float:
        """Set the width of the slit in a port (mm), return the one read back."""
        with self.lock:
            high = SLIT_RANGE_MM[self._slit_type(port)]
            width = Limits(0.0, high, "mm").check(f"slit_{port}_mm", float(width_mm))
            self._wanted["slit", port] = width
            return self._place(
                "moveSlitMM",
                {"locationId": port, "position": width},
                lambda: self.slit_mm(port),
                width,
                _SLIT_TOLERANCE_MM,
                f"slit {port} at {width:g} mm",
            )

    def mirror(self, side: str) -> str:
        """Return where a mirror ("entrance", "exit") stands: "axial" or "lateral"."""
        with self.lock:
            place = self._mirror_id(side)
            return MIRROR_POSITIONS[
                whole(self._ask("getMirrorPosition", locationId=place), "position", 0, 1)
            ]

    def turn_mirror(self, side: str, position: str) -> str:
        """Turn a mirror to "axial" or "lateral", return where it stands."""
        with self.lock:
            if position not in MIRROR_POSITIONS:
                raise LimitError(
                    f"{side} mirror: {position!r} was asked, allowed is axial, lateral"
                )
            target = MIRROR_POSITIONS.index(position)
            place = self._mirror_id(side)
            self._wanted[f"{side} mirror", 0] = target
            self._place(
                "moveMirror",
                {"locationId": place, "position": target},
                lambda: MIRROR_POSITIONS.index(self.mirror(side)),
                target,
                0.0,
                f"the {side} mirror {position}",
            )
            return position

    def filter_position(self, wheel: int) -> int:
        """Return the position of a filter wheel."""
        with self.lock:
            self._wheel(wheel)
            results = self._ask("getFilterWheelPosition", locationId=wheel)
            return whole(results, "position", 0, FILTER_POSITIONS)

    def select_filter(self, wheel: int, position: int) -> int:
        """Turn a filter wheel to a position (1 to 6), return where it stands."""
        with self.lock:
            self._wheel(wheel)
            if isinstance(position, bool) or not 1 <= position <= FILTER_POSITIONS:
                raise LimitError(
                    f"filter_wheel_{wheel}: {position} was asked, allowed is 1 to "
                    f"{FILTER_POSITIONS}",
                    key=f"filter_wheel_{wheel}",
                )
            self._wanted["filter", wheel] = position
            return int(
                self._place(
                    "moveFilterWheel",
                    {"locationId": wheel, "position": int(position)},
                    lambda: self.filter_position(wheel),
                    position,
                    0.0,
                    f"filter wheel {wheel} at {position}",
                )
            )

    def _slit_type(self, port: int) -> int:
        self._need()
        if port not in self._slit_types:
            have = ", ".join(map(str, self._slit_types)) or "none"
            raise LimitError(
                f"slit: port {port} was asked, motorised slits are in ports {have}", key="slit"
            )
        return self._slit_types[port]

    def _mirror_id(self, side: str) -> int:
        self._need()
        if side not in self._mirror_ids:
            have = ", ".join(self._mirror_ids) or "none"
            raise LimitError(
                f"mirror: {side!r} was asked, installed are {have}", key=f"{side}_mirror"
            )
        return self._mirror_ids[side]

    def _wheel(self, wheel: int) -> None:
        self._need()
        if wheel not in self._wheels:
            have = ", ".join(map(str, self._wheels)) or "none"
            raise LimitError(
                f"filter wheel: {wheel} was asked, installed are {have}", key="filter_wheel"
            )

    def _find_mirrors(self) -> None:
        """Learn whether commands count the mirrors from 0, as the manual says, or from 1.

        The configuration in the manual's own example counts from 1. A mirror that is not there
        cannot be asked, which tells the two apart.
        """
        if not self._mirror_ids:
            return
        for base in (0, 1):
            ids = {side: base + ("entrance", "exit").index(side) for side in self._mirror_ids}
            try:
                for place in ids.values():
                    self._request("getMirrorPosition", locationId=place)
            except Refused:
                continue
            self._mirror_ids = ids
            return
        self._mirror_ids = {}  # listed, but not to be moved

    def _slit_limits(self) -> dict[str, Limits]:
        return {
            f"slit_{port}_mm": Limits(0.0, SLIT_RANGE_MM[kind], "mm")
            for port, kind in self._slit_types.items()
        }

    def _accessory_settings(self) -> dict[str, Setting]:
        """Return where all of them stand now."""
        found = {f"{side}_mirror": Setting(self.mirror(side)) for side in self._mirror_ids}
        for port in self._slit_types:
            found[f"slit_{port}_mm"] = Setting(self.slit_mm(port), "mm")
        for wheel in self._wheels:
            found[f"filter_wheel_{wheel}"] = Setting(self.filter_position(wheel))
        return found

    def _restore_accessories(self) -> None:
        """Bring them back to where they were asked to be."""
        for side in self._mirror_ids:
            place = self._wanted.get((f"{side} mirror", 0))
            if place is not None and self.mirror(side) != MIRROR_POSITIONS[int(place)]:
                self.turn_mirror(side, MIRROR_POSITIONS[int(place)])
        for (kind, which), value in list(self._wanted.items()):
            if kind == "slit" and abs(self.slit_mm(which) - value) > _SLIT_TOLERANCE_MM:
                self.set_slit_mm(which, value)
            elif kind == "filter" and self.filter_position(which) != value:
                self.select_filter(which, int(value))

    # ---- moving -------------------------------------------------------------------------------

    def _place(
        self,
        verb: str,
        parameters: dict[str, Any],
        read: Callable[[], float],
        target: float,
        tolerance: float,
        what: str,
        extra_s: float = 0.0,
    ) -> float:
        """Move to an absolute place, wait, read back; again if it is not there; DeviceFault."""
        reached, problem = float("nan"), ""
        patience_s = _MOVE_PATIENCE_S + extra_s
        for _ in range(_TRIES):
            self._wait(patience_s, "with an earlier move")
            self._moved_s = self.clock.now()
            try:
                # The vendor's package waits 180 s for this reply: some ICL may answer late.
                self._ask(verb, sure=False, timeout_s=patience_s, **parameters)
            except (LinkLost, BadReply) as error:  # what counts is the reading after it
                problem = f" ({error})"
            self._wait(patience_s, f"on the way to {what}")
            reached = float(read())
            if abs(reached - target) <= tolerance:
                return reached
        raise DeviceFault(
            f"{self.name}: {what} was asked, read back is {reached:g}{problem}; does anything "
            "block it? Initialise the monochromator"
        )

    def _wait(self, patience_s: float, doing: str) -> None:
        """Wait until the device is not busy; DeviceFault after `patience_s`.

        Right after a move was started the ICL says "not busy", and means "not yet".
        """
        self.clock.sleep_until(self._moved_s + _SETTLE_S)
        deadline = self.clock.now() + patience_s
        while truth(self._ask("isBusy"), "busy"):
            if self.clock.now() >= deadline:
                raise DeviceFault(
                    f"{self.name}: still busy {patience_s:.0f} s later ({doing}); switch it off "
                    "and on if it stays so"
                )
            self.clock.sleep(_POLL_S)

    def _value(self, verb: str, key: str, low: float, high: float, **parameters: Any) -> float:
        return number(self._ask(verb, **parameters), key, low, high)


def _slit_types(found: Mapping[str, Any]) -> dict[int, int]:
    """Return port -> slit type; ports with a slit of no known type are left alone."""
    types: dict[int, int] = {}
    for entry in records(found, "ports"):
        key = "locationId" if "locationId" in entry else "monoPortLocation"
        port = whole(entry, key, 0, 9)
        kind = whole(entry, "slitType", 0, 99) if "slitType" in entry else 0
        if kind in SLIT_RANGE_MM and 1 <= port <= 4:
            types[port] = kind
    return dict(sorted(types.items()))


def _mirrors(found: Mapping[str, Any]) -> dict[str, int]:
    """Return the mirrors that are listed; which numbers commands want is found out later."""
    listed = records(found, "mirrors")
    keys = ("locationId", "location")
    ids = [whole(entry, key, 0, 2) for entry in listed for key in keys if key in entry]
    base = 0 if 0 in ids else 1
    return {side: place for place, side in enumerate(("entrance", "exit")) if base + place in ids}
