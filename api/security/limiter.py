"""Rate limits: how much, by whom, and what is left."""

import math
import time
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import Scope

from api.security.principal import Principal
from config.settings import Settings
from domain.errors import RateLimited

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
        self._limits = FixedWindowRateLimiter(Windows())
        self._pings = RateLimitItemPerMinute(settings.pings_per_minute, namespace="pings")
        self._requests = RateLimitItemPerMinute(settings.requests_per_minute, namespace="requests")
        self._logins = RateLimitItemPerMinute(settings.failed_logins_per_minute, namespace="logins")

    def hit_ping(self, scope: Scope, principal: Principal) -> None:
        """Counts a ping. Raises RateLimited beyond the key's quota."""
        self._hit(scope, self._pings, principal.caller, "pings")

    def hit_request(self, scope: Scope, principal: Principal) -> None:
        """Counts a request to the JSON API. Raises RateLimited beyond the key's or user's quota."""
        self._hit(scope, self._requests, principal.caller, "requests")

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
            self._limits.hit(self._logins, caller, cost=-1)

    def _hit(self, scope: Scope, limit: RateLimitItemPerMinute, caller: str, what: str) -> None:
        allowed = self._limits.hit(limit, caller)
        reset_time, remaining = self._limits.get_window_stats(limit, caller)
        quota = Quota(limit.amount, remaining, max(1, math.ceil(reset_time - time.time())))
        scope[QUOTA] = quota
        if not allowed:
            raise RateLimited(
                f"More than {quota.limit} {what} a minute. Try again in {quota.reset} s.", retry_after=quota.reset
            )


class Windows(Storage):
    """Counters for `limits`, for use from one event loop.

    Its own in-memory storage starts a timer thread with the first hit after every 10 ms: 200 µs on the path of
    a ping, and threads left when the process ends. This one forgets old windows while it counts.
    """

    STORAGE_SCHEME = None
    _SWEEP_AT: Final = 1000

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[str, tuple[int, float]] = {}
        self._sweep_at = self._SWEEP_AT

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.time()
        count, ends = self._windows.get(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + expiry
            if len(self._windows) >= self._sweep_at:
                self._sweep(now)
        # Never below zero: a hit taken back may have been counted in the window before.
        count = max(0, count + amount)
        self._windows[key] = (count, ends)
        return count

    def get(self, key: str) -> int:
        count, ends = self._windows.get(key, (0, 0.0))
        return count if ends > time.time() else 0

    def get_expiry(self, key: str) -> float:
        return self._windows.get(key, (0, time.time()))[1]

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)

    def reset(self) -> int:
        count = len(self._windows)
        self._windows.clear()
        return count

    def check(self) -> bool:
        return True

    def _sweep(self, now: float) -> None:
        self._windows = {key: window for key, window in self._windows.items() if window[1] > now}
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
