"""Retention over HTTP: what is over is deleted by a gateway, and who asks for it later is told why."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import housekeeping
from api.routes.retention import RetentionView
from config.clock import utc_now
from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key, log_in, make_user
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.waiting import until

NOTHING = {
    "instances": 0,
    "process_runs": 0,
    "pulse_pings": 0,
    "rejected_pings": 0,
    "alerts": 0,
    "approvals": 0,
}


async def change(calls: Calls, **body: Any) -> dict[str, Any]:
    response = await calls.http.patch("/api/account/retention", json=body)
    assert response.status_code == 200, response.text
    RetentionView.model_validate(response.json())
    return dict(response.json())


async def test_everything_is_kept_unless_somebody_says_otherwise(mine: Calls) -> None:
    before = await mine.get("/api/account/retention")
    assert before == {
        "keep_days": None,
        "keep_approvals_days": None,
        "would_delete": NOTHING,
        "looked_at": None,
        "deleted": NOTHING,
    }
    assert (await change(mine, keep_approvals_days=365))["keep_days"] is None
    after = await change(mine, keep_days=30)
    assert (after["keep_days"], after["keep_approvals_days"]) == (30, 365)
    after = await change(mine, keep_days=None, keep_approvals_days=None)
    assert (after["keep_days"], after["keep_approvals_days"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"keep_days": 6}, "keep_days"),
        ({"keep_days": 0}, "keep_days"),
        ({"keep_days": 3661}, "keep_days"),
        ({"keep_days": 7.5}, "keep_days"),
        ({"keep_approvals_days": -7}, "keep_approvals_days"),
        ({"days": 7}, "days"),
    ],
)
async def test_what_is_wrong_is_named(mine: Calls, body: dict[str, Any], field: str) -> None:
    found = problem(await mine.http.patch("/api/account/retention", json=body), 400, "invalid_request")
    assert fields(found) == [field]
    assert (await mine.get("/api/account/retention"))["keep_days"] is None


@pytest.mark.parametrize("who", ["owner", "member", "viewer", "full key", "ping key", "nobody"])
async def test_who_may(quick_gateway: str, team: Team, sessions: Sessions, who: str) -> None:
    headers = {"full key": api_key(team.full_key), "ping key": api_key(team.ping_key)}.get(who)
    async with httpx.AsyncClient(base_url=quick_gateway, headers=headers) as client:
        if who in ("owner", "member", "viewer"):
            email = {"owner": team.owner, "viewer": team.viewer}.get(who)
            if email is None:
                async with transaction(sessions) as session:
                    email = await make_user(session, team.account_id, f"{new_id()}@ours.example", "member")
            client.headers.update(await log_in(client, email))
        read = await client.get("/api/account/retention")
        write = await client.patch("/api/account/retention", json={})
    statuses = (read.status_code, write.status_code)
    assert statuses == {"nobody": (401, 401), "ping key": (403, 403), "member": (200, 403), "viewer": (200, 403)}.get(
        who, (200, 200)
    )


async def test_a_gateway_deletes_what_is_old(
    mine: Calls, sessions: Sessions, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id, old = await mine.open()
    await mine.dynamic(workflow_id, "dag_complete", instance_id=old, final="yes")
    _, young = await mine.open(workflow_id)
    await mine.dynamic(workflow_id, "dag_complete", instance_id=young, final="yes")
    _, running = await mine.open(workflow_id)

    async def is_over() -> bool:
        async with sessions() as session:
            ended = text("SELECT count(closes_at) = 2 FROM instances WHERE account_id = :id")
            return bool(await session.scalar(ended, {"id": mine.account_id}))

    await until(is_over)
    async with transaction(sessions) as session:
        for table, times in (("instances", ("opened_at", "completed_at", "closes_at")), ("pings", ("received_at",))):
            moved = ", ".join(f"{name} = {name} - interval '40 days'" for name in times)
            column = "id" if table == "instances" else "instance_id"
            await session.execute(text(f"UPDATE {table} SET {moved} WHERE {column} = :id"), {"id": old})

    async def would_go() -> bool:
        would = await mine.get("/api/account/retention", keep_days=30)
        assert would["keep_days"] is None
        return bool(would["would_delete"] == {**NOTHING, "instances": 1})

    # Its last ping leaves the outbox a moment after it was answered.
    await until(would_go, every=0.1)
    assert (await change(mine, keep_days=30))["would_delete"]["instances"] == 1
    monkeypatch.setattr(housekeeping, "FORGET_EVERY_SECONDS", 0.1)
    start_gateway()

    async def is_done() -> bool:
        return (await mine.get("/api/account/retention"))["looked_at"] is not None

    await until(is_done)
    after = await mine.get("/api/account/retention")
    assert (after["deleted"], after["would_delete"]) == ({**NOTHING, "instances": 1}, NOTHING)
    for instance_id, status in ((old, 404), (young, 200), (running, 200)):
        answer = await mine.http.get(f"/api/instances/{instance_id}")
        assert answer.status_code == status, answer.text
    found = problem(await mine.http.get(f"/api/instances/{old}"), 404, "not_found")
    assert found["detail"] == f"There is no instance {old}. This account deletes what is over after 30 days."
    assert (await mine.get(f"/api/workflows/{workflow_id}"))["id"] == workflow_id
    await change(mine, keep_days=None)


async def test_a_deleted_approval_leaves_its_seal(
    mine: Calls, sessions: Sessions, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"context": "Go on?", "approvers": ["ada@example.com"]}
    made = await mine.http.post("/api/approvals", json=body)
    assert made.status_code == 201, made.text
    approval_id = made.json()["approval_id"]
    decided = await mine.http.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
    assert decided.status_code == 200, decided.text
    at = utc_now() - timedelta(days=10)

    async def is_sent() -> bool:
        async with sessions() as session:
            waits = text(
                "SELECT (SELECT count(*) FROM messages WHERE approval_id = :id AND state = 'pending') "
                "+ (SELECT count(*) FROM approvals WHERE id = :id AND followed_revision < revision)"
            )
            return not await session.scalar(waits, {"id": approval_id})

    await until(is_sent)
    async with transaction(sessions) as session:
        moved = text("UPDATE approvals SET decided_at = :at WHERE id = :id")
        await session.execute(moved, {"at": at, "id": approval_id})
    trail = (await mine.get(f"/api/approvals/{approval_id}/audit"))["entries"]
    await change(mine, keep_approvals_days=7)
    monkeypatch.setattr(housekeeping, "FORGET_EVERY_SECONDS", 0.1)
    start_gateway()

    async def is_gone() -> bool:
        return (await mine.http.get(f"/api/approvals/{approval_id}")).status_code == 404

    await until(is_gone)
    found = problem(await mine.http.get(f"/api/approvals/{approval_id}"), 404, "not_found")
    assert f"was approved on {at:%Y-%m-%d}, and deleted by the account's retention" in found["detail"]
    assert f"had {len(trail)} entries, the last with the hash {trail[-1]['hash']}" in found["detail"]
    await change(mine, keep_approvals_days=None)
