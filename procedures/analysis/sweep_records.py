"""The records of a power sweep, and what of them can be used.

For `power_sweep.py`, which re-exports `PowerSweepData`. Checks shapes, drops what cannot be used
and says so, and hands on spectra in counts per shot. Stops before anything is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.cleaning import counts_per_shot
from procedures.analysis.lineshape import smooth
from procedures.analysis.results import FloatArray
from procedures.analysis.unmeasured_response import FLAT, UnmeasuredResponse

_LENGTH_TOLERANCE = 0.02
_FLAT_TOP = 4  # pixels side by side at exactly the highest count: no light does that
_LEAST_SIGNAL = 5.0  # of the smoothed peak, in sigma


@dataclass(frozen=True)
class PowerSweepData:
    """Everything that a power sweep recorded; N records, P pixels.

    Attributes:
        wavelength_nm: (P,), steadily rising or falling.
        counts: camera counts, sums of the accumulations, (N, P).
        background: the same with the shutter closed, same exposure and accumulations, (N, P).
        gain_e_per_count, read_noise_e: of the camera; None if not known.
        exposure_s, accumulations, shots: of each record, (N,); shots of the whole record.
        fluence_uJ_cm2: mean over the shots of each record, as reported, (N,).
        fluence_errors_uJ_cm2: its independent one-sigma error, (N,).
        fluence_rel_unc: one sigma of the scale common to all fluences.
        stripe_length_cm: pumped length of each record, (N,).
        full_stripe_length_cm: the length at which the sweep is meant.
        saturated: camera saturated, (N,).
        direction: +1 on the way up, -1 on the way down, (N,).
        reference_fluence_uJ_cm2: where the stimulated line is quoted; None: a multiple of the
            threshold is taken.
        pulse_spread: relative standard deviation of single pulses; 0 if not known.
        wavelength_unc_nm: one sigma of the wavelength scale.
        stripe_length_unc_cm: one sigma of the zero of the slit.
        response: what is known of the spectrograph's, which nobody measured.
    """

    wavelength_nm: NDArray[np.float64]
    counts: NDArray[np.generic]
    background: NDArray[np.generic]
    gain_e_per_count: float | None
    read_noise_e: float | None
    exposure_s: NDArray[np.float64]
    accumulations: NDArray[np.generic]
    shots: NDArray[np.generic]
    fluence_uJ_cm2: NDArray[np.float64]
    fluence_errors_uJ_cm2: NDArray[np.float64]
    fluence_rel_unc: float
    stripe_length_cm: NDArray[np.float64]
    full_stripe_length_cm: float
    saturated: NDArray[np.bool_]
    direction: NDArray[np.generic]
    reference_fluence_uJ_cm2: float | None = None
    pulse_spread: float = 0.0
    wavelength_unc_nm: float = 0.0
    stripe_length_unc_cm: float = 0.004
    response: UnmeasuredResponse = FLAT

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        spectra = np.shape(self.counts)
        if len(spectra) != 2:
            raise ValueError(f"counts has shape {spectra}, must be (records, pixels)")
        if np.shape(self.background) != spectra:
            raise ValueError(f"background has shape {np.shape(self.background)}, counts {spectra}")
        if np.shape(self.wavelength_nm) != spectra[1:]:
            raise ValueError(f"wavelength_nm must have one value for each of {spectra[1]} pixels")
        steps = np.diff(self.wavelength_nm)
        if spectra[1] < 2 or not (np.all(steps > 0.0) or np.all(steps < 0.0)):
            raise ValueError("wavelength_nm must rise or fall steadily over at least two pixels")
        for name in _COLUMNS:
            if np.shape(getattr(self, name)) != spectra[:1]:
                raise ValueError(f"{name} must have one value for each of {spectra[0]} records")
        for name in (
            "fluence_rel_unc",
            "pulse_spread",
            "wavelength_unc_nm",
            "stripe_length_unc_cm",
        ):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}, must be a number, zero or more")
        if not (np.isfinite(self.full_stripe_length_cm) and self.full_stripe_length_cm > 0.0):
            raise ValueError(f"full_stripe_length_cm is {self.full_stripe_length_cm}, must be > 0")


_COLUMNS = (
    "exposure_s",
    "accumulations",
    "shots",
    "fluence_uJ_cm2",
    "fluence_errors_uJ_cm2",
    "stripe_length_cm",
    "saturated",
    "direction",
)
assert set(_COLUMNS) < {one.name for one in fields(PowerSweepData)}


@dataclass(frozen=True)
class Records:
    """Usable records, fluence rising within each part of the sweep as measured; R of N.

    Attributes:
        index: place of each in the sweep, (R,).
        wavelength_nm: rising, (P,).
        per_shot, variance: counts per shot and nm, and variance, (R, P).
        fluence, fluence_sigma: uJ/cm^2 and relative independent error, (R,).
        length: in full stripes, (R,).
        direction: (R,).
    """

    index: NDArray[np.intp]
    wavelength_nm: FloatArray
    per_shot: FloatArray
    variance: FloatArray
    fluence: FloatArray
    fluence_sigma: FloatArray
    length: FloatArray
    direction: NDArray[np.intp]

    @property
    def full(self) -> NDArray[np.bool_]:
        """Which were taken at the full stripe."""
        return np.abs(self.length - 1.0) < _LENGTH_TOLERANCE

    def only(self, keep: NDArray[np.bool_]) -> Records:
        """Return the records of a mask, (R,)."""
        return Records(
            self.index[keep],
            self.wavelength_nm,
            self.per_shot[keep],
            self.variance[keep],
            self.fluence[keep],
            self.fluence_sigma[keep],
            self.length[keep],
            self.direction[keep],
        )


def usable_records(data: PowerSweepData) -> tuple[Records, list[str]]:
    """Return the records that can be used, clean, and a sentence for each kind left out."""
    warnings: list[str] = []
    counts = np.asarray(data.counts, dtype=np.float64)
    background = np.asarray(data.background, dtype=np.float64)
    keep = np.ones(len(counts), dtype=np.bool_)

    def drop(which: NDArray[np.bool_] | np.bool_, why: str) -> None:
        bad = np.asarray(which, dtype=np.bool_) & keep
        if bad.any():
            keep[bad] = False
            warnings.append(f"{_some(bad)} left out: {why}")

    finite = np.isfinite(counts).all(axis=1) & np.isfinite(background).all(axis=1)
    for name in _COLUMNS:
        finite &= np.isfinite(np.asarray(getattr(data, name), dtype=np.float64))
    drop(~finite, "a value is missing (NaN) or infinite")
    drop(np.less_equal(data.fluence_uJ_cm2, 0.0), "the fluence is not above zero")
    empty = (np.asarray(data.shots) <= 0) | (np.asarray(data.accumulations) <= 0)
    drop(empty | (np.asarray(data.stripe_length_cm) <= 0.0), "no shots, or no stripe")
    drop(np.asarray(data.saturated), "the camera was saturated")
    drop(
        _clipped(counts, background),
        "neighbouring pixels stop at one and the same count: the camera was saturated, though it "
        "did not say so",
    )
    drop(~background.any(axis=1), "there is no background frame (all zero)")
    index = np.flatnonzero(keep)
    wavelength = np.asarray(data.wavelength_nm, dtype=np.float64)
    order = np.argsort(wavelength)
    if len(index):
        clean = counts_per_shot(
            counts[index][:, order],
            background[index][:, order],
            np.asarray(data.shots)[index],
            np.asarray(data.accumulations)[index],
            gain_e_per_count=data.gain_e_per_count,
            read_noise_e=data.read_noise_e,
        )
        hits = int(clean.hits.sum())
        if hits > 0.002 * clean.hits.size:
            warnings.append(
                f"{hits} pixels replaced as cosmic rays, {hits / len(index):.1f} a record: look at "
                "the frames, the detector may be noisy or the line narrower than ten pixels"
            )
        lit = _lit(clean.per_shot, clean.variance)
        dark = np.zeros(len(keep), dtype=np.bool_)
        dark[index[~lit]] = True
        drop(dark, "no light above the noise")
        index = index[lit]
        per_nm = np.gradient(wavelength[order])
        per_shot, variance = clean.per_shot[lit] / per_nm, clean.variance[lit] / per_nm**2
    else:
        per_shot = variance = np.zeros((0, len(order)))
    fluence = np.asarray(data.fluence_uJ_cm2, dtype=np.float64)[index]
    errors = np.asarray(data.fluence_errors_uJ_cm2, dtype=np.float64)[index]
    length = np.asarray(data.stripe_length_cm, dtype=np.float64)[index]
    return (
        Records(
            index,
            wavelength[order],
            per_shot,
            variance,
            fluence,
            np.abs(errors) / fluence,
            length / data.full_stripe_length_cm,
            np.asarray(data.direction)[index].astype(np.intp),
        ),
        warnings,
    )


def _clipped(counts: FloatArray, background: FloatArray) -> NDArray[np.bool_]:
    """Return which spectra are cut off at their top, (N,): flat over neighbours, and lit."""
    top = counts.max(axis=1, keepdims=True)
    run = np.ones((len(counts), max(counts.shape[1] - _FLAT_TOP + 1, 1)), dtype=np.bool_)
    for by in range(_FLAT_TOP):
        run &= counts[:, by : by + run.shape[1]] == top
    return np.asarray(run.any(axis=1) & (top[:, 0] > background.max(axis=1)))


def _lit(spectra: FloatArray, variance: FloatArray) -> NDArray[np.bool_]:
    window = max(3, spectra.shape[1] // 60) | 1
    sigma = np.maximum(np.sqrt(smooth(variance, window) / window), 1e-300)
    return np.asarray(np.max(smooth(spectra, window) / sigma, axis=1) > _LEAST_SIGNAL)


def _some(which: NDArray[np.bool_]) -> str:
    places = np.flatnonzero(which)
    if len(places) == 1:
        return f"record {places[0]}"
    shown = ", ".join(str(place) for place in places[:6])
    return f"{len(places)} records ({shown}{', ...' if len(places) > 6 else ''})"
