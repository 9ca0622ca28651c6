"""What a command does not load: help, lists and the first record wait for no library needlessly.

Which modules are loaded is the same on every machine; times are not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "PyQt5", "h5py", "lmfit", "matplotlib", "numpy", "pandas", "pint", "psutil", "pymeasure",
    "pyqtgraph", "pyvisa", "rich.progress", "scipy", "sqlite3",
}  # fmt: skip
FITS = {"lmfit", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "PyQt5", "pyqtgraph"}

COMMAND = """
import json, sys
from procedures import cli
sys.argv = ["gainbench", *json.loads(sys.argv[1])]
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
FIRST_RECORD = """
import json, os, sys
from procedures.running import writing
def first(*_):
    print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
    os._exit(0)
writing.RunWriter.append = first
from procedures import cli
sys.argv = ["gainbench", "run", "lifetime"]
cli.main()
"""


def loaded(folder: Path, code: str, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith('["')]
    assert lines, done.stderr
    return set(json.loads(lines[-1]))


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["list"]])
def test_help_and_list_load_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    assert not loaded(tmp_path, COMMAND, *words) & HEAVY


def test_a_list_of_known_runs_needs_no_numpy(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert not loaded(tmp_path, COMMAND, "runs", "runs") & (HEAVY - {"sqlite3"})


def test_the_first_record_waits_for_no_fit_and_no_figure(tmp_path: Path) -> None:
    modules = loaded(tmp_path, FIRST_RECORD)
    assert "procedures.lifetime" in modules
    assert not modules & FITS
    assert not {one for one in modules if one.startswith(("procedures.eval", "procedures.draw"))}
