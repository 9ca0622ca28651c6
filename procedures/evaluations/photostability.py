"""From a photostability run file to its numbers: gathers records and parameters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from procedures.analysis.photostability import (
    EXPOSURE,
    PhotostabilityData,
    analyze_photostability,
)
from procedures.analysis.results import Analysis
from procedures.running.runfile import RunFile

_WINDOWS = ("band", "peak", "wing")


def evaluate_photostability(
    run: RunFile, extrapolate: bool = False
) -> tuple[Analysis, PhotostabilityData]:
    """Gather the records and analyse them; `extrapolate` beyond the last shot if asked for."""
    leg = np.asarray(run.records("leg"))
    data = PhotostabilityData(
        leg=leg,
        exposed_shots=np.asarray(run.records("exposed_shots"), dtype=np.float64),
        dose_J_cm2=np.asarray(run.records("dose")),
        counts=np.column_stack([run.records(f"{name}_counts") for name in _WINDOWS]),
        background=_dark(run, len(leg)),
        exposure_s=np.asarray(run.records("exposure")),
        accumulations=np.asarray(run.records("accumulations")),
        shots=np.asarray(run.records("shots")),
        fluence_uJ_cm2=np.asarray(run.records("fluence")),
        fluence_errors_uJ_cm2=np.asarray(run.records("fluence_errors")),
        measured=np.asarray(run.records("fluence_measured")).astype(bool),
        saturated=np.asarray(run.records("saturated")).astype(bool),
        nominal_fluence_uJ_cm2=float(run.parameters["fluence_uJ_cm2"]),
        fluence_rel_unc=float(run.facts.get("fluence_rel_unc", 0.0)),
        planned_shots=float(run.parameters["shots"]),
        extrapolate=extrapolate,
    )
    analysis = analyze_photostability(data)
    _add_first_spectrum(analysis, run, data)
    return analysis, data


def _add_first_spectrum(analysis: Analysis, run: RunFile, data: PhotostabilityData) -> None:
    """Add the first spectrum of the exposure that was kept, over its height, to the curves."""
    kept, dark = run.rows_of("spectra"), run.rows_of("background")
    of_exposure = np.flatnonzero(data.leg[kept] == EXPOSURE)
    if not len(of_exposure):
        return
    place = int(of_exposure[0])
    record = int(kept[place])
    spectrum = np.asarray(run.records("spectra")[place], dtype=np.float64)
    alike = (data.exposure_s[dark] == data.exposure_s[record]) & (
        data.accumulations[dark] == data.accumulations[record]
    )
    if alike.any():
        spectrum -= run.records("background")[int(np.flatnonzero(alike)[0])]
    else:  # no dark frame of that exposure: its darkest tenth is what it stands on
        spectrum -= np.quantile(spectrum, 0.1)
    height = float(spectrum.max())
    if height > 0.0:
        analysis.curves["first_spectrum_wavelength_nm"] = np.asarray(run.axis("wavelength"))
        analysis.curves["first_spectrum"] = spectrum / height


def _dark(run: RunFile, records: int) -> npt.NDArray[np.float64]:
    """Return the dark counts of each window, NaN during the exposure, (N, 3)."""
    wavelength_nm, decisions = run.axis("wavelength"), run.decisions
    found = np.full((records, len(_WINDOWS)), np.nan)
    taken, background = run.rows_of("background"), run.records("background")
    for column, name in enumerate(_WINDOWS):
        inside = wavelength_nm >= float(decisions[f"{name}_min_nm"])
        inside &= wavelength_nm <= float(decisions[f"{name}_max_nm"])
        found[taken, column] = background[:, inside].sum(axis=1, dtype=np.int64)
    return found
