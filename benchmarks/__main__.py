"""Measures PingPulse on this machine: `python -m benchmarks [--only PART …] [--seconds N] [--open N] [--quick]`."""

import argparse
import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks import report
from benchmarks.figures import Extent
from benchmarks.parts import PARTS, measure
from benchmarks.waiting import BenchmarkError

PAGE = Path(__file__).with_name("README.md")
OPEN = 10_000


def main() -> None:
    arguments = _arguments()
    extent = Extent(
        rounds=3,
        pulse_rounds=2,
        seconds=arguments.seconds,
        ways=3,
        many=1_000,
        due=20,
        storm=1_000,
        open=OPEN,
        sparse=50,
        approvals=1_000,
        waiting_seconds=30,
        decisions=100,
        expiring=200,
        costed=1_000_000,
        steps=10_000,
        compared=2_000,
        shown=10_000,
        stages=2_000,
    )
    if arguments.quick:
        extent = Extent(
            rounds=1,
            pulse_rounds=1,
            seconds=1.0,
            ways=1,
            many=20,
            due=4,
            storm=30,
            open=50,
            sparse=5,
            approvals=20,
            waiting_seconds=2,
            decisions=5,
            expiring=5,
            costed=10_000,
            steps=1_000,
            compared=100,
            shown=500,
            stages=100,
        )
    if arguments.open is not None:
        extent = replace(extent, open=arguments.open)
    console, failed = Console(), []
    for part in arguments.only or PARTS:
        begun = perf_counter()
        try:
            with console.status("") as status:
                findings = asyncio.run(measure(part, extent, lambda text: status.update(f"{text} …")))
        except BenchmarkError as error:
            failed.append(part)
            console.print(f"[red]{part} cannot be measured:[/] {error}")
            continue
        for sheet in report.sheets(part, findings):
            console.print(report.table(sheet))
        console.print(f"{part} took {perf_counter() - begun:.0f} s.")
        if not arguments.quick and not arguments.no_write:
            report.write(PAGE, part, findings)
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures PingPulse on this machine.")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=2.5, help="how long each measurement of a rate takes [2.5]")
    parser.add_argument("--open", type=int, help=f"how many targets are open in the part many [{OPEN}]")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--no-write", action="store_true", help=f"leave {PAGE.name} as it is; so does --quick")
    return parser.parse_args()


if __name__ == "__main__":
    main()
