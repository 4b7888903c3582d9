"""Letters: the messages to somebody in particular, about an approval or an invitation, with what each has to say."""

from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.approvals import Vote
from domain.letters import LetterTopic
from storage.accounts import get_account
from storage.approval_access import ApprovalCode, get_code
from storage.approvals import Approval, get_approval, list_votes
from storage.invitations import Invitation
from storage.messages import Attempt, Message


@dataclass(frozen=True)
class Letter:
    """A letter as it stands now. `code` is the recipient's latest, of a letter with a code; that letter
    `is_superseded` if another one with a code was written after it."""

    message: Message
    approval: Approval
    votes: tuple[Vote, ...]
    code: ApprovalCode | None = None
    is_superseded: bool = False

    @property
    def recipient(self) -> str:
        """Whom it is mailed to."""
        assert self.message.recipient is not None, self.message.id
        return self.message.recipient


@dataclass(frozen=True)
class InvitationLetter:
    """The mail of an invitation as it stands now."""

    message: Message
    invitation: Invitation
    account_name: str


@dataclass(frozen=True)
class LetterLog:
    """What became of a letter; `attempts` are in order."""

    message: Message
    attempts: tuple[Attempt, ...]


async def load_letter(session: AsyncSession, message: Message) -> Letter:
    """What a message about an approval has to say."""
    assert message.approval_id is not None, message.id
    approval = await get_approval(session, message.approval_id)
    assert approval is not None, message.approval_id
    votes = tuple(row.vote() for row in (await list_votes(session, [approval.id]))[approval.id])
    if message.topic != LetterTopic.CODE or message.recipient is None:
        return Letter(message, approval, votes)
    code = await get_code(session, approval.id, message.recipient)
    later = exists().where(
        Message.approval_id == approval.id,
        Message.topic == LetterTopic.CODE.value,
        Message.recipient == message.recipient,
        Message.created_at > message.created_at,
    )
    return Letter(message, approval, votes, code, bool(await session.scalar(select(later))))


async def load_invitation_letter(session: AsyncSession, message: Message) -> InvitationLetter:
    """What a message about an invitation has to say."""
    assert message.invitation_id is not None, message.id
    invitation = await session.get_one(Invitation, message.invitation_id)
    account = await get_account(session, invitation.account_id)
    return InvitationLetter(message, invitation, account.name)


async def list_letters(session: AsyncSession, approval_id: str) -> list[LetterLog]:
    """All letters about an approval, in the order in which they were written."""
    query = select(Message).where(Message.approval_id == approval_id).order_by(Message.created_at, Message.id)
    attempts: dict[str, list[Attempt]] = {}
    letters = (await session.scalars(query)).all()
    tried = select(Attempt).where(Attempt.message_id.in_([letter.id for letter in letters])).order_by(Attempt.id)
    for attempt in await session.scalars(tried):
        attempts.setdefault(attempt.message_id, []).append(attempt)
    return [LetterLog(letter, tuple(attempts.get(letter.id, ()))) for letter in letters]
