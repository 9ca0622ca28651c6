"""What is run to find the paper's values again, and which figures are drawn from it.

Runs that one figure needs together stand in one chapter; a chapter is carried out by one process.
The longest come first, so that two processes end at about the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run: `key` names it in the report, `sample` overrides keys of the simulated sample."""

    key: str
    measurement: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plate:
    """One figure of the report: which of the paper's it stands for, what draws it, from which runs.

    `draw` is "module:function", called with the evaluation (or with a list of them, where
    `runs` are several) and the path; "" is the figure of the measurement itself.
    """

    figure: str
    title: str
    runs: tuple[str, ...]
    draw: str = ""

    @property
    def name(self) -> str:
        """Return the stem of its files."""
        return "figure-" + self.figure.replace(", ", "-").replace(" ", "")


@dataclass(frozen=True)
class Chapter:
    """Runs and the figures drawn from them."""

    key: str
    runs: tuple[Run, ...]
    plates: tuple[Plate, ...]


def _alone(figure: str, title: str, run: Run) -> Chapter:
    return Chapter(run.key, (run,), (Plate(figure, title, (run.key,)),))


_GREEN = Run("sweep-9nm", "power-sweep", "CsPbBr3, 9 nm", sample={"preset": "CsPbBr3-9nm"})
_SMALL = Run("sweep-5.5nm", "power-sweep", "CsPbBr3, 5.5 nm", {"fluence_max_uJ_cm2": 110.0},
             {"preset": "CsPbBr3-5.5nm"})  # fmt: skip
_BLUE = Run("sweep-blue", "power-sweep", "CsPb(Br/Cl)3", {}, {"preset": "CsPbBrCl"})
_RED = Run("sweep-red", "power-sweep", "CsPb(I/Br)3", {}, {"preset": "CsPbIBr"})
_SOLUTION = Run("lifetime-solution", "lifetime", "CsPbBr3 9 nm, solution")
_FILM = Run("lifetime-film", "lifetime", "CsPbBr3 9 nm, film", {"medium": "film"})

CHAPTERS: tuple[Chapter, ...] = (
    _alone("2c", "Photostability",
           Run("photostability", "photostability", "CsPbBr3 9 nm film, in air")),
    Chapter(
        "sweeps",
        (_GREEN, _SMALL, _BLUE, _RED),
        (
            Plate("2a, 2b", "Power sweep of the 9 nm film", (_GREEN.key,)),
            Plate("6a, 6b, 6c", "Stimulated emission by size and composition",
                  (_BLUE.key, _SMALL.key, _GREEN.key, _RED.key),
                  "procedures.drawing.paper_films:films_figure"),
        ),
    ),
    _alone("S3a", "Ageing in air", Run("ageing", "ageing", "CsPbBr3 9 nm film, 3 weeks in air")),
    _alone("5a to 5i", "Streak spectrograms",
           Run("streak", "streak-series", "CsPbBr3 9 nm film")),
    _alone("S3b", "Variable stripe length", Run("stripe", "stripe-length", "CsPbBr3 9 nm film")),
    _alone("4c", "Absorption cross-section",
           Run("cross-section", "cross-section", "CsPbBr3 9 nm, solution")),
    _alone("4b, S4", "Auger recombination", Run("auger", "auger", "CsPbBr3 9 nm, solution")),
    Chapter(
        "lifetimes",
        (_SOLUTION, _FILM),
        (
            Plate("4a", "Lifetimes of solution and film", (_SOLUTION.key, _FILM.key),
                  "procedures.drawing.paper_lifetimes:lifetimes_figure"),
        ),
    ),
    _alone("3a to 3c", "Exciton and biexciton at 10 K",
           Run("biexciton", "biexciton", "CsPbBr3 9 nm film, 10 K")),
    _alone("6d, S7", "Whispering-gallery laser",
           Run("capillary", "capillary-lasing", "CsPbBr3 9 nm in a 50 µm capillary")),
)  # fmt: skip
"""In the order in which they are begun."""


def plate_order(figure: str) -> tuple[int, str]:
    """Return a key that sorts figures as the paper does: 2 to 6, each S beside its own text."""
    places = {"S3": "2d", "S4": "4b"}
    first = figure.split(",")[0].split(" ")[0]
    first = places.get(first[:2], first) + first[2:] if first.startswith("S") else first
    return int(first[0]), first[1:]


def measurements() -> list[str]:
    """Return the names of the measurements that are run, each once."""
    return sorted({run.measurement for chapter in CHAPTERS for run in chapter.runs})
