"""A run of 20,000 pings, and one of 2,000 stages with all the text they can carry."""

from temporalio.client import WorkflowExecutionStatus

from activities.instances import InstanceSnapshot
from config.temporal import DATA_CONVERTER
from domain.evaluation import InstanceView
from domain.pings import PingFact, PingStatus
from domain.verdicts import Verdict
from storage.base import Sessions
from temporal_workflows.instance import InstanceInput
from tests.domain.builders import dynamic, strict
from tests.support.stack import make_worker, temporal_server
from tests.workflows.post import QUEUE, Post, Run, fact

PINGS_A_SIGNAL = 500
TEMPORAL_LIMIT = 2 * 1024 * 1024


async def test_a_long_run_of_many_stages(post: Post, journals: Sessions) -> None:
    async with (
        temporal_server("limit.historyCount.suggestContinueAsNew=60") as client,
        make_worker(client, journals, task_queue=QUEUE),
    ):
        run = await post.on(client).open(dynamic())
        paths = [f"{top}.{sub}" for top in range(1, 41) for sub in range(1, 51)]
        for lap in range(10):
            status = PingStatus.FAILED if lap == 8 else PingStatus.HEALTHY
            texts = {"name": "A name of some length", "error": "e" * 500 if lap == 8 else None}
            await deliver(run, [fact(path, status, **texts) for path in paths])
        snapshot = await run.taken_in(20_000, timeout=60)
        tree = await run.tree()
        assert tree == await run.folded()
        assert len(tree.stages) == 2_000
        assert {stage.status.value for stage in tree.stages.values()} == {"healthy"}
        assert (await run.recorded()).stages == tree.stages
        histories = [item.status async for item in client.list_workflows(f"WorkflowId = '{run.subject}'")]
        assert histories.count(WorkflowExecutionStatus.CONTINUED_AS_NEW) >= 1
        assert all(size < TEMPORAL_LIMIT for size in sizes(run, snapshot, tree))


async def test_verdicts_on_a_run_of_2000_stages(post: Post) -> None:
    run = await post.open(strict(dynamic()))
    asked = await run.journal(*(fact(str(stage), name="x" * 256, agent="a" * 256) for stage in range(1, 2_001)))
    verdicts: dict[int, Verdict] = {}
    for start in range(0, len(asked), PINGS_A_SIGNAL):
        verdicts |= await run.ask(asked[start : start + PINGS_A_SIGNAL])
    assert all(verdicts[ping.id].accepted for ping in asked)
    (late,) = await run.journal(fact("7"))
    assert (await run.ask([late]))[late.id].expected == "2001"
    tree = await run.tree()
    assert len(tree.stages) == 2_000
    assert all(size < TEMPORAL_LIMIT for size in sizes(run, await run.snapshot(), tree))


async def deliver(run: Run, pings: list[PingFact]) -> None:
    journaled = await run.journal(*pings)
    for start in range(0, len(journaled), PINGS_A_SIGNAL):
        await run.tell(journaled[start : start + PINGS_A_SIGNAL])


def sizes(run: Run, snapshot: InstanceSnapshot, tree: InstanceView) -> list[int]:
    """Of what a run hands to the next one, and of the answer to a query; before they are compressed."""
    handed_on = InstanceInput(run.definition.id, run.id, snapshot)
    return [len(DATA_CONVERTER.payload_converter.to_payload(value).data) for value in (handed_on, tree)]
