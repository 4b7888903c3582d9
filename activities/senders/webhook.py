"""Any HTTP endpoint, by JSON signed as https://www.standardwebhooks.com has it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

from activities.outgoing import Outgoing
from activities.senders.base import Envelope, Receipt, Sender
from activities.senders.wording import stamp
from domain.messages import ToldAlert


def webhook_sender(outgoing: Outgoing, now: Callable[[], datetime]) -> Sender:
    """`now` is what the signature is dated: receivers refuse old ones, so each attempt is signed anew."""

    async def send(envelope: Envelope) -> Receipt:
        body = orjson.dumps(webhook_body(envelope))
        headers = {"Content-Type": "application/json"} | signature_headers(envelope, body, now())
        return await outgoing.post(envelope.address, body, headers)

    return send


def webhook_body(envelope: Envelope) -> dict[str, Any]:
    """`type` is `alerts.test`, `alerts.resolved` if all is good news, and otherwise `alerts.raised`."""
    text = envelope.text
    what = "test" if envelope.is_test else "resolved" if text.resolves else "raised"
    return {
        "type": f"alerts.{what}",
        "timestamp": stamp(envelope.created_at),
        "data": {
            "message_id": envelope.message_id,
            "account_id": envelope.account_id,
            "channel": envelope.channel_name,
            "url": envelope.base_url,
            "headline": text.headline,
            "lines": list(text.lines),
            "severity": text.severity.value,
            "resolves": text.resolves,
            "alerts": [_alert(alert) for alert in envelope.alerts],
        },
    }


def _alert(alert: ToldAlert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity.value,
        "resolves": alert.resolves,
        "source": alert.source,
        "subject": alert.subject,
        "name": alert.name,
        "title": alert.title,
        "trouble": alert.trouble,
        "at": stamp(alert.at),
        "reason": alert.reason,
        "tags": list(alert.tags),
        "data": dict(alert.data),
    }


def signature_headers(envelope: Envelope, body: bytes, now: datetime) -> dict[str, str]:
    """One signature for each secret, so that receivers may take the old or the new one while it is being changed."""
    headers = {"webhook-id": envelope.message_id, "webhook-timestamp": str(int(now.timestamp()))}
    signed = (envelope.message_id, now.astimezone(UTC), body.decode())
    signatures = [Webhook(secret).sign(*signed) for secret in envelope.signing_secrets]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})
