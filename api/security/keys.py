"""Where a request carries its API key."""

from collections.abc import Mapping

from starlette.requests import Request


def key_of(
    request: Request, body: Mapping[str, object] | None = None, query: Mapping[str, str] | None = None
) -> str | None:
    """The key a request came with: the query's, else the body's, else the headers', else None.

    `body` is the parsed JSON body; only pings carry a key in there. `query` saves parsing it again. Nothing is
    checked yet.
    """
    if key := (request.query_params if query is None else query).get("key"):
        return key
    if body and isinstance(key_in_body := body.get("key"), str) and key_in_body:
        return key_in_body
    headers = request.headers
    if key := headers.get("x-api-key"):
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
