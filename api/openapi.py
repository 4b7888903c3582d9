"""How errors look in the OpenAPI document: one schema, with examples for every route."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI

from api.errors import MEDIA_TYPE, InternalError, Problem, problem_document
from api.security.sessions import SESSION_COOKIE
from domain.errors import (
    CsrfFailed,
    DomainError,
    Forbidden,
    InsufficientScope,
    InvalidRequest,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import HOW_TO_SEND_A_KEY

Responses = dict[int | str, dict[str, Any]]

PUBLIC: Final[dict[str, Any]] = {"security": []}

_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def problems(*errors: DomainError | type[DomainError]) -> Responses:
    """`responses=` of a route or router: what it may answer besides success.

    An error gives the very body that the route sends; a class gives its title for a detail.
    """
    responses: Responses = {}
    for error in errors:
        example = error(error.title + ".") if isinstance(error, type) else error
        response = responses.setdefault(
            example.status,
            {"description": example.title, "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {}}}},
        )
        response["content"][MEDIA_TYPE]["examples"][example.code] = {
            "summary": example.title,
            "value": problem_document(example),
        }
    return responses


JSON_API_ERRORS: Final = (
    InvalidRequest.of_field("name", "Field required"),
    Unauthenticated(f"An API key is needed. {HOW_TO_SEND_A_KEY}."),
    InsufficientScope("This needs a key with the scope `full`."),
    CsrfFailed("A write with the session cookie needs the X-CSRF-Token header."),
    Forbidden("This belongs to another account."),
    RateLimited("More than 1200 requests a minute. Try again in 17 s.", retry_after=17),
    Unavailable("The database cannot be reached just now.", retry_after=2),
)
"""What every route of the JSON API may answer. FastAPI replaces, not merges, what a router and its route say for
one status: pass these and the route's own errors to `problems` together."""


_INTERNAL_ERROR: Final = problems(InternalError("Something went wrong on our side.", request_id="6f2c9a01-2f"))

_SECURITY: Final = {
    "key in a header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "key as bearer": {"type": "http", "scheme": "bearer"},
    "key in the query": {"type": "apiKey", "in": "query", "name": "key"},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
}


def install_openapi(app: FastAPI, paths: Mapping[str, Any] | None = None) -> None:
    """Replaces FastAPI's 422 with problems, gives every operation its 500, and says where credentials go.

    `paths` are those that FastAPI knows nothing of. A route for everybody says so by `openapi_extra=PUBLIC`.
    """

    def openapi() -> dict[str, Any]:
        document = FastAPI.openapi(app)
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        if "Problem" not in schemas:
            document["paths"] = {**(paths or {}), **document.get("paths", {})}
            _describe_problems(document, schemas)
            components["securitySchemes"] = _SECURITY
            document["security"] = [{name: []} for name in _SECURITY]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _describe_problems(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs")
    schemas["Problem"] = schema
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for path in document.get("paths", {}).values():
        for operation in path.values():
            responses = operation["responses"]
            invalid = problems(InvalidRequest.of_field("limit", "Input should be a valid integer"))
            if responses.pop("422", None):
                responses.setdefault("400", invalid[400])
            responses.setdefault("500", deepcopy(_INTERNAL_ERROR[500]))
