"""Whether a run that was queued elsewhere may be carried out on the bench that is open here.

A run names its bench file and holds its text. Another bench is another set of instruments, so such
a run is refused; the same file, edited since, or a copy of it elsewhere, is the same bench.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instruments.config import BenchConfig, default, parse
from instruments.errors import BenchError, ConfigError


class OtherBench(BenchError):
    """The run belongs to another bench than the one that is open."""

    exit_code = 2
    code = "other-bench"


def check_bench(name: str, text: str, file: str, config: BenchConfig) -> str:
    """Return a remark where the bench file has changed since the run was queued, "" if not.

    Args:
        name: of the run file. text, file: of the bench file that the run holds ("" for both: the
            simulated bench without a file). config: of the bench that is open.

    Raises:
        OtherBench: it is of another bench.
    """
    if _values(text, file) == _values(config.text, config.file or ""):
        return ""
    if _same_file(file, config.file or ""):
        return (
            f"{name}: the bench file has changed since this run was queued; it is carried out with "
            "the bench as it is open here"
        )
    raise OtherBench(
        f"{name} belongs to the bench of {file or 'no file (simulated)'}, this window has "
        f"{config.file or 'no file (simulated)'} open: carry it out with `gainbench resume`, or "
        "in a window of that bench; here, move it down or remove it from the queue"
    )


def _values(text: str, file: str) -> dict[str, Any] | None:
    if not text and not file:
        return default().model_dump()
    try:
        return parse(text, file or None).model_dump()
    except ConfigError:
        return None  # of an earlier version, perhaps: it is the same as nothing


def _same_file(one: str, other: str) -> bool:
    if not one or not other:
        return one == other
    return Path(one).resolve() == Path(other).resolve()
