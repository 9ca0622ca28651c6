"""Runs of the window are made small while nothing else goes on, and never in the way of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from benchmarks import bare
from gui import shrinking
from tests.windows import until


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 400 spectra, as it is recorded."""
    return bare.carry(tmp_path_factory.mktemp("recorded"), "spectra", 400).path


@pytest.fixture
def shrinker(qapp: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(shrinking, "IDLE_S", 0.0)
    made = shrinking.Shrinker(lambda: made.something)  # type: ignore[attr-defined]
    made.something = False  # type: ignore[attr-defined]
    made.lines = []  # type: ignore[attr-defined]
    made.told.connect(lambda level, text: made.lines.append((level, text)))  # type: ignore[attr-defined]
    yield made
    made.end()


def until_told(shrinker: Any, number: int = 1) -> None:
    def told() -> bool:
        shrinker.look()
        return len(shrinker.lines) >= number

    until(told, "what became of the file")


def compression(path: Path) -> str | None:
    with h5py.File(path, "r") as file:
        found: str | None = file["entry/records/array"].compression
        return found


def test_a_finished_run_is_made_small_and_told(
    shrinker: Any, recorded: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    shrinker.add(path)
    until_told(shrinker)
    ((level, text),) = shrinker.lines
    assert level == "info" and text.startswith(f"{path.name}: ") and " made " in text
    assert compression(path) == "gzip" and path.stat().st_size < recorded.stat().st_size


def test_a_run_that_begins_has_the_machine_to_itself(
    shrinker: Any, recorded: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    shrinker.something = True
    shrinker.add(path)
    shrinker.look()
    assert shrinker._process.processId() == 0
    shrinker.something = False
    shrinker.look()
    until(lambda: shrinker._process.processId() != 0, "the process")
    shrinker.something = True
    shrinker.look()
    assert shrinker._process.processId() == 0
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert compression(path) is None and shrinker.lines == []
    shrinker.something = False
    until_told(shrinker)
    assert compression(path) == "gzip"


def test_leaving_stops_it(shrinker: Any, recorded: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(recorded, tmp_path))
    shrinker.add(path)
    shrinker.look()
    shrinker.end()
    assert shrinker._process.processId() == 0
    shrinker.look()
    assert shrinker._process.processId() == 0 and compression(path) is None


def test_what_cannot_be_compressed_says_why(shrinker: Any, tmp_path: Path) -> None:
    path = tmp_path / "letter.h5"
    path.write_text("no run")
    shrinker.add(path)
    shrinker.add(tmp_path / "gone.h5")
    until_told(shrinker, 2)
    (_, first), (level, second) = shrinker.lines
    assert first.startswith("letter.h5: not compressed: ")
    assert level == "warning" and "gone.h5" in second
