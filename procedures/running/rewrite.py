"""Replacing a file whole: written beside it, forced to disk, then put in its place."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from procedures.running.room import need_space


@contextlib.contextmanager
def rewriting(path: Path) -> Iterator[Path]:
    """Give a temporary path; if the block succeeds, it takes the place of `path`.

    Raises DiskFull, before anything is written, if there is no room for a second copy.
    """
    need_space(path, 2 * path.stat().st_size if path.exists() else 0)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def clear_away(path: Path) -> None:
    """Remove what a rewrite of a process that was killed has left; only under the file's lock."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*tmp"):
        with contextlib.suppress(OSError):
            left.unlink()


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, where the system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file."""
    shutil.copyfile(source, target)
