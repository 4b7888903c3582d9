"""Forms of channels: what each kind is called and needs, and what a form says as the JSON API takes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from activities.senders.addresses import address_field
from api.dashboard.forms import Form
from domain.alerts import Severity
from domain.channels import DEFAULT_MESSAGES_PER_MINUTE, ChannelKind
from storage.channels import Channel


@dataclass(frozen=True)
class KindWords:
    """`label` and `help` are of the address; it is a `secret` where whoever knows it may post there."""

    name: str
    about: str
    label: str
    help: str
    placeholder: str
    is_secret: bool = True


KINDS: Final[Mapping[ChannelKind, KindWords]] = {
    ChannelKind.EMAIL: KindWords(
        "E-mail", "A mailbox of a person or of a team.", "E-mail address", "One address; a list works as well.",
        "ada@example.com", is_secret=False,
    ),
    ChannelKind.SLACK: KindWords(
        "Slack", "A Slack channel, by an incoming webhook.", "Webhook URL",
        "Of an app with an incoming webhook, in Slack under Apps.", "https://hooks.slack.com/services/…",
    ),
    ChannelKind.DISCORD: KindWords(
        "Discord", "A Discord channel, by a webhook.", "Webhook URL",
        "In Discord under Edit channel, Integrations, Webhooks.", "https://discord.com/api/webhooks/…",
    ),
    ChannelKind.PAGERDUTY: KindWords(
        "PagerDuty", "A service that pages whoever is on call, and ends the incident with the good end.",
        "Integration key", "The routing key of an Events API v2 integration, or a URL with it.", "R0UT1NGK3Y…",
    ),
    ChannelKind.WEBHOOK: KindWords(
        "Webhook", "Your own program: JSON, signed by Standard Webhooks.", "URL",
        "It gets a POST and answers with 2xx. The signing secret is shown after this.", "https://example.com/hooks/pingpulse",
    ),
    ChannelKind.APPRISE: KindWords(
        "Other services", "Telegram, Teams, Matrix, ntfy, Pushover and a hundred more, by a URL of apprise.",
        "URL of apprise", "As the wiki of apprise describes it for each service.", "tgram://bot-token/chat-id",
    ),
}  # fmt: skip


def given_values(form: Form, kind: ChannelKind, *, is_new: bool) -> dict[str, Any]:
    """What the form says. An address that was left empty stays as it is."""
    address = form.text(address_field(kind))
    quiet = {name: form.text(f"quiet_hours.{name}") for name in ("start", "end", "timezone", "severity")}
    values: dict[str, Any] = {
        "name": form.text("name") or "",
        "default": form.ticked("default"),
        "severity": form.get("severity", Severity.INFO),
        "tags": form.words("tags"),
        "messages_per_minute": form.text("messages_per_minute") or DEFAULT_MESSAGES_PER_MINUTE,
        "quiet_hours": {name: value for name, value in quiet.items() if value} if form.ticked("quiet") else None,
    }
    if address is not None:
        values[address_field(kind)] = address
    if is_new:
        values["kind"] = kind
    return values


def shown_values(form: Form, channel: Channel | None) -> dict[str, Any]:
    """What the fields hold: what was sent, else what the channel has, else what a new one begins with."""
    if form:
        kept = {name: form.get(name) for name in ("name", "url", "address", "severity", "tags", "messages_per_minute")}
        quiet = {name: form.get(f"quiet_hours.{name}") for name in ("start", "end", "timezone", "severity")}
        return {**kept, "default": form.ticked("default"), "quiet": form.ticked("quiet"), "quiet_hours": quiet}
    if channel is None:
        first = {"name": "", "severity": Severity.INFO, "tags": "", "messages_per_minute": DEFAULT_MESSAGES_PER_MINUTE}
        return {**first, "url": "", "address": "", "default": False, "quiet": False, "quiet_hours": _night("UTC")}
    return {
        "name": channel.name,
        # Secrets are written, and never read again.
        "url": "",
        "address": channel.shown_address if channel.kind == ChannelKind.EMAIL else "",
        "severity": channel.severity,
        "tags": ", ".join(channel.tags),
        "messages_per_minute": channel.messages_per_minute,
        "default": channel.is_default,
        "quiet": channel.quiet_hours is not None,
        "quiet_hours": channel.quiet_hours or _night("UTC"),
    }


def _night(time_zone: str) -> dict[str, str]:
    return {"start": "22:00", "end": "07:00", "timezone": time_zone, "severity": Severity.CRITICAL.value}
