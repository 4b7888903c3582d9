"""The steps of an instance are its pings in the order in which they were received, with what they have cost by then."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from config.clock import utc_now
from domain.alerts import Alert
from domain.instance_alerts import INSTANCE_FAILED
from domain.instances import Stamp
from domain.pings import Outcome, PingStatus, Report
from domain.subjects import instance_subject
from domain.timeline import Step, StepStatus
from domain.transitions import Transition
from storage.alerts import raise_alerts
from storage.base import Sessions, transaction
from storage.instances import get_instance
from storage.pings import Ping
from storage.rows import NewPing
from storage.timeline import Happenings, StepPage, count_steps, find_step, list_happenings, read_steps
from storage.transitions import add_transitions
from tests.storage.conftest import SECOND, Caller, define
from tests.support.approvals import ask

NOON = utc_now() - timedelta(hours=1)


def after(seconds: float) -> datetime:
    return NOON + seconds * SECOND


@pytest.fixture
def caller(sessions: Sessions, account: str) -> Caller:
    return Caller(sessions, account, f"timeline_{account}")


async def keep(caller: Caller, *pings: NewPing) -> str:
    """In one instance, whose id it returns."""
    kept = await caller.keep(*pings)
    assert len({item.instance_id for item in kept}) == 1
    return str(kept[0].instance_id)


async def read(sessions: Sessions, instance_id: str, start: int = 0, limit: int = 100) -> StepPage:
    async with sessions() as session:
        return await read_steps(session, instance_id, start=start, limit=limit)


async def judge(sessions: Sessions, instance_id: str, path: str, outcome: Outcome, **values: Any) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            update(Ping)
            .where(Ping.instance_id == instance_id, Ping.path == path)
            .values(outcome=outcome, **values)
            .execution_options(synchronize_session=False)
        )


async def test_a_step_has_all_that_was_sent(sessions: Sessions, caller: Caller) -> None:
    report = Report(
        status=PingStatus.FAILED,
        error="no disk",
        duration_ms=150,
        handoff_reason="task_complete",
        model_id="claude-3-opus",
        usage={"input_tokens": 1500},
        input_tokens=1500,
        output_tokens=500,
        cost_usd=Decimal("0.045"),
        tool_calls=[{"name": "search"}],
    )
    payload = '{"b":1,"a":1e2,"c":[' + "9" * 400 + '],"d":"ü"}'
    ping = caller.ping(
        start=True, at=after(0), agent="ada", name="Ingest", status=report.status, error="no disk", duration_ms=150
    )
    instance_id = await keep(caller, replace(ping, report=report, payload=payload, size_bytes=4096))
    page = await read(sessions, instance_id)
    assert (page.total, page.until) == (1, None)
    assert page.steps == [
        Step(
            number=0,
            path="1",
            status=StepStatus.FAILED,
            at=after(0),
            name="Ingest",
            agent="ada",
            error="no disk",
            duration_ms=150,
            model_id="claude-3-opus",
            input_tokens=1500,
            output_tokens=500,
            cost_usd=Decimal("0.045"),
            cumulative_cost_usd=Decimal("0.045"),
            size_bytes=4096,
            handoff_reason="task_complete",
            payload=payload,
            usage='{"input_tokens": 1500}',
            tool_calls='[{"name": "search"}]',
        )
    ]


async def test_what_is_no_json_becomes_a_json_string(sessions: Sessions, caller: Caller) -> None:
    ping = replace(caller.ping(start=True), text='disk "full"\n')
    (step,) = (await read(sessions, await keep(caller, ping))).steps
    assert step.payload == '"disk \\"full\\"\\n"'


async def test_steps_are_in_the_order_of_receipt_and_then_of_the_journal(sessions: Sessions, caller: Caller) -> None:
    instance_id = await keep(
        caller,
        caller.ping("1", start=True, at=after(5)),
        caller.ping("2", at=after(3)),
        caller.ping("3", at=after(5)),
        caller.ping("4", at=after(1)),
    )
    steps = (await read(sessions, instance_id)).steps
    assert [(step.number, step.path) for step in steps] == [(0, "4"), (1, "2"), (2, "1"), (3, "3")]


async def test_costs_add_up_exactly_and_unknown_is_not_nothing(sessions: Sessions, caller: Caller) -> None:
    costs = [None, "0.1", "0.2", None, "0.000000000000000001", "1000000000"]
    pings = [caller.ping(str(number), start=number == 1, at=after(number)) for number in range(1, 7)]
    reports = [Report(cost_usd=None if cost is None else Decimal(cost)) for cost in costs]
    instance_id = await keep(
        caller, *(replace(ping, report=report) for ping, report in zip(pings, reports, strict=True))
    )
    sums = [None, "0.1", "0.3", "0.3", "0.300000000000000001", "1000000000.300000000000000001"]
    expected = [None if text is None else Decimal(text) for text in sums]
    assert [step.cumulative_cost_usd for step in (await read(sessions, instance_id)).steps] == expected
    # Of a later page too.
    assert [step.cumulative_cost_usd for step in (await read(sessions, instance_id, 4)).steps] == expected[4:]
    await judge(sessions, instance_id, "2", Outcome.REJECTED)
    steps = (await read(sessions, instance_id)).steps
    assert (steps[1].cost_usd, steps[1].cumulative_cost_usd) == (Decimal("0.1"), None)
    assert steps[2].cumulative_cost_usd == Decimal("0.2")


async def test_which_pings_are_steps(sessions: Sessions, caller: Caller) -> None:
    instance_id = await keep(
        caller, *(caller.ping(str(number), start=number == 1, at=after(number)) for number in range(1, 6))
    )
    await judge(sessions, instance_id, "2", Outcome.REJECTED, reason_code="no", reason="No.", expected_stage="7")
    await judge(sessions, instance_id, "3", Outcome.WITHDRAWN)
    await judge(sessions, instance_id, "4", Outcome.PENDING)
    page = await read(sessions, instance_id)
    assert [(step.number, step.path, step.accepted) for step in page.steps] == [
        (0, "1", True),
        (1, "2", False),
        (2, "5", True),
    ]
    assert (page.steps[1].reason_code, page.steps[1].reason, page.steps[1].expected_stage) == ("no", "No.", "7")
    async with sessions() as session:
        assert await count_steps(session, instance_id) == page.total == 3
        found = [await find_step(session, instance_id, number) for number in range(4)]
    rows = {row.path: Stamp(row.received_at, row.id) for row in await caller.rows()}
    assert found == [rows["1"], rows["2"], rows["5"], None]


async def test_an_early_ping_is_a_step_of_what_adopted_it(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    now = utc_now()
    (early,) = await caller.keep(caller.ping("2", at=now - 2 * SECOND))
    assert early.instance_id is None
    instance_id = await keep(caller, caller.ping("1", start=True, at=now))
    assert [(step.path, step.accepted) for step in (await read(sessions, instance_id)).steps] == [
        ("2", True),
        ("1", True),
    ]


async def test_page_by_page(sessions: Sessions, caller: Caller) -> None:
    pings = [caller.ping(str(number + 1), start=number == 0, at=after(number)) for number in range(7)]
    instance_id = await keep(caller, *pings)
    pages = [await read(sessions, instance_id, start, 3) for start in (0, 3, 6)]
    assert [[step.number for step in page.steps] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [page.until for page in pages] == [after(3), after(6), None]
    assert {page.total for page in pages} == {7}
    assert (await read(sessions, instance_id, 4, 3)).until is None
    assert await read(sessions, instance_id, 7, 3) == StepPage([], 7)
    assert await read(sessions, "dnothing1") == StepPage([], 0)


async def test_what_happened_between(sessions: Sessions, account: str, caller: Caller) -> None:
    instance_id = await keep(caller, caller.ping(start=True, at=after(0)))
    subject = instance_subject(caller.workflow_id, instance_id)
    async with transaction(sessions) as session:
        add_transitions(
            session,
            subject,
            [
                Transition("1", None, "healthy", after(0)),
                Transition(None, None, "running", after(0)),
                Transition("2", None, "pending", after(1)),
                Transition("2", "pending", "healthy", after(2)),
                Transition("3", "pending", "timeout", after(3), "slow"),
                Transition("2", "healthy", "failed", after(4), "no disk"),
                Transition("2", "failed", "healthy", after(5)),
                Transition("4", None, "failed", after(6)),
            ],
        )
        add_transitions(session, f"{subject}x", [Transition(None, None, "failed", after(3))])
        for number, about in enumerate((subject, f"{subject}x", subject)):
            key = f"{subject}/{number}"
            alert = Alert(INSTANCE_FAILED, account, "workflow/w", about, "w", key, key, key, after(2 + number))
            await raise_alerts(session, [alert], utc_now())
    approval = await ask(sessions, account, instance_id=instance_id, title="May I?")
    await ask(sessions, account, instance_id="dnothing1")

    async def happenings(since: float | None = None, until: float | None = None) -> Happenings:
        async with sessions() as session:
            instance = await get_instance(session, instance_id)
            assert instance is not None
            return await list_happenings(
                session,
                instance,
                None if since is None else after(since),
                None if until is None else after(until),
            )

    found = await happenings()
    assert [(item.path, item.after) for item in found.transitions] == [
        (None, "running"),
        ("3", "timeout"),
        ("2", "failed"),
        ("2", "healthy"),
        ("4", "failed"),
    ]
    assert [item.at for item in found.alerts] == [after(2), after(4)]
    assert [(item.id, item.name) for item in found.approvals] == [(approval.id, "May I?")]
    found = await happenings(since=3, until=4)
    assert ([item.path for item in found.transitions], found.alerts) == (["3"], [])
    found = await happenings(since=4)
    assert ([item.path for item in found.transitions], len(found.alerts)) == (["2", "2", "4"], 1)
