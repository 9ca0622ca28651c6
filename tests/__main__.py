"""Every check of the project, one after the other: `python -m tests [pytest arguments]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CODE = ["instruments", "procedures", "sim_drivers", "gui", "tests", "benchmarks", "examples"]
CODE += ["docs/build.py"]


def main() -> int:
    checks = [
        [sys.executable, "-m", "ruff", "check", *CODE],
        [sys.executable, "-m", "ruff", "format", "--check", *CODE],
        [sys.executable, "-m", "mypy"],
        [str(BIN / "lint-imports")],
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *sys.argv[1:]],
    ]
    failed = []
    for check in checks:
        print("$", " ".join(["python", *check[1:]] if check[0] == sys.executable else check))
        sys.stdout.flush()
        if subprocess.run(check, cwd=ROOT, check=False).returncode:
            failed.append(check)
    for check in failed:
        print("failed:", " ".join(check[1:4]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
