"""Processes that carry out chapters side by side, and end at once when they are told to.

Each process watches a pipe from its parent and the parent itself: whichever goes, it goes, whatever
it was at. Works with spawned processes, as Windows has them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from procedures.reproducing.chapters import Chapter
from procedures.reproducing.work import ChapterOutcome, carry_out, lost

_ABORTED = 130
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def carry_out_all(
    chapters: Sequence[Chapter],
    out: Path,
    seed: int,
    processes: int,
    began: Callable[[Chapter], None],
) -> Iterator[tuple[Chapter, ChapterOutcome]]:
    """Yield each chapter with its outcome as it ends; `began` is told of each that begins.

    A process that dies takes those under way along, which are told as failed; the rest is carried
    out by new ones. On any exception (Ctrl-C) in the caller's thread all processes end at once.
    """
    waiting = list(chapters)[::-1]
    while waiting:
        under_way: dict[Future[ChapterOutcome], Chapter] = {}
        with _pool(min(processes, len(waiting))) as pool:
            try:
                while waiting or under_way:
                    while waiting and len(under_way) < processes:
                        chapter = waiting[-1]
                        with _uninterrupted():
                            under_way[pool.submit(carry_out, chapter, out, seed)] = chapter
                        began(waiting.pop())
                    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                        outcome = done.result()
                        yield under_way.pop(done), outcome
            except BrokenProcessPool:
                for chapter in under_way.values():
                    yield chapter, lost(chapter, "the process that carried it out died")


@contextlib.contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    # One thread a process: several libraries of linear algebra get in each other's way.
    with _environment({name: "1" for name in _THREADS}):
        pool = ProcessPoolExecutor(processes, context, _enter, (theirs,))
        try:
            yield pool
            pool.shutdown()
        finally:
            ours.close()  # tells the processes to go
            pool.shutdown(wait=True, cancel_futures=True)
            theirs.close()


def _enter(told: Connection) -> None:
    """Begin a process: Ctrl-C is the parent's affair; when the parent says so, or is gone, end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    watched: list[Any] = [told] if parent is None else [told, parent.sentinel]

    def watch() -> None:
        wait_for(watched)
        os._exit(_ABORTED)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let processes that begin in the block be born deaf to Ctrl-C; a moment, no more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
