"""The webhook by which a program hears how its approval ended, as the program receives and verifies it."""

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from activities.letters.callback import callback_body, callback_sender
from activities.outgoing import Outgoing
from activities.senders.base import Receipt, TryLater, Undeliverable
from config.clock import utc_now
from storage.letters import Letter
from storage.vault import Vault
from tests.senders.builders import NASTY, NOON, letter
from tests.senders.conftest import outcome
from tests.support.receivers import Answer, HttpReceiver
from tests.support.telling import VAULT

SECRET, OTHER = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in range(2))
DECIDED_AT = NOON + timedelta(seconds=7)


def callback(url: str = "https://example.com/", *, vault: Vault = VAULT, **values: Any) -> Letter:
    usual: dict[str, Any] = {
        "callback_url": vault.encrypt(url),
        "callback_secret": vault.encrypt(SECRET),
        "status": "approved",
        "decided_by": "ada@example.com",
        "decided_at": DECIDED_AT,
    }
    return letter("callback", None, **usual | values)


async def send(outgoing: Outgoing, sent: Letter, now: datetime | None = None) -> Receipt | TryLater | Undeliverable:
    return await outcome(callback_sender(outgoing, VAULT, lambda: now or utc_now())(sent))


async def test_the_program_verifies_it(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    sent = callback(receiver.url("/decided?a=b"), notes=f"{NASTY} ä 🎉", title="Publish?", response={"n": 10**300})
    assert await send(outgoing, sent) == Receipt(200, "ok")
    [request] = receiver.received
    assert (request.method, request.target) == ("POST", "/decided?a=b")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "msg_1"
    content = Webhook(SECRET).verify(request.body, dict(request.headers))
    assert (content["type"], content["timestamp"]) == ("approval.decided", "2026-05-04T12:00:07+00:00")
    assert content["data"] == {
        "approval_id": sent.approval.id,
        "status": "approved",
        "result": 1,
        "decided_by": "ada@example.com",
        "decided_at": "2026-05-04T12:00:07+00:00",
        "notes": f"{NASTY} ä 🎉",
        "choice": None,
        "response": {"n": 10**300},
        "reason": None,
        "title": "Publish?",
        "context": "Publish the report",
        "requested_by": "deploy bot",
        "workflow_id": None,
        "instance_id": None,
        "stage_path": None,
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(request.body, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"approved", b"denied"), dict(request.headers))


@pytest.mark.parametrize(
    ("values", "kind", "result"),
    [
        ({}, "approval.decided", 1),
        ({"status": "denied"}, "approval.decided", 0),
        ({"status": "denied", "decided_by": "timeout", "reason": "Nobody decided in time."}, "approval.expired", 0),
        ({"status": "approved", "decided_by": "timeout"}, "approval.expired", 1),
        ({"status": "cancelled", "decided_by": "api-key:agent"}, "approval.cancelled", 0),
    ],
)
def test_the_type_says_how_it_ended(values: dict[str, Any], kind: str, result: int) -> None:
    body = callback_body(callback(**values).approval)
    assert (body["type"], body["data"]["result"]) == (kind, result)
    assert body["data"]["reason"] == values.get("reason")


async def test_another_attempt_has_the_same_id_and_a_new_signature(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(503, {"Retry-After": "30"}), Answer(204)]
    sent, now = callback(receiver.url()), utc_now()
    refused = await send(outgoing, sent, now - timedelta(seconds=60))
    assert isinstance(refused, TryLater)
    assert (refused.status_code, refused.retry_after) == (503, 30)
    assert await send(outgoing, sent, now) == Receipt(204)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "msg_1"
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert first.body == second.body
    Webhook(SECRET).verify(second.body, dict(second.headers))


async def test_what_the_program_refuses_is_not_tried_again(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(410)]
    refused = await send(outgoing, callback(receiver.url()))
    assert isinstance(refused, Undeliverable)
    assert refused.status_code == 410


async def test_a_callback_reaches_nothing_inside(receiver: HttpReceiver) -> None:
    fenced = Outgoing((), utc_now)
    try:
        for url in (receiver.url(), receiver.url(host="localhost"), "http://169.254.169.254/latest/meta-data"):
            refused = await send(fenced, callback(url))
            assert isinstance(refused, Undeliverable)
            assert "PINGPULSE_OUTGOING_ALLOW" in refused.detail
    finally:
        await fenced.aclose()
    assert receiver.received == []


async def test_without_a_secret_nothing_is_signed(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    await send(outgoing, callback(receiver.url(), callback_secret=None))
    assert "webhook-signature" not in receiver.received[0].headers


async def test_what_was_encrypted_with_another_key_waits_for_it(outgoing: Outgoing) -> None:
    refused = await send(outgoing, callback(vault=Vault("another secret, of 32 characters or more")))
    assert isinstance(refused, TryLater)
    assert "PINGPULSE_SECRET_KEY" in refused.detail
