"""The plan of a night: what it means, and errors that name step and key."""

from __future__ import annotations

import re
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pytest

from procedures.nights.conditions import After, Moment, When, parse_moment, parse_when
from procedures.nights.expanding import Step, expand
from procedures.nights.plan import PlanError, parse_plan
from tests.nights import SHORT


def steps(text: str) -> list[Step]:
    return expand(parse_plan(text, "plan.toml"))


def test_loops_are_cartesian_and_names_are_filled_in() -> None:
    found = steps(
        """
        [night]
        sample = "film 12"
        operator = "A. Person"
        retries = 2
        [[step]]
        loop = { cryostat_K = [10, 80.0], spot = ["A1", "A2"] }
        retries = 1
        [[step.step]]
        name = "sweep {points} at {cryostat_K:g} K, {spot}, {operator}"
        measurement = "power-sweep"
        parameters = { points = 12 }
        [[step.step]]
        measurement = "stripe-length"
        if = "the step before succeeded"
        on_failure = "stop"
        spot = "here"
        loop = { fluence_uJ_cm2 = [30.0] }
        [[step]]
        measurement = "lifetime"
        """
    )
    assert [step.number for step in found] == list(range(1, 10))
    assert [(s.cryostat_K, s.spot) for s in found[:8:2]] == [
        (10.0, "A1"),
        (10.0, "A2"),
        (80.0, "A1"),
        (80.0, "A2"),
    ]
    first, second, last = found[0], found[1], found[-1]
    assert first.name == "sweep 12 at 10 K, A1, A. Person"
    assert dict(first.parameters) == {"points": 12}
    assert (first.policy.retries, first.policy.on_failure) == (1, "skip")
    assert dict(second.parameters) == {"fluence_uJ_cm2": 30.0}
    assert second.name == "stripe-length (cryostat_K 10, spot A1, fluence_uJ_cm2 30)"
    assert (second.policy.on_failure, second.policy.on_interlock) == ("stop", "stop")
    assert second.only_if == After("the step before succeeded", "before", True)
    assert (last.sample, last.spot, last.policy.retries) == ("film 12", "", 2)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", "step", "one [[step]] or more"),
        ("[[step]]\nmeasurment='x'", "step 1: measurment", "did you mean 'measurement'"),
        (f"[night]\nstrat='22:30'\n[[step]]\n{SHORT}", "night.strat", "did you mean 'start'"),
        (f"[night]\nstart='25:30'\n[[step]]\n{SHORT}", "night.start", "is no time"),
        (f"[budget]\ntime_h=-1\n[[step]]\n{SHORT}", "budget.time_h", "greater than 0"),
        (
            f"[[step]]\n{SHORT}\n[[step]]\nname='b'\non_failure='ski'\n{SHORT}",
            "step 2 'b': on_failure",
            "'skip' or 'stop'",
        ),
        (
            "[[step]]\nmeasurement='powr-sweep'",
            "step 1 'powr-sweep': measurement",
            "did you mean 'power-sweep'",
        ),
        (
            "[[step]]\nname='g'\n[[step.step]]\nmeasurement='power-sweep'\nparameters={point=3}",
            "step 1 'g', in it step 1 'power-sweep': parameters.point",
            "did you mean 'points'",
        ),
        (
            f"[[step]]\n{SHORT}loop={{points=[3]}}",
            "step 1 'power-sweep': loop.points",
            "under parameters, too",
        ),
        (
            f"[[step]]\n{SHORT}loop={{shots_min=[3, 'x']}}",
            "step 1 'power-sweep': loop.shots_min",
            "not a number",
        ),
        (f"[[step]]\n{SHORT}loop={{spot=[]}}", "step 1 'power-sweep': loop.spot", "one value"),
        (
            f"[[step]]\n{SHORT}loop={{spots=['a']}}",
            "step 1 'power-sweep': loop.spots",
            "did you mean 'spot'",
        ),
        (
            f"[[step]]\n{SHORT}loop={{cryostat_K=['a']}}",
            "step 1 'power-sweep': loop.cryostat_K",
            "no temperature",
        ),
        (
            f"[[step]]\nname='{{points.__class__}}'\n{SHORT}",
            "step 1 '{points.__class__}': name",
            "to fill in",
        ),
        (
            f"[[step]]\n{SHORT}when='cryo below 12 K'",
            "step 1 'power-sweep': when",
            "no instrument",
        ),
        (
            f"[[step]]\n{SHORT}if='the step before succeeded'",
            "step 1 'power-sweep': if",
            "no step before the first",
        ),
        (
            f"[[step]]\nname='cold'\n{SHORT}[[step]]\n{SHORT}if='step clod failed'",
            "step 2 'power-sweep': if",
            "did you mean 'cold'",
        ),
        (
            "[[step]]\nif='step a failed'\n[[step.step]]\nmeasurement='power-sweep'",
            "step 1",
            "belongs to a measurement",
        ),
        ("[[step]]\nname='both'", "step 1 'both'", "give a measurement; or steps"),
    ],
)
def test_errors_name_step_and_key(text: str, key: str, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        steps(text)
    assert caught.value.key == key
    assert words in str(caught.value)
    assert str(caught.value).startswith("plan.toml: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cryostat is below 12 K", ("cryostat", "below", 12.0, "K")),
        ("cryostat below 12K", ("cryostat", "below", 12.0, "K")),
        ("energy meter above 2.5e-1 µJ", ("energy_meter", "above", 0.25, "µJ")),
        ("camera below -60 °C", ("camera", "below", -60.0, "°C")),
        ("shutter ready", ("shutter", "ready", 0.0, "")),
    ],
)
def test_conditions_are_understood(text: str, expected: tuple[Any, ...]) -> None:
    found = parse_when(text)
    assert isinstance(found, When)
    assert (found.role, found.way, found.value, found.unit) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cryostat below x K",
        "cryostat below nan K",
        "cryostat below 3 F",
        "shutter below 3 K",
        7,
        "",
    ],
)
def test_what_is_not_understood_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=r"not|unit|no reading|sentence"):
        parse_when(text)


def test_a_time_of_day_is_the_next_one_and_a_date_is_itself() -> None:
    evening = datetime(2026, 11, 26, 19, 0, 5).timestamp()
    assert parse_moment("22:30").resolve(evening) == datetime(2026, 11, 26, 22, 30).timestamp()
    assert parse_moment("03:00").resolve(evening) == datetime(2026, 11, 27, 3, 0).timestamp()
    assert parse_moment(time(19, 0, 5)).resolve(evening) == evening
    early = parse_moment("2026-11-25 10:00")
    assert early.resolve(evening) == datetime(2026, 11, 25, 10).timestamp()
    zoned = Moment("", datetime.fromisoformat("2026-11-27T03:00:00+01:00"))
    assert zoned.resolve(evening) == datetime.fromisoformat("2026-11-27T02:00Z").timestamp()


def test_the_plan_in_the_documentation_is_accepted() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "nights.md").read_text("utf-8")
    plan, *_ = re.findall(r"```toml\n(.*?)```", page, re.S)
    found = steps(plan)
    assert [step.measurement for step in found[-6:]] == ["biexciton"] * 6
    assert [step.parameters["temperature_K"] for step in found[-6::2]] == [10, 40, 80]
