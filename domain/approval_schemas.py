"""JSON Schemas written by strangers: which are harmless, and what is wrong with a value, in plain words.

Of JSON Schema only what can neither run long nor reach out is taken: a pattern can take hours to match, a reference
can point anywhere.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

from domain.errors import FieldError, InvalidRequest
from domain.words import is_line

MAX_PROPERTIES: Final = 30
MAX_SCHEMA_BYTES: Final = 10_000
MAX_NAME: Final = 100
MAX_LEVELS: Final = 3
"""A field, a field of that, and one more; the entries of an array are a level too."""

MAX_NESTING: Final = 20
MAX_NUMBER: Final = 2**63
"""Beyond, numbers leave Postgres as something that cannot be written as JSON again."""

MAX_PROBLEMS: Final = 20

TYPES: Final = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
FORMATS: Final = {
    "date": "a date such as 2026-03-31",
    "date-time": "a time such as 2026-03-31T14:00:00Z",
    "email": "an e-mail address",
    "uri": "an address such as https://example.com/",
}
_OUTER: Final = frozenset({"type", "properties", "required", "title", "description", "additionalProperties"})
_INNER: Final = _OUTER | {
    *("default", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "format", "items", "minItems", "maxItems", "uniqueItems"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Whether a schema describes fields to edit and is harmless. Raises InvalidRequest that names `field`."""
    if not isinstance(schema, Mapping):
        raise InvalidRequest.of_field(field, "must be a JSON Schema, an object with `properties`")
    if (problem := next(unstorable(schema), None)) is not None:
        raise InvalidRequest.of_field(field, f"{problem.field.removeprefix('.') or 'it'} {problem.message}")
    if (size := json_size(schema)) > MAX_SCHEMA_BYTES:
        raise InvalidRequest.of_field(field, f"takes {size} bytes; {MAX_SCHEMA_BYTES} is the most")
    problem = next(_outside_of_what_is_taken(schema, ""), None)
    if problem is None and not schema.get("properties"):
        problem = FieldError("properties", "is missing: the fields that may be edited")
    if problem is None and (count := _properties_in(schema)) > MAX_PROPERTIES:
        problem = FieldError("properties", f"has {count} fields in all; {MAX_PROPERTIES} are the most")
    if problem is not None:
        raise InvalidRequest.of_field(field, f"{problem.field}: {problem.message}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.absolute_path))
        raise InvalidRequest.of_field(field, f"{where}: {error.message}") from None
    if (problem := next(_contradictions(schema, ""), None)) is not None:
        raise InvalidRequest.of_field(field, f"{problem.field}: {problem.message}")


def problems_of(schema: Mapping[str, Any], value: Any, root: str) -> tuple[FieldError, ...]:
    """What is wrong with a value by a schema that was checked, each thing once; named `root.path.to.it`."""
    found = {
        FieldError(".".join(map(str, (root, *path))), message): None
        for error in islice(_Validator(schema, format_checker=_formats).iter_errors(value), MAX_PROBLEMS)
        for path, message in _words(error)
    }
    return tuple(found)[:MAX_PROBLEMS]


def unstorable(value: Any, path: str = "", level: int = 0) -> Iterator[FieldError]:
    """What of a value cannot be kept and given back as it is."""
    if isinstance(value, str):
        if "\x00" in value:
            yield FieldError(path, "contains NUL characters")
        elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            yield FieldError(path, "must be valid Unicode, without lone surrogates")
    elif isinstance(value, int | float):
        # Also true of what is not a number at all.
        if not -MAX_NUMBER < value < MAX_NUMBER:
            yield FieldError(path, "must be a number between -2^63 and 2^63")
    elif level == MAX_NESTING and isinstance(value, Mapping | list | tuple):
        yield FieldError(path, f"is nested too deeply; {MAX_NESTING} levels are the most")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if next(unstorable(name), None) is not None:
                yield FieldError(path, "has a field whose name has NUL characters or lone surrogates")
            else:
                yield from unstorable(member, f"{path}.{name}", level + 1)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from unstorable(entry, f"{path}.{number}", level + 1)


def with_whole_numbers(schema: Mapping[str, Any], value: Any) -> Any:
    """The value with integers where the schema has them: 5.0 and 1e3 are whole numbers too, and JSON's readers make
    floats of them. Where a value does not fit the schema, it stays as it is."""
    if schema.get("type") == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping) and "properties" in schema:
        properties = schema["properties"]
        return {
            name: with_whole_numbers(properties[name], member) if name in properties else member
            for name, member in value.items()
        }
    if isinstance(value, list) and "items" in schema:
        return [with_whole_numbers(schema["items"], entry) for entry in value]
    return value


