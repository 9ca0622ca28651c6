"""The records of spectra against the fluence of a spot, and what of them can be used.

For the biexciton series and the capillary laser, which both hand in `SpotData`. Checks shapes,
drops what cannot be used and says so. Stops before anything is cleaned or fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from procedures.analysis.results import FloatArray, Result
from procedures.analysis.unmeasured_response import FLAT, UnmeasuredResponse

BoolArray = NDArray[np.bool_]

AGAIN = 0
"""In `direction`: the first fluence once more, at the end."""


@dataclass(frozen=True)
class SpotData:
    """What a series under a spot recorded; N records, P pixels.

    Attributes:
        wavelength_nm: (P,), steadily rising or falling.
        counts, background: camera counts, sums of the accumulations, and the same with the shutter
            closed, (N, P).
        gain_e_per_count, read_noise_e: of the camera; None if not known.
        accumulations, shots: of each record, (N,).
        fluence_mJ_cm2, fluence_errors_mJ_cm2: mean over the record's shots as reported, and its
            independent one-sigma error, (N,).
        fluence_rel_unc: one sigma of the scale common to all fluences.
        saturated: (N,). direction: 1 up, -1 down, 0 the first fluence again, (N,).
        pulse_spread: relative standard deviation of single pulses; 0 if not known.
        wavelength_unc_nm: one sigma of the wavelength scale as a whole.
        dispersion_rel_unc: one sigma of wavelength differences, relative.
        response: what is known of the spectrograph's, which nobody measured.
        temperature_K: of each record, (N,), None if there is no cryostat.
        parts: the light of each record in K parts in time, (N, K, P), None if it was not parted.
    """

    wavelength_nm: FloatArray
    counts: NDArray[np.generic]
    background: NDArray[np.generic]
    gain_e_per_count: float | None
    read_noise_e: float | None
    accumulations: NDArray[np.generic]
    shots: NDArray[np.generic]
    fluence_mJ_cm2: FloatArray
    fluence_errors_mJ_cm2: FloatArray
    fluence_rel_unc: float
    saturated: BoolArray
    direction: NDArray[np.generic]
    pulse_spread: float = 0.0
    wavelength_unc_nm: float = 0.0
    dispersion_rel_unc: float = 0.0
    response: UnmeasuredResponse = FLAT
    temperature_K: FloatArray | None = None
    parts: NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        """Check that the arrays belong together; raises ValueError naming the column."""
        shape = np.shape(self.counts)
        if len(shape) != 2 or np.shape(self.background) != shape:
            raise ValueError(
                f"counts {shape} and background {np.shape(self.background)} must both be "
                "(records, pixels)"
            )
        if np.shape(self.wavelength_nm) != shape[1:] or shape[1] < 16:
            raise ValueError(
                f"wavelength_nm must have one value for each of {shape[1]} pixels, 16 or more"
            )
        steps = np.diff(self.wavelength_nm)
        if not (np.all(steps > 0.0) or np.all(steps < 0.0)):
            raise ValueError("wavelength_nm must rise or fall steadily")
        for name in _COLUMNS:
            if np.shape(getattr(self, name)) != shape[:1]:
                raise ValueError(f"{name} must have one value for each of {shape[0]} records")
        if self.temperature_K is not None and np.shape(self.temperature_K) != shape[:1]:
            raise ValueError(f"temperature_K must have one value for each of {shape[0]} records")
        if self.parts is not None:
            parts = np.shape(self.parts)
            if len(parts) != 3 or (parts[0], parts[2]) != shape:
                raise ValueError(f"parts has shape {parts}, must be (records, parts, pixels)")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} is {value}, must be a number, zero or more")

    def only(self, keep: BoolArray | NDArray[np.intp]) -> SpotData:
        """Return the records of a mask or of an order, (R,)."""
        picked: dict[str, Any] = {name: np.asarray(getattr(self, name))[keep] for name in _COLUMNS}
        picked |= {name: np.asarray(getattr(self, name))[keep] for name in ("counts", "background")}
        for name in ("temperature_K", "parts"):
            if getattr(self, name) is not None:
                picked[name] = np.asarray(getattr(self, name))[keep]
        return replace(self, **picked)

    @property
    def fluence_sigma(self) -> FloatArray:
        """The independent relative error of each fluence, (N,)."""
        return np.asarray(np.abs(self.fluence_errors_mJ_cm2) / self.fluence_mJ_cm2)


_COLUMNS = (
    "accumulations",
    "shots",
    "fluence_mJ_cm2",
    "fluence_errors_mJ_cm2",
    "saturated",
    "direction",
)
_NOT_NEGATIVE = (
    "fluence_rel_unc",
    "pulse_spread",
    "wavelength_unc_nm",
    "dispersion_rel_unc",
)


def usable(data: SpotData) -> tuple[SpotData, list[str]]:
    """Return the records that can be used, wavelength rising, and why others are left out."""
    warnings: list[str] = []
    keep = np.ones(len(data.counts), dtype=np.bool_)

    def drop(which: NDArray[np.bool_] | np.bool_, why: str) -> None:
        bad = np.asarray(which, dtype=np.bool_) & keep
        if bad.any():
            keep[bad] = False
            places = np.flatnonzero(bad)
            shown = ", ".join(str(place) for place in places[:6])
            more = ", ..." if len(places) > 6 else ""
            kind = "record" if len(places) == 1 else "records"
            warnings.append(f"{kind} {shown}{more} left out: {why}")

    finite = np.ones(len(keep), dtype=np.bool_)
    for name in _COLUMNS:
        finite &= np.isfinite(np.asarray(getattr(data, name), dtype=np.float64))
    drop(~finite, "a value is missing (NaN) or infinite")
    drop(np.asarray(data.fluence_mJ_cm2) <= 0.0, "the fluence is not above zero")
    drop((np.asarray(data.shots) <= 0) | (np.asarray(data.accumulations) <= 0), "no shots")
    drop(np.asarray(data.saturated), "the camera was saturated")
    drop(~np.asarray(data.background).any(axis=1), "there is no background frame (all zero)")
    found = data.only(keep)
    order = np.argsort(data.wavelength_nm)
    return (
        replace(
            found,
            wavelength_nm=np.asarray(data.wavelength_nm, dtype=np.float64)[order],
            counts=np.asarray(found.counts, dtype=np.float64)[:, order],
            background=np.asarray(found.background, dtype=np.float64)[:, order],
            parts=None
            if found.parts is None
            else np.asarray(found.parts, dtype=np.float64)[:, :, order],
        ),
        warnings,
    )


def nothing(units: dict[str, str]) -> dict[str, Result]:
    """Return results that say that nothing is supported, by name."""
    return {name: Result.nothing(unit) for name, unit in units.items()}


def compare_first_and_last(
    data: SpotData, light: FloatArray, sigma: FloatArray, warnings: list[str],
    slope: Callable[[float], float],
) -> None:  # fmt: skip
    """Warn if the first fluence gave other light in the end.

    light, sigma: of each record, (N,); slope: d ln light / d ln fluence at a fluence.
    """
    again = np.flatnonzero(np.asarray(data.direction) == AGAIN)
    if not len(again):
        return
    last = int(again[-1])
    others = np.flatnonzero(np.asarray(data.direction) != AGAIN)
    if not len(others):
        return
    distance = np.abs(np.log(data.fluence_mJ_cm2[others] / data.fluence_mJ_cm2[last]))
    first = int(others[np.argmin(distance)])
    if light[first] <= 0.0 or distance.min() > 0.1:
        return
    power = slope(float(data.fluence_mJ_cm2[last]))
    wanted = light[first] * (data.fluence_mJ_cm2[last] / data.fluence_mJ_cm2[first]) ** power
    change = float(light[last] / wanted - 1.0)
    error = float(
        np.hypot(
            np.hypot(sigma[first] / light[first], sigma[last] / light[first]),
            power * np.hypot(data.fluence_sigma[first], data.fluence_sigma[last]),
        )
    )
    if abs(change) > 4.0 * error and abs(change) > 0.02:
        warnings.append(
            f"at {data.fluence_mJ_cm2[last]:.3g} mJ/cm^2 the light is {100 * change:+.1f} % "
            "from what it was at the beginning: the sample has changed, or the laser's beam"
        )
