"""The clock: a virtual night costs nothing, and what is due happens in order."""

from __future__ import annotations

import threading
import time

import pytest

from instruments.clock import VirtualClock, WallClock


def test_virtual_time_passes_by_sleeping_only() -> None:
    clock = VirtualClock(1000.0)
    clock.sleep(4.5 * 3600)
    assert clock.now() == 1000.0 + 4.5 * 3600
    clock.sleep(-5)
    clock.sleep(float("nan"))
    assert clock.now() == 1000.0 + 4.5 * 3600


def test_regular_calls_come_in_order_at_their_time() -> None:
    clock = VirtualClock(0.0)
    seen: list[tuple[str, float]] = []
    clock.every(2.0, lambda: seen.append(("two", clock.now())))
    slow = clock.every(3.0, lambda: seen.append(("three", clock.now())))
    clock.sleep(6.5)
    slow.cancel()
    clock.sleep(6.0)
    assert [entry for entry in seen if entry[0] == "three"] == [("three", 3.0), ("three", 6.0)]
    assert [moment for name, moment in seen if name == "two"] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert [moment for _, moment in seen] == sorted(moment for _, moment in seen)


def test_a_failing_call_does_not_stop_the_others() -> None:
    clock = VirtualClock(0.0)
    seen = []

    def broken() -> None:
        raise RuntimeError("on purpose")

    clock.every(1.0, broken)
    clock.every(1.0, lambda: seen.append(clock.now()))
    clock.sleep(3.0)
    assert seen == [1.0, 2.0, 3.0]


def test_a_regular_call_that_itself_waits_does_not_recurse() -> None:
    clock = VirtualClock(0.0)
    seen = []

    def slow() -> None:
        seen.append(clock.now())
        clock.sleep(0.4)

    clock.every(1.0, slow)
    clock.sleep(3.2)
    assert len(seen) == 3
    assert clock.now() >= 3.2


def test_a_jump_takes_what_is_due_along() -> None:
    clock = VirtualClock(0.0)
    seen = []
    clock.every(1.0, lambda: seen.append(clock.now()))
    clock.jump(100.0)
    clock.sleep(1.0)
    assert seen == [101.0]


def test_wall_clock_speed_and_regular_thread() -> None:
    clock = WallClock(speed=100.0)
    called = threading.Event()
    ticket = clock.every(1.0, called.set)
    start, real = clock.now(), time.monotonic()
    clock.sleep(5.0)
    assert clock.now() - start >= 5.0
    assert time.monotonic() - real < 2.0
    assert called.wait(2.0)
    ticket.cancel()
    with pytest.raises(ValueError, match="positive"):
        WallClock(0.0)


def test_iso_time_has_an_offset() -> None:
    text = VirtualClock(0.0).isoformat()
    assert text[19] in "+-."
    assert text.startswith(("1970", "1969"))
