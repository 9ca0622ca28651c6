"""What a simulated sample is made of: the keys of `[simulation.sample]`, their ranges, the presets.

For the simulated bench and its bench file. This file knows which values are possible one by one
and together; whether the stripe can be solved for them is found out by `stripe.calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

GAIN_LAWS = ("poisson", "linear", "logarithmic")
SPOT_PROFILES = ("tophat", "gaussian")
USES = ("stripe", "cuvette", "cold", "capillary")
"""What a sample can be used as; each depends on some of the keys only."""
CAVITY_ENVELOPE_WIDTHS = 2.0
"""Width of the gain that cavity modes share, in widths of the stimulated band; assumed."""
SMALLEST_INVERSION_RISE = 0.05
"""Least Q(gain_fluence) - Q(threshold): below it the gain would hang on a saturated occupancy."""

LEAST_GROWTH, MOST_GROWTH = 1.0, 20.0
"""Of gain x saturation length: below, the seed alone saturates; above, it would not be seen."""


class SampleError(ValueError):
    """A sample that cannot exist: `key` of `[simulation.sample]`, what was given, what is allowed.

    `given` and `allowed` are as shown to the operator; `allowed` is a sentence fragment.
    """

    def __init__(self, key: str, given: object, allowed: str) -> None:
        """Make the message of the three."""
        super().__init__(f"{key}: {given!r} was given, allowed is {allowed}")
        self.key = key
        self.given = given
        self.allowed = allowed


def _number(
    default: float, low: float, high: float, unit: str, *, above: bool = False, text: str = ""
) -> Any:
    """Declare a number with its default, its range (`above`: low excluded), unit and meaning."""
    metadata = {"low": low, "high": high, "unit": unit, "above": above, "text": text}
    return field(default=default, metadata=metadata)


def _choice(default: str, choices: tuple[str, ...], text: str) -> Any:
    return field(default=default, metadata={"choices": choices, "unit": "", "text": text})


@dataclass(frozen=True)
class SampleParameters:
    """One field per key of `[simulation.sample]`, same names and units; defaults: 9 nm film.

    Each field's metadata hold range or choices, unit and meaning. Fluences are true fluences at
    the sample. Made by `resolve`, which checks; the bare constructor does not.
    """

    spontaneous_peak_nm: float = _number(
        514.5, 350.0, 1100.0, "nm", text="peak of the band far below threshold"
    )
    spontaneous_fwhm_nm: float = _number(23.0, 2.0, 150.0, "nm", text="width of that band")
    ase_peak_nm: float = _number(
        524.5, 350.0, 1100.0, "nm", text="peak of the guided light, full stripe, gain_fluence"
    )
    ase_fwhm_nm: float = _number(5.0, 0.2, 100.0, "nm", text="width of the same")
    threshold_uJ_cm2: float = _number(22.0, 0.01, 1e4, "uJ/cm^2", text="zero net modal gain")
    gain_per_cm: float = _number(
        98.0, 1.0, 1000.0, "1/cm", text="small-signal net modal gain at its peak, gain_fluence"
    )
    gain_fluence_uJ_cm2: float = _number(
        57.0, 0.01, 1e5, "uJ/cm^2", text="where gain, saturation and stimulated band are stated"
    )
    gain_law: str = _choice("poisson", GAIN_LAWS, "how the inversion grows with fluence")
    saturation_length_cm: float = _number(
        0.07, 1e-3, 10.0, "cm", text="stripe length that halves the net gain at gain_fluence"
    )
    direct_light_ratio: float = _number(
        1.0, 0.0, 1000.0, "1", text="unguided light per length over light coupled into the guide"
    )
    waveguide_loss_per_cm: float = _number(
        0.0, 0.0, 1000.0, "1/cm", text="part of the loss that does not saturate"
    )
    group_index: float = _number(2.1, 1.0, 6.0, "1", text="of the film's guided mode")
    cross_section_cm2: float = _number(
        2.5e-14, 1e-18, 1e-10, "cm^2", text="absorption of one dot at the pump wavelength"
    )
    optical_density: float = _number(0.0, 0.0, 5.0, "1", text="of the cuvette, at the pump")
    spot_profile: str = _choice("tophat", SPOT_PROFILES, "of the pump spot (not of the stripe)")
    exciton_lifetime_ns: float = _number(3.1, 0.01, 1e4, "ns", text="one exciton, low fluence")
    auger_lifetime_ps: float = _number(
        105.0, 0.1, 1e5, "ps", text="observed decay of the two-exciton state"
    )
    biexciton_radiative_factor: float = _number(
        4.0, 0.5, 16.0, "1", text="emission rate of two excitons over that of one"
    )
    retained_fraction: float = _number(
        0.90, 1e-3, 1.0, "1", text="of the stimulated light after retained_shots"
    )
    retained_shots: float = _number(1.6e7, 1.0, 1e15, "1", text="shots at gain_fluence")
    ageing_per_day: float = _number(
        0.003, 0.0, 1.0, "1/d", text="fractional rise of the threshold in air"
    )
    exciton_peak_eV: float = _number(2.375, 1.0, 4.0, "eV", text="at 10 K")
    binding_energy_meV: float = _number(50.0, 0.0, 300.0, "meV", above=True, text="biexciton's")
    biexciton_crossover_mJ_cm2: float = _number(
        50.0, 1e-2, 1e5, "mJ/cm^2", text="fluence at which both bands are equal, 10 K, ns pump"
    )
    exciton_fwhm_10K_meV: float = _number(25.0, 1.0, 300.0, "meV", text="at 10 K")
    biexciton_fwhm_10K_meV: float = _number(32.0, 1.0, 300.0, "meV", text="at 10 K")
    cavity_diameter_um: float = _number(50.0, 1.0, 2000.0, "um", text="capillary only")
    cavity_group_index: float = _number(1.7, 1.0, 6.0, "1", text="capillary only")
    cavity_threshold_mJ_cm2: float = _number(2.0, 1e-3, 1e4, "mJ/cm^2", text="capillary only")
    cavity_beta: float = _number(
        1e-3, 0.0, 1e-3, "1", above=True, text="share of the emission in a mode, capillary only"
    )


@dataclass(frozen=True)
class SampleDescription:
    """What a run file says about the sample; `assumed` names what no publication gave."""

    chemical_formula: str
    physical_form: str
    description: str
    assumed: str = ""


_GREEN = SampleParameters()

PRESETS: Mapping[str, SampleParameters] = MappingProxyType(
    {
        "CsPbBr3-9nm": _GREEN,
        "CsPbBr3-5.5nm": replace(
            _GREEN,
            spontaneous_peak_nm=490.0,
            spontaneous_fwhm_nm=24.0,
            ase_peak_nm=502.0,
            ase_fwhm_nm=5.5,
            threshold_uJ_cm2=36.0,
            gain_fluence_uJ_cm2=75.0,
            gain_per_cm=85.0,
            saturation_length_cm=0.075,
            cross_section_cm2=1.4e-14,
            auger_lifetime_ps=60.0,
            exciton_peak_eV=2.49,
        ),
        "CsPbBrCl": replace(
            _GREEN,
            spontaneous_peak_nm=462.0,
            spontaneous_fwhm_nm=19.0,
            ase_peak_nm=470.0,
            ase_fwhm_nm=4.5,
            threshold_uJ_cm2=30.0,
            gain_fluence_uJ_cm2=70.0,
            gain_per_cm=88.0,
            saturation_length_cm=0.072,
            cross_section_cm2=1.8e-14,
            exciton_peak_eV=2.645,
        ),
        "CsPbIBr": replace(
            _GREEN,
            spontaneous_peak_nm=637.0,
            spontaneous_fwhm_nm=34.0,
            ase_peak_nm=647.0,
            ase_fwhm_nm=7.5,
            threshold_uJ_cm2=26.0,
            gain_fluence_uJ_cm2=65.0,
            gain_per_cm=92.0,
            saturation_length_cm=0.07,
            cross_section_cm2=2.1e-14,
            exciton_peak_eV=1.91,
        ),
        "CsPbBr3-solution": replace(_GREEN, exciton_lifetime_ns=3.6),
        "CsPbBr3-capillary": _GREEN,
    }
)

DESCRIPTIONS: Mapping[str, SampleDescription] = MappingProxyType(
    {
        "CsPbBr3-9nm": SampleDescription(
            "CsPbBr3", "thin film", "close-packed film of 9 nm perovskite quantum dots"
        ),
        "CsPbBr3-5.5nm": SampleDescription(
            "CsPbBr3",
            "thin film",
            "close-packed film of 5.5 nm perovskite quantum dots",
            "widths, threshold, gain, cross-section, Auger lifetime, 10 K position",
        ),
        "CsPbBrCl": SampleDescription(
            "CsPb(Br/Cl)3",
            "thin film",
            "close-packed film of blue-emitting quantum dots, Br:Cl 1.15:1",
            "all but the composition",
        ),
        "CsPbIBr": SampleDescription(
            "CsPb(I/Br)3",
            "thin film",
            "close-packed film of red-emitting quantum dots, I:Br 2.7:1",
            "all but the composition",
        ),
        "CsPbBr3-solution": SampleDescription(
            "CsPbBr3", "solution", "9 nm perovskite quantum dots in a 1 mm cuvette"
        ),
        "CsPbBr3-capillary": SampleDescription(
            "CsPbBr3",
            "solid in a capillary",
            "9 nm perovskite quantum dots in a glass capillary of 50 um inner diameter",
            "all of the cavity but its diameter",
        ),
    }
)


def resolve(preset: str, overrides: Mapping[str, Any], use: str = "") -> SampleParameters:
    """Return `preset` with `overrides` laid over it, checked key by key and as a whole.

    Integers are taken for numbers, booleans and text are not. With a `use` (one of `USES`) only
    those keys are held against each other that it depends on: a solution needs no gain.

    Raises:
        SampleError: unknown preset or key, a value out of its range, or values that exclude
            each other.
    """
    if preset not in PRESETS:
        raise SampleError("preset", preset, "one of " + ", ".join(PRESETS))
    known = {entry.name: entry.metadata for entry in fields(SampleParameters)}
    checked: dict[str, Any] = {}
    for key, given in overrides.items():
        if key not in known:
            raise SampleError(key, given, "one of the keys " + ", ".join(known))
        checked[key] = _checked(key, given, known[key])
    parameters: SampleParameters = replace(PRESETS[preset], **checked)
    for name, check in _CHECKS.items():
        if use in ("", name):
            check(parameters)
    return parameters


def _checked(key: str, given: object, limits: Mapping[str, Any]) -> float | str:
    if "choices" in limits:
        if given not in limits["choices"]:
            raise SampleError(key, given, "one of " + ", ".join(limits["choices"]))
        return str(given)
    low, high, unit = limits["low"], limits["high"], limits["unit"]
    dimension = "" if unit == "1" else f" {unit}"
    start = f"above {low:g} and up to" if limits["above"] else f"{low:g} to"
    allowed = f"a number, {start} {high:g}{dimension}"
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise SampleError(key, given, allowed)
    value = float(given)
    if not math.isfinite(value) or not low <= value <= high or (limits["above"] and value == low):
        raise SampleError(key, given, allowed)
    return value


def _check_stripe(p: SampleParameters) -> None:
    """Refuse what each key allows but amplification along a stripe does not."""
    from sim_drivers.sample.occupancy import mean_excitons, multi_exciton_share

    if p.gain_fluence_uJ_cm2 <= p.threshold_uJ_cm2:
        raise SampleError(
            "gain_fluence_uJ_cm2",
            p.gain_fluence_uJ_cm2,
            f"a fluence above the threshold of {p.threshold_uJ_cm2:g} uJ/cm^2",
        )
    at_threshold, at_reference, at_most = (
        float(multi_exciton_share(mean_excitons(fluence, p.cross_section_cm2)))
        for fluence in (p.threshold_uJ_cm2, p.gain_fluence_uJ_cm2, 4.0 * p.threshold_uJ_cm2)
    )
    if at_reference - at_threshold < SMALLEST_INVERSION_RISE:
        too_near = at_most - at_threshold >= SMALLEST_INVERSION_RISE
        key = "gain_fluence_uJ_cm2" if too_near else "cross_section_cm2"
        raise SampleError(
            key,
            getattr(p, key),
            "one that raises the share of dots with two excitons by at least "
            f"{SMALLEST_INVERSION_RISE:g} between threshold_uJ_cm2 and gain_fluence_uJ_cm2 "
            f"(here from {at_threshold:.3g} to {at_reference:.3g})",
        )
    growth = p.gain_per_cm * p.saturation_length_cm
    if not LEAST_GROWTH <= growth <= MOST_GROWTH:
        raise SampleError(
            "saturation_length_cm",
            p.saturation_length_cm,
            f"{LEAST_GROWTH / p.gain_per_cm:.3g} to {MOST_GROWTH / p.gain_per_cm:.3g} cm, so that "
            f"gain_per_cm x saturation_length_cm is {LEAST_GROWTH:g} to {MOST_GROWTH:g}",
        )
    if p.ase_fwhm_nm >= p.spontaneous_fwhm_nm or p.ase_fwhm_nm < 0.08 * p.spontaneous_fwhm_nm:
        raise SampleError(
            "ase_fwhm_nm",
            p.ase_fwhm_nm,
            f"from 0.08 of spontaneous_fwhm_nm to below it, here {0.08 * p.spontaneous_fwhm_nm:g}"
            f" to {p.spontaneous_fwhm_nm:g} nm",
        )
    if abs(p.ase_peak_nm - p.spontaneous_peak_nm) > p.spontaneous_fwhm_nm:
        raise SampleError(
            "ase_peak_nm",
            p.ase_peak_nm,
            "within one spontaneous_fwhm_nm of spontaneous_peak_nm, here "
            f"{p.spontaneous_peak_nm - p.spontaneous_fwhm_nm:g} to "
            f"{p.spontaneous_peak_nm + p.spontaneous_fwhm_nm:g} nm",
        )
    _check_cascade(p)


def _check_cascade(p: SampleParameters) -> None:
    """Refuse lifetimes that exclude each other."""
    radiative_limit_ps = 1e3 * p.exciton_lifetime_ns / p.biexciton_radiative_factor
    if p.auger_lifetime_ps >= min(radiative_limit_ps, 1e3 * p.exciton_lifetime_ns):
        raise SampleError(
            "auger_lifetime_ps",
            p.auger_lifetime_ps,
            "shorter than exciton_lifetime_ns / biexciton_radiative_factor, here "
            f"{radiative_limit_ps:g} ps, and than the exciton lifetime: two excitons cannot "
            "live longer than their own emission lets them",
        )


def _check_capillary(p: SampleParameters) -> None:
    """Refuse a cavity with fewer than two modes in its gain, which has no mode spacing."""
    gain_nm = CAVITY_ENVELOPE_WIDTHS * p.ase_fwhm_nm
    least_um = 1e-3 * p.ase_peak_nm**2 / (math.pi * p.cavity_group_index * gain_nm)
    if p.cavity_diameter_um < least_um:
        raise SampleError(
            "cavity_diameter_um",
            p.cavity_diameter_um,
            f"at least {least_um:.3g} um, so that two modes fit into the gain of {gain_nm:.3g} nm",
        )


_CHECKS: Mapping[str, Callable[[SampleParameters], None]] = MappingProxyType(
    {
        "stripe": _check_stripe,
        "cuvette": _check_cascade,
        "capillary": _check_capillary,
    }
)
