"""What a browser sends to the page: a form, read with suspicion."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from api.forms import read_fields
from domain.approvals import Ballot, Decision
from domain.errors import InvalidRequest
from storage.approvals import Approval

MAX_FIELDS: Final = 200
MAX_NOTES: Final = 2_000

_CHOICE = re.compile(r"choose:(\d{1,3})", re.ASCII)

Form = Mapping[str, str]


async def read_form(request: Request) -> Form:
    """The fields, the last of each name. Raises what `api.forms.read_fields` raises."""
    return dict(await read_fields(request, MAX_FIELDS, without_origin=True))


def read_decision(action: str, approval: Approval) -> tuple[Decision, str | None] | None:
    """What a button means: the decision, and the choice if there are any; None for no decision of this approval."""
    if action == "deny":
        return Decision.DENY, None
    if action == "approve" and not approval.choices:
        return Decision.APPROVE, None
    if (found := _CHOICE.fullmatch(action)) and int(found[1]) < len(approval.choices):
        return Decision.APPROVE, approval.choices[int(found[1])]
    return None


def read_ballot(action: str, form: Form, approval: Approval, response: Mapping[str, object] | None) -> Ballot:
    """Raises InvalidRequest for a button that is not there, and for notes that are too long."""
    decided = read_decision(action, approval)
    if decided is None:
        raise InvalidRequest("Nothing was decided: press one of the buttons below.")
    notes = form.get("notes", "").strip() or None
    if notes is not None and len(notes) > MAX_NOTES:
        raise InvalidRequest.of_field("notes", f"has {len(notes)} characters; {MAX_NOTES} is the most")
    decision, choice = decided
    return Ballot(decision, choice, response if decision is Decision.APPROVE else None, notes)
