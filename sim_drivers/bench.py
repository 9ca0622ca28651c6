"""The simulated bench: a World, and the devices that stand on it.

Loaded by name by the Bench. What is under the beam and which instruments there are depends on the
measurement (`arrangements.py`); `mount` gives a driver its simulated device. Devices of other
packages register under `gainbench.simulators`.
"""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from instruments.clock import Clock
from instruments.config import BenchConfig, PumpTable, SimulationTable
from instruments.errors import ConfigError
from sim_drivers.arrangements import EVERYTHING, arrangement, optics_of
from sim_drivers.faults import FaultPlan
from sim_drivers.noise import Seed
from sim_drivers.presets import presets
from sim_drivers.sample import SampleError, prepare, resolve
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
    "line-camera": "sim_drivers.devices.line_camera:SimulatedShots",
}


__all__ = ["SimulatedBench", "moment", "presets"]


def moment(state: Mapping[str, float]) -> float | None:
    """Return the bench time (s since 1970) of a state of `SimulatedBench.state`."""
    return state.get("world.now_s")


def _simulator(driver: str) -> Any:
    """Return the class of a driver's simulated device, None if none is registered."""
    targets = {p.name: p.value for p in entry_points(group="gainbench.simulators")} | _OWN
    if driver not in targets:
        return None
    module, _, name = targets[driver].partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the simulated device of {driver!r} cannot be loaded from {targets[driver]!r}: {error}"
        ) from error


class SimulatedBench:
    """A bench without hardware, as one measurement needs it.

    Args:
        config: the bench file. clock: the bench's clock. measurement: decides what the bench is.
        medium: "film" or "solution", where the measurement has that choice.

    Attributes:
        pump: `[pump]` as this bench has it: its own defaults, and what the file gives over them.
    """

    def __init__(
        self, config: BenchConfig, clock: Clock, measurement: str, medium: str | None = None
    ) -> None:
        settings = config.simulation or SimulationTable()
        self.clock = clock
        self.seed = Seed(settings.seed)
        self.arrangement = arrangement(measurement, medium)
        self.pump = self._pump_table(config)
        self.devices: dict[str, Any] = {}
        self.made_for: dict[str, str] = {}
        use = self.arrangement.use
        preset = settings.sample.preset or self.arrangement.preset
        length_mm = self.pump.stripe_length_mm or self.pump.spot_diameter_mm or 3.0
        try:
            parameters = resolve(preset, settings.sample.overrides, use)
            sample = prepare(use, parameters, 0.1 * length_mm, self.pump.wavelength_nm)
        except SampleError as error:
            raise ConfigError(str(error), file=config.file, key="simulation.sample") from None
        wrong = settings.bench
        self.world = World(
            clock,
            sample,
            Pump(
                wavelength_nm=self.pump.wavelength_nm,
                repetition_rate_Hz=self.pump.repetition_rate_Hz,
                full_pulse_energy_J=self.pump.full_pulse_energy_J,
                area_cm2=self.pump.area_cm2,
                full_length_cm=0.1 * length_mm,
                energy_rel_unc=self.pump.pulse_energy_rel_unc,
                area_rel_unc=self.pump.area_rel_unc,
                pick_off_ratio=self.pump.pick_off_ratio,
                pulse_width_s=self.pump.pulse_width_s,
            ),
            Imperfections(
                wrong.calibration_errors,
                wrong.pulse_noise,
                wrong.drift_per_hour,
                wrong.slit_zero_um,
                wrong.slit_blur_um,
                wrong.irf_fwhm_ps,
                wrong.jitter_ps,
            ),
            seed=self.seed,
            wavelength_unc_nm=config.spectrograph.wavelength_unc_nm,
            optics=self.arrangement.optics,
            lamp=wrong.lamp if self.arrangement.lamp else None,
        )
        self.faults = FaultPlan(
            settings.faults, self.world, lambda role: self._kind_for(config, role), config.file
        )

    def _kind_for(self, config: BenchConfig, role: str) -> type | None:
        """Return the class of the simulated device of a role, None if there is none."""
        table = config.instruments.get(role)  # type: ignore[call-overload]
        if table is None:
            return _simulator(self.driver(role)) if role in self.roles else None
        return _simulator(table.driver) if table.simulated else None

    def _pump_table(self, config: BenchConfig) -> PumpTable:
        """Return `[pump]`: keys that the file does not give are those of this bench."""
        given: dict[str, Any] = {}
        if config.pump is not None:
            given = config.pump.model_dump(exclude_unset=True)
            written = tomllib.loads(config.text).get("pump") if config.text else None
            if written is not None:  # the schema sets the stripe where the file gives no shape
                given = {key: value for key, value in given.items() if key in written}
        return PumpTable.model_validate(self.arrangement.pump_table(given))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that this bench fills when the bench file does not."""
        return tuple(self.arrangement.drivers)

    def driver(self, role: str) -> str:
        """Return the driver that the simulated bench uses for a role."""
        return self.arrangement.drivers.get(role) or EVERYTHING[role]

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
                    self.faults.attach(role, made)
                    self._look_through(role, made)
                    return made
            kind = _simulator(driver)
            if kind is None:
                raise ConfigError(
                    f"no simulated device is registered for the driver {driver!r}",
                    key=f"instruments.{role}.resource",
                )
            known = inspect.signature(kind).parameters
            wanted = self.arrangement.device_options(role, driver) | (options or {})
            shared = {k: v for k, v in wanted.items() if k in known}
            seen = self.world if world is None else world
            device = kind(self.clock, seen, seed=seen.seed, **shared)
            settle = getattr(device, "settle", None)
            if settle is not None:
                self.world.settlers.append(settle)
            self.faults.attach(role, device)
            self._look_through(role, device)
            self.devices[role] = device
            self.made_for[role] = driver
        return self.devices[role]

    def _look_through(self, role: str, device: Any) -> None:
        """Give the World the optics of a monochromator."""
        if role == "monochromator":
            self.world.set_optics(optics_of(device, self.arrangement.optics))

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

    def begin(self, draw: int) -> None:
        """Have the noise of a run from now on: that of another `draw` is another."""
        self.seed.draw = draw

    def state(self) -> dict[str, float]:
        """Return the state of world and devices, for a run that may have to be resumed."""
        found = self.world.state() | self.faults.state()
        for role, device in self.devices.items():
            found.update({f"{role}.{key}": value for key, value in device.state().items()})
        return found

    def restore(self, state: dict[str, float]) -> None:
        """Take world and devices back to a state."""
        self.world.restore(state)
        self.faults.restore(state)
        for role, device in self.devices.items():
            prefix = f"{role}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if own:
                device.restore(own)
