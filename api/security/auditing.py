"""Entries in the account's audit trail, of whoever makes a request."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from api.security.principal import Principal
from config.clock import utc_now
from storage import account_audit


def address_of(request: Request) -> str | None:
    return request.client.host if request.client is not None else None


def agent_of(request: Request) -> str | None:
    return request.headers.get("user-agent")


def note(
    session: AsyncSession, request: Request, principal: Principal, action: str, subject: str | None, **details: Any
) -> None:
    """Call it in the transaction of the change. `action` is one of `domain.audit`; details that are None are left
    out."""
    note_as(session, request, principal.account_id, principal.who, action, subject, **details)


def note_as(
    session: AsyncSession, request: Request, account_id: str, who: str, action: str, subject: str | None, **details: Any
) -> None:
    """As `note`, for somebody who is only just logging in."""
    account_audit.note(
        session,
        account_id,
        who,
        action,
        subject,
        {name: value for name, value in details.items() if value is not None},
        at=utc_now(),
        address=address_of(request),
        agent=agent_of(request),
    )
