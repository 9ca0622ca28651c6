"""Spectrograms of a streak camera: band, time course and gated spectrum, in events with noise.

For the analyses of time-resolved measurements. Counts become events by the measured ratio of their
variance to their mean (one for photon counting): events scatter as Poisson numbers do, on a floor
that the dark rows before the pulse tell. Stops at curves; what they mean is asked elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.interpolate import make_interp_spline
from scipy.ndimage import uniform_filter, uniform_filter1d

from procedures.analysis.results import FloatArray

BoolArray = npt.NDArray[np.bool_]

SAMPLE, RESPONSE = 0, 1
"""What a record shows: the sample's light, or scattered pump light."""

_DARK_SHARE = 0.005
_SMOOTH_PX = 9
CHANNEL_NM = 0.55
_EDGE_SIGMA = 4.0
_BLUR_PX = 4  # the blur of the phosphor is within so many pixels
_NODES = 9  # bins to either side of a gate through which the spline is drawn


@dataclass(frozen=True)
class StreakData:
    """The records of a run.

    Attributes:
        time_ps: (T,) rising, of the rows. wavelength_nm: (W,) rising, of the columns, for records
            of the sample; centre_nm is the middle of the axis then, and the pump's wavelength is
            there in records of the response. net: (N, T, W) counts less background. kind: (N,)
            SAMPLE or RESPONSE.
        shots: (N,) laser shots in each. saturated: (N,).
        fluence_uJ_cm2, fluence_errors_uJ_cm2: (N,), the error of each record on its own.
        fluence_rel_unc: of the scale that all records share.
        event_counts: variance over mean of the counts; event_counts_rel_unc: its uncertainty.
        wavelength_unc_nm: of the wavelength axis.
        pump_wavelength_nm: of the pump.
        bad: (N,) what cannot be used for other reasons, which `problems` tells; none, if left out.
    """

    time_ps: FloatArray
    wavelength_nm: FloatArray
    net: npt.NDArray[np.float32] = field(repr=False)
    kind: npt.NDArray[np.intp]
    shots: FloatArray
    saturated: BoolArray
    fluence_uJ_cm2: FloatArray
    fluence_errors_uJ_cm2: FloatArray
    fluence_rel_unc: float
    event_counts: float
    centre_nm: float
    event_counts_rel_unc: float = 0.0
    wavelength_unc_nm: float = 0.0
    pump_wavelength_nm: float = 400.0
    bad: BoolArray | None = None
    problems: tuple[str, ...] = ()

    def of_kind(self, kind: int) -> npt.NDArray[np.intp]:
        """Return the records of a kind that can be used, in their order."""
        good = (self.kind == kind) & ~self.saturated
        return np.flatnonzero(good if self.bad is None else good & ~self.bad)


@dataclass(frozen=True)
class Curve:
    """A time course: events in time bins.

    edges_ps: (T + 1,) rising. events: (T,), background taken off. floor: variance of an empty
    bin, in events squared. shots: laser shots in it.
    """

    edges_ps: FloatArray
    events: FloatArray
    floor: float
    shots: float = 1.0

    @property
    def middle_ps(self) -> FloatArray:
        """The middle of each bin, (T,)."""
        return np.asarray(0.5 * (self.edges_ps[1:] + self.edges_ps[:-1]))


@dataclass(frozen=True)
class GatedSpectrum:
    """Events per nm in a gate, (C,), with one standard deviation, on channels of pixels."""

    wavelength_nm: FloatArray
    events_per_nm: FloatArray
    sigma: FloatArray


def bin_edges(middle: FloatArray) -> FloatArray:
    """Return the edges, (n + 1,), of bins with these middles, halfway between neighbours."""
    inner = 0.5 * (middle[1:] + middle[:-1])
    first, last = 2.0 * middle[0] - inner[0], 2.0 * middle[-1] - inner[-1]
    return np.concatenate([[first], inner, [last]])


