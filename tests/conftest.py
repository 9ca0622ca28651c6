"""What every test may need: no screen, a clean working folder."""

from __future__ import annotations

import os
import tempfile

import pytest

pytest.register_assert_rewrite("instruments.contract")

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("GAINBENCH_STATE", tempfile.mkdtemp(prefix="gainbench-state-"))
