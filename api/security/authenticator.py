"""Tells who is asking, from an API key or a session's token."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Final

from api.security.principal import Principal
from api.security.sessions import SessionTokens
from config.clock import utc_now
from domain.errors import Unauthenticated
from domain.keys import HOW_TO_SEND_A_KEY, key_id_of
from storage.base import Sessions, transaction
from storage.keys import find_key, touch_key
from storage.sessions import SEEN_PRECISION, find_session, touch_session

CACHE_SECONDS: Final = 1.0
CACHE_SIZE: Final = 10_000

_NO_KEY = f"An API key is needed. {HOW_TO_SEND_A_KEY}."
_WRONG_KEY = "The API key is wrong or was revoked. List the account's keys with GET /api/keys."
_NO_SESSION = f"The session has ended; log in again. Or: {HOW_TO_SEND_A_KEY}."

Answers = dict[bytes, tuple[float, Principal | None]]


class Authenticator:
    """One per process.

    What a key was found to be is remembered for a second, so a busy key costs one query a second. A key revoked
    here ends at once (see `forget_key`), one revoked by another process within that second.
    """

    def __init__(self, sessions: Sessions, tokens: SessionTokens, clock: Callable[[], datetime] = utc_now) -> None:
        self.tokens: Final = tokens
        self._sessions = sessions
        self._clock = clock
        # By the key's SHA-256: plaintexts are not kept, and what the look-up compares tells nothing about them.
        # Good and bad answers are kept apart so that a flood of wrong keys does not push out the good ones.
        self._good: Answers = {}
        self._bad: Answers = {}
        self._lookups: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._forgotten = 0

    async def authenticate_key(self, key: str | None) -> Principal:
        """Raises Unauthenticated without a key, or with one that is malformed, unknown, wrong or revoked."""
        if not key:
            raise Unauthenticated(_NO_KEY)
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        answer = self._good.get(digest) or self._bad.get(digest)
        if answer is not None and answer[0] > monotonic():
            principal = answer[1]
        else:
            principal = await self._look_up(key, digest)
        if principal is None:
            raise Unauthenticated(_WRONG_KEY)
        return principal

    def forget_key(self, key_id: str) -> None:
        """Call this once a revocation is committed: from then on this process refuses the key."""
        self._forgotten += 1
        self._lookups.clear()  # whoever comes from now on must not wait for an answer older than the revocation
        for digest in [digest for digest, (_, who) in self._good.items() if who and who.key_id == key_id]:
            del self._good[digest]

    async def authenticate_session(self, token: str) -> Principal:
        """Raises Unauthenticated if the session is not ours, has expired or was revoked: asked of Postgres anew."""
        session_id = self.tokens.session_id(token)
        if session_id is None:
            raise Unauthenticated(_NO_SESSION)
        now = self._clock()
        async with self._sessions() as session:
            found = await find_session(session, session_id, now)
        if found is None:
            raise Unauthenticated(_NO_SESSION)
        login, user = found
        if login.seen_at <= now - SEEN_PRECISION:
            async with transaction(self._sessions) as session:
                await touch_session(session, login, now)
        return Principal(user.account_id, user.id, None, "full", user.role, login.id, user.email)

    async def _look_up(self, key: str, digest: bytes) -> Principal | None:
        if key_id_of(key) is None:
            return None
        # One query however many requests wait for it; shielded, because the request that began it may be cancelled.
        lookup = self._lookups.get(digest)
        if lookup is None:
            lookup = self._lookups[digest] = asyncio.create_task(self._verify(key, digest))
            lookup.add_done_callback(partial(self._looked_up, digest))
        return await asyncio.shield(lookup)

    def _looked_up(self, digest: bytes, lookup: asyncio.Task[Principal | None]) -> None:
        if self._lookups.get(digest) is lookup:
            del self._lookups[digest]
        if not lookup.cancelled():
            lookup.exception()  # those who wait raise it; without any left, asyncio would complain

    async def _verify(self, key: str, digest: bytes) -> Principal | None:
        forgotten = self._forgotten
        async with transaction(self._sessions) as session:
            found = await find_key(session, key)
            if found:
                await touch_key(session, found, self._clock())
        principal = Principal(found.account_id, None, found.id, found.scope, "member") if found else None
        if forgotten == self._forgotten:  # else this answer may be older than a revocation
            self._remember(digest, principal)
        return principal

    def _remember(self, digest: bytes, principal: Principal | None) -> None:
        answers, others = (self._good, self._bad) if principal else (self._bad, self._good)
        others.pop(digest, None)
        answers.pop(digest, None)  # so that the order of insertion stays the order of expiry
        if len(answers) >= CACHE_SIZE:
            del answers[next(iter(answers))]
        answers[digest] = (monotonic() + CACHE_SECONDS, principal)
