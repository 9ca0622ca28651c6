"""From a capillary-lasing run file to its numbers."""

from __future__ import annotations

from procedures.analysis.capillary_lasing import analyze_capillary_lasing
from procedures.analysis.results import Analysis
from procedures.analysis.spot_records import SpotData
from procedures.evaluations.spot import gather_spot
from procedures.running.runfile import RunFile


def evaluate_capillary_lasing(run: RunFile) -> tuple[Analysis, SpotData]:
    """Gather the records, and the diameter that was given, and analyse them."""
    data = gather_spot(run)
    parameters = run.parameters
    analysis = analyze_capillary_lasing(
        data,
        float(parameters["cavity_diameter_um"]),
        float(parameters.get("cavity_diameter_rel_unc", 0.0)),
    )
    return analysis, data
