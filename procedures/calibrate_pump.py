"""calibrate-pump: pulse energy against the angle of the wave plate.

Turns the plate through a period and measures the pulse energy at each angle, coming back to a
reference angle again and again, so that a drift of the laser can be told from the plate. At the
pick-off, before the shutter, nothing reaches the sample. What comes of it (curve of the
attenuator, full pulse energy, area) is written as a dated calibration file by
`gainbench analyze --calibration`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from instruments.attenuator import WaveplateAttenuator
from instruments.errors import ConfigError, DeviceFault, InstrumentError, NoReply
from instruments.roles import EnergyMeter, PulseEnergy
from procedures.columns import Column
from procedures.measurement import Measurement, Needs, Point, Record
from procedures.parameters import Choice, Count, Number, ParameterError

_TURN_S = 1.5  # what a turn and the settings of the meter cost, for the forecast
_HEADROOM = 1.5
_COARSE = 10.0  # a range so much larger than the energy is too coarse for it
_RANGES = (1.0, 10.0, 0.1, 100.0, 0.01, 1e3, 1e-3, 1e4, 1e-4)  # times what was expected


class CalibratePump(Measurement):
    """Pulse energy against the angle of the wave plate."""

    MEASUREMENT: ClassVar[str] = "calibrate-pump"
    TITLE: ClassVar[str] = "Pulse energy against the angle of the wave plate"
    ROLES: ClassVar[tuple[str, ...]] = ("attenuator", "energy_meter")
    SIGNAL: ClassVar[str] = "pulse_energy"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("attenuator_angle",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "s", "Time since 1970-01-01 UTC"),
        Column("attenuator_angle", "deg", "Angle of the wave plate, as read back"),
        Column("angle_setpoint", "deg", "Angle asked for"),
        Column("pulse_energy", "J", "Pulse energy at the meter (NaN: no pulse was seen)"),
        Column("pulse_energy_errors", "J", "Standard error of the mean of these pulses"),
        Column("pulse_energy_spread", "J", "Standard deviation of single pulses"),
        Column("pulses", "", "Pulses measured", "uint32"),
        Column("meter_range", "J", "Upper end of the meter's range"),
        Column("reference", "", "1 at the reference angle", "uint8"),
        Column("shots_on_sample", "", "Laser shots let through the shutter so far", "uint64"),
        Column("dose", "J/cm^2", "Dose behind the shutter so far"),
    )

    angle_start_deg = Number("angle from", units="deg", minimum=-720.0, maximum=720.0, default=0.0)
    angle_stop_deg = Number(
        "angle to",
        units="deg",
        minimum=-720.0,
        maximum=720.0,
        default=90.0,
        description="a period of the transmission is 90 degrees of the plate",
    )
    points = Count("points", minimum=4, maximum=10_000, default=37)
    shots = Count("shots per point", minimum=2, maximum=100_000, default=300)
    reference_angle_deg = Number(
        "reference angle",
        units="deg",
        minimum=-720.0,
        maximum=720.0,
        default=0.0,
        description="visited again and again against drift; best where it is brightest",
    )
    reference_every = Count(
        "points between references",
        minimum=0,
        maximum=10_000,
        default=6,
        description="0: no reference, a drift of the laser stays in the result",
    )
    meter_at = Choice(
        "meter at",
        choices=["pick-off", "sample"],
        default="pick-off",
        description="at the sample's place the shutter is opened for each reading: sample out",
    )
    transmission_max = Number(
        "transmission at the brightest angle",
        units="1",
        minimum=0.01,
        maximum=1.0,
        default=0.995,
        description="of plate and polariser together: data sheet, or measured before and behind",
    )
    transmission_max_unc = Number(
        "its uncertainty", units="1", minimum=0.0, maximum=1.0, default=0.003
    )
    meter_rel_unc = Number(
        "uncertainty of the meter's scale",
        units="1",
        minimum=0.0,
        maximum=1.0,
        default=0.0,
        description="relative, one sigma; 0: pump.pulse_energy_rel_unc of the bench file",
    )
    stripe_width_mm = Number(
        "stripe width",
        units="mm",
        minimum=0.0,
        maximum=100.0,
        default=0.0,
        description="as measured (knife edge, beam camera); 0: that of the bench file",
    )
    stripe_width_unc_mm = Number(
        "its uncertainty", units="mm", minimum=0.0, maximum=100.0, default=0.0
    )
    stripe_length_mm = Number("stripe length", units="mm", minimum=0.0, maximum=100.0, default=0.0)
    stripe_length_unc_mm = Number(
        "its uncertainty", units="mm", minimum=0.0, maximum=100.0, default=0.0
    )
    spot_diameter_mm = Number(
        "spot diameter",
        units="mm",
        minimum=0.0,
        maximum=100.0,
        default=0.0,
        description="instead of a stripe",
    )
    spot_diameter_unc_mm = Number(
        "its uncertainty", units="mm", minimum=0.0, maximum=100.0, default=0.0
    )

    def check(self) -> None:
        """Refuse what makes no curve or no area."""
        if not self.angle_start_deg < self.angle_stop_deg:
            raise ParameterError(
                f"must be below angle_stop_deg = {self.angle_stop_deg:g}, "
                f"{self.angle_start_deg:g} was given",
                key="angle_start_deg",
            )
        if self.spot_diameter_mm and (self.stripe_width_mm or self.stripe_length_mm):
            raise ParameterError("give a stripe or a spot, not both", key="spot_diameter_mm")
        if bool(self.stripe_width_mm) != bool(self.stripe_length_mm):
            raise ParameterError(
                "a stripe needs stripe_width_mm and stripe_length_mm", key="stripe_width_mm"
            )
        for name in ("stripe_width", "stripe_length", "spot_diameter"):
            if getattr(self, f"{name}_unc_mm") and not getattr(self, f"{name}_mm"):
                raise ParameterError(
                    f"an uncertainty needs its value: give {name}_mm too", key=f"{name}_unc_mm"
                )

    def roles(self) -> tuple[str, ...]:
        """At the sample's place, the shutter is needed too."""
        return (*self.ROLES, "shutter") if self.meter_at == "sample" else self.ROLES

    def plan(self) -> list[Point]:
        """The angles, with visits to the reference between them, first and last."""
        every = int(self.reference_every)
        visit = {"angle_deg": float(self.reference_angle_deg), "reference": 1.0}
        points: list[Point] = []
        angles = np.linspace(self.angle_start_deg, self.angle_stop_deg, self.points)
        for number, angle in enumerate(angles):
            if every and number % every == 0:
                points.append(visit)
            points.append({"angle_deg": float(angle), "reference": 0.0})
        return [*points, visit] if every else points

    def needs(self, point: Point) -> Needs:
        """What it takes; at the pick-off nothing reaches the sample."""
        pump = self.bench.pump
        lit_s = self.shots / pump.source.repetition_rate_Hz
        shots = math.ceil(2.0 * self.shots) if self.meter_at == "sample" else 0
        full = pump.source.full_pulse_energy_J / pump.area_cm2
        return Needs(
            seconds=_TURN_S + 2.0 * lit_s,
            shots=shots,
            dose_J_cm2=shots * full,
            setpoints={"attenuator_angle_deg": point["angle_deg"]},
        )

    def _check_setpoints(self, setpoints: Mapping[str, float]) -> None:
        super()._check_setpoints(setpoints)
        limits = self._plate().rotator.limits
        if "angle_deg" in limits:
            limits["angle_deg"].check("attenuator angle", setpoints["attenuator_angle_deg"])

    # ---- the bench ------------------------------------------------------------------------------

    def _plate(self) -> WaveplateAttenuator:
        found = self.bench.need("attenuator")
        if not isinstance(found, WaveplateAttenuator):
            raise ConfigError(
                f"{found.identity} is no wave plate in a rotation mount, so there is no angle to "
                "calibrate",
                file=self.bench.config.file,
                key="instruments.attenuator",
            )
        return found

    def _meter(self) -> EnergyMeter:
        return self.bench.need("energy_meter")  # type: ignore[return-value]

    def prepare(self) -> None:
        """Shutter closed, plate homed; what the analysis takes from the bench file is noted."""
        self.bench.pump.shut()
        plate = self._plate()
        plate.prepare()
        source = self.bench.pump.source
        given = self.decisions
        given["angle_resolution_deg"] = plate.rotator.resolution_deg
        given["meter_rel_unc"] = self.meter_rel_unc or source.pulse_energy_rel_unc
        given["meter_ratio"] = 1.0 if self.meter_at == "sample" else source.pick_off_ratio
        given["area_rel_unc"] = source.area_rel_unc
        own = self.spot_diameter_mm or self.stripe_width_mm
        for name in ("stripe_width_mm", "stripe_length_mm", "spot_diameter_mm"):
            value = getattr(self, name) if own else getattr(source, name)
            given[name] = float(value or 0.0)

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Stand where the interrupted part stood."""
        if last_record:
            self._plate().turn_to(float(last_record["angle_setpoint"]))

    def record(self, point: Point) -> Record:
        """Turn the plate and measure; an angle without pulses is recorded as such."""
        plate, pump = self._plate(), self.bench.pump
        angle = plate.turn_to(point["angle_deg"])
        started_s = self.bench.clock.now()
        # What the last calibration expects here; how far it is off, the meter's ranges find out.
        expected_J = pump.source.full_pulse_energy_J * plate.transmission
        expected_J *= float(self.decisions["meter_ratio"])
        with self._light():
            found, range_J = self._read(expected_J, must=bool(point["reference"]))
        return {
            "time": 0.5 * (started_s + self.bench.clock.now()),
            "attenuator_angle": angle,
            "angle_setpoint": point["angle_deg"],
            "pulse_energy": found.mean_J if found else math.nan,
            "pulse_energy_errors": found.error_J if found else math.nan,
            "pulse_energy_spread": found.spread_J if found else math.nan,
            "pulses": found.pulses if found else 0,
            "meter_range": range_J,
            "reference": int(point["reference"]),
            "shots_on_sample": pump.shots,
            "dose": pump.dose_J_cm2,
        }

    @contextlib.contextmanager
    def _light(self) -> Iterator[None]:
        if self.meter_at == "sample":
            with self.bench.pump.light():
                yield
        else:
            yield

    def _read(self, expected_J: float, must: bool) -> tuple[PulseEnergy | None, float]:
        """Measure in the range that fits, return the energy and the range's end (J).

        A meter out of its range and one that sees nothing are tried in larger and smaller ranges
        by turns. No pulse in any: None, or, where there `must` be light, the meter's own error.
        """
        meter = self._meter()
        top_J = meter.limits["range_J"].high if "range_J" in meter.limits else math.inf
        trouble: InstrumentError | None = None
        dark, tried = False, []
        for factor in _RANGES:
            range_J = meter.set_range_J(min(_HEADROOM * factor * expected_J, top_J))
            if range_J in tried:
                continue
            tried.append(range_J)
            try:
                found = meter.read_pulses(int(self.shots))
            except (DeviceFault, NoReply) as error:
                trouble, dark = error, dark or isinstance(error, NoReply)
                continue
            return self._finer(found, range_J)
        if trouble is not None and (must or not dark):
            raise trouble
        return None, tried[-1]

    def _finer(self, found: PulseEnergy, range_J: float) -> tuple[PulseEnergy, float]:
        """Measure again in a smaller range if the energy is far below the end of this one."""
        meter = self._meter()
        wanted = _HEADROOM * found.mean_J
        if 0.0 < _COARSE * wanted < range_J:
            with contextlib.suppress(DeviceFault, NoReply):
                finer_J = meter.set_range_J(wanted)
                if finer_J < range_J:
                    return meter.read_pulses(int(self.shots)), finer_J
        return found, range_J
