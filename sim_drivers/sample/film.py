"""The quantum-dot film under the fs stripe: photons at the spectrograph slit, shot by shot.

For the simulated bench (`world`), which knows the shots of an exposure, the stripe, the dose and
the age. Power sweeps, variable stripe length, photostability and ageing all come from here.

A bleached dot neither amplifies nor absorbs nor emits: the share f of intact dots multiplies the
net gain and the seed, and leaves the threshold where it was; age raises the threshold.

A worn film is traded for a fresh one, exactly. With a share f intact and the inversion of zero
gain raised from y to y / r, the stripe equation at fluence F and length L is that of the fresh
film at the fluence F' where law(F') = r law(F), at the length f L / r, with the seed
r S(F) / S(F') and the unsaturable loss alpha r / f. Seed and loss factors matter little and stay
near one, so that one table serves a night of slowly growing dose.

Not here: time-resolved emission and temperature (`stripe_film.py`), 10 K, the cavity, and the
cuvette (optical density and spot profile are the cuvette's; the stripe is taken uniform across).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sim_drivers.sample.occupancy import PUMP_WAVELENGTH_NM, FloatArray
from sim_drivers.sample.parameters import SampleParameters
from sim_drivers.sample.stripe import Stripe, calibrate
from sim_drivers.sample.tables import NODES, Guide, GuidedTables, six_point_weights

PHOTONS_PER_SATURATION_POWER = 8.6e4
"""Photons that reach the slit, per shot, for guided light of the saturation power.

Assumed: makes the peak pixel (0.1 nm) of the 9 nm film at 80 uJ/cm^2 4e4 photons a shot.
"""

_FACTOR_SPACING = 0.02  # of ln seed and ln loss: linear between, within 1e-4
_MOST_WEAR = 1e6  # beyond, a film too dark for its loss to matter
_MANY_SHOTS = 2048
_BINS_PER_ROW = 32
_AXES_KEPT = 8


@dataclass(frozen=True)
class _Axis:
    """How the model's wavelengths serve a wavelength axis: made once per axis."""

    nodes: NDArray[np.intp]  # (6, P)
    weights: FloatArray  # (6, P), zero outside the model's band
    spontaneous_shape: FloatArray  # (P,)


