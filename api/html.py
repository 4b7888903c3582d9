"""What all pages for people have in common: templates, and how they write times. Everything that came from people is
escaped, and nothing of it can run."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response

from domain.cleaning import cleaned
from domain.durations import in_words
from domain.errors import DomainError
from domain.keys import redact


def make_environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(as_sent=as_sent, moment=moment, plainly=plainly, problem=problem, relative=relative)
    return environment


def moment(at: datetime) -> Markup:
    """A time as people read it, and as programs do."""
    at = at.astimezone(UTC)
    words = f"{at.day} {at:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), words)


def relative(at: datetime, now: datetime) -> str:
    seconds = (at - now).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    words = in_words(float(round(abs(seconds))))
    return f"in {words}" if seconds > 0 else f"{words} ago"


def as_sent(text: str) -> Markup:
    """The value of a field. It comes back with the form, so nothing of it may be changed."""
    return escape(text)


def _shown(value: Any) -> Any:
    """All that a template writes passes through here; markup is made of what has passed, or is our own."""
    return cleaned(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def words(error: DomainError) -> str:
    """An error for people; keys that somebody pasted into the wrong field are not shown."""
    return redact(error.message)


_VERBS: Final = frozenset(
    ("is", "are", "was", "has", "had", "must", "may", "can", "cannot", "does", "needs", "takes", "goes", "gives")
    + ("contains", "holds", "ends", "begins", "names", "comes", "lies", "would", "repeats", "leads", "belongs")
)
_LIBRARY: Final = (
    (re.compile(r"^(Input|String|Value|List|Number|Decimal input) should "), "must "),
    (re.compile(r"^Field required$"), "is missing"),
    (re.compile(r"^Extra inputs are not permitted$"), "is not known here"),
)


def problem(message: str) -> str:
    """What is wrong with a field, as a sentence beside it. Messages go on where the field's name ends, or are sentences
    of their own; some are those of the library that reads requests."""
    message = plainly(message)
    goes_on = message.partition(" ")[0] in _VERBS
    sentence = f"This {message}" if goes_on else message[:1].upper() + message[1:]
    return sentence if sentence.endswith((".", "?", "…")) else f"{sentence}."


def plainly(message: str) -> str:
    """What is wrong with a field, to go on behind the field's name."""
    for pattern, ours in _LIBRARY:
        message = pattern.sub(ours, message)
    return message


def refused(response: Response, error: DomainError) -> Response:
    """A page that tells of an error, with what it says to programs."""
    if "retry_after" in error.extra:
        response.headers["Retry-After"] = str(error.extra["retry_after"])
    return response
