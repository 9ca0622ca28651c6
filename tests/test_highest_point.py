"""Where a spectrum is highest: told for one hump, left open where two are as high as each other."""

from __future__ import annotations

import numpy as np
import pytest

from procedures.analysis.highest_point import highest_point, rivals

WAVELENGTH_NM = np.linspace(500.0, 600.0, 601)


def two_humps(second: float, apart_nm: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a band of 1e6 at 550 nm with a hump beside it, noisy, and the noise."""

    def hump(centre: float, width: float) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * ((WAVELENGTH_NM - centre) / width) ** 2))

    light = 1e6 * (hump(550.0, 3.0) + second * hump(550.0 + apart_nm, 2.5))
    sigma = np.sqrt(light + 100.0)
    return light + sigma * np.random.default_rng(5).standard_normal(len(light)), sigma


def test_one_hump_is_told_within_its_error() -> None:
    light, sigma = two_humps(0.0)
    found = highest_point(WAVELENGTH_NM, light, sigma)
    assert found is not None
    part, smooth = found
    assert abs(part.peak_nm - 550.0) < 4.0 * part.sigma_nm < 0.2
    assert not rivals(smooth, sigma, part, [])


@pytest.mark.parametrize(("second", "open_"), [(0.4, False), (0.94, False), (0.993, True)])
def test_two_humps_leave_it_open_only_where_they_are_as_high(second: float, open_: bool) -> None:
    light, sigma = two_humps(second)
    found = highest_point(WAVELENGTH_NM, light, sigma)
    if found is None:
        assert open_
        return
    part, smooth = found
    assert rivals(smooth, sigma, part, []) is open_


def test_a_rival_inside_the_part_counts() -> None:
    light, sigma = two_humps(0.995)
    found = highest_point(WAVELENGTH_NM, light, sigma)
    assert found is not None
    part, smooth = found
    whole = type(part)(slice(200, 440), part.peak_nm, part.sigma_nm, part.curve)
    assert rivals(smooth, sigma, whole, [])
