"""From a per-shot run file to its numbers: gathers the blocks."""

from __future__ import annotations

import numpy as np

from procedures.analysis.per_shot import PerShotData, analyze_per_shot
from procedures.analysis.results import Analysis
from procedures.running.runfile import RunFile


def evaluate_per_shot(run: RunFile) -> tuple[Analysis, PerShotData]:
    """Gather energies and band intensities, 8 bytes a shot, and analyse them; no spectra."""
    data = PerShotData(
        leg=np.asarray(run.records("leg")),
        energies_J=np.asarray(run.records("pulse_energies")),
        band_counts=np.asarray(run.records("band_counts")),
        saturated=np.asarray(run.records("saturated")),
        fluence_uJ_cm2=np.asarray(run.records("fluence")),
        fluence_errors_uJ_cm2=np.asarray(run.records("fluence_errors")),
        planned_shots=int(run.parameters["shots"]),
    )
    return analyze_per_shot(data), data
