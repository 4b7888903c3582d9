"""A webhook that notes when it was told of what."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from time import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
DOWN = "pulse_down"


@dataclass
class Receiver:
    """`delays`: by alert, the seconds from the moment in which the pulse went down to our being told of it first."""

    port: int = 0
    delays: dict[str, float] = field(default_factory=dict)
    messages: int = 0
    repeated: int = 0
    """Alerts that were told once more."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def has_heard_of(self, count: int, timeout_seconds: float) -> bool:
        """Waits for so many alerts; False if it was in vain."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_seconds
        while len(self.delays) < count and loop.time() < give_up_at:
            await asyncio.sleep(0.05)
        return len(self.delays) >= count

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._note(await reader.readexactly(length), time())
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    def _note(self, body: bytes, now: float) -> None:
        self.messages += 1
        for alert in json.loads(body)["data"]["alerts"]:
            if alert["kind"] != DOWN:
                continue
            if alert["id"] in self.delays:
                self.repeated += 1
                continue
            self.delays[alert["id"]] = now - datetime.fromisoformat(alert["at"]).timestamp()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
