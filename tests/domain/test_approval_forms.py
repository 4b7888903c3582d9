"""What may be edited in an approval, which answers fit, and that a form gives back what it shows."""

import json
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.approval_controls import FormField
from domain.approval_forms import check_ballot, check_choices, check_editable, current_values, form_fields, parse_form
from domain.approvals import Ballot, Decision, Vote
from domain.errors import InvalidRequest
from tests.domain.builders import NOON, properties

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
AMOUNT: Schema = {"type": "number", "minimum": 0, "maximum": 1000, "multipleOf": 0.01}
REFUND: Schema = {
    "type": "object",
    "properties": {
        "amount": AMOUNT,
        "reason": {"type": "string", "minLength": 3, "maxLength": 200},
        "notify": {"type": "boolean", "default": True},
    },
    "required": ["amount"],
    "additionalProperties": False,
}
ASKED = {"amount": 19.99, "reason": "Broken cup", "order": 4711}


def editing(**fields: Any) -> Schema:
    return {"type": "object", "properties": fields}


def approve(response: Any = None, choice: str | None = None) -> Ballot:
    return Ballot(Decision.APPROVE, choice, response)


def voted(ballot: Ballot) -> Vote:
    return Vote("ada@example.com", ballot, NOON)


def answered(schema: Schema, response: Any, payload: Any = None, *votes: Vote) -> Mapping[str, Any] | None:
    return check_ballot((), schema, payload, votes, approve(response)).response


def refusal(schema: Schema, response: Any, payload: Any = None) -> dict[str, str]:
    """What is said of each field."""
    with pytest.raises(InvalidRequest) as caught:
        answered(schema, response, payload)
    return {problem.field: problem.message for problem in caught.value.fields}


def only(schema: Schema, value: Any = None, *, is_required: bool = False) -> FormField:
    """The control of a single field."""
    form = editing(field=schema) | ({"required": ["field"]} if is_required else {})
    return form_fields(form, {} if value is None else {"field": value})[0]


def browser(fields: tuple[FormField, ...]) -> dict[str, str]:
    """What a browser sends if nobody touches the form."""
    return {
        f"response.{field.name}": field.value.replace("\n", "\r\n")
        for field in fields
        if field.kind != "boolean" or field.value == "true"
    }


