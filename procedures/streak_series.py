"""streak-series: spectrograms at some fluences, for early and late spectra and decays."""

from __future__ import annotations

from typing import ClassVar

from procedures.parameters import Number, Numbers, ParameterError
from procedures.streak_measurement import StreakMeasurement


class StreakSeries(StreakMeasurement):
    """Spectrograms below, near and above the threshold of stimulated emission."""

    MEASUREMENT: ClassVar[str] = "streak-series"
    TITLE: ClassVar[str] = "Streak spectrograms against pump fluence"

    fluences_uJ_cm2 = Numbers(
        "fluences", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=[0.8, 11.5, 25.0]
    )
    early_gate_ps = Number(
        "early gate to",
        units="ps",
        minimum=1.0,
        maximum=1e9,
        default=50.0,
        description="after the pulse; the late gate begins there",
    )
    late_gate_ps = Number("late gate to", units="ps", minimum=1.0, maximum=1e9, default=6000.0)

    response_tilt_per_nm = Number(
        "tilt of the response",
        units="1/nm",
        minimum=-0.1,
        maximum=0.1,
        default=0.0,
        description="of camera and spectrograph, relative, as a lamp of known spectrum shows it: "
        "below zero where they see less of longer wavelengths",
    )
    response_tilt_unc_per_nm = Number(
        "its uncertainty",
        units="1/nm",
        minimum=0.0,
        maximum=0.1,
        default=0.004,
        description="one standard deviation; photocathodes that were not measured differ so",
    )

    def check(self) -> None:
        """Refuse an empty list, and gates that are none."""
        super().check()
        if not self.fluences_uJ_cm2:
            raise ParameterError("at least one fluence is wanted", key="fluences_uJ_cm2")
        if not self.early_gate_ps < self.late_gate_ps:
            raise ParameterError("must be below late_gate_ps", key="early_gate_ps")

    def fluences(self) -> list[float]:
        """As listed."""
        return list(self.fluences_uJ_cm2)