class Film:
    """A film with a stripe across it; answers for any exposure.

    Args:
        parameters: from `resolve`.
        stripe_length_cm: the full stripe, for which peak and width of the stimulated light hold.
        pump_wavelength_nm: turns fluence into excitons.

    Raises:
        SampleError: no gain band and seed make the parameters true.

    The film itself is stateless: dose and age are told with every exposure.
    """

    def __init__(
        self,
        parameters: SampleParameters,
        stripe_length_cm: float = 0.3,
        *,
        pump_wavelength_nm: float = PUMP_WAVELENGTH_NM,
    ) -> None:
        """Calibrate the stripe, 0.1 s; tables come with the first exposures."""
        if not (np.isfinite(stripe_length_cm) and stripe_length_cm > 0.0):
            raise ValueError(f"stripe_length_cm: {stripe_length_cm} given, allowed is above 0")
        if not (np.isfinite(pump_wavelength_nm) and pump_wavelength_nm > 0.0):
            raise ValueError(f"pump_wavelength_nm: {pump_wavelength_nm} given, must be above 0")
        self.parameters = parameters
        self.stripe: Stripe = calibrate(
            parameters, float(stripe_length_cm), float(pump_wavelength_nm)
        )
        self.bleaching_dose_J_cm2 = self._solve_bleaching_dose()
        self._tables = GuidedTables(self.stripe)
        self._wavelength_nm = self.stripe.wavelengths_nm()
        self._axes: OrderedDict[bytes, _Axis] = OrderedDict()

    def bleach(self, dose_J_cm2: float) -> float:
        """Return the share of dots still intact after a dose >= 0, exp(-dose / D0)."""
        if not dose_J_cm2 >= 0.0:
            raise ValueError(f"dose_J_cm2: {dose_J_cm2} given, allowed is 0 and above")
        return float(np.exp(-dose_J_cm2 / self.bleaching_dose_J_cm2))

    def emission(
        self,
        wavelength_nm: FloatArray,
        fluence_uJ_cm2: FloatArray,
        weights: FloatArray,
        length_cm: float,
        *,
        dose_J_cm2: float = 0.0,
        age_days: float = 0.0,
    ) -> FloatArray:
        """Return the photons per nm at the spectrograph's slit, (P,), summed over the shots.

        Args:
            wavelength_nm: where, (P,), any order.
            fluence_uJ_cm2: true fluence of each group of shots, (M,), >= 0.
            weights: shots in each group, (M,).
            length_cm: pumped length that ends at the film's edge, >= 0.
            dose_J_cm2: what this spot has received before, >= 0.
            age_days: time in air, >= 0.

        Within 0.2 % of direct propagation. Raises ValueError for values out of range.
        """
        axis = self._axis(np.ascontiguousarray(wavelength_nm, dtype=np.float64))
        fluence, shots = _checked_shots(fluence_uJ_cm2, weights)
        if not (np.isfinite(length_cm) and length_cm >= 0.0):
            raise ValueError(f"length_cm: {length_cm} given, allowed is 0 and above")
        if not (np.isfinite(age_days) and age_days >= 0.0):
            raise ValueError(f"age_days: {age_days} given, allowed is 0 and above")
        intact = self.bleach(dose_J_cm2)
        fluence, shots = self._grouped(fluence, shots)
        if length_cm == 0.0 or not fluence.size or intact == 0.0:
            return np.zeros(len(axis.spontaneous_shape))
        guided = self.guided(fluence, shots, length_cm, intact, age_days)
        spectrum = np.einsum("kp,kp->p", guided[axis.nodes], axis.weights)
        np.maximum(spectrum, 0.0, out=spectrum)
        strength = float(shots @ self.stripe.spontaneous(fluence))
        direct = self.parameters.direct_light_ratio * self.stripe.seed_per_cm * intact * strength
        spectrum += direct * length_cm * axis.spontaneous_shape
        spectrum *= PHOTONS_PER_SATURATION_POWER
        return np.asarray(spectrum)

    def threshold_rise(self, age_days: float) -> float:
        """Return the fraction by which the threshold has risen after days in air."""
        return self.parameters.ageing_per_day * age_days

    def guided(
        self,
        fluence: FloatArray,
        shots: FloatArray,
        length_cm: float,
        intact: float,
        age_days: float,
    ) -> FloatArray:
        """Sum the guided power per nm over shots, on the stripe's wavelengths, (P,).

        In saturation powers. For `emission` and `stripe_film`, which have checked what is told.
        """
        stripe, tables = self.stripe, self._tables
        rise = self.threshold_rise(age_days)
        shrink = stripe.threshold_inversion() / stripe.threshold_inversion(rise)
        equivalent, seed = fluence, np.ones_like(fluence)
        if shrink != 1.0:
            inversion = shrink * stripe.law.value(stripe.excitons(fluence))
            equivalent = stripe.law.inverse(inversion) / float(stripe.excitons(1.0))
            equivalent = np.maximum(equivalent, 0.1 * tables.darkest_uJ_cm2)
            seed = shrink * stripe.spontaneous(fluence) / stripe.spontaneous(equivalent)
        dark = equivalent < tables.darkest_uJ_cm2
        if dark.any():  # no gain to speak of: guided light is proportional to the seed
            strength = stripe.spontaneous(fluence) / stripe.spontaneous(tables.darkest_uJ_cm2)
            shots = np.where(dark, shots * shrink * strength, shots)
            seed = np.where(dark, 1.0, seed)
            equivalent = np.where(dark, tables.darkest_uJ_cm2, equivalent)
        place = tables.positions(np.minimum(equivalent, tables.brightest_uJ_cm2))
        node = np.floor(place).astype(np.intp)
        rows = (node + NODES[:, None]).ravel()
        spread = six_point_weights(place - node) * shots
        first, count = int(rows.min()), int(rows.max() - rows.min()) + 1
        stretched = length_cm * intact / shrink
        total = np.zeros(len(self._wavelength_nm))
        stretch, losses = max(0, tables.stretch_for(stretched)), [(1.0, np.ones(1))]
        if self.parameters.waveguide_loss_per_cm > 0.0:
            # The scaled loss grows as the scaled stripe shrinks: tables no longer than needed.
            longest = max(length_cm, stripe.stripe_length_cm)
            wear = min(shrink / intact, _MOST_WEAR)
            stretch = tables.stretch_for(max(longest / wear, stretched))
            losses = _neighbours(np.array([wear]))
        for seed_node, seed_weight in _neighbours(seed):
            row_weights: FloatArray = np.bincount(
                rows - first, weights=(spread * seed_weight).ravel(), minlength=count
            ).astype(np.float64)
            for loss_node, loss_weight in losses:
                guide = Guide(seed_node, loss_node, stretch)
                part = tables.light(first, row_weights, stretched, guide)
                total += float(loss_weight[0]) * part
        return total

    def _grouped(self, fluence: FloatArray, shots: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bring many shots down to a histogram, fine enough not to matter; drop the dark ones."""
        lit = fluence > 0.0
        if not lit.all():
            fluence, shots = fluence[lit], shots[lit]
        if len(fluence) <= _MANY_SHOTS:
            return fluence, shots
        low = float(fluence.min())
        width = self._tables.spacing / _BINS_PER_ROW
        place = np.log(fluence / low) / width
        below = place.astype(np.intp)
        upper = shots * (place - below)
        bins = int(below.max()) + 2
        histogram = np.bincount(below, weights=shots - upper, minlength=bins)
        histogram += np.bincount(below + 1, weights=upper, minlength=bins)
        filled = np.flatnonzero(histogram)
        return low * np.exp(width * filled), histogram[filled].astype(np.float64)

    def _axis(self, wavelength_nm: FloatArray) -> _Axis:
        key = wavelength_nm.tobytes()
        known = self._axes.get(key)
        if known is not None:
            return known
        if wavelength_nm.ndim != 1 or not np.isfinite(wavelength_nm).all():
            raise ValueError("wavelength_nm must be one row of finite numbers")
        model = self._wavelength_nm
        place = (wavelength_nm - model[0]) / (model[1] - model[0])
        inside = (place >= 0.0) & (place <= len(model) - 1)
        node = np.clip(np.floor(place), 2, len(model) - 4)
        weights = np.where(inside, six_point_weights(place - node), 0.0)
        axis = _Axis(
            node.astype(np.intp) + NODES[:, None],
            weights,
            self.stripe.spontaneous_shape(wavelength_nm),
        )
        if len(self._axes) >= _AXES_KEPT:
            self._axes.popitem(last=False)
        self._axes[key] = axis
        return axis

    def _solve_bleaching_dose(self) -> float:
        """Return D0 in J/cm^2 such that retained_fraction is left after retained_shots."""
        p = self.parameters
        if p.retained_fraction == 1.0:
            return float("inf")

        def retained(wear: float) -> float:
            pair = np.array([1.0, float(np.exp(-wear))])
            light = self.stripe.guided(
                p.gain_fluence_uJ_cm2, self.stripe.stripe_length_cm, intact=pair
            ).sum(axis=1)
            return float(np.log(light[1] / light[0]) - np.log(p.retained_fraction))

        most = 1.0
        while retained(most) > 0.0:
            most *= 4.0
        wear = brentq(retained, 0.0, most, xtol=1e-9, rtol=1e-9)
        return p.retained_shots * p.gain_fluence_uJ_cm2 * 1e-6 / float(wear)


def _checked_shots(
    fluence_uJ_cm2: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    fluence = np.atleast_1d(np.asarray(fluence_uJ_cm2, dtype=np.float64))
    shots = np.atleast_1d(np.asarray(weights, dtype=np.float64))
    if fluence.shape != shots.shape or fluence.ndim != 1:
        raise ValueError(
            f"fluence_uJ_cm2 {fluence.shape} and weights {shots.shape} must be two equal rows"
        )
    if not (np.isfinite(fluence).all() and np.isfinite(shots).all()):
        raise ValueError("fluence_uJ_cm2 and weights must be finite")
    if fluence.size and float(fluence.min()) < 0.0:
        raise ValueError(f"fluence_uJ_cm2: {fluence.min():g} given, allowed is 0 and above")
    return fluence, shots


def _neighbours(factor: FloatArray) -> list[tuple[float, FloatArray]]:
    """Return the grid values about each factor > 0 with the weight of each, linear in its ln."""
    place = np.log(factor) / _FACTOR_SPACING
    # Exactly fresh must stay on one grid value, whatever the rounding of a product of factors.
    rounded = np.round(place)
    place = np.where(np.abs(place - rounded) < 1e-9, rounded, place)
    lowest, highest = int(np.floor(place.min())), int(np.ceil(place.max()))
    found = []
    for number in range(lowest, highest + 1):
        weight = np.maximum(1.0 - np.abs(place - number), 0.0)
        if weight.any():
            found.append((float(np.exp(number * _FACTOR_SPACING)), weight))
    return found
