"""What the figure of a stripe-length run draws, as arrays by name.

For `stripe_length.py`: intensities of each scan, the fit through them, how far the gain is open,
gain against wavelength, and the textbook's fit to the same records. Nothing here is a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from procedures.analysis.gain_fit import GainData, GainFit
from procedures.analysis.gain_model import gain_per_cm, guided_power, seen
from procedures.analysis.gain_textbook import unsaturated_fit
from procedures.analysis.results import FloatArray
from procedures.analysis.sweep_bands import band_intensity
from procedures.analysis.sweep_records import Records


def gain_curves(
    fitted: GainData, fit: GainFit, records: Records, parts: Mapping[str, tuple[int, ...]]
) -> dict[str, FloatArray]:
    """Return the curves; `parts` names the scans, "main" first that of the textbook's fit."""
    curves: dict[str, FloatArray] = {}
    scan, channels = fitted.scan, fitted.channels
    zero = fit.value("zero_cm")
    intensity, sigma = band_intensity(records)
    line = int(np.argmin(np.abs(channels.centre_nm - fit.value("gain_peak_nm"))))
    for name, scans in parts.items():
        which = np.isin(records.direction, scans)
        curves[f"{name}_length_cm"] = scan.length_cm[which]
        curves[f"{name}_band_counts_per_shot"] = intensity[which]
        curves[f"{name}_band_counts_per_shot_errors"] = sigma[which]
        curves[f"{name}_peak_counts_per_shot_nm"] = fitted.signal[which, line]
    longest = float(scan.length_cm.max())
    grid = np.geomspace(max(zero + 1e-4, 0.2 * float(scan.length_cm.min())), longest, 80)
    for name, low, at in (("main", False, 0.0), ("low", True, scan.ln_low)):
        if low and not scan.low.any():
            continue
        line_scan = replace(
            scan,
            length_cm=grid,
            ln_fluence=np.full(len(grid), at),
            low=np.full(len(grid), low),
        )
        light = seen(fit.theta[None], line_scan, channels).seen[0]
        curves[f"fit_{name}_length_cm"] = grid
        curves[f"fit_{name}_band_counts_per_shot"] = light @ channels.width_nm
        curves[f"fit_{name}_peak_counts_per_shot_nm"] = light[:, line]
    true = np.minimum(grid[grid > zero + 1e-4] - zero, scan.full_cm)
    power = guided_power(fit.theta[None], true, 0.0, channels, 2 * scan.steps)[0]
    curves["openness_length_cm"], curves["openness"] = true + zero, 1.0 / (1.0 + power)
    wavelength = np.linspace(channels.centre_nm[0], channels.centre_nm[-1], 240)
    curves["gain_wavelength_nm"] = wavelength
    curves["gain_spectrum_per_cm"] = gain_per_cm(fit.theta[None], wavelength)[0]
    spread = np.random.default_rng(1).multivariate_normal(
        fit.theta, fit.covariance, 60, check_valid="ignore", method="eigh"
    )
    curves["gain_spectrum_per_cm_errors"] = np.std(gain_per_cm(spread, wavelength), axis=0)
    main = np.flatnonzero(records.direction == parts["main"][0])
    main = main[np.argsort(scan.length_cm[main])]
    rel = np.hypot(
        np.sqrt(fitted.variance[main, line]) / np.maximum(fitted.signal[main, line], 1e-300),
        0.01,
    )
    textbook = unsaturated_fit(scan.length_cm[main] - zero, fitted.signal[main, line], rel)
    if textbook is not None:
        curves["textbook_gain_per_cm"] = np.array([textbook.gain_per_cm, textbook.sigma_per_cm])
        curves["textbook_length_cm"] = textbook.length_cm + zero
        curves["textbook_peak_counts_per_shot_nm"] = textbook.intensity
    return curves
