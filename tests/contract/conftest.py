"""Gives each contract class the backends of its role, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from instruments.contract import Mounted
from tests.contract.backends import IN_PROCESS, backends
from tests.contract.backends import mounted as opened


def pytest_generate_tests(metafunc: Any) -> None:
    """Every test over every backend in process; over real transports the quick ones."""
    kind = metafunc.cls
    if kind is None or "mounted" not in metafunc.fixturenames:
        return
    quick = metafunc.function.__name__ in kind.QUICK
    chosen = [one for one in backends(kind.BENCH_ROLE) if quick or one.mounting == IN_PROCESS]
    metafunc.parametrize("mounted", chosen, indirect=True, ids=str)


@pytest.fixture
def mounted(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """Open the backend."""
    with opened(request.param, composed=request.cls.COMPOSED) as found:
        yield found
