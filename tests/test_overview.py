"""An overview shows every extreme of a column, and reads no more than it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procedures.columns import Column
from procedures.running import overview as looking
from procedures.running.header import RunHeader, RunStart
from procedures.running.overview import FINE_ROWS, overview
from procedures.running.runfile import NotARunFile, RunFile, RunWriter, create_queued

ROWS = 30_000


@pytest.fixture(scope="module")
def values() -> Any:
    found = np.random.default_rng(3).normal(size=ROWS)
    found[100:110] = np.nan
    found[20_480:23_040] = np.nan  # whole buckets
    found[12_345] = 99.0
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, values: Any) -> Path:
    columns = (
        Column("shots", "", "Shots", "uint32"),
        Column("light", "counts", "Light"),
        Column("mark", "", "Mark", "S4"),
    )
    start = RunStart(1.7e9, columns, signal="light", plot_axes=("shots",))
    header = RunHeader("photostability", "t", "", {}, [], created_s=1.7e9)
    writer = RunWriter.start(create_queued(tmp_path_factory.mktemp("runs"), header), start)
    for number, value in enumerate(values.tolist()):
        writer.append({"shots": 1000 * number, "light": value, "mark": b"x"})
    writer.close("finished")
    return writer.path


@pytest.mark.parametrize("buckets", [1, 3, 7, 64, 1000, ROWS + 1])
@pytest.mark.parametrize("window", [(0, None), (5, 29_001), (12_000, 12_700), (-5, 10**9), (9, 9)])
def test_every_extreme_is_shown(
    path: Path, values: Any, buckets: int, window: tuple[int, int | None]
) -> None:
    first, last = max(window[0], 0), min(ROWS if window[1] is None else window[1], ROWS)
    x, low, high = overview(path, "light", *window, buckets)
    assert len(x) == len(low) == len(high) <= buckets
    if first == last:
        assert len(x) == 0
        return
    if last - first <= buckets:
        assert np.array_equal(low, values[first:last], equal_nan=True)
        assert x.tolist() == list(range(first, last))
        return
    assert (np.diff(x) > 0).all() and x[0] >= first - FINE_ROWS and x[-1] < last
    shown = values[first:last]
    assert np.nanmin(low) <= np.nanmin(shown) and np.nanmax(high) >= np.nanmax(shown)
    around = values[max(first - FINE_ROWS, 0) : last + FINE_ROWS]
    assert np.nanmin(low) >= np.nanmin(around) and np.nanmax(high) <= np.nanmax(around)
    # each bucket's own: at x it holds what it says
    middles = values[x.astype(int)]
    known = ~np.isnan(middles)
    assert (low[known] <= middles[known]).all() and (middles[known] <= high[known]).all()


def test_nan_is_shown_only_where_there_is_nothing_else(path: Path) -> None:
    x, low, _ = overview(path, "light", 0, ROWS, ROWS // FINE_ROWS // 4)
    assert np.isnan(low).tolist() == [bool(20_480 <= one < 23_040) for one in x]


def test_x_is_another_column_if_asked(path: Path) -> None:
    for buckets in (3, 1000, ROWS):
        rows, _, _ = overview(path, "light", 7, 20_001, buckets)
        shots, _, _ = overview(path, "light", 7, 20_001, buckets, against="shots")
        assert np.array_equal(shots, 1000 * rows)


def test_a_second_look_reads_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFile(path) as run:
        once = overview(run, "light", buckets=5)
        read: list[str] = []
        monkeypatch.setattr(RunFile, "rows", lambda *_: read.append("rows"))
        again = overview(run, "light", buckets=5)
        assert read == []
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(once, again, strict=True))


def test_the_column_is_never_read_as_a_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, longest = RunFile.rows, [0]
    monkeypatch.setattr(looking, "_BLOCK_ROWS", 4 * FINE_ROWS)
    looking._kept.clear()

    def rows(self: RunFile, name: str, first: int, last: int, step: int = 1) -> Any:
        longest[0] = max(longest[0], (last - first) // step)
        return own(self, name, first, last, step)

    monkeypatch.setattr(RunFile, "rows", rows)
    overview(path, "light", buckets=5)
    assert longest[0] == 4 * FINE_ROWS


def test_what_has_no_overview_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="mark"):
        overview(path, "mark")
    with pytest.raises(NotARunFile, match="nothing"):
        overview(path, "nothing")
    with pytest.raises(ValueError, match="0 buckets"):
        overview(path, "light", buckets=0)
