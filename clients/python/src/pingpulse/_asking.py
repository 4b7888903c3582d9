"""Approvals as calls, and how long to wait for people. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypedDict
from uuid import uuid4

from pingpulse._parsing import parse
from pingpulse._retries import Attempts, Policy
from pingpulse._wire import Call, Request, encode, segment
from pingpulse.errors import ApprovalPending, PingPulseError
from pingpulse.models import Approval, ApprovalRequest

HELD_SECONDS = 30.0
"""How long PingPulse holds a question for a decision, at most."""

OUTAGE_SECONDS = 900.0
"""How long PingPulse may be away while somebody waits, before they are told."""

_SOON = 1.0
ONE_ATTEMPT = Policy(0.0)


class Question(TypedDict, total=False):
    """What may be said with a request for approval, as in the API's documentation. `timeout_seconds` is a day if left
    out, and None waits for ever; then `timeout_action` is done."""

    title: str
    timeout_seconds: float | None
    timeout_action: Literal["approve", "deny"]
    approvers: Sequence[str]
    quorum: int
    veto: bool
    requested_by: str
    forbid_self: bool
    reminders: Sequence[float]
    escalate_to: Sequence[str]
    escalate_after_seconds: float
    choices: Sequence[str]
    payload: Any
    editable: Mapping[str, Any]
    confirm: Literal["link", "code", "login"]
    callback_url: str
    callback_secret: str
    workflow_id: str
    instance_id: str
    stage_path: str
    channels: Sequence[str]
    idempotency_key: str


def request(context: str, question: Question) -> Call[ApprovalRequest]:
    said: dict[str, Any] = {"context": context, **question}
    key = said.pop("idempotency_key", None) or uuid4().hex
    return Call(Request("POST", "/api/approvals", {}, encode(said), key), partial(parse, ApprovalRequest))


def get(approval_id: str, wait_seconds: float = 0.0) -> Call[Approval]:
    """`wait_seconds` is how long PingPulse may hold the request for the decision."""
    query = {"wait": f"{wait_seconds:.3f}"} if wait_seconds else {}
    address = f"/api/approvals/{segment(approval_id)}"
    return Call(Request("GET", address, query, extra_seconds=wait_seconds), partial(parse, Approval))


def cancel(approval_id: str, notes: str | None) -> Call[Approval]:
    body = encode({"notes": notes}) if notes is not None else None
    address = f"/api/approvals/{segment(approval_id)}/cancel"
    return Call(Request("POST", address, {}, body), partial(parse, Approval))


class Waiting:
    """Waiting for one decision: what to ask next, and when. Pure: the time is an argument."""

    def __init__(self, approval_id: str, seconds: float | None, now: float) -> None:
        self._approval_id = approval_id
        self._seconds = seconds
        self._give_up_at = now + seconds if seconds is not None else None
        self._policy = Policy(OUTAGE_SECONDS)
        self._attempts: Attempts | None = None
        self._asked_at = now

    def ask(self, now: float) -> Call[Approval]:
        """The next question. It is asked once at least, however little time there is."""
        self._asked_at = now
        left = HELD_SECONDS if self._give_up_at is None else self._give_up_at - now
        return get(self._approval_id, min(max(left, 0.0), HELD_SECONDS))

    def after(self, answer: Approval, now: float) -> float | None:
        """Seconds until the next question; None if it is decided. Raises ApprovalPending when time is up."""
        self._attempts = None
        if answer.is_decided:
            return None
        self._give_up(now)
        # A gateway that is about to stop answers at once.
        return 0.0 if now - self._asked_at >= _SOON else _SOON

    def after_error(self, error: PingPulseError, now: float) -> float:
        """Seconds until the next question. Raises the error if it will not pass, and ApprovalPending."""
        if self._attempts is None:
            self._attempts = Attempts(self._policy, now)
        pause = self._attempts.pause_after(error, now)
        if pause is None:
            raise error
        self._give_up(now)
        return pause if self._give_up_at is None else min(pause, max(self._give_up_at - now, 0.0))

    def _give_up(self, now: float) -> None:
        if self._give_up_at is not None and now >= self._give_up_at:
            assert self._seconds is not None
            raise ApprovalPending(self._approval_id, self._seconds)
