"""How two JSON values differ, as a list like a JSON Patch (RFC 6902), but with the old value beside the new one.

Its entries are independent of each other and the same, mirrored, the other way round: a patch proper has neither, since
each of its operations assumes those before it.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from domain.errors import InvalidRequest

MAX_PATTERNS: Final = 100
MAX_PATTERN: Final = 200
TIMESTAMPS: Final = "timestamps"

DEFAULT_IGNORE: Final = (
    *("*/id", "*/*_id", "*/*Id", "*/uuid", "*/*_uuid", "*/nonce"),
    *("*/timestamp", "*/*_timestamp", "*/*Timestamp", "*/ts", "*/*_at", "*/*At"),
    TIMESTAMPS,
)
"""What differs between any two runs and says nothing."""

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|[+-]\d\d:?\d\d)?", re.ASCII)

Location = tuple[str, ...]


class Op(StrEnum):
    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True)
class Difference:
    """What is at `path`, a JSON pointer, in the one and in the other; None where there is nothing.

    What was added to a list, or removed, is named by its place in the list that has it.
    """

    path: str
    op: Op
    a: Any = None
    b: Any = None


class Ignore:
    """Which differences do not count.

    Patterns are JSON pointers in which `*` stands for one member or any part of its name. One that begins with `*/`
    instead of `/` holds at any depth. The word `timestamps` is for texts that are both a date with a time.
    """

    def __init__(self, patterns: Collection[str] = DEFAULT_IGNORE) -> None:
        """Raises InvalidRequest naming `ignore`."""
        if len(patterns) > MAX_PATTERNS:
            raise InvalidRequest.of_field("ignore", f"has more than {MAX_PATTERNS} patterns")
        self.timestamps = TIMESTAMPS in patterns
        self._anywhere: list[Location] = []
        self._from_the_top: list[Location] = []
        for pattern in patterns:
            if pattern == TIMESTAMPS:
                continue
            start, _, rest = pattern.partition("/")
            if start not in ("", "*") or not rest or len(pattern) > MAX_PATTERN:
                raise InvalidRequest.of_field(
                    "ignore",
                    f'is made of JSON pointers of at most {MAX_PATTERN} characters such as "/meta/run", "*/id" for any '
                    f'depth, and the word "{TIMESTAMPS}"',
                )
            names = tuple(name.replace("~1", "/").replace("~0", "~") for name in rest.split("/"))
            (self._anywhere if start else self._from_the_top).append(names)
        # Nearly all names come again and again.
        self._by_name = lru_cache(512)(self._look_up)

    def covers(self, location: Location) -> bool:
        is_covered, longer = self._by_name(location[-1])
        # Of most members this is all that is asked.
        if is_covered or not (longer or self._from_the_top):
            return is_covered
        return any(len(names) <= len(location) and _fits(names, location[-len(names) :]) for names in longer) or any(
            len(names) == len(location) and _fits(names, location) for names in self._from_the_top
        )

    def _look_up(self, name: str) -> tuple[bool, list[Location]]:
        """Whether a member of that name is covered wherever it is, and the patterns that ask for more than its name."""
        ending = [names for names in self._anywhere if _resembles(name, names[-1])]
        return any(len(names) == 1 for names in ending), [names for names in ending if len(names) > 1]


def differences(a: Any, b: Any, ignore: Ignore, location: Location = ()) -> Iterator[Difference]:
    """Everything in which two values as `json.loads` gives them differ, members by the alphabet.

    What two lists of different lengths share at their beginnings and ends is left out; what is between them is
    compared place by place.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(a.keys() | b.keys()):
            if name in a and name in b and _are_equal(a[name], b[name]):
                continue
            inner = (*location, name)
            if ignore.covers(inner):
                continue
            if name not in a:
                yield Difference(_pointer(inner), Op.ADD, None, b[name])
            elif name not in b:
                yield Difference(_pointer(inner), Op.REMOVE, a[name], None)
            else:
                yield from differences(a[name], b[name], ignore, inner)
    elif isinstance(a, list) and isinstance(b, list):
        yield from _of_lists(a, b, ignore, location)
    elif not _are_alike(a, b, ignore):
        yield Difference(_pointer(location), Op.REPLACE, a, b)


def _of_lists(a: list[Any], b: list[Any], ignore: Ignore, location: Location) -> Iterator[Difference]:
    shorter = min(len(a), len(b))
    start = end = 0
    if len(a) != len(b):

        def is_shared(one: Any, other: Any) -> bool:
            if _are_equal(one, other):
                return True
            return _outline(one, ignore, location) == _outline(other, ignore, location)

        start = next((index for index in range(shorter) if not is_shared(a[index], b[index])), shorter)
        rest = shorter - start
        end = next((index for index in range(rest) if not is_shared(a[-1 - index], b[-1 - index])), rest)
    for index in range(start, max(len(a), len(b)) - end):
        inner = (*location, str(index))
        if ignore.covers(inner):
            continue
        if index >= len(a) - end:
            yield Difference(_pointer(inner), Op.ADD, None, b[index])
        elif index >= len(b) - end:
            yield Difference(_pointer(inner), Op.REMOVE, a[index], None)
        elif not _are_equal(a[index], b[index]):
            yield from differences(a[index], b[index], ignore, inner)


def _outline(value: Any, ignore: Ignore, location: Location) -> str:
    """A text that values share only if nothing that counts differs between them."""

    def counted(value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            inner = ((name, (*location, name)) for name in value)
            return {name: counted(value[name], place) for name, place in inner if not ignore.covers(place)}
        if isinstance(value, list):
            return [counted(item, (*location, "*")) for item in value]
        return "\0" if ignore.timestamps and _is_moment(value) else value

    return json.dumps(counted(value, (*location, "*")), sort_keys=True)


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two values are the same JSON, by a quick look that may miss it: of members in another order, or 1.0."""
    # To Python, true is 1, deep inside of lists too; written down they differ.
    return bool(a == b) and repr(a) == repr(b)


def _are_alike(a: Any, b: Any, ignore: Ignore) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b) or (ignore.timestamps and _is_moment(a) and _is_moment(b))


def _is_moment(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 40 and _MOMENT.fullmatch(value) is not None


def _fits(names: Location, location: Location) -> bool:
    return all(_resembles(name, pattern) for name, pattern in zip(location, names, strict=True))


def _resembles(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern with `*`. Not by regular expressions: those of users may take for ever."""
    if "*" not in pattern:
        return name == pattern
    first, *middle, last = pattern.split("*")
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    place, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def _pointer(location: Location) -> str:
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in location)
