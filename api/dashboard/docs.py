"""`/docs`: the reference of the JSON API, by Swagger UI. Its files come with a package, for closed networks, too."""

from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.rendering import HEADERS, render
from domain.errors import NotFound

PREFIX: Final = "/docs/assets/"

router = APIRouter(include_in_schema=False)

_TYPES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_FILES: Final = {name: files("fastapi_offline").joinpath("static", name).read_bytes() for name in _TYPES}
_HASHES: Final = {name: sha256(content).hexdigest()[:12] for name, content in _FILES.items()}

CSP: Final = HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI's style sheet has its pictures in itself."""


def vendor(name: str) -> str:
    """The address of a file of Swagger UI."""
    return f"{PREFIX}{_HASHES[name]}/{name}"


@router.get("/docs")
async def show() -> Response:
    return render("docs/docs.html", headers={"Content-Security-Policy": CSP}, vendor=vendor)


@router.get(PREFIX + "{hash}/{name}")
async def serve_vendor(hash: str, name: str) -> Response:
    if _HASHES.get(name) != hash:
        raise NotFound("There is no such file. Load the page again.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(_FILES[name], media_type=_TYPES[name], headers=headers)
