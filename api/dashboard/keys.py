"""`/settings/keys`: the API keys of the account."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import AuthenticatorDep, SessionsDep
from api.routes import keys
from api.routes.keys import CreatedKeyView, NewKey
from domain.errors import DomainError
from storage.base import Sessions, snapshot, transaction
from storage.keys import name_keys

router = APIRouter(include_in_schema=False)

_KEY: Final = "api-key:"
_DONE: Final = {"revoked": "The key was revoked. Whatever still uses it is refused."}
SCOPES: Final = (
    ("ping", "Ping", "For jobs and agents: sends pings, reads trees, asks for approvals."),
    ("full", "Full", "For programs that set things up, too: may do what a member may."),
)


@router.get("/settings/keys")
async def show_keys(visitor: VisitorDep, sessions: SessionsDep) -> Response:
    return await _page(visitor, sessions)


@router.post("/settings/keys")
async def create(visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(NewKey, {"name": form.text("name") or "", "scope": form.get("scope", "ping")})
        async with transaction(sessions) as session:
            created = await keys.create(body, visitor.request, Response(), session, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, form=form, error=error)
    return await _page(visitor, sessions, created=created)


@router.post("/settings/keys/{key_id}/revoke")
async def revoke(
    key_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, authenticator: AuthenticatorDep
) -> Response:
    try:
        await keys.revoke(key_id, visitor.request, sessions, authenticator, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return see("/settings/keys?done=revoked")


async def _page(
    visitor: Visitor,
    sessions: Sessions,
    *,
    form: Form | None = None,
    error: DomainError | None = None,
    created: CreatedKeyView | None = None,
) -> Response:
    """`created` is a key that is shown this once."""
    async with snapshot(sessions) as session:
        found = (await keys.list_all(session, visitor.principal)).keys
        makers = {key.created_by.removeprefix(_KEY) for key in found if key.created_by is not None}
        names = await name_keys(session, visitor.account.id, makers)
    return visitor.page(
        "settings/keys.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        keys=[key for key in found if key.revoked_at is None],
        revoked=[key for key in found if key.revoked_at is not None],
        names=names,
        created=created,
        scopes=SCOPES,
    )
