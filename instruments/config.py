"""The bench file: the schema of bench.toml, and errors that name file, key, value and remedy.

For the Bench and the commands. `load` reads a file, `default` is the bench without a file. Whether
a driver or a preset of a given name exists is checked by whoever loads it.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instruments.errors import ConfigError

ROLES = (
    "attenuator",
    "stripe",
    "monochromator",
    "camera",
    "streak",
    "cryostat",
    "energy_meter",
    "shutter",
    "pulse_gate",
)
SIMULATED = "sim"
SERVED = "sim://"

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, protected_namespaces=())


class BenchTable(_Table):
    """[bench]: the name of the bench and where its data go."""

    name: str = "simulated bench"
    data_dir: str = "runs"


class PumpTable(_Table):
    """[pump]: what hits the sample."""

    wavelength_nm: Annotated[float, Field(ge=190.0, le=2000.0)] = 400.0
    repetition_rate_Hz: Positive = 1000.0
    pulse_width_s: Positive = 100e-15
    full_pulse_energy_J: Positive = 0.6e-6
    stripe_width_mm: Positive | None = None
    stripe_length_mm: Positive | None = None
    spot_diameter_mm: Positive | None = None
    pulse_energy_rel_unc: Fraction = 0.02
    area_rel_unc: Fraction = 0.02
    pick_off_ratio: Positive = 1.0
    pulses_per_reading: Annotated[int, Field(ge=1, le=100_000)] = 200

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


class InstrumentTable(BaseModel):
    """[instruments.ROLE]: which driver, where, and the driver's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    driver: str
    resource: str = SIMULATED
    calibration: str | None = None

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


class LimitsTable(_Table):
    """[limits]: refused before anything moves."""

    fluence_min_uJ_cm2: NotNegative = 0.0
    fluence_max_uJ_cm2: Positive = 200.0
    dose_max_J_cm2: Positive | None = None
    temperature_min_K: Positive = 4.0
    temperature_max_K: Positive = 320.0
    heater_range_max: Annotated[int, Field(ge=0, le=5)] = 3
    exposure_min_s: Positive = 1e-3
    exposure_max_s: Positive = 10.0


class InterlockTable(_Table):
    """[interlock]: what closes the shutter."""

    stale_after_s: Positive = 5.0
    period_s: Positive = 0.2
    pulse_energy_min_J: NotNegative | None = None
    pulse_energy_max_J: Positive | None = None
    temperature_max_K: Positive | None = None
    rule: str | None = None


class NotifyTable(_Table):
    """[notify]: apprise URLs and when they hear."""

    urls: list[str] = []
    on: list[Literal["start", "finish", "failure", "interlock", "sign_of_life"]] = [
        "finish",
        "failure",
        "interlock",
    ]
    sign_of_life_h: Positive = 2.0


class SimulatedBenchTable(_Table):
    """[simulation.bench]: what the instruments get wrong."""

    calibration_errors: bool = True
    pulse_noise: Annotated[float, Field(ge=0.0, le=0.5)] = 0.02
    drift_per_hour: Annotated[float, Field(ge=0.0, le=0.5)] = 0.01
    slit_zero_um: Annotated[float, Field(ge=-2000.0, le=2000.0)] = 40.0
    slit_blur_um: NotNegative = 20.0
    irf_fwhm_ps: Positive = 50.0
    jitter_ps: NotNegative = 10.0
    lamp: Literal["Hg", "Ne", "Ar", "HgAr", "HgNe"] = "HgAr"


class SampleTable(_Table):
    """[simulation.sample]: a preset, and what is different about this sample."""

    preset: str | None = None
    spontaneous_peak_nm: Positive | None = None
    spontaneous_fwhm_nm: Positive | None = None
    ase_peak_nm: Positive | None = None
    ase_fwhm_nm: Positive | None = None
    threshold_uJ_cm2: Positive | None = None
    gain_per_cm: Positive | None = None
    gain_fluence_uJ_cm2: Positive | None = None
    gain_law: Literal["poisson", "linear", "logarithmic"] | None = None
    saturation_length_cm: Positive | None = None
    direct_light_ratio: NotNegative | None = None
    waveguide_loss_per_cm: NotNegative | None = None
    group_index: Positive | None = None
    cross_section_cm2: Positive | None = None
    optical_density: NotNegative | None = None
    spot_profile: Literal["tophat", "gaussian"] | None = None
    exciton_lifetime_ns: Positive | None = None
    auger_lifetime_ps: Positive | None = None
    biexciton_radiative_factor: Positive | None = None
    retained_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    retained_shots: Positive | None = None
    ageing_per_day: NotNegative | None = None
    exciton_peak_eV: Positive | None = None
    binding_energy_meV: Positive | None = None
    biexciton_crossover_mJ_cm2: Positive | None = None
    exciton_fwhm_10K_meV: Positive | None = None
    biexciton_fwhm_10K_meV: Positive | None = None
    cavity_diameter_um: Positive | None = None
    cavity_group_index: Positive | None = None
    cavity_threshold_mJ_cm2: Positive | None = None
    cavity_beta: Annotated[float, Field(gt=0.0, le=1.0)] | None = None

    @property
    def overrides(self) -> dict[str, Any]:
        """The keys that were given, without the preset."""
        return {
            key: value
            for key, value in self.model_dump(exclude={"preset"}).items()
            if value is not None
        }


