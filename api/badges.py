"""Badges: a label and a status as a small picture, or as data for those who draw it themselves."""

import re
from dataclasses import dataclass
from html import escape
from typing import Final

from domain.pulses import PulseStatus

HEIGHT: Final = 20
_PADDING: Final = 7
_FONT_SIZE: Final = 11
_NO_XML: Final = re.compile("[\x00-\x1f\x7f\ufffe\uffff\ud800-\udfff]")

# In tenths of a pixel, for DejaVu Sans or Verdana at 11 px; what is not here is as wide as a capital, and what
# comes from East Asia as a square.
_WIDTHS: Final = {
    letter: width
    for letters, width in (
        ("ijl|'", 31),
        (" .,:;If!()[]t/\\r-", 44),
        ('cksvxyzJ?"', 61),
        ("abdeghnopqu0123456789_$*#L", 70),
        ("ABCDEFGHKNOPQRSTUVXYZ&+<>=~^", 78),
        ("mwMW%@", 107),
    )
    for letter in letters
}
_WIDTH_OF_OTHERS: Final = 78
_WIDTH_OF_WIDE: Final = 110
_WIDE_FROM: Final = "\u1100"


@dataclass(frozen=True)
class Badge:
    """`color` is a name that shields.io knows."""

    label: str
    message: str
    color: str


_COLORS: Final = {PulseStatus.UP: "brightgreen", PulseStatus.LATE: "orange", PulseStatus.DOWN: "red"}
_NO_COLOR: Final = "lightgrey"

# Dark enough for white letters.
_FILLS: Final = {"brightgreen": "#1f7a33", "orange": "#b35900", "red": "#c62828", _NO_COLOR: "#6b6f75"}
_LABEL_FILL: Final = "#3f4349"


def badge_of(label: str, status: PulseStatus) -> Badge:
    return Badge(label, status.value, _COLORS.get(status, _NO_COLOR))


def draw(badge: Badge) -> str:
    """As SVG: the label on the left, the message on the right."""
    label, message = _printable(badge.label), _printable(badge.message)
    left, right = _box_width(label), _box_width(message)
    width = left + right
    title = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}" '
        f'role="img" aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{width}" height="{HEIGHT}" rx="3"/></clipPath><g clip-path="url(#r)">'
        f'<rect width="{left}" height="{HEIGHT}" fill="{_LABEL_FILL}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{_FILLS[badge.color]}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="{_FONT_SIZE}">'
        f"{_text(label, _PADDING, left)}{_text(message, left + _PADDING, right)}</g></svg>"
    )


def _text(text: str, x: int, box_width: int) -> str:
    """`textLength` makes it fit also in a font that is wider or narrower than ours."""
    if not text:
        return ""
    return f'<text x="{x}" y="14" textLength="{box_width - 2 * _PADDING}">{escape(text)}</text>'


def _box_width(text: str) -> int:
    tenths = sum(_WIDTHS.get(letter, _WIDTH_OF_WIDE if letter >= _WIDE_FROM else _WIDTH_OF_OTHERS) for letter in text)
    return round(tenths / 10) + 2 * _PADDING


def _printable(text: str) -> str:
    """Without what may not stand in XML, however it is written."""
    return _NO_XML.sub("\ufffd", text)
