"""The tables of the bench file: every key with its meaning, default and allowed values.

For `instruments.config`, which reads the file, and for the reference in the documentation, which is
built from here. Whether a driver or preset of a given name exists is checked by whoever loads it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instruments.rule import Rule

SIMULATED = "sim"
SERVED = "sim://"

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


class StrictTable(BaseModel):
    """A table that refuses keys that it does not have."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class BenchTable(StrictTable):
    """[bench]: the name of the bench and where its data go."""

    name: str = "simulated bench"
    """What the bench is called in its run files."""
    data_dir: str = "runs"
    """Where run files, queue and dose ledger go; relative to the bench file."""


class PumpTable(StrictTable):
    """[pump]: what hits the sample."""

    wavelength_nm: Annotated[float, Field(ge=190.0, le=2000.0)] = 400.0
    """Wavelength of the pump (nm)."""
    repetition_rate_Hz: Positive = 1000.0
    """Laser shots a second (Hz)."""
    pulse_width_s: Positive = 100e-15
    """Width of a pulse (s)."""
    full_pulse_energy_J: Positive = 0.6e-6
    """Pulse energy at the sample with the attenuator at transmission 1 (J)."""
    stripe_width_mm: Positive | None = None
    """Width of the stripe (mm); 0.1 unless a spot is given."""
    stripe_length_mm: Positive | None = None
    """Length of the full stripe, before the slit (mm); 3.0 unless a spot is given."""
    spot_diameter_mm: Positive | None = None
    """Diameter of a round spot (mm), instead of a stripe."""
    pulse_energy_rel_unc: Fraction = 0.02
    """Relative uncertainty of the energy calibration (one sigma)."""
    area_rel_unc: Fraction = 0.02
    """Relative uncertainty of the pumped area (one sigma)."""
    pick_off_ratio: Positive = 1.0
    """Energy at the meter over the energy at the sample."""
    pulses_per_reading: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Pulses that the energy meter averages for a record."""

    @model_validator(mode="before")
    @classmethod
    def _one_shape(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("spot_diameter_mm") is not None:
            if data.get("stripe_width_mm") or data.get("stripe_length_mm"):
                raise ValueError("give stripe_width_mm and stripe_length_mm, or spot_diameter_mm")
            return data
        if isinstance(data, dict):
            return {"stripe_width_mm": 0.1, "stripe_length_mm": 3.0, **data}
        return data

    @property
    def area_cm2(self) -> float:
        """Nominal area under the full beam (cm2)."""
        if self.spot_diameter_mm is not None:
            return math.pi * (0.05 * self.spot_diameter_mm) ** 2
        assert self.stripe_width_mm is not None and self.stripe_length_mm is not None
        return self.stripe_width_mm * self.stripe_length_mm * 0.01


class SpectrographTable(StrictTable):
    """[spectrograph]: what monochromator and camera make together."""

    wavelength_unc_nm: NotNegative = 0.05
    """Uncertainty of the wavelength axis before it is calibrated (nm, one sigma)."""


class InstrumentTable(BaseModel):
    """[instruments.ROLE]: which driver, where, and the driver's own options."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    driver: str
    """Which driver, by the names of `gainbench list`."""
    resource: str = SIMULATED
    """Where the instrument is, in the driver's own form; `sim` puts the simulated device there."""
    calibration: str | None = None
    """A calibration file, relative to the bench file."""

    @property
    def options(self) -> dict[str, Any]:
        """Keys that only the driver knows."""
        return dict(self.model_extra or {})

    @property
    def simulated(self) -> bool:
        """Whether the simulated device stands in for the instrument."""
        return self.resource == SIMULATED or self.served

    @property
    def served(self) -> bool:
        """Whether the simulated device asks a bench that another process serves."""
        return self.resource.startswith(SERVED)


class LimitsTable(StrictTable):
    """[limits]: refused before anything moves."""

    fluence_min_uJ_cm2: NotNegative = 0.0
    """Lowest fluence (uJ/cm2)."""
    fluence_max_uJ_cm2: Positive | None = None
    """Highest fluence (uJ/cm2); left out: 200 for pulses below 1 ns, 50000 for longer ones."""
    dose_max_J_cm2: Positive | None = None
    """Highest dose of a sample spot, over all runs (J/cm2); none if left out."""
    temperature_min_K: Positive = 4.0
    """Lowest setpoint (K)."""
    temperature_max_K: Positive = 320.0
    """Highest setpoint, and where the heater is switched off (K)."""
    heater_range_max: Annotated[int, Field(ge=0, le=5)] = 3
    """Highest heater range (0 off to 5)."""
    exposure_min_s: Positive = 1e-3
    """Shortest exposure (s)."""
    exposure_max_s: Positive = 10.0
    """Longest exposure (s)."""


