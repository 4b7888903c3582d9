"""Alerts and the delivery log over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from config.clock import utc_now
from domain.alerts import Alert
from domain.ids import random_id
from domain.instance_alerts import INSTANCE_FAILED, INSTANCE_RECOVERED, STAGE_FAILED
from storage.alerts import AlertRow, raise_alerts
from storage.base import Sessions, transaction
from storage.messages import Attempt, Delivery, Message
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key, log_in
from tests.api.test_errors import fields, problem
from tests.support.waiting import until


async def alerts(calls: Calls, **filters: Any) -> list[dict[str, Any]]:
    return list((await calls.get("/api/alerts", **filters))["alerts"])


async def told(calls: Calls, workflow_id: str, count: int) -> list[dict[str, Any]]:
    """The alerts of a workflow, the newest first, once there are so many."""

    async def has_them() -> list[dict[str, Any]] | None:
        found = await alerts(calls, source=f"workflow/{workflow_id}")
        return found if len(found) >= count else None

    found: list[dict[str, Any]] = await until(has_them)
    assert len(found) == count
    return found


async def channel(calls: Calls, **body: Any) -> str:
    body = {"kind": "webhook", "name": "Ours", "url": "https://hooks.example.com/x", **body}
    return str((await calls.post("/api/channels", body, 201))["id"])


async def silent_alerts(sessions: Sessions, account_id: str, *kinds: Any) -> list[str]:
    """Ids of new alerts of a source of their own, the oldest first, that nobody is told of."""
    source, now = f"workflow/{new_id()}", utc_now()
    async with transaction(sessions) as session:
        for number, kind in enumerate(kinds):
            subject = f"{source}/{number}"
            alert = Alert(kind, account_id, source, subject, "etl", f"Alert {number}", subject, subject, now)
            await raise_alerts(session, [alert], now + timedelta(milliseconds=number))
        of_source = AlertRow.source == source
        await session.execute(update(AlertRow).where(of_source).values(state="silent", silent_reason="no channel"))
        return list(await session.scalars(select(AlertRow.id).where(of_source).order_by(AlertRow.created_at)))


async def test_a_failure_and_its_good_end(ours: Calls) -> None:
    workflow_id = await ours.define(name="etl", tags=["nightly"])
    instance_id = (await ours.static(workflow_id, 1, agent="ada"))["instance_id"]
    await ours.static(workflow_id, 2, status="failed", error="out of memory")
    failed, stage = sorted(await told(ours, workflow_id, 2), key=lambda alert: str(alert["kind"]))
    assert (failed["kind"], stage["kind"]) == ("instance_failed", "stage_failed")
    assert (failed["severity"], failed["resolves"], failed["repeats"]) == ("critical", False, 0)
    assert failed["title"] == f"etl ({instance_id}) failed: Stage 2 failed: out of memory"
    assert failed["subject"] == f"instance/{workflow_id}/{instance_id}"
    assert (failed["tags"], failed["name"], failed["depends_on"]) == (["nightly"], "etl", [])
    assert (stage["data"]["stage"], stage["reason"]) == ("2", "Stage 2 failed: out of memory")
    one = await ours.get(f"/api/alerts/{stage['id']}")
    # It may have been routed meanwhile.
    assert {name for name in stage if one[name] != stage[name]} <= {"state", "silent_reason"}
    await ours.static(workflow_id, 2)
    recovered = (await told(ours, workflow_id, 3))[0]
    assert (recovered["kind"], recovered["severity"], recovered["resolves"]) == ("instance_recovered", "info", True)
    assert recovered["trouble"] == failed["trouble"] == stage["trouble"]


async def test_a_violation_is_told_once_and_then_counted(ours: Calls) -> None:
    workflow_id = await ours.define(validation_mode="strict")
    await ours.static(workflow_id, 1, agent="ada")
    for _ in range(3):
        await ours.static(workflow_id, 3, 400, agent="ada")
    (alert,) = await told(ours, workflow_id, 1)
    assert (alert["kind"], alert["severity"], alert["repeats"]) == ("strict_violation", "warning", 2)
    assert (alert["data"]["code"], alert["data"]["agent"]) == ("stage_missed", "ada")
    assert not await alerts(ours, source=f"workflow/{await ours.define()}")


async def test_filters(ours: Calls, sessions: Sessions) -> None:
    kinds = (STAGE_FAILED, INSTANCE_FAILED, INSTANCE_RECOVERED)
    first, second, third = await silent_alerts(sessions, ours.account_id, *kinds)
    source = (await ours.get(f"/api/alerts/{first}"))["source"]

    async def found(**filters: str) -> list[str]:
        return [alert["id"] for alert in await alerts(ours, source=source, **filters)]

    assert await found() == [third, second, first]
    assert await found(state="silent") == [third, second, first]
    assert await found(state="held") == []
    assert await found(kind="instance_failed") == [second]
    assert await found(kind="nothing") == []
    assert await found(severity="info") == [third]
    assert await found(subject=f"{source}/0") == [first]
    assert await found(subject=f"{source}/0", severity="info") == []
    for wrong in ({"state": "open"}, {"severity": "bad"}, {"kind": "\x00"}, {"limit": "0"}, {"cursor": "x"}):
        response = await ours.http.get("/api/alerts", params=wrong)
        assert fields(problem(response, 400, "invalid_request")) == list(wrong)


async def test_newest_first_and_page_by_page(ours: Calls, sessions: Sessions) -> None:
    ids = (await silent_alerts(sessions, ours.account_id, *[STAGE_FAILED] * 5))[::-1]
    source = (await ours.get(f"/api/alerts/{ids[0]}"))["source"]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await ours.get("/api/alerts", limit=2, cursor=cursor, source=source)
        seen += [alert["id"] for alert in page["alerts"]]
        cursor = page["next_cursor"]
    assert seen == ids


async def test_the_delivery_log_shows_each_attempt(ours: Calls, sessions: Sessions) -> None:
    (alert_id,) = await silent_alerts(sessions, ours.account_id, INSTANCE_FAILED)
    waiting, sent = await channel(ours, name="Waits"), await channel(ours, name="Sent")
    assert (await ours.get(f"/api/alerts/{alert_id}/deliveries")) == {"deliveries": []}
    now, message_id = utc_now(), random_id("msg_", 12)
    async with transaction(sessions) as session:
        session.add(
            Message(
                id=message_id,
                account_id=ours.account_id,
                channel_id=sent,
                state="sent",
                created_at=now,
                handed_over_at=now,
                finished_at=now + timedelta(seconds=61),
            )
        )
        await session.flush()
        later = now + timedelta(hours=8)
        session.add(Delivery(alert_id=alert_id, channel_id=waiting, not_before=later, waits_for="quiet hours"))
        await session.flush()
        session.add(Delivery(alert_id=alert_id, channel_id=sent, message_id=message_id, not_before=now))
        for number, (outcome, code) in enumerate([("retry", 500), ("sent", 204)], 1):
            session.add(
                Attempt(
                    message_id=message_id,
                    number=number,
                    at=now + timedelta(minutes=number - 1),
                    took_ms=120,
                    outcome=outcome,
                    status_code=code,
                    detail="Oops" if code == 500 else None,
                    next_at=now + timedelta(minutes=1) if code == 500 else None,
                )
            )
            await session.flush()
    first, second = (await ours.get(f"/api/alerts/{alert_id}/deliveries"))["deliveries"]
    assert (first["channel_id"], first["channel_name"], first["channel_kind"]) == (waiting, "Waits", "webhook")
    assert (first["state"], first["waits_for"], first["message_id"]) == ("waiting", "quiet hours", None)
    assert (first["waits_until"], first["attempts"], first["finished_at"]) == (shown(later), [], None)
    assert (second["state"], second["waits_for"], second["waits_until"]) == ("sent", None, None)
    assert (second["message_id"], second["finished_at"]) == (message_id, shown(now + timedelta(seconds=61)))
    assert second["attempts"] == [
        {
            "number": 1,
            "at": shown(now),
            "took_ms": 120,
            "outcome": "retry",
            "status_code": 500,
            "detail": "Oops",
            "next_at": shown(now + timedelta(minutes=1)),
        },
        {
            "number": 2,
            "at": shown(now + timedelta(minutes=1)),
            "took_ms": 120,
            "outcome": "sent",
            "status_code": 204,
            "detail": None,
            "next_at": None,
        },
    ]
    # The log outlives the channel.
    assert (await ours.http.delete(f"/api/channels/{sent}")).status_code == 204
    assert (await ours.get(f"/api/alerts/{alert_id}/deliveries"))["deliveries"][1] == second


def shown(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))


async def test_telling_again(ours: Calls, sessions: Sessions) -> None:
    (alert_id,) = await silent_alerts(sessions, ours.account_id, INSTANCE_FAILED)
    path = f"/api/alerts/{alert_id}/redeliver"
    problem(await ours.http.post(path), 409, "conflict")
    problem(await ours.http.post(path, json={}), 409, "conflict")
    first, second = await channel(ours), await channel(ours)
    again = await ours.post(path, {"channels": [first, second, first]}, 202)
    assert again["deliveries_url"].endswith(f"/api/alerts/{alert_id}/deliveries")
    assert len(again["message_ids"]) == 2
    alert = await ours.get(f"/api/alerts/{alert_id}")
    assert (alert["state"], alert["silent_reason"]) == ("told", None)
    repeated = await ours.post(path, None, 202)
    deliveries = (await ours.get(f"/api/alerts/{alert_id}/deliveries"))["deliveries"]
    assert {item["channel_id"] for item in deliveries} == {first, second}
    assert sorted(item["message_id"] for item in deliveries) == sorted(again["message_ids"] + repeated["message_ids"])
    assert {item["state"] for item in deliveries} <= {"pending", "sent", "failed"}


async def test_telling_nobody_again(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    (alert_id,) = await silent_alerts(sessions, ours.account_id, INSTANCE_FAILED)
    for channels in (["chn_nothing"], [await channel(theirs)], [await channel(ours), "chn_nothing"]):
        response = await ours.http.post(f"/api/alerts/{alert_id}/redeliver", json={"channels": channels})
        assert fields(problem(response, 400, "invalid_request")) == ["channels"]
    response = await ours.http.post(f"/api/alerts/{alert_id}/redeliver", json={"channel": "x"})
    assert fields(problem(response, 400, "invalid_request")) == ["channel"]
    assert (await ours.get(f"/api/alerts/{alert_id}/deliveries")) == {"deliveries": []}


def requests(alert_id: str) -> list[tuple[str, str]]:
    return [
        ("GET", f"/api/alerts/{alert_id}"),
        ("GET", f"/api/alerts/{alert_id}/deliveries"),
        ("POST", f"/api/alerts/{alert_id}/redeliver"),
    ]


async def test_what_is_someone_elses_and_what_nobody_has(ours: Calls, theirs: Calls, sessions: Sessions) -> None:
    (alert_id,) = await silent_alerts(sessions, ours.account_id, INSTANCE_FAILED)
    for method, url in requests(alert_id):
        problem(await theirs.http.request(method, url), 403, "forbidden")
    assert alert_id not in str(await alerts(theirs, limit=100))
    for method, url in requests("alr_nothing"):
        problem(await ours.http.request(method, url), 404, "not_found")


@pytest.mark.parametrize("role", ["viewer", "pinger"])
async def test_who_may_not(quick_gateway: str, team: Team, sessions: Sessions, role: str) -> None:
    (alert_id,) = await silent_alerts(sessions, team.account_id, INSTANCE_FAILED)
    async with httpx.AsyncClient(base_url=quick_gateway) as client:
        client.headers.update(await log_in(client, team.viewer) if role == "viewer" else api_key(team.ping_key))
        for method, url in requests(alert_id):
            response = await client.request(method, url)
            if role == "pinger":
                problem(response, 403, "insufficient_scope")
            elif method == "POST":
                problem(response, 403, "forbidden")
            else:
                assert response.status_code == 200
