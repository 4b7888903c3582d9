"""What a browser sends with a form, read with suspicion."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from api.errors import UnsupportedMediaType
from domain.errors import CsrfFailed, InvalidRequest

MAX_FIELDS: Final = 500


async def read_fields(request: Request, max_fields: int = MAX_FIELDS) -> list[tuple[str, str]]:
    """The fields in the order of the page, with the ends of their lines as everywhere.

    Raises CsrfFailed for a form on another site, UnsupportedMediaType, and InvalidRequest for what is no text.
    """
    # Browsers send `Origin: null` with forms of pages that want no referrer; this header says more anyway.
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise CsrfFailed("This came from another site, so nothing was done. Use the form on the page itself.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("Only the form on the page is understood here.")
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=max_fields)
    except ValueError:
        raise InvalidRequest("What was sent is not text in UTF-8, or has too many fields. Nothing was done.") from None
    if any("\x00" in text for field in fields for text in field):
        raise InvalidRequest("What was sent holds NUL characters, which cannot be kept. Nothing was done.")
    return [(name, value.replace("\r\n", "\n").replace("\r", "\n")) for name, value in fields]
