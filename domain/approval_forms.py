"""What of an approval people may choose and edit: ballots that fit what was asked, and forms to fill in.

Editable fields begin with what the payload or the schema gives them; each approver sees what the last one made of
them. In an answer, a field that is left out keeps its value, and one that is null has none any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from domain.approval_controls import FormField, control_of, kind_of, may_be_empty_text, plain_lines, read
from domain.approval_schemas import (
    MAX_PROBLEMS,
    check_schema,
    json_size,
    problems_of,
    unstorable,
    with_whole_numbers,
)
from domain.approvals import Ballot, Decision, Vote
from domain.errors import FieldError, InvalidRequest
from domain.words import is_line, look_of

__all__ = [
    "FormField",
    "check_ballot",
    "check_choices",
    "check_editable",
    "current_values",
    "form_fields",
    "parse_form",
]

MAX_RESPONSE_BYTES: Final = 100_000


def check_choices(choices: Sequence[str], timeout_action: Decision) -> None:
    """Whether people can tell these choices from each other and from a denial. Raises InvalidRequest that names
    `choices` or `timeout_action`."""
    for choice in choices:
        if choice != choice.strip() or not is_line(choice):
            raise InvalidRequest.of_field(
                "choices", f"must be lines that can be read, without blanks around them, unlike {choice!r}"
            )
        if look_of(choice) in tuple(Decision):
            raise InvalidRequest.of_field(
                "choices",
                f"must not read {choice!r}: each choice stands for approving, and to deny there is a button anyway",
            )
    if len({look_of(choice) for choice in choices}) < len(choices):
        raise InvalidRequest.of_field("choices", "must differ from each other by more than case and blanks")
    if timeout_action is Decision.APPROVE:
        raise InvalidRequest.of_field(
            "timeout_action", "must be deny where there are choices: silence cannot choose one of them"
        )


def check_editable(editable: Mapping[str, Any], payload: Any) -> None:
    """Whether people can be given these fields to edit. Raises InvalidRequest that names `editable`."""
    check_schema(editable, "editable")
    values = _initial_values(editable, payload)
    for name, value in values.items():
        problems = _problems_of_field(editable, name, value)
        if problems:
            source = "payload" if isinstance(payload, Mapping) and payload.get(name) is not None else "its default"
            what = "it" if problems[0].field == name else problems[0].field
            raise InvalidRequest.of_field(
                "editable", f"properties.{name}: the value that {source} gives {what} {problems[0].message}"
            )
    if json_size(values) > MAX_RESPONSE_BYTES:
        raise InvalidRequest.of_field("editable", f"the values take more than {MAX_RESPONSE_BYTES} bytes")


def check_ballot(
    choices: Sequence[str],
    editable: Mapping[str, Any] | None,
    payload: Any,
    votes: Sequence[Vote],
    ballot: Ballot,
) -> Ballot:
    """The ballot as it is to be kept, its response filled in. Raises InvalidRequest for one that does not fit."""
    if ballot.decision is Decision.DENY:
        for name, given in (("choice", ballot.choice), ("response", ballot.response)):
            if given is not None:
                raise InvalidRequest.of_field(name, f"a denial has no {name}; leave it out, or approve")
        return ballot
    _check_choice(choices, ballot.choice)
    if editable is None:
        if ballot.response is not None:
            raise InvalidRequest.of_field("response", "this approval has no fields to edit; leave it out")
        return ballot
    return replace(ballot, response=_filled_in(editable, current_values(editable, payload, votes), ballot.response))


def current_values(editable: Mapping[str, Any], payload: Any, votes: Sequence[Vote]) -> dict[str, Any]:
    """What the fields hold: what the last approver left in them, or what they began with."""
    for vote in reversed(votes):
        if vote.ballot.decision is Decision.APPROVE and vote.ballot.response is not None:
            return dict(vote.ballot.response)
    return _initial_values(editable, payload)


def form_fields(editable: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[FormField, ...]:
    """The form that shows `values`, in the order in which the fields were given."""
    required = editable.get("required", ())
    return tuple(
        control_of(name, schema, values.get(name), name in required) for name, schema in _properties(editable).items()
    )


def parse_form(editable: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """What was filled in, as a response: null for a field that was cleared. Raises InvalidRequest for what cannot be
    read; whether it is allowed is for `check_ballot`.

    A browser sends nothing for a box that is not ticked. Any other control that is missing keeps its value.
    """
    response: dict[str, Any] = {}
    problems: list[FieldError] = []
    for name, schema in _properties(editable).items():
        control = f"response.{name}"
        if kind_of(schema) == "boolean":
            response[name] = form.get(control, "") not in ("", "false")
        elif control in form:
            try:
                response[name] = read(schema, form[control])
            except ValueError as error:
                problems.append(FieldError(control, str(error)))
    known = {f"response.{name}" for name in _properties(editable)}
    problems += [
        FieldError(control, "is not one of the fields")
        for control in form
        if control.startswith("response.") and control not in known
    ]
    if problems:
        raise _invalid(problems)
    return response


def _properties(editable: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    properties: Mapping[str, Mapping[str, Any]] = editable["properties"]
    return properties


def _initial_values(editable: Mapping[str, Any], payload: Any) -> dict[str, Any]:
    """A text that may be empty and a box always have a value: a form could not show that they have none, and two
    approvers who changed nothing would not agree."""
    given = payload if isinstance(payload, Mapping) else {}
    values: dict[str, Any] = {}
    for name, schema in _properties(editable).items():
        if given.get(name) is not None:
            values[name] = given[name]
        elif "default" in schema:
            values[name] = schema["default"]
        elif kind_of(schema) == "boolean":
            values[name] = False
        elif may_be_empty_text(schema):
            values[name] = ""
    return _tidied(editable, values)


def _filled_in(
    editable: Mapping[str, Any], current: Mapping[str, Any], response: Mapping[str, Any] | None
) -> dict[str, Any]:
    if response is not None and not isinstance(response, Mapping):
        raise InvalidRequest.of_field("response", "must be an object of the fields to edit")
    given = _tidied(editable, response or {})
    if problems := tuple(islice(unstorable(given, "response"), MAX_PROBLEMS)):
        raise _invalid(problems)
    values = {name: value for name, value in {**current, **given}.items() if value is not None}
    fields = _properties(editable)
    unknown = [
        FieldError(f"response.{name}", f"is not one of the fields: {', '.join(fields)}")
        for name in given
        if name not in fields
    ]
    known = {name: value for name, value in values.items() if name in fields}
    if problems := (*unknown, *problems_of(editable, known, "response")):
        raise _invalid(problems[:MAX_PROBLEMS])
    if (size := json_size(known)) > MAX_RESPONSE_BYTES:
        raise InvalidRequest.of_field("response", f"takes {size} bytes; {MAX_RESPONSE_BYTES} is the most")
    return known


def _check_choice(choices: Sequence[str], choice: str | None) -> None:
    if not choices:
        if choice is not None:
            raise InvalidRequest.of_field("choice", "this approval offers no choices; leave it out")
    elif choice is None:
        raise InvalidRequest.of_field("choice", f"is required to approve: one of {', '.join(choices)}")
    elif choice not in choices:
        raise InvalidRequest.of_field("choice", f"must be one of {', '.join(choices)}")


def _problems_of_field(editable: Mapping[str, Any], name: str, value: Any) -> tuple[FieldError, ...]:
    return tuple(islice(unstorable(value, name), 1)) or problems_of(_properties(editable)[name], value, name)


def _tidied(editable: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are kept: with plain ends of lines, and whole numbers where they are due."""
    plain = {name: plain_lines(value) if isinstance(value, str) else value for name, value in values.items()}
    return dict(with_whole_numbers(editable, plain))


def _invalid(problems: Sequence[FieldError]) -> InvalidRequest:
    words = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return InvalidRequest(words + (" …" if len(problems) > 3 else ""), fields=tuple(problems))
