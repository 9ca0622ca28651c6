"""cross-section: late light against fluence, from which the absorption of one dot comes.

How the fluence is shared out over the dots is not measured here: the cuvette's optical density and
the profile of the spot are parameters.
"""

from __future__ import annotations

from typing import ClassVar

from procedures.auger import FluenceSeries
from procedures.parameters import Choice, Count, Number


class CrossSection(FluenceSeries):
    """Spectrograms from dots with hardly an exciton to dots with several."""

    MEASUREMENT: ClassVar[str] = "cross-section"
    TITLE: ClassVar[str] = "Late emission against pump fluence"

    fluence_max_uJ_cm2 = Number(
        "fluence to", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=60.0
    )
    points = Count("points", minimum=1, maximum=1000, default=12)
    gate_ps = Number(
        "late gate from",
        units="ps",
        minimum=1.0,
        maximum=1e9,
        default=400.0,
        description="after the pulse; later, where two excitons live long",
    )
    optical_density = Number(
        "optical density",
        units="1",
        minimum=0.0,
        maximum=5.0,
        default=0.0,
        description="of the cuvette, at the pump wavelength: how much the pump is weakened",
    )
    spot_profile = Choice(
        "spot profile",
        choices=["tophat", "gaussian"],
        default="tophat",
        description="gaussian: the bench's spot diameter is the full 1/e^2 one, and the fluence "
        "pulse energy over that circle",
    )
