"""A slow decay under a fluctuating drive: the fit behind the photostability analysis.

ln I = g(x) + (s + (s' - s) x) l + c l^2 of the dose x (0 at the first shot, 1 at the last) and the
logarithm l of the drive over its nominal value; s from sweeps of the drive at x = 0, s' at x = 1.
Linear in all that is sought. g is a polynomial in x or in its root; the candidates are weighed by
Akaike's criterion. Stops at the curve: what it means for a film is told by `photostability.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter

from procedures.analysis.results import FloatArray

Sweep = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
"""x, l, ln I, sigma of l, sigma of ln I beside it, (M,) each."""

_CANDIDATES = ((1, False), (2, False), (3, False), (4, False), (2, True), (4, True), (6, True))
_CLIP = 5.0
_FLOOR = 3e-4  # relative: two records never agree better
_GRID = 2001
_WINDOWS = (31, 15, 7)  # bins over which the drive is smoothed, as far as it is smooth


@dataclass(frozen=True)
class Samples:
    """What is fitted: bins of the exposure, and the sweeps.

    Attributes:
        x, y, records: of the bins, (B,): dose, ln I, records in each.
        drive: l as measured in each bin; length: the same, smoothed, (B,). The pulses that were
            measured are not those of the light: noise in l would make the power law look flat.
        sweeps: "before" and "after".
        scatter_y, scatter_length: of single records.
    """

    x: FloatArray
    drive: FloatArray
    length: FloatArray
    y: FloatArray
    records: FloatArray
    sweeps: Mapping[str, Sweep]
    scatter_y: float
    scatter_length: float

    @classmethod
    def of(
        cls,
        x: FloatArray,
        length: FloatArray,
        y: FloatArray,
        sweeps: Mapping[str, Sweep],
        bins: int,
    ) -> Samples:
        """Bin the records of an exposure, (N,) each in order; hits and dropouts are left out."""
        keep = np.ones(len(y), dtype=np.bool_)
        for values in (y, length):
            # What neighbours do not show: the curve itself is taken off by differences.
            around = _running_median(values, 9)
            off = np.abs(values - around)
            keep &= off < _CLIP * (1.4826 * float(np.median(off)) + _FLOOR)
        x, length, y = x[keep], length[keep], y[keep]
        number = min(bins, len(y))
        edges = np.linspace(0, len(y), number + 1).astype(int)
        records = np.diff(edges).astype(np.float64)
        means = [np.add.reduceat(values, edges[:-1]) / records for values in (x, length, y)]
        scatter = [_scatter(values) for values in (y, length)]
        drive = means[1]
        smooth = _smoothed(drive, scatter[1] / np.sqrt(records))
        return cls(means[0], drive, smooth, means[2], records, dict(sweeps), *scatter)

    @property
    def sigma(self) -> FloatArray:
        """Standard error of each bin of ln I without its own l, (B,)."""
        return np.asarray(np.hypot(self.scatter_y, _FLOOR) / np.sqrt(self.records))


@dataclass(frozen=True)
class _Fit:
    """One candidate: coefficients of g (lowest first), then s, s', c."""

    root: bool
    theta: FloatArray
    covariance: FloatArray
    criterion: float

    def basis(self, x: FloatArray) -> FloatArray:
        return _basis(x, len(self.theta) - 4, self.root)

    def level(self, x: float) -> float:
        return float(self.basis(np.array([x]))[0] @ self.theta[:-3])

    def left(self, x: float) -> tuple[float, float]:
        """Return (g(x) - g(0), variance)."""
        rows = self.basis(np.array([0.0, x]))
        row = np.append(rows[1] - rows[0], np.zeros(3))
        return float(row @ self.theta), float(row @ self.covariance @ row)


@dataclass(frozen=True)
class Decay:
    """The decay found, and the local power law."""

    fits: tuple[_Fit, ...]
    weights: tuple[float, ...]
    last: float

    def _mean(self, values: list[float]) -> float:
        return float(np.dot(self.weights, values))

    @property
    def exponent(self) -> float:
        """d ln I / d ln drive before the exposure."""
        return self._mean([float(fit.theta[-3]) for fit in self.fits])

    @property
    def exponent_sigma(self) -> float:
        """Its standard error."""
        return float(np.sqrt(self._mean([float(fit.covariance[-3, -3]) for fit in self.fits])))

    def exponent_rise(self, x: float) -> float:
        """Return how much it has grown at x."""
        return x * self._mean([float(fit.theta[-2] - fit.theta[-3]) for fit in self.fits])

    def law(self, x: FloatArray, length: FloatArray) -> FloatArray:
        """Return what the drive adds to ln I, (N,)."""
        curvature = self._mean([float(fit.theta[-1]) for fit in self.fits])
        slope = self.exponent + x * self.exponent_rise(1.0)
        return np.asarray(slope * length + curvature * length**2)

    def level(self, x: float) -> float:
        """Return ln I at x and the nominal drive."""
        return self._mean([fit.level(x) for fit in self.fits])

    def log_left(self, x: float) -> tuple[float, float]:
        """Return ln of the fraction left at x and its sigma, choice of curve included.

        Past the last record, as long as the dose is but little short, along the tangent.
        """
        inside = min(x, self.last)
        found = [fit.left(inside) for fit in self.fits]
        mean = self._mean([value for value, _ in found])
        variance = self._mean([v + (value - mean) ** 2 for value, v in found])
        if x > inside:
            mean += self.slope(inside) * (x - inside)
        return mean, float(np.sqrt(variance))

    def slope(self, x: float) -> float:
        """Return d ln I / dx, from a tenth of the range about x."""
        low, high = max(x - 0.05, 0.0), min(x + 0.05, self.last)
        values = [(fit.level(high) - fit.level(low)) / (high - low) for fit in self.fits]
        return self._mean(values)

    def first_below(self, log_fraction: float) -> float | None:
        """Return the first x up to 1 from which the curve stays below, None if it does not."""
        grid = np.linspace(0.0, 1.0, _GRID)
        values = np.array([self.log_left(float(x))[0] for x in grid])
        below = values <= log_fraction
        if not below[-1]:
            return None
        above = np.flatnonzero(~below)
        last = int(above[-1]) if len(above) else 0
        share = (values[last] - log_fraction) / (values[last] - values[last + 1])
        return float(grid[last] + share * (grid[1] - grid[0]))

    def continued_to(self, log_fraction: float, *, curved: float) -> float | None:
        """Return the x beyond 1 where the curve would fall so far; None if it would not.

        Straight on in ln I from the last half; curved: bent by that share of what the halves bend.
        """
        end, _ = self.log_left(1.0)
        middle, _ = self.log_left(0.5)
        rate, earlier = 2.0 * (end - middle), 2.0 * middle
        missing = log_fraction - end
        if not rate < 0.0:
            return None
        if not curved:
            return 1.0 + missing / rate
        bend = curved * (rate - earlier)  # d2 lnI / dx2 over half a unit
        at_end = rate + 0.5 * bend
        square = at_end**2 + 4.0 * bend * missing
        if square < 0.0 or abs(bend) < 1e-9 or not at_end < 0.0:
            return None
        ahead = (-at_end - np.sqrt(square)) / (2.0 * bend)
        return float(1.0 + ahead) if ahead >= 0.0 else None


