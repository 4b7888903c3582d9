"""The tokens of a login: a JWT in a cookie, and the CSRF token that goes with it."""

import hmac
from hashlib import sha256
from typing import Final

import jwt
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.responses import Response

from config.settings import Settings
from domain.errors import CsrfFailed
from storage.sessions import LoginSession
from storage.users import User

SESSION_COOKIE: Final = "access_token"
CSRF_COOKIE: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"

MIN_SECRET_LENGTH: Final = 32
STEP_SECONDS: Final = 300
"""How long the second step of a login may take."""

_ALGORITHM = "HS256"


class SessionTokens:
    """Signs and checks. `secret` has at least 32 characters and is the same in every process, or logins end."""

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise ValueError(f"PINGPULSE_SECRET_KEY must have at least {MIN_SECRET_LENGTH} characters")
        self._secret = secret.encode()
        self._steps = URLSafeTimedSerializer(
            secret, salt="pingpulse second step", signer_kwargs={"digest_method": sha256}
        )

    def issue(self, login: LoginSession) -> str:
        # No `iat`: it would be refused by a process whose clock is a little behind.
        claims = {"sid": login.id, "sub": login.user_id, "exp": login.expires_at}
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def session_id(self, token: str) -> str | None:
        """The session that a token was issued for, or None if it is not ours, damaged or expired."""
        try:
            claims = jwt.decode(
                token, self._secret, algorithms=[_ALGORITHM], options={"require": ["sid", "sub", "exp"]}
            )
        except jwt.InvalidTokenError:
            return None
        session_id = claims["sid"]
        return session_id if isinstance(session_id, str) else None

    def step_token(self, user: User, *, by_link: bool) -> str:
        """Says that the user has taken the first step of a login: by a password, which this token outlives by no
        change, or by a one-time link."""
        token = self._steps.dumps([user.id, _mark(user), by_link])
        return token if isinstance(token, str) else token.decode()

    def read_step(self, token: str) -> tuple[str, bool] | None:
        """The user's id, and whether the first step was a link; None for a token that is not ours, or too old."""
        try:
            user_id, _, by_link = self._steps.loads(token, max_age=STEP_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        return str(user_id), bool(by_link)

    def is_step_of(self, token: str, user: User) -> bool:
        """Whether the user's password is still the one of the first step."""
        try:
            return hmac.compare_digest(str(self._steps.loads(token, max_age=STEP_SECONDS)[1]), _mark(user))
        except (BadData, LookupError):
            return False

    def csrf_token(self, session_id: str) -> str:
        # The prefix keeps these MACs apart from the JWT's, which are made with the same secret.
        return hmac.new(self._secret, f"csrf:{session_id}".encode(), "sha256").hexdigest()

    def check_csrf(self, session_id: str, sent: str | None) -> None:
        """Raises CsrfFailed unless `sent` is the session's CSRF token."""
        # As bytes, because compare_digest raises TypeError for text that is not ASCII.
        if not sent or not hmac.compare_digest(sent.encode(), self.csrf_token(session_id).encode()):
            raise CsrfFailed(
                f"A write with the session cookie needs the {CSRF_HEADER} header, "
                f"with the csrf_token that POST /api/login answered."
            )


def _mark(user: User) -> str:
    return sha256(f"second step:{user.password_hash}".encode()).hexdigest()


def set_session_cookies(response: Response, token: str, csrf_token: str, settings: Settings) -> None:
    max_age = settings.session_hours * 3600
    response.set_cookie(
        SESSION_COOKIE, token, max_age=max_age, httponly=True, samesite="lax", secure=settings.cookie_secure
    )
    # Scripts of our own pages read this one and send it back in the header; other sites' cannot.
    response.set_cookie(CSRF_COOKIE, csrf_token, max_age=max_age, samesite="lax", secure=settings.cookie_secure)


def clear_session_cookies(response: Response, settings: Settings) -> None:
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=settings.cookie_secure)
    response.delete_cookie(CSRF_COOKIE, samesite="lax", secure=settings.cookie_secure)
