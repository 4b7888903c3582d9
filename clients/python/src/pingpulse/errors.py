"""What can go wrong. All of it is a PingPulseError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class PingPulseError(Exception):
    """Base of all errors of this package. `is_temporary`: the same request may do better later."""

    is_temporary = False


class ConfigurationError(PingPulseError, ValueError):
    """The address or the key of PingPulse is missing or cannot be used."""


class PayloadError(PingPulseError, ValueError):
    """A payload that cannot be sent as it is; the message says why."""


class ConnectionFailed(PingPulseError, ConnectionError):
    """PingPulse could not be reached, or did not answer in time. The cause is httpx's own error."""

    is_temporary = True


class UnexpectedAnswer(PingPulseError):
    """An answer that is not PingPulse's: the address leads elsewhere, or to another version."""


class ApprovalPending(PingPulseError, TimeoutError):
    """Nobody has decided in the time that the caller would wait. The approval itself goes on."""

    def __init__(self, approval_id: str, seconds: float) -> None:
        super().__init__(f"Nobody has decided {approval_id} within {seconds:g} seconds; it is still open.")
        self.approval_id = approval_id


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    message: str


class ApiError(PingPulseError):
    """PingPulse refused the request.

    `code` is stable and machine-readable, `detail` says what to do. `fields` are those that are wrong, if fields are;
    `extra` are further members of the answer, such as `expected_stage`. `retry_after` is in seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        fields: tuple[FieldProblem, ...] = (),
        extra: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.fields = fields
        self.extra: Mapping[str, Any] = extra or {}
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between processes; by default only the message would.
        said = (self.status, self.code, self.title, self.detail, self.fields, dict(self.extra), self.retry_after)
        return type(self), said


class InvalidRequest(ApiError):
    """400: something in the request will not do, or a strict workflow refused the stage."""


class AuthenticationFailed(ApiError):
    """401: no key, or a wrong one."""


class PermissionDenied(ApiError):
    """403: the key is good, but not for this."""


class NotFound(ApiError):
    """404: there is no such thing in this account."""


class Conflict(ApiError):
    """409: it does not fit with what happened before."""


class PayloadTooLarge(ApiError):
    """413: more than PingPulse keeps."""


class RateLimited(ApiError):
    """429: too many; `retry_after` says when there is room again."""

    is_temporary = True


class ServerError(ApiError):
    """5xx: PingPulse could not do it."""


class Unavailable(ServerError):
    """502, 503, 504: not now. Nothing was kept."""

    is_temporary = True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_class(status: int) -> type[ApiError]:
    """The class of errors with this HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
