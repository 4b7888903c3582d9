"""The generic webhook: its body, and its signatures as receivers check them."""

import base64
from dataclasses import replace

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from activities.outgoing import Outgoing
from activities.senders.base import Envelope
from activities.senders.webhook import webhook_sender
from config.clock import utc_now
from domain.alerts import Severity
from tests.senders.builders import NASTY, alert, envelope
from tests.support.receivers import HttpReceiver

NEW, OLD, OTHER = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in range(3))


async def signed(outgoing: Outgoing, receiver: HttpReceiver, told: Envelope) -> tuple[bytes, dict[str, str]]:
    await webhook_sender(outgoing, utc_now)(replace(told, address=receiver.url()))
    return receiver.received[-1].body, dict(receiver.received[-1].headers)


async def test_receivers_verify_it_with_the_new_secret_and_with_the_old(
    outgoing: Outgoing, receiver: HttpReceiver
) -> None:
    told = envelope("", alert(reason=NASTY + " ä 🎉"), signing_secrets=(NEW, OLD))
    body, headers = await signed(outgoing, receiver, told)
    for secret in (NEW, OLD):
        assert Webhook(secret).verify(body, headers)["type"] == "alerts.raised"
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body.replace(b"critical", b"whatever"), headers)
    assert headers["webhook-id"] == "msg_1"


async def test_when_the_old_secret_is_over_it_does_not_sign(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    body, headers = await signed(outgoing, receiver, envelope("", signing_secrets=(NEW,)))
    Webhook(NEW).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, headers)


async def test_without_a_secret_nothing_is_signed(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    _, headers = await signed(outgoing, receiver, envelope(""))
    assert headers["webhook-id"] == "msg_1"
    assert "webhook-signature" not in headers


async def test_the_body_says_it_in_words_and_in_data(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    await signed(outgoing, receiver, envelope("", alert(1), alert(2)))
    content = receiver.received[-1].json
    assert content["timestamp"] == "2026-05-04T12:00:00+00:00"
    data = content["data"]
    assert data["headline"] == "backup 1 is down"
    assert data["lines"][1] == "backup 2 is down: No ping came."
    assert (data["severity"], data["resolves"], data["message_id"]) == ("critical", False, "msg_1")
    assert data["alerts"][0] == {
        "id": "al_1",
        "kind": "pulse_down",
        "severity": "critical",
        "resolves": False,
        "source": "pulse/p1",
        "subject": "pulse/p1",
        "name": "backup 1",
        "title": "backup 1 is down",
        "trouble": "pulse/p1/down/1",
        "at": "2026-05-04T12:00:01+00:00",
        "reason": "No ping came.",
        "tags": ["db"],
        "url": None,
        "data": {"expected_at": "2026-05-04T12:00:00+00:00"},
    }


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (envelope(""), "alerts.raised"),
        (envelope("", alert(resolves=True, severity=Severity.INFO)), "alerts.resolved"),
        (envelope("", alert(1), alert(2, resolves=True)), "alerts.raised"),
        (envelope("", is_test=True), "alerts.test"),
    ],
)
async def test_the_type_says_what_it_is(outgoing: Outgoing, receiver: HttpReceiver, told: Envelope, kind: str) -> None:
    await signed(outgoing, receiver, told)
    assert receiver.received[-1].json["type"] == kind
