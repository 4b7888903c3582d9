"""Envelopes to send."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.senders.base import Envelope
from domain.alerts import Severity
from domain.messages import MessageText, ToldAlert

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
    text = MessageText(headline or alerts[0].title, lines, gravest, all(one.resolves for one in alerts))
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
