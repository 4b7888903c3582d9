"""Who pings what."""

from benchmarks.stack import Stack

STAGES = 20


async def open_instances(stack: Stack, name: str, count: int) -> list[str]:
    """Opens an instance of each of `count` dynamic workflows; returns the ids of the workflows."""
    workflows = [f"{name}_{number}" for number in range(count)]
    paths = [f"/dhk/{workflow}?stagePath=1&start=yes&key={{key}}" for workflow in workflows]
    answers = await stack.load(paths, connections=8, seconds=None)
    assert len(answers.latencies) == count, f"{answers.failed} instances could not be opened"
    await stack.drained()
    return workflows


def pings_to(workflows: list[str]) -> list[str]:
    """A ping of one of some stages to each; to a single one, of every stage in turn."""
    rounds = max(1, STAGES // len(workflows))
    return [
        f"/dhk/{workflow}?stagePath=2.{1 + (number + turn) % STAGES}&key={{key}}"
        for turn in range(rounds)
        for number, workflow in enumerate(workflows)
    ]
