"""What an instance's workflow makes of what is delivered: twice, in part, to a workflow that is gone."""

import asyncio

from temporalio.api.sdk.v1 import WorkflowMetadata

from activities.instances import InstanceActivities, Recording
from config.clock import utc_now
from domain.evaluation import change_between, evaluate
from domain.instances import merge
from domain.pings import PingStatus
from domain.verdicts import judge_all
from storage.base import transaction
from storage.pings import withdraw
from temporal_workflows.search_attributes import KIND, OWNER, STAGE, STATUS, WORKFLOW
from tests.domain.builders import dynamic, static, strict
from tests.support.waiting import until
from tests.workflows.post import Post, Run, fact


async def test_pings_become_the_tree_the_read_model_and_the_fold(post: Post) -> None:
    run = await post.open(static(None, None, None))
    for path in ("1", "2.1", "3"):
        await run.ping(path)
    await run.taken_in(3)
    tree = await run.tree()
    assert tree.status == "completed"
    assert [(path, stage.status.value) for path, stage in tree.stages.items()] == [
        ("1", "healthy"),
        ("2", "pending"),
        ("2.1", "healthy"),
        ("3", "healthy"),
    ]
    assert tree == await run.folded()
    assert (await run.recorded()).stages == tree.stages
    assert (await run.transitions())[-1] == (None, "completed")


async def test_people_who_look_at_temporal_see_what_goes_on(post: Post) -> None:
    run = await post.open(dynamic())
    await run.ping("1", name="Ingest")
    await run.ping("2", PingStatus.FAILED, error="boom")
    await run.taken_in(2)
    attributes = await until(lambda: attributes_of(run))
    assert attributes == {
        KIND.name: "instance",
        WORKFLOW.name: run.definition.id,
        OWNER.name: post.account_id,
        STATUS.name: "failed",
        STAGE.name: "2",
    }
    metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.splitlines() == [
        "**failed**: Stage 2 failed: boom",
        "- 1 Ingest healthy",
        "- 2  failed",
    ]


async def attributes_of(run: Run) -> dict[str, object] | None:
    description = await run.handle.describe()
    pairs = description.typed_search_attributes
    found = {pair.key.name: pair.value for pair in pairs if pair.key.name.startswith("PingPulse")}
    return found if found.get(STATUS.name) == "failed" else None


async def test_verdicts_are_given_in_the_order_of_a_gateway(post: Post) -> None:
    run = await post.open(strict(dynamic()))
    asked = await run.journal(fact("1"), fact("3"), fact("2"), fact("2.1", agent=None), fact("3", final=True))
    by_ping = await run.ask(asked)
    verdicts = [by_ping[ping.id] for ping in asked]
    assert [verdict.code for verdict in verdicts] == [None, "stage_missed", None, "agent_required", None]
    assert verdicts[1].expected == "2"
    assert verdicts[-1].instance_status == "completed"
    assert await run.outcomes() == {
        "1": ["accepted"],
        "3": ["rejected", "accepted"],
        "2": ["accepted"],
        "2.1": ["rejected"],
    }
    assert await run.tree() == await run.folded()


async def test_two_gateways_race_for_every_stage_and_one_wins(post: Post) -> None:
    run = await post.open(strict(dynamic()))

    async def race(gateway: int) -> list[bool]:
        won = []
        for stage in range(1, 11):
            asked = await run.journal(fact(str(stage)), gateway=gateway)
            while not (verdicts := await run.ask(asked)):
                pass
            verdict = verdicts[asked[0].id]
            won.append(verdict.accepted)
            assert verdict.accepted or verdict.code == "stage_out_of_order"
        return won

    one, other = await asyncio.gather(race(0), race(1))
    assert [first != second for first, second in zip(one, other, strict=True)] == [True] * 10
    outcomes = await run.outcomes()
    assert {path: sorted(each) for path, each in outcomes.items()} == dict.fromkeys(
        map(str, range(1, 11)), ["accepted", "rejected"]
    )
    assert await run.tree() == await run.folded()


async def test_many_asked_at_once_get_their_verdicts(post: Post) -> None:
    """More than are judged between two looks at Postgres."""
    run = await post.open(strict(dynamic()))
    asked = await run.journal(*(fact(str(stage)) for stage in range(1, 151)))
    verdicts = await run.ask(asked)
    assert [verdicts[ping.id].accepted for ping in asked] == [True] * 150
    assert len((await run.tree()).stages) == 150


async def test_a_ping_withdrawn_in_the_middle_of_a_batch_was_never_there(post: Post) -> None:
    run = await post.open(strict(dynamic()))
    asked = await run.journal(fact("1"), fact("2"), fact("3"), fact("1.1"))
    async with transaction(post.sessions) as session:
        assert await withdraw(session, asked[1].id)
    verdicts = await run.ask(asked)
    assert [verdicts[ping.id].code if ping.id in verdicts else "none" for ping in asked] == [
        None,
        "none",
        "stage_missed",
        None,
    ]
    assert await run.tree() == await run.folded()
    assert (await run.snapshot()).state.ping_count == 2