def choices_of(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    """The only values that a field may have, if they are listed."""
    if "const" in schema:
        return (schema["const"],)
    choices: Sequence[Any] | None = schema.get("enum")
    return choices


def json_size(value: Any) -> int:
    """Bytes as JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _outside_of_what_is_taken(schema: Any, path: str, level: int = 0) -> Iterator[FieldError]:
    def at(name: str) -> str:
        return f"{path}.{name}" if path else name

    if not isinstance(schema, Mapping):
        yield FieldError(path, "must be an object")
        return
    for keyword in schema:
        if keyword not in (_INNER if level else _OUTER):
            yield FieldError(
                at(keyword),
                "is not taken, for it could run long or reach out, or forms cannot show it; there are "
                + ", ".join(sorted(_INNER if level else _OUTER)),
            )
    kind = schema.get("type")
    if not level and kind != "object":
        yield FieldError("type", "must be object")
    if not isinstance(kind, str) or kind not in TYPES:
        yield FieldError(at("type"), f"must be one of {', '.join(TYPES)}")
    if schema.get("additionalProperties", False) is not False:
        yield FieldError(at("additionalProperties"), "can only be false")
    if "format" in schema and schema["format"] not in list(FORMATS):
        yield FieldError(at("format"), f"must be one of {', '.join(FORMATS)}")
    inner = [(at("items"), schema["items"])] if "items" in schema else []
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        yield FieldError(at("properties"), "must be an object")
        return
    for name, member in properties.items():
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            yield FieldError(
                at("properties"), f"names have 1 to {MAX_NAME} printable characters, unlike {name[:110]!r}"
            )
        inner.append((at(f"properties.{name}"), member))
    if inner and level == MAX_LEVELS:
        yield FieldError(path, f"is nested too deeply; fields have {MAX_LEVELS} levels at most")
        return
    for where, member in inner:
        yield from _outside_of_what_is_taken(member, where, level + 1)


def _properties_in(schema: Mapping[str, Any]) -> int:
    properties = schema.get("properties", {})
    below = [*properties.values(), *([schema["items"]] if "items" in schema else [])]
    return len(properties) + sum(map(_properties_in, below))


def _contradictions(schema: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """In a schema that is valid: what nobody could ever fill in."""
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in properties:
            yield FieldError(f"{path}required", f"names {name}, which is not one of the properties")
    choices = choices_of(schema)
    if choices is not None and not choices:
        yield FieldError(f"{path}enum", "is empty")
    for choice in choices or ():
        if isinstance(choice, str) and not is_line(choice):
            yield FieldError(f"{path}enum", f"has a text that is empty or cannot be shown in one line: {choice!r}")
        for problem in problems_of(schema, choice, ""):
            yield FieldError(f"{path}{'const' if 'const' in schema else 'enum'}", f"has a value that {problem.message}")
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if low in schema and high in schema and schema[low] > schema[high]:
            yield FieldError(f"{path}{low}", f"is more than {high}")
    for name, member in properties.items():
        yield from _contradictions(member, f"{path}properties.{name}.")
    if "items" in schema:
        yield from _contradictions(schema["items"], f"{path}items.")


def _words(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    path, limit = tuple(error.absolute_path), error.validator_value
    if error.validator == "required":
        yield from (((*path, name), "is required") for name in limit if name not in error.instance)
    elif error.validator == "additionalProperties":
        unknown = set(error.instance) - set(error.schema.get("properties", ()))
        yield from (((*path, name), "is not one of the fields") for name in sorted(unknown))
    else:
        yield path, _WORDS[error.validator](limit)


def _listed(values: Sequence[Any]) -> str:
    words = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values[:10]]
    return ", ".join(words) + (f" and {len(values) - 10} others" if len(values) > 10 else "")


_WORDS: Final[Mapping[str, Callable[[Any], str]]] = {
    "type": lambda kind: f"must be {TYPES[kind]}",
    "enum": lambda values: f"must be one of {_listed(values)}",
    "const": lambda value: f"must be {_listed([value])}",
    "minimum": lambda least: f"must be at least {least}",
    "maximum": lambda most: f"must be at most {most}",
    "exclusiveMinimum": lambda bound: f"must be more than {bound}",
    "exclusiveMaximum": lambda bound: f"must be less than {bound}",
    "multipleOf": lambda step: f"must be a multiple of {step}",
    "minLength": lambda least: f"must have at least {least} characters" if least > 1 else "must not be empty",
    "maxLength": lambda most: f"must have at most {most} characters",
    "minItems": lambda least: f"must have at least {least} entries" if least > 1 else "must not be empty",
    "maxItems": lambda most: f"must have at most {most} entries",
    "uniqueItems": lambda _: "must not have the same entry twice",
    "format": lambda name: f"must be {FORMATS[name]}",
}


def _exact(number: float) -> Fraction:
    """The number that was written: 0.1 is a tenth, unlike the float."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def _multiple_of(validator: Any, step: float, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own divides floats, by which 19.99 is no multiple of 0.01."""
    if validator.is_type(value, "number") and (_exact(value) / _exact(step)).denominator != 1:
        yield ValidationError("is not a multiple")


def _no_others(validator: Any, properties: Any, value: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """To JSON Schema, an object may have members of which it says nothing. Here people see fields, and no others; only
    an object without any fields is JSON to write at will."""
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, value, schema)
    if (
        properties
        and "additionalProperties" not in schema
        and validator.is_type(value, "object")
        and not value.keys() <= properties.keys()
    ):
        yield ValidationError("has other fields", validator="additionalProperties")


def _unique_items(validator: Any, wanted: bool, value: Any, _schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own compares each entry with each, unless they can be sorted."""
    if wanted and validator.is_type(value, "array") and len({_canonical(entry) for entry in value}) < len(value):
        yield ValidationError("has the same entry twice")


def _canonical(value: Any) -> str:
    """The same text for all that JSON Schema holds for the same."""

    def plain(part: Any) -> Any:
        if isinstance(part, float) and part.is_integer():
            return int(part)
        if isinstance(part, Mapping):
            return {name: plain(member) for name, member in part.items()}
        return [plain(entry) for entry in part] if isinstance(part, list | tuple) else part

    return json.dumps(plain(value), sort_keys=True)


_Validator: Final = extend(
    Draft202012Validator, {"multipleOf": _multiple_of, "properties": _no_others, "uniqueItems": _unique_items}
)
_formats: Final = FormatChecker(())


def _is_date(value: object) -> bool:
    return not isinstance(value, str) or (bool(_DATE.fullmatch(value)) and bool(date.fromisoformat(value)))


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (bool(_TIME.fullmatch(value)) and bool(datetime.fromisoformat(value.upper())))


def _is_email(value: object) -> bool:
    return not isinstance(value, str) or bool(_EMAIL.fullmatch(value))


def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(_URI.fullmatch(value))


_formats.checks("date", raises=ValueError)(_is_date)
_formats.checks("date-time", raises=ValueError)(_is_time)
_formats.checks("email")(_is_email)
_formats.checks("uri")(_is_uri)
