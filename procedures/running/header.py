"""What a run file is told: at queue time, and when the run starts.

Values only, cheap to import; `layout` knows where each goes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from procedures.columns import Axis, Column, Quantity

STATES = ("queued", "running", "paused", "finished", "aborted", "failed")
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class RunHeader:
    """Known when the run is queued. `created_s`: bench time, seconds since 1970.

    draw: tells its noise on a simulated bench from that of other runs.
    """

    measurement: str
    title: str
    procedure_class: str
    parameters: Mapping[str, Quantity]
    plan: Sequence[Mapping[str, float]]
    bench_toml: str = ""
    bench_file: str = ""
    sample: str = ""
    spot: str = ""
    operator: str = ""
    created_s: float = 0.0
    draw: int = 0


@dataclass(frozen=True)
class RunStart:
    """Known when the bench is ready.

    signal and plot_axes name the default plot (record axis first, then an Axis); facts are numbers
    and words about pump and bench; instruments: role -> {"identity", "settings"}; calibrations:
    role -> name, date, sha256 and values of the calibration file in use; state_names: what the
    opaque bench state of each record holds.
    """

    start_s: float
    columns: Sequence[Column]
    axes: Sequence[Axis] = ()
    signal: str = ""
    plot_axes: Sequence[str] = ()
    spectroscopy: str | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)
    instruments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibrations: Mapping[str, Mapping[str, float | str]] = field(default_factory=dict)
    decisions: Mapping[str, float | str] = field(default_factory=dict)
    state_names: Sequence[str] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""


def draw_of(sample: str, spot: str, number: int = 0) -> int:
    """Return the draw of noise of a run: the same for the same sample, spot and number.

    So the runs of a night or a queue differ, a resumed run goes on with its own, and a command that
    is given twice gives the same twice. number: of the step, or in the queue.
    """
    if not sample and not spot and not number:
        return 0
    return zlib.crc32(f"{sample}/{spot}/{number}".encode())
