"""Measures PingPulse on this machine, in one run: `python -m benchmarks [--seconds N] [--quick] [--no-write]`."""

import argparse
import asyncio
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.scenarios import measure

PAGE = Path(__file__).with_name("README.md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.5, help="how long each measurement takes [2.5]")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--no-write", action="store_true", help=f"leave {PAGE.name} as it is")
    arguments = parser.parse_args()
    console = Console()
    rounds, seconds, instances = (1, 1.0, 100) if arguments.quick else (3, arguments.seconds, 1_000)
    with console.status("Starting …") as status:
        figures = asyncio.run(measure(rounds, seconds, instances, lambda text: status.update(f"{text} …")))
    for table in report.tables(figures):
        console.print(table)
    if not arguments.no_write:
        report.write(PAGE, figures, rounds, seconds)
        console.print(f"Written to {PAGE}.")


if __name__ == "__main__":
    main()
