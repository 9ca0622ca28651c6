"""Which bench each measurement needs: what lies under which pump, and the instruments around it.

For the simulated bench. Four benches of the paper, as data: the film under the fs stripe, the same
with a streak camera, a cuvette under a round fs spot with a streak camera, the film at 10 K and
the capillary, both under ns pulses with the long spectrograph. What the bench file names overrides
what stands here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sim_drivers.optics import KNOWN, Optics

_FILM, _SOLUTION, _CAPILLARY = "CsPbBr3-9nm", "CsPbBr3-solution", "CsPbBr3-capillary"

_PUMPED = {
    "shutter": "thorlabs-sc10",
    "attenuator": "thorlabs-elliptec",
    "energy_meter": "thorlabs-pm100",
}
_SPECTROGRAPH = {"monochromator": "acton-spectrapro", "camera": "andor-sdk2"}
_STRIPE = {"stripe": "newport-smc100"}
_STREAK = {"streak": "hamamatsu-remoteex"}
_CRYOSTAT = {"cryostat": "lakeshore-335"}

_FS_SPOT = {"spot_diameter_mm": 1.0, "full_pulse_energy_J": 1.5e-6}
_NS_SPOT = {
    "spot_diameter_mm": 1.0,
    "full_pulse_energy_J": 200e-6,
    "repetition_rate_Hz": 20.0,
    "pulse_width_s": 5e-9,
    "pulses_per_reading": 40,
}
_SHAPE = ("stripe_width_mm", "stripe_length_mm", "spot_diameter_mm")

EVERYTHING: Mapping[str, str] = MappingProxyType(
    _PUMPED | _STRIPE | _SPECTROGRAPH | _STREAK | _CRYOSTAT | {"pulse_gate": "srs-dg645"}
)
"""A driver for every role: what a bench uses for a role that is asked for by name."""


@dataclass(frozen=True)
class Arrangement:
    """A bench: what the sample is used as, its preset, the pump, a driver a role, the optics.

    pump holds what differs from the defaults of `[pump]`; options what a simulated device is
    made with, by role; optics is the spectrograph in front of the CCD.
    """

    use: str
    preset: str
    drivers: Mapping[str, str]
    pump: Mapping[str, Any] = field(default_factory=dict)
    optics: Optics = KNOWN["300"]
    lamp: bool = False

    def pump_table(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of `[pump]`: this bench's own, and what the file gives over them."""
        own = dict(self.pump)
        if any(given.get(key) is not None for key in _SHAPE):
            own = {key: value for key, value in own.items() if key not in _SHAPE}
        return own | {key: value for key, value in given.items() if value is not None}

    def device_options(self, role: str, driver: str) -> dict[str, Any]:
        """Return what the simulated device of a role is made with on this bench."""
        if role == "monochromator" and driver == "acton-spectrapro" and self.optics is KNOWN["750"]:
            device = importlib.import_module("sim_drivers.devices.acton_spectrapro")
            gratings = {
                1: device.SimulatedGrating(1200.0, "500NM"),
                2: device.SimulatedGrating(1800.0, "500NM"),
                3: device.SimulatedGrating(600.0, "500NM"),
            }
            return {"model": "SP-2-750i", "gratings": gratings}
        return {}


_STRIPE_BENCH = Arrangement("stripe", _FILM, _PUMPED | _STRIPE | _SPECTROGRAPH)
_FILM_STREAK = Arrangement("stripe", _FILM, _PUMPED | _STRIPE | _STREAK)
_CUVETTE = Arrangement("cuvette", _SOLUTION, _PUMPED | _STREAK, _FS_SPOT)
_COLD = Arrangement("cold", _FILM, _PUMPED | _SPECTROGRAPH | _CRYOSTAT, _NS_SPOT, KNOWN["750"])
_CAVITY = Arrangement("capillary", _CAPILLARY, _PUMPED | _SPECTROGRAPH, _NS_SPOT, KNOWN["750"])
_SHOTS = Arrangement("stripe", _FILM, _PUMPED | _STRIPE | _SPECTROGRAPH | {"camera": "line-camera"})
_LAMP = Arrangement("stripe", _FILM, _PUMPED | _SPECTROGRAPH, lamp=True)

_BY_MEASUREMENT = {
    "lifetime": _CUVETTE,
    "auger": _CUVETTE,
    "cross-section": _CUVETTE,
    "streak-series": _FILM_STREAK,
    "biexciton": _COLD,
    "capillary-lasing": _CAVITY,
    "calibrate-wavelength": _LAMP,
    "per-shot": _SHOTS,
}


def arrangement(measurement: str, medium: str | None = None) -> Arrangement:
    """Return the bench of a measurement; the stripe bench for those not known here.

    medium: "film" puts the film in the cuvette's place (lifetime), "solution" the other way round;
    None leaves the choice to the measurement. ValueError for anything else.
    """
    if medium not in (None, "film", "solution"):
        raise ValueError(f"medium: {medium!r} was given, allowed is film or solution")
    found = _BY_MEASUREMENT.get(measurement, _STRIPE_BENCH)
    if found is _CUVETTE and medium == "film":
        return _FILM_STREAK
    if found is _FILM_STREAK and medium == "solution":
        return _CUVETTE
    return found


def optics_of(device: Any, otherwise: Optics) -> Optics:
    """Return the optics of a simulated monochromator, by its own word or its model's number."""
    focal_mm, half_deg = (
        getattr(device, key, None) for key in ("focal_length_mm", "half_angle_deg")
    )
    if focal_mm is not None and half_deg is not None:
        return Optics(float(focal_mm), float(half_deg))
    model = str(getattr(device, "model", ""))
    for figure, optics in KNOWN.items():
        if figure in model:
            return optics
    return otherwise
