"""The true value of every result of every measurement, for a sample: what analysis should find.

For reports and blind tests that hold the analysis against the truth; the analysis never imports
it. Names and units are those of the results. Noise-free, and without the errors of the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sim_drivers.sample import truth
from sim_drivers.sample.capillary import Capillary
from sim_drivers.sample.conditions import Conditions
from sim_drivers.sample.film import Film
from sim_drivers.sample.occupancy import PUMP_WAVELENGTH_NM
from sim_drivers.sample.parameters import SampleParameters
from sim_drivers.sample.stripe_film import StripeFilm, depletion_time_ps
from sim_drivers.sample.truth_transient import streak_truth

Value = float | list[float]


@dataclass(frozen=True)
class Circumstances:
    """What of the bench and of the run the true results depend on.

    stripe_length_cm: the full stripe. pump_wavelength_nm: of the pump. slit_zero_um: of the slit.
    response_fwhm_ps: of the streak camera. days: of an ageing series.
    fluences_uJ_cm2: of the streak series; for a power sweep, those that its slopes are taken from
    (None: evenly spaced ones).
    """

    stripe_length_cm: float = 0.3
    pump_wavelength_nm: float = PUMP_WAVELENGTH_NM
    slit_zero_um: float = 40.0
    response_fwhm_ps: float = 50.0
    days: Sequence[float] = (0.0, 7.0, 14.0, 21.0)
    fluences_uJ_cm2: Sequence[float] | None = None


def true_results(
    measurement: str, p: SampleParameters, circumstances: Circumstances | None = None
) -> dict[str, Value]:
    """Return result name -> true value, lists where a result is one per fluence or day.

    Raises:
        ValueError: there is no such measurement, or it has no results of the sample.
        SampleError: the parameters cannot be true of a film.
    """
    if measurement not in _TRUTHS:
        raise ValueError(f"{measurement!r} was given, allowed is one of {', '.join(_TRUTHS)}")
    return _TRUTHS[measurement](p, circumstances or Circumstances())


def _film(p: SampleParameters, c: Circumstances) -> Film:
    return Film(p, c.stripe_length_cm, pump_wavelength_nm=c.pump_wavelength_nm)


def _power_sweep(p: SampleParameters, c: Circumstances) -> dict[str, Value]:
    film = _film(p, c)
    peak, width = truth.spontaneous_line(film)
    return {
        "threshold_uJ_cm2": p.threshold_uJ_cm2,
        "spontaneous_peak_nm": peak,
        "spontaneous_fwhm_nm": width,
        "ase_peak_nm": p.ase_peak_nm,
        "ase_fwhm_nm": p.ase_fwhm_nm,
        "slope_below": truth.slope_below(film, c.fluences_uJ_cm2),
        "slope_above": truth.slope_above(film, c.fluences_uJ_cm2),
    }


def _stripe_length(p: SampleParameters, c: Circumstances) -> dict[str, Value]:
    return {
        "gain_per_cm": p.gain_per_cm,
        "saturation_length_cm": p.saturation_length_cm,
        "depletion_time_ps": depletion_time_ps(p),
        "slit_zero_um": c.slit_zero_um,
    }


def _photostability(p: SampleParameters, c: Circumstances) -> dict[str, Value]:
    return {
        "retained_fraction": p.retained_fraction,
        "shots": p.retained_shots,
        "shots_to_90_percent": truth.shots_to_fraction(_film(p, c), 0.9),
    }


def _ageing(p: SampleParameters, c: Circumstances) -> dict[str, Value]:
    risen = [p.threshold_uJ_cm2 * (1.0 + p.ageing_per_day * day) for day in c.days]
    return {
        "threshold_rise_per_day": p.ageing_per_day,
        "threshold_uJ_cm2": risen,
        "day": list(c.days),
    }


def _biexciton(p: SampleParameters, _: Circumstances) -> dict[str, Value]:
    return {
        "exciton_slope": 1.0,
        "biexciton_slope": 2.0,
        "binding_energy_meV": p.binding_energy_meV,
        "exciton_peak_eV": p.exciton_peak_eV,
        "biexciton_peak_eV": p.exciton_peak_eV - 1e-3 * p.binding_energy_meV,
    }


def _lifetime(p: SampleParameters, _: Circumstances) -> dict[str, Value]:
    return {"lifetime_ns": p.exciton_lifetime_ns}


def _auger(p: SampleParameters, _: Circumstances) -> dict[str, Value]:
    return {
        "auger_lifetime_ps": p.auger_lifetime_ps,
        "exciton_lifetime_ns": p.exciton_lifetime_ns,
    }


def _cross_section(p: SampleParameters, _: Circumstances) -> dict[str, Value]:
    return {"cross_section_cm2": p.cross_section_cm2}


def _streak_series(p: SampleParameters, c: Circumstances) -> dict[str, Value]:
    film = StripeFilm(p, c.stripe_length_cm, pump_wavelength_nm=c.pump_wavelength_nm)
    fluences = list(c.fluences_uJ_cm2 or (0.8, 11.5, 25.0))
    conditions = Conditions(length_cm=c.stripe_length_cm)
    found = [
        streak_truth(film, one, response_fwhm_ps=c.response_fwhm_ps, conditions=conditions)
        for one in fluences
    ]
    return {
        "fluence_uJ_cm2": fluences,
        "early_peak_nm": [one.early_peak_nm for one in found],
        "late_peak_nm": [one.late_peak_nm for one in found],
        "redshift_meV": [one.redshift_meV for one in found],
        "decay_time_ps": [one.decay_time_ps for one in found],
    }


def _capillary(p: SampleParameters, _: Circumstances) -> dict[str, Value]:
    return {
        "threshold_mJ_cm2": p.cavity_threshold_mJ_cm2,
        "mode_spacing_nm": Capillary(p).spacing_nm(p.ase_peak_nm),
        "group_index": p.cavity_group_index,
    }


_TRUTHS: dict[str, Callable[[SampleParameters, Circumstances], dict[str, Value]]] = {
    "power-sweep": _power_sweep,
    "stripe-length": _stripe_length,
    "photostability": _photostability,
    "ageing": _ageing,
    "biexciton": _biexciton,
    "lifetime": _lifetime,
    "auger": _auger,
    "cross-section": _cross_section,
    "streak-series": _streak_series,
    "capillary-lasing": _capillary,
}
