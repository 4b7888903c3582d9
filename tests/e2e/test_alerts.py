"""People are told: every kind of channel and of trouble, on a real `pingpulse up`, by real servers that are told."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.senders.shapes import DISCORD, PAGERDUTY, SLACK, check
from tests.support.receivers import Answer, HttpReceiver, Received, http_receiver
from tests.support.up import Up, running_up
from tests.support.waiting import until

KEY = "0123456789abcdef0123456789abcdef"


class Caller:
    """The API as the account's owner uses it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, path: str, **body: Any) -> Any:
        response = await self.http.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    async def get(self, path: str, **query: str) -> Any:
        response = await self.http.get(path, params=query)
        assert response.is_success, response.text
        return response.json()

    async def channel(self, kind: str, place: str) -> Any:
        field = "address" if kind == "email" else "url"
        return await self.post("/api/channels", kind=kind, name=kind, **{field: place})

    async def pulse(self, name: str, *channels: Any, period_seconds: float = 3600, **rules: Any) -> str:
        """What its alerts are from."""
        rules |= {"period_seconds": period_seconds, "channels": [channel["id"] for channel in channels]}
        return f"pulse/{(await self.post('/api/pulses', name=name, **rules))['id']}"

    async def deliveries(self, source: str, kind: str) -> dict[str, Any]:
        """What became of the one alert of that kind, by channel; nothing before there is one."""
        alerts = (await self.get("/api/alerts", source=source, kind=kind))["alerts"]
        if not alerts:
            return {}
        (alert,) = alerts
        log = await self.get(f"/api/alerts/{alert['id']}/deliveries")
        return {delivery["channel_id"]: delivery | {"alert_id": alert["id"]} for delivery in log["deliveries"]}

    async def finished(self, source: str, kind: str, count: int = 1) -> dict[str, Any]:
        """The deliveries, once `count` channels were told or given up."""

        async def found() -> dict[str, Any] | None:
            deliveries = await self.deliveries(source, kind)
            is_over = len(deliveries) == count and all(one["finished_at"] for one in deliveries.values())
            return deliveries if is_over else None

        deliveries: dict[str, Any] = await until(found, timeout=40, every=0.1)
        return deliveries


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running_up(tmp_path_factory.mktemp("alerts"), PINGPULSE_OUTGOING_ALLOW="127.0.0.0/8") as up:
        yield up


@pytest.fixture
async def caller(up: Up) -> AsyncIterator[Caller]:
    async with up.client() as client:
        yield Caller(client)


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


@dataclass(frozen=True)
class Troubled:
    """A pulse that is down, and `channels` to receivers that answer with something else than yes."""

    source: str
    receivers: dict[str, HttpReceiver]
    channels: dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
async def troubled(up: Up) -> AsyncIterator[Troubled]:
    """Told while the other tests run: the attempts are far apart."""
    async with up.client() as client, http_receiver() as flaky, http_receiver() as busy, http_receiver() as gone:
        flaky.answers = [Answer(500), Answer(500), Answer()]
        busy.answers = [Answer(429, {"Retry-After": "7"}), Answer()]
        gone.answers = [Answer(404)]
        caller, receivers = Caller(client), {"flaky": flaky, "busy": busy, "gone": gone}
        channels = {name: await caller.channel("webhook", one.url()) for name, one in receivers.items()}
        source = await caller.pulse("Troubled", *channels.values())
        await caller.post("/hbk/troubled/fail")
        yield Troubled(source, receivers, channels)


def sent_to(receiver: HttpReceiver, path: str) -> list[Received]:
    return [request for request in receiver.received if request.target.partition("?")[0] == path]


def kinds(request: Received) -> list[str]:
    """The kinds of the alerts that a webhook was told of."""
    return [alert["kind"] for alert in request.json["data"]["alerts"]]


async def told_of(receiver: HttpReceiver, kind: str) -> Any:
    """The first alert of that kind that came by webhook."""

    def found() -> Any:
        alerts = [alert for request in receiver.received for alert in request.json["data"]["alerts"]]
        return next((alert for alert in alerts if alert["kind"] == kind), None)

    return await until(found)


