"""per-shot: each laser shot by itself: its pulse energy, band intensity and, if asked, spectrum.

For a camera that is read with every shot (`ShotCamera`). A record is a block of consecutive shots:
its per-shot columns are arrays along the axis `shot`, so that a thousand shots cost one record.
First a dark block, then the exposure, the shutter open all the while; whole spectra are kept for no
block, for some, or for all (1.6e7 of 1340 pixels are 43 GB). The camera goes on while a block is
written; shots that were lost end the run, never silently. Stops at the record.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from instruments.errors import DeviceFault, InstrumentError, NotReady
from instruments.roles import ShotCamera
from procedures.columns import Axis, Column
from procedures.continuous_light import ContinuousLight
from procedures.measurement import Measurement, Needs, Point, Record
from procedures.parameters import Choice, Count, Number, ParameterError

DARK, EXPOSURE = 0, 1
"""Column `leg`."""
_OPENING_S = 0.2


class PerShot(Measurement):
    """Every shot at constant fluence."""

    MEASUREMENT: ClassVar[str] = "per-shot"
    TITLE: ClassVar[str] = "Every shot: pulse energy and band intensity"
    ROLES: ClassVar[tuple[str, ...]] = ("attenuator", "shutter", "monochromator", "camera")
    SIGNAL: ClassVar[str] = "band_counts"
    PLOT_AXES: ClassVar[tuple[str, ...]] = ("first_shot", "shot")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("time", "s", "Bench time of the first shot"),
        Column("leg", "", "0 dark, 1 exposure", "int8"),
        Column("first_shot", "", "Number of the first shot in this leg", "uint64"),
        Column("fluence", "uJ/cm^2", "Mean fluence of the block"),
        Column("fluence_errors", "uJ/cm^2", "Error of that, without the common scale"),
        Column("fluence_setpoint", "uJ/cm^2", "Fluence asked for"),
        Column("shots_on_sample", "", "Laser shots on the sample since the run began", "uint64"),
        Column("dose", "J/cm^2", "Fluence summed over these shots"),
        Column("saturated", "", "Shots with a saturated pixel", "uint32"),
        Column(
            "pulse_energies", "J", "Pulse energy at the sample, each shot", "float32", ("shot",)
        ),
        Column("band_counts", "counts", "Sum over the band, each shot", "uint32", ("shot",)),
        Column("kept", "", "1 if the spectra of this block were kept", "uint8"),
        Column(
            "spectra", "counts", "Spectrum of each shot", "uint16", ("shot", "wavelength"), "kept"
        ),
    )

    fluence_uJ_cm2 = Number("fluence", units="uJ/cm^2", minimum=1e-3, maximum=1e5, default=57.0)
    shots = Count("shots", minimum=1, maximum=10**10, default=100_000)
    shots_per_record = Count(
        "shots per record",
        minimum=1,
        maximum=100_000,
        default=1000,
        description="length of a block; shots is a multiple of it",
    )
    spectra = Choice(
        "spectra kept",
        choices=["none", "scheduled", "all"],
        default="scheduled",
        description="scheduled: those of every n-th block, by keep_every",
    )
    keep_every = Count("keep every", minimum=1, maximum=10**9, default=100)
    centre_wavelength_nm = Number(
        "centre wavelength", units="nm", minimum=200.0, maximum=2000.0, default=522.0
    )
    band_min_nm = Number("band from", units="nm", minimum=200.0, maximum=2000.0, default=500.0)
    band_max_nm = Number("band to", units="nm", minimum=200.0, maximum=2000.0, default=545.0)

    def check(self) -> None:
        """Refuse blocks that do not fill the run, and an empty band."""
        if self.shots % self.shots_per_record:
            raise ParameterError(
                f"{self.shots} was given, allowed are multiples of shots_per_record = "
                f"{self.shots_per_record}",
                key="shots",
            )
        if not self.band_min_nm < self.band_max_nm:
            raise ParameterError("must be below band_max_nm", key="band_min_nm")

    def plan(self) -> list[Point]:
        """A dark block, then the blocks of the exposure."""
        full, every = float(self.fluence_uJ_cm2), int(self.keep_every)
        blocks = range(int(self.shots) // int(self.shots_per_record))
        kept: dict[str, set[int]] = {
            "none": set(),
            "all": set(blocks),
            "scheduled": {*blocks[::every], blocks[-1]},
        }
        keep = kept[str(self.spectra)]
        return [
            {"leg": DARK, "fluence_uJ_cm2": full, "keep": int(bool(keep))},
            *(
                {"leg": EXPOSURE, "fluence_uJ_cm2": full, "keep": int(block in keep)}
                for block in blocks
            ),
        ]

    def needs(self, point: Point) -> Needs:
        """A block takes its shots."""
        shots = int(self.shots_per_record) if point["leg"] == EXPOSURE else 0
        return Needs(
            seconds=self.shots_per_record / self.bench.pump.source.repetition_rate_Hz,
            shots=shots,
            dose_J_cm2=shots * point["fluence_uJ_cm2"] * 1e-6,
            setpoints={"fluence_uJ_cm2": point["fluence_uJ_cm2"]},
        )

    def readying(self) -> Needs:
        """The light while the shutter opens and closes."""
        return self.light(_OPENING_S, self.fluence_uJ_cm2)

    def axes(self) -> tuple[Axis, ...]:
        """The shots of a block, and the wavelength of each pixel."""
        spectrograph = self.bench.need_spectrograph()
        return (
            Axis("shot", np.arange(float(self.shots_per_record)), "", "Shot in the block"),
            Axis("wavelength", spectrograph.wavelength_nm, "nm", "Wavelength"),
        )

    # ---- the bench ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Shutter closed, fluence set, window where it was asked."""
        bench = self.bench
        camera = bench.need_spectrograph().camera
        if not isinstance(camera, ShotCamera):
            raise NotReady(
                f"camera: {camera.identity} is not read with every shot; per-shot needs one that "
                "is, with a detector of the pulse energy (driver line-camera)"
            )
        self._camera = camera
        rate_Hz = bench.pump.source.repetition_rate_Hz
        if not math.isclose(camera.rate_Hz, rate_Hz, rel_tol=1e-3):
            raise NotReady(
                f"camera: it is read {camera.rate_Hz:g} times a second, the laser fires "
                f"{rate_Hz:g} times; set both alike"
            )
        camera.stop_shots()
        bench.pump.shut()
        self._light = ContinuousLight(bench)
        self._exposed: int = getattr(self, "_exposed", 0)
        self._expected: int | None = None  # the number of the next shot, while they are delivered
        bench.need("attenuator").prepare()  # type: ignore[attr-defined]
        spectrograph = bench.need_spectrograph()
        spectrograph.go_to(float(self.centre_wavelength_nm))
        axis = spectrograph.wavelength_nm
        inside = np.flatnonzero((axis >= self.band_min_nm) & (axis <= self.band_max_nm))
        if len(inside) < 3:
            raise ParameterError(
                f"{self.band_min_nm:g} to {self.band_max_nm:g} nm is not on the detector, which "
                f"sees {axis.min():.1f} to {axis.max():.1f} nm",
                key="band_min_nm",
            )
        self._band = slice(int(inside[0]), int(inside[-1]) + 1)
        bench.pump.set_fluence(float(self.fluence_uJ_cm2))

    def resumed(self, last_record: Mapping[str, Any]) -> None:
        """Go on with the shots that the exposure has had."""
        if last_record and int(last_record["leg"]) == EXPOSURE:
            self._exposed = int(last_record["first_shot"]) + int(self.shots_per_record)

    def shutdown(self) -> None:
        """No more shots, then leave the bench safe."""
        if hasattr(self, "_light"):
            with contextlib.suppress(InstrumentError):  # making safe closes it by all means
                self._end()
        super().shutdown()

    def _may_go_on(self) -> bool:
        if self.control.paused:
            with contextlib.suppress(InstrumentError):
                self._end()
        return super()._may_go_on()

    def _end(self) -> None:
        try:
            self._camera.stop_shots()
        finally:
            self._expected = None
            self._light.end()

    # ---- one record -----------------------------------------------------------------------------

    def record(self, point: Point) -> Record:
        """Take the next block."""
        lit, shots = point["leg"] == EXPOSURE, int(self.shots_per_record)
        pump = self.bench.pump
        try:
            if lit and not self._light.on:
                self._camera.stop_shots()  # those of the dark
                self._expected = None
                self._light.fluence_uJ_cm2 = float(point["fluence_uJ_cm2"])
            if lit:
                self._light.ensure()
            if self._expected is None:
                self._camera.start_shots()
                self._expected = 0
            block = self._camera.read_shots(shots)
            if block.first != self._expected:
                raise DeviceFault(
                    f"camera: shot {self._expected} was due, {block.first} came; "
                    f"{block.first - self._expected} are missing"
                )
            self._expected += shots
            energies = block.energies_J / pump.source.pick_off_ratio
            fluence = energies * (1e6 / pump.area_cm2)
            if lit:
                self._light.fluence_uJ_cm2 = float(fluence.mean())
                self._light.count()
        except BaseException:
            with contextlib.suppress(InstrumentError):
                self._end()
            raise
        first, self._exposed = self._exposed, self._exposed + (shots if lit else 0)
        keep, full = int(point["keep"]), self._camera.saturation_counts
        return {
            "time": block.start_s,
            "leg": int(point["leg"]),
            "first_shot": first if lit else 0,
            "fluence": float(fluence.mean()) if lit else 0.0,
            "fluence_errors": float(fluence.std()) / math.sqrt(shots) if lit else 0.0,
            "fluence_setpoint": float(point["fluence_uJ_cm2"]),
            "shots_on_sample": pump.shots,
            "dose": pump.dose_J_cm2,
            "saturated": int((block.frames.max(axis=1) >= full).sum()),
            "pulse_energies": energies,
            "band_counts": block.frames[:, self._band].sum(axis=1, dtype=np.uint32),
            "kept": keep,
            "spectra": block.frames if keep else None,
        }
