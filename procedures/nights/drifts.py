"""What drifted over a night, from its records: the laser's energy, and temperatures.

For the report. The laser's energy at each record is the one measured at the sample over what the
attenuator let through and the bench file's full pulse energy: 1 where nothing has drifted. Stops at
numbers and one picture; what a single run says of itself is its analysis's business.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instruments.errors import BenchError
from procedures.nights.live import DRAWING
from procedures.running.runfile import RunFile

_FEWEST, _SHORTEST_H = 8, 0.25
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#666666")
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """One quantity against time: (n,) seconds since 1970, (n,) values, (n,) number of the step."""

    name: str
    unit: str
    time_s: FloatArray
    value: FloatArray
    step: npt.NDArray[np.intp]

    def rate(self) -> tuple[float, float] | None:
        """Return the drift an hour and its standard error; None where there is too little.

        A straight line through the means of the steps where there are three or more (records of
        one run are not independent), else through all records.
        """
        hours = (self.time_s - self.time_s[0]) / 3600.0
        value = self.value
        steps = np.unique(self.step)
        if len(steps) >= 3:
            hours = np.array([hours[self.step == one].mean() for one in steps])
            value = np.array([value[self.step == one].mean() for one in steps])
        if len(self.value) < _FEWEST or np.ptp(hours) < _SHORTEST_H:
            return None
        middle = hours - hours.mean()
        spread = float(middle @ middle)
        slope = float(middle @ value) / spread
        left = value - value.mean() - slope * middle
        error = float(left @ left) / max(len(value) - 2, 1) / spread
        return slope, error**0.5


def find_drifts(files: Iterable[tuple[int, Path]]) -> list[Drift]:
    """Return what the records of a night tell, from (number of the step, run file)."""
    found: dict[tuple[str, str], list[tuple[FloatArray, FloatArray, int]]] = {}
    for step, path in files:
        try:
            with RunFile(path) as run:
                for name, unit, time_s, value in _of_run(run):
                    good = np.isfinite(time_s) & np.isfinite(value)
                    if good.any():
                        found.setdefault((name, unit), []).append((time_s[good], value[good], step))
        except (BenchError, OSError):
            continue  # the report says elsewhere that this file cannot be read
    drifts = []
    for (name, unit), parts in found.items():
        moments = np.concatenate([part[0] for part in parts])
        order = np.argsort(moments, kind="stable")
        values = np.concatenate([part[1] for part in parts])
        numbers = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
        drifts.append(Drift(name, unit, moments[order], values[order], numbers[order]))
    return drifts


def _of_run(run: RunFile) -> list[tuple[str, str, FloatArray, FloatArray]]:
    columns = set(run.columns)
    if not run.rows_complete or "time" not in columns:
        return []
    time_s = np.asarray(run.records("time"), dtype=float)
    found = []
    if {"pulse_energy", "attenuator_transmission", "fluence_measured"} <= columns:
        full_J = float(run.facts.get("full_pulse_energy_J", 0.0) or 0.0)
        through = np.asarray(run.records("attenuator_transmission"), dtype=float)
        energy_J = np.asarray(run.records("pulse_energy"), dtype=float)
        measured = np.asarray(run.records("fluence_measured")).astype(bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(measured, energy_J / (through * full_J), np.nan)
        found.append(("laser energy over its nominal value", "1", time_s, ratio))
    if "temperature" in columns:
        kelvin = np.asarray(run.records("temperature"), dtype=float)
        found.append(("temperature of the sample", "K", time_s, kelvin))
    return found


def draw_drifts(drifts: list[Drift], titles: dict[int, str]) -> bytes:
    """Return a picture (SVG) of the drifts, one above the other; b"" if there are none."""
    if not drifts:
        return b""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    with DRAWING, matplotlib.rc_context({"font.size": 12, "svg.fonttype": "path"}):
        figure = Figure(figsize=(11.0, 1.0 + 2.6 * len(drifts)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = np.atleast_1d(np.asarray(figure.subplots(len(drifts), 1, sharex=True)))
        for axes, drift in zip(panels, drifts, strict=True):
            _draw(axes, drift, titles)
        axis: Any = panels[-1].xaxis
        make_formatter: Any = ConciseDateFormatter
        axis.set_major_formatter(make_formatter(axis.get_major_locator()))
        panels[-1].set_xlabel("time")
        out = io.BytesIO()
        figure.savefig(out, format="svg")
    return out.getvalue()


def _draw(axes: Any, drift: Drift, titles: dict[int, str]) -> None:
    when = np.array([datetime.fromtimestamp(moment) for moment in drift.time_s])
    steps = np.unique(drift.step)
    for index, step in enumerate(steps):
        of = drift.step == step
        label = titles.get(int(step), str(step)) if len(steps) <= len(_COLOURS) else None
        colour = _COLOURS[index % len(_COLOURS)]
        axes.plot(when[of], drift.value[of], "o", markersize=4, color=colour, label=label)
    unit = f" ({drift.unit})" if drift.unit != "1" else ""
    axes.set_title(f"{drift.name}{unit}", fontsize=12)
    axes.grid(alpha=0.3)
    if len(steps) <= len(_COLOURS):
        axes.legend(fontsize=9, loc="best")
