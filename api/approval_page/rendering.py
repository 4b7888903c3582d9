"""Templates and headers of the page. Everything that came from people is escaped, and nothing on it can run."""

import base64
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from domain.cleaning import cleaned
from domain.durations import in_words
from domain.errors import DomainError
from domain.keys import redact

PREFIX: Final = "/approvals/"
"""Below this, answers are pages for people, errors too."""

_HERE: Final = Path(__file__).parent
_STYLE: Final = (_HERE / "style.css").read_text()
_STYLE_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""Of every answer."""


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


_environment: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["style"] = Markup(_STYLE)
_environment.filters.update(as_sent=as_sent, moment=moment, relative=relative)


def page(template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(_environment.get_template(template).render(values), status, HEADERS)


def see(address: str) -> Response:
    """Sends the browser on, so that a reload sends no form again."""
    return RedirectResponse(address, 303, HEADERS)


def refused(response: Response, error: DomainError) -> Response:
    """A page that tells of an error, with what it says to programs."""
    if "retry_after" in error.extra:
        response.headers["Retry-After"] = str(error.extra["retry_after"])
    return response


def error_page(error: DomainError) -> Response:
    """An error that leaves nothing else to show."""
    return page("error.html", error.status, heading=_HEADINGS.get(error.status, error.title), message=words(error))


def words(error: DomainError) -> str:
    """An error for people; keys that somebody pasted into the wrong field are not shown."""
    return redact(error.message)


_HEADINGS: Final = {
    403: "Nothing was done",
    404: "There is nothing here",
    413: "That was too much",
    429: "Slow down a little",
    500: "Something went wrong",
    503: "Not available just now",
}
