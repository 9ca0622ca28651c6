"""The common interface: one small abstract class per role, units in every name.

A measurement knows roles only; a driver fills one. Every role has an identity, a status, limits
that are enforced before anything moves, `make_safe()`, a snapshot of its settings with units, and
`close()`. Setting an attribute that the class does not have raises: a misspelt property must not
pass in silence.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instruments.errors import LimitError

if TYPE_CHECKING:  # names in commands need no numpy
    import numpy as np
    import numpy.typing as npt

Value = float | int | bool | str


def _nothing() -> npt.NDArray[np.float64]:
    import numpy as np

    return np.empty(0)


@dataclass(frozen=True)
class Identity:
    """Who an instrument says it is."""

    vendor: str
    model: str
    serial: str = ""
    firmware: str = ""

    def __str__(self) -> str:
        """Return it on one line."""
        text = f"{self.vendor} {self.model}"
        return text + (f" (serial {self.serial})" if self.serial else "")


@dataclass(frozen=True)
class Status:
    """How an instrument is: `ok`, and a line for the operator."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Setting:
    """One value of a snapshot, with its unit as text ("" where it has none)."""

    value: Value
    unit: str = ""


@dataclass(frozen=True)
class Limits:
    """The closed interval in which a quantity is allowed."""

    low: float
    high: float
    unit: str

    def check(self, name: str, value: float) -> float:
        """Return `value`; raise LimitError if it is outside, or not a number."""
        if not self.low <= value <= self.high:
            raise LimitError(
                f"{name}: {value:g} {self.unit} was asked, allowed is "
                f"{self.low:g} to {self.high:g} {self.unit}",
                key=name,
            )
        return value


def refuse_unknown(instance: object, name: str) -> None:
    """Raise AttributeError if `name` is neither private nor an attribute of the class."""
    if not name.startswith("_") and not hasattr(type(instance), name):
        known = vars(instance)
        if name not in known:
            raise AttributeError(f"{type(instance).__name__} has no setting {name!r}")


class Role(abc.ABC):
    """What every instrument of the bench can do."""

    _sealed = False

    @property
    @abc.abstractmethod
    def identity(self) -> Identity:
        """Who the instrument said it is when it was opened."""

    @abc.abstractmethod
    def status(self) -> Status:
        """Ask the instrument how it is; raises InstrumentError if it does not answer."""

    @property
    @abc.abstractmethod
    def limits(self) -> Mapping[str, Limits]:
        """The limits enforced before anything moves, by name of the setting."""

    @abc.abstractmethod
    def make_safe(self) -> None:
        """Bring the instrument to the state in which it cannot harm; callable at any time."""

    @abc.abstractmethod
    def snapshot(self) -> dict[str, Setting]:
        """Return the settings as they are now, with units."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the connection; callable more than once."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what the class does not have, once `_sealed` is set."""
        if self._sealed:
            refuse_unknown(self, name)
        super().__setattr__(name, value)


class Rotator(Role):
    """A rotation mount."""

    @property
    @abc.abstractmethod
    def homed(self) -> bool:
        """Whether the angle can be trusted."""

    @abc.abstractmethod
    def home(self) -> None:
        """Search the reference; blocks until done."""

    @property
    @abc.abstractmethod
    def angle_deg(self) -> float:
        """The angle, as the mount reports it, in degrees."""

    @abc.abstractmethod
    def move_to(self, angle_deg: float) -> float:
        """Go to `angle_deg`, block until there, return the angle reached (degrees).

        Raises NotReady before homing, LimitError outside the limits.
        """

    @property
    @abc.abstractmethod
    def resolution_deg(self) -> float:
        """The uncertainty of a settled angle (one standard deviation, degrees)."""


class Attenuator(Role):
    """What sets the fraction of the pump that goes on to the sample."""

    @property
    @abc.abstractmethod
    def transmission(self) -> float:
        """The transmission now, 0 to 1, from the position read back."""

    @property
    @abc.abstractmethod
    def transmission_error(self) -> float:
        """One standard deviation of the transmission now (resolution and calibration)."""

    @abc.abstractmethod
    def set_transmission(self, transmission: float) -> float:
        """Go to a transmission, return the one reached; LimitError outside the limits."""

    @property
    @abc.abstractmethod
    def angle_deg(self) -> float:
        """The position behind the transmission (degrees), for the record."""


