"""A stage that carries a slit edge is a stripe slit: stage position makes stripe length.

length = direction * (position - zero). The zero is calibrated (a low-fluence length scan gives it),
approaches come from one side to take out backlash, and any linear stage can take the place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


def load_slit(path: Path) -> SlitCalibration:
    """Read a calibration file (TOML; the fields of SlitCalibration)."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        known = {k: float(v) for k, v in table.items() if k in SlitCalibration.__annotations__}
        return SlitCalibration(**{**known, "name": path.name})  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"is not a calibration of the slit ({error})", file=str(path)) from None


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
