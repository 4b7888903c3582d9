"""Envelopes and letters to send."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.senders.base import Envelope
from domain.alerts import Severity
from domain.messages import Link, MessageText, ToldAlert
from storage.letters import Letter
from storage.messages import Message
from tests.support.approvals import new_approval

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NASTY = "<!channel> @everyone & load_daily_sales **now** <script>alert(1)</script>"


def alert(number: int = 1, **changes: Any) -> ToldAlert:
    told = ToldAlert(
        id=f"al_{number}",
        kind="pulse_down",
        severity=Severity.CRITICAL,
        resolves=False,
        source=f"pulse/p{number}",
        subject=f"pulse/p{number}",
        name=f"backup {number}",
        title=f"backup {number} is down",
        trouble=f"pulse/p{number}/down/1",
        at=NOON + timedelta(seconds=number),
        reason="No ping came.",
        tags=("db",),
        data={"expected_at": NOON.isoformat()},
    )
    return replace(told, **changes)


def envelope(address: str, *alerts: ToldAlert, headline: str | None = None, **changes: Any) -> Envelope:
    alerts = alerts or (alert(),)
    gravest = max(alerts, key=lambda one: one.severity.rank).severity
    lines = tuple(f"{one.title}: {one.reason}" for one in alerts)
    links = tuple(Link(f"Open {one.name}", one.path) for one in alerts if one.path is not None)
    text = MessageText(headline or alerts[0].title, lines, gravest, all(one.resolves for one in alerts), links)
    made = Envelope(
        message_id="msg_1",
        account_id="acc_1",
        channel_name="ops",
        address=address,
        text=text,
        alerts=alerts,
        created_at=NOON,
        base_url="https://pings.example.com",
    )
    return replace(made, **changes)


def letter(topic: str = "request", recipient: str | None = "ada@example.com", **changes: Any) -> Letter:
    """About an approval with `changes`, asked for at noon; or about that `approval`, after those `votes`."""
    approval = changes.pop("approval", None)
    votes, code, superseded = changes.pop("votes", ()), changes.pop("code", None), changes.pop("is_superseded", False)
    status = changes.pop("status", "pending")
    if approval is None:
        approval = new_approval("acc_1", now=NOON, **changes)
        approval.status = status
    message = Message(
        id="msg_1",
        account_id="acc_1",
        approval_id=approval.id,
        topic=topic,
        recipient=recipient,
        state="pending",
        created_at=NOON,
    )
    return Letter(message, approval, votes, code, superseded)
