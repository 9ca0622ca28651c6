"""Signals as an orderly end."""

from __future__ import annotations

import signal
import time
import weakref

import pytest

from procedures.running.signals import Signals, Stopped


def test_a_signal_that_a_callback_of_the_interpreter_swallows_is_given_again() -> None:
    class Thing:
        pass

    thing = Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    with Signals(), pytest.raises(Stopped):
        del thing
        for _ in range(200):
            time.sleep(0.01)
    assert watch() is None
