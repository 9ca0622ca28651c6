"""Analysis of a per-shot run: how light follows energy from shot to shot, and what drifts.

For the command and the figure. Arrays in, numbers with uncertainties out: no file, no instrument.

What happens from shot to shot is told from pairs of neighbouring shots, each pair used once: the
difference of a pair knows no drift, and pairs are independent. The local exponent d ln I / d ln E
lies between two slopes: of light on energy, which noise of the energy detector makes smaller, and
the inverse of energy on light, which noise of the light makes larger (R. Frisch, 1934). Whose noise
it is the records do not tell: the middle is stated, and the distance is part of its error. Divided
by (E / mean)^s the intensity is that at constant energy; its drift is told from means of a hundred
equal parts, with their own scatter and its memory, and from Allan's deviation (D. W. Allan, Proc.
IEEE 54, 221 (1966)), which says how many shots it pays to average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.results import Analysis, FloatArray, Result

__all__ = ["PerShotData", "allan_deviation", "analyze_per_shot"]

DARK, EXPOSURE = 0, 1
UNITS = {
    "shots": "1",
    "energy_scatter": "1",
    "intensity_scatter": "1",
    "intensity_exponent": "1",
    "correlation": "1",
    "normalised_scatter": "1",
    "last_over_first_tenth": "1",
    "drift_per_million_shots": "1",
    "best_average_shots": "1",
    "best_average_deviation": "1",
}
_LEAST_SHOTS = 200
_PARTS = 100
_LEAST_A_PART = 10
_CLIP = 8.0  # robust sigmas of a pair: a cosmic ray, a pulse that was not fired
_NO_PULSE = 0.2  # of the median energy: less is a laser that has not fired
_LIGHT_SIGMA = 5.0  # of the dark: less is no light
_CLEAR = 0.5  # of the variance: so much the energy must explain
_LEAST_SCATTER = 1e-4  # relative: an energy that scatters less tells no exponent
_CLOUD = 4000  # shots that are drawn
_PIECE = 2**20


@dataclass(frozen=True)
class PerShotData:
    """Everything that a per-shot run recorded; N blocks of S shots.

    Attributes:
        leg: 0 dark, 1 exposure, (N,).
        energies_J: of each pulse at the sample, (N, S). band_counts: of each shot, (N, S).
        saturated: shots of each block with a saturated pixel, (N,).
        fluence_uJ_cm2, fluence_errors_uJ_cm2: of each block, (N,); where they are no numbers the
            block is not used.
        planned_shots: of the exposure.
    """

    leg: NDArray[np.generic]
    energies_J: NDArray[np.generic]
    band_counts: NDArray[np.generic]
    saturated: NDArray[np.generic]
    fluence_uJ_cm2: FloatArray
    fluence_errors_uJ_cm2: FloatArray
    planned_shots: int

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        for name in ("energies_J", "band_counts"):
            if getattr(self, name).shape[:1] != self.leg.shape or getattr(self, name).ndim != 2:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}")
        if self.energies_J.shape != self.band_counts.shape:
            raise ValueError("energies_J and band_counts have different shapes")


def analyze_per_shot(data: PerShotData) -> Analysis:
    """Return scatter, exponent, correlation, drift and Allan's deviation, with warnings."""
    results = {name: Result.nothing(unit) for name, unit in UNITS.items()}
    warnings: list[str] = []
    analysis = Analysis(results, warnings, {})
    found = _usable(data, warnings)
    if found is None:
        return analysis
    number, energy, light = found
    results["shots"] = Result(float(len(energy)), 0.0, "1")
    pairs = _pairs(number, energy, light, warnings)
    if pairs is None:
        return analysis
    x, y = pairs
    count = len(x)
    scatter = float(np.sqrt(np.mean(x**2) / 2.0))
    results["energy_scatter"] = Result(scatter, scatter / np.sqrt(2.0 * count), "1")
    own = float(np.sqrt(np.mean(y**2) / 2.0))
    results["intensity_scatter"] = Result(own, own / np.sqrt(2.0 * count), "1")
    exponent, error = 0.0, 0.0
    if scatter < _LEAST_SCATTER:
        warnings.append(
            "the pulse energy does not scatter: how the light follows it cannot be told, and drift "
            "is that of the light as recorded"
        )
    else:
        least = float(np.mean(x * y) / np.mean(x**2))
        rest = float(np.mean((y - least * x) ** 2))
        error = float(np.sqrt(rest / (count * np.mean(x**2))))
        r = float(np.mean(x * y) / np.sqrt(np.mean(x**2) * np.mean(y**2))) if own > 0 else 0.0
        results["correlation"] = Result(r, (1.0 - r**2) / np.sqrt(count), "1")
        left = float(np.sqrt(rest / 2.0))
        results["normalised_scatter"] = Result(left, left / np.sqrt(2.0 * count), "1")
        if abs(least) < 3.0 * error:
            warnings.append(
                "the light does not follow the energy from shot to shot: are both of the same shot?"
            )
            error = 1.0
        elif r**2 < _CLEAR:
            results["intensity_exponent"] = Result(least, error, "1", "lower")
            warnings.append(
                "most of what the light scatters has nothing to do with the energy: of the "
                "exponent a lower bound is known"
            )
            exponent, error = least, float(np.hypot(error, 0.5 * least))
        else:
            width = least / r**2 - least
            exponent, error = least + width / 2.0, float(np.hypot(error, width / np.sqrt(12.0)))
            results["intensity_exponent"] = Result(exponent, error, "1")
    relative = energy / np.float32(_mean(energy))
    light /= np.float32(_mean(light))
    normalised = light / relative ** np.float32(exponent)
    normalised /= np.float32(_mean(normalised))
    _drift(analysis, number, relative, normalised, error)
    _allan(analysis, relative, light, normalised)
    _curves(analysis, relative, light, normalised)
    return analysis


