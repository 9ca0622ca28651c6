"""What measurements are made of: pymeasure's procedure and parameters, loaded without its pandas.

Import them from here: `pymeasure.experiment` itself loads pandas for reading its own text files.
"""

from __future__ import annotations

from instruments.postponed import postponed

with postponed("pandas"):
    from pymeasure.experiment import (
        BooleanParameter,
        FloatParameter,
        IntegerParameter,
        ListParameter,
        Parameter,
        Procedure,
        Results,
    )

__all__ = [
    "BooleanParameter",
    "FloatParameter",
    "IntegerParameter",
    "ListParameter",
    "Parameter",
    "Procedure",
    "Results",
]
