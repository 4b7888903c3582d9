"""API keys of an account."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import AuthenticatorDep, PrincipalDep, SessionDep, SessionsDep, Text
from api.openapi import JSON_API_ERRORS, problems
from api.security import ensure_owner
from api.security.auditing import note
from config.clock import utc_now
from domain.errors import NotFound
from domain.keys import KeyScope
from storage.base import transaction
from storage.keys import create_key, get_key, list_keys, revoke_key

router = APIRouter(prefix="/api/keys", tags=["keys"])


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=100, description="Where it is used.")]
    scope: KeyScope = Field("ping", description="`ping` may ping, read trees and ask for approvals, `full` all.")


class KeyView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    scope: KeyScope
    created_at: datetime
    created_by: str | None = Field(
        description="A user, `api-key:<id>`, or `pingpulse` for the command line; null if it is not known."
    )
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class CreatedKeyView(KeyView):
    key: str = Field(description="The key itself. Keep it: it is not shown again.")


class KeyList(BaseModel):
    keys: list[KeyView]


@router.post("", status_code=201, responses=problems(*JSON_API_ERRORS))
async def create(
    body: NewKey, request: Request, response: Response, session: SessionDep, principal: PrincipalDep
) -> CreatedKeyView:
    """A new key for the account."""
    key, plaintext = await create_key(
        session, principal.account_id, body.name, body.scope, utc_now(), created_by=principal.who
    )
    note(session, request, principal, "key.created", f"key/{key.id}", name=key.name, scope=key.scope)
    response.headers["Cache-Control"] = "no-store"
    return CreatedKeyView(**KeyView.model_validate(key).model_dump(), key=plaintext)


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(session: SessionDep, principal: PrincipalDep) -> KeyList:
    """The account's keys without their secrets, the newest first."""
    return KeyList(keys=[KeyView.model_validate(key) for key in await list_keys(session, principal.account_id)])


@router.delete(
    "/{key_id}",
    status_code=204,
    responses=problems(*JSON_API_ERRORS, NotFound("There is no API key with this id.")),
)
async def revoke(
    key_id: str, request: Request, sessions: SessionsDep, authenticator: AuthenticatorDep, principal: PrincipalDep
) -> None:
    """Ends a key for good."""
    async with transaction(sessions) as session:
        key = await get_key(session, key_id)
        ensure_owner(principal, key.account_id)
        if key.revoked_at is None:
            note(session, request, principal, "key.revoked", f"key/{key_id}", name=key.name)
        await revoke_key(session, key_id, utc_now())
    authenticator.forget_key(key_id)