@pytest.mark.parametrize(
    "schema",
    [
        REFUND,
        editing(x=TEXT) | {"title": "Mail", "description": "What is sent"},
        editing(x={"type": "string", "enum": ["a", "b"], "default": "b", "title": "X", "description": "One of them"}),
        editing(x={"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9}),
        editing(x={"type": "array", "items": {"type": "string"}, "minItems": 0, "maxItems": 9, "uniqueItems": True}),
        editing(x={"type": "boolean", "const": True}),
        editing(x={"type": "object", "properties": {"y": {"type": "array", "items": TEXT}}, "required": ["y"]}),
        *(editing(x={"type": "string", "format": name}) for name in ("date", "date-time", "email", "uri")),
        editing(**{f"field {number}": TEXT for number in range(30)}),
        editing(**{"ä" * 100: TEXT}),
    ],
)
def test_a_schema_that_forms_can_show_is_taken(schema: Schema) -> None:
    check_editable(schema, None)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "must be a JSON Schema"),
        ({}, "type: must be object"),
        ({"type": "array"}, "type: must be object"),
        ({"type": "object"}, "properties: is missing"),
        (editing(), "properties: is missing"),
        ({"type": "object", "properties": []}, "properties: must be an object"),
        (editing(x=TEXT) | {"$ref": "http://example.com/"}, "$ref: is not taken"),
        (editing(x=TEXT) | {"patternProperties": {"(a+)+$": TEXT}}, "patternProperties: is not taken"),
        (editing(x=TEXT) | {"additionalProperties": True}, "additionalProperties: can only be false"),
        (editing(x=TEXT) | {"enum": [{}]}, "enum: is not taken"),
        (editing(x=TEXT | {"pattern": "(a+)+$"}), "properties.x.pattern: is not taken, for it could run long"),
        (editing(x={"$dynamicRef": "#x"}), "properties.x.$dynamicRef: is not taken"),
        (editing(x={"anyOf": [TEXT]}), "properties.x.anyOf: is not taken"),
        (editing(x={"type": "array", "items": {"$ref": "#"}}), "properties.x.items.$ref: is not taken"),
        (editing(x={}), "properties.x.type: must be one of string"),
        (editing(x={"type": ["string", "null"]}), "properties.x.type: must be one of string"),
        (editing(x={"type": "null"}), "properties.x.type: must be one of string"),
        (editing(x=True), "properties.x: must be an object"),
        (editing(x={"type": "array", "items": False}), "properties.x.items: must be an object"),
        (editing(x=TEXT | {"format": "regex"}), "properties.x.format: must be one of date"),
        (editing(x=TEXT | {"format": []}), "properties.x.format: must be one of date"),
        (editing(x=TEXT | {"minLength": -1}), "properties.x.minLength: "),
        (editing(x=TEXT | {"maxLength": "9"}), "properties.x.maxLength: "),
        (editing(x=TEXT | {"title": 5}), "properties.x.title: "),
        (editing(x=TEXT | {"enum": "ab"}), "properties.x.enum: "),
        (editing(x={"type": "number", "multipleOf": 0}), "properties.x.multipleOf: "),
        (editing(x={"type": "number", "minimum": float("nan")}), "properties.x.minimum must be a number between"),
        (editing(x=TEXT | {"title": "\x00"}), "properties.x.title contains NUL"),
        (editing(**{"\ud800": TEXT}), "properties has a field whose name"),
        (editing(**{"": TEXT}), "1 to 100 printable characters"),
        (editing(**{"x" * 101: TEXT}), "1 to 100 printable characters"),
        (editing(**{"a\nb": TEXT}), "1 to 100 printable characters"),
        (editing(**{f"x{number}": TEXT for number in range(31)}), "has 31 fields in all; 30 are the most"),
        (editing(x={"type": "object", **editing(**{f"x{number}": TEXT for number in range(30)})}), "31 fields"),
        (editing(x=TEXT | {"description": "x" * 10_000}), "10000 is the most"),
        (editing(a=editing(b=editing(c=TEXT))), None),
        (editing(a=editing(b=editing(c=editing(d=TEXT)))), "a.properties.b.properties.c: is nested too deeply"),
        (editing(x=TEXT) | {"required": ["y"]}, "required: names y"),
        (editing(x=TEXT | {"enum": []}), "properties.x.enum: is empty"),
        (editing(x=TEXT | {"enum": [""]}), "properties.x.enum: has a text that is empty"),
        (editing(x=TEXT | {"enum": ["a\nb"]}), "properties.x.enum: has a text that"),
        (editing(x=TEXT | {"enum": ["a", "\u200b"]}), "properties.x.enum: has a text that"),
        (editing(x=TEXT | {"enum": ["a", 5]}), "properties.x.enum: has a value that must be text"),
        (editing(x={"type": "integer", "minimum": 5, "const": 4}), "properties.x.const: has a value that must be at"),
        (editing(x={"type": "integer", "minimum": 5, "maximum": 4}), "properties.x.minimum: is more than maximum"),
        (editing(x=TEXT | {"default": 5}), "properties.x: the value that its default gives it must be text"),
        (editing(x={"type": "number", "default": 1e300}), "its default gives it must be a number between|default must"),
    ],
)
def test_a_schema_that_could_hang_reach_out_or_not_be_shown_is_refused(schema: Any, words: str | None) -> None:
    if words is None:
        check_editable(schema, None)
        return
    with pytest.raises(InvalidRequest) as caught:
        check_editable(schema, None)
    assert [problem.field for problem in caught.value.fields] == ["editable"]
    assert any(part in caught.value.message for part in words.split("|")), caught.value.message


