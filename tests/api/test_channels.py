"""Channels over HTTP: what may be said of them, and that their secrets stay secret."""

import base64
import re
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from config.clock import utc_now
from domain.alerts import Severity
from domain.channels import Routing
from storage.base import Sessions
from storage.channels import Channel
from storage.vault import Vault
from tests.api.calls import Calls
from tests.api.conftest import Team, api_key, log_in
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.stack import SECRET, Stack

HOOK = "https://hooks.example.com/services/T0000/B0000/topsecretvalue"
WEBHOOK = {"kind": "webhook", "name": "Ours", "url": HOOK}


async def create(calls: Calls, **body: Any) -> dict[str, Any]:
    """A new webhook, or what `body` makes of it."""
    return await calls.post("/api/channels", {**WEBHOOK, **body}, 201)


async def row(sessions: Sessions, channel_id: str) -> Channel:
    async with sessions() as session:
        found = await session.get(Channel, channel_id)
        assert found is not None
        return found


async def test_one_as_given(ours: Calls, sessions: Sessions) -> None:
    given = {
        "kind": "webhook",
        "name": "Größe",
        "default": True,
        "severity": "error",
        "tags": ["nightly", "日本"],
        "quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin", "severity": "critical"},
        "messages_per_minute": 3,
    }
    response = await ours.http.post("/api/channels", json={**given, "url": HOOK})
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    channel = response.json()
    assert re.fullmatch(r"chn_[a-z0-9]{10}", channel["id"])
    assert {name: channel[name] for name in given} == given
    assert channel["address"] == "https://hooks.example.com/…alue"
    secret = channel.pop("signing_secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert await ours.get(f"/api/channels/{channel['id']}") == channel
    assert channel in (await ours.get("/api/channels"))["channels"]
    kept, vault = await row(sessions, channel["id"]), Vault(SECRET)
    assert kept.signing_secret is not None
    assert (vault.decrypt(kept.address), vault.decrypt(kept.signing_secret)) == (HOOK, secret)
    assert kept.routing() == Routing(Severity.ERROR, frozenset({"nightly", "日本"}))
    hours = kept.quiet()
    assert hours is not None
    assert (hours.start.hour, hours.end.hour, hours.timezone) == (22, 7, "Europe/Berlin")
    await ours.http.delete(f"/api/channels/{channel['id']}")


async def test_what_is_left_out(ours: Calls) -> None:
    channel = await create(ours)
    assert (channel["default"], channel["severity"], channel["tags"]) == (False, "info", [])
    assert (channel["quiet_hours"], channel["messages_per_minute"]) == (None, 10)
    assert channel["old_secret_until"] is None


@pytest.mark.parametrize(
    ("kind", "place", "shown"),
    [
        ("email", {"address": " ada@example.com "}, "ada@example.com"),
        ("slack", {"url": HOOK}, "https://hooks.example.com/…alue"),
        ("discord", {"url": "https://discord.com/api/webhooks/1/abcdefgh"}, "https://discord.com/…efgh"),
        ("pagerduty", {"address": "R0123456789ABCDEF0123456789ABCDE"}, "…BCDE"),
        (
            "pagerduty",
            {"url": "https://events.eu.pagerduty.com/v2/enqueue?routing_key=R0123456789ABCDEF0123456789ABCDE"},
            "https://events.eu.pagerduty.com/…BCDE",
        ),
        ("apprise", {"url": "tgram://123456789:abcdefg_hijklmnop/12315544/"}, "tgram://…544/"),
    ],
)
async def test_every_kind(ours: Calls, kind: str, place: dict[str, str], shown: str) -> None:
    channel = await ours.post("/api/channels", {"kind": kind, "name": "A channel", **place}, 201)
    assert (channel["kind"], channel["address"], channel["signing_secret"]) == (kind, shown, None)


QUIET = {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "pigeon"}, "kind"),
    ({"name": ""}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "a\x00"}, "name"),
    ({"url": None}, "url"),
    ({"url": "ftp://topsecretvalue"}, "url"),
    ({"url": "topsecretvalue"}, "url"),
    ({"url": "https://"}, "url"),
    ({"url": "https://topsecretvalue.example/\nx"}, "url"),
    ({"url": "https://topsecretvalue.example/" + "x" * 2000}, "url"),
    ({"url": "\x00topsecretvalue"}, "url"),
    ({"url": ["topsecretvalue"]}, "url"),
    ({"url": HOOK, "address": "topsecretvalue@example.com"}, "url"),
    ({"url": None, "address": HOOK}, "address"),
    ({"kind": "email"}, "url"),
    ({"kind": "email", "url": None}, "address"),
    ({"kind": "email", "url": None, "address": "topsecretvalue"}, "address"),
    ({"kind": "pagerduty", "url": None, "address": "topsecret"}, "address"),
    ({"kind": "apprise", "url": "nothing://topsecretvalue"}, "url"),
    ({"default": "perhaps"}, "default"),
    ({"severity": "bad"}, "severity"),
    ({"tags": ["x"] * 21}, "tags"),
    ({"tags": [""]}, "tags.0"),
    ({"tags": ["x" * 51]}, "tags.0"),
    ({"tags": ["\x00"]}, "tags.0"),
    ({"messages_per_minute": 0}, "messages_per_minute"),
    ({"messages_per_minute": 601}, "messages_per_minute"),
    ({"quiet_hours": {**QUIET, "start": "24:00"}}, "quiet_hours.start"),
    ({"quiet_hours": {**QUIET, "end": "7:00"}}, "quiet_hours.end"),
    ({"quiet_hours": {**QUIET, "end": "22:00"}}, "quiet_hours"),
    ({"quiet_hours": {**QUIET, "timezone": "Europe"}}, "quiet_hours"),
    ({"quiet_hours": {**QUIET, "timezone": "../../etc/passwd"}}, "quiet_hours"),
    ({"quiet_hours": {**QUIET, "timezone": "\x00"}}, "quiet_hours.timezone"),
    ({"quiet_hours": {**QUIET, "severity": "bad"}}, "quiet_hours.severity"),
    ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
    ({"unknown": 1}, "unknown"),
]


