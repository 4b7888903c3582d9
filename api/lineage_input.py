"""Reading the body of OpenLineage's events: one of them or a list, compressed or not."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from api.compression import inflate
from api.ping_input import payload_text
from domain.errors import FieldError, InvalidRequest, PayloadTooLarge
from domain.keys import redact
from domain.openlineage import RunEvent, read_event
from domain.openlineage_payload import kept_document

PATH: Final = "/api/v1/lineage"
BATCH_PATH: Final = f"{PATH}/batch"
MAX_EVENTS: Final = 1_000
MAX_BYTES: Final = 5 * 1024 * 1024
"""Of a body, and of what is made of it by inflating."""


@dataclass(frozen=True)
class Sent:
    """An event of a run, and what is kept of it as JSON text."""

    event: RunEvent
    payload: str


def read_events(raw: bytes, content_encoding: str, *, only_lists: bool = False) -> list[Sent | None] | Sent | None:
    """The events of a body: a list, or one; None for each that is not about a run. Takes its time for large ones.

    Raises PayloadTooLarge, and InvalidRequest that names what is wrong, in a list by its position.
    """
    raw = inflate(raw, content_encoding, MAX_BYTES)
    try:
        said = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest.of_field("body", f"cannot be read as JSON: {error}") from None
    if not isinstance(said, list):
        if only_lists:
            raise InvalidRequest.of_field("body", "must be a list of OpenLineage events")
        return _sent(said)
    if len(said) > MAX_EVENTS:
        raise PayloadTooLarge(f"There are {len(said)} events; {MAX_EVENTS} may come at once.")
    return [_sent_at(position, document) for position, document in enumerate(said)]


def _sent(document: Any) -> Sent | None:
    event = read_event(document)
    return Sent(event, redact(payload_text(kept_document(document)))) if event is not None else None


def _sent_at(position: int, document: Any) -> Sent | None:
    try:
        return _sent(document)
    except InvalidRequest as error:
        fields = tuple(FieldError(f"{position}.{field.field}", field.message) for field in error.fields)
        message = "; ".join(f"{field.field}: {field.message}" for field in fields)
        raise InvalidRequest(message, fields=fields) from None
