"""What a form sent, and how it becomes what the JSON API takes."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from api.errors import invalid_request
from domain.durations import parse_duration
from domain.errors import Conflict, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)

AS_OF_FIELD: Final = "as_of"
"""The hidden field that says what a form was filled from."""


class Form:
    """The fields as they were sent; a name may have come several times."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields:
            self._values.setdefault(name, []).append(value)

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, default: str = "") -> str:
        """The last of this name, as it was sent."""
        return self._values[name][-1] if name in self._values else default

    def text(self, name: str) -> str | None:
        """Without surrounding blanks; None if that leaves nothing."""
        return self.get(name).strip() or None

    def all(self, name: str) -> list[str]:
        """What was ticked, or every field of a row of fields."""
        return list(self._values.get(name, ()))

    def ticked(self, name: str) -> bool:
        return name in self._values

    def names(self) -> list[str]:
        """Of all fields, in the order of the page."""
        return list(self._values)

    def words(self, name: str) -> list[str]:
        """Of a field that takes several, divided by commas or line breaks."""
        return [word for word in (part.strip() for part in self.get(name).replace("\n", ",").split(",")) if word]

    def seconds(self, name: str) -> float | None:
        """A duration as people write it: "90", "5m", "1h 30m". Raises InvalidRequest."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_duration(text)
        except InvalidRequest as error:
            raise InvalidRequest.of_field(name, error.fields[0].message if error.fields else error.message) from None


def build(model: type[Model], values: Mapping[str, Any]) -> Model:
    """What the JSON API takes, of what a form says. Raises InvalidRequest that names the fields, as the API would."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors()) from None


def as_of(*shown: Any) -> str:
    """Names what a form is filled from: another one as soon as any of it is different."""
    return sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_as_of(form: Form, present: str) -> None:
    """Raises Conflict if the form was filled from anything but what is there now: saved, it would undo in silence what
    was changed since. Shown again with the `present` one, it can be sent again by somebody who knows."""
    if form.get(AS_OF_FIELD) != present:
        raise Conflict(
            "It was changed meanwhile, by somebody else or in another tab. Nothing was saved. Look at what it is now; "
            "send this again to overwrite it."
        )
