"""The reference pages say what the code says; the bench files in the texts are accepted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from instruments import config

ROOT = Path(__file__).resolve().parent.parent


def test_reference_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_bench_file_in_the_texts_is_accepted() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = 0
    for page in pages:
        for text in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            if "[instruments" in text or "[pump]" in text:
                config.parse(text, page.name)
                found += 1
    assert found
