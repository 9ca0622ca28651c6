"""Builds the reference pages of the documentation from the code: `python docs/build.py [--check]`.

bench-file.md from the schema of the bench file, the reference in nights.md from that of the plan,
drivers.md from the drivers' own docstrings and
constructors, measurements.md from the measurements' parameters, reproduce.md from what is held
against the paper. `--check` writes nothing
and fails where a page is not what the code says.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from instruments import bench_tables  # noqa: E402
from instruments.registry import drivers  # noqa: E402
from instruments.roles import Role  # noqa: E402
from procedures.nights import plan  # noqa: E402
from procedures.registry import measurements  # noqa: E402
from procedures.reproducing.chapters import CHAPTERS  # noqa: E402
from procedures.reproducing.paper import CITATION, PUBLISHED  # noqa: E402

REFERENCE = "<!-- from here on built by docs/build.py -->\n"
PLAN_TABLES = (
    ("night", plan.NightTable),
    ("budget", plan.BudgetTable),
    ("[step]", plan.StepTable),
)
NOT_OPTIONS = {"self", "adapter", "link", "resource", "clock", "name", "sdk"}
TABLES = (
    ("bench", bench_tables.BenchTable),
    ("pump", bench_tables.PumpTable),
    ("spectrograph", bench_tables.SpectrographTable),
    ("instruments.ROLE", bench_tables.InstrumentTable),
    ("limits", bench_tables.LimitsTable),
    ("interlock", bench_tables.InterlockTable),
    ("notify", bench_tables.NotifyTable),
    ("simulation", bench_tables.SimulationTable),
    ("simulation.bench", bench_tables.SimulatedBenchTable),
    ("simulation.sample", bench_tables.SampleTable),
    ("[simulation.faults]", bench_tables.FaultTable),
)


def bench_file() -> str:
    """Return the page about bench.toml."""
    page = [
        "# The bench file",
        "",
        "Every table and every key is optional unless it says otherwise.",
    ]
    for name, table in TABLES:
        about = (table.__doc__ or "").partition(": ")[2] or table.__doc__ or ""
        page += ["", f"## [{name}]", "", about[:1].upper() + about[1:], ""]
        page += _keys(table)
    return "\n".join([*page, ""])


def nights() -> str:
    """Return the page about nights: written by hand, but for the reference at its end."""
    written = (ROOT / "docs" / "nights.md").read_text(encoding="utf-8")
    kept, mark, _ = written.partition(REFERENCE)
    page = []
    for name, table in PLAN_TABLES:
        about = (table.__doc__ or "").partition(": ")[2]
        page += ["", f"### [{name}]", "", about[:1].upper() + about[1:], "", *_keys(table)]
    return kept + mark + "\n".join([*page, ""])


def _keys(table: Any) -> list[str]:
    """Return the rows that tell a table's keys."""
    rows = ["| key | default | allowed | what it is |", "| --- | --- | --- | --- |"]
    for name, field in table.model_fields.items():
        default = "**needed**" if field.is_required() else _default(field.default)
        told = " ".join((field.description or "").split())
        rows.append(f"| `{field.alias or name}` | {default} | {_allowed(field)} | {told} |")
    return rows


