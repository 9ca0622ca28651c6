"""Parameters and plans: strict values, points from the parameters alone."""

from __future__ import annotations

import numpy as np
import pytest

from procedures.parameters import ParameterError, toml_value
from procedures.power_sweep import PowerSweep


def test_columns_are_pymeasures_data_columns() -> None:
    assert [column.name for column in PowerSweep.COLUMNS] == PowerSweep.DATA_COLUMNS
    PowerSweep.parse_columns(PowerSweep.DATA_COLUMNS)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("point", 3, "did you mean 'points'"),
        ("points", 1.5, "whole number"),
        ("points", True, "whole number"),
        ("points", "many", "not a number"),
        ("points", 0, "allowed is 1"),
        ("fluence_min_uJ_cm2", float("nan"), "nan"),
        ("fluence_max_uJ_cm2", float("inf"), "inf"),
        ("fluence_min_uJ_cm2", 90.0, "fluence_max_uJ_cm2"),
        ("fluence_min_uJ_cm2", "3 mJ/cm^2", "unit"),
        ("lengths_mm", [1.0, "a"], "'a'"),
        ("down", 2, "true and false"),
        ("spacing", "cubic", "'log', 'linear'"),
    ],
)
def test_bad_parameters_name_the_key_and_what_is_allowed(
    name: str, value: object, words: str
) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        PowerSweep(**{name: value})
    assert caught.value.key == name


def test_whole_numbers_may_be_written_as_powers_of_ten() -> None:
    assert PowerSweep(shots_min=1e3).shots_min == 1000
    assert PowerSweep(points="4e1").points == 40


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("2.5", 2.5), ("[1, 2]", [1, 2]), ("true", True), ("log", "log")]
)
def test_settings_are_toml_values(text: str, value: object) -> None:
    assert toml_value(text) == value


def test_plan_up_down_and_lengths() -> None:
    sweep = PowerSweep(
        fluence_min_uJ_cm2=1, fluence_max_uJ_cm2=100, points=3, down=True, lengths_mm=[1.5]
    )
    plan = sweep.plan()
    assert len(plan) == 12
    assert np.allclose([p["fluence_uJ_cm2"] for p in plan[:6]], [1, 10, 100, 100, 10, 1])
    assert [p["direction"] for p in plan[:6]] == [1, 1, 1, -1, -1, -1]
    assert {p["length_mm"] for p in plan[6:]} == {1.5}
    assert plan == sweep.plan()
    assert sweep.roles()[-1] == "stripe"
    assert "stripe" not in PowerSweep().roles()


def test_linear_spacing_and_a_single_point() -> None:
    linear = PowerSweep(fluence_min_uJ_cm2=10, fluence_max_uJ_cm2=20, points=3, spacing="linear")
    assert [p["fluence_uJ_cm2"] for p in linear.plan()] == [10, 15, 20]
    assert len(PowerSweep(points=1).plan()) == 1