@pytest.mark.parametrize(("body", "field"), BAD)
async def test_bad_channels(ours: Calls, body: dict[str, Any], field: str) -> None:
    response = await ours.http.post("/api/channels", json={**WEBHOOK, **body})
    assert field in fields(problem(response, 400, "invalid_request"))
    assert "topsecret" not in response.text


async def test_changes(ours: Calls, sessions: Sessions) -> None:
    channel = await create(ours, quiet_hours=QUIET)
    del channel["signing_secret"]
    path = f"/api/channels/{channel['id']}"

    async def change(**body: Any) -> dict[str, Any]:
        nonlocal channel
        response = await ours.http.patch(path, json=body)
        assert response.status_code == 200, response.text
        before, channel = channel, response.json()
        assert await ours.get(path) == channel
        return {name: channel[name] for name in channel if channel[name] != before[name] and name != "updated_at"}

    assert await change(name="New", default=True) == {"name": "New", "default": True}
    assert await change(default=False, quiet_hours=None) == {"default": False, "quiet_hours": None}
    quiet = {**QUIET, "start": "21:30", "severity": "error"}
    assert await change(quiet_hours=quiet, tags=["a"]) == {"quiet_hours": quiet, "tags": ["a"]}
    assert await change(severity="warning", messages_per_minute=1) == {"severity": "warning", "messages_per_minute": 1}
    assert await change() == await change(name=None, url=None, address=None) == {}
    # What was shown is not taken for the address.
    assert await change(url=channel["address"]) == {}
    assert Vault(SECRET).decrypt((await row(sessions, channel["id"])).address) == HOOK
    assert await change(url="https://new.example.com/topsecretvalue") == {"address": "https://new.example.com/…alue"}
    kept = await row(sessions, channel["id"])
    assert Vault(SECRET).decrypt(kept.address) == "https://new.example.com/topsecretvalue"
    for body, field in ({"kind": "slack"}, "kind"), ({"address": "a@b.example"}, "address"), ({"url": "x"}, "url"):
        assert fields(problem(await ours.http.patch(path, json=body), 400, "invalid_request")) == [field]


async def test_a_new_secret_and_the_old_one_for_a_day(ours: Calls, sessions: Sessions) -> None:
    channel, vault = await create(ours), Vault(SECRET)
    path = f"/api/channels/{channel['id']}"
    secrets = [channel["signing_secret"]]
    for _ in range(2):
        response = await ours.http.post(f"{path}/rotate-secret")
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        rotated = response.json()
        secrets.append(rotated["signing_secret"])
        left = datetime.fromisoformat(rotated["old_secret_until"]) - utc_now()
        assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
        shown = await ours.get(path)
        assert shown["old_secret_until"] == rotated["old_secret_until"]
        assert not [secret for secret in secrets if secret in str(shown)]
        kept = await row(sessions, channel["id"])
        assert kept.signing_secret is not None
        assert kept.old_signing_secret is not None
        assert [vault.decrypt(kept.old_signing_secret), vault.decrypt(kept.signing_secret)] == secrets[-2:]
    assert len(set(secrets)) == 3
    slack = await create(ours, kind="slack")
    problem(await ours.http.post(f"/api/channels/{slack['id']}/rotate-secret"), 409, "conflict")