@dataclass(frozen=True)
class Grating:
    """A grating of a monochromator: slot, grooves per mm, blaze wavelength in nm (0: mirror)."""

    slot: int
    grooves_per_mm: float
    blaze_nm: float


class Monochromator(Role):
    """What turns the wavelength window to the detector."""

    @property
    @abc.abstractmethod
    def wavelength_nm(self) -> float:
        """The centre wavelength, as read back, in nm."""

    @abc.abstractmethod
    def go_to(self, wavelength_nm: float) -> float:
        """Go to a centre wavelength (nm), block until there, return the one read back."""

    @property
    @abc.abstractmethod
    def gratings(self) -> tuple[Grating, ...]:
        """The gratings that are installed."""

    @property
    @abc.abstractmethod
    def grating(self) -> Grating:
        """The grating in use."""

    @abc.abstractmethod
    def select_grating(self, slot: int) -> Grating:
        """Turn to the grating in `slot`; LimitError if there is none."""


@dataclass(frozen=True)
class Exposure:
    """One acquisition of a camera.

    frames: (n, pixels) uint16 counts, vertically binned; saturation_counts: the count from which
    a pixel is saturated; start_s and end_s: bench time (seconds since 1970).
    """

    frames: npt.NDArray[np.uint16]
    exposure_s: float
    saturation_counts: int
    start_s: float
    end_s: float

    @property
    def saturated(self) -> bool:
        """Whether any pixel of any frame is saturated."""
        return bool((self.frames >= self.saturation_counts).any())


class Camera(Role):
    """A CCD behind a spectrograph, read as a spectrum (full vertical binning)."""

    @property
    @abc.abstractmethod
    def pixels(self) -> int:
        """Pixels along the wavelength axis."""

    @property
    @abc.abstractmethod
    def pixel_pitch_um(self) -> float:
        """Distance of two pixels (micrometres)."""

    @property
    @abc.abstractmethod
    def saturation_counts(self) -> int:
        """The count from which a pixel is saturated."""

    @property
    @abc.abstractmethod
    def exposure_s(self) -> float:
        """The exposure of a frame (seconds), as read back."""

    @abc.abstractmethod
    def set_exposure_s(self, exposure_s: float) -> float:
        """Set the exposure (seconds), return the one the camera took."""

    @abc.abstractmethod
    def acquire(self, frames: int = 1) -> Exposure:
        """Take `frames` frames, block until they are read."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Stop an acquisition; callable at any time."""

    @property
    @abc.abstractmethod
    def temperature_C(self) -> float:
        """Sensor temperature (degrees Celsius)."""

    @abc.abstractmethod
    def wait_until_cold(self, timeout_s: float) -> None:
        """Wait until the sensor is stable at its set-point; NotReady after `timeout_s`."""


@dataclass(frozen=True)
class ShotBlock:
    """Consecutive laser shots, each with its spectrum and its pulse energy.

    first: number of the first shot since `start_shots`; frames: (n, pixels) uint16 counts;
    energies_J: (n,) at the pick-off; start_s: bench time of the first.
    """

    first: int
    frames: npt.NDArray[np.uint16]
    energies_J: npt.NDArray[np.float64]
    start_s: float


class ShotCamera(Camera):
    """A line camera that is read with every laser shot, and a detector of the pulse energy.

    It goes on while the last block is worked on, into a buffer of its own; what does not fit there
    is an error, never a gap.
    """

    @property
    @abc.abstractmethod
    def rate_Hz(self) -> float:
        """Shots a second."""

    @abc.abstractmethod
    def start_shots(self) -> None:
        """Begin to deliver every shot from now on."""

    @abc.abstractmethod
    def read_shots(self, shots: int) -> ShotBlock:
        """Return the next `shots` shots, as soon as they have come.

        Raises:
            DeviceFault: shots were lost, because they were read too late.
            NoReply: none come. NotReady: they were not started.
        """

    @abc.abstractmethod
    def stop_shots(self) -> None:
        """End it; callable at any time."""