async def test_every_kind_of_channel_is_told_that_a_pulse_is_down_and_up_again(
    up: Up, caller: Caller, receiver: HttpReceiver
) -> None:
    channels = [
        await caller.channel("webhook", receiver.url("/webhook")),
        await caller.channel("slack", receiver.url("/slack")),
        await caller.channel("discord", receiver.url("/discord")),
        await caller.channel("pagerduty", receiver.url(f"/v2/enqueue?routing_key={KEY}")),
        await caller.channel("apprise", f"json://127.0.0.1:{receiver.port}/apprise"),
        await caller.channel("email", "ada@example.com"),
    ]
    source = await caller.pulse("Nightly backup", *channels)
    await caller.post("/hbk/nightly-backup/fail", error="disk full")
    down = await caller.finished(source, "pulse_down", len(channels))
    await caller.post("/hbk/nightly-backup")
    recovered = await caller.finished(source, "pulse_recovered", len(channels))
    for deliveries in (down, recovered):
        assert {one["channel_kind"]: one["state"] for one in deliveries.values()} == dict.fromkeys(
            ("webhook", "slack", "discord", "pagerduty", "apprise", "email"), "sent"
        )
    _check_webhook(sent_to(receiver, "/webhook"), channels[0]["signing_secret"], source)
    _check_chats(sent_to(receiver, "/slack"), sent_to(receiver, "/discord"))
    _check_pagerduty(sent_to(receiver, "/v2/enqueue"))
    bad, good = [request.json for request in sent_to(receiver, "/apprise")]
    assert (bad["title"], bad["type"]) == ("Nightly backup is down: disk full", "failure")
    assert (good["title"].startswith("Nightly backup is up again"), good["type"]) == (True, "success")
    await _check_mail(caller, up.key)


def _check_webhook(requests: list[Received], secret: str, source: str) -> None:
    down, recovered = [Webhook(secret).verify(request.body, dict(request.headers)) for request in requests]
    assert (down["type"], recovered["type"]) == ("alerts.raised", "alerts.resolved")
    (bad,), (good,) = down["data"]["alerts"], recovered["data"]["alerts"]
    assert (bad["kind"], bad["severity"], bad["source"]) == ("pulse_down", "critical", source)
    assert (bad["name"], bad["reason"]) == ("Nightly backup", "disk full")
    assert good["kind"] == "pulse_recovered"
    assert good["trouble"] == bad["trouble"]
    assert requests[0].headers["webhook-id"] != requests[1].headers["webhook-id"]


def _check_chats(slack: list[Received], discord: list[Received]) -> None:
    for requests, shape, text in ((slack, SLACK, "text"), (discord, DISCORD, "content")):
        down, recovered = [request.json for request in requests]
        check(down, shape)
        check(recovered, shape)
        assert down[text] == "Nightly backup is down: disk full"
        assert recovered[text].startswith("Nightly backup is up again after ")


def _check_pagerduty(requests: list[Received]) -> None:
    trigger, resolve = [request.json for request in requests]
    check(trigger, PAGERDUTY)
    check(resolve, PAGERDUTY)
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert (trigger["routing_key"], trigger["payload"]["severity"]) == (KEY, "critical")


async def _check_mail(caller: Caller, key: str) -> None:
    page = (await caller.http.get("/dev/mail")).text
    recovered, down = re.findall(r'<a href="(/dev/mail/[^"]+)">([^<]+)</a></td><td>ada@example.com</td>', page)
    assert recovered[1].startswith("Nightly backup is up again after ")
    assert down[1] == "Nightly backup is down: disk full"
    mail = (await caller.http.get(down[0])).text
    assert "<pre>Nightly backup is down: disk full" in mail


async def test_a_silent_pulse_is_told_of_in_time(caller: Caller, receiver: HttpReceiver) -> None:
    channel = await caller.channel("webhook", receiver.url())
    await caller.pulse("Silent", channel, period_seconds=1, grace_seconds=0)
    await caller.post("/hbk/silent")
    alert = await told_of(receiver, "pulse_down")
    assert alert["reason"].startswith("no ping since ")
    assert _moment(alert["at"]) == _moment(alert["data"]["last_ping_at"]) + timedelta(seconds=1)


