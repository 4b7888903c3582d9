"""Templates and headers of the dashboard's pages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.dashboard import links, states
from api.dashboard.assets import asset
from api.dashboard.numbers import FILTERS
from api.html import make_environment

_HERE: Final = Path(__file__).parent

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""Of every page. Nothing inline runs or styles: what a payload holds cannot, either."""


def _make_environment() -> Environment:
    environment = make_environment(_HERE / "templates")
    environment.globals.update(asset=asset, state=states.state_of, subject_url=links.subject_url)
    environment.filters.update(FILTERS)
    return environment


environment: Final = _make_environment()


def render(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> Response:
    """A page for which nobody need be logged in. Those of the dashboard itself are made by `Visitor.page`."""
    values = {"visitor": None, "live": None, **values}
    return HTMLResponse(environment.get_template(template).render(values), status, {**HEADERS, **(headers or {})})


def see(address: str) -> Response:
    """Sends the browser on after a form, so that a reload sends no form again."""
    return RedirectResponse(address, 303, HEADERS)
