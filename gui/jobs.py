"""Work off the window's thread: files and fits, each in a thread of its own, answers by signals.

A job of a name replaces one of that name that has not begun: of ten fits asked for while one is
computed, only the newest is computed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from PyQt5 import QtCore

log = logging.getLogger(__name__)

_PATIENCE_S, _NEEDED_S = 2.0, 20.0
Then = Callable[[Any], None]
Otherwise = Callable[[BaseException], None]


class Jobs(QtCore.QObject):
    """One thread that does what it is given, the oldest first."""

    _done = QtCore.pyqtSignal(object, object, object)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._waiting: dict[object, tuple[Callable[[], Any], Then, Otherwise | None]] = {}
        self._needed: set[object] = set()
        self._condition = threading.Condition()
        self._ending = False
        self._busy = False
        self._done.connect(self._hand_back)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(
        self,
        act: Callable[[], Any],
        then: Then,
        otherwise: Otherwise | None = None,
        *,
        name: object = None,
        needed: bool = False,
    ) -> None:
        """Have `act()` done in the thread; `then(result)` or `otherwise(error)` in the window's.

        needed: it is done even if the end comes before its turn.
        """
        with self._condition:
            key = name if name is not None else object()
            if needed:
                self._needed.add(key)
            self._waiting[key] = (act, then, otherwise)
            self._condition.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing is done or waits."""
        with self._condition:
            return not self._busy and not self._waiting

    def end(self) -> None:
        """Finish what is being done and what is needed, and nothing more."""
        with self._condition:
            self._ending = True
            self._waiting = {k: job for k, job in self._waiting.items() if k in self._needed}
            patience_s = _NEEDED_S if self._needed else _PATIENCE_S
            self._condition.notify()
        self._thread.join(patience_s)

    def _work(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                key = next(iter(self._waiting))
                act, then, otherwise = self._waiting.pop(key)
                self._needed.discard(key)
                self._busy = True
            try:
                found = act()
            except Exception as error:
                log.debug("a job failed", exc_info=True)
                self._emit(otherwise, error, act)
            else:
                self._emit(then, found, act)

    def _emit(self, target: Any, value: Any, act: Any) -> None:
        try:
            self._done.emit(target, value, act)
        except RuntimeError:  # the window is gone
            log.debug("nobody waits for a job any more")

    def _hand_back(self, target: Callable[[Any], None] | None, value: Any, _act: Any) -> None:
        if target is not None:
            target(value)
