"""One approval in Postgres, and what happens to it at times of our choice."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from domain.approvals import TIMEOUT, Ballot, Vote, Voter, standing_at
from domain.letters import LetterTopic
from storage import deciding
from storage.alerts import AlertRow
from storage.approval_audit import list_entries, tampering
from storage.approvals import Approval, get_approval, list_votes
from storage.base import Sessions, transaction
from storage.messages import Message
from storage.transitions import list_transitions
from tests.support.approvals import AGENT, approve, ask, by_link, gateway_lives

PEOPLE = ("ada@example.com", "bob@example.com", "carol@example.com")
ADA, BOB, CAROL = PEOPLE
DEADLINE = 300.0


@dataclass(frozen=True)
class Case:
    """An approval, and what happens to it: so many seconds after it was asked for."""

    sessions: Sessions
    approval: Approval

    @property
    def id(self) -> str:
        return self.approval.id

    def at(self, second: float) -> datetime:
        return self.approval.created_at + timedelta(seconds=second)

    async def vote(self, name: str, second: float, ballot: Ballot | None = None, voter: Voter | None = None) -> None:
        async with transaction(self.sessions) as session:
            who = voter or by_link(name)
            await deciding.vote(session, self.id, who, ballot or approve(), self.at(second))

    async def cancel(self, second: float, notes: str | None = None) -> None:
        async with transaction(self.sessions) as session:
            await deciding.cancel(session, self.id, AGENT, notes, self.at(second))

    async def follow(self, second: float, clock: float | None = None) -> None:
        """`second` is by the workflow's clock, `clock` by that of its worker."""
        async with transaction(self.sessions) as session:
            now = self.at(clock if clock is not None else second)
            assert await deciding.follow(session, self.id, self.at(second), now) is not None

    async def row(self) -> Approval:
        async with self.sessions() as session:
            approval = await get_approval(session, self.id)
            assert approval is not None
            return approval

    async def votes(self) -> list[Vote]:
        async with self.sessions() as session:
            return [vote.vote() for vote in (await list_votes(session, [self.id]))[self.id]]

    async def status(self) -> str:
        return (await self.row()).status

    async def transitions(self) -> list[tuple[str, float]]:
        async with self.sessions() as session:
            rows = await list_transitions(session, self.approval.subject)
        return [(row.after, (row.at - self.at(0)).total_seconds()) for row in rows]

    async def alerts(self) -> list[str]:
        query = select(AlertRow).where(AlertRow.subject == self.approval.subject).order_by(AlertRow.at, AlertRow.id)
        async with self.sessions() as session:
            rows = (await session.scalars(query)).all()
        assert [row.repeats for row in rows] == [0] * len(rows)
        return [row.kind.removeprefix("approval_") for row in rows]

    async def letters(self, topic: LetterTopic) -> list[str | None]:
        """To whom; of the callback, None."""
        query = select(Message.recipient).where(Message.approval_id == self.id, Message.topic == topic.value)
        async with self.sessions() as session:
            return sorted((await session.scalars(query)).all(), key=str)

    async def audit(self) -> list[dict[str, Any]]:
        async with self.sessions() as session:
            entries = await list_entries(session, self.id)
            votes = (await list_votes(session, [self.id]))[self.id]
        assert tampering(await self.row(), votes, entries) is None
        return [entry.fields() for entry in entries]

    async def events(self) -> list[str]:
        return [entry["event"] for entry in await self.audit()]

    async def check_ended(self) -> Approval:
        """It has one outcome, told once everywhere, and is what the fold of its votes says; returns it."""
        row = await self.row()
        outcome = row.outcome()
        assert outcome is not None
        second = (outcome.at - self.at(0)).total_seconds()
        assert await self.transitions() == [("pending", 0), (row.status, second)]
        ends = [kind for kind in await self.alerts() if kind in ("decided", "expired")]
        assert ends == ["expired" if row.decided_by == "timeout" else "decided"]
        assert await self.letters(LetterTopic.CALLBACK) == [None]
        events = Counter(await self.events())
        assert events["decided"] + events["cancelled"] == 1
        votes = await self.votes()
        assert events["voted"] == len(votes)
        if row.status != "cancelled":
            folded = standing_at(row.terms(), votes, outcome.at)
            if folded.outcome is not None and folded.outcome.decided_by == TIMEOUT:
                # What silence approves are the values that were there.
                folded = replace(folded, outcome=replace(folded.outcome, response=outcome.response))
            assert folded == row.standing()
        return row


Open = Callable[..., Awaitable[Case]]
"""Opens an approval, with the values of `tests.support.approvals.new_approval`."""


def opener(sessions: Sessions, account_id: str) -> Open:
    """Its approvals have a callback. `lives` are the times in which there is a gateway, in seconds after they are asked
    for; for a day, unless it says otherwise."""

    async def opened(*, lives: Iterable[tuple[float, float]] = ((-1, 86_400),), **values: Any) -> Case:
        usual = {"timeout": DEADLINE, "callback_url": b"secret", "callback_secret": b"secret"}
        case = Case(sessions, await ask(sessions, account_id, **(usual | values)))
        for since, until in lives:
            await gateway_lives(sessions, case.at(since), case.at(until))
        return case

    return opened
