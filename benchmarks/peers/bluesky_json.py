"""bluesky: the RunEngine runs `count` on a readable device, JSONLinesWriter writes the documents.

Arrays stand in the events, made JSON by event-model's `sanitize_doc`; a beamline's area detector
would write them to a file of its own, beside bluesky.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import bluesky
import event_model
import work
from bluesky import RunEngine
from bluesky.callbacks.json_writer import JSONLinesWriter
from bluesky.plans import count as count_plan


class Device:
    """Readable, by bluesky's protocol."""

    name, parent, hints = "bench", None, {}

    def __init__(self, source: work.Source, clock: work.Clock) -> None:
        self.source, self.clock, self.i = source, clock, 0

    def describe(self) -> dict[str, Any]:
        keys = {n: {"source": "made up", "dtype": "number", "shape": []} for n in work.NAMES}
        if self.source.shape:
            keys["array"] = {
                "source": "made up", "dtype": "array", "shape": list(self.source.shape),
            }  # fmt: skip
        return keys

    def read(self) -> dict[str, Any]:
        if self.i == 0:
            self.clock.start()
        now = time.time()
        found = {n: {"value": v, "timestamp": now} for n, v in self.source.numbers(self.i).items()}
        if self.source.shape:
            found["array"] = {"value": self.source.array(self.i), "timestamp": now}
        self.i += 1
        return found

    def describe_configuration(self) -> dict[str, Any]:
        return {}

    def read_configuration(self) -> dict[str, Any]:
        return {}


def take(kind: str, count: int, folder: Path, clock: work.Clock) -> Path:
    source = work.Source(kind)
    engine, writer = RunEngine({}), JSONLinesWriter(str(folder), "run.jsonl")
    if source.shape:
        engine.subscribe(lambda name, doc: writer(name, event_model.sanitize_doc(doc)))
    else:
        engine.subscribe(writer)
    engine(count_plan([Device(source, clock)], num=count))
    clock.stop()
    return folder / "run.jsonl"


def read(path: Path, kind: str) -> tuple[int, float, float]:
    found, last = 0, {}
    with open(path) as file:
        for line in file:
            if line.startswith('{"name": "event"'):
                found, last = found + 1, line
    data = json.loads(last)["doc"]["data"]
    total = sum(map(sum, data["array"])) if kind == "spectrograms" else sum(data.get("array", [0]))
    return found, float(data["c0"]), float(total)


work.main(
    take,
    read,
    {"bluesky": bluesky.__version__, "event-model": event_model.__version__},
    "RunEngine, plan count(), JSONLinesWriter",
)