async def test_a_deleted_channel_is_gone(ours: Calls, sessions: Sessions) -> None:
    channel = await create(ours, default=True)
    workflow_id = await ours.define(channels=[channel["id"]])
    path = f"/api/channels/{channel['id']}"
    assert (await ours.http.delete(path)).status_code == 204
    for method, url in (("GET", path), ("PATCH", path), ("DELETE", path), ("POST", f"{path}/test")):
        problem(await ours.http.request(method, url, json={} if method == "PATCH" else None), 404, "not_found")
    assert channel["id"] not in str(await ours.get("/api/channels", limit=100))
    assert (await ours.get(f"/api/workflows/{workflow_id}"))["channels"] == []
    kept = await row(sessions, channel["id"])
    assert (kept.address, kept.signing_secret, kept.is_default) == (b"", None, False)
    assert kept.deleted_at is not None


async def test_a_test_message(ours: Calls) -> None:
    channel = await create(ours, name="Ours", severity="critical", tags=["never"], quiet_hours=QUIET)
    test = await ours.post(f"/api/channels/{channel['id']}/test", None, 202)
    alert = await ours.get(f"/api/alerts/{test['alert_id']}")
    assert (alert["kind"], alert["source"], alert["name"]) == ("channel_test", f"channel/{channel['id']}", "Ours")
    assert test["deliveries_url"].endswith(path := f"/api/alerts/{alert['id']}/deliveries")
    (delivery,) = (await ours.get(path))["deliveries"]
    assert (delivery["channel_id"], delivery["channel_name"]) == (channel["id"], "Ours")
    assert delivery["state"] != "waiting"
    assert delivery["waits_for"] is None


async def test_newest_first_and_page_by_page(theirs: Calls) -> None:
    ids = [(await create(theirs))["id"] for _ in range(5)][::-1]
    seen: list[str] = []
    cursor = ""
    while len(seen) < 5:
        page = await theirs.get("/api/channels", limit=2, cursor=cursor)
        seen += [channel["id"] for channel in page["channels"]]
        cursor = page["next_cursor"]
    assert seen[:5] == ids


def requests(channel_id: str) -> list[tuple[str, str, Any]]:
    path = f"/api/channels/{channel_id}"
    return [
        ("GET", path, None),
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/rotate-secret", None),
    ]


async def test_what_is_someone_elses_and_what_nobody_has(ours: Calls, theirs: Calls) -> None:
    channel = await create(ours)
    for method, url, body in requests(channel["id"]):
        problem(await theirs.http.request(method, url, json=body), 403, "forbidden")
    assert channel["id"] not in str(await theirs.get("/api/channels", limit=100))
    assert (await ours.get(f"/api/channels/{channel['id']}"))["updated_at"] == channel["updated_at"]
    for method, url, body in requests("chn_nothing"):
        problem(await ours.http.request(method, url, json=body), 404, "not_found")


async def test_who_may_not(quick_gateway: str, team: Team) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as owner, httpx.AsyncClient(base_url=quick_gateway) as viewer:
        owner.headers.update(api_key(team.full_key))
        channel_id = (await owner.post("/api/channels", json=WEBHOOK)).json()["id"]
        viewer.headers.update(await log_in(viewer, team.viewer))
        assert (await viewer.get(f"/api/channels/{channel_id}")).status_code == 200
        for method, url, body in [*requests(channel_id)[1:], ("POST", "/api/channels", WEBHOOK)]:
            problem(await viewer.request(method, url, json=body), 403, "forbidden")
            response = await owner.request(method, url, json=body, headers=api_key(team.ping_key))
            problem(response, 403, "insufficient_scope")
        problem(await owner.get(f"/api/channels/{channel_id}", headers={"X-API-Key": ""}), 401, "unauthenticated")


async def test_without_a_secret_key_there_are_no_channels(start_gateway: StartGateway, stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=start_gateway(secret_key=None), headers=api_key(stack.key)) as client:
        response = await client.post("/api/channels", json=WEBHOOK)
        assert "PINGPULSE_SECRET_KEY" in problem(response, 503, "unavailable")["detail"]
        assert (await client.get("/api/channels")).status_code == 200
