"""The bad lines themselves: a mangler that lets everything pass would prove every driver right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from instruments.clock import VirtualClock
from sim_drivers.link import WireDevice
from tests.mangling import CREDIBLE, KINDS, Deaf, Mangler, Step, plans


class Clock(WireDevice):
    """Answers every command by one line that counts."""

    def __init__(self) -> None:
        super().__init__(VirtualClock(0.0))
        self.count = 0

    def receive(self, data: bytes) -> None:
        self.count += 1
        self.send(b"+%d.0150\r\n" % self.count, 0.1)


class Same(WireDevice):
    def receive(self, data: bytes) -> None:
        self.send(b"+1.0150\r\n")


def said(wire: WireDevice) -> bytes:
    wire.receive(b"?\r\n")
    wire.clock.sleep(0.2)
    return wire.take()


@pytest.mark.parametrize(
    ("kind", "place", "expected"),
    [
        ("cut", 3, b"+1."),
        ("cut line", 3, b"+1.\r\n"),
        ("behead", 3, b"0150\r\n"),
        ("shorten", 1, b"+.0150\r\n"),
        ("lost", 3, b""),
        ("double", 3, b"+1.0150\r\n+1.0150\r\n"),
        ("garble", 3 + 9 * 65, b"+1.A150\r\n"),
        ("digit", 0, b"+2.0150\r\n"),
        ("digit", 1, b"+1.1150\r\n"),
        ("digit", 5, b"+3.0150\r\n"),
        ("flip", 3, b"+0.1051\r\n"),
        ("stray", 4, b"boot\r\n+1.0150\r\n"),
        ("late", 3, b""),
    ],
)
def test_each_harm_is_done_once_and_then_no_more(kind: str, place: int, expected: bytes) -> None:
    wire = Mangler(Clock(), [(kind, place)])
    assert said(wire) == expected
    wire.clock.sleep(0.3)
    assert wire.take() == (b"+1.0150\r\n" if kind == "late" else b"")
    assert said(wire) == b"+2.0150\r\n"


def test_every_kind_has_its_turn_in_the_test_above() -> None:
    for kind in KINDS:
        reply = b"+1.0150\r\n"
        changed = Mangler(Same(VirtualClock(0.0))).spoil(reply, kind, 2) != reply
        assert changed is (kind != "late")
    with pytest.raises(ValueError, match="no harm"):
        said(Mangler(Clock(), [("bend", 0)]))


@pytest.mark.parametrize("kind", sorted(CREDIBLE))
def test_the_same_wrong_text_never_comes_twice(kind: str) -> None:
    wire = Mangler(Same(VirtualClock(0.0)), [(kind, 3)] * 5)
    wrong = [text for text in (said(wire) for _ in range(5)) if text != b"+1.0150\r\n"]
    assert len(wrong) == 1
    wire.forget()
    wire.plan = [(kind, 3)]
    assert said(wire) == wrong[0]


def test_after_a_credible_harm_the_next_ones_pass() -> None:
    wire = Mangler(Clock(), [("digit", 0), ("digit", 1), ("lost", 0), *[("digit", 1)] * 2], rest=2)
    assert said(wire) == b"+2.0150\r\n"
    assert said(wire) == b"+2.0150\r\n"
    assert said(wire) == b""  # what is lost does not pass
    assert said(wire) == b"+4.0150\r\n"
    assert said(wire) == b"+5.1150\r\n"


def test_what_is_late_keeps_its_place() -> None:
    wire = Mangler(Clock(), [("late", 1)], late_s=0.2, later_s=1.0)
    assert said(wire) == b"" and said(wire) == b""
    wire.clock.sleep(1.2)
    assert wire.take() == b"+1.0150\r\n+2.0150\r\n"


def test_deaf_to_words() -> None:
    unit = Clock()
    wire = Deaf(unit)
    wire.lost = {b"?": 2}
    assert said(wire) == said(wire) == b"" and said(wire) == b"+1.0150\r\n"
    wire.unanswered = (b"?",)
    assert said(wire) == b"" and unit.count == 2 and len(wire.told) == 4


def test_plans_reach_every_kind_after_what_passes() -> None:
    seen: set[str] = set()
    lengths: set[int] = set()

    @settings(max_examples=200, database=None, derandomize=True)
    @given(plans(most=9, quiet=3))
    def collect(plan: list[Step]) -> None:
        lengths.add(len(plan))
        seen.update(step[0] for step in plan if step is not None)

    collect()
    assert seen == set(KINDS) and max(lengths) <= 12 and len(lengths) > 3
