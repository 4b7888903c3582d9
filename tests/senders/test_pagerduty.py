"""PagerDuty: one event for each trouble, opened and closed by the same key."""

import pytest

from activities.outgoing import Outgoing
from activities.senders.base import TryLater, Undeliverable
from activities.senders.pagerduty import dedup_key, pagerduty_events, pagerduty_sender
from domain.alerts import Severity
from tests.senders.builders import NASTY, alert, envelope
from tests.senders.conftest import outcome
from tests.senders.shapes import PAGERDUTY, check
from tests.support.receivers import Answer, HttpReceiver

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "told",
    [
        alert(),
        alert(title="x" * 5000, name=NASTY, severity=Severity.WARNING),
        alert(trouble="t" * 1000, reason=None, tags=(), data={}),
        alert(resolves=True, severity=Severity.INFO),
    ],
)
def test_it_gets_what_it_documents(told: object) -> None:
    [event] = pagerduty_events(envelope(KEY, told), KEY)  # type: ignore[arg-type]
    check(event, PAGERDUTY)


def test_trouble_and_its_end_share_a_key() -> None:
    down, up = alert(), alert(kind="pulse_recovered", resolves=True, severity=Severity.INFO)
    [opened], [closed] = pagerduty_events(envelope(KEY, down), KEY), pagerduty_events(envelope(KEY, up), KEY)
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"] == down.trouble
    assert opened["payload"]["severity"] == "critical"
    assert opened["payload"]["custom_details"]["expected_at"]


def test_of_a_trouble_the_latest_alert_counts() -> None:
    down, up, other = alert(1), alert(3, trouble=alert(1).trouble, resolves=True), alert(2)
    events = pagerduty_events(envelope(KEY, up, other, down), KEY)
    assert [(event["dedup_key"], event["event_action"]) for event in events] == [
        (down.trouble, "resolve"),
        (other.trouble, "trigger"),
    ]


def test_a_key_that_is_too_long_becomes_its_hash() -> None:
    assert dedup_key("t" * 255) == "t" * 255
    assert len(dedup_key("t" * 256)) == 64
    assert dedup_key("t" * 256) != dedup_key("t" * 257)


async def test_a_routing_key_goes_to_the_service(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(202)]
    await pagerduty_sender(outgoing, receiver.url("/v2/enqueue"))(envelope(KEY, alert(1), alert(2)))
    assert [request.target for request in receiver.received] == ["/v2/enqueue"] * 2
    for request in receiver.received:
        check(request.json, PAGERDUTY)
        assert request.json["routing_key"] == KEY


async def test_a_url_names_another_region(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    await pagerduty_sender(outgoing)(envelope(receiver.url(f"/v2/enqueue?routing_key={KEY}")))
    [request] = receiver.received
    assert request.target == "/v2/enqueue"
    assert request.json["routing_key"] == KEY
    assert isinstance(await outcome(pagerduty_sender(outgoing)(envelope(receiver.url("/v2/enqueue")))), Undeliverable)


async def test_a_repeated_attempt_leaves_out_what_was_taken(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    send = pagerduty_sender(outgoing, receiver.url())
    storm = envelope(KEY, *(alert(number) for number in range(1, 6)))
    receiver.answers = [Answer(202), Answer(202), Answer(429, {"Retry-After": "60"}), Answer(202)]
    limited = await outcome(send(storm))
    assert isinstance(limited, TryLater)
    assert limited.retry_after == 60
    await send(storm)
    troubles = [request.json["dedup_key"] for request in receiver.received]
    assert troubles == [alert(number).trouble for number in (1, 2, 3, 3, 4, 5)]


async def test_one_refused_event_does_not_hold_up_the_others(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(400, body=b'{"status":"invalid event"}'), Answer(202)]
    refused = await outcome(pagerduty_sender(outgoing, receiver.url())(envelope(KEY, alert(1), alert(2), alert(3))))
    assert isinstance(refused, Undeliverable)
    assert refused.status_code == 400
    assert len(receiver.received) == 3
