"""The one physical state that all simulated devices share.

Pump beam, attenuator, shutter, gate, stripe, sample, its temperature, lamp, spectrograph optics
and clock: closing the shutter darkens the CCD, turning the wave plate changes the film's emission.
Devices call `set_*` when they change it and ask for what they detect. What the instruments get
wrong (true scale factors of energy and area, wave-plate zero, errors of the spectrograph) is drawn
here by seed. Stops at the detectors: their own noise and response are theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from instruments.clock import Clock, VirtualClock
from sim_drivers.beam import Passage, Pump, Source
from sim_drivers.imperfections import Imperfections, draw_errors
from sim_drivers.lamp import lamp_lines
from sim_drivers.noise import FloatArray
from sim_drivers.optics import Dispersion, Errors, Optics, Response
from sim_drivers.sample import Conditions, Sample
from sim_drivers.sample.bands import ROOM_K
from sim_drivers.stray import add_scattered_pump, stray_electrons

__all__ = ["Imperfections", "Pump", "World"]

_RUN_AWAY_PER_S = 0.002
_SHOT_NODES = 5  # fluences for which a block of shots is rendered


class World:
    """The physical state of a bench.

    Args:
        clock: the bench's clock. sample: what lies under the pump. pump: as said to be.
        imperfections: what the bench gets wrong. seed: keys everything that is drawn.
        wavelength_unc_nm: of the spectrograph's axis, as it is said to be.
        optics: the spectrograph in front of the CCD. lamp: in its place from the beginning, see
        `set_lamp`.
    """

    def __init__(
        self,
        clock: Clock,
        sample: Sample,
        pump: Pump,
        imperfections: Imperfections,
        seed: int = 0,
        *,
        wavelength_unc_nm: float = 0.0,
        optics: Optics | None = None,
        lamp: str | None = None,
    ) -> None:
        self.clock = clock
        self.sample = sample
        self.pump = pump
        self.imperfections = imperfections
        self.seed = seed
        self.age_days = 0.0
        self.sample_temperature_K = ROOM_K
        self.dose_J_cm2 = 0.0
        self.shots_on_sample = 0
        self.length_cm = pump.full_length_cm
        self.settlers: list[Callable[[float], None]] = []
        self.source = Source(
            pump, imperfections.pulse_noise, imperfections.drift_per_hour, seed, clock.now()
        )
        self.passage = Passage(self.source)
        self._angle_deg = 45.0
        self._open = False
        self._accounted_shot = 0
        self._centre_nm = 0.0
        self._grooves_per_mm = 600.0
        self._lamp: str | None = None
        self._drifting_since_s = 0.0
        found = draw_errors(
            imperfections, seed, pump.energy_rel_unc, pump.area_rel_unc, wavelength_unc_nm
        )
        self.energy_scale, self.area_scale = found.energy_scale, found.area_scale
        self.theta0_deg = found.theta0_deg
        self.transmission_max = found.transmission_max
        self.transmission_min = found.transmission_min
        self._errors = Errors(found.offset_nm, found.focal_length_rel, found.tilt_deg)
        self._response = Response.drawn(seed) if imperfections.calibration_errors else Response()
        self.dispersion = Dispersion(optics, self._errors, self._response)
        self.set_lamp(lamp)

    # ---- the pump -------------------------------------------------------------------------

    @property
    def start_s(self) -> float:
        """Bench time of shot number 0."""
        return self.source.start_s

    @property
    def repetition_rate_Hz(self) -> float:
        """Shots per second."""
        return self.pump.repetition_rate_Hz

    @property
    def energy_meter_scale(self) -> float:
        """What the meter shows over what is there."""
        return float(1.0 / self.energy_scale)

    @property
    def laser_on(self) -> bool:
        """Whether the laser fires; can be set."""
        return self.source.on(self.clock.now())

    @laser_on.setter
    def laser_on(self, on: bool) -> None:
        self.advance(self.clock.now())
        self.source.switch(on, self.clock.now())

    def fault(self, kind: str, active: bool) -> None:
        """Begin or end, now, a fault of the laser: `laser_off`, or `laser_drift`.

        A drifting laser's energy falls by 0.2 % a second, and is back when the fault ends.
        """
        now = self.clock.now()
        self.advance(now)
        if kind == "laser_off":
            self.source.switch(not active, now)
        elif kind == "laser_drift":
            since_s = self._drifting_since_s or now  # as the interrupted run had it
            self._drifting_since_s = 0.0 if active else self._drifting_since_s
            self.source.run_away(since_s, -_RUN_AWAY_PER_S if active else 0.0)
        else:
            raise ValueError(f"the laser has no fault {kind!r}, only laser_off and laser_drift")

    def next_trigger_s(self, after_s: float) -> float:
        """Return the bench time of the laser's next trigger at or after that; it never stops."""
        return max(self.source.shot_time_s(self.source.shot_number(after_s)), after_s)

    def _shot_energies(self, first: int, count: int) -> FloatArray:
        """Return the energies (J) of shots on the sample side of the attenuator, (count,)."""
        scale = self.energy_scale * self.transmission()
        return np.asarray(scale * self.source.energies_J(first, count))

    def pulse_energies_J(self, first_time_s: float, count: int) -> FloatArray:
        """Return the energies (J) of `count` consecutive pulses from a bench time on.

        At the pick-off, which stands before shutter and gate.
        """
        self.settle(self.clock.now())
        energies = self._shot_energies(self.source.shot_number(first_time_s), count)
        return energies * self.pump.pick_off_ratio

    # ---- what devices move ----------------------------------------------------------------

    def transmission(self) -> float:
        """Return the transmission of wave plate and polariser now."""
        angle = math.radians(2.0 * (self._angle_deg - self.theta0_deg))
        span = self.transmission_max - self.transmission_min
        return float(self.transmission_min + span * math.cos(angle) ** 2)

    def set_attenuator_angle(self, angle_deg: float) -> None:
        """Turn the wave plate."""
        self.advance(self.clock.now())
        self._angle_deg = angle_deg

    def set_shutter(self, is_open: bool, at_s: float | None = None) -> None:
        """Open or close the pump shutter, now or at a bench time just past."""
        moment = self.clock.now() if at_s is None else at_s
        if is_open == self._open:
            return
        self._open = is_open
        self._rewind(moment)
        if is_open:
            self.passage.shutter.open(moment)
        else:
            self.passage.shutter.close(moment)

    @property
    def shutter_open(self) -> bool:
        """Whether the pump passes the shutter."""
        return self._open

    def gate_configured(self) -> None:
        """Say that a host has set a gate up: from now on only gated shots pass."""
        self.passage.configure_gate(self.clock.now())

    def open_gate(self, from_s: float, to_s: float = math.inf) -> None:
        """Let light pass the gate between two bench times."""
        self.gate_configured()
        self._rewind(from_s)
        assert self.passage.gate is not None
        self.passage.gate.open(from_s, to_s)

    def close_gate(self, at_s: float) -> None:
        """End what is open of the gate at a bench time."""
        self.gate_configured()
        self._rewind(at_s)
        assert self.passage.gate is not None
        self.passage.gate.close(at_s)

    def set_slit_stage_mm(self, position_mm: float) -> None:
        """Move the slit's edge: the true stripe begins where the slit is closed, not at zero.

        The blurred edge (a Gaussian of `slit_blur_um`) rounds the shortest lengths.
        """
        self.advance(self.clock.now())
        open_um = 1e3 * position_mm - self.imperfections.slit_zero_um
        blur_um = self.imperfections.slit_blur_um
        if blur_um > 0:
            share = open_um / blur_um
            open_um = open_um * 0.5 * (1.0 + math.erf(share / math.sqrt(2.0)))
            open_um += blur_um * math.exp(-0.5 * share**2) / math.sqrt(2.0 * math.pi)
        self.length_cm = min(max(1e-4 * open_um, 0.0), self.pump.full_length_cm)

    def set_monochromator(self, wavelength_nm: float, grooves_per_mm: float) -> None:
        """Turn the grating."""
        self._centre_nm = wavelength_nm
        self._grooves_per_mm = grooves_per_mm

    def set_optics(self, optics: Optics) -> None:
        """Put another spectrograph there, with the same errors."""
        self.dispersion = Dispersion(optics, self._errors, self._response)

    def set_lamp(self, name: str | None) -> None:
        """Put a spectral lamp (Hg, Ne, Ar, HgAr, HgNe) before the slit, or the sample again.

        Raises ValueError for another lamp.
        """
        if name is not None:
            lamp_lines(name, 0.0)
        self._lamp = name

    def set_sample_temperature_K(self, temperature_K: float) -> None:
        """Say how cold the sample is."""
        self.sample_temperature_K = temperature_K

    def set_age_days(self, days: float) -> None:
        """Let the sample have been in air for so many days."""
        if not (math.isfinite(days) and days >= 0.0):
            raise ValueError(f"age: {days} days were given, allowed is 0 and above")
        self.age_days = days

    def settle(self, now: float) -> None:
        """Let every device bring its physical state up to date."""
        for settler in self.settlers:
            settler(now)

    # ---- what reaches the sample ------------------------------------------------------------

    def fluence_uJ_cm2(self) -> float:
        """Return the true mean fluence at the sample with the shutter open."""
        energy = self.source.mean_energy_J(self.clock.now()) * self.energy_scale
        return float(energy * self.transmission() * 1e6 / self._area_cm2)

    def pump_power_W(self, from_s: float | None = None, to_s: float | None = None) -> float:
        """Return the mean pump power on the sample, now or between two bench times."""
        power = 1e-6 * self.fluence_uJ_cm2() * self._area_cm2 * self.pump.repetition_rate_Hz
        if from_s is None or to_s is None or not to_s > from_s:
            return power if self.passage.open_at(self.clock.now()) else 0.0
        lit = sum(ended - begun for begun, ended in self.passage.spans(from_s, to_s))
        return power * lit / (to_s - from_s)

    @property
    def _area_cm2(self) -> float:
        return float(self.pump.area_cm2 * self.area_scale)

    def advance(self, now: float) -> None:
        """Count the shots that have reached the sample until `now` into its dose."""
        shot = self.source.shot_number(now)
        if shot > self._accounted_shot:
            self._account(self._accounted_shot, shot, 1)
            self._accounted_shot = shot

    def _rewind(self, moment: float) -> None:
        """Bring the count of shots to a moment, just past or not, at which the way changes."""
        shot = self.source.shot_number(moment)
        if shot < self._accounted_shot:
            self._account(shot, self._accounted_shot, -1)
            self._accounted_shot = max(shot, 0)
        else:
            self.advance(min(moment, self.clock.now()))

    def _account(self, first: int, last: int, sign: int) -> None:
        half = 0.5 / self.pump.repetition_rate_Hz
        spans = self.passage.shots(
            self.source.shot_time_s(first) - half, self.source.shot_time_s(last) - half
        )
        count = sign * sum(shots for _, shots in spans)
        if count:
            self.shots_on_sample += count
            self.dose_J_cm2 = max(self.dose_J_cm2 + count * self.fluence_uJ_cm2() * 1e-6, 0.0)

    # ---- what detectors see -----------------------------------------------------------------

    def ccd_electrons(
        self, start_s: float, exposure_s: float, pixels: int, pixel_pitch_um: float
    ) -> FloatArray:
        """Return the photo-electrons expected in each pixel column for an exposure, (pixels,).

        `start_s` is the bench time at which it began; only shots that came through shutter and
        gate count. With a lamp there its light, and the sample's not.
        """
        now = self.clock.now()
        self.settle(now)
        edges = self.dispersion.edges_nm(
            self._centre_nm, self._grooves_per_mm, pixels, pixel_pitch_um
        )
        if self._lamp is not None:
            lamp = lamp_lines(self._lamp, exposure_s)
            return self.dispersion.lines(edges, pixel_pitch_um, lamp)
        wavelength_nm, per_photon = self.dispersion.bands(edges)
        fluence, conditions = self._exposed(start_s, start_s + exposure_s), self._conditions()
        electrons = np.zeros(pixels)
        if len(fluence):
            shots = np.ones(len(fluence))
            light = self.sample.emission(wavelength_nm, fluence, shots, conditions)
            electrons = np.maximum(light * per_photon, 0.0)
            lines = self.sample.lines(fluence, shots, conditions)
            if len(lines.photons):
                electrons += self.dispersion.lines(edges, pixel_pitch_um, lines)
        self.advance(now)
        return electrons

    def shot_electrons(
        self, first: int, count: int, pixels: int, pixel_pitch_um: float
    ) -> tuple[npt.NDArray[np.float32], FloatArray]:
        """Return what single shots give: photo-electrons (count, pixels) and energies (count,).

        first: number of the first shot of the laser. The energies (J) are those at the pick-off.
        The light is rendered for a few fluences and interpolated: shots of a block differ little.
        """
        self.settle(self.clock.now())
        edges = self.dispersion.edges_nm(
            self._centre_nm, self._grooves_per_mm, pixels, pixel_pitch_um
        )
        wavelength_nm, per_photon = self.dispersion.bands(edges)
        energies = self._shot_energies(first, count)
        lit = np.zeros(count, dtype=bool)
        half = 0.5 / self.pump.repetition_rate_Hz
        for begun, shots in self.passage.shots(
            self.source.shot_time_s(first) - half, self.source.shot_time_s(first + count) - half
        ):
            lit[begun - first : begun - first + shots] = True
        electrons = np.zeros((count, pixels), dtype=np.float32)
        fluence = energies[lit] * (1e6 / self._area_cm2)
        if len(fluence):
            nodes = np.linspace(fluence.min(), fluence.max() + 1e-9, _SHOT_NODES)
            one, conditions = np.ones(1), self._conditions()
            light = np.empty((_SHOT_NODES, pixels))
            for row, node in zip(light, nodes, strict=True):
                at = np.array([node])
                seen = self.sample.emission(wavelength_nm, at, one, conditions)
                row[:] = np.maximum(seen * per_photon, 0.0)
                lines = self.sample.lines(at, one, conditions)
                if len(lines.photons):
                    row += self.dispersion.lines(edges, pixel_pitch_um, lines)
            place = (fluence - nodes[0]) / (nodes[1] - nodes[0])
            share = np.maximum(1.0 - np.abs(place[:, None] - np.arange(_SHOT_NODES)), 0.0)
            electrons[lit] = share.astype(np.float32) @ light.astype(np.float32)
        self.advance(self.clock.now())
        return electrons, energies * self.pump.pick_off_ratio

    def streak_electrons(
        self,
        start_s: float,
        exposure_s: float,
        time_edges_ps: FloatArray,
        wavelength_edges_nm: FloatArray,
    ) -> FloatArray:
        """Return the photo-electrons expected from all shots of an exposure, (m, n).

        Before the camera's own response. time_edges_ps, (m + 1,): 0 is when the pump arrives;
        wavelength_edges_nm, (n + 1,). Besides the sample's light there is a little scattered pump
        light, as short as the pulse, and stray light, with the shutter closed too.
        """
        now = self.clock.now()
        self.settle(now)
        time_edges = np.asarray(time_edges_ps, dtype=np.float64)
        edges = np.asarray(wavelength_edges_nm, dtype=np.float64)
        electrons = stray_electrons(time_edges, edges, exposure_s)
        fluence = self._exposed(start_s, start_s + exposure_s)
        if len(fluence):
            conditions = self._conditions()
            light = self.sample.transient(
                time_edges, edges, fluence, np.ones(len(fluence)), conditions
            )
            energy_J = 1e-6 * float(fluence.sum()) * self._area_cm2
            add_scattered_pump(light, time_edges, edges, self.pump, energy_J)
            light *= self.dispersion.response.photocathode(0.5 * (edges[1:] + edges[:-1]))
            electrons += light
        self.advance(now)
        return np.asarray(electrons)

    def _exposed(self, from_s: float, to_s: float) -> FloatArray:
        """Return the fluences (uJ/cm2) of the shots that reach the sample between two times."""
        energies = [self._shot_energies(*shots) for shots in self.passage.shots(from_s, to_s)]
        if not energies:
            return np.empty(0)
        return np.asarray(np.concatenate(energies) * (1e6 / self._area_cm2))

    def _conditions(self) -> Conditions:
        return Conditions(
            length_cm=self.length_cm,
            dose_J_cm2=self.dose_J_cm2,
            age_days=self.age_days,
            temperature_K=self.sample_temperature_K,
            pulse_width_ps=1e12 * self.pump.pulse_width_s,
        )

    # ---- what a resumed run must find again ---------------------------------------------------

    def state(self) -> dict[str, float]:
        """Return time, dose, shots, age, temperature, and since when the laser drifts away."""
        self.advance(self.clock.now())
        return {
            "world.start_s": self.start_s,
            "world.now_s": self.clock.now(),
            "world.dose_J_cm2": self.dose_J_cm2,
            "world.shots": float(self.shots_on_sample),
            "world.age_days": self.age_days,
            "world.sample_temperature_K": self.sample_temperature_K,
            "world.drifting_since_s": self.source.running_away_since_s,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Go back to a state: time, dose, shots, age and temperature as they were.

        Shutter and gate are as they are, closed on a bench just opened.
        """
        if isinstance(self.clock, VirtualClock):
            shift_s = state["world.now_s"] - self.clock.now()
            self.clock.jump(state["world.now_s"], state["world.start_s"])
            self.source.shift(shift_s)
            self.passage.shift(shift_s)
            self.source.start_s = state["world.start_s"]
        self.dose_J_cm2 = state["world.dose_J_cm2"]
        self.shots_on_sample = int(state["world.shots"])
        self.age_days = state.get("world.age_days", self.age_days)
        self.sample_temperature_K = state.get(
            "world.sample_temperature_K", self.sample_temperature_K
        )
        self._drifting_since_s = state.get("world.drifting_since_s", 0.0)
        self._accounted_shot = self.source.shot_number(self.clock.now())
