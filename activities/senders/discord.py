"""Discord, by a webhook: https://discord.com/developers/docs/resources/webhook#execute-webhook"""

import re
from typing import Any, Final

import httpx

from activities.outgoing import Outgoing, parse_url
from activities.senders.base import Envelope, Receipt, Sender
from activities.senders.wording import color_of, lines_below, links_of, one_line, packed, post_json, stamp

MAX_CONTENT: Final = 2000
MAX_DESCRIPTION: Final = 4096
_MAX_LINKS: Final = 2000
_MAX_HEADLINE: Final = 900
"""Escaped, at most twice as long."""

_MARKDOWN: Final = re.compile(r"([\\*_~`|<>\[\]#])")


def discord_sender(outgoing: Outgoing) -> Sender:
    """The channel's address is the webhook's URL; a `thread_id` in it stays."""

    async def send(envelope: Envelope) -> Receipt:
        return await post_json(outgoing, _waiting(parse_url(envelope.address)), discord_message(envelope))

    return send


def _waiting(url: httpx.URL) -> str:
    # Otherwise 204 comes before Discord knows whether it can post the message.
    return str(url.copy_merge_params({"wait": "true"}))


def discord_message(envelope: Envelope) -> dict[str, Any]:
    """The headline, which is what a push notification shows, and one embed with what happened."""
    text = envelope.text
    embed: dict[str, Any] = {
        "title": escape(one_line(envelope.channel_name, 100)) or "PingPulse",
        "url": envelope.base_url,
        "color": color_of(text),
        "timestamp": stamp(envelope.created_at),
    }
    # Links first: what they leave is for the lines, the other way round they might find no room.
    links = packed([f"[{escape(says)}]({url})" for says, url in links_of(envelope)], _MAX_LINKS, 1)
    room = MAX_DESCRIPTION - sum(len(piece) + 1 for piece in links)
    if pieces := [*packed(lines_below(text), room, 1, escape), *links]:
        embed["description"] = "\n".join(pieces)
    return {
        "content": escape(one_line(text.headline, _MAX_HEADLINE)),
        "embeds": [embed],
        # Nobody is mentioned, whatever a name or an error says.
        "allowed_mentions": {"parse": []},
    }


def escape(text: str) -> str:
    """A name such as `load_daily_sales` is no markup."""
    return _MARKDOWN.sub(r"\\\1", text)
