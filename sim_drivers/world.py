"""The one physical state that all simulated devices share.

Pump beam, attenuator, shutter, stripe, film, spectrograph optics and clock: closing the shutter
darkens the CCD, turning the wave plate changes the film's emission. Devices call `set_*` when they
change it and ask for what they detect. What the instruments get wrong (true scale factors of
energy and area, wave-plate zero, wavelength offset) is drawn here by seed. Stops at the detectors:
their own noise is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from instruments.clock import Clock, VirtualClock
from sim_drivers.noise import FloatArray, generator, normals
from sim_drivers.sample import Film

# The spectrograph of the bench (Czerny-Turner): focal length, half the inclusion angle, tilt of
# the detector, entrance slit. Measured figures of 300 mm instruments of the Acton family.
FOCAL_LENGTH_MM = 300.0
HALF_ANGLE_DEG = 15.15
TILT_DEG = 1.38
SLIT_UM = 60.0


@dataclass(frozen=True)
class Pump:
    """What the pump is said to be (the bench file), before the errors of its calibration."""

    wavelength_nm: float
    repetition_rate_Hz: float
    full_pulse_energy_J: float
    area_cm2: float
    full_length_cm: float
    energy_rel_unc: float
    area_rel_unc: float
    pick_off_ratio: float = 1.0


@dataclass(frozen=True)
class Imperfections:
    """What the bench gets wrong, see [simulation.bench]."""

    calibration_errors: bool = True
    pulse_noise: float = 0.02
    drift_per_hour: float = 0.01
    slit_zero_um: float = 40.0
    slit_blur_um: float = 20.0


class World:
    """The physical state of a bench that pumps a film with a stripe."""

    def __init__(
        self,
        clock: Clock,
        film: Film,
        pump: Pump,
        imperfections: Imperfections,
        seed: int = 0,
        age_days: float = 0.0,
    ) -> None:
        self.clock = clock
        self.film = film
        self.pump = pump
        self.imperfections = imperfections
        self.seed = seed
        self.age_days = age_days
        self.start_s = clock.now()
        self.laser_on = True
        self.dose_J_cm2 = 0.0
        self.shots_on_sample = 0
        self.length_cm = pump.full_length_cm
        self.settlers: list[Callable[[float], None]] = []
        self._angle_deg = 45.0
        self._open = False
        self._opened_s = 0.0
        self._open_log: list[tuple[float, float]] = []
        self._accounted_shot = 0
        self._centre_nm = 0.0
        self._grooves_per_mm = 600.0
        self._pixel_cache: tuple[tuple[float, ...], FloatArray, FloatArray] | None = None
        drawn = generator(seed, "calibration", 0).standard_normal(8)
        if not imperfections.calibration_errors:
            drawn = np.zeros(8)
        self.energy_scale = max(1.0 + pump.energy_rel_unc * drawn[0], 0.1)
        self.area_scale = max(1.0 + pump.area_rel_unc * drawn[1], 0.1)
        self.theta0_deg = 0.02 * drawn[2]
        self.transmission_max = 0.995 + 0.002 * drawn[3]
        self.transmission_min = 5e-4 * math.exp(0.2 * drawn[4])
        self.wavelength_offset_nm = 0.03 * drawn[5]
        phases = generator(seed, "drift", 0).uniform(0.0, 2.0 * math.pi, 3)
        self._drift_phases = phases
        self._drift_sign = 1.0 if phases[2] < math.pi else -1.0

    # ---- the pump -------------------------------------------------------------------------

    @property
    def repetition_rate_Hz(self) -> float:
        """Shots per second."""
        return self.pump.repetition_rate_Hz

    @property
    def energy_meter_scale(self) -> float:
        """What the meter shows over what is there."""
        return float(1.0 / self.energy_scale)

    def shot_number(self, time_s: float) -> int:
        """Return the number of the first shot at or after a bench time."""
        return math.ceil((time_s - self.start_s) * self.repetition_rate_Hz - 1e-4)

    def drift(self, time_s: float) -> float:
        """Return the slow relative deviation of the pulse energy at a bench time."""
        hours = (time_s - self.start_s) / 3600.0
        slow = 0.3 * (
            math.sin(hours * 2.1 + self._drift_phases[0]) - math.sin(self._drift_phases[0])
        )
        fast = 0.1 * (
            math.sin(hours * 9.7 + self._drift_phases[1]) - math.sin(self._drift_phases[1])
        )
        return float(self.imperfections.drift_per_hour * (self._drift_sign * hours + slow + fast))

    def _shot_energies(self, first: int, count: int) -> FloatArray:
        """Return the energies (J) of shots on the sample side of the attenuator, (count,)."""
        if not self.laser_on:
            return np.zeros(count)
        noise = normals(self.seed, "pump", first, count)
        time_s = self.start_s + first / self.pump.repetition_rate_Hz
        mean = (
            self.pump.full_pulse_energy_J
            * self.energy_scale
            * self.transmission()
            * max(1.0 + self.drift(time_s), 0.0)
        )
        return np.asarray(mean * np.maximum(1.0 + self.imperfections.pulse_noise * noise, 0.0))

    def pulse_energies_J(self, first_time_s: float, count: int) -> FloatArray:
        """Return the energies (J) of `count` consecutive pulses from a bench time on."""
        self.settle(self.clock.now())
        energies = self._shot_energies(self.shot_number(first_time_s), count)
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
        now = self.clock.now() if at_s is None else at_s
        if is_open == self._open:
            return
        self.advance(now)
        if is_open:
            self._opened_s = now
        else:
            self._open_log.append((self._opened_s, now))
            del self._open_log[:-64]
        self._open = is_open
        self._accounted_shot = self.shot_number(now)

    @property
    def shutter_open(self) -> bool:
        """Whether the pump reaches the sample."""
        return self._open

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

    def settle(self, now: float) -> None:
        """Let every device bring its physical state up to date."""
        for settler in self.settlers:
            settler(now)

    # ---- what reaches the sample ------------------------------------------------------------

    def fluence_uJ_cm2(self) -> float:
        """Return the true mean fluence at the sample with the shutter open."""
        if not self.laser_on:
            return 0.0
        energy = self.pump.full_pulse_energy_J * self.energy_scale * self.transmission()
        energy *= max(1.0 + self.drift(self.clock.now()), 0.0)
        return float(energy * 1e6 / (self.pump.area_cm2 * self.area_scale))

    def advance(self, now: float) -> None:
        """Count the shots that have reached the sample until `now` into its dose."""
        shot = self.shot_number(now)
        if self._open and shot > self._accounted_shot:
            count = shot - self._accounted_shot
            self.shots_on_sample += count
            self.dose_J_cm2 += count * self.fluence_uJ_cm2() * 1e-6
        self._accounted_shot = max(self._accounted_shot, shot)

    def ccd_electrons(
        self, start_s: float, exposure_s: float, pixels: int, pixel_pitch_um: float
    ) -> FloatArray:
        """Return the photo-electrons expected in each pixel column for an exposure, (pixels,).

        `start_s` is the bench time at which it began; only shots that came through the shutter
        count.
        """
        now = self.clock.now()
        self.settle(now)
        end_s = start_s + exposure_s
        intervals = [*self._open_log]
        if self._open:
            intervals.append((self._opened_s, math.inf))
        electrons = np.zeros(pixels)
        for opened, shut in intervals:
            first = self.shot_number(max(opened, start_s))
            last = self.shot_number(min(shut, end_s))
            if last > first:
                electrons += self._exposed(first, last - first, pixels, pixel_pitch_um)
        self.advance(now)
        return electrons

    def _exposed(self, first: int, count: int, pixels: int, pitch_um: float) -> FloatArray:
        wavelength_nm, per_photon = self._pixel_map(pixels, pitch_um)
        fluence = self._shot_energies(first, count) * 1e6
        fluence /= self.pump.area_cm2 * self.area_scale
        photons_per_nm = self.film.emission(
            wavelength_nm,
            fluence,
            np.ones(count),
            self.length_cm,
            dose_J_cm2=self.dose_J_cm2,
            age_days=self.age_days,
        )
        return np.maximum(photons_per_nm * per_photon, 0.0)

    # ---- the spectrograph's optics ------------------------------------------------------------

    def _pixel_map(self, pixels: int, pitch_um: float) -> tuple[FloatArray, FloatArray]:
        """Return each pixel's wavelength (nm) and its electrons per (photon per nm)."""
        key = (self._centre_nm, self._grooves_per_mm, float(pixels), pitch_um)
        if self._pixel_cache is not None and self._pixel_cache[0] == key:
            return self._pixel_cache[1], self._pixel_cache[2]
        groove_nm = 1e6 / self._grooves_per_mm
        half, tilt = math.radians(HALF_ANGLE_DEG), math.radians(TILT_DEG)
        turn = math.asin(self._centre_nm / (2.0 * groove_nm * math.cos(half)))
        offset_mm = (np.arange(pixels) - 0.5 * (pixels - 1)) * pitch_um * 1e-3
        bend = np.arctan(
            offset_mm * math.cos(tilt) / (FOCAL_LENGTH_MM + offset_mm * math.sin(tilt))
        )
        wavelength = groove_nm * (math.sin(turn - half) + np.sin(turn + half + bend))
        wavelength = wavelength + self.wavelength_offset_nm
        width = np.abs(np.gradient(wavelength))
        efficiency = _detection_efficiency(wavelength)
        self._pixel_cache = (key, wavelength, width * efficiency)
        return wavelength, width * efficiency

    def state(self) -> dict[str, float]:
        """Return what a resumed run must find again."""
        self.advance(self.clock.now())
        return {
            "world.start_s": self.start_s,
            "world.now_s": self.clock.now(),
            "world.dose_J_cm2": self.dose_J_cm2,
            "world.shots": float(self.shots_on_sample),
        }

    def restore(self, state: dict[str, float]) -> None:
        """Go back to a state: time, dose and shots as they were."""
        if isinstance(self.clock, VirtualClock):
            self.clock.jump(state["world.now_s"])
            self.start_s = state["world.start_s"]
        self.dose_J_cm2 = state["world.dose_J_cm2"]
        self.shots_on_sample = int(state["world.shots"])
        self._accounted_shot = self.shot_number(self.clock.now())


def _detection_efficiency(wavelength_nm: FloatArray) -> FloatArray:
    """Return electrons per photon of grating and back-illuminated silicon, a smooth curve."""
    silicon = 0.93 * np.exp(-(((wavelength_nm - 580.0) / 420.0) ** 2))
    grating = 0.72 * np.exp(-(((wavelength_nm - 520.0) / 330.0) ** 2))
    return np.asarray(silicon * grating)