def test_the_payload_must_fit_the_fields_it_fills() -> None:
    check_editable(REFUND, ASKED)
    check_editable(REFUND, ["not", "an", "object"])
    with pytest.raises(
        InvalidRequest, match=r"properties.amount: the value that payload gives it must be at most 1000"
    ):
        check_editable(REFUND, {"amount": 5000})
    with pytest.raises(InvalidRequest, match=r"properties.reason: the value that payload gives it contains NUL"):
        check_editable(REFUND, {"reason": "a\x00b"})
    nested = editing(o={"type": "object", "properties": {"a": TEXT}})
    with pytest.raises(InvalidRequest, match=r"the value that payload gives o.evil is not one of the fields"):
        check_editable(nested, {"o": {"a": "x", "evil": 1}, "more": 1})
    with pytest.raises(InvalidRequest, match="more than 100000 bytes"):
        check_editable(editing(x=TEXT), {"x": "x" * 100_000})


@pytest.mark.parametrize(
    ("schema", "payload", "values"),
    [
        (REFUND, ASKED, {"amount": 19.99, "reason": "Broken cup", "notify": True}),
        (REFUND, {"notify": False}, {"notify": False}),
        (REFUND, {"notify": None}, {"notify": True}),
        (REFUND, "text", {"notify": True}),
        (editing(x=TEXT | {"default": "a\r\nb\rc"}), None, {"x": "a\nb\nc"}),
        (editing(x=TEXT, y={"type": "boolean"}, z={"type": "integer"}), None, {"x": "", "y": False}),
        (editing(x=TEXT | {"minLength": 1}, y=TEXT | {"format": "date"}, z=TEXT | {"enum": ["a"]}), None, {}),
    ],
)
def test_what_fields_begin_with(schema: Schema, payload: Any, values: Schema) -> None:
    assert current_values(schema, payload, []) == values


def test_fields_hold_what_the_last_approver_left_in_them() -> None:
    first, second = voted(approve({"amount": 5, "notify": True})), voted(approve({"amount": 7, "notify": True}))
    denial = voted(Ballot(Decision.DENY))
    assert current_values(REFUND, ASKED, [first, second, denial]) == {"amount": 7, "notify": True}
    assert answered(REFUND, {"notify": False}, ASKED, first, denial) == {"amount": 5, "notify": False}