async def test_a_failing_stage_of_a_dynamic_workflow_is_told_of_and_so_is_its_recovery(
    caller: Caller, receiver: HttpReceiver
) -> None:
    channel = await caller.channel("webhook", receiver.url())
    definition = {"kind": "dynamic", "id": "training", "name": "Training", "tags": ["ml"]}
    await caller.post("/api/workflows", **definition, channels=[channel["id"]])
    instance_id = (await caller.post("/dhk/training", stagePath="1", start=True))["instance_id"]
    await caller.post("/dhk/training", stagePath="2.1", stagename="Fit", status="failed", error="no GPU")
    stage, failed = await told_of(receiver, "stage_failed"), await told_of(receiver, "instance_failed")
    assert (stage["data"]["stage"], stage["data"]["stage_name"], stage["tags"]) == ("2.1", "Fit", ["ml"])
    assert "no GPU" in stage["reason"]
    assert failed["subject"] == f"instance/training/{instance_id}"
    await caller.post("/dhk/training", stagePath="2.1")
    recovered = await told_of(receiver, "instance_recovered")
    assert recovered["trouble"] == stage["trouble"] == failed["trouble"]


async def test_an_overdue_run_is_told_of_and_so_is_its_late_finish(caller: Caller, receiver: HttpReceiver) -> None:
    channel = await caller.channel("webhook", receiver.url())
    times = {"expected_seconds": 1, "grace_seconds": 0.5}
    hook = await caller.post("/api/process-hooks", name="Robot", **times, channels=[channel["id"]])
    run_id = (await caller.post(f"/phk/{hook['id']}/start", agent="r2d2"))["run_id"]
    overdue = await told_of(receiver, "process_overdue")
    assert overdue["title"] == "Robot is overdue: no finish within 1.5 s"
    await caller.post(f"/phk/{hook['id']}/finish", run_id=run_id)
    recovered = await told_of(receiver, "process_recovered")
    assert recovered["trouble"] == overdue["trouble"]
    assert recovered["data"]["late_seconds"] > 0


async def test_a_test_message_is_signed_with_both_secrets_once_they_were_rotated(
    caller: Caller, receiver: HttpReceiver
) -> None:
    channel = await caller.channel("webhook", receiver.url())
    rotated = await caller.post(f"/api/channels/{channel['id']}/rotate-secret")
    test = await caller.post(f"/api/channels/{channel['id']}/test")
    (request,) = await until(lambda: receiver.received)
    for secret in (channel["signing_secret"], rotated["signing_secret"]):
        told = Webhook(secret).verify(request.body, dict(request.headers))
        assert (told["type"], told["data"]["channel"]) == ("alerts.test", "webhook")
    (delivery,) = (await caller.finished(f"channel/{channel['id']}", "channel_test")).values()
    assert delivery["alert_id"] == test["alert_id"]
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [200]


async def test_whether_and_when_it_is_tried_again_is_up_to_the_receiver(caller: Caller, troubled: Troubled) -> None:
    deliveries = await caller.finished(troubled.source, "pulse_down", len(troubled.channels))
    log = {name: deliveries[channel["id"]] for name, channel in troubled.channels.items()}
    attempts = {
        name: [(one["status_code"], one["outcome"]) for one in delivery["attempts"]] for name, delivery in log.items()
    }
    assert attempts == {
        "flaky": [(500, "retry"), (500, "retry"), (200, "sent")],
        "busy": [(429, "retry"), (200, "sent")],
        "gone": [(404, "failed")],
    }
    assert [one["state"] for one in log.values()] == ["sent", "sent", "failed"]
    flaky, busy, gone = troubled.receivers.values()
    (first, second), (asked,) = _gaps(log["flaky"]), _gaps(log["busy"])
    assert (5 <= first < 7, 10 <= second < 12, 7 <= asked < 9) == (True, True, True), (first, second, asked)
    assert len({request.headers["webhook-id"] for request in flaky.received}) == 1

    # Mended, it gets to know of it after all.
    gone.answers = [Answer()]
    path = f"/api/alerts/{log['gone']['alert_id']}/redeliver"
    again = await caller.post(path, channels=[troubled.channels["gone"]["id"]])
    await until(lambda: len(gone.received) == 2)
    assert [gone.received[1].headers["webhook-id"]] == again["message_ids"]
    assert gone.received[1].json["data"]["alerts"] == gone.received[0].json["data"]["alerts"]


def _gaps(delivery: Any) -> list[float]:
    """Seconds between attempts."""
    moments = [_moment(attempt["at"]) for attempt in delivery["attempts"]]
    return [(later - earlier).total_seconds() for earlier, later in zip(moments, moments[1:], strict=False)]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
