"""The report as a PDF: a page of all statements, then a page a figure; figures stay vectors."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procedures.figures import BLUE, VERMILION
from procedures.reproducing.paper import CITATION
from procedures.reproducing.report import ABOUT, TITLE, Page, Report, write_whole
from procedures.reproducing.verdict import AGREES, Line

_WIDE_IN, _HIGH_IN = 11.69, 8.27  # A4, lying
_POINTS = 72.0
_MARGIN, _ROW, _NOTE = 0.05, 0.0228, 0.0165
_PICTURE_TOP = 0.905
_COLUMNS = {"figure": 0.05, "what": 0.11, "says": 0.44, "found": 0.62, "allowed": 0.78,
            "verdict": 0.905}  # fmt: skip
_HEADS = {"figure": "figure", "what": "quantity", "says": "paper", "found": "here",
          "allowed": "allowed", "verdict": "verdict"}  # fmt: skip
_ROWS_A_PAGE = 30


def write_pdf(report: Report, out: Path) -> Path:
    """Write `report.pdf` into `out`, from the figures that are there."""
    from pypdf import PdfWriter

    writer = PdfWriter()
    chunks = [report.lines[n : n + _ROWS_A_PAGE] for n in range(0, len(report.lines), _ROWS_A_PAGE)]
    for number, chunk in enumerate(chunks or [[]]):
        writer.append(_cover(report, chunk, number))
    for page in report.pages:
        notes = _notes(page)
        top = 0.04 + _NOTE * len(notes) + _ROW * (len(page.lines) + 1)
        writer.append(_page(page, notes, top))
        file = page.plate.files.get(".pdf")
        if file:
            _put(writer.pages[-1], out / file, top + 0.03)
    writer.compress_identical_objects()
    content = io.BytesIO()
    writer.write(content)
    path = out / "report.pdf"
    write_whole(path, content.getvalue())
    return path


def _put(page: Any, picture: Path, low: float) -> None:
    """Set a figure into a page, as large as the room above `low` (of the page's height) allows."""
    from pypdf import PdfReader, Transformation

    figure = PdfReader(picture).pages[0]
    wide, high = float(figure.mediabox.width), float(figure.mediabox.height)
    room_wide = (1.0 - 2.0 * 0.03) * _WIDE_IN * _POINTS
    room_high = (_PICTURE_TOP - low) * _HIGH_IN * _POINTS
    scale = min(room_wide / wide, room_high / high)
    left = 0.5 * (_WIDE_IN * _POINTS - scale * wide)
    bottom = _PICTURE_TOP * _HIGH_IN * _POINTS - scale * high
    page.merge_transformed_page(figure, Transformation().scale(scale).translate(left, bottom))


def _sheet(draw: Any) -> io.BytesIO:
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"pdf.fonttype": 42, "font.size": 10.5}):
        figure = Figure(figsize=(_WIDE_IN, _HIGH_IN))
        FigureCanvasPdf(figure)
        draw(figure)
        content = io.BytesIO()
        figure.savefig(content, format="pdf")
    content.seek(0)
    return content


def _cover(report: Report, lines: Sequence[Line], number: int) -> io.BytesIO:
    def draw(figure: Any) -> None:
        place = 0.93
        if number == 0:
            figure.text(_MARGIN, place, TITLE, fontsize=19, fontweight="bold")
            figure.text(_MARGIN, place - 0.03, CITATION, fontsize=9, color="#555555")
            about = "\n".join(textwrap.wrap(ABOUT, 150))
            figure.text(_MARGIN, place - 0.085, about, fontsize=9.5)
            figure.text(_MARGIN, place - 0.13, report.summary, fontsize=14, fontweight="bold")
            place -= 0.175
        _table(figure, lines, place, with_figure=True)
        told = [f"{report.made}, seed {report.seed}, {report.seconds:.0f} s; {report.version}"]
        told += [textwrap.shorten(one, 170) for one in report.failures] if number == 0 else []
        figure.text(_MARGIN, 0.02, "\n".join(told[::-1]), fontsize=8, color="#555555", va="bottom")

    return _sheet(draw)


def _notes(page: Page) -> list[str]:
    """Return what stands at the foot of a page: the runs and their warnings."""
    told = []
    for run in page.runs:
        where = f"{run.file}, {run.records} records" if run.file else "no run file"
        error = f"; {run.error}" if run.error else ""
        told.append(f"{run.run.measurement}, {run.run.title}: {where}{error}")
        told += [f"Warning: {warning}" for warning in run.warnings]
    return [textwrap.shorten(one, 190) for one in told]


def _page(page: Page, notes: Sequence[str], top: float) -> io.BytesIO:
    def draw(figure: Any) -> None:
        plate = page.plate.plate
        title = f"Figure {plate.figure}: {plate.title}"
        figure.text(_MARGIN, 0.93, title, fontsize=17, fontweight="bold")
        if not page.plate.files.get(".pdf"):
            reason = textwrap.shorten(page.plate.error, 120)
            figure.text(0.5, 0.6, f"No figure: {reason}", ha="center", color=VERMILION, fontsize=12)
        _table(figure, page.lines, top, with_figure=False)
        for number, note in enumerate(notes):
            low = 0.02 + _NOTE * (len(notes) - number - 1)
            figure.text(_MARGIN, low, note, fontsize=7.5, color="#555555")

    return _sheet(draw)


def _table(figure: Any, lines: Sequence[Line], top: float, *, with_figure: bool) -> None:
    columns = {name: place for name, place in _COLUMNS.items() if with_figure or name != "figure"}
    if not with_figure:
        columns["what"] = _MARGIN
    for name, place in columns.items():
        figure.text(place, top, _HEADS[name], fontweight="bold", fontsize=9.5)
    _rule(figure, top - 0.008, 1.0)
    for number, line in enumerate(lines):
        below = top - _ROW * (number + 1) - 0.004
        agrees = line.verdict == AGREES
        cells = {
            "figure": line.published.figure,
            "what": line.published.what,
            "says": line.published.says,
            "found": line.found or "-",
            "allowed": line.published.allowed,
            "verdict": line.verdict,
        }
        for name, place in columns.items():
            judged = name == "verdict"
            figure.text(
                place, below, cells[name], fontsize=8.5,
                color="k" if not judged else BLUE if agrees else VERMILION,
                fontweight="bold" if judged and not agrees else "normal",
            )  # fmt: skip
        _rule(figure, below - 0.0065, 0.3)


def _rule(figure: Any, height: float, width: float) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(
        Line2D([_MARGIN, 1.0 - 0.03], [height, height], color="#888888", linewidth=width)
    )