@pytest.mark.parametrize(
    ("choices", "ballot", "field", "words"),
    [
        (("small", "large"), approve(), "choice", "is required to approve: one of small, large"),
        (("small", "large"), approve(choice="medium"), "choice", "must be one of small, large"),
        ((), approve(choice="small"), "choice", "offers no choices"),
        (("small",), Ballot(Decision.DENY, "small"), "choice", "a denial has no choice"),
        ((), Ballot(Decision.DENY, response={}), "response", "a denial has no response"),
        ((), approve({}), "response", "no fields to edit"),
    ],
)
def test_a_ballot_that_does_not_fit_is_refused(
    choices: tuple[str, ...], ballot: Ballot, field: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_ballot(choices, None, None, [], ballot)
    assert [problem.field for problem in caught.value.fields] == [field]


@pytest.mark.parametrize(
    ("choices", "ballot"),
    [
        ((), approve()),
        (("small", "large"), approve(choice="large")),
        (("small", "large"), Ballot(Decision.DENY, notes="Neither")),
    ],
)
def test_a_ballot_that_fits_is_kept_as_it_is(choices: tuple[str, ...], ballot: Ballot) -> None:
    assert check_ballot(choices, None, None, [], ballot) == ballot


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (["one", " two"], "without blanks around them, unlike ' two'"),
        (["one", "two\n"], "lines that can be read"),
        (["one", "t\nwo"], "lines that can be read"),
        (["one", "t\x07wo"], "lines that can be read"),
        (["one", "\u202eowt"], "lines that can be read"),
        (["one", "\u200b"], "lines that can be read"),
        (["one", "ONE"], "must differ"),
        (["one", "o\u200bne"], "must differ"),
        (["Straße", "STRASSE"], "must differ"),
        (["one", "DENY"], "must not read 'DENY'"),
        (["one", "Approve"], "must not read 'Approve'"),
    ],
)
def test_choices_that_people_could_not_tell_apart_are_refused(choices: list[str], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_choices(choices, Decision.DENY)
    assert [problem.field for problem in caught.value.fields] == ["choices"]


def test_silence_cannot_choose() -> None:
    check_choices(["one", "two"], Decision.DENY)
    with pytest.raises(InvalidRequest, match="silence cannot choose") as caught:
        check_choices(["one", "two"], Decision.APPROVE)
    assert [problem.field for problem in caught.value.fields] == ["timeout_action"]


def test_a_response_is_filled_in() -> None:
    assert answered(REFUND, None, ASKED) == {"amount": 19.99, "reason": "Broken cup", "notify": True}
    assert answered(REFUND, {"amount": 5}, ASKED) == {"amount": 5, "reason": "Broken cup", "notify": True}
    assert answered(REFUND, {"reason": None}, ASKED) == {"amount": 19.99, "notify": True}
    assert check_ballot((), REFUND, ASKED, [], Ballot(Decision.DENY)).response is None


def test_whoever_changes_nothing_agrees_with_the_others() -> None:
    first = check_ballot((), REFUND, ASKED, [], approve({"amount": 5}))
    second = check_ballot((), REFUND, ASKED, [voted(first)], approve())
    assert second.agrees_with(first)


@pytest.mark.parametrize(
    ("schema", "response", "problems"),
    [
        (REFUND, {"amount": 5, "x": 1, "order": 2}, {"response.x": "is not one of", "response.order": "is not one of"}),
        (
            REFUND,
            {"amount": -1, "reason": "no"},
            {"response.amount": "at least 0", "response.reason": "at least 3 char"},
        ),
        (REFUND, {}, {"response.amount": "is required"}),
        (REFUND, {"amount": None}, {"response.amount": "is required"}),
        (REFUND, {"amount": "5"}, {"response.amount": "must be a number"}),
        (REFUND, {"amount": True}, {"response.amount": "must be a number"}),
        (REFUND, {"amount": 5.001}, {"response.amount": "a multiple of 0.01"}),
        (REFUND, {"amount": float("nan")}, {"response.amount": "between"}),
        (REFUND, {"amount": float("-inf")}, {"response.amount": "between"}),
        (REFUND, {"amount": 10**5000}, {"response.amount": "between"}),
        (REFUND, {"amount": 5, "reason": "a\x00bc"}, {"response.reason": "NUL"}),
        (REFUND, {"amount": 5, "reason": "abc\udfff"}, {"response.reason": "surrogates"}),
        (REFUND, {"\x00": 5}, {"response": "a field whose name"}),
        (REFUND, [], {"response": "must be an object"}),
        (editing(x=TEXT), {"x": "x" * 100_001}, {"response": "100000 is the most"}),
        (editing(x={"type": "integer"}), {"x": 1.5}, {"response.x": "must be a whole number"}),
        (editing(x={"type": "integer", "exclusiveMinimum": 1}), {"x": 1}, {"response.x": "more than 1"}),
        (editing(x={"type": "integer", "exclusiveMaximum": 1}), {"x": 1}, {"response.x": "less than 1"}),
        (editing(x=TEXT | {"minLength": 1}), {"x": ""}, {"response.x": "must not be empty"}),
        (editing(x=TEXT | {"maxLength": 2}), {"x": "abc"}, {"response.x": "at most 2 characters"}),
        (editing(x=TEXT | {"enum": [*"abcdefghijkl"]}), {"x": "z"}, {"response.x": "i, j and 2 others"}),
        (editing(x={"type": "boolean", "const": True}), {"x": False}, {"response.x": "must be true"}),
        (
            editing(x={"type": "array", "items": AMOUNT}),
            {"x": [1, -1, "a"]},
            {"response.x.1": "0", "response.x.2": "a"},
        ),
        (editing(x={"type": "array", "minItems": 2}), {"x": [1]}, {"response.x": "at least 2 entries"}),
        (editing(x={"type": "array", "minItems": 1}), {"x": []}, {"response.x": "must not be empty"}),
        (editing(x={"type": "array", "maxItems": 1}), {"x": [1, 2]}, {"response.x": "at most 1 entries"}),
        (editing(x={"type": "array", "uniqueItems": True}), {"x": [{"a": 1}, {"a": 1.0}]}, {"response.x": "twice"}),
        (editing(x={**REFUND}), {"x": {"z": 1}}, {"response.x.amount": "is required", "response.x.z": "not one of"}),
        (
            editing(o={"type": "object", "properties": {"a": TEXT}}),
            {"o": {"evil": 1}},
            {"response.o.evil": "not one of"},
        ),
        (
            editing(x={"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}}),
            {"x": [{"a": "b"}, {"evil": 1, "a": 2}]},
            {"response.x.1.a": "must be text", "response.x.1.evil": "is not one of the fields"},
        ),
        (editing(x=TEXT | {"format": "date"}), {"x": "2026-02-30"}, {"response.x": "must be a date such as"}),
        (editing(x=TEXT | {"format": "date-time"}), {"x": "2026-02-03"}, {"response.x": "must be a time such as"}),
        (editing(x=TEXT | {"format": "date-time"}), {"x": "2026-02-03T25:00:00Z"}, {"response.x": "must be a time"}),
        (editing(x=TEXT | {"format": "email"}), {"x": "ada"}, {"response.x": "must be an e-mail address"}),
        (editing(x=TEXT | {"format": "uri"}), {"x": "example.com"}, {"response.x": "must be an address such as"}),
    ],
)
def test_what_is_wrong_with_a_response_is_said_of_each_field(
    schema: Schema, response: Any, problems: dict[str, str]
) -> None:
    found = refusal(schema, response)
    assert list(found) == list(problems)
    assert all(words in found[field] for field, words in problems.items()), found


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (AMOUNT, 19.99),
        (AMOUNT, 0.3),
        ({"type": "integer", "multipleOf": 1e-300}, 2**62),
        ({"type": "integer"}, 5.0),
        ({"type": "array", "uniqueItems": True}, [1, True, "1", [1], {"a": 1}]),
        (TEXT | {"format": "date-time"}, "2026-02-03T04:05:06.7+01:00"),
        (TEXT | {"format": "date-time"}, "2026-02-03t04:05:06z"),
        (TEXT | {"format": "date"}, "2028-02-29"),
        (TEXT | {"format": "email"}, "ada@example.com"),
        (TEXT | {"format": "uri"}, "mailto:ada@example.com"),
    ],
)
def test_good_values_are_taken(schema: Schema, value: Any) -> None:
    assert answered(editing(x=schema), {"x": value}) == {"x": value}


@pytest.mark.parametrize("members", [{}, {"properties": {}}])
def test_an_object_without_fields_is_json_at_will(members: Schema) -> None:
    assert answered(editing(o={"type": "object", **members}), {"o": {"a": 1}}) == {"o": {"a": 1}}


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "number"}}}
    schema = editing(
        a={"type": "integer"},
        b={"type": "integer", "default": 7.0},
        c={"type": "array", "items": inner},
        d={"type": "integer", "enum": [1.0, 2]},
        e={"type": "number"},
    )
    response = parse_form(schema, {"response.a": "1e3", "response.d": "1.0"})
    response |= {"c": [{"n": -2.0, "m": 3.0}], "e": 5.0}
    expected = '{"a": 1000, "b": 7, "c": [{"m": 3.0, "n": -2}], "d": 1, "e": 5.0}'
    assert json.dumps(answered(schema, response), sort_keys=True) == expected
    assert json.dumps(current_values(schema, {"a": 4.0}, [])) == '{"a": 4, "b": 7}'
    check_editable(schema, {"a": 4.0})
    for value in (1.5, float("inf"), float("nan"), 1e300):
        assert "response.a" in refusal(schema, {"a": value})


