"""Two-factor login of a user: codes of an authenticator app (TOTP), and recovery codes."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import SessionDep, SessionsDep, UserDep, VaultDep
from api.openapi import JSON_API_ERRORS, problems
from api.security import Principal
from api.security.auditing import note
from api.security.login import MAX_CODE, WRONG_CODE, WrongSecondFactor, check_code
from api.security.proving import prove_user
from config.clock import utc_now
from domain.accounts import MAX_PASSWORD_LENGTH
from domain.errors import Conflict, InvalidRequest, Unauthenticated
from domain.second_factors import setup_address
from storage.base import Sessions, transaction
from storage.second_factors import (
    SecondFactor,
    begin_setup,
    confirm_setup,
    remove_second_factor,
    renew_recovery_codes,
    second_factor_of,
)
from storage.users import User, lock_user

router = APIRouter(prefix="/api/second-factor", tags=["session"])

_WRONG: Final = InvalidRequest.of_field("code", "is wrong, or was used before; wait for the next one")
_NOT_ON: Final = Conflict("Two-factor login is not on.")


class SecondFactorView(BaseModel):
    is_on: bool
    since: datetime | None
    recovery_codes_left: int


class Proof(BaseModel):
    """The user's password."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field("", max_length=MAX_PASSWORD_LENGTH)


class FullProof(Proof):
    """The user's password, and a code: of the app or a recovery code."""

    code: str = Field(min_length=1, max_length=MAX_CODE)


class Code(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1, max_length=MAX_CODE, description="What the authenticator app shows.")


class SetupView(BaseModel):
    secret: str = Field(description="In base 32, for an app that takes no QR codes.")
    address: str = Field(description="The `otpauth://` address, which is what a QR code holds.")


class RecoveryCodesView(BaseModel):
    recovery_codes: list[str] = Field(description="Each logs in once, without the app. They are not shown again.")


@router.get("", responses=problems(*JSON_API_ERRORS))
async def read(session: SessionDep, principal: UserDep) -> SecondFactorView:
    """Whether one's logins ask for a code."""
    assert principal.user_id is not None
    factor = await second_factor_of(session, principal.user_id)
    if factor is None:
        return SecondFactorView(is_on=False, since=None, recovery_codes_left=0)
    return SecondFactorView(is_on=True, since=factor.confirmed_at, recovery_codes_left=len(factor.recovery_hashes))


@router.post("/setup", responses=problems(*JSON_API_ERRORS, Conflict("Two-factor login is on already.")))
async def set_up(
    body: Proof, request: Request, response: Response, sessions: SessionsDep, vault: VaultDep, principal: UserDep
) -> SetupView:
    """Begins: a secret for the app. It asks nobody for a code before it is confirmed with one."""
    proved = await prove_user(request, principal, body.password)
    async with transaction(sessions) as session:
        user = await _hold(session, proved)
        secret = await begin_setup(session, user.id, vault, utc_now())
    response.headers["Cache-Control"] = "no-store"
    return SetupView(secret=secret, address=setup_address(secret, user.email))


@router.post("/confirm", responses=problems(*JSON_API_ERRORS, _WRONG, Conflict("Nothing is being set up.")))
async def confirm(
    body: Code, request: Request, response: Response, sessions: SessionsDep, vault: VaultDep, principal: UserDep
) -> RecoveryCodesView:
    """Turns it on, with a first code of the app. After ten wrong ones it must be begun again."""
    assert principal.user_id is not None
    async with transaction(sessions) as session:
        codes = await confirm_setup(session, principal.user_id, body.code, vault, utc_now())
        if codes is not None:
            note(session, request, principal, "second_factor.on", f"user/{principal.user_id}")
    # Not inside: a wrong code is to be counted.
    if codes is None:
        raise InvalidRequest.of_field(
            "code", "does not fit; check that the phone's clock is right, and enter the code that is shown now"
        )
    response.headers["Cache-Control"] = "no-store"
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/recovery-codes", responses=problems(*JSON_API_ERRORS, WrongSecondFactor(WRONG_CODE), _NOT_ON))
async def renew(
    body: FullProof, request: Request, response: Response, sessions: SessionsDep, principal: UserDep
) -> RecoveryCodesView:
    """Ten new recovery codes. The earlier ones end."""
    proved = await prove_user(request, principal, body.password)
    codes, wrong = [], None
    async with transaction(sessions) as session:
        factor, wrong = await _check(session, request, proved, body.code)
        if wrong is None:
            codes = await renew_recovery_codes(session, factor)
            note(session, request, principal, "second_factor.recovery_codes_renewed", f"user/{proved.id}")
    if wrong is not None:
        raise wrong
    response.headers["Cache-Control"] = "no-store"
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/off", status_code=204, responses=problems(*JSON_API_ERRORS, WrongSecondFactor(WRONG_CODE), _NOT_ON))
async def turn_off(body: FullProof, request: Request, sessions: SessionsDep, principal: UserDep) -> None:
    """Turns it off, with the password and a code. An owner can do so for somebody who has lost the phone."""
    proved = await prove_user(request, principal, body.password)
    await turn_off_as(request, sessions, principal, proved, body.code)


async def turn_off_as(request: Request, sessions: Sessions, principal: Principal, proved: User, code: str) -> None:
    async with transaction(sessions) as session:
        _, wrong = await _check(session, request, proved, code)
        if wrong is None:
            await remove_second_factor(session, proved.id)
            note(session, request, principal, "second_factor.off", f"user/{proved.id}")
    if wrong is not None:
        raise wrong


async def _check(
    session: AsyncSession, request: Request, proved: User, code: str
) -> tuple[SecondFactor, WrongSecondFactor | None]:
    """Raises Conflict if it is not on."""
    user = await _hold(session, proved)
    factor = await second_factor_of(session, user.id, lock=True)
    if factor is None:
        raise _NOT_ON
    return factor, await check_code(session, request, user, factor, code)


async def _hold(session: AsyncSession, proved: User) -> User:
    """Raises Unauthenticated if the password was changed since it was proved."""
    user = await lock_user(session, proved.id)
    if user is None or user.password_hash != proved.password_hash:
        raise Unauthenticated("The password was changed meanwhile; log in again.")
    return user
