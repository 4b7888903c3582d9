"""The command-line client for hosts without Python: `curl -fsSL …/cli -o pingpulse`."""

from hashlib import sha256
from typing import Final

from fastapi import APIRouter, Request, Response

from api.client_script import CLIENT_SCRIPT

router = APIRouter(include_in_schema=False)

_SCRIPT: Final = CLIENT_SCRIPT.read_bytes()
_HEADERS: Final = {
    "Cache-Control": "public, max-age=3600",
    "Content-Disposition": 'inline; filename="pingpulse"',
    "ETag": f'"{sha256(_SCRIPT).hexdigest()[:32]}"',
    "X-Content-Type-Options": "nosniff",
}


@router.api_route("/cli", methods=["GET", "HEAD"])
async def read_client(request: Request) -> Response:
    """The shell script, for everybody: it holds no secret."""
    if request.headers.get("if-none-match") == _HEADERS["ETag"]:
        return Response(status_code=304, headers=_HEADERS)
    return Response(_SCRIPT, headers=_HEADERS, media_type="text/x-shellscript; charset=utf-8")
