"""What the bench gets wrong: as declared, and as drawn by seed.

For the World. `Imperfections` is `[simulation.bench]`; `draw_errors` makes of it, and of the
uncertainties that `[pump]` and `[spectrograph]` declare, the errors of one bench. A calibration is
to find them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim_drivers.noise import generator


@dataclass(frozen=True)
class Imperfections:
    """What the bench gets wrong, see [simulation.bench]."""

    calibration_errors: bool = True
    pulse_noise: float = 0.02
    drift_per_hour: float = 0.01
    slit_zero_um: float = 40.0
    slit_blur_um: float = 20.0
    irf_fwhm_ps: float = 50.0
    jitter_ps: float = 10.0


@dataclass(frozen=True)
class DrawnErrors:
    """The errors of one bench.

    energy_scale, area_scale: true over said. theta0_deg: of the wave plate. transmission_max,
    transmission_min: of wave plate and polariser. offset_nm, focal_length_rel, tilt_deg: how the
    spectrograph differs from what it was built as.
    """

    energy_scale: float
    area_scale: float
    theta0_deg: float
    transmission_max: float
    transmission_min: float
    offset_nm: float
    focal_length_rel: float
    tilt_deg: float


def draw_errors(
    imperfections: Imperfections,
    seed: int,
    energy_rel_unc: float,
    area_rel_unc: float,
    wavelength_unc_nm: float,
) -> DrawnErrors:
    """Return the errors of a bench by seed; none where `calibration_errors` is off."""
    drawn = generator(seed, "calibration", 0).standard_normal(8)
    if not imperfections.calibration_errors:
        drawn = np.zeros(8)
    return DrawnErrors(
        energy_scale=max(1.0 + energy_rel_unc * drawn[0], 0.1),
        area_scale=max(1.0 + area_rel_unc * drawn[1], 0.1),
        theta0_deg=0.02 * drawn[2],
        transmission_max=0.995 + 0.002 * drawn[3],
        transmission_min=5e-4 * math.exp(0.2 * drawn[4]),
        offset_nm=wavelength_unc_nm * drawn[5],
        focal_length_rel=0.001 * drawn[6],
        tilt_deg=0.1 * drawn[7],
    )
