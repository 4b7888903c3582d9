"""Several gateways on one database are one gateway."""

import asyncio

from sqlalchemy import select

from storage.outbox import OutboxRow
from storage.pings import Ping
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.conftest import StartGateway
from tests.support.stack import Stack
from tests.support.waiting import until


async def test_pings_through_either(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id, instance_id = await ours.open()
    for number in range(2, 10):
        gateway = (ours, ours_elsewhere)[number % 2]
        assert (await gateway.dynamic(workflow_id, str(number)))["instance_id"] == instance_id
        for reader in (ours, ours_elsewhere):
            assert list(await reader.get(f"/dhk/{workflow_id}/tree"))[-1] == str(number)
            running = (await reader.history(workflow_id))["running_instance"]
            assert list(running["stage_statuses"]) == [str(stage) for stage in range(1, number + 1)]
    await ours_elsewhere.dynamic(workflow_id, "10", final="yes")
    assert len((await ours.settled(instance_id, "completed"))["stage_statuses"]) == 10


async def test_the_first_pings_of_a_run_open_one_instance(ours: Calls, ours_elsewhere: Calls) -> None:
    for _ in range(2):
        workflow_id = await ours.define(stages=12)
        pings = [(ours, ours_elsewhere)[stage % 2].static(workflow_id, stage) for stage in range(12, 0, -1)]
        answers = await asyncio.gather(*pings)
        assert len({answer["instance_id"] for answer in answers}) == 1
        instance = await ours.settled(answers[0]["instance_id"], "completed")
        assert {stage["status"] for stage in instance["stage_statuses"].values()} == {"healthy"}


async def test_as_many_starts_as_instances(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    starts = [gateway.open(workflow_id) for gateway in (ours, ours_elsewhere) * 5]
    ids = {instance_id for _, instance_id in await asyncio.gather(*starts)}
    assert len(ids) == 10
    history = await ours.history(workflow_id, limit=20)
    assert {history["running_instance"]["id"], *(item["id"] for item in history["recent_instances"])} == ids


async def test_a_workflow_that_two_gateways_create_at_once(ours: Calls, ours_elsewhere: Calls) -> None:
    for number in range(5):
        name = f"race-{number}-{ours.account_id}"
        starts = [gateway.open(name) for gateway in (ours, ours_elsewhere) * 3]
        assert len({instance_id for _, instance_id in await asyncio.gather(*starts)}) == 6


async def test_and_two_that_want_the_same_slug(ours: Calls, ours_elsewhere: Calls) -> None:
    for number in range(5):
        name = f"slug-{number}-{ours.account_id}"
        await asyncio.gather(ours.open(name), ours_elsewhere.open(name.upper()), ours.open(name.title()))


async def test_early_pings_of_both_are_adopted(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id = await ours.define("dynamic")
    await asyncio.gather(ours.dynamic(workflow_id, "2"), ours_elsewhere.dynamic(workflow_id, "3"))
    _, instance_id = await ours_elsewhere.open(workflow_id)
    assert list(await ours.get(f"/dhk/{workflow_id}/tree")) == ["1", "2", "3"]

    async def has_all() -> bool:
        changes = (await ours.instance(instance_id))["transitions"]
        return {change["stage_path"] for change in changes} == {None, "1", "2", "3"}

    await until(has_all)


async def test_a_deleted_workflow_is_deleted_everywhere(ours: Calls, ours_elsewhere: Calls) -> None:
    for stage in ("2", "1"):
        workflow_id = await ours.define()
        await ours.static(workflow_id, 2)
        await ours_elsewhere.static(workflow_id, 3)
        assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
        await ours_elsewhere.static(workflow_id, stage, 404)


async def test_a_gateway_without_room_delivers_what_a_start_adopts(stack: Stack, start_gateway: StartGateway) -> None:
    """Early pings are older than what the gateway looks for in the outbox once there is room again."""
    async with calls_to(start_gateway(courier_memory=0), stack.account_id, stack.key) as full:
        workflow_id = await full.define("dynamic")
        await full.dynamic(workflow_id, "2")
        await full.dynamic(workflow_id, "1", start="yes")

        async def left() -> list[str]:
            async with stack.sessions() as session:
                rows = select(Ping.path).join(OutboxRow, OutboxRow.ping_id == Ping.id)
                return list(await session.scalars(rows.where(Ping.workflow_id == workflow_id)))

        async def is_adopted_delivered() -> bool:
            return await left() == ["1"]

        await until(is_adopted_delivered)