class Shutter(Role):
    """What lets the pump through. Closed unless light is needed."""

    @abc.abstractmethod
    def open(self) -> None:
        """Open, and return when the blade is seen open; raises InstrumentError otherwise."""

    @abc.abstractmethod
    def shut(self) -> None:
        """Close, and return when the blade is seen closed; raises InstrumentError otherwise."""

    @property
    @abc.abstractmethod
    def is_open(self) -> bool:
        """Whether the blade is open, asked of the device."""


@dataclass(frozen=True)
class PulseEnergy:
    """The mean of some pulses: mean_J, spread_J (standard deviation of single pulses), pulses."""

    mean_J: float
    spread_J: float
    pulses: int
    singles_J: npt.NDArray[np.float64] = field(default_factory=_nothing, repr=False, compare=False)

    @property
    def error_J(self) -> float:
        """Standard error of the mean (J)."""
        return float(self.spread_J / max(self.pulses, 1) ** 0.5)


class EnergyMeter(Role):
    """What measures the energy of single pulses."""

    @abc.abstractmethod
    def read_pulses(self, pulses: int) -> PulseEnergy:
        """Measure `pulses` pulses (J); NoReply if none comes."""

    def watch_pulses(self, pulses: int, patience_s: float) -> PulseEnergy:
        """Measure `pulses` pulses (J) for the interlock, which must not wait.

        Raises:
            NoPulse: none came within `patience_s`. BeyondRange: one was stronger than the range.
        """
        return self.read_pulses(pulses)

    @property
    def unseen_s(self) -> float:
        """For how long a pulse has been waited for in vain by now, by whomever (s, 0: none is).

        Known without asking the meter, whose link whoever waits may hold.
        """
        return 0.0

    @abc.abstractmethod
    def set_wavelength_nm(self, wavelength_nm: float) -> float:
        """Set the wavelength correction (nm), return what the meter took."""

    @abc.abstractmethod
    def set_range_J(self, energy_J: float) -> float:
        """Choose the range that holds `energy_J`, return its upper end (J)."""


class Stage(Role):
    """A linear stage."""

    @property
    @abc.abstractmethod
    def homed(self) -> bool:
        """Whether the position can be trusted."""

    @abc.abstractmethod
    def home(self) -> None:
        """Search the reference; blocks until done."""

    @property
    @abc.abstractmethod
    def position_mm(self) -> float:
        """The position (mm), as the stage reports it."""

    @abc.abstractmethod
    def move_to(self, position_mm: float) -> float:
        """Go to a position (mm), block until there, return the one reached."""


@dataclass(frozen=True)
class StreakImage:
    """One streak spectrogram.

    counts: (times, wavelengths) float32, summed over the exposures; in photon counting the number
    of photons. time_ps: (times,) rising, from the camera's scaling table, its zero where the sweep
    begins. wavelength_nm: (wavelengths,) rising. start_s and end_s: bench time. saturated: whether
    any pixel of any exposure reached the sensor's end.
    """

    counts: npt.NDArray[np.float32]
    time_ps: npt.NDArray[np.float64]
    wavelength_nm: npt.NDArray[np.float64]
    mode: str
    exposure_s: float
    exposures: int
    mcp_gain: int
    saturated: bool
    start_s: float
    end_s: float


