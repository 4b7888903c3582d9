"""Rate limits: how much, by whom, and what is left."""

import math
import time
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from starlette.types import Scope

from api.security.principal import Principal
from config.settings import Settings
from domain.errors import RateLimited

WINDOW_SECONDS: Final = 60

PAGES_PER_MINUTE: Final = 60
"""Looks at one approval's page, by each of its visitors."""

QUOTA: Final = "pingpulse.quota"
"""Where a request's scope holds its Quota, for the middleware to put into the response's headers."""


class Quota(NamedTuple):
    """What is left of a window; `reset` is in seconds from now, rounded up."""

    limit: int
    remaining: int
    reset: int


class Limiter:
    """Counts in fixed windows of a minute that begin with a caller's first request.

    In memory: each gateway process counts for itself, so that N processes let through up to N times as much.
    """

    def __init__(self, settings: Settings) -> None:
        self._pings = Windows(settings.pings_per_minute)
        self._requests = Windows(settings.requests_per_minute)
        self._logins = Windows(settings.failed_logins_per_minute)
        self._letters = Windows(settings.letters_per_minute)
        self._pages = Windows(PAGES_PER_MINUTE)

    def hit_ping(self, scope: Scope, principal: Principal) -> None:
        """Counts a ping. Raises RateLimited beyond the key's quota."""
        self._hit(scope, self._pings, principal.caller, "pings")

    def count_pings(self, scope: Scope, principal: Principal, count: int) -> None:
        """Counts so many pings of a request that was let through by `hit_ping`. Whoever is beyond the quota by them is
        told so at the next request: half of a request cannot be sent again."""
        if count > 0:
            now = time.time()
            times, ends = self._pings.hit(principal.caller, now, count)
            scope[QUOTA] = _quota(self._pings.limit, times, now, ends)

    def hit_request(self, scope: Scope, principal: Principal) -> None:
        """Counts a request to the JSON API. Raises RateLimited beyond the key's or user's quota."""
        self._hit(scope, self._requests, principal.caller, "requests")

    def hit_letters(self, scope: Scope, principal: Principal, count: int) -> None:
        """Counts so many letters of the account. Raises RateLimited beyond its quota, and then counts none of them:
        they are not sent, and a smaller request may still have room."""
        try:
            self._hit(scope, self._letters, principal.account_id, "letters to approvers", count)
        except RateLimited:
            self._letters.take_back(principal.account_id, count)
            raise

    def hit_page(self, scope: Scope, page: str, visitor: str | None) -> None:
        """Counts a request for a page that keeps a record of it. An unknown visitor is counted by address. Raises
        RateLimited."""
        self._hit(scope, self._pages, f"{visitor or _network(scope)} {page}", "requests for this page")

    def hit_login(self, scope: Scope, email: str) -> None:
        """Counts an attempt to log in as if it failed. Raises RateLimited beyond the e-mail's or address's quota.

        Counted before the password is checked, so that attempts made at the same time are all counted; see
        `forgive_login`.
        """
        self._hit(scope, self._logins, f"address:{_network(scope)}", "failed logins")
        self._hit(scope, self._logins, f"email:{email}", "failed logins")

    def forgive_login(self, scope: Scope, email: str) -> None:
        """Takes back this one attempt, which did not fail. Earlier failures stay counted: a login resets nothing."""
        for caller in (f"address:{_network(scope)}", f"email:{email}"):
            self._logins.take_back(caller)

    def _hit(self, scope: Scope, windows: "Windows", caller: str, what: str, times: int = 1) -> None:
        now = time.time()
        count, ends = windows.hit(caller, now, times)
        scope[QUOTA] = quota = _quota(windows.limit, count, now, ends)
        if count > windows.limit:
            raise RateLimited(
                f"More than {quota.limit} {what} a minute. Try again in {quota.reset} s.", retry_after=quota.reset
            )


def _quota(limit: int, count: int, now: float, ends: float) -> Quota:
    return Quota(limit, max(0, limit - count), max(1, math.ceil(ends - now)))


class Windows:
    """How often each caller came in its present window, for use from one event loop. `limit` is for whom asks.

    Our own, because this is on the path of every ping: the library `limits` takes 4 µs a hit, and its storage in
    memory starts a thread for many of them.
    """

    _SWEEP_AT: Final = 1000

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self._windows: dict[str, tuple[int, float]] = {}
        self._sweep_at = self._SWEEP_AT

    def hit(self, caller: str, now: float, times: int = 1) -> tuple[int, float]:
        """Counts; the count and the time, in seconds since the epoch, at which the window ends."""
        count, ends = self._windows.get(caller, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + WINDOW_SECONDS
            if len(self._windows) >= self._sweep_at:
                self._sweep(now)
        window = self._windows[caller] = (count + times, ends)
        return window

    def take_back(self, caller: str, times: int = 1) -> None:
        """Uncounts. Never below zero: it may have been counted in the window before."""
        count, ends = self._windows.get(caller, (0, 0.0))
        if count:
            self._windows[caller] = (max(0, count - times), ends)

    def __len__(self) -> int:
        return len(self._windows)

    def _sweep(self, now: float) -> None:
        self._windows = {caller: window for caller, window in self._windows.items() if window[1] > now}
        self._sweep_at = max(self._SWEEP_AT, 2 * len(self._windows))


def _network(scope: Scope) -> str:
    """The caller's address; of an IPv6 one the network, because one caller commonly has all of a /64."""
    client = scope.get("client")
    if not client:
        return "unknown"
    try:
        address = ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return address.exploded[:19]
    return str(address)
