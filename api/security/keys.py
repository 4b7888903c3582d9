"""Where a request carries its API key."""

from collections.abc import Mapping

from starlette.requests import Request


def key_of(
    request: Request, body: Mapping[str, object] | None = None, query: Mapping[str, str] | None = None
) -> str | None:
    """The key a request came with: the query's, else the headers', else the body's, else None.

    `body` is the parsed JSON body; only pings carry a key in there. It comes last, because a payload may well have a
    `key` of its own. `query` saves parsing it again. Nothing is checked yet.
    """
    if key := (request.query_params if query is None else query).get("key"):
        return key
    headers = request.headers
    if key := headers.get("x-api-key"):
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    key_in_body = body.get("key") if body else None
    return key_in_body if isinstance(key_in_body, str) and key_in_body else None
