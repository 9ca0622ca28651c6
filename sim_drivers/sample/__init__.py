"""The quantum-dot sample of the simulated bench: one set of parameters, every answer from them.

A film under the stripe, a cuvette, a film in the cryostat or a capillary: all answer alike
(`Sample`). Arrays in, photons out: no instrument, no file, no clock. The analysis never imports
this package. Each kind is imported when it is first asked for: names of presets are wanted without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sim_drivers.sample.parameters import (
    DESCRIPTIONS,
    PRESETS,
    USES,
    SampleDescription,
    SampleError,
    SampleParameters,
    resolve,
)

if TYPE_CHECKING:
    from sim_drivers.sample.capillary import Capillary
    from sim_drivers.sample.cold import ColdFilm
    from sim_drivers.sample.conditions import Conditions, Lines, Sample
    from sim_drivers.sample.cuvette import Cuvette
    from sim_drivers.sample.film import Film
    from sim_drivers.sample.stripe_film import StripeFilm

__all__ = [
    "DESCRIPTIONS",
    "PRESETS",
    "USES",
    "Capillary",
    "ColdFilm",
    "Conditions",
    "Cuvette",
    "Film",
    "Lines",
    "Sample",
    "SampleDescription",
    "SampleError",
    "SampleParameters",
    "StripeFilm",
    "prepare",
    "resolve",
]

_WHERE = {
    "Capillary": "capillary",
    "ColdFilm": "cold",
    "Conditions": "conditions",
    "Cuvette": "cuvette",
    "Film": "film",
    "Lines": "conditions",
    "Sample": "conditions",
    "StripeFilm": "stripe_film",
}


def __getattr__(name: str) -> Any:
    """Import a kind of sample when it is asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def prepare(
    use: str, parameters: SampleParameters, length_cm: float, pump_wavelength_nm: float
) -> Sample:
    """Return the sample for a use (one of `USES`).

    Raises:
        SampleError: no stripe can be what the parameters say.
        ValueError: there is no such use.
    """
    if use == "stripe":
        from sim_drivers.sample.stripe_film import StripeFilm

        return StripeFilm(parameters, length_cm, pump_wavelength_nm=pump_wavelength_nm)
    if use == "cuvette":
        from sim_drivers.sample.cuvette import Cuvette

        return Cuvette(parameters, pump_wavelength_nm=pump_wavelength_nm)
    if use == "cold":
        from sim_drivers.sample.cold import ColdFilm

        return ColdFilm(parameters)
    if use == "capillary":
        from sim_drivers.sample.capillary import Capillary

        return Capillary(parameters)
    raise ValueError(f"use: {use!r} was given, allowed is one of {', '.join(USES)}")
