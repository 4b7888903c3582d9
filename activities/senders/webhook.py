"""Any HTTP endpoint, by signed JSON."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from activities.outgoing import Outgoing
from activities.senders.base import Envelope, Receipt, Sender
from activities.senders.signing import post_signed
from activities.senders.wording import stamp
from domain.instance_alerts import RERUN_REQUESTED
from domain.messages import ToldAlert


def webhook_sender(outgoing: Outgoing, now: Callable[[], datetime]) -> Sender:
    """`now` is what the signature is dated."""

    async def send(envelope: Envelope) -> Receipt:
        return await post_signed(
            outgoing,
            envelope.address,
            webhook_body(envelope),
            message_id=envelope.message_id,
            secrets=envelope.signing_secrets,
            now=now(),
        )

    return send


def webhook_body(envelope: Envelope) -> dict[str, Any]:
    """As receivers are told in docs/api.md."""
    text = envelope.text
    return {
        "type": _type(envelope),
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
            "alerts": [_alert(alert, envelope) for alert in envelope.alerts],
        },
    }


def _type(envelope: Envelope) -> str:
    """`alerts.test`, `instance.rerun_requested` if all of it is that, `alerts.resolved` if all is good news, and
    otherwise `alerts.raised`."""
    if envelope.is_test:
        return "alerts.test"
    if {alert.kind for alert in envelope.alerts} == {RERUN_REQUESTED.name}:
        return "instance.rerun_requested"
    return "alerts.resolved" if envelope.text.resolves else "alerts.raised"


def _alert(alert: ToldAlert, envelope: Envelope) -> dict[str, Any]:
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
        "url": envelope.url_of(alert.path) if alert.path is not None else None,
        "data": dict(alert.data),
    }
