"""PagerDuty's Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview"""

import hashlib
from collections import OrderedDict
from typing import Any, Final

from activities.outgoing import Outgoing, parse_url
from activities.senders.base import Envelope, Receipt, Sender, Undeliverable
from activities.senders.wording import one_line, post_json, stamp
from domain.messages import ToldAlert

EVENTS_URL: Final = "https://events.pagerduty.com/v2/enqueue"
MAX_DEDUP_KEY: Final = 255
MAX_SUMMARY: Final = 1024
_REMEMBERED_MESSAGES: Final = 1000


def pagerduty_sender(outgoing: Outgoing, events_url: str = EVENTS_URL) -> Sender:
    """The channel's address is a routing key, or a URL with one: `https://events.eu.pagerduty.com/v2/enqueue?
    routing_key=…` for the service region EU.

    A message is one event for each trouble. A repeated attempt leaves out what PagerDuty took at the last one: it
    takes only so many events a minute, and a message with more would never come to its end.
    """
    taken: OrderedDict[str, set[str]] = OrderedDict()

    async def send(envelope: Envelope) -> Receipt:
        url, routing_key = destination(envelope.address, events_url)
        done = taken.setdefault(envelope.message_id, set())
        if len(taken) > _REMEMBERED_MESSAGES:
            taken.popitem(last=False)
        receipt, refusal = Receipt(detail="Everything was taken before."), None
        for event in pagerduty_events(envelope, routing_key):
            if event["dedup_key"] in done:
                continue
            try:
                receipt = await post_json(outgoing, url, event)
            except Undeliverable as error:
                refusal = error  # the others may still be taken
            else:
                done.add(event["dedup_key"])
        taken.pop(envelope.message_id, None)
        if refusal is not None:
            raise refusal
        return receipt

    return send


def destination(address: str, events_url: str = EVENTS_URL) -> tuple[str, str]:
    """Where to post, and the routing key. Raises Undeliverable."""
    if "://" not in address:
        return events_url, address
    url = parse_url(address)
    routing_key = url.params.get("routing_key")
    if not routing_key:
        raise Undeliverable("The address has no routing_key: add ?routing_key=… to it.")
    return str(url.copy_remove_param("routing_key")), routing_key


def pagerduty_events(envelope: Envelope, routing_key: str) -> list[dict[str, Any]]:
    """One for each trouble, in the order in which they began; its latest alert says how it stands."""
    latest: dict[str, ToldAlert] = {}
    for alert in sorted(envelope.alerts, key=lambda alert: alert.at):
        latest[alert.trouble] = alert
    return [_event(alert, envelope, routing_key) for alert in latest.values()]


def _event(alert: ToldAlert, envelope: Envelope, routing_key: str) -> dict[str, Any]:
    return {
        "routing_key": routing_key,
        "event_action": "resolve" if alert.resolves else "trigger",
        "dedup_key": dedup_key(alert.trouble),
        "client": "PingPulse",
        "client_url": envelope.base_url,
        "links": [*_page(alert, envelope), {"href": envelope.base_url, "text": "PingPulse"}],
        "payload": {
            "summary": one_line(alert.title, MAX_SUMMARY) or alert.kind,
            "source": alert.name or alert.source,
            "severity": alert.severity.value,
            "timestamp": stamp(alert.at),
            "component": alert.name,
            "group": alert.source,
            "class": alert.kind,
            "custom_details": {
                "subject": alert.subject,
                "reason": alert.reason,
                "tags": list(alert.tags),
                "alert_id": alert.id,
                **alert.data,
            },
        },
    }


def _page(alert: ToldAlert, envelope: Envelope) -> list[dict[str, str]]:
    """Where somebody can do something about it, if it has not ended."""
    if alert.path is None or alert.resolves:
        return []
    return [{"href": envelope.url_of(alert.path), "text": f"Open {one_line(alert.name, 60) or 'its page'}"}]


def dedup_key(trouble: str) -> str:
    """The trouble itself, or its hash where it is too long."""
    if len(trouble) <= MAX_DEDUP_KEY:
        return trouble
    return hashlib.sha256(trouble.encode()).hexdigest()