def allan_deviation(values: NDArray[np.floating]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return averaging lengths 1, 2, 4, ..., Allan's deviation there, and its error.

    values: a series without gaps, (n,); lengths go as far as eight means are left.
    """
    lengths, found, errors = [], [], []
    means, length = np.asarray(values, dtype=np.float32), 1
    while len(means) >= 8:
        steps = np.diff(means).astype(np.float64) if len(means) <= _PIECE else np.diff(means)
        deviation = float(np.sqrt(0.5 * np.mean(np.square(steps), dtype=np.float64)))
        lengths.append(length)
        found.append(deviation)
        errors.append(deviation / np.sqrt(2.0 * (len(means) - 1)))
        means = means[: len(means) // 2 * 2].reshape(-1, 2).mean(axis=1)
        length *= 2
    return np.array(lengths, dtype=float), np.array(found), np.array(errors)


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.mean(values, dtype=np.float64))


def _usable(
    data: PerShotData, warnings: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]] | None:
    """Return number, energy (relative) and light (counts without dark) of the usable shots."""
    leg, saturated = np.asarray(data.leg), np.asarray(data.saturated) > 0
    per_block = data.band_counts.shape[1]
    dark = np.asarray(data.band_counts)[leg == DARK]
    exposed = leg == EXPOSURE
    taken = int(exposed.sum()) * per_block
    if taken < data.planned_shots:
        warnings.append(f"{taken} shots of {data.planned_shots} were recorded: the run ended early")
    if not dark.size:
        warnings.append("there is no dark block: without it light and offset cannot be told apart")
        return None
    if (saturated & exposed).any():
        warnings.append(
            f"{int((saturated & exposed).sum())} of {int(exposed.sum())} blocks hold saturated "
            "shots and are left out: shorten the exposure, or weaken the light"
        )
    whole = np.isfinite(data.fluence_uJ_cm2) & np.isfinite(data.fluence_errors_uJ_cm2)
    if not whole[exposed].all():
        warnings.append(
            f"{int((exposed & ~whole).sum())} of {int(exposed.sum())} blocks have no fluence and "
            "are left out: their energies were not measured"
        )
    blocks = np.flatnonzero(exposed & ~saturated & whole)
    energy = np.asarray(data.energies_J, dtype=np.float32)[blocks].ravel()
    light = np.asarray(data.band_counts, dtype=np.float32)[blocks].ravel()
    light -= np.float32(_mean(dark))
    first = np.cumsum(exposed) - 1  # the number of a block among those of the exposure
    number = (first[blocks, None] * per_block + np.arange(per_block)).ravel()
    good = np.isfinite(energy) & np.isfinite(light) & (energy > 0.0)
    if good.any():
        energy /= np.median(energy[good])
        good &= energy > _NO_PULSE
    if not good.all():
        warnings.append(
            f"{int((~good).sum())} shots have no pulse energy (the laser did not fire, or its "
            "detector did not see it) and are left out"
        )
        number, energy, light = number[good], energy[good], light[good]
    if len(energy) < _LEAST_SHOTS:
        warnings.append(f"{len(energy)} usable shots: at least {_LEAST_SHOTS} are needed")
        return None
    error = float(np.std(dark, dtype=np.float64)) / np.sqrt(min(dark.size, len(light)))
    if _mean(light) <= _LIGHT_SIGMA * max(error, 1e-12):
        warnings.append(
            "the exposure is as dark as the dark block: is the shutter open, the band right?"
        )
        return None
    return number, energy, light


def _pairs(
    number: NDArray[np.int64],
    energy: NDArray[np.float32],
    light: NDArray[np.float32],
    warnings: list[str],
) -> tuple[FloatArray, FloatArray] | None:
    """Return relative differences of energy and light of neighbouring shots, each shot once."""
    even = np.flatnonzero((number[:-1] % 2 == 0) & (np.diff(number) == 1))
    if len(even) < _LEAST_SHOTS // 4:
        warnings.append("there are too few neighbouring shots to compare")
        return None
    x = (energy[even + 1] - energy[even]).astype(np.float64) / _mean(energy)
    # Against the light of the neighbourhood: what bleaches does not scatter less for it.
    local = _smooth(light, max(len(light) // _PARTS, 50))[even]
    y = (light[even + 1] - light[even]).astype(np.float64) / local
    good = np.isfinite(y)
    for values in (x, y):
        sigma = 1.4826 * float(np.median(np.abs(values[good])))
        good &= np.abs(values) <= (_CLIP * sigma if sigma > 0.0 else np.inf)
    if not good.all():
        warnings.append(
            f"{int((~good).sum())} pairs of shots lie far from all others and are left out"
        )
    return x[good], y[good]


def _smooth(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return each value's mean over the part of `width` shots in which it is."""
    starts = np.arange(0, len(values), width)
    if len(starts) > 1 and len(values) - starts[-1] < width // 2:
        starts = starts[:-1]
    ends = np.append(starts[1:], len(values))
    means = np.add.reduceat(values.astype(np.float64), starts) / (ends - starts)
    return np.repeat(means.astype(np.float32), ends - starts)


def _drift(
    analysis: Analysis,
    number: NDArray[np.int64],
    relative: NDArray[np.float32],
    normalised: NDArray[np.float32],
    exponent_error: float,
) -> None:
    """Add what becomes of the light at constant energy in the course of the shots."""
    if len(normalised) < _PARTS * _LEAST_A_PART:
        analysis.warnings.append(
            f"{len(normalised)} usable shots: {_PARTS * _LEAST_A_PART} are needed to tell a drift"
        )
        return
    means, energies = (
        np.array([_mean(part) for part in np.array_split(values, _PARTS)])
        for values in (normalised, relative)
    )
    shots = np.array([float(part.mean()) for part in np.array_split(number, _PARTS)])
    tenth = _PARTS // 10
    first, last = means[:tenth], means[-tenth:]
    ratio = float(last.mean() / first.mean())
    relative_error = float(
        np.hypot(
            first.std(ddof=1) / np.sqrt(tenth) / first.mean(),
            last.std(ddof=1) / np.sqrt(tenth) / last.mean(),
        )
    )
    rise = float(np.log(energies[-tenth:].mean() / energies[:tenth].mean()))
    error = ratio * float(np.hypot(relative_error, exponent_error * rise))
    analysis.results["last_over_first_tenth"] = Result(ratio, error, "1")
    x = shots - shots.mean()
    slope = float((x * means).sum() / (x**2).sum())
    rest = means - means.mean() - slope * x
    memory = float(np.clip((rest[1:] * rest[:-1]).sum() / (rest**2).sum(), 0.0, 0.9))
    sigma = float(np.sqrt((rest**2).sum() / (_PARTS - 2) / (x**2).sum()))
    sigma *= float(np.sqrt((1.0 + memory) / (1.0 - memory)))
    trend = exponent_error * float((x * np.log(energies)).sum() / (x**2).sum())
    analysis.results["drift_per_million_shots"] = Result(
        1e6 * slope, 1e6 * float(np.hypot(sigma, trend)), "1"
    )
    analysis.curves.update(
        {
            "part_shots": shots,
            "part_normalised": means,
            "part_normalised_errors": np.array(
                [part.std() / np.sqrt(len(part)) for part in np.array_split(normalised, _PARTS)]
            ),
            "part_energy": energies,
            "part_line": means.mean() + slope * x,
        }
    )


def _allan(
    analysis: Analysis,
    relative: NDArray[np.float32],
    light: NDArray[np.float32],
    normalised: NDArray[np.float32],
) -> None:
    for name, values in (("energy", relative), ("light", light), ("normalised", normalised)):
        lengths, deviation, errors = allan_deviation(values)
        analysis.curves["allan_shots"] = lengths
        analysis.curves[f"allan_{name}"] = deviation
        analysis.curves[f"allan_{name}_errors"] = errors
    best = int(np.argmin(deviation))
    # Known to a factor of two: lengths go in such steps.
    bound = "lower" if best == len(lengths) - 1 else None
    analysis.results["best_average_shots"] = Result(
        float(lengths[best]), float(lengths[best]) / 2.0, "1", bound
    )
    analysis.results["best_average_deviation"] = Result(
        float(deviation[best]), float(errors[best]), "1", "upper" if bound else None
    )


def _curves(
    analysis: Analysis,
    relative: NDArray[np.float32],
    light: NDArray[np.float32],
    normalised: NDArray[np.float32],
) -> None:
    """Add a cloud of shots, evenly chosen, and histograms of energy and normalised light."""
    chosen = slice(None, None, max(len(light) // _CLOUD, 1))
    analysis.curves["cloud_energy"] = relative[chosen].astype(np.float64)
    analysis.curves["cloud_light"] = light[chosen].astype(np.float64)
    for name, values in (("energy", relative), ("light", light), ("normalised", normalised)):
        part = values[:: max(len(values) // _PIECE, 1)]
        low, high = np.quantile(part, (0.0005, 0.9995))
        heights, edges = np.histogram(part, 80, (low, high) if high > low else None, density=True)
        analysis.curves[f"histogram_{name}"] = heights
        analysis.curves[f"histogram_{name}_edges"] = edges
