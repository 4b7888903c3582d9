"""What a process run's workflow does as time passes, on a server that skips it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.testing import WorkflowEnvironment

from domain.instances import Outage
from domain.pings import Event
from domain.processes import (
    KEPT_OPEN_SECONDS,
)
from temporal_workflows.search_attributes import OWNER, STATUS
from tests.support.stack import temporal_server
from tests.workflows.office import DEADLINE, EXPECTED, Office, at_work


@pytest.fixture(scope="module")
async def office(skipping: WorkflowEnvironment) -> AsyncIterator[Office]:
    async with at_work(skipping) as office:
        yield office


@pytest.mark.parametrize(("event", "status"), [(Event.SUCCESS, "finished"), (Event.FAIL, "failed")])
async def test_an_end_in_time_ends_the_workflow(office: Office, event: Event, status: str) -> None:
    run = await office.start()
    assert (await run.show()).status == "running"
    await office.until(run, 60)
    await run.ping(event, 60)
    assert await run.handle.result() == status
    assert run.told() == [("running", 0), (status, 60)]
    assert run.kinds() == (["process_failed"] if event is Event.FAIL else [])


async def test_silence_is_overdue_at_the_deadline_and_not_before(office: Office) -> None:
    run = await office.start()
    await office.until(run, DEADLINE - 1)
    assert (await run.show()).status == "running"
    await office.until(run, DEADLINE + 1)
    assert (await run.show()).status == "overdue"
    assert run.told() == [("running", 0), ("overdue", DEADLINE)]
    assert run.kinds() == ["process_overdue"]
    assert DEADLINE < run.looks[-1] < DEADLINE + 1
    assert len(run.looks) == 2


@pytest.mark.parametrize(
    ("event", "status", "alert"),
    [(Event.SUCCESS, "finished", "process_recovered"), (Event.FAIL, "failed", "process_failed")],
)
async def test_a_late_end_ends_an_overdue_run(office: Office, event: Event, status: str, alert: str) -> None:
    run = await office.start()
    await office.until(run, 86_400)
    await run.ping(event, 86_400)
    assert await run.handle.result() == status
    assert run.told() == [("running", 0), ("overdue", DEADLINE), (status, 86_400)]
    assert run.kinds() == ["process_overdue", alert]
    assert run.recorded is not None
    assert run.recorded.late_seconds == 86_400 - EXPECTED


async def test_an_overdue_run_is_given_up_and_its_end_is_taken_all_the_same(office: Office) -> None:
    run = await office.start()
    await office.until(run, DEADLINE + KEPT_OPEN_SECONDS + 60)
    assert await run.handle.result() == "overdue"
    assert len(run.looks) == 3
    late = DEADLINE + KEPT_OPEN_SECONDS + 3600
    await office.until(run, late)
    await run.ping(Event.SUCCESS, late)
    assert await run.handle.result() == "finished"
    assert run.told() == [("running", 0), ("overdue", DEADLINE), ("finished", late)]
    assert run.kinds() == ["process_overdue", "process_recovered"]


async def test_a_run_that_was_given_up_is_not_told_of_again(office: Office) -> None:
    run = await office.start()
    await office.until(run, DEADLINE + KEPT_OPEN_SECONDS + 60)
    await run.deliver(run.journal[0])
    assert await run.handle.result() == "overdue"
    assert run.kinds() == ["process_overdue"]


async def test_a_finish_that_is_journaled_but_not_delivered_is_no_silence(office: Office) -> None:
    run = await office.start()
    finish = run.keep(Event.SUCCESS, DEADLINE - 1)
    await office.until(run, DEADLINE + 1)
    assert await run.handle.result() == "finished"
    await run.deliver(finish)
    assert await run.handle.result() == "finished"
    assert run.told() == [("running", 0), ("finished", DEADLINE - 1)]
    assert run.kinds() == []


async def test_a_finish_in_time_that_was_found_too_late_heals(office: Office) -> None:
    run = await office.start()
    await office.until(run, DEADLINE + 10)
    await run.ping(Event.SUCCESS, DEADLINE - 5)
    assert await run.handle.result() == "finished"
    assert run.told() == [("running", 0), ("overdue", DEADLINE), ("finished", DEADLINE - 5)]
    assert run.kinds() == ["process_overdue", "process_recovered"]
    assert run.recorded is not None
    assert run.recorded.late_seconds is None


async def test_pings_may_come_twice_and_in_any_order(office: Office) -> None:
    run = await office.start()
    start, finish = run.journal[0], run.keep(Event.SUCCESS, 1)
    await run.deliver(finish, finish)
    await run.deliver(start)
    assert await run.handle.result() == "finished"
    assert run.told() == [("running", 0), ("finished", 1)]


async def test_a_ping_that_ends_nothing_does_not_move_the_deadline(office: Office) -> None:
    run = await office.start()
    await office.until(run, 900)
    await run.ping(Event.LOG, 900)
    await office.until(run, DEADLINE + 1)
    assert run.told() == [("running", 0), ("overdue", DEADLINE)]


async def test_silence_that_is_not_certain_is_no_alarm(office: Office) -> None:
    run = await office.start()
    run.is_certain = False
    await office.until(run, DEADLINE + 300)
    assert (await run.show()).status == "running"
    waits = [round(after - before) for before, after in zip(run.looks[1:], run.looks[2:], strict=False)]
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    run.is_certain = True
    await office.until(run, DEADLINE + 400)
    assert run.told() == [("running", 0), ("overdue", DEADLINE)]


async def test_an_outage_that_goes_on_is_not_asked_for_all_the_time(office: Office) -> None:
    """Each look finds the outage longer and the deadline moved by that, close to where it was."""
    run = await office.start()
    began = run.started_at + timedelta(seconds=DEADLINE - 1)
    run.is_certain = False
    run.outages = (Outage(began, began + timedelta(seconds=1.5)),)
    await office.until(run, DEADLINE + 300)
    assert len(run.looks) < 15
    run.outages, run.is_certain = (Outage(began, began + timedelta(seconds=300)),), True
    await office.until(run, DEADLINE + 400)
    assert run.told() == [("running", 0), ("overdue", DEADLINE + 300)]


async def test_an_outage_of_ours_moves_the_deadline(office: Office) -> None:
    run = await office.start()
    away = run.started_at + timedelta(seconds=600)
    run.outages = (Outage(away, away + timedelta(seconds=500)),)
    await office.until(run, DEADLINE + 100)
    assert (await run.show()).status == "running"
    await office.until(run, DEADLINE + 501)
    assert run.told() == [("running", 0), ("overdue", DEADLINE + 500)]


async def test_the_workflow_of_a_deleted_hook_ends_quietly(office: Office) -> None:
    run = await office.start()
    run.is_deleted = True
    await office.until(run, DEADLINE + 1)
    assert await run.handle.result() == "withdrawn"
    assert (run.told(), run.kinds()) == ([("running", 0)], [])


async def test_a_new_history_begins_with_nothing_but_names() -> None:
    """On a server of real time that suggests one after 40 events; there the run shows itself, too."""
    async with (
        temporal_server("limit.historyCount.suggestContinueAsNew=40") as client,
        at_work(WorkflowEnvironment.from_client(client)) as office,
    ):
        run = await office.start()
        for _ in range(30):
            await run.deliver(run.journal[0])
        description = await run.handle.describe()
        first_run_id = description.raw_description.workflow_execution_info.first_run_id
        assert first_run_id not in ("", description.run_id)
        assert description.typed_search_attributes.get(STATUS) == "running"
        assert description.typed_search_attributes.get(OWNER) == "account"
        metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert metadata.current_details == "**running** Backup"
        await run.ping(Event.SUCCESS, 5)
        assert await run.handle.result() == "finished"
        assert run.told() == [("running", 0), ("finished", 5)]
