"""Errors a caller can cause. `api/errors.py` alone turns them into HTTP."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `field` is its name as the caller sent it."""

    field: str
    message: str


class DomainError(Exception):
    """Base of all of them.

    `code` is stable and machine-readable, `status` the HTTP status it maps to, the message is for people and
    says what to do. `extra` are further members of the problem document, such as the stage that was expected.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Error"

    def __init__(self, message: str, *, fields: tuple[FieldError, ...] = (), **extra: object) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields
        self.extra = {name: value for name, value in extra.items() if value is not None}


class InvalidRequest(DomainError):
    code = "invalid_request"
    status = 400
    title = "Invalid request"

    @classmethod
    def of_field(cls, field: str, message: str) -> "InvalidRequest":
        return cls(f"{field}: {message}", fields=(FieldError(field, message),))


class Unauthenticated(DomainError):
    code = "unauthenticated"
    status = 401
    title = "Authentication required"


class Forbidden(DomainError):
    code = "forbidden"
    status = 403
    title = "Forbidden"


class InsufficientScope(Forbidden):
    """The key is good, but it was made for less than this."""

    code = "insufficient_scope"
    title = "Insufficient scope"


class CsrfFailed(Forbidden):
    """A write with the session cookie must also prove that our own page sent it."""

    code = "csrf_failed"
    title = "CSRF check failed"


class NotFound(DomainError):
    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(DomainError):
    code = "conflict"
    status = 409
    title = "Conflict"


class EmailTaken(Conflict):
    """Another user has this e-mail address; each address belongs to one user."""

    code = "email_taken"
    title = "E-mail address taken"


class PayloadTooLarge(DomainError):
    code = "payload_too_large"
    status = 413
    title = "Payload too large"


class RateLimited(DomainError):
    """`retry_after` in seconds."""

    code = "rate_limited"
    status = 429
    title = "Rate limit exceeded"


class Unavailable(DomainError):
    """Nothing was kept; the caller may send the same request again after `retry_after` seconds."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"