def test_a_response_that_is_nested_without_end_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(50):
        nested = [nested]
    found = refusal(editing(x={"type": "array"}), {"x": nested})
    assert "nested too deeply" in next(iter(found.values()))


def test_many_entries_are_compared_in_no_time() -> None:
    begun = perf_counter()
    entries = [{"a": number} for number in range(8_000)]
    assert answered(editing(x={"type": "array", "uniqueItems": True}), {"x": entries}) == {"x": entries}
    assert perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": TEXT}, list(range(15_000))),
        ({"type": "array"}, ["\x00"] * 10_000),
        (TEXT | {"format": "email"}, "a@" * 40_000),
    ],
)
def test_the_largest_response_is_refused_in_no_time_and_not_at_length(schema: Schema, value: Any) -> None:
    begun = perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        answered(editing(x=schema), {"x": value})
    assert len(caught.value.fields) <= 20
    assert len(caught.value.message) < 1_000
    assert perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("schema", "value", "kind", "shown"),
    [
        (TEXT, "a", "multiline", "a"),
        (TEXT | {"maxLength": 201}, "a", "multiline", "a"),
        (TEXT | {"maxLength": 200}, "a", "text", "a"),
        (TEXT | {"maxLength": 200}, "a\nb", "multiline", "a\nb"),
        (TEXT | {"format": "date"}, "2026-01-01", "text", "2026-01-01"),
        (TEXT | {"enum": ["a", "b"]}, "b", "select", "b"),
        ({"type": "number", "enum": [1, 2.5]}, 1.0, "select", "1"),
        ({"type": "boolean", "const": True}, None, "select", ""),
        ({"type": "number"}, 2.5, "number", "2.5"),
        ({"type": "integer"}, 2, "integer", "2"),
        ({"type": "integer"}, None, "integer", ""),
        ({"type": "boolean"}, True, "boolean", "true"),
        ({"type": "boolean"}, False, "boolean", "false"),
        ({"type": "array"}, ["ä", 1], "json", '[\n  "ä",\n  1\n]'),
        ({"type": "object"}, {"a": "1"}, "json", '{\n  "a": "1"\n}'),
    ],
)
def test_which_control_a_field_gets(schema: Schema, value: Any, kind: str, shown: str) -> None:
    field = only(schema, value)
    assert (field.name, field.kind, field.value) == ("field", kind, shown)