class FaultTable(_Table):
    """[[simulation.faults]]: what goes wrong, where, when or how often."""

    device: str
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
    after_s: NotNegative | None = None
    probability: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    for_s: Positive | None = None

    @model_validator(mode="after")
    def _when(self) -> FaultTable:
        if (self.after_s is None) == (self.probability is None):
            raise ValueError("give after_s or probability, and only one of them")
        return self


class SimulationTable(_Table):
    """[simulation]: the simulated bench, for whatever is not named under [instruments]."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 7
    clock: Literal["virtual", "wall"] = "virtual"
    speed: Positive = 1.0
    bench: SimulatedBenchTable = SimulatedBenchTable()
    sample: SampleTable = SampleTable()
    faults: list[FaultTable] = []


class BenchConfig(_Table):
    """A whole bench file."""

    bench: BenchTable = BenchTable()
    pump: PumpTable | None = None
    instruments: dict[
        Literal[
            "attenuator",
            "stripe",
            "monochromator",
            "camera",
            "streak",
            "cryostat",
            "energy_meter",
            "shutter",
            "pulse_gate",
        ],
        InstrumentTable,
    ] = {}
    limits: LimitsTable = LimitsTable()
    interlock: InterlockTable = InterlockTable()
    notify: NotifyTable = NotifyTable()
    simulation: SimulationTable | None = None

    _file: str | None = None
    _text: str = ""

    @property
    def file(self) -> str | None:
        """The file it was read from, None for the bench without a file."""
        return self._file

    @property
    def text(self) -> str:
        """The text of the file, for the run file."""
        return self._text

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return Path(self._file).resolve().parent if self._file else Path.cwd()

    @property
    def data_dir(self) -> Path:
        """Where run files, queue and ledger go."""
        return self.folder / self.bench.data_dir


def default() -> BenchConfig:
    """Return the bench without a file: simulated, on the virtual clock."""
    return BenchConfig(simulation=SimulationTable())


def load(path: str | Path) -> BenchConfig:
    """Read a bench file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or holds what is not allowed.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", file=name) from None
    return parse(text, name)


def parse(text: str, file: str | None = None) -> BenchConfig:
    """Check the text of a bench file; see `load`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", file=file) from None
    try:
        config = BenchConfig.model_validate(data)
    except ValidationError as error:
        raise _explain(error, data, file) from None
    config._file = file
    config._text = text
    return config


def _explain(error: ValidationError, data: Mapping[str, Any], file: str | None) -> ConfigError:
    """Say the first thing that is wrong, in the operator's words."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if part != "[key]"]
    key = ".".join(parts)
    kind = first["type"]
    if kind == "extra_forbidden" or (kind == "literal_error" and first["loc"][-1] == "[key]"):
        table = ROLES if parts[:1] == ["instruments"] else _allowed(first["loc"][:-1])
        near = difflib.get_close_matches(parts[-1], table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return ConfigError(
            f"unknown key{hint} Allowed here: {', '.join(sorted(table))}", file=file, key=key
        )
    given = first.get("input")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "missing":
        return ConfigError("this key is missing", file=file, key=key)
    if isinstance(given, dict) or kind == "value_error":
        return ConfigError(message, file=file, key=key)
    return ConfigError(f"{given!r} was given, but {message}", file=file, key=key)


def _allowed(location: tuple[Any, ...]) -> list[str]:
    """Return the keys of the table at `location`."""
    model: Any = BenchConfig
    for part in location:
        if isinstance(part, int):
            continue
        found = (
            _model_of(model.model_fields[part].annotation) if part in model.model_fields else None
        )
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found is not None:
            return found
    return None
