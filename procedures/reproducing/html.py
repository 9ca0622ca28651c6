"""The report as one HTML file that travels alone: figures, letters and style are inside."""

from __future__ import annotations

import base64
from pathlib import Path

from procedures.reproducing.paper import CITATION
from procedures.reproducing.report import ABOUT, TITLE, Report, write_whole

_TEMPLATE = Path(__file__).with_name("report.html")


def write_html(report: Report, out: Path) -> Path:
    """Write `report.html` into `out`, from the figures that are there."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    pictures = {
        page.plate.plate.figure: _embedded(out / page.plate.files[".svg"])
        for page in report.pages
        if ".svg" in page.plate.files
    }
    text = template.render(
        report=report, pictures=pictures, title=TITLE, about=ABOUT, citation=CITATION
    )
    path = out / "report.html"
    write_whole(path, text.encode("utf-8"))
    return path


def _embedded(picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    return f"data:image/svg+xml;base64,{data}"
