"""Analysis of a photostability run: how much stimulated light is left after so many shots.

For the command and the figure. Arrays in, numbers with uncertainties out: no file, no instrument.

Light that is not stimulated is taken off: the weak spectra say how much of it goes with the light
of the short-wave wing. The laser's drift is taken out with the measured local power law,
ln I = ln I0 + s l + c l^2, l = ln(fluence / nominal), whose s and c come from sweeps of the
attenuator before and after the exposure. (The energy's own scatter cannot give s: the pulses
that are measured are not those of the spectrum, and its slow part runs along with the bleaching.)
Decay, s before, s after and c are fitted together, linear least squares; the decay is a polynomial
in the dose or in its root, of the degrees that the records support, weighed by Akaike's criterion.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.decay_curve import Decay, Samples, fit_decay
from procedures.analysis.results import Analysis, FloatArray, Result

__all__ = ["PhotostabilityData", "analyze_photostability"]

LOW, BEFORE, EXPOSURE, AFTER, LOW_AFTER = range(5)
NINETY = 0.9
UNITS = {
    "retained_fraction": "1",
    "shots": "1",
    "shots_to_90_percent": "1",
    "intensity_exponent": "1",
}
_BINS = 240
_LEAST_BLOCKS = 4
_LEAST_ROWS = 3  # of a local sweep
_CLIP = 5.0  # robust sigmas: a cosmic ray in one of the windows
_DIRECT_TERM = 0.2  # of what taking off the other light changes: it is not known better
_UNSWEPT_TERM = 0.6  # sigma of s after - s before in units of ln retained, where not measured
_LEAST_SHARE = 0.15  # of the band: less stimulated light is as good as none, whatever its error
_LEAST_SWEEP = 0.01  # relative, from end to end: what an exponent can be told from
_NEARLY = 0.95  # of the shots planned: a run that ended earlier has not measured their fraction
_HAIR = 1.05  # of the last shot: up to there it is no extrapolation where errors reach that far
_SAME_FLUENCE = 0.05  # relative: a mean fluence this far off is told
_LEVELLING = 0.25  # relative: of an extrapolation, where half of the bend would never lead there
_COUNTING = 1e-5  # relative: clock of the computer against that of the laser


@dataclass(frozen=True)
class PhotostabilityData:
    """Everything that a photostability run recorded; N records.

    Attributes:
        leg: 0 weak light, 1 local sweep, 2 exposure, 3 local sweep, 4 weak light, (N,).
        exposed_shots: shots of the exposure at the end of each record, (N,).
        dose_J_cm2: on the sample at the end of each record, (N,).
        counts: sums over band, line and wing, background included, (N, 3).
        background: the same of the dark frame; NaN where there is none, (N, 3).
        exposure_s, accumulations, shots: of each record, (N,).
        fluence_uJ_cm2, fluence_errors_uJ_cm2: as reported, independent error, (N,).
        measured: the fluence is measured, not taken from a calibration, (N,).
        saturated: (N,).
        nominal_fluence_uJ_cm2: at which the exposure was meant.
        fluence_rel_unc: one sigma of the scale common to all fluences.
        planned_shots: of the whole exposure.
        extrapolate: whether a number beyond the last shot is wanted.
    """

    leg: NDArray[np.generic]
    exposed_shots: FloatArray
    dose_J_cm2: FloatArray
    counts: FloatArray
    background: FloatArray
    exposure_s: FloatArray
    accumulations: NDArray[np.generic]
    shots: NDArray[np.generic]
    fluence_uJ_cm2: FloatArray
    fluence_errors_uJ_cm2: FloatArray
    measured: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    nominal_fluence_uJ_cm2: float
    fluence_rel_unc: float
    planned_shots: float
    extrapolate: bool = False

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        number = len(self.leg)
        for one in fields(self):
            value = getattr(self, one.name)
            wanted = (number, 3) if one.name in ("counts", "background") else (number,)
            if isinstance(value, np.ndarray) and value.shape != wanted:
                raise ValueError(f"{one.name} has shape {value.shape}, must be {wanted}")
        if not self.nominal_fluence_uJ_cm2 > 0.0:
            raise ValueError(
                f"nominal_fluence_uJ_cm2 is {self.nominal_fluence_uJ_cm2}, must be > 0"
            )


def analyze_photostability(data: PhotostabilityData) -> Analysis:
    """Return retained fraction, shots and shots to 90 percent, with warnings and curves."""
    results = {name: Result.nothing(unit) for name, unit in UNITS.items()}
    warnings: list[str] = []
    curves: dict[str, FloatArray] = {}
    analysis = Analysis(results, warnings, curves)
    leg = np.asarray(data.leg)
    good = _usable(data, warnings)
    blocks = good & (leg == EXPOSURE)
    if blocks.sum() < _LEAST_BLOCKS:
        warnings.append(
            f"{int(blocks.sum())} usable records of the exposure: at least {_LEAST_BLOCKS} are "
            "needed"
        )
        return analysis
    net, noise = _per_shot(data, good, warnings)
    if net is None:
        return analysis
    stimulated = _stimulated(net, leg, good, warnings)
    share = float(np.median(stimulated[blocks]) / max(np.median(net[blocks, 0]), 1e-300))
    if share < _LEAST_SHARE:
        warnings.append(
            f"only {100.0 * max(share, 0.0):.0f} % of the light is stimulated: the fluence is at "
            "or below threshold, or the sample is dark; there is nothing whose decay could be told"
        )
        return analysis
    end = float(np.max(data.exposed_shots[leg == EXPOSURE]))
    samples = _samples(data, stimulated, noise, good, end, warnings)
    if samples is None:
        return analysis
    decay = fit_decay(samples, loose=_UNSWEPT_TERM)
    # What taking off the other light changes is known from doing without.
    whole = _samples(data, net[:, 0], noise, good, end, [])
    plain = fit_decay(whole, loose=_UNSWEPT_TERM) if whole is not None else None
    if decay is None or plain is None:
        warnings.append("the records of the exposure do not suffice for a decay")
        return analysis
    log_left, log_sigma = decay.log_left(1.0)
    scale = data.fluence_rel_unc * (log_left + decay.exponent_rise(1.0))
    direct = _DIRECT_TERM * (plain.log_left(1.0)[0] - log_left)
    left = float(np.exp(log_left))
    error = left * float(np.linalg.norm([log_sigma, scale, direct]))
    if end >= _NEARLY * data.planned_shots:
        results["retained_fraction"] = Result(left, error, "1")
    results["shots"] = Result(end, float(np.hypot(1.0, _COUNTING * end)), "1")
    results["intensity_exponent"] = Result(decay.exponent, decay.exponent_sigma, "1")
    if end < 0.999 * data.planned_shots:
        ended = f"the run ended after {end:.4g} of {data.planned_shots:.4g} shots"
        if end < _NEARLY * data.planned_shots:
            warnings.append(
                f"{ended}: {left:.4f} +- {error:.4f} was left then, and retained_fraction, which "
                "is meant for all of them, is not stated; resume the run"
            )
        else:
            warnings.append(f"{ended}: retained_fraction holds for those")
    _shots_to_ninety(results, warnings, data, decay, plain, end)
    _draw(curves, data, samples, decay, stimulated, blocks, end)
    return analysis


def _usable(data: PhotostabilityData, warnings: list[str]) -> NDArray[np.bool_]:
    counts = np.asarray(data.counts, dtype=np.float64)
    finite = np.isfinite(counts).all(axis=1)
    for name in ("dose_J_cm2", "fluence_uJ_cm2", "fluence_errors_uJ_cm2", "exposed_shots"):
        finite &= np.isfinite(getattr(data, name))
    finite &= (data.fluence_uJ_cm2 > 0.0) & (np.asarray(data.shots) > 0)
    finite &= np.asarray(data.accumulations) > 0
    if not finite.all():
        warnings.append(f"{int((~finite).sum())} records left out: a value is missing or not > 0")
    if data.saturated.any():
        warnings.append(f"{int(data.saturated.sum())} records left out: the camera was saturated")
    return np.asarray(finite & ~data.saturated)


def _per_shot(
    data: PhotostabilityData, good: NDArray[np.bool_], warnings: list[str]
) -> tuple[FloatArray | None, FloatArray]:
    """Return window sums without background per shot, (N, 3), and the dark's error of them.

    The dark of each window is a line in the exposure time (bias and dark current), from the dark
    frames of the sweeps.
    """
    reads = np.asarray(data.accumulations, dtype=np.float64)
    dark = np.isfinite(data.background).all(axis=1) & (data.background > 0).all(axis=1) & good
    if not dark.any():
        warnings.append("there is no dark frame: the sweeps beside the exposure are missing")
        return None, np.zeros(len(good))
    level = data.background[dark] / reads[dark, None]
    times = data.exposure_s[dark]
    several = np.ptp(times) > 0.01 * times.max()
    design = np.vander(times, 2) if several else np.ones((len(times), 1))
    weight = np.sqrt(reads[dark])
    found = np.zeros((design.shape[1], 3))
    for window in range(3):
        keep = np.ones(len(times), dtype=np.bool_)
        for _ in range(3):  # a cosmic ray in one of the dark frames
            rows = design[keep] * weight[keep, None]
            found[:, window] = np.linalg.lstsq(
                rows, level[keep, window] * weight[keep], rcond=None
            )[0]
            off = (level[:, window] - design @ found[:, window]) * weight
            spread = 1.4826 * float(np.median(np.abs(off[keep]))) + 1e-9
            keep = np.abs(off) < _CLIP * spread
            if keep.sum() <= design.shape[1]:
                break
    every = np.vander(data.exposure_s, 2) if several else np.ones((len(good), 1))
    shots = np.maximum(np.asarray(data.shots, dtype=np.float64), 1.0)
    net = (data.counts - reads[:, None] * (every @ found)) / shots[:, None]
    return net, np.sqrt(np.maximum(data.counts[:, 0], 1.0)) / shots


def _stimulated(
    net: FloatArray, leg: NDArray[np.generic], good: NDArray[np.bool_], warnings: list[str]
) -> FloatArray:
    """Return the band without what the wing says is not stimulated, per shot, (N,)."""
    weak = good & ((leg == LOW) | (leg == LOW_AFTER)) & (net[:, 2] > 0.0)
    if not weak.any():
        warnings.append(
            "there is no weak spectrum: light that is not stimulated could not be taken off"
        )
        return net[:, 0]
    ratio = float(np.mean(net[weak, 0] / net[weak, 2]))
    return np.asarray(net[:, 0] - ratio * net[:, 2])


def _samples(
    data: PhotostabilityData,
    intensity: FloatArray,
    noise: FloatArray,
    good: NDArray[np.bool_],
    end: float,
    warnings: list[str],
) -> Samples | None:
    """Return binned exposure and sweeps on one axis of dose, 1 for the last shot as planned."""
    leg = np.asarray(data.leg)
    lit = good & (intensity > 0.0)
    blocks = np.flatnonzero(lit & (leg == EXPOSURE))
    if len(blocks) < _LEAST_BLOCKS:
        warnings.append("the exposure shows no stimulated light above the other")
        return None
    first = int(np.flatnonzero(leg == EXPOSURE)[0])
    per_shot = 1e-6 * data.nominal_fluence_uJ_cm2
    begun = data.dose_J_cm2[first] - data.exposed_shots[first] * 1e-6 * data.fluence_uJ_cm2[first]
    x = (data.dose_J_cm2 - begun) / (per_shot * end)
    length = np.log(data.fluence_uJ_cm2 / data.nominal_fluence_uJ_cm2)
    if not data.measured[blocks].all():
        warnings.append(
            "the pulse energy was not measured during the exposure: the laser's drift is in the "
            "result and not in its error"
        )
    off = float(np.mean(length[blocks]))
    if abs(off) > _SAME_FLUENCE:
        warnings.append(
            f"the fluence of the exposure was {100.0 * np.expm1(off):+.1f} % off the one asked "
            "for; the results hold for the one asked for"
        )
    sweeps = {}
    for name, which in (("before", BEFORE), ("after", AFTER)):
        rows = np.flatnonzero(lit & (leg == which))
        if len(rows) >= _LEAST_ROWS and not _swept(data, rows):
            warnings.append(f"the local sweep {name} the exposure was none: one fluence throughout")
            rows = rows[:0]
        error = data.fluence_errors_uJ_cm2[rows] / data.fluence_uJ_cm2[rows]
        own = noise[rows] / intensity[rows]
        sweeps[name] = (x[rows], length[rows], np.log(intensity[rows]), error, own)
    if max(len(sweeps["before"][0]), len(sweeps["after"][0])) < _LEAST_ROWS:
        warnings.append(
            "the local sweeps are missing: how the intensity follows the energy is unknown"
        )
        return None
    if len(sweeps["after"][0]) < _LEAST_ROWS:
        warnings.append(
            "the local sweep after the exposure is missing: that the power law has stayed as it "
            "was is a guess, with its error"
        )
    return Samples.of(x[blocks], length[blocks], np.log(intensity[blocks]), sweeps, _BINS)


def _swept(data: PhotostabilityData, rows: NDArray[np.intp]) -> bool:
    """Return whether the fluence was varied over these records, beyond its own errors."""
    fluence, error = data.fluence_uJ_cm2[rows], data.fluence_errors_uJ_cm2[rows]
    least = max(_LEAST_SWEEP * float(np.mean(fluence)), 6.0 * float(np.median(error)))
    return bool(np.ptp(fluence) > least)


def _shots_to_ninety(
    results: dict[str, Result],
    warnings: list[str],
    data: PhotostabilityData,
    decay: Decay,
    plain: Decay,
    end: float,
) -> None:
    """State where a tenth is lost; beyond the last shot only if asked for, and marked."""
    target = float(np.log(NINETY))
    x = decay.first_below(target)
    left, sigma = decay.log_left(1.0)
    beyond = x is None
    sigma = float(np.hypot(sigma, data.fluence_rel_unc * (target + decay.exponent_rise(1.0))))
    if x is None and left - target < sigma:
        # Within the error of the last intensity it has been reached: a hair's breadth further.
        near = decay.continued_to(target, curved=0.0)
        if near is not None and near < _HAIR:
            x, beyond = near, False
    spread = 0.0
    if x is None:
        if not data.extrapolate:
            warnings.append(
                f"shots_to_90_percent: {100.0 * np.exp(left):.1f} % is left after {end:.3g} shots; "
                "analyze with --extrapolate for a guess beyond"
            )
            return
        straight = decay.continued_to(target, curved=0.0)
        # It may go on straight or bent as before: one sigma is what half of the bend brings.
        bent = decay.continued_to(target, curved=0.5)
        if straight is None:
            warnings.append("shots_to_90_percent: the intensity does not fall, nothing to extend")
            return
        x = straight
        spread = abs(bent - straight) if bent is not None else _LEVELLING * straight
    # Past the end the curve goes on as the last half of it went: see `continued_to`.
    slope = decay.slope(x) if x < 1.0 else 2.0 * (left - decay.log_left(0.5)[0])
    log_sigma = decay.log_left(min(x, 1.0))[1] * max(x, 1.0)
    scale = data.fluence_rel_unc * (target + decay.exponent_rise(min(x, 1.0)))
    direct = _DIRECT_TERM * (plain.log_left(min(x, 1.0))[0] - decay.log_left(min(x, 1.0))[0])
    if not slope < 0.0:
        warnings.append("shots_to_90_percent: the intensity does not fall where it would be 90 %")
        return
    if beyond:
        warnings.append(
            f"shots_to_90_percent is extrapolated from {end:.3g} shots: nothing was measured there"
        )
    error = float(np.linalg.norm([log_sigma, scale, direct])) / -slope
    results["shots_to_90_percent"] = Result(
        x * end, float(np.hypot(error, spread)) * end, "1", extrapolated=beyond
    )


def _draw(
    curves: dict[str, FloatArray],
    data: PhotostabilityData,
    samples: Samples,
    decay: Decay,
    intensity: FloatArray,
    blocks: NDArray[np.bool_],
    end: float,
) -> None:
    """Add what a figure draws."""
    zero = decay.level(0.0)
    curves["shots"] = samples.x * end
    curves["raw_fraction"] = np.exp(samples.y - zero)
    curves["retained_fraction"] = np.exp(samples.y - decay.law(samples.x, samples.length) - zero)
    curves["retained_fraction_errors"] = curves["retained_fraction"] * samples.sigma
    # The textbook's way, wrong in the power: drawn to be seen, never the result.
    curves["divided_by_energy_fraction"] = np.exp(samples.y - samples.length - zero)
    curves["fluence_uJ_cm2"] = data.nominal_fluence_uJ_cm2 * np.exp(samples.drive)
    grid = np.linspace(0.0, 1.0, 200)
    curves["fit_shots"] = grid * end
    curves["fit_fraction"] = np.exp([decay.log_left(float(one))[0] for one in grid])
    for name, (x, length, y, _, _) in samples.sweeps.items():
        curves[f"{name}_fluence_uJ_cm2"] = data.nominal_fluence_uJ_cm2 * np.exp(length)
        level = zero + np.array([decay.log_left(float(one))[0] for one in x])
        curves[f"{name}_fraction"] = np.exp(y - level)
