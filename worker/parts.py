"""What a worker is made of: every workflow's activities, and what they reach the world by."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from activities.approval_links import ApprovalLinks
from activities.approvals import ApprovalActivities
from activities.instances import InstanceActivities
from activities.invitation_links import InvitationLinks
from activities.letters.invitation import invitation_sender
from activities.letters.registry import make_letters
from activities.mail import make_mailer
from activities.messages import MessageActivities
from activities.outgoing import Outgoing
from activities.processes import ProcessActivities
from activities.pulses import PulseActivities
from activities.senders.registry import make_senders
from config.settings import Settings
from storage.base import Sessions
from storage.vault import Vault

Activities = list[Callable[..., Any]]


def subject_activities(sessions: Sessions, clock: Callable[[], datetime], told: Callable[[], None]) -> Activities:
    """What the workflows of all subjects may do. `told` is called after a commit that has raised alerts."""
    instances = InstanceActivities(sessions, clock, told)
    pulses = PulseActivities(sessions, clock, told)
    processes = ProcessActivities(sessions, clock, told)
    approvals = ApprovalActivities(sessions, clock, told)
    return [
        instances.load_instance,
        instances.record,
        instances.confirm_silence,
        pulses.load_pulse,
        pulses.read_pulse_rules,
        pulses.record_pulse,
        processes.follow_run,
        approvals.follow_approval,
    ]


@asynccontextmanager
async def message_activities(
    settings: Settings, sessions: Sessions, clock: Callable[[], datetime]
) -> AsyncIterator[Activities]:
    """What sends messages. Raises ValueError without a secret key: the addresses of channels are encrypted by it."""
    if settings.secret_key is None:
        raise ValueError("PINGPULSE_SECRET_KEY is not set; the worker needs that of the gateway, to tell people.")
    secret_key = settings.secret_key.get_secret_value()
    vault, links = Vault(secret_key), ApprovalLinks(secret_key, settings.base_url)
    invitations = InvitationLinks(secret_key, settings.base_url)
    outgoing = Outgoing(settings.outgoing_networks, clock)
    try:
        mailer = make_mailer(settings.smtp, settings.mail_dir, clock)
        messages = MessageActivities(
            sessions,
            clock,
            vault,
            make_senders(outgoing, mailer, settings.smtp_from, clock),
            make_letters(outgoing, mailer, settings.smtp_from, vault, links, clock),
            settings.base_url,
            invitation_sender(mailer, settings.smtp_from, invitations, clock),
        )
        yield [messages.send_message, messages.give_up]
    finally:
        await outgoing.aclose()
