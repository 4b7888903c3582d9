"""The load generator: a process of its own that costs as little as Python can, for it shares the machine.

Reads a Load as JSON from standard input and writes Answers as JSON to standard output. Every connection sends
prebuilt requests one after the other, each when the last was answered.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from time import perf_counter
from typing import cast

import uvloop


@dataclass(frozen=True)
class Load:
    """`paths` are asked for in turn, for `seconds`, or each just once if that is None.

    `rate` is how many requests a second all connections send, None for as many as they can. What is answered in
    the first `warm_up_seconds` is not counted.
    """

    port: int
    paths: list[str]
    connections: int
    seconds: float | None
    warm_up_seconds: float = 0.5
    rate: float | None = None


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

    def __init__(self, requests: Iterator[bytes], interval: float) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.counts = False
        self.closed = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._interval = interval
        self._received = b""
        self._sent_at = 0.0
        self._is_over = False

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


def _itself(connection: Connection) -> Connection:
    return connection


async def run(load: Load) -> Answers:
    loop = asyncio.get_running_loop()
    requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n\r\n".encode() for path in load.paths]
    interval = load.connections / load.rate if load.rate else 0.0
    once = iter(requests)

    def starting_at(place: int) -> Iterator[bytes]:
        # Each connection begins at another place, so that they do not all ask for the same thing at a time.
        return (
            once if load.seconds is None else islice(cycle(requests), place * len(requests) // load.connections, None)
        )

    connections = [Connection(starting_at(number), interval) for number in range(load.connections)]
    for connection in connections:
        await loop.create_connection(partial(_itself, connection), "127.0.0.1", load.port)
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
    await asyncio.wait([connection.closed for connection in connections], timeout=60)
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