class InterlockTable(StrictTable):
    """[interlock]: what closes the shutter."""

    stale_after_s: Positive = 5.0
    """Age from which a reading no longer counts while there is light on the sample (s)."""
    period_s: Annotated[float, Field(ge=0.02, le=10.0)] = 0.2
    """How often the interlock looks (s)."""
    pulse_energy_min_J: NotNegative | None = None
    """Lowest mean pulse energy at the sample while it has light (J)."""
    pulse_energy_max_J: Positive | None = None
    """Highest mean pulse energy at the sample while it has light (J)."""
    temperature_max_K: Positive | None = None
    """Highest sample temperature (K); left out: that of [limits]."""
    rule: str | None = None
    """A rule of your own: what must hold while there is light, as an expression of readings."""

    @field_validator("rule")
    @classmethod
    def _can_be_read(cls, text: str | None) -> str | None:
        if text is not None:
            Rule(text)
        return text

    @model_validator(mode="after")
    def _band(self) -> InterlockTable:
        low, high = self.pulse_energy_min_J, self.pulse_energy_max_J
        if low is not None and high is not None and not low < high:
            raise ValueError("pulse_energy_min_J must be below pulse_energy_max_J")
        if not self.period_s < self.stale_after_s:
            raise ValueError("period_s must be shorter than stale_after_s")
        return self

    @property
    def roles(self) -> frozenset[str]:
        """The roles whose readings it asks for beyond what it always watches."""
        found = set(Rule(self.rule).roles) if self.rule is not None else set()
        if self.pulse_energy_min_J is not None or self.pulse_energy_max_J is not None:
            found.add("energy_meter")
        if self.temperature_max_K is not None:
            found.add("cryostat")
        return frozenset(found)


class NotifyTable(StrictTable):
    """[notify]: apprise URLs and when they hear."""

    urls: list[str] = []
    """Where to send notices (apprise URLs)."""
    on: list[Literal["start", "finish", "failure", "interlock", "sign_of_life"]] = [
        "finish",
        "failure",
        "interlock",
    ]
    """Which events are sent."""
    sign_of_life_h: Positive = 2.0
    """How often a sign of life is sent (hours)."""


class SimulatedBenchTable(StrictTable):
    """[simulation.bench]: what the instruments get wrong."""

    calibration_errors: bool = True
    """Whether true scale factors are drawn from the stated uncertainties."""
    pulse_noise: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    """Shot-to-shot noise of the pulse energy (relative)."""
    drift_per_hour: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    """Drift of the pulse energy (relative, per hour)."""
    slit_zero_um: Annotated[float, Field(ge=-2000.0, le=2000.0)] = 40.0
    """Where the slit is really closed (um)."""
    slit_blur_um: NotNegative = 20.0
    """Blur of the slit's edge (um)."""
    irf_fwhm_ps: Positive = 50.0
    """Response of the streak camera, full width at half maximum (ps)."""
    jitter_ps: NotNegative = 10.0
    """Trigger jitter of the streak camera (ps, one sigma)."""
    lamp: Literal["Hg", "Ne", "Ar", "HgAr", "HgNe"] = "HgAr"
    """The spectral lamp in front of the spectrograph during calibrate-wavelength."""


