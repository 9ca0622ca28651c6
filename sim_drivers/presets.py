"""The sample presets, a line about each: for lists, without loading what renders them."""

from __future__ import annotations

from sim_drivers.sample.parameters import PRESETS


def presets() -> dict[str, str]:
    """Return the sample presets and a line about each."""
    return {name: _describe(name) for name in PRESETS}


def _describe(name: str) -> str:
    p = PRESETS[name]
    if name.endswith("-solution"):
        return (
            f"{p.spontaneous_peak_nm:g} nm, exciton {p.exciton_lifetime_ns:g} ns, two excitons "
            f"{p.auger_lifetime_ps:g} ps, cross-section {p.cross_section_cm2:g} cm2"
        )
    if name.endswith("-capillary"):
        return (
            f"{p.cavity_diameter_um:g} um inside, modes about {p.ase_peak_nm:g} nm, "
            f"threshold {p.cavity_threshold_mJ_cm2:g} mJ/cm2 (ns pulses)"
        )
    return (
        f"spontaneous {p.spontaneous_peak_nm:g} nm, stimulated {p.ase_peak_nm:g} nm, "
        f"threshold {p.threshold_uJ_cm2:g} uJ/cm2"
    )
