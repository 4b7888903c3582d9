"""What senders share in fitting a message into the room that a service gives it."""

from collections.abc import Callable, Iterable
from datetime import datetime

import orjson

from activities.outgoing import Outgoing
from activities.senders.base import Envelope, Receipt
from domain.alerts import Severity
from domain.messages import MessageText

COLORS: dict[Severity, int] = {
    Severity.INFO: 0x3B82F6,
    Severity.WARNING: 0xF59E0B,
    Severity.ERROR: 0xEF4444,
    Severity.CRITICAL: 0xB91C1C,
}
_GOOD_NEWS = 0x22C55E
_MAX_LINK_TEXT = 80


def color_of(text: MessageText) -> int:
    """As 0xRRGGBB."""
    return _GOOD_NEWS if text.resolves else COLORS[text.severity]


def shortened(text: str, limit: int) -> str:
    """`text` in at most `limit` characters; an ellipsis says that there was more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Without line breaks and control characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return shortened(" ".join(printable.split()), limit)


def lines_below(text: MessageText) -> tuple[str, ...]:
    """What there is to say besides the headline."""
    return () if text.lines == (text.headline,) else text.lines


def links_of(envelope: Envelope) -> list[tuple[str, str]]:
    """What each link says, and its URL."""
    return [(one_line(link.text, _MAX_LINK_TEXT), envelope.url_of(link.path)) for link in envelope.text.links]


def packed(lines: Iterable[str], limit: int, most: int, escape: Callable[[str], str] = str) -> list[str]:
    """Lines joined to at most `most` texts of at most `limit` characters each, escaped.

    What does not fit is counted in the last one.
    """
    texts: list[str] = []
    # Room for the count, in every text because any may become the last.
    room = limit - len("\n… and 1000000 more")
    lines = list(lines)
    for number, line in enumerate(lines):
        piece = _escaped_within(line, room, escape)
        if texts and len(texts[-1]) + 1 + len(piece) <= room:
            texts[-1] += "\n" + piece
        elif len(texts) < most:
            texts.append(piece)
        else:
            texts[-1] += f"\n… and {len(lines) - number} more"
            break
    return texts


def _escaped_within(text: str, limit: int, escape: Callable[[str], str]) -> str:
    # Cutting after escaping could cut an escape in two.
    escaped = escape(shortened(text, limit))
    while len(escaped) > limit:
        text = text[: min(len(text), limit) * 3 // 4]
        escaped = escape(text + "…")
    return escaped


async def post_json(outgoing: Outgoing, url: str, content: object) -> Receipt:
    return await outgoing.post(url, orjson.dumps(content), {"Content-Type": "application/json"})


def stamp(at: datetime) -> str:
    """ISO 8601, as JSON has it."""
    return at.isoformat()
