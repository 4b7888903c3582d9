"""The load generator: a process of its own that costs as little as Python can, for it shares the machine.

Reads a Load as JSON from standard input and writes Answers as JSON to standard output. Every connection sends
prebuilt requests one after the other, each when the last was answered; or a new connection is opened for each.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import cast

import uvloop

PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Load:
    """`paths` are asked for in turn, for `seconds`, or each just once if that is None.

    `rate` is how many requests a second all connections send, None for as many as they can. What is answered in
    the first `warm_up_seconds` is not counted. Without `keep_alive` each request has a connection of its own, of which
    there are `connections` at a time. `patience_seconds` is how long it waits for the last answers. With a `body`,
    which is JSON, requests are POST.
    """

    port: int
    paths: list[str]
    connections: int
    seconds: float | None
    warm_up_seconds: float = 0.5
    rate: float | None = None
    keep_alive: bool = True
    patience_seconds: float = 60
    body: str | None = None

    def request(self, path: str) -> bytes:
        method, more, content = "GET", "", b""
        if self.body is not None:
            method, content = "POST", self.body.encode()
            more = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{more}\r\n".encode() + content


@dataclass(frozen=True)
class Answers:
    """`latencies` in seconds, ascending, of answers with status 200; `failed` counts all others."""

    latencies: list[float]
    failed: int
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """In milliseconds."""
        return 1000 * percentile(self.latencies, percent)


def percentile(ascending: list[float], percent: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    if not ascending:
        return float("nan")
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    transport: asyncio.Transport

    def __init__(self, port: int, requests: Iterator[bytes], interval: float) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.counts = False
        self.closed = asyncio.get_running_loop().create_future()
        self._port = port
        self._requests = requests
        self._interval = interval
        self._received = b""
        self._sent_at = 0.0
        self._is_over = False

    async def open(self) -> None:
        """To be called once, before `send`."""
        await self._connect()

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def send(self) -> None:
        request = None if self._is_over else next(self._requests, None)
        if request is None:
            self._is_over = True
            self.transport.close()
            return
        self._sent_at = perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        # Status line and content length are all there is to know of an answer of ours.
        received = self._received + data
        head = received.find(b"\r\n\r\n")
        begin = received.find(b"content-length: ") + 16
        if head < 0 or len(received) < head + 4 + int(received[begin : received.index(b"\r", begin)]):
            self._received = received
            return
        self._received = b""
        latency = perf_counter() - self._sent_at
        if self.counts:
            if received.startswith(b"HTTP/1.1 200"):
                self.latencies.append(latency)
            else:
                self.failed += 1
        self._answered(latency)

    def _answered(self, latency: float) -> None:
        if self._interval > latency:
            asyncio.get_running_loop().call_later(self._interval - latency, self.send)
        else:
            self.send()

    def end(self) -> None:
        """What is still answered does not count."""
        self._is_over, self.counts = True, False

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_over:
            self.failed += 1
        self.closed.set_result(None)


class FreshConnections(Connection):
    """A connection for each request, one after the other, as a shell script makes them with curl.

    A latency counts from before the connection is opened.
    """

    async def open(self) -> None:
        self._request = b""
        self._is_answered = False
        self._connecting: asyncio.Task[None] | None = None

    def send(self) -> None:
        request = None if self._is_over else next(self._requests, None)
        if request is None:
            self._is_over = True
            self.closed.set_result(None)
            return
        self._request, self._is_answered, self._received = request, False, b""
        self._sent_at = perf_counter()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await super()._connect()
        except OSError:
            self.failed += self.counts
            # No use in asking a machine at once that has no port left for us.
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.send)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._request)

    def _answered(self, latency: float) -> None:
        self._is_answered = True
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.counts and not self._is_answered:
            self.failed += 1
        pause = self._interval - (perf_counter() - self._sent_at)
        if pause > 0:
            asyncio.get_running_loop().call_later(pause, self.send)
        else:
            self.send()


async def run(load: Load) -> Answers:
    loop = asyncio.get_running_loop()
    requests = [load.request(path) for path in load.paths]
    interval = load.connections / load.rate if load.rate else 0.0
    once = iter(requests)

    def starting_at(place: int) -> Iterator[bytes]:
        # Each connection begins at another place, so that they do not all ask for the same thing at a time.
        return (
            once if load.seconds is None else islice(cycle(requests), place * len(requests) // load.connections, None)
        )

    kind = Connection if load.keep_alive else FreshConnections
    connections = [kind(load.port, starting_at(number), interval) for number in range(load.connections)]
    for connection in connections:
        await connection.open()
    for number, connection in enumerate(connections):
        loop.call_later(interval * number / load.connections, connection.send)
    if load.seconds is not None:
        await asyncio.sleep(load.warm_up_seconds)
    begun = perf_counter()
    for connection in connections:
        connection.counts = True
    if load.seconds is not None:
        await asyncio.sleep(load.seconds)
        seconds = perf_counter() - begun
        for connection in connections:
            connection.end()
    await asyncio.wait([connection.closed for connection in connections], timeout=load.patience_seconds)
    if load.seconds is None:
        seconds = perf_counter() - begun
    latencies = sorted(latency for connection in connections for latency in connection.latencies)
    return Answers(latencies, sum(connection.failed for connection in connections), seconds)


def main() -> None:
    load = Load(**json.load(sys.stdin))
    gc.disable()
    json.dump(asdict(uvloop.run(run(load))), sys.stdout)


if __name__ == "__main__":
    main()
