"""Approvals with their votes in one statement: what programs ask for again and again."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from domain.approvals import Ballot, Decision, Vote
from storage.approvals import Approval, ApprovalVote

_VOTES: Final = (
    select(
        func.json_agg(
            aggregate_order_by(
                func.json_build_array(
                    ApprovalVote.voter,
                    ApprovalVote.decision,
                    ApprovalVote.choice,
                    ApprovalVote.response,
                    ApprovalVote.notes,
                    ApprovalVote.at,
                ),
                ApprovalVote.id,
            )
        )
    )
    .where(ApprovalVote.approval_id == Approval.id)
    .correlate(Approval)
    .scalar_subquery()
)


async def read_approval(session: AsyncSession, approval_id: str) -> tuple[Approval, list[Vote]] | None:
    """An approval and its votes, in the order in which they were received."""
    found = (await session.execute(select(Approval, _VOTES).where(Approval.id == approval_id))).one_or_none()
    if found is None:
        return None
    approval, votes = found
    return approval, [_vote(row) for row in votes or ()]


def _vote(row: list[Any]) -> Vote:
    voter, decision, choice, response, notes, at = row
    return Vote(voter, Ballot(Decision(decision), choice, response, notes), datetime.fromisoformat(at))
