"""The bench file: what is wrong is named, with file, key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from instruments import config
from instruments.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[pump]\nstripe_widht_mm = 0.1", "pump.stripe_widht_mm", "stripe_width_mm"),
        ("[simulation.sample]\nthreshold = 3", "simulation.sample.threshold", "threshold_uJ_cm2"),
        ("[instruments.atenuator]\ndriver='x'", "instruments.atenuator", "'attenuator'"),
        ("[instruments.shutter]\nresource='x'", "instruments.shutter.driver", "missing"),
        ("[pump]\nrepetition_rate_Hz = -1", "pump.repetition_rate_Hz", "-1"),
        ("[pump]\nfull_pulse_energy_J = nan", "pump.full_pulse_energy_J", "finite"),
        ("[simulation]\nclock = 'sundial'", "simulation.clock", "'virtual' or 'wall'"),
        ("[[simulation.faults]]\ndevice='camera'\nkind='x'\nafter_s=1", "kind", "'silence'"),
        ("[[simulation.faults]]\ndevice='camera'\nkind='stuck'", "faults.0", "after_s"),
        ("[pump]\nspot_diameter_mm=1.0\nstripe_width_mm=1.0", "pump", "spot_diameter_mm"),
        ("[bench\n", "", "TOML"),
        ("colour = 3", "colour", "unknown key"),
    ],
)
def test_errors_name_file_key_and_remedy(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "my-bench.toml")
    message = str(caught.value)
    assert message.startswith("my-bench.toml")
    assert key in message
    assert words in message
    assert caught.value.exit_code == 2


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        config.load(tmp_path / "nowhere.toml")


def test_without_a_file_the_bench_is_simulated_on_the_virtual_clock() -> None:
    found = config.default()
    assert found.simulation is not None
    assert found.simulation.clock == "virtual"


def test_with_a_file_and_no_simulation_table_nothing_is_simulated() -> None:
    assert config.parse("[bench]\nname = 'real'").simulation is None


def test_area_of_stripe_and_spot() -> None:
    stripe = config.parse("[pump]\nstripe_width_mm = 0.2").pump
    spot = config.parse("[pump]\nspot_diameter_mm = 2.0").pump
    assert stripe is not None
    assert spot is not None
    assert stripe.area_cm2 == pytest.approx(0.006)
    assert spot.area_cm2 == pytest.approx(3.14159265e-2)


def test_driver_options_are_kept_for_the_driver() -> None:
    found = config.parse("[instruments.attenuator]\ndriver='thorlabs-elliptec'\naddress='2'")
    assert found.instruments["attenuator"].options == {"address": "2"}
    assert found.instruments["attenuator"].simulated
