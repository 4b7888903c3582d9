"""Slack, by an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks

Mattermost, Rocket.Chat and others take the same.
"""

from typing import Any, Final

from activities.outgoing import Outgoing
from activities.senders.base import Envelope, Receipt, Sender
from activities.senders.wording import color_of, lines_below, links_of, one_line, packed, post_json

MAX_TEXT: Final = 3000
MAX_BLOCKS: Final = 50
_MAX_HEADLINE: Final = 1000


def slack_sender(outgoing: Outgoing) -> Sender:
    """The channel's address is the webhook's URL."""

    async def send(envelope: Envelope) -> Receipt:
        return await post_json(outgoing, envelope.address, slack_message(envelope))

    return send


def slack_message(envelope: Envelope) -> dict[str, Any]:
    """The headline, and below it a bar in the colour of the severity with a line for each thing that happened."""
    text = envelope.text
    # One block is for links, and one for the link to us.
    pieces = packed(lines_below(text), MAX_TEXT, MAX_BLOCKS - 2, escape)
    pieces += packed([_link(says, url) for says, url in links_of(envelope)], MAX_TEXT, 1)
    blocks: list[dict[str, Any]] = [{"type": "section", "text": _mrkdwn(piece)} for piece in pieces]
    blocks.append({"type": "context", "elements": [_mrkdwn(f"<{envelope.base_url}|PingPulse>")]})
    return {
        "text": escape(one_line(text.headline, _MAX_HEADLINE)),
        "attachments": [{"color": f"#{color_of(text):06x}", "blocks": blocks}],
    }


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: what looks like a channel or a name in somebody's words does not become a link to it.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _link(text: str, url: str) -> str:
    return f"<{escape(url)}|{escape(text.replace('|', '¦'))}>"


def escape(text: str) -> str:
    """These three are Slack's only control characters; without them nobody can be mentioned."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
