"""Streak spectrograms at one fluence after another: what the time-resolved measurements share.

The base of lifetime, auger, cross-section and streak-series. First the response of the camera is
recorded, scattered pump light at the pump wavelength in the same sweep; then the sample at each
fluence, a whole spectrogram a record, with the same exposure in the dark beside it. What a detected
electron is in counts is measured beforehand from a pair of images. Stops at the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.ndimage import uniform_filter

from instruments.errors import InstrumentError, NotReady
from instruments.pump import Fluence
from instruments.roles import StreakCamera, StreakImage
from procedures.analysis.photon_transfer import event_counts
from procedures.analysis.streak_image import RESPONSE, SAMPLE
from procedures.columns import Axis, Column
from procedures.measurement import Forecast, Measurement, Needs, Point, Record
from procedures.parameters import Choice, Count, Number, ParameterError
from procedures.spectrum_series import BEAM_COLUMNS

_OVERHEAD_S = 8.0
_OPENING_S = 0.4  # light beyond the frames of a record: shutter, read-outs
_MARGIN = 1.25  # light between the frames, which the shutter stays open for
_NARROWEST_NM = 25.0  # step of a survey
_MOST_ATTEMPTS = 10
_SURVEY_S = 0.5
_SURVEY_SIGMA = 8.0
_CROWDED = 0.05  # photons counted on 3 x 3 pixels a frame: more lose some to each other

STREAK_COLUMNS = (
    *(column for column in BEAM_COLUMNS if column.name != "stripe_length"),
    Column("kind", "", "0 the sample, 1 response: scattered pump light", "uint8"),
    Column("centre_wavelength", "nm", "Centre of the spectral axis"),
    Column("mcp_gain", "", "Gain of the micro-channel plate (steps)", "uint16"),
    Column("saturated", "", "1 if a pixel is saturated", "uint8"),
    Column(
        "frames",
        "counts",
        "Spectrogram, background included",
        "float32",
        ("sweep_time", "wavelength"),
    ),
    Column(
        "background", "counts", "Same exposure, pump shut", "float32", ("sweep_time", "wavelength")
    ),
)


class StreakMeasurement(Measurement):
    """Spectrograms against fluence, the camera's response before them.

    Points have `fluence_uJ_cm2` and `kind`. A subclass says at which fluences (`fluences`).
    """

    ROLES: ClassVar[tuple[str, ...]] = ("attenuator", "shutter", "streak")
    SIGNAL: ClassVar[str] = "frames"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("fluence", "sweep_time", "wavelength")
    SPECTROSCOPY: ClassVar[str | None] = "time resolved"
    COLUMNS: ClassVar[tuple[Column, ...]] = STREAK_COLUMNS

    time_range_ps = Number(
        "time range",
        units="ps",
        minimum=1.0,
        maximum=1e12,
        default=10_000.0,
        description="the shortest sweep of the camera that holds this is used",
    )
    delay_ps = Number(
        "delay",
        units="ps",
        minimum=-1e12,
        maximum=1e12,
        default=0.0,
        description="of the sweep behind the trigger; the pulse should come at a tenth of it",
    )
    integration_s = Number(
        "integration",
        units="s",
        minimum=1e-3,
        maximum=1e5,
        default=20.0,
        description="how long light is integrated for each record",
    )
    exposure_max_s = Number("longest exposure", units="s", minimum=1e-3, maximum=60, default=1.0)
    mode = Choice("mode", choices=[StreakCamera.ANALOG, StreakCamera.COUNTING], default="analog")
    mcp_gain = Count(
        "gain",
        minimum=0,
        maximum=1000,
        default=40,
        description="steps of the camera; photon counting wants about 60",
    )
    response_fluence_uJ_cm2 = Number(
        "fluence of the response",
        units="uJ/cm^2",
        minimum=1e-3,
        maximum=1e5,
        default=5.0,
        description="at which scattered pump light is recorded",
    )
    responses = Count("records of the response", minimum=0, maximum=100, default=1)
    centre_wavelength_nm = Number(
        "centre wavelength",
        units="nm",
        minimum=0.0,
        maximum=2000.0,
        default=0.0,
        description="0: look for the emission first",
    )
    survey_min_nm = Number("survey from", units="nm", minimum=200, maximum=2000, default=420.0)
    survey_max_nm = Number("survey to", units="nm", minimum=200, maximum=2000, default=720.0)

    # ---- what a subclass says -------------------------------------------------------------------

    def fluences(self) -> list[float]:
        """Return the fluences of the sample's records, in order (uJ/cm2)."""
        raise NotImplementedError

    # ---- what follows ---------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse an empty survey."""
        if not self.survey_min_nm < self.survey_max_nm:
            raise ParameterError("must be below survey_max_nm", key="survey_min_nm")

    def plan(self) -> list[Point]:
        """The response, then the sample at each fluence."""
        response = {"fluence_uJ_cm2": float(self.response_fluence_uJ_cm2), "kind": float(RESPONSE)}
        sample = [{"fluence_uJ_cm2": f, "kind": float(SAMPLE)} for f in self.fluences()]
        return [*[dict(response) for _ in range(self.responses)], *sample]

    def needs(self, point: Point) -> Needs:
        """Forecast: the light of the record, a look before it, and the background."""
        rate = self.bench.pump.source.repetition_rate_Hz
        lit_s = self.integration_s + self.exposure_max_s
        shots = math.ceil(rate * (_MARGIN * lit_s + _OPENING_S))
        return Needs(
            seconds=2.0 * self.integration_s + 2.0 * self.exposure_max_s + _OVERHEAD_S,
            shots=shots,
            dose_J_cm2=shots * point["fluence_uJ_cm2"] * 1e-6,
            setpoints={"fluence_uJ_cm2": point["fluence_uJ_cm2"]},
        )

    def readying(self) -> Needs:
        """The survey, and the images that tell the camera's gain, where they are to be taken."""
        seconds = 0.0
        if not (self.centre_wavelength_nm or "centre_wavelength_nm" in self.decisions):
            steps = math.ceil((self.survey_max_nm - self.survey_min_nm) / _NARROWEST_NM)
            seconds += steps * (_SURVEY_S + _OPENING_S)
        if self.mode != StreakCamera.COUNTING and "event_counts" not in self.decisions:
            seconds += _MARGIN * (self.integration_s + 2.0 * self.exposure_max_s) + _OPENING_S
        return self.light(seconds, self._middle_uJ_cm2())

    def check_limits(self) -> Forecast:
        """See Measurement; the camera's own settings are checked too."""
        limits = self.streak.limits
        for name in ("time_range_ps", "delay_ps", "mcp_gain"):
            if name in limits and not (name == "delay_ps" and self.delay_ps == 0.0):
                limits[name].check(name, getattr(self, name))
        return super().check_limits()

    @property
    def streak(self) -> StreakCamera:
        """The streak camera of the bench."""
        found = self.bench.need("streak")
        assert isinstance(found, StreakCamera)
        return found

    def axes(self) -> tuple[Axis, ...]:
        """Time of each row, and wavelength of each column where the sample's light is."""
        return (
            Axis("sweep_time", self._time_ps, "ps", "Time since the sweep began"),
            Axis("wavelength", self._wavelength_nm, "nm", "Wavelength"),
        )

    # ---- the bench ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Shutter closed, wave plate homed, sweep chosen, window on the emission, gain measured."""
        bench, streak = self.bench, self.streak
        bench.need("shutter")
        bench.pump.shut()
        bench.need("attenuator").prepare()  # type: ignore[attr-defined]
        if "stripe" in bench.instruments:
            stripe: Any = bench.instruments["stripe"]
            stripe.prepare()
            stripe.set_length_mm(bench.pump.source.stripe_length_mm or 0.0)
        self.decisions["time_range_ps"] = streak.select_time_range(self.time_range_ps)
        if "delay_ps" in streak.limits:
            streak.set_delay_ps(self.delay_ps)
        streak.set_mcp_gain(self.mcp_gain)
        self._exposure_s = self._whole_shots(self.exposure_max_s)
        centre = float(self.decisions.get("centre_wavelength_nm", self.centre_wavelength_nm))
        if centre == 0.0:
            centre = self._look_for_emission()
        self.decisions["centre_wavelength_nm"] = centre
        streak.go_to(centre)
        if "event_counts" not in self.decisions:
            self._measure_events()
        # One dark image: the tube then stands as it does between records.
        streak.set_exposure_s(self._exposure_s)
        dark = streak.acquire(self.mode, 1)
        self._time_ps, self._wavelength_nm = dark.time_ps, dark.wavelength_nm

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Go on from where the interrupted part had come to."""
        if last_record:
            self._exposure_s = float(last_record["exposure"])
            # Stand where the interrupted part stood: the next moves then take as long.
            self.streak.go_to(float(last_record["centre_wavelength"]))
            self.streak.set_exposure_s(self._exposure_s)
            self.bench.pump.set_fluence(float(last_record["fluence_setpoint"]))

    def _middle_uJ_cm2(self) -> float:
        """Return the fluence at which is looked: the geometric middle."""
        fluences = self.fluences()
        return math.sqrt(min(fluences) * max(fluences))

    def _look_for_emission(self) -> float:
        """Step the window over the survey range; return the brightest wavelength (nm).

        Raises InstrumentError if there is no emission.
        """
        streak, pump = self.streak, self.bench.pump
        pump.set_fluence(self._middle_uJ_cm2())
        low, high = float(self.survey_min_nm), float(self.survey_max_nm)
        best_nm, best, centre, seen = 0.0, 0.0, low, False
        while centre < high:
            streak.go_to(centre)
            image = self._unsaturated_look(_SURVEY_S)
            span = float(image.wavelength_nm[-1] - image.wavelength_nm[0])
            dark = streak.acquire(self.mode, 1)
            net = (image.counts - dark.counts).sum(axis=0, dtype=np.float64)
            inside = (image.wavelength_nm >= low) & (image.wavelength_nm <= high)
            smooth = np.where(inside, np.convolve(net, np.ones(25) / 25.0, mode="same"), -np.inf)
            noise = float(np.std((image.counts - dark.counts)[: len(net) // 16]))
            noise *= math.sqrt(image.counts.shape[0] / 25.0)
            top = int(np.argmax(smooth))
            rate = float(smooth[top]) / image.exposure_s
            if rate > best:
                best, best_nm = rate, float(image.wavelength_nm[top])
                seen = bool(smooth[top] > _SURVEY_SIGMA * noise)
            centre += 0.7 * span
        if not seen:
            raise InstrumentError(
                f"no emission was found between {low:g} and {high:g} nm: check alignment, laser "
                "and delay_ps, or give centre_wavelength_nm"
            )
        return float(round(best_nm))

    def _unsaturated_look(self, exposure_s: float) -> StreakImage:
        """Return one frame with light on the sample, as short as it must be."""
        for _ in range(_MOST_ATTEMPTS):
            taken = self.streak.set_exposure_s(self._whole_shots(exposure_s))
            with self.bench.pump.light():
                image = self.streak.acquire(self.mode, 1)
            exposure_s = self._whole_shots(0.2 * taken)
            if not self._too_bright(image) or exposure_s >= taken:
                break
        return image

    def _too_bright(self, image: StreakImage) -> bool:
        if image.saturated or image.mode != StreakCamera.COUNTING:
            return image.saturated
        blobs = 9.0 * uniform_filter(image.counts / image.exposures, 3, mode="constant")
        # A single frame has few counts anywhere: what is bright is told by the mean around.
        return bool(uniform_filter(blobs, 9).max() > _CROWDED)

    def _whole_shots(self, exposure_s: float) -> float:
        """Return an exposure of whole laser shots within the limits (s)."""
        rate = self.bench.pump.source.repetition_rate_Hz
        limit = self.streak.limits.get("exposure_s")
        bench = self.bench.config.limits
        low = max(bench.exposure_min_s, limit.low if limit else 0.0)
        high = min(bench.exposure_max_s, float(self.exposure_max_s), limit.high if limit else 1e9)
        shots = max(round(exposure_s * rate), math.ceil(low * rate - 1e-9), 1)
        return min(shots / rate, max(high, low))

    def _measure_events(self) -> None:
        """Find what a detected electron is in counts: variance over mean, from a pair of images."""
        if self.mode == StreakCamera.COUNTING:
            self.decisions |= {"event_counts": 1.0, "event_counts_errors": 0.0}
            return
        streak, pump = self.streak, self.bench.pump
        pump.set_fluence(self._middle_uJ_cm2())
        image = self._unsaturated_look(self._exposure_s)
        frames = max(round(0.5 * self.integration_s / image.exposure_s), 1)
        pair = []
        for _ in range(2):
            with pump.light():
                pair.append(streak.acquire(self.mode, frames).counts)
        dark = streak.acquire(self.mode, frames).counts
        found = event_counts(pair[0], pair[1], dark)
        if found is None:
            raise NotReady(
                "the gain of the camera cannot be measured, there is too little light: raise "
                "integration_s or mcp_gain"
            )
        self.decisions["event_counts"], self.decisions["event_counts_errors"] = found

    # ---- one record -----------------------------------------------------------------------------

    def record(self, point: Point) -> Record:
        """Take a spectrogram of the sample, or of scattered pump light, and its background."""
        pump, streak = self.bench.pump, self.streak
        kind = int(point["kind"])
        centre = float(self.decisions["centre_wavelength_nm"])
        if kind == RESPONSE:
            centre = pump.source.wavelength_nm
        streak.go_to(centre)
        before = pump.set_fluence(point["fluence_uJ_cm2"])
        self._exposure_s = self._unsaturated_look(
            min(4.0 * self._exposure_s, float(self.exposure_max_s))
        ).exposure_s
        for _ in range(_MOST_ATTEMPTS):
            exposure_s = streak.set_exposure_s(self._exposure_s)
            frames = max(round(self.integration_s / exposure_s), 1)
            with pump.light():
                image = streak.acquire(self.mode, frames)
            if not self._too_bright(image):
                break
            shorter = self._whole_shots(0.3 * exposure_s)
            if shorter >= exposure_s:
                break  # as short as it goes: kept, and flagged
            self._exposure_s = shorter
        fluence = mean_fluence(before, pump.measure_fluence()) if before.measured else before
        # Each record its own: the noise of a shared one would not average out over the records.
        background = streak.acquire(self.mode, frames).counts
        shots = max(round(frames * image.exposure_s * pump.source.repetition_rate_Hz), 1)
        return {
            **self._beam_columns(point, fluence, shots),
            "time": image.start_s,
            "exposure": image.exposure_s,
            "accumulations": frames,
            "kind": kind,
            "centre_wavelength": centre,
            "mcp_gain": image.mcp_gain,
            "saturated": int(image.saturated),
            "frames": image.counts,
            "background": background,
        }

    def _beam_columns(self, point: Point, fluence: Fluence, shots: int) -> Record:
        pump, attenuator = self.bench.pump, self.bench.need("attenuator")
        # The pulses of the reading and those of the exposure are other pulses.
        own = fluence.pulse_spread_J / max(fluence.pulse_energy_J, 1e-30) / math.sqrt(shots)
        return {
            "fluence": fluence.value_uJ_cm2,
            "fluence_errors": math.hypot(fluence.error_uJ_cm2, own * fluence.value_uJ_cm2),
            "fluence_setpoint": point["fluence_uJ_cm2"],
            "pulse_energy": fluence.pulse_energy_J,
            "pulse_energy_spread": fluence.pulse_spread_J,
            "fluence_measured": int(fluence.measured),
            "shots": shots,
            "shots_on_sample": pump.shots,
            "dose": pump.dose_J_cm2,
            "attenuator_angle": attenuator.angle_deg,  # type: ignore[attr-defined]
            "attenuator_transmission": attenuator.transmission,  # type: ignore[attr-defined]
        }


def mean_fluence(before: Fluence, after: Fluence) -> Fluence:
    """Join the readings before and after a record: half the noise power, and no linear drift."""
    return Fluence(
        0.5 * (before.value_uJ_cm2 + after.value_uJ_cm2),
        0.5 * math.hypot(before.error_uJ_cm2, after.error_uJ_cm2),
        0.5 * (before.pulse_energy_J + after.pulse_energy_J),
        math.sqrt(0.5 * (before.pulse_spread_J**2 + after.pulse_spread_J**2)),
        True,
    )
