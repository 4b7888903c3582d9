"""Bodies that come compressed: never more of them is made than they may have."""

import zlib
from typing import Final

from domain.errors import InvalidRequest, PayloadTooLarge

MAX_MEMBERS: Final = 64
"""Of a gzip; programs write one. Each costs a copy of all that comes after it."""

_NOT_COMPRESSED: Final = frozenset({"", "identity"})
_UNDERSTOOD: Final = _NOT_COMPRESSED | {"gzip", "x-gzip", "deflate"}


def is_understood(content_encoding: str) -> bool:
    return content_encoding.strip().lower() in _UNDERSTOOD


def inflate(body: bytes, content_encoding: str, most: int) -> bytes:
    """The body as it was before it was compressed, `most` bytes at most.

    Raises InvalidRequest, and PayloadTooLarge before more than that is in memory.
    """
    if content_encoding.strip().lower() in _NOT_COMPRESSED:
        return body
    inflated, rest = bytearray(), body
    for _ in range(MAX_MEMBERS):
        # 32: gzip or zlib, whichever it is. A body of gzip may have several members.
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        try:
            inflated += stream.decompress(rest, most + 1 - len(inflated))
        except zlib.error:
            raise InvalidRequest.of_field("body", f"is not {content_encoding}, as its Content-Encoding says") from None
        if len(inflated) > most:
            raise PayloadTooLarge(f"The body has more than {most} bytes when it is inflated; send less at a time.")
        if not stream.eof:
            raise InvalidRequest.of_field("body", f"ends in the middle of its {content_encoding}")
        rest = stream.unused_data
        if not rest:
            return bytes(inflated)
    raise InvalidRequest.of_field("body", f"is a gzip of more than {MAX_MEMBERS} members")
