"""An approval as one visitor sees it at one moment: what the templates show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from api.approval_page.visitors import Visitor, asked_by_now
from domain.approval_forms import FormField, current_values, form_fields
from domain.approvals import (
    TIMEOUT,
    ApprovalStatus,
    ApprovalTerms,
    Confirm,
    Decision,
    Outcome,
    Standing,
    Via,
    Vote,
    standing_at,
)
from domain.cleaning import is_deceptive
from domain.errors import FieldError
from storage.approval_access import ApprovalCode
from storage.approvals import Approval

MAX_TABLE_ROWS: Final = 50
MAX_OPEN_LINES: Final = 12
"""What takes more lines is folded away: the decision is not to be screens below it."""

LINE: Final = 60
"""Characters, roughly, and fewer on a phone."""


class Part(StrEnum):
    """What a visitor can do on the page."""

    ENDED = "ended"
    EXPIRED = "expired"
    """Its time is over, but what comes of that is not recorded yet. Only a record may be told as the outcome: a vote of
    a gateway whose clock is behind could still come."""

    VOTED = "voted"
    OWN_REQUEST = "own_request"
    LOOK = "look"
    LOG_IN = "log_in"
    DECIDE = "decide"


@dataclass(frozen=True)
class Said:
    """What the page says about what was just done. `is_wrong`: it was not done."""

    text: str
    is_wrong: bool = False
    fields: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class Control:
    """A field of the form with the id of its element, and what is wrong with it."""

    id: str
    field: FormField
    problem: str | None

    @property
    def is_deceptive(self) -> bool:
        """Whether its value looks different from what it is. It stays so: what is not changed is handed on as it is."""
        return is_deceptive(self.field.value)

    @property
    def described_by(self) -> str:
        parts = {"help": self.field.help, "true": self.is_deceptive, "wrong": self.problem}
        return " ".join(f"{self.id}-{part}" for part, is_there in parts.items() if is_there)


@dataclass(frozen=True)
class Look:
    """`typed` is a form that was refused: what it held is shown again. `intent` is the button that was pressed in the
    mail; it decides nothing."""

    approval: Approval
    votes: Sequence[Vote]
    visitor: Visitor
    now: datetime
    code: ApprovalCode | None = None
    intent: Decision | None = None
    said: Said | None = None
    typed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def terms(self) -> ApprovalTerms:
        return self.approval.terms()

    @cached_property
    def standing(self) -> Standing:
        return standing_now(self.approval, self.votes, self.now)

    @property
    def outcome(self) -> Outcome | None:
        return self.approval.outcome()

    @property
    def approvers(self) -> tuple[str, ...]:
        return self.terms.approvers_at(self.standing)

    @property
    def own_vote(self) -> Vote | None:
        return next((vote for vote in self.votes if vote.voter == self.visitor.name), None)

    @property
    def part(self) -> Part:
        if self.outcome is not None:
            return Part.ENDED
        if self.standing.outcome is not None:
            return Part.EXPIRED
        if self.own_vote is not None:
            return Part.VOTED
        if self.visitor.name not in self.approvers:
            was_asked = self.visitor.name in asked_by_now(self.approval, self.standing)
            return Part.OWN_REQUEST if was_asked else Part.LOOK
        if self.terms.confirm is Confirm.LOGIN and self.visitor.via is not Via.SESSION:
            return Part.LOG_IN
        return Part.DECIDE

    @property
    def headline(self) -> str:
        """The state in two or three words."""
        if self.outcome is not None:
            return {
                ApprovalStatus.APPROVED: "Approved",
                ApprovalStatus.DENIED: "Denied",
                ApprovalStatus.CANCELLED: "Cancelled",
            }[self.outcome.status]
        return {
            Part.EXPIRED: "Expired",
            Part.DECIDE: "Your decision is needed",
            Part.LOG_IN: "Your decision is needed",
        }.get(self.part, "Awaiting a decision")

    @property
    def ending(self) -> str:
        """How it ended, in a sentence that its choice goes on."""
        assert self.outcome is not None
        word, by = self.headline, self.outcome.decided_by
        if by == TIMEOUT:
            return f"{word}, because its time was over"
        return f"{word} by {self.who(by)}"

    @property
    def response(self) -> dict[str, Any] | None:
        """The values that were approved, in the order of the form."""
        if self.outcome is None or self.outcome.response is None or self.approval.editable is None:
            return None
        given = self.outcome.response
        return {name: given[name] for name in self.approval.editable["properties"] if name in given}

    @property
    def count(self) -> str:
        """How far the votes are from a decision."""
        approvals = [vote.ballot for vote in self.votes if vote.ballot.decision is Decision.APPROVE]
        most = max((sum(ballot.agrees_with(other) for other in approvals) for ballot in approvals), default=0)
        agreeing = " of the same" if most != len(approvals) else ""
        return f"{most} of {self.terms.quorum} approvals{agreeing}"

    @property
    def has_more_context(self) -> bool:
        """Whether the heading leaves out some of the context."""
        return self.approval.title is not None or self.approval.name != self.approval.context.strip()

    @property
    def escalates_at(self) -> datetime | None:
        """When more people are asked, if that is still to come."""
        is_ahead = self.standing.outcome is None and not self.standing.is_escalated
        return self.terms.escalate_at if is_ahead else None

    @property
    def takes_code(self) -> bool:
        return self.terms.confirm is Confirm.CODE

    @property
    def good_code(self) -> ApprovalCode | None:
        return self.code if self.code is not None and self.code.is_good(self.now) else None

    @property
    def controls(self) -> list[Control]:
        editable = self.approval.editable
        if editable is None:
            return []
        fields = form_fields(editable, current_values(editable, self.approval.payload, self.votes))
        return [
            Control(f"field-{number}", self._as_typed(one), self.problem_of(f"response.{one.name}"))
            for number, one in enumerate(fields, start=1)
        ]

    def problem_of(self, name: str) -> str | None:
        """What is wrong with a field, or with something inside of it."""
        problems = self.said.fields if self.said is not None else ()
        return next((one.message for one in problems if one.field == name or one.field.startswith(f"{name}.")), None)

    @property
    def problem_links(self) -> list[tuple[str, str, str]]:
        """For each field that is wrong: its element, its label and what is wrong."""
        links = [(one.id, one.field.label, one.problem) for one in self.controls if one.problem is not None]
        plain = (("notes", "Note"), ("code", "Code from the mail"))
        return links + [(name, label, problem) for name, label in plain if (problem := self.problem_of(name))]

    @cached_property
    def payload_lines(self) -> int:
        """How many lines the payload takes, roughly."""
        pairs = self.shown_values(self.approval.payload)
        texts = [self.pretty(self.approval.payload)] if pairs is None else [max(pair, key=len) for pair in pairs]
        return sum(1 + len(line) // LINE for text in texts for line in text.split("\n"))

    @property
    def is_payload_long(self) -> bool:
        return self.payload_lines > MAX_OPEN_LINES

    def shown_values(self, values: Any) -> list[tuple[str, str]] | None:
        """A flat object as the rows of a table."""
        if not isinstance(values, dict) or not 0 < len(values) <= MAX_TABLE_ROWS:
            return None
        if any(isinstance(value, (dict, list)) for value in values.values()):
            return None
        return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]

    def pretty(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=2)

    def who(self, name: str) -> str:
        if name == self.visitor.name:
            return f"you ({name})"
        return f"API key {name.removeprefix('api-key:')}" if name.startswith("api-key:") else name

    def _as_typed(self, one: FormField) -> FormField:
        if "action" not in self.typed:
            return one
        # A browser sends nothing for a box that is not ticked.
        shown = one.value if one.kind != "boolean" else ""
        return replace(one, value=self.typed.get(f"response.{one.name}", shown))


def standing_now(approval: Approval, votes: Sequence[Vote], now: datetime) -> Standing:
    """What is recorded or, if that lags behind a deadline that has passed, where the next vote would find it."""
    recorded = approval.standing()
    if recorded.outcome is not None:
        return recorded
    found = standing_at(approval.terms(), votes, now)
    return replace(found, is_escalated=found.is_escalated or recorded.is_escalated)
