"""What a browser sends with a form, read with suspicion."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from api.errors import UnsupportedMediaType
from domain.errors import CsrfFailed, InvalidRequest

MAX_FIELDS: Final = 500


def check_site(request: Request, *, without_origin: bool = False) -> None:
    """That a form is on a page of ours: for those that nobody need be logged in for, which no token protects.

    `without_origin`: the page wants no referrer, and browsers send `Origin: null` with its forms. Raises CsrfFailed.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site", "").lower(), headers.get("origin")
    if site:
        is_ours = site in ("same-origin", "none")
    elif origin is None or origin == "null":
        # Browsers send neither only to plain HTTP, and old ones; programs send what they like.
        is_ours = origin is None or without_origin
    else:
        # Proxies may call us by another name than browsers do.
        hosts = {headers.get("host", ""), urlsplit(request.app.state.settings.base_url).netloc}
        is_ours = origin.partition("://")[2] in hosts
    if not is_ours:
        raise CsrfFailed("This came from another site, so nothing was done. Use the form on the page itself.")


async def read_fields(
    request: Request, max_fields: int = MAX_FIELDS, *, without_origin: bool = False
) -> list[tuple[str, str]]:
    """The fields in the order of the page, with the ends of their lines as everywhere.

    Raises CsrfFailed for a form on another site, UnsupportedMediaType, and InvalidRequest for what is no text.
    """
    check_site(request, without_origin=without_origin)
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