def _default(value: Any) -> str:
    if value is None or isinstance(value, bench_tables.StrictTable) or value in ([], {}):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`"


def _allowed(field: Any) -> str:
    words = []
    signs = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    for part in [*field.metadata, *_metadata(field.annotation)]:
        for rule in (part, *getattr(part, "metadata", ())):
            for sign, word in signs.items():
                if getattr(rule, sign, None) is not None:
                    words.append(f"{word} {getattr(rule, sign):g}")
    choices = _choices(field.annotation)
    return ", ".join(dict.fromkeys([*words, *(f"`{choice}`" for choice in choices)]))


def _metadata(kind: Any) -> list[Any]:
    found = list(getattr(kind, "__metadata__", ()))
    for part in typing.get_args(kind):
        found += _metadata(part)
    return found


def _choices(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [one for part in typing.get_args(kind) for one in _choices(part)]


def driver_page() -> str:
    """Return the page about drivers."""
    page = ["# Drivers", "", "Which roles they fill, how they are reached, what they can be told."]
    for name, entry in sorted(drivers().items()):
        if not entry.target.startswith("instruments."):
            continue
        page += ["", f"## {name}", "", f"{entry.summary}."]
        for kind in dict.fromkeys(entry.load(role) for role in entry.roles):
            about = inspect.getdoc(kind) or ""
            fills = [r for r in entry.roles if entry.load(r) is kind]
            page += ["", f"As `{'`, `'.join(fills)}` ({_role_of(kind)}): {about.split(chr(10))[0]}"]
            options = _options(kind)
            if options:
                page += ["", "| option | default | what it is |", "| --- | --- | --- |"]
                page += [f"| `{key}` | `{value}` | {text} |" for key, value, text in options]
            source = re.search(r"Source[s]?: (.*?)(?:\n\n|$)", _module_doc(kind), re.S)
            if source:
                page += ["", "Source: " + " ".join(source[1].split())]
    return "\n".join([*page, ""])


def _module_doc(kind: type) -> str:
    return inspect.getdoc(sys.modules[kind.__module__]) or ""


def _role_of(kind: type) -> str:
    names = [
        base.__name__
        for base in kind.__mro__
        if issubclass(base, Role) and base.__module__ == "instruments.roles" and base is not Role
    ]
    return " and ".join(names)


def _options(kind: type) -> list[tuple[str, str, str]]:
    told = _told(inspect.getdoc(kind) or "") | _told(inspect.getdoc(kind.__init__) or "")
    found = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in NOT_OPTIONS or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        shown = "needed" if default is inspect.Parameter.empty else repr(default)
        found.append((name, shown, told.get(name, "")))
    return found


def _told(doc: str) -> dict[str, str]:
    """Return what the Args section of a docstring says of each argument."""
    section = re.search(r"Args:\n(.*?)(?:\n\n|\n(?=\S)|$)", doc, re.S)
    if section is None:
        return {}
    found: dict[str, str] = {}
    last: list[str] = []
    for line in section[1].splitlines():
        match = re.match(r"    ([\w, ]+?): (.*)", line)
        if match and not line.startswith("     "):
            last = [name.strip() for name in match[1].split(",")]
            for name in last:
                found[name] = match[2].strip()
        else:
            for name in last:
                found[name] += " " + line.strip()
    return found


def measurement_page() -> str:
    """Return the page about measurements."""
    from pymeasure.experiment import Parameter

    page = [
        "# Measurements",
        "",
        "Parameters are set by `--set key=value`, in a plan or in the window.",
    ]
    for name, entry in sorted(measurements().items()):
        if not entry.procedure.startswith("procedures."):
            continue
        kind = entry.load()
        page += ["", f"## {name}", "", f"{entry.summary[:1].upper()}{entry.summary[1:]}.", ""]
        page += ["| parameter | default | unit | what it is |", "| --- | --- | --- | --- |"]
        for key, one in sorted(_class_parameters(kind, Parameter)):
            value = one.value if one.is_set() else ""
            units = getattr(one, "units", None) or ""
            help_text = getattr(one, "description", None) or one.name
            page.append(f"| `{key}` | `{value}` | {units} | {help_text} |")
    return "\n".join([*page, ""])


def _class_parameters(kind: type, of: type) -> list[tuple[str, Any]]:
    return [(key, getattr(kind, key)) for key in dir(kind) if isinstance(getattr(kind, key), of)]


def reproduce() -> str:
    """Return the page about the report beside the paper."""
    runs = {run.key: run for chapter in CHAPTERS for run in chapter.runs}
    page = [
        "# The paper, found again",
        "",
        "```sh",
        "gainbench reproduce --out reproduction",
        "```",
        "",
        "takes every measurement of the paper on the simulated bench, in two processes,",
        "analyses each run file, draws each figure in the paper's form, and writes",
        "`report.html` (self-contained) and `report.pdf` (vector figures), with every result",
        "beside what the paper says. It takes about two minutes of processor time, on two cores",
        "half of that; the run files fill some 130 MB.",
        "",
        "![First pages of the report](reproduce.png)",
        "",
        "The analysis sees the records and nothing else. What the paper says stands in one",
        "table, `procedures/reproducing/paper.py`, which no analysis imports. The simulated",
        "bench has errors of calibration, drawn by `--seed`: another seed is another bench, and",
        "gives other numbers.",
        "",
        "- A number agrees within what is allowed, or within its own standard error, if that is",
        "larger.",
        "- A statement in words agrees if its range holds; where it says above, by two standard",
        "errors.",
        "- A bound bears out a statement that it lies within; it is no number, and agrees with",
        "none.",
        "",
        "The quantum yields (Figure 4a) are left out: they need an integrating sphere.",
        "",
        "| option | does |",
        "| --- | --- |",
        "| `--out DIR` | where report, `figures/`, `runs/` and their bench files go |",
        "| `--only MEASUREMENT` | takes this one only; may be repeated |",
        "| `--seed N` | another simulated bench |",
        "| `--processes N` | as many side by side |",
        "| `--json` | statements, runs and failures as one JSON object |",
        "",
        "It ends with 0 if everything ran and agrees, with 1 if a measurement failed (the",
        "report says which and why, and holds the others) or a result does not agree, with 130",
        "after Ctrl-C, which ends all processes at once.",
        "",
        "## What is held against the paper",
        "",
        CITATION + ".",
        "",
        "| figure | quantity | paper | allowed | found by | result |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for said in PUBLISHED:
        run = runs[said.run]
        page.append(
            f"| {said.figure} | {said.what} | {said.says} | {said.allowed} | `{run.measurement}`, "
            f"{run.title} | `{said.result}` |"
        )
    return "\n".join([*page, ""])


PAGES: dict[str, types.FunctionType] = {
    "nights.md": nights,  # type: ignore[dict-item]
    "bench-file.md": bench_file,  # type: ignore[dict-item]
    "drivers.md": driver_page,  # type: ignore[dict-item]
    "measurements.md": measurement_page,  # type: ignore[dict-item]
    "reproduce.md": reproduce,  # type: ignore[dict-item]
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    stale = []
    for name, make in PAGES.items():
        path, text = ROOT / "docs" / name, make()
        if "--check" in arguments:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print("not what the code says:", ", ".join(stale), "- run python docs/build.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
