"""The true results by name: those of DESIGN, for each preset, and from the sample alone."""

from __future__ import annotations

import numpy as np
import pytest

from sim_drivers.sample import PRESETS, resolve
from sim_drivers.sample.results import Circumstances, true_results

NAMES = {
    "power-sweep": "threshold_uJ_cm2 spontaneous_peak_nm spontaneous_fwhm_nm ase_peak_nm "
    "ase_fwhm_nm slope_below slope_above",
    "stripe-length": "gain_per_cm saturation_length_cm depletion_time_ps slit_zero_um",
    "photostability": "retained_fraction shots shots_to_90_percent",
    "ageing": "threshold_rise_per_day threshold_uJ_cm2 day",
    "biexciton": "exciton_slope biexciton_slope binding_energy_meV exciton_peak_eV "
    "biexciton_peak_eV",
    "lifetime": "lifetime_ns",
    "auger": "auger_lifetime_ps exciton_lifetime_ns",
    "cross-section": "cross_section_cm2",
    "streak-series": "fluence_uJ_cm2 early_peak_nm late_peak_nm redshift_meV decay_time_ps",
    "capillary-lasing": "threshold_mJ_cm2 mode_spacing_nm group_index",
}


@pytest.mark.parametrize("measurement", NAMES)
def test_every_result_has_a_truth(measurement: str) -> None:
    found = true_results(measurement, PRESETS["CsPbBr3-9nm"])
    assert set(found) == set(NAMES[measurement].split())
    for value in found.values():
        assert np.all(np.isfinite(value))


def test_truths_follow_the_sample_and_the_circumstances() -> None:
    p = resolve("CsPbBr3-9nm", {"ageing_per_day": 0.01, "retained_fraction": 0.81})
    aged = true_results("ageing", p, Circumstances(days=(0.0, 10.0)))
    assert aged["threshold_uJ_cm2"] == pytest.approx([22.0, 24.2])
    worn = true_results("photostability", p)
    # ln(0.81) is twice ln(0.9), and bleaching nearly exponential.
    assert worn["shots_to_90_percent"] == pytest.approx(0.5 * 1.6e7, rel=0.02)
    slit = true_results("stripe-length", p, Circumstances(slit_zero_um=12.0))
    assert slit["slit_zero_um"] == 12.0 and slit["depletion_time_ps"] == pytest.approx(
        4.9, abs=0.01
    )
    shifted = true_results("streak-series", p, Circumstances(fluences_uJ_cm2=(11.5,)))
    assert shifted["redshift_meV"] == pytest.approx([25.6], abs=0.2)
    one, other = (
        true_results("power-sweep", p, Circumstances(fluences_uJ_cm2=points))["slope_above"]
        for points in (None, (1.0, 2.0, 23.5, 24.0))
    )
    assert one != other


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="power-sweep"):
        true_results("power-swep", PRESETS["CsPbBr3-9nm"])
