"""Stage paths: `1`, `2.1`, `3.4.2`, or a name such as `dag_complete`.

Numbered paths have an order and form a tree; names stand outside both.
"""

import re
from functools import lru_cache
from typing import Final

from domain.errors import InvalidRequest

MAX_LEVELS: Final = 32
MAX_NUMBER: Final = 1_000_000
MAX_NAME: Final = 128

_LOOKS_NUMBERED: Final = re.compile(r"[0-9.]+")
_NUMBERED: Final = re.compile(r"[1-9][0-9]*(\.[1-9][0-9]*)*")
_NAME: Final = re.compile(r"\w[\w .:/\-]*")

Numbers = tuple[int, ...]


@lru_cache(maxsize=8192)
def numbers(path: str) -> Numbers | None:
    """The levels of a numbered path, or None for a name."""
    if _NUMBERED.fullmatch(path) is None:
        return None
    return tuple(int(level) for level in path.split("."))


@lru_cache(maxsize=8192)
def parse_path(text: str, field: str = "stagePath") -> str:
    """The canonical form of what a caller sent; raises InvalidRequest that names `field`."""
    path = text.strip()
    if not path:
        raise InvalidRequest.of_field(field, 'is empty; send a stage such as "1", "2.1" or "dag_complete"')
    if _LOOKS_NUMBERED.fullmatch(path):
        if len(path) > MAX_LEVELS * 8 or path.count(".") >= MAX_LEVELS:
            raise InvalidRequest.of_field(field, f"has too many levels; at most {MAX_LEVELS} are allowed")
        if _NUMBERED.fullmatch(path) is None:
            raise InvalidRequest.of_field(
                field, 'must be whole numbers from 1 joined by single dots, such as "1" or "2.1"'
            )
        if max(int(level) for level in path.split(".")) > MAX_NUMBER:
            raise InvalidRequest.of_field(field, f"has a number above {MAX_NUMBER}")
        return path
    if len(path.encode(errors="surrogatepass")) > MAX_NAME:
        raise InvalidRequest.of_field(field, f"is longer than {MAX_NAME} bytes in UTF-8")
    if _NAME.fullmatch(path) is None:
        raise InvalidRequest.of_field(
            field, "a stage name is made of letters, digits, spaces and _ - . : /, and begins with a letter or digit"
        )
    return path


def predecessor(path: Numbers) -> Numbers | None:
    """The path that must have been seen before `path` in strict order; None for the very first.

    The previous sibling or, for a first child, the predecessor of its parent.
    """
    while path and path[-1] == 1:
        path = path[:-1]
    if not path:
        return None
    return (*path[:-1], path[-1] - 1)


def is_at_or_below(path: Numbers, ancestor: Numbers) -> bool:
    return path[: len(ancestor)] == ancestor


def is_after(path: Numbers, other: Numbers) -> bool:
    """Whether `path` lies on a later branch than `other`; ancestors and descendants do not."""
    for ours, theirs in zip(path, other, strict=False):
        if ours != theirs:
            return ours > theirs
    return False


def text(path: Numbers) -> str:
    return ".".join(map(str, path))


def sort_key(path: str) -> tuple[int, Numbers, str]:
    """Numbered paths in tree order, then names by the alphabet."""
    levels = numbers(path)
    return (1, (), path) if levels is None else (0, levels, "")
