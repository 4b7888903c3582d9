"""What Postgres gives back of the fields that people edit, and what the next approver begins with."""

import pytest

from domain.approval_forms import form_fields
from domain.errors import InvalidRequest
from storage import deciding
from storage.approvals import get_approval
from storage.base import Sessions, transaction
from tests.support.approvals import approve, ask, by_link

ADA, BOB = "ada@example.com", "bob@example.com"
MAIL = {
    "type": "object",
    "properties": {
        "subject": {"type": "string", "maxLength": 80},
        "body": {"type": "string"},
        "at": {"type": "string", "format": "date"},
        "copies": {"type": "integer", "minimum": 0},
    },
}
DRAFT = {"subject": "Results", "body": "They are good.", "copies": 2}


async def test_fields_are_shown_in_the_order_in_which_they_were_given(sessions: Sessions, account: str) -> None:
    asked = await ask(sessions, account, editable=MAIL, payload={"z": 1, "body": "x", "a": {"c": 1, "b": 2}})
    async with sessions() as session:
        approval = await get_approval(session, asked.id)
    assert approval is not None
    assert approval.editable is not None
    assert [field.name for field in form_fields(approval.editable, {})] == ["subject", "body", "at", "copies"]
    assert list(approval.payload) == ["z", "body", "a"]
    assert list(approval.payload["a"]) == ["c", "b"]


async def test_an_approver_begins_with_what_the_last_one_left(sessions: Sessions, account: str) -> None:
    asked = await ask(sessions, account, editable=MAIL, payload=DRAFT, approvers=[ADA, BOB], quorum=2)
    async with transaction(sessions) as session:
        first = approve(response={"subject": "Good results", "copies": None})
        await deciding.vote(session, asked.id, by_link(ADA), first, asked.created_at)
    async with transaction(sessions) as session:
        approval = await deciding.vote(session, asked.id, by_link(BOB), approve(), asked.created_at)
    assert approval.status == "approved"
    assert approval.response == {"subject": "Good results", "body": "They are good."}


async def test_a_ballot_that_does_not_fit_is_no_vote(sessions: Sessions, account: str) -> None:
    asked = await ask(sessions, account, editable=MAIL, payload=DRAFT)
    with pytest.raises(InvalidRequest, match=r"response\.copies"):
        async with transaction(sessions) as session:
            await deciding.vote(session, asked.id, by_link(ADA), approve(response={"copies": -1}), asked.created_at)
    async with transaction(sessions) as session:
        approval = await deciding.vote(session, asked.id, by_link(ADA), approve(), asked.created_at)
    assert approval.response == DRAFT
