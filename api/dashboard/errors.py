"""Errors of pages: a page that says what happened, or the way to log in."""

from typing import Final
from urllib.parse import SplitResult, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from api.dashboard.rendering import render, see
from api.html import words
from domain.errors import DomainError

_OF_PROGRAMS: Final = (
    *("/api/", "/shk/", "/dhk/", "/hbk/", "/hhk/", "/hb/", "/phk/", "/v1/", "/badge", "/docs", "/openapi.json"),
    *("/health", "/ready", "/metrics", "/dev/", "/cli"),
)

_HEADINGS: Final = {
    403: "Not allowed",
    404: "There is nothing here",
    405: "That is not how this page works",
    409: "Something came in between",
    413: "That was too much",
    429: "Slow down a little",
    500: "Something went wrong",
    503: "Not available just now",
}


def is_for_people(scope: Scope) -> bool:
    """A browser asks for a page; what programs use answers them as programs, also in a browser."""
    return "text/html" in Headers(scope=scope).get("accept", "") and not scope["path"].startswith(_OF_PROGRAMS)


def error_page(scope: Scope, error: DomainError) -> Response:
    if error.status == 401:
        return see(f"/login{_way_back(scope)}")
    heading = _HEADINGS.get(error.status, error.title)
    return render("error.html", error.status, heading=heading, message=words(error))


def _way_back(scope: Scope) -> str:
    """The query by which the login leads back: to the page that was wanted, or to the one whose form was sent. There a
    script fills in again what was typed."""
    if scope["method"] in ("GET", "HEAD"):
        wanted = scope["path"] + (f"?{query}" if (query := scope["query_string"].decode("latin-1")) else "")
        return f"?{urlencode({'next': wanted})}" if wanted != "/" else ""
    headers = Headers(scope=scope)
    referer = _split(headers.get("referer", ""))
    if referer is None or referer.netloc != headers.get("host") or not referer.path:
        return "?lost=yes"
    query = "&".join(filter(None, (referer.query, "again=yes")))
    return f"?{urlencode({'next': f'{referer.path}?{query}', 'lost': 'yes'})}"


def _split(address: str) -> SplitResult | None:
    try:
        return urlsplit(address)
    except ValueError:
        return None