class SampleTable(StrictTable):
    """[simulation.sample]: a preset, and what is different about this sample."""

    preset: str | None = None
    """The sample that the keys below change."""
    spontaneous_peak_nm: Positive | None = None
    """Peak of the spontaneous band far below threshold (nm)."""
    spontaneous_fwhm_nm: Positive | None = None
    """Its width (nm)."""
    ase_peak_nm: Positive | None = None
    """Peak of the stimulated band, full stripe, at `gain_fluence_uJ_cm2` (nm)."""
    ase_fwhm_nm: Positive | None = None
    """Its width (nm)."""
    threshold_uJ_cm2: Positive | None = None
    """Fluence of zero net modal gain (uJ/cm2)."""
    gain_per_cm: Positive | None = None
    """Small-signal net gain at `gain_fluence_uJ_cm2` (1/cm)."""
    gain_fluence_uJ_cm2: Positive | None = None
    """The fluence that gain and stimulated band refer to (uJ/cm2)."""
    gain_law: Literal["poisson", "linear", "logarithmic"] | None = None
    """How the gain grows with the fluence."""
    saturation_length_cm: Positive | None = None
    """Stripe length at which the net gain is halved (cm)."""
    direct_light_ratio: NotNegative | None = None
    """Light that reaches the detector unguided, over the seed."""
    waveguide_loss_per_cm: NotNegative | None = None
    """Loss of the waveguide (1/cm)."""
    group_index: Positive | None = None
    """Group index of the guided mode."""
    cross_section_cm2: Positive | None = None
    """Absorption cross-section of a dot at the pump (cm2)."""
    optical_density: NotNegative | None = None
    """Optical density of the cuvette at the pump."""
    spot_profile: Literal["tophat", "gaussian"] | None = None
    """Profile of the pump spot."""
    exciton_lifetime_ns: Positive | None = None
    """Lifetime of the single exciton (ns)."""
    auger_lifetime_ps: Positive | None = None
    """Observed decay of the two-exciton state (ps)."""
    biexciton_radiative_factor: Positive | None = None
    """Radiative rate of the two-exciton state over that of the exciton."""
    retained_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Stimulated intensity left after `retained_shots`."""
    retained_shots: Positive | None = None
    """Shots to which `retained_fraction` refers."""
    ageing_per_day: NotNegative | None = None
    """Fractional rise of the threshold a day."""
    exciton_peak_eV: Positive | None = None
    """Exciton line at 10 K (eV)."""
    binding_energy_meV: Positive | None = None
    """Biexciton binding energy (meV)."""
    biexciton_crossover_mJ_cm2: Positive | None = None
    """Fluence at which both 10 K bands are equally strong (mJ/cm2)."""
    exciton_fwhm_10K_meV: Positive | None = None
    """Width of the exciton line at 10 K (meV)."""
    biexciton_fwhm_10K_meV: Positive | None = None
    """Width of the biexciton line at 10 K (meV)."""
    cavity_diameter_um: Positive | None = None
    """Diameter of the capillary (um)."""
    cavity_group_index: Positive | None = None
    """Group index of its modes."""
    cavity_threshold_mJ_cm2: Positive | None = None
    """Lasing threshold of the capillary (mJ/cm2)."""
    cavity_beta: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of the spontaneous light that goes into a mode."""

    @property
    def overrides(self) -> dict[str, Any]:
        """The keys that were given, without the preset."""
        return {
            key: value
            for key, value in self.model_dump(exclude={"preset"}).items()
            if value is not None
        }


class FaultTable(StrictTable):
    """[[simulation.faults]]: what goes wrong, where, when or how often."""

    device: str
    """The role that fails, or "laser"."""
    kind: Literal[
        "silence",
        "timeout",
        "garbage",
        "disconnect",
        "identity",
        "stuck",
        "limit",
        "laser_off",
        "laser_drift",
        "saturate",
        "sensor",
        "heater",
        "restart",
    ]
    """What goes wrong."""
    after_s: NotNegative | None = None
    """When, in seconds after the bench is opened."""
    probability: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Or how often: probability per exchange."""
    for_s: Positive | None = None
    """How long it lasts (s)."""

    @model_validator(mode="after")
    def _when(self) -> FaultTable:
        if (self.after_s is None) == (self.probability is None):
            raise ValueError("give after_s or probability, and only one of them")
        return self


class SimulationTable(StrictTable):
    """[simulation]: the simulated bench, for whatever is not named under [instruments]."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 7
    """Everything random follows from it."""
    clock: Literal["virtual", "wall"] = "virtual"
    """Virtual time (as fast as it goes), or the wall clock."""
    speed: Positive = 1.0
    """How fast the wall clock runs."""
    bench: SimulatedBenchTable = SimulatedBenchTable()
    """See below."""
    sample: SampleTable = SampleTable()
    """See below."""
    faults: list[FaultTable] = []
    """See below."""
