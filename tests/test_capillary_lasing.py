"""The capillary laser on the simulated bench: from the bench file to the threshold, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instruments import config
from procedures.capillary_lasing import PARTS, CapillaryLasing
from procedures.evaluation import evaluate
from procedures.registry import measurement
from procedures.running.runfile import RunFile
from procedures.session import Description, go_on, measure

FEW = {"points": 3, "shots_min": 8, "centre_wavelength_nm": 524.0, "exposure_max_s": 0.5}


def run(folder: Path, values: dict[str, Any], sample: str = "") -> Any:
    return measure(
        "capillary-lasing",
        values,
        config.parse(f"[simulation]\nseed = 6\n[simulation.sample]\n{sample}\n", "bench.toml"),
        Description("capillary", "1", "tester"),
        folder,
        lambda _line: None,
        quiet=True,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sample = (
        "cavity_threshold_mJ_cm2 = 3.1\ncavity_diameter_um = 42.0\ncavity_group_index = 1.9\n"
        "ase_peak_nm = 531.0\ncavity_beta = 2e-4"
    )
    values = {
        "points": 16, "shots_min": 60, "fluence_max_mJ_cm2": 9.0, "fluence_min_mJ_cm2": 1.0,
        "cavity_diameter_um": 42.0,
    }  # fmt: skip
    return run(tmp_path_factory.mktemp("capillary"), values, sample)


def test_threshold_spacing_and_index_are_found_again(found: Any) -> None:
    assert (found.status, found.records) == ("finished", 17)
    results = evaluate(found.path).analysis.results
    spacing = 531.0**2 / (np.pi * 42e3 * 1.9)
    for name, value, worst in (
        ("threshold_mJ_cm2", 3.1, 0.04),
        ("mode_spacing_nm", spacing, 0.003),
        ("group_index", 1.9, 0.003),
    ):
        result = results[name]
        assert abs(result.value - value) < 3.5 * result.stderr, name  # type: ignore[operator]
        assert 0.0 < result.stderr < worst * value, name  # type: ignore[operator]


def test_the_parts_of_a_record_are_its_spectrum(found: Any) -> None:
    with RunFile(found.path) as one:
        parts = one.records("parts")
        assert parts.shape[1] == PARTS
        assert np.array_equal(parts.sum(axis=1), one.records("spectra"))
        assert np.all(one.records("accumulations") % PARTS == 0)
        assert one.decisions["grooves_per_mm"] == 1200.0
        assert abs(one.decisions["centre_wavelength_nm"] - 531.0) < 4.0
        assert not one.records("saturated").any()


def test_the_figure_is_drawn(found: Any, tmp_path: Path) -> None:
    measurement("capillary-lasing").load("figure")(evaluate(found.path), tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "for the eye" in drawn and "group index" in drawn


def test_a_figure_without_modes_is_drawn_too(tmp_path: Path) -> None:
    below = run(tmp_path, {**FEW, "points": 8, "fluence_max_mJ_cm2": 1.0}, "cavity_beta = 1e-7")
    evaluation = evaluate(below.path)
    assert evaluation.analysis.results["threshold_mJ_cm2"].value is None
    measurement("capillary-lasing").load("figure")(evaluation, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_an_aborted_series_is_resumed_to_the_same_records(tmp_path: Path) -> None:
    whole = run(tmp_path, FEW)
    original = CapillaryLasing.record

    def stop_after_two(self: CapillaryLasing, point: Any) -> Any:
        record = original(self, point)
        if point == self.plan()[1]:
            self.control.abort()
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CapillaryLasing, "record", stop_after_two)
        part = run(tmp_path, FEW)
    assert (part.status, part.records) == ("aborted", 2)
    resumed = go_on(part.path, None, lambda _line: None, quiet=True)
    assert (resumed.status, resumed.records) == ("finished", 4)
    with RunFile(whole.path) as one, RunFile(part.path) as other:
        assert np.array_equal(one.records("parts"), other.records("parts"))
        assert np.allclose(one.records("fluence"), other.records("fluence"), rtol=1e-12)
