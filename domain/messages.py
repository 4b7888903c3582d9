"""What a message says: one alert, or many that belong together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from domain.alerts import KINDS, Severity
from domain.durations import in_words

MAX_LINES: Final = 50
MAX_LINE: Final = 400
MAX_HEADLINE: Final = 200
MAX_NAME: Final = 60
NAMES_SHOWN: Final = 3
KINDS_SHOWN: Final = 3

FIRST_GAP: Final = timedelta(seconds=5)
LONGEST_GAP: Final = timedelta(hours=1)
ATTEMPT_LIMIT: Final = timedelta(seconds=60)
GIVE_UP_AFTER: Final = timedelta(hours=72)
"""Since the first attempt was due."""


@dataclass(frozen=True)
class ToldAlert:
    """An alert as it is told; the same words as in `domain.alerts.Alert`."""

    id: str
    kind: str
    severity: Severity
    resolves: bool
    source: str
    subject: str
    name: str
    title: str
    trouble: str
    at: datetime
    reason: str | None = None
    tags: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        """Where people do something about it, below the address of the gateway; few kinds of alerts have that."""
        path = self.data.get("path")
        return path if isinstance(path, str) and path.startswith("/") else None


@dataclass(frozen=True)
class Link:
    """`text` says where it leads, `path` is below the address of the gateway."""

    text: str
    path: str


@dataclass(frozen=True)
class MessageText:
    """`headline` fits into a subject or a push message; each of `lines` is one thing that happened.

    `severity` is that of the gravest that has not ended meanwhile; `resolves`: all of it is good news. `links` lead to
    what people can do about that which has not ended.
    """

    headline: str
    lines: tuple[str, ...]
    severity: Severity
    resolves: bool
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class _Trouble:
    """What a message tells of one trouble, in order. It `has_ended` if its good end is the last of it."""

    alerts: tuple[ToldAlert, ...]

    @property
    def last(self) -> ToldAlert:
        return self.alerts[-1]

    @property
    def has_ended(self) -> bool:
        return self.last.resolves

    @property
    def face(self) -> ToldAlert:
        """The alert that stands for all of them: the good end, else the gravest, of several the last."""
        if self.has_ended:
            return self.last
        return max(enumerate(self.alerts), key=lambda item: (not item[1].resolves, item[1].severity.rank, item[0]))[1]

    @property
    def story(self) -> str:
        """One line on all of it."""
        before = [alert for alert in self.alerts if not alert.resolves]
        if self.has_ended and before:
            worst = max(reversed(before), key=lambda alert: alert.severity.rank)
            more = _times(len(self.alerts), usual=2)
            return _one_line(_was(worst, self.last, self.last.at - before[0].at), MAX_LINE - len(more)) + more
        return self.face.title if len(self.alerts) == 1 else self.face.title + _times(len(self.alerts), usual=1)


def compose(alerts: Sequence[ToldAlert]) -> MessageText:
    """The words of a message with `alerts`, of which there is one at least."""
    troubles = _troubles(alerts)
    open_ones = [trouble for trouble in troubles if not trouble.has_ended]
    grave = [trouble.face.severity for trouble in open_ones or troubles]
    return MessageText(
        headline=_one_line(troubles[0].story if len(troubles) == 1 else _headline(troubles), MAX_HEADLINE),
        lines=tuple(_lines([*open_ones, *(trouble for trouble in troubles if trouble.has_ended)])),
        severity=max(grave, key=lambda severity: severity.rank),
        resolves=not open_ones,
        links=tuple(_links(open_ones)),
    )


def gap_after(attempt: int, retry_after: float | None, left: timedelta) -> timedelta | None:
    """How long to wait after a failed attempt, the first being 1: twice as long as the last time, and no less than the
    receiver asked for. `left` is the time until it is given up; None if no other attempt fits in.
    """
    # Bounded, because the power of a great number fits into no length of time.
    doublings = min(max(attempt - 1, 0), 30)
    gap = min(FIRST_GAP * (1 << doublings), LONGEST_GAP)
    if gap > left - ATTEMPT_LIMIT:
        return None
    asked = timedelta(seconds=min(retry_after or 0.0, GIVE_UP_AFTER.total_seconds()))
    # Who asks for longer than that is asked once more at the end.
    return max(gap, min(asked, left - ATTEMPT_LIMIT))


def _troubles(alerts: Iterable[ToldAlert]) -> list[_Trouble]:
    """In the order in which each began."""
    found: dict[str, list[ToldAlert]] = {}
    for alert in sorted(alerts, key=lambda alert: (alert.at, alert.resolves)):
        found.setdefault(alert.trouble, []).append(alert)
    return [_Trouble(tuple(alerts)) for alerts in found.values()]


def _headline(troubles: Sequence[_Trouble]) -> str:
    """ "5 pulses are down, 2 pulses recovered: a, b, c and 4 more"; what is graver comes first."""
    groups: dict[str, list[ToldAlert]] = {}
    for trouble in sorted(troubles, key=lambda trouble: (trouble.has_ended, -trouble.face.severity.rank)):
        groups.setdefault(trouble.face.kind, []).append(trouble.face)
    counts, counted = list[str](), list[ToldAlert]()
    for kind, group in islice(groups.items(), KINDS_SHOWN):
        is_named = len(group) == 1 and kind in KINDS and bool(group[0].name.strip())
        counts.append(f"{_name(group[0])} {KINDS[kind].one}" if is_named else _count(kind, len(group)))
        counted += [] if is_named else group
    if others := [face for group in islice(groups.values(), KINDS_SHOWN, None) for face in group]:
        counts.append(f"{len(others)} other {'alert' if len(others) == 1 else 'alerts'}")
        counted += others
    said = ", ".join(counts)
    names = list(dict.fromkeys(_name(face) for face in counted))[:NAMES_SHOWN]
    named = ", ".join(names)
    if more := sum(_name(face) not in names for face in counted):
        named += f" and {more} more"
    room = MAX_HEADLINE - len(said) - len(": ")
    return f"{said}: {named}" if named and len(named) <= room else said


def _count(kind: str, count: int) -> str:
    # A kind of a later version may be stored: it has no words here, but its name says something.
    words = KINDS[kind].many if kind in KINDS else f"of the kind {_one_line(kind.replace('_', ' '), MAX_NAME)}"
    return f"{count} {words}"


def _name(alert: ToldAlert) -> str:
    return _one_line(alert.name, MAX_NAME)


def _lines(troubles: Sequence[_Trouble]) -> Iterable[str]:
    for trouble in islice(troubles, MAX_LINES):
        face, line = trouble.face, trouble.story
        if face.reason and not trouble.has_ended and face.reason not in line:
            line += f": {face.reason}"
        yield _one_line(line, MAX_LINE)
    if len(troubles) > MAX_LINES:
        yield f"and {len(troubles) - MAX_LINES} more"


def _links(troubles: Sequence[_Trouble]) -> Iterable[Link]:
    for face in (trouble.face for trouble in islice(troubles, MAX_LINES)):
        if face.path is not None:
            yield Link(f"Open {_name(face) or 'its page'}", face.path)


def _was(worst: ToldAlert, end: ToldAlert, lasted: timedelta) -> str:
    """ "x was down for 12 s and recovered", from "is down" and "recovered"."""
    known, good = KINDS.get(worst.kind), KINDS.get(end.kind)
    name, ended = _name(worst), good.one if good is not None else "is back"
    after = in_words(max(0.0, lasted.total_seconds()))
    if known is None:
        return f"{_one_line(worst.title, MAX_LINE // 2)}; it {ended} after {after}"
    if known.one.startswith("is "):
        return f"{name} was {known.one.removeprefix('is ')} for {after} and {ended}"
    return f"{name} {known.one} and {ended} after {after}"


def _times(count: int, *, usual: int) -> str:
    return f" ({count} alerts)" if count > usual else ""


def _one_line(text: str, room: int) -> str:
    """Without line breaks, which would end the subject of a mail, and not longer than `room`."""
    text = " ".join(text.split())
    return text if len(text) <= room else text[: room - 1] + "…"
