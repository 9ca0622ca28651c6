"""Which measurement answers to which name, and what evaluates and draws its files.

Our own, and those of other packages under the entry-point group `gainbench.measurements`, whose
classes name the functions that go with them: EVALUATE, FIGURE and CALIBRATION, each
"module:function" and each optional. Nothing is imported before it is asked for. A run file only
names its measurement: what that name means is decided here, so that a file never chooses code to
run.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from instruments.errors import ConfigError
from instruments.registry import package_of


@dataclass(frozen=True)
class MeasurementEntry:
    """A measurement by name: its class, what evaluates its files, what draws them.

    `calibration` makes a calibration of an analysed run, where a run is one.
    """

    name: str
    summary: str
    procedure: str
    evaluate: str = ""
    figure: str = ""
    calibration: str = ""

    def load(self, what: str = "procedure") -> Any:
        """Import the class ("procedure") or function ("evaluate", "figure", "calibration").

        Raises:
            ConfigError: the measurement has no such function.
        """
        target: str = getattr(self, what)
        if not target:
            raise ConfigError(
                f"{self.name!r} has none; its class names one by {what.upper()} = "
                '"module:function"',
                key=what,
            )
        module, _, name = target.partition(":")
        return getattr(importlib.import_module(module), name)


_OWN = (
    MeasurementEntry(
        "power-sweep",
        "emission spectra against pump fluence: threshold, bands, slopes",
        "procedures.power_sweep:PowerSweep",
        "procedures.evaluation:evaluate_power_sweep",
        "procedures.figures:power_sweep_figure",
    ),
    MeasurementEntry(
        "stripe-length",
        "emission spectra against stripe length: modal gain, saturation, zero of the slit",
        "procedures.stripe_length:StripeLength",
        "procedures.evaluations.stripe_length:evaluate_stripe_length",
        "procedures.drawing.stripe_length:stripe_length_figure",
        "procedures.evaluations.stripe_length:slit_calibration",
    ),
    MeasurementEntry(
        "photostability",
        "stimulated emission against laser shots: what is left after millions of them",
        "procedures.photostability:Photostability",
        "procedures.evaluations.photostability:evaluate_photostability",
        "procedures.drawing.photostability:photostability_figure",
    ),
    MeasurementEntry(
        "per-shot",
        "every laser shot by itself: pulse energy, band intensity, spectra as asked",
        "procedures.per_shot:PerShot",
        "procedures.evaluations.per_shot:evaluate_per_shot",
        "procedures.drawing.per_shot:per_shot_figure",
    ),
    MeasurementEntry(
        "ageing",
        "the power sweep over days: how fast the threshold rises in air",
        "procedures.ageing:Ageing",
        "procedures.evaluations.ageing:evaluate_ageing",
        "procedures.drawing.ageing:ageing_figure",
    ),
    MeasurementEntry(
        "biexciton",
        "emission spectra of the cold film against fluence: exciton and biexciton",
        "procedures.biexciton:Biexciton",
        "procedures.evaluations.biexciton:evaluate_biexciton",
        "procedures.drawing.biexciton:biexciton_figure",
    ),
    MeasurementEntry(
        "lifetime",
        "spectrograms at one low fluence: the lifetime of an exciton",
        "procedures.lifetime:Lifetime",
        "procedures.evaluations.streak:evaluate_lifetime",
        "procedures.drawing.streak:lifetime_figure",
    ),
    MeasurementEntry(
        "auger",
        "spectrograms against fluence: the lifetime of two excitons",
        "procedures.auger:Auger",
        "procedures.evaluations.streak:evaluate_auger",
        "procedures.drawing.streak:auger_figure",
    ),
    MeasurementEntry(
        "cross-section",
        "late light against fluence: the absorption of one dot",
        "procedures.cross_section:CrossSection",
        "procedures.evaluations.streak:evaluate_cross_section",
        "procedures.drawing.streak:cross_section_figure",
    ),
    MeasurementEntry(
        "streak-series",
        "spectrograms at some fluences: early and late spectra, decay times",
        "procedures.streak_series:StreakSeries",
        "procedures.evaluations.streak:evaluate_streak_series",
        "procedures.drawing.streak:streak_series_figure",
    ),
    MeasurementEntry(
        "capillary-lasing",
        "emission spectra of the capillary against fluence: threshold, modes, group index",
        "procedures.capillary_lasing:CapillaryLasing",
        "procedures.evaluations.capillary_lasing:evaluate_capillary_lasing",
        "procedures.drawing.capillary_lasing:capillary_lasing_figure",
    ),
    MeasurementEntry(
        "calibrate-pump",
        "pulse energy against the angle of the wave plate: attenuator, full pulse energy, area",
        "procedures.calibrate_pump:CalibratePump",
        "procedures.calibrating:evaluate_pump",
        "procedures.figures_calibration:pump_figure",
        "procedures.calibrating:pump_calibration",
    ),
    MeasurementEntry(
        "calibrate-wavelength",
        "spectra of a lamp: wavelength axis of the spectrograph",
        "procedures.calibrate_wavelength:CalibrateWavelength",
        "procedures.calibrating:evaluate_wavelength",
        "procedures.figures_calibration:wavelength_figure",
        "procedures.calibrating:wavelength_calibration",
    ),
)


def own_measurements() -> tuple[MeasurementEntry, ...]:
    """Return those of this package."""
    return _OWN


def measurements() -> dict[str, MeasurementEntry]:
    """Return every measurement known here, by name."""
    found = {entry.name: entry for entry in _OWN}
    for point in entry_points(group="gainbench.measurements"):
        found.setdefault(
            point.name, MeasurementEntry(point.name, f"from {package_of(point)}", point.value)
        )
    return found


def measurement(name: str) -> MeasurementEntry:
    """Return the measurement of a name.

    Raises:
        ConfigError: there is none, or another package's cannot be loaded.
    """
    own = {entry.name: entry for entry in _OWN}
    known = own if name in own else measurements()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(
            f"{name!r} is not a measurement{hint} Known: {', '.join(sorted(known))}",
            key="measurement",
        )
    return known[name] if name in own else _complete(known[name])


def _complete(entry: MeasurementEntry) -> MeasurementEntry:
    """Return the entry of another package's measurement with what its class names."""
    try:
        kind = entry.load()
        called = kind.MEASUREMENT
    except Exception as error:  # whatever another package's import may raise
        raise ConfigError(
            f"the measurement {entry.name!r} ({entry.summary}) cannot be loaded from "
            f"{entry.procedure!r}: {error}",
            key="measurement",
        ) from error
    if called != entry.name:
        raise ConfigError(
            f"{entry.procedure!r} calls itself {called!r} and is registered as {entry.name!r}; its "
            "run files could not be analysed: give both one name",
            key="measurement",
        )
    return replace(
        entry,
        evaluate=getattr(kind, "EVALUATE", ""),
        figure=getattr(kind, "FIGURE", ""),
        calibration=getattr(kind, "CALIBRATION", ""),
    )


def has_analysis(name: str) -> bool:
    """Return whether something evaluates the files of a measurement."""
    return bool(measurement(name).evaluate)
