"""Whatever is pinged and however it is delivered, the workflow's state is the fold of the journal."""

import asyncio
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.clock import utc_now
from domain.pings import PingFact
from domain.workflows import WorkflowDefinition
from tests.domain.builders import NOON, dynamic, histories, static, strict
from tests.workflows.post import Post

EXAMPLES = 25

RULES = [dynamic(), static(None, None, None), dynamic(idle_timeout_seconds=3600.0), static(None, 7200.0, None)]
"""With no deadline that passes while a test runs."""


@dataclass(frozen=True)
class Delivery:
    """The next `size` pings of a gateway; `is_repeated` if it is made twice, as after a crash."""

    gateway: int
    size: int
    is_repeated: bool


@dataclass(frozen=True)
class Case:
    """What is pinged, at which of two gateways, and how it is delivered."""

    definition: WorkflowDefinition
    pings: list[PingFact]
    deliveries: list[Delivery]


deliveries = st.builds(Delivery, gateway=st.integers(0, 1), size=st.integers(1, 4), is_repeated=st.booleans())
cases = st.builds(Case, st.sampled_from(RULES), histories(), st.lists(deliveries, max_size=8))


def examples() -> list[Case]:
    """The same in every run; collected first, so that all of them can run at the same time."""
    found: list[Case] = []

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(cases)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return [case for case in found if case.pings]


async def play(post: Post, case: Case) -> None:
    run = await post.open(case.definition)
    opened_at = utc_now()
    waiting: list[list[PingFact]] = [[], []]
    for ping in case.pings:
        # All of it in the last second: the times differ, as the example says, but nothing is due.
        ping = replace(ping, at=opened_at + (ping.at - NOON) / 60)
        gateway = ping.gateway - 1
        waiting[gateway] += await run.journal(ping, gateway=gateway)
    is_strict = case.definition.is_strict
    rest = [Delivery(0, len(case.pings), False), Delivery(1, len(case.pings), False)]
    for delivery in [*case.deliveries, *rest]:
        queue = waiting[delivery.gateway]
        pings, waiting[delivery.gateway] = queue[: delivery.size], queue[delivery.size :]
        for _ in range(1 + delivery.is_repeated if pings else 0):
            await (run.ask(pings) if is_strict else run.tell(pings))

    accepted = sum(each.count("accepted") for each in (await run.outcomes()).values())
    assert is_strict or accepted == len(case.pings)
    if accepted:
        await run.taken_in(accepted)
    tree = await run.tree()
    assert tree == await run.folded()
    recorded = await run.recorded()
    assert (recorded.status, recorded.stages) == (tree.status, tree.stages)
    await run.handle.terminate()


@pytest.mark.parametrize("mode", ["flexible", "strict"])
async def test_the_workflow_and_the_fold_of_the_journal_agree(post: Post, mode: str) -> None:
    found = examples()
    assert len(found) > EXAMPLES / 2
    if mode == "strict":
        found = [replace(case, definition=strict(case.definition)) for case in found]
    async with asyncio.TaskGroup() as group:
        for case in found:
            group.create_task(play(post, case))
