"""Style sheet, scripts and icons. Their addresses carry a hash of what they hold: browsers keep them for good."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import NotFound

PREFIX: Final = "/assets/"

router = APIRouter()

_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES: Final = {
    path.name: path.read_bytes() for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _TYPES
}
_HASHES: Final = {name: sha256(content).hexdigest()[:12] for name, content in _FILES.items()}


def asset(name: str) -> str:
    """The address of a file in `static/`."""
    return f"{PREFIX}{_HASHES[name]}/{name}"


async def serve_asset(request: Request) -> Response:
    name = request.path_params["name"]
    # Of another release it is served as well, but not kept: a page of that one may just be shown.
    is_this = _HASHES.get(name) == request.path_params["hash"]
    if name not in _FILES:
        raise NotFound("There is no such file. Load the page again.")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if is_this else "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_FILES[name], media_type=_TYPES[Path(name).suffix], headers=headers)


router.add_route(PREFIX + "{hash}/{name}", serve_asset, ["GET", "HEAD"], include_in_schema=False)
