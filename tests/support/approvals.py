"""Approvals without the API: rows as a request makes them."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from config.clock import utc_now
from domain.approvals import Ballot, Decision, Via, Voter, new_approval_id
from domain.subjects import approval_subject
from storage.approvals import Approval
from storage.base import Sessions, transaction
from storage.deciding import open_approval
from storage.gateways import Life, register_gateway

AGENT = Voter("api-key:agent", Via.KEY, "api-key:agent")
"""Who asks."""


def new_approval(
    account_id: str, *, now: datetime | None = None, timeout: float | None = 300.0, **values: Any
) -> Approval:
    """One that ada is asked for, and that is denied after `timeout` seconds; `escalate_after` is in seconds too."""
    now, approval_id = now or utc_now(), new_approval_id()
    escalate_after = values.pop("escalate_after", None)
    usual: dict[str, Any] = {
        "title": None,
        "context": "Publish the report",
        "choices": [],
        "requested_by": "deploy bot",
        "requesters": ["deploy bot", "api-key:agent"],
        "approvers": ["ada@example.com"],
        "quorum": 1,
        "veto": False,
        "forbid_self": False,
        "confirm": "link",
        "timeout_action": "deny",
        "reminders": [],
        "escalate_to": [],
        "source": approval_subject(approval_id),
        "request_hash": b"",
    }
    return Approval(
        id=approval_id,
        account_id=account_id,
        created_at=now,
        changed_at=now,
        status="pending",
        timeout_seconds=timeout,
        escalate_after_seconds=escalate_after,
        expires_at=now + timedelta(seconds=timeout) if timeout is not None else None,
        escalate_at=now + timedelta(seconds=escalate_after) if escalate_after is not None else None,
        **(usual | values),
    )


async def ask(sessions: Sessions, account_id: str, **values: Any) -> Approval:
    """An approval that is open, as `new_approval` makes it. Nobody follows it yet."""
    approval = new_approval(account_id, **values)
    async with transaction(sessions) as session:
        await open_approval(session, approval, AGENT)
    return approval


async def gateway_lives(sessions: Sessions, since: datetime, until: datetime) -> None:
    """That somebody could take votes meanwhile: deadlines move by all other times."""
    async with transaction(sessions) as session:
        gateway = await register_gateway(session, host="test", process_id=1, now=since)
        await session.flush()
        lived = update(Life).where(Life.gateway_id == gateway).values(began_at=since, seen_at=until)
        await session.execute(lived)


def by_link(name: str) -> Voter:
    return Voter(name, Via.LINK, address="127.0.0.1", agent="Browser/1")


def approve(**values: Any) -> Ballot:
    return Ballot(Decision.APPROVE, **values)


def deny(**values: Any) -> Ballot:
    return Ballot(Decision.DENY, **values)
