"""Tags of a workflow, and the channels that are told of its alerts."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from storage.base import Sessions
from storage.channels import Attachment
from tests.api.calls import Calls, new_id
from tests.api.test_channels import create
from tests.api.test_errors import fields, problem


async def attachments(sessions: Sessions, source: str) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(select(Attachment.channel_id).where(Attachment.source == source)))


async def test_channels_and_tags_of_a_workflow(ours: Calls, sessions: Sessions) -> None:
    first, second = sorted([(await create(ours))["id"] for _ in range(2)])
    workflow_id = await ours.define(id=new_id(), channels=[second, first, second], tags=["nightly", "data"])
    path = f"/api/workflows/{workflow_id}"
    workflow = await ours.get(path)
    assert (workflow["channels"], workflow["tags"]) == ([first, second], ["nightly", "data"])
    assert workflow in (await ours.get("/api/workflows"))["workflows"]
    for body, expected in [
        ({"name": "New"}, ([first, second], ["nightly", "data"])),
        ({"channels": [second]}, ([second], ["nightly", "data"])),
        ({"tags": ["x"]}, ([second], ["x"])),
        ({"channels": [first], "tags": []}, ([first], [])),
        ({"channels": []}, ([], [])),
    ]:
        response = await ours.http.patch(path, json=body)
        assert (response.json()["channels"], response.json()["tags"]) == expected
        assert sorted(await attachments(sessions, f"workflow/{workflow_id}")) == expected[0]
    await ours.http.patch(path, json={"channels": [first], "tags": ["x"]})
    await ours.http.delete(path)
    assert await attachments(sessions, f"workflow/{workflow_id}") == []
    again = await ours.get(f"/api/workflows/{await ours.define(id=workflow_id)}")
    assert (again["channels"], again["tags"]) == ([], [])


async def test_channels_of_others_are_no_channels(ours: Calls, theirs: Calls) -> None:
    foreign, gone, own = (await create(theirs))["id"], (await create(ours))["id"], (await create(ours))["id"]
    await ours.http.delete(f"/api/channels/{gone}")
    workflow_id = await ours.define(channels=[own])
    for channels in ([foreign], [gone], ["chn_nothing"], [own, foreign]):
        body = {"kind": "dynamic", "name": "x", "id": new_id(), "channels": channels}
        refused = await ours.http.post("/api/workflows", json=body)
        document = problem(refused, 400, "invalid_request")
        assert fields(document) == ["channels"]
        assert channels[-1] in document["detail"]
        assert own not in document["detail"]
        problem(await ours.http.get(f"/api/workflows/{body['id']}"), 404, "not_found")
        refused = await ours.http.patch(f"/api/workflows/{workflow_id}", json={"channels": channels, "name": "New"})
        assert fields(problem(refused, 400, "invalid_request")) == ["channels"]
    workflow = await ours.get(f"/api/workflows/{workflow_id}")
    assert (workflow["channels"], workflow["name"]) == ([own], "A workflow")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": ["x"] * 21}, "tags"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": ["x" * 51]}, "tags.0"),
        ({"tags": ["a\x00"]}, "tags.0"),
        ({"tags": None}, "tags"),
        ({"channels": None}, "channels"),
        ({"channels": ["x"] * 51}, "channels"),
        ({"channels": ["\x00"]}, "channels.0"),
    ],
)
async def test_bad_tags_and_channels(ours: Calls, body: dict[str, Any], field: str) -> None:
    response = await ours.http.post("/api/workflows", json={"kind": "dynamic", "name": "x", **body})
    assert fields(problem(response, 400, "invalid_request")) == [field]
    response = await ours.http.patch(f"/api/workflows/{await ours.define()}", json=body)
    assert fields(problem(response, 400, "invalid_request")) == [field]


async def test_a_channel_is_deleted_while_it_is_attached(ours: Calls, sessions: Sessions) -> None:
    workflow_id = await ours.define()
    for _ in range(10):
        channel_id = (await create(ours))["id"]
        await asyncio.gather(
            ours.http.patch(f"/api/workflows/{workflow_id}", json={"channels": [channel_id]}),
            ours.http.delete(f"/api/channels/{channel_id}"),
        )
        assert await attachments(sessions, f"workflow/{workflow_id}") == []
