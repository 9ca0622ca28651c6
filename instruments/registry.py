"""Which driver answers to which name.

Our own drivers, and those of other packages that register under the entry-point group
`gainbench.drivers` (name = "module:Class"; which role such a driver can fill is told by its class).
A module is imported only when its driver is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from instruments import roles
from instruments.errors import ConfigError


@dataclass(frozen=True)
class DriverEntry:
    """A driver by name: where its class is, the roles it can fill, one line about it.

    `by_role` names another class for some roles, where one driver serves several instruments.
    `roles` is empty for a driver of another package, whose class is not looked at before it is
    asked for.
    """

    driver: str
    target: str
    roles: tuple[str, ...]
    summary: str
    by_role: Mapping[str, str] = field(default_factory=dict)

    def load(self, role: str) -> Any:
        """Import the class that drives `role`."""
        module, _, name = self.by_role.get(role, self.target).partition(":")
        return getattr(importlib.import_module(module), name)


_OWN = (
    DriverEntry(
        "thorlabs-elliptec",
        "instruments.drivers.thorlabs_elliptec:ElliptecRotator",
        ("attenuator",),
        "Thorlabs Elliptec rotation mount with half-wave plate and polariser",
    ),
    DriverEntry(
        "newport-smc100",
        "instruments.drivers.newport_smc100:SMC100Stage",
        ("stripe",),
        "Newport SMC100 stage of the stripe slit",
    ),
    DriverEntry(
        "newport-esp301",
        "instruments.drivers.newport_esp301:ESP301Stage",
        ("stripe",),
        "Newport ESP301 or ESP300 stage of the stripe slit",
    ),
    DriverEntry(
        "horiba-icl",
        "instruments.drivers.horiba_icl:HoribaMonochromator",
        ("monochromator", "camera"),
        "HORIBA iHR monochromator and CCD through the ICL server",
        {"camera": "instruments.drivers.horiba_icl:HoribaCamera"},
    ),
    DriverEntry(
        "hamamatsu-remoteex",
        "instruments.drivers.hamamatsu_remoteex:RemoteExStreakCamera",
        ("streak",),
        "Hamamatsu streak camera through HPD-TA's RemoteEx server",
    ),
    DriverEntry(
        "saved-streak-images",
        "instruments.drivers.saved_streak_images:SavedStreakImages",
        ("streak",),
        "streak images that the vendor's program saves into a folder (.img, TIFF)",
    ),
    DriverEntry(
        "lakeshore-335",
        "instruments.drivers.lakeshore_335:LakeShoreCryostat",
        ("cryostat",),
        "Lake Shore 331, 335 or 336 temperature controller of the cryostat",
    ),
    DriverEntry(
        "srs-dg645",
        "instruments.drivers.srs_dg645:DG645Gate",
        ("pulse_gate",),
        "SRS DG645 delay generator as a gate for N pump shots",
    ),
    DriverEntry(
        "acton-spectrapro",
        "instruments.drivers.acton_spectrapro:SpectraPro",
        ("monochromator",),
        "Princeton Instruments / Acton SpectraPro monochromator",
    ),
    DriverEntry(
        "andor-sdk2",
        "instruments.drivers.andor_sdk2:AndorSdk2Camera",
        ("camera",),
        "Andor CCD (Newton, iDus, iXon) through pylablib",
    ),
    DriverEntry(
        "princeton-picam",
        "instruments.drivers.princeton_picam:PicamCamera",
        ("camera",),
        "Princeton Instruments CCD (PIXIS, ProEM) through pylablib",
    ),
    DriverEntry(
        "line-camera",
        "instruments.drivers.line_camera:LineCamera",
        ("camera",),
        "line camera read with every shot, with its pulse energy; or such shots from a file",
    ),
    DriverEntry(
        "thorlabs-sc10",
        "instruments.drivers.thorlabs_sc10:SC10Shutter",
        ("shutter",),
        "Thorlabs SC10 shutter controller",
    ),
    DriverEntry(
        "thorlabs-pm100",
        "instruments.drivers.thorlabs_pm100:PM100",
        ("energy_meter",),
        "Thorlabs PM100 energy meter",
    ),
)


_FILLS: dict[str, tuple[type[roles.Role], ...]] = {
    "attenuator": (roles.Attenuator, roles.Rotator),
    "stripe": (roles.Stage,),
    "monochromator": (roles.Monochromator,),
    "camera": (roles.Camera,),
    "streak": (roles.StreakCamera,),
    "cryostat": (roles.Cryostat,),
    "energy_meter": (roles.EnergyMeter,),
    "shutter": (roles.Shutter,),
    "pulse_gate": (roles.PulseGate,),
}
"""What a driver for a role of the bench file must be: the role, or what it is composed of."""


def drivers() -> dict[str, DriverEntry]:
    """Return every driver known here, by name."""
    found = {entry.driver: entry for entry in _OWN}
    for point in entry_points(group="gainbench.drivers"):
        found.setdefault(
            point.name, DriverEntry(point.name, point.value, (), f"from {package_of(point)}")
        )
    return found


def package_of(point: EntryPoint) -> str:
    """Return the name of the package that registers an entry point, with its version."""
    if point.dist is None:
        return point.module.partition(".")[0]
    return f"{point.dist.name} {point.dist.version}"


def driver(name: str, role: str, file: str | None = None) -> DriverEntry:
    """Return the driver of a name for a role.

    Raises:
        ConfigError: there is none, it cannot fill the role, or another package's cannot be loaded.
    """
    own = {entry.driver: entry for entry in _OWN}
    known = own if name in own else drivers()
    key = f"instruments.{role}.driver"
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{name!r} is not a driver{hint} Known: {', '.join(sorted(known))}", file=file, key=key
        )
    entry = known[name]
    if role not in (entry.roles or _roles_by_class(entry, file, key)):
        fits = [other.driver for other in own.values() if role in other.roles]
        raise ConfigError(
            f"{name!r} cannot be the {role}; allowed: {', '.join(fits) or 'none yet'}",
            file=file,
            key=key,
        )
    return entry


def _roles_by_class(entry: DriverEntry, file: str | None, key: str) -> tuple[str, ...]:
    """Return the roles that the class of another package's driver can fill."""
    try:
        kind = entry.load("")
    except Exception as error:  # whatever another package's import may raise
        raise ConfigError(
            f"the driver {entry.driver!r} ({entry.summary}) cannot be loaded from "
            f"{entry.target!r}: {error}",
            file=file,
            key=key,
        ) from error
    return tuple(role for role, kinds in _FILLS.items() if issubclass(kind, kinds))
