"""The response of a streak camera in one sweep, from a record of scattered pump light.

For the analyses of time-resolved light. Arrival, shape and width of what a prompt pulse looks like;
shape on parts of rows, since decays begin within a row. Stops at the pump's colour: what light of
the sample's sees is asked in `own_colour.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline, make_interp_spline

from procedures.analysis.results import FloatArray
from procedures.analysis.streak_image import bin_edges, lit_columns

LEAST_RESPONSE_EVENTS = 300.0

_RESPONSE_REACH = 3.0  # widths to either side
_PARTS = 4  # of a row, in which the response is told
_FINE_PARTS = 8  # of such a part


@dataclass(frozen=True)
class Response:
    """The response of the camera in one sweep.

    arrival_ps: the centroid, in the time of the rows. offsets_ps, weights: (J,) the response on
    parts of rows about it, sum 1. fwhm_ps: its width. events: in the record.
    """

    arrival_ps: float
    offsets_ps: FloatArray
    weights: FloatArray
    fwhm_ps: float
    events: float

    @property
    def dark_until_ps(self) -> float:
        """The time before which no light of a pulse is seen."""
        return float(self.arrival_ps + self.offsets_ps[0] - 0.5 * self.fwhm_ps)

    def cumulative(self, time_ps: FloatArray) -> FloatArray:
        """Return the share of a prompt pulse that is seen before times about the arrival."""
        step = float(self.offsets_ps[1] - self.offsets_ps[0])
        edges = np.append(self.offsets_ps - 0.5 * step, self.offsets_ps[-1] + 0.5 * step)
        total = np.concatenate([[0.0], np.cumsum(self.weights)])
        return np.asarray(np.interp(time_ps, edges, total))

    def finer(self) -> Response:
        """Return the same on parts that are small against any decay that can be told."""
        step = float(self.offsets_ps[1] - self.offsets_ps[0])
        edges = np.append(self.offsets_ps - 0.5 * step, self.offsets_ps[-1] + 0.5 * step)
        total = CubicSpline(edges, np.concatenate([[0.0], np.cumsum(self.weights)]))
        parts = np.linspace(edges[0], edges[-1], _FINE_PARTS * len(self.weights) + 1)
        return replace(
            self, offsets_ps=0.5 * (parts[1:] + parts[:-1]), weights=np.diff(total(parts))
        )

    def density(self, time_ps: FloatArray) -> FloatArray:
        """Return what is seen of a prompt pulse at times about the arrival, per ps."""
        step = float(self.offsets_ps[1] - self.offsets_ps[0])
        curve = CubicSpline(self.offsets_ps, self.weights / step)
        inside = (time_ps >= self.offsets_ps[0]) & (time_ps <= self.offsets_ps[-1])
        return np.where(inside, curve(np.clip(time_ps, *self.offsets_ps[[0, -1]])), 0.0)


def measure_response(
    time_ps: FloatArray, net: npt.NDArray[np.float32], event_counts: float
) -> Response | None:
    """Return the response from a record of scattered pump light, (T, W); None if too faint."""
    columns = lit_columns(net, 0.05)
    light = net[:, columns].sum(axis=1, dtype=np.float64) / event_counts
    top = int(np.argmax(light))
    half = light > 0.5 * (light[top] - np.median(light)) + np.median(light)
    run = _around(half, top)
    edges = bin_edges(time_ps)
    rough = max(float(edges[run.stop] - edges[run.start]), float(edges[top + 1] - edges[top]))
    middle = 0.5 * float(edges[run.stop] + edges[run.start])
    near = np.abs(time_ps - middle) <= _RESPONSE_REACH * rough
    beyond = np.abs(time_ps - middle) > 1.5 * _RESPONSE_REACH * rough
    if near.sum() < 4 or beyond.sum() < 8:
        return None
    light = light - float(light[beyond].mean())
    noise = float(np.sqrt(near.sum() * np.mean(light[beyond] ** 2)))
    events = float(light[near].sum())
    if events < max(LEAST_RESPONSE_EVENTS, 10.0 * noise):
        return None
    where = np.flatnonzero(near)
    part = slice(int(where[0]), int(where[-1]) + 1)
    share = light[part] / events
    rows = edges[part.start : part.stop + 1]
    # At the rows' edges the sum is known; the width of two to three rows allows a curve between.
    total = make_interp_spline(rows, np.concatenate([[0.0], np.cumsum(share)]), k=5)
    fine = np.linspace(rows[0], rows[-1], _PARTS * (len(rows) - 1) + 1)
    weights = np.diff(total(fine))
    centre = 0.5 * (fine[1:] + fine[:-1])
    arrival = float(weights @ centre)
    density = total.derivative()(centre)
    top_fine = int(np.argmax(density))
    level = 0.5 * float(density[top_fine])
    run = _around(density > level, top_fine)
    left = _cross(density, centre, run.start - 1, level)
    right = _cross(density, centre, run.stop - 1, level)
    return Response(arrival, centre - arrival, weights, right - left, events)


def _cross(density: FloatArray, centre: FloatArray, at: int, level: float) -> float:
    """Return where a density passes a level between a place and the next."""
    at = int(np.clip(at, 0, len(centre) - 2))
    low, high = density[at], density[at + 1]
    share = float(np.clip((level - low) / (high - low), 0.0, 1.0)) if high != low else 0.5
    return float(centre[at] + share * (centre[at + 1] - centre[at]))


def _around(mask: npt.NDArray[np.bool_], place: int) -> slice:
    below = np.flatnonzero(~mask[:place])
    above = np.flatnonzero(~mask[place:])
    left = int(below[-1]) + 1 if len(below) else 0
    right = place + int(above[0]) if len(above) else len(mask)
    return slice(left, right)
