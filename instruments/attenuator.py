"""A half-wave plate in a rotation mount before a polariser is an attenuator.

T(theta) = Tmin + (Tmax - Tmin) cos^2(2 (theta - theta0)); the inverse stays on the branch from
theta0 (brightest) to theta0 + 45 deg (darkest), so that any rotation mount can take the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from instruments.calibration import Calibration, read_calibration
from instruments.errors import ConfigError, NotReady
from instruments.roles import Attenuator, Identity, Limits, Rotator, Setting, Status

_ERRORS = {"theta0_deg": "theta0_error_deg", "t_min": "t_min_error", "t_max": "t_max_error"}
_BEAM = (
    "full_pulse_energy_J",
    "area_cm2",
    "stripe_width_mm",
    "stripe_length_mm",
    "spot_diameter_mm",
)
CALIBRATED = (*_ERRORS, *_ERRORS.values(), *_BEAM)
"""The values that an attenuator's calibration may hold; those of the beam are for `pump`."""


@dataclass(frozen=True)
class WaveplateCalibration:
    """Where the plate passes most, and the transmissions there and 45 degrees on."""

    theta0_deg: float = 0.0
    t_min: float = 5e-4
    t_max: float = 0.995
    theta0_error_deg: float = 0.03
    t_min_error: float = 2e-4
    t_max_error: float = 0.003
    name: str = "nominal"

    def __post_init__(self) -> None:
        """Refuse transmissions that no polariser has."""
        if not 0.0 <= self.t_min < self.t_max <= 1.0:
            raise ConfigError(
                f"0 <= t_min < t_max <= 1 is needed, given are {self.t_min:g} and {self.t_max:g}",
                file=self.name,
                key="t_min",
            )

    def transmission(self, angle_deg: float) -> float:
        """Return the transmission at a mount angle."""
        phase = math.radians(2.0 * (angle_deg - self.theta0_deg))
        return self.t_min + (self.t_max - self.t_min) * math.cos(phase) ** 2

    def angle_deg(self, transmission: float) -> float:
        """Return the angle between theta0 and theta0 + 45 deg with this transmission."""
        share = (transmission - self.t_min) / (self.t_max - self.t_min)
        share = min(max(share, 0.0), 1.0)
        return self.theta0_deg + 0.5 * math.degrees(math.acos(math.sqrt(share)))

    def transmission_error(self, angle_deg: float, resolution_deg: float) -> float:
        """Return one standard deviation: resolution of the mount and the calibration's own."""
        phase = math.radians(2.0 * (angle_deg - self.theta0_deg))
        span = self.t_max - self.t_min
        per_degree = 2.0 * span * math.sin(2.0 * phase) * math.pi / 180.0
        curvature = 8.0 * span * math.cos(2.0 * phase) * (math.pi / 180.0) ** 2
        angle_error = math.hypot(resolution_deg, self.theta0_error_deg)
        return math.sqrt(
            (per_degree * angle_error) ** 2
            + 0.5 * (curvature * angle_error**2) ** 2
            + (self.t_min_error * math.sin(phase) ** 2) ** 2
            + (self.t_max_error * math.cos(phase) ** 2) ** 2
        )


def waveplate_calibration(calibration: Calibration) -> WaveplateCalibration:
    """Return what a calibration file says of wave plate and polariser; the rest is nominal."""
    fields = {k: v for k, v in calibration.values.items() if k not in _BEAM}
    fields |= {_ERRORS[k]: v for k, v in calibration.stderr.items() if k in _ERRORS}
    return WaveplateCalibration(**fields, name=calibration.name)


def load_calibration(path: Path) -> WaveplateCalibration:
    """Read a calibration file of the attenuator; ConfigError if it is none."""
    return waveplate_calibration(read_calibration(path, "attenuator", CALIBRATED))


class WaveplateAttenuator(Attenuator):
    """Rotation mount, half-wave plate and polariser."""

    def __init__(self, rotator: Rotator, calibration: WaveplateCalibration | None = None) -> None:
        self.rotator = rotator
        self.calibration = calibration or WaveplateCalibration()
        self._angle_deg: float | None = None
        self._sealed = True

    @property
    def identity(self) -> Identity:
        """The mount's."""
        return self.rotator.identity

    def status(self) -> Status:
        """The mount's; not ok before homing."""
        if not self.rotator.homed:
            return Status(False, "not homed: the transmission is unknown")
        return self.rotator.status()

    @property
    def homed(self) -> bool:
        """Whether the transmission can be trusted."""
        return self.rotator.homed

    @property
    def limits(self) -> Mapping[str, Limits]:
        """The transmissions that the calibration reaches."""
        return {"transmission": Limits(self.calibration.t_min, self.calibration.t_max, "1")}

    def prepare(self) -> None:
        """Home the mount if it is not."""
        if not self.rotator.homed:
            self.rotator.home()
        self._angle_deg = self.rotator.angle_deg

    @property
    def angle_deg(self) -> float:
        """The mount's angle (degrees)."""
        if self._angle_deg is None:
            if not self.rotator.homed:
                raise NotReady("attenuator: not homed, so its transmission is unknown; home it")
            self._angle_deg = self.rotator.angle_deg
        return self._angle_deg

    @property
    def transmission(self) -> float:
        """Transmission from the angle read back."""
        return self.calibration.transmission(self.angle_deg)

    @property
    def transmission_error(self) -> float:
        """One standard deviation of `transmission`."""
        return self.calibration.transmission_error(self.angle_deg, self.rotator.resolution_deg)

    def set_transmission(self, transmission: float) -> float:
        """Go to a transmission; LimitError outside Tmin to Tmax."""
        self.limits["transmission"].check("transmission", transmission)
        self._angle_deg = None
        self._angle_deg = self.rotator.move_to(self.calibration.angle_deg(transmission))
        return self.transmission

    def turn_to(self, angle_deg: float) -> float:
        """Turn the plate to an angle (degrees), return the one reached; LimitError outside."""
        self._angle_deg = None
        self._angle_deg = self.rotator.move_to(angle_deg)
        return self._angle_deg

    def make_safe(self) -> None:
        """Go dark, if the mount knows where that is."""
        if self.rotator.homed:
            self._angle_deg = None
            self.rotator.move_to(self.calibration.theta0_deg + 45.0)
        self.rotator.make_safe()

    def snapshot(self) -> dict[str, Setting]:
        """Angle, transmission and the calibration in use."""
        settings = self.rotator.snapshot()
        if self.rotator.homed:
            settings["transmission"] = Setting(self.transmission, "1")
        calibration = self.calibration
        settings["calibration"] = Setting(calibration.name)
        settings["theta0"] = Setting(calibration.theta0_deg, "deg")
        settings["t_min"] = Setting(calibration.t_min, "1")
        settings["t_max"] = Setting(calibration.t_max, "1")
        return settings

    def close(self) -> None:
        """Close the mount."""
        self.rotator.close()
