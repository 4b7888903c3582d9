"""Which sender tells which kind of channel."""

from collections.abc import Callable, Mapping
from datetime import datetime

from activities.mail import Mailer
from activities.outgoing import Outgoing
from activities.senders.apprise import apprise_sender
from activities.senders.base import Sender
from activities.senders.discord import discord_sender
from activities.senders.email import email_sender
from activities.senders.pagerduty import pagerduty_sender
from activities.senders.slack import slack_sender
from activities.senders.webhook import webhook_sender
from domain.channels import ChannelKind


def make_senders(
    outgoing: Outgoing, mailer: Mailer, mail_from: str, now: Callable[[], datetime]
) -> Mapping[ChannelKind, Sender]:
    return {
        ChannelKind.EMAIL: email_sender(mailer, mail_from),
        ChannelKind.SLACK: slack_sender(outgoing),
        ChannelKind.DISCORD: discord_sender(outgoing),
        ChannelKind.PAGERDUTY: pagerduty_sender(outgoing),
        ChannelKind.WEBHOOK: webhook_sender(outgoing, now),
        ChannelKind.APPRISE: apprise_sender(outgoing.reach.allowed),
    }
