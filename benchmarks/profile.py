"""Where the time of a ping goes: the gateway under cProfile, while pings come in at one hot instance.

python -m benchmarks.profile [--seconds N] [--connections N] [--instances N] [--rows N]
"""

import argparse
import asyncio
import io
import pstats
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.instances import open_instances, pings_to
from benchmarks.stack import running_stack


async def profile(seconds: float, connections: int, instances: int, rows: int) -> str:
    with TemporaryDirectory() as directory:
        file = Path(directory, "profile")
        async with running_stack(file) as stack:
            workflows = await open_instances(stack, "hot", instances)
            before = await stack.metrics()
            answers = await stack.load(pings_to(workflows), connections=connections, seconds=seconds)
            after = await stack.metrics()
            await stack.drained()
        pings = after["pingpulse_ack_seconds_count"] - before["pingpulse_ack_seconds_count"]
        batches = after["pingpulse_journal_batch_pings_count"] - before["pingpulse_journal_batch_pings_count"]
        output = io.StringIO()
        stats = pstats.Stats(str(file), stream=output)
        print(
            f"{answers.per_second:.0f} pings/s under the profiler, {pings:.0f} pings in all, "
            f"{pings / batches:.1f} a commit; a time of 1.0 s below is {1e6 / pings:.0f} µs a ping",
            file=output,
        )
        for order in ("tottime", "cumtime"):
            stats.sort_stats(order).print_stats(rows)
        return output.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of a ping goes.")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--rows", type=int, default=60)
    print(asyncio.run(profile(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
