"""biexciton: spectra of a cold film against fluence, from which the biexciton's band comes.

The cryostat goes to the temperature and is waited for until it is stable, which may take hours.
Then spectra are taken under nanosecond pulses, in backscattering. The temperature is read before
and after each record; a record outside the band is not kept but taken again once it is stable.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from instruments.errors import NotReady
from instruments.roles import Cryostat, Limits
from procedures.columns import Column
from procedures.measurement import Needs, Point, Record
from procedures.parameters import Number
from procedures.spectrum_series import SPECTRUM_COLUMNS, SpectrumSeries
from procedures.spot_series import SPOT_COLUMNS, SpotSeries, rounded_nm

log = logging.getLogger(__name__)

EV_NM = 1239.841984
"""Photon energy in eV times wavelength in nm (CODATA 2018)."""
_RETAKES = 3


class Biexciton(SpotSeries):
    """Spectra against fluence at a low temperature, for exciton and biexciton."""

    MEASUREMENT: ClassVar[str] = "biexciton"
    TITLE: ClassVar[str] = "Emission spectra of the cold film against pump fluence"
    ROLES: ClassVar[tuple[str, ...]] = (*SpectrumSeries.ROLES, "cryostat")
    WINDOW_NM: ClassVar[float] = 45.0
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        *SPOT_COLUMNS,
        Column("temperature", "K", "Temperature, mean of before and after"),
        Column("temperature_change", "K", "Temperature after less before"),
        *SPECTRUM_COLUMNS,
    )

    temperature_K = Number("temperature", units="K", minimum=1.0, maximum=400.0, default=10.0)
    temperature_band_K = Number(
        "temperature band",
        units="K",
        minimum=0.01,
        maximum=20.0,
        default=0.2,
        description="a record is kept only if it was inside this distance of the temperature",
    )
    cooling_timeout_s = Number(
        "longest wait", units="s", minimum=1.0, maximum=1e6, default=8 * 3600.0
    )
    binding_guess_meV = Number(
        "binding energy expected",
        units="meV",
        minimum=0.0,
        maximum=300.0,
        default=50.0,
        description="the window is centred half of it below the exciton's band",
    )

    def _check_setpoints(self, setpoints: Mapping[str, float]) -> None:
        super()._check_setpoints(setpoints)
        allowed = self.bench.config.limits
        Limits(allowed.temperature_min_K, allowed.temperature_max_K, "K").check(
            "temperature_K", setpoints["temperature_K"]
        )
        own = self._cryostat().limits.get("temperature_K")
        if own is not None:
            own.check("temperature_K", setpoints["temperature_K"])

    def needs(self, point: Point) -> Needs:
        """As every series, at the temperature; how long cooling takes is not foreseen."""
        found = super().needs(point)
        return replace(found, setpoints={**found.setpoints, "temperature_K": self.temperature_K})

    def survey_fluence_uJ_cm2(self) -> float:
        """The lowest: there the exciton's band is brightest for certain."""
        return 1e3 * float(self.fluence_min_mJ_cm2)

    def _look_for_emission(self) -> float:
        """Return where the window holds both bands, seen from the exciton's."""
        exciton_eV = EV_NM / super()._look_for_emission()
        return rounded_nm(EV_NM / (exciton_eV - 0.5e-3 * self.binding_guess_meV))

    # ---- the cryostat ---------------------------------------------------------------------------

    def _cryostat(self) -> Cryostat:
        cryostat = self.bench.need("cryostat")
        assert isinstance(cryostat, Cryostat)
        return cryostat

    def prepare(self) -> None:
        """Cold and stable first, then window and exposure."""
        self.bench.pump.shut()
        cryostat = self._cryostat()
        cryostat.set_temperature(self.temperature_K)
        reached = cryostat.wait_until_stable(self.cooling_timeout_s)
        log.info("the cryostat is stable at %.3f K", reached)
        super().prepare()

    def record(self, point: Point) -> Record:
        """Take one record inside the temperature band; NotReady if it does not stay there."""
        for _ in range(_RETAKES):
            self._before_K = self._in_band_K()
            row = super().record(point)
            after_K = row["temperature"] + 0.5 * row["temperature_change"]
            if abs(after_K - self.temperature_K) <= self.temperature_band_K:
                return row
            log.warning("%.3f K after the record, which is not kept and taken again", after_K)
        raise NotReady(
            f"cryostat: {after_K:.3f} K after the record, {self.temperature_K:g} +- "
            f"{self.temperature_band_K:g} K are wanted, in {_RETAKES} attempts; lower the fluence, "
            "or widen temperature_band_K"
        )

    def _in_band_K(self) -> float:
        """Return the temperature, waiting for it to be stable where it is outside the band."""
        cryostat = self._cryostat()
        kelvin = cryostat.temperature_K
        if abs(kelvin - self.temperature_K) <= self.temperature_band_K:
            return kelvin
        log.warning("%.3f K is outside the band; waiting until it is stable", kelvin)
        kelvin = cryostat.wait_until_stable(self.cooling_timeout_s)
        if abs(kelvin - self.temperature_K) > self.temperature_band_K:
            raise NotReady(
                f"cryostat: stable at {kelvin:.3f} K, {self.temperature_K:g} K are wanted; was its "
                "set point changed by hand?"
            )
        return kelvin

    def own_columns(self, point: Point) -> Record:
        """The temperature, read again now that the light is off."""
        after = self._cryostat().temperature_K
        return {
            **super().own_columns(point),
            "temperature": 0.5 * (self._before_K + after),
            "temperature_change": after - self._before_K,
        }
