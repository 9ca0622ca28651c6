"""From a biexciton run file to its numbers."""

from __future__ import annotations

from procedures.analysis.biexciton import analyze_biexciton
from procedures.analysis.results import Analysis
from procedures.analysis.spot_records import SpotData
from procedures.evaluations.spot import gather_spot
from procedures.running.runfile import RunFile


def evaluate_biexciton(run: RunFile) -> tuple[Analysis, SpotData]:
    """Gather the records and analyse them."""
    data = gather_spot(run)
    return analyze_biexciton(data), data
