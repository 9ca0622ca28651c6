"""The Bench: opens what the bench file names, brings it to a safe state, describes it.

Whatever the file does not name comes from the simulated bench, where the file allows it; that
package is loaded by name, so that a bench of real instruments never touches it. `open_bench` is a
context manager: every way out makes every instrument safe, each on its own.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

from instruments.attenuator import WaveplateAttenuator, load_calibration
from instruments.clock import Clock, VirtualClock, WallClock
from instruments.config import BenchConfig, InstrumentTable, PumpTable
from instruments.errors import BenchError, ConfigError, InstrumentError
from instruments.pump import PumpBeam
from instruments.registry import driver
from instruments.roles import Camera, Limits, Monochromator, Role, Setting, Status
from instruments.spectrograph import Geometry, Spectrograph, load_geometry
from instruments.stripe import StripeSlit, load_slit

log = logging.getLogger(__name__)

# The order in which instruments are made safe: what stops the light comes first.
_SAFE_ORDER = ("shutter", "pulse_gate", "camera", "streak")


class Bench:
    """The open bench; see `open_bench`.

    Attributes:
        config: the bench file. clock: the bench's clock. instruments: role name -> Role.
        pump: the pump beam. spectrograph: monochromator and camera together, or None.
        simulation: the simulated bench behind, or None; only `state` and `restore` are used.
    """

    def __init__(self, config: BenchConfig, clock: Clock, simulation: Any) -> None:
        self.config = config
        self.clock = clock
        self.simulation = simulation
        self.instruments: dict[str, Role] = {}
        self.links: dict[str, Any] = {}
        self.pump: PumpBeam
        self.spectrograph: Spectrograph | None = None

    @property
    def simulated(self) -> bool:
        """Whether any instrument of this bench is simulated in process."""
        return self.simulation is not None

    def need(self, role: str) -> Role:
        """Return the instrument of a role; ConfigError if the bench has none."""
        if role not in self.instruments:
            raise ConfigError(
                f"this measurement needs the role {role!r}, which the bench does not have",
                file=self.config.file,
                key=f"instruments.{role}",
            )
        return self.instruments[role]

    def need_spectrograph(self) -> Spectrograph:
        """Return the spectrograph; ConfigError if monochromator or camera is missing."""
        self.need("monochromator")
        self.need("camera")
        assert self.spectrograph is not None
        return self.spectrograph

    def make_safe(self) -> list[str]:
        """Make every instrument safe, each on its own; return what went wrong, as lines."""
        problems = []
        names = sorted(
            self.instruments,
            key=lambda name: _SAFE_ORDER.index(name) if name in _SAFE_ORDER else 99,
        )
        for name in names:
            try:
                self.instruments[name].make_safe()
            except Exception as error:
                log.error("%s could not be made safe: %s", name, error)
                problems.append(f"{name} could not be made safe: {error}")
        return problems

    def make_safe_for_pause(self) -> None:
        """Close the shutter and keep everything else as it is."""
        shutter = self.instruments.get("shutter")
        if shutter is not None:
            shutter.make_safe()

    def close(self) -> list[str]:
        """Make everything safe and release it; return what went wrong, as lines."""
        problems = self.make_safe()
        for name, role in self.instruments.items():
            try:
                role.close()
            except Exception as error:
                problems.append(f"{name} could not be closed: {error}")
        for link in self.links.values():
            with contextlib.suppress(Exception):
                link.close()
        return problems

    def status(self) -> dict[str, Status]:
        """Ask every instrument how it is; one that does not answer is not ok."""
        found = {}
        for name, role in self.instruments.items():
            try:
                found[name] = role.status()
            except BenchError as error:
                found[name] = Status(False, str(error))
        return found

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return identity and settings of every instrument, by role, for the run file."""
        found: dict[str, dict[str, Any]] = {}
        for name, role in self.instruments.items():
            identity = role.identity
            table = self.config.instruments.get(name)  # type: ignore[call-overload]
            settings = dict(role.snapshot())
            settings["driver"] = Setting(table.driver if table else self.simulation.driver(name))
            settings["resource"] = Setting(table.resource if table else "sim")
            found[name] = {"identity": identity, "settings": settings}
        return found

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again (empty on a real bench)."""
        return dict(self.simulation.state()) if self.simulation is not None else {}

    def restore(self, state: dict[str, float]) -> None:
        """Take the simulated bench back to a state; nothing on a real one."""
        if self.simulation is not None and state:
            self.simulation.restore(state)


@contextlib.contextmanager
def open_bench(
    config: BenchConfig,
    needs: tuple[str, ...] | None = None,
    *,
    measurement: str = "power-sweep",
    clock: Clock | None = None,
    report: Callable[[str], None] = log.info,
    extras: bool = True,
) -> Iterator[Bench]:
    """Open a bench, and leave it safe and closed whatever happens inside the block.

    Args:
        config: the bench file.
        needs: roles to open (those missing are an error); None opens all that there are.
        measurement: decides what a simulated bench has under its beam.
        clock: instead of the one that the file asks for.
        report: told what is happening, a line at a time.
        extras: open shutter and energy meter even if they are not needed, where there are any.

    Raises:
        ConfigError: a driver or option is unknown, or a role is missing.
        InstrumentError: an instrument does not answer or is another one.
    """
    bench = _assemble(config, needs, measurement, clock, report, extras)
    try:
        yield bench
    finally:
        for problem in bench.close():
            report(problem)


def _assemble(
    config: BenchConfig,
    needs: tuple[str, ...] | None,
    measurement: str,
    clock: Clock | None,
    report: Callable[[str], None],
    extras: bool,
) -> Bench:
    real = [r for r, t in config.instruments.items() if t.served or not t.simulated]
    wanted_sim = config.simulation is not None or any(
        table.simulated for table in config.instruments.values()
    )
    settings = config.simulation
    if clock is None:
        virtual = wanted_sim and not real and (settings is None or settings.clock == "virtual")
        speed = settings.speed if settings is not None and not real else 1.0
        clock = VirtualClock() if virtual else WallClock(speed)
    simulation = None
    if wanted_sim:
        module = importlib.import_module("sim_drivers.bench")
        simulation = module.SimulatedBench(config, clock, measurement)
    bench = Bench(config, clock, simulation)
    pump = config.pump
    if pump is None:
        pump = simulation.pump if simulation is not None else PumpTable.model_validate({})
    try:
        for role in _roles_to_open(config, simulation, needs, extras):
            bench.instruments[role] = _open(bench, role)
            report(f"{role}: {bench.instruments[role].identity}")
        bench.pump = PumpBeam(
            pump,
            clock,
            bench.instruments.get("attenuator"),  # type: ignore[arg-type]
            bench.instruments.get("shutter"),  # type: ignore[arg-type]
            bench.instruments.get("energy_meter"),  # type: ignore[arg-type]
            config.limits,
            bench.instruments.get("pulse_gate"),  # type: ignore[arg-type]
        )
        meter = bench.pump.energy_meter
        if meter is not None:
            meter.set_wavelength_nm(pump.wavelength_nm)
        _join_spectrograph(bench)
    except BaseException:
        bench.close()
        raise
    return bench


def _roles_to_open(
    config: BenchConfig, simulation: Any, needs: tuple[str, ...] | None, extras: bool
) -> list[str]:
    have: list[str] = list(config.instruments)
    if simulation is not None and config.simulation is not None:
        have += [role for role in simulation.roles if role not in have]
    if needs is None:
        return have
    for role in needs:
        if role not in have:
            raise ConfigError(
                "this measurement needs it, and the bench file does not name it; add the table, "
                "or a [simulation] table to have it simulated",
                file=config.file,
                key=f"instruments.{role}",
            )
    # An energy meter is used wherever there is one; a slit or a gate that the file names stands in
    # the beam and must be opened.
    in_the_beam = {"stripe", "pulse_gate"} & set(config.instruments)
    always = {"energy_meter", "shutter", *in_the_beam}
    return [role for role in have if role in needs or (extras and role in always)]


def _open(bench: Bench, role: str) -> Any:
    config = bench.config
    table = config.instruments.get(role)  # type: ignore[call-overload]
    if table is None:
        table = InstrumentTable(driver=bench.simulation.driver(role))
    entry = driver(table.driver, role, config.file)
    kind = entry.load(role)
    options = _options(kind, table, role, config.file)
    if table.simulated:
        instrument = bench.simulation.mount(role, table.driver, kind, options, table.resource)
    elif hasattr(kind, "open_link"):
        link = bench.links.get(table.resource)
        if link is None:
            link = bench.links[table.resource] = kind.open_link(table.resource)
        instrument = kind(link, clock=bench.clock, **options)
    else:
        instrument = kind(table.resource, clock=bench.clock, **options)
    try:
        instrument.connect()
        if role == "attenuator":
            path = config.folder / table.calibration if table.calibration else None
            calibration = load_calibration(path) if path is not None else None
            instrument = WaveplateAttenuator(instrument, calibration)
        elif role == "stripe":
            slit = load_slit(config.folder / table.calibration) if table.calibration else None
            pump = config.pump or PumpTable.model_validate({})
            instrument = StripeSlit(instrument, pump.stripe_length_mm or 0.0, slit)
    except BaseException as error:
        with contextlib.suppress(Exception):
            instrument.close()
        if isinstance(error, InstrumentError):
            raise type(error)(f"{role} at {table.resource}: {error}") from error
        raise
    return instrument


def _options(kind: type, table: InstrumentTable, role: str, file: str | None) -> dict[str, Any]:
    """Check the driver's own options against its constructor."""
    names = list(inspect.signature(kind).parameters)
    allowed = [name for name in names[1:] if name not in ("clock", "sdk", "name")]
    for name in table.options:
        if name not in allowed:
            raise ConfigError(
                f"unknown key for the driver {table.driver!r}; allowed here: "
                f"{', '.join(['driver', 'resource', 'calibration', *allowed])}",
                file=file,
                key=f"instruments.{role}.{name}",
            )
    return table.options


def _join_spectrograph(bench: Bench) -> None:
    mono, camera = bench.instruments.get("monochromator"), bench.instruments.get("camera")
    if not isinstance(mono, Monochromator) or not isinstance(camera, Camera):
        return
    geometry = Geometry(
        focal_length_mm=getattr(mono, "focal_length_mm", Geometry.focal_length_mm),
        half_angle_deg=getattr(mono, "half_angle_deg", Geometry.half_angle_deg),
    )
    table = bench.config.instruments.get("monochromator")
    if table is not None and table.calibration:
        geometry = load_geometry(bench.config.folder / table.calibration, geometry)
    limits = bench.config.limits
    bench.spectrograph = Spectrograph(
        mono, camera, geometry, Limits(limits.exposure_min_s, limits.exposure_max_s, "s")
    )
