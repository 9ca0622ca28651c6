"""What a plan is said to ask of the sample at most is no less than what it then takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instruments import config
from procedures.running.runfile import RunFile
from procedures.session import Description, forecast, measure

PLANS: dict[str, dict[str, Any]] = {
    "power-sweep": {"points": 10},
    "stripe-length": {"points": 6, "low_points": 4, "beside_points": 2},
    "ageing": {"days": [0.0, 2.0], "points": 6},
    "photostability": {"shots": 20_000},
    "biexciton": {"points": 5},
    "capillary-lasing": {"points": 6},
    "lifetime": {"repeats": 1, "integration_s": 5.0},
    "auger": {"points": 2, "integration_s": 5.0},
    "per-shot": {"shots": 5_000},
}


@pytest.mark.parametrize("name", PLANS)
def test_a_forecast_is_kept_by_what_is_taken(name: str, tmp_path: Path) -> None:
    bench = config.parse("[simulation]\nseed = 3\n", "bench.toml")
    said = forecast(name, PLANS[name], bench, lambda _line: None)
    outcome = measure(
        name, PLANS[name], bench, Description("film"), tmp_path, lambda _line: None, quiet=True
    )
    assert outcome.error is None
    with RunFile(outcome.path) as run:
        shots = float(run.records("shots_on_sample")[-1])
        dose = float(run.records("dose")[-1])
    assert shots <= said["shots"] < 4.0 * shots
    # What the pump drifts and scatters by is not foreseen.
    assert dose <= 1.05 * said["dose_J_cm2"] and said["dose_J_cm2"] < 4.0 * dose