def test_a_control_says_what_the_field_is_for() -> None:
    field = only(TEXT | {"title": "Subject line", "description": "What they read first."})
    assert (field.label, field.help) == ("Subject line", "What they read first.")
    assert form_fields(editing(valid_until=TEXT), {})[0].label == "Valid until"


@pytest.mark.parametrize(
    ("schema", "value", "is_required", "must_be_filled", "options"),
    [
        (TEXT, None, True, False, []),
        (TEXT | {"minLength": 1}, None, True, True, []),
        (TEXT | {"minLength": 1}, None, False, False, []),
        ({"type": "boolean"}, None, True, False, []),
        ({"type": "integer"}, None, True, True, []),
        (TEXT | {"enum": ["a", "b"]}, "a", True, True, ["a", "b"]),
        (TEXT | {"enum": ["a", "b"]}, None, True, True, ["", "a", "b"]),
        (TEXT | {"enum": ["a", "b"]}, "a", False, False, ["", "a", "b"]),
        ({"type": "number", "enum": [1, 2.5]}, None, False, False, ["", "1", "2.5"]),
    ],
)
def test_nothing_is_filled_in_or_chosen_by_accident(
    schema: Schema, value: Any, is_required: bool, must_be_filled: bool, options: list[str]
) -> None:
    field = only(schema, value, is_required=is_required)
    assert field.required is must_be_filled
    # Also of a text that must be there and may be empty.
    assert field.optional is not is_required
    assert [value for value, _ in field.options] == options


@pytest.mark.parametrize(
    ("schema", "attributes"),
    [
        (TEXT | {"minLength": 1, "maxLength": 9}, {"minlength": "1", "maxlength": "9"}),
        (TEXT | {"format": "date"}, {"placeholder": "YYYY-MM-DD"}),
        (TEXT | {"format": "email"}, {"inputmode": "email"}),
        (TEXT | {"enum": ["a"]}, {}),
        ({"type": "number"}, {"step": "any"}),
        (AMOUNT, {"min": "0", "max": "1000", "step": "0.01"}),
        ({"type": "number", "minimum": 1, "multipleOf": 2}, {"min": "1", "step": "any"}),
        ({"type": "integer", "minimum": 0.5, "maximum": 9.5}, {"min": "1", "max": "9", "step": "1"}),
    ],
)
def test_browsers_are_told_limits_that_are_never_too_strict(schema: Schema, attributes: dict[str, str]) -> None:
    assert only(schema).attributes == attributes


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (TEXT, "a\r\nb", "a\nb"),
        (TEXT, "", ""),
        (TEXT, "  ", "  "),
        (TEXT | {"minLength": 1}, "", None),
        ({"type": "number"}, " 2.50 ", 2.5),
        ({"type": "number"}, "", None),
        ({"type": "integer"}, "-007", -7),
        ({"type": "integer"}, "1e3", 1000),
        ({"type": "boolean"}, "on", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, None, False),
        ({"type": "array"}, "[1,\r\n2]", [1, 2]),
        ({"type": "array"}, " ", None),
        (TEXT | {"enum": ["a"]}, "", None),
        ({"type": "number", "enum": [1, 2.5]}, "2.5", 2.5),
    ],
)
def test_what_was_filled_in_is_read(schema: Schema, text: str | None, value: Any) -> None:
    form = {"nonce": "x", **({"response.x": text} if text is not None else {})}
    assert parse_form(editing(x=schema), form) == {"x": value}


