"""The page that the `type` of every problem points to."""

import inspect
from collections.abc import Iterator
from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from domain.errors import DomainError

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Errors of PingPulse</title>
<style>body{{font:16px/1.5 system-ui;max-width:48rem;margin:2rem auto;padding:0 1rem}}:target{{background:#ffd}}</style>
<h1>Errors</h1>
<p>Every error has the media type <code>application/problem+json</code> (RFC 9457) and one of these codes.</p>
{sections}</html>"""


@router.get("/docs/errors")
async def error_page() -> HTMLResponse:
    """Every code with its status and meaning, from the classes themselves."""
    errors = sorted(_below(DomainError), key=lambda error: (error.status, error.code))
    return HTMLResponse(_PAGE.format(sections="\n".join(map(_section, errors))))


def _below(error: type[DomainError]) -> Iterator[type[DomainError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _below(subclass)


def _section(error: type[DomainError]) -> str:
    meaning = escape(inspect.cleandoc(error.__doc__)) if error.__doc__ else ""
    heading = f'<h2 id="{error.code}"><code>{error.code}</code></h2>'
    return f"{heading}\n<p>{error.status}, {escape(error.title)}. {meaning}</p>"
