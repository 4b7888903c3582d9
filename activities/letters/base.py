"""What senders of letters share."""

from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage

from activities.letters.paper import Block, as_html, as_plain
from activities.senders.base import NotNeeded, Receipt, TryLater
from activities.senders.email import make_mail
from domain.approvals import TIMEOUT, Outcome
from storage.letters import Letter
from storage.vault import Vault, VaultError

LetterSender = Callable[[Letter], Awaitable[Receipt]]
"""Sends, and raises TryLater, Undeliverable and NotNeeded."""


def check_is_awaited(letter: Letter) -> None:
    """Raises NotNeeded if the recipient of a mail has nothing to decide any more.

    What is recorded counts: a deadline that has passed meanwhile may still be moved, because nobody could decide.
    """
    if (outcome := letter.approval.outcome()) is not None:
        raise NotNeeded(f"not needed any more: {_how(outcome)}")
    if any(vote.voter == letter.recipient for vote in letter.votes):
        raise NotNeeded(f"not needed any more: {letter.recipient} has voted")


def letter_mail(letter: Letter, subject: str, blocks: Sequence[Block], mail_from: str, base_url: str) -> EmailMessage:
    """The same at every attempt. Raises Undeliverable for what is no address."""
    return make_mail(
        mail_from,
        letter.recipient,
        subject,
        message_id=letter.message.id,
        at=letter.message.created_at,
        plain=as_plain(blocks, base_url),
        html=as_html(subject, blocks, base_url),
    )


def opened(vault: Vault, secret: bytes) -> str:
    """A secret in plain text. Raises TryLater while the operator's key is not the one that it was encrypted with."""
    try:
        return vault.decrypt(secret)
    except VaultError as error:
        raise TryLater(str(error)) from None


def _how(outcome: Outcome) -> str:
    by = "at its deadline" if outcome.decided_by == TIMEOUT else f"by {outcome.decided_by}"
    return f"it was {outcome.status} {by}"
