"""Templates and headers of the page."""

import base64
import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.html import make_environment, words
from domain.errors import DomainError

_ADDRESS: Final = re.compile(r"/approvals/(?!history$)[^/]*")

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


_environment: Final = make_environment(_HERE / "templates")
_environment.globals["style"] = Markup(_STYLE)


def is_approval_page(path: str) -> bool:
    """Whether answers are pages for people, errors too, as everybody may see them who was sent a link."""
    return _ADDRESS.fullmatch(path) is not None


def page(template: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(_environment.get_template(template).render(values), status, HEADERS)


def see(address: str) -> Response:
    """Sends the browser on, so that a reload sends no form again."""
    return RedirectResponse(address, 303, HEADERS)


def error_page(error: DomainError) -> Response:
    """An error that leaves nothing else to show."""
    return page("error.html", error.status, heading=_HEADINGS.get(error.status, error.title), message=words(error))


_HEADINGS: Final = {
    403: "Nothing was done",
    404: "There is nothing here",
    413: "That was too much",
    429: "Slow down a little",
    500: "Something went wrong",
    503: "Not available just now",
}