def fit_decay(samples: Samples, *, loose: float) -> Decay | None:
    """Fit every candidate that the bins suffice for.

    `loose`: sigma of s' - s in units of the loss, where no sweep tells it.
    """
    fits = [
        fit
        for degree, root in _CANDIDATES
        if len(samples.x) >= degree + 3 and (fit := _fit(samples, degree, root, loose)) is not None
    ]
    if not fits:
        return None
    criteria = np.array([fit.criterion for fit in fits])
    weights = np.exp(-0.5 * (criteria - criteria.min()))
    weights /= weights.sum()
    return Decay(tuple(fits), tuple(float(one) for one in weights), float(samples.x.max()))


def _fit(samples: Samples, degree: int, root: bool, loose: float) -> _Fit | None:
    exponent, theta = 1.0, np.zeros(0)
    for _ in range(3):  # the errors of the drive count by the exponent
        design, values, sigma = _equations(samples, degree, root, exponent, loose, theta)
        weighted = design / sigma[:, None]
        covariance = np.linalg.pinv(weighted.T @ weighted)
        theta = covariance @ weighted.T @ (values / sigma)
        exponent = float(theta[-3])
    chi2 = float(np.sum(((values - design @ theta) / sigma) ** 2))
    degrees = max(len(values) - len(theta), 1)
    if not np.isfinite(chi2):
        return None
    covariance *= max(1.0, chi2 / degrees)
    return _Fit(root, theta, np.asarray(covariance, dtype=np.float64), chi2 + 2.0 * len(theta))


def _equations(
    samples: Samples, degree: int, root: bool, exponent: float, loose: float, before: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    x, length = samples.x, samples.length
    scatter = np.linalg.norm([samples.scatter_y, exponent * samples.scatter_length, _FLOOR])
    rows = [np.column_stack([_basis(x, degree, root), (1.0 - x) * length, x * length, length**2])]
    values = [samples.y]
    sigmas = [scatter / np.sqrt(samples.records)]
    for name, (place, drive, y, drive_sigma, own) in samples.sweeps.items():
        share = place if name == "after" else np.zeros_like(place)
        share = np.clip(share, 0.0, 1.0)
        rows.append(
            np.column_stack(
                [_basis(place, degree, root), (1.0 - share) * drive, share * drive, drive**2]
            )
        )
        values.append(y)
        sigmas.append(np.sqrt((exponent * drive_sigma) ** 2 + own**2 + _FLOOR**2))
    # Where a sweep is missing, s' is near s.
    loss = 0.1
    if len(before):
        fit = _Fit(root, before, np.zeros((len(before), len(before))), 0.0)
        loss = max(abs(fit.left(1.0)[0]), 0.02)
    tie = np.zeros((1, degree + 4))
    tie[0, -3:-1] = -1.0, 1.0
    rows.append(tie)
    values.append(np.zeros(1))
    sigmas.append(np.array([loose * loss]))
    return np.concatenate(rows), np.concatenate(values), np.concatenate(sigmas)


def _basis(x: FloatArray, degree: int, root: bool) -> FloatArray:
    place = np.sign(x) * np.sqrt(np.abs(x)) if root else x
    return np.vander(place, degree + 1, increasing=True)


def _scatter(values: FloatArray) -> float:
    """Return the robust scatter of single values about a smooth curve."""
    if len(values) < 3:
        return 0.0
    rough = values[2:] - 2.0 * values[1:-1] + values[:-2]
    return float(1.4826 * np.median(np.abs(rough - np.median(rough))) / np.sqrt(6.0))


def _running_median(values: FloatArray, width: int) -> FloatArray:
    return np.asarray(median_filter(values, size=min(width, len(values)), mode="mirror"))


def _smoothed(values: FloatArray, sigma: FloatArray) -> FloatArray:
    """Return values smoothed over as many bins as leave nothing but noise."""
    limit = 1.0 + 4.0 * np.sqrt(2.0 / len(values))
    for window in _WINDOWS:
        if window > len(values) // 2:
            continue
        smooth = savgol_filter(values, window, 2, mode="interp")
        if float(np.mean(((values - smooth) / np.maximum(sigma, 1e-12)) ** 2)) < limit:
            return np.asarray(smooth)
    return values
