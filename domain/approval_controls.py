"""The controls of a form for the fields of an approval: what each shows, and how to read what was filled in."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, Final, Literal

from domain.approval_schemas import choices_of, problems_of

MAX_LINE: Final = 200
"""Longer texts get a box of several lines."""

_NUMBER = re.compile(r"-?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,4})?", re.ASCII)

Kind = Literal["text", "multiline", "number", "integer", "boolean", "select", "json"]


@dataclass(frozen=True)
class FormField:
    """One control of a form, named `response.<name>`.

    `value` is what it shows; of a boolean, `true` if it is ticked. `options` are values and labels of a select.
    `attributes` are HTML's, so that a browser can tell of a mistake before it is sent. A field is `required` if a
    browser must not send it empty, and `optional` if it need not be there at all: a text that must be there and may be
    empty is neither.
    """

    name: str
    label: str
    kind: Kind
    value: str
    options: tuple[tuple[str, str], ...] = ()
    help: str | None = None
    required: bool = False
    optional: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


def kind_of(schema: Mapping[str, Any], value: Any = None) -> Kind:
    if choices_of(schema) is not None:
        return "select"
    kind = schema["type"]
    if kind != "string":
        return "json" if kind in ("array", "object") else kind
    is_long = "format" not in schema and schema.get("maxLength", MAX_LINE + 1) > MAX_LINE
    return "multiline" if is_long or "\n" in (value or "") else "text"


def may_be_empty_text(schema: Mapping[str, Any]) -> bool:
    return schema["type"] == "string" and choices_of(schema) is None and not problems_of(schema, "", "")


def control_of(name: str, schema: Mapping[str, Any], value: Any, is_required: bool) -> FormField:
    kind = kind_of(schema, value)
    # Of a box, HTML's `required` would mean that it must be ticked.
    must_be_filled = is_required and kind != "boolean" and not may_be_empty_text(schema)
    options: tuple[tuple[str, str], ...] = ()
    if kind == "select":
        choices = choices_of(schema) or ()
        # 1 and 1.0 are the same value and look different.
        value = next((choice for choice in choices if choice == value), None)
        listed = dict.fromkeys(_shown(schema, choice) for choice in choices)
        # Nothing is chosen by accident: without a value there is an option that says so.
        nothing = () if must_be_filled and value is not None else (("", "–"),)
        options = (*nothing, *((option, option) for option in listed))
    return FormField(
        name,
        schema.get("title") or (name[:1].upper() + name[1:]).replace("_", " "),
        kind,
        "" if value is None else _shown(schema, value),
        options,
        schema.get("description") or None,
        must_be_filled,
        not is_required,
        _attributes(schema, kind),
    )


def _shown(schema: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, str) and schema["type"] == "string":
        return value
    indent = 2 if kind_of(schema) == "json" else None
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _attributes(schema: Mapping[str, Any], kind: Kind) -> dict[str, str]:
    if kind in ("text", "multiline"):
        names = {"minLength": "minlength", "maxLength": "maxlength"}
        limits = {html: str(schema[name]) for name, html in names.items() if name in schema}
        placeholders = {"date": "YYYY-MM-DD", "date-time": "YYYY-MM-DDThh:mm:ssZ"}
        modes = {"email": "email", "uri": "url"}
        given = schema.get("format")
        return {
            **limits,
            **({"placeholder": placeholders[given]} if given in placeholders else {}),
            **({"inputmode": modes[given]} if given in modes else {}),
        }
    if kind not in ("number", "integer"):
        return {}
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if kind == "integer":
        # A browser counts steps from `min`.
        least, most = least if least is None else ceil(least), most if most is None else floor(most)
        step = step or 1
    fits = step is not None and (least is None or not problems_of({"multipleOf": step}, least, ""))
    bounds = {"min": least, "max": most, "step": step if fits else "any"}
    return {name: str(bound) for name, bound in bounds.items() if bound is not None}


def read(schema: Mapping[str, Any], text: str) -> Any:
    """What was filled in; None for nothing. Raises ValueError with words for whoever filled it in."""
    text = plain_lines(text)
    if may_be_empty_text(schema):
        return text
    if not text.strip():
        return None
    if choices_of(schema) is not None:
        return _read_choice(schema, text)
    if schema["type"] == "string":
        return text
    return _read_number(schema, text) if schema["type"] in ("number", "integer") else _read_json(text)


def plain_lines(text: str) -> str:
    """Browsers end lines in their own way, so the end of a line says nothing."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_choice(schema: Mapping[str, Any], text: str) -> Any:
    for choice in choices_of(schema) or ():
        if text == _shown(schema, choice):
            return choice
    raise ValueError("must be one of the options")


def _read_number(schema: Mapping[str, Any], text: str) -> float:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(
            f"must be {'a whole number such as 12' if schema['type'] == 'integer' else 'a number such as 12.5'}"
        )
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError):
        # Of Python, for numbers of thousands of digits and for thousands of brackets.
        raise ValueError("is JSON that is nested too deeply or has a number that is too long") from None
