"""Blind studies: pulls, bounds and rightful nulls scored apart; failed samples told of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from blind_page import merge, section
from blind_report import scores, table
from blind_run import Sample, take, take_all

ORDER = ("power-sweep", "auger")


def dies_at_three(number: int) -> dict[str, tuple[float, float, float]]:
    """Return a result, or take the process down, or raise."""
    if number == 3:
        os._exit(9)
    if number == 4:
        raise ValueError("no light")
    return {"lifetime_ns": (1.0, 0.1, 1.05)}


def test_pulls_bounds_and_nulls_are_scored_apart() -> None:
    rows = [
        {
            "a": (1.0, 0.5, 2.0),
            "b": (None, None, None),
            "c": ([1.0, None], [0.1, None], [1.0, 2.0]),
        },
        {"a": (None, None, 2.0), "b": (3.0, 0.1, None), "c": (None, None, [1.0, 2.0])},
        {"a": (3.0, None, 2.0), "b": (float("nan"), None, None)},
        {"a": (3.0, None, 4.0)},
        {"a": (3.0, None, 4.0, "lower")},
    ]
    found = scores(rows)
    assert found["a"].pulls == [-2.0]
    assert (found["a"].gave_up, found["a"].bounds_true, found["a"].bounds_false) == (1, 2, 1)
    assert (found["b"].rightful, found["b"].unfounded, found["b"].gave_up) == (2, 1, 0)
    assert (len(found["c"].pulls), found["c"].gave_up) == (1, 3)
    assert "unfounded" in found["b"].misses()
    assert table(rows).splitlines()[1].split()[0] == "a"


def test_goals_are_those_of_the_study() -> None:
    pulls = (-2.5, -1.2, -0.9, -0.6, -0.3, 0.1, -0.2, 0.3, 0.6, 0.9, 1.2, 1.5)
    honest = [{"a": (x, 1.0, 0.0)} for x in pulls]
    assert scores(honest * 10)["a"].misses() == []
    biased = [{"a": (x + 0.4, 1.0, 0.0)} for x in (-1.5, -0.6, -0.3, 0.0, 0.3, 0.6, 1.5)]
    assert "bias" in scores(biased * 10)["a"].misses()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sample_that_crashes_or_dies_is_told_of_and_the_others_are_taken() -> None:
    samples = {s.number: s for s in take_all("lifetime", dies_at_three, range(6), 2)}
    assert sorted(samples) == [0, 1, 2, 3, 4, 5]
    assert samples[3].error == "its process died"
    assert "no light" in samples[4].error
    assert sorted(n for n, s in samples.items() if s.found is None) == [3, 4]


def test_a_study_replaces_its_own_section_only() -> None:
    one = [take("auger", dies_at_three, number) for number in (1, 4)]
    page = merge("", "auger", section("auger", one, 1), ORDER)
    assert "no light" in page and "1 crashed" in page
    page = merge(page, "power-sweep", section("power-sweep", one[:1], 2), ORDER)
    assert page.index("## power-sweep") < page.index("## auger")
    again = merge(page, "auger", section("auger", one[:1], 5), ORDER)
    assert "seed 5" in again and "seed 2" in again and "no light" not in again
    assert again.count("## auger") == 1
    assert isinstance(one[0], Sample)
