"""Light guided along the pumped stripe: one direction, saturable net gain, spontaneous seed.

    dI/dz = [(g + alpha) / (1 + P) - alpha] I + c s(lambda),   P = integral of I over wavelength,

I the guided power per nm and P the band power, both in units of the saturation power; g the
small-signal net modal gain; alpha the part of the loss that does not saturate, contained in g;
c s the seed. Numbers only, many stripes at a time: what g and c are is told in `stripe.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim_drivers.sample.occupancy import FloatArray

STEP_GAIN = 0.25
"""Largest |rate| x step: fourth order keeps the power within 5e-5 per e-folding at this."""
_FEWEST_STEPS = 24
_SEED_CAUTION = 4.0  # a strong seed saturates the gain within its own step


def step_count(
    gain: FloatArray, seed: FloatArray, length_cm: float, loss_per_cm: float, step_nm: float
) -> int:
    """Return the (even) number of steps for small-signal gains in 1/cm and seeds, both (R, P)."""
    fastest = max(float(np.abs(gain).max()), loss_per_cm)
    fastest += _SEED_CAUTION * float(seed.sum(axis=-1).max()) * step_nm
    return max(_FEWEST_STEPS, 2 * int(np.ceil(0.5 * fastest * length_cm / STEP_GAIN)))


def march(
    gain: FloatArray,
    seed: FloatArray,
    step_cm: float,
    loss_per_cm: float,
    step_nm: float,
    start: FloatArray | None = None,
) -> Iterator[FloatArray]:
    """Yield the guided power per nm, (R, P), after each step of a fourth-order Runge-Kutta.

    `gain` in 1/cm, `seed` in saturation powers per nm and cm, both (R, P) on wavelengths
    `step_nm` apart; `start` is the light at the beginning, none if left out. The array yielded
    is overwritten by the next step: copy what is to be kept. Endless: the caller stops.
    """
    gross = gain + loss_per_cm
    light = np.zeros_like(gain) if start is None else start.copy()
    stage = np.empty_like(light)
    slope = np.empty_like(light)
    total = np.empty_like(light)

    def differentiate(at: FloatArray) -> None:
        unsaturated = 1.0 / (1.0 + step_nm * at.sum(axis=-1, keepdims=True))
        np.multiply(gross, unsaturated, out=slope)
        if loss_per_cm:
            np.subtract(slope, loss_per_cm, out=slope)
        np.multiply(slope, at, out=slope)
        np.add(slope, seed, out=slope)

    while True:
        differentiate(light)
        np.copyto(total, slope)
        for reach, weight in ((0.5, 2.0), (0.5, 2.0), (1.0, 1.0)):
            np.multiply(slope, reach * step_cm, out=stage)
            np.add(stage, light, out=stage)
            differentiate(stage)
            if weight == 1.0:
                np.add(total, slope, out=total)
            else:
                np.multiply(slope, weight, out=stage)
                np.add(total, stage, out=total)
        np.multiply(total, step_cm / 6.0, out=total)
        np.add(light, total, out=light)
        yield light


def propagate(
    gain: FloatArray,
    seed: FloatArray,
    length_cm: float,
    loss_per_cm: float,
    step_nm: float,
    start: FloatArray | None = None,
) -> FloatArray:
    """Return the guided power per nm after `length_cm`, (R, P); arguments as for `march`."""
    steps = step_count(gain, seed, length_cm, loss_per_cm, step_nm)
    marching = march(gain, seed, length_cm / steps, loss_per_cm, step_nm, start)
    for _ in range(steps - 1):
        next(marching)
    return next(marching).copy()
