"""The page of blind studies, docs/blind.md: one section a measurement, each replaced on its own.

Several people run studies, at several times: what a study stores is its own section, with date,
samples and seed; the sections of the others stay as they are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

from blind_report import (
    BIAS_MOST,
    GAVE_UP_MOST,
    HEADS,
    WITHIN_ONE,
    WITHIN_TWO,
    scores,
)
from blind_run import Sample

PAGE = Path(__file__).resolve().parent.parent / "docs" / "blind.md"

_INTRODUCTION = f"""\
# Blind studies: are the uncertainties honest?

`python benchmarks/blind.py MEASUREMENT --store` draws samples at random (all parameters within
ranges and correlations that dots can have, the errors of the bench's calibration drawn, too), takes
the measurement on the simulated bench, analyses the run file, and holds each result against the
sample's true value. Results without a parameter of their own (widths, slopes, shots to 90 %) are
held against what the measurement would give without noise. Nothing here is a test with a tolerance:
it is what came out.

- bias/stderr: median of (value - truth) / stderr; wanted under {BIAS_MOST} either way.
- within 1, within 2: share of values within one and two stderr of the truth; wanted
  {WITHIN_ONE[0]:.0%} to {WITHIN_ONE[1]:.0%}, and above {WITHIN_TWO:.0%}.
- rel. error, rel. stderr: medians, relative to the truth.
- gave up: no value although there was one to find; wanted under {GAVE_UP_MOST:.0%}.
- nulls right: of the samples that had nothing to find (the records end before), how many said so.
- bounds true: of the bounds stated, how many hold.
"""


def section(measurement: str, samples: Sequence[Sample], seed: int) -> str:
    """Return the section of one measurement."""
    good = [sample.found for sample in samples if sample.found is not None]
    failed = [sample for sample in samples if sample.found is None]
    day = datetime.date.today().isoformat()
    cpu = sum(sample.cpu_s for sample in samples) / max(len(samples), 1)
    lines = [
        f"## {measurement}",
        "",
        f"{day}, {len(samples)} samples, seed {seed}, {cpu:.1f} s of CPU time a sample"
        + (f", {len(failed)} crashed." if failed else "."),
        "",
        "| result | " + " | ".join(HEADS) + " |",
        "| --- |" + " ---: |" * (len(HEADS) - 1) + " --- |",
    ]
    lines += [f"| {n} | " + " | ".join(s.cells()) + " |" for n, s in scores(good).items()]
    if failed:
        lines += ["", "Crashed:", ""]
        lines += [f"- sample {sample.number}: {sample.error}" for sample in failed]
    return "\n".join(lines) + "\n"


def merge(text: str, measurement: str, new: str, order: Sequence[str]) -> str:
    """Return a page with a section put in or replaced, sections in the order of `order`."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    found = {part.splitlines()[0][3:].strip(): part.strip() + "\n" for part in parts[1:]}
    found[measurement] = new.strip() + "\n"
    names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    return "\n".join([_INTRODUCTION, *(found[name] for name in names)])


def store(
    measurement: str, samples: Sequence[Sample], seed: int, order: Sequence[str], page: Path = PAGE
) -> None:
    """Put the section of a measurement into the page."""
    text = page.read_text("utf-8") if page.exists() else ""
    new = merge(text, measurement, section(measurement, samples, seed), order)
    page.write_text(new, encoding="utf-8", newline="\n")
