"""JSON as frozen dataclasses. What an answer has besides their fields is left aside."""

from __future__ import annotations

import re
import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pingpulse.errors import UnexpectedAnswer

T = TypeVar("T")

_FRACTION = re.compile(r"\.(\d+)")


def parse(model: type[T], document: Any) -> T:
    """`document` is JSON whose floats were read as Decimal. Raises UnexpectedAnswer for what does not fit."""
    if not isinstance(document, Mapping):
        raise UnexpectedAnswer(f"Expected an object, a {model.__name__}, and got {_shown(document)}.")
    values: dict[str, Any] = {}
    for name, hint, is_required in _shape(cast(Hashable, model)):
        if name == "raw":
            values[name] = plain(document)
        elif name in document:
            values[name] = _value(hint, document[name], f"{model.__name__}.{name}")
        elif is_required:
            raise UnexpectedAnswer(f"The answer has no {name}, which a {model.__name__} has.")
    return model(**values)


def parse_mapping(model: type[T], document: Any) -> dict[str, T]:
    """An object whose members are all of one kind."""
    if not isinstance(document, Mapping):
        raise UnexpectedAnswer(f"Expected an object and got {_shown(document)}.")
    return {name: parse(model, member) for name, member in document.items()}


@cache
def _shape(model: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(model)
    return tuple(
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(model)
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return plain(value)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _value(hint, value, where)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_value(arguments[0], item, where) for item in value)
    elif origin is Mapping:
        if isinstance(value, Mapping):
            return {name: _value(arguments[1], member, where) for name, member in value.items()}
    elif is_dataclass(hint):
        return parse(cast(type[Any], hint), value)
    elif (read := _SCALARS.get(hint)) is not None:
        try:
            return read(value)
        except (TypeError, ValueError):
            pass
    raise UnexpectedAnswer(f"{where} is {_shown(value)}, which it cannot be.")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if _number(value) != int(value):
        raise ValueError
    return int(value)


def _moment(value: Any) -> datetime:
    # Python 3.10 knows neither a Z nor fractions of other than three or six digits.
    text = _FRACTION.sub(lambda found: f".{found[1][:6]:0<6}", _text(value)).replace("Z", "+00:00")
    return datetime.fromisoformat(text)


_SCALARS: dict[Any, Any] = {
    str: _text,
    bool: _flag,
    int: _integer,
    float: lambda value: float(_number(value)),
    Decimal: lambda value: Decimal(_number(value)),
    datetime: _moment,
}


def plain(value: Any) -> Any:
    """JSON as the standard library reads it, with floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _shown(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= 80 else f"{text[:79]}…"
