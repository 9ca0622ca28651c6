"""The simulated bench: a World, and the devices that stand on it.

Loaded by name by the Bench. For each measurement it knows what is under the beam (the film under
the fs stripe, for the measurements so far) and which devices a paper's bench has; `mount` gives a
driver its simulated device. Devices of other packages register under `gainbench.simulators`.
"""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import entry_points
from typing import Any

from instruments.clock import Clock
from instruments.config import BenchConfig, PumpTable, SimulationTable
from instruments.errors import ConfigError
from sim_drivers.sample import PRESETS, Film, SampleError, resolve
from sim_drivers.world import Imperfections, Pump, World

_OWN = {
    "thorlabs-elliptec": "sim_drivers.devices.thorlabs_elliptec:SimulatedElliptec",
    "thorlabs-sc10": "sim_drivers.devices.thorlabs_sc10:SimulatedSC10",
    "thorlabs-pm100": "sim_drivers.devices.thorlabs_pm100:SimulatedPM100",
    "newport-smc100": "sim_drivers.devices.newport_smc100:SimulatedSMC100",
    "newport-esp301": "sim_drivers.devices.newport_esp301:SimulatedESP301",
    "horiba-icl": "sim_drivers.devices.horiba_icl:SimulatedICL",
    "hamamatsu-remoteex": "sim_drivers.devices.hamamatsu_remoteex:SimulatedRemoteEx",
    "lakeshore-335": "sim_drivers.devices.lakeshore_335:SimulatedLakeShore",
    "srs-dg645": "sim_drivers.devices.srs_dg645:SimulatedDG645",
    "acton-spectrapro": "sim_drivers.devices.acton_spectrapro:SimulatedSpectraPro",
    "andor-sdk2": "sim_drivers.devices.andor_sdk2:FakeAndorSdk2",
    "princeton-picam": "sim_drivers.devices.princeton_picam:FakePicam",
}
_DEFAULT_DRIVERS = {
    "shutter": "thorlabs-sc10",
    "attenuator": "thorlabs-elliptec",
    "energy_meter": "thorlabs-pm100",
    "stripe": "newport-smc100",
    "monochromator": "acton-spectrapro",
    "camera": "andor-sdk2",
}
_DEFAULT_PRESET = "CsPbBr3-9nm"


def presets() -> dict[str, str]:
    """Return the sample presets and a line about each."""
    return {name: _describe(name) for name in PRESETS}


def _describe(name: str) -> str:
    p = PRESETS[name]
    return (
        f"spontaneous {p.spontaneous_peak_nm:g} nm, stimulated {p.ase_peak_nm:g} nm, "
        f"threshold {p.threshold_uJ_cm2:g} uJ/cm2"
    )


class SimulatedBench:
    """A bench without hardware, as one measurement needs it."""

    def __init__(self, config: BenchConfig, clock: Clock, measurement: str) -> None:
        settings = config.simulation or SimulationTable()
        self.clock = clock
        self.seed = settings.seed
        self.pump: PumpTable = config.pump or PumpTable.model_validate({})
        self.devices: dict[str, Any] = {}
        self.made_for: dict[str, str] = {}
        preset = settings.sample.preset or _DEFAULT_PRESET
        try:
            parameters = resolve(preset, settings.sample.overrides)
            length_mm = self.pump.stripe_length_mm or self.pump.spot_diameter_mm or 3.0
            film = Film(parameters, 0.1 * length_mm)
        except SampleError as error:
            raise ConfigError(str(error), file=config.file, key="simulation.sample") from None
        wrong = settings.bench
        self.world = World(
            clock,
            film,
            Pump(
                wavelength_nm=self.pump.wavelength_nm,
                repetition_rate_Hz=self.pump.repetition_rate_Hz,
                full_pulse_energy_J=self.pump.full_pulse_energy_J,
                area_cm2=self.pump.area_cm2,
                full_length_cm=0.1 * length_mm,
                energy_rel_unc=self.pump.pulse_energy_rel_unc,
                area_rel_unc=self.pump.area_rel_unc,
                pick_off_ratio=self.pump.pick_off_ratio,
            ),
            Imperfections(
                wrong.calibration_errors,
                wrong.pulse_noise,
                wrong.drift_per_hour,
                wrong.slit_zero_um,
                wrong.slit_blur_um,
            ),
            seed=settings.seed,
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that this bench fills when the bench file does not."""
        return tuple(_DEFAULT_DRIVERS)

    def driver(self, role: str) -> str:
        """Return the driver that the simulated bench uses for a role."""
        return _DEFAULT_DRIVERS[role]

    def device(
        self, role: str, driver: str, options: dict[str, Any] | None = None, world: Any = None
    ) -> Any:
        """Return the simulated device of a role, made when first asked for.

        Of the driver's options it takes those that both know (an address, say).
        """
        if role not in self.devices:
            for other, made in self.devices.items():
                if getattr(type(made), "SHARED", False) and self.made_for[other] == driver:
                    self.devices[role] = made
                    self.made_for[role] = driver
                    return made
            targets = {p.name: p.value for p in entry_points(group="gainbench.simulators")} | _OWN
            if driver not in targets:
                raise ConfigError(
                    f"no simulated device is registered for the driver {driver!r}",
                    key=f"instruments.{role}.resource",
                )
            module, _, name = targets[driver].partition(":")
            kind = getattr(importlib.import_module(module), name)
            known = inspect.signature(kind).parameters
            shared = {k: v for k, v in (options or {}).items() if k in known}
            seen = self.world if world is None else world
            device = kind(self.clock, seen, seed=seen.seed, **shared)
            settle = getattr(device, "settle", None)
            if settle is not None:
                self.world.settlers.append(settle)
            self.devices[role] = device
            self.made_for[role] = driver
        return self.devices[role]

    def mount(
        self, role: str, driver: str, kind: Any, options: dict[str, Any], resource: str = "sim"
    ) -> Any:
        """Return a driver instance on its simulated device, in process.

        With a resource `sim://host:port` the device (a camera) looks at the world served there.
        """
        world: Any = None
        if resource != "sim":
            world = importlib.import_module("sim_drivers.serving").RemoteWorld(resource)
        device = self.device(role, driver, options, world)
        if hasattr(device, "link"):
            return kind(device.link(kind), clock=self.clock, **options)
        return kind(clock=self.clock, sdk=device, **options)

    def state(self) -> dict[str, float]:
        """Return the state of world and devices, for a run that may have to be resumed."""
        found = self.world.state()
        for role, device in self.devices.items():
            found.update({f"{role}.{key}": value for key, value in device.state().items()})
        return found

    def restore(self, state: dict[str, float]) -> None:
        """Take world and devices back to a state."""
        self.world.restore(state)
        for role, device in self.devices.items():
            prefix = f"{role}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if own:
                device.restore(own)
