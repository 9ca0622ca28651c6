"""The film under the fs stripe as the World asks for it: at a temperature, and resolved in time.

`film.py` says what a shot brings altogether. Here it is shared out over time: what the guide holds
beyond transparency (the seed of the full length, neither amplified nor absorbed) is stimulated
light, a pulse that decays with the depletion time n_g L_sat / c; everything else follows the
excitons (`kinetics.py`), in the band of one or of several of them. There is stimulated light above
threshold only, and of the spectrum of one exciton film and streak camera see the same.

The light of three and more excitons, gone in a third of the time of two, is in the time-resolved
picture only: the film's seed counts two and one. Nor does stimulated light take excitons from the
spontaneous. Cooling moves the bands, and leaves the gain as it is.
"""

from __future__ import annotations

import numpy as np
from scipy.constants import c as light_speed_m_s
from scipy.interpolate import CubicSpline

from sim_drivers.sample.bands import EV_NM, RoomBands, bin_points, exciton_shift_eV, in_bins
from sim_drivers.sample.conditions import NO_LINES, Conditions, Lines, grouped
from sim_drivers.sample.film import PHOTONS_PER_SATURATION_POWER, Film
from sim_drivers.sample.kinetics import Cascade, occupancy, pulse_course
from sim_drivers.sample.occupancy import PUMP_WAVELENGTH_NM, FloatArray, multi_exciton_share
from sim_drivers.sample.parameters import SampleParameters

_GROUPS = 9
_FAINT = 1e-4  # of the band's peak: where the seed is fainter, its share in the guide is not asked
_TEMPERATURE_STEP_K = 0.25  # 0.02 nm: keeps the film's table of axes small


def depletion_time_ps(p: SampleParameters) -> float:
    """Return group index x saturation length / c."""
    return float(p.group_index * p.saturation_length_cm * 1e-2 / light_speed_m_s * 1e12)


class StripeFilm:
    """A film with a stripe across it; see `Film` for what it raises."""

    def __init__(
        self,
        parameters: SampleParameters,
        stripe_length_cm: float = 0.3,
        *,
        pump_wavelength_nm: float = PUMP_WAVELENGTH_NM,
    ) -> None:
        self.parameters = parameters
        self.film = Film(parameters, stripe_length_cm, pump_wavelength_nm=pump_wavelength_nm)
        self.cascade = Cascade.of(parameters)
        stripe = self.film.stripe
        at_reference = stripe.excitons(parameters.gain_fluence_uJ_cm2)
        photons = self.cascade.totals(occupancy(at_reference, 1.0))
        # The seed's S leaves out what more than two excitons emit: undo that at the reference.
        ratio = parameters.biexciton_radiative_factor * parameters.auger_lifetime_ps
        ratio /= 1e3 * parameters.exciton_lifetime_ns
        two = float(multi_exciton_share(at_reference))
        self._seed_per_photon = stripe.seed_per_cm / (float(photons[0]) + ratio * two)

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.emission."""
        return self.film.emission(
            self._at_room(wavelength_nm, conditions.temperature_K),
            fluence_uJ_cm2,
            weights,
            conditions.length_cm,
            dose_J_cm2=conditions.dose_J_cm2,
            age_days=conditions.age_days,
        )

    def lines(
        self, fluence_uJ_cm2: FloatArray, weights: FloatArray, conditions: Conditions
    ) -> Lines:
        """See Sample.lines: none."""
        del fluence_uJ_cm2, weights, conditions
        return NO_LINES

    def transient(
        self,
        time_edges_ps: FloatArray,
        wavelength_edges_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        conditions: Conditions,
    ) -> FloatArray:
        """See Sample.transient."""
        film, p = self.film, self.parameters
        points = bin_points(wavelength_edges_nm)
        at_room = self._at_room(points, conditions.temperature_K)
        shape = RoomBands.of(p).per_nm(at_room)
        model_nm = film.stripe.wavelengths_nm()
        seed_shape = film.stripe.spontaneous_shape(at_room)
        # Between the guide's wavelengths by a curve: corners would make peaks of their own.
        bright = (seed_shape > _FAINT * seed_shape.max()) & (at_room >= model_nm[0])
        bright &= at_room <= model_nm[-1]
        intact = film.bleach(conditions.dose_J_cm2)
        length = conditions.length_cm
        if intact == 0.0 or length == 0.0 or not bright.any():
            return np.zeros((len(time_edges_ps) - 1, len(wavelength_edges_nm) - 1))
        occupied, spectra = [], []
        stimulated = np.zeros(len(at_room))
        for fluence, shots in zip(*grouped(fluence_uJ_cm2, weights, _GROUPS), strict=True):
            one = np.array([fluence])
            guided = film.guided(one, np.ones(1), length, intact, conditions.age_days)
            seed = film.stripe.seed_per_cm * intact * float(film.stripe.spontaneous(fluence))
            light = CubicSpline(model_nm, guided)(at_room[bright])
            transparent = seed * length * seed_shape[bright]
            stimulated[bright] += shots * np.maximum(light - transparent, 0.0)
            # cm of stripe of which the guide brings the spontaneous light
            part = np.clip(light, 0.0, transparent) / (seed * seed_shape[bright])
            order = np.argsort(at_room[bright])
            collected = np.interp(at_room, at_room[bright][order], part[order])
            collected += p.direct_light_ratio * length
            occupied.append(occupancy(film.stripe.excitons(fluence), shots))
            spectra.append(intact * self._seed_per_photon * shape * collected)
        if not occupied:
            return np.zeros((len(time_edges_ps) - 1, len(wavelength_edges_nm) - 1))
        courses = self.cascade.courses(np.array(occupied), time_edges_ps)
        courses = courses.reshape(-1, courses.shape[-1])
        if stimulated.any():
            pulse = pulse_course(time_edges_ps, depletion_time_ps(p))
            courses = np.vstack([courses, pulse])
            spectra.append(stimulated[None, :])
        binned = in_bins(wavelength_edges_nm, np.concatenate(spectra))
        return np.asarray(PHOTONS_PER_SATURATION_POWER * (courses.T @ binned))

    def _at_room(self, wavelength_nm: FloatArray, temperature_K: float) -> FloatArray:
        """Return where the light of these wavelengths would lie at 295 K."""
        rounded = _TEMPERATURE_STEP_K * round(temperature_K / _TEMPERATURE_STEP_K)
        shift = exciton_shift_eV(self.parameters, rounded)
        if shift == 0.0:
            return wavelength_nm
        return np.asarray(EV_NM / (EV_NM / wavelength_nm - shift))