def lit_columns(net: npt.NDArray[np.float32], share: float = _DARK_SHARE) -> slice:
    """Return the columns of (T, W) around the brightest that hold more than `share` of its light.

    Columns fainter than four times the noise of the faintest tenth do not count either.
    """
    profile = uniform_filter1d(net.sum(axis=0, dtype=np.float64), _SMOOTH_PX, mode="nearest")
    top = int(np.argmax(profile))
    faint = np.sort(np.abs(profile))[: max(len(profile) // 10, 4)]
    level = max(share * float(profile[top]), _EDGE_SIGMA * float(np.sqrt(np.mean(faint**2))))
    below = profile < level
    dark_left, dark_right = np.flatnonzero(below[:top]), np.flatnonzero(below[top:])
    left = int(dark_left[-1]) + 1 if len(dark_left) else 0
    right = top + int(dark_right[0]) if len(dark_right) else len(profile)
    return slice(left, max(right, left + 1))


def time_course(
    data: StreakData,
    record: int,
    columns: slice,
    dark_until_ps: float,
    weights: FloatArray | None = None,
) -> Curve:
    """Return the events of some columns of a record against time.

    `dark_until_ps`: rows before it hold no light of the pulse; their scatter is the floor.
    `weights`: (W,) near one, of the columns: what the camera's response is corrected by.
    """
    net = data.net[record][:, columns]
    share = np.ones(net.shape[1]) if weights is None else weights[columns]
    events = net.astype(np.float64) @ share / data.event_counts
    floor = pixel_floor(data, record, dark_until_ps) * float(np.sum(share**2))
    return Curve(bin_edges(data.time_ps), events, floor, float(data.shots[record]))


def pixel_floor(data: StreakData, record: int, dark_until_ps: float) -> float:
    """Return what an unlit pixel of a record adds to the variance of a sum, in events squared.

    Each pixel times all that the blur of the phosphor joins it with: thermal electrons are blurred
    as light is.
    """
    dark = data.net[record][data.time_ps < dark_until_ps]
    rows = len(dark)
    if dark.size < 64:
        raise ValueError(
            "there are no dark rows before the pulse: set the delay so that the pulse comes at "
            "about a tenth of the sweep"
        )
    # Each column less its own mean: stray light and fixed patterns are no noise.
    scatter = (dark - dark.mean(axis=0, keepdims=True)).astype(np.float64)
    alone = float(np.mean(scatter**2)) * rows / (rows - 1)
    side = min(2 * _BLUR_PX + 1, max(rows // 3, 1))
    around = side**2 * uniform_filter(scatter, side, mode="constant")
    # The mean that was taken off is taken off each of the rows that a pixel is joined with.
    joined = float(np.mean(scatter * around)) / (1.0 - side / rows)
    return max(alone, joined) / data.event_counts**2


def gated_spectrum(
    data: StreakData,
    record: int,
    gate_ps: tuple[float, float],
    dark_until_ps: float,
    response: FloatArray | None = None,
    channel_nm: float = CHANNEL_NM,
) -> GatedSpectrum:
    """Return the events per nm between two times, in channels of about `channel_nm`.

    `response`: (W,) of the camera over the columns, relative, that the light is divided by.
    """
    share = gate_shares(bin_edges(data.time_ps), gate_ps)
    net = data.net[record].astype(np.float64)
    before = data.time_ps < dark_until_ps
    net = net - net[before].mean(axis=0, keepdims=True)
    events = share @ net / data.event_counts
    floor = pixel_floor(data, record, dark_until_ps)
    floor *= float(np.sum(share**2)) + float(share.sum()) ** 2 / max(int(before.sum()), 1)
    width = np.diff(bin_edges(data.wavelength_nm))
    pixels = max(round(channel_nm / float(np.median(width))), 1)
    whole = len(events) // pixels * pixels
    light = events[:whole].reshape(-1, pixels).sum(axis=1)
    nm = width[:whole].reshape(-1, pixels).sum(axis=1)
    middle = data.wavelength_nm[:whole].reshape(-1, pixels).mean(axis=1)
    expected = np.maximum(uniform_filter1d(light, 5, mode="nearest"), 0.0)
    sigma = np.sqrt(expected + floor * pixels + 1e-12)
    if response is not None:
        nm = nm * response[:whole].reshape(-1, pixels).mean(axis=1)
    return GatedSpectrum(middle, light / nm, sigma / nm)


def gate_shares(edges_ps: FloatArray, gate_ps: tuple[float, float]) -> FloatArray:
    """Return how much each time bin counts for what came between two times, (T,).

    The light within a bin is not even where the gate cuts the flank of a pulse: the sum of the
    bins is drawn through by a spline (fifth order), and read off at the gate.
    """
    found = np.zeros(len(edges_ps) - 1)
    for time, sign in zip(gate_ps, (-1.0, 1.0), strict=True):
        time = float(np.clip(time, edges_ps[0], edges_ps[-1]))
        bin_ = int(np.clip(np.searchsorted(edges_ps, time) - 1, 0, len(found) - 1))
        first, last = max(bin_ - _NODES, 0), min(bin_ + 1 + _NODES, len(found))
        nodes = edges_ps[first : last + 1]
        by_node = make_interp_spline(nodes, np.eye(len(nodes)), k=min(5, len(nodes) - 1))(time)
        found[:first] += sign
        # A unit in a bin adds to the sum at all nodes behind it.
        found[first:last] += sign * np.cumsum(by_node[::-1])[::-1][1:]
    return found
