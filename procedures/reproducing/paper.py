"""What the paper published, as numbers: for the report that holds a bench's results against it.

Y. Wang, X. Li, J. Song, L. Xiao, H. Zeng, H. Sun, "All-Inorganic Colloidal Perovskite Quantum Dots:
A New Class of Lasing Materials with Favorable Characteristics", Adv. Mater. 2015,
DOI 10.1002/adma.201503573. Analysis never sees this table. The quantum yields (Figure 4a) need an
integrating sphere, which the bench does not have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CITATION = (
    "Y. Wang, X. Li, J. Song, L. Xiao, H. Zeng, H. Sun, Adv. Mater. 2015, "
    "DOI 10.1002/adma.201503573"
)


@dataclass(frozen=True)
class Published:
    """One statement of the paper, and when a result agrees with it.

    Attributes:
        figure: of the paper.
        run: key of the run that finds it again, see `chapters`.
        result: name of the result there; `place` in it, where it is one number a fluence.
        what: the quantity, for a reader.
        says: as the paper puts it.
        low, high: a result in between agrees; so does one within its own stderr of `value`.
        value: the published number, None where the paper says it in words.
        allowed: low to high, for a reader.
    """

    figure: str
    run: str
    result: str
    what: str
    says: str
    low: float
    high: float
    value: float | None = None
    allowed: str = ""
    place: int | None = None


def _near(
    figure: str,
    run: str,
    result: str,
    what: str,
    says: str,
    value: float,
    *,
    within: float = 0.0,
    share: float = 0.10,
    place: int | None = None,
) -> Published:
    """Return a published number, allowed `within` either way, or else by a share of it."""
    half = within or share * abs(value)
    unit = " ".join(says.split()[1:])
    allowed = f"± {within:g} {unit}".rstrip() if within else f"± {100.0 * share:g} %"
    return Published(
        figure, run, result, what, says, value - half, value + half, value, allowed, place
    )


def _words(
    figure: str,
    run: str,
    result: str,
    what: str,
    says: str,
    low: float,
    high: float,
    allowed: str,
    place: int | None = None,
) -> Published:
    """Return a statement in words, and the range that bears it out."""
    return Published(figure, run, result, what, says, low, high, None, allowed, place)


# A wavelength is held to 2 nm: ten per cent of it would be five times the shift that matters.
_NM = 2.0
_LIFETIME, _SLOPE, _BINDING_MEV, _RETAINED = 0.05, 0.05, 3.0, 0.01
_DAYS = 21.0

PUBLISHED: tuple[Published, ...] = (
    _near("2a", "sweep-9nm", "spontaneous_peak_nm", "spontaneous peak", "514.5 nm", 514.5,
          within=_NM),
    _near("2a", "sweep-9nm", "spontaneous_fwhm_nm", "spontaneous width", "23 nm", 23.0),
    _near("2a", "sweep-9nm", "ase_peak_nm", "stimulated peak", "524.5 nm", 524.5, within=_NM),
    _near("2a", "sweep-9nm", "ase_fwhm_nm", "stimulated width", "5 nm", 5.0),
    _near("2b", "sweep-9nm", "threshold_uJ_cm2", "threshold", "22 µJ/cm²", 22.0),
    _words("2b", "sweep-9nm", "slope_above", "growth above threshold (log-log slope)",
           "super-linear", 1.0, math.inf, "above 1"),
    _near("2c", "photostability", "retained_fraction", "stimulated intensity left", "0.90", 0.90,
          within=_RETAINED),
    _near("2c", "photostability", "shots", "after so many shots", "1.6e7", 1.6e7),
    _words("S3a", "ageing", "threshold_rise_per_day", "rise of the threshold, a day",
           "only slightly, in 3 weeks", 0.0, 0.10 / _DAYS, "0 to 10 % in 3 weeks"),
    _near("S3b", "stripe", "gain_per_cm", "modal gain", "98 /cm", 98.0),
    _near("S3b", "stripe", "saturation_length_cm", "saturation length", "0.07 cm", 0.07),
    _near("S3b", "stripe", "depletion_time_ps", "gain depletion time", "5 ps", 5.0),
    _near("3c", "biexciton", "exciton_slope", "slope of band A (exciton)", "1.01", 1.01,
          within=_SLOPE),
    _near("3c", "biexciton", "biexciton_slope", "slope of band B (biexciton)", "1.99", 1.99,
          within=_SLOPE),
    _near("3b", "biexciton", "binding_energy_meV", "biexciton binding energy", "50 meV", 50.0,
          within=_BINDING_MEV),
    _near("4a", "lifetime-solution", "lifetime_ns", "lifetime, solution", "3.6 ns", 3.6,
          share=_LIFETIME),
    _near("4a", "lifetime-film", "lifetime_ns", "lifetime, film", "3.1 ns", 3.1, share=_LIFETIME),
    _near("4b", "auger", "auger_lifetime_ps", "Auger lifetime", "105 ps", 105.0, share=_LIFETIME),
    _near("4c", "cross-section", "cross_section_cm2", "absorption cross-section at 400 nm",
          "2.5e-14 cm²", 2.5e-14),
    _words("5a", "streak", "redshift_meV", "red shift of the first 50 ps, 0.8 µJ/cm²",
           "nearly identical", -10.0, 10.0, "within 10 meV of 0", 0),
    _words("5d", "streak", "redshift_meV", "red shift of the first 50 ps, 11.5 µJ/cm²",
           "red shift", 0.0, math.inf, "above 0", 1),
    _near("5g", "streak", "early_peak_nm", "peak of the first 50 ps, 25.0 µJ/cm²",
          "524.5 nm", 524.5, within=_NM, place=2),
    _words("5i", "streak", "decay_time_ps", "decay of the stimulated emission, 25.0 µJ/cm²",
           "faster than 50 ps", 0.0, 50.0, "below 50 ps", 2),
    _near("6a", "sweep-5.5nm", "spontaneous_peak_nm", "spontaneous peak, 5.5 nm dots", "490 nm",
          490.0, within=_NM),
    _near("6a", "sweep-5.5nm", "ase_peak_nm", "stimulated peak, 5.5 nm dots", "502 nm", 502.0,
          within=_NM),
    _words("6b", "sweep-blue", "ase_peak_nm", "stimulated peak, CsPb(Br/Cl)₃", "blue", 440.0,
           490.0, "440 to 490 nm"),
    _words("6c", "sweep-red", "ase_peak_nm", "stimulated peak, CsPb(I/Br)₃", "red", 620.0, 700.0,
           "620 to 700 nm"),
    _words("6d", "capillary", "mode_spacing_nm", "spacing of the modes", "evenly spaced", 0.0,
           math.inf, "above 0"),
    _words("6d", "capillary", "threshold_mJ_cm2", "lasing threshold", "super-linear growth", 0.0,
           math.inf, "above 0"),
    _words("S7", "capillary", "group_index", "group index by the whispering-gallery model",
           "modes assigned", 1.3, 2.5, "1.3 to 2.5"),
)  # fmt: skip
