"""Our run file under a stock pymeasure Worker.

`RunResults(procedure, folder, config)` takes the place of pymeasure's Results: the worker's records
go into the run file, and a failed write fails the run, because the measurement asks the sink after
each record.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from instruments.config import BenchConfig
from procedures.experiment import Procedure, Results
from procedures.measurement import Measurement
from procedures.running.describe import Description, describe_queued, describe_start
from procedures.running.runfile import RunWriter, WriteFailed, create_queued, mark_status

_PATIENCE_S = 10.0


class _Sink(logging.Formatter):
    """What pymeasure's recorder calls for each record; hands it to the writer."""

    def __init__(self) -> None:
        super().__init__()
        self.writer: RunWriter | None = None
        self.measurement: Measurement | None = None
        self.taken = 0
        self.failure: BaseException | None = None
        self.changed = threading.Condition()

    def format(self, record: Any) -> str:
        """Append the record; nothing is left for the text file that pymeasure wants to write."""
        with self.changed:
            try:
                if self.writer is None or self.measurement is None:
                    raise WriteFailed("a record came before the run was started")
                self.writer.append(record, self.measurement.bench.state())
            except Exception as error:
                self.failure = self.failure or error
            self.taken += 1
            self.changed.notify_all()
        return ""


class RunResults(Results):  # type: ignore[misc]
    """pymeasure's Results, with the run file behind it."""

    def __init__(
        self,
        procedure: Measurement,
        folder: Path,
        config: BenchConfig,
        description: Description | None = None,
    ) -> None:
        # Not Results.__init__: it would write a text file.
        self.procedure = procedure
        self.procedure_class = type(procedure)
        self.parameters = procedure.parameter_objects()
        header = describe_queued(procedure, config, description or Description(), time.time())
        self.path = create_queued(folder, header)
        self.data_filename = str(self.path)
        self.data_filenames = [os.devnull]
        self.formatter = _Sink()
        self.formatter.measurement = procedure
        self._emitted = 0
        self._original_shutdown = procedure.shutdown
        procedure.check_sink = self._check
        procedure.shutdown = self._shutdown  # type: ignore[method-assign]

    def store_metadata(self) -> None:
        """Start the run file: pymeasure calls this between startup and execute."""
        self.formatter.writer = RunWriter.start(
            self.path, describe_start(self.procedure, self.procedure.bench)
        )

    def _check(self) -> None:
        """Wait until the recorder has taken what was emitted; raise what went wrong."""
        self._emitted += 1
        sink = self.formatter
        with sink.changed:
            done = sink.changed.wait_for(
                lambda: sink.failure is not None or sink.taken >= self._emitted, _PATIENCE_S
            )
            if sink.failure is not None:
                raise sink.failure
        if not done:
            raise WriteFailed(f"{self.path}: pymeasure's recorder does not take records")
        assert sink.writer is not None
        sink.writer.check()

    def _shutdown(self) -> None:
        """Make the bench safe, then close the file with the status that the run has earned."""
        try:
            self._original_shutdown()
        finally:
            status = "failed" if self.procedure.status == Procedure.FAILED else "aborted"
            writer = self.formatter.writer
            if writer is None:
                mark_status(self.path, status)
            else:
                try:
                    writer.wait_durable()
                    if status == "aborted" and writer.rows_complete >= len(self.procedure.plan()):
                        status = "finished"
                finally:
                    writer.close(status, self.procedure.bench.clock.now())

    def __repr__(self) -> str:
        return f"<RunResults({self.path})>"
