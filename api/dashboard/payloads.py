"""What pings carry, written for people: JSON one member a line, text as it is, never anything that a browser runs."""

import json
import re
from dataclasses import dataclass
from typing import Final

from domain.cleaning import is_deceptive

MAX_INDENT: Final = 40
"""Levels; what is deeper stands where the deepest of them do."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True)
class Body:
    """A payload as it is shown: its beginning, if it `is_cut`. `size` is in characters, as it was sent. `is_deceptive`:
    there are characters in it that cannot be seen, or turn words around; pages show U+FFFD instead."""

    text: str
    is_json: bool
    size: int
    is_cut: bool
    is_deceptive: bool


def body_of(text: str | None, limit: int) -> Body | None:
    """Of JSON as the journal has it, where what was sent as text is a string. `limit` characters are shown at most."""
    if text is None:
        return None
    is_text = text.startswith('"')
    whole = json.loads(text) if is_text else text
    shown = whole[: limit + 1] if is_text else indented(whole, limit + 1)
    return Body(shown[:limit], not is_text, len(whole), len(shown) > limit, is_deceptive(shown[:limit]))


def indented(text: str, limit: int) -> str:
    """JSON with a line for each member, about `limit` characters of it at least, if there are so many.

    By its tokens, because no parser leaves alone what it need not change: numbers of any length stay as they are.
    """
    parts: list[str] = []
    size = depth = 0
    before = ""
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in "}]":
            depth -= 1
            piece = token if before in "{[" else _line(depth) + token
        elif before in ("{", "[", ","):
            piece = _line(depth) + _readable(token)
        else:
            piece = f" {_readable(token)}" if before == ":" else _readable(token)
        if token in "{[":
            depth += 1
        parts.append(piece)
        size += len(piece)
        before = token
        if size > limit:
            break
    return "".join(parts)


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, MAX_INDENT)


def _readable(token: str) -> str:
    """Letters that were sent as \\u… are written as themselves, and so are all others."""
    if "\\u" not in token:
        return token
    try:
        return json.dumps(json.loads(token), ensure_ascii=False).encode().decode()
    except ValueError:
        # Half of a pair of surrogates.
        return token
