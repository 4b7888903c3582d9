"""Pricing pings as they come in."""

import asyncio
from functools import partial
from time import monotonic
from typing import Final

from domain.costs import Cost, Terms, cost_of
from domain.prices import load_table
from storage.base import Sessions, snapshot
from storage.prices import load_terms
from storage.rows import NewPing

CACHE_SECONDS: Final = 3.0
CACHE_SIZE: Final = 10_000


class Pricing:
    """One per process.

    Prices and time zone of an account are remembered for seconds, so a busy account costs a query every three seconds.
    Prices set here count at once (see `forget`), those set by another process within that time.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: dict[str, tuple[float, Terms]] = {}
        self._lookups: dict[str, asyncio.Task[Terms]] = {}
        self._forgotten = 0

    @staticmethod
    async def load() -> None:
        """Reads the table of prices, which would stop the loop for a quarter of a second or more."""
        await asyncio.to_thread(load_table)

    async def cost_of(self, ping: NewPing) -> Cost | None:
        """Raises what the driver raises if Postgres does not answer."""
        if not ping.report.tells_costs:
            return None
        known = self._known.get(ping.account_id)
        terms = known[1] if known is not None and known[0] > monotonic() else await self._look_up(ping.account_id)
        return cost_of(ping.report, ping.request.fact.at, terms)

    def forget(self, account_id: str) -> None:
        """Call this once changed prices are committed."""
        self._forgotten += 1
        self._lookups.clear()  # whoever comes from now on must not wait for an answer older than the change
        self._known.pop(account_id, None)

    async def _look_up(self, account_id: str) -> Terms:
        # One query however many pings wait for it; shielded, because the request that began it may be cancelled.
        lookup = self._lookups.get(account_id)
        if lookup is None:
            lookup = self._lookups[account_id] = asyncio.create_task(self._load(account_id))
            lookup.add_done_callback(partial(self._looked_up, account_id))
        return await asyncio.shield(lookup)

    def _looked_up(self, account_id: str, lookup: asyncio.Task[Terms]) -> None:
        if self._lookups.get(account_id) is lookup:
            del self._lookups[account_id]
        if not lookup.cancelled():
            lookup.exception()  # those who wait raise it; without any left, asyncio would complain

    async def _load(self, account_id: str) -> Terms:
        forgotten = self._forgotten
        async with snapshot(self._sessions) as session:
            terms = await load_terms(session, account_id)
        if forgotten == self._forgotten:  # else this answer may be older than a change
            self._known.pop(account_id, None)  # so that the order of insertion stays the order of expiry
            if len(self._known) >= CACHE_SIZE:
                del self._known[next(iter(self._known))]
            self._known[account_id] = (monotonic() + CACHE_SECONDS, terms)
        return terms
