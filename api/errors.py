"""Every error as one problem document (RFC 9457), or as a page where people read: the only place where errors become
HTTP."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from http.client import responses as http_phrases
from typing import Any, ClassVar, Final, cast

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import exc as sql
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api import otlp
from api.approval_page.rendering import error_page as approval_error_page
from api.approval_page.rendering import is_approval_page
from api.dashboard.errors import error_page, is_for_people
from domain.errors import (
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import redact

MEDIA_TYPE: Final = "application/problem+json"
DATABASE_RETRY_SECONDS: Final = 2

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MAX_FIELDS = 20
_MAX_FIELD_NAME = 200
_RESERVED = frozenset(("type", "title", "status", "detail", "code", "errors"))

log = structlog.get_logger("pingpulse.errors")


class MethodNotAllowed(DomainError):
    """The address exists, but not for this method; the `Allow` header lists those it has."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class UnsupportedMediaType(DomainError):
    """The body is of a kind that is not understood here."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class InternalError(DomainError):
    """Our fault. The log has more under the `request_id`, which is in the X-Request-ID header too."""

    code = "internal_error"
    status = 500
    title = "Internal error"


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="The field's name as sent; nested ones as in `stages.0.name`.")
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details. Some codes have further members, such as the stage that was expected."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    type: str = Field(description="Address of the code's documentation, relative to the gateway.")
    title: str
    status: int
    detail: str = Field(description="For people: what happened and what to do.")
    code: str = Field(description="Stable and machine-readable.")
    errors: list[FieldProblem] = Field(default=[], description="The fields that are wrong, if fields are.")


_BY_STATUS: dict[int, type[DomainError]] = {
    error.status: error
    for error in (
        InvalidRequest,
        Unauthenticated,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        Conflict,
        PayloadTooLarge,
        UnsupportedMediaType,
        RateLimited,
        InternalError,
        Unavailable,
    )
}


def problem_document(error: DomainError) -> dict[str, Any]:
    """The body of a problem. The secrets of keys that the caller sent are not quoted back."""
    document: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": redact(error.message),
        "code": error.code,
    }
    if error.fields:
        document["errors"] = [
            {"field": redact(field.field)[:_MAX_FIELD_NAME], "message": redact(field.message)} for field in error.fields
        ]
    document |= {name: value for name, value in error.extra.items() if name not in _RESERVED}
    return document


def error_response(scope: Scope, error: DomainError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request: a page where people read it, and OTLP's own where that is spoken."""
    if scope["path"] == otlp.TRACES:
        response = otlp.failure(error, Headers(scope=scope).get("content-type", ""))
    elif is_approval_page(scope["path"]):
        response = approval_error_page(error)
    else:
        response = error_page(scope, error) if is_for_people(scope) else _problem_response(error)
    response.headers.update(headers or {})
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pingpulse"'
    if "retry_after" in error.extra:
        response.headers["Retry-After"] = str(error.extra["retry_after"])
    return response


def _problem_response(error: DomainError) -> Response:
    # Not orjson: it raises for a lone surrogate, which a message may quote from the caller's JSON.
    body = json.dumps(problem_document(error), default=_as_json)
    return Response(body, error.status, media_type=MEDIA_TYPE)


def _as_json(value: object) -> float | str:
    """Money is a number here as everywhere, though one of more than 15 digits is rounded."""
    return float(value) if isinstance(value, Decimal) else str(value)


def install_error_handlers(app: FastAPI) -> None:
    """For all errors but unexpected ones: `api/middleware.py` answers those, before the server logs them."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for unstorable in (sql.DataError, UnicodeEncodeError):
        app.add_exception_handler(unstorable, _on_data_error)
    for unreachable in (sql.OperationalError, sql.InterfaceError, sql.TimeoutError):
        app.add_exception_handler(unreachable, _on_database_unavailable)


async def _on_domain_error(request: Request, error: Exception) -> Response:
    return error_response(request.scope, cast(DomainError, error))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    return error_response(request.scope, invalid_request(cast(RequestValidationError, error).errors()))


def invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    """Pydantic's errors as ours. Their `input` is left out: it may be a password or a key."""
    fields = tuple(_field_error(error) for error in errors[:_MAX_FIELDS])
    return InvalidRequest("; ".join(f"{field.field}: {field.message}" for field in fields), fields=fields)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    location = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":
        position = f" at character {location[-1]}" if len(location) > 1 else ""
        return FieldError("body", f"is not valid JSON: {error['ctx']['error']}{position}")
    if location == ["body"]:
        missing = "is missing" if error["type"] == "missing" else "must be a JSON object"
        return FieldError("body", f"{missing}; send one with Content-Type: application/json")
    source = location[0] if location else "body"
    inside = location[1:] if source in ("body", "query", "path", "header", "cookie") else location
    return FieldError(".".join(inside) or source, _words(error))


def _words(error: Mapping[str, Any]) -> str:
    if error["type"] in ("too_long", "too_short") and isinstance(error.get("input"), str):
        # Of a string with a validator of its own besides, pydantic says that it has items.
        most, limits = error["type"] == "too_long", error["ctx"]
        limit = limits["max_length" if most else "min_length"]
        characters = "character" if limit == 1 else "characters"
        return f"must have at {'most' if most else 'least'} {limit} {characters}, not {limits['actual_length']}"
    message: str = error["msg"]
    return message.removeprefix("Value error, ")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI raise by themselves: unknown routes, wrong methods, bodies that are not JSON."""
    http = cast(HTTPException, error)
    headers = dict(http.headers or {})
    if http.status_code < 400:
        return Response(status_code=http.status_code, headers=headers)
    kind = _BY_STATUS.get(http.status_code, InvalidRequest if http.status_code < 500 else InternalError)
    said = http.detail if http.detail != http_phrases.get(http.status_code) else None
    if kind is MethodNotAllowed:
        headers["Allow"] = _allowed(request)
        said = f"{request.method} is not for this address; it has {headers['Allow']}."
    elif kind is NotFound and said is None:
        said = "There is nothing at this address; /docs shows what there is."
    elif kind is InvalidRequest and isinstance(http.__cause__, UnicodeDecodeError):
        return error_response(request.scope, InvalidRequest.of_field("body", "is not valid UTF-8"), headers)
    elif kind is InvalidRequest and isinstance(http.__cause__, (ValueError, RecursionError)):
        return error_response(request.scope, InvalidRequest.of_field("body", "is not JSON that can be read"), headers)
    return error_response(request.scope, kind(str(said or kind.title)), headers)


def _allowed(request: Request) -> str:
    """The methods of every route at this address; the exception itself knows those of one route only."""
    routes = request.app.router.routes
    return ", ".join(
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


async def _on_data_error(request: Request, error: Exception) -> Response:
    """A net below validation, for what Postgres refuses to store: NULs, lone surrogates, numbers out of range."""
    log.warning("a value reached Postgres that it cannot store", error=type(getattr(error, "orig", error)).__name__)
    return error_response(
        request.scope, InvalidRequest("A value cannot be stored: invalid text, or a number out of range.")
    )


async def _on_database_unavailable(request: Request, error: Exception) -> Response:
    # Its text may hold a statement's parameters, and the address of the database.
    log.warning("Postgres is unavailable", error=type(getattr(error, "orig", None) or error).__name__)
    return error_response(
        request.scope, Unavailable("The database cannot be reached just now.", retry_after=DATABASE_RETRY_SECONDS)
    )
