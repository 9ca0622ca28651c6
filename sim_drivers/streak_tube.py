"""A streak tube with its read-out camera: photo-electrons in, a digitised image out.

For the simulated streak cameras. The world says how many photo-electrons to expect from the light;
here are the sweep (not quite linear in time), the response in time, which blue light sees later or
earlier and broader, the trigger's jitter, the gain of the micro-channel plate with its pulse
heights, the phosphor's blur and the sensor, or counting of single photo-electrons with threshold
and coincidence loss. Stops at the wire: who may raise the gain is asked elsewhere. What would
destroy a tube is noted in `damage`, for tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.special import gammaincc, ndtr

from sim_drivers.noise import FloatArray, generator

FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_DEVICE = "streak"
_FINEST = 1.0 / 128.0  # rows: bins next to the pump's arrival, where light begins at once
_GROWTH = 1.25  # of the bins away from there, until they are rows
_BLOCK = 8  # rows at a time: products small enough not to wake other threads
_REACH = 5.0  # sigma
_NARROWEST = 1e-3  # rows
_EV_NM = 1239.84
_PUMP_EV = 3.1
_DELAY_PS_PER_EV = 4.0  # one sigma: a few cm of glass before the tube, set up at the pump's colour
_SLOW_ELECTRONS_EV = 2.7  # light below it leaves the electrons too little energy to spread
_SPREAD = 0.04  # one sigma of what the pump's light is blurred more by
_BLOB_REACH = 3.0  # sigma


@dataclass(frozen=True)
class TubeParameters:
    """What a tube and its camera are made of.

    Attributes:
        columns, rows: pixels along wavelength and time.
        nonlinearity: relative excess of the sweep's speed at its beginning (and lack at its end).
        pulse_at: where in the sweep the pump pulse arrives at delay zero (fraction of the sweep).
        resolution_of_sweep: response (FWHM) as a fraction of the sweep: the image of the slit.
        counts_per_electron, gain_per_step: sensor counts of a photo-electron at gain 0, and the
            exponent by which each step of the gain raises them.
        pulse_shape: shape of the gamma distribution of single pulse heights (1: exponential).
        blob_px: width (FWHM) of a photo-electron on the sensor.
        offset_counts, read_noise_counts, full_scale_counts: of the sensor, a frame.
        dark_electrons_per_s: thermal photo-electrons of a pixel.
        damage_electrons: photo-electrons on a pixel, a shot, at which the plate suffers at the
            highest gain.
    """

    columns: int = 640
    rows: int = 508
    nonlinearity: float = 0.03
    pulse_at: float = 0.1
    resolution_of_sweep: float = 0.005
    counts_per_electron: float = 0.3
    gain_per_step: float = 0.13
    pulse_shape: float = 1.5
    blob_px: float = 2.3
    offset_counts: float = 100.0
    read_noise_counts: float = 2.5
    full_scale_counts: int = 65535
    dark_electrons_per_s: float = 2e-3
    damage_electrons: float = 50.0


@dataclass(frozen=True)
class Shot:
    """How the tube stood during an acquisition.

    sweep_ps: full sweep; delay_ps: of the sweep behind the trigger, from the aligned one; centre_nm
    and nm_per_px: the spectral axis; gain: step of the plate; swept: Operate (or Focus);
    open: shutter; frames and exposure_s: how many and how long; number: of the first exposure.
    """

    sweep_ps: float
    delay_ps: float
    centre_nm: float
    nm_per_px: float
    gain: int
    swept: bool
    open: bool
    frames: int
    exposure_s: float
    start_s: float
    number: int


class StreakTube:
    """The tube in front of the world; see the module."""

    def __init__(
        self, world: Any, seed: int, parameters: TubeParameters, highest_gain: int = 63
    ) -> None:
        self.world = world
        self.seed = seed
        self.parameters = parameters
        self.highest_gain = highest_gain
        self.damage: list[str] = []
        self.saturate = False
        wrong = getattr(world.imperfections, "calibration_errors", False)
        drawn = float(generator(seed, "streak calibration", 0).standard_normal())
        self.wavelength_error_nm = 0.05 * drawn if wrong else 0.0
        # The response is recorded with the pump's light: that of the sample has another colour.
        late, broad = generator(seed, "streak colours", 0).standard_normal(2) if wrong else (0, 0)
        self.delay_ps_per_eV = _DELAY_PS_PER_EV * float(late)
        self.pump_spread = _SPREAD * abs(float(broad))

    # ---- axes --------------------------------------------------------------------------------

    def sweep_time_ps(self, rows: FloatArray, sweep_ps: float) -> FloatArray:
        """Return the time (ps) since the sweep began at positions in rows (0: its first edge)."""
        u = rows / self.parameters.rows
        return np.asarray(sweep_ps * u * (1.0 + self.parameters.nonlinearity * (1.0 - u)))

    def time_table_ps(self, sweep_ps: float) -> FloatArray:
        """Return what the scaling table says of the rows' centres, (rows,) in ps."""
        return self.sweep_time_ps(np.arange(self.parameters.rows, dtype=np.float64) + 0.5, sweep_ps)

    def wavelength_table_nm(self, centre_nm: float, nm_per_px: float) -> FloatArray:
        """Return what the scaling table says of the columns' centres, (columns,) in nm."""
        return self._wavelength(
            np.arange(self.parameters.columns, dtype=np.float64) + 0.5, centre_nm, nm_per_px
        )

    def _wavelength(self, columns: FloatArray, centre_nm: float, nm_per_px: float) -> FloatArray:
        x = columns - 0.5 * self.parameters.columns
        return np.asarray(centre_nm + nm_per_px * x * (1.0 - 2e-5 * x))

    # ---- light -------------------------------------------------------------------------------

    def response_fwhm_ps(self, sweep_ps: float, wavelength_nm: float = math.inf) -> float:
        """Return the response in a sweep (FWHM, ps), jitter left out.

        To light of long wavelengths; electrons set free by blue light differ more in speed.
        """
        figure = float(getattr(self.world.imperfections, "irf_fwhm_ps", 50.0))
        spare = max(_EV_NM / wavelength_nm - _SLOW_ELECTRONS_EV, 0.0)
        broader = 1.0 + self.pump_spread * spare / (_PUMP_EV - _SLOW_ELECTRONS_EV)
        return max(figure, self.parameters.resolution_of_sweep * sweep_ps) * broader

    def _expected(self, shot: Shot, blob_px: float, margin: int = 0) -> FloatArray:
        """Return the photo-electrons expected on the phosphor, all frames together.

        blob_px: what of the response comes after, at the read-out; margin: rows and columns beyond
        each edge of the sensor. Shape (rows + 2 margin, columns + 2 margin).
        """
        p = self.parameters
        rows, columns = p.rows + 2 * margin, p.columns + 2 * margin
        duration = shot.frames * shot.exposure_s
        dark = p.dark_electrons_per_s * duration
        if not shot.open:
            return np.full((rows, columns), dark)
        fwhm_ps = self.response_fwhm_ps(shot.sweep_ps, _colour_nm(shot))
        sigma_px = fwhm_ps / shot.sweep_ps * p.rows / FWHM
        sigma_px = math.sqrt(max(sigma_px**2 - (blob_px / FWHM) ** 2, 0.0))
        # Of n shots with independent jitter the mean is shifted by 1/sqrt(n) of it, the rest blurs.
        jitter_px = float(getattr(self.world.imperfections, "jitter_ps", 10.0))
        jitter_px *= p.rows / shot.sweep_ps
        shots = max(round(duration * self.world.repetition_rate_Hz), 1)
        shift = generator(self.seed, "streak jitter", shot.number).standard_normal()
        shift_px = float(shift) * jitter_px / math.sqrt(shots)
        sigma_px = max(math.hypot(sigma_px, jitter_px * math.sqrt(1.0 - 1.0 / shots)), _NARROWEST)
        pad = margin + math.ceil(_REACH * sigma_px)
        whole = np.arange(-pad, p.rows + pad + 1, dtype=np.float64)
        edges = _finer(whole, self._time_ps(whole - shift_px, shot))
        wavelength = self._wavelength(
            np.arange(-margin, p.columns + margin + 1, dtype=np.float64),
            shot.centre_nm,
            shot.nm_per_px,
        )
        light = np.asarray(
            self.world.streak_electrons(
                shot.start_s,
                duration,
                self._time_ps(edges - shift_px, shot),
                wavelength + self.wavelength_error_nm,
            ),
            dtype=np.float64,
        )
        if self.saturate:
            light = light + 1e7 * np.diff(edges)[:, None]
        self._note_damage(shot, np.add.reduceat(light, np.searchsorted(edges, whole[:-1])), shots)
        if not shot.swept:
            static = np.zeros((rows, columns))
            static[rows // 2] = light.sum(axis=0)
            return static + dark
        landed = _landed(light, edges, np.arange(-margin, p.rows + margin + 1.0), sigma_px)
        landed += dark
        return landed

    def _time_ps(self, rows: FloatArray, shot: Shot) -> FloatArray:
        """Return the time (ps) after the pump's arrival at positions in rows."""
        since = self.sweep_time_ps(rows, shot.sweep_ps)
        colour_ps = self.delay_ps_per_eV * (_EV_NM / _colour_nm(shot) - _PUMP_EV)
        return since + (shot.delay_ps - self.parameters.pulse_at * shot.sweep_ps - colour_ps)

    def _note_damage(self, shot: Shot, light: FloatArray, shots: int) -> None:
        """Note what a real tube would not have survived."""
        if shot.gain <= 0:
            return
        if not shot.swept:
            self.damage.append(f"gain {shot.gain} in focus mode with the shutter open")
        brightest = float(light.max()) / shots
        limit = self.parameters.damage_electrons * math.exp(
            self.parameters.gain_per_step * (self.highest_gain - shot.gain)
        )
        if brightest > limit:
            self.damage.append(f"{brightest:.3g} electrons a shot on a pixel at gain {shot.gain}")

    # ---- what is read out -------------------------------------------------------------------

    def electron_counts(self, gain: int) -> float:
        """Return the mean sensor counts of one photo-electron at a gain."""
        p = self.parameters
        return p.counts_per_electron * math.exp(p.gain_per_step * gain)

    def analog(self, shot: Shot) -> npt.NDArray[np.uint32]:
        """Return the integrated image of all frames, (rows, columns) in counts."""
        p = self.parameters
        rng = generator(self.seed, _DEVICE, shot.number)
        sigma_px = p.blob_px / FWHM
        # What lands beyond the sensor's edges lights them too.
        margin = math.ceil(_BLOB_REACH * sigma_px)
        electrons = rng.poisson(self._expected(shot, p.blob_px, margin))
        image = np.zeros(electrons.shape, dtype=np.float32)
        hit = np.nonzero(electrons)
        heights = rng.standard_gamma(electrons[hit] * p.pulse_shape) / p.pulse_shape
        image[hit] = heights * self.electron_counts(shot.gain)
        image = gaussian_filter(image, sigma_px, mode="constant", truncate=_BLOB_REACH)
        image = image[margin : margin + p.rows, margin : margin + p.columns]
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image += p.offset_counts * shot.frames
        image += noise * (p.read_noise_counts * math.sqrt(shot.frames))
        np.clip(np.rint(image), 0.0, float(p.full_scale_counts) * shot.frames, out=image)
        whole: npt.NDArray[np.uint32] = image.astype(np.uint32)
        return whole

    def counting(self, shot: Shot, threshold: float) -> npt.NDArray[np.uint32]:
        """Return the photo-electrons counted in all frames, (rows, columns).

        A photo-electron counts if its peak is above `threshold` (counts above the offset); those
        that fall on one blob in one frame count as one.
        """
        p = self.parameters
        rng = generator(self.seed, _DEVICE, shot.number)
        rate = self._expected(shot, 0.0) / shot.frames
        peak = self.electron_counts(shot.gain) / (2.0 * math.pi * (p.blob_px / FWHM) ** 2)
        seen = float(gammaincc(p.pulse_shape, p.pulse_shape * max(threshold, 0.0) / peak))
        blob = max(round(1.5 * p.blob_px), 1)
        crowd = uniform_filter(rate * seen, blob, mode="nearest") * blob**2
        alone = np.where(crowd > 1e-9, -np.expm1(-crowd) / np.maximum(crowd, 1e-9), 1.0)
        noise = 0.5 * math.erfc(threshold / (math.sqrt(2.0) * p.read_noise_counts))
        chance = np.clip(rate * seen * alone + noise, 0.0, 1.0)
        counted: npt.NDArray[np.uint32] = rng.binomial(shot.frames, chance).astype(np.uint32)
        return counted


def _colour_nm(shot: Shot) -> float:
    """Return what colour of light is looked at: the pump's in zeroth order."""
    return shot.centre_nm if shot.centre_nm > 100.0 else _EV_NM / _PUMP_EV


def _finer(whole: FloatArray, time_ps: FloatArray) -> FloatArray:
    """Return the edges `whole` (rows) and more about time zero, the closer the finer.

    The world's light begins, or is as short as the pump, at time zero. Taken as even over a whole
    row it would seem to come at the row's centre.
    """
    if not time_ps[0] < 0.0 < time_ps[-1]:
        return whole
    zero = float(np.interp(0.0, time_ps, whole))
    bins = math.ceil(-math.log(_FINEST) / math.log(_GROWTH))
    away = np.cumsum(_FINEST * _GROWTH ** np.arange(bins))
    about = zero + np.concatenate([-away, [0.0], away])
    inside = about[(about > whole[0]) & (about < whole[-1])]
    return np.unique(np.concatenate([whole, inside]))


def _landed(light: FloatArray, edges: FloatArray, rows: FloatArray, sigma_px: float) -> FloatArray:
    """Return what lands in each row of light that a Gaussian response spreads.

    light (m, n) is even within each bin of `edges` (m + 1,); `rows` (k + 1,) are the rows' edges.
    Exact but for tails beyond 5 sigma. A block of rows at a time: the response is a narrow band.
    """
    width = np.diff(edges)
    landed = np.empty((len(rows) - 1, light.shape[1]))
    for first in range(0, len(rows) - 1, _BLOCK):
        ends = rows[first : first + _BLOCK + 1]
        begin, end = np.searchsorted(
            edges, [ends[0] - _REACH * sigma_px, ends[-1] + _REACH * sigma_px]
        )
        begin, end = max(int(begin) - 1, 0), min(int(end), len(edges) - 1)
        away = (ends[:, None] - edges[None, begin : end + 1]) / sigma_px
        # The integral of the normal distribution function; its second differences are the shares.
        ramp = away * ndtr(away) + np.exp(-0.5 * away**2) / math.sqrt(2.0 * math.pi)
        share = -sigma_px * np.diff(np.diff(ramp, axis=0), axis=1) / width[begin:end]
        np.matmul(np.maximum(share, 0.0), light[begin:end], out=landed[first : first + _BLOCK])
    return landed
