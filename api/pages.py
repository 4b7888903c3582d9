"""Cursors: where the next page of a list begins, as an opaque text."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Final

from fastapi import Query

from domain.errors import InvalidRequest

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]


MAX_ID: Final = 2**63 - 1
"""Of a row that Postgres numbers."""


def encode_cursor(at: datetime, id_: str) -> str:
    return base64.urlsafe_b64encode(f"{at.isoformat()} {id_}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises InvalidRequest for what is no cursor of ours."""
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, id_ = text.partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not id_ or "\x00" in id_:
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidRequest.of_field("cursor", "is not a next_cursor of this list") from None
    return moment, id_


def decode_numbered_cursor(cursor: str | None) -> tuple[datetime, int] | None:
    """Of a list of what Postgres numbers. Raises InvalidRequest."""
    before = decode_cursor(cursor)
    if before is None:
        return None
    if not (before[1].isdecimal() and int(before[1]) <= MAX_ID):
        raise InvalidRequest.of_field("cursor", "is not a next_cursor of this list")
    return before[0], int(before[1])


def decode_number(cursor: str | None) -> int | None:
    """As `decode_numbered_cursor`, of a list that goes by the numbers alone."""
    before = decode_numbered_cursor(cursor)
    return before[1] if before is not None else None
