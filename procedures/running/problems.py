"""What goes wrong with run files, in the operator's words."""

from __future__ import annotations

from pathlib import Path

from instruments.errors import BenchError


class WriteFailed(BenchError):
    """Records could not be written; what was acknowledged before is in the file."""

    code = "write-failed"


class DiskFull(WriteFailed):
    """There is no room for more records; noticed while there still is for closing the file."""

    code = "disk-full"


class NotARunFile(BenchError):
    """A file is not a run file, or beyond reading."""

    exit_code = 2
    code = "run-file"

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path}: is not a readable run file: {why}")
        self.file = str(path)


class NotResumable(BenchError):
    """A run that cannot go on: it is finished, or has not started."""

    exit_code = 2
    code = "resume"
