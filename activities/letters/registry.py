"""Which sender writes which letter."""

from collections.abc import Callable, Mapping
from datetime import datetime

from activities.approval_links import ApprovalLinks
from activities.letters.asking import asking_sender
from activities.letters.base import LetterSender
from activities.letters.callback import callback_sender
from activities.letters.code import code_sender
from activities.letters.link import link_sender
from activities.mail import Mailer
from activities.outgoing import Outgoing
from domain.letters import LetterTopic
from storage.vault import Vault


def make_letters(
    outgoing: Outgoing,
    mailer: Mailer,
    mail_from: str,
    vault: Vault,
    links: ApprovalLinks,
    now: Callable[[], datetime],
) -> Mapping[LetterTopic, LetterSender]:
    asking = asking_sender(mailer, mail_from, links)
    return {
        LetterTopic.REQUEST: asking,
        LetterTopic.REMINDER: asking,
        LetterTopic.ESCALATION: asking,
        LetterTopic.LINK: link_sender(mailer, mail_from, links),
        LetterTopic.CODE: code_sender(mailer, mail_from, vault, links.base_url, now),
        LetterTopic.CALLBACK: callback_sender(outgoing, vault, now),
    }
