"""The quantum-dot sample of the simulated bench: one set of parameters, every answer from them.

Arrays in, photons out: no instrument, no file, no clock. The analysis never imports this package.
"""

from __future__ import annotations

from sim_drivers.sample.film import Film
from sim_drivers.sample.parameters import (
    DESCRIPTIONS,
    PRESETS,
    SampleDescription,
    SampleError,
    SampleParameters,
    resolve,
)

__all__ = [
    "DESCRIPTIONS",
    "PRESETS",
    "Film",
    "SampleDescription",
    "SampleError",
    "SampleParameters",
    "resolve",
]
