"""The words of others, so that what people read is what is written."""

import unicodedata
from typing import Final

_TURNS_AROUND: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def cleaned(text: str) -> str:
    """With line breaks of one kind and without what could steer a terminal or turn words around: U+FFFD stands where
    that was."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join("\ufffd" if _is_hidden(character) else character for character in text)


def is_deceptive(text: str) -> bool:
    """Whether `cleaned` would have to replace any of it."""
    return any(_is_hidden(character) for character in text if character not in "\t\r")


def _is_hidden(character: str) -> bool:
    return character in _TURNS_AROUND or (character != "\n" and unicodedata.category(character) == "Cc")
