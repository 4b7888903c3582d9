"""`/settings/security`: one's own password, e-mail address, second factor and sessions. Viewers have those, too."""

import re
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.qr import qr
from api.dashboard.rendering import see
from api.dashboard.visitors import AnyFormDep, Visitor, VisitorDep
from api.deps import SessionsDep, VaultDep
from api.routes import second_factor, session, sessions
from api.routes.second_factor import Code, FullProof, Proof, SetupView
from api.routes.session import OwnChanges
from api.security.proving import needs_no_password
from domain.errors import DomainError, InvalidRequest
from domain.second_factors import in_groups, setup_address
from storage.base import Sessions, snapshot, transaction

router = APIRouter(include_in_schema=False)

_ADDRESS: Final = "/settings/security"
_DONE: Final = {
    "password": "Your password was changed. You are logged out everywhere else.",
    "email": "Your e-mail address was changed: log in with it from now on. You are logged out everywhere else.",
    "off": "Two-factor login is off. Logins ask for the password alone.",
    "ended": "That session has ended.",
    "others": "You are logged out everywhere else.",
}
_SECRET: Final = re.compile(r"[A-Z2-7]{16,64}", re.ASCII)


@router.get(_ADDRESS)
async def show_security(visitor: VisitorDep, database: SessionsDep) -> Response:
    return await _page(visitor, database)


@router.post(f"{_ADDRESS}/password")
async def change_password(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    try:
        if form.get("new_password") != form.get("again"):
            raise InvalidRequest.of_field("again", "is not the same password")
        values = {"password": form.get("password"), "new_password": form.get("new_password")}
        await session.change_me(build(OwnChanges, values), visitor.request, database, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=error, part="password")
    return see(f"{_ADDRESS}?done=password")


@router.post(f"{_ADDRESS}/email")
async def change_email(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    try:
        values = {"password": form.get("password"), "email": form.text("email") or ""}
        await session.change_me(build(OwnChanges, values), visitor.request, database, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=error, part="email", form=form)
    return see(f"{_ADDRESS}?done=email")


@router.post(f"{_ADDRESS}/two-factor/begin")
async def begin(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep, vault: VaultDep) -> Response:
    try:
        body = build(Proof, {"password": form.get("password")})
        setup = await second_factor.set_up(body, visitor.request, Response(), database, vault, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=error, part="two_factor")
    return _setup_page(visitor, setup)


@router.post(f"{_ADDRESS}/two-factor/confirm")
async def confirm(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep, vault: VaultDep) -> Response:
    try:
        body = build(Code, {"code": form.text("code") or ""})
        made = await second_factor.confirm(body, visitor.request, Response(), database, vault, visitor.principal)
    except InvalidRequest as error:
        # The secret is what the page has shown before: it is not told to whoever has not seen it.
        secret = form.get("secret")
        if not _SECRET.fullmatch(secret):
            return await _page(visitor, database, error=error, part="two_factor")
        return _setup_page(visitor, SetupView(secret=secret, address=setup_address(secret, visitor.user.email)), error)
    except DomainError as error:
        return await _page(visitor, database, error=error, part="two_factor")
    return _codes_page(visitor, made.recovery_codes, is_new=True)


@router.post(f"{_ADDRESS}/two-factor/codes")
async def renew_codes(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    try:
        body = build(FullProof, {"password": form.get("password"), "code": form.text("code") or ""})
        made = await second_factor.renew(body, visitor.request, Response(), database, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=_shown(error), part="codes")
    return _codes_page(visitor, made.recovery_codes, is_new=False)


@router.post(f"{_ADDRESS}/two-factor/off")
async def turn_off(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    try:
        body = build(FullProof, {"password": form.get("password"), "code": form.text("code") or ""})
        await second_factor.turn_off(body, visitor.request, database, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=_shown(error), part="off")
    return see(f"{_ADDRESS}?done=off")


@router.post(f"{_ADDRESS}/sessions/end-others")
async def end_others(visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    async with transaction(database) as opened:
        await sessions.end_others(visitor.request, opened, visitor.principal)
    return see(f"{_ADDRESS}?done=others")


@router.post(f"{_ADDRESS}/sessions/{{session_id}}/end")
async def end_one(session_id: str, visitor: VisitorDep, form: AnyFormDep, database: SessionsDep) -> Response:
    try:
        async with transaction(database) as opened:
            await sessions.end_one(session_id, visitor.request, opened, visitor.principal)
    except DomainError as error:
        return await _page(visitor, database, error=error)
    return see(f"{_ADDRESS}?done=ended")


def _shown(error: DomainError) -> DomainError:
    """A wrong code is no reason to log in again, which is what browsers take a 401 for."""
    return InvalidRequest.of_field("code", "is wrong, or was used before") if error.status == 401 else error


async def _page(
    visitor: Visitor,
    database: Sessions,
    *,
    error: DomainError | None = None,
    form: Form | None = None,
    part: str = "",
) -> Response:
    """`part` is the form that the error belongs to: several have a field for the password."""
    async with snapshot(database) as opened:
        logins = await sessions.list_own(opened, visitor.principal)
        factor = await second_factor.read(opened, visitor.principal)
    return visitor.page(
        "settings/security.html",
        section="settings",
        done=_DONE,
        error=error,
        form=form,
        part=part,
        sessions=logins.sessions,
        factor=factor,
        is_proved=await needs_no_password(visitor.request, visitor.principal),
    )


def _setup_page(visitor: Visitor, setup: SetupView, error: DomainError | None = None) -> Response:
    return visitor.page(
        "settings/two_factor.html",
        section="settings",
        error=error,
        secret=setup.secret,
        grouped=in_groups(setup.secret),
        picture=qr(setup.address, "QR code for your authenticator app; the key below says the same"),
    )


def _codes_page(visitor: Visitor, codes: list[str], *, is_new: bool) -> Response:
    return visitor.page("settings/recovery_codes.html", section="settings", codes=codes, is_new=is_new)
