"""pytest shows what an assert of a contract compared, as it does for our own tests."""

import pytest

pytest.register_assert_rewrite("instruments.contract")