def test_a_control_that_was_not_sent_keeps_its_value() -> None:
    assert parse_form(editing(x=TEXT, y={"type": "integer"}), {"response.y": "5"}) == {"y": 5}


@pytest.mark.parametrize(
    ("schema", "text", "words"),
    [
        ({"type": "number"}, "2,5", "must be a number such as"),
        ({"type": "number"}, "NaN", "must be a number such as"),
        ({"type": "integer"}, "9" * 5000, "must be a whole number such as"),
        ({"type": "integer"}, "٣", "must be a whole number such as"),
        ({"type": "array"}, "[1,", "is not JSON: .* line 1, column 4"),
        ({"type": "array"}, "[" * 100_000, "nested too deeply"),
        ({"type": "array"}, "[" + "9" * 5000 + "]", "a number that is too long"),
        (TEXT | {"enum": ["a"]}, "b", "must be one of the options"),
    ],
)
def test_what_cannot_be_read_is_named(schema: Schema, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        parse_form(editing(x=schema, y=TEXT), {"response.x": text, "response.y": ""})
    assert [problem.field for problem in caught.value.fields] == ["response.x"]


def test_a_control_of_no_field_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is not one of the fields"):
        parse_form(editing(x=TEXT), {"response.z": "1"})


@pytest.mark.parametrize("text", ["[NaN]", "[1e999]", '["\\u0000"]', '["\\ud800"]', "[[[[" * 6 + "]]]]" * 6])
def test_what_json_can_smuggle_in_is_refused(text: str) -> None:
    schema = editing(x={"type": "array"})
    assert refusal(schema, parse_form(schema, {"response.x": text}))


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=30)
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(-1e18, 1e18, allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | LINES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LINES, inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.one_of(
    st.tuples(st.just(TEXT), LINES),
    st.tuples(st.just(TEXT | {"maxLength": 30}), LINES),
    st.tuples(st.just(TEXT | {"minLength": 1}), st.none() | LINES.filter(str.strip)),
    st.tuples(st.just(TEXT | {"enum": ["a", "b c", "5", "ü"]}), st.none() | st.sampled_from(["a", "b c", "5", "ü"])),
    st.tuples(st.just({"type": "number"}), st.none() | NUMBERS),
    st.tuples(st.just({"type": "number", "enum": [1, 2.5]}), st.none() | st.sampled_from([1.0, 2.5])),
    st.tuples(st.just({"type": "integer"}), st.none() | st.integers(-(2**62), 2**62)),
    st.tuples(st.just({"type": "boolean"}), st.booleans()),
    st.tuples(st.just({"type": "array"}), st.none() | st.lists(JSON, max_size=3)),
    st.tuples(st.just({"type": "object"}), st.none() | st.dictionaries(LINES, JSON, max_size=3)),
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.isprintable)


@given(st.dictionaries(NAMES, FIELDS, min_size=1, max_size=5))
@properties
def test_a_form_that_nobody_touches_gives_back_what_it_shows(fields: dict[str, tuple[Schema, Any]]) -> None:
    schema = editing(**{name: field for name, (field, _) in fields.items()})
    payload = {name: value for name, (_, value) in fields.items() if value is not None}
    check_editable(schema, payload)
    response = parse_form(schema, browser(form_fields(schema, current_values(schema, payload, []))))
    assert {name: value for name, value in response.items() if value is not None} == payload
    assert answered(schema, response, payload) == answered(schema, None, payload) == payload
    assert json.loads(json.dumps(payload)) == payload
