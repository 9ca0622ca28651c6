"""A stage that carries a slit edge is a stripe slit: stage position makes stripe length.

length = direction * (position - zero). The zero is calibrated (a low-fluence length scan gives it),
approaches come from one side to take out backlash, and any linear stage can take the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from instruments.calibration import Calibration, read_calibration
from instruments.errors import ConfigError, NotReady
from instruments.roles import Identity, Limits, Role, Setting, Stage, Status


@dataclass(frozen=True)
class SlitCalibration:
    """Where the slit is closed (mm of the stage), which way opens it, and its backlash (mm)."""

    zero_mm: float = 0.0
    zero_error_mm: float = 0.04
    direction: float = 1.0
    backlash_mm: float = 0.02
    name: str = "nominal"

    def __post_init__(self) -> None:
        """Refuse a direction that is none."""
        if self.direction not in (1.0, -1.0):
            raise ConfigError(
                f"{self.direction:g} was given, allowed are 1 and -1",
                file=self.name,
                key="direction",
            )


_ERRORS = {"zero_mm": "zero_error_mm"}
CALIBRATED = ("zero_mm", "zero_error_mm", "direction", "backlash_mm")
"""The values that a slit's calibration may hold."""


def slit_calibration(calibration: Calibration) -> SlitCalibration:
    """Return what a calibration file says of the slit; the rest is nominal."""
    errors = {_ERRORS[k]: v for k, v in calibration.stderr.items() if k in _ERRORS}
    return SlitCalibration(**{**calibration.values, **errors}, name=calibration.name)


def load_slit(path: Path) -> SlitCalibration:
    """Read a calibration file of the slit; ConfigError if it is none."""
    return slit_calibration(read_calibration(path, "slit", CALIBRATED))


class StripeSlit(Role):
    """Sets the length of the pumped stripe (mm), at constant fluence."""

    def __init__(
        self, stage: Stage, full_length_mm: float, calibration: SlitCalibration | None = None
    ) -> None:
        self.stage = stage
        self.full_length_mm = full_length_mm
        self.calibration = calibration or SlitCalibration()
        self._sealed = True

    @property
    def identity(self) -> Identity:
        """The stage's."""
        return self.stage.identity

    def status(self) -> Status:
        """The stage's; not ok before homing."""
        if not self.stage.homed:
            return Status(False, "not homed: the stripe length is unknown")
        return self.stage.status()

    @property
    def homed(self) -> bool:
        """Whether the length can be trusted."""
        return self.stage.homed

    @property
    def limits(self) -> Mapping[str, Limits]:
        """Stripe lengths from closed to the full stripe (mm)."""
        return {"length_mm": Limits(0.0, self.full_length_mm, "mm")}

    def prepare(self) -> None:
        """Home the stage if it is not."""
        if not self.stage.homed:
            self.stage.home()

    @property
    def length_mm(self) -> float:
        """The stripe length by the stage's position (mm)."""
        if not self.stage.homed:
            raise NotReady("stripe: not homed, so its length is unknown; home it")
        found = self.calibration.direction * (self.stage.position_mm - self.calibration.zero_mm)
        return min(max(found, 0.0), self.full_length_mm)

    def set_length_mm(self, length_mm: float) -> float:
        """Go to a stripe length (mm), from below; return the one reached."""
        self.limits["length_mm"].check("length_mm", length_mm)
        calibration = self.calibration
        target = calibration.zero_mm + calibration.direction * length_mm
        way = self.stage.limits["position_mm"]
        if length_mm < self.length_mm and calibration.backlash_mm > 0:
            before = target - calibration.direction * calibration.backlash_mm
            self.stage.move_to(min(max(before, way.low), way.high))
        reached = self.stage.move_to(min(max(target, way.low), way.high))
        return min(
            max(calibration.direction * (reached - calibration.zero_mm), 0.0), self.full_length_mm
        )

    def make_safe(self) -> None:
        """Stop the stage."""
        self.stage.make_safe()

    def snapshot(self) -> dict[str, Setting]:
        """Length, position and the calibration in use."""
        settings = self.stage.snapshot()
        if self.stage.homed:
            settings["length_mm"] = Setting(self.length_mm, "mm")
        settings["calibration"] = Setting(self.calibration.name)
        settings["zero_mm"] = Setting(self.calibration.zero_mm, "mm")
        settings["direction"] = Setting(self.calibration.direction)
        return settings

    def close(self) -> None:
        """Close the stage."""
        self.stage.close()
