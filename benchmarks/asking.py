"""Requests one by one over connections that are kept, with as little between the clock and the socket as Python can."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from benchmarks.waiting import BenchmarkError


@dataclass(frozen=True)
class Answer:
    """`sent_at` and `answered_at` by `perf_counter`."""

    status: int
    content: Mapping[str, Any]
    sent_at: float
    answered_at: float

    @property
    def seconds(self) -> float:
        return self.answered_at - self.sent_at


class Caller:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader = reader
        self._writer = writer
        self._key = key

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, wanted: int = 200) -> Answer:
        """Raises BenchmarkError unless the answer has the status that is wanted."""
        content = json.dumps(body).encode() if body is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        sent_at = perf_counter()
        self._writer.write(head.encode() + content)
        try:
            received = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(received.partition(b"content-length:")[2].partition(b"\r\n")[0])
            text = await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise BenchmarkError(f"{method} {path} was not answered: {error}") from error
        answered_at = perf_counter()
        status = int(received.split(maxsplit=2)[1])
        if status != wanted:
            raise BenchmarkError(f"{method} {path} was answered with {status}: {text[:200].decode()}")
        return Answer(status, json.loads(text), sent_at, answered_at)


@asynccontextmanager
async def calling(port: int, key: str) -> AsyncIterator[Caller]:
    """Requests send `key`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer, key)
    finally:
        writer.close()
