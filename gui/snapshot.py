"""What the bench's thread tells the window: values that nobody changes any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from instruments.roles import Grating, Limits

OK, BUSY, WARN, BAD, OFF = "ok", "busy", "warn", "bad", "off"
"""How something is; the words beside it say what that means."""


@dataclass(frozen=True)
class InstrumentView:
    """One instrument as it was when it was asked.

    state: OK, BUSY, WARN or BAD, and `words` for it; reading: the line that matters; values: what
    can be set, by name, as read back; limits of these; time_s: when (time.monotonic()); since_s:
    since when it has been in this state; advice: what to do about it.
    """

    role: str
    state: str
    words: str
    reading: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    gratings: tuple[Grating, ...] = ()
    choices: tuple[float, ...] = ()
    homed: bool = True
    identity: str = ""
    time_s: float = 0.0
    since_s: float = 0.0
    advice: str = ""


@dataclass(frozen=True)
class BeamView:
    """What hits the sample: repetition rate, pulse energy, fluence with error, shots and dose."""

    repetition_rate_Hz: float
    energy_J: float | None = None
    fluence_uJ_cm2: float | None = None
    fluence_error_uJ_cm2: float = 0.0
    measured: bool = False
    shots: int = 0
    dose_J_cm2: float = 0.0
    time_s: float = 0.0


@dataclass(frozen=True)
class BenchView:
    """The whole bench: phase ("opening", "open", "closed" or "failed") and what is in it."""

    phase: str
    text: str = ""
    name: str = ""
    simulated: bool = False
    arrangement: str = ""
    instruments: Mapping[str, InstrumentView] = field(default_factory=dict)
    beam: BeamView | None = None
    shutter_open: bool | None = None
    temperature_K: float | None = None
    holder: str = ""
    tripped: str = ""
    """Why the interlock has closed the shutter, "" while all is well."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A spectrum of the live view: counts (pixels,), on wavelength_nm (pixels,)."""

    number: int
    wavelength_nm: npt.NDArray[np.float64] = field(repr=False)
    counts: npt.NDArray[np.float64] = field(repr=False)
    saturation_counts: float
    exposure_s: float
    time_s: float
    shutter_open: bool | None = None
