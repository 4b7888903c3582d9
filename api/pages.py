"""Cursors: where the next page of a list begins, as an opaque text."""

import base64
import binascii
from datetime import datetime
from typing import Annotated

from fastapi import Query

from domain.errors import InvalidRequest

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]


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