class StreakCamera(Role):
    """A streak camera behind a spectrograph, read as a time-wavelength image.

    Its photocathode and micro-channel plate are what light destroys: the gain is zero and the
    shutter closed whenever no image is being taken.
    """

    ANALOG = "analog"
    COUNTING = "counting"

    @property
    @abc.abstractmethod
    def time_ranges_ps(self) -> tuple[float, ...]:
        """The full sweeps that can be chosen (ps), rising."""

    @property
    @abc.abstractmethod
    def time_range_ps(self) -> float:
        """The full sweep in use (ps)."""

    @abc.abstractmethod
    def select_time_range(self, time_range_ps: float) -> float:
        """Choose the shortest sweep that holds `time_range_ps`, return it; LimitError if none."""

    @property
    @abc.abstractmethod
    def delay_ps(self) -> float:
        """The delay of the sweep behind the trigger (ps)."""

    @abc.abstractmethod
    def set_delay_ps(self, delay_ps: float) -> float:
        """Set the delay (ps), return the one read back."""

    @property
    @abc.abstractmethod
    def centre_wavelength_nm(self) -> float:
        """The centre of the spectral axis (nm)."""

    @abc.abstractmethod
    def go_to(self, wavelength_nm: float) -> float:
        """Centre the spectral axis on a wavelength (nm), return the one reached."""

    @property
    @abc.abstractmethod
    def mcp_gain(self) -> int:
        """The gain of the micro-channel plate that images are taken with (device steps)."""

    @abc.abstractmethod
    def set_mcp_gain(self, gain: int) -> int:
        """Set the gain for the next images; LimitError outside the limits."""

    @property
    @abc.abstractmethod
    def exposure_s(self) -> float:
        """Exposure of one frame (s)."""

    @abc.abstractmethod
    def set_exposure_s(self, exposure_s: float) -> float:
        """Set the exposure of one frame (s), return what the camera took."""

    @abc.abstractmethod
    def acquire(self, mode: str = ANALOG, exposures: int = 1) -> StreakImage:
        """Take an image summed over `exposures` frames, by `mode` (ANALOG or COUNTING).

        Opens the camera's shutter and raises the gain for the time of the image only: on every
        way out the gain is zero and the shutter closed.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Stop an acquisition; callable at any time."""


class Cryostat(Role):
    """What holds the sample at a temperature."""

    @property
    @abc.abstractmethod
    def temperature_K(self) -> float:
        """The temperature of the control sensor (K); DeviceFault if its reading is not valid."""

    def glance_K(self, limit_K: float) -> float:
        """Return the temperature (K) as quickly as the line allows, for the interlock.

        One above `limit_K` is confirmed by a second reply; one below may rest on a single reply.
        """
        return self.temperature_K

    @property
    @abc.abstractmethod
    def setpoint_K(self) -> float:
        """The temperature asked for (K), as read back."""

    @abc.abstractmethod
    def set_temperature(self, temperature_K: float, ramp_K_per_min: float | None = None) -> None:
        """Ask for a temperature (K), at a ramp if given; returns at once.

        Raises LimitError outside the limits, DeviceFault if the heater is open or shorted.
        """

    @property
    @abc.abstractmethod
    def heater_percent(self) -> float:
        """The output of the heater (percent of its range)."""

    @property
    @abc.abstractmethod
    def stable(self) -> bool:
        """Whether the temperature has been within the band for the dwell time up to now.

        Known from readings taken by `watch` or `wait_until_stable`, at least one a second.
        """

    @abc.abstractmethod
    def wait_until_stable(self, timeout_s: float) -> float:
        """Wait until stable, return the temperature (K); NotReady after `timeout_s`."""

    @abc.abstractmethod
    def heater_off(self) -> None:
        """Switch the heater off, verified."""


@dataclass(frozen=True)
class Burst:
    """The shots that a gate let through: how many, and the bench time of first and last."""

    shots: int
    start_s: float
    end_s: float


class PulseGate(Role):
    """What lets a counted number of pump shots through, or all, or none."""

    @property
    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether the trigger scheme makes `release` exact to the shot."""

    @abc.abstractmethod
    def release(self, shots: int) -> Burst:
        """Let exactly `shots` shots through, block until they are; blocked again afterwards.

        Raises NotReady where the trigger scheme does not count laser shots (it says what to
        change), LimitError for a number outside the limits, DeviceFault if shots were lost.
        """

    @abc.abstractmethod
    def pass_all(self) -> None:
        """Let every shot through until `block`."""

    @abc.abstractmethod
    def block(self) -> None:
        """Let no shot through, verified."""
