"""What a browser sends to the page: a form, read with suspicion."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from api.errors import UnsupportedMediaType
from domain.approvals import Ballot, Decision
from domain.errors import CsrfFailed, InvalidRequest
from storage.approvals import Approval

MAX_FIELDS: Final = 200
MAX_NOTES: Final = 2_000

_CHOICE = re.compile(r"choose:(\d{1,3})", re.ASCII)

Form = Mapping[str, str]


async def read_form(request: Request) -> Form:
    """The fields, the last of each name, with the ends of their lines as everywhere.

    Raises CsrfFailed for a form on another site, UnsupportedMediaType, and InvalidRequest for what is no text.
    """
    # Browsers send `Origin: null` with this form, because the page wants no referrer; this header says more anyway.
    if request.headers.get("sec-fetch-site") == "cross-site":
        raise CsrfFailed("This came from another site, so nothing was done. Decide on the page itself.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("Only the form on the page is understood here.")
    body = await request.body()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest("What was sent is not text in UTF-8, or has too many fields. Nothing was done.") from None
    if any("\x00" in text for field in fields for text in field):
        raise InvalidRequest("What was sent holds NUL characters, which cannot be kept. Nothing was done.")
    return {name: value.replace("\r\n", "\n").replace("\r", "\n") for name, value in fields}


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
