"""What people see of a text."""

import unicodedata
from typing import Final

from domain.cleaning import cleaned

_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol to Unicode, and yet without ink."""


def is_visible(text: str) -> bool:
    """Whether there is anything to see: not only blanks, control characters and accents of nothing."""
    return any(unicodedata.category(character)[0] not in "CMZ" and character not in _BLANKS for character in text)


def is_line(text: str) -> bool:
    """Whether it can be read in one line, as it is: of buttons and lists to choose from."""
    return is_visible(text) and text.splitlines() == [text] and cleaned(text) == text


def look_of(text: str) -> str:
    """The same for texts that hardly anybody could tell apart: by case, width, blanks, or what is not seen."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    seen = (character for character in folded if unicodedata.category(character) != "Cf" and character not in _BLANKS)
    return " ".join("".join(seen).split())
