"""Numbers and units as the operator reads them."""

from __future__ import annotations

import math
import re

from procedures.analysis.results import Result, format_result

_UNITS = (
    ("uJ/cm^2", "µJ/cm²"),
    ("mJ/cm^2", "mJ/cm²"),
    ("J/cm^2", "J/cm²"),
    ("cm^2", "cm²"),
    ("nm^2", "nm²"),
    ("degC", "°C"),
)
ROLE_NAMES = {
    "shutter": "Shutter",
    "attenuator": "Attenuator",
    "stripe": "Stripe slit",
    "monochromator": "Monochromator",
    "camera": "Camera",
    "streak": "Streak camera",
    "cryostat": "Cryostat",
    "energy_meter": "Energy meter",
    "pulse_gate": "Pulse gate",
}


def unit(text: str | None) -> str:
    """Return a unit as it is printed: µJ/cm² for uJ/cm^2; "" for 1."""
    if text in (None, "", "1"):
        return ""
    for plain, printed in _UNITS:
        if text == plain:
            return printed
    return re.sub(r"^u(?=[A-Za-z])", "µ", str(text))


def duration(seconds: float) -> str:
    """Return a time span: 40 s, 6 min, 2 min 10 s, 4 h 27 min, 3 d 2 h."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = max(round(seconds), 0)
    if whole < 100:
        return f"{whole} s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if whole < 6000:
        return f"{round(whole / 60)} min"
    if whole < 48 * 3600:
        hours, rest = divmod(round(whole / 60), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(round(whole / 3600), 24)
    return f"{days} d {hours} h"


def count(number: float) -> str:
    """Return a count: 950, 24 000, 1.60 × 10⁷."""
    if not math.isfinite(number):
        return "unknown"
    if abs(number) < 1000:
        return f"{number:.0f}"
    if abs(number) < 1e6:
        return f"{number:,.0f}".replace(",", "\u2009")
    power = math.floor(math.log10(abs(number)))
    raised = str(power).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{number / 10.0**power:.2f} × 10{raised}"


_PREFIXES = ((1e-15, "f"), (1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""))


def prefixed(value: float, base: str, digits: int = 3) -> str:
    """Return a value with an SI prefix: 171 nJ, 1.5 kHz."""
    if not math.isfinite(value):
        return f"– {base}"
    if value == 0.0:
        return f"0 {base}"
    known = (*_PREFIXES, (1e3, "k"), (1e6, "M"))
    factor, prefix = next((one for one in known if abs(value) < 999.5 * one[0]), known[-1])
    return f"{significant(value / factor, digits)} {prefix}{base}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without a power where it can be."""
    if not math.isfinite(value):
        return "–"
    if value == 0.0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if -4 <= power < 6:
        return f"{value:.{max(digits - 1 - power, 0)}f}"
    return f"{value:.{digits - 1}e}"


def plain(value: float) -> str:
    """Return a number as a person types it: 57, 0.285, 1.6e7."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 1e6:
        mantissa, _, power = f"{value:.6e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:.6g}"


def result(one: Result) -> str:
    """Return a result as it is printed: 22.1 ± 0.4 µJ/cm²."""
    text = format_result(one).replace("+-", "±")
    for plain_unit, printed in (("uJ/", "µJ/"), ("cm^2", "cm²"), (" 1/", " /"), (" um", " µm")):
        text = text.replace(plain_unit, printed)
    return text


def result_name(name: str) -> str:
    """Return the name of a result as words: threshold for threshold_uJ_cm2."""
    for tail in ("_uJ_cm2", "_mJ_cm2", "_per_cm", "_per_day", "_cm2", "_nm", "_meV", "_eV", "_ps",
                 "_ns", "_um", "_cm", "_K"):  # fmt: skip
        if name.endswith(tail):
            kept = {"_per_cm": "", "_per_day": " per day"}.get(tail, "")
            name = name[: -len(tail)] + kept
            break
    words = name.replace("_", " ").replace("fwhm", "width").replace("ase ", "stimulated ")
    return words[:1].upper() + words[1:]


def age(seconds: float) -> str:
    """Return how long ago: just now, 12 s ago."""
    return "just now" if seconds < 2.0 else f"{duration(seconds)} ago"


def ev(wavelength_nm: float) -> float:
    """Return the photon energy (eV) of a wavelength (nm)."""
    return 1239.841984 / wavelength_nm if wavelength_nm else math.nan