async def test_what_is_delivered_again_is_dropped(post: Post) -> None:
    run = await post.open(dynamic())
    first = await run.journal(fact("1"), fact("2"))
    other = await run.journal(fact("3"), gateway=1)
    more = await run.journal(fact("2", PingStatus.FAILED), fact("4"))
    for batch in (first, first, [*first, *more], other, other, more, [more[-1]]):
        await run.tell(batch)
    snapshot = await run.taken_in(5)
    assert snapshot.delivered == {post.gateways[0]: more[-1].id, post.gateways[1]: other[0].id}
    assert await run.tree() == await run.folded()


async def test_a_verdict_is_given_once_and_never_differently(post: Post) -> None:
    run = await post.open(strict(dynamic()))
    asked = await run.journal(fact("1"))
    assert (await run.ask(asked))[asked[0].id].accepted
    assert await run.ask(asked) == {}
    at_once = await run.journal(fact("2"))
    answers = await asyncio.gather(run.ask(at_once), run.ask(at_once))
    assert all(answer.get(at_once[0].id, None) is None or answer[at_once[0].id].accepted for answer in answers)
    assert (await run.outcomes())["2"] == ["accepted"]
    assert (await run.snapshot()).state.ping_count == 2


async def test_a_workflow_that_is_gone_comes_back_as_it_was(post: Post) -> None:
    run = await post.open(dynamic())
    for path in ("1", "2", "3"):
        await run.ping(path)
    before = await run.taken_in(3)
    undelivered = await run.journal(fact("5"), gateway=1)
    await run.handle.terminate()
    await run.ping("4")
    snapshot = await run.taken_in(4)
    assert set(snapshot.state.stages) == {"1", "2", "3", "4"}
    assert snapshot.version == before.version + 1
    await run.tell(undelivered)
    await run.taken_in(5)
    assert await run.tree() == await run.folded()
    assert (await run.recorded()).stages == (await run.tree()).stages
    assert (await run.transitions()).count((None, "running")) == 1


async def test_pings_that_no_workflow_recorded_are_found_when_it_comes_back(post: Post) -> None:
    """Temporal had taken them, and was lost before its workflow had."""
    run = await post.open(dynamic())
    await run.ping("1")
    await run.taken_in(1)
    await run.handle.terminate()
    await run.forget(await run.journal(fact("2", PingStatus.FAILED, error="lost")))
    await run.ping("3")
    await run.taken_in(3)
    assert (await run.recorded()).stages == (await run.folded()).stages
    assert (await run.row()).failure_reason == "Stage 2 failed: lost"


async def test_a_task_that_was_lost_after_it_had_recorded_is_not_recorded_over(post: Post) -> None:
    """The worker died between Postgres and Temporal: the workflow begins the task anew and knows nothing of it."""
    run = await post.open(strict(dynamic()))
    one, two = await run.journal(fact("1"), fact("2"))
    await run.ask([one])
    snapshot = await run.snapshot()
    judgement = judge_all(snapshot.state, [two])
    change = change_between(run.id, snapshot.version + 1, evaluate(snapshot.state), evaluate(judgement.state))
    activities = InstanceActivities(post.sessions, utc_now)
    assert not (await activities.record(Recording(change, judgement.verdicts))).is_stale

    # The gateway, which had no answer, delivers it again before anything else.
    asked = [two, *await run.journal(fact("3"))]
    assert (await run.ask(asked))[asked[1].id].accepted
    tree = await run.tree()
    assert list(tree.stages) == ["1", "2", "3"]
    assert tree == await run.folded()
    assert (await run.recorded()).stages == tree.stages
    assert len(await run.transitions()) == 4


async def test_a_lost_task_may_have_seen_less_than_the_one_in_its_place(post: Post) -> None:
    run = await post.open(dynamic())
    one, two, three = await run.journal(fact("1"), fact("2"), fact("3", final=True))
    await run.tell([one])
    snapshot = await run.taken_in(1)
    state = merge(snapshot.state, [two])
    change = change_between(run.id, snapshot.version + 1, evaluate(snapshot.state), evaluate(state))
    await InstanceActivities(post.sessions, utc_now).record(Recording(change))
    await run.tell([two, three])
    await run.taken_in(3)
    assert (await run.recorded()).stages == (await run.tree()).stages
    assert await run.transitions() == [
        ("1", "healthy"),
        (None, "running"),
        ("2", "healthy"),
        ("3", "healthy"),
        (None, "completed"),
    ]


async def test_a_straggler_reopens_a_workflow_that_has_closed(post: Post) -> None:
    run = await post.open(dynamic(grace_period_seconds=0.1))
    await run.ping("1")
    straggler = fact("3", PingStatus.FAILED, error="late")
    await run.ping("2", final=True)
    assert await run.handle.result() == "completed"
    await run.tell(await run.journal(straggler, gateway=1))
    await until(lambda: has_failed(run))
    assert await run.handle.result() == "failed"
    assert await run.tree() == await run.folded()
    assert (await run.transitions())[-2:] == [("3", "failed"), (None, "failed")]


async def has_failed(run: Run) -> bool:
    return (await run.row()).status == "failed"
