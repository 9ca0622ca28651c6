"""The Bench: opens what the bench file names, brings it to a safe state, describes it.

Whatever the file does not name comes from the simulated bench, where the file allows it; that
package is loaded by name, so that a bench of real instruments never touches it. `open_bench` is a
context manager: every way out makes every instrument safe, each on its own.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from instruments.calibration import Calibration
from instruments.clock import Clock, VirtualClock, WallClock
from instruments.config import SIMULATED, BenchConfig, PumpTable
from instruments.errors import BadReply, BenchError, ConfigError, InstrumentError, WrongIdentity
from instruments.holding import hold, let_go
from instruments.opening import open_role
from instruments.pump import PumpBeam, calibrated_pump
from instruments.roles import (
    Camera,
    Identity,
    Limits,
    Monochromator,
    Role,
    Setting,
    Status,
)
from instruments.spectrograph import Geometry, Spectrograph, calibrated_geometry

log = logging.getLogger(__name__)

# The order in which instruments are made safe: what stops the light comes first.
_SAFE_ORDER = ("shutter", "pulse_gate", "attenuator", "camera", "streak")
_EARLY_S = 30.0 * 86400.0  # longer than any bench takes to get ready
# Tried once more over a fresh link when the rest is safe: while open, they let light through.
_STOP_THE_LIGHT = ("shutter", "pulse_gate")


Again = Callable[[str, InstrumentError, int, Clock], bool]
"""Asked after a failure to open an instrument, see `open_bench`."""


class Bench:
    """The open bench; see `open_bench`.

    Attributes:
        config: the bench file. clock: the bench's clock. instruments: role name -> Role.
        drivers: role name -> the driver behind it (the same, where nothing composes it).
        unsafe: what the last `make_safe` could not do, as lines.
        calibrations: role -> the calibration file in use, of those that have one.
        source: [pump] as the bench file, or the simulated bench, has it. pump: the pump beam.
        spectrograph: monochromator and camera together, or None.
        simulation: the simulated bench behind, or None; only `state` and `restore` are used.
        interlock: what watches this bench, or None; set by whoever starts one.
    """

    def __init__(self, config: BenchConfig, clock: Clock, simulation: Any) -> None:
        self.config = config
        self.clock = clock
        self.simulation = simulation
        self.source: PumpTable = (
            simulation.pump
            if simulation is not None
            else config.pump or PumpTable.model_validate({})
        )
        self.instruments: dict[str, Role] = {}
        self.drivers: dict[str, Any] = {}
        self.unsafe: list[str] = []
        self._identities: dict[str, Identity] = {}
        self._foreign: set[str] = set()  # roles where another instrument has answered
        self.links: dict[str, Any] = {}
        self._held: set[str] = set()
        self.calibrations: dict[str, Calibration] = {}
        self.pump: PumpBeam
        self.spectrograph: Spectrograph | None = None
        self.interlock: Any = None

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
        problems: dict[str, str] = {}
        names = sorted(
            self.instruments,
            key=lambda name: _SAFE_ORDER.index(name) if name in _SAFE_ORDER else 99,
        )
        for name in names:
            try:
                self._make_safe(name)
            except Exception as error:
                problems[name] = f"{name} could not be made safe: {error}"
        for name in [name for name in _STOP_THE_LIGHT if name in problems]:
            try:
                self._make_safe_anew(name)
                del problems[name]
            except Exception as error:
                problems[name] = f"{name} could not be made safe: {error}"
        self.unsafe = list(problems.values())
        for line in self.unsafe:
            log.error("%s", line)
        return list(self.unsafe)

    def make_safe_for_pause(self) -> None:
        """Close the shutter, over a fresh link if it must be, and keep everything else as it is."""
        if "shutter" not in self.instruments:
            return
        try:
            self._make_safe("shutter")
        except InstrumentError:
            self._make_safe_anew("shutter")

    def _make_safe(self, role: str) -> None:
        """Make one instrument safe, but send nothing to another one that has taken its place."""
        if role in self._foreign:
            self.recover(role)
        self.instruments[role].make_safe()
        self._note_dark(role)

    def _make_safe_anew(self, role: str) -> None:
        self.recover(role)
        self.instruments[role].make_safe()
        self._note_dark(role)

    def _note_dark(self, role: str) -> None:
        if role == "shutter" and hasattr(self, "pump"):
            self.pump.seen_closed()

    def recover(self, role: str) -> None:
        """Get an instrument back: open its link again, identify it, bring it what it has lost.

        Moves nothing but a shutter, which is closed; what has lost its reference is not homed then.

        Raises:
            NoReply, BadReply, DeviceFault, NotReady: it is not back.
            WrongIdentity: another instrument answers than the one that was opened.
        """
        driver = self.drivers[role]
        recover = getattr(driver, "recover", None)
        try:
            if recover is not None:
                recover()
            else:
                driver.close()
                driver.connect()
            known, found = self._identities[role], driver.identity
            if str(found) != str(known):  # vendor, model and serial number
                raise WrongIdentity(
                    f"{role}: {found} answers now, {known} was opened; put the cable back, or "
                    "start the run anew"
                )
        except WrongIdentity as error:
            self._foreign.add(role)
            if isinstance(error.__cause__, BadReply):  # noise is nobody's name
                raise BadReply(str(error)) from error
            raise
        self._foreign.discard(role)
        if role == "shutter" and hasattr(self, "pump"):
            self.pump.closing_since_s = None  # it closes where it is opened anew
        if role == "energy_meter":
            driver.set_wavelength_nm(self.pump.source.wavelength_nm)

    def involved(self, error: BaseException) -> tuple[str, ...]:
        """Return the roles in whose code an error arose, or one that it followed from."""
        owners = {id(role): name for name, role in self.instruments.items()}
        owners |= {id(driver): name for name, driver in self.drivers.items()}
        found: list[str] = []
        seen: BaseException | None = error
        while seen is not None:
            for frame, _ in traceback.walk_tb(seen.__traceback__):
                name = owners.get(id(frame.f_locals.get("self")))
                if name is not None and name not in found:
                    found.append(name)
            seen = seen.__cause__ or seen.__context__
        return tuple(found)

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
        for resource in list(self._held):
            self.let_go(resource)
        return problems

    def hold(self, resource: str) -> None:
        """Make a real resource this bench's own; ResourceInUse if another process has it."""
        if resource not in self._held and resource != SIMULATED:
            hold(resource, self.config.bench.name)
            self._held.add(resource)

    def let_go(self, resource: str) -> None:
        """Give a resource back, its link being closed."""
        if resource in self._held:
            self._held.discard(resource)
            let_go(resource)

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

    def begin_run(self, draw: int) -> None:
        """Say that a run begins; on a simulated bench its noise is that of its `draw`."""
        if self.simulation is not None:
            self.simulation.begin(draw)

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again (empty on a real bench)."""
        if self.simulation is None:
            return {}
        watched = self.interlock.state() if self.interlock is not None else {}
        return {**self.simulation.state(), **watched}

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
    medium: str | None = None,
    clock: Clock | None = None,
    report: Callable[[str], None] = log.info,
    extras: bool = True,
    state: Mapping[str, float] | None = None,
    again: Again | None = None,
) -> Iterator[Bench]:
    """Open a bench, and leave it safe and closed whatever happens inside the block.

    Args:
        config: the bench file.
        needs: roles to open (those missing are an error); None opens all that there are.
        measurement: decides what a simulated bench has under its beam.
        medium: "film" or "solution", where a measurement has that choice.
        clock: instead of the one that the file asks for; if `state` will be restored, begun by
            `early`.
        report: told what is happening, a line at a time.
        extras: open shutter and energy meter even if they are not needed, where there are any.
        again: asked after each failure to open an instrument (role, error, how many times before,
            the bench's clock); True has it tried again.
        state: what `restore` will be given: a virtual clock then starts well before that moment.

    Raises:
        ConfigError: a driver or option is unknown, or a role is missing.
        InstrumentError: an instrument does not answer or is another one.
    """
    bench = _assemble(config, needs, (measurement, medium), clock, report, extras, state, again)
    try:
        yield bench
    finally:
        for problem in bench.close():
            report(problem)


def _assemble(
    config: BenchConfig,
    needs: tuple[str, ...] | None,
    purpose: tuple[str, str | None],
    clock: Clock | None,
    report: Callable[[str], None],
    extras: bool,
    state: Mapping[str, float] | None,
    again: Again | None,
) -> Bench:
    real = [r for r, t in config.instruments.items() if t.served or not t.simulated]
    wanted_sim = config.simulation is not None or any(
        table.simulated for table in config.instruments.values()
    )
    settings = config.simulation
    if clock is None:
        virtual = wanted_sim and not real and (settings is None or settings.clock == "virtual")
        speed = settings.speed if settings is not None and not real else 1.0
        clock = VirtualClock(early(state)) if virtual else WallClock(speed)
    simulation = None
    if wanted_sim:
        module = importlib.import_module("sim_drivers.bench")
        simulation = module.SimulatedBench(config, clock, *purpose)
    bench = Bench(config, clock, simulation)
    try:
        for role in _roles_to_open(config, simulation, needs, extras):
            bench.instruments[role] = _open_patiently(bench, role, again)
            report(f"{role}: {bench.instruments[role].identity}")
        pump = calibrated_pump(bench.source, bench.calibrations.get("attenuator"))
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


def _open_patiently(bench: Bench, role: str, again: Again | None) -> Role:
    tries = 0
    while True:
        try:
            opened: Role = open_role(bench, role)
            return opened
        except InstrumentError as error:
            if again is None or not again(role, error, tries, bench.clock):
                raise
            tries += 1
            table = bench.config.instruments.get(role)  # type: ignore[call-overload]
            link = bench.links.get(table.resource) if table is not None else None
            if link is not None:  # closed on the way out; others may share it
                with contextlib.suppress(Exception):
                    link.reopen()


def early(state: Mapping[str, float] | None) -> float | None:
    """Return when a bench that will be restored is to start, None: now.

    Well before the restored moment: time on the way there then only ever goes forward, and no
    simulated device is left waiting for something in its future.
    """
    if not state:
        return None
    moment: float | None = importlib.import_module("sim_drivers.bench").moment(state)
    return moment - _EARLY_S if moment is not None else None


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
    always = {"energy_meter", "shutter", *in_the_beam, *config.interlock.roles}
    return [role for role in have if role in needs or (extras and role in always)]


def _join_spectrograph(bench: Bench) -> None:
    mono, camera = bench.instruments.get("monochromator"), bench.instruments.get("camera")
    if not isinstance(mono, Monochromator) or not isinstance(camera, Camera):
        return
    geometry = Geometry(
        focal_length_mm=getattr(mono, "focal_length_mm", Geometry.focal_length_mm),
        half_angle_deg=getattr(mono, "half_angle_deg", Geometry.half_angle_deg),
        offset_error_nm=bench.config.spectrograph.wavelength_unc_nm,
    )
    uncalibrated_nm = geometry.offset_error_nm
    calibration = bench.calibrations.get("monochromator")
    if calibration is not None:
        table = bench.config.instruments.get("camera")
        calibration.check_made_with(
            "camera",
            table.driver if table is not None else "",
            camera.identity,
            "instruments.monochromator.calibration",
        )
        geometry = calibrated_geometry(calibration, geometry)
    limits = bench.config.limits
    bench.spectrograph = Spectrograph(
        mono,
        camera,
        geometry,
        Limits(limits.exposure_min_s, limits.exposure_max_s, "s"),
        uncalibrated_nm=uncalibrated_nm,
    )
